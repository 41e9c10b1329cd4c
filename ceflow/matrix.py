"""The full flow: classifier W and features H as they are, no symmetry assumed."""

from __future__ import annotations

import math

import numpy as np

from ._checks import log_time_unit
from .losses import full_residual
from .spectral import Rest, check_matrices, check_options

BACKENDS = ("numpy",)


class MatrixSystem:
    """What the stepper integrates: y = (W, H^T), flat, in the clock of relative speed |dy| / |y|."""

    def __init__(self, classes: int, width: int, log_unit: float) -> None:
        self.shape = (2, classes, width)
        self.log_unit = log_unit

    @staticmethod
    def allocate(*shape: int) -> np.ndarray:
        """Zeros to keep states in."""
        return np.zeros(shape)

    def rates(self, y: np.ndarray, dy: np.ndarray) -> float:
        classifier, features = y.reshape(self.shape)
        v_classifier, v_features = dy.reshape(self.shape)
        G, log_scale = full_residual(classifier @ features.T)
        np.matmul(G, features, out=v_classifier)
        np.matmul(G.T, classifier, out=v_features)
        speed = np.linalg.norm(dy)
        if speed == 0.0:
            return math.inf
        speed /= np.linalg.norm(y)
        dy /= speed
        return self.log_unit - log_scale - math.log(speed)

    def combine(self, y: np.ndarray, h: float, w: np.ndarray, k: np.ndarray, n: int, out: np.ndarray) -> None:
        np.dot(w[:n], k[:n], out=out)
        out *= h
        out += y

    def norm(self, error: np.ndarray, y: np.ndarray, rtol: float, atol: float) -> float:
        # the Frobenius norm: it does not depend on the basis, which for features is arbitrary
        return float(np.linalg.norm(error) / (0.1 * rtol * np.linalg.norm(y) + atol))

    def watch(self, y: np.ndarray, rtol: float) -> bool:
        return not np.any(y)


class MatrixFlow:
    """Cross-entropy gradient flow dW/dt = G H^T, dH/dt = W^T G on all of W (K, d) and H (d, K), G = I - softmax(W H).

    Parameters
    ----------
    backend : {"numpy"}
    loss : {"cross_entropy"}
    reduction : {"mean", "sum"}
        As in `SpectralFlow`.

    Notes
    -----
    Any width d >= 1, any start. Error control is relative to the Frobenius norm of (W, H): a singular value that is
    much smaller than the largest one is right to ``rtol`` times the largest.
    """

    def __init__(self, *, backend: str = "numpy", loss: str = "cross_entropy", reduction: str = "mean") -> None:
        if backend not in BACKENDS:
            raise ValueError(f"backend must be one of {', '.join(BACKENDS)}, got {backend!r}")
        check_options(loss, reduction)
        self.backend, self.loss, self.reduction = backend, loss, reduction

    def __repr__(self) -> str:
        return f"MatrixFlow(backend={self.backend!r}, loss={self.loss!r}, reduction={self.reduction!r})"

    @property
    def spec(self) -> dict:
        """All that makes this flow again, in terms of JSON."""
        return {"flow": "matrix", "backend": self.backend, "loss": self.loss, "reduction": self.reduction}

    def start(self, start: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
        """Checks where a run starts, a pair (W, H), and stacks it as (2, K, d): W and the transpose of H."""
        if isinstance(start, np.ndarray) and start.ndim == 3 and len(start) == 2:
            start = (start[0], start[1].T)
        try:
            W, H = start
        except (TypeError, ValueError):
            raise TypeError("a MatrixFlow starts from a pair (W, H) of matrices (K, d) and (d, K)") from None
        W, H = check_matrices(W, H)
        return np.stack([W, H.T])

    def origin(self, start: np.ndarray) -> np.ndarray:
        """Coordinates of the start."""
        return start.reshape(-1).copy()

    def mover(self, start: np.ndarray, y: np.ndarray, log_t: float, rtol: float, closed_form: bool = True):
        """What carries the state on from y: a system for the stepper, or Rest at the origin."""
        if not np.any(y):
            return Rest(y, log_t)
        _, classes, width = start.shape
        return MatrixSystem(classes, width, log_time_unit(classes, self.reduction))


def random_init(
    *, classes: int, width: int, scale: float = 1e-3, rng: np.random.Generator | int | None = 0
) -> tuple[np.ndarray, np.ndarray]:
    """A small random initialization: entries of W (K, d) and H (d, K) independent Gaussians of deviation scale/sqrt(d).

    Raises
    ------
    ValueError
        Unless classes >= 2, width >= 1 and scale > 0 is finite.
    """
    for name, value, least in (("classes", classes, 2), ("width", width, 1)):
        if isinstance(value, bool) or not isinstance(value, (int, np.integer)):
            raise TypeError(f"{name} must be an integer, got {value!r}")
        if value < least:
            raise ValueError(f"{name} must be at least {least}, got {value}")
    if not (0.0 < scale < math.inf):
        raise ValueError(f"scale must be positive and finite, got {scale!r}")
    rng = np.random.default_rng(rng)
    return tuple(
        rng.standard_normal(shape) * (scale / math.sqrt(width)) for shape in ((classes, width), (width, classes))
    )
