"""Global minimum of a regression with weight decay on two linear layers."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .._checks import checked_array, checked_integer, checked_number
from ._modes import LARGEST, checked_decays

Array = NDArray[np.float64]
ROUNDING = 1e-12  # relative eigenvalue that counts as 0


class Minimum(NamedTuple):
    """A global minimum; all others are ``(W R, R^T H, b)`` with orthogonal R.

    Attributes
    ----------
    W : (n, d) array
    H : (d, M) array
    b : (n,) array
    objective : float
        Value of the objective, loss plus decay.
    singular_values : (n,) array
        Singular values ``(sigma_i - sqrt(c))_+`` of ``W H / sqrt(M)``, descending.
    threshold : float
        c = lW lH. Modes are 0 if their eigenvalue ``sigma_i^2`` of the covariance of the targets is at most c.

    Examples
    --------
    >>> Y = cf.theory.regression.targets_of(np.diag([2.0, 0.5]), 20)
    >>> best = cf.theory.regression.minimum(Y, (1.0, 0.8))
    >>> f"{best.threshold:.2f}", best.singular_values.round(4)  # the second mode is dead
    ('0.80', array([0.5198, 0.    ]))
    """

    W: Array
    H: Array
    b: Array
    objective: float
    singular_values: Array
    threshold: float

    @property
    def rank(self) -> int:
        """Number of nonzero modes."""
        return int(np.count_nonzero(self.singular_values))


def minimum(
    targets: ArrayLike,
    weight_decay: float | tuple[float, float],
    *,
    width: int | None = None,
    rng: np.random.Generator | int | None = 0,
) -> Minimum:
    """Global minimum of ``|W H + b 1^T - Y|^2/(2 M) + lH/(2 M) |H|^2 + lW/2 |W|^2``, for all lW lH.

    For the covariance ``Sigma = U diag(sigma^2) U^T`` of the targets and c = lW lH it is ::

        W W^T = sqrt(lH/lW) U diag((sigma - sqrt(c))_+) U^T,   H = sqrt(lW/lH) W^T Sigma^(-1/2) (Y - ybar),   b = ybar,

    with the positive part (.)_+. A mode above the threshold c contributes ``c/2 + sqrt(c) (sigma_i - sqrt(c))`` to the
    value, a mode below it ``sigma_i^2/2``.

    Parameters
    ----------
    targets : (n, M) array
        Targets Y.
    weight_decay : float or (lW, lH)
        Both positive; or both 0, which gives the balanced minimum with loss 0.
    width : int, optional
        Feature dimension d, at least the number of modes above the threshold; default n.
    rng : int or numpy Generator
        Seed or generator of the orthonormal frame of features.

    Returns
    -------
    Minimum

    Raises
    ------
    TypeError, ValueError
        If an argument is invalid. If one decay is 0 the infimum is not attained.

    Notes
    -----
    arXiv:2409.04180, Theorem 4.1, for c below all eigenvalues of Sigma or above all. In between the theorem uses "the
    first j columns of A^(1/2)", A = Sigma^(1/2) - sqrt(c) I, which are complex; their real part is no critical point
    unless Sigma is diagonal. The minimum is the positive part in the eigenbasis of Sigma [ceflow], proved in
    ``derivations/regression.py``.

    Examples
    --------
    >>> Y = cf.theory.regression.targets_of(np.diag([2.0, 0.5]), 20)
    >>> best = cf.theory.regression.minimum(Y, 0.1)
    >>> run = cf.integrate(cf.RegressionFlow(Y, weight_decay=0.1), [0.1, 0.1], 1e3)
    >>> f"{best.objective:.6f}, {run.objective[-1]:.6f}"
    '0.202132, 0.202132'
    """
    Y = checked_targets(targets)
    n, M = Y.shape
    lW, lH = checked_decays(weight_decay)
    root = math.sqrt(lW) * math.sqrt(lH)
    mean = Y.mean(axis=1)
    U, sigma, V = modes_of(Y)
    size = np.zeros(n)
    size[: len(sigma)] = np.maximum(sigma - root, 0.0)
    rank = int(np.count_nonzero(size))
    width = checked_integer("width", n if width is None else width, 1)
    if width < rank:
        raise ValueError(f"width must be at least {rank}, the number of modes above the threshold, got {width}")
    frame = np.linalg.qr(np.random.default_rng(rng).standard_normal((width, rank)))[0]
    ratio = (lH / lW) ** 0.25 if root > 0.0 else 1.0
    share = np.sqrt(size[:rank])
    return Minimum(
        W=ratio * (U[:, :rank] * share) @ frame.T,
        H=math.sqrt(M) / ratio * frame @ (share[:, None] * V[:rank]),
        b=mean,
        objective=float(minimal_objective(sigma, root**2).sum()),
        singular_values=size,
        threshold=root**2,
    )


def minimal_objective(sigma: ArrayLike, threshold: float) -> Array:
    """Contribution of each mode to the minimum: ``c/2 + sqrt(c) (sigma - sqrt(c))``, or ``sigma^2/2`` below c.

    Parameters
    ----------
    sigma : array
        Nonnegative square roots of the eigenvalues of the covariance of the targets.
    threshold : float
        c = lW lH.

    Examples
    --------
    >>> cf.theory.regression.minimal_objective([1.5, 0.5], 0.04).round(4)
    array([0.28, 0.08])
    """
    sigma = checked_array("sigma", sigma, 0.0, LARGEST)
    root = math.sqrt(checked_number("threshold", threshold, 0.0, LARGEST))
    return np.where(sigma > root, root * (sigma - 0.5 * root), 0.5 * sigma**2)[()]


def targets_of(
    covariance: ArrayLike, samples: int, *, mean: ArrayLike = 0.0, rng: np.random.Generator | int | None = 0
) -> Array:
    """Gaussian targets (n, M) with exactly a given covariance ``(Y - ybar)(Y - ybar)^T / M``.

    Parameters
    ----------
    covariance : (n, n) array
        Symmetric and positive semi-definite.
    samples : int
        M > n.
    mean : (n,) array or float
        ybar.
    rng : int or numpy Generator

    Raises
    ------
    TypeError, ValueError
        If an argument is invalid.

    Examples
    --------
    >>> Y = cf.theory.regression.targets_of([[2.0, 0.5], [0.5, 1.0]], 20)
    >>> np.cov(Y, bias=True).round(4)
    array([[2. , 0.5],
           [0.5, 1. ]])
    """
    Sigma = checked_array("covariance", covariance, -LARGEST, LARGEST)
    if Sigma.ndim != 2 or Sigma.shape[0] != Sigma.shape[1] or not Sigma.size:
        raise ValueError(f"covariance must be a square matrix, got shape {Sigma.shape}")
    values, vectors = np.linalg.eigh(0.5 * (Sigma + Sigma.T))
    if np.abs(Sigma - Sigma.T).max() > ROUNDING * np.abs(Sigma).max() or values[0] < -ROUNDING * np.abs(values).max():
        raise ValueError("covariance must be symmetric and positive semi-definite")
    n = len(Sigma)
    samples = checked_integer("samples", samples, n + 1)
    mean = checked_array("mean", mean, -LARGEST, LARGEST)
    if mean.shape not in ((), (n,)):
        raise ValueError(f"mean must be a number or have shape ({n},), got {mean.shape}")
    noise = np.random.default_rng(rng).standard_normal((samples, n))
    frame = np.linalg.qr(noise - noise.mean(axis=0))[0]
    root = (vectors * np.sqrt(np.maximum(values, 0.0))) @ vectors.T
    return np.broadcast_to(mean, n)[:, None] + math.sqrt(samples) * root @ frame.T


def checked_targets(targets: ArrayLike) -> Array:
    """Check targets (n, M)."""
    Y = checked_array("targets", targets, -LARGEST, LARGEST)
    if Y.ndim != 2 or 0 in Y.shape:
        raise ValueError(f"targets must be a matrix (n, M), got shape {Y.shape}")
    return Y


def modes_of(targets: ArrayLike, centred: bool = True) -> tuple[Array, Array, Array]:
    """U (n, r), sigma (r,) descending and V (r, M) of the SVD ``T = U diag(sigma) V``, T the targets over sqrt(M).

    Parameters
    ----------
    targets : (n, M) array
    centred : bool
        Whether to subtract the mean; then sigma^2 are the eigenvalues of the covariance. Modes at
        the level of rounding are left out.

    Raises
    ------
    TypeError, ValueError
        If targets are invalid.

    Examples
    --------
    >>> U, sigma, V = cf.theory.regression.modes_of([[1.0, -1.0, 2.0, -2.0], [0.5, 0.5, -0.5, -0.5]])
    >>> sigma.round(4)
    array([1.5811, 0.5   ])
    """
    Y = checked_targets(targets)
    T = Y / math.sqrt(Y.shape[1])
    U, sigma, V = np.linalg.svd(T - T.mean(axis=1, keepdims=True) if centred else T, full_matrices=False)
    r = int(np.count_nonzero(sigma > ROUNDING * np.linalg.norm(T)))
    return U[:, :r], sigma[:r], V[:r]
