"""What the learner typed → a tensor, or the reason why it cannot be one.

A learner may type anything. So nothing here trusts what an object says of itself: types are taken
with `type()`, containers are read with the methods of `list` and `tuple` (`nesting`), and a tensor
subclass is read as the plain tensor that it holds.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from numbers import Number
from typing import Any

import torch
from torch import Tensor

from checks.nesting import boxed, entries, is_numpy, leaves, length, opened
from checks.wording import a, expectation, is_tensor, type_name, what_came, written

_DEEPEST = 64  # PyTorch has no tensor with more dimensions
_COARSEST = 2.0**-7  # the spacing of bfloat16; no number format with less is read


class UnansweredError(Exception):
    """The blank is still there."""


class UnusableError(Exception):
    """The answer cannot be compared; the text says what came and what was expected."""


class _KindError(UnusableError):
    """A value that is no number, and no container of numbers."""

    def __init__(self, value: object) -> None:
        super().__init__()
        self.value = value


class _RaggedError(UnusableError):
    """Lists inside the answer differ in shape."""


class ShapeError(UnusableError):
    """The shape is another than the one that is expected.

    `came` is the answer's shape, and `bare` the text without the hint how the two are related.
    """

    def __init__(self, sentence: str, came: tuple[int, ...], hint: str = "") -> None:
        super().__init__(sentence + hint)
        self.came = came
        self.bare = sentence


def read(
    answer: object,
    shape: Sequence[int],
    *,
    complex_expected: bool = False,
    finite: bool = True,
) -> Tensor:
    """Read an answer as numbers.

    Args:
        answer: whatever the learner typed.
        shape: the shape that the answer must have. Nothing is broadcast or reshaped to fit it.
        complex_expected: whether the quantity is complex.
        finite: whether `nan` and `inf` are refused.

    Returns:
        A dense float64 (or complex128) tensor on the CPU, of that shape.

    Raises:
        UnansweredError: the answer is `...` or `None`, or contains one of them.
        UnusableError: anything else that is not an array of numbers of that shape.
    """
    if is_blank(answer):
        raise UnansweredError
    try:
        numbers = _numbers(answer, tuple(shape))
    except _KindError as error:
        came = (
            f"{what_came(answer)} came"
            if error.value is answer
            else f"Your answer contains {a(error.value)}"
        )
        raise UnusableError(f"{came}. Expected: {expectation(shape)}.") from None
    except _RaggedError:
        raise UnusableError(
            "The parts of your answer differ in length or in depth. "
            f"Expected: {expectation(shape)}."
        ) from None
    except (UnansweredError, UnusableError):
        raise
    except (Exception, SystemExit, GeneratorExit) as error:
        # An object of the learner's may raise anything when it is read.
        raise UnusableError(
            f"{what_came(answer)} came, and it cannot be read as numbers. "
            f"Expected: {expectation(shape)}."
        ) from error
    if numbers.is_complex() and not complex_expected:
        raise UnusableError("Complex numbers came. Expected: real numbers.")
    if finite and not torch.isfinite(numbers).all():
        raise UnusableError(_not_finite(numbers))
    return numbers.to(torch.complex128 if complex_expected else torch.float64)


def is_blank(answer: object) -> bool:
    """Whether the answer is `...` or `None`, or a list or tuple that still contains one."""
    return any(leaf is ... or leaf is None for leaf in leaves(answer))


def resolution(answer: object) -> float:
    """Half the spacing of the coarsest number format in the answer, relative to the numbers.

    A float16 or bfloat16 tensor holds hardly three digits: its rounding is not the learner's
    mistake.
    """
    return max((_rounding(leaf) for leaf in leaves(answer)), default=0.0)


def shares_storage(answer: object, tensor: Tensor | None) -> bool:
    """Whether an answer is the memory of `tensor`: itself, a view, its array, a list of views."""
    if tensor is None:
        return False
    address = _address(tensor)
    return any(
        leaf is tensor or (address != 0 and _address(leaf) == address) for leaf in leaves(answer)
    )


def as_tensor(answer: object) -> Tensor:
    """The plain tensor that a tensor (or a subclass), an array or a NumPy scalar holds.

    Raises:
        UnusableError: it holds no numbers that can be read.
    """
    return _plain(answer) if is_tensor(answer) else _from_numpy(answer)


# -- reading, kind by kind ------------------------------------------------------------------------


def _numbers(answer: object, shape: tuple[int, ...]) -> Tensor:
    if answer is ... or answer is None:
        raise UnansweredError
    kind = type(answer)
    if is_tensor(answer):
        return _from_tensor(_plain(answer), shape)
    inside = opened(answer)
    if inside is not None:
        return _from_sequence(inside, shape)
    if is_numpy(answer):
        held = boxed(answer)
        if held is not answer:
            return _numbers(held, shape)
        return _from_tensor(_from_numpy(answer), shape)
    if issubclass(kind, Number) and not issubclass(kind, bool):
        _require_shape((), shape)
        return _one_number(answer)
    raise _KindError(answer)


def _plain(answer: Any) -> Tensor:
    """The tensor that a (sub)class of Tensor really holds, without its history."""
    kind = type(answer)
    if kind.__torch_dispatch__ is not Tensor.__torch_dispatch__:
        raise UnusableError(f"A `{type_name(answer)}` came. Give a plain tensor instead.")
    with torch._C.DisableTorchFunctionSubclass():
        return Tensor.detach(answer)


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
    if tensor.is_floating_point() and torch.finfo(tensor.dtype).eps > _COARSEST:
        raise UnusableError(
            f"A tensor of `{tensor.dtype}` came: its numbers are too coarse. Give plain floats."
        )
    if tensor.layout is not torch.strided:
        tensor = tensor.to_dense()
    return tensor.cpu().to(torch.complex128 if tensor.is_complex() else torch.float64)


def _from_numpy(answer: object) -> Tensor:
    """A tensor over the memory of a NumPy array or scalar of numbers."""
    import numpy as np

    if issubclass(type(answer), np.ma.MaskedArray):
        raise UnusableError("A masked NumPy array came. Give an array without a mask.")
    array = np.asarray(answer)
    kind, size = array.dtype.kind, array.dtype.itemsize
    if kind not in "fciub":
        content = {"U": "text", "S": "bytes", "M": "dates"}.get(kind, f"`{array.dtype}`")
        raise UnusableError(f"A NumPy array of {content} came. Expected: numbers.")
    if size > {"f": 8, "c": 16}.get(kind, size):  # long doubles
        array = array.astype("complex128" if kind == "c" else "float64")
    if not array.dtype.isnative:
        array = array.astype(array.dtype.newbyteorder("="))
    if not array.flags.writeable or any(stride < 0 for stride in array.strides):
        array = array.copy()  # PyTorch warns of the first and refuses the second
    return torch.from_numpy(array) if array.ndim else torch.from_numpy(array.reshape(1))[0]


def _from_sequence(inside: list[object] | tuple[object, ...], shape: tuple[int, ...]) -> Tensor:
    # The shape along the first entries is cheap, also for ten million of them.
    _require_shape(_outline(inside), shape)
    items = list(entries(inside))
    if len(items) != shape[0]:
        raise UnusableError("A list came whose length is not what it says.")
    if not items:
        return torch.zeros(shape, dtype=torch.float64)
    if len(shape) == 1 and all(type(item) in (float, int) for item in items):
        # The usual case, without one tensor per number.
        return torch.tensor([_float(item) for item in items], dtype=torch.float64)
    return torch.stack([_row(item, shape) for item in items])


def _row(item: object, shape: tuple[int, ...]) -> Tensor:
    try:
        return _numbers(item, shape[1:])
    except ShapeError:
        raise _RaggedError from None


def _outline(answer: object) -> tuple[int, ...]:
    """The shape along the first entries."""
    shape: tuple[int, ...] = ()
    inside = opened(answer)
    while inside is not None:
        shape += (length(inside),)
        if len(shape) > _DEEPEST:
            raise UnusableError("A list nested too deeply came, or one that contains itself.")
        if not shape[-1]:
            return shape
        answer = boxed(next(entries(inside)))
        inside = opened(answer)
    if is_tensor(answer):
        return shape + tuple(_plain(answer).shape)
    if is_numpy(answer):
        return shape + tuple(_from_numpy(answer).shape)
    return shape


def _one_number(value: Any) -> Tensor:
    if issubclass(type(value), complex):
        return torch.tensor(complex(value), dtype=torch.complex128)
    return torch.tensor(_float(value), dtype=torch.float64)


def _float(value: Any) -> float:
    try:
        return float(value)
    except OverflowError:
        raise UnusableError("A number came that is too large for a float.") from None


def _rounding(leaf: object) -> float:
    if is_tensor(leaf):
        dtype = _plain(leaf).dtype
        inexact = dtype.is_floating_point or dtype.is_complex
        return torch.finfo(dtype).eps / 2 if inexact else 0.0
    if is_numpy(leaf) and leaf.dtype.kind in "fc":  # type: ignore[attr-defined]
        return float(sys.modules["numpy"].finfo(leaf.dtype).eps) / 2  # type: ignore[attr-defined]
    return 0.0


def _address(leaf: object) -> int:
    """Where the memory of an array begins; 0 for what has none that can be known."""
    try:
        own = _plain(leaf) if is_tensor(leaf) else _from_numpy(leaf) if is_numpy(leaf) else None
        if own is None or own.is_meta:
            return 0
        if own.layout is not torch.strided:
            own = own._values() if own.is_sparse else own.values()
        return own.untyped_storage().data_ptr()
    except Exception:
        return 0  # an unreadable answer is not autograd's own; `read` says what it is


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
    whose = f"has shape `{written(came)}`" if came else "is a single number (shape `()`)"
    raise ShapeError(f"Your answer {whose}. Expected: {expectation(expected)}.", came, hint)


def _not_finite(numbers: Tensor) -> str:
    if torch.isnan(numbers).any():
        return "Your answer contains `nan` (not a number). Look for a division 0/0 in your steps."
    return "Your answer contains `inf` (infinity). Look for a division by zero in your steps."
