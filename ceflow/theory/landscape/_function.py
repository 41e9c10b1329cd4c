"""The objective, its gradient and its Hessian, where the samples of a class agree."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ..._checks import checked_number
from ...losses import CrossEntropy, full_residual

if TYPE_CHECKING:
    from ._landscape import Landscape

SMALLEST, LARGEST = 1e-12, 1e6  # of decays: eigenvalues are told from rounding
MOST_UNKNOWNS = 4000  # of a dense Hessian, 128 MB


def checked_decays(weight_decay: float | tuple[float, float]) -> tuple[float, float]:
    """(lW, lH) of one number for both, or of two."""
    pair = weight_decay if isinstance(weight_decay, (tuple, list)) else (weight_decay, weight_decay)
    if len(pair) != 2:
        raise ValueError(f"weight_decay must be a number or one for W and one for H, got {len(pair)}")
    lW, lH = (checked_number("weight_decay", decay, SMALLEST, LARGEST) for decay in pair)
    return lW, lH


class Function:
    """f of W (K, r), X (r, K) and the bias, all in one vector; X is sqrt(n) times the features of each class.

    The embedding of X in all features keeps lengths, so this Hessian is a part of that of the whole problem.
    """

    def __init__(self, landscape: Landscape, rank: int) -> None:
        self.K, self.rank, self.root = landscape.classes, rank, math.sqrt(landscape.samples)
        self.biases = 0 if landscape.bias_decay is None else self.K
        decays = (*landscape.weight_decay, landscape.bias_decay or 0.0)
        self.decays = np.repeat(decays, (self.K * rank, self.K * rank, self.biases))
        self.size = self.decays.size

    def require_room(self) -> None:
        """A ValueError if the Hessian would be large."""
        if self.size > MOST_UNKNOWNS:
            raise ValueError(f"classes and rank must leave at most {MOST_UNKNOWNS} unknowns, got {self.size}")

    def join(self, W: NDArray, X: NDArray, b: NDArray) -> NDArray:
        return np.concatenate([W.ravel(), X.ravel(), b])

    def split(self, y: NDArray) -> tuple[NDArray, NDArray, NDArray]:
        W, X, b = np.split(y, (self.K * self.rank, 2 * self.K * self.rank))
        return W.reshape(self.K, self.rank), X.reshape(self.rank, self.K), b if self.biases else np.zeros(self.K)

    def logits(self, y: NDArray) -> NDArray:
        """(K, K), a column for each class."""
        W, X, b = self.split(y)
        return W @ X / self.root + b[:, None]

    def residual(self, y: NDArray) -> NDArray:
        """Y - P, free of cancellation."""
        R = self.logits(y)
        log_scale, _ = full_residual(CrossEntropy(), R, np.arange(self.K))
        return R * math.exp(log_scale)

    def probabilities(self, y: NDArray) -> NDArray:
        """P, a column for each class."""
        return np.eye(self.K) - self.residual(y)

    def objective(self, y: NDArray) -> float:
        Z = self.logits(y)
        Z -= np.diag(Z)
        np.fill_diagonal(Z, -np.inf)
        return float(np.logaddexp(0.0, np.logaddexp.reduce(Z)).mean() + 0.5 * self.decays @ y**2)

    def logit_gradient(self, y: NDArray) -> NDArray:
        """(K, K) gradient in W X, which has the singular values of g."""
        return -self.residual(y) / (self.K * self.root)

    def gradient(self, y: NDArray) -> NDArray:
        (W, X, _), G = self.split(y), self.logit_gradient(y)
        bias = self.root * G.sum(axis=1) if self.biases else np.zeros(0)
        return self.join(G @ X.T, W.T @ G, bias) + self.decays * y

    def hessian(self, y: NDArray) -> NDArray:
        """Dense; a ValueError if it would be large."""
        self.require_room()
        (W, X, _), P, one = self.split(y), self.probabilities(y), np.eye(self.K)
        G, inner, place = self.logit_gradient(y), np.eye(self.rank), 2 * self.K * self.rank
        J = np.zeros((self.K, self.K, self.size))  # of the logits: class of the row, of the column
        J[..., : place // 2] = np.einsum("ki,aj->kjia", one, X).reshape(self.K, self.K, -1) / self.root
        J[..., place // 2 : place] = np.einsum("ka,ij->kiaj", W, one).reshape(self.K, self.K, -1) / self.root
        J[..., place:] = np.eye(self.K)[:, None, : self.biases]
        spread = P[..., None] * (J - np.einsum("kj,kjy->jy", P, J))
        hessian = np.einsum("kjx,kjy->xy", J, spread, optimize=True) / self.K + np.diag(self.decays)
        cross = np.einsum("kj,ab->kabj", G, inner).reshape(place // 2, place // 2)
        hessian[: place // 2, place // 2 : place] += cross
        hessian[place // 2 : place, : place // 2] += cross.T
        return 0.5 * (hessian + hessian.T)
