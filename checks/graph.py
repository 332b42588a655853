"""The autograd graph in the learner's words: names of tensors, what each node computes."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from itertools import accumulate
from typing import Any

from torch import Tensor

from checks.backward import Edge, Node, edge, is_leaf
from checks.wording import is_tensor

UNKNOWN = "…"
_DEPTH = 2  # an operand without a name is written out, but no deeper than this
_WIDEST = 4  # of a concatenation of many, so many are written out

# kind of node: how its step is called, and how it is written; {0}, {1} are its inputs.
OPERATIONS: dict[str, tuple[str, str]] = {
    "Abs": ("absolute value", "abs({0})"),
    "Add": ("addition", "{0} + {1}"),
    "Addmm": ("linear layer", "{1} @ {2} + {0}"),
    "Amax": ("maximum", "{0}.amax(…)"),
    "Amin": ("minimum", "{0}.amin(…)"),
    "Baddbmm": ("batched linear layer", "{1} @ {2} + {0}"),
    "BinaryCrossEntropy": ("binary cross-entropy", "binary_cross_entropy({0}, …)"),
    "BinaryCrossEntropyWithLogits": (
        "binary cross-entropy",
        "binary_cross_entropy_with_logits({0}, …)",
    ),
    "Bmm": ("batched matrix product", "{0} @ {1}"),
    "Cat": ("concatenation", "cat({all})"),
    "Clamp": ("clamp", "clamp({0}, …)"),
    "Clone": ("copy", "{0}.clone()"),
    "Convolution": ("convolution", "conv({0}, {1})"),
    "Cos": ("cosine", "cos({0})"),
    "CudnnBatchNorm": ("batch norm", "batch_norm({0})"),
    "Div": ("division", "{0} / {1}"),
    "Dot": ("dot product", "{0} @ {1}"),
    "Embedding": ("embedding", "embedding({0})"),
    "Exp": ("exponential", "exp({0})"),
    "Expand": ("expansion", "{0}.expand(…)"),
    "Gather": ("selection", "{0}.gather(…)"),
    "Index": ("selection", "{0}[…]"),
    "IndexSelect": ("selection", "{0}[…]"),
    "LinalgVectorNorm": ("norm", "{0}.norm()"),
    "Log": ("logarithm", "log({0})"),
    "LogSoftmax": ("log-softmax", "log_softmax({0})"),
    "Logsumexp": ("log-sum-exp", "{0}.logsumexp(…)"),
    "Max": ("maximum", "{0}.max()"),
    "Maximum": ("maximum", "maximum({0}, {1})"),
    "Mean": ("mean", "{0}.mean()"),
    "Min": ("minimum", "{0}.min()"),
    "Minimum": ("minimum", "minimum({0}, {1})"),
    "Mm": ("matrix product", "{0} @ {1}"),
    "MseLoss": ("mean squared error", "mse_loss({0}, {1})"),
    "Mul": ("product", "{0} * {1}"),
    "Mv": ("matrix-vector product", "{0} @ {1}"),
    "NativeBatchNorm": ("batch norm", "batch_norm({0})"),
    "NativeLayerNorm": ("layer norm", "layer_norm({0})"),
    "Neg": ("negation", "-{0}"),
    "NllLoss": ("negative log-likelihood", "nll_loss({0})"),
    "NllLoss2D": ("negative log-likelihood", "nll_loss({0})"),
    "Permute": ("permutation of dimensions", "{0}.permute(…)"),
    "Pow": ("power", "{0} ** {exponent}"),
    "Reciprocal": ("reciprocal", "1 / {0}"),
    "Rsub": ("subtraction", "… - {0}"),
    "Relu": ("ReLU", "relu({0})"),
    "Select": ("selection", "{0}[{index}]"),
    "Sigmoid": ("sigmoid", "sigmoid({0})"),
    "Sin": ("sine", "sin({0})"),
    "Slice": ("selection", "{0}[…]"),
    "Softmax": ("softmax", "softmax({0})"),
    "Sqrt": ("square root", "sqrt({0})"),
    "Squeeze": ("squeeze", "{0}.squeeze()"),
    "Std": ("standard deviation", "{0}.std()"),
    "Stack": ("stacking", "stack({all})"),
    "Sub": ("subtraction", "{0} - {1}"),
    "Sum": ("sum", "{0}.sum()"),
    "T": ("transpose", "{0}.T"),
    "Tanh": ("tanh", "tanh({0})"),
    "Transpose": ("transpose", "{0}.T"),
    "Unsqueeze": ("unsqueeze", "{0}.unsqueeze(…)"),
    "Var": ("variance", "{0}.var()"),
    "View": ("reshape", "{0}.reshape(…)"),
    "Where": ("selection", "where(…, {0}, {1})"),
}


def kind(node: Node) -> str:
    """Reduce the name of a node to its operation: 'MulBackward0' is 'Mul'; a leaf is 'Leaf'."""
    if is_leaf(node):
        return "Leaf"
    # From the class: the author of a torch.autograd.Function may have set `ctx.name`.
    return _kind_of(type(node).name(node))


@cache
def _kind_of(name: str) -> str:
    return re.sub(r"^Unsafe", "", re.sub(r"Backward\w*$", "", name.split("::")[-1]))


@dataclass(frozen=True)
class Names:
    """Under which names the learner knows the tensors of a graph."""

    edges: Mapping[Edge, str] = field(default_factory=dict)
    tensors: Mapping[int, str] = field(default_factory=dict)  # by id, for constants
    constants: Mapping[tuple[Node, int], str] = field(default_factory=dict)  # by node and input

    def of(self, place: Edge) -> str:
        """The name of the tensor at an edge; `…` where it has none."""
        return self.edges.get(place, UNKNOWN)


def names_for(nodes: Sequence[Node], known: Iterable[tuple[str, object]]) -> Names:
    """Find names for the tensors of a graph.

    Args:
        nodes: the nodes of the graph.
        known: names and what they stand for: the variables of the calling cell, then the names that
            a check was given. Of several names for one tensor, the first is used.
    """
    places: dict[Edge, str] = {}
    tensors: dict[int, str] = {}
    inside = set(nodes)
    for _ in range(_DEPTH + 1):  # also of the other operands of what is written out
        inside |= {child for node in inside if node for child, _ in node.next_functions}
    for name, value in known:
        if not is_tensor(value) or type(name) is not str or name.startswith("_"):
            continue
        tensors.setdefault(id(value), name)
        place = place_of(value)
        if place is not None and place[0] in inside:
            places.setdefault(place, name)
    return Names(places, tensors)


def place_of(tensor: Any) -> Edge | None:
    """Where a tensor of the notebook stands in its graph; None where it has none."""
    try:
        return edge(tensor) if tensor.requires_grad and not tensor.is_inference() else None
    except Exception:  # a subclass may do anything when it is asked
        return None


def written_step(node: Node, names: Names) -> str:
    """Write what a node computes, with the learner's names: 'loss = S ** 2'."""
    result = names.of((node, 0))
    text = expression(node, names)
    return text if result == UNKNOWN else f"{result} = {text}"


def expression(node: Node, names: Names) -> str:
    """Write what a node computes, without the name of the result: 'S ** 2'."""
    return _expression(node, names, _DEPTH)


def _expression(node: Node, names: Names, depth: int) -> str:
    inputs = [_operand(node, k, names, depth) for k in range(len(node.next_functions[:_WIDEST]))]
    inputs += [UNKNOWN] * (len(node.next_functions) > _WIDEST)
    template = OPERATIONS.get(kind(node), ("", ""))[1] or f"{_called(kind(node))}({{all}})"
    if template.endswith((")", ")}")) and "(" in template and not template.startswith("{"):
        inputs = [bare(operand) for operand in inputs]
    padded = [*inputs, UNKNOWN, UNKNOWN, UNKNOWN]
    if kind(node) == "Pow" and _exponent(node) is None:
        template = "{0} ** {1}" if len(inputs) > 1 else "… ** {0}"
    exponent = _plain(_exponent(node))
    return template.format(*padded, all=", ".join(inputs), exponent=exponent, index=_index(node))


def _exponent(node: Node) -> float | None:
    """The exponent of a power, where it is a number and not a tensor."""
    exponent = getattr(node, "_saved_exponent", None)
    return exponent if isinstance(exponent, (int, float)) else None


def _index(node: Node) -> str:
    """Which entry, row or column a selection takes: '2', or ':, 2'."""
    dim, index = getattr(node, "_saved_dim", None), getattr(node, "_saved_index", None)
    if not isinstance(dim, int) or not isinstance(index, int) or dim > 3:
        return UNKNOWN
    # PyTorch saves a negative index as an unsigned number.
    return ":, " * dim + str(index - 2**64 if index >= 2**63 else index)


def operation(node: Node) -> str:
    """Say what kind of step a node is, in words: 'square', 'matrix product'."""
    if kind(node) == "Pow" and _exponent(node) == 2:
        return "square"
    return called(kind(node))


def called(kind: str) -> str:
    """The name of a kind of step, in words."""
    return OPERATIONS.get(kind, (_called(kind), ""))[0]


def _called(kind: str) -> str:
    """What PyTorch's function is probably called: 'leaky_relu' for 'LeakyRelu'."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])|(?<=[0-9])(?=[A-Z][a-z])", "_", kind).lower()


def operands(node: Node, names: Names) -> list[str]:
    """The inputs of a node, as the learner would write them; `…` for what is not known."""
    return [_operand(node, k, names, _DEPTH) for k in range(len(node.next_functions))]


def _operand(node: Node, index: int, names: Names, depth: int) -> str:
    child, number = node.next_functions[index]
    if child is not None:
        name = names.of((child, number))
        if name == UNKNOWN and depth and not is_leaf(child):
            return _grouped(_expression(child, names, depth - 1))
        return name
    if (node, index) in names.constants:
        return names.constants[node, index]
    saved = saved_operand(node, index)
    if saved is None:
        return UNKNOWN
    if id(saved) in names.tensors:
        return names.tensors[id(saved)]
    return _plain(saved.item()) if saved.numel() == 1 else UNKNOWN


def _grouped(text: str) -> str:
    """Put brackets around an expression that is an operation between others."""
    return f"({text})" if re.search(r" [-+*/@]|^-", text) else text


def bare(text: str) -> str:
    """Take off the brackets that an argument of a function does not need."""
    if not text.startswith("("):
        return text
    depths = list(accumulate((char == "(") - (char == ")") for char in text))
    return text[1:-1] if depths.index(0) == len(text) - 1 else text


def constant(node: Node, index: int) -> Tensor | None:
    """The value of an input that needs no gradient: the graph has no edge to it.

    It is known where the operation saved it for its backward formula.
    """
    saved = saved_operand(node, index)
    return None if saved is None else saved.detach()


# Under which name each operation saves its inputs, where it does.
_SAVED_INPUTS: dict[str, tuple[str, ...]] = {
    "Addmm": ("", "mat1", "mat2"),
    "Baddbmm": ("", "batch1", "batch2"),
    "BinaryCrossEntropy": ("self", "target"),
    "BinaryCrossEntropyWithLogits": ("self", "target"),
    "Bmm": ("self", "mat2"),
    "Dot": ("self", "tensor"),
    "Mm": ("self", "mat2"),
    "MseLoss": ("self", "target"),
    "Mv": ("self", "vec"),
}
_USUAL_INPUTS = ("self", "other")


def saved_operand(node: Node, index: int) -> Tensor | None:
    """The tensor that a node saved of one of its inputs, or None."""
    inputs = _SAVED_INPUTS.get(kind(node), _USUAL_INPUTS)
    if index >= len(inputs) or not inputs[index]:
        return None
    try:
        saved = getattr(node, f"_saved_{inputs[index]}", None)
    except RuntimeError:  # the saved values were freed
        return None
    return saved if is_tensor(saved) else None


def _plain(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, (int, float)) else UNKNOWN
