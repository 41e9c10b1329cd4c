"""Repulsion of singular values at small logits: the early flow of balanced layers."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .._checks import checked_array, checked_number
from ._arguments import SMALLEST


def repulsion_rate(s: ArrayLike, other: ArrayLike, depth: float) -> NDArray[np.float64]:
    """Rate ``d log(s_i / s_j)/dt`` of two singular values of small logits, with reduction "sum" [ceflow].

    ``L (s_i^(1-2/L) - s_j^(1-2/L))``: for L > 2 the ratio of the larger to the smaller one grows, for L = 2 ratios are
    constant. The relative error is of the order of the logits, as all forces are 1 at zero. Divide by K for "mean".
    Early repulsion is a claim of arXiv:2605.23087, of which we read the abstract; this formula is ours. Proof: ``python
    -m derivations repulsion``.

    Parameters
    ----------
    s, other : arrays
        Positive s_i and s_j.
    depth : float
        L >= 2.

    Returns
    -------
    array

    Raises
    ------
    TypeError, ValueError
        If an argument is invalid.

    Examples
    --------
    >>> f"{cf.theory.repulsion_rate(2e-3, 1e-3, 3):.4f}, {cf.theory.repulsion_rate(2e-3, 1e-3, 2):.4f}"
    '0.0780, 0.0000'
    """
    s, other = checked_array("s", s, SMALLEST), checked_array("other", other, SMALLEST)
    depth = checked_number("depth", depth, 2, 1000)
    power = 1.0 - 2.0 / depth
    return (depth * other**power * np.expm1(power * (np.log(s) - np.log(other))))[()]


def early_singular_values(s0: ArrayLike, t: float, depth: float) -> NDArray[np.float64]:
    """Singular values of small logits at time t, with reduction "sum" [ceflow].

    ``s_i(t) = s_i(0) (1 - (L - 2) t s_i(0)^p)^(-1/p)`` with p = 1 - 2/L, and ``s_i(0) e^(2t)`` for L = 2: differences
    of ``s_i^-p`` are constant. The formula holds while logits are small; its largest value becomes infinite at a finite
    time.

    Parameters
    ----------
    s0 : array
        Positive singular values at t = 0.
    t : float
        From 0 to below ``s_max^-p / (L - 2)``.
    depth : float
        L >= 2.

    Returns
    -------
    array

    Raises
    ------
    TypeError, ValueError
        If an argument is invalid.

    Examples
    --------
    >>> cf.theory.early_singular_values([1e-3, 2e-3], 5.0, 3).round(5)  # a ratio of 2 grows
    array([0.008  , 0.03947])
    >>> cf.theory.early_singular_values([1e-3, 2e-3], 1.0, 2).round(5)  # and stays with two layers
    array([0.00739, 0.01478])
    """
    s0, depth = checked_array("s0", s0, SMALLEST), checked_number("depth", depth, 2, 1000)
    t, power = checked_number("t", t, 0.0, 1e300), 1.0 - 2.0 / depth
    if power == 0.0:
        return s0 * math.exp(min(2.0 * t, 700.0))
    spent = (depth - 2.0) * t * s0**power
    if np.any(spent >= 1.0):
        raise ValueError(f"t must be below {(s0**-power).min() / (depth - 2.0):g}, where it diverges, got {t:g}")
    return (s0 * np.exp(-np.log1p(-spent) / power))[()]
