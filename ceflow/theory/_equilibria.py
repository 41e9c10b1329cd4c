"""Where collapsed logits come to rest, under any loss, depth and weight decay, and whether they stay collapsed."""

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
    """Rate at which small deviations of single modes from collapse grow (positive) or decay, ``d log r / dt`` [ceflow].

    With ``s_i = s (1 + r_i)``, sum of m_i r_i zero, and the force lambda of `collapsed_force` it is
    ``s^(1-2/L) ((L - 2) lambda - L s c)``, for all schemes and modes alike, with weight decay or without (it cancels).
    The curvature c of the loss is 1 for the squared error, lambda / K for cross-entropy and focal loss, and
    (lambda + smoothing) / K with label smoothing. Two layers always collapse; more layers, under cross-entropy, only
    from s = (1 - 2/L) K on: an `equilibrium` below that is a saddle, and codes of lower rank take over.

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

    Examples
    --------
    >>> cf.theory.deviation_rate([1.0, 3.0, 10.0], 10, depth=3).round(4)  # collapse attracts from s = 10/3 on
    array([ 0.0597,  0.005 , -0.0002])
    """
    force, loss, s = collapsed_force(s, classes, loss=loss), as_loss(loss), checked_array("s", s, 0.0)
    depth = checked_number("depth", depth, 2, 1000)
    # relations of half the wrong classes each, whose margins move against each other: as the modes' deviations do
    half = 0.5 * (classes - 1.0)
    margins = np.broadcast_to(s[..., None], (*s.shape, 2))
    counter = -loss.curvature(margins, np.full(2, half), change=np.array([1.0, -1.0]))[..., 0] / half
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
