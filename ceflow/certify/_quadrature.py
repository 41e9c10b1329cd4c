"""Clenshaw-Curtis quadrature from the start of an interval to each of its nodes."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

NODES = 17  # nodes per interval; 2^k + 1, so that every second node gives a rule


def _integration(n: int) -> tuple[NDArray, NDArray]:
    """Chebyshev-Lobatto points on [0, 1], and the matrix that integrates from 0 to each of them."""
    points = 0.5 * (1.0 - np.cos(np.pi * np.arange(n) / (n - 1)))
    chebyshev = np.polynomial.chebyshev
    to_series = np.linalg.inv(chebyshev.chebvander(2.0 * points - 1.0, n - 1))
    integrals = np.stack([chebyshev.chebint(c, lbnd=-1.0) for c in to_series.T], axis=1)
    return points, 0.5 * chebyshev.chebvander(2.0 * points - 1.0, n) @ integrals


POINTS, _ALL = _integration(NODES)
_MATRICES = {n: _integration(n)[1] for n in (NODES // 2 + 1, NODES // 4 + 1)} | {NODES: _ALL}


def _differentiation(n: int) -> NDArray:
    """Differentiation matrix at the same points."""
    points, chebyshev = _integration(n)[0], np.polynomial.chebyshev
    to_series = np.linalg.inv(chebyshev.chebvander(2.0 * points - 1.0, n - 1))
    slopes = np.stack([chebyshev.chebder(c) for c in to_series.T], axis=1)
    return 2.0 * chebyshev.chebvander(2.0 * points - 1.0, n - 2) @ slopes


_SLOPES = {n: _differentiation(n) for n in (NODES, NODES // 2 + 1)}


def _damped(n: int) -> NDArray:
    """Integration matrix to all points, from the values at all but the first."""
    points, chebyshev = 2.0 * _integration(n)[0] - 1.0, np.polynomial.chebyshev
    to_series = np.linalg.inv(chebyshev.chebvander(points[1:], n - 2))
    integrals = np.stack([chebyshev.chebint(c, lbnd=-1.0) for c in to_series.T], axis=1)
    return np.pad(0.5 * chebyshev.chebvander(points, n - 1) @ integrals, ((0, 0), (1, 0)))


_DAMPED = {n: _damped(n) for n in (NODES, NODES // 2 + 1)}


def damped(n: int) -> NDArray:
    """(n, n) integration matrix from the first of n nodes to each, without the value at the first node.

    It damps stiff components, like Radau collocation (Hairer & Wanner II, IV.5)."""
    return _DAMPED[n]


def derivative(values: NDArray) -> NDArray:
    """Derivative, times the length of the interval, of values at the nodes or at every second node, along axis 0."""
    return np.tensordot(_SLOPES[len(values)], values, axes=1)


def integral(rates: NDArray) -> NDArray:
    """Integral from the first node to each, of rates at the nodes or at every second or fourth one, along axis 0."""
    return np.tensordot(_MATRICES[len(rates)], rates, axes=1)


def turnovers(rates: NDArray) -> NDArray:
    """Upper bound of the integrals of positive rates by the quadrature."""
    return np.tensordot(np.abs(_ALL), rates, axes=1)


def integral_and_doubt(rates: NDArray) -> tuple[NDArray, float]:
    """Integral, and its difference from the integral with every second node."""
    fine = integral(rates)
    return fine, float(np.max(np.abs(integral(rates[::2]) - fine[::2])))
