"""Hamming schemes, and the complete scheme (words of one letter)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import reduce
from typing import Any

import numpy as np
import scipy
from numpy.typing import NDArray

from .._checks import checked_integer
from ._p_polynomial import p_polynomial
from ._registry import register
from ._scheme import Scheme, frozen, require_float64, require_room


@dataclass(frozen=True, eq=False, repr=False)
class _Hamming(Scheme):
    m: int
    q: int

    def _eigenvalues(self) -> NDArray[Any]:
        i = np.arange(self.m + 1, dtype=object)
        degree = self.m * (self.q - 1)
        return p_polynomial(degree - self.q * i, degree - (self.q - 1) * i, i)

    def _words(self) -> NDArray[np.int64]:
        """(m, K) array of the letters of all words in lexicographic order."""
        return np.indices((self.q,) * self.m).reshape(self.m, -1)

    def _relations(self) -> NDArray[Any]:
        return sum(np.not_equal.outer(letters, letters) for letters in self._words())

    def _eigenvectors(self) -> NDArray[np.float64]:
        product = reduce(np.kron, [scipy.linalg.helmert(self.q, full=True).T] * self.m)
        return product[:, np.argsort(np.count_nonzero(self._words(), axis=0), kind="stable")]


@register("any K")
def complete(K: int) -> Scheme:
    """Complete scheme on K points: one relation of valency K - 1 and one mode, the ray of neural collapse.

    The basis is Helmert's.

    Parameters
    ----------
    K : int
        At least 2.

    Raises
    ------
    TypeError, ValueError
        If K is invalid.

    Examples
    --------
    >>> run = cf.integrate(cf.SpectralFlow(cf.complete(10)), [0.1], 1e6)
    >>> f"{run.singular_values[-1, 0]:.6f}, {cf.theory.ray_singular_value(1e6, s0=0.1, classes=10):.6f}"
    '17.295085, 17.295085'
    """
    K = checked_integer("K", K, 2)
    return _hamming("complete", (K,), 1, K)


@register("K = Q^M")
def hamming(m: int, q: int) -> Scheme:
    """Hamming scheme: words of m letters from an alphabet of size q are in relation j if they differ in j places.

    K = q^m. Mode i has multiplicity ``(q-1)^i C(m, i)``; its eigenvalues are Krawtchouk polynomials (Bannai & Ito,
    III.2). The basis is the Kronecker product of m Helmert bases, sorted by weight. Points are in lexicographic order.

    Parameters
    ----------
    m, q : int
        Word length m >= 1 and alphabet size q >= 2.

    Raises
    ------
    TypeError, ValueError
        If m or q is invalid, or the scheme is too large.

    Examples
    --------
    >>> scheme = cf.hamming(3, 2)  # the cube: 8 classes in 3 modes
    >>> scheme.valencies, scheme.multiplicities
    (array([1., 3., 3., 1.]), array([1., 3., 3., 1.]))
    """
    m, q = checked_integer("m", m, 1), checked_integer("q", q, 2)
    require_room(f"the gap matrix of hamming({m}, {q})", m + 1, m + 1)
    return _hamming("hamming", (m, q), m, q)


def _hamming(kind: str, args: tuple[int, ...], m: int, q: int) -> Scheme:
    require_float64(kind, q**m)
    sizes = frozen([math.comb(m, i) * (q - 1) ** i for i in range(m + 1)])
    return _Hamming(kind, args, q**m, sizes, sizes, m, q)
