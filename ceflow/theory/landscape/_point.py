"""Critical points: type, Hessian, and escape direction."""

from __future__ import annotations

import dataclasses
import functools
import math
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..._arrays import svd
from ..._checks import checked_array
from ._function import Function, checked_decays

if TYPE_CHECKING:
    from ._landscape import Landscape

ZERO = 1e-9  # relative eigenvalues and singular values below this are 0


def least_curvature(force: ArrayLike, weight_decay: tuple[float, float]) -> NDArray[np.float64]:
    """Smallest eigenvalue of the Hessian at a non-global critical point, for width above its rank.

    ``(lW + lH)/2 - sqrt(((lW - lH)/2)^2 + |g|_2^2)``, computed without cancellation. At every point it is a lower bound
    of the second derivative along unit vectors of (W, H).

    Parameters
    ----------
    force : array
        ``|g|_2``, the spectral norm of the gradient in the logits.
    weight_decay : (float, float)
        lW and lH.

    Returns
    -------
    array

    Raises
    ------
    TypeError, ValueError
        If an argument is invalid.

    Examples
    --------
    >>> f"{cf.theory.landscape.least_curvature(0.3, (0.1, 0.1)):.4f}"
    '-0.2000'
    """
    force, (lW, lH) = checked_array("force", force, 0.0, 1e150), checked_decays(weight_decay)
    root = np.hypot(0.5 * (lW - lH), force)
    balance = math.sqrt(lW * lH)
    return ((balance - force) * (balance + force) / (0.5 * (lW + lH) + root))[()]


class Spectrum(NamedTuple):
    """Eigenvalues of a Hessian, ascending, with multiplicities; equal eigenvalues may be listed separately.

    Examples
    --------
    >>> zero = cf.theory.landscape.Landscape(3, 2, 0.1).mode_points(cf.complete(3))[-1]
    >>> zero.spectrum.values.round(4), zero.spectrum.counts
    (array([-0.2333, -0.2333,  0.1   ,  0.1   ,  0.4333,  0.4333]), array([2, 2, 2, 2, 2, 2]))
    """

    values: NDArray[np.float64]
    counts: NDArray[np.int64]


@dataclasses.dataclass(frozen=True, eq=False)
class CriticalPoint:
    """Critical point of a `Landscape`, returned by its methods.

    Attributes
    ----------
    landscape : Landscape
    W : (K, d) array
    X : (d, K) array
        sqrt(n) times the features of each class.
    bias : (K,) array
    modes : tuple of int or None
        Nonzero modes, counted from 1, of points from a symmetry.

    Examples
    --------
    >>> zero = cf.theory.landscape.Landscape(4, 4, 0.05).mode_points(cf.complete(4))[-1]
    >>> zero.rank, zero.is_global, f"{zero.rate:.4f}"
    (0, False, '0.2000')
    """

    landscape: Landscape
    W: NDArray[np.float64]
    X: NDArray[np.float64]
    bias: NDArray[np.float64]
    modes: tuple[int, ...] | None = None

    @property
    def H(self) -> NDArray[np.float64]:
        """(d, K n) features, with the n samples of a class adjacent."""
        return np.repeat(self.X, self.landscape.samples, axis=1) / math.sqrt(self.landscape.samples)

    @property
    def layers(self) -> tuple[NDArray[np.float64], ...]:
        """Start of `ceflow.MatrixFlow`: W, H, and the bias if there is one."""
        return (self.W, self.H) if self.landscape.bias_decay is None else (self.W, self.H, self.bias)

    @functools.cached_property
    def _shape(self) -> Function:
        return Function(self.landscape, self.landscape.width)

    @functools.cached_property
    def _y(self) -> NDArray[np.float64]:
        return self._shape.join(self.W, self.X, self.bias if self.landscape.bias_decay is not None else np.zeros(0))

    @functools.cached_property
    def objective(self) -> float:
        """Objective f."""
        return self._shape.objective(self._y)

    @functools.cached_property
    def gradient(self) -> float:
        """Largest absolute entry of the gradient in the layers, a measure of the accuracy of the point."""
        return float(np.abs(self._shape.gradient(self._y)).max())

    @functools.cached_property
    def singular_values(self) -> NDArray[np.float64]:
        """(min(K, d),) singular values of the logits of the class means, without bias."""
        return svd(self.W @ self.X, compute_uv=False)[: min(self.W.shape)] / math.sqrt(self.landscape.samples)

    @property
    def rank(self) -> int:
        """Rank of W and H."""
        return self._rows.shape[1]

    @functools.cached_property
    def _frame(self) -> tuple[NDArray, NDArray]:
        """Orthonormal bases of the row space of W and of its orthogonal complement."""
        _, s, rows = svd(self.W)
        rank = int((s > ZERO * max(1.0, s[0])).sum())
        return rows[:rank].T, rows[rank:].T

    @property
    def _rows(self) -> NDArray[np.float64]:
        return self._frame[0]

    @functools.cached_property
    def _force(self) -> tuple[NDArray, NDArray, NDArray]:
        """Singular value decomposition of g, in the coordinates of X."""
        return svd(self._shape.logit_gradient(self._y))

    @property
    def force(self) -> float:
        """``|g|_2``, the spectral norm of the gradient in the logits."""
        return float(self._force[1][0])

    @property
    def is_global(self) -> bool:
        """Whether ``|g|_2 <= sqrt(lW lH)``, up to 1e-9 of it: the point is a global minimum of every width."""
        return self.force <= self.landscape.balance * (1.0 + ZERO)

    @functools.cached_property
    def _active(self) -> tuple[NDArray, NDArray]:
        """Eigenvalues and eigenvectors of the Hessian for features in the row space of W, equal within classes."""
        shape = Function(self.landscape, self.rank)
        y = shape.join(self.W @ self._rows, self._rows.T @ self.X, self.bias[: self._shape.biases])
        return np.linalg.eigh(shape.hessian(y)) if y.size else (np.zeros(0), np.zeros((0, 0)))

    @functools.cached_property
    def spectrum(self) -> Spectrum:
        """All eigenvalues of the Hessian in (W, H, b), from its three invariant parts [ceflow].

        Features orthogonal to the rows of W: ``(lW+lH)/2 +- sqrt(((lW-lH)/2)^2 + sigma^2)`` for each singular value
        sigma of g, with multiplicity d - rank. Differences within a class: ``lH`` plus the eigenvalues of ``W^T (diag p
        - p p^T) W / N``, with multiplicity n - 1. The rest: a dense Hessian in K (2 rank + 1) variables.
        """
        problem, (lW, lH) = self.landscape, self.landscape.weight_decay
        K, idle, n = problem.classes, problem.width - self.rank, problem.samples
        sigma = self._force[1]
        root = 0.5 * (lW + lH) + np.hypot(0.5 * (lW - lH), sigma)
        parts = [(least_curvature(sigma, problem.weight_decay), idle), (root, idle), (np.full(K * idle, lH), n - 1)]
        WR = self.W @ self._rows
        for p in self._shape.probabilities(self._y).T:
            spread = WR.T @ (np.diag(p) - np.outer(p, p)) @ WR / (K * n)
            parts.append((lH + np.linalg.eigvalsh(spread) if self.rank else np.zeros(0), n - 1))
        parts.append((self._active[0], 1))
        values = np.concatenate([values for values, count in parts if count])
        counts = np.concatenate([np.full(len(values), count) for values, count in parts if count])
        order = np.argsort(values)
        return Spectrum(values[order], counts[order])

    @property
    def _resolution(self) -> float:
        return ZERO * max(1.0, *self.landscape.weight_decay) * max(1.0, float(np.abs(self.spectrum.values).max()))

    @property
    def smallest_eigenvalue(self) -> float:
        """Smallest eigenvalue of the Hessian; `least_curvature` if not global and the width is above the rank."""
        return float(self.spectrum.values[0])

    @property
    def index(self) -> int:
        """Number of negative eigenvalues of the Hessian."""
        return int(self.spectrum.counts[self.spectrum.values < -self._resolution].sum())

    @property
    def nullity(self) -> int:
        """Number of zero eigenvalues of the Hessian, mostly from rotations of the features."""
        return int(self.spectrum.counts[np.abs(self.spectrum.values) <= self._resolution].sum())

    @property
    def rate(self) -> float:
        """Rate of the fastest escape: minus the smallest eigenvalue, ``|g|_2 - lambda`` for equal decays lambda."""
        return -self.smallest_eigenvalue

    @functools.cached_property
    def direction(self) -> tuple[NDArray[np.float64], ...]:
        """Unit eigenvector of the smallest eigenvalue, in the form of `layers`.

        If the width is above the rank it is ``(x u a^T, -y a v^T, 0)``. Here u, v are the top singular vectors of g, a
        is a unit vector with W a = 0, and (x, y) is the eigenvector of ``[[lW, -|g|], [-|g|, lH]]``, equal to (1,
        1)/sqrt(2) for equal decays.
        """
        problem, (lW, lH) = self.landscape, self.landscape.weight_decay
        shape = self._shape
        if self.rank < problem.width and not self.is_global:
            left, s, right = self._force
            x, y = np.linalg.eigh(np.array([[lW, -s[0]], [-s[0], lH]]))[1][:, 0]
            idle = self._frame[1][:, 0]
            dW, dX, db = x * np.outer(left[:, 0], idle), -y * np.outer(idle, right[0]), np.zeros(problem.classes)
        else:
            vector = self._active[1][:, 0] if self._active[0].size else np.zeros(0)
            if not vector.size:
                raise ValueError("direction is not defined at a minimum of rank 0")
            dW, dX, db = Function(problem, self.rank).split(vector)
            dW, dX = dW @ self._rows.T, self._rows @ dX
        dH = np.repeat(dX, problem.samples, axis=1) / math.sqrt(problem.samples)
        return (dW, dH, db)[: 2 + bool(shape.biases)]
