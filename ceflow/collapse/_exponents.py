"""Error exponents of a linear classifier for small feature noise."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import scipy
from numpy.typing import ArrayLike, NDArray

from .._checks import checked_array
from ._state import checked_bias, checked_state, class_means


class ErrorExponents(NamedTuple):
    """Error exponents of the decision ``argmax_j w_j.x + b_j`` for x = mu_k + Gaussian noise.

    With noise covariance ``eps Sigma``, class k is confused with j with probability about ``exp(-E_kj / eps)`` as eps
    goes to 0. For two classes it is exactly ``Phi(-sqrt(2 E_kj / eps))`` if the decision is correct without noise.
    Priors and fixed shifts of the logits do not change E.

    Attributes
    ----------
    pairs : (..., K, K) array
        ``E_kj = ((w_k - w_j).mu_k + b_k - b_j)_+^2 / (2 |w_k - w_j|^2_Sigma)`` for confusing class k with j; inf for j
        = k, 0 if mu_k is on the wrong side of the boundary.
    classes : (..., K) array
        E_k, the minimum of each row: class k is confused with any other.
    worst : (...) array
        E, the minimum of all E_kj.
    optimum : (..., K, K) array
        ``|mu_k - mu_j|^2 / 8`` in the norm of Sigma^-1; inf for j = k. No classifier has larger E_kj and E_jk at once.
        The nearest class mean, ``w = Sigma^-1 mu`` and ``b = -w.mu / 2``, attains all of them.
    cosine_squared : (..., K, K) array
        cos^2 of the angle theta_kj between ``Sigma^(1/2) (w_k - w_j)`` and ``Sigma^(-1/2) (mu_k - mu_j)``; 0 for obtuse
        angles, 1 for j = k.
    bound : (..., K, K) array
        ``cosine_squared * optimum``, an upper bound of min(E_kj, E_jk) for any biases. Equality holds if and only if
        the boundary has the same distance from both means.

    Examples
    --------
    >>> found = cf.collapse.error_exponents(np.eye(2), [[1.0, 0.0], [0.5, 1.0]])
    >>> found.pairs.round(4)  # class 0 is taken for 1 more often than 1 for 0
    array([[   inf, 0.0625],
           [0.25  ,    inf]])
    >>> found.classes.round(4), f"{found.worst:.4f}"
    (array([0.0625, 0.25  ]), '0.0625')
    """

    pairs: NDArray[np.float64]
    classes: NDArray[np.float64]
    worst: NDArray[np.float64]
    optimum: NDArray[np.float64]
    cosine_squared: NDArray[np.float64]
    bound: NDArray[np.float64]

    @property
    def efficiency(self) -> NDArray[np.float64]:
        """(..., K, K) array, ``pairs / optimum``; NaN for j = k, not finite for equal means."""
        with np.errstate(divide="ignore", invalid="ignore"):
            return self.pairs / self.optimum


def error_exponents(
    W: ArrayLike,
    H: ArrayLike,
    b: ArrayLike | None = None,
    noise: ArrayLike = 1.0,
    labels: ArrayLike | None = None,
) -> ErrorExponents:
    """Error exponents of a linear classifier under Gaussian noise around the class means.

    Parameters
    ----------
    W : (..., K, d) array
        Classifier, K >= 2.
    H : (..., d, n) array
        Features, one column per sample.
    b : (K,) or (..., K) array, optional
        Bias.
    noise : float or (d, d) array
        Noise covariance Sigma, symmetric and positive definite; a number is a variance.
    labels : (n,) array of integers, optional
        Class 0..K-1 of each column of H; every class must occur. By default column c has class c.

    Returns
    -------
    ErrorExponents

    Raises
    ------
    TypeError, ValueError
        If an argument is invalid.

    Notes
    -----
    [ceflow], our model of the "optimal error exponent" of arXiv:2512.07844, whose formulas we have not seen. Proved in
    the derivation `error_exponents`.

    Examples
    --------
    >>> etf = cf.collapse.simplex_etf(3)
    >>> found = cf.collapse.error_exponents(etf, 2.0 * etf.T)
    >>> f"{found.worst:.4f}, {found.optimum.min():.4f}"  # aligned: no classifier is better
    '1.5000, 1.5000'
    >>> turned = etf @ [[0.8, -0.6], [0.6, 0.8]]
    >>> f"{cf.collapse.error_exponents(turned, 2.0 * etf.T).worst:.4f}"
    '0.3086'
    """
    W, H, labels = checked_state(W, H, labels)
    K, d = W.shape[-2:]
    b = np.zeros(K) if b is None else checked_bias(b, W.shape[:-1])
    means = class_means(H, labels, K)
    # in coordinates with white noise
    root = covariance_root(noise, d)
    rows, points = W @ root, _solved(root, means)
    u, D = (x[..., :, None, :] - x[..., None, :, :] for x in (rows, points))
    other = ~np.eye(K, dtype=bool)
    margin = (u * points[..., :, None, :]).sum(axis=-1) + b[..., :, None] - b[..., None, :]
    size, square = np.linalg.norm(u, axis=-1), (D * D).sum(axis=-1)
    along = np.maximum((u * D).sum(axis=-1), 0.0)
    with np.errstate(divide="ignore", invalid="ignore"):  # equal rows: the decision is constant
        distance = np.where(size > 0.0, margin / size, np.where(margin > 0.0, np.inf, 0.0))
        cosine = np.where(along > 0.0, along / (size * np.sqrt(square)), 0.0)
    pairs = np.where(other, 0.5 * np.maximum(distance, 0.0) ** 2, np.inf)
    optimum = np.where(other, square / 8.0, np.inf)
    cosine_squared = np.where(other, np.minimum(cosine, 1.0) ** 2, 1.0)
    classes = pairs.min(axis=-1)
    bound = np.where(other, cosine_squared * np.where(other, optimum, 0.0), np.inf)
    return ErrorExponents(pairs, classes, classes.min(axis=-1), optimum, cosine_squared, bound)


def covariance_root(noise: ArrayLike, width: int) -> NDArray[np.float64]:
    """Cholesky factor L (d, d) of the covariance; a ValueError unless it is positive definite."""
    noise = checked_array("noise", noise, -1e150, 1e150)
    if noise.ndim == 0:
        noise = noise * np.eye(width)
    if noise.shape != (width, width):
        raise ValueError(f"noise must be a variance or a covariance ({width}, {width}), got shape {noise.shape}")
    if np.abs(noise - noise.T).max() > 1e-12 * np.abs(noise).max():
        raise ValueError("noise must be symmetric")
    try:
        return np.asarray(np.linalg.cholesky(noise), float)
    except np.linalg.LinAlgError:
        raise ValueError("noise must be positive definite, got a variance <= 0 or a singular covariance") from None


def _solved(root: NDArray, rows: NDArray) -> NDArray:
    """Rows (..., d) times the inverse of L^T."""
    flat = rows.reshape(-1, rows.shape[-1])
    return scipy.linalg.solve_triangular(root, flat.T, lower=True).T.reshape(rows.shape)
