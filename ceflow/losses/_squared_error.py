"""Squared error."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..kernels.linking import linked, vector
from ._loss import RESIDUAL, Loss
from ._margins import NO_ODDS, response


@linked(*RESIDUAL)
def _residual(parameters, valencies, margins, out, a, classes, base, modes):
    valencies, margins, out = vector(valencies, modes), vector(margins, modes), vector(out, modes)
    first = 0.0
    for j in range(modes):
        first += valencies[j] * margins[j]
    first = (first + 1.0) / classes
    for j in range(modes):
        out[j] = valencies[j] * (first - margins[j])
    a[0] = NO_ODDS
    return 0.0


@dataclass(frozen=True)
class SquaredError(Loss):
    """Squared error ``(1/2) |z - y|^2`` of the logits of a sample.

    The target y is one-hot minus its mean 1/K, which an output bias would fit. Cross-entropy is invariant to this mean.

    Examples
    --------
    >>> run = cf.integrate(cf.SpectralFlow(cf.complete(10), loss=cf.losses.SquaredError()), [0.1], 100.0)
    >>> f"{run.singular_values[-1, 0]:.6f}"
    '1.000000'
    """

    name = "squared_error"
    formula = "(Q - M**2 / K) / 2 - M / K + (1 - 1 / K) / 2"
    words = "squared error"
    residual_formula = "I - 11'/K - Z"
    margins_only = False
    counterforce = 1.0
    residual = _residual

    def log_value(self, margins, valencies=None, mean=0.0):
        margins = np.asarray(margins, float)
        k = np.ones(margins.shape[-1]) if valencies is None else np.asarray(valencies, float)
        classes = 1.0 + k.sum()
        first = margins @ k / classes + mean
        wrong = first[..., None] - margins + 1.0 / classes
        with np.errstate(divide="ignore"):
            return np.log(0.5 * ((first - 1.0 + 1.0 / classes) ** 2 + wrong**2 @ k))

    def full_residual(self, Z, own, xp=np, log_weights=None):
        Z *= -1.0
        Z -= 1.0 / Z.shape[-2]
        Z[(..., *own)] += 1.0
        if log_weights is not None:
            Z *= xp.exp(log_weights)
        return 0.0 * Z[..., 0, 0], NO_ODDS

    def curvature(self, margins, valencies=None, *, change):
        k = np.ones(np.shape(margins)[-1]) if valencies is None else np.asarray(valencies, float)
        wrong = k.sum()
        return response(k / wrong, wrong, wrong / (1.0 + wrong), wrong**2 / (1.0 + wrong), change)

    def collapsed_force(self, s, classes):
        return 1.0 - s
