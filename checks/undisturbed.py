"""Leave the learner's notebook as it was, whatever happens during a check."""

from __future__ import annotations

import random
import sys
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import torch


@contextmanager
def undisturbed() -> Iterator[None]:
    """Compute with nothing tracked, and put every switch back afterwards.

    Also when the check raises or is interrupted: grad mode, inference mode, default dtype, the
    random states of PyTorch, NumPy and Python. No warning is shown: it would be a warning about
    the check, not about what the learner wrote.

    Inside, PyTorch's own functions are used on every tensor: a default device, a mode or a subclass
    with a `__torch_function__` of its own cannot change what a check sees.
    """
    dtype = torch.get_default_dtype()
    with ExitStack() as stack:
        stack.enter_context(_random_states_kept())
        stack.enter_context(warnings.catch_warnings(action="ignore"))
        stack.enter_context(torch.inference_mode(False))
        stack.enter_context(torch.no_grad())
        stack.enter_context(torch._C.DisableTorchFunction())
        for device in ("cpu", "cuda"):
            if torch.is_autocast_enabled(device):
                stack.enter_context(torch.autocast(device, enabled=False))
        try:
            yield
        finally:
            torch.set_default_dtype(dtype)


@contextmanager
def as_in_the_notebook() -> Iterator[None]:
    """Inside a check, run the notebook's own code: with gradients on, and subclasses respected."""
    with torch.inference_mode(False), torch.enable_grad(), torch._C._EnableTorchFunction():
        yield


@contextmanager
def _random_states_kept() -> Iterator[None]:
    python, own = random.getstate(), torch.get_rng_state()
    with_cuda = torch.cuda.is_initialized()  # type: ignore[no-untyped-call]
    cuda = torch.cuda.get_rng_state_all() if with_cuda else []
    numpy = sys.modules.get("numpy.random")
    theirs = numpy.get_state() if numpy else None
    try:
        yield
    finally:
        random.setstate(python)
        torch.set_rng_state(own)
        if cuda:
            torch.cuda.set_rng_state_all(cuda)
        if numpy:
            numpy.set_state(theirs)
