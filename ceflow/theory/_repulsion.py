"""Repulsion of singular values while logits are small: the exact early flow of balanced layers."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .._checks import checked_array, checked_number
from ._arguments import SMALLEST


def repulsion_rate(s: ArrayLike, other: ArrayLike, depth: float) -> NDArray[np.float64]:
    """Rate ``d log(s_i / s_j)/dt`` of two singular values of small logits, in the units of "sum" [ceflow].

    ``L (s_i^(1-2/L) - s_j^(1-2/L))``: the larger one runs ahead for L > 2, and ratios stay for L = 2. All forces are 1
    at zero, up to a relative error of the order of the logits. Divide by K for "mean". Early repulsion is a claim of
    arXiv:2605.23087, of which the abstract was read; this form is ours. Proof: ``python -m derivations repulsion``.

    Parameters
    ----------
    s, other : arrays
        s_i and s_j, positive.
    depth : float
        L >= 2.

    Returns
    -------
    array

    Raises
    ------
    TypeError, ValueError
        If an argument is not as described.

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
    """Singular values of small logits after a time t in the units of "sum" [ceflow].

    ``s_i(t) = s_i(0) (1 - (L - 2) t s_i(0)^p)^(-1/p)`` with p = 1 - 2/L, and ``s_i(0) e^(2t)`` for L = 2: differences
    of ``s_i^-p`` do not change. The formula ends where the largest would be infinite; logits must be small to there.

    Parameters
    ----------
    s0 : array
        Positive.
    t : float
        Not negative, before ``s_max^-p / (L - 2)``.
    depth : float
        L >= 2.

    Returns
    -------
    array

    Raises
    ------
    TypeError, ValueError
        If an argument is not as described.

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
        raise ValueError(f"t must be below {(s0**-power).min() / (depth - 2.0):g}, where logits blow up, got {t:g}")
    return (s0 * np.exp(-np.log1p(-spent) / power))[()]
