"""Growth of rounding errors off the symmetry along a reduced run.

The full flow preserves symmetry, but rounding errors break it. A small deviation v orthogonal to the scheme satisfies
``dv/dt = A v``, where A is minus the Hessian of the objective at the symmetric state. A is symmetric and maps
deviations off the scheme to such deviations, so ``|v|`` grows at most like the exponential of the integral of its
largest eigenvalue there [ceflow]. If this is positive, a run of full matrices finally leaves the symmetric path at any
tolerance.
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
APART, MOST = 0.25, 200  # smallest spacing of times in log t, and their largest number
ENOUGH = 80.0  # log of the growth at which the computation stops
LATEST = 690.0  # last log t: later times overflow, and nothing grows any more


def growth_off_symmetry(run: SpectralTrajectory, log_t_end: float, width: int) -> tuple[np.ndarray, np.ndarray]:
    """Upper bound of the growth of deviations off the scheme, relative to the layers, from any earlier time.

    Parameters
    ----------
    run : trajectory of a SpectralFlow of integer depth, with dense output
    log_t_end : float
    width : int
        Width of the layers of the full flow.

    Returns
    -------
    log_t : (n,) array
        Times up to log_t_end, or until the growth exceeds exp(80).
    log_growth : (n,) array
        Log of the growth, >= 0; may be interpolated between these times.
    """
    log_t_end = min(log_t_end, LATEST)
    first = min(float(run.log_t[min(1, len(run) - 1)]), log_t_end) - 1.0  # the state is constant before
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
    """Linearized flow at full matrices with given layers.

    Frames of features are coordinate axes, without loss of generality. One unused feature represents all of them.
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
        # full matrices do not resolve modes below the rounding of the others: growth there is off the path too
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
        """Part of the deviations off the scheme, in one array."""
        counts = np.bincount(self.columns)
        for (left, right), v in zip(self.frames, deviations, strict=True):
            on = self.live * np.bincount(self.columns, np.einsum("ij,ij->j", left, v @ right)) / counts
            v -= (left * on[self.columns]) @ right.T
        return np.concatenate([v.ravel() for v in deviations])

    def off(self, v: np.ndarray) -> np.ndarray:
        """Part of v off the scheme."""
        return self._off(self._split(v))

    def _split(self, v: np.ndarray) -> list[np.ndarray]:
        ends = np.cumsum([factor.size for factor in self.factors])
        return [part.reshape(f.shape).copy() for part, f in zip(np.split(v, ends[:-1]), self.factors, strict=True)]

    def __call__(self, v: np.ndarray) -> np.ndarray:
        """Part of A v off the scheme."""
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
    """Largest eigenvalue and eigenvector of a symmetric operator: Lanczos' method from v, with full
    orthogonalization."""
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
