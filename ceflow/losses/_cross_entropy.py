"""Cross-entropy."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..kernels.linking import linked, vector
from ._loss import RESIDUAL
from ._margins import (
    close_columns,
    full_odds,
    log_cross_entropy,
    log_odds_of_error,
    mean_odds,
    probabilities,
    weigh_columns,
)
from ._odds import OddsLoss


@linked(*RESIDUAL)
def _residual(parameters, valencies, margins, out, a, classes, base, modes):
    valencies, margins, out = vector(valencies, modes), vector(margins, modes), vector(out, modes)
    log_scale, a[0], _ = probabilities(base, valencies, margins, out)
    return log_scale


@dataclass(frozen=True)
class CrossEntropy(OddsLoss):
    """Cross-entropy ``-log p_0``, where p_0 is the softmax probability of the true class.

    Examples
    --------
    >>> loss = cf.losses.CrossEntropy()
    >>> f"{np.exp(loss.log_value([2.0, 2.0])):.4f}"  # margins to two wrong classes
    '0.2395'
    """

    name = "cross_entropy"
    formula = "log1p(S)"
    words = "cross-entropy"
    residual_formula = "I - p,  p = softmax(Z)"
    residual = _residual

    def log_value(self, margins, valencies=None, mean=0.0):
        return log_cross_entropy(log_odds_of_error(margins, valencies))

    def full_residual(self, Z, own, xp=np, log_weights=None):
        log_odds, log_weight = full_odds(Z, own, xp)
        if log_weights is not None:
            log_weight += log_weights
        log_scale = xp.amax(log_weight, -1)
        weigh_columns(Z, log_weight - log_scale[..., None], xp)
        close_columns(Z, own)
        return log_scale, mean_odds(log_odds, log_weights, xp)
