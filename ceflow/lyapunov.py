"""Lyapunov functions of neural collapse: measures of unequal singular values, and their dissipation.

Balanced layers, and layers with a common imbalance ``c = |a_i^2 - b_i^2|``, follow a mirror flow with the potential ::

    psi(s) = (s/2) asinh(2s/c) - sqrt(4s^2 + c^2)/4,    2 psi'(s) = asinh(2s/c) = log(e(s) / (c/2)),

``e(s) = s + hypot(s, c/2)``. In the variables ``rho_i = e(s_i) / e(s_bar) - 1``, the Bregman divergence of psi and the
two terms of its dissipation are sums of nonnegative numbers, without cancellation at collapse. For balanced layers c =
0 and rho_i is the relative deviation from the mean, ``s_i / s_bar - 1``.

Examples
--------
>>> s = np.array([1.0, 2.0, 3.0])
>>> f"V = {cf.lyapunov.lyapunov(cf.hadamard(4), s):.4f}, dV/dt = {cf.lyapunov.dissipation(cf.hadamard(4), s):.4f}"
'V = 0.0959, dV/dt = -0.0163'
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ._arrays import svd
from ._checks import LIMIT, checked_array, log_time_unit
from .losses import log_odds_of_error
from .symmetry import Scheme

# exp(x) - 1 - x as a power series, to rounding for |x| <= 1
_SERIES = np.array([0.0, 0.0] + [1.0 / math.factorial(n) for n in range(2, 20)])


def lyapunov(scheme: Scheme, singular_values: ArrayLike) -> NDArray[np.float64]:
    """Lyapunov function V of balanced flow: log of arithmetic over geometric mean of the singular values.

    ``V = (1/(K-1)) sum_i m_i (r_i - log(1 + r_i))`` with ``r_i = s_i / s_bar - 1``, a sum of nonnegative terms without
    cancellation.

    Parameters
    ----------
    scheme : Scheme
    singular_values : (..., D) array
        One for each mode, at most 1e300 in absolute value.

    Returns
    -------
    (...) array
        V >= 0, with equality only if all singular values are equal (neural collapse). NaN if one of them is not
        positive.

    Raises
    ------
    TypeError, ValueError
        If singular_values is not a real array of this shape and range.

    Notes
    -----
    arXiv:2512.04006 for Hadamard schemes; [ceflow] for all others.

    Examples
    --------
    >>> cf.lyapunov.lyapunov(cf.hadamard(4), [[1.0, 2.0, 3.0], [2.0, 2.0, 2.0]]).round(6)
    array([0.095894, 0.      ])
    """
    return 2.0 / (scheme.classes - 1) * common_imbalance(scheme, singular_values, 0.0)


def dissipation(scheme: Scheme, singular_values: ArrayLike, reduction: str = "mean") -> NDArray[np.float64]:
    """Rate of change dV/dt of `lyapunov` along the balanced flow.

    ``dV/dt = -(2K / ((K-1) s_bar)) sum_j k_j p_j (z_j - z_bar)``, where z_bar is the mean logit of the wrong classes.
    With ``delta_j = z_j - z_bar`` and the probability p_bar at z_bar, it is computed as the sum of the nonnegative
    numbers ``k_j p_bar (exp(delta_j) - 1) delta_j``.

    Parameters
    ----------
    scheme, singular_values
        As in `lyapunov`.
    reduction : {"mean", "sum"}
        Unit of time: with "mean" (loss averaged over the K classes) all rates are K times smaller.

    Returns
    -------
    (...) array
        dV/dt <= 0; NaN if a singular value is not positive. See `log_dissipation` for times beyond 1e308.

    Raises
    ------
    TypeError, ValueError
        As in `lyapunov`, and if the reduction is unknown.

    Notes
    -----
    arXiv:2512.04006 for Hadamard schemes; [ceflow] for all others.

    Examples
    --------
    >>> f"{cf.lyapunov.dissipation(cf.hadamard(4), [1.0, 2.0, 3.0]):.6f}"
    '-0.016318'
    """
    return -np.exp(log_dissipation(scheme, singular_values, reduction))


def log_dissipation(scheme: Scheme, singular_values: ArrayLike, reduction: str = "mean") -> NDArray[np.float64]:
    """Logarithm ``log(-dV/dt)`` of the `dissipation`; finite if dV/dt underflows, -inf at collapse.

    Examples
    --------
    >>> f"{cf.lyapunov.log_dissipation(cf.hadamard(4), [1000.0, 1001.0, 1002.0]):.4f}"  # too small for dissipation
    '-1008.9660'
    """
    unit = log_time_unit(scheme.classes, reduction)
    return _log_decay(scheme, singular_values, 0.0) + (math.log(2.0) - math.log(scheme.classes - 1) - unit)


def common_imbalance(scheme: Scheme, singular_values: ArrayLike, imbalance: float) -> NDArray[np.float64]:
    """Lyapunov function V_c of layers with a common imbalance ``c = |a_i^2 - b_i^2|`` [ceflow].

    It is the Bregman divergence of the mean from the singular values, divided by the mean: ``V_c = (1/s_bar) sum_i m_i
    (psi(s_bar) - psi(s_i) - psi'(s_i) (s_bar - s_i))``, with psi of `ceflow.lyapunov`. It is computed as ``sum_i m_i
    ((rho_i - log(1 + rho_i)) / 2 + (c/2)^2 rho_i^2 / (4 e(s_i) s_bar))``.

    Parameters
    ----------
    scheme, singular_values
        As in `lyapunov`; the singular values may have any sign.
    imbalance : float
        c >= 0, equal for all modes. With different c neither V nor V_c is monotone.

    Returns
    -------
    (...) array
        V_c >= 0, with equality only at neural collapse; ``V_0 = (K-1) V / 2``. It does not increase while s_bar > 0,
        and s_bar stays positive. NaN if s_bar <= 0, or if c = 0 and a singular value is not positive.

    Raises
    ------
    TypeError, ValueError
        As in `lyapunov`, and unless c is a number from 0 to 1e300.

    Examples
    --------
    >>> f"{cf.lyapunov.common_imbalance(cf.hadamard(4), [1.0, -0.5, 3.0], 2.0):.6f}"
    '0.847276'
    """
    terms = _terms(scheme, singular_values, imbalance)
    divergences = excess(-terms.growth) / 2 + terms.curvatures
    # not a matrix product: its rounding of a row depends on the other rows
    return np.where(terms.defined, (divergences * scheme.multiplicities[1:]).sum(axis=-1), np.nan)[()]


def common_imbalance_dissipation(
    scheme: Scheme, singular_values: ArrayLike, imbalance: float, reduction: str = "mean"
) -> NDArray[np.float64]:
    """Rate of change ``dV_c/dt`` of `common_imbalance` along the flow with this imbalance [ceflow].

    ``dV_c/dt = -(K / s_bar) sum_j k_j p_j (z_j - z_bar)
    - (1 / (2 s_bar^2)) ds_bar/dt sum_i m_i (hypot(s_i, c/2) - hypot(s_bar, c/2))``:
    two nonpositive terms, by Chebyshev's sum inequality and by Jensen's inequality. Parameters and errors are as in
    `common_imbalance` and `dissipation`.

    Returns
    -------
    (...) array
        ``dV_c/dt <= 0``; NaN if V_c is NaN.

    Examples
    --------
    >>> f"{cf.lyapunov.common_imbalance_dissipation(cf.hadamard(4), [1.0, -0.5, 3.0], 2.0):.6f}"
    '-0.455272'
    """
    unit = log_time_unit(scheme.classes, reduction)
    return -np.exp(_log_decay(scheme, singular_values, imbalance) - unit)


def excess(x: NDArray[np.float64]) -> NDArray[np.float64]:
    """``exp(-x) - 1 + x >= 0`` to full relative accuracy; ``r - log(1 + r)`` at x = -log(1 + r).

    Examples
    --------
    >>> f"{cf.lyapunov.excess(np.array(1e-9)):.6e}"  # exp(-x) - 1 + x, without cancellation
    '5.000000e-19'
    """
    return np.where(np.abs(x) < 1.0, np.polynomial.polynomial.polyval(-x, _SERIES), x + np.expm1(-x))


def log_growth(
    s: NDArray[np.float64], start: NDArray[np.float64], difference: NDArray[np.float64], half: float
) -> NDArray[np.float64]:
    """``log(e(s) / e(start))`` to full relative accuracy, where ``e(s) = s + hypot(s, half)``; ``start >= 0``.

    This is ``asinh(s/half) - asinh(start/half)``, and ``log(s/start)`` if half = 0: twice the integral of the force
    that moves a mode of imbalance ``2 half`` from start to s. The difference s - start is an argument because callers
    may know it more accurately than s and start.

    Examples
    --------
    >>> s, start = np.array(3.0), np.array(1.0)
    >>> f"{cf.lyapunov.log_growth(s, start, s - start, 0.0):.6f}, {np.log(3.0):.6f}"
    '1.098612, 1.098612'
    """
    size, size_of_start = np.hypot(s, half), np.hypot(start, half)
    root, root_of_start = np.sqrt(np.abs(s) + size), np.sqrt(start + size_of_start)
    root = np.where(s >= 0, root, half / root)  # root of e(s): quotients of roots neither overflow nor underflow
    with np.errstate(over="ignore"):
        ratio = difference / (start + size_of_start) * (1.0 + (s + start) / (size + size_of_start))
    near = np.abs(ratio) < 0.5
    return np.where(near, np.log1p(np.where(near, ratio, 0.0)), 2.0 * np.log(root / root_of_start))


def of_logits(singular_values: NDArray[np.float64]) -> NDArray[np.float64]:
    """V of the K - 1 largest singular values of arbitrary logits.

    Parameters
    ----------
    singular_values : (..., K) array
        Descending, as returned by `numpy.linalg.svd`.

    Returns
    -------
    (...) array
        V >= 0; NaN if one of the K - 1 is 0 or below the rounding error of the largest one.

    Examples
    --------
    >>> Z = np.random.default_rng(0).standard_normal((4, 4))
    >>> f"{cf.lyapunov.of_logits(np.linalg.svd(Z)[1]):.6f}"
    '0.079893'
    """
    top, defined = _top(singular_values)
    return np.where(defined, excess(-np.log(top / top.mean(axis=-1, keepdims=True))).mean(axis=-1), np.nan)


def gradient_of_logits(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    """Gradient of `of_logits` in the logits, ``sum_i u_i v_i' dV/ds_i`` over the K - 1 largest singular values.

    ``dV/ds_i = (1/s_bar - 1/s_i) / (K-1)`` is equal for equal singular values, so the choice of singular vectors does
    not matter. If the last two of all K are equal V has a kink, and this is a one-sided gradient.

    Parameters
    ----------
    logits : (..., K, K) array

    Returns
    -------
    (..., K, K) array
        Accurate to rounding of the largest deviation of a singular value from the mean; NaN if V is not defined.

    Examples
    --------
    >>> Z = np.diag([3.0, 2.0, 1.0, 0.0])
    >>> gradient = cf.lyapunov.gradient_of_logits(Z)
    >>> np.diag(gradient)[[0, 2]].round(4)  # V rises with the largest singular value, and falls with the smallest
    array([ 0.0556, -0.1667])
    """
    left, singular_values, right = svd(logits)
    top, defined = _top(singular_values)
    mean = top.mean(axis=-1, keepdims=True)
    deviations = top - mean
    deviations -= deviations.mean(axis=-1, keepdims=True)  # the rounding error of the mean
    slopes = np.where(defined[..., None], deviations / mean / top / top.shape[-1], np.nan)
    return (left[..., :-1] * slopes[..., None, :]) @ right[..., :-1, :]


def _top(singular_values: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """The K - 1 largest of (..., K) singular values, and whether (...) all of them exceed the rounding error of the
    largest; otherwise they are replaced by 1."""
    top, K = singular_values[..., :-1], singular_values.shape[-1]
    defined = top[..., -1] > K * np.finfo(float).eps * top[..., 0]
    return np.where(defined[..., None], top, 1.0), defined


def checked_modes(
    scheme: Scheme, name: str, values: ArrayLike, low: float = -LIMIT, high: float = LIMIT
) -> NDArray[np.float64]:
    """Apply `checked_array` to an array of shape (..., D).

    Examples
    --------
    >>> cf.lyapunov.checked_modes(cf.hadamard(4), "s", [1, 2, 3])
    array([1., 2., 3.])
    """
    if not isinstance(scheme, Scheme):
        raise TypeError(f"scheme must be an association scheme, got {type(scheme).__name__}")
    array = checked_array(name, values, low, high)
    if array.ndim == 0 or array.shape[-1] != scheme.modes:
        raise ValueError(f"{name} must have shape (..., {scheme.modes}) for {scheme.name}, got {array.shape}")
    return array


def mean_singular_value(scheme: Scheme, s: NDArray[np.float64]) -> NDArray[np.float64]:
    """Mean over the K - 1 eigenvectors (...); exact for equal modes.

    Examples
    --------
    >>> f"{cf.lyapunov.mean_singular_value(cf.cyclic(4), np.array([1.0, 4.0])):.4f}"  # of three singular values
    '2.0000'
    """
    smallest = s.min(axis=-1, keepdims=True)
    return smallest[..., 0] + ((s - smallest) * (scheme.multiplicities[1:] / (scheme.classes - 1))).sum(axis=-1)


class _Terms(NamedTuple):
    defined: NDArray[np.bool_]  # (...)
    mean: NDArray[np.float64]  # (..., 1), s_bar, or 1 if V_c is not defined
    deviations: NDArray[np.float64]  # (..., D), s_i - s_bar
    growth: NDArray[np.float64]  # (..., D), log(1 + rho_i)
    curvatures: NDArray[np.float64]  # (..., D), (c/2)^2 rho_i^2 / (4 e(s_i) s_bar)


def _terms(scheme: Scheme, singular_values: ArrayLike, imbalance: float) -> _Terms:
    s = checked_modes(scheme, "singular_values", singular_values)
    half = 0.5 * checked_imbalance(imbalance)
    mean = mean_singular_value(scheme, s)
    defined = (mean > 0) & ((half > 0) | (s > 0).all(axis=-1))
    mean = np.where(defined, mean, 1.0)[..., None]
    s = np.where(defined[..., None], s, 1.0)
    deviations = s - mean
    deviations -= mean_singular_value(scheme, deviations)[..., None]  # the rounding error of the mean
    growth = log_growth(s, mean, deviations, half)
    above = np.abs(s) + np.hypot(s, half)
    below = half * (half / above)
    root = np.expm1(growth) / (2.0 * np.sqrt(mean))  # rho divided by the mean may overflow
    curvatures = (np.where(s >= 0, below, above) * root) * root
    return _Terms(defined, mean, deviations, growth, curvatures)


def checked_imbalance(imbalance: float) -> float:
    """Check that the imbalance is a number from 0 to 1e300.

    Examples
    --------
    >>> cf.lyapunov.checked_imbalance(2)
    2.0
    """
    array = checked_array("imbalance", imbalance, 0.0)
    if array.ndim > 0:
        raise ValueError(f"imbalance must be one number for all modes, got shape {array.shape}")
    return float(array)


def _log_decay(scheme: Scheme, singular_values: ArrayLike, imbalance: float) -> NDArray[np.float64]:
    """``log(-dV_c/dt)`` with reduction "sum".

    Probabilities are divided by the largest one, so that relevant terms do not underflow. The Jensen gap of a mode
    (``hypot(s_i, c/2)`` minus its tangent at s_bar) is ``2 s_bar e(s_bar) / hypot(s_bar, c/2)`` times its curvature
    term.
    """
    terms = _terms(scheme, singular_values, imbalance)
    multiplicities, valencies, half = scheme.multiplicities[1:], scheme.valencies[1:], 0.5 * float(imbalance)
    mean = terms.mean[..., 0]
    spread = scheme.margins(terms.deviations / terms.mean)  # (z_bar - z_j) / s_bar
    margins = terms.mean * (1.0 + spread)
    lowered = np.minimum(margins, terms.mean)
    smallest = lowered.min(axis=-1, keepdims=True)
    excesses = np.abs(spread) * -np.expm1(-terms.mean * np.abs(spread)) * np.exp(smallest - lowered)
    chebyshev = scheme.classes * (excesses @ valencies)
    size = np.hypot(mean, half)
    speeds = np.hypot(terms.mean + terms.deviations, half) * scheme.forces(valencies * np.exp(smallest - margins))
    growth_of_mean = 2.0 * (speeds @ (multiplicities / (scheme.classes - 1)))
    jensen = (terms.curvatures @ multiplicities) * (mean + size) / size * growth_of_mean / mean
    log_probability = -smallest[..., 0] - np.logaddexp(0.0, log_odds_of_error(margins, valencies))
    with np.errstate(divide="ignore"):
        log_decay = log_probability + np.log(chebyshev + jensen)
    return np.where(terms.defined, log_decay, np.nan)[()]
