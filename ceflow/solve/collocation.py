"""Radau IIA collocation: coefficients of the implicit method for any odd number of stages.

The collocation polynomial through the start of a step satisfies the equation at n nodes, the last of which is the end.
It is also the dense output. The method is L-stable (Hairer & Wanner, *Solving Ordinary Differential Equations II*,
section IV.8).
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
    """Collocation method; its last entries are those of `method.Method` for dense output.

    Attributes
    ----------
    nodes : (n,) array
        Nodes in [0, 1]; the last one is 1.
    coefficients : (n, n) array
        Coefficients of the velocities at the nodes for the states there.
    damping : float
        Real eigenvalue of the coefficients.
    estimate : (n,) array
        Coefficients of the velocities for the error of an embedded solution, in which the initial velocity has the
        weight `damping`.
    interpolant : (n, n) array
        As in a tableau: ``y(x) = y + h * (bubble(x) @ interpolant) @ k``.
    samples : (n + 1,) array
        Indices of the clock samples among the start and the nodes.
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
    # 1 - x is 0 at the end, and so are all bubbles except the first; the system is still regular
    interpolant = np.linalg.solve(bubbles, coefficients)
    return Collocation(
        nodes, coefficients, damping, estimate, interpolant,
        np.arange(stages + 1), clock.to_chebyshev(places), stages, stages, stages + 1,
    )  # fmt: skip


def halves(matrix: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Eigenvalues (r,), vectors (n, r) and left vectors (r, n) with real matrix = Re(vectors @ diag(eigenvalues) @
    left).

    Only one of two conjugate eigenvalues is kept, with doubled vectors."""
    eigenvalues, vectors = np.linalg.eig(matrix)
    left, kept = np.linalg.inv(vectors), eigenvalues.imag >= 0.0
    return eigenvalues[kept], vectors[:, kept] * np.where(eigenvalues.imag[kept] > 0.0, 2.0, 1.0), left[kept]


def _powers(x: np.ndarray) -> np.ndarray:
    return np.vander(x, increasing=True)


def _integrals(x: np.ndarray) -> np.ndarray:
    powers = np.arange(1, x.size + 1)
    return x[:, None] ** powers / powers
