"""Nested lists, tuples and object arrays, read without trusting what they say of themselves."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from itertools import islice

_SEARCHED = 10_000  # entries that `leaves` looks at


def leaves(answer: object) -> Iterator[object]:
    """What stands in nested lists, tuples and object arrays, or the answer itself.

    At most `_SEARCHED` entries are looked at, so that a list may contain itself.
    """
    waiting, seen = [answer], 0
    while waiting and seen < _SEARCHED:
        item = waiting.pop()
        seen += 1
        inside = opened(item)
        if inside is None:
            yield boxed(item)
        else:
            room = _SEARCHED - seen - len(waiting)
            waiting += list(islice(entries(inside), max(room, 0)))[::-1]


def opened(answer: object) -> list[object] | tuple[object, ...] | None:
    """A list or tuple as it is, an array of Python objects as a list, anything else as None."""
    if issubclass(type(answer), (list, tuple)):
        return answer  # type: ignore[return-value]
    if is_numpy(answer) and issubclass(type(answer), sys.modules["numpy"].ndarray):
        array = sys.modules["numpy"].asarray(answer)
        if array.dtype.kind == "O" and array.ndim:
            return list(array)
    return None


def boxed(answer: object) -> object:
    """What a NumPy array without axes holds, where that is a Python object; else the value."""
    if is_numpy(answer) and issubclass(type(answer), sys.modules["numpy"].ndarray):
        array = sys.modules["numpy"].asarray(answer)
        if array.dtype.kind == "O" and not array.ndim:
            return array.item()
    return answer


def entries(inside: list[object] | tuple[object, ...]) -> Iterator[object]:
    """The entries of a list or tuple, whatever a subclass makes of `__iter__`."""
    reader = list.__iter__ if issubclass(type(inside), list) else tuple.__iter__
    return reader(inside)  # type: ignore[arg-type]


def length(inside: list[object] | tuple[object, ...]) -> int:
    """The number of entries, whatever a subclass makes of `__len__`."""
    reader = list.__len__ if issubclass(type(inside), list) else tuple.__len__
    return reader(inside)  # type: ignore[arg-type]


def is_numpy(answer: object) -> bool:
    """Whether a value is a NumPy array or scalar. NumPy is not imported for it."""
    numpy = sys.modules.get("numpy")
    return numpy is not None and issubclass(type(answer), (numpy.ndarray, numpy.generic))
