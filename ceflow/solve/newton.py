"""Linear systems of implicit steps: with a Jacobian as a dense matrix, or with products of it alone.

Both solve ``(M x 1 - h 1 x J) x = r`` for a small matrix M (n, n), the Jacobian J of a `stability.Response` and right
sides r (n, N), as Newton's method on the stages of a collocation asks for.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from .collocation import STAGES, halves
from .stability import PRODUCTS, SETTLED, Response

MATRIX = 80  # numbers of a state up to which steps take the Jacobian as a matrix: from there on it costs more
_SOLVED = 0.1  # what may be left of a right side: Newton's method, which is not exact either, goes on from there
_TELLING = 0.1  # singular values of what is left, over the largest one, that are worth a direction
_MOST = 120  # directions
_FAR = 10.0 * SETTLED  # in tolerances, at which the state is not at rest however wrong that is


class Dense:
    """The Jacobian as a matrix, by N products."""

    def __init__(self, here: Response) -> None:
        self.matrix, self.products = here.jacobian(), here.y.size

    def response(self, sizes: np.ndarray) -> np.ndarray:
        """The largest velocities (N,) that displacements of these sizes make."""
        return np.abs(self.matrix) @ sizes

    def inverse(self, M: np.ndarray, h: float) -> Callable[[np.ndarray], np.ndarray]:
        """What solves the system."""
        eigenvalues, vectors, back = halves(M)
        shifted = np.linalg.inv(eigenvalues[:, None, None] * np.eye(len(self.matrix)) - h * self.matrix)

        def solve(right: np.ndarray) -> np.ndarray:
            inner = (shifted @ (back @ right)[..., None])[..., 0]
            return np.ascontiguousarray((vectors @ inner).real)

        return solve

    def filtered(self, h: float, right: np.ndarray) -> np.ndarray:
        """(1 - h J)^(-1) right, of one right side (N,)."""
        return np.linalg.solve(np.eye(len(self.matrix)) - h * self.matrix, right)

    def distance(self, here: Response, rtol: float, atol: float) -> float:
        """As `Response.distance`."""
        return here.distance(rtol, atol, self.matrix)


class Projected:
    """The Jacobian in a subspace that grows: systems are solved in it, and what is left of the right side outside of it
    gives its next directions, until little is left (Galerkin's method; Lanczos', where there is one right side and J is
    symmetric). [ceflow]

    Right sides at the stages of a step, and of one round of Newton's method and the next, are much alike, and so share
    their directions. Outside of the subspace J counts as half its largest value, so that nothing is amplified there.
    """

    def __init__(self, here: Response) -> None:
        self.here, self.largest, size = here, here.largest_rate(), here.y.size
        self._space = np.empty((2, _MOST + 2 * STAGES, size))  # directions, and what J makes of them
        self.small = np.empty((0, 0))  # J in the basis

    @property
    def basis(self) -> np.ndarray:
        """(r, N) orthonormal directions."""
        return self._space[0, : len(self.small)]

    @property
    def images(self) -> np.ndarray:
        """(r, N) what J makes of them."""
        return self._space[1, : len(self.small)]

    @property
    def products(self) -> int:
        """How many there were."""
        return len(self.small) + PRODUCTS

    def response(self, sizes: np.ndarray) -> np.ndarray:
        """About the largest velocities (N,) that displacements of these sizes make."""
        return self.largest * sizes

    def inverse(self, M: np.ndarray, h: float) -> Callable[[np.ndarray], np.ndarray]:
        """What solves the system."""
        eigenvalues, vectors, back = halves(M)
        least = float(np.abs(eigenvalues).min())

        half = 0.5 * h * self.largest
        share = half / (half + least)  # of what is left outside, that is left after what is done about it

        def solve(right: np.ndarray) -> np.ndarray:
            enough, inside = _SOLVED * float(np.linalg.norm(right)), right @ self.basis.T
            while True:
                shifted = eigenvalues[:, None, None] * np.eye(len(self.basis)) - h * self.small
                found = (vectors @ np.linalg.solve(shifted, (back @ inside)[..., None])[..., 0]).real
                left = right + h * (found @ self.images)
                left -= (left @ self.basis.T) @ self.basis
                if not (share * np.linalg.norm(left) > enough and self._grow(left)):
                    return found @ self.basis + np.linalg.solve(M + half * np.eye(len(M)), left)
                inside = np.concatenate([inside, right @ self.basis[inside.shape[1] :].T], axis=1)

        return solve

    def filtered(self, h: float, right: np.ndarray) -> np.ndarray:
        """As `Dense.filtered`."""
        return self.inverse(np.eye(1), h)(right[None])[0]

    def distance(self, here: Response, rtol: float, atol: float) -> float:
        """As `Response.distance`, which is asked only if the subspace does not say already that it is large, or the
        velocity does."""
        if here.size(here.velocity[None], rtol, atol) > _FAR * self.largest:
            return math.inf
        way = self.inverse(np.zeros((1, 1)), 1.0)(here.velocity[None])
        guess = here.size(way, rtol, atol)
        return guess if guess > _FAR else here.distance(rtol, atol)

    def _grow(self, left: np.ndarray) -> bool:
        """Takes on the directions of what is left (n, N), and of what J makes of them; whether there were any."""
        if len(self.basis) >= min(_MOST, left.shape[1] - 2 * STAGES) or not np.isfinite(left).all():
            return False
        for _ in range(2):
            squares, vectors = np.linalg.eigh(left @ left.T)
            new = vectors[:, squares > _TELLING**2 * squares[-1]].T @ left
            for _ in range(2):
                new = new - (new @ self.basis.T) @ self.basis
                new = np.linalg.solve(np.linalg.cholesky(new @ new.T), new)
            images = self.here.products(new)
            inside, beside = images @ self.basis.T, images @ new.T
            left, count = images - inside @ self.basis - beside @ new, len(self.small)
            self._space[:, count : count + len(new)] = new, images
            self.small = np.block([[self.small, inside.T], [new @ self.images.T, beside.T]])
        return True


def jacobian(here: Response) -> Dense | Projected:
    """The Jacobian of a state, by its size."""
    return Dense(here) if here.y.size <= MATRIX else Projected(here)
