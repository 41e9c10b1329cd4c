"""Vector field of tasks with replay, on NumPy."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from .._field import Event
from .._tolerances import REST_ROUNDING, REST_SPEED, STEP_SHARE
from ..kernels import KERNEL, njit
from .terms import HOST

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


@njit(**KERNEL)
def _parts(y, T):
    """Views of the parts of a state (kernel)."""
    end = 3 * T + (T - 1) * (T - 1)
    return y[: 3 * T].reshape((3, T)), y[3 * T : end].reshape((T - 1, T - 1)), y[end:].reshape((2, T - 1, T))


@njit(**KERNEL)
def _pull_all(
    y, dy, counts, load, kernel, common, frame, separations, shared, log_decay, logs, residual, log_scales, a
):  # fmt: skip
    """`_pull` for each row of y (kernel)."""
    for i in range(len(y)):
        modes, V, Y = _parts(y[i], counts.size)
        modes_rate, V_rate, Y_rate = _parts(dy[i], counts.size)
        log_scales[i], a[i] = _pull(
            modes, V, Y, modes_rate, V_rate, Y_rate, counts, load, kernel, common, frame, separations, shared,
            log_decay, logs, residual,
        )  # fmt: skip


class ReplayField:
    """Vector field of a `ReplayState`; see `ceflow._field`.

    The modes of each task are one group of numbers, all other numbers another. The clock uses the relative speeds of
    the groups, and errors are relative to the norm of each group. Forces are divided by the largest error probability,
    so that margins of any size are possible.
    """

    arrays = HOST

    def __init__(self, flow: ReplayFlow) -> None:
        self.flow, self.tasks = flow, flow.tasks
        self.size = sum(math.prod(shape) for shape in flow.shapes)
        decay_of_rows, decay_of_columns = flow.objective.decays
        self._decay, self._largest_decay = np.full(self.size, decay_of_columns), max(decay_of_rows, decay_of_columns)
        rows = _parts.interpreted(self._decay, self.tasks)
        rows[0][0] = rows[1][...] = decay_of_rows
        self.has_equilibria = self._largest_decay > 0.0
        load = flow.samples * flow.weights
        shared = flow.kernel[1] * load
        kernel = np.stack([shared + flow.private * flow.weights, shared])
        log_decay = math.log(self._largest_decay) if self.has_equilibria else -math.inf
        T = self.tasks
        self._arguments = (
            flow.classes_of_tasks.astype(float), load, kernel, flow.kernel[0], flow.frame, flow.separations,
            flow.heads == "shared", log_decay, np.empty((T + 1, T)), np.empty((T - 1, T)),
        )  # fmt: skip

    def allocate(self, *shape: int) -> np.ndarray:
        return np.zeros(shape)

    def _squares(self, y: np.ndarray) -> np.ndarray:
        """Sum of squares (..., T + 1) of each group."""
        squares, end = y * y, 3 * self.tasks
        modes = squares[..., :end].reshape(*y.shape[:-1], 3, self.tasks).sum(axis=-2)
        return np.concatenate([modes, squares[..., end:].sum(axis=-1, keepdims=True)], axis=-1)

    def _norms(self, y: np.ndarray) -> np.ndarray:
        """Norm (..., T + 1) of each group, with a floor."""
        squares = self._squares(y)
        return np.sqrt(np.maximum(squares, np.maximum(_LEAST * squares.sum(axis=-1, keepdims=True), 1e-300)))

    def rates_of_runs(self, y: np.ndarray, dy: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """`rates` at states (m, N)."""
        log_scale, a = np.empty((2, len(y)))
        _pull_all(y, dy, *self._arguments, log_scale, a)
        fading = np.exp(-log_scale)
        activity = np.sqrt((self._squares(dy) / self._norms(y) ** 2).sum(axis=-1)) + self._largest_decay * fading
        dy -= fading[:, None] * self._decay * y
        speed = np.maximum(activity, 1e-300)
        dy /= speed[:, None]
        return -log_scale - np.log(speed), a

    def rates(self, y: np.ndarray, dy: np.ndarray) -> tuple[Any, Any]:
        phi, a = self.rates_of_runs(y[None], dy[None])
        return phi[0], a[0]

    def combine(self, y, h: float, w: np.ndarray, k, n: int, out) -> None:
        np.matmul(w[:n], k[:n], out=out)
        out *= h
        out += y

    def norm(self, error, y, dy, rtol: float, atol: float) -> Any:
        return float(self._sizes(error, y, rtol, atol))

    def _sizes(self, error: np.ndarray, y: np.ndarray, rtol: float, atol: float) -> np.ndarray:
        """Size (...) of errors in units of the tolerance."""
        return (np.sqrt(self._squares(error)) / (STEP_SHARE * rtol * self._norms(y) + atol)).max(axis=-1)

    def velocity(self, y, dy) -> Any:
        """Largest relative speed (...) of a group, per unit of the clock."""
        return (np.sqrt(self._squares(dy)) / self._norms(y)).max(axis=-1)

    def rests(self, velocity: Any, rtol: float) -> Any:
        """Whether a state with this speed counts as an equilibrium."""
        return (velocity == 0.0) | (self.has_equilibria & (velocity <= max(REST_SPEED * rtol, REST_ROUNDING)))

    def event(self, y, dy, rtol: float) -> Event:
        return Event.REST if self.rests(self.velocity(y, dy), rtol) else Event.NONE
