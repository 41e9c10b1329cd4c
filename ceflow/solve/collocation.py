"""Radau IIA collocation: the numbers of the implicit method, of any number of stages.

The polynomial through the start of a step whose velocity is right at n places, the last of which is the end, is the
solution and dense output at once. It is stable however stiff the flow is (Hairer & Wanner, *Solving Ordinary
Differential Equations II*, section IV.8).
"""

from __future__ import annotations

import functools
from typing import NamedTuple

import numpy as np
import scipy

from . import clock

NAME = "radau"
STAGES = 7


class Collocation(NamedTuple):
    """A collocation method. Its last entries are those of `method.Method` that dense output uses.

    Attributes
    ----------
    nodes : (n,) array
        Places in the step, the last of which is 1.
    coefficients : (n, n) array
        Of the velocities at the nodes, for the states there.
    damping : float
        The real eigenvalue of the coefficients.
    estimate : (n,) array
        Of the velocities, for the error of an embedded solution which also takes `damping` of that at the start.
    interpolant : (n, n) array
        As that of a tableau: ``y(x) = y + h * (bubble(x) @ interpolant) @ k``.
    samples : (n + 1,) array
        Where the clock is sampled, among the start and the nodes.
    to_chebyshev : (n + 1, n + 1) array
        From the samples to a Chebyshev series.
    stages, last, order : int
        n; the sample at the end; the error estimate behaves like ``h ** order``.
    """

    nodes: np.ndarray
    coefficients: np.ndarray
    damping: float
    estimate: np.ndarray
    interpolant: np.ndarray
    samples: np.ndarray
    to_chebyshev: np.ndarray
    stages: int
    last: int
    order: int


@functools.cache
def collocation(stages: int = STAGES) -> Collocation:
    """Radau IIA of an odd number of stages, of order ``2 * stages - 1``."""
    nodes = np.append(0.5 * (scipy.special.roots_jacobi(stages - 1, 1, 0)[0] + 1.0), 1.0)
    coefficients = np.linalg.solve(_powers(nodes).T, _integrals(nodes).T).T
    eigenvalues = np.linalg.eigvals(coefficients)
    damping = float(eigenvalues[np.argmin(np.abs(eigenvalues.imag))].real)
    # an embedded quadrature of order n, of the nodes and of the start with the weight `damping`
    moments = 1.0 / np.arange(1, stages + 1)
    moments[0] -= damping
    estimate = np.linalg.solve(_powers(nodes).T, moments) - coefficients[-1]
    places = np.append(0.0, nodes)
    bubbles = np.cumprod(np.where(np.arange(stages) % 2 == 0, nodes[:, None], 1.0 - nodes[:, None]), axis=1)
    # 1 - x vanishes at the end, where all bubbles but the first are 0: the system is regular all the same
    interpolant = np.linalg.solve(bubbles, coefficients)
    return Collocation(
        nodes, coefficients, damping, estimate, interpolant,
        np.arange(stages + 1), clock.to_chebyshev(places), stages, stages, stages + 1,
    )  # fmt: skip


def halves(matrix: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Eigenvalues (r,), vectors (n, r) and left vectors (r, n) of a real matrix, which is the real part of ``vectors @
    diag(eigenvalues) @ left``: of two that are conjugate one is left, whose vectors count twice."""
    eigenvalues, vectors = np.linalg.eig(matrix)
    left, kept = np.linalg.inv(vectors), eigenvalues.imag >= 0.0
    return eigenvalues[kept], vectors[:, kept] * np.where(eigenvalues.imag[kept] > 0.0, 2.0, 1.0), left[kept]


def _powers(x: np.ndarray) -> np.ndarray:
    return np.vander(x, increasing=True)


def _integrals(x: np.ndarray) -> np.ndarray:
    powers = np.arange(1, x.size + 1)
    return x[:, None] ** powers / powers
