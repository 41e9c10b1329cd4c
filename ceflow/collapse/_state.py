"""Checks of arguments and scaling of matrices, shared by the measures."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .._arrays import svd
from .._checks import checked_array, on_host

LIMIT = 1e150  # largest entry: logits do not overflow


def checked_labels(labels: ArrayLike | None, classes: int, samples: int) -> NDArray[np.int64]:
    if labels is None:
        if samples != classes:
            raise ValueError(
                f"labels must be given unless H has {classes} columns, one per class; got {samples}"
            )
        return np.arange(classes)
    labels = np.asarray(on_host(labels))
    if labels.dtype.kind not in "iu":
        raise TypeError(f"labels must be integers, got dtype {labels.dtype}")
    if labels.shape != (samples,):
        raise ValueError(f"labels must have shape ({samples},), one for each column of H, got {labels.shape}")
    if not np.array_equal(np.unique(labels), np.arange(classes)):
        raise ValueError(f"labels must be from 0 to {classes - 1} and all occur, got {np.unique(labels)}")
    return labels.astype(np.int64)


def checked_state(W: ArrayLike, H: ArrayLike, labels: ArrayLike | None) -> tuple[NDArray, NDArray, NDArray[np.int64]]:
    """Checked W (..., K, d), H (..., d, n) and labels (n,); raises a TypeError or a ValueError."""
    W, H = (checked_array(name, values, -LIMIT, LIMIT) for name, values in (("W", W), ("H", H)))
    if W.ndim < 2 or H.ndim < 2 or W.shape[-2] < 2 or (*W.shape[:-2], W.shape[-1]) != H.shape[:-1] or 0 in W.shape:
        raise ValueError(f"W must be (..., K, d) with K >= 2, d >= 1 and H (..., d, n), got {W.shape} and {H.shape}")
    return W, H, checked_labels(labels, W.shape[-2], H.shape[-1])


def class_means(H: NDArray[np.float64], labels: NDArray[np.int64], classes: int) -> NDArray[np.float64]:
    """(..., K, d) means of the columns of each class."""
    one_hot = labels[:, None] == np.arange(classes)
    return transposed(H @ (one_hot / one_hot.sum(axis=0)))


def checked_bias(bias: ArrayLike, lead: tuple[int, ...]) -> NDArray[np.float64]:
    bias = checked_array("bias", bias, -LIMIT, LIMIT)
    if bias.shape not in (lead, lead[-1:]):
        raise ValueError(f"bias must have shape ({lead[-1]},) or {lead}, one for each class, got {bias.shape}")
    return bias


def scales_of_logits(scale: NDArray[np.float64], bias: NDArray[np.float64] | None) -> tuple:
    """Factor of the product of scaled matrices, scaled bias, and scale of the logits."""
    if bias is None:
        return 1.0, 0.0, scale
    top = np.maximum(scale, np.abs(bias).max(axis=-1))
    top = np.where(top > 0, top, 1.0)
    return (scale / top)[..., None, None], (bias / top[..., None])[..., None], top


def inverse(matrix: NDArray[np.float64], smallest: float | NDArray[np.float64]) -> NDArray[np.float64]:
    """Moore-Penrose inverse; singular values up to `smallest` (..., 1) times the largest count as 0."""
    left, s, right = svd(matrix, full_matrices=False)
    kept = s > smallest * s[..., :1]
    return transposed(right) @ (np.where(kept, 1.0 / np.where(kept, s, 1.0), 0.0)[..., None] * transposed(left))


def transposed(matrix: NDArray[np.float64]) -> NDArray[np.float64]:
    return matrix.swapaxes(-1, -2)


def scaled(matrix: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Matrix divided by its largest entry, so that no square overflows, and this entry (1 for a zero matrix)."""
    largest = np.abs(matrix).max(axis=(-2, -1))
    largest = np.where(largest > 0, largest, 1.0)
    return matrix / largest[..., None, None], largest


def norm(matrix: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.linalg.norm(matrix, axis=(-2, -1))


def unit(matrix: NDArray[np.float64]) -> NDArray[np.float64]:
    return matrix / norm(matrix)[..., None, None]
