"""How close classifier and features are to a softmax code."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .._arrays import svd
from .._checks import checked_number
from ..theory.codes import largest_distance, one_vs_rest
from ._state import checked_state, class_means, scaled, transposed


class SoftmaxCode(NamedTuple):
    """A state as a code of the width of its rank, each of the batch's shape (...).

    Attributes
    ----------
    rank : array of ints
        r, the number of singular values of the logits of the class means above `tolerance` times the largest.
    classifier : array
        Smallest one-vs-rest distance of the rows of W, at norm 1.
    features : array
        The same of the class means.
    margin : array
        Smallest ``<w_k - w_j, h_k>`` of rows and class means of norm 1, at most that of the classifier.
    optimum : array
        Largest distance of K unit vectors in r dimensions, `ceflow.theory.codes.largest_distance`; NaN where no closed
        form is known.
    defect : array
        ``1 - margin / optimum``: 0 for a softmax code whose features are its best ones, below 1 if all class means are
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
    """How close classifier and features are to a softmax code of the width that they use.

    What the logits Z of the class means do not use is taken off before anything is measured: W is projected on the r
    leading left singular vectors of Z, and class means on the right ones, so that their product is Z at rank r. Of deep
    linear networks W is the first factor, and H the product of all others.

    Parameters
    ----------
    W : (..., K, d) array
        Classifier.
    H : (..., d, n) array
        Features, a column for each sample.
    labels : (n,) array of integers, optional
        As in `measures`.
    tolerance : float
        From 1e-12 to 0.5. Ratios of singular values converge as slowly as powers of log t.

    Returns
    -------
    SoftmaxCode
        NaN where a row or a class mean vanishes.

    Raises
    ------
    TypeError, ValueError
        If an argument is not as described.

    Notes
    -----
    The one-vs-rest distance is the measure of arXiv:2310.05351, that deep networks come to codes of low rank a claim of
    arXiv:2605.23087; of both the abstract was read. Rank and defect are [ceflow]. Nothing is centred: a vector that is
    added to all rows of W changes the measure, and not the softmax.

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
    """Of one state; means are (K, d)."""
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
    """Of the closed forms, or NaN."""
    try:
        return largest_distance(classes, rank)
    except ValueError:
        return np.nan
