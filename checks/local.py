"""The local gradient of each operation, written out: what a node knows by itself."""

from __future__ import annotations

from checks.backward import Node
from checks.graph import UNKNOWN, Names, kind, operands

# kind of node: for each input the factor, or how the upstream gradient `u` is used where it is not
# a factor for each entry. {0}, {1} are the inputs, {y} the result, {n} an exponent.
_LOCAL: dict[str, tuple[str, ...]] = {
    "Abs": ("the sign of {0}",),
    "Add": ("1", "1"),
    "Addmm": ("1", "u @ {2}ᵀ", "{1}ᵀ @ u"),
    "Bmm": ("u @ {1}ᵀ", "{0}ᵀ @ u"),
    "Cos": ("−sin({0})",),
    "Div": ("1 / {1}", "−{0} / {1}²"),
    "Dot": ("{1}", "{0}"),
    "Exp": ("exp({0}), the result itself",),
    "Log": ("1 / {0}",),
    "Mean": ("1 / N for each of the N entries",),
    "Mm": ("u @ {1}ᵀ", "{0}ᵀ @ u"),
    "Mul": ("{1}", "{0}"),
    "Mv": ("u times {1}, as an outer product", "{0}ᵀ @ u"),
    "Neg": ("−1",),
    "Pow": ("{n} · {0}^({n}−1)",),
    "Relu": ("1 where the input is positive, else 0",),
    "Sigmoid": ("σ (1 − σ), with σ the result",),
    "Sin": ("cos({0})",),
    "Sqrt": ("1 / (2 · result)",),
    "Sub": ("1", "−1"),
    "Sum": ("1 for each entry",),
    "Tanh": ("1 − result²",),
}


def local_gradient(node: Node, slot: int, names: Names) -> str:
    """Write the local gradient with respect to one input; empty where there is no simple form."""
    formulas = _LOCAL.get(kind(node), ())
    if slot >= len(formulas):
        return ""
    exponent = getattr(node, "_saved_exponent", None)
    if kind(node) == "Pow" and not isinstance(exponent, (int, float)):
        return ""
    formula = "2 · {0}" if kind(node) == "Pow" and exponent == 2 else formulas[slot]
    inputs = [*operands(node, names), UNKNOWN, UNKNOWN, UNKNOWN]
    text = formula.format(*inputs, n=exponent)
    return "" if UNKNOWN in text else text
