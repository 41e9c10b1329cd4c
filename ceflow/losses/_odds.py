"""Losses that are functions of the odds of error, up to a constant part of the residual."""

from __future__ import annotations

import math

import numpy as np

from ._loss import Loss
from ._margins import accuracy_gap, response, shares


class OddsLoss(Loss):
    """Loss ``phi(S)`` of the odds of error S, plus a linear function of the margins with slope `counterforce` / K.

    The share of a relation in the force g = d phi / d log S equals its share in the odds.
    """

    def slopes(self, log_odds: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """``g``, ``g'`` and ``g - g'`` in log S, each without cancellation; here for ``phi = log(1 + S)``."""
        wrong = accuracy_gap(log_odds)
        return wrong, wrong * accuracy_gap(-log_odds), wrong**2

    def curvature(self, margins, valencies=None, *, change):
        share, log_odds = shares(margins, valencies)
        return response(share, *self.slopes(log_odds), change)

    def collapsed_force(self, s, classes):
        return classes / (classes - 1.0) * self.slopes(math.log(classes - 1) - s)[0] - self.counterforce
