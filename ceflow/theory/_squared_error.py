"""Squared error, under which the modes are independent."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .._checks import LIMIT, checked_array, checked_number, log_time_unit
from ._arguments import SMALLEST, checked_classes, checked_log_time


def squared_error_singular_value(
    t: ArrayLike | None = None,
    *,
    s0: ArrayLike,
    classes: int,
    log_t: ArrayLike | None = None,
    weight_decay: float = 0.0,
    reduction: str = "mean",
) -> NDArray[np.float64]:
    """Singular value of two balanced layers under the squared error: a logistic curve for each mode.

    ``ds/dt = 2 s (r - s)`` with "sum" and r = 1 - weight_decay: growth like exp(2 r t), then saturation at r.
    Cross-entropy couples the modes and does not saturate.

    Parameters
    ----------
    t, log_t : array
        Time t >= 0, or its logarithm; give one.
    s0 : array
        Positive singular value at t = 0, of any mode of any scheme.
    classes : int
        K >= 2; sets the unit of time of "mean".
    weight_decay, reduction
        As in `ceflow.SpectralFlow`.

    Returns
    -------
    array

    Raises
    ------
    TypeError, ValueError
        If an argument is invalid.

    Notes
    -----
    Saxe, McClelland & Ganguli, arXiv:1312.6120.

    Examples
    --------
    >>> cf.theory.squared_error_singular_value([10.0, 30.0, 50.0], s0=1e-3, classes=10).round(4)
    array([0.0073, 0.2877, 0.9566])
    """
    unit = log_time_unit(checked_classes(classes), reduction)
    decay = checked_number("weight_decay", weight_decay, 0.0, LIMIT) * math.exp(unit)
    time = np.exp(np.minimum(checked_log_time(t, log_t) - unit, 700.0))
    s0 = checked_array("s0", s0, SMALLEST)
    rate = 2.0 * (1.0 - decay)
    with np.errstate(over="ignore", under="ignore"):
        fall = np.exp(-rate * time)
        reach = 2.0 * time if rate == 0.0 else -2.0 * np.expm1(-rate * time) / rate
        return (s0 / (fall + s0 * reach))[()]
