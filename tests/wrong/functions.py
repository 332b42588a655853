"""Powers and functions of one variable."""

import torch
import torch.nn.functional as F
from graphs import number

from wrong.case import case, data, function_of_one, positive, upstream, variable, weighted


def cube(x):
    return x**3


# -- powers ----------------------------------------------------------------------------------------

function_of_one("power-factor", torch.square, lambda x: x, 1)
function_of_one("power-factor", cube, lambda x: x**2, 1)
function_of_one("power-exponent", cube, lambda x: 3 * x**3)
function_of_one("power-without-exponent", cube, lambda x: 3 * x)
function_of_one("power-lowered-factor", cube, lambda x: 2 * x**2)
function_of_one("power-integrated", cube, lambda x: x**4 / 4)
function_of_one("power-inside", cube, lambda x: 3 + 0 * x, 19)
function_of_one("power-itself", cube, lambda x: x**3)


@case("power-factor", 1)
def the_square_of_a_residual():
    x, y, w = torch.tensor(4.0), torch.tensor(17.0), number(3)
    S = w * x - y
    loss = S**2
    graph = weighted(loss, {"w": w}, x=x, S=S)
    return graph, "w", upstream(loss) * (3 * 4 - 17) * 4


def _regression():
    """The mean of squared residuals of a line through data."""
    X, t, w = data(7, 3), data(7, seed=1), variable(3)
    p = X @ w
    loss = ((p - t) ** 2).mean()
    graph = weighted(loss, {"w": w}, X=X, t=t, p=p)
    return graph, "w", (X, p.detach(), t, upstream(loss))


@case("power-inside", 19)
def the_residual_left_out():
    graph, name, (X, p, _, u) = _regression()
    return graph, name, u * 2 / 7 * X.T @ torch.ones_like(p)


@case("prediction-for-residual", 19)
def the_prediction_for_the_residual():
    graph, name, (X, p, _, u) = _regression()
    return graph, name, u * 2 / 7 * X.T @ p


@case("residual-broadcast", 18)
def a_column_minus_a_row():
    graph, name, (X, p, t, u) = _regression()
    square = p[:, None] - t[None, :]  # every prediction minus every target
    return graph, name, u * 2 / 49 * X.T @ square.sum(dim=1)


@case("exponential-log")
def a_number_to_the_power_of_x():
    x = variable(4)
    y = 3.0**x
    return weighted(y, {"x": x}), "x", upstream(y) * 3.0 ** x.detach()


@case("exponential-as-power")
def the_power_rule_for_an_exponential():
    x = variable(4)
    y = 3.0**x
    return weighted(y, {"x": x}), "x", upstream(y) * x.detach() * 3.0 ** (x.detach() - 1)


@case("exponential-as-power")
def both_base_and_exponent_vary():
    a, x = positive(4), variable(4, seed=1)
    y = a**x
    wrong = upstream(y) * x.detach() * a.detach() ** (x.detach() - 1)
    return weighted(y, {"x": x}, a=a), "x", wrong


# -- functions of one variable ---------------------------------------------------------------------

function_of_one("exp-input", torch.exp, lambda x: x, 12)
function_of_one("exp-as-power", torch.exp, lambda x: x * torch.exp(x - 1))
function_of_one("log-itself", torch.log, torch.log, x=positive)
function_of_one("log-upside-down", torch.log, lambda x: x, x=positive)
function_of_one("sqrt-factor", torch.sqrt, lambda x: 1 / torch.sqrt(x), x=positive)
function_of_one("sqrt-itself", torch.sqrt, torch.sqrt, x=positive)
function_of_one("sqrt-upside-down", torch.sqrt, lambda x: 2 * torch.sqrt(x), x=positive)
function_of_one("sin-cos-sign", torch.sin, lambda x: -torch.cos(x))
function_of_one("sin-cos-sign", torch.cos, torch.sin)
function_of_one("sin-itself", torch.sin, torch.sin)
function_of_one("cos-itself", torch.cos, torch.cos)
function_of_one("tanh-input", torch.tanh, lambda x: 1 - x**2, 6)
function_of_one("tanh-square", torch.tanh, lambda x: 1 - torch.tanh(x))
function_of_one("tanh-sign", torch.tanh, lambda x: 1 + torch.tanh(x) ** 2)
function_of_one("tanh-itself", torch.tanh, torch.tanh)
function_of_one("sigmoid-input", torch.sigmoid, lambda x: x * (1 - x), 6)
function_of_one("sigmoid-one-factor", torch.sigmoid, torch.sigmoid)
function_of_one("sigmoid-one-factor", torch.sigmoid, lambda x: 1 - torch.sigmoid(x))
function_of_one("relu-mask-missing", torch.relu, torch.ones_like, 21)
function_of_one("relu-value", torch.relu, torch.relu, 21)
function_of_one("abs-sign", torch.abs, torch.ones_like)
function_of_one("abs-itself", torch.abs, torch.abs)
function_of_one("relu-kink", torch.relu, lambda x: (x >= 0).double(), 22, x=lambda n: kinked())
function_of_one(
    "relu-kink", torch.relu, lambda x: (x > 0) + 0.5 * (x == 0), 22, x=lambda n: kinked()
)


def kinked():
    """Numbers of which two are exactly zero, where ReLU has its kink."""
    x = data(5)
    x[1] = x[3] = 0.0
    return x.requires_grad_()


def _logistic(x):
    return 1 / (1 + torch.exp(-x))


# The same function written by hand: its parts are seen as a whole.
function_of_one("sigmoid-input", _logistic, lambda x: x * (1 - x), 6)
function_of_one("sigmoid-one-factor", _logistic, torch.sigmoid)


@case("relu-mask-of-gradient", 21)
def the_mask_of_the_gradient():
    x = variable(6)
    y = torch.relu(x)
    u = upstream(y)
    return weighted(y, {"x": x}), "x", u * (u > 0)


@case("outer-at-inner-input", 21)
def the_mask_of_the_wrong_tensor():
    # The mask belongs to z = 0.5 - x, not to x.
    x = variable(6)
    z = 0.5 - x
    y = torch.relu(z)
    return weighted(y, {"x": x}, z=z), "x", -upstream(y) * (x.detach() > 0)


@case("outer-at-inner-input", 6)
def the_outer_derivative_at_the_wrong_point():
    # y = (7 - 3x)²: 2x · (-3) for 2(7 - 3x) · (-3).
    x = variable(4)
    y = (7 - 3 * x) ** 2
    return weighted(y, {"x": x}), "x", upstream(y) * 2 * (3 * x.detach()) * -3


@case("outer-at-inner-input", 6)
def the_outer_derivative_two_steps_too_early():
    # y = (3x + 1)²: 2x · 3 for 2(3x + 1) · 3.
    x = variable(4)
    y = (3 * x + 1) ** 2
    return weighted(y, {"x": x}), "x", upstream(y) * 2 * x.detach() * 3


@case("outer-at-inner-input", 6)
def the_outer_derivative_of_a_sine():
    x = variable(4)
    s = x**2
    y = torch.sin(s)
    wrong = upstream(y) * torch.cos(x.detach()) * 2 * x.detach()
    return weighted(y, {"x": x}, s=s), "x", wrong


@case("composition-as-product", 7)
def the_square_of_a_line_as_a_product():
    # (3x + 1)²: f = g² and g = 3x + 1, so f′ g + f g′ = 2g · g + g² · 3.
    x = variable(4)
    g = 3 * x + 1
    y = g**2
    at = g.detach()
    return weighted(y, {"x": x}, g=g), "x", upstream(y) * (2 * at * at + at**2 * 3)


@case("prediction-for-residual", 19)
def the_prediction_in_a_residual_times_itself():
    X, t, w = data(7, 3), data(7, seed=1), variable(3)
    p = X @ w
    R = p - t
    loss = (R * R).mean()
    wrong = upstream(loss) * 2 / 7 * X.T @ p.detach()
    return weighted(loss, {"w": w}, X=X, t=t, p=p, R=R), "w", wrong


@case("composition-as-product", 7)
def a_composition_as_a_product():
    # f(g(x)) = exp(sin(x)): f′ g + f g′, each at its own point.
    x = variable(4)
    g = torch.sin(x)
    y = torch.exp(g)
    at = x.detach()
    wrong = upstream(y) * (torch.exp(g) * g + torch.exp(g) * torch.cos(at)).detach()
    return weighted(y, {"x": x}, g=g), "x", wrong


# -- functions without rules of their own ----------------------------------------------------------

function_of_one("power-raised", lambda x: x**-2, lambda x: -2 / x)
function_of_one("function-as-relu", F.leaky_relu, lambda x: (x > 0).double())
function_of_one("function-as-relu", F.silu, lambda x: (x > 0).double())
function_of_one("function-itself", F.gelu, F.gelu)
function_of_one("function-itself", torch.atan, torch.atan)
function_of_one("derivative-twice", torch.tanh, lambda x: (1 - torch.tanh(x) ** 2) ** 2)
function_of_one("derivative-twice", torch.sin, lambda x: torch.cos(x) ** 2)
