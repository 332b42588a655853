"""Record a function as it runs: every value of its graph, also those that no node saves."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from checks import truth
from checks.backward import Edge, Node, edge
from checks.truth import Question
from checks.wording import is_tensor


@dataclass
class Recording:
    """Forward values by edge, and what went into a node without needing a gradient."""

    values: dict[Edge, Tensor] = field(default_factory=dict)
    constants: dict[tuple[Node, int], Tensor] = field(default_factory=dict)
    ids: dict[tuple[Node, int], int] = field(default_factory=dict)


class _Recorder(TorchFunctionMode):
    def __init__(self, recording: Recording) -> None:
        super().__init__()
        self.recording = recording

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        for out in result if isinstance(result, (tuple, list)) else (result,):
            if is_tensor(out) and out.grad_fn is not None:
                # A copy: a later operation may change the tensor in place.
                self.recording.values.setdefault(edge(out), out.detach().clone())
                self._operands(out.grad_fn, args)
        return result

    def _operands(self, node: Node, args: tuple[Any, ...]) -> None:
        if len(args) != len(node.next_functions):
            return
        for slot, (value, (child, _)) in enumerate(zip(args, node.next_functions, strict=True)):
            if child is None and is_tensor(value):
                self.recording.constants[node, slot] = value.detach().clone()
                self.recording.ids[node, slot] = id(value)


class _Undetached(TorchFunctionMode):
    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func in (Tensor.detach, torch.detach):
            return args[0]
        return func(*args, **(kwargs or {}))


def nothing_detached(question: Question) -> Question | None:
    """The same question of a function in which `detach()` does nothing; None without a function.

    Raises:
        StateError: the function raised, or cannot be differentiated then.
    """
    function = question.function
    if function is None:
        return None

    def tracked(*tensors: Tensor) -> object:
        with _Undetached():
            return function(*tensors)

    return truth.ask(tracked, question.own, question.v)


def record(function: Callable[..., Any], inputs: Mapping[str, Tensor]) -> tuple[object, Recording]:
    """Run a function of the inputs, and keep what went through it.

    What library functions do inside is not seen (`TorchFunctionMode` sees calls from Python only).

    Raises:
        StateError: the function raised.
    """
    recording = Recording()

    def recorded(*tensors: Tensor) -> object:
        with _Recorder(recording):
            return function(*tensors)

    return truth.evaluate(recorded, inputs), recording
