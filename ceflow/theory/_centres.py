"""Exact solutions for classifiers with several fixed centres per class.

Class i has f_i centres ``w_ij = cos(a) v_ij + sin(a) w_i``, and all w_i and v_ij are orthonormal. With the gain ``g_i =
cos^2 a + f_i sin^2 a`` the sum m_i of the centres of a class has the norm ``sqrt(f_i g_i)``. Sums of different classes
are orthogonal. Our model [ceflow] of *Neural Collapse To Multiple Centers For Imbalanced Data* (NeurIPS 2024), of which
we read only the abstract. Proved in the derivation `centres`.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import scipy
from numpy.typing import ArrayLike, NDArray

from .._checks import LIMIT, checked_array, checked_integer, checked_number

MOST = 10**6  # centres per class


def checked_counts(counts: ArrayLike) -> NDArray[np.int64]:
    """Check that numbers of centres are integers >= 1.

    Examples
    --------
    >>> cf.theory.checked_counts([1, 20])
    array([ 1, 20])
    """
    array = np.asarray(counts)
    if array.dtype.kind not in "iu":
        raise TypeError(f"counts must be integers, got dtype {array.dtype}")
    if not array.size or array.min() < 1 or array.max() > MOST:
        raise ValueError(f"counts must be from 1 to {MOST}, got {array.tolist()}")
    return array.astype(np.int64)


def centre_gain(counts: ArrayLike, angle: float) -> NDArray[np.float64]:
    """Gain ``g = cos^2(angle) + f sin^2(angle)`` of f centres: squared norm of their sum, divided by f.

    Parameters
    ----------
    counts : array of ints
        f >= 1.
    angle : float
        Angle from the private directions of the centres towards their common axis, 0 to pi/2.

    Returns
    -------
    array

    Examples
    --------
    >>> cf.theory.centre_gain([1, 20], 0.2).round(4)
    array([1.    , 1.7499])
    """
    f, angle = checked_counts(counts), _checked_angle(angle)
    return np.asarray(1.0 + (f - 1) * math.sin(angle) ** 2, float)[()]


class CentreOptimum(NamedTuple):
    """Minimum of the squared error with fixed centres, for each class.

    Attributes
    ----------
    scale : array
        The features are `scale` times the sum of the centres of their class.
    norm : array
        Norm of the features.
    logit : array
        Logit of each centre of the own class; logits of other centres are 0.
    value : array
        Loss of one sample, including weight decay.

    Examples
    --------
    >>> best = cf.theory.centre_optimum([1, 20], 0.2)
    >>> best.norm.round(4), best.value.round(4)
    (array([1.    , 3.3807]), array([0., 0.]))
    """

    scale: NDArray[np.float64]
    norm: NDArray[np.float64]
    logit: NDArray[np.float64]
    value: NDArray[np.float64]


def centre_optimum(counts: ArrayLike, angle: float, weight_decay: float = 0.0) -> CentreOptimum:
    """Minimum of ``1/2 sum_own (w.h - 1)^2 + beta/2 sum_others (w.h)^2 + weight_decay/2 |h|^2`` for any beta.

    Parameters
    ----------
    counts, angle
        As in `centre_gain`.
    weight_decay : float
        Weight decay of the features.

    Returns
    -------
    CentreOptimum

    Examples
    --------
    >>> best = cf.theory.centre_optimum([1, 20], 0.2, weight_decay=0.1)
    >>> best.scale.round(4), best.logit.round(4)
    (array([0.9091, 0.5406]), array([0.9091, 0.9459]))
    """
    f, g = checked_counts(counts), centre_gain(counts, angle)
    decay = checked_number("weight_decay", weight_decay, 0.0, LIMIT)
    scale = 1.0 / (g + decay)
    return CentreOptimum(scale, np.sqrt(f * g) * scale, g * scale, 0.5 * f * decay * scale)


def centre_rates(
    counts: ArrayLike, angle: float, own: int, *, beta: float = 1.0, weight_decay: float = 0.0
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Rates of convergence of the features of a class under the squared error; the flow is linear.

    Parameters
    ----------
    counts : (K,) array of ints
    angle : float
    own : int
        Class of the features.
    beta, weight_decay : float

    Returns
    -------
    rates : (2 K,) array
        Two rates for each class: along the sum of its centres, and along differences between its centres. They are
        ``g_i + decay`` and ``cos^2 + decay`` for the own class, ``beta g_k + decay`` and ``beta cos^2 + decay`` for
        others. Components orthogonal to all centres decay with rate `weight_decay`.
    multiplicities : (2 K,) array
        Multiplicities 1 and f - 1 for each class.

    Examples
    --------
    >>> rates, multiplicities = cf.theory.centre_rates([1, 20], 0.2, own=1)
    >>> rates.round(3), multiplicities
    (array([1.   , 0.961, 1.75 , 0.961]), array([ 1,  0,  1, 19]))
    """
    f = checked_counts(counts)
    if f.ndim != 1:
        raise ValueError(f"counts must be (K,), got shape {f.shape}")
    own = checked_integer("own", own, 0, len(f) - 1)
    beta, decay = (checked_number(*pair, 0.0, LIMIT) for pair in (("beta", beta), ("weight_decay", weight_decay)))
    factor = np.where(np.arange(len(f)) == own, 1.0, beta)
    gains = np.stack([centre_gain(f, angle), np.full(len(f), math.cos(angle) ** 2)], axis=-1)
    rates = factor[:, None] * gains + decay
    return rates.ravel(), np.stack([np.ones_like(f), f - 1], axis=-1).ravel()


def centre_cosine_angle(
    t: ArrayLike, angle0: ArrayLike, *, count: int, angle: float, norm0: float = 1.0, weight_decay: float = 0.0
) -> NDArray[np.float64]:
    """Angle phi between features and the sum of the centres of their class, under the cosine loss and decay.

    For the loss ``sum_own (1 - cos)``, ``tan(phi/2) = tan(phi0/2) exp(-sqrt(f g) tau)`` with ``tau = (e^(2 decay t) -
    1) / (2 decay norm0^2)``, or t / norm0^2 without decay. Norms decay like ``e^(-decay t)``, and the loss, which is
    independent of norms, rotates short features faster.

    Parameters
    ----------
    t : array
        Time t >= 0, with reduction "sum".
    angle0 : array
        phi at t = 0, from 0 to pi.
    count : int
        Number f of centres of the class.
    angle : float
        Angle of the centres, as in `centre_gain`.
    norm0 : float
        Norm of h at t = 0.
    weight_decay : float
        Weight decay of the features.

    Returns
    -------
    array

    Examples
    --------
    >>> f"{cf.theory.centre_cosine_angle(1.0, np.pi / 2, count=20, angle=0.2):.4f}"
    '0.0054'
    """
    t, angle0 = checked_array("t", t, 0.0), checked_array("angle0", angle0, 0.0, math.pi)
    norm0 = checked_number("norm0", norm0, 1e-100, 1e100)
    decay = checked_number("weight_decay", weight_decay, 0.0, LIMIT)
    strength = float(np.sqrt(checked_counts(count) * centre_gain(count, angle)))
    with np.errstate(over="ignore", under="ignore"):
        tau = (np.expm1(2.0 * decay * t) / (2.0 * decay) if decay > 0.0 else t) / norm0**2
        return 2.0 * np.arctan(np.tan(0.5 * angle0) * np.exp(-strength * tau))


class SphereRates(NamedTuple):
    """Rates of convergence of unit features to the sum of the centres of their class.

    Attributes
    ----------
    own : float
        Within the span of the centres of the class: ``sqrt(f g) - g + cos^2``.
    unseen : float
        Orthogonal to all centres: ``sqrt(f g) - g``; 0 for a single centre, for which convergence is like 1/sqrt(t)
        (see `single_centre_time`).
    value : float
        Loss at the limit, ``(sqrt f - sqrt g)^2 / 2``.

    Examples
    --------
    >>> cf.theory.centre_sphere_rates(1, 0.2).unseen  # a single centre: no exponential approach
    0.0
    """

    own: float
    unseen: float
    value: float


def centre_sphere_rates(count: int, angle: float) -> SphereRates:
    """Rates of convergence under the squared cosine loss on the unit sphere.

    The loss is ``1/2 sum_own (1 - cos)^2 + beta/2 sum_others cos^2``. Features cannot align with several centres at
    once; the remaining loss makes convergence exponential. In the directions of other classes the rate is larger by
    beta times ``cos^2`` or their gain.

    Parameters
    ----------
    count, angle
        As in `centre_gain`.

    Returns
    -------
    SphereRates

    Examples
    --------
    >>> rates = cf.theory.centre_sphere_rates(20, 0.2)
    >>> f"{rates.own:.4f} where centres are, {rates.unseen:.4f} elsewhere, to a loss of {rates.value:.4f}"
    '5.1266 where centres are, 4.1660 elsewhere, to a loss of 4.9590'
    """
    f, g = float(checked_counts(count)), float(centre_gain(count, angle))
    # sqrt(f g) - g without cancellation: f - g = (f - 1) cos^2
    unseen = math.sqrt(g) * (f - 1.0) * math.cos(angle) ** 2 / (math.sqrt(f) + math.sqrt(g))
    return SphereRates(math.cos(angle) ** 2 + unseen, unseen, 0.5 * (math.sqrt(f) - math.sqrt(g)) ** 2)


def single_centre_time(gap: ArrayLike, gap0: ArrayLike) -> NDArray[np.float64]:
    """Time to reach a given angle under the squared cosine loss with one centre, on the unit sphere.

    Features are orthogonal to the centres of other classes. With ``gap = 1 - cos(phi)`` the time is ``1/(2 gap) +
    log(2/gap - 1)/4`` minus its value at the start. At late times ``gap = 1/(2 t)``: collapse is algebraic.

    Parameters
    ----------
    gap, gap0 : array
        1 - cos(phi) at the end and at the start, 0 < gap <= gap0 < 2.

    Returns
    -------
    array
        Time with reduction "sum"; for features of norm r it is r^2 times longer.

    Examples
    --------
    >>> cf.theory.single_centre_time([1e-1, 1e-2, 1e-3], 1.0).round(2)  # algebraic, gap = 1/(2 t)
    array([  5.24,  50.82, 501.4 ])
    """
    gap, gap0 = (checked_array(name, value, 1e-300, 2.0) for name, value in (("gap", gap), ("gap0", gap0)))
    if np.any(gap > gap0) or np.any(gap0 >= 2.0):
        raise ValueError("gap must be at most gap0, which must be less than 2")

    def passed(x: NDArray) -> NDArray:
        return 0.5 / x + 0.25 * np.log(2.0 / x - 1.0)

    return passed(gap) - passed(gap0)


def angular_margins(counts: ArrayLike, angle: float) -> NDArray[np.float64]:
    """Angles (K, K) from the features of class i to the decision boundary with class k; NaN for k = i.

    The decision is for the largest sum over centres, and features are along the mean of their centres: ``tan(phi_ik) =
    sqrt(f_i g_i / (f_k g_k))``, in radians. The two angles of a pair add up to pi/2.

    Parameters
    ----------
    counts : (K,) array of ints
    angle : float

    Returns
    -------
    (K, K) array

    Examples
    --------
    >>> np.degrees(cf.theory.angular_margins([1, 20], 0.2)).round(1)  # the rare class, with 20 centres, gets more room
    array([[ nan,  9.6],
           [80.4,  nan]])
    """
    size = _sizes(counts, angle)
    return np.where(np.eye(len(size), dtype=bool), np.nan, np.arctan2(size[:, None], size))


def centre_pair_errors(counts: ArrayLike, angle: float, deviations: ArrayLike) -> NDArray[np.float64]:
    """Error probabilities (K, K) of class i against class k alone; 0 for k = i.

    Unit features on the class means have noise of deviation sigma_i in every direction; the decision is for the largest
    sum. The probability is ``Q(sqrt(f_i g_i) / (sigma_i sqrt(f_i g_i + f_k g_k)))``, with the upper tail Q of the
    normal distribution. The rule equals that of one centre of norm sqrt(f g) per class: more centres only move the
    boundary.

    Parameters
    ----------
    counts : (K,) array of ints
    angle : float
    deviations : float or (K,) array
        sigma_i > 0.

    Returns
    -------
    (K, K) array

    Examples
    --------
    >>> cf.theory.centre_pair_errors([1, 20], 0.2, 0.3).round(4)
    array([[0.    , 0.2893],
           [0.0005, 0.    ]])
    """
    size, sigma = _sizes(counts, angle), checked_array("deviations", deviations, 1e-150, 1e150)
    sigma = np.broadcast_to(sigma, size.shape)
    errors = scipy.special.ndtr(-size[:, None] / (sigma[:, None] * np.hypot(size[:, None], size)))
    return np.where(np.eye(len(size), dtype=bool), 0.0, errors)


def centre_counts(
    deviations: ArrayLike, angle: float, *, samples: ArrayLike | None = None, least: int = 1
) -> NDArray[np.int64]:
    """Numbers of centres that equalize the errors of all pairs: ``f_i g_i`` proportional to ``sigma_i^2``.

    Parameters
    ----------
    deviations : (K,) array
        Standard deviation sigma_i of the noise of each class, in every direction.
    angle : float
    samples : (K,) array of ints, optional
        Numbers n_i of training samples. A new sample has the variance ``sigma_i^2 (1 + 1/n_i)`` about the mean of the
        training samples; so with equal noise rare classes get more centres.
    least : int
        Number of centres of the class with the smallest variance.

    Returns
    -------
    (K,) array of ints
        Numbers f whose ``f g`` is nearest to the rule.

    Notes
    -----
    [ceflow]. The rule balances errors and does not minimize them: the best balanced accuracy may need fewer centres.

    Examples
    --------
    >>> cf.theory.centre_counts([1.0, 1.0], 0.2, samples=[1000, 1])  # the rare class gets more centres
    array([1, 2])
    """
    variance = checked_array("deviations", deviations, 1e-150, 1e150) ** 2
    if variance.ndim != 1 or not variance.size:
        raise ValueError(f"deviations must be (K,), one for each class, got shape {variance.shape}")
    if samples is not None:
        samples = checked_array("samples", samples, 1.0)
        if samples.shape != variance.shape:
            raise ValueError(f"samples must have one number for each class, got shape {samples.shape}")
        variance = variance * (1.0 + 1.0 / samples)
    least, angle = checked_integer("least", least, 1, MOST), _checked_angle(angle)
    wanted = least * float(centre_gain(least, angle)) * variance / variance.min()
    c, s = math.cos(angle) ** 2, math.sin(angle) ** 2
    f = 2.0 * wanted / (c + np.sqrt(c * c + 4.0 * s * wanted))  # root of s f^2 + c f = wanted
    if f.max() > MOST - 1:
        raise ValueError(f"the class with the largest noise would need {f.max():.3g} centres, more than {MOST}")
    numbers = np.maximum(np.floor(f)[:, None] + [0, 1], 1).astype(np.int64)
    nearest = np.abs(numbers * centre_gain(numbers, angle) - wanted[:, None]).argmin(axis=1)
    return numbers[np.arange(len(f)), nearest]


def _sizes(counts: ArrayLike, angle: float) -> NDArray[np.float64]:
    """(K,) norms of the sums of centres."""
    f = checked_counts(counts)
    if f.ndim != 1:
        raise ValueError(f"counts must be (K,), got shape {f.shape}")
    return np.sqrt(f * centre_gain(f, angle))


def _checked_angle(angle: float) -> float:
    return checked_number("angle", angle, 0.0, math.pi / 2)
