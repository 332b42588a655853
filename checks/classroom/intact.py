"""Keep what a cell has no business to change as it was: PyTorch, `checks`, Python's own functions.

A learner who rebinds `torch.allclose` or `builtins.len` is given nothing for it, since no answer is
judged in this process. But the exercises after it should not suffer.
"""

from __future__ import annotations

import builtins
import functools
import gc
import random
import signal
import sys
import warnings
from collections.abc import Callable
from types import ModuleType
from typing import Any

import numpy as np
import torch

_WATCHED = ("builtins", "os", "posix", "sys", "json", "math", "random", "time", "base64", "numbers")
_DRAWING: tuple[Callable[[Any], object], ...] = (
    random.setstate,
    np.random.set_state,
    torch.set_rng_state,
)
_OPEN = {
    "sys": {"stdin", "stdout", "stderr", "last_exc", "last_type", "last_value"},
    "torch": {"Storage"},  # goes with the default dtype, which is a setting
}


@functools.cache
def remember() -> Intact:
    """What there is when this is first called: once, before the forks."""
    return Intact()


class Intact:
    """Remembers modules, classes and settings; `restore` puts back what has been changed."""

    def __init__(self) -> None:
        self._modules = dict(sys.modules)
        self._kept = [(owner, dict(vars(owner))) for owner in self._owners()]
        self._own = {name for name in self._modules if name.split(".")[0] == "checks"}

    def settings(self) -> tuple[Any, ...]:
        """The switches that a cell may have thrown, as they are now."""
        return (
            torch.is_grad_enabled(),
            torch.get_default_dtype(),
            torch.get_default_device(),
            sys.getrecursionlimit(),
            random.getstate(),
            np.random.get_state(),
            torch.get_rng_state(),
        )

    def restore(self, settings: tuple[Any, ...]) -> list[str]:
        """Put everything back; return the names of what had been changed."""
        sys.settrace(None)
        sys.setprofile(None)
        changed = []
        for name, module in self._modules.items():
            if sys.modules.get(name) is not module:
                sys.modules[name] = module
                changed.append(name)
        for owner, before in self._kept:
            changed += _put_back(owner, before, self._own)
        self._restore_settings(settings)
        return changed

    def _owners(self) -> list[ModuleType | type]:
        """What is watched."""
        names = [*_WATCHED, "torch", "torch.autograd", "torch.nn.functional", "torch._C"]
        names += [name for name in self._modules if name.split(".")[0] == "checks"]
        modules: list[ModuleType | type] = [sys.modules[n] for n in names if n in sys.modules]
        return [*modules, torch.Tensor]

    def _restore_settings(self, settings: tuple[Any, ...]) -> None:
        grad, dtype, device, depth, *drawn = settings
        while torch._C._len_torch_function_stack() > 0:
            torch._C._pop_torch_function_stack()
        torch.set_grad_enabled(grad)
        torch.set_default_dtype(dtype)
        if torch.get_default_device() != device:
            torch.set_default_device(device)
        sys.setrecursionlimit(depth)
        # What a lesson draws after an answer is what it draws where the truth is worked out.
        for put_back, state in zip(_DRAWING, drawn, strict=True):
            put_back(state)
        gc.enable()
        warnings.resetwarnings()
        for number in (signal.SIGALRM, signal.SIGVTALRM, signal.SIGPROF):
            signal.signal(number, signal.SIG_IGN)


def _put_back(owner: ModuleType | type, before: dict[str, Any], own: set[str]) -> list[str]:
    """Put back the names of one module or class."""
    now = vars(owner)
    where = owner.__name__
    free = _OPEN.get(where, set())
    changed = []
    for name, value in before.items():
        if now.get(name, now) is not value and name not in free:
            try:
                setattr(owner, name, value)
            except (AttributeError, TypeError):
                continue
            changed.append(f"{where}.{name}")
    if added := now.keys() - before.keys():  # one of them may hide another name
        for name in sorted(added & _behind(owner, own)):
            delattr(owner, name)
            changed.append(f"{where}.{name}")
    return changed


def _behind(owner: ModuleType | type, own: set[str]) -> set[str]:
    """The names behind those of a class, or of a module of ours: its bases', Python's own."""
    if isinstance(owner, type):
        return {name for base in owner.__mro__[1:] for name in vars(base)}
    return {*vars(builtins)} if owner.__name__ in own else set()
