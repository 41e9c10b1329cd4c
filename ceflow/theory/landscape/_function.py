"""Objective, gradient and Hessian for equal samples of each class."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ..._checks import checked_number
from ...losses import CrossEntropy, full_residual

if TYPE_CHECKING:
    from ._landscape import Landscape

SMALLEST, LARGEST = 1e-12, 1e6  # limits of decays: eigenvalues are above rounding
MOST_UNKNOWNS = 4000  # size of a dense Hessian of 128 MB


def checked_decays(weight_decay: float | tuple[float, float]) -> tuple[float, float]:
    """Checked (lW, lH), from one number for both or from two."""
    pair = weight_decay if isinstance(weight_decay, (tuple, list)) else (weight_decay, weight_decay)
    if len(pair) != 2:
        raise ValueError(f"weight_decay must be a number or one for W and one for H, got {len(pair)}")
    lW, lH = (checked_number("weight_decay", decay, SMALLEST, LARGEST) for decay in pair)
    return lW, lH


class Function:
    """Objective f of W (K, r), X (r, K) and the bias in one vector; X is sqrt(n) times the features of each class.

    The embedding of X in all features preserves norms, so this Hessian is a restriction of the full one.
    """

    def __init__(self, landscape: Landscape, rank: int) -> None:
        self.K, self.rank, self.root = landscape.classes, rank, math.sqrt(landscape.samples)
        self.biases = 0 if landscape.bias_decay is None else self.K
        decays = (*landscape.weight_decay, landscape.bias_decay or 0.0)
        self.decays = np.repeat(decays, (self.K * rank, self.K * rank, self.biases))
        self.size = self.decays.size

    def require_room(self) -> None:
        """Raise a ValueError if the Hessian would be too large."""
        if self.size > MOST_UNKNOWNS:
            raise ValueError(f"classes and rank must leave at most {MOST_UNKNOWNS} unknowns, got {self.size}")

    def join(self, W: NDArray, X: NDArray, b: NDArray) -> NDArray:
        return np.concatenate([W.ravel(), X.ravel(), b])

    def split(self, y: NDArray) -> tuple[NDArray, NDArray, NDArray]:
        W, X, b = np.split(y, (self.K * self.rank, 2 * self.K * self.rank))
        return W.reshape(self.K, self.rank), X.reshape(self.rank, self.K), b if self.biases else np.zeros(self.K)

    def logits(self, y: NDArray) -> NDArray:
        """(K, K) logits, one column per class."""
        W, X, b = self.split(y)
        return W @ X / self.root + b[:, None]

    def residual(self, y: NDArray) -> NDArray:
        """Y - p with softmax p, without cancellation."""
        R = self.logits(y)
        log_scale, _ = full_residual(CrossEntropy(), R, np.arange(self.K))
        return R * math.exp(log_scale)

    def probabilities(self, y: NDArray) -> NDArray:
        """Softmax p, one column per class."""
        return np.eye(self.K) - self.residual(y)

    def objective(self, y: NDArray) -> float:
        Z = self.logits(y)
        Z -= np.diag(Z)
        np.fill_diagonal(Z, -np.inf)
        return float(np.logaddexp(0.0, np.logaddexp.reduce(Z)).mean() + 0.5 * self.decays @ y**2)

    def logit_gradient(self, y: NDArray) -> NDArray:
        """(K, K) gradient in W X; it has the singular values of g."""
        return -self.residual(y) / (self.K * self.root)

    def gradient(self, y: NDArray) -> NDArray:
        (W, X, _), G = self.split(y), self.logit_gradient(y)
        bias = self.root * G.sum(axis=1) if self.biases else np.zeros(0)
        return self.join(G @ X.T, W.T @ G, bias) + self.decays * y

    def hessian(self, y: NDArray) -> NDArray:
        """Dense Hessian; a ValueError if it would be too large."""
        self.require_room()
        (W, X, _), P, one = self.split(y), self.probabilities(y), np.eye(self.K)
        G, inner, place = self.logit_gradient(y), np.eye(self.rank), 2 * self.K * self.rank
        J = np.zeros((self.K, self.K, self.size))  # derivatives of the logits (row, column)
        J[..., : place // 2] = np.einsum("ki,aj->kjia", one, X).reshape(self.K, self.K, -1) / self.root
        J[..., place // 2 : place] = np.einsum("ka,ij->kiaj", W, one).reshape(self.K, self.K, -1) / self.root
        J[..., place:] = np.eye(self.K)[:, None, : self.biases]
        spread = P[..., None] * (J - np.einsum("kj,kjy->jy", P, J))
        hessian = np.einsum("kjx,kjy->xy", J, spread, optimize=True) / self.K + np.diag(self.decays)
        cross = np.einsum("kj,ab->kabj", G, inner).reshape(place // 2, place // 2)
        hessian[: place // 2, place // 2 : place] += cross
        hessian[place // 2 : place, : place // 2] += cross.T
        return 0.5 * (hessian + hessian.T)
