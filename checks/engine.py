"""`torch.autograd.grad`, asked without leaving a trace.

The engine fires the learner's hooks and adds to the `.grad` of every tensor on which
`retain_grad()` was called. So the hooks are taken off while it runs, and those `.grad` are put
back.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor

from checks.wording import is_tensor

_TENSOR: Any = Tensor


def gradients(of: Tensor, wrt: Mapping[str, Tensor], v: Tensor) -> dict[str, Tensor | None]:
    """The gradient of `of`, weighted with `v`, with respect to each of `wrt`; None for none.

    Raises:
        RuntimeError: PyTorch's own.
    """
    # Some tensor of the notebook may be of a subclass that answers for itself.
    with torch._C.DisableTorchFunction(), ExitStack() as stack:
        for tensor in [item for item in gc.get_objects() if is_tensor(item)]:
            stack.enter_context(_left_alone(tensor))
        found = torch.autograd.grad(of, list(wrt.values()), v, retain_graph=True, allow_unused=True)
    return dict(zip(wrt, found, strict=True))


@contextmanager
def _left_alone(tensor: Tensor) -> Iterator[None]:
    # Not `tensor.retains_grad`: a subclass may have an attribute of its own under that name.
    hooks = _TENSOR._backward_hooks.__get__(tensor)
    kept = dict(hooks) if hooks else {}
    retains = _TENSOR.retains_grad.__get__(tensor)
    gradient = tensor.grad if retains else None
    try:
        if kept:
            hooks.clear()
        yield
    finally:
        if kept:
            hooks.update(kept)
        if retains:
            tensor.grad = gradient
