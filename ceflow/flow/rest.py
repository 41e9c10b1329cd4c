"""A state at rest."""

from __future__ import annotations

import math

import numpy as np


class Rest:
    """Constant state: every mode is at a critical point.

    With weight decay the imbalance of the layers still decays: theta, if it is part of the state, grows by `decay` per
    unit of time.
    """

    kind = "rest"

    def __init__(self, y: np.ndarray, log_t: float, decay: float = 0.0) -> None:
        self.y, self.log_t, self.decay = y, log_t, decay

    def grid(self, log_t_end: float) -> np.ndarray:
        """Times of the recorded rows."""
        return np.empty(0)

    def sample(self, log_t: np.ndarray) -> np.ndarray:
        y = np.broadcast_to(self.y, (len(log_t), *self.y.shape)).copy()
        if self.decay > 0.0:
            elapsed = np.exp(np.minimum(log_t, 700.0)) - math.exp(min(self.log_t, 700.0))
            y[:, -1] += np.minimum(self.decay * elapsed, 1e6)  # the imbalance has decayed to 0 by then
        return y
