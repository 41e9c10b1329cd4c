"""How fast rounding leaves the symmetry along a reduced run.

The full flow of a symmetric start stays symmetric, but its rounding errors do not. A small deviation v off the scheme
follows ``dv/dt = A v``, A minus the Hessian of the objective at the symmetric state. A is symmetric and leads from off
the scheme to off the scheme, so ``|v|`` grows at most like the exponential of the integral of its largest eigenvalue
there [ceflow]. Where that is positive the symmetric path is a saddle, and sooner or later a run of full matrices leaves
it, however well it is integrated.
"""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np

from . import losses
from ._checks import log_time_unit
from .network.factors import check_whole_depth, product
from .trajectory import SpectralTrajectory

LANCZOS_STEPS = 20
APART, MOST = 0.25, 200  # least distance of moments in log t, and how many there are at most
ENOUGH = 80.0  # growth in logarithms, at which nothing is left to be known
LATEST = 690.0  # log t of the last moment: later ones are beyond floats, and nothing grows any more


def growth_off_symmetry(run: SpectralTrajectory, log_t_end: float, width: int) -> tuple[np.ndarray, np.ndarray]:
    """By how much deviations off the scheme can have grown, relative to the layers, from any earlier moment.

    Parameters
    ----------
    run : trajectory of a SpectralFlow of integer depth, with dense output
    log_t_end : float
    width : int
        Of the layers of the full flow.

    Returns
    -------
    log_t : (n,) array
        Times up to log_t_end, or to where the growth is more than exp(80).
    log_growth : (n,) array
        From 0 on; between these times it may be interpolated.
    """
    log_t_end = min(log_t_end, LATEST)
    first = min(float(run.log_t[min(1, len(run) - 1)]), log_t_end) - 1.0  # nothing has moved before
    apart = max(APART, (log_t_end - first) / MOST)
    moments = np.arange(first, log_t_end, apart) if math.isfinite(first) else np.empty(0)
    rows = run.at(log_t=np.concatenate([[-math.inf], moments, [log_t_end]]))
    inner, rng = min(width, run.classes), np.random.default_rng(0)
    v = rng.standard_normal(2 * run.classes * inner + (check_whole_depth(run.flow.depth) - 2) * inner**2)
    integral, least, log_growth, before = 0.0, math.inf, [], (-math.inf, 0.0)
    for log_t, layers in zip(rows.log_t, rows.layers, strict=True):
        state, t = _State(run.flow, layers, width), math.exp(log_t)
        rate, v = _largest_eigenvalue(state, v + 1e-3 * np.linalg.norm(v) * rng.standard_normal(v.size) / v.size**0.5)
        # over log t the integrand is rate * t; at first it is constant over t
        integral += t * rate if before[0] == -math.inf else 0.5 * (log_t - before[0]) * (t * rate + before[1])
        before, relative = (log_t, t * rate), integral - math.log(state.size)
        least = min(least, relative)
        log_growth.append(relative - least)
        if log_growth[-1] > ENOUGH:
            break
    return rows.log_t[: len(log_growth)], np.array(log_growth)


class _State:
    """Full matrices with given layers, and what the flow does to small deviations from them.

    Frames of features are unit vectors: the flow is the same in all. Of features that no mode uses one stands for all.
    """

    def __init__(self, flow, layers: np.ndarray, width: int) -> None:
        scheme, width = flow.scheme, min(width, flow.scheme.classes)
        self.flow, self.columns = flow, scheme.columns[1:] - 1
        basis, frame = scheme.basis()[:, 1:], np.eye(width, scheme.classes - 1)
        frames = [basis, *[frame] * (flow.depth - 1), basis]
        self.frames = list(itertools.pairwise(frames))
        self.factors = [
            (left * w) @ right.T for (left, right), w in zip(self.frames, layers[:, self.columns], strict=True)
        ]
        # modes below the rounding of the others do not exist for full matrices: what grows there has left the path too
        self.live = np.abs(layers).max(axis=0) > np.finfo(float).eps * np.abs(layers).max()
        self.size = math.sqrt(sum((factor**2).sum() for factor in self.factors)) or 1.0
        self.unit = math.exp(-log_time_unit(scheme.classes, flow.reduction))
        self.before, self.after = [np.eye(scheme.classes)], [np.eye(scheme.classes)]
        for factor in self.factors[:-1]:
            self.before.append(self.before[-1] @ factor)
        for factor in self.factors[:0:-1]:
            self.after.insert(0, factor @ self.after[0])
        self.Z = product(self.factors)
        self.G = self._residual(self.Z)

    def _residual(self, Z: np.ndarray) -> np.ndarray:
        G = Z.copy()
        log_scale, _ = losses.full_residual(self.flow.loss, G, np.arange(len(G)))
        return G * (math.exp(log_scale) * self.unit)

    def _off(self, deviations: list[np.ndarray]) -> np.ndarray:
        """What of the deviations is off the scheme, in one array."""
        counts = np.bincount(self.columns)
        for (left, right), v in zip(self.frames, deviations, strict=True):
            on = self.live * np.bincount(self.columns, np.einsum("ij,ij->j", left, v @ right)) / counts
            v -= (left * on[self.columns]) @ right.T
        return np.concatenate([v.ravel() for v in deviations])

    def off(self, v: np.ndarray) -> np.ndarray:
        """What of v is off the scheme."""
        return self._off(self._split(v))

    def _split(self, v: np.ndarray) -> list[np.ndarray]:
        ends = np.cumsum([factor.size for factor in self.factors])
        return [part.reshape(f.shape).copy() for part, f in zip(np.split(v, ends[:-1]), self.factors, strict=True)]

    def __call__(self, v: np.ndarray) -> np.ndarray:
        """A v, off the scheme."""
        deviations, n = self._split(v), len(self.factors)
        d_before, d_after = [np.zeros_like(self.Z)], [np.zeros_like(self.Z)]
        for i in range(n - 1):
            d_before.append(d_before[-1] @ self.factors[i] + self.before[i] @ deviations[i])
        for i in range(n - 1, 0, -1):
            d_after.insert(0, deviations[i] @ self.after[i] + self.factors[i] @ d_after[0])
        dZ = d_before[-1] @ self.factors[-1] + self.before[-1] @ deviations[-1]
        step = 1e-4 / max(np.abs(dZ).max(), 1e-300)
        dG = (self._residual(self.Z + step * dZ) - self._residual(self.Z - step * dZ)) / (2.0 * step)
        out = []
        for i in range(n):
            back = d_before[i].T @ self.G + self.before[i].T @ dG
            change = back @ self.after[i].T + (self.before[i].T @ self.G) @ d_after[i].T
            out.append(change - self.flow.weight_decay * deviations[i])
        return self._off(out)


def _largest_eigenvalue(A: Any, v: np.ndarray) -> tuple[float, np.ndarray]:
    """Of a symmetric operator off the scheme, and its vector: Lanczos' method from v, fully orthogonalized."""
    v = A.off(v)
    basis, diagonal, beside = [v / np.linalg.norm(v)], [], []
    for _ in range(min(LANCZOS_STEPS, v.size)):
        w = A(basis[-1])
        diagonal.append(float(w @ basis[-1]))
        for _ in range(2):
            w -= np.array(basis).T @ (np.array(basis) @ w)
        beside.append(float(np.linalg.norm(w)))
        if beside[-1] <= 1e-10 * max(map(abs, diagonal)):
            break
        basis.append(w / beside[-1])
    n = len(diagonal)
    T = np.diag(diagonal) + np.diag(beside[: n - 1], 1) + np.diag(beside[: n - 1], -1)
    values, vectors = np.linalg.eigh(T)
    return float(values[-1]), np.array(basis[:n]).T @ vectors[:, -1]
