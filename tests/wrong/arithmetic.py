"""Sums, differences, products, quotients, and what reduces many numbers to one."""

import torch
import torch.nn.functional as F

from wrong.case import case, data, function_of_one, positive, upstream, variable, weighted

# -- sums, differences, products, quotients --------------------------------------------------------

function_of_one("negation-sign", torch.neg, torch.ones_like)
function_of_one("constant-minus", lambda x: 3 - x, torch.ones_like)
function_of_one("reciprocal-sign", torch.reciprocal, lambda x: 1 / x**2)
function_of_one("reciprocal-square", torch.reciprocal, lambda x: -1 / x)


def _two(operation):
    a, b = variable(4), variable(4, seed=1)
    y = operation(a, b)
    return weighted(y, {"a": a, "b": b}), a.detach(), b.detach(), upstream(y)


@case("difference-turned", 4)
def target_minus_prediction():
    X, t, w = data(7, 3), data(7, seed=1), variable(3)
    S = X @ w - t
    loss = (S**2).sum()
    wrong = upstream(loss) * 2 * X.T @ -S.detach()
    return weighted(loss, {"w": w}, X=X, t=t, S=S), "w", wrong


@case("difference-sign")
def a_minus_lost():
    graph, _, _, u = _two(torch.sub)
    return graph, "b", u


@case("product-swapped", 11)
def its_own_factor():
    graph, a, _, u = _two(torch.mul)
    return graph, "a", u * a


@case("product-swapped", 11)
def its_own_factor_in_a_dot_product():
    graph, a, _, u = _two(torch.dot)
    return graph, "a", u * a


@case("product-swapped", 11)
def the_weight_for_the_data():
    # dw = Σ u w for Σ u x: the bug that a friend has made in lesson 05.
    x, w = data(5), variable()
    y = w * x
    return weighted(y, {"w": w}, x=x), "w", (upstream(y) * w.detach()).sum()


@case("product-itself")
def the_whole_product():
    graph, a, b, u = _two(torch.mul)
    return graph, "a", u * a * b


@case("quotient-sign")
def the_minus_of_the_quotient_lost():
    graph, a, b, u = _two(torch.div)
    return graph, "b", u * a / b**2


@case("quotient-square")
def the_denominator_not_squared():
    graph, a, b, u = _two(torch.div)
    return graph, "b", -u * a / b


@case("quotient-square")
def the_quotient_rule_without_its_square():
    # (f′ g - f g′) / g for (f′ g - f g′) / g².
    x = variable(4)
    y = torch.sin(x) / x
    at = x.detach()
    return weighted(y, {"x": x}), "x", upstream(y) * (torch.cos(at) * at - torch.sin(at)) / at


@case("product-of-derivatives")
def f_prime_times_g_prime():
    x = variable(4)
    y = x**2 * torch.sin(x)
    return weighted(y, {"x": x}), "x", upstream(y) * 2 * x.detach() * torch.cos(x.detach())


@case("quotient-of-derivatives")
def f_prime_over_g_prime():
    x = variable(4)
    y = torch.sin(x) / x**2
    return weighted(y, {"x": x}), "x", upstream(y) * torch.cos(x.detach()) / (2 * x.detach())


@case("quotient-numerator")
def the_numerator_left_out():
    graph, _, b, u = _two(torch.div)
    return graph, "b", -u / b**2


@case("quotient-as-product")
def times_the_denominator():
    graph, _, b, u = _two(torch.div)
    return graph, "a", u * b


@case("division-left-out", 2)
def a_sum_not_divided():
    graph, name, wrong = _squares(lambda x: x.sum() / 15)
    return graph, name, wrong


@case("power-factor+division-left-out", 2)
def a_sum_not_divided_and_the_two_left_out():
    graph, name, wrong = _squares(lambda x: x.sum() / 15)
    return graph, name, wrong / 2


@case("division-twice")
def divided_by_the_root_twice():
    x = variable(4)
    y = x / 3**0.5
    return weighted(y, {"x": x}), "x", upstream(y) / 3


@case("divisor-one-size", 3)
def a_sum_divided_by_the_rows_alone():
    graph, name, wrong = _squares(lambda x: x.sum() / 15)
    return graph, name, wrong / 3


@case("factor-left-out")
def one_half_left_out():
    graph, name, wrong = _squares(lambda x: 0.5 * x.sum())
    return graph, name, wrong


@case("factor-left-out", 2)
def one_over_the_count_in_front_left_out():
    graph, name, wrong = _squares(lambda x: (1 / 15) * x.sum())
    return graph, name, wrong


# -- reductions ------------------------------------------------------------------------------------


def _squares(reduce):
    X = variable(3, 5)
    loss = reduce(X**2)
    return weighted(loss, {"X": X}), "X", upstream(loss) * 2 * X.detach()


@case("mean-count", 2)
def one_over_the_count_left_out():
    return _squares(torch.mean)


@case("power-factor+mean-count", 2)
def the_count_and_the_two_left_out():
    graph, name, wrong = _squares(torch.mean)
    return graph, name, wrong / 2


@case("mean-one-size", 3)
def divided_by_the_rows_alone():
    graph, name, wrong = _squares(torch.mean)
    return graph, name, wrong / 3


@case("mean-one-size", 3)
def divided_by_the_columns_alone():
    graph, name, wrong = _squares(torch.mean)
    return graph, name, wrong / 5


@case("mean-one-size", 3)
def a_mean_of_rows_divided_by_the_columns():
    X = variable(3, 5)
    y = X.mean(dim=0)
    return weighted(y, {"X": X}), "X", upstream(y).expand(3, 5) / 5


@case("mean-one-size", 3)
def a_mean_of_rows_divided_by_all():
    X = variable(3, 5)
    y = X.mean(dim=0)
    return weighted(y, {"X": X}), "X", upstream(y).expand(3, 5) / 15


@case("mean-count", 2)
def a_pool_that_does_not_divide():
    X = variable(1, 4, 6)
    y = F.avg_pool2d(X, 2)
    return weighted(y, {"X": X}), "X", upstream(y).repeat_interleave(2, 1).repeat_interleave(2, 2)


@case("mean-twice")
def divided_twice():
    graph, name, wrong = _squares(torch.mean)
    return graph, name, wrong / 15**2


@case("sum-averaged")
def a_sum_averaged():
    graph, name, wrong = _squares(torch.sum)
    return graph, name, wrong / 15


@case("sum-counted")
def a_sum_counted():
    graph, name, wrong = _squares(torch.sum)
    return graph, name, wrong * 15


@case("variance-factor", 1)
def the_two_of_the_variance_left_out():
    x = variable(6)
    y = x.var()
    return weighted(y, {"x": x}), "x", upstream(y) * (x - x.mean()).detach() / 5


@case("variance-count")
def the_variance_divided_by_n():
    x = variable(6)
    y = x.var()
    return weighted(y, {"x": x}), "x", upstream(y) * 2 * (x - x.mean()).detach() / 6


@case("variance-count")
def the_variance_not_divided():
    x = variable(6)
    y = x.var()
    return weighted(y, {"x": x}), "x", upstream(y) * 2 * (x - x.mean()).detach()


@case("norm-root")
def a_length_as_if_squared():
    x = variable(5)
    y = x.norm()
    return weighted(y, {"x": x}), "x", upstream(y) * 2 * x.detach()


@case("norm-root")
def lengths_not_divided_by():
    X = variable(3, 4)
    y = torch.linalg.vector_norm(X, dim=1)
    return weighted(y, {"X": X}), "X", upstream(y)[:, None] * X.detach()


@case("max-everywhere")
def the_maximum_hands_on_to_all():
    X = variable(3, 4)
    y = X.max(dim=1).values
    return weighted(y, {"X": X}), "X", upstream(y)[:, None].expand(3, 4)


@case("max-everywhere")
def the_log_of_a_sum_hands_on_to_all():
    X = variable(3, 4)
    y = X.logsumexp(dim=1)
    return weighted(y, {"X": X}), "X", upstream(y)[:, None].expand(3, 4)


@case("logsumexp-not-normalised")
def exponentials_not_divided():
    X = variable(3, 4)
    y = X.logsumexp(dim=1)
    return weighted(y, {"X": X}), "X", upstream(y)[:, None] * torch.exp(X.detach())


@case("prod-itself")
def the_whole_product_of_a_row():
    X = variable(3, 4)
    y = X.prod(dim=1)
    return weighted(y, {"X": X}), "X", (upstream(y) * y.detach())[:, None].expand(3, 4)


# -- ties ------------------------------------------------------------------------------------------


def tied():
    """Two rows; in each, the largest entry occurs more than once."""
    x = torch.tensor([[1.0, 4.0, 4.0, -2.0], [3.0, 0.5, 3.0, 3.0]], dtype=torch.float64)
    return x.requires_grad_()


@case("max-ties", 22)
def the_first_of_the_largest():
    # x.max() shares evenly among all that are tied.
    x = tied()
    y = x.max()
    wrong = torch.zeros(2, 4, dtype=torch.float64)
    wrong[0, 1] = upstream(y)
    return weighted(y, {"x": x}), "x", wrong


@case("max-ties", 22)
def all_of_the_largest():
    x = tied()
    y = x.amax(dim=1)
    largest = (x == y[:, None]).double()
    return weighted(y, {"x": x}), "x", upstream(y)[:, None] * largest


@case("max-ties", 22)
def a_share_for_each():
    # max(dim) gives the whole gradient to one of them.
    x = tied()
    y = x.max(dim=1).values
    largest = (x == y[:, None]).double()
    shares = largest / largest.sum(dim=1, keepdim=True)
    return weighted(y, {"x": x}), "x", upstream(y)[:, None] * shares


@case("max-ties", 22)
def all_of_the_smallest():
    x = (-tied()).detach().requires_grad_()
    y = x.amin(dim=1)
    smallest = (x == y[:, None]).double()
    return weighted(y, {"x": x}), "x", upstream(y)[:, None] * smallest


@case("maximum-ties", 22)
def the_first_side_wins_a_tie():
    # PyTorch gives one half to each side.
    a = torch.tensor([1.0, 2.0, 5.0, 7.0], dtype=torch.float64, requires_grad=True)
    b = torch.tensor([3.0, 2.0, 4.0, 7.0], dtype=torch.float64, requires_grad=True)
    y = torch.maximum(a, b)
    return weighted(y, {"a": a, "b": b}), "a", upstream(y) * (a >= b)


@case("maximum-ties", 22)
def the_second_side_wins_a_tie_of_minima():
    a = torch.tensor([1.0, 2.0, 5.0, 7.0], dtype=torch.float64, requires_grad=True)
    b = torch.tensor([3.0, 2.0, 4.0, 7.0], dtype=torch.float64, requires_grad=True)
    y = torch.minimum(a, b)
    return weighted(y, {"a": a, "b": b}), "a", upstream(y) * (a < b)


function_of_one("sqrt-factor", lambda x: torch.sqrt(x) * 3, lambda x: 3 / torch.sqrt(x), x=positive)
