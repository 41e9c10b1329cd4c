"""Alignment of a classifier with the class means, for classes and pairs, and maps that improve it."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .._checks import checked_choice, checked_number
from ._state import checked_state, class_means


class Alignment(NamedTuple):
    """Angles between classifier and class means, in radians; NaN for a zero vector.

    Attributes
    ----------
    cosine, angle : (..., K) arrays
        Between row w_k and class mean mu_k.
    centred_cosine, centred_angle : (..., K) arrays
        Between w_k and mu_k minus the global mean. Zero angles are NC3 up to norms.
    pair_cosine, pair_angle : (..., K, K) arrays
        theta_kj, between ``w_k - w_j`` and ``mu_k - mu_j``; NaN for j = k. The error exponent of a pair is at most
        cos^2 of this angle times the optimum (see `error_exponents`). Aligned rows give theta_kj = 0 only if the norms
        are proportional too.

    Examples
    --------
    >>> found = cf.collapse.alignment(np.eye(2), [[1.0, 0.0], [1.0, 1.0]])
    >>> np.degrees(found.angle).round(4), np.degrees(found.centred_angle).round(4)
    (array([45.,  0.]), array([ 0., 90.]))
    """

    cosine: NDArray[np.float64]
    angle: NDArray[np.float64]
    centred_cosine: NDArray[np.float64]
    centred_angle: NDArray[np.float64]
    pair_cosine: NDArray[np.float64]
    pair_angle: NDArray[np.float64]


def alignment(
    W: ArrayLike, H: ArrayLike, labels: ArrayLike | None = None, *, centring: str = "class-means"
) -> Alignment:
    """Angles between the rows of a classifier and the class means.

    Parameters
    ----------
    W : (..., K, d) array
        Classifier, K >= 2.
    H : (..., d, n) array
        Features, one column per sample.
    labels : (n,) array of integers, optional
        Class 0..K-1 of each column; every class must occur. By default column c has class c.
    centring : {"class-means", "samples"}
        Global mean over the class means or over the samples.

    Returns
    -------
    Alignment

    Raises
    ------
    TypeError, ValueError
        If an argument is invalid.

    Notes
    -----
    Small angles are accurate to rounding. The angle between centred class means and classifier rows is the misalignment
    of Wang, Gao & Xie (arXiv:2512.07844); the angles of pairs are [ceflow].

    Examples
    --------
    >>> W = cf.collapse.simplex_etf(3)
    >>> H = W.T @ [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 2.0]]
    >>> np.degrees(cf.collapse.alignment(W, H).pair_angle).round(2)  # rows are aligned, but norms differ
    array([[  nan,  0.  , 10.89],
           [ 0.  ,   nan, 10.89],
           [10.89, 10.89,   nan]])
    """
    W, H, labels = checked_state(W, H, labels)
    checked_choice("centring", centring, ("class-means", "samples"))
    means = class_means(H, labels, W.shape[-2])
    centre = (means if centring == "class-means" else H.swapaxes(-1, -2)).mean(axis=-2, keepdims=True)
    pairs = _cosine_and_angle(_differences(W), _differences(means))
    return Alignment(*_cosine_and_angle(W, means), *_cosine_and_angle(W, means - centre), *pairs)


def _differences(rows: NDArray) -> NDArray:
    """(..., K, K, d) row k minus row j."""
    return rows[..., :, None, :] - rows[..., None, :, :]


def _unit(vectors: NDArray) -> NDArray:
    scale = np.abs(vectors).max(axis=-1, keepdims=True)
    with np.errstate(invalid="ignore"):
        vectors = vectors / scale
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)


def _cosine_and_angle(x: NDArray, y: NDArray) -> tuple[NDArray, NDArray]:
    """Cosine and angle of vectors along the last axis; by Kahan's formula, accurate for small angles too."""
    x, y = _unit(x), _unit(y)
    angle = 2.0 * np.arctan2(np.linalg.norm(x - y, axis=-1), np.linalg.norm(x + y, axis=-1))
    return np.clip((x * y).sum(axis=-1), -1.0, 1.0), angle


def slerp(W: ArrayLike, H: ArrayLike, share: float = 1.0, labels: ArrayLike | None = None) -> NDArray[np.float64]:
    """Rotate each row of a classifier towards its class mean by a share of the angle; norms stay.

    ``w_k <- |w_k| slerp(w_k / |w_k|, mu_k / |mu_k|; share)``: an angle theta becomes (1 - share) theta.

    Parameters
    ----------
    W : (..., K, d) array
    H : (..., d, n) array
    share : float
        From 0 (no rotation) to 1 (aligned).
    labels : (n,) array of integers, optional
        As in `alignment`.

    Returns
    -------
    (..., K, d) array

    Raises
    ------
    TypeError, ValueError
        If an argument is invalid, a row or a class mean is 0, or they have opposite directions.

    Notes
    -----
    Our model [ceflow] of SpA-SLERP of arXiv:2512.07844, whose formula we have not seen.

    Examples
    --------
    >>> W, H = np.array([[0.0, 1.0], [-1.0, 0.0]]), np.array([[1.0, -1.0], [0.0, 0.0]])
    >>> cf.collapse.slerp(W, H, share=0.5).round(4)  # 45 of 90 degrees
    array([[ 0.7071,  0.7071],
           [-1.    ,  0.    ]])
    """
    share = checked_number("share", share, 0.0, 1.0)
    W, means = _rows_and_means(W, H, labels)
    row, mean = _unit(W), _unit(means)
    cosine, angle = (value[..., None] for value in _cosine_and_angle(W, means))
    if (angle > np.pi * (1.0 - 1e-12)).any():
        raise ValueError("a row of W and its class mean have opposite directions: the rotation is not unique")
    across = mean - cosine * row  # in their plane, orthogonal to the row
    length = np.linalg.norm(across, axis=-1, keepdims=True)
    across = across / np.where(length > 0.0, length, 1.0)
    return np.linalg.norm(W, axis=-1, keepdims=True) * (np.cos(share * angle) * row + np.sin(share * angle) * across)


def project(W: ArrayLike, H: ArrayLike, share: float = 1.0, labels: ArrayLike | None = None) -> NDArray[np.float64]:
    """Reduce the part of each row of a classifier that is orthogonal to its class mean by a share.

    ``w_k <- R w_k + (1 - share) (1 - R) w_k`` with the projection R onto mu_k: ``tan(theta') = (1 - share)
    tan(theta)``.

    Parameters
    ----------
    W : (..., K, d) array
    H : (..., d, n) array
    share : float
        From 0 (no change) to 1 (projected).
    labels : (n,) array of integers, optional
        As in `alignment`.

    Returns
    -------
    (..., K, d) array

    Raises
    ------
    TypeError, ValueError
        If an argument is invalid, or a row or a class mean is 0.

    Notes
    -----
    Our model [ceflow] of SpA-Proj of arXiv:2512.07844, whose formula we have not seen.

    Examples
    --------
    >>> W, H = np.array([[1.0, 1.0], [-1.0, 1.0]]), np.array([[1.0, -1.0], [0.0, 0.0]])
    >>> cf.collapse.project(W, H, share=0.5)
    array([[ 1. ,  0.5],
           [-1. ,  0.5]])
    """
    share = checked_number("share", share, 0.0, 1.0)
    W, means = _rows_and_means(W, H, labels)
    mean = _unit(means)
    along = (W * mean).sum(axis=-1, keepdims=True) * mean
    return along + (1.0 - share) * (W - along)


def _rows_and_means(W: ArrayLike, H: ArrayLike, labels: ArrayLike | None) -> tuple[NDArray, NDArray]:
    W, H, labels = checked_state(W, H, labels)
    means = class_means(H, labels, W.shape[-2])
    for name, vectors in (("row of W", W), ("class mean", means)):
        if not np.abs(vectors).max(axis=-1).all():
            raise ValueError(f"a {name} is 0 and has no direction")
    return W, means
