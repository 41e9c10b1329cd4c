"""Closed forms for features with a fixed or nearest simplex ETF of unit rows as classifier. [ceflow]

``c^2 = K/(K-1)``. Proved in the derivation `nearest_etf`. The system is from Markou, Ajanthan & Gould,
arXiv:2411.01248.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import scipy
from numpy.typing import ArrayLike, NDArray

from .._checks import checked_array, checked_integer, checked_number, log_time_unit
from ._arguments import check_order, checked_classes, checked_log_time

_LATE = 700.0  # log t above which e^s is the only relevant term of the time


def etf_ray_time(s: ArrayLike, s0: ArrayLike, classes: int, *, reduction: str = "mean") -> NDArray[np.float64]:
    """Time from one singular value of collapsed logits to another, with a simplex ETF as classifier.

    ``t = (e^s - e^s0 + (K-1) (s - s0)) / (c^2 K)`` with "sum" and ``c^2 = K/(K-1)``, for a fixed and for the nearest
    ETF.

    Parameters
    ----------
    s, s0 : arrays
        End and start, ``s >= s0``, up to 1e300 in absolute value. With a fixed ETF they may be negative.
    classes : int
        K >= 2.
    reduction : {"mean", "sum"}
        Unit of time, with one sample per class.

    Returns
    -------
    array
        t >= 0; inf on overflow.

    Raises
    ------
    TypeError, ValueError
        If an argument is invalid.

    Notes
    -----
    A free classifier of two balanced layers needs `ray_time`. At late times that is ``c^2 / (2 s)`` times as long,
    because the norm of the classifier grows.

    Examples
    --------
    >>> time = cf.theory.etf_ray_time(10.0, 0.1, 10)
    >>> f"{time:.1f} under an ETF, {cf.theory.ray_time(10.0, 0.1, 10):.1f} under a classifier that learns"
    '19903.0 under an ETF, 1267.6 under a classifier that learns'
    """
    unit = log_time_unit(checked_classes(classes), reduction)
    s, s0 = checked_array("s", s), checked_array("s0", s0)
    check_order("s", s, "s0", s0)
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        gain = np.where(s0 < -_LATE, np.exp(s), np.exp(s0) * np.expm1(s - s0))
        gain = np.where(s0 > _LATE, np.where(s > s0, np.inf, 0.0), gain)
        return (math.exp(unit) * (gain + (classes - 1.0) * (s - s0)) * (classes - 1.0) / classes**2)[()]


def etf_ray_singular_value(
    t: ArrayLike | None = None,
    *,
    s0: ArrayLike,
    classes: int,
    log_t: ArrayLike | None = None,
    reduction: str = "mean",
) -> NDArray[np.float64]:
    """Singular value of collapsed logits at a given time, with a simplex ETF as classifier; inverse of `etf_ray_time`.

    ``s = u - w`` with ``u = c^2 K t/(K-1) + s0 + e^s0/(K-1)`` and the Wright omega function w of ``u - log(K-1)``.

    Parameters
    ----------
    t, log_t : array
        Time t >= 0, or its logarithm; give one.
    s0 : array
        Start, from -1e15 to 700.
    classes, reduction
        As in `etf_ray_time`.

    Returns
    -------
    array
        ``s >= s0``, with an error of rounding of the largest of s, s0 and 1.

    Raises
    ------
    TypeError, ValueError
        If an argument is invalid.

    Examples
    --------
    >>> f"{cf.theory.etf_ray_singular_value(1e3, s0=0.0, classes=10):.6f}"
    '6.956075'
    """
    log_t = checked_log_time(t, log_t) - log_time_unit(checked_classes(classes), reduction)
    s0 = checked_array("s0", s0, -1e15, _LATE)
    rest = classes - 1.0
    log_rate = math.log(classes) - 2.0 * math.log(rest) + math.log(classes)  # of c^2 K / (K-1)
    early = np.minimum(log_t, _LATE - log_rate)
    with np.errstate(under="ignore"):
        u = np.exp(early + log_rate) + s0 + np.exp(s0) / rest
        omega = scipy.special.wrightomega(u - math.log(rest))
        # for w >= 1 use e^s = (K-1) w in place of a difference of large numbers
        s = np.where(u > 1.0, math.log(rest) + np.log(np.maximum(omega, 1e-300)), u - omega)
    late = log_t + log_rate + math.log(rest)  # only e^s is relevant
    return np.maximum(np.where(log_t > _LATE - log_rate, np.maximum(late, s), s), s0)[()]


class ETFSphere(NamedTuple):
    """Optimum of features on a sphere with a simplex ETF, and rates of convergence; see `etf_sphere`.

    Attributes
    ----------
    margin : float
        ``m = tau K/(K-1)``.
    wrong_probability : float
        Probability ``p = 1/(e^m + K - 1)`` of each wrong class.
    loss : float
        Cross-entropy of a sample, ``log(1 + (K-1) e^-m)``, the minimum at this norm.
    outside : float
        Rate ``K p/tau`` of deviations orthogonal to the span of the classifier. With a fixed ETF it is also the rate of
        rotations of all features out of the span; with the nearest ETF these are neutral.
    inside : float
        Rate ``K p/tau + p c^2`` of deviations in the span of the classifier.
    mean : float
        Rate ``K p/tau + p c^2 (1 + (1 - (K-1) p) K (K-2))/(K-1)^2`` of the K - 1 deviations in the span that change the
        mean of the features; it is slightly smaller because of the bias.

    Examples
    --------
    >>> rest = cf.theory.etf_sphere(5.0, 10)
    >>> f"margin {rest.margin:.4f}, p = {rest.wrong_probability:.6f} of each wrong class"
    'margin 5.5556, p = 0.003736 of each wrong class'
    """

    margin: float
    wrong_probability: float
    loss: float
    outside: float
    inside: float
    mean: float


def etf_sphere(radius: float, classes: int, *, samples: int = 1, reduction: str = "mean") -> ETFSphere:
    """Optimum and rates of convergence of features of norm tau, with a simplex ETF of unit rows and bias ``-W mu``.

    Parameters
    ----------
    radius : float
        tau, from 1e-6 to 1e6.
    classes : int
        K >= 2.
    samples : int
        Samples per class.
    reduction : {"mean", "sum"}
        Unit of time.

    Returns
    -------
    ETFSphere

    Raises
    ------
    TypeError, ValueError
        If an argument is invalid.

    Notes
    -----
    Rates are those of the linearized flow at the optimum. NC1 is quadratic and decays at twice `outside`. NC2, and NC3
    with the nearest ETF, decay at `mean` and `inside`. They also have quadratic terms that decay at twice `outside`,
    which is not much faster; so measured slopes need late times.

    Examples
    --------
    >>> f"no features of norm 5 have a loss below {cf.theory.etf_sphere(5.0, 10).loss:.4f}"
    'no features of norm 5 have a loss below 0.0342'
    """
    tau, K = checked_number("radius", radius, 1e-6, 1e6), float(checked_classes(classes))
    samples = checked_integer("samples", samples, 1, 10**15)
    unit = math.exp(-log_time_unit(classes, reduction)) / (samples if reduction == "mean" else 1.0)
    margin, square = tau * K / (K - 1.0), K / (K - 1.0)
    small = math.exp(-margin)
    p = small / (1.0 + (K - 1.0) * small)
    outside = K * p / tau
    share = (1.0 + (1.0 - (K - 1.0) * p) * K * (K - 2.0)) / (K - 1.0) ** 2
    rates = (outside, outside + p * square, outside + p * square * share)
    return ETFSphere(margin, p, math.log1p((K - 1.0) * small), *(unit * rate for rate in rates))


def etf_squared_distance(s: ArrayLike) -> NDArray[np.float64]:
    """Squared distance of features to the nearest simplex ETF, from singular values of the centred class means.

    ``2 (1 - sum_i s_i / (|s| sqrt(K-1)))``, computed as ``|s/|s| - 1/sqrt(K-1)|^2``.

    Parameters
    ----------
    s : (..., K-1) array
        Nonnegative singular values, at most 1e150, not all 0.

    Returns
    -------
    (...) array
        From 0 to ``2 (1 - 1/sqrt(K-1))``.

    Raises
    ------
    TypeError, ValueError
        If s is invalid.

    Examples
    --------
    >>> cf.theory.etf_squared_distance([[1.0, 1.0, 1.0], [3.0, 2.0, 1.0], [1.0, 0.0, 0.0]]).round(4)
    array([0.    , 0.1484, 0.8453])
    """
    s = checked_array("s", s, 0.0, 1e150)
    if s.ndim < 1 or not s.shape[-1] or not s.any(axis=-1).all():
        raise ValueError(f"s must be (..., K-1), not all 0, got shape {s.shape}")
    s = s / s.max(axis=-1, keepdims=True)
    gap = s / np.linalg.norm(s, axis=-1, keepdims=True) - 1.0 / math.sqrt(s.shape[-1])
    return (gap**2).sum(axis=-1)[()]
