"""Cross-entropy of groups with weight decay in few variables, and Newton's method for its minimum.

The loss plus ``sqrt(lW lH)`` times the nuclear norm of ``Z N^(1/2)`` is convex in the logits Z. In balanced factors
(numbers a, b for the zero-sum vectors of each group, and matrices (G, p), (p, G) for the constants) it is smooth, and
all minima are global if p >= G - 1. It is divided by ``mu = sqrt(lW lH)``, so that it is of order 1 for small decay
too.
"""

from __future__ import annotations

import numpy as np
import scipy

from ._groups import Array, Groups

STEPS = 500
SETTLED = 1e-22  # relative decrease of the objective in the next step: below rounding


class Problem:
    """Objective divided by mu, as a function of a flat vector of Euclidean coordinates of the factors.

    Coordinates are ``a sqrt(K - 1)`` and ``b sqrt((K - 1) n)`` of the groups of at least two classes, X (G, p) and ``Y
    N^(1/2)`` (p, G).

    Parameters
    ----------
    groups : Groups
    log_mu : float
    rank : int
        Rank p of the block.
    decays : (2,) array
        lW and lH divided by mu.
    """

    def __init__(self, groups: Groups, log_mu: float, rank: int, decays: tuple[float, float] = (1.0, 1.0)) -> None:
        K, n, o = groups.classes, groups.samples, groups.weights
        self.groups, self.log_mu, self.rank = groups, log_mu, rank
        self.modes = np.flatnonzero(K > 1)
        G, D = K.size, self.modes.size
        self.cuts = np.cumsum([D, D, G * rank])
        self.decays = np.repeat([*decays, *decays], [D, D, G * rank, G * rank])
        with np.errstate(divide="ignore"):  # a group of one class has no other class
            counts = np.where(np.eye(G, dtype=bool), K - 1.0, K[:, None])
            self.log_counts = np.log(counts) + groups.adjustment[:, None] - groups.adjustment
        self.log_weights = np.log(K * n * o) - log_mu
        # margins over row h in a column of g as functions of the products of modes, and of the block of Z N^(1/2)
        self.maps: Array = np.zeros((G, G, D + G * G))
        for h, g in np.ndindex(G, G):
            if h != g:
                self.maps[h, g, [D + g * (G + 1), D + h * G + g]] = np.array([1.0, -np.sqrt(K[g] / K[h])]) / (
                    K[g] * np.sqrt(n[g])
                )
        for i, g in enumerate(self.modes):
            self.maps[:, g, i] = 1.0 / (np.sqrt(n[g]) * K[g])
            self.maps[g, g, i] = 1.0 / (np.sqrt(n[g]) * (K[g] - 1.0))
        self.maps = self.maps.reshape(G * G, -1)

    def parts(self, x: Array) -> tuple[Array, Array, Array, Array]:
        """a, b, X and Y from coordinates."""
        a, b, X, Y = np.split(x, self.cuts)
        G = self.groups.classes.size
        return a, b, X.reshape(G, self.rank), Y.reshape(self.rank, G)

    def margins(self, x: Array) -> Array:
        """(G, G) margin over a class of the row's group, in a column of the column's group."""
        a, b, X, Y = self.parts(x)
        return (self.maps @ np.concatenate([a * b, (X @ Y).ravel()])).reshape(self.log_counts.shape)

    def losses(self, x: Array) -> tuple[Array, Array]:
        """Log odds of error (G,) of the columns, and log odds (G, G) of each group of wrong classes."""
        each = self.log_counts - self.margins(x)
        return scipy.special.logsumexp(each, axis=0), each

    def value(self, x: Array) -> float:
        with np.errstate(over="ignore"):  # steps may be too long
            loss = np.exp(self.log_weights + log_loss(self.losses(x)[0])).sum()
        return float(loss + 0.5 * self.decays @ x**2)

    def slopes(self, x: Array) -> tuple[Array, Array]:
        """Gradient and Hessian of the loss in variables that are linear in the logits."""
        odds, each = self.losses(x)
        P = np.exp(each - np.logaddexp(0.0, odds))
        weights = np.exp(self.log_weights + each - np.logaddexp(0.0, odds))
        G, maps = len(odds), self.maps.reshape(*P.shape, -1)
        hessian = self.maps.T @ (weights.reshape(-1, 1) * self.maps)
        for g in range(G):
            mean = P[:, g] @ maps[:, g]
            hessian -= np.outer(weights[:, g] @ maps[:, g], mean)
        return -self.maps.T @ weights.ravel(), hessian

    def residual(self, x: Array) -> Array:
        """(G, G) force on the block of ``Z N^(1/2)`` divided by mu; its singular values are <= 1 at the minimum."""
        return -self.slopes(x)[0][self.modes.size :].reshape(self.log_counts.shape)

    def derivatives(self, x: Array) -> tuple[Array, Array]:
        """Gradient and Hessian of the objective."""
        slope, curvature = self.slopes(x)
        a, b, X, Y = self.parts(x)
        D, G, p = a.size, len(X), self.rank
        block = slope[D:].reshape(G, G)
        jacobian = np.zeros((slope.size, x.size))
        i, eye = np.arange(D), np.eye(G)
        jacobian[i, i], jacobian[i, D + i] = b, a
        jacobian[D:, 2 * D : 2 * D + G * p] = np.kron(eye, Y.T)
        jacobian[D:, 2 * D + G * p :] = np.kron(X, eye)
        hessian = jacobian.T @ curvature @ jacobian + np.diag(self.decays)
        hessian[i, D + i] += slope[:D]
        hessian[D + i, i] += slope[:D]
        cross = np.einsum("hg,ij->hijg", block, np.eye(p)).reshape(G * p, G * p)
        hessian[2 * D : 2 * D + G * p, 2 * D + G * p :] += cross
        hessian[2 * D + G * p :, 2 * D : 2 * D + G * p] += cross.T
        gradient = np.concatenate([slope[:D] * b, slope[:D] * a, (block @ Y.T).ravel(), (X.T @ block).ravel()])
        return gradient + self.decays * x, hessian

    def minimum(self, x: Array) -> Array:
        """Newton's method with absolute values of the Hessian's eigenvalues, so that it descends near saddles. The
        gradient is orthogonal to rotations of the features, which do not change the objective."""
        value = self.value(x)
        for _ in range(STEPS):
            gradient, hessian = self.derivatives(x)
            rates, frame = np.linalg.eigh(hessian)
            size = np.max(np.abs(rates), initial=0.0)
            step = -frame @ ((frame.T @ gradient) / np.maximum(np.abs(rates), 1e-12 * size))
            slope = float(gradient @ step)
            length, rounding = 1.0, 1e-14 * abs(value)
            while (new := self.value(x + length * step)) > value + 1e-4 * length * slope + rounding:
                length *= 0.5
            x, value = x + length * step, new
            if -slope <= SETTLED * abs(value):
                if np.min(rates, initial=0.0) >= -1e-13 * size:
                    return x
                x = x + np.sqrt(-rates[0]) * frame[:, 0]  # a saddle: a step has set a nonzero mode to 0
                value = self.value(x)
        raise ArithmeticError(f"no equilibrium was found in {STEPS} steps: the decay is {np.exp(self.log_mu):g}")


def log_loss(log_odds: Array) -> Array:
    """Log of the loss ``log(1 + odds)``."""
    return np.where(log_odds < -37.0, log_odds, np.log(np.logaddexp(0.0, np.maximum(log_odds, -37.0))))
