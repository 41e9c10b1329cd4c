"""Matrix Riccati equation: flow of a regression from a balanced start, aligned with the targets or not."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import scipy
from numpy.typing import ArrayLike, NDArray

from .._checks import checked_array, checked_choice, checked_number
from ._minimum import checked_targets
from ._modes import LARGEST

Array = NDArray[np.float64]
BALANCED = 1e-10  # |W^T W - H H^T| over |W|^2 + |H|^2
START = 1e-40  # time that counts as 0
ROUNDING = 1e-14  # entry relative to its row that counts as 0


def balanced(
    t: ArrayLike,
    W: ArrayLike,
    H: ArrayLike,
    targets: ArrayLike,
    *,
    weight_decay: float = 0.0,
    reduction: str = "sum",
) -> tuple[Array, Array]:
    """Exact solution of ``dW/dt = o (Y - W H) H^T - l W``, ``dH/dt = o W^T (Y - W H) - l H`` from ``W^T W = H H^T``.

    This is ``ceflow.MatrixFlow(loss="squared_error", targets=Y, weight_decay=l, reduction=reduction)``, with o = 1 for
    "sum" and 1/M for "mean". A bias equal to the mean of the targets is constant if all rows of H have mean 0; then
    give centred targets.

    Parameters
    ----------
    t : (...) array
        Times t >= 0.
    W, H : (n, d) and (d, M) arrays
        Layers at t = 0.
    targets : (n, M) array
        Targets Y.
    weight_decay : float
        Decay l >= 0 of both layers.
    reduction : {"sum", "mean"}

    Returns
    -------
    W : (..., n, d) array
    H : (..., d, M) array
        Up to a rotation of the features at each time: ``W W^T``, ``W H`` and ``H^T H`` are exact.

    Raises
    ------
    TypeError, ValueError
        If an argument is invalid, or the start is not balanced to 1e-10.

    Notes
    -----
    With Q = [W; H^T] and A = [[-l I, Y], [Y^T, -l I]], ``Q Q^T(t) = E Q_0 (I + Q_0^T int_0^t E^2 Q_0)^(-1) Q_0^T E``, E
    = exp(A t). It is computed from an orthonormal factor of ``[int_0^t E^2 Q_0; I]`` in the eigenbasis of A, with
    weights as logarithms, so no time overflows. The relative error of Q Q^T is rounding times the largest exponent ``1
    + |A| t`` while modes grow. The matrix Riccati equation of two linear layers is classical; with decay [ceflow].

    Examples
    --------
    >>> Y = np.diag([2.0, 1.0])
    >>> W, H = cf.theory.regression.balanced(5.0, 0.1 * np.eye(2), 0.1 * np.eye(2), Y)
    >>> (W @ H).round(4)[[0, 1], [0, 1]]
    array([2.    , 0.9955])
    """
    Y, times = checked_targets(targets), checked_array("t", t, 0.0)
    W, H = (checked_array(name, value, -LARGEST, LARGEST) for name, value in (("W", W), ("H", H)))
    n, M = Y.shape
    if W.ndim != 2 or H.ndim != 2 or W.shape != (n, H.shape[0]) or H.shape[1] != M or 0 in W.shape:
        raise ValueError(f"W must be ({n}, d) and H (d, {M}), got {W.shape} and {H.shape}")
    off = np.linalg.norm(W.T @ W - H @ H.T)
    if off > BALANCED * (np.linalg.norm(W) ** 2 + np.linalg.norm(H) ** 2):
        raise ValueError(f"W^T W and H H^T must agree at the start, their relative difference is {off:g}")
    decay = checked_number("weight_decay", weight_decay, 0.0, LARGEST)
    weight = 1.0 if checked_choice("reduction", reduction, ("sum", "mean")) == "sum" else 1.0 / M
    U, sigma, V = np.linalg.svd(Y, full_matrices=False)
    # in the eigenbasis of A: sums, differences, and the part orthogonal to the targets as R of a QR decomposition
    x, y = U.T @ W, V @ H.T
    frame, core = np.linalg.qr(np.concatenate([W - U @ x, H.T - V.T @ y]))
    rows = np.concatenate([x + y, x - y, math.sqrt(2.0) * core]) / math.sqrt(2.0)
    speeds = np.concatenate([sigma, -sigma, np.zeros(len(core))]) * weight - decay
    found_W, found_H = [], []
    for time in np.maximum(times.ravel(), START):
        now = _evolved(rows, speeds, time, weight)
        plus, minus, rest = np.split(now, [len(sigma), 2 * len(sigma)])
        rest = frame @ rest
        found_W.append(U @ (plus + minus) / math.sqrt(2.0) + rest[:n])
        found_H.append((V.T @ (plus - minus) / math.sqrt(2.0) + rest[n:]).T)
    return np.array(found_W).reshape(*times.shape, *W.shape), np.array(found_H).reshape(*times.shape, *H.shape)


def _evolved(rows: Array, speeds: Array, t: float, weight: float) -> Array:
    """``exp(speeds t) rows (I + weight rows^T int_0^t exp(2 speeds t) rows)^(-1/2)``, up to a rotation from the right.

    With the integrals g it is ``exp(speeds t) / sqrt(weight g)`` times the upper part of an orthonormal basis of the
    columns of ``[sqrt(weight g) rows; I]``. The rows are sorted by weight and rotated to lower triangular form, so that
    each column can be scaled by its largest weight.
    """
    width = rows.shape[1]
    with np.errstate(over="ignore", under="ignore"):
        # of exp(-2 x t) int_0^t exp(2 x t'): the final size, and with exp(2 x t) the weights
        log_last = np.log(weight * t * scipy.special.exprel(-2.0 * np.abs(speeds) * t))
        grows = speeds > 0.0
        log_weights = 0.5 * np.append(np.where(grows, log_last + 2.0 * speeds * t, log_last), np.zeros(width))
        log_factor = -0.5 * np.where(grows, log_last, log_last - 2.0 * speeds * t)
        whole = np.concatenate([rows, np.eye(width)])
        order = np.argsort(-log_weights, kind="stable")
        upper: Any = np.linalg.qr(whole[order].T, mode="r")
        lower = upper.T
        lower[np.abs(lower) < ROUNDING * np.linalg.norm(lower, axis=1, keepdims=True)] = 0.0
        logs = np.log(np.abs(lower), where=lower != 0.0, out=np.full(lower.shape, -np.inf)) + log_weights[order, None]
        logs -= logs.max(axis=0)
        basis = np.empty_like(lower)
        basis[order] = np.linalg.qr(np.copysign(np.exp(logs), lower))[0]
        return np.exp(log_factor)[:, None] * basis[: len(rows)]
