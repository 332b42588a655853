"""What PyTorch says: the gradient, the vector-Jacobian product, the Jacobian of a live graph.

The numbers come from PyTorch's own backward formulas, node by node (`backward`), because that
leaves the learner's notebook alone: no hook fires, no `.grad` is written, the graph stays. Where a
node cannot be called by itself, `torch.autograd.grad` is asked.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from checks import backward
from checks.answers import is_tensor, written
from checks.backward import Edge, Node, Pass

# The last words of the sentences about a notebook in an unexpected state.
_AGAIN = "Run the cells that compute it again, from the top of the exercise."


class StateError(Exception):
    """The notebook, not the answer, is in a state in which nothing can be compared."""


@dataclass(frozen=True)
class Question:
    """What a check asks of PyTorch: the gradient of `of`, weighted with `v`, at each of `wrt`.

    `names` are the names under which the learner knows `of`, `v` and the tensors of the graph; they
    are used in messages only.
    """

    of: Tensor
    wrt: Mapping[str, Tensor]
    v: Tensor
    called: str = "of"

    @cached_property
    def root(self) -> Edge:
        """Edge of the result."""
        return backward.edge(self.of)

    @cached_property
    def edges(self) -> dict[str, Edge]:
        """Edge of each tensor in `wrt`."""
        return {name: backward.edge(tensor) for name, tensor in self.wrt.items()}

    @cached_property
    def nodes(self) -> list[Node]:
        """The nodes between the result and `wrt`, the result's first."""
        return backward.order(self.root[0], {node for node, _ in self.edges.values()})

    @cached_property
    def inside(self) -> frozenset[Node]:
        """The same nodes, to look up."""
        return frozenset(self.nodes)

    @cached_property
    def seen(self) -> Pass:
        """The backward pass over these nodes, as PyTorch's formulas make it."""
        return backward.run(self.root, self.v, self.nodes)

    @cached_property
    def gradients(self) -> dict[str, Tensor]:
        """The true gradients, each of the shape of its tensor, detached, on the CPU.

        Raises:
            StateError: the graph was freed or changed, or a gradient is not finite.
        """
        with _explained(self.called):
            try:
                arriving = self.seen.arriving
                found = {name: arriving.get(edge) for name, edge in self.edges.items()}
            except RuntimeError as error:
                if _KNOWN_STATES.get(_cause(error)):
                    raise
                found = self._from_engine()
        return {name: self._finished(name, gradient) for name, gradient in found.items()}

    def _from_engine(self) -> dict[str, Tensor | None]:
        with torch.inference_mode(False):
            gradients = torch.autograd.grad(
                self.of, list(self.wrt.values()), self.v, retain_graph=True, allow_unused=True
            )
        return dict(zip(self.wrt, gradients, strict=True))

    def _finished(self, name: str, gradient: Tensor | None) -> Tensor:
        tensor = self.wrt[name]
        with torch.no_grad():
            if gradient is None:  # PyTorch's way to say that nothing flows back
                return torch.zeros(tensor.shape, dtype=tensor.dtype, device="cpu")
            if gradient.layout is not torch.strided:
                gradient = gradient.to_dense()
            gradient = gradient.detach().cpu()
            if not torch.isfinite(gradient).all():
                raise StateError(
                    f"PyTorch's own gradient of `{self.called}` with respect to `{name}` "
                    "is not finite here (`nan` or `inf`), so there is nothing to compare with. "
                    f"Look at the values that go into it. {_AGAIN}"
                )
            return gradient


def ask(
    of: object,
    wrt: Mapping[str, object],
    v: object = None,
    *,
    called: str = "of",
) -> Question:
    """Look whether PyTorch can answer, and put the question.

    Args:
        of: a tensor with a graph, or a function that computes one from the `wrt` tensors, which are
            then passed to it in order.
        wrt: the tensors (by name) to differentiate with respect to.
        v: upstream gradient of the shape of `of`; may be left out where `of` is a single number.
        called: the name of `of` for messages.

    Raises:
        StateError: with a sentence for the learner that says what to run again.
    """
    inputs = {name: _checked_input(name, tensor) for name, tensor in wrt.items()}
    if not is_tensor(of) and callable(of):
        inputs = {name: fresh(tensor) for name, tensor in inputs.items()}
        of = evaluate(of, inputs)
    result = _checked_result(of, called)
    for name, tensor in inputs.items():
        if not tensor.requires_grad:
            raise StateError(
                f"`{name}` does not require grad, so PyTorch keeps no gradient for it. "
                f"{_again(name)}"
            )
    question = Question(result, inputs, _checked_upstream(v, result, called), called)
    for name, edge in question.edges.items():
        if edge[0] not in question.inside:
            raise StateError(_not_connected(name, inputs[name], called))
    return question


def jacobian(of: object, wrt: Mapping[str, object], *, called: str = "of") -> Tensor:
    """Compute J with J[i, j] = ∂y_i/∂x_j (numerator layout), of shape `of.shape + wrt.shape`.

    One vector-Jacobian product with a one-hot v for each entry of `of`.

    Raises:
        StateError: as `ask`.
    """
    ((name, tensor),) = wrt.items()
    if not is_tensor(of) and callable(of):
        inputs = {name: fresh(_checked_input(name, tensor))}
        of, wrt = evaluate(of, inputs), inputs
    result = _checked_result(of, called)
    rows = []
    for i in range(result.numel()):
        one_hot = torch.zeros(result.shape, dtype=result.dtype, device=result.device)
        one_hot.view(-1)[i] = 1
        rows.append(ask(result, wrt, one_hot, called=called).gradients[name])
    shape = (*result.shape, *wrt[name].shape)  # type: ignore[attr-defined]
    return torch.stack(rows).reshape(shape) if rows else torch.zeros(shape)


def fresh(tensor: Tensor) -> Tensor:
    """A copy of a tensor that is a leaf of its own: the learner's is left alone."""
    with torch.inference_mode(False), torch.no_grad():
        copy = tensor.detach().clone()
    return copy.requires_grad_()


def evaluate(function: Callable[..., Any], inputs: Mapping[str, Tensor]) -> object:
    """Call a function of the inputs with gradients on, and leave the random state alone.

    Raises:
        StateError: the function raised.
    """
    with torch.inference_mode(False), torch.enable_grad(), torch.random.fork_rng(devices=[]):
        try:
            return function(*inputs.values())
        except Exception as error:
            raise StateError(
                f"The function given as `of` raised {type(error).__name__}: {error}."
            ) from error


# -- what the notebook may have done --------------------------------------------------------------


def _checked_input(name: str, tensor: object) -> Tensor:
    if not is_tensor(tensor):
        raise StateError(
            f"`wrt` must be a tensor, or a dict of tensors, but `{name}` is "
            f"{_a(tensor)}. {_again(name)}"
        )
    assert isinstance(tensor, Tensor)
    if tensor.is_meta:
        raise StateError(f"`{name}` is on the `meta` device: it has no numbers. {_again(name)}")
    if not (tensor.is_floating_point() or tensor.is_complex()):
        raise StateError(
            f"`{name}` holds `{tensor.dtype}`. Only floating point and complex tensors can have a "
            f"gradient. {_again(name)}"
        )
    return tensor


def _checked_result(of: object, called: str) -> Tensor:
    if not is_tensor(of):
        hint = " It is still blank." if of is ... or of is None else ""
        raise StateError(f"`{called}` must be a tensor, but it is {_a(of)}.{hint} {_again(called)}")
    assert isinstance(of, Tensor)
    if of.is_meta:
        raise StateError(f"`{called}` is on the `meta` device: it has no numbers. {_again(called)}")
    if of.is_inference():
        raise StateError(
            f"`{called}` was computed in `torch.inference_mode()`: it can never have a graph. "
            f"{_again(called)}"
        )
    if not of.requires_grad:
        raise StateError(
            f"`{called}` has no graph: it was computed while nothing was tracked (under "
            "`torch.no_grad()`, after `detach()`, or from tensors that do not require grad). "
            f"{_again(called)}"
        )
    return of


def _checked_upstream(v: object, of: Tensor, called: str) -> Tensor:
    if v is None:
        if of.numel() != 1 or of.is_complex():
            raise StateError(
                f"`{called}` is not a single real number (its shape is `{written(of.shape)}`), "
                "so a gradient needs weights `v` of the same shape. "
                f"Was `{called}` computed by another cell in between? {_again(called)}"
            )
        return torch.ones(of.shape, dtype=of.dtype, device=of.device)
    if not is_tensor(v):
        raise StateError(f"`v` must be a tensor, but it is {_a(v)}. {_again('v')}")
    assert isinstance(v, Tensor)
    if v.shape != of.shape:
        raise StateError(
            f"`v` has shape `{written(v.shape)}`, but `{called}` has shape `{written(of.shape)}`. "
            f"The two must be the same. {_again('v')}"
        )
    if v.is_meta or v.dtype is torch.bool:
        raise StateError(f"`v` must hold plain numbers. {_again('v')}")
    if v.is_complex() and not of.is_complex():
        raise StateError(f"`v` is complex, but `{called}` is real. {_again('v')}")
    return v.detach().to(device=of.device, dtype=of.dtype)


def _not_connected(name: str, tensor: Tensor, called: str) -> str:
    text = f"`{called}` does not depend on `{name}`: no path of its graph leads there."
    if tensor._version and not tensor.is_leaf:
        text += f" `{name}` has been changed in place, perhaps after `{called}` was computed."
    else:
        text += f" Perhaps `{name}` was made anew after `{called}` was computed."
    return f"{text} {_again(name)}"


_KNOWN_STATES = {
    "freed": (
        "The graph of `{called}` has been freed: `backward()` has already been called on it, "
        "and that gives the saved values away."
    ),
    "changed": (
        "A tensor that the graph of `{called}` needs has been changed in place since, so its "
        "gradient can no longer be computed."
    ),
}


def _cause(error: RuntimeError) -> str:
    text = str(error)
    if "second time" in text or "already been freed" in text:
        return "freed"
    if "modified by an inplace operation" in text:
        return "changed"
    return ""


@contextmanager
def _explained(called: str) -> Iterator[None]:
    try:
        yield
    except StateError:
        raise
    except Exception as error:
        known = _KNOWN_STATES.get(_cause(error)) if isinstance(error, RuntimeError) else None
        text = (known or "PyTorch cannot differentiate `{called}`: ").format(called=called)
        if not known:
            text += f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"
        raise StateError(f"{text} {_again(called)}") from error


def _a(value: object) -> str:
    kind = type(value).__name__
    if kind in {"function", "method", "builtin_function_or_method"}:
        return "a function (is a pair of brackets missing?)"
    return f"{'an' if kind[:1].lower() in 'aeiou' else 'a'} `{kind}`"


def _again(name: str) -> str:
    if name in {"of", "wrt", "v"}:
        return _AGAIN
    return f"Run the cell that computes `{name}` again, and those after it."
