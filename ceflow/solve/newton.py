"""Linear systems of implicit steps, with a dense Jacobian or with Jacobian-vector products.

Both solve ``(M x 1 - h 1 x J) x = r`` for a small matrix M (n, n), the Jacobian J of a `stability.Response` and
right-hand sides r (n, N), as in Newton's method for the stages of a collocation method.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from .collocation import STAGES, halves
from .stability import PRODUCTS, SETTLED, Response

MATRIX = 80  # largest size of a state with a dense Jacobian: `Projected` is cheaper for larger ones
_SOLVED = 0.1  # relative residual of the linear solver; Newton's iteration corrects the rest
_TELLING = 0.1  # relative singular values of the residual that add a direction
_MOST = 120  # largest number of directions
_FAR = 10.0 * SETTLED  # distance in tolerances at which the state is not at rest despite errors of the estimate


class Dense:
    """Dense Jacobian, from N products."""

    def __init__(self, here: Response) -> None:
        self.matrix, self.products = here.jacobian(), here.y.size

    def response(self, sizes: np.ndarray) -> np.ndarray:
        """Largest velocities (N,) from displacements of these sizes."""
        return np.abs(self.matrix) @ sizes

    def inverse(self, M: np.ndarray, h: float) -> Callable[[np.ndarray], np.ndarray]:
        """Function that solves the system."""
        eigenvalues, vectors, back = halves(M)
        shifted = np.linalg.inv(eigenvalues[:, None, None] * np.eye(len(self.matrix)) - h * self.matrix)

        def solve(right: np.ndarray) -> np.ndarray:
            inner = (shifted @ (back @ right)[..., None])[..., 0]
            return np.ascontiguousarray((vectors @ inner).real)

        return solve

    def filtered(self, h: float, right: np.ndarray) -> np.ndarray:
        """(1 - h J)^(-1) right, for one right-hand side (N,)."""
        return np.linalg.solve(np.eye(len(self.matrix)) - h * self.matrix, right)

    def distance(self, here: Response, rtol: float, atol: float) -> float:
        """As `Response.distance`."""
        return here.distance(rtol, atol, self.matrix)


class Projected:
    """Jacobian projected on a growing subspace (Galerkin's method). [ceflow]

    Systems are solved in the subspace, and the residual outside of it gives the next directions until it is small. With
    one right-hand side and symmetric J this is Lanczos' method.

    Right-hand sides of the stages and of consecutive Newton iterations are similar, so they share directions. Outside
    of the subspace J is replaced by half its largest rate, so that nothing is amplified there.
    """

    def __init__(self, here: Response) -> None:
        self.here, self.largest, size = here, here.largest_rate(), here.y.size
        self._space = np.empty((2, _MOST + 2 * STAGES, size))  # directions, and their images under J
        self.small = np.empty((0, 0))  # J in the basis

    @property
    def basis(self) -> np.ndarray:
        """(r, N) orthonormal directions."""
        return self._space[0, : len(self.small)]

    @property
    def images(self) -> np.ndarray:
        """(r, N) images of the directions under J."""
        return self._space[1, : len(self.small)]

    @property
    def products(self) -> int:
        """Number of Jacobian-vector products."""
        return len(self.small) + PRODUCTS

    def response(self, sizes: np.ndarray) -> np.ndarray:
        """Approximate largest velocities (N,) from displacements of these sizes."""
        return self.largest * sizes

    def inverse(self, M: np.ndarray, h: float) -> Callable[[np.ndarray], np.ndarray]:
        """Function that solves the system."""
        eigenvalues, vectors, back = halves(M)
        least = float(np.abs(eigenvalues).min())

        half = 0.5 * h * self.largest
        share = half / (half + least)  # share of the outside residual that remains after damping

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
        """As `Response.distance`, which is called only if neither the subspace nor the velocity shows a large
        distance."""
        if here.size(here.velocity[None], rtol, atol) > _FAR * self.largest:
            return math.inf
        way = self.inverse(np.zeros((1, 1)), 1.0)(here.velocity[None])
        guess = here.size(way, rtol, atol)
        return guess if guess > _FAR else here.distance(rtol, atol)

    def _grow(self, left: np.ndarray) -> bool:
        """Add the directions of a residual (n, N) and their images under J; return whether there were any."""
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
    """Jacobian at a state, dense or projected depending on its size."""
    return Dense(here) if here.y.size <= MATRIX else Projected(here)
