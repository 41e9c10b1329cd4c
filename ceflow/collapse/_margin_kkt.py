"""KKT points of the margin problem: possible limit directions of cross-entropy flow."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import scipy
from numpy.typing import ArrayLike, NDArray

from .._checks import checked_array, checked_number
from ..symmetry import Scheme


class MarginKKT(NamedTuple):
    """Distance of a direction from a Karush-Kuhn-Tucker (KKT) point of the margin problem; see `margin_kkt`.

    Attributes
    ----------
    s : (D,) array
        Direction, scaled to smallest margin 1; modes below the tolerance are set to 0.
    cost : float
        ``sum_i m_i s_i^(2/L)``: sum of the squared norms of balanced layers, divided by L.
    rank : int
        Rank of the logits: sum of the multiplicities of the nonzero modes.
    margins : (D,) array
    multipliers : (D,) array
        Nonnegative multipliers of the margins, 0 for margins above 1; for the cost divided by its degree 2/L.
    residual : float
        ``|grad cost - sum_j multiplier_j grad margin_j| / |grad cost|`` over the nonzero modes.
    is_kkt : bool
        Whether the residual is within the tolerance and, for two layers, no force on a zero mode exceeds its cost.

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
    """Test whether singular values are a KKT point of ``min sum_i m_i s_i^(2/L)`` with margins >= 1, s >= 0.

    Limit directions of cross-entropy flow with L balanced layers are KKT points. For L = 2 the problem is linear, and
    its solution is neural collapse. For L >= 3 low-rank softmax codes are KKT points too, and may have lower cost.

    Parameters
    ----------
    scheme : Scheme
    s : (D,) array
        Nonnegative singular values of the logits; all margins must be positive.
    depth : float
        L >= 2.
    tolerance : float
        Tolerance of the residual. Margins up to 1 + tolerance count as 1, and modes up to tolerance times the largest
        as 0. Directions converge slowly, like 1 / log t.

    Returns
    -------
    MarginKKT

    Raises
    ------
    TypeError, ValueError
        If an argument is invalid.

    Notes
    -----
    The margin problem with depth is from arXiv:2605.23087 (Lyu & Li, arXiv:1906.05890, for homogeneous networks); the
    test on schemes is [ceflow]. It needs D x D matrices: use it for moderate K.

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
