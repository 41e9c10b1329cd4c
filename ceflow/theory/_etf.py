"""Closed forms of features under a simplex ETF of unit rows, fixed or the nearest to them. [ceflow]

``c^2 = K/(K-1)``. Proved in the derivation `nearest_etf`. The system is that of Markou, Ajanthan & Gould,
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

_LATE = 700.0  # log t from which e^s is all of the time, to rounding


def etf_ray_time(s: ArrayLike, s0: ArrayLike, classes: int, *, reduction: str = "mean") -> NDArray[np.float64]:
    """Time that collapsed features take under a simplex ETF from one singular value of the logits to another.

    ``t = (e^s - e^s0 + (K-1) (s - s0)) / (c^2 K)`` with "sum", ``c^2 = K/(K-1)``, whether it is fixed or the nearest.

    Parameters
    ----------
    s, s0 : arrays
        End and start, ``s >= s0``, of size up to 1e300. With a fixed ETF they may be negative.
    classes : int
        K >= 2.
    reduction : {"mean", "sum"}
        Unit of time, with one sample a class.

    Returns
    -------
    array
        t >= 0; inf where it leaves float64.

    Raises
    ------
    TypeError, ValueError
        If an argument is not as described.

    Notes
    -----
    A free classifier of two balanced layers needs `ray_time`. In the end that is ``c^2 / (2 s)`` times as long, as its
    norm grows.

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
    """Singular value of collapsed logits under a simplex ETF at a given time: the inverse of `etf_ray_time`.

    ``s = u - w``, w the Wright omega function of ``u - log(K-1)`` and ``u = c^2 K t/(K-1) + s0 + e^s0/(K-1)``.

    Parameters
    ----------
    t, log_t : array
        Time, t >= 0, or its logarithm; one of the two.
    s0 : array
        Start, -1e15 to 700.
    classes, reduction
        As for `etf_ray_time`.

    Returns
    -------
    array
        ``s >= s0``, to rounding of the largest of s, s0 and 1.

    Raises
    ------
    TypeError, ValueError
        If an argument is not as described.

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
        # for w of order 1 and more e^s = (K-1) w is better than a difference of large numbers
        s = np.where(u > 1.0, math.log(rest) + np.log(np.maximum(omega, 1e-300)), u - omega)
    late = log_t + log_rate + math.log(rest)  # e^s is all
    return np.maximum(np.where(log_t > _LATE - log_rate, np.maximum(late, s), s), s0)[()]


class ETFSphere(NamedTuple):
    """Where features on spheres come to rest under a simplex ETF, and how fast; see `etf_sphere`.

    Attributes
    ----------
    margin : float
        ``m = tau K/(K-1)``.
    wrong_probability : float
        ``p = 1/(e^m + K - 1)``, of each wrong class.
    loss : float
        Cross-entropy of a sample, ``log(1 + (K-1) e^-m)``; no features of this norm have less.
    outside : float
        Rate of deviations that the classifier does not see, ``K p/tau``. With a fixed ETF it is also that of a rotation
        of all features out of its span, which the nearest ETF does not have.
    inside : float
        Rate of deviations in its span, ``K p/tau + p c^2``.
    mean : float
        Rate of the K - 1 deviations in its span that move the mean, which the bias takes off: ``K p/tau + p c^2 (1 + (1
        - (K-1) p) K (K-2))/(K-1)^2``, a little slower.

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
    """Optimum, and rates of approach, of features of norm tau under a simplex ETF of unit rows with the bias ``-W mu``.

    Parameters
    ----------
    radius : float
        tau, 1e-6 to 1e6.
    classes : int
        K >= 2.
    samples : int
        Of each class.
    reduction : {"mean", "sum"}
        Unit of time.

    Returns
    -------
    ETFSphere

    Raises
    ------
    TypeError, ValueError
        If an argument is not as described.

    Notes
    -----
    Rates are those of the linear flow about the optimum. NC1 is a square, and decays at twice `outside`. NC2, and NC3
    with the nearest ETF, decay at `mean` and `inside`; squares of what decays at `outside` add a part that decays at
    twice that rate, which is not much faster: slopes of a run need late times.

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
    """Squared distance of features to the nearest simplex ETF, from the singular values of the centred class means.

    ``2 (1 - sum_i s_i / (|s| sqrt(K-1)))``, computed as ``|s/|s| - 1/sqrt(K-1)|^2``; both have norm 1.

    Parameters
    ----------
    s : (..., K-1) array
        Not negative, at most 1e150, not all 0.

    Returns
    -------
    (...) array
        From 0 to ``2 (1 - 1/sqrt(K-1))``.

    Raises
    ------
    TypeError, ValueError
        If s is not as described.

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
