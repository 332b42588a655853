"""Batch norm and layer norm."""

import torch
import torch.nn.functional as F

from wrong.case import case, upstream, variable, weighted


def _batch_norm(by_hand=False):
    X, scale, shift = variable(6, 3), variable(3, seed=1), variable(3, seed=2)
    x = X.detach()
    inverse = 1 / torch.sqrt(x.var(dim=0, unbiased=False) + 1e-5)
    x_hat = (x - x.mean(dim=0)) * inverse
    names = {}
    if by_hand:
        mean = X.mean(dim=0)
        D = X - mean
        variance = (D**2).mean(dim=0)
        names = {"mean": mean, "D": D, "variance": variance}
        y = D / torch.sqrt(variance + 1e-5) * scale + shift
    else:
        y = F.batch_norm(X, None, None, scale, shift, training=True)
    graph = weighted(y, {"X": X, "scale": scale, "shift": shift}, **names)
    return graph, x_hat, inverse, upstream(y) * scale.detach()


@case("statistics-constant", 31)
def batch_statistics_constant():
    graph, _, inverse, g = _batch_norm()
    return graph, "X", inverse * g


@case("statistics-constant", 31)
def batch_statistics_by_hand_constant():
    graph, _, inverse, g = _batch_norm(by_hand=True)
    return graph, "X", inverse * g


@case("mean-constant", 31)
def batch_mean_constant():
    graph, x_hat, inverse, g = _batch_norm()
    return graph, "X", inverse * (g - x_hat * (g * x_hat).mean(dim=0))


@case("variance-constant", 31)
def batch_variance_constant():
    graph, _, inverse, g = _batch_norm()
    return graph, "X", inverse * (g - g.mean(dim=0))


@case("statistic-constant", 31)
def batch_variance_by_hand_constant():
    graph, _, inverse, g = _batch_norm(by_hand=True)
    return graph, "X", inverse * (g - g.mean(dim=0))


@case("norm-scale-input")
def batch_scale_without_input():
    graph, _, _, _ = _batch_norm()
    return graph, "scale", graph.names["u"].sum(dim=0)


@case("broadcast-averaged", 16)
def batch_shift_averaged():
    graph, _, _, _ = _batch_norm()
    return graph, "shift", graph.names["u"].mean(dim=0)


@case("broadcast-not-summed", 16)
def batch_scale_not_summed():
    graph, x_hat, _, _ = _batch_norm()
    return graph, "scale", graph.names["u"] * x_hat


def _layer_norm():
    X, scale, shift = variable(4, 5), variable(5, seed=1), variable(5, seed=2)
    y = F.layer_norm(X, (5,), scale, shift)
    x = X.detach()
    inverse = 1 / torch.sqrt(x.var(dim=1, unbiased=False, keepdim=True) + 1e-5)
    x_hat = (x - x.mean(dim=1, keepdim=True)) * inverse
    wrt = {"X": X, "scale": scale, "shift": shift}
    return weighted(y, wrt), x_hat, inverse, upstream(y) * scale.detach()


@case("statistics-constant", 31)
def layer_statistics_constant():
    graph, _, inverse, g = _layer_norm()
    return graph, "X", inverse * g


@case("mean-constant", 31)
def layer_mean_constant():
    graph, x_hat, inverse, g = _layer_norm()
    return graph, "X", inverse * (g - x_hat * (g * x_hat).mean(dim=1, keepdim=True))


@case("variance-constant", 31)
def layer_variance_constant():
    graph, _, inverse, g = _layer_norm()
    return graph, "X", inverse * (g - g.mean(dim=1, keepdim=True))


@case("norm-scale-input")
def layer_scale_without_input():
    graph, _, _, _ = _layer_norm()
    return graph, "scale", graph.names["u"].sum(dim=0)


@case("norm-without-scale")
def batch_norm_without_its_scale():
    graph, x_hat, inverse, _ = _batch_norm()
    u = graph.names["u"]
    return graph, "X", inverse * (u - u.mean(dim=0) - x_hat * (u * x_hat).mean(dim=0))


@case("norm-scale-raw")
def batch_scale_of_the_raw_input():
    graph, _, _, _ = _batch_norm()
    return graph, "scale", (graph.names["u"] * graph.names["X"].detach()).sum(dim=0)


@case("norm-other-axis")
def layer_norm_averaged_over_the_rows():
    graph, x_hat, inverse, g = _layer_norm()
    return graph, "X", inverse * (g - g.mean(dim=0) - x_hat * (g * x_hat).mean(dim=0))


@case("norm-other-axis")
def batch_norm_averaged_over_the_columns():
    graph, x_hat, inverse, g = _batch_norm()
    across = g.mean(dim=1, keepdim=True), (g * x_hat).mean(dim=1, keepdim=True)
    return graph, "X", inverse * (g - across[0] - x_hat * across[1])
