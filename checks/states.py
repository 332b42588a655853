"""What state the notebook may be in, and what to run again: words for all that is not the answer.

Promise only what can be detected: PyTorch's `_version` says that a tensor was changed in place, not
when.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from checks.wording import a, is_tensor, type_name, written

_AGAIN = "Run the cells of this exercise again, from the top."
_LONGEST = 200  # characters of somebody else's error message
FUNCTION = "of()"  # how the result of a function is called in messages


class StateError(Exception):
    """The notebook, not the answer, is in a state in which nothing can be compared."""


def again(name: str) -> str:
    """What to do: names the variable whose cell is to be run again, where there is one."""
    if name in {"of", "wrt", "v", FUNCTION}:
        return _AGAIN
    return f"Run the cell that computes `{name}` again, and those after it."


def checked_input(name: str, tensor: object) -> Tensor:
    """A tensor that a gradient can belong to.

    Raises:
        StateError: it is none.
    """
    if not is_tensor(tensor):
        raise StateError(
            f"The gradient is taken with respect to a tensor, but `{name}` is {a(tensor)}. "
            f"{again(name)}"
        )
    assert isinstance(tensor, Tensor)
    if tensor.is_meta:
        raise StateError(f"`{name}` is on the `meta` device: it has no numbers. {again(name)}")
    if tensor.layout is not torch.strided or tensor.is_nested:
        raise StateError(f"`{name}` is sparse or nested. Give a dense tensor. {again(name)}")
    if not (tensor.is_floating_point() or tensor.is_complex()):
        raise StateError(
            f"`{name}` holds `{tensor.dtype}`. Only floating point and complex tensors can have a "
            f"gradient. {again(name)}"
        )
    return tensor


def tracked(name: str, tensor: Tensor) -> Tensor:
    """The tensor, if PyTorch can keep a gradient for it.

    Raises:
        StateError: it cannot.
    """
    if tensor.is_inference():
        raise StateError(f"`{name}` was made in `torch.inference_mode()`. {again(name)}")
    if not tensor.requires_grad:
        raise StateError(
            f"`{name}` does not require grad, so PyTorch keeps no gradient for it. {again(name)}"
        )
    return tensor


def checked_result(of: object, called: str) -> Tensor:
    """A tensor with a graph.

    Raises:
        StateError: it is none, or has no graph.
    """
    if called == FUNCTION:
        return _checked_returned(of)
    if not is_tensor(of):
        what = "still blank" if of is ... or of is None else a(of)
        raise StateError(f"`{called}` must be a tensor, but it is {what}. {again(called)}")
    assert isinstance(of, Tensor)
    if of.is_meta:
        raise StateError(f"`{called}` is on the `meta` device: it has no numbers. {again(called)}")
    if of.is_inference():
        raise StateError(
            f"`{called}` was computed in `torch.inference_mode()`: it can never have a graph. "
            f"{again(called)}"
        )
    if not of.requires_grad:
        raise StateError(
            f"`{called}` has no graph: it was computed while nothing was tracked (under "
            "`torch.no_grad()`, after `detach()`, or from tensors that do not require grad). "
            f"{again(called)}"
        )
    return of


def _checked_returned(of: object) -> Tensor:
    if not is_tensor(of):
        what = "nothing (is its `return` missing?)" if of is None else a(of)
        raise StateError(f"The function given as `of` must return a tensor, but returned {what}.")
    assert isinstance(of, Tensor)
    if not of.requires_grad:
        raise StateError(
            "What the function given as `of` returns does not depend on its arguments, or nothing "
            "was tracked inside it (`torch.no_grad()`, `detach()`, `.item()`)."
        )
    return of


def checked_upstream(v: object, of: Tensor, called: str) -> Tensor:
    """The upstream gradient, of the shape, dtype and device of `of`; 1 where it was left out.

    Raises:
        StateError: it is missing, or does not fit.
    """
    if v is None:
        if of.numel() != 1 or of.is_complex():
            raise StateError(
                f"`{called}` is not a single real number (its shape is `{written(of.shape)}`), "
                "so a gradient needs weights `v` of the same shape. "
                f"Was `{called}` computed by another cell in between? {again(called)}"
            )
        return torch.ones(of.shape, dtype=of.dtype, device=of.device)
    if not is_tensor(v):
        raise StateError(f"`v` must be a tensor, but it is {a(v)}. {again('v')}")
    assert isinstance(v, Tensor)
    if not v.is_nested and v.shape != of.shape:
        raise StateError(
            f"`v` has shape `{written(v.shape)}`, but `{called}` has shape `{written(of.shape)}`. "
            f"The two must be the same. {again('v')}"
        )
    if v.is_nested:
        raise StateError(f"`v` is nested. Give a dense tensor. {again('v')}")
    coarse = v.is_floating_point() and v.itemsize < 2  # 8 bits and less
    odd = v.is_meta or v.is_quantized or v.layout is not torch.strided
    if odd or coarse or v.dtype is torch.bool:
        raise StateError(f"`v` must hold plain numbers. {again('v')}")
    if v.is_complex() and not of.is_complex():
        raise StateError(f"`v` is complex, but `{called}` is real. {again('v')}")
    if not torch.isfinite(v).all():
        raise StateError(f"`v` contains `nan` or `inf`. {again('v')}")
    # A copy: a torch.autograd.Function may compute in the tensor that it is given.
    return v.detach().to(device=of.device, dtype=of.dtype, copy=True)


def not_connected(name: str, tensor: Tensor, called: str) -> StateError:
    """The error where no path leads from `of` to a tensor."""
    if called == FUNCTION:
        return StateError(
            f"What the function given as `of` returns does not depend on `{name}`. It is called "
            "with the tensors of `wrt`, in their order, and must use these."
        )
    text = f"`{called}` does not depend on `{name}`: no path of its graph leads there."
    if tensor._version and not tensor.is_leaf:
        text += f" `{name}` has been changed in place, perhaps after `{called}` was computed."
    else:
        text += f" Perhaps `{name}` was made anew after `{called}` was computed."
    return StateError(f"{text} {again(name)}")


def changed_since(leaf: str, result: str) -> str:
    """What to say where a leaf was changed after something was computed from it."""
    return (
        f"{leaf[0].upper()}{leaf[1:]} has been changed after {result} was computed from it, so the "
        "graph still belongs to the old value. Run the cells from there on again."
    )


def not_finite(name: str, called: str) -> StateError:
    """The error where the truth itself is `nan` or `inf`."""
    return StateError(
        f"PyTorch's own gradient of `{called}` with respect to `{name}` is not finite here (`nan` "
        "or `inf`), so there is nothing to compare with. Look at the values that go into it. "
        f"{again(called)}"
    )


_KNOWN_STATES = {
    "freed": (
        "The graph of `{called}` has been freed: `backward()` has already been called on it, "
        "and that gives the saved values away."
    ),
    "changed": (
        "A tensor that the graph of `{called}` needs has been changed in place since, so its "
        "gradient can no longer be computed."
    ),
    "checkpoint": (
        "The graph of `{called}` holds a `checkpoint(…, use_reentrant=True)`, and such a graph "
        "cannot be checked step by step. With `use_reentrant=False` it can."
    ),
}
_CANNOT_BE = {"checkpoint"}  # here, nothing is gained by running a cell again


def known(error: Exception) -> str:
    """Which of the states of a graph an error of PyTorch's means, such as 'freed'; '' for none."""
    text = message(error)
    if "second time" in text or "already been freed" in text:
        return "freed"
    if "modified by an inplace operation" in text:
        return "changed"
    if "use_reentrant=True" in text:
        return "checkpoint"
    return ""


def quoted(error: BaseException) -> str:
    """An error as a sentence: its kind, and its own words where it has any."""
    words = message(error).rstrip(" .:")
    return f"`{type_name(error)}`: {words}." if words else f"`{type_name(error)}`."


def message(error: BaseException) -> str:
    """The first sentence of an error's text. An exception of the learner's may fail to give one."""
    try:
        text = " ".join(str(error).split())
    except Exception:
        return ""
    return re.split(r"(?<=[.!?])\s", text)[0][:_LONGEST]


@contextmanager
def explained(called: str) -> Iterator[None]:
    """Turn what PyTorch raises into a sentence for the learner.

    Raises:
        StateError: in place of any other error.
    """
    try:
        yield
    except StateError:
        raise
    except Exception as error:
        raise StateError(reason(error, called)) from error


def reason(error: Exception, called: str) -> str:
    """Why a graph cannot be differentiated, and what to do."""
    text = _KNOWN_STATES.get(known(error), "").format(called=called)
    if not text:
        text = f"PyTorch cannot differentiate `{called}`. It says: {quoted(error)}"
    return text if known(error) in _CANNOT_BE else f"{text} {again(called)}"
