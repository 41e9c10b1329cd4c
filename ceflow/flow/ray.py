"""The exact solution after collapse."""

from __future__ import annotations

import math

import numpy as np

from .. import theory
from ..network.coordinates import constants, singular_values
from ..symmetry import Scheme


class Ray:
    """Exact collapsed solution with linearized deviations, from a state with nearly equal singular values.

    The mean follows the collapsed solution s(t) of `theory`; deviations decay as ``s_i = s (1 + d_i exp(-(s - s1) /
    K))`` [ceflow].
    """

    kind = "ray"

    def __init__(self, scheme: Scheme, reduction: str, start: np.ndarray, y: np.ndarray, log_t: float) -> None:
        self.classes, self.reduction, self.y, self.log_t = scheme.classes, reduction, y, log_t
        self.s = np.empty_like(y)
        singular_values(constants(start), 0.0, True, y, self.s, np.empty_like(y))
        weights = scheme.multiplicities[1:]
        self.mean = float(weights @ self.s / weights.sum())
        self.deviations = self.s / self.mean - 1.0

    def grid(self, log_t_end: float) -> np.ndarray:
        """Times of the recorded rows; the mean grows by a quarter between them."""
        growth = np.arange(1, 200) * math.log(1.25)
        means = self.mean * np.exp(growth[growth < 60.0])
        means = means[means <= 1e15]
        log_t = np.logaddexp(
            self.log_t, theory.ray_log_time(means, self.mean, self.classes, reduction=self.reduction)
        )
        return log_t[log_t < log_t_end]

    def sample(self, log_t: np.ndarray) -> np.ndarray:
        log_t = np.asarray(log_t, float)
        y = np.tile(self.y, (len(log_t), 1))
        later = log_t > self.log_t
        if later.any():
            elapsed = log_t[later] + np.log1p(-np.exp(self.log_t - log_t[later]))
            mean = theory.ray_singular_value(
                s0=self.mean, classes=self.classes, log_t=elapsed, reduction=self.reduction
            )[:, None]
            mean = np.maximum(mean, self.mean)  # rounding below it would give a time before the start
            decay = theory.deviation_decay(mean, self.mean, self.classes)
            s = mean * (1.0 + self.deviations * decay)
            y[later] += 0.5 * np.log(s / self.s)
        return y
