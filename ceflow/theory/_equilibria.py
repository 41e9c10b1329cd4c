"""Collapsed equilibria and their stability, for any loss, depth and weight decay."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import scipy
from numpy.typing import ArrayLike, NDArray

from .._checks import LIMIT, checked_array, checked_number, log_time_unit
from ..losses import Loss, as_loss
from ._arguments import checked_classes


def collapsed_force(s: ArrayLike, classes: int, *, loss: str | Loss = "cross_entropy") -> NDArray[np.float64]:
    """Force on collapsed logits with singular value s, with reduction "sum" [ceflow].

    Cross-entropy: ``lambda = K / (e^s + K - 1)``. Label smoothing: this minus the smoothing. Focal loss: this times
    ``q^f (1 + f log(1 + o) / o)``, with q = 1 - p_0 and the odds of error o = q / p_0. Squared error: 1 - s. With L
    layers ``ds/dt = L s^(2 - 2/L) lambda``.

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
        If an argument is invalid.

    Examples
    --------
    >>> cf.theory.collapsed_force([0.0, 2.0, 5.0], 10).round(4)
    array([1.    , 0.6102, 0.0635])
    >>> cf.theory.collapsed_force([0.0, 2.0, 5.0], 10, loss="squared_error")
    array([ 1., -1., -4.])
    """
    classes, loss, s = checked_classes(classes), as_loss(loss), checked_array("s", s)
    return loss.collapsed_force(s, classes)[()]


def equilibrium(
    classes: int,
    *,
    loss: str | Loss = "cross_entropy",
    depth: float = 2,
    weight_decay: float = 0.0,
    reduction: str = "mean",
) -> float:
    """Singular value of the collapsed equilibrium [ceflow].

    It is the largest root of ``s^(1 - 2/L) lambda(s) = w``, with w = weight_decay for "sum" and w = K weight_decay for
    "mean". Closed forms: ``log(K / w - K + 1)`` for cross-entropy and two layers; ``log(K / smoothing - K + 1)`` for
    label smoothing without decay; ``1 - w`` for squared error and two layers. For cross-entropy and two layers it is
    the global minimum of the full problem, which is convex in Z with the nuclear norm.

    Parameters
    ----------
    classes : int
        K >= 2.
    loss, depth, weight_decay, reduction
        As in `ceflow.SpectralFlow`.

    Returns
    -------
    float
        0 if weight decay is above `decay_threshold`; inf if s grows without bound.

    Raises
    ------
    TypeError, ValueError
        If an argument is invalid.

    Examples
    --------
    >>> f"{cf.theory.equilibrium(10, weight_decay=5e-4):.4f}"
    '7.5964'
    >>> run = cf.integrate(cf.SpectralFlow(cf.complete(10), weight_decay=5e-4), [0.1], 1e6)
    >>> f"{run.singular_values[-1, 0]:.4f}"
    '7.5964'
    """
    force, decay, top = _equilibrium_problem(classes, loss, depth, weight_decay, reduction)
    if decay == 0.0 and as_loss(loss).counterforce == 0.0:
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
    """Weight decay above which zero is the only collapsed equilibrium [ceflow].

    It is the maximum of ``s^(1 - 2/L) lambda(s)``, divided by K for "mean". With two layers, cross-entropy and "sum" it
    is 1, the force at zero: for smaller decay zero is a saddle, for larger decay the global minimum. With more layers
    zero is a local minimum for every decay, and the other minimum disappears at the threshold.

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
        If an argument is invalid.

    Examples
    --------
    >>> [f"{cf.theory.decay_threshold(10, depth=depth):.4f}" for depth in (2, 3, 4)]
    ['0.1000', '0.0863', '0.0908']
    """
    force, _, top = _equilibrium_problem(classes, loss, depth, 0.0, reduction)
    return force(top) / math.exp(log_time_unit(classes, reduction))


def deviation_rate(
    s: ArrayLike, classes: int, *, loss: str | Loss = "cross_entropy", depth: float = 2, reduction: str = "mean"
) -> NDArray[np.float64]:
    """Growth rate ``d log r / dt`` of small deviations of single modes from collapse [ceflow].

    Let ``s_i = s (1 + r_i)`` with ``sum_i m_i r_i = 0``, and lambda the force of `collapsed_force`. The rate is
    ``s^(1-2/L) ((L - 2) lambda - L s c)`` for all schemes and modes; weight decay cancels. The curvature c of the loss
    is 1 for the squared error, lambda / K for cross-entropy and focal loss, and (lambda + smoothing) / K with label
    smoothing. For two layers the rate is negative. For more layers and cross-entropy it is negative only for s > (1 -
    2/L) K: a smaller `equilibrium` is a saddle, and codes of lower rank are reached instead.

    Parameters
    ----------
    s : array
        Nonnegative singular value of the collapsed logits.
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
        If an argument is invalid.

    Examples
    --------
    >>> cf.theory.deviation_rate([1.0, 3.0, 10.0], 10, depth=3).round(4)  # collapse attracts from s = 10/3 on
    array([ 0.0597,  0.005 , -0.0002])
    """
    force, loss, s = collapsed_force(s, classes, loss=loss), as_loss(loss), checked_array("s", s, 0.0)
    depth = checked_number("depth", depth, 2, 1000)
    # two relations of half the wrong classes each, with opposite changes of margins, like the deviations of modes
    half = 0.5 * (classes - 1.0)
    margins = np.broadcast_to(s[..., None], (*s.shape, 2))
    counter = -loss.curvature(margins, np.full(2, half), change=np.array([1.0, -1.0]))[..., 0] / half
    unit = math.exp(log_time_unit(classes, reduction))
    return (s ** (1.0 - 2.0 / depth) * ((depth - 2.0) * force - depth * s * counter) / unit)[()]


def _equilibrium_problem(
    classes, loss, depth, weight_decay, reduction
) -> tuple[Callable[[float], float], float, float]:
    """Growth rate divided by L as a function of s > 0, the opposing decay ("sum"), and the s of the largest rate."""
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
