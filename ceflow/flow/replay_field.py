"""Vector field of tasks with replay, on NumPy."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from .._field import Event
from .._tolerances import REST_ROUNDING, REST_SPEED, STEP_SHARE
from ..kernels import KERNEL, njit

if TYPE_CHECKING:
    from .replay import ReplayFlow

_LEAST = 1e-200  # share of the sum of squares: floor of the size of a decaying group


@njit(**KERNEL)
def _pull(
    modes, V, Y, modes_rate, V_rate, Y_rate, counts, load, kernel, common, frame, separations, shared, log_decay,
    logs, residual,
):  # fmt: skip
    """Write the velocity without decay, divided by exp(log_scale). Return log_scale, and minus the mean log odds of
    error (kernel)."""
    T, odds, weight, log_scale = counts.size, 0.0, 0.0, log_decay
    for g in range(T):
        for f in range(T + 1):  # log probabilities of a class of task f; the last is of another class of the same task
            logs[f, g] = -np.inf
        if load[g] == 0.0:
            continue
        s = modes[0, g] * modes[1, g]
        logs[T, g] = -s
        high = -s
        for f in range(T):
            if f != g and shared:
                margin = s * (1.0 - 1.0 / counts[g])
                for i in range(T - 1):
                    for j in range(T - 1):
                        margin += separations[f, g, i] * V[i, j] * Y[0, j, g]
                logs[f, g] = -margin
                high = max(high, -margin)
        total = (counts[g] - 1.0) * math.exp(logs[T, g] - high)
        for f in range(T):
            total += counts[f] * math.exp(logs[f, g] - high)
        odd = high + math.log(total)
        odds, weight = odds + load[g] * odd, weight + load[g]
        right = odd + math.log1p(math.exp(-odd)) if odd > 0.0 else math.log1p(math.exp(odd))
        for f in range(T + 1):
            logs[f, g] -= right
            log_scale = max(log_scale, logs[f, g])
    for g in range(T):
        leak = 0.0
        for f in range(T):
            leak += counts[f] * math.exp(logs[f, g] - log_scale)
        force = counts[g] * math.exp(logs[T, g] - log_scale) + leak
        modes_rate[0, g] = load[g] * force * modes[1, g]
        modes_rate[1, g] = kernel[0, g] * force * modes[0, g]
        modes_rate[2, g] = kernel[1, g] * force * modes[0, g]
        for i in range(T - 1):
            residual[i, g] = frame[g, i] * leak
            for f in range(T):
                p = math.exp(logs[f, g] - log_scale)
                residual[i, g] -= frame[f, i] * math.sqrt(counts[f] * counts[g]) * p
    for i in range(T - 1):
        for j in range(T - 1):
            V_rate[i, j] = 0.0
            for g in range(T):
                V_rate[i, j] += load[g] * residual[i, g] * Y[0, j, g]
        total = 0.0
        for g in range(T):
            pull = 0.0
            for j in range(T - 1):
                pull += V[j, i] * residual[j, g]
                total += math.sqrt(counts[g]) * load[g] * V[j, i] * residual[j, g]
            Y_rate[0, i, g], Y_rate[1, i, g] = kernel[0, g] * pull, kernel[1, g] * pull
        for g in range(T):
            for k in range(2):
                Y_rate[k, i, g] += common * total * math.sqrt(counts[g])
    return log_scale, -odds / weight


class ReplayField:
    """Vector field of a `ReplayState`; see `ceflow._field`.

    The modes of each task are one group of numbers, all other numbers another. The clock uses the relative speeds of
    the groups, and errors are relative to the norm of each group. Forces are divided by the largest error probability,
    so that margins of any size are possible.
    """

    def __init__(self, flow: ReplayFlow) -> None:
        self.flow, self.tasks = flow, flow.tasks
        self.size = sum(math.prod(shape) for shape in flow.shapes)
        modes = np.tile(np.arange(self.tasks), 3)
        self._owner = np.concatenate([modes, np.full(self.size - modes.size, self.tasks)])
        decay_of_rows, decay_of_columns = flow.objective.decays
        self._decay, self._largest_decay = np.full(self.size, decay_of_columns), max(decay_of_rows, decay_of_columns)
        rows = self._parts(self._decay)
        rows[0][0] = rows[1][...] = decay_of_rows
        self.has_equilibria = self._largest_decay > 0.0
        self._load = flow.samples * flow.weights
        shared = flow.kernel[1] * self._load
        self._kernel = np.stack([shared + flow.private * flow.weights, shared])
        self._common, self._counts = flow.kernel[0], flow.classes_of_tasks.astype(float)
        self._log_decay = math.log(self._largest_decay) if self.has_equilibria else -math.inf
        self._logs, self._residual = np.empty((self.tasks + 1, self.tasks)), np.empty((self.tasks - 1, self.tasks))

    def allocate(self, *shape: int) -> np.ndarray:
        return np.zeros(shape)

    def _parts(self, y: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Views of the parts of a state."""
        T, end = self.tasks, 3 * self.tasks + (self.tasks - 1) ** 2
        return y[: 3 * T].reshape(3, T), y[3 * T : end].reshape(T - 1, T - 1), y[end:].reshape(2, T - 1, T)

    def _squares(self, y: np.ndarray) -> np.ndarray:
        """Sum of squares of each group."""
        return np.bincount(self._owner, y * y)

    def _sizes(self, y: np.ndarray) -> np.ndarray:
        squares = self._squares(y)
        return np.sqrt(np.maximum(squares, max(_LEAST * squares.sum(), 1e-300)))

    def rates(self, y: np.ndarray, dy: np.ndarray) -> tuple[float, float]:
        log_scale, a = _pull(
            *self._parts(y), *self._parts(dy), self._counts, self._load, self._kernel, self._common, self.flow.frame,
            self.flow.separations, self.flow.heads == "shared", self._log_decay,
            self._logs, self._residual,
        )  # fmt: skip
        sizes, fading = self._sizes(y), math.exp(-log_scale)
        activity = np.linalg.norm(np.sqrt(self._squares(dy)) / sizes) + self._largest_decay * fading
        dy -= fading * self._decay * y
        speed = max(float(activity), 1e-300)
        dy /= speed
        return -log_scale - math.log(speed), a

    def combine(self, y, h: float, w: np.ndarray, k, n: int, out) -> None:
        np.matmul(w[:n], k[:n], out=out)
        out *= h
        out += y

    def norm(self, error, y, dy, rtol: float, atol: float) -> float:
        return float((np.sqrt(self._squares(error)) / (STEP_SHARE * rtol * self._sizes(y) + atol)).max())

    def velocity(self, y, dy) -> float:
        """Largest relative speed of a group, per unit of the clock."""
        return float((np.sqrt(self._squares(dy)) / self._sizes(y)).max())

    def event(self, y, dy, rtol: float) -> Event:
        velocity = self.velocity(y, dy)
        if velocity == 0.0 or (self.has_equilibria and velocity <= max(REST_SPEED * rtol, REST_ROUNDING)):
            return Event.REST
        return Event.NONE
