"""Answers as plain data: what crosses the border between a submission's process and a marker's.

Only JSON crosses, never a pickle. `encode` runs in the cage, beside the learner's code; `decode`
runs where the truth is, and believes nothing: what does not decode is no answer.
"""

from __future__ import annotations

import base64
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from numbers import Number
from typing import Any, TypeAlias

import torch
from torch import Tensor

from checks import answers
from checks.nesting import is_numpy
from checks.wording import is_tensor, type_name

Plain: TypeAlias = dict[str, Any]

_MOST_BYTES = 32 << 20  # of one tensor
_MOST_ENTRIES = 100_000  # of lists and dicts, all together
_LONGEST = 10_000  # characters of text
_DEEPEST = 12
_LONGEST_KEY, _MOST_ODD_KEYS = 200, 100
_MOST_TEXT = 100 << 20  # characters of a whole answer
# Those of plain numbers: to read any other, such as a quantized one, can end the process.
_DTYPES = {
    str(dtype): dtype
    for dtype in (
        *(torch.float16, torch.float32, torch.float64, torch.bfloat16),
        *(torch.complex32, torch.complex64, torch.complex128, torch.bool),
        *(
            torch.uint8,
            torch.uint16,
            torch.uint32,
            torch.uint64,
            torch.int8,
            torch.int16,
            torch.int32,
            torch.int64,
        ),
    )
}


class NotPlainError(ValueError):
    """What came over the border is not what `encode` writes."""


def encode(value: object) -> Plain:
    """Write an answer as plain data. It raises nothing for what a learner may have typed."""
    try:
        return _encode(value, _MOST_ENTRIES, 0)
    except Exception:  # an object may raise anything when it is read
        return {"other": type_name(value)}


def _encode(value: Any, left: int, depth: int) -> Plain:
    kind = type(value)
    if value is ...:
        return {"blank": True}
    if value is None:
        return {"none": True}
    if kind is str and len(value) > _LONGEST:
        return {"other": "text that is too long"}
    if kind in (bool, int, str):
        return {kind.__name__: value if kind is not int else str(value)}
    if kind is float:
        return {"float": value.hex()}
    if kind is complex:
        return {"complex": [value.real.hex(), value.imag.hex()]}
    if is_numpy(value) and value.dtype.kind == "O":
        return _encode(value.tolist(), left, depth)
    if is_tensor(value) or is_numpy(value):
        return _tensor(value)
    if kind in (torch.Size, tuple, list):
        return {"tuple" if kind is not list else "list": _items(list(value), left, depth)}
    if kind is dict:
        keys = _items(list(value), left, depth)
        return {"dict": [keys, _items(list(value.values()), left, depth)]}
    if isinstance(value, torch.dtype):
        name = str(value)
        return {"torch_dtype": name} if name in _DTYPES else {"other": name}
    if isinstance(value, Number):
        return {"float": float(value).hex()}  # type: ignore[arg-type]
    if kind.__name__ in ("function", "method", "builtin_function_or_method", "partial"):
        return {"function": kind.__name__}
    return {"other": type_name(value)}


def _items(values: list[Any], left: int, depth: int) -> list[Plain]:
    if len(values) > left or depth >= _DEEPEST:
        raise NotPlainError
    return [_encode(item, left // max(1, len(values)), depth + 1) for item in values]


def _tensor(value: Any) -> Plain:
    tensor = answers.as_tensor(value)
    if tensor.is_meta or tensor.is_nested or str(tensor.dtype) not in _DTYPES:
        return {"other": "Tensor without plain numbers"}
    if tensor.layout is not torch.strided:
        tensor = tensor.to_dense()
    if tensor.numel() * tensor.element_size() > _MOST_BYTES:
        return {"other": "Tensor that is too large"}
    flat = tensor.detach().cpu().resolve_conj().resolve_neg().contiguous().reshape(-1)
    data = bytes(flat.view(torch.uint8).numpy()) if flat.numel() else b""
    return {
        "tensor": base64.b64encode(data).decode("ascii"),
        "dtype": str(tensor.dtype),
        "shape": list(tensor.shape),
    }


def decode(plain: object, *, call: Callable[..., object] | None = None) -> object:
    """Read an answer from plain data.

    Args:
        plain: what came over the border; it may have been forged.
        call: what stands for a function of the learner's.

    Raises:
        NotPlainError: it is not what `encode` writes.
    """
    try:
        return _decode(plain, call, 0, _Left())
    except NotPlainError:
        raise
    except Exception as error:
        raise NotPlainError("an answer that cannot be read came from the submission") from error


@dataclass
class _Left:
    """What may still be read of one answer, so that it does not fill the memory."""

    entries: int = _MOST_ENTRIES + 1
    characters: int = _MOST_TEXT

    def take(self, plain: Mapping[str, Any]) -> None:
        """Count one entry.

        Raises:
            NotPlainError: it is one too many.
        """
        self.entries -= 1
        self.characters -= sum(len(part) for part in plain.values() if type(part) is str)
        if self.entries < 0 or self.characters < 0:
            raise NotPlainError


def _decode(plain: Any, call: Callable[..., object] | None, depth: int, left: _Left) -> Any:
    if not isinstance(plain, Mapping) or depth > _DEEPEST + 1:
        raise NotPlainError
    left.take(plain)
    for name, reader in _READERS.items():
        if name in plain:
            return reader(plain[name])
    if "tensor" in plain:
        return _read_tensor(plain)
    for name, container in (("list", list), ("tuple", tuple)):
        if name in plain:
            return container(_decode(item, call, depth + 1, left) for item in plain[name])
    if "dict" in plain:
        keys, values = (
            [_decode(item, call, depth + 1, left) for item in part] for part in plain["dict"]
        )
        _prove_keys(keys)
        return dict(zip(keys, values, strict=True))
    if "function" in plain:
        return call if call is not None else lambda: None
    if "other" in plain:
        # Named as the learner's own type was, so that the message is the same.
        return type("".join(c for c in str(plain["other"]) if c.isprintable())[:40], (), {})()
    raise NotPlainError


def _prove_keys(keys: list[Any]) -> None:
    """Raise NotPlainError for more keys than are short: those of numbers can be made to collide."""
    odd = sum(type(key) is not str or len(key) > _LONGEST_KEY for key in keys)
    if odd > _MOST_ODD_KEYS:
        raise NotPlainError


def _read_tensor(plain: Mapping[str, Any]) -> Tensor:
    dtype, shape = _DTYPES[plain["dtype"]], tuple(plain["shape"])
    if not all(type(n) is int and n >= 0 for n in shape) or len(shape) > 64:
        raise NotPlainError
    data = bytearray(base64.b64decode(plain["tensor"], validate=True))
    empty = torch.empty(0, dtype=dtype)
    if len(data) > _MOST_BYTES or len(data) != math.prod(shape) * empty.element_size():
        raise NotPlainError
    if not data:
        return torch.empty(shape, dtype=dtype)
    if dtype is torch.bool:  # a byte of neither 0 nor 1 would be a truth value of its own
        return (torch.frombuffer(data, dtype=torch.uint8) != 0).reshape(shape)
    return torch.frombuffer(data, dtype=dtype).reshape(shape)


def _text(text: object) -> str:
    if type(text) is not str or len(text) > _LONGEST:
        raise NotPlainError
    return text


def _complex(real: str, imag: str) -> complex:
    return complex(float.fromhex(real), float.fromhex(imag))


_READERS: dict[str, Callable[[Any], object]] = {
    "blank": lambda _: ...,
    "none": lambda _: None,
    "bool": lambda value: value is True,
    "int": lambda text: int(_text(text)),
    "str": lambda text: _text(text),
    "float": float.fromhex,
    "complex": lambda parts: _complex(*parts),
    "torch_dtype": _DTYPES.__getitem__,
}
