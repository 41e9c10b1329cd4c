"""Neural regression collapse of a state, on plain arrays.

NRC1 to NRC3 are those of "The Prevalence of Neural Collapse in Neural Multivariate Regression" (arXiv:2409.04180). They
are sums of squared residuals; values below about 1e-30 are rounding errors.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .._arrays import svd
from .._checks import checked_array
from ._state import LIMIT, norm, scaled, transposed, unit

Array = NDArray[np.float64]


class RegressionMeasures(NamedTuple):
    """Measures of neural regression collapse, each of the batch shape (...); 0 at collapse.

    Attributes
    ----------
    nrc1 : array
        Mean over samples of ``|h - proj(h)|^2 / |h|^2`` on the first n principal components of the features, for n
        targets; NaN if a column of H is 0.
    nrc2 : array
        The same on the span of the rows of W.
    nrc3 : array
        ``| W W^T/|W W^T| - B/|B| |^2``, ``B = Sigma^(1/2) - sqrt(gamma) I``, Sigma the covariance of the targets. NaN
        if W or B is 0.
    gamma : array
        As given, or the fitted value.
    nrc1_energy, nrc2_energy : arrays
        Share of the squared norm of the features outside the same spaces, ``|H - proj H|^2 / |H|^2``. Small features,
        of targets near the mean, dominate nrc1 and nrc2, and not these shares. NaN if H is 0.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> Y, W = rng.standard_normal((2, 100)), rng.standard_normal((2, 5))
    >>> found = cf.collapse.regression(W, np.linalg.pinv(W) @ Y, Y)  # features in the span of the rows
    >>> f"{found.nrc1:.6f} {found.nrc2:.6f} {found.nrc3:.6f}"
    '0.000000 0.000000 0.000389'
    """

    nrc1: Array
    nrc2: Array
    nrc3: Array
    gamma: Array
    nrc1_energy: Array
    nrc2_energy: Array


def regression(
    W: ArrayLike, H: ArrayLike, targets: ArrayLike, *, gamma: ArrayLike | None = None, centred: bool = False
) -> RegressionMeasures:
    """Measures of neural regression collapse.

    Parameters
    ----------
    W : (..., n, d) array
        Last layer.
    H : (..., d, M) array
        Features, one column per sample, with the leading axes of W.
    targets : (n, M) array
        Targets Y; their covariance is normalized by M.
    gamma : float or (...) array, optional
        From 0 to below the largest eigenvalue of Sigma; lW lH at the minimum of `ceflow.theory.regression`. By default
        the value with the smallest nrc3.
    centred : bool
        Whether to subtract the mean of the features before the principal components are computed; the paper does not
        say. The features themselves are projected.

    Returns
    -------
    RegressionMeasures

    Raises
    ------
    TypeError, ValueError
        If an argument is invalid.

    Notes
    -----
    The paper has gamma below the smallest eigenvalue of Sigma. For larger gamma we use the positive part of B in the
    eigenbasis of Sigma, as in the minimum; so nrc3 is 0 there too [ceflow]. The energy measures are [ceflow]. The fit
    minimizes nrc3 in closed form. The paper's Theorem F.1 fits ``|W W^T - B|^2`` instead, which gives lW lH for equal
    decays only. For n = 1 nrc3 is 0 for every gamma, and the returned gamma is 0.

    Examples
    --------
    >>> Y = np.random.default_rng(0).standard_normal((2, 20))
    >>> flow = cf.RegressionFlow(Y, weight_decay=0.1)
    >>> full = cf.integrate(flow, [0.01, 0.01], 1e3).lifted()
    >>> found = cf.collapse.regression(*(layer[-1] for layer in full.factors), Y)
    >>> f"{found.nrc1:.4f} {found.nrc2:.4f} {found.nrc3:.4f}"
    '0.0000 0.0000 0.0000'
    """
    W, H = (checked_array(name, values, -LIMIT, LIMIT) for name, values in (("W", W), ("H", H)))
    Y = checked_array("targets", targets, -LIMIT, LIMIT)
    if W.ndim < 2 or H.ndim < 2 or (*W.shape[:-2], W.shape[-1]) != H.shape[:-1] or 0 in W.shape + H.shape:
        raise ValueError(f"W must be (..., n, d) and H (..., d, M), got {W.shape} and {H.shape}")
    if Y.shape != (W.shape[-2], H.shape[-1]):
        raise ValueError(f"targets must be {(W.shape[-2], H.shape[-1])}, as W and H have, got {Y.shape}")
    W, H = scaled(W)[0], scaled(H)[0]
    left, values, right = svd(W, full_matrices=False)
    rows = transposed(right) * (values > 8 * max(W.shape[-2:]) * np.finfo(float).eps * values[..., :1])[..., None, :]
    components = svd(H - H.mean(axis=-1, keepdims=True) if centred else H, full_matrices=False)[0]
    nrc1, energy1 = _outside(H, components[..., : W.shape[-2]])
    nrc2, energy2 = _outside(H, rows)

    Y, scale = scaled(Y - Y.mean(axis=-1, keepdims=True))
    frame, sigma, _ = svd(Y / np.sqrt(Y.shape[-1]), full_matrices=len(Y) > Y.shape[-1])
    sigma = np.append(sigma, np.zeros(len(Y) - len(sigma)))
    gram = transposed(frame) @ (left * values[..., None, :])
    gram = _unit(gram @ transposed(gram))
    if gamma is None:
        root = _best_root(np.diagonal(gram, axis1=-2, axis2=-1), sigma)
    else:
        root = np.sqrt(checked_array("gamma", gamma, 0.0, LIMIT)) / scale
        if np.any(root >= sigma[0]) or root.shape not in ((), W.shape[:-2]):
            raise ValueError(
                f"gamma must be a number or have shape {W.shape[:-2]}, and be less than the largest eigenvalue of the "
                f"targets' covariance, {(sigma[0] * scale) ** 2:g}; got {np.max(gamma):g}"
            )
        root = np.broadcast_to(root, W.shape[:-2])
    kept = np.maximum(sigma - root[..., None], 0.0)
    nrc3 = norm(gram - _unit(kept[..., None] * np.eye(len(Y)))) ** 2
    return RegressionMeasures(nrc1, nrc2, nrc3, (root * scale) ** 2, energy1, energy2)


def _unit(matrix: Array) -> Array:
    with np.errstate(invalid="ignore"):
        return unit(matrix)


def _outside(H: Array, frame: Array) -> tuple[Array, Array]:
    """Shares of the squared norm of H outside the span of a frame: mean over columns, and of all columns together."""
    rest = ((H - frame @ (transposed(frame) @ H)) ** 2).sum(axis=-2)
    squares = (H**2).sum(axis=-2)
    with np.errstate(invalid="ignore"):
        return (rest / squares).mean(axis=-1), rest.sum(axis=-1) / squares.sum(axis=-1)


def _best_root(diagonal: Array, sigma: Array) -> Array:
    """The x >= 0 that maximizes the cosine between ``diag((sigma - x)_+)`` and a matrix with this diagonal (..., n).

    For j nonzero modes the cosine is ``(p - q x) / sqrt(r - 2 s x + j x^2)``, with one stationary point.
    """
    if not sigma[0] > 0.0 or len(sigma) == 1:
        return np.zeros(diagonal.shape[:-1])
    j = np.arange(1, len(sigma) + 1)
    p, q = np.cumsum(diagonal * sigma, axis=-1), np.cumsum(diagonal, axis=-1)
    r, s = np.cumsum(sigma**2), np.cumsum(sigma)
    with np.errstate(invalid="ignore", divide="ignore"):
        inside = (q * r - p * s) / (q * s - p * j)
    low, high = np.append(sigma[1:], 0.0), sigma * (1.0 - 1e-9)
    inside = np.clip(np.where(np.isfinite(inside), inside, low), low, np.maximum(low, high))
    found = np.concatenate([inside, np.broadcast_to(low, inside.shape)], axis=-1)
    kept = np.maximum(sigma - found[..., None], 0.0)
    with np.errstate(invalid="ignore"):
        cosine = (kept * diagonal[..., None, :]).sum(axis=-1) / np.linalg.norm(kept, axis=-1)
    best = np.argmax(np.where(np.isfinite(cosine), cosine, -np.inf), axis=-1)
    return np.take_along_axis(found, best[..., None], axis=-1)[..., 0]
