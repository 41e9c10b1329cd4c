"""Lyapunov functions by their definitions, and their changes along a run.

With a common imbalance ``c = |a_i^2 - b_i^2|`` of all modes the potential of the mirror flow is

    psi(s) = (s/2) asinh(2s/c) - sqrt(4s^2 + c^2)/4,

and V_c is the Bregman divergence of the mean from the singular values, divided by the mean:

    V_c = (1/s_bar) sum_i m_i D_i,   D_i = psi(s_bar) - psi(s_i) - psi'(s_i) (s_bar - s_i).

For balanced layers c = 0, and the logarithm of the arithmetic over the geometric mean is ``V = 2 V_0 / (K-1)``.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .._arrays import svd
from ._factors import flat, product, pulled
from ._limits import EPS, UNRESOLVED
from ._quadrature import integral_and_doubt

if TYPE_CHECKING:
    from ._full import FullView
    from ._reduced import ReducedView
    from ._view import States

_SERIES = np.array([0.0, 0.0] + [(-1.0) ** n / math.factorial(n) for n in range(2, 20)])  # series of exp(-x) - 1 + x


class Seen(NamedTuple):
    """Measurements of V on an interval, at every second node."""

    values: NDArray | None  # None if V may increase
    error: float  # error of its change, in tolerances; NaN if the tolerance does not resolve V
    mean_error: float  # error of the change of the geometric mean, in tolerances


class Lyapunov(ABC):
    """Lyapunov function and its rate, if known for a run.

    Attributes
    ----------
    name, verb : str
        Name of the function, and verb for its change by dissipation.
    why_may_rise, why_no_rate : str
        Why it is not proved to decrease; why its rate is not known. Empty if it is.
    terms : float
        Factor between V and a mean over the modes.
    """

    name, verb, terms = "V", "decreases", 1.0
    why_may_rise = why_no_rate = ""
    unresolved = ""  # reason why the tolerance may not resolve V
    has_geometric_mean = False  # true for positive singular values of balanced layers

    def values(self, s: NDArray) -> NDArray:
        """(n,) V of singular values (n, D)."""
        raise NotImplementedError(self.why_may_rise)

    def defined(self, v: NDArray) -> NDArray:
        """(n,) whether V is meaningful."""
        return np.ones(len(v), bool)

    def log_fall(self, states: States) -> NDArray:
        """(n,) logarithm of -dV/dt."""
        raise NotImplementedError(self.why_may_rise)

    @abstractmethod
    def look(self, states: States, log_weight: NDArray, allowed: float, turnover: float) -> Seen:
        """Difference of the change of V on an interval and its integrated dissipation."""


def of_modes(view: ReducedView) -> Lyapunov:
    """V or V_c for a run of the reduced flow, or the reason why neither is proved."""
    if not view.cross_entropy:
        return Unknown("proved for the cross-entropy only")
    if view.depth != 2:
        return Unknown("proved for two layers only")
    if view.decay:
        return Unknown("proved without weight decay only")
    a, b = view.start_layers()[0]
    c = np.abs((a - b) * (a + b))
    common = float(c.max())
    if common <= EPS * float((a * a + b * b).max()) or view.start.ndim == 1:
        if not np.all(a * b > 0.0):
            return Unknown("proved for positive singular values only")
        return OfBalancedModes(view)
    if np.all(np.abs(c - common) <= 1e-12 * common):
        return OfModes(view, common)
    return Unknown("false in general for imbalances that differ between modes")


class Unknown(Lyapunov):
    """Neither V nor V_c is proved to decrease."""

    def __init__(self, reason: str) -> None:
        self.why_may_rise = self.why_no_rate = reason

    def look(self, states: States, log_weight: NDArray, allowed: float, turnover: float) -> Seen:
        return Seen(None, math.nan, 0.0)


class OfModes(Lyapunov):
    """V_c of two layers with a common imbalance."""

    name = "V_c"
    error_where_lost = 0.0  # if the mean is not positive yet, or times overflow

    def __init__(self, view: ReducedView, imbalance: float) -> None:
        self.view, self.half, self.terms = view, 0.5 * imbalance, float(view.classes)

    def values(self, s: NDArray) -> NDArray:
        mean, deviations = self.deviations(s)
        size, size_of_mean = np.hypot(s, self.half), np.hypot(mean, self.half)
        x = self.growth(mean, s, deviations)
        # D_i by its definition, or by the series of cosh and exp to avoid cancellation
        far = mean * x - (size_of_mean - size)
        below = self.half * (self.half / (size_of_mean + mean))
        near = below * 2.0 * np.sinh(0.5 * x) ** 2 + mean * np.polynomial.polynomial.polyval(x, _SERIES)
        divergences = 0.5 * np.where(np.abs(x) < 1.0, near, far) / mean
        return np.where(mean[:, 0] > 0.0, divergences @ self.view.multiplicities, np.nan)

    def defined(self, v: NDArray) -> NDArray:
        return ~np.isnan(v)

    def deviations(self, s: NDArray) -> tuple[NDArray, NDArray]:
        """Mean (n, 1), and ``s - mean`` (n, D) without the rounding error of the mean."""
        mean = (s @ self.view.shares)[:, None]
        deviations = s - mean
        return mean, deviations - (deviations @ self.view.shares)[:, None]

    def growth(self, mean: NDArray, s: NDArray, deviations: NDArray) -> NDArray:
        """``asinh(2 mean / c) - asinh(2 s / c)``, or the difference of the logarithms."""
        size, size_of_mean = np.hypot(s, self.half), np.hypot(mean, self.half)
        log_half = math.log(self.half) if self.half else -math.inf
        logarithm = np.where(s > 0.0, np.log(np.abs(s) + size), 2.0 * log_half - np.log(np.abs(s) + size))
        far = np.log(mean + size_of_mean) - logarithm
        # quotient of s + hypot(s, c/2) and its value at the mean, minus 1
        ratio = deviations / (mean + size_of_mean) * (1.0 + (s + mean) / (size + size_of_mean))
        return np.where(np.abs(ratio) < 0.5, -np.log1p(np.where(np.abs(ratio) < 0.5, ratio, 0.0)), far)

    def log_fall(self, states: States) -> NDArray:
        """(n,) logarithm of -dV_c/dt.

        ``dV_c/dt = -(K / s_bar) sum_j k_j p_j (z_j - z_bar)
        - (1 / (2 s_bar^2)) ds_bar/dt sum_i m_i (hypot(s_i, c/2) - hypot(s_bar, c/2))``
        by the chain rule; both sums are written with terms of one sign, as in Chebyshev's and Jensen's inequalities.
        """
        view, s = self.view, states.singular_values
        mean, deviations = self.deviations(s)
        rises = -view.margins(deviations)  # z_j - z_bar
        log_p_bar = -mean - np.logaddexp(0.0, states.log_odds)[:, None]
        log_larger = log_p_bar + np.maximum(rises, 0.0)  # larger one of p_j and p_bar
        log_scale = log_larger.max(axis=1, keepdims=True)
        # (p_j - p_bar) (z_j - z_bar)
        excess = np.exp(log_larger - log_scale) * -np.expm1(-np.abs(rises)) * np.abs(rises)
        chebyshev = view.classes * (excess @ view.valencies)
        size, size_of_mean = np.hypot(s, self.half), np.hypot(mean, self.half)
        # relative to the mean: squares of small numbers would underflow
        x, x_bar, half, y = s / size_of_mean, mean / size_of_mean, self.half / size_of_mean, size / size_of_mean
        factor = np.where(
            s > 0.0, half**2 * (1.0 + (x**2 + x_bar**2 + half**2) / (y + x * x_bar)), half**2 + y - x * x_bar
        )
        jensen = (deviations * (deviations / size_of_mean) * factor / (1.0 + y) ** 2) @ view.multiplicities
        force = view.forces(np.exp(log_p_bar + rises - log_scale) * view.valencies)
        growth_of_mean = 2.0 * (size * force) @ view.shares
        total = chebyshev + 0.5 * jensen * growth_of_mean / mean[:, 0]
        return np.log(total / mean[:, 0]) + log_scale[:, 0] + view.unit

    def look(self, states: States, log_weight: NDArray, allowed: float, turnover: float) -> Seen:
        v = self.values(states.singular_values)
        fallen, blur = integral_and_doubt(np.exp(self.log_fall(states) + log_weight))
        depth = np.sqrt(np.max(v)) + 10.0 * allowed
        error = float(np.max(np.abs(v - v[0] + fallen)) / (allowed * depth + blur + 4.0 * EPS * np.max(v)))
        if not (np.isfinite(v).all() and np.isfinite(fallen).all()):
            error = self.error_where_lost
        return Seen(v, error, self.mean_error(states, log_weight, allowed))

    def mean_error(self, states: States, log_weight: NDArray, allowed: float) -> float:
        """Error of the geometric mean; 0, because singular values may be negative."""
        return 0.0


class OfBalancedModes(OfModes):
    """V of two balanced layers."""

    name = "V"
    error_where_lost, has_geometric_mean = math.inf, True

    def __init__(self, view: ReducedView) -> None:
        super().__init__(view, 0.0)
        self.terms = 1.0

    def values(self, s: NDArray) -> NDArray:
        return 2.0 / (self.view.classes - 1) * super().values(s)

    def defined(self, v: NDArray) -> NDArray:
        return np.ones(len(v), bool)

    def log_fall(self, states: States) -> NDArray:
        return super().log_fall(states) + math.log(2.0 / (self.view.classes - 1))

    def mean_error(self, states: States, log_weight: NDArray, allowed: float) -> float:
        """``d log GM/dt = (2K/(K-1)) (1 - p_0)`` if the loss is summed over the classes."""
        view = self.view
        log_mean = np.log(states.singular_values) @ view.shares
        log_gap = states.log_odds - np.logaddexp(0.0, states.log_odds)
        gains = 2.0 * view.classes / (view.classes - 1) * np.exp(log_gap + log_weight + view.unit)
        grown, blur = integral_and_doubt(gains)
        off = np.max(np.abs(log_mean - log_mean[0] - grown))
        return float(off / (allowed * (1.0 + grown[-1]) + blur))


class OfLogits(Lyapunov):
    """V of the K - 1 largest singular values of the logits of a full flow; it may increase."""

    verb = "changes"
    why_may_rise = "proved for starts with the symmetry of a scheme (reduced flow) only"
    unresolved = "one of the K - 1 singular values is 0, or too small for the tolerance"

    def __init__(self, view: FullView) -> None:
        self.view = view

    def values(self, s: NDArray) -> NDArray:
        """``log(s_bar) - mean of log(s_i)``, a mean of ``x_i + exp(-x_i) - 1`` with ``x_i = log(s_bar / s_i)``."""
        top = s[:, :-1]
        x = np.log(top.mean(axis=1, keepdims=True) / top)
        near = np.polynomial.polynomial.polyval(x, _SERIES)
        v = np.where(np.abs(x) < 1.0, near, x + np.expm1(-x)).mean(axis=1)
        return np.where(lost(s), np.nan, v)

    def look(self, states: States, log_weight: NDArray, allowed: float, turnover: float) -> Seen:
        """Errors of singular values are the tolerance times the largest one; their effect on V is propagated."""
        allowed = allowed * (1.0 + turnover)
        slope, reach, reach_of_least = self.rate(states)
        if not allowed * np.max(reach_of_least) < UNRESOLVED:  # true for NaN too
            return Seen(None, math.nan, 0.0)
        v = self.values(states.singular_values)
        change, blur = integral_and_doubt(slope * np.exp(np.minimum(states.log_scale + log_weight, 700.0)))
        known = allowed * np.max(reach) + (allowed * np.max(reach_of_least)) ** 2 + 4.0 * EPS * np.max(v)
        error = float(np.max(np.abs(v - v[0] - change)) / (known + blur))
        return Seen(None, math.inf if math.isnan(error) else error, 0.0)

    def rate(self, states: States) -> tuple[NDArray, NDArray, NDArray]:
        """dV/dt (n,) in the scale of the velocities; and the effects (n,) of a relative change of the state on V, and,
        at most, on the smallest of the K - 1 singular values."""
        view, n = self.view, len(states.w)
        factors = view.factors(states.w)
        sizes = np.stack([np.linalg.norm(factor, axis=(1, 2)) for factor in factors], axis=1)
        others = np.stack([np.delete(sizes, k, axis=1).prod(axis=1) for k in range(len(factors))], axis=1)
        size = np.linalg.norm(states.w, axis=1)
        slope = flat(pulled(self.gradient(product(factors)), factors), n)
        reach = size * np.linalg.norm(others, axis=1) / states.singular_values[:, -2]
        return (slope * states.velocity).sum(axis=1), size * np.linalg.norm(slope, axis=1), reach

    def gradient(self, Z: NDArray) -> NDArray:
        """(n, K, K) gradient of V in the logits, ``sum_i u_i v_i' (1/s_bar - 1/s_i) / (K-1)``; NaN if a singular value
        is 0 up to rounding."""
        left, s, right = svd(Z)
        top, classes = s[:, :-1], s.shape[1]
        mean = top.mean(axis=1, keepdims=True)
        deviations = top - mean
        deviations -= deviations.mean(axis=1, keepdims=True)  # the rounding error of the mean
        slopes = deviations / mean / top / (classes - 1)
        slopes[lost(s)] = np.nan
        return (left[..., :-1] * slopes[:, None, :]) @ right[:, :-1, :]


def lost(s: NDArray) -> NDArray:
    """(n,) whether the smallest of the K - 1 largest singular values (n, K) is 0 up to rounding."""
    return s[:, -2] <= s.shape[1] * EPS * s[:, 0]
