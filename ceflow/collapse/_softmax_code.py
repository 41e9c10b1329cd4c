"""Distance of classifier and features from a softmax code."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .._arrays import svd
from .._checks import checked_number
from ..theory.codes import largest_distance, one_vs_rest
from ._state import checked_state, class_means, scaled, transposed


class SoftmaxCode(NamedTuple):
    """Measures of a state as a code of width equal to its rank, each of the batch shape (...).

    Attributes
    ----------
    rank : array of ints
        Number r of singular values of the logits of the class means above `tolerance` times the largest.
    classifier : array
        Smallest one-vs-rest distance of the normalized rows of W.
    features : array
        Smallest one-vs-rest distance of the normalized class means.
    margin : array
        Smallest ``<w_k - w_j, h_k>`` of normalized rows and class means; at most `classifier`.
    optimum : array
        Largest distance of K unit vectors in r dimensions, `ceflow.theory.codes.largest_distance`; NaN if no closed
        form is known.
    defect : array
        ``1 - margin / optimum``: 0 for a softmax code with its optimal features, below 1 if all class means are
        classified correctly.

    Examples
    --------
    >>> W = np.array([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0], [0.0, -1.0]])  # a square
    >>> found = cf.collapse.softmax_code(W, W.T)
    >>> int(found.rank), f"{found.margin:.4f} of {found.optimum:.4f}"
    (2, '1.0000 of 1.0000')
    """

    rank: NDArray[np.int64]
    classifier: NDArray[np.float64]
    features: NDArray[np.float64]
    margin: NDArray[np.float64]
    optimum: NDArray[np.float64]
    defect: NDArray[np.float64]


def softmax_code(
    W: ArrayLike, H: ArrayLike, labels: ArrayLike | None = None, *, tolerance: float = 1e-2
) -> SoftmaxCode:
    """Measure the distance of classifier and features from a softmax code of width equal to their rank.

    First, W is projected on the r leading left singular vectors of the logits Z of the class means, and the class means
    on the right ones; so their product is Z truncated to rank r. For deep linear networks W is the first factor, and H
    is the product of all others.

    Parameters
    ----------
    W : (..., K, d) array
        Classifier.
    H : (..., d, n) array
        Features, a column for each sample.
    labels : (n,) array of integers, optional
        As in `measures`.
    tolerance : float
        From 1e-12 to 0.5. Ratios of singular values converge slowly, like powers of log t.

    Returns
    -------
    SoftmaxCode
        NaN if a row or a class mean is 0.

    Raises
    ------
    TypeError, ValueError
        If an argument is invalid.

    Notes
    -----
    The one-vs-rest distance is from arXiv:2310.05351. Convergence of deep networks to codes of low rank is a claim of
    arXiv:2605.23087. We read both abstracts. Rank and defect are [ceflow]. Nothing is centred: adding a vector to all
    rows of W changes the measures, but not the softmax.

    Examples
    --------
    >>> run = cf.integrate(cf.SpectralFlow(cf.hadamard(4), depth=4), [1e-3, 2e-2, 2e-2], 1e6, rtol=1e-6)
    >>> W, *others = (layer[-1] for layer in run.lifted().factors)
    >>> found = cf.collapse.softmax_code(W, np.linalg.multi_dot(others))
    >>> int(found.rank), f"{found.defect:.4f}"  # not the simplex ETF, of rank 3
    (2, '0.0000')
    """
    W, H, labels = checked_state(W, H, labels)
    tolerance = checked_number("tolerance", tolerance, 1e-12, 0.5)
    W, _ = scaled(W)
    means, _ = scaled(class_means(H, labels, W.shape[-2]))
    lead = W.shape[:-2]
    found = [_measured(W[place], means[place], tolerance) for place in np.ndindex(lead)]
    return SoftmaxCode(*(np.reshape(column, lead)[()] for column in zip(*found, strict=True)))


def _measured(W: NDArray, means: NDArray, tolerance: float) -> tuple:
    """Measures of one state; means are (K, d)."""
    classes = len(W)
    left, s, right = svd(W @ transposed(means))
    rank = int((s > tolerance * s[0]).sum())
    left, right = left[:, :rank], transposed(right[:rank])
    W, H = left @ (left.T @ W), right @ (right.T @ means)
    sizes = np.linalg.norm(W, axis=1), np.linalg.norm(H, axis=1)
    optimum = _optimum(classes, rank)
    if not min(size.min() for size in sizes) > 0.0:
        return rank, *[np.nan] * 3, optimum, np.nan
    W, H = W / sizes[0][:, None], H / sizes[1][:, None]
    logits = W @ H.T
    margin = (np.diag(logits) - logits)[~np.eye(classes, dtype=bool)].min()
    distances = [one_vs_rest(points).distances.min() for points in (W, H)]
    return rank, *distances, margin, optimum, 1.0 - margin / optimum


def _optimum(classes: int, rank: int) -> float:
    """Largest distance in closed form, or NaN."""
    try:
        return largest_distance(classes, rank)
    except ValueError:
        return np.nan
