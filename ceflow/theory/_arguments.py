"""Checks of arguments shared by the functions of this package."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .._checks import checked_array, checked_integer
from ..symmetry import MAX_CLASSES

SMALLEST = 1e-300  # lower limit of positive arguments


def checked_classes(classes: int) -> int:
    """Check that K is an integer >= 2."""
    classes = checked_integer("classes", classes, 2)
    if classes >= MAX_CLASSES:
        raise ValueError(f"classes must be less than 2**1000, got about 2**{classes.bit_length() - 1}")
    return classes


def checked_log_time(t: ArrayLike | None, log_t: ArrayLike | None) -> NDArray[np.float64]:
    if (t is None) == (log_t is None):
        raise TypeError(f"exactly one of t and log_t must be given, got {'none' if t is None else 'both'}")
    if t is None:
        return checked_array("log_t", log_t, -np.inf)
    with np.errstate(divide="ignore"):
        return np.log(checked_array("t", t, 0.0, np.finfo(float).max))


def checked_start(s0: ArrayLike, imbalance: float) -> NDArray[np.float64]:
    return checked_array("s0", s0, 0.0 if imbalance > 0 else SMALLEST)


def check_order(name: str, high: NDArray[np.float64], low_name: str, low: NDArray[np.float64]) -> None:
    wrong = high < low
    if wrong.any():
        high, low = np.broadcast_arrays(high, low)
        raise ValueError(
            f"{name} must be at least {low_name}, got {name} = {high[wrong][0]} < {low_name} = {low[wrong][0]}"
        )
