"""What the learner typed → a tensor, or the reason why it cannot be one.

A learner may type anything. So nothing here trusts what an object says of itself: types are taken
with `type()`, containers are read with the methods of `list` and `tuple`, and a tensor subclass is
read as the plain tensor that it holds.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from numbers import Number
from types import ModuleType
from typing import Any

import torch
from torch import Tensor

_DEEPEST = 64  # PyTorch has no tensor with more dimensions
_SEARCHED = 10_000  # entries looked at for a forgotten `...`


class UnansweredError(Exception):
    """The blank is still there."""


class UnusableError(Exception):
    """The answer cannot be compared; the text says what came and what was expected."""


def read(answer: object, shape: Sequence[int], *, complex_expected: bool = False) -> Tensor:
    """Read an answer as numbers.

    Args:
        answer: whatever the learner typed.
        shape: the shape that the answer must have. Nothing is broadcast or reshaped to fit it.
        complex_expected: whether the quantity is complex.

    Returns:
        A dense float64 (or complex128) tensor on the CPU, of that shape, all entries finite.

    Raises:
        UnansweredError: the answer is `...` or `None`, or contains one of them.
        UnusableError: anything else that is not an array of numbers of that shape.
    """
    if is_blank(answer):
        raise UnansweredError
    try:
        numbers = _numbers(answer, tuple(shape))
    except (UnansweredError, UnusableError):
        raise
    except Exception as error:
        # An object of the learner's may raise anything when it is read.
        raise UnusableError(
            f"{what_came(answer)} came, and it cannot be read as numbers. "
            f"Expected: {expectation(shape)}."
        ) from error
    if numbers.is_complex() and not complex_expected:
        raise UnusableError("Complex numbers came. This gradient is real: give real numbers.")
    if not torch.isfinite(numbers).all():
        raise UnusableError(_not_finite(numbers))
    return numbers.to(torch.complex128 if complex_expected else torch.float64)


def is_blank(answer: object) -> bool:
    """Whether the answer is `...` or `None`, or a list or tuple that still contains one."""
    if answer is ... or answer is None:
        return True
    return any(leaf is ... or leaf is None for leaf in _leaves(answer))


def resolution(answer: object) -> float:
    """Half the spacing of the answer's own numbers, relative to their size.

    A bfloat16 tensor holds fewer than three digits: its rounding is not the learner's mistake.
    """
    if is_tensor(answer) and answer.dtype.is_floating_point:  # type: ignore[attr-defined]
        return torch.finfo(answer.dtype).eps / 2  # type: ignore[attr-defined]
    return 0.0


def is_tensor(value: object) -> bool:
    """Whether the value really is a tensor, whatever its `__class__` claims."""
    return issubclass(type(value), Tensor)


def shares_storage(answer: object, tensor: Tensor | None) -> bool:
    """Whether an answer is the same memory as `tensor`: the tensor itself, a view, its array."""
    if tensor is None or tensor.layout is not torch.strided or tensor.is_meta:
        return False
    try:
        own = _plain(answer) if is_tensor(answer) else _from_numpy(answer)
        if own is None or own.layout is not torch.strided or own.is_meta:
            return False
        address = own.untyped_storage().data_ptr()
        return address != 0 and address == tensor.untyped_storage().data_ptr()
    except Exception:
        return False  # an unreadable answer is not autograd's own; `read` says what it is


def what_came(answer: object) -> str:
    """Name what the learner typed, in words: 'A function', 'A list', 'Text' …"""
    kind = type(answer)
    if issubclass(kind, bool):
        return f"The truth value `{bool(answer)}`"
    if issubclass(kind, str):
        return "Text (something between quotes)"
    if issubclass(kind, type):
        return "A type (a class)"
    if issubclass(kind, torch.nn.Module):
        return "A module (a network, not a number)"
    if issubclass(kind, ModuleType):
        return "A Python module"
    if issubclass(kind, BaseException):
        return "An exception"
    if kind.__name__ in {"function", "builtin_function_or_method", "method", "method_descriptor"}:
        return "A function (did you forget the brackets that call it?)"
    if kind.__name__ in {"generator", "map", "filter", "zip"}:
        return "A generator (its numbers are not computed yet)"
    article = "An" if kind.__name__[:1].lower() in "aeiou" else "A"
    return f"{article} `{kind.__name__}`"


def expectation(shape: Sequence[int]) -> str:
    """Say in words what is expected: a number, or a tensor of a shape."""
    return (
        "a single number (shape `()`)"
        if len(shape) == 0
        else f"numbers of shape `{written(shape)}`"
    )


def written(shape: Sequence[int]) -> str:
    """Write a shape the way that Python writes a tuple."""
    return str(tuple(shape))


# -- reading, kind by kind ------------------------------------------------------------------------


def _numbers(answer: object, shape: tuple[int, ...]) -> Tensor:
    kind = type(answer)
    if is_tensor(answer):
        return _from_tensor(_plain(answer), shape)
    array = _from_numpy(answer)
    if array is not None:
        return _from_tensor(array, shape)
    if issubclass(kind, (list, tuple)):
        return _from_sequence(answer, shape)
    if issubclass(kind, Number) and not issubclass(kind, bool):
        _require_shape((), shape)
        return torch.tensor(_number(answer), dtype=_dtype_for(kind), device="cpu")
    if _is_numpy(answer) and kind.__name__ == "ndarray":  # an array of Python objects
        return _from_sequence(answer.tolist(), shape)  # type: ignore[attr-defined]
    raise UnusableError(f"{what_came(answer)} came. Expected: {expectation(shape)}.")


def _plain(answer: Any) -> Tensor:
    """The tensor that a (sub)class of Tensor really holds, without its history."""
    kind = type(answer)
    if kind.__torch_dispatch__ is not Tensor.__torch_dispatch__:
        raise UnusableError(f"A `{kind.__name__}` came. Give a plain tensor instead.")
    with torch._C.DisableTorchFunctionSubclass():
        return Tensor.detach(Tensor.as_subclass(answer, Tensor))


def _from_tensor(tensor: Tensor, shape: tuple[int, ...]) -> Tensor:
    if tensor.is_nested:
        raise UnusableError(f"A nested tensor came. Expected: {expectation(shape)}.")
    _require_shape(tensor.shape, shape)
    if tensor.is_meta:
        raise UnusableError("A tensor on the `meta` device came: it has a shape, but no numbers.")
    if tensor.dtype is torch.bool:
        raise UnusableError(f"Truth values came. Expected: {expectation(shape)}.")
    if tensor.is_quantized:
        raise UnusableError("A quantized tensor came: its numbers are rounded. Give plain floats.")
    if tensor.layout is not torch.strided:
        tensor = tensor.to_dense()
    return tensor.cpu().to(torch.complex128 if tensor.is_complex() else torch.float64)


def _is_numpy(answer: object) -> bool:
    numpy = sys.modules.get("numpy")
    return numpy is not None and issubclass(type(answer), (numpy.ndarray, numpy.generic))


def _from_numpy(answer: object) -> Tensor | None:
    """A tensor over the memory of a NumPy array or scalar of numbers, or None."""
    if not _is_numpy(answer):
        return None
    import numpy as np

    array = np.asarray(answer)
    if np.ma.isMaskedArray(answer):
        raise UnusableError("A masked NumPy array came. Give an array without a mask.")
    if array.dtype.kind not in "fciub":
        if array.dtype.kind == "O":
            return None
        raise UnusableError(f"A NumPy array of `{array.dtype}` came. Expected: numbers.")
    if array.dtype.kind in "fc" and array.dtype.itemsize > (8 if array.dtype.kind == "f" else 16):
        array = array.astype("complex128" if array.dtype.kind == "c" else "float64")
    if not array.dtype.isnative:
        array = array.astype(array.dtype.newbyteorder("="))
    if not array.flags.writeable or any(stride < 0 for stride in array.strides):
        array = array.copy()  # PyTorch warns of the first and refuses the second
    return torch.from_numpy(array) if array.ndim else torch.from_numpy(array.reshape(1))[0]


def _from_sequence(answer: object, shape: tuple[int, ...]) -> Tensor:
    # The shape along the first entries is cheap, also for ten million of them.
    outline = _outline(answer)
    _require_shape(outline, shape)
    return torch.stack(list(_rows(answer, shape))) if shape[0] else torch.zeros(shape)


def _outline(answer: object) -> tuple[int, ...]:
    shape: tuple[int, ...] = ()
    while issubclass(type(answer), (list, tuple)):
        items = _items(answer)
        shape += (len(items),)
        if len(shape) > _DEEPEST:
            raise UnusableError("A list nested too deeply came, or one that contains itself.")
        if not items:
            return shape
        answer = items[0]
    if is_tensor(answer):
        return shape + tuple(_plain(answer).shape)
    if _is_numpy(answer):
        return shape + tuple(answer.shape)  # type: ignore[attr-defined]
    return shape


def _rows(answer: object, shape: tuple[int, ...]) -> Iterator[Tensor]:
    items = _items(answer)
    if len(items) != shape[0]:
        raise UnusableError(
            f"The lists inside your answer have different lengths. Expected: {expectation(shape)}."
        )
    if len(shape) == 1 and all(type(item) in (float, int) for item in items):
        # The usual case, without one tensor per number.
        yield from torch.tensor([_number(i) for i in items], dtype=torch.float64, device="cpu")
        return
    for item in items:
        try:
            row = _numbers(item, shape[1:])
        except _ShapeError as error:
            raise UnusableError(
                f"The parts of your answer have different shapes. Expected: {expectation(shape)}."
            ) from error
        yield row


def _items(answer: object) -> list[object]:
    """The entries of a list or tuple, whatever a subclass makes of `__iter__`."""
    reader = list.__iter__ if issubclass(type(answer), list) else tuple.__iter__
    return list(reader(answer))  # type: ignore[arg-type]


def _leaves(answer: object) -> Iterator[object]:
    """What stands in nested lists and tuples; at most `_SEARCHED` entries are looked at."""
    if not issubclass(type(answer), (list, tuple)):
        return
    waiting, seen = [answer], 0
    while waiting and seen < _SEARCHED:
        for item in _items(waiting.pop())[:_SEARCHED]:
            seen += 1
            if issubclass(type(item), (list, tuple)):
                waiting.append(item)
            else:
                yield item


def _number(value: Any) -> float | complex:
    if issubclass(type(value), complex):
        return complex(value)
    try:
        return float(value)
    except OverflowError:
        raise UnusableError("A number too large for a float came.") from None


def _dtype_for(kind: type) -> torch.dtype:
    return torch.complex128 if issubclass(kind, complex) else torch.float64


class _ShapeError(UnusableError):
    """The shape is another than the one that is expected."""


def _require_shape(came: Sequence[int], expected: tuple[int, ...]) -> None:
    came = tuple(came)
    if came == expected:
        return
    hint = ""
    if len(expected) >= 2 and came == expected[::-1]:
        hint = " Yours is the shape of the transpose."
    elif tuple(n for n in came if n != 1) == tuple(n for n in expected if n != 1):
        hint = " The two differ only in dimensions of size 1."
    elif 0 in came:
        hint = " Yours has no entries."
    raise _ShapeError(
        f"Your answer has shape `{written(came)}`. Expected: {expectation(expected)}.{hint}"
    )


def _not_finite(numbers: Tensor) -> str:
    if torch.isnan(numbers).any():
        return "Your answer contains `nan` (not a number). Look for a division 0/0 in your steps."
    return "Your answer contains `inf` (infinity). Look for a division by zero in your steps."
