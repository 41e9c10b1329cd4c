"""Nearest-mean classification of Gaussian classes, with known means or means estimated from few samples."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import scipy
from numpy.typing import ArrayLike, NDArray

from ..._checks import checked_array, checked_integer, checked_number
from ...symmetry import Scheme
from ._features import LARGEST, checked_features


def pair_errors(means: ArrayLike, noise: ArrayLike) -> NDArray[np.float64]:
    """Probability ``Q(|x|^2 / (2 |L^T x|))`` that a sample of class i is nearer to the mean of class j [ceflow].

    x is the difference of the known means, Q is the upper tail of the normal distribution, and features are ``mean + L
    xi``. It is at least the Bayes error ``Q(1 / (sqrt(2) tau))`` of the inputs, with equality at neural collapse
    without A_n.

    Parameters
    ----------
    means : (d, k) array
        Features of the classes as columns: ``A @ inputs``.
    noise : (d, m) array
        ``L = tau * A``, or any square root of the covariance ``L L^T``.

    Returns
    -------
    (k, k) array
        0 on the diagonal; 1/2 for classes with equal means.

    Examples
    --------
    >>> cf.theory.complexity.pair_errors(np.eye(3), 0.5 * np.eye(3)).round(4)
    array([[0.    , 0.0786, 0.0786],
           [0.0786, 0.    , 0.0786],
           [0.0786, 0.0786, 0.    ]])
    """
    means, noise = _checked_gaussians(means, noise)
    difference, square = _differences(means)
    spread = np.linalg.norm(np.einsum("dD,dij->Dij", noise, difference), axis=0)
    with np.errstate(divide="ignore", invalid="ignore"):
        found = scipy.special.ndtr(-np.where(square > 0.0, square / (2.0 * spread), 0.0))
    np.fill_diagonal(found, 0.0)
    return found


def pair_error_on_modes(scheme: Scheme, features: ArrayLike, *, tau: float = 1.0) -> NDArray[np.float64]:
    """`pair_errors` for each relation, for features on a scheme without A_n [ceflow].

    ``Q(d_j^2 / (2 tau |H^T x|))`` with ``|H^T x|^2 = (2/K) sum_i m_i b_i^4 (1 - P_ij / k_j)``: no full matrices are
    needed.

    Parameters
    ----------
    scheme, features
        As in `feature_complexity`.
    tau : float

    Returns
    -------
    (..., D) array

    Examples
    --------
    >>> cf.theory.complexity.pair_error_on_modes(cf.hadamard(4), [1.0, 1.0, 2.0], tau=0.5).round(4)
    array([0.1126, 0.1126, 0.0786])
    """
    b, tau = checked_features(scheme, features), checked_number("tau", tau, 1e-100, 1e100)
    squares, fourths = 2.0 * scheme.margins(b**2), 2.0 * scheme.margins(b**4)
    with np.errstate(divide="ignore", invalid="ignore"):
        return scipy.special.ndtr(-np.where(squares > 0.0, squares / (2.0 * tau * np.sqrt(fourths)), 0.0))[()]


def union_bound(errors: ArrayLike) -> float:
    """Union bound on the error probability among all classes from pair errors (k, k): mean over classes, at most 1.

    Examples
    --------
    >>> errors = cf.theory.complexity.pair_errors(np.eye(3), 0.3 * np.eye(3))
    >>> f"{cf.theory.complexity.union_bound(errors):.4f}"
    '0.0184'
    """
    errors = checked_array("errors", errors, 0.0, 1.0)
    if errors.ndim != 2 or errors.shape[0] != errors.shape[1]:
        raise ValueError(f"errors must have shape (k, k), got {errors.shape}")
    return float(np.minimum(errors.sum(axis=1) - np.diag(errors), 1.0).mean())


class FewShot(NamedTuple):
    """Nearest-mean classification between two classes from n samples each; see `few_shot`.

    Attributes
    ----------
    mean : (k, k) array
        Mean of the margin: the squared distance of the means.
    variance : (k, k) array
        Variance v of the margin.
    bound : (k, k) array
        Bound on the error probability, ``v / (v + mean^2)`` (Cantelli); 0 on the diagonal.
    complexity_bound : (k, k) array
        The same with the bound ``v <= (4 (1 + 1/n) V + (8/n + 4/n^2) V^2) mean^2``, where ``V = |L|_F^2 / mean`` is the
        CDNV of the pair.

    Examples
    --------
    >>> found = cf.theory.complexity.few_shot(np.eye(3), 0.2 * np.eye(3), 5)
    >>> f"{found.bound[0, 1]:.4f} <= {found.complexity_bound[0, 1]:.4f}"
    '0.0893 <= 0.2274'
    """

    mean: NDArray[np.float64]
    variance: NDArray[np.float64]
    bound: NDArray[np.float64]
    complexity_bound: NDArray[np.float64]


def few_shot(means: ArrayLike, noise: ArrayLike, shots: int) -> FewShot:
    """Error of nearest-mean classification with means estimated from n samples per class [ceflow].

    A sample h of class i is misclassified if its margin ``|h - m_j|^2 - |h - m_i|^2`` is negative. For Gaussian classes
    of covariance C the margin has exactly the mean ``|x|^2`` and the variance ``v = 4 (1 + 1/n) x^T C x + (8/n + 4/n^2)
    tr C^2``.

    Parameters
    ----------
    means, noise
        As in `pair_errors`.
    shots : int
        Number n of samples per class.

    Returns
    -------
    FewShot

    Examples
    --------
    >>> for shots in (1, 5, 100):
    ...     print(f"{cf.theory.complexity.few_shot(np.eye(3), 0.2 * np.eye(3), shots).bound[0, 1]:.4f}")
    0.1485
    0.0893
    0.0748
    """
    means, noise = _checked_gaussians(means, noise)
    n = checked_integer("shots", shots, 1, 10**9)
    difference, mean = _differences(means)
    spread = (np.einsum("dD,dij->Dij", noise, difference) ** 2).sum(axis=0)
    gram = noise.T @ noise if noise.shape[0] > noise.shape[1] else noise @ noise.T
    linear, quadratic = 4.0 * (1.0 + 1.0 / n), 8.0 / n + 4.0 / n**2
    variance = linear * spread + quadratic * (gram**2).sum()
    trace = np.trace(gram)
    variances = (variance, linear * trace * mean + quadratic * trace**2)
    bounds = [_cantelli(v, mean) for v in variances]
    return FewShot(mean, variance, *bounds)


def _cantelli(variance: NDArray[np.float64], mean: NDArray[np.float64]) -> NDArray[np.float64]:
    with np.errstate(invalid="ignore"):
        bound = np.where(mean > 0.0, variance / (variance + mean**2), 1.0)
    np.fill_diagonal(bound, 0.0)
    return bound


def _differences(means: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Differences (d, k, k) of the means, and their squared norms (k, k)."""
    difference = means[:, :, None] - means[:, None, :]
    return difference, (difference**2).sum(axis=0)


def _checked_gaussians(means: ArrayLike, noise: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    means, noise = (checked_array(name, x, -LARGEST, LARGEST) for name, x in (("means", means), ("noise", noise)))
    if means.ndim != 2 or noise.ndim != 2 or means.shape[0] != noise.shape[0] or means.shape[1] < 2:
        raise ValueError(f"means must be (d, k), k >= 2, and noise (d, m), got {means.shape} and {noise.shape}")
    return means, noise
