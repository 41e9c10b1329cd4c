"""Karush-Kuhn-Tucker points of the margin problem: the directions in which cross-entropy flow can go to infinity."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import scipy
from numpy.typing import ArrayLike, NDArray

from .._checks import checked_array, checked_number
from ..symmetry import Scheme


class MarginKKT(NamedTuple):
    """How far a direction is from a Karush-Kuhn-Tucker point of the margin problem; see `margin_kkt`.

    Attributes
    ----------
    s : (D,) array
        The direction, scaled to a smallest margin of 1; modes below the tolerance are 0.
    cost : float
        ``sum_i m_i s_i^(2/L)``: the sum of the layers' squared norms, over L, of balanced layers.
    rank : int
        Rank of the logits, the sum of the multiplicities of the modes that are not 0.
    margins : (D,) array
    multipliers : (D,) array
        Of the margins, not negative, 0 where a margin is above 1; they belong to the cost over its degree 2/L.
    residual : float
        ``|grad cost - sum_j multiplier_j grad margin_j| / |grad cost|`` over the modes that are not 0.
    is_kkt : bool
        Whether the residual is within the tolerance and, for two layers, no mode at 0 wants to grow.

    Examples
    --------
    >>> found = cf.collapse.margin_kkt(cf.hadamard(4), [2.0, 2.0, 2.0])
    >>> found.s, found.rank, found.margins
    (array([1., 1., 1.]), 3, array([1., 1., 1.]))
    """

    s: NDArray[np.float64]
    cost: float
    rank: int
    margins: NDArray[np.float64]
    multipliers: NDArray[np.float64]
    residual: float
    is_kkt: bool


def margin_kkt(scheme: Scheme, s: ArrayLike, depth: float = 2, tolerance: float = 1e-2) -> MarginKKT:
    """Whether a direction of the singular values is a KKT point of ``min sum_i m_i s_i^(2/L)``, margins >= 1, s >= 0.

    These are the directions in which cross-entropy flow of L balanced layers can go to infinity. For L = 2 the problem
    is linear and neural collapse its solution; for L >= 3 low-rank softmax codes are KKT points too, and may cost less.

    Parameters
    ----------
    scheme : Scheme
    s : (D,) array
        Singular values of the logits, not all margins of which may be 0 or less.
    depth : float
        L >= 2.
    tolerance : float
        Of the residual; margins up to 1 + tolerance count as 1, and modes up to tolerance times the largest as 0.
        Directions converge as slowly as 1 / log t.

    Returns
    -------
    MarginKKT

    Raises
    ------
    TypeError, ValueError
        If an argument is not as described.

    Notes
    -----
    The margin problem for depth is that of arXiv:2605.23087 (and of Lyu & Li, arXiv:1906.05890, for homogeneous
    networks); the test on schemes is [ceflow]. All gaps of the scheme are made: use it for moderate K.

    Examples
    --------
    >>> collapse, code = [1.0, 1.0, 1.0], [0.0, 1.0, 1.0]  # of rank 3, and of rank 2
    >>> [cf.collapse.margin_kkt(cf.hadamard(4), s, depth=2).is_kkt for s in (collapse, code)]
    [True, False]
    >>> [cf.collapse.margin_kkt(cf.hadamard(4), s, depth=4).is_kkt for s in (collapse, code)]
    [True, True]
    """
    depth = checked_number("depth", depth, 2, 1000)
    tolerance = checked_number("tolerance", tolerance, 1e-12, 0.5)
    s = checked_array("s", s)
    if s.shape != (scheme.modes,):
        raise ValueError(f"s must have shape ({scheme.modes},) for {scheme.name}, got {s.shape}")
    s = np.where(np.abs(s) > tolerance * np.abs(s).max(), s, 0.0)
    multiplicities = scheme.multiplicities[1:].astype(float)
    slopes = multiplicities[:, None] * scheme.gaps / scheme.classes  # d margin_j / d s_i
    margin = (s @ slopes).min()
    if margin <= 0.0 or s.min() < 0.0:
        raise ValueError(f"s must not be negative and all margins must be positive, got {s.min():g} and {margin:g}")
    s = s / margin
    margins = s @ slopes
    on, active = s > 0.0, margins <= 1.0 + tolerance
    gradient = multiplicities[on] * s[on] ** (2.0 / depth - 1.0)
    multipliers = np.zeros(scheme.modes)
    multipliers[active], residual = scipy.optimize.nnls(slopes[on][:, active], gradient)
    residual /= np.linalg.norm(gradient)
    grows = depth == 2 and np.any(slopes[~on] @ multipliers > multiplicities[~on] * (1.0 + tolerance))
    return MarginKKT(
        s=s,
        cost=float(multiplicities @ s ** (2.0 / depth)),
        rank=int(multiplicities[on].sum()),
        margins=margins,
        multipliers=multipliers,
        residual=float(residual),
        is_kkt=bool(residual <= tolerance and not grows),
    )
