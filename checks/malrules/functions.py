"""Mal-rules of powers and of functions of one variable."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from checks import backward
from checks.backward import Gradients
from checks.malrules.rule import MalRule, NodeRule, only, scaled
from checks.site import NotKnownError, Site

_POW = ("Pow",)
# Functions that bend where ReLU has its corner, and others without rules of their own.
_LIKE_RELU = ("LeakyRelu", "Elu", "Silu", "Gelu", "Mish")
_OTHERS = (*_LIKE_RELU, "LogSigmoid", "Atan", "Tan", "Sinh", "Cosh", "Log1P", "Expm1", "Rsqrt")

_DERIVATIVES: dict[str, Callable[[Tensor], Tensor]] = {
    "Abs": torch.sign,
    "Cos": lambda x: -torch.sin(x),
    "Exp": torch.exp,
    "Log": torch.reciprocal,
    "Relu": lambda x: (x > 0).to(x.dtype),
    "Sigmoid": lambda x: torch.sigmoid(x) * (1 - torch.sigmoid(x)),
    "Sin": torch.cos,
    "Sqrt": lambda x: 0.5 / torch.sqrt(x),
    "Tanh": lambda x: 1 - torch.tanh(x) ** 2,
}


def _at_inner_input(site: Site) -> list[Gradients]:
    """f′(x)·g′(x) for f′(g(x))·g′(x): the outer derivative at the input of the inner function."""
    if site.kind == "Pow":
        n = site.exponent
        return [site.put(0, site.u * n * x ** (n - 1)) for x in site.earlier()]
    derivative = _DERIVATIVES[site.kind]
    return [site.put(0, site.u * derivative(x)) for x in site.earlier()]


def _without_exponent(site: Site) -> list[Gradients]:
    return [] if site.exponent == 2 else [site.put(0, site.u * site.exponent * site.x(0))]


def _integrated(site: Site) -> list[Gradients]:
    n = site.exponent
    return [] if n == -1 else [site.put(0, site.u * site.x(0) ** (n + 1) / (n + 1))]


def _raised(site: Site) -> list[Gradients]:
    n = site.exponent
    return [site.put(0, site.u * n * site.x(0) ** (n + 1))] if n < 0 else []


def _derived_twice(site: Site) -> list[Gradients]:
    return [] if site.is_span else [backward.call(site.node, (site.right,))]


def _by_prediction(site: Site) -> Tensor:
    return site.u * site.exponent * site.minuend() ** (site.exponent - 1)


def _broadcast_residual(site: Site) -> Tensor:
    """(N, 1) − (N,) is (N, N): each prediction minus each target."""
    prediction = site.minuend()
    target = prediction - site.x(0)
    return site.u * site.exponent * (prediction - target.mean()) ** (site.exponent - 1)


def _of_exponent(formula: Callable[[Tensor, Tensor, Tensor], Tensor]) -> Callable[[Site], Tensor]:
    """A formula of base, exponent and right gradient, for a power whose exponent is a variable."""

    def change(site: Site) -> Tensor:
        base, exponent = site.saved("self"), site.saved("exponent")
        if not isinstance(exponent, Tensor):
            raise NotKnownError
        return formula(torch.as_tensor(base), exponent, site.raw_at(len(site.raw) - 1))

    return change


def _last(formula: Callable[[Site], Tensor]) -> Callable[[Site], list[Gradients]]:
    return lambda site: [site.put(len(site.raw) - 1, formula(site))]


def _relu_masks(site: Site) -> list[Gradients]:
    return [site.put(0, site.u * (site.u > 0)), site.put(0, site.right * (site.u > 0))]


def _relu_kink(site: Site) -> list[Gradients]:
    at_zero = (site.x(0) == 0).to(site.u.dtype) * site.u
    return [site.put(0, site.right + share * at_zero) for share in (1.0, 0.5)]


FUNCTION_RULES: tuple[NodeRule, ...] = (
    # powers
    MalRule("power-factor", "the derivative of the {operation} is not applied fully",
            scaled(lambda s: 1 / s.exponent), _POW, rank=1, pairs=True),
    MalRule("power-exponent", "the exponent is not lowered in the derivative of the {operation}",
            only(lambda s: s.u * s.exponent * s.x(0) ** s.exponent), _POW),
    MalRule("power-raised", "the exponent is raised, not lowered, in the derivative of the "
            "{operation}", _raised, _POW),
    MalRule("power-without-exponent", "the exponent is lost in the derivative of the {operation}",
            _without_exponent, _POW, rank=3),
    MalRule("power-lowered-factor", "the lowered exponent is the factor in the derivative of the "
            "{operation}", only(lambda s: s.right * (s.exponent - 1) / s.exponent), _POW, rank=3),
    MalRule("power-integrated", "the {operation} is integrated, not differentiated",
            _integrated, _POW, rank=4),
    MalRule("power-inside", "what stands inside the {operation} is left out of its derivative",
            only(lambda s: s.u * s.exponent + 0 * s.x(0)), _POW),
    MalRule("power-itself", "the {operation} itself is used where its derivative belongs",
            only(lambda s: s.u * s.x(0) ** s.exponent), _POW, rank=3),
    MalRule("prediction-for-residual", "the prediction is used where the residual belongs",
            only(_by_prediction), _POW),
    MalRule("residual-broadcast", "every prediction is compared with every target, because two "
            "shapes broadcast to a square", only(_broadcast_residual), _POW, rank=3),
    MalRule("exponential-log", "a factor of the derivative of an exponential is left out",
            _last(_of_exponent(lambda a, x, right: right / torch.log(a))), _POW),
    MalRule("exponential-as-power", "the rule for powers is used for a variable exponent",
            _last(_of_exponent(lambda a, x, right: right / torch.log(a) * x / a)), _POW),
    # functions of one variable
    MalRule("outer-at-inner-input", "the derivative of the {operation} is taken at the wrong "
            "point, namely at a value from an earlier step", _at_inner_input,
            (*_POW, *_DERIVATIVES)),
    MalRule("exp-input", "the derivative of the exponential is taken to be its input",
            only(lambda s: s.u * s.x(0)), ("Exp",)),
    MalRule("exp-as-power", "the rule for powers is used on the exponential",
            only(lambda s: s.u * s.x(0) * torch.exp(s.x(0) - 1)), ("Exp",), rank=3),
    MalRule("log-itself", "the logarithm itself is used where its derivative belongs",
            only(lambda s: s.u * torch.log(s.x(0))), ("Log",), rank=3),
    MalRule("log-upside-down", "the derivative of the logarithm is upside down",
            only(lambda s: s.u * s.x(0)), ("Log",)),
    MalRule("sqrt-factor", "the derivative of the square root is not applied fully",
            scaled(lambda s: 2.0), ("Sqrt",), rank=1),
    MalRule("sqrt-itself", "the square root itself is used where its derivative belongs",
            only(lambda s: s.u * s.y), ("Sqrt",), rank=3),
    MalRule("sqrt-upside-down", "the derivative of the square root is upside down",
            only(lambda s: s.u * 2 * s.y), ("Sqrt",), rank=3),
    MalRule("sin-cos-sign", "the derivative of the {operation} has the wrong sign",
            scaled(lambda s: -1.0), ("Sin", "Cos"), rank=1),
    MalRule("sin-itself", "the sine itself is used where its derivative belongs",
            only(lambda s: s.u * torch.sin(s.x(0))), ("Sin",), rank=3),
    MalRule("cos-itself", "the cosine itself is used where its derivative belongs",
            only(lambda s: s.u * torch.cos(s.x(0))), ("Cos",), rank=3),
    MalRule("tanh-input", "the derivative of tanh is computed from its input, not from its output",
            only(lambda s: s.u * (1 - s.x(0) ** 2)), ("Tanh",), "6", 1),
    MalRule("tanh-square", "the square is missing in the derivative of tanh",
            only(lambda s: s.u * (1 - s.y)), ("Tanh",), "6"),
    MalRule("tanh-itself", "tanh itself is used where its derivative belongs",
            only(lambda s: s.u * s.y), ("Tanh",), "6", 3),
    MalRule("tanh-sign", "the minus sign in the derivative of tanh is lost",
            only(lambda s: s.u * (1 + s.y**2)), ("Tanh",), "6", 3),
    MalRule("sigmoid-input", "the derivative of the sigmoid is computed from its input, not from "
            "its output", only(lambda s: s.u * s.x(0) * (1 - s.x(0))), ("Sigmoid",), "6", 1),
    MalRule("sigmoid-one-factor", "one factor of the derivative of the sigmoid is missing",
            lambda s: [s.put(0, s.u * s.y), s.put(0, s.u * (1 - s.y))], ("Sigmoid",), "6"),
    MalRule("relu-mask-missing", "ReLU lets every gradient through, whatever its input was",
            only(lambda s: s.u), ("Relu",), "6", 1),
    MalRule("relu-value", "the value of ReLU is used where its mask of zeros and ones belongs",
            only(lambda s: s.u * s.y), ("Relu",), "6"),
    MalRule("relu-mask-of-gradient", "the mask of ReLU is made from the gradient, not from the "
            "input", _relu_masks, ("Relu",), "6", 3),
    MalRule("relu-kink", "another convention is used for ReLU at exactly 0", _relu_kink, ("Relu",),
            "6"),
    MalRule("abs-sign", "the absolute value lets every gradient through with its sign unchanged",
            only(lambda s: s.u), ("Abs",), rank=1),
    MalRule("abs-itself", "the absolute value itself is used where its derivative belongs",
            only(lambda s: s.u * s.y), ("Abs",), rank=3),
    MalRule("function-as-relu", "the {operation} is differentiated like ReLU",
            only(lambda s: s.u * (s.x(0) > 0)), _LIKE_RELU, "6"),
    MalRule("function-itself", "the {operation} itself is used where its derivative belongs",
            only(lambda s: s.u * s.y), _OTHERS, rank=3),
    MalRule("derivative-twice", "the derivative of the {operation} is multiplied in twice",
            _derived_twice, (*_DERIVATIVES, *_OTHERS), "6", 4),
)  # fmt: skip
