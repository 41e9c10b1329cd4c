"""Vector fields of features with a fixed, free or nearest-ETF classifier."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from .._arrays import svd
from ..collapse._nearest_etf import Polar, mean_of_classes
from ..collapse._state import transposed
from .matrix_field import MatrixField

if TYPE_CHECKING:
    from .etf import ETFFlow, ReducedETFFlow


class _MovingField(MatrixField):
    """Field of the full flow in which only some factors are part of the state."""

    def moves(self, *shapes: tuple[int, int]) -> None:
        """Set the shapes of the matrices in the state."""
        self.shapes = shapes
        self.ends = np.cumsum([rows * columns for rows, columns in shapes])
        self.size = int(self.ends[-1])


ROUGHNESS = 30.0  # error of velocities on spheres, over rounding: they are differences of nearly equal forces


class ETFField(_MovingField):
    """Vector field of `ETFFlow`, of H or of W and H. The rest, including the clock, is as in the full flow.

    On spheres the clock uses the speed before projection. At equilibrium the removed part is a Lagrange multiplier,
    which gives the rate of convergence of the features.
    """

    flow: ETFFlow

    def __init__(self, flow: ETFFlow, start: tuple[np.ndarray, np.ndarray]) -> None:
        W, H = start
        super().__init__(flow, (W.shape, H.shape))
        if flow.radius is not None:
            self.has_equilibria, self.roughness = True, ROUGHNESS
        if flow.classifier != "free":
            self.moves(H.shape)
        self.W, self.labels = W, self.terms.labels
        self.counts = np.bincount(self.labels)[self.labels]
        self.means = mean_of_classes(self.labels, self.classes)  # (N, K): H times this gives the class means
        self.weights = self.means.mean(axis=1)  # (N,) weights of the mean of the class means

    def pull_back(self, parts: list, velocities: list):
        flow, H = self.flow, parts[-1]
        free, polar = flow.classifier == "free", None
        if flow.classifier == "nearest":
            polar = Polar(H @ self.means, None, 0.0, np, svd)
        W = parts[0] if free else self.W if polar is None else polar.W
        features = H if free else H - (H * self.weights).sum(axis=-1, keepdims=True)
        np.matmul(W, features, out=self.logits)
        log_scale, a = self.terms.residual(self.logits)
        np.matmul(transposed(W), self.logits, out=velocities[-1])
        if free:
            np.matmul(self.logits, transposed(H), out=velocities[0])
        else:  # the mean depends on the features too
            velocities[-1] -= velocities[-1].sum(axis=-1, keepdims=True) * self.weights
        if flow.argmin_gradient and polar is not None:
            velocities[-1] += polar.pull_back(self.logits @ transposed(features))[..., self.labels] / self.counts
        if flow.radius is None:
            return log_scale, a, 0.0
        taken = _project(H, velocities[-1], axis=-2) + (_project(W, velocities[0], axis=-1) if free else 0.0)
        size, left = sum(map(self.square, parts)), np.sqrt(sum(map(self.square, velocities)))
        return log_scale, a, (np.hypot(np.sqrt(taken), left) - left) / np.sqrt(size)


class ReducedETFField(_MovingField):
    """Vector field of `ReducedETFFlow`, on X (K-1, K-1) with ``Z = c B X B^T``."""

    flow: ReducedETFFlow

    def __init__(self, flow: ReducedETFFlow, X: np.ndarray) -> None:
        self.basis = flow.basis(len(X) + 1)
        super().__init__(flow, (self.basis.shape, self.basis.T.shape))
        self.moves(X.shape)
        self.scale = np.sqrt(self.classes / (self.classes - 1.0))

    def pull_back(self, parts: list, velocities: list):
        nearest = self.flow.classifier == "nearest"
        X = 0.5 * (parts[0] + transposed(parts[0])) if nearest else parts[0]
        np.matmul(self.scale * self.basis @ X, self.basis.T, out=self.logits)
        log_scale, a = self.terms.residual(self.logits)
        G = self.scale * self.basis.T @ self.logits @ self.basis
        if nearest:
            s, vectors = np.linalg.eigh(X)
            G, s, other = transposed(vectors) @ G @ vectors, s[..., :, None], s[..., None, :]
            if self.flow.argmin_gradient:
                G = (G + transposed(G)) * (s**2 + other**2) / (s + other) ** 2
            else:
                G = (s * G + transposed(G) * other) / (s + other)
            G = vectors @ G @ transposed(vectors)
        velocities[0][...] = G
        return log_scale, a, 0.0


def _project(vectors: np.ndarray, velocities: np.ndarray, axis: int) -> Any:
    """Remove the radial part of the velocities (..., n, N), in place; return its sum of squares (...)."""
    along = (vectors * velocities).sum(axis=axis, keepdims=True) / (vectors**2).sum(axis=axis, keepdims=True)
    velocities -= along * vectors
    return ((along * vectors) ** 2).sum(axis=(-2, -1))
