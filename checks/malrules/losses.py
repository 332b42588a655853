"""Mal-rules of softmax, of the loss functions, and of normalisations."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from checks.backward import Gradients
from checks.malrules.arithmetic import one_size
from checks.malrules.rule import Change, MalRule, NodeRule, Scaled, only, scaled
from checks.site import NotKnownError, Site

_SOFTMAX = ("Softmax", "LogSoftmax")
_NORM = ("NativeBatchNorm", "NativeLayerNorm", "CudnnBatchNorm")
_MSE = ("MseLoss",)
_OF_RESIDUALS = ("SmoothL1Loss", "HuberLoss", "SoftMarginLoss")
_LOGITS = ("BinaryCrossEntropyWithLogits",)
_NLL = ("NllLoss", "NllLoss2D", "BinaryCrossEntropy", "BinaryCrossEntropyWithLogits")


def _probabilities(site: Site) -> Tensor:
    return site.y if site.kind == "Softmax" else torch.exp(site.y)


def _of_log(site: Site) -> Tensor:
    """What arrives at the logarithm of the probabilities."""
    if site.kind == "LogSoftmax":
        return site.u
    if ((site.u != 0).sum(site.dims) != 1).any():
        raise NotKnownError  # each row has one target in a cross-entropy: this is none
    return site.u * site.y


def _elementwise(site: Site) -> Tensor:
    s = _probabilities(site)
    return site.u * (s * (1 - s) if site.kind == "Softmax" else 1 - s)


def _double_softmax(site: Site) -> Tensor:
    """`cross_entropy` fed with probabilities: softmax applied once more."""
    s, u = _probabilities(site), _of_log(site)
    (dim,) = site.dims
    q = u - torch.softmax(s, dim) * u.sum(dim, keepdim=True)
    return s * (q - (q * s).sum(dim, keepdim=True))


def _mse(formula: Callable[[Tensor, Tensor], Tensor]) -> Change:
    """The residual p − t of 2 (p − t) replaced by another formula of p and t."""

    def change(site: Site) -> list[Gradients]:
        factor = 2 / (site.count if site.averages else 1) * site.u
        return [site.put(0, factor * formula(site.x(0), site.x(1)))]

    return change


def _as_sum(site: Site) -> float:
    if not site.averages:
        raise NotKnownError
    return site.samples


def _as_mean(site: Site) -> float:
    if not site.sums:
        raise NotKnownError
    return 1 / site.samples


def _statistics(mean_moves: bool, variance_moves: bool) -> Change:
    """Batch or layer norm with the mean, the variance, or both held constant."""

    def change(site: Site) -> list[Gradients]:
        norm = site.normalisation()
        g = site.u * norm.weight
        flow = g
        if mean_moves:
            flow = flow - norm.average(g)
        if variance_moves:
            flow = flow - norm.x_hat * norm.average(g * norm.x_hat)
        return [site.put(0, norm.inverse * flow)]

    return change


def _other_axes(site: Site) -> list[Gradients]:
    """The averages of a normalisation taken over the dimensions that are not normalised."""
    norm = site.normalisation(other_axes=True)
    g = site.u * norm.weight
    flow = g - norm.average(g) - norm.x_hat * norm.average(g * norm.x_hat)
    return [site.put(0, norm.inverse * flow)]


def _without_scale(site: Site) -> list[Gradients]:
    norm, u = site.normalisation(), site.u
    flow = u - norm.average(u) - norm.x_hat * norm.average(u * norm.x_hat)
    return [site.put(0, norm.inverse * flow)]


def _scale_of_raw_input(site: Site) -> list[Gradients]:
    norm, x = site.normalisation(), site.saved("input").detach()
    return [site.put(1, norm.per_weight(site.u * x))] if site.has(1) else []


def _other_softmax_axis(site: Site) -> list[Gradients]:
    """The sum over the entries of softmax taken over another dimension."""
    u, y = site.u, site.y
    dims = [dim for dim in range(u.ndim) if (dim,) != site.dims]
    if site.kind == "Softmax":
        return [site.put(0, y * (u - (u * y).sum(dim, keepdim=True))) for dim in dims]
    return [site.put(0, u - torch.exp(y) * u.sum(dim, keepdim=True)) for dim in dims]


def _sigmoid_derivative(site: Site) -> Tensor:
    s = torch.sigmoid(site.x(0))
    return s * (1 - s)


def _logit_for_probability(site: Site) -> Tensor:
    s = torch.sigmoid(site.x(0))
    return site.right * (site.x(0) - site.x(1)) / (s - site.x(1))


def _one_term(site: Site) -> list[Gradients]:
    """The binary cross-entropy −t·log(p) − (1 − t)·log(1 − p) with one of its terms alone."""
    p, t = site.x(0), site.x(1)
    whole = (p - t) / (p * (1 - p))
    parts = (-t / p, (1 - t) / (1 - p), -t / p - (1 - t) / (1 - p))
    return [site.put(0, site.right * part / whole) for part in parts]


def _without_target(site: Site) -> list[Gradients]:
    count = site.count if site.averages else 1
    return [site.put(0, site.u * torch.sigmoid(site.x(0)) / count)] if site.has(0) else []


def _other_count(site: Site) -> list[Gradients]:
    """The mean over N samples of C classes divided by C, or by N · C."""
    shape = site.shape(0)
    if not site.averages or "Nll" not in site.kind or len(shape) < 2:
        raise NotKnownError
    classes = shape[1]
    return [Scaled.of(site.raw, site.samples / classes), Scaled.of(site.raw, 1 / classes)]


def _scale_without_input(site: Site) -> list[Gradients]:
    return [site.put(1, site.normalisation().per_weight(site.u))] if site.has(1) else []


LOSS_RULES: tuple[NodeRule, ...] = (
    # softmax and cross-entropy
    MalRule("target-only", "only the target's own entry gets a gradient from the cross-entropy",
            only(lambda s: s.right * (_of_log(s) != 0)), _SOFTMAX, "6", 1, True),
    MalRule("softmax-elementwise", "softmax is differentiated as if each entry stood alone",
            only(_elementwise), _SOFTMAX, "6", 1),
    MalRule("softmax-cross-terms", "the terms that couple the entries of softmax are left out",
            only(lambda s: s.u * s.y), ("Softmax",), "6"),
    MalRule("softmax-other-axis", "the entries of softmax are coupled along the wrong axis",
            _other_softmax_axis, _SOFTMAX, "6"),
    MalRule("no-one-hot", "the one-hot target is left out of the gradient of the cross-entropy",
            only(lambda s: s.right - _of_log(s)), _SOFTMAX, "6", 1, True),
    MalRule("softmax-not-differentiated", "the logarithm is differentiated, and softmax is not",
            only(lambda s: s.u / _probabilities(s)), ("LogSoftmax",), "6", 3),
    MalRule("softmax-twice", "softmax is applied once more before the cross-entropy",
            only(_double_softmax), _SOFTMAX, "6"),
    MalRule("nll-count", "the mean over the samples is differentiated like a sum",
            scaled(_as_sum), _NLL, "6", 1, True),
    MalRule("nll-other-count", "the mean over the samples divides by another count",
            _other_count, _NLL, "6", 2, True),
    MalRule("nll-averaged", "the sum over the samples is differentiated like a mean",
            scaled(_as_mean), _NLL, "6"),
    MalRule("nll-sign", "the minus sign of the log-likelihood is lost",
            scaled(lambda s: -1.0), _NLL, "6", 1, True),
    MalRule("bce-target", "the target is left out of the gradient of the cross-entropy",
            _without_target, _LOGITS, "6", 1),
    MalRule("bce-sigmoid-twice", "the derivative of the sigmoid is multiplied in, which the "
            "cross-entropy of a logit contains already",
            only(lambda s: s.right * _sigmoid_derivative(s)), _LOGITS, "6", 1),
    MalRule("bce-sigmoid-left-out", "the derivative of the sigmoid is left out",
            only(lambda s: s.right / _sigmoid_derivative(s)), _LOGITS, "6"),
    MalRule("bce-logit", "the logit is used where the probability belongs",
            only(_logit_for_probability), _LOGITS, "6"),
    MalRule("bce-one-term", "a term of the cross-entropy is forgotten, or the inner minus sign of "
            "one is lost", _one_term, ("BinaryCrossEntropy",), "6"),
    # mean squared error
    MalRule("mse-factor", "the derivative of the square is not applied fully",
            scaled(lambda s: 0.5), _MSE, rank=1, pairs=True),
    MalRule("mse-count", "the mean is differentiated like a sum",
            scaled(_as_sum), (*_MSE, *_OF_RESIDUALS), rank=1, pairs=True),
    MalRule("mse-averaged", "the sum is differentiated like a mean", scaled(_as_mean), _MSE),
    MalRule("mse-one-size", "the mean divides by another number than that of its terms",
            lambda s: one_size(s) if s.averages else [], _MSE, "6", 2, True),
    MalRule("mse-turned", "the difference is taken the other way round",
            scaled(lambda s: -1.0), _MSE, rank=1, pairs=True),
    MalRule("mse-prediction", "the prediction is used where the residual belongs",
            _mse(lambda p, t: p), _MSE),
    MalRule("mse-residual", "the residual is left out",
            _mse(lambda p, t: torch.ones_like(p)), _MSE),
    MalRule("mse-broadcast", "every prediction is compared with every target, because two shapes "
            "broadcast to a square", _mse(lambda p, t: p - t.mean()), _MSE, rank=3),
    # normalisation
    MalRule("statistics-constant", "the mean and the variance are treated as constants",
            _statistics(False, False), _NORM, "6", 1),
    MalRule("mean-constant", "the mean is treated as a constant",
            _statistics(False, True), _NORM, "6"),
    MalRule("variance-constant", "the variance is treated as a constant",
            _statistics(True, False), _NORM, "6"),
    MalRule("norm-other-axis", "the averages of the normalisation are taken over the wrong axis",
            _other_axes, _NORM, "6", 3),
    MalRule("norm-without-scale", "the scale is left out on the way back through the {operation}",
            _without_scale, _NORM, "6"),
    MalRule("norm-scale-raw", "the input that is not normalised is used for the gradient of the "
            "scale", _scale_of_raw_input, _NORM, "6"),
    MalRule("norm-scale-input", "the normalised input is left out of the gradient of the scale",
            _scale_without_input, _NORM, "6"),
)  # fmt: skip
