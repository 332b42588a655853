"""What a check must leave as it was: the learner's tensors, and the switches of the process."""

import contextlib
import random
import warnings

import numpy as np
import torch

PLAIN = torch.Tensor


def of_tensor(tensor):
    """Everything that can be seen of a tensor, to be compared later."""
    get = {name: getattr(PLAIN, name).__get__(tensor) for name in ("requires_grad", "_version")}
    if not get["requires_grad"]:
        return get
    keeps = PLAIN.is_leaf.__get__(tensor) or PLAIN.retains_grad.__get__(tensor)
    gradient = PLAIN.grad.__get__(tensor) if keeps else None
    hooks = PLAIN._backward_hooks.__get__(tensor)
    return get | {
        "retains_grad": PLAIN.retains_grad.__get__(tensor),
        "grad": id(gradient),
        "values of grad": None if gradient is None else gradient.tolist(),
        "version of grad": None if gradient is None else gradient._version,
        "hooks": None if hooks is None else list(hooks.items()),
    }


def of_process():
    """The switches and random states of the process."""
    return {
        "torch": torch.get_rng_state().numpy().tobytes(),
        "numpy": [getattr(part, "tobytes", lambda p=part: p)() for part in np.random.get_state()],
        "python": random.getstate(),
        "grad mode": torch.is_grad_enabled(),
        "inference mode": torch.is_inference_mode_enabled(),
        "default dtype": torch.get_default_dtype(),
        "default device": str(torch.get_default_device()),
        "autocast": torch.is_autocast_enabled("cpu"),
        "anomaly": torch.is_anomaly_enabled(),
        "threads": torch.get_num_threads(),
        "filters": list(warnings.filters),
    }


@contextlib.contextmanager
def nothing_disturbed(*tensors):
    """Fail where anything but the result of the code inside has changed."""
    before = [of_tensor(tensor) for tensor in tensors], of_process()
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        filters = list(warnings.filters)
        yield
        assert list(warnings.filters) == filters
    assert [str(warning.message) for warning in seen] == []
    after = [of_tensor(tensor) for tensor in tensors], of_process()
    assert before == after
