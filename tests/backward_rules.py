"""Functions that a check of a backward rule must refuse, and others that it must accept.

Each is told apart from the truth by what its name says.
"""

import math
import threading

import numpy as np
import torch
import torch.nn.functional as F

import checks
from checks import truth

# -- forward functions, with the inputs that they are tried on -------------------------------------


def linear(X, W, b):
    return X @ W + b


def mse(P, Y):
    return ((P - Y) ** 2).mean()


def linear_mse(X, W, b, Y):
    return mse(linear(X, W, b), Y)


def softmax(z):
    return F.softmax(z, dim=1)


def cross_entropy(logits, target):
    return F.cross_entropy(logits, target)


def batch_norm(x, gamma, beta):
    centred = x - x.mean(0)
    return gamma * centred / (centred.pow(2).mean(0) + 1e-5).sqrt() + beta


def two_layers(X, W1, b1, W2, b2, target):
    return F.cross_entropy(torch.tanh(X @ W1 + b1) @ W2 + b2, target)


def relu_network(X, W1, b1, W2, b2, target):
    return F.cross_entropy(torch.relu(X @ W1 + b1) @ W2 + b2, target)


SHAPES = {
    linear: {"X": ("N", "D"), "W": ("D", "K"), "b": ("K",)},
    mse: {"P": ("N", "D"), "Y": ("N", "D")},
    linear_mse: {"X": ("N", "D"), "W": ("D", "K"), "b": ("K",), "Y": ("N", "K")},
    softmax: {"z": ("N", "K")},
    cross_entropy: {"logits": ("N", "K"), "target": checks.classes("N", below="K")},
    batch_norm: {"x": ("N", "D"), "gamma": ("D",), "beta": ("D",)},
    two_layers: {
        "X": ("N", "D"),
        "W1": ("D", "H"),
        "b1": ("H",),
        "W2": ("H", "K"),
        "b2": ("K",),
        "target": checks.classes("N", below="K"),
    },
}
SHAPES[relu_network] = SHAPES[two_layers]
NUMBER = {"x": ()}
VECTOR = {"x": ("N",)}
MATRIX = {"x": ("N", "D")}
PAIR = {"a": ("N",), "b": ("N",)}


def right_tanh(upstream, x):
    return upstream * (1 - torch.tanh(x) ** 2)


def tanh(function, **more):
    """The verdict on a function that should be `right_tanh`."""
    return checks.rule("6.2", function, **{"of": torch.tanh, "shapes": VECTOR} | more)


def asked(table, name):
    """The verdict on one of the functions below."""
    function, of, shapes, more = table[name]
    return checks.rule("6.2", function, of=of, shapes=shapes, **more)


# -- what is right, in parts -----------------------------------------------------------------------


def d_linear(u, X, W, b):
    return u @ W.T, X.T @ u, u.sum(0)


def d_mse(u, P, Y):
    grad = u * 2 * (P - Y) / P.numel()
    return grad, -grad


def one_hot(logits, target):
    return F.one_hot(target, logits.shape[1]).double()


def d_cross_entropy(u, logits, target):
    return u * (softmax(logits) - one_hot(logits, target)) / len(target)


def d_softmax(u, z):
    s = softmax(z)
    return s * (u - (u * s).sum(1, keepdim=True))


def d_batch_norm(u, x, gamma, beta):
    centred = x - x.mean(0)
    inv = 1 / (centred.pow(2).mean(0) + 1e-5).sqrt()
    hat = centred * inv
    dhat = u * gamma
    dx = inv * (dhat - dhat.mean(0) - hat * (dhat * hat).mean(0))
    return dx, (u * hat).sum(0), u.sum(0)


def d_two_layers(u, X, W1, b1, W2, b2, target):
    hidden = torch.tanh(X @ W1 + b1)
    dz = d_cross_entropy(u, hidden @ W2 + b2, target)
    dpre = dz @ W2.T * (1 - hidden**2)
    return X.T @ dpre, dpre.sum(0), hidden.T @ dz, dz.sum(0)


# -- wrong: every row of the matrix of known mistakes ----------------------------------------------

WRONG = {}


def wrong(of, shapes=None, **more):
    def keep(function):
        name = function.__name__.replace("_", " ")
        assert name not in WRONG
        WRONG[name] = (function, of, shapes or SHAPES[of], more)
        return function

    return keep


@wrong(mse)
def drops_the_2(u, P, Y):
    grad = u * (P - Y) / P.numel()
    return grad, -grad


@wrong(mse)
def drops_the_mean(u, P, Y):
    grad = u * 2 * (P - Y)
    return grad, -grad


@wrong(mse)
def drops_the_2_and_the_mean(u, P, Y):
    return u * (P - Y), u * (Y - P)


@wrong(mse)
def divides_by_n_only(u, P, Y):
    grad = u * 2 * (P - Y) / len(P)
    return grad, -grad


@wrong(mse)
def divides_by_d_only(u, P, Y):
    grad = u * 2 * (P - Y) / P.shape[1]
    return grad, -grad


@wrong(mse)
def sign(u, P, Y):
    grad = u * 2 * (Y - P) / P.numel()
    return grad, -grad


@wrong(mse)
def same_sign_for_both(u, P, Y):
    grad = u * 2 * (P - Y) / P.numel()
    return grad, grad


@wrong(lambda x: torch.sin(x * x), NUMBER)
def forgets_the_inner_derivative(u, x):
    return u * torch.cos(x * x)


@wrong(torch.tanh, NUMBER)
def outer_derivative_at_the_wrong_point(u, x):
    return u * (1 - x**2)


@wrong(torch.tanh, VECTOR)
def tanh_without_the_square(u, x):
    return u * (1 - torch.tanh(x))


@wrong(lambda x: torch.exp(torch.sin(x)), NUMBER)
def composition_taken_for_a_product(u, x):
    return u * (torch.exp(x) * torch.sin(x) + torch.exp(x) * torch.cos(x))


@wrong(lambda x: (3 * torch.sin(x)) ** 2, VECTOR)
def only_the_first_links(u, x):
    return u * 2 * (3 * torch.sin(x)) * 3


@wrong(torch.tanh, VECTOR)
def ignores_the_upstream_gradient(u, x):
    return 1 - torch.tanh(x) ** 2


@wrong(lambda x: x * x, NUMBER)
def one_path_only(u, x):
    return u * x


@wrong(lambda a, b: a * b + a, PAIR)
def forgets_the_second_path(u, a, b):
    return u * b, u * a


@wrong(lambda a, b: a * b, PAIR)
def factors_swapped(u, a, b):
    return u * a, u * b


@wrong(torch.exp, VECTOR)
def exp_uses_its_input(u, x):
    return u * x


@wrong(lambda x: x @ torch.tensor([[1.0, 2], [3, 5]], dtype=torch.float64), {"x": ("N", 2)})
def jv_for_jt_v(u, x):
    return u @ torch.tensor([[1.0, 2], [3, 5]], dtype=torch.float64)


@wrong(lambda x, A: A @ x, {"x": ("D",), "A": ("K", "D")}, gives="x")
def jacobian_times_ones(u, x, A):
    return A.sum(0)


@wrong(linear)
def matmul_transposed(u, X, W, b):
    return u @ W.T, u.T @ X, u.sum(0)


@wrong(lambda X, W: X @ W, {"X": ("N", 3), "W": (3, 3)})
def square_case_without_transposing(u, X, W):
    return u @ W, X.T @ u


@wrong(linear)
def bias_not_summed(u, X, W, b):
    return u @ W.T, X.T @ u, u


@wrong(linear)
def bias_averaged(u, X, W, b):
    return u @ W.T, X.T @ u, u.mean(0)


@wrong(linear)
def bias_over_the_wrong_axis(u, X, W, b):
    return u @ W.T, X.T @ u, u.sum(1)


@wrong(lambda x: x.sum(1, keepdim=True), MATRIX)
def keepdim_lost(u, x):
    return u.squeeze(1).expand(x.shape[1], x.shape[0])


@wrong(lambda X, w, y: ((X @ w - y) ** 2).mean(), {"X": ("N", "D"), "w": ("D",), "y": ("N",)})
def column_minus_row(u, X, w, y):
    residual = (X @ w)[:, None] - y
    grad = u * 2 * residual.sum(1) / len(y) / len(y)
    return torch.outer(grad, w), X.T @ grad, -grad


@wrong(linear_mse, gives="W")
def prediction_for_the_residual(u, X, W, b, Y):
    return u * 2 * X.T @ linear(X, W, b) / Y.numel()


@wrong(linear_mse, gives="W")
def residual_left_out(u, X, W, b, Y):
    return u * 2 * X.T @ torch.ones_like(Y) / Y.numel()


@wrong(linear_mse, gives="W")
def input_factor_left_out(u, X, W, b, Y):
    residual = linear(X, W, b) - Y
    return (u * 2 * residual.sum(0) / Y.numel()).expand(W.shape)


@wrong(lambda x: torch.relu(x - 1), VECTOR)
def relu_mask_missing(u, x):
    return u


@wrong(lambda x: torch.relu(x - 1), VECTOR)
def relu_mask_on_the_wrong_tensor(u, x):
    return u * (x > 0)


@wrong(lambda x: torch.relu(x - 1), VECTOR)
def relu_value_for_the_mask(u, x):
    return u * torch.relu(x - 1)


@wrong(torch.relu, VECTOR)
def relu_mask_inverted(u, x):
    return u * (x < 0)


@wrong(lambda x: F.leaky_relu(x, 0.1), VECTOR)
def leaky_without_the_leak(u, x):
    return u * (x > 0)


@wrong(torch.abs, VECTOR)
def abs_without_the_sign(u, x):
    return u


@wrong(torch.relu, NUMBER)
def kink_moved_to_the_right(u, x):
    return u * (x > 0.05)


@wrong(torch.relu, NUMBER)
def kink_moved_to_the_left(u, x):
    return u * (x > -0.05)


@wrong(lambda x: x.max(), VECTOR)
def maximum_shared_by_all(u, x):
    return u.expand(x.shape) / len(x)


@wrong(lambda x: x.max(1).values, MATRIX)
def maximum_over_the_wrong_axis(u, x):
    return u[:, None] * (x == x.max(0).values)


@wrong(softmax)
def softmax_elementwise(u, z):
    s = softmax(z)
    return s * (1 - s) * u


@wrong(cross_entropy)
def without_the_one_hot(u, logits, target):
    return u * softmax(logits) / len(target)


@wrong(cross_entropy)
def only_at_the_target(u, logits, target):
    h = one_hot(logits, target)
    return u * (softmax(logits) - 1) * h / len(target)


@wrong(cross_entropy)
def softmax_before_cross_entropy(u, logits, target):
    s = softmax(logits)
    q = (softmax(s) - one_hot(s, target)) / len(target)
    return u * s * (q - (q * s).sum(1, keepdim=True))


@wrong(cross_entropy)
def cross_entropy_without_the_mean(u, logits, target):
    return u * (softmax(logits) - one_hot(logits, target))


@wrong(lambda a: (a + a) + (a + a), NUMBER)
def recursion_without_an_order(u, a):
    return 8 * u


_KEPT = {}


@wrong(torch.tanh, NUMBER)
def accumulates_from_call_to_call(u, x):
    _KEPT["grad"] = _KEPT.get("grad", 0) + u * (1 - torch.tanh(x) ** 2)
    return _KEPT["grad"]


@wrong(mse, gives="P")
def micro_batches_without_their_share(u, P, Y):
    return torch.cat([d_mse(u, p[None], y[None])[0] for p, y in zip(P, Y, strict=True)])


@wrong(lambda x, i: x[i], {"x": ("D",), "i": checks.classes("N", below="D")})
def repeated_index_not_added(u, x, i):
    grad = torch.zeros_like(x)
    grad[i] = u
    return grad


@wrong(batch_norm)
def statistics_held_constant(u, x, gamma, beta):
    _dx, dgamma, dbeta = d_batch_norm(u, x, gamma, beta)
    inv = 1 / ((x - x.mean(0)).pow(2).mean(0) + 1e-5).sqrt()
    return u * gamma * inv, dgamma, dbeta


@wrong(batch_norm)
def mean_held_constant(u, x, gamma, beta):
    dx, dgamma, dbeta = d_batch_norm(u, x, gamma, beta)
    inv = 1 / ((x - x.mean(0)).pow(2).mean(0) + 1e-5).sqrt()
    return dx + (u * gamma).mean(0) * inv, dgamma, dbeta


@wrong(torch.sin, VECTOR)
def finite_difference(u, x, h=1e-4):
    return u * (torch.sin(x + h) - torch.sin(x - h)) / (2 * h)


@wrong(torch.sin, VECTOR)
def forward_difference(u, x, h=1e-8):
    return u * (torch.sin(x + h) - torch.sin(x)) / h


# -- wrong: only somewhere -------------------------------------------------------------------------


@wrong(linear)
def right_for_square_shapes_only(u, X, W, b):
    return u @ W.T, (X.T @ u if X.shape[0] == X.shape[1] == W.shape[1] else u.T @ X), u.sum(0)


@wrong(linear)
def wrong_for_square_shapes_only(u, X, W, b):
    return (u @ W if W.shape[0] == W.shape[1] else u @ W.T), X.T @ u, u.sum(0)


@wrong(linear)
def right_for_one_sample_only(u, X, W, b):
    return u @ W.T, X.T @ u, u[0]


@wrong(linear)
def wrong_for_more_than_four_samples(u, X, W, b):
    return u @ W.T, X.T @ u, u[:4].sum(0)


@wrong(torch.tanh, MATRIX)
def right_if_upstream_is_all_ones(u, x):
    return torch.ones_like(u) * (1 - torch.tanh(x) ** 2)


@wrong(torch.tanh, MATRIX)
def right_if_upstream_is_constant(u, x):
    return u.flatten()[0] * (1 - torch.tanh(x) ** 2)


@wrong(torch.tanh, MATRIX)
def upstream_averaged(u, x):
    return u.mean() * (1 - torch.tanh(x) ** 2)


@wrong(torch.tanh, VECTOR)
def upstream_without_its_sign(u, x):
    return u.abs() * (1 - torch.tanh(x) ** 2)


@wrong(lambda x: (x**2).sum(), VECTOR)
def scalar_upstream_taken_for_one(u, x):
    return 2 * x


@wrong(torch.relu, VECTOR)
def changes_upstream(u, x):
    u *= x > 0
    return u


@wrong(torch.relu, VECTOR)
def changes_upstream_behind_its_back(u, x):
    u.numpy()[x.numpy() <= 0] = 0
    return u.clone()


@wrong(torch.tanh, VECTOR)
def changes_its_input(u, x):
    x.tanh_()
    return u * (1 - x**2)


@wrong(torch.relu, VECTOR)
def changes_its_input_sometimes(u, x):
    mask = x > 0
    if len(x) > 3:
        x[~mask] = 0
    return u * mask


@wrong(torch.tanh, VECTOR)
def resizes_its_input(u, x):
    grad = u * (1 - torch.tanh(x) ** 2)
    x.unsqueeze_(0)
    return grad


@wrong(torch.tanh, VECTOR)
def rounds_to_float32_inside(u, x):
    return (u.float() * (1 - torch.tanh(x.float()) ** 2)).double()


@wrong(torch.tanh, VECTOR)
def returns_float32(u, x):
    return (u * (1 - torch.tanh(x) ** 2)).float()


@wrong(torch.tanh, VECTOR)
def returns_float16(u, x):
    return (u * (1 - torch.tanh(x) ** 2)).half()


@wrong(torch.tanh, VECTOR)
def rounds_to_six_decimals(u, x):
    return torch.round(u * (1 - torch.tanh(x) ** 2), decimals=6)


@wrong(torch.tanh, VECTOR)
def off_by_1e_7(u, x):
    return u * (1 - torch.tanh(x) ** 2) + 1e-7


@wrong(torch.tanh, VECTOR)
def off_by_a_share_of_1e_7(u, x):
    return u * (1 - torch.tanh(x) ** 2) * (1 + 1e-7)


@wrong(torch.tanh, VECTOR)
def off_by_a_share_of_1e_8(u, x):
    return u * (1 - torch.tanh(x) ** 2) * (1 + 1e-8)


@wrong(torch.tanh, VECTOR)
def off_by_1e_7_in_one_entry(u, x):
    grad = u * (1 - torch.tanh(x) ** 2)
    grad[-1] += 1e-7
    return grad


@wrong(torch.sigmoid, VECTOR)
def a_constant_with_few_digits(u, x):
    s = 1 / (1 + 2.7182818 ** (-x))
    return u * s * (1 - s)


@wrong(lambda X, W: X @ W, {"X": ("N", "D"), "W": ("D", "K")}, gives=("W",))
def returns_the_transposed(u, X, W):
    return (X.T @ u).T


@wrong(linear)
def forgets_one_gradient(u, X, W, b):
    return u @ W.T, X.T @ u


@wrong(linear)
def one_gradient_too_many(u, X, W, b):
    return (*d_linear(u, X, W, b), u)


@wrong(linear)
def other_order(u, X, W, b):
    return X.T @ u, u @ W.T, u.sum(0)


@wrong(lambda a, b: a * b, PAIR)
def other_order_of_the_same_shape(u, a, b):
    return u * a, u * b


@wrong(linear)
def other_keys(u, X, W, b):
    return dict(zip(["dX", "dW", "db"], d_linear(u, X, W, b), strict=True))


@wrong(linear)
def all_in_one_tensor(u, X, W, b):
    return torch.cat([g.flatten() for g in d_linear(u, X, W, b)])


@wrong(softmax)
def raises_for_size_1(u, z):
    if 1 in z.shape:
        raise ValueError("not enough classes")
    return d_softmax(u, z)


@wrong(linear)
def squeezes(u, X, W, b):
    return (u.squeeze() @ W.T), X.T @ u, u.sum(0)


@wrong(torch.abs, VECTOR)
def wrong_for_negative_inputs(u, x):
    return u


@wrong(lambda x: x**2, NUMBER)
def wrong_for_positive_inputs(u, x):
    return u * (2 * x if x < 0 else x)


@wrong(lambda x: x**2, VECTOR)
def wrong_for_large_inputs(u, x):
    return u * 2 * x.clamp(-20, 20)


@wrong(lambda x: x**2, NUMBER)
def wrong_above_50(u, x):
    return u * 2 * (x if x < 50 else x + 1)


@wrong(lambda x: x**2, VECTOR)
def wrong_for_small_inputs(u, x):
    return u * 2 * torch.where(x.abs() < 0.005, 0, x)


@wrong(torch.tanh, VECTOR)
def wrong_for_large_upstream(u, x):
    return u.clamp(-10, 10) * (1 - torch.tanh(x) ** 2)


@wrong(torch.tanh, VECTOR)
def gradient_clipped_to_1(u, x):
    return (u * (1 - torch.tanh(x) ** 2)).clamp(-1, 1)


@wrong(torch.tanh, VECTOR)
def gradient_clipped_to_150(u, x):
    return (u * (1 - torch.tanh(x) ** 2)).clamp(-150, 150)


@wrong(lambda x: x**2, VECTOR)
def rounds_its_input_to_five_decimals(u, x):
    return u * 2 * torch.round(x, decimals=5)


@wrong(torch.tanh, MATRIX)
def for_contiguous_tensors_only(u, x):
    return right_tanh(u.view(-1), x.view(-1)).view(x.shape)


@wrong(lambda x: x.T, MATRIX)
def reads_the_memory_in_its_order(u, x):
    return torch.as_strided(u, u.shape, (u.shape[1], 1)).T


@wrong(lambda x: x**2, VECTOR)
def nan_where_upstream_is_0(u, x):
    return u * u * 2 * x / u


@wrong(lambda a, b: a / b, PAIR)
def wrong_where_both_are_negative(u, a, b):
    return u / b, torch.where((a < 0) & (b < 0), 1, -1) * u * a / b**2


@wrong(cross_entropy)
def wrong_for_the_last_class(u, logits, target):
    return d_cross_entropy(u, logits, target.clamp(max=max(logits.shape[1] - 2, 0)))


@wrong(two_layers, gives=("W1", "b1", "W2", "b2"))
def one_of_four_is_wrong(u, X, W1, b1, W2, b2, target):
    dW1, db1, dW2, db2 = d_two_layers(u, X, W1, b1, W2, b2, target)
    return dW1, db1, dW2, db2 * len(target)


@wrong(two_layers, gives=("W1", "b1", "W2", "b2"))
def tanh_left_out(u, X, W1, b1, W2, b2, target):
    hidden = torch.tanh(X @ W1 + b1)
    dz = d_cross_entropy(u, hidden @ W2 + b2, target)
    return X.T @ (dz @ W2.T), (dz @ W2.T).sum(0), hidden.T @ dz, dz.sum(0)


@wrong(relu_network, gives=("W1", "b1", "W2", "b2"))
def mask_forgotten_in_a_network(u, X, W1, b1, W2, b2, target):
    hidden = torch.relu(X @ W1 + b1)
    dz = d_cross_entropy(u, hidden @ W2 + b2, target)
    return X.T @ (dz @ W2.T), (dz @ W2.T).sum(0), hidden.T @ dz, dz.sum(0)


# -- wrong: no rule at all -------------------------------------------------------------------------

_CALLS = []


@wrong(torch.tanh, VECTOR)
def depends_on_a_counter(u, x):
    _CALLS.append(1)
    return u * (1 - torch.tanh(x) ** 2) + (len(_CALLS) % 2)


@wrong(torch.tanh, VECTOR)
def wrong_every_third_time(u, x):
    _CALLS.append(1)
    return u * (1 - torch.tanh(x) ** 2) + (len(_CALLS) % 3 == 0)


@wrong(torch.tanh, VECTOR)
def raises_every_third_time(u, x):
    _CALLS.append(1)
    if len(_CALLS) % 3 == 0:
        raise ValueError("not now")
    return u * (1 - torch.tanh(x) ** 2)


@wrong(torch.tanh, VECTOR)
def adds_noise(u, x):
    return u * (1 - torch.tanh(x) ** 2) + 1e-6 * torch.randn(x.shape)


@wrong(torch.tanh, VECTOR)
def adds_noise_of_numpy(u, x):
    return u * (1 - torch.tanh(x) ** 2) + 1e-6 * np.random.randn(len(x))


_W = torch.ones(3, 3, dtype=torch.float64)


@wrong(lambda X, W: X @ W, {"X": ("N", 3), "W": (3, 3)})
def uses_the_notebook_s_tensor(u, X, W):
    return u @ _W.T, X.T @ u


@wrong(torch.tanh, VECTOR)
def nothing_for_negative_inputs(u, x):
    if x.min() > 0:
        return u * (1 - torch.tanh(x) ** 2)
    return None


@wrong(torch.sqrt, {"x": checks.numbers("N", above=0)})
def gives_nan(u, x):
    return u / (2 * torch.sqrt(-x))


@wrong(torch.tanh, VECTOR)
def gives_inf(u, x):
    return u / (x - x)


@wrong(torch.tanh, VECTOR)
def gives_text(u, x):
    return "1 - tanh(x)²"


@wrong(torch.tanh, VECTOR)
def gives_truth_values(u, x):
    return x > 0


@wrong(torch.tanh, VECTOR)
def gives_complex_numbers(u, x):
    return (u * (1 - torch.tanh(x) ** 2)).to(torch.complex128)


@wrong(torch.tanh, VECTOR)
def gives_a_function(u, x):
    return lambda: u * (1 - torch.tanh(x) ** 2)


@wrong(torch.tanh, VECTOR)
async def gives_a_coroutine(u, x):
    return u * (1 - torch.tanh(x) ** 2)


@wrong(torch.tanh, VECTOR)
def gives_a_generator(u, x):
    yield from u * (1 - torch.tanh(x) ** 2)


@wrong(torch.tanh, VECTOR)
def exits(u, x):
    raise SystemExit


@wrong(torch.tanh, VECTOR)
def recurses(u, x):
    return recurses(u, x)


@wrong(torch.tanh, VECTOR)
def takes_one_argument(x):
    return 1 - torch.tanh(x) ** 2


@wrong(torch.tanh, VECTOR)
def upstream_comes_last(x, u, more):
    return u * (1 - torch.tanh(x) ** 2)


@wrong(torch.tanh, VECTOR)
def arguments_swapped(x, u):
    return u * (1 - torch.tanh(x) ** 2)


@wrong(torch.tanh, VECTOR)
def gives_the_value(u, x):
    return torch.tanh(x)


@wrong(torch.tanh, VECTOR)
def gives_zeros(u, x):
    return torch.zeros_like(x)


# -- wrong: by autograd ----------------------------------------------------------------------------


@wrong(torch.tanh, VECTOR)
def by_backward(u, x):
    own = x.clone().requires_grad_()
    torch.tanh(own).backward(u)
    return own.grad


@wrong(torch.tanh, VECTOR)
def by_autograd_grad(u, x):
    own = x.clone().requires_grad_()
    return torch.autograd.grad(torch.tanh(own), own, u)[0]


@wrong(torch.tanh, VECTOR)
def by_func_vjp(u, x):
    return torch.func.vjp(torch.tanh, x)[1](u)[0]


@wrong(torch.tanh, VECTOR)
def by_func_jacrev(u, x):
    return u @ torch.func.jacrev(torch.tanh)(x)


@wrong(torch.tanh, VECTOR)
def by_func_jvp(u, x):
    return torch.func.jvp(torch.tanh, (x,), (u,))[1]


@wrong(torch.tanh, VECTOR)
def by_functional_vjp(u, x):
    return torch.autograd.functional.vjp(torch.tanh, x, u)[1]


@wrong(torch.tanh, VECTOR)
def by_grad_fn(u, x):
    return torch.tanh(x.clone().requires_grad_()).grad_fn(u)


@wrong(torch.tanh, VECTOR)
def by_a_thread_of_its_own(u, x):
    found = []
    thread = threading.Thread(target=lambda: found.append(by_backward(u, x)))
    thread.start()
    thread.join()
    return found[0]


_ENGINE = torch.autograd.Variable._execution_engine


@wrong(torch.tanh, VECTOR)
def by_an_engine_that_was_kept(u, x, engine=_ENGINE):
    own = x.clone().requires_grad_()
    return engine.run_backward((torch.tanh(own),), (u,), False, False, (own,), False, False)[0]


@wrong(torch.tanh, VECTOR)
def by_an_engine_of_its_own(u, x):
    return by_an_engine_that_was_kept(u, x, torch._C._ImperativeEngine())


@wrong(torch.tanh, VECTOR)
def by_the_check_itself(u, x):
    return truth.ask(torch.tanh, {"x": x}, u).gradients["x"]


@wrong(torch.tanh, VECTOR)
def by_autograd_and_silently(u, x):
    try:
        return by_backward(u, x)
    except BaseException:
        return u * (1 - torch.tanh(x) ** 2)


# -- right -----------------------------------------------------------------------------------------

RIGHT = {}


def right(of, shapes=None, **more):
    def keep(function):
        name = function.__name__.replace("_", " ")
        assert name not in RIGHT
        RIGHT[name] = (function, of, shapes or SHAPES[of], more)
        return function

    return keep


right(linear)(d_linear)
right(mse)(d_mse)
right(cross_entropy)(d_cross_entropy)
right(softmax)(d_softmax)
right(batch_norm)(d_batch_norm)
right(two_layers, gives=("W1", "b1", "W2", "b2"))(d_two_layers)


@right(linear)
def by_einsum(u, X, W, b):
    dX, dW = torch.einsum("ik,jk->ij", u, W), torch.einsum("ij,ik->jk", X, u)
    return [dX, dW, torch.einsum("ik->k", u)]


@right(linear)
def by_loops(u, X, W, b):
    (N, D), K = X.shape, len(b)
    dX, dW, db = torch.zeros(N, D), torch.zeros(D, K), torch.zeros(K)
    for n in range(N):
        for k in range(K):
            db[k] += u[n, k]
            for d in range(D):
                dX[n, d] += u[n, k] * W[d, k]
                dW[d, k] += u[n, k] * X[n, d]
    return dX, dW, db


@right(linear)
def by_outer_products(u, X, W, b):
    dW = sum(torch.outer(x, g) for x, g in zip(X, u, strict=True))
    return torch.stack([W @ g for g in u]), dW, sum(u)


@right(linear)
def by_numpy(u, X, W, b):
    u, X, W = u.numpy(), X.numpy(), W.numpy()
    return u @ W.T, X.T @ u, u.sum(0)


@right(linear)
def as_lists(u, X, W, b):
    return [g.tolist() for g in d_linear(u, X, W, b)]


@right(linear)
def as_a_dict_in_another_order(u, X, W, b):
    dX, dW, db = d_linear(u, X, W, b)
    return {"b": db, "X": dX, "W": dW}


@right(linear)
def by_the_transposed(u, X, W, b):
    return (W @ u.T).T, (u.T @ X).T, u.T.sum(1)


@right(cross_entropy)
def naive_softmax(u, logits, target):
    e = torch.exp(logits)
    p = e / e.sum(1, keepdim=True)
    p[torch.arange(len(target)), target] -= 1
    return u * p / len(target)


@right(cross_entropy)
def none_for_the_target(u, logits, target):
    return d_cross_entropy(u, logits, target), None


@right(cross_entropy)
def staged(u, logits, target):
    n = len(target)
    dlogp = torch.zeros(logits.shape)
    dlogp[range(n), target] = -u / n
    return dlogp - softmax(logits) * dlogp.sum(1, keepdim=True)


@right(softmax)
def by_jacobians(u, z):
    s = softmax(z)
    return torch.stack([(torch.diag(p) - torch.outer(p, p)) @ g for p, g in zip(s, u, strict=True)])


@right(batch_norm)
def batch_norm_in_stages(u, x, gamma, beta):
    N = len(x)
    centred = x - x.sum(0) / N
    var = (centred**2).sum(0) / N + 1e-5
    inv = var**-0.5
    dhat = u * gamma
    dvar = (dhat * centred).sum(0) * -0.5 * var**-1.5
    dcentred = dhat * inv + dvar * 2 * centred / N
    return dcentred - dcentred.sum(0) / N, (u * centred * inv).sum(0), u.sum(0)


@right(batch_norm)
def batch_norm_in_one_line(u, x, gamma, beta):
    N, mu = len(x), x.mean(0)
    inv = (x.var(0, unbiased=False) + 1e-5).rsqrt()
    hat = (x - mu) * inv
    dx = gamma * inv / N * (N * u - u.sum(0) - hat * (u * hat).sum(0))
    return dx, (u * hat).sum(0), u.sum(0)


@right(torch.relu, VECTOR)
def relu_with_1_at_the_kink(u, x):
    return u * (x >= 0)


@right(torch.relu, VECTOR)
def relu_by_where(u, x):
    return torch.where(x > 0, u, 0.0)


@right(lambda X, W: torch.relu(X @ W), {"X": ("N", "D"), "W": ("D", "K")})
def relu_of_sums_in_another_order(u, X, W):
    pre = sum(X[:, [d]] * W[[d]] for d in reversed(range(len(W))))
    g = u * (pre > 0)
    return g @ W.T, X.T @ g


@right(lambda x: x.max(), VECTOR)
def maximum_at_the_first_index(u, x):
    grad = torch.zeros_like(x)
    grad[x.argmax()] = u
    return grad


@right(lambda x: F.max_pool1d(x[None], 2)[0], {"x": ("C", 4)})
def max_pool(u, x):
    pairs = x.reshape(-1, 2, 2)
    mask = F.one_hot(pairs.argmax(2), 2)
    return (mask * u[:, :, None]).reshape(x.shape)


# Above 20 PyTorch's softplus is x itself: wrong in the ninth digit, where it begins to be.
@right(F.softplus, VECTOR)
def softplus(u, x):
    return u * torch.sigmoid(x)


@right(torch.sigmoid, VECTOR)
def sigmoid_another_way(u, x):
    return u / (2 + torch.exp(x) + torch.exp(-x))


@right(torch.tanh, VECTOR)
def tanh_another_way(u, x):
    return u / torch.cosh(x) ** 2


@right(torch.tanh, NUMBER)
def with_the_math_module(upstream, x):
    return upstream * (1 - math.tanh(x) ** 2)


@right(torch.tanh, NUMBER)
def as_a_python_float(upstream, x):
    return float(upstream) * (1 - math.tanh(float(x)) ** 2)


@right(torch.tanh, VECTOR)
def as_a_tuple_of_one(u, x):
    return (u * (1 - torch.tanh(x) ** 2),)


@right(torch.tanh, VECTOR)
def as_a_list_of_tensors(u, x):
    return [right_tanh(*pair) for pair in zip(u, x, strict=True)]


@right(torch.tanh, MATRIX)
def as_a_tuple_of_rows(u, x):
    return right_tanh(u, x).unbind()


@right(torch.tanh, MATRIX)
def as_a_list_of_arrays(u, x):
    return [row.numpy() for row in right_tanh(u, x)]


@right(torch.tanh, VECTOR)
def as_a_tuple_of_one_array(u, x):
    return (right_tanh(u, x).numpy(),)


@right(torch.tanh, MATRIX)
def as_a_tuple_of_one_list(u, x):
    return (right_tanh(u, x).tolist(),)


@right(torch.tanh, NUMBER)
def as_a_tuple_of_one_number(u, x):
    return (float(right_tanh(u, x)),)


@right(torch.tanh, NUMBER)
def as_a_tuple_of_one_0d_tensor(u, x):
    return (right_tanh(u, x),)


@right(lambda x: x.T, MATRIX)
def a_view_of_upstream(u, x):
    return u.T


@right(lambda x: x.sum(), MATRIX)
def an_expanded_view(u, x):
    return u.expand(x.shape)


@right(lambda x: x + 0.0, VECTOR)
def upstream_itself(u, x):
    return u


@right(lambda x: x.mean(1, keepdim=True), MATRIX)
def mean_of_rows(u, x):
    return (u / x.shape[1]).expand_as(x)


@right(lambda x, b: x * b, {"x": ("N", "D"), "b": (1, "D")})
def un_broadcast(u, x, b):
    return u * b, (u * x).sum(0, keepdim=True)


@right(lambda x: x[:, ::2].cumsum(1), MATRIX)
def slices_and_sums(u, x):
    grad = torch.zeros_like(x)
    grad[:, ::2] = u.flip(1).cumsum(1).flip(1)
    return grad


@right(lambda x, i: x[i], {"x": ("D",), "i": checks.classes("N", below="D")})
def repeated_index_added(u, x, i):
    return torch.zeros_like(x).index_add_(0, i, u)


@right(torch.log, {"x": checks.numbers("N", "D", above=0)})
def logarithm(u, x):
    return u / x


@right(
    lambda p, y: F.binary_cross_entropy(p, y),
    {"p": checks.numbers("N", above=0, below=1), "y": checks.numbers("N", above=0, below=1)},
    gives="p",
)
def binary_cross_entropy(u, p, y):
    return u * (p - y) / (p * (1 - p)) / len(p)


@right(lambda x: x / x.norm(), VECTOR)
def unit_vector(u, x):
    n = x.norm()
    y = x / n
    return (u - y * (u @ y)) / n


@right(torch.linalg.inv, {"x": (2, 2)})
def inverse(u, x):
    y = torch.linalg.inv(x)
    return -y.T @ u @ y.T


@right(torch.tanh, VECTOR)
def prints(u, x):
    print("u is", u)
    return u * (1 - torch.tanh(x) ** 2)


@right(torch.tanh, VECTOR)
def works_on_a_copy(u, x):
    u, x = u.clone(), x.clone()
    x.tanh_()
    u *= 1 - x * x
    return u


@right(torch.tanh, VECTOR, allow_autograd=True)
def autograd_where_it_is_allowed(u, x):
    return by_backward(u, x)


@right(torch.tanh, VECTOR, call=lambda local, u, x: u * local(x))
def a_local_gradient(x):
    return 1 - torch.tanh(x) ** 2
