"""The ray of neural collapse: time, singular value, and decay of deviations."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .._checks import checked_array, log_time_unit
from ..lyapunov import checked_imbalance, log_growth
from ._arguments import SMALLEST, check_order, checked_classes, checked_log_time, checked_start

NEGLIGIBLE = 45.0  # exp(-45) is below rounding

_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(64)  # on [0, 1]; exact to rounding for exp on [0, 45]
_NODES, _WEIGHTS = 0.5 * (_NODES + 1.0), 0.5 * _WEIGHTS


def ray_time(
    s: ArrayLike, s0: ArrayLike, classes: int, *, imbalance: float = 0.0, reduction: str = "mean"
) -> NDArray[np.float64]:
    """Time from one singular value of collapsed layers to another.

    For balanced layers and "sum", ``t = (Ei(s) - Ei(s0) + (K-1) log(s/s0)) / (2K)`` with the exponential integral Ei.
    It is computed as a sum of positive integrals, accurate to rounding for all s and s0.

    Parameters
    ----------
    s, s0 : arrays
        End and start, ``s >= s0 > 0``, at most 1e300; ``s0 = 0`` is allowed for unbalanced layers.
    classes : int
        K >= 2.
    imbalance : float
        ``c = |a^2 - b^2|``, equal for all modes; 0 for balanced layers.
    reduction : {"mean", "sum"}
        Unit of time.

    Returns
    -------
    array
        t >= 0; inf on overflow (see `ray_log_time`).

    Raises
    ------
    TypeError, ValueError
        If an argument is invalid.

    Notes
    -----
    arXiv:2512.04006 for balanced layers; [ceflow] for unbalanced layers.

    Examples
    --------
    >>> f"{cf.theory.ray_time(10.0, 1e-3, classes=16):.3f}"
    '1318.357'
    >>> flow, reached = cf.SpectralFlow(cf.hadamard(16)), lambda run: run.singular_values[:, 0] - 10
    >>> f"{cf.integrate(flow, np.full(15, 1e-3), until=reached).t[-1]:.3f}"
    '1318.357'
    """
    s, scaled, unit = _scaled_ray_time(s, s0, classes, imbalance, reduction)
    with np.errstate(over="ignore"):
        root = np.exp(0.5 * s)  # e^s may overflow although t does not
        return (root * (scaled * math.exp(unit)) * root)[()]


def ray_log_time(
    s: ArrayLike, s0: ArrayLike, classes: int, *, imbalance: float = 0.0, reduction: str = "mean"
) -> NDArray[np.float64]:
    """Logarithm of `ray_time`, finite for all s > s0 and -inf for s = s0.

    Examples
    --------
    >>> f"t = 1e{cf.theory.ray_log_time(5000.0, 1e-3, classes=10) / np.log(10):.2f}"
    't = 1e2167.47'
    """
    s, scaled, unit = _scaled_ray_time(s, s0, classes, imbalance, reduction)
    with np.errstate(divide="ignore"):
        return (s + np.log(scaled) + unit)[()]


def ray_singular_value(
    t: ArrayLike | None = None,
    *,
    s0: ArrayLike,
    classes: int,
    log_t: ArrayLike | None = None,
    imbalance: float = 0.0,
    reduction: str = "mean",
) -> NDArray[np.float64]:
    """Singular value of collapsed layers at a given time; inverse of `ray_time`.

    Parameters
    ----------
    t, log_t : array
        Time t >= 0, or its logarithm; give one.
    s0, classes, imbalance, reduction
        As in `ray_time`.

    Returns
    -------
    array
        ``s >= s0``, with relative error rounding times max(1, ``log(s/s0)``).

    Raises
    ------
    TypeError, ValueError
        If an argument is invalid.

    Notes
    -----
    Sources as in `ray_time`. For large t, s is about ``log t + log log t``: margins grow logarithmically.

    Examples
    --------
    >>> f"{cf.theory.ray_singular_value(1e6, s0=1e-3, classes=10):.6f}"
    '17.295060'
    >>> f"{cf.theory.ray_singular_value(log_t=1e4, s0=1e-3, classes=10):.2f}"  # about log t + log log t
    '10009.90'
    """
    unit = log_time_unit(checked_classes(classes), reduction)
    log_t = checked_log_time(t, log_t) - unit
    imbalance = checked_imbalance(imbalance)
    return collapsed_singular_value(log_t, checked_start(s0, imbalance), classes, 0.5 * imbalance)[()]


def deviation_decay(s: ArrayLike, s1: ArrayLike, classes: int) -> NDArray[np.float64]:
    """Factor of small deviations from the balanced ray while the mean grows from s1 to s [ceflow].

    To first order ``s_i = s (1 + r_i)`` with ``r_i(s) = r_i(s1) exp(-(s - s1) / K)``, for all modes and all schemes.

    Parameters
    ----------
    s, s1 : arrays
        Mean singular values, ``s >= s1``.
    classes : int
        K >= 2.

    Returns
    -------
    array

    Raises
    ------
    TypeError, ValueError
        If an argument is invalid.

    Examples
    --------
    >>> f"{cf.theory.deviation_decay(20.0, 10.0, classes=10):.4f}"
    '0.3679'
    """
    s, s1 = checked_array("s", s), checked_array("s1", s1)
    check_order("s", s, "s1", s1)
    return np.exp((s1 - s) / checked_classes(classes))


def collapse_exponent(classes: int) -> float:
    """Exponent -1/K of the final decay of deviations from collapse, ``r ~ t^(-1/K)`` [ceflow].

    The law holds up to powers of log t. With hundreds of classes collapse takes extremely long.

    Examples
    --------
    >>> [cf.theory.collapse_exponent(K) for K in (2, 10, 100)]  # 100 classes: a tenth of r takes 1e100 times as long
    [-0.5, -0.1, -0.01]
    """
    return -1.0 / checked_classes(classes)


def _scaled_ray_time(
    s: ArrayLike, s0: ArrayLike, classes: int, imbalance: float, reduction: str
) -> tuple[NDArray[np.float64], NDArray[np.float64], float]:
    """s, time times ``e^-s``, and logarithm of the time unit, from unchecked arguments."""
    unit = log_time_unit(checked_classes(classes), reduction)
    imbalance = checked_imbalance(imbalance)
    s, s0 = checked_array("s", s), checked_start(s0, imbalance)
    check_order("s", s, "s0", s0)
    return s, _ray_time(s, s0, classes, 0.5 * imbalance), unit


def _ray_time(s: NDArray[np.float64], s0: NDArray[np.float64], classes: int, half: float) -> NDArray[np.float64]:
    """Time with "sum" times ``e^-s``, which avoids overflow; ``half = c/2``.

    ``dt = (1 + (e^x - 1) / K) dx / (2 hypot(x, half))``. The 1 gives log_growth / 2. The rest is integrated by Gauss
    quadrature: for x < 1 in log_growth, where the integrand decays like ``e^-v`` from the upper end; for x > 1 in x,
    with ``e^s`` factored out. The integrands are smooth for all half.
    """
    growth = log_growth(s, s0, s - s0, half)
    top, bottom = np.minimum(s, 1.0), np.minimum(s0, 1.0)
    span = np.minimum(log_growth(top, bottom, top - bottom, half), NEGLIGIBLE)
    below_one = span * (np.expm1(_advance(top[..., None], -span[..., None] * _NODES, half)) @ _WEIGHTS)
    width = np.clip(s - np.maximum(s0, 1.0), 0.0, NEGLIGIBLE)
    down = width[..., None] * _NODES
    x = s[..., None] - down
    above_one = width * ((np.exp(-down) * -np.expm1(-x) / np.hypot(x, half)) @ _WEIGHTS)
    return 0.5 * growth * np.exp(-s) + (below_one * np.exp(-s) + above_one) / (2 * classes)


def _advance(s: NDArray[np.float64], growth: NDArray[np.float64], half: float) -> NDArray[np.float64]:
    """Inverse of `log_growth`, from s >= 0."""
    with np.errstate(over="ignore"):
        return s * np.exp(growth) + half * (half / (s + np.hypot(s, half))) * np.sinh(growth)


def collapsed_singular_value(
    log_t: NDArray[np.float64], s0: NDArray[np.float64], classes: int, half: float
) -> NDArray[np.float64]:
    """`ray_singular_value` for checked arguments, with time for "sum"; ``half = c/2``."""

    def log_time(s: NDArray[np.float64], growth: NDArray[np.float64]) -> tuple[NDArray[np.float64], ...]:
        scaled = _ray_time(s, s0, classes, half)
        return s + np.log(scaled), growth / scaled * (1.0 + (classes - 1) * np.exp(-s)) / (2 * classes)

    return solve(log_time, log_t, s0, classes, half)


def solve(
    function: Callable[..., tuple[NDArray[np.float64], ...]],
    log_t: NDArray[np.float64],
    s0: NDArray[np.float64],
    classes: int,
    half: float,
) -> NDArray[np.float64]:
    """Solve f(s, g) = log_t for s >= s0, with ``g = log_growth(s, s0)``; for `ray_log_time` and similar functions.

    f, given with its slope in log g, is the logarithm of a power series in g with nonnegative coefficients. It is
    convex in log g, so Newton's method converges monotonically from any upper bound. The start is the smaller of two
    upper bounds: ``g <= 2t``, and a bound that is tight for large t. The latter follows from ``t >= (e^s - e^s0) / (2K
    hypot(s, half))``, with the logarithm of the root replaced by its tangent at ``anchor``.
    """
    near = np.where(log_t < 5.0, _advance(s0, 2.0 * np.exp(np.minimum(log_t, 5.0)), half), np.inf)
    instant = log_t < math.log(SMALLEST)  # near is accurate to rounding
    log_t = np.maximum(log_t, math.log(SMALLEST))
    reach = log_t + math.log(2 * classes)
    anchor = 2.0 + half + np.maximum(reach, 0.0)
    far = np.maximum(s0 + 1.0, (reach - 0.54 + np.log(anchor) + half / anchor) / (1.0 - 1.0 / anchor))
    s, lowest = np.minimum(near, far), np.nextafter(s0 + 1e-307 * half, np.inf)
    for _ in range(100):
        s = np.maximum(s, lowest)  # so that g does not underflow
        growth = log_growth(s, s0, s - s0, half)
        value, slope = function(s, growth)
        previous, s = s, _advance(s, growth * np.expm1((log_t - value) / slope), half)
        if np.all(np.abs(s - previous) <= 1e-9 * previous):  # the next step would be of the order of the square
            break
    return np.where(instant, near, np.maximum(s, s0))
