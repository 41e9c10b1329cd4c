"""Clenshaw-Curtis quadrature from the beginning of an interval to each of its nodes."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

NODES = 17  # of an interval; a power of two plus one, so that every second one is a rule of its own


def _integration(n: int) -> tuple[NDArray, NDArray]:
    """Chebyshev-Lobatto points on [0, 1], and the matrix that integrates from 0 to each of them."""
    points = 0.5 * (1.0 - np.cos(np.pi * np.arange(n) / (n - 1)))
    chebyshev = np.polynomial.chebyshev
    to_series = np.linalg.inv(chebyshev.chebvander(2.0 * points - 1.0, n - 1))
    integrals = np.stack([chebyshev.chebint(c, lbnd=-1.0) for c in to_series.T], axis=1)
    return points, 0.5 * chebyshev.chebvander(2.0 * points - 1.0, n) @ integrals


POINTS, _ALL = _integration(NODES)
_MATRICES = {n: _integration(n)[1] for n in (NODES // 2 + 1, NODES // 4 + 1)} | {NODES: _ALL}


def integral(rates: NDArray) -> NDArray:
    """Integral of rates at the nodes, or at every second or fourth of them, from the first to each, along axis 0."""
    return np.tensordot(_MATRICES[len(rates)], rates, axes=1)


def integral_and_doubt(rates: NDArray) -> tuple[NDArray, float]:
    """The integral, and by how much that by every second node differs from it."""
    fine = integral(rates)
    return fine, float(np.max(np.abs(integral(rates[::2]) - fine[::2])))
