"""Accuracy of a linear classifier under Gaussian noise, for arbitrarily small errors."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import scipy
from numpy.typing import ArrayLike, NDArray

from .._checks import checked_array, checked_integer
from ._exponents import covariance_root
from ._state import checked_bias, checked_state, class_means


class GaussianAccuracy(NamedTuple):
    """Accuracy of a linear classifier under Gaussian noise.

    Attributes
    ----------
    balanced : float
        Mean over classes of the probability of a correct decision.
    error : float
        1 - balanced, without cancellation.
    standard_error : float
        Estimated standard error of `error`; 0 if `error` is exact.
    errors, standard_errors : (K,) arrays
        The same for each class.

    Examples
    --------
    >>> found = cf.collapse.gaussian_accuracy(np.eye(2), 4.0 * np.eye(2))
    >>> f"{found.error:.6f}", found.standard_error  # exact for two classes
    ('0.002339', 0.0)
    """

    balanced: float
    error: float
    standard_error: float
    errors: NDArray[np.float64]
    standard_errors: NDArray[np.float64]


def gaussian_accuracy(
    W: ArrayLike,
    H: ArrayLike,
    noise: ArrayLike = 1.0,
    *,
    bias: ArrayLike | None = None,
    labels: ArrayLike | None = None,
    samples: int = 10_000,
    rng: np.random.Generator | int = 0,
) -> GaussianAccuracy:
    """Probability that ``argmax_j w_j.x + b_j`` is the class of x = mu_k + Gaussian noise.

    Parameters
    ----------
    W : (K, d) array
        Classifier, K >= 2.
    H : (d, n) array
        Features, one column per sample.
    noise : float, (K,) array or (d, d) array
        Variance in each direction, for all classes or for each class; or one symmetric, positive definite covariance.
    bias : (K,) array, optional
    labels : (n,) array of integers, optional
        Class 0..K-1 of each column of H; every class must occur. By default column c has class c.
    samples : int
        Number of Monte Carlo samples per class.
    rng : int or numpy Generator

    Returns
    -------
    GaussianAccuracy

    Raises
    ------
    TypeError, ValueError
        If an argument is invalid.

    Notes
    -----
    Two classes have the closed form ``Phi(-distance)``. Otherwise the error set of a class is a union of half-spaces
    with known probabilities. A half-space is drawn by its probability, then a point in it. The sum of all probabilities
    over the number of half-spaces that contain the point is an unbiased estimate (Owen, Maximov & Chertkov,
    arXiv:1710.06965). Its relative standard error is at most ``sqrt((K - 1) / samples) / 2``, for any error
    probability.

    Examples
    --------
    >>> W = cf.collapse.simplex_etf(10)
    >>> found = cf.collapse.gaussian_accuracy(W, 5.0 * W.T)
    >>> f"error {found.error:.2e}, standard error {found.standard_error:.0e}"
    'error 8.08e-04, standard error 5e-07'
    """
    W, H, labels = checked_state(W, H, labels)
    if W.ndim != 2:
        raise ValueError(f"W must be (K, d), one classifier, got {W.shape}")
    K, d = W.shape
    bias = np.zeros(K) if bias is None else checked_bias(bias, W.shape[:-1])
    samples = checked_integer("samples", samples, 2)
    rng = np.random.default_rng(rng)
    means = class_means(H, labels, K)
    errors, standard_errors = np.empty((2, K))
    for k, root in enumerate(_roots(noise, K, d)):
        others = np.delete(np.arange(K), k)
        u = (W[k] - W[others]) @ root
        margin = (W[k] - W[others]) @ means[k] + bias[k] - bias[others]
        size = np.linalg.norm(u, axis=-1)
        if np.any((size == 0.0) & ((margin < 0.0) | ((margin == 0.0) & (others < k)))):  # ties go to the lowest class
            errors[k], standard_errors[k] = 1.0, 0.0
            continue
        errors[k], standard_errors[k] = _union(u[size > 0.0], margin[size > 0.0], samples, rng)
    error = float(errors.mean())
    return GaussianAccuracy(1.0 - error, error, float(np.linalg.norm(standard_errors)) / K, errors, standard_errors)


def _roots(noise: ArrayLike, classes: int, width: int) -> list[NDArray]:
    """Square root of the covariance of each class."""
    noise = checked_array("noise", noise, -1e150, 1e150)
    if noise.ndim == 1:
        if noise.shape != (classes,):
            raise ValueError(f"noise must have one variance for each of {classes} classes, got shape {noise.shape}")
        return [covariance_root(variance, width) for variance in noise]
    return [covariance_root(noise, width)] * classes


def _union(u: NDArray, margin: NDArray, samples: int, rng: np.random.Generator) -> tuple[float, float]:
    """Probability that ``u_j.z < -margin_j`` for some j, z a standard Gaussian, and its standard error."""
    if not len(u):
        return 0.0, 0.0
    size = np.linalg.norm(u, axis=-1)
    normals, distances = -u / size[:, None], margin / size  # an error j is normals_j.z > distances_j
    log_each = scipy.special.log_ndtr(-distances)
    if len(u) == 1:
        return float(np.exp(log_each[0])), 0.0
    log_total = scipy.special.logsumexp(log_each)
    which = rng.choice(len(u), size=samples, p=np.exp(log_each - log_total))
    z = rng.standard_normal((samples, u.shape[1]))
    beyond = -scipy.special.ndtri_exp(log_each[which] + np.log1p(-rng.random(samples)))  # along the normal, in the tail
    normal = normals[which]
    z += (beyond - (z * normal).sum(axis=1))[:, None] * normal
    hit = z @ normals.T > distances
    hit[np.arange(samples), which] = True  # despite rounding
    shares = 1.0 / hit.sum(axis=1)
    total = math.exp(log_total)
    return min(float(total * shares.mean()), 1.0), float(total * shares.std(ddof=1) / math.sqrt(samples))
