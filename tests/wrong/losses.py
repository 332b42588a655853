"""Softmax, the loss functions, and normalisations."""

import torch
import torch.nn.functional as F
from graphs import Graph

from wrong.case import case, data, upstream, variable, weighted

TARGET = torch.tensor([0, 3, 2, 3, 1])


def _logits():
    Z = variable(5, 4)
    s = torch.softmax(Z.detach(), dim=1)
    return Z, s, F.one_hot(TARGET, 4).double()


# -- softmax ---------------------------------------------------------------------------------------


@case("softmax-elementwise", 23)
def softmax_entry_by_entry():
    Z, s, _ = _logits()
    y = torch.softmax(Z, dim=1)
    return weighted(y, {"Z": Z}), "Z", s * (1 - s) * upstream(y)


@case("softmax-elementwise", 23)
def softmax_by_hand_entry_by_entry():
    Z, s, _ = _logits()
    E = torch.exp(Z)
    y = E / E.sum(dim=-1, keepdim=True)
    return weighted(y, {"Z": Z}, E=E), "Z", s * (1 - s) * upstream(y)


@case("softmax-elementwise", 23)
def log_softmax_entry_by_entry():
    Z, s, _ = _logits()
    y = F.log_softmax(Z, dim=-1)
    return weighted(y, {"Z": Z}), "Z", (1 - s) * upstream(y)


@case("softmax-other-axis", 23)
def softmax_coupled_along_columns():
    Z, s, _ = _logits()
    y = torch.softmax(Z, dim=1)
    u = upstream(y)
    return weighted(y, {"Z": Z}), "Z", s * (u - (u * s).sum(dim=0, keepdim=True))


@case("softmax-other-axis", 23)
def log_softmax_coupled_along_columns():
    Z, s, _ = _logits()
    y = F.log_softmax(Z, dim=1)
    u = upstream(y)
    return weighted(y, {"Z": Z}), "Z", u - s * u.sum(dim=0, keepdim=True)


@case("softmax-cross-terms", 23)
def softmax_without_the_cross_terms():
    Z, s, _ = _logits()
    y = torch.softmax(Z, dim=1)
    return weighted(y, {"Z": Z}), "Z", s * upstream(y)


# -- cross-entropy, written in several ways --------------------------------------------------------


def _library(Z):
    return F.cross_entropy(Z, TARGET)


def _negative_log_likelihood(Z):
    return F.nll_loss(F.log_softmax(Z, dim=1), TARGET)


def _log_of_softmax(Z):
    return -torch.log(torch.softmax(Z, dim=1))[range(5), TARGET].mean()


def _log_of_picked(Z):
    return -torch.log(torch.softmax(Z, dim=1)[range(5), TARGET]).mean()


def _with_one_hot(Z):
    shifted = Z - Z.max(dim=1, keepdim=True).values
    E = torch.exp(shifted)
    return -(torch.log(E / E.sum(dim=1, keepdim=True)) * F.one_hot(TARGET, 4)).sum() / 5


def _with_logsumexp(Z):
    L = Z - Z.logsumexp(dim=1, keepdim=True)
    return -L.gather(1, TARGET[:, None]).mean()


def _log_of_the_sum(Z):
    L = Z - torch.log(torch.exp(Z).sum(dim=1, keepdim=True))
    return -(L * F.one_hot(TARGET, 4)).sum() / 5


def _times_the_inverse(Z):
    counts = torch.exp(Z - Z.max(dim=1, keepdim=True).values)
    probabilities = counts * counts.sum(dim=1, keepdim=True) ** -1
    return -torch.log(probabilities)[range(5), TARGET].mean()


WAYS = (
    _library,
    _negative_log_likelihood,
    _log_of_softmax,
    _log_of_picked,
    _with_one_hot,
    _with_logsumexp,
    _log_of_the_sum,
    _times_the_inverse,
)


def _in_every_way(name, row, wrong):
    """A case for each way to write the cross-entropy; `wrong` is given softmax and one-hot."""

    def of(loss):
        def build():
            Z, s, h = _logits()
            return Graph(loss(Z), {"Z": Z}, {"Z": Z}), "Z", wrong(s, h)

        build.__name__ = loss.__name__
        return build

    for way in WAYS:
        case(name, row)(of(way))


def _softmax_twice(s, h):
    q = (torch.softmax(s, dim=1) - h) / 5
    return s * (q - (q * s).sum(dim=1, keepdim=True))


_in_every_way("no-one-hot", 24, lambda s, h: s / 5)
_in_every_way("target-only", 25, lambda s, h: -(1 - s) * h / 5)
_in_every_way("softmax-twice", 26, _softmax_twice)


@case("nll-count", 2)
def the_samples_not_divided_by():
    Z, s, h = _logits()
    return Graph(F.cross_entropy(Z, TARGET), {"Z": Z}, {"Z": Z}), "Z", s - h


@case("no-one-hot+nll-count", 24)
def neither_one_hot_nor_count():
    Z, s, _ = _logits()
    return Graph(F.cross_entropy(Z, TARGET), {"Z": Z}, {"Z": Z}), "Z", s


@case("nll-other-count", 3)
def divided_by_the_classes():
    Z, s, h = _logits()
    return Graph(F.cross_entropy(Z, TARGET), {"Z": Z}, {"Z": Z}), "Z", (s - h) / 4


@case("nll-other-count", 3)
def divided_by_all_entries():
    Z, s, h = _logits()
    return Graph(F.cross_entropy(Z, TARGET), {"Z": Z}, {"Z": Z}), "Z", (s - h) / 20


@case("nll-averaged", 2)
def the_sum_over_samples_averaged():
    Z, s, h = _logits()
    loss = F.cross_entropy(Z, TARGET, reduction="sum")
    return Graph(loss, {"Z": Z}, {"Z": Z}), "Z", (s - h) / 5


@case("nll-sign")
def the_minus_of_the_likelihood_lost():
    Z, s, h = _logits()
    return Graph(F.cross_entropy(Z, TARGET), {"Z": Z}, {"Z": Z}), "Z", (h - s) / 5


@case("target-only+nll-sign", 25)
def only_the_target_and_turned():
    Z, s, h = _logits()
    return Graph(F.cross_entropy(Z, TARGET), {"Z": Z}, {"Z": Z}), "Z", (1 - s) * h / 5


@case("softmax-not-differentiated")
def the_derivative_of_the_logarithm_alone():
    Z, s, h = _logits()
    return Graph(F.cross_entropy(Z, TARGET), {"Z": Z}, {"Z": Z}), "Z", -h / s / 5


@case("bce-target", 24)
def two_classes_without_the_target():
    z, t = variable(6), torch.tensor([0.0, 1, 1, 0, 1, 0], dtype=torch.float64)
    loss = F.binary_cross_entropy_with_logits(z, t)
    return Graph(loss, {"z": z}, {"z": z, "t": t}), "z", torch.sigmoid(z.detach()) / 6


def _two_classes():
    z, t = variable(6), torch.tensor([0.0, 1, 1, 0, 1, 0], dtype=torch.float64)
    loss = F.binary_cross_entropy_with_logits(z, t)
    p = torch.sigmoid(z.detach())
    return Graph(loss, {"z": z}, {"z": z, "t": t}), "z", (z.detach(), p, t)


@case("bce-sigmoid-twice")
def the_sigmoid_differentiated_once_more():
    graph, name, (_, p, t) = _two_classes()
    return graph, name, (p - t) * p * (1 - p) / 6


@case("bce-sigmoid-left-out")
def the_gradient_at_the_probability():
    graph, name, (_, p, t) = _two_classes()
    return graph, name, (p - t) / (p * (1 - p)) / 6


@case("bce-logit")
def the_logit_for_the_probability():
    graph, name, (z, _, t) = _two_classes()
    return graph, name, (z - t) / 6


def _probabilities():
    z, t = variable(6), torch.tensor([0.0, 1, 0.25, 0, 1, 0.75], dtype=torch.float64)
    p = torch.sigmoid(z)
    loss = F.binary_cross_entropy(p, t)
    return Graph(loss, {"z": z}, {"z": z, "p": p, "t": t}), "z", (p.detach(), t)


@case("bce-one-term")
def only_the_first_half():
    graph, name, (p, t) = _probabilities()
    return graph, name, -t / p * p * (1 - p) / 6


@case("bce-one-term")
def the_inner_minus_lost():
    graph, name, (p, t) = _probabilities()
    return graph, name, (-t / p - (1 - t) / (1 - p)) * p * (1 - p) / 6


@case("mse-count", 2)
def a_smooth_loss_that_does_not_divide():
    P, T = variable(7), data(7, seed=1)
    loss = F.smooth_l1_loss(P, T)
    wrong = torch.clamp((P - T).detach(), -1, 1)
    return Graph(loss, {"P": P}, {"P": P, "T": T}), "P", wrong


@case("nll-count", 2)
def two_classes():
    z, t = variable(6), torch.tensor([0.0, 1, 1, 0, 1, 0], dtype=torch.float64)
    loss = F.binary_cross_entropy_with_logits(z, t)
    return Graph(loss, {"z": z}, {"z": z, "t": t}), "z", torch.sigmoid(z.detach()) - t


# -- mean squared error ----------------------------------------------------------------------------


def _mse(reduction="mean"):
    P, T = variable(7, 5), data(7, 5, seed=1)
    loss = F.mse_loss(P, T, reduction=reduction)
    return weighted(loss, {"P": P}, T=T), P.detach(), T, upstream(loss)


@case("mse-factor", 1)
def mse_without_the_two():
    graph, P, T, u = _mse()
    return graph, "P", u * (P - T) / 35


@case("mse-count", 2)
def mse_without_the_count():
    graph, P, T, u = _mse()
    return graph, "P", u * 2 * (P - T)


@case("mse-factor+mse-count", 2)
def mse_without_both():
    graph, P, T, u = _mse()
    return graph, "P", u * (P - T)


@case("mse-averaged", 2)
def mse_sum_averaged():
    graph, P, T, u = _mse("sum")
    return graph, "P", u * 2 * (P - T) / 35


@case("mse-one-size", 3)
def mse_divided_by_the_rows():
    graph, P, T, u = _mse()
    return graph, "P", u * 2 * (P - T) / 7


@case("mse-turned", 4)
def mse_turned():
    graph, P, T, u = _mse("sum")
    return graph, "P", u * 2 * (T - P)


@case("mse-prediction", 19)
def mse_of_the_prediction():
    graph, P, _, u = _mse()
    return graph, "P", u * 2 * P / 35


@case("mse-prediction", 19)
def mse_of_each_prediction():
    P, T = variable(7, 5), data(7, 5, seed=1)
    y = F.mse_loss(P, T, reduction="none")
    return weighted(y, {"P": P}), "P", upstream(y) * 2 * P.detach()


@case("mse-residual", 19)
def mse_without_the_residual():
    graph, P, _, u = _mse("sum")
    return graph, "P", u * 2 * torch.ones_like(P)


@case("mse-broadcast", 18)
def mse_over_a_square():
    # (N, 1) against (N,): every prediction with every target.
    X, t, w = data(7, 3), data(7, seed=1), variable(3)
    p = X @ w
    loss = F.mse_loss(p, t)
    square = p.detach()[:, None] - t[None, :]
    wrong = 2 / 49 * X.T @ square.sum(dim=1)
    return Graph(loss, {"w": w}, {"w": w, "X": X, "t": t, "p": p}), "w", wrong
