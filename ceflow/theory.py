"""Closed forms and bounds: cross-entropy gradient flow on two layers, and equilibria of its relatives.

On the *ray* of neural collapse all singular values agree, ``s_i = s``, and ``ds/dt = sqrt(4 s^2 + c^2) lambda`` with
the force ``lambda = K / (e^s + K - 1)`` and the imbalance ``c = |a^2 - b^2|``. Its time is known exactly, and bounds
all other balanced solutions.

Times are those of the "mean" reduction (the loss averaged over the K classes) unless told otherwise; with "sum" they
are K times shorter. Every function of time takes either ``t`` or ``log_t``, for times beyond 1e308. Arguments
broadcast, and scalars give scalars.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from numbers import Integral

import numpy as np
import scipy
from numpy.typing import ArrayLike, NDArray

from ._checks import LIMIT, checked_array, checked_number, log_time_unit
from .losses import Loss, accuracy_gap, as_loss, cross_entropy
from .lyapunov import checked_imbalance, checked_modes, excess, log_growth, lyapunov, mean_singular_value
from .schemes import MAX_CLASSES, Scheme

SMALLEST = 1e-300  # of numbers that must be positive
NEGLIGIBLE = 45.0  # exp(-45) is below rounding

_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(64)  # on [0, 1]; exact to rounding for exp on [0, 45]
_NODES, _WEIGHTS = 0.5 * (_NODES + 1.0), 0.5 * _WEIGHTS


def ray_time(
    s: ArrayLike, s0: ArrayLike, classes: int, *, imbalance: float = 0.0, reduction: str = "mean"
) -> NDArray[np.float64]:
    """Time that collapsed layers take from one singular value to another.

    Balanced, with "sum": ``t = (Ei(s) - Ei(s0) + (K-1) log(s/s0)) / (2K)``, Ei the exponential integral. What is
    computed is a sum of positive integrals, accurate to rounding however close or far the ends are.

    Parameters
    ----------
    s, s0 : arrays
        End and start, ``s >= s0 > 0``; ``s0 = 0`` too if the layers are not balanced. At most 1e300.
    classes : int
        K >= 2.
    imbalance : float
        ``c = |a^2 - b^2|`` of the layers, the same for all modes; 0 if balanced.
    reduction : {"mean", "sum"}
        Unit of time.

    Returns
    -------
    array
        t >= 0; inf where it leaves float64 (see `ray_log_time`).

    Raises
    ------
    TypeError, ValueError
        If an argument is not as described.

    Notes
    -----
    The balanced ray is that of arXiv:2512.04006, the unbalanced one [ceflow].
    """
    s, scaled, unit = _scaled_ray_time(s, s0, classes, imbalance, reduction)
    with np.errstate(over="ignore"):
        root = np.exp(0.5 * s)  # e^s may overflow where t does not
        return (root * (scaled * math.exp(unit)) * root)[()]


def ray_log_time(
    s: ArrayLike, s0: ArrayLike, classes: int, *, imbalance: float = 0.0, reduction: str = "mean"
) -> NDArray[np.float64]:
    """Logarithm of `ray_time`, finite for all s > s0 and -inf for s = s0."""
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
    """Singular value of collapsed layers at a given time: the inverse of `ray_time`.

    Parameters
    ----------
    t, log_t : array
        Time, t >= 0, or its logarithm; one of the two.
    s0, classes, imbalance, reduction
        As for `ray_time`.

    Returns
    -------
    array
        ``s >= s0``, to rounding; where many e-folds lie between s0 and s, to rounding times ``log(s/s0)``.

    Raises
    ------
    TypeError, ValueError
        If an argument is not as described.

    Notes
    -----
    Sources as for `ray_time`. For large t, s is about ``log t + log log t``: margins grow like the logarithm of time.
    """
    unit = log_time_unit(checked_classes(classes), reduction)
    log_t = _checked_log_time(t, log_t) - unit
    imbalance = checked_imbalance(imbalance)
    return _ray_singular_value(log_t, _checked_start(s0, imbalance), classes, 0.5 * imbalance)[()]


def geometric_mean_bound(
    scheme: Scheme,
    s0: ArrayLike,
    t: ArrayLike | None = None,
    *,
    log_t: ArrayLike | None = None,
    reduction: str = "mean",
) -> NDArray[np.float64]:
    """Lower bound of the geometric mean of the singular values on balanced flow: nothing lags far behind the ray.

    ``GM(t) >= exp(-V(0)) ray(t)``, where V is the function of `ceflow.lyapunov` and the ray starts at the
    arithmetic mean of s0. V never increases, and so AM <= exp(V(0)) GM at all times; insert this into the rate of
    GM.

    Parameters
    ----------
    scheme : Scheme
    s0 : (..., D) array
        Singular values at t = 0, positive: one for each mode.
    t, log_t : (...) array
        Time, t >= 0, or its logarithm; one of the two. Broadcasts against the leading axes of s0.
    reduction : {"mean", "sum"}
        Unit of time.

    Returns
    -------
    (...) array

    Raises
    ------
    TypeError, ValueError
        If an argument is not as described.

    Notes
    -----
    [ceflow].
    """
    start = checked_modes(scheme, "s0", s0, SMALLEST)
    log_t = _checked_log_time(t, log_t) - log_time_unit(scheme.classes, reduction)
    ray = _ray_singular_value(log_t, mean_singular_value(scheme, start), scheme.classes, 0.0)
    return (np.exp(-lyapunov(scheme, start)) * ray)[()]


def loss_bound(
    scheme: Scheme,
    s0: ArrayLike,
    t: ArrayLike | None = None,
    *,
    log_t: ArrayLike | None = None,
    reduction: str = "mean",
) -> NDArray[np.float64]:
    """Upper bound of the loss at a given time on balanced flow.

    The flow is the mirror flow of a convex loss, so that at any target its loss is at most the target's plus the
    divergence of the start from the target, over t. The best collapsed target gives, with "sum",

    ``L(t) <= min over x > 0 of K log(1 + (K-1) e^-x) + (1/t) sum_i (m_i/2) (x log(x / s_i(0)) - x + s_i(0))``;

    with "mean" both t and L are those of the averaged loss: the first term is divided by K, the second stays.

    Parameters
    ----------
    scheme, s0, t, log_t, reduction
        As for `geometric_mean_bound`, but t > 0.

    Returns
    -------
    (...) array
        The bound on the loss, which the reduction averages or sums over the classes. See `loss_log_bound` where it
        underflows.

    Raises
    ------
    TypeError, ValueError
        If an argument is not as described.

    Notes
    -----
    [ceflow]: the standard bound for mirror flow, with the potential of arXiv:2002.09277 at c = 0.
    """
    with np.errstate(over="ignore"):
        return np.exp(loss_log_bound(scheme, s0, t, log_t=log_t, reduction=reduction))


def loss_log_bound(
    scheme: Scheme,
    s0: ArrayLike,
    t: ArrayLike | None = None,
    *,
    log_t: ArrayLike | None = None,
    reduction: str = "mean",
) -> NDArray[np.float64]:
    """Logarithm of `loss_bound`."""
    start = checked_modes(scheme, "s0", s0, SMALLEST)
    classes, unit = scheme.classes, log_time_unit(scheme.classes, reduction)
    log_t = _checked_log_time(t, log_t) - unit
    if np.isneginf(log_t).any():
        raise ValueError("t must be positive: there is no bound at t = 0")
    share = scheme.multiplicities[1:] / (classes - 1)
    geometric_mean = np.exp(np.log(start) @ share)
    log_wrong = math.log(classes - 1)

    def stationarity(x: NDArray[np.float64], growth: NDArray[np.float64]) -> tuple[NDArray[np.float64], ...]:
        """``log(log(x/GM) (e^x + K - 1) / 2K)``, which is log t at the minimum, and its slope in log log(x/GM)."""
        log_sum = np.logaddexp(x, log_wrong)
        return np.log(growth) + log_sum - math.log(2 * classes), 1.0 + growth * x * np.exp(x - log_sum)

    target = _solve(stationarity, log_t, geometric_mean, classes, 0.0)[..., None]
    divergence = 0.5 * target[..., 0] * (excess(log_growth(target, start, target - start, 0.0)) @ share)
    with np.errstate(divide="ignore"):
        log_price = log_wrong + np.log(divergence) - log_t
    log_odds = log_wrong - target[..., 0]
    log_loss = np.where(log_odds < -NEGLIGIBLE, log_odds, np.log(cross_entropy(np.maximum(log_odds, -NEGLIGIBLE))))
    return (np.logaddexp(math.log(classes) + log_loss, log_price) - unit)[()]


def collapsed_loss(s: ArrayLike, classes: int, *, reduction: str = "mean") -> NDArray[np.float64]:
    """Loss of collapsed logits: the least loss that any logits in a scheme can have at mean singular value s (Jensen).

    ``log(1 + (K-1) e^-s)`` for each class. Collapse is optimal at given nuclear norm.

    Parameters
    ----------
    s : array
        Mean singular value, of any sign.
    classes : int
        K >= 2.
    reduction : {"mean", "sum"}
        Whether the loss is averaged or summed over the classes.

    Returns
    -------
    array

    Raises
    ------
    TypeError, ValueError
        If an argument is not as described.

    Notes
    -----
    arXiv:2512.04006 for Hadamard schemes; [ceflow] for all others.
    """
    log_odds = math.log(checked_classes(classes) - 1) - checked_array("s", s)
    return cross_entropy(log_odds) * (classes * math.exp(-log_time_unit(classes, reduction)))


def deviation_decay(s: ArrayLike, s1: ArrayLike, classes: int) -> NDArray[np.float64]:
    """Factor by which small deviations from the balanced ray shrink while the mean grows from s1 to s [ceflow].

    To first order ``s_i = s (1 + r_i)`` with ``r_i(s) = r_i(s1) exp(-(s - s1) / K)``, the same for all modes, all
    schemes.

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
        If an argument is not as described.
    """
    s, s1 = checked_array("s", s), checked_array("s1", s1)
    _check_order("s", s, "s1", s1)
    return np.exp((s1 - s) / checked_classes(classes))


def collapse_exponent(classes: int) -> float:
    """The power of time by which deviations from neural collapse decay in the end: ``r ~ t^(-1/K)`` [ceflow].

    Up to powers of log t. Hundreds of classes take astronomically long to collapse.
    """
    return -1.0 / checked_classes(classes)


def squared_error_singular_value(
    t: ArrayLike | None = None,
    *,
    s0: ArrayLike,
    classes: int,
    log_t: ArrayLike | None = None,
    weight_decay: float = 0.0,
    reduction: str = "mean",
) -> NDArray[np.float64]:
    """Singular value of two balanced layers under the squared error: every mode follows its own logistic curve.

    ``ds/dt = 2 s (r - s)`` with "sum", r = 1 - weight_decay: growth as exp(2 r t), then saturation at r, whatever the
    other modes do. Cross-entropy couples the modes and never saturates.

    Parameters
    ----------
    t, log_t : array
        Time, t >= 0, or its logarithm; one of the two.
    s0 : array
        Singular value at t = 0, positive; all modes of any scheme obey the same formula.
    classes : int
        K >= 2: the unit of time of "mean".
    weight_decay, reduction
        As in `ceflow.SpectralFlow`.

    Returns
    -------
    array

    Raises
    ------
    TypeError, ValueError
        If an argument is not as described.

    Notes
    -----
    Saxe, McClelland & Ganguli, arXiv:1312.6120.
    """
    unit = log_time_unit(checked_classes(classes), reduction)
    decay = checked_number("weight_decay", weight_decay, 0.0, LIMIT) * math.exp(unit)
    time = np.exp(np.minimum(_checked_log_time(t, log_t) - unit, 700.0))
    s0 = checked_array("s0", s0, SMALLEST)
    rate = 2.0 * (1.0 - decay)
    with np.errstate(over="ignore", under="ignore"):
        fall = np.exp(-rate * time)
        reach = 2.0 * time if rate == 0.0 else -2.0 * np.expm1(-rate * time) / rate
        return (s0 / (fall + s0 * reach))[()]


def collapsed_force(s: ArrayLike, classes: int, *, loss: str | Loss = "cross_entropy") -> NDArray[np.float64]:
    """Force on collapsed logits of singular value s, in the units of "sum" [ceflow].

    ``lambda = K / (e^s + K - 1)`` for cross-entropy; less the smoothing with label smoothing; times
    ``q^f (1 + f log(1 + o) / o)`` for focal loss, with q = 1 - p_0 and the odds o = q / p_0; 1 - s for the squared
    error. Layers of depth L move by ``ds/dt = L s^(2 - 2/L) lambda``.

    Parameters
    ----------
    s : array
    classes : int
        K >= 2.
    loss : str or Loss
        As in `ceflow.SpectralFlow`.

    Returns
    -------
    array

    Raises
    ------
    TypeError, ValueError
        If an argument is not as described.
    """
    classes, loss, s = checked_classes(classes), as_loss(loss), checked_array("s", s)
    if loss.squared:
        return (1.0 - s)[()]
    log_odds = math.log(classes - 1) - s
    odds = np.exp(np.clip(log_odds, -700.0, 700.0))
    factor = np.exp(-loss.focusing * np.logaddexp(0.0, -log_odds)) * (1.0 + loss.focusing * np.log1p(odds) / odds)
    return (classes / (classes - 1.0) * accuracy_gap(log_odds) * factor - loss.smoothing)[()]


def equilibrium(
    classes: int,
    *,
    loss: str | Loss = "cross_entropy",
    depth: float = 2,
    weight_decay: float = 0.0,
    reduction: str = "mean",
) -> float:
    """Singular value at which collapsed logits come to rest: a simplex equiangular tight frame of that size [ceflow].

    The largest root of ``s^(1 - 2/L) lambda(s) = weight_decay`` (with "sum"; K weight_decay on the right with "mean").
    In closed form: cross-entropy and two layers ``log(K / w - K + 1)``; label smoothing without decay
    ``log(K / smoothing - K + 1)``; squared error and two layers ``1 - w``. For cross-entropy and two layers it is the
    global minimum of the whole problem, which is convex in Z with the nuclear norm.

    Parameters
    ----------
    classes : int
        K >= 2.
    loss, depth, weight_decay, reduction
        As in `ceflow.SpectralFlow`.

    Returns
    -------
    float
        0 if weight decay is above `decay_threshold`, inf if nothing stops the growth.

    Raises
    ------
    TypeError, ValueError
        If an argument is not as described.
    """
    force, decay, top = _equilibrium_problem(classes, loss, depth, weight_decay, reduction)
    if decay == 0.0 and as_loss(loss).pull == 0.0:
        return math.inf
    if force(top) <= decay:
        return 0.0
    end = top + 1.0
    while force(end) > decay:
        end *= 2.0
    return float(scipy.optimize.brentq(lambda s: force(s) - decay, top, end, xtol=1e-300, rtol=1e-15))


def decay_threshold(
    classes: int, *, loss: str | Loss = "cross_entropy", depth: float = 2, reduction: str = "mean"
) -> float:
    """Weight decay from which on collapsed logits have no equilibrium but zero [ceflow].

    The maximum of ``s^(1 - 2/L) lambda(s)`` (over K with "mean"). With two layers and cross-entropy it is 1, the force
    at zero: there zero turns from the global minimum into a saddle. With more layers zero is a local minimum
    whatever the decay, and the threshold is where the other one disappears.

    Parameters
    ----------
    classes : int
        K >= 2.
    loss, depth, reduction
        As in `ceflow.SpectralFlow`.

    Returns
    -------
    float

    Raises
    ------
    TypeError, ValueError
        If an argument is not as described.
    """
    force, _, top = _equilibrium_problem(classes, loss, depth, 0.0, reduction)
    return force(top) / math.exp(log_time_unit(classes, reduction))


def deviation_rate(
    s: ArrayLike, classes: int, *, loss: str | Loss = "cross_entropy", depth: float = 2, reduction: str = "mean"
) -> NDArray[np.float64]:
    """Rate at which small deviations of single modes from collapse grow (positive) or decay, ``d log r / dt`` [ceflow].

    With ``s_i = s (1 + r_i)``, sum of m_i r_i zero, and the force lambda of `collapsed_force`: cross-entropy and its
    relatives ``s^(1-2/L) ((L - 2) lambda - (lambda + smoothing) L s / K)``, squared error ``s^(1-2/L) ((L - 2) lambda -
    L s)``, for all schemes and modes alike, with weight decay or without (it cancels). Two layers always collapse; more
    layers only from s = (1 - 2/L) K on: an `equilibrium` below that is a saddle, and codes of lower rank take over.

    Parameters
    ----------
    s : array
        Singular value of the collapsed logits, not negative.
    classes : int
        K >= 2.
    loss, depth, reduction
        As in `ceflow.SpectralFlow`.

    Returns
    -------
    array

    Raises
    ------
    TypeError, ValueError
        If an argument is not as described.
    """
    force, loss, s = collapsed_force(s, classes, loss=loss), as_loss(loss), checked_array("s", s, 0.0)
    depth = checked_number("depth", depth, 2, 1000)
    counter = 1.0 if loss.squared else (force + loss.smoothing) / classes
    unit = math.exp(log_time_unit(classes, reduction))
    return (s ** (1.0 - 2.0 / depth) * ((depth - 2.0) * force - depth * s * counter) / unit)[()]


def _equilibrium_problem(
    classes, loss, depth, weight_decay, reduction
) -> tuple[Callable[[float], float], float, float]:
    """Growth rate per L as a function of s > 0, the decay against it ("sum"), and where the rate is largest."""
    classes, loss = checked_classes(classes), as_loss(loss)
    power = 1.0 - 2.0 / checked_number("depth", depth, 2, 1000)
    unit = math.exp(log_time_unit(classes, reduction))
    decay = checked_number("weight_decay", weight_decay, 0.0, LIMIT) * unit

    def rate(s):
        return s**power * collapsed_force(s, classes, loss=loss)

    grid = np.concatenate([[0.0], np.geomspace(1e-3, 10.0 + 2.0 * math.log(classes), 2000)])
    best = int(np.argmax(rate(grid)))
    if best == 0:
        return rate, decay, 0.0
    low, high = grid[best - 1], grid[min(best + 1, len(grid) - 1)]
    options = {"bounds": (low, high), "method": "bounded", "options": {"xatol": 1e-12}}
    return rate, decay, float(scipy.optimize.minimize_scalar(lambda s: -rate(s), **options).x)


def checked_classes(classes: int) -> int:
    """K as an integer of at least 2; else a TypeError or a ValueError."""
    if isinstance(classes, bool) or not isinstance(classes, Integral):
        raise TypeError(f"classes must be an integer, got {classes!r}")
    if classes < 2:
        raise ValueError(f"classes must be at least 2, got {classes}")
    if classes >= MAX_CLASSES:
        raise ValueError(f"classes must be less than 2**1000, got about 2**{int(classes).bit_length() - 1}")
    return int(classes)


def _checked_log_time(t: ArrayLike | None, log_t: ArrayLike | None) -> NDArray[np.float64]:
    if (t is None) == (log_t is None):
        raise TypeError(f"exactly one of t and log_t must be given, got {'none' if t is None else 'both'}")
    if log_t is not None:
        return checked_array("log_t", log_t, -np.inf)
    with np.errstate(divide="ignore"):
        return np.log(checked_array("t", t, 0.0, np.finfo(float).max))


def _checked_start(s0: ArrayLike, imbalance: float) -> NDArray[np.float64]:
    return checked_array("s0", s0, 0.0 if imbalance > 0 else SMALLEST)


def _check_order(name: str, high: NDArray[np.float64], low_name: str, low: NDArray[np.float64]) -> None:
    wrong = high < low
    if wrong.any():
        high, low = np.broadcast_arrays(high, low)
        raise ValueError(
            f"{name} must be at least {low_name}, got {name} = {high[wrong][0]} < {low_name} = {low[wrong][0]}"
        )


def _scaled_ray_time(
    s: ArrayLike, s0: ArrayLike, classes: int, imbalance: float, reduction: str
) -> tuple[NDArray[np.float64], NDArray[np.float64], float]:
    """s, the time times ``e^-s`` and the logarithm of its unit, from unchecked arguments."""
    unit = log_time_unit(checked_classes(classes), reduction)
    imbalance = checked_imbalance(imbalance)
    s, s0 = checked_array("s", s), _checked_start(s0, imbalance)
    _check_order("s", s, "s0", s0)
    return s, _ray_time(s, s0, classes, 0.5 * imbalance), unit


def _ray_time(s: NDArray[np.float64], s0: NDArray[np.float64], classes: int, half: float) -> NDArray[np.float64]:
    """The time with "sum", times ``e^-s``, which keeps it from overflow; ``half = c/2``.

    ``dt = (1 + (e^x - 1) / K) dx / (2 hypot(x, half))``. The 1 gives log_growth / 2. The rest is integrated by
    Gauss's rule: below x = 1 over log_growth, in which the integrand falls off like ``e^-v`` from the top; above,
    over x, with ``e^s`` taken out. The integrands are smooth on those intervals whatever half is.
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
    """Where `log_growth` leads from s >= 0; the inverse."""
    with np.errstate(over="ignore"):
        return s * np.exp(growth) + half * (half / (s + np.hypot(s, half))) * np.sinh(growth)


def _ray_singular_value(
    log_t: NDArray[np.float64], s0: NDArray[np.float64], classes: int, half: float
) -> NDArray[np.float64]:
    def log_time(s: NDArray[np.float64], growth: NDArray[np.float64]) -> tuple[NDArray[np.float64], ...]:
        scaled = _ray_time(s, s0, classes, half)
        return s + np.log(scaled), growth / scaled * (1.0 + (classes - 1) * np.exp(-s)) / (2 * classes)

    return _solve(log_time, log_t, s0, classes, half)


def _solve(
    function: Callable[..., tuple[NDArray[np.float64], ...]],
    log_t: NDArray[np.float64],
    s0: NDArray[np.float64],
    classes: int,
    half: float,
) -> NDArray[np.float64]:
    """The s >= s0 at which a function of s and g, ``g = log_growth(s, s0)``, is log_t; for `ray_log_time` and the like.

    The function, which comes with its slope in log g, is the logarithm of a power series in g with non-negative
    coefficients. Such a logarithm is convex in log g, so that Newton's method descends monotonically from any upper
    bound. Two bounds hold: ``g <= 2t``, and, from ``t >= (e^s - e^s0) / (2K hypot(s, half))`` with the logarithm of
    the root replaced by its tangent at ``anchor``, one that is tight for large t.
    """
    near = np.where(log_t < 5.0, _advance(s0, 2.0 * np.exp(np.minimum(log_t, 5.0)), half), np.inf)
    instant = log_t < math.log(SMALLEST)  # near is right to rounding
    log_t = np.maximum(log_t, math.log(SMALLEST))
    reach = log_t + math.log(2 * classes)
    anchor = 2.0 + half + np.maximum(reach, 0.0)
    far = np.maximum(s0 + 1.0, (reach - 0.54 + np.log(anchor) + half / anchor) / (1.0 - 1.0 / anchor))
    s, lowest = np.minimum(near, far), np.nextafter(s0 + 1e-307 * half, np.inf)
    for _ in range(100):
        s = np.maximum(s, lowest)  # where g does not underflow
        growth = log_growth(s, s0, s - s0, half)
        value, slope = function(s, growth)
        previous, s = s, _advance(s, growth * np.expm1((log_t - value) / slope), half)
        if np.all(np.abs(s - previous) <= 1e-9 * previous):  # the next step would be the square of that
            break
    return np.where(instant, near, np.maximum(s, s0))
