"""Words for what came and for what was expected.

A message must not fail, whatever the object it speaks of is: nothing here asks an object about
itself. Its type is taken with `type()`, and the type's name from `type` itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from types import ModuleType

import torch
from torch import Tensor

_CALLS = {"function", "builtin_function_or_method", "method", "method_descriptor", "partial"}
_LATER = {"generator", "map", "filter", "zip", "coroutine"}
_LONGEST_NAME = 40
_MOST_AXES = 8


def is_tensor(value: object) -> bool:
    """Whether the value really is a tensor, whatever its `__class__` claims."""
    return issubclass(type(value), Tensor)


def type_name(value: object) -> str:
    """The name of a value's type, fit to stand between backticks."""
    name: str = type.__dict__["__name__"].__get__(type(value))
    return "".join(c for c in name if c.isprintable() and c != "`")[:_LONGEST_NAME] or "object"


def a(value: object) -> str:
    """Name what a value is, inside a sentence: 'a function', 'a `list`', 'an `int`' …"""
    kind = type(value)
    if issubclass(kind, bool):
        return f"the truth value `{bool(value)}`"
    if issubclass(kind, str):
        return "text (something between quotes)"
    if issubclass(kind, type):
        return "a type (a class)"
    if issubclass(kind, torch.nn.Module):
        return "a module (a network, not a number)"
    if issubclass(kind, ModuleType):
        return "a Python module"
    if issubclass(kind, BaseException):
        return "an exception"
    name = type_name(value)
    if name in _CALLS:
        return "a function (did you forget the brackets that call it?)"
    if name in _LATER:
        return f"a {name} (its values are not computed yet: put `list(…)` around it)"
    return f"{'an' if name[:1].lower() in 'aeiou' else 'a'} `{name}`"


def what_came(value: object) -> str:
    """The same, to begin a sentence."""
    text = a(value)
    return text[0].upper() + text[1:]


def expectation(shape: Sequence[int]) -> str:
    """Say in words what is expected: a number, or a tensor of a shape."""
    if len(shape) == 0:
        return "a single number (shape `()`)"
    return f"a tensor or a list of numbers, of shape `{written(shape)}`"


def written(shape: Sequence[int]) -> str:
    """Write a shape the way that Python writes a tuple."""
    if len(shape) > _MOST_AXES:
        return f"({', '.join(map(str, shape[:_MOST_AXES]))}, …)"
    return str(tuple(shape))


def listed(names: Sequence[object]) -> str:
    """Write names or keys as code, with commas; what is not text is named by its kind."""
    return ", ".join(f"`{name}`" if type(name) is str else a(name) for name in names)
