"""Cross-entropy with label smoothing."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from ..kernels.linking import linked, vector
from ._loss import RESIDUAL, parameter
from ._margins import (
    close_columns,
    cross_entropy,
    full_odds,
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
    share = parameters[0] / classes
    high = max(log_scale, math.log(share))
    weight, share = math.exp(log_scale - high), share * math.exp(-high)
    for j in range(modes):
        out[j] = out[j] * weight - valencies[j] * share
    return high


@dataclass(frozen=True)
class LabelSmoothing(OddsLoss):
    """Cross-entropy with label smoothing: the target is ``smoothing / K`` in every class, the rest in the true class.

    Attributes
    ----------
    smoothing : float
        0 < smoothing < 1.

    Examples
    --------
    >>> loss = cf.losses.LabelSmoothing(0.1)
    >>> f"{cf.theory.equilibrium(10, loss=loss):.4f}"  # logits stay finite without decay
    '4.5109'
    """

    smoothing: float = parameter(0.1, 1e-12, 1.0 - 1e-12)

    name = "label_smoothing"
    formula = "log1p(S) + smoothing / K * M"
    residual_formula = "(1 - e) I + e 11'/K - p,  p = softmax(Z)"
    residual = _residual

    @property
    def words(self) -> str:
        return f"cross-entropy, label smoothing e = {self.smoothing:g}"

    @property
    def counterforce(self) -> float:
        return self.smoothing

    def log_value(self, margins, valencies=None, mean=0.0):
        margins = np.asarray(margins, float)
        k = np.ones(margins.shape[-1]) if valencies is None else np.asarray(valencies, float)
        value = cross_entropy(log_odds_of_error(margins, k))
        return np.log(value + self.smoothing / (1.0 + k.sum()) * (margins @ k))

    def full_residual(self, Z, own, xp=np, log_weights=None):
        log_odds, log_weight = full_odds(Z, own, xp)
        share, least, by_column = self.smoothing / Z.shape[-2], 0.0, 0.0
        if log_weights is not None:
            log_weight += log_weights
            least, by_column = log_weights.max(), log_weights
        log_scale = xp.clip(xp.amax(log_weight, -1), math.log(share) + least, None)
        weigh_columns(Z, log_weight - log_scale[..., None], xp)
        Z += share * xp.exp(by_column - log_scale[..., None])[..., None, :]
        close_columns(Z, own)
        return log_scale, mean_odds(log_odds, log_weights, xp)


def label_smoothing(smoothing: float = 0.1) -> LabelSmoothing:
    """Cross-entropy with label smoothing: a share 0 < smoothing < 1 of the target is uniform over the K classes.

    Examples
    --------
    >>> loss = cf.losses.label_smoothing(0.2)
    >>> run = cf.integrate(cf.SpectralFlow(cf.complete(10), loss=loss), [0.1], 1e4)
    >>> f"{run.singular_values[-1, 0]:.4f}, {np.log(10 / 0.2 - 10 + 1):.4f}"
    '3.7136, 3.7136'
    """
    return LabelSmoothing(smoothing)
