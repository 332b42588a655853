"""Leave the learner's notebook as it was, whatever happens during a check."""

from __future__ import annotations

import random
import sys
import threading
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import torch
from torch.utils._python_dispatch import _disable_current_modes

# Filters of warnings and random states belong to the process: two checks at once would put back
# each other's. A check may be inside another, in the same thread.
_one_at_a_time = threading.RLock()
_PATIENCE = 10.0  # seconds: the code that a check runs may wait for a thread that checks, too
_thread = threading.local()


@contextmanager
def undisturbed() -> Iterator[None]:
    """Compute with nothing tracked, and put every switch back afterwards.

    Also when the check raises or is interrupted: grad mode, inference mode, default dtype, the
    random states of PyTorch, NumPy and Python. No warning is shown: it would be a warning about
    the check, not about what the learner wrote.

    Inside, PyTorch's own functions are used on every tensor: a default device, a mode or a subclass
    with a `__torch_function__` of its own cannot change what a check sees. Nor does a mode see the
    check: one that counts operations does not count these.

    Only one thread is inside at a time.
    """
    with ExitStack() as stack:
        stack.enter_context(_alone())
        if torch._C._len_torch_dispatch_stack():
            stack.enter_context(_disable_current_modes())
        stack.enter_context(_random_states_kept())
        stack.enter_context(warnings.catch_warnings(action="ignore"))
        stack.enter_context(torch.inference_mode(False))
        stack.enter_context(torch.no_grad())
        stack.enter_context(torch._C.DisableTorchFunction())
        for device in ("cpu", "cuda"):
            if torch.is_autocast_enabled(device):
                stack.enter_context(torch.autocast(device, enabled=False))
        dtype = torch.get_default_dtype()
        try:
            yield
        finally:
            torch.set_default_dtype(dtype)


@contextmanager
def as_in_the_notebook() -> Iterator[None]:
    """Inside a check, run the notebook's own code: with gradients on, and subclasses respected."""
    with torch.inference_mode(False), torch.enable_grad(), torch._C._EnableTorchFunction():
        yield


def this_thread_helps() -> None:
    """Say that this thread works for a check that another one makes, and waits for."""
    _thread.helps = True


@contextmanager
def _alone() -> Iterator[None]:
    helps = getattr(_thread, "helps", False)
    mine = not helps and _one_at_a_time.acquire(timeout=_PATIENCE)
    try:
        yield
    finally:
        if mine:
            _one_at_a_time.release()


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
