"""Johnson schemes."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .._checks import checked_integer
from ._p_polynomial import p_polynomial
from ._registry import register
from ._scheme import Scheme, frozen, require_float64, require_room


@dataclass(frozen=True, eq=False, repr=False)
class _Johnson(Scheme):
    n: int
    k: int

    def _eigenvalues(self) -> NDArray[Any]:
        i = np.arange(self.k + 1, dtype=object)
        b = (self.k - i) * (self.n - self.k - i)
        return p_polynomial(b - i, b, i**2)

    def _relations(self) -> NDArray[Any]:
        member = np.zeros((self.classes, self.n))  # matrix products of floats are faster
        np.put_along_axis(member, np.array(list(combinations(range(self.n), self.k))), 1.0, axis=1)
        return self.k - member @ member.T


@register("K = N choose K")
def johnson(n: int, k: int) -> Scheme:
    """Johnson scheme: k-subsets of n elements are in relation j if they share k - j elements.

    K = C(n, k). Mode i has multiplicity ``C(n, i) - C(n, i-1)``; its eigenvalues are Eberlein polynomials (Bannai &
    Ito, III.2). johnson(n, 2) is the triangular graph. Points are in lexicographic order.

    Parameters
    ----------
    n, k : int
        1 <= k <= n - 1. For k > n/2 the result is ``johnson(n, n - k)``, the same scheme on complements.

    Raises
    ------
    TypeError, ValueError
        If n or k is invalid, or the scheme is too large.

    Examples
    --------
    >>> scheme = cf.johnson(5, 2)  # the 10 pairs out of 5
    >>> scheme.classes, scheme.modes, scheme.multiplicities
    (10, 2, array([1., 4., 5.]))
    """
    n = checked_integer("n", n, 2)
    k = checked_integer("k", k, 1)
    if k >= n:
        raise ValueError(f"k must be at most n - 1 = {n - 1}, got {k}")
    k = min(k, n - k)
    require_room(f"the gap matrix of johnson({n}, {k})", k + 1, k + 1)
    classes = math.comb(n, k)
    require_float64("johnson", classes)
    valencies = [math.comb(k, j) * math.comb(n - k, j) for j in range(k + 1)]
    multiplicities = [1] + [math.comb(n, i) - math.comb(n, i - 1) for i in range(1, k + 1)]
    return _Johnson("johnson", (n, k), classes, frozen(valencies), frozen(multiplicities), n, k)
