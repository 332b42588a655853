"""What goes wrong at any step, where paths meet, and with a gradient as a whole."""

import torch
from graphs import Graph, number

from wrong.case import case, data, function_of_one, upstream, variable, weighted

# -- any step --------------------------------------------------------------------------------------


@case("local-one", 5)
def the_inner_derivative_forgotten():
    x = variable(4)
    s = 3 * x + 1
    y = s**2
    return weighted(y, {"x": x}, s=s), "x", upstream(y) * 2 * s.detach()


@case("local-one", 5)
def the_inner_derivative_of_a_sine_forgotten():
    x = variable(4)
    y = torch.sin(torch.exp(x))
    return weighted(y, {"x": x}), "x", upstream(y) * torch.cos(torch.exp(x.detach()))


@case("upstream-ignored", 9)
def the_upstream_gradient_ignored():
    x = variable(4)
    z = x**3
    y = torch.sin(z)
    return weighted(y, {"x": x}, z=z), "x", 3 * x.detach() ** 2


@case("upstream-ignored", 9)
def the_upstream_gradient_of_a_layer_ignored():
    X, W = data(7, 4), variable(4, 5)
    Z = X @ W
    y = torch.tanh(Z)
    wrong = X.T @ torch.ones(7, 5, dtype=torch.float64)
    return weighted(y, {"W": W}, X=X, Z=Z), "W", wrong


@case("value-for-upstream", 9)
def the_value_for_the_upstream_gradient():
    # z · y where ∂loss/∂z · y belongs: the upstream gradient is not the value.
    x, w = variable(4), data(4, seed=1)
    z = x * w
    loss = (z**3).sum()
    graph = weighted(loss, {"x": x}, w=w, z=z)
    return graph, "x", (z * w).detach()


@case("chain-stopped", 8)
def only_the_first_links():
    # d sin(exp(x³)): cos(exp(x³)), and the two links below are left out.
    x = variable(4)
    z = torch.exp(x**3)
    y = torch.sin(z)
    return weighted(y, {"x": x}, z=z), "x", upstream(y) * torch.cos(z.detach())


@case("path-dropped", 10)
def one_factor_of_a_square():
    # x · x is differentiated to x: one of its two factors is forgotten.
    x = variable(4)
    y = x * x
    return weighted(y, {"x": x}), "x", upstream(y) * x.detach()


@case("held-constant")
def treated_as_a_constant():
    # x · exp(x), with exp(x) as a constant factor.
    x = variable(4)
    e = torch.exp(x)
    y = x * e
    return weighted(y, {"x": x}, e=e), "x", upstream(y) * e.detach()


@case("statistic-constant")
def a_norm_treated_as_a_constant():
    x = variable(4)
    length = torch.sqrt((x**2).sum())
    y = x / length
    return weighted(y, {"x": x}, length=length), "x", upstream(y) / length.detach()


def _half_detached():
    def loss(w):
        return ((5 * w - (w**2).detach()) * data(4, seed=9)).sum()

    w = variable(4)
    return Graph(loss, {"w": w}), "w", w.detach()


@case("detached-moves")
def a_held_target_that_moves():
    graph, name, w = _half_detached()
    return graph, name, (5 - 2 * w) * data(4, seed=9)


@case("detached-instead")
def the_wrong_side_is_held():
    graph, name, w = _half_detached()
    return graph, name, -2 * w * data(4, seed=9)


@case("one-step-too-far")
def the_logits_for_the_probabilities():
    z = variable(6)
    p = torch.sigmoid(z)
    loss = ((p - data(6)) ** 2).sum()
    at_z = (2 * (p - data(6)) * p * (1 - p)).detach()
    return Graph(loss, {"p": p}, {"z": z, "p": p, "loss": loss}), "p", at_z


@case("local-one", 5)
def no_activation_is_differentiated():
    # At every tanh: where at one alone, other numbers come out.
    X, W1, W2 = data(7, 4), variable(4, 4), variable(4, 4, seed=1)
    y = torch.tanh(torch.tanh(X @ W1) @ W2)
    return weighted(y, {"W1": W1}, X=X, W2=W2), "W1", X.T @ (upstream(y) @ W2.detach().T)


function_of_one("sign", lambda x: torch.tan(x), lambda x: -1 / torch.cos(x) ** 2, 4)


class Cube(torch.autograd.Function):
    """A function that nobody has a mal-rule for."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x**3

    @staticmethod
    def backward(ctx, u):
        (x,) = ctx.saved_tensors
        return u * 3 * x**2


function_of_one("sign", Cube.apply, lambda x: -3 * x**2, 4)
function_of_one("local-one", Cube.apply, torch.ones_like, 5)


@case("upstream-ignored", 9)
def upstream_of_a_custom_function_ignored():
    x = variable(4)
    y = Cube.apply(torch.sin(x))
    wrong = 3 * torch.sin(x.detach()) ** 2 * torch.cos(x.detach())
    return weighted(y, {"x": x}), "x", wrong


# -- broadcasting ----------------------------------------------------------------------------------


def _layer():
    X, W, b = data(7, 4), variable(4, 5), variable(5)
    P = X @ W + b
    y = torch.tanh(P)
    u = upstream(y) * (1 - y.detach() ** 2)
    return weighted(y, {"W": W, "b": b}, X=X, P=P), "b", u


@case("broadcast-not-summed", 16)
def a_bias_not_summed():
    return _layer()


@case("broadcast-averaged", 16)
def a_bias_averaged():
    graph, name, u = _layer()
    return graph, name, u.mean(dim=0)


@case("broadcast-wrong-axis", 16)
def a_bias_summed_over_the_wrong_axis():
    graph, name, u = _layer()
    return graph, name, u.sum(dim=1)


@case("broadcast-averaged", 16)
def an_intercept_averaged():
    x, w, b = data(5), number(2), number(-1)
    y = w * x + b
    return weighted(y, {"w": w, "b": b}, x=x), "b", upstream(y).mean()


# -- where paths meet ------------------------------------------------------------------------------


def _two_paths():
    x = variable(4)
    a, b = torch.sin(x), x**3
    y = a * b
    at, u = x.detach(), upstream(y)
    through_a, through_b = torch.cos(at) * at**3, torch.sin(at) * 3 * at**2
    return weighted(y, {"x": x}, a=a, b=b), u * through_a, u * through_b


@case("one-path", 10)
def the_first_path_alone():
    graph, through_a, _ = _two_paths()
    return graph, "x", through_a


@case("one-path", 10)
def the_last_path_alone():
    # `=` for `+=`: what came first is overwritten.
    graph, _, through_b = _two_paths()
    return graph, "x", through_b


@case("path-lost", 10)
def one_of_three_paths_lost():
    x = variable(4)
    a, b, c = torch.sin(x), x**3, torch.exp(x)
    y = a + b + c
    wrong = upstream(y) * (torch.cos(x.detach()) + torch.exp(x.detach()))
    return weighted(y, {"x": x}, a=a, b=b, c=c), "x", wrong


@case("path-twice", 10)
def a_quadratic_form_as_if_symmetric():
    # xᵀ A x: 2 A x for (A + Aᵀ) x.
    A, x = data(3, 3), variable(3)
    y = x @ A @ x
    return weighted(y, {"x": x}, A=A), "x", upstream(y) * 2 * A @ x.detach()


# -- the gradient as a whole -----------------------------------------------------------------------


def _product_with_a_vector(rows=3, columns=3):
    x, v = variable(columns), data(rows, seed=5)
    W = data(rows, columns)
    y = torch.tanh(W @ x)
    J = (1 - y.detach() ** 2)[:, None] * W
    return Graph(y, {"x": x}, {"x": x, "W": W, "y": y}, v), J, v


@case("jv", 13)
def from_the_other_side():
    graph, J, v = _product_with_a_vector()
    return graph, "x", J @ v


@case("ones-for-v", 14)
def the_column_sums():
    graph, J, _ = _product_with_a_vector(5, 3)
    return graph, "x", J.sum(dim=0)


@case("result-transposed", 15)
def transposed_at_the_end():
    X, W = data(7, 4), variable(4, 5)
    y = torch.tanh(X @ W)
    right = X.T @ (upstream(y) * (1 - y.detach() ** 2))
    return weighted(y, {"W": W}, X=X), "W", right.T


@case("result-shape", 17)
def a_dimension_kept():
    graph, _, u = _layer()
    return graph, "b", u.sum(dim=0, keepdim=True)


@case("result-shape", 17)
def flattened():
    X = variable(2, 3)
    y = X**2
    return weighted(y, {"X": X}), "X", (upstream(y) * 2 * X.detach()).flatten()


@case("result-sign", 4)
def the_sign_of_it_all():
    x = variable(4)
    y = torch.exp(torch.sin(x))
    at = x.detach()
    wrong = -upstream(y) * torch.exp(torch.sin(at)) * torch.cos(at)
    return weighted(y, {"x": x}), "x", wrong


@case("value-as-start", 9)
def the_pass_begins_with_the_loss():
    x, w = torch.tensor(4.0), number(3)
    loss = (w * x - 17) ** 2
    graph = Graph(loss, {"w": w}, {"w": w, "x": x, "loss": loss})
    return graph, "w", torch.tensor(25.0 * 2 * -5 * 4)


def _after_a_pass(times):
    x, w = data(5), variable(5)
    loss = ((w * x) ** 2).sum()
    w.grad = data(5, seed=4)
    right = 2 * w.detach() * x**2
    wrong = w.grad + right if times == 1 else times * right
    return Graph(loss, {"w": w}, {"w": w, "x": x, "loss": loss}), "w", wrong


@case("accumulated", 28)
def added_to_what_was_there():
    return _after_a_pass(1)


@case("accumulated", 28)
def three_passes_on_the_same_data():
    return _after_a_pass(3)
