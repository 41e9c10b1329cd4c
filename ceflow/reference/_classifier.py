"""Features with a nearest, fixed or free classifier, by the defining equations in float64."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ._network import NetworkDefinition, Parts, Pull


class ClassifierDefinition(NetworkDefinition):
    """Definition of the flow of features H (n, d, N) with a nearest simplex ETF, fixed, or free classifier W (n, K, d).

    It has the interface of a `NetworkDefinition`. A free W is a part before H.

    The nearest ETF is ``W = sqrt(K/(K-1)) P^T``, where P is the polar factor of the centred class means. It and a fixed
    classifier have the bias ``-W mu``, with the mean mu of the class means (Markou, Ajanthan & Gould,
    arXiv:2411.01248).

    Parameters
    ----------
    flow : ETFFlow
        Only its options are used.
    W : (K, d) array
        Classifier of the start.

    Examples
    --------
    >>> W, H = cf.random_init(classes=3, width=3, scale=1.0, rng=0)
    >>> nearest = cf.reference.ClassifierDefinition(cf.ETFFlow("nearest"), W).whole([H[None]])[0]
    >>> bool(np.abs(nearest[0] - cf.collapse.nearest_etf(H).W).max() < 1e-12)
    True
    """

    def __init__(self, flow: Any, W: NDArray[np.float64]) -> None:
        super().__init__(dataclasses.replace(flow.objective, frozen=()), len(W))
        self.classifier, self.through, self.radius, self.W = flow.classifier, flow.argmin_gradient, flow.radius, W
        self.means = self.one_hot.T / self.one_hot.sum(axis=1)  # (N, K): H times this gives the class means
        self.mean = self.means.mean(axis=1)
        self.decays = (0.0,) * (2 if flow.classifier == "free" else 1)

    def whole(self, parts: Parts) -> Parts:
        """W, H and the bias."""
        H, n = parts[-1], len(parts[-1])
        if self.classifier == "free":
            return [*parts, np.zeros((n, self.classes))]
        W = np.broadcast_to(self.W, (n, *self.W.shape))
        if self.classifier == "nearest":
            left, _, right = self._polar(H)
            W = math.sqrt(self.classes / (self.classes - 1.0)) * (left @ right).swapaxes(1, 2)
        return [W, H, -(W @ (H @ self.mean)[..., None])[..., 0]]

    def logits(self, parts: Parts) -> NDArray:
        """(n, K, N) logits, bias included."""
        return super().logits(self.whole(parts))

    def pull(self, parts: Parts, others: Any = None) -> Pull:
        """Velocities, in the time unit of the reduction, and the loss."""
        whole = self.whole(parts)
        Z = super().logits(whole)
        pushes, log_scale = self._velocities(Z, whole)
        gross = self._back(self._gross(Z, log_scale), whole, True)
        gross = [
            *gross[: len(parts) - 1],
            gross[1] + (np.abs(whole[0]).swapaxes(1, 2) @ gross[2][..., None]) * self.mean,
        ]
        return Pull(self._moved(parts, whole, pushes), gross, log_scale, self._log_loss(Z))

    def velocities(self, parts: Parts, others: Any = None) -> tuple[Parts, NDArray]:
        """`Pull.velocities` and `Pull.log_scale` alone."""
        whole = self.whole(parts)
        pushes, log_scale = self._velocities(super().logits(whole), whole)
        return self._moved(parts, whole, pushes), log_scale

    def _moved(self, parts: Parts, whole: Parts, pushes: Parts) -> Parts:
        """Velocities of the moving parts from those of W, H and the bias."""
        (W, H, _), (in_W, in_H, in_b) = whole, pushes
        if self.classifier == "free":
            velocities = [in_W, in_H]
        else:
            velocities = [in_H - (W.swapaxes(1, 2) @ in_b[..., None]) * self.mean]
            if self.through:
                slope = in_W - in_b[..., None] * (H @ self.mean)[:, None]
                velocities[0] = velocities[0] + self._through_nearest(H, slope)
        if self.radius is not None:
            velocities = [_tangent(part, v, axis) for part, v, axis in zip(parts, velocities, self._axes, strict=True)]
        return velocities

    def penalty(self, parts: Parts) -> NDArray:
        """(n,) zeros: there is no weight decay."""
        return np.zeros(len(parts[0]))

    @property
    def _axes(self) -> tuple[int, ...]:
        """Axes along which norms are constant: rows of W, columns of H."""
        return (2, 1)[-len(self.decays) :]

    def _polar(self, H: NDArray) -> tuple[NDArray, NDArray, NDArray]:
        """K - 1 singular vectors and values of the centred class means (n, d, K)."""
        centred = H @ self.means
        centred = centred - centred.mean(axis=2, keepdims=True)
        left, s, right = np.linalg.svd(centred, full_matrices=False)
        few = self.classes - 1
        return left[..., :few], s[..., :few], right[..., :few, :]

    def _through_nearest(self, H: NDArray, slope: NDArray) -> NDArray:
        """Gradient in the features from a gradient (n, K, d) in the nearest ETF: adjoint derivative of the polar factor
        ``U V^T`` of ``U S V^T``."""
        left, s, right = self._polar(H)
        push = math.sqrt(self.classes / (self.classes - 1.0)) * slope.swapaxes(1, 2)
        inside = left.swapaxes(1, 2) @ push @ right.swapaxes(1, 2)
        turned = (inside - inside.swapaxes(1, 2)) / (s[:, :, None] + s[:, None, :])
        outside = push @ right.swapaxes(1, 2) - left @ inside
        found = (left @ turned + outside / s[:, None, :]) @ right
        found = found - found.mean(axis=2, keepdims=True)
        return found @ self.means.T


def _tangent(vectors: NDArray, velocities: NDArray, axis: int) -> NDArray:
    """Velocities without their radial part along an axis."""
    along = (vectors * velocities).sum(axis=axis, keepdims=True) / (vectors**2).sum(axis=axis, keepdims=True)
    return velocities - along * vectors
