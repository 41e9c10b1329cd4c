"""Bounds of the cross-entropy at a given nuclear norm, and at a given time of balanced flow on two layers."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .._checks import checked_array, log_time_unit
from ..losses import CrossEntropy, Loss, as_loss, cross_entropy, log_cross_entropy
from ..lyapunov import checked_modes, excess, log_growth, lyapunov, mean_singular_value
from ..symmetry import Scheme
from ._arguments import SMALLEST, checked_classes, checked_log_time
from ._ray import collapsed_singular_value, solve


def geometric_mean_bound(
    scheme: Scheme,
    s0: ArrayLike,
    t: ArrayLike | None = None,
    *,
    log_t: ArrayLike | None = None,
    reduction: str = "mean",
) -> NDArray[np.float64]:
    """Lower bound of the geometric mean of the singular values on balanced flow.

    ``GM(t) >= exp(-V(0)) ray(t)``, with V of `ceflow.lyapunov` and the ray from the arithmetic mean of s0. Proof: V
    does not increase, so AM <= exp(V(0)) GM at all times, which bounds the rate of GM.

    Parameters
    ----------
    scheme : Scheme
    s0 : (..., D) array
        Positive singular values at t = 0, one per mode.
    t, log_t : (...) array
        Time t >= 0, or its logarithm; give one. Broadcasts against the leading axes of s0.
    reduction : {"mean", "sum"}
        Unit of time.

    Returns
    -------
    (...) array

    Raises
    ------
    TypeError, ValueError
        If an argument is invalid.

    Notes
    -----
    [ceflow].

    Examples
    --------
    >>> scheme, s0 = cf.hadamard(4), [1e-3, 2e-3, 3e-3]
    >>> run = cf.integrate(cf.SpectralFlow(scheme), s0, 1e4, rtol=1e-6)
    >>> f"{cf.theory.geometric_mean_bound(scheme, s0, 1e4):.3f} < {run.singular_values[-1].prod() ** (1 / 3):.3f}"
    '11.192 < 12.332'
    """
    start = checked_modes(scheme, "s0", s0, SMALLEST)
    log_t = checked_log_time(t, log_t) - log_time_unit(scheme.classes, reduction)
    ray = collapsed_singular_value(log_t, mean_singular_value(scheme, start), scheme.classes, 0.0)
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

    The flow is mirror flow of a convex loss. So its loss is at most the loss of any target plus the divergence between
    target and start, divided by t. The best collapsed target gives, with "sum",

    ``L(t) <= min over x > 0 of K log(1 + (K-1) e^-x) + (1/t) sum_i (m_i/2) (x log(x / s_i(0)) - x + s_i(0))``;

    with "mean" the first term is divided by K.

    Parameters
    ----------
    scheme, s0, t, log_t, reduction
        As in `geometric_mean_bound`, with t > 0.

    Returns
    -------
    (...) array
        Upper bound of the loss, averaged or summed over the classes. Use `loss_log_bound` if it underflows.

    Raises
    ------
    TypeError, ValueError
        If an argument is invalid.

    Notes
    -----
    [ceflow]: the standard bound for mirror flow, with the potential of arXiv:2002.09277 at c = 0.

    Examples
    --------
    >>> scheme, s0 = cf.hadamard(4), [1e-3, 2e-3, 3e-3]
    >>> run = cf.integrate(cf.SpectralFlow(scheme), s0, 1e4, rtol=1e-6)
    >>> f"{run.loss[-1]:.1e} < {cf.theory.loss_bound(scheme, s0, 1e4):.1e}"
    '1.3e-05 < 9.8e-03'
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
    """Logarithm of `loss_bound`.

    Examples
    --------
    >>> f"{cf.theory.loss_log_bound(cf.hadamard(4), [1e-3, 2e-3, 3e-3], log_t=1e4):.1f}"
    '-9987.7'
    """
    start = checked_modes(scheme, "s0", s0, SMALLEST)
    classes, unit = scheme.classes, log_time_unit(scheme.classes, reduction)
    log_t = checked_log_time(t, log_t) - unit
    if np.isneginf(log_t).any():
        raise ValueError("t must be positive: the bound is infinite at t = 0")
    share = scheme.multiplicities[1:] / (classes - 1)
    geometric_mean = np.exp(np.log(start) @ share)
    log_wrong = math.log(classes - 1)

    def stationarity(x: NDArray[np.float64], growth: NDArray[np.float64]) -> tuple[NDArray[np.float64], ...]:
        """``log(log(x/GM) (e^x + K - 1) / 2K)``, equal to log t at the minimum, and its slope in log log(x/GM)."""
        log_sum = np.logaddexp(x, log_wrong)
        return np.log(growth) + log_sum - math.log(2 * classes), 1.0 + growth * x * np.exp(x - log_sum)

    target = solve(stationarity, log_t, geometric_mean, classes, 0.0)[..., None]
    divergence = 0.5 * target[..., 0] * (excess(log_growth(target, start, target - start, 0.0)) @ share)
    with np.errstate(divide="ignore"):
        log_price = log_wrong + np.log(divergence) - log_t
    log_odds = log_wrong - target[..., 0]
    return (np.logaddexp(math.log(classes) + log_cross_entropy(log_odds), log_price) - unit)[()]


def collapsed_loss(s: ArrayLike, classes: int, *, reduction: str = "mean") -> NDArray[np.float64]:
    """Loss of collapsed logits, the minimum over all logits on a scheme with mean singular value s (Jensen).

    ``log(1 + (K-1) e^-s)`` per class. So collapse is optimal at given nuclear norm.

    Parameters
    ----------
    s : array
        Mean singular value of any sign.
    classes : int
        K >= 2.
    reduction : {"mean", "sum"}
        Average or sum of the loss over the classes.

    Returns
    -------
    array

    Raises
    ------
    TypeError, ValueError
        If an argument is invalid.

    Notes
    -----
    arXiv:2512.04006 for Hadamard schemes, [ceflow] for all others.

    Examples
    --------
    >>> cf.theory.collapsed_loss([0.0, 2.0, 5.0], 10).round(4)  # from log K on
    array([2.3026, 0.7966, 0.0589])
    """
    log_odds = math.log(checked_classes(classes) - 1) - checked_array("s", s)
    return cross_entropy(log_odds) * (classes * math.exp(-log_time_unit(classes, reduction)))


def least_log_loss(
    s: ArrayLike, classes: int, *, loss: str | Loss = "cross_entropy", reduction: str = "mean"
) -> NDArray[np.float64]:
    """Logarithm of `collapsed_loss`, also if the loss underflows.

    Parameters
    ----------
    s, classes, reduction
        As in `collapsed_loss`.
    loss : str or Loss

    Returns
    -------
    array
        NaN for losses other than cross-entropy, for which the bound is not proved.

    Raises
    ------
    TypeError, ValueError
        If an argument is invalid.

    Examples
    --------
    >>> cf.theory.least_log_loss([10.0, 1000.0], 10).round(4)  # the latter of a loss of about 1e-433
    array([  -7.803 , -997.8028])
    """
    log_odds = math.log(checked_classes(classes) - 1) - checked_array("s", s)
    least = log_cross_entropy(log_odds) + (math.log(classes) - log_time_unit(classes, reduction))
    return (least if as_loss(loss) == CrossEntropy() else np.full_like(least, np.nan))[()]
