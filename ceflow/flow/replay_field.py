"""The vector field of tasks with replay, of few numbers on NumPy."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import scipy

from .._field import Event
from .._tolerances import REST_ROUNDING, REST_SPEED, STEP_SHARE

if TYPE_CHECKING:
    from .replay import ReplayFlow

_LEAST = 1e-200  # of the squares of all numbers: what counts as the size of a group that fades


class ReplayField:
    """The velocity of a `ReplayState`; see `ceflow._field`.

    The modes of a task are one group of numbers, all others are another. The clock is that of the relative speed of
    groups, and errors are relative to the norm of each. Forces are scaled by the largest probability of an error, so
    that margins of any size do not stop it.
    """

    def __init__(self, flow: ReplayFlow) -> None:
        self.flow, self.tasks, self.sizes = flow, flow.tasks, flow.classes_of_tasks.astype(float)
        self.size = sum(math.prod(shape) for shape in flow.shapes)
        modes = np.tile(np.arange(self.tasks), 3)
        self._owner = np.concatenate([modes, np.full(self.size - modes.size, self.tasks)])
        decay_of_rows, decay_of_columns = flow.objective.decays
        self._decay, self._largest_decay = np.full(self.size, decay_of_columns), max(decay_of_rows, decay_of_columns)
        rows = self._parts(self._decay)
        rows[0][0] = rows[1][...] = decay_of_rows
        self.has_equilibria = self._largest_decay > 0.0
        self._load = flow.samples * flow.weights
        self._trained = self._load > 0.0
        self._kernel = np.stack([flow.kernel[1] * self._load + flow.private * flow.weights, flow.kernel[1] * self._load])
        self._common, self._root, self._frame = flow.kernel[0], np.sqrt(self.sizes), flow.frame

    def allocate(self, *shape: int) -> np.ndarray:
        return np.zeros(shape)

    def _parts(self, y: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Views of the parts of a state."""
        T, end = self.tasks, 3 * self.tasks + (self.tasks - 1) ** 2
        return y[: 3 * T].reshape(3, T), y[3 * T : end].reshape(T - 1, T - 1), y[end:].reshape(2, T - 1, T)

    def _squares(self, y: np.ndarray) -> np.ndarray:
        """Of each group."""
        return np.bincount(self._owner, y * y)

    def _sizes(self, y: np.ndarray) -> np.ndarray:
        squares = self._squares(y)
        return np.sqrt(np.maximum(squares, max(_LEAST * squares.sum(), 1e-300)))

    def rates(self, y: np.ndarray, dy: np.ndarray) -> tuple[float, float]:
        within, between = (margins[0] for margins in self.flow.margins(y))
        within, between = np.where(self._trained, -within, -np.inf), np.where(self._trained, -between, -np.inf)
        every = np.vstack([within, between])
        counts = np.vstack([self.sizes - 1.0, np.repeat(self.sizes[:, None], self.tasks, axis=1)])
        odds = scipy.special.logsumexp(every[:, self._trained], axis=0, b=counts[:, self._trained])  # of an error
        every[:, self._trained] -= np.logaddexp(0.0, odds)
        log_scale = every.max()
        if self._largest_decay > 0.0:
            log_scale = max(log_scale, math.log(self._largest_decay))
        p = np.exp(every - log_scale)
        self._pull(y, dy, p[0], p[1:])
        sizes, fading = self._sizes(y), math.exp(-log_scale)
        activity = np.linalg.norm(np.sqrt(self._squares(dy)) / sizes) + self._largest_decay * fading
        dy -= fading * self._decay * y
        speed = max(activity, 1e-300)
        dy /= speed
        return -log_scale - math.log(speed), float(-self._load[self._trained] @ odds / self._load.sum())

    def _pull(self, y: np.ndarray, dy: np.ndarray, own: np.ndarray, other: np.ndarray) -> None:
        """Writes the velocity without decay, of the probabilities of classes of the own task and of others (T, T)."""
        (modes, V, Y), (modes_rate, V_rate, Y_rate) = self._parts(y), self._parts(dy)
        leak = self.sizes @ other
        force = self.sizes * own + leak
        modes_rate[0] = self._load * force * modes[1]
        modes_rate[1:] = self._kernel * force * modes[0]
        residual = self._frame.T @ (np.diag(leak) - np.outer(self._root, self._root) * other)
        weighted = residual * self._load
        V_rate[...] = weighted @ Y[0].T
        Y_rate[...] = (V.T @ residual) * self._kernel[:, None, :]
        Y_rate += self._common * np.outer(V.T @ weighted @ self._root, self._root)

    def combine(self, y, h: float, w: np.ndarray, k, n: int, out) -> None:
        np.matmul(w[:n], k[:n], out=out)
        out *= h
        out += y

    def norm(self, error, y, dy, rtol: float, atol: float) -> float:
        return float((np.sqrt(self._squares(error)) / (STEP_SHARE * rtol * self._sizes(y) + atol)).max())

    def velocity(self, y, dy) -> float:
        """Largest relative speed of a group in the clock."""
        return float((np.sqrt(self._squares(dy)) / self._sizes(y)).max())

    def event(self, y, dy, rtol: float) -> Event:
        velocity = self.velocity(y, dy)
        if velocity == 0.0 or (self.has_equilibria and velocity <= max(REST_SPEED * rtol, REST_ROUNDING)):
            return Event.REST
        return Event.NONE
