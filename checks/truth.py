"""What PyTorch says: the gradient, the vector-Jacobian product, the Jacobian of a live graph.

The numbers come from PyTorch's own backward formulas, node by node (`backward`), because that
leaves the learner's notebook alone: no hook fires, no `.grad` is written, the graph stays. Where a
node cannot be called by itself, `torch.autograd.grad` is asked (`engine`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from checks import backward, engine, states
from checks.backward import Edge, Gradients, Node, Pass
from checks.states import StateError
from checks.undisturbed import as_in_the_notebook
from checks.wording import is_tensor

_SHAKES = 3  # passes that look how far rounding moves a gradient
_MOST_SHAKEN = 1_000_000  # entries
_MOST_LEFT = 1 / 40  # of what cancels, however coarse the number format
# So many roundings are granted to an entry that is nothing but rounding. Softmax, batch norm and
# the like leave up to 10, a layer norm of four entries up to 38; from 58 on, numbers that are far
# from the truth were taken where a difference is a real one.
_UNITS = 48


@dataclass(frozen=True)
class Question:
    """What a check asks of PyTorch: the gradient of `of`, weighted with `v`, at each of `wrt`.

    `called` is the name under which the learner knows `of`; it is used in messages only. `own` are
    the learner's tensors, where `wrt` holds copies of them, which a `function` was called with.
    """

    of: Tensor
    wrt: Mapping[str, Tensor]
    v: Tensor
    called: str = "of"
    own: Mapping[str, Tensor] = field(default_factory=dict)
    function: Callable[..., Any] | None = None

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
        """The nodes between the result and `wrt`, the result's first; none where `is_large`."""
        return self._order or []

    @property
    def is_large(self) -> bool:
        """Whether the graph is too large to be looked at: then nothing is said of its steps."""
        return self._order is None

    @cached_property
    def _order(self) -> list[Node] | None:
        try:
            return backward.order(self.root[0], {node for node, _ in self.edges.values()})
        except backward.TooLargeError:
            return None

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
        with states.explained(self.called):
            return {name: self._finished(name, found) for name, found in self._found().items()}

    def rounding(self, name: str, eps: float) -> Tensor:
        """How large a number rounding alone can make of each entry of a gradient.

        Where large terms cancel, what is left of them is noise: `softmax(x).sum()` has gradients of
        about 1e-9 where the right answer is 0.

        Args:
            name: which of `wrt`.
            eps: the spacing of the learner's numbers, relative to them.

        Returns:
            A tensor of the shape of the gradient; 0 where there is more to an entry than rounding.
        """
        true, moved = self.gradients[name], self._sensitivities[name]
        own = torch.finfo(true.dtype).eps
        # Whether an entry is only rounding depends on the graph's number format alone: an answer in
        # a coarse one must not make a small gradient count as nothing.
        only_rounding = true.abs().double() <= _granted(own) * moved
        return torch.where(only_rounding, _granted(max(own, eps)) * moved, 0.0)

    @cached_property
    def _sensitivities(self) -> dict[str, Tensor]:
        """How far each gradient moves when every number of the pass is shaken, per unit of shaking.

        All zeros where that cannot be known.
        """
        moved = {
            name: torch.zeros(true.shape, dtype=torch.float64)
            for name, true in self.gradients.items()
        }
        if max(true.numel() for true in self.gradients.values()) > _MOST_SHAKEN:
            return moved  # it would take too long
        source = torch.Generator().manual_seed(0)

        def shaken(gradient: Tensor | None) -> Tensor | None:
            if gradient is None or gradient.layout is not torch.strided:
                return gradient
            size = torch.finfo(gradient.dtype).eps ** 0.5
            noise = torch.rand(gradient.shape, generator=source, dtype=torch.float64) * 2 - 1
            factor: Tensor = (1 + size * noise).to(gradient.device, gradient.real.dtype)
            return gradient * factor

        def rule(node: Node, _arriving: Gradients, result: Gradients) -> Gradients:
            return backward.fitted(node, tuple(map(shaken, result)))

        for _ in range(_SHAKES):
            try:
                arriving = backward.run(self.root, self.v, self.nodes, rule=rule).arriving
            except Exception:
                return moved
            for name, true in self.gradients.items():
                there = arriving.get(self.edges[name])
                if there is not None:
                    size = torch.finfo(true.dtype).eps ** 0.5
                    distance = (there.to_dense().cpu() - true).abs().double() / size
                    moved[name] = torch.maximum(moved[name], distance)
        return moved

    def _found(self) -> dict[str, Tensor | None]:
        if self.is_large:
            found = engine.gradients(self.of, self.wrt, self.v)
            for name in (name for name, gradient in found.items() if gradient is None):
                raise states.not_connected(name, self.wrt[name], self.called)
            return found
        try:
            arriving = self.seen.arriving
        except RuntimeError as error:
            if states.known(error):
                raise
            return engine.gradients(self.of, self.wrt, self.v)
        return {name: arriving.get(edge) for name, edge in self.edges.items()}

    def _finished(self, name: str, gradient: Tensor | None) -> Tensor:
        tensor = self.wrt[name]
        if gradient is None:  # PyTorch's way to say that nothing flows back
            return torch.zeros(tensor.shape, dtype=tensor.dtype)
        if gradient.layout is not torch.strided:
            gradient = gradient.to_dense()
        if gradient.shape != tensor.shape:
            raise StateError(
                f"`{name}` had another shape when `{self.called}` was computed. "
                f"{states.again(name)}"
            )
        gradient = gradient.detach().cpu()
        if not torch.isfinite(gradient).all():
            raise states.not_finite(name, self.called)
        return gradient


def _granted(eps: float) -> float:
    """How much of what cancels may be left over by rounding."""
    return min(_UNITS * eps, _MOST_LEFT)


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
    if not wrt:
        raise StateError("`wrt` is empty: no tensor is given to take a gradient with respect to.")
    own = {name: states.checked_input(name, tensor) for name, tensor in wrt.items()}
    function = of if not is_tensor(of) and callable(of) else None
    result, inputs, called = _result(of, own, called)
    inputs = {name: states.tracked(name, tensor) for name, tensor in inputs.items()}
    upstream = states.checked_upstream(v, result, called)
    question = Question(result, inputs, upstream, called, own, function)
    with states.explained(called):
        reached = {question.root}.union(*(node.next_functions for node in question.nodes))
        for name, edge in question.edges.items():
            if edge not in reached and not question.is_large:
                raise states.not_connected(name, inputs[name], called)
    return question


def ask_jacobian(of: object, wrt: Mapping[str, object], *, called: str = "of") -> Question:
    """The question of which `jacobian` computes the answer; its v is all zeros.

    Raises:
        StateError: as `ask`.
    """
    own = {name: states.checked_input(name, tensor) for name, tensor in wrt.items()}
    result, inputs, called = _result(of, own, called)
    if result.is_complex() or any(tensor.is_complex() for tensor in inputs.values()):
        raise StateError(
            "A Jacobian of complex numbers is not one matrix, so it cannot be checked here. Give "
            "real tensors."
        )
    zeros = torch.zeros(result.shape, dtype=result.dtype, device=result.device)
    return replace(ask(result, inputs, zeros, called=called), own=own)


def _result(
    of: object, own: dict[str, Tensor], called: str
) -> tuple[Tensor, dict[str, Tensor], str]:
    """What is asked about, the tensors that it was computed from, and its name for messages."""
    if not is_tensor(of) and callable(of):
        own, called = {name: fresh(tensor) for name, tensor in own.items()}, states.FUNCTION
        of = evaluate(of, own)
    return states.checked_result(of, called), own, called


def jacobian(question: Question) -> Tensor:
    """Compute J with J[i, j] = ∂y_i/∂x_j (numerator layout), of shape `of.shape + wrt.shape`.

    One vector-Jacobian product with a one-hot v for each entry of `of`.

    Raises:
        StateError: the graph was freed or changed, or an entry is not finite.
    """
    ((name, tensor),) = question.wrt.items()
    _ = question.nodes
    rows = []
    for i in range(question.of.numel()):
        one_hot = question.v.clone()
        one_hot.view(-1)[i] = 1
        row = replace(question, v=one_hot)
        # The graph is the same for every row.
        vars(row).update({key: vars(question)[key] for key in ("root", "edges", "_order")})
        rows.append(row.gradients[name])
    shape = (*question.of.shape, *tensor.shape)
    return torch.stack(rows).reshape(shape) if rows else torch.zeros(shape, dtype=tensor.dtype)


def fresh(tensor: Tensor) -> Tensor:
    """A copy of a tensor that is a leaf of its own: the learner's is left alone."""
    with torch.inference_mode(False), torch.no_grad():
        copy = tensor.detach().clone()
    return copy.requires_grad_()


def evaluate(function: Callable[..., Any], inputs: Mapping[str, Tensor]) -> object:
    """Call a function of the inputs with gradients on.

    Raises:
        StateError: the function raised.
    """
    with as_in_the_notebook():
        try:
            return function(*inputs.values())
        except (Exception, SystemExit) as error:
            raise StateError(
                f"The function given as `of` raised an error. {states.quoted(error)}"
            ) from error
