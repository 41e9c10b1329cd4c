"""The problem, its global minimizers, and the search of critical points."""

from __future__ import annotations

import dataclasses
import functools
import itertools
import math

import numpy as np
import scipy
from numpy.typing import ArrayLike, NDArray

from ..._checks import checked_array, checked_integer, checked_number
from ...losses import CrossEntropy
from ...symmetry import Scheme, complete
from .._arguments import checked_classes
from ._census import are_copies
from ._function import LARGEST, Function, checked_decays
from ._point import CriticalPoint

MOST_MODES = 12  # 4096 subsets
DESCENTS = (0, 1, 3, 10, 200)  # descent steps from a random state; saddles are near the first states


@dataclasses.dataclass(frozen=True)
class Landscape:
    """Landscape of cross-entropy with weight decay on unconstrained features.

    Parameters
    ----------
    classes : int
        K >= 2.
    width : int
        d >= 1.
    weight_decay : float or (float, float)
        Both decays, or (lW, lH), from 1e-12 to 1e6.
    samples : int
        Number n of samples per class.
    bias_decay : float, optional
        lb >= 0; default no bias.

    Raises
    ------
    TypeError, ValueError
        If an argument is invalid.

    Examples
    --------
    >>> landscape = cf.theory.landscape.Landscape(4, 4, 0.05)
    >>> best = landscape.minimizer()
    >>> best.is_global, f"{best.objective:.4f}", best.singular_values.round(4)
    (True, '0.5875', array([2.8332, 2.8332, 2.8332, 0.    ]))
    """

    classes: int
    width: int
    weight_decay: tuple[float, float]
    samples: int = 1
    bias_decay: float | None = None

    def __post_init__(self) -> None:
        set_ = functools.partial(object.__setattr__, self)
        set_("classes", checked_classes(self.classes))
        set_("width", checked_integer("width", self.width, 1))
        set_("samples", checked_integer("samples", self.samples, 1, 10**15))
        set_("weight_decay", checked_decays(self.weight_decay))
        if self.bias_decay is not None:
            set_("bias_decay", checked_number("bias_decay", self.bias_decay, 0.0, LARGEST))

    @property
    def balance(self) -> float:
        """sqrt(lW lH), the force on nonzero singular values at a critical point."""
        return math.sqrt(self.weight_decay[0] * self.weight_decay[1])

    @property
    def margin(self) -> float:
        """Margin of the global minimizers, ``log(1/c - K + 1)`` with ``c = sqrt(n lW lH)``; 0 for K c >= 1."""
        c = math.sqrt(self.samples) * self.balance
        return max(0.0, math.log1p(1.0 / c - self.classes)) if self.classes * c < 1.0 else 0.0

    @property
    def least_objective(self) -> float:
        """Global minimum for width >= K - 1: ``log(1 + (K-1) e^-m) + c m (K-1)`` with the margin m."""
        wrong, margin = self.classes - 1, self.margin
        return math.log1p(wrong * math.exp(-margin)) + math.sqrt(self.samples) * self.balance * margin * wrong

    def minimizer(self) -> CriticalPoint:
        """Return a global minimizer: a simplex equiangular tight frame, or zero [ceflow].

        All others are ``(W Q^T, Q H)`` with orthogonal Q; with ``bias_decay=0`` any constant may be added to the bias.

        Raises
        ------
        ValueError
            If the width is below K - 1 and zero is not the minimizer.
        """
        if self.margin > 0.0 and self.width < self.classes - 1:
            raise ValueError(f"width must be at least {self.classes - 1}, got {self.width}: no closed form is known")
        basis = complete(self.classes).basis()[:, 1:] if self.margin > 0.0 else np.zeros((self.classes, 0))
        return self._spectral(basis, np.full(basis.shape[1], self.margin))

    def mode_points(self, scheme: Scheme) -> list[CriticalPoint]:
        """Critical points with the symmetry of a scheme, at most one for each set S of nonzero modes [ceflow].

        They solve ``lambda_i(s) = K c`` for i in S, with s_i = 0 otherwise. The solution is the minimum of a strictly
        convex function of s_S, and a critical point if all s_S are positive. For critical points without symmetry see
        `search`.

        Parameters
        ----------
        scheme : Scheme
            Scheme with K classes and at most 12 modes.

        Returns
        -------
        list of CriticalPoint
            Points of rank at most the width, sorted by objective.

        Raises
        ------
        TypeError, ValueError
            If the scheme is invalid.
        """
        if not isinstance(scheme, Scheme):
            raise TypeError(f"scheme must be an association scheme, got {type(scheme).__name__}")
        if scheme.classes != self.classes or scheme.modes > MOST_MODES:
            raise ValueError(
                f"scheme must have {self.classes} classes and at most {MOST_MODES} modes, got {scheme.name}"
            )
        points = []
        for size in range(scheme.modes + 1):
            for modes in itertools.combinations(range(scheme.modes), size):
                s = _rest_of_modes(scheme, modes, self.classes * math.sqrt(self.samples) * self.balance)
                columns = np.flatnonzero(np.isin(scheme.columns - 1, modes))
                if (size and s is None) or columns.size > self.width:
                    continue
                values = np.zeros(0) if s is None else s[scheme.columns[columns] - 1]
                points.append(self._spectral(scheme.basis()[:, columns], values, tuple(i + 1 for i in modes)))
        return sorted(points, key=lambda point: point.objective)

    def search(self, starts: int = 200, seed: int = 0) -> list[CriticalPoint]:
        """Search for critical points from random starts; the list may be incomplete.

        Zeros of the gradient are computed by Levenberg-Marquardt steps with the exact Hessian. Starts are random states
        of every rank up to min(d, K - 1), Gaussian or with entries -1, 0 and 1, after some descent steps. No critical
        point has a higher rank. Points that differ by a rotation of the features and a permutation of the classes are
        listed once; `copies` is their number. `morse_sums` can detect missing points.

        Parameters
        ----------
        starts : int
            From 1 to 100000.
        seed : int
            At least 0.

        Returns
        -------
        list of CriticalPoint
            Sorted by objective.

        Raises
        ------
        TypeError, ValueError
            If an argument is invalid, or the Hessian would be too large.

        Examples
        --------
        >>> landscape = cf.theory.landscape.Landscape(3, 2, 0.1)
        >>> [(point.rank, point.index) for point in landscape.search(starts=12)]
        [(2, 0), (1, 1), (1, 2), (0, 4)]
        """
        starts, seed = checked_integer("starts", starts, 1, 100_000), checked_integer("seed", seed, 0)
        rng, top = np.random.default_rng(seed), min(self.width, self.classes - 1)
        scale = (self.weight_decay[1] / self.weight_decay[0]) ** 0.25
        typical = math.sqrt(math.sqrt(self.samples) * (1.0 + self.margin))
        Function(self, top).require_room()
        found: list[CriticalPoint] = []
        for trial in range(starts):
            rank, size = trial % (top + 1), rng.uniform(0.1, 2.0) * typical
            W = rng.normal(size=(self.classes, rank)) if trial % 2 else rng.integers(-1, 2, (self.classes, rank))
            X = rng.normal(size=(rank, self.classes)) if trial % 2 else W.T
            W, X = size * scale * W, size / scale * X
            b = rng.normal(size=self.classes * (self.bias_decay is not None))
            shape = Function(self, rank)
            y, steps = shape.join(W, X, b), int(rng.choice(DESCENTS))
            options = {"jac": shape.gradient, "method": "L-BFGS-B", "options": {"maxiter": steps}}
            y = scipy.optimize.minimize(shape.objective, y, **options).x if steps and y.size else y
            y = scipy.optimize.root(shape.gradient, y, jac=shape.hessian, method="lm", tol=1e-9).x if y.size else y
            for _ in range(3 * (y.size > 0)):  # converge to rounding despite zero eigenvalues of rotations
                y = y - np.linalg.lstsq(shape.hessian(y), shape.gradient(y), rcond=1e-10)[0]
            if not np.abs(shape.gradient(y)).max(initial=0.0) <= 1e-12 * max(1.0, np.abs(y).max(initial=0.0)):
                continue
            point = self._widened(*shape.split(y))
            if not any(are_copies(point, other) for other in found):
                found.append(point)
        return sorted(found, key=lambda point: point.objective)

    def point(self, W: ArrayLike, H: ArrayLike, bias: ArrayLike | None = None) -> CriticalPoint:
        """Make a critical point from given layers.

        Parameters
        ----------
        W, H : (K, d), (d, K n) arrays
            Columns of H in the order of classes, n per class.
        bias : (K,) array, optional
            Default 0.

        Raises
        ------
        TypeError, ValueError
            If the shapes do not fit, or the gradient exceeds 1e-6 of the size of the layers times the decay.
        """
        K, n = self.classes, self.samples
        W, H = checked_array("W", W, -1e100, 1e100), checked_array("H", H, -1e100, 1e100)
        if W.shape != (K, self.width) or H.shape != (self.width, K * n):
            raise ValueError(
                f"W must be {(K, self.width)} and H {(self.width, K * n)}, got {W.shape} and {H.shape}"
            )
        b = np.zeros(K) if bias is None else checked_array("bias", bias, -1e100, 1e100)
        if b.shape != (K,) or (self.bias_decay is None and b.any()):
            raise ValueError(f"bias must have shape ({K},), and be 0 without a bias_decay, got {bias!r}")
        X = H.reshape(self.width, K, n).mean(axis=2)
        apart = np.abs(H - np.repeat(X, n, axis=1)).max()
        found = CriticalPoint(self, W, X * math.sqrt(n), b)
        scale = max(np.abs(W).max(), np.abs(H).max(), np.abs(b).max())
        if apart > 1e-6 * scale or found.gradient > 1e-6 * scale * max(self.weight_decay):
            raise ValueError(
                f"W and H must be a critical point, got a gradient of {found.gradient:g}, and a difference within "
                f"classes of {apart:g}"
            )
        return found

    def _spectral(self, basis: NDArray, s: NDArray, modes: tuple[int, ...] | None = None) -> CriticalPoint:
        """Point with class logits ``basis diag(s) basis^T`` and balanced layers."""
        size, (lW, lH) = np.sqrt(math.sqrt(self.samples) * s), self.weight_decay
        W, scale = basis * size, (lH / lW) ** 0.25
        return self._widened(W * scale, W.T / scale, np.zeros(self.classes), modes)

    def _widened(self, W: NDArray, X: NDArray, b: NDArray, modes: tuple[int, ...] | None = None) -> CriticalPoint:
        more = self.width - W.shape[1]
        b = b if b.size else np.zeros(self.classes)
        return CriticalPoint(self, np.pad(W, ((0, 0), (0, more))), np.pad(X, ((0, more), (0, 0))), b, modes)


def _rest_of_modes(scheme: Scheme, modes: tuple[int, ...], balance: float) -> NDArray | None:
    """(D,) s >= 0 with ``lambda_i(s) = balance`` on the given modes and 0 elsewhere, or None; by damped Newton steps on
    a convex function."""
    on, s = list(modes), np.zeros(scheme.modes)
    if balance >= 1.0 or not modes:
        return s if not modes else None
    loss, k, m = CrossEntropy(), scheme.valencies[1:], scheme.multiplicities[1:]

    def value(s: NDArray) -> float:
        return float(scheme.classes * np.exp(loss.log_value(scheme.margins(s), k)) + balance * (m @ s))

    def slope(s: NDArray) -> NDArray:
        weights = np.exp(-scheme.margins(s) + np.log(k))
        return balance - scheme.forces(weights / (1.0 + weights.sum()))[on]

    changes = scheme.margins(np.eye(scheme.modes)[on])
    for _ in range(100):
        curvature = -scheme.forces(loss.curvature(np.broadcast_to(scheme.margins(s), changes.shape), k, change=changes))
        step, size = np.zeros(scheme.modes), 1.0
        step[on] = -np.linalg.solve(curvature[:, on].T, slope(s))
        while value(s + size * step) > value(s) + 1e-14 * abs(value(s)) and size > 1e-6:
            size /= 2.0
        s = s + size * step
        if np.abs(size * step).max() <= 1e-14 * np.abs(s).max():
            break
    return s if s[on].min() > 1e-9 else None
