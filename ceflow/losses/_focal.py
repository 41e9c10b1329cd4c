"""Focal loss."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from ..kernels.linking import linked, vector
from ._loss import RESIDUAL, parameter
from ._margins import (
    accuracy_gap,
    close_columns,
    full_odds,
    log_accuracy_gap,
    log_cross_entropy,
    log_odds_of_error,
    mean_odds,
    probabilities,
    weigh_columns,
)
from ._odds import OddsLoss


@linked(*RESIDUAL)
def _residual(parameters, valencies, margins, out, a, classes, base, modes):
    """``r_j = p_j q^f (1 + f log(1 + o) / o)``, with q = 1 - p_0 and the odds of error o = q / p_0."""
    valencies, margins, out = vector(valencies, modes), vector(margins, modes), vector(out, modes)
    focusing = parameters[0]
    log_scale, a[0], own = probabilities(base, valencies, margins, out)
    rest = math.log(base - 1.0) if base > 1.0 else -np.inf
    high = max(rest, own)
    log_odds = high + math.log(math.exp(rest - high) + math.exp(own - high))
    odds = math.exp(min(log_odds, 700.0))
    ratio = math.log1p(odds) / odds if odds > 0.0 else 1.0
    return log_scale + focusing * (log_odds - math.log1p(odds)) + math.log1p(focusing * ratio)


@dataclass(frozen=True)
class Focal(OddsLoss):
    """Focal loss ``-(1 - p_0)^focusing log p_0`` (Lin et al., arXiv:1708.02002).

    Attributes
    ----------
    focusing : float
        0 < focusing <= 100.

    Examples
    --------
    >>> loss = cf.losses.Focal(2.0)
    >>> loss.parameters, loss.formula
    ({'focusing': 2.0}, '(S / (1 + S))**focusing * log1p(S)')
    """

    focusing: float = parameter(2.0, 1e-12, 100.0)

    name = "focal"
    formula = "(S / (1 + S))**focusing * log1p(S)"
    residual_formula = "(I - p) diag(q^f - f q^(f-1) p_0 log p_0),  p = softmax(Z), p_0 = diag p = 1 - q"
    residual = _residual

    @property
    def words(self) -> str:
        return f"focal, (1 - p_0)^f (-log p_0), f = {self.focusing:g}"

    def log_value(self, margins, valencies=None, mean=0.0):
        log_odds = log_odds_of_error(margins, valencies)
        return log_cross_entropy(log_odds) + self.focusing * log_accuracy_gap(log_odds)

    def full_residual(self, Z, own, xp=np, log_weights=None):
        log_odds, log_weight = full_odds(Z, own, xp)
        odds = xp.exp(xp.clip(log_odds, -80.0, 80.0))
        ratio = xp.log1p(odds) / odds
        log_weight += self.focusing * (log_odds - xp.logaddexp(log_odds, 0.0 * log_odds))
        log_weight += xp.log1p(self.focusing * ratio)
        if log_weights is not None:
            log_weight += log_weights
        log_scale = xp.amax(log_weight, -1)
        weigh_columns(Z, log_weight - log_scale[..., None], xp)
        close_columns(Z, own)
        return log_scale, mean_odds(log_odds, log_weights, xp)

    def slopes(self, log_odds):
        f, q, p = self.focusing, accuracy_gap(log_odds), accuracy_gap(-log_odds)
        odds = np.exp(np.clip(log_odds, -700.0, 700.0))
        ratio = np.log1p(odds) / odds
        power = np.exp(f * log_accuracy_gap(log_odds)) * q
        turn = f * (p - ratio)  # d (f ratio) / d log S
        common = (f + 1.0) * p * (1.0 + f * ratio) + turn
        rest = (q - f * p) * (1.0 + f * ratio) - turn
        return power * (1.0 + f * ratio), power * common, power * rest


def focal(focusing: float = 2.0) -> Focal:
    """Focal loss: ``(1 - p_0)^focusing`` times the cross-entropy, 0 < focusing <= 100.

    Examples
    --------
    >>> loss = cf.losses.focal(3.0)
    >>> str(loss), f"{np.exp(loss.log_value([2.0, 2.0])):.6f}"  # margins to two wrong classes
    ('focal(3)', '0.002315')
    """
    return Focal(focusing)
