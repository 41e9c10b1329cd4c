"""What does not move any more."""

from __future__ import annotations

import math

import numpy as np


class Rest:
    """A state that does not move any more: every mode is at a critical point. It lasts for all times.

    Under weight decay the imbalance of the layers goes on fading: theta, where it is part of the state, grows by
    `decay` per unit of time.
    """

    kind = "rest"

    def __init__(self, y: np.ndarray, log_t: float, decay: float = 0.0) -> None:
        self.y, self.log_t, self.decay = y, log_t, decay

    def grid(self, log_t_end: float) -> np.ndarray:
        """Times at which a row is worth keeping."""
        return np.empty(0)

    def sample(self, log_t: np.ndarray) -> np.ndarray:
        y = np.broadcast_to(self.y, (len(log_t), *self.y.shape)).copy()
        if self.decay > 0.0:
            elapsed = np.exp(np.minimum(log_t, 700.0)) - math.exp(min(self.log_t, 700.0))
            y[:, -1] += np.minimum(self.decay * elapsed, 1e6)  # by then nothing is left of the imbalance
        return y
