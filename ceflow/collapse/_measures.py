"""Neural-collapse measures of a state, on plain arrays.

NC1 to NC4 are those of Papyan, Han & Donoho, *Prevalence of neural collapse during the terminal phase of deep learning
training* (PNAS 117, 2020, arXiv:2008.08186). With class means ``mu_c`` and their mean ``mu_G``, the centred class means
are ``M = [mu_c - mu_G]``, shape (d, K). A simplex equiangular tight frame (ETF) has the Gram matrix ``M^T M``
proportional to ``I - 11^T/K``. Measures below about 1e-15 are rounding errors.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
import scipy
from numpy.typing import ArrayLike, NDArray

from .._arrays import svd
from .._checks import checked_choice
from ._complexity import means_and_spread, normalized_variance
from ._state import checked_bias, checked_state, inverse, norm, scaled, scales_of_logits, transposed, unit


class Measures(NamedTuple):
    """Neural-collapse measures, each of the batch shape (...); NaN if a zero matrix makes one undefined.

    Attributes
    ----------
    nc1 : array
        Within-class variability ``tr(S_W S_B^+) / K``, where S_W and S_B are the covariances within and between
        classes. With one sample per class it is 0.
    nc1_quotient : array
        Quotient of traces ``tr S_W / tr S_B``; it needs no inverse.
    cdnv : array
        Class-distance normalized variance: mean over pairs of classes of ``(v_c + v_d) / (2 |mu_c - mu_d|^2)``, where
        v_c is the mean squared distance of the samples of a class from their mean (Galanti, Gyorgy & Hutter,
        arXiv:2112.15121); inf for equal means.
    nc2 : array
        Distance to the simplex ETF, ``|M^T M / |M^T M| - (I - 11^T/K) / sqrt(K-1)|`` (Frobenius norms).
    equinorm : array
        Part of NC2: standard deviation of the norms of the centred class means, divided by their mean.
    equiangularity : array
        Part of NC2: standard deviation of the cosines between them.
    maximal_angle : array
        Part of NC2: mean of ``|cos + 1/(K-1)|``; -1/(K-1) is the smallest cosine possible for all pairs at once.
    nc3 : array
        Self-duality, ``|W^T / |W| - M / |M||``.
    nc4 : array
        Share of the samples on which the classifier and the nearest class mean disagree.
    alignment : array
        Cosine between W and the transposed, not centred class means; 1 if they are positive multiples.
    effective_rank : array
        Exponential of the entropy of the singular values, normalized to sum 1, of the logits of the class means (Roy &
        Vetterli, EUSIPCO 2007); K - 1 at collapse.
    etf_distance : array
        ``|Z / |Z| - (I - 11^T/K) / sqrt(K-1)|``, where Z are the logits of the class means minus their column means
        (the softmax is invariant to these).
    margin : array
        Smallest margin of a sample: true-class logit minus the largest other logit.
    normalized_margin : array
        Margin divided by ``|Z|_F``, where Z are the logits of the class means; at most 1 / sqrt(K - 1), its value at
        collapse.

    Examples
    --------
    >>> W = cf.collapse.simplex_etf(4)
    >>> found = cf.collapse.measures(W, W.T)  # neural collapse
    >>> f"{found.nc2:.6f} {found.nc3:.6f} {found.effective_rank:.6f} {found.normalized_margin:.6f}"
    '0.000000 0.000000 3.000000 0.577350'
    """

    nc1: NDArray[np.float64]
    nc1_quotient: NDArray[np.float64]
    cdnv: NDArray[np.float64]
    nc2: NDArray[np.float64]
    equinorm: NDArray[np.float64]
    equiangularity: NDArray[np.float64]
    maximal_angle: NDArray[np.float64]
    nc3: NDArray[np.float64]
    nc4: NDArray[np.float64]
    alignment: NDArray[np.float64]
    effective_rank: NDArray[np.float64]
    etf_distance: NDArray[np.float64]
    margin: NDArray[np.float64]
    normalized_margin: NDArray[np.float64]


def measures(
    W: ArrayLike,
    H: ArrayLike,
    labels: ArrayLike | None = None,
    *,
    bias: ArrayLike | None = None,
    centring: str = "class-means",
) -> Measures:
    """Neural-collapse measures of classifier and features; nc1 to nc4 and their parts are 0 at collapse.

    Parameters
    ----------
    W : (..., K, d) array
        Classifier, K >= 2.
    H : (..., d, n) array
        Features, one column per sample, with the leading axes of W.
    labels : (n,) array of integers, optional
        Class 0..K-1 of each column of H; every class must occur. By default n = K and column c has class c.
    bias : (K,) or (..., K) array, optional
        Bias of the logits ``W H + bias``. It affects only measures of logits and decisions.
    centring : {"class-means", "samples"}
        mu_G is the mean of the class means or of all samples. They differ for imbalanced classes; much published code
        uses the mean of all samples.

    Returns
    -------
    Measures

    Raises
    ------
    TypeError, ValueError
        If W, H and bias are not real arrays of these shapes with entries up to 1e150, or labels are invalid.

    Notes
    -----
    Class means have equal weight in S_B, and samples have equal weight in S_W. In `nc4` ties go to the lowest class.
    For samples in batches use `Accumulator`.

    Examples
    --------
    >>> etf, labels = cf.collapse.simplex_etf(3), np.repeat([0, 1, 2], 50)
    >>> H = etf.T[:, labels] + 0.1 * np.random.default_rng(0).standard_normal((2, 150))  # (d, n), as of a network
    >>> found = cf.collapse.measures(etf, H, labels)
    >>> f"NC1 {found.nc1:.4f}, NC2 {found.nc2:.4f}, NC3 {found.nc3:.4f}"
    'NC1 0.0135, NC2 0.0015, NC3 0.0030'
    """
    W, H, labels = checked_state(W, H, labels)
    bias = None if bias is None else checked_bias(bias, W.shape[:-1])
    checked_choice("centring", centring, ("class-means", "samples"))
    W, scale_W = scaled(W)
    H, scale_H = scaled(H)
    logits = scales_of_logits(scale_W * scale_H, bias)
    means, spread = means_and_spread(H, labels)
    centre = (means if centring == "class-means" else H).mean(axis=-1, keepdims=True)
    disagree, margins = decisions(W, H, labels, logits, means, centre)
    noise, nc4 = H - means[..., labels], disagree.mean(axis=-1)
    return from_means(W, means, spread, centre, noise, len(labels), logits, nc4, margins.min(axis=-1))


def decisions(
    W: NDArray, H: NDArray, labels: NDArray[np.int64], logits: tuple, means: NDArray, centre: NDArray
) -> tuple[NDArray[np.bool_], NDArray[np.float64]]:
    """(..., n) whether classifier and nearest class mean disagree, and margins divided by the scale of the logits."""
    weight, shift, _ = logits
    Z, M = weight * (W @ H) + shift, means - centre
    one_hot = (labels[:, None] == np.arange(W.shape[-2])).T
    right = np.where(one_hot, Z, 0.0).sum(axis=-2)
    wrong = np.where(one_hot, -np.inf, Z).max(axis=-2)
    nearest = (transposed(M) @ (H - centre) - (M**2).sum(axis=-2)[..., None] / 2).argmax(axis=-2)
    return Z.argmax(axis=-2) != nearest, right - wrong


def from_means(
    W: NDArray, means: NDArray, spread: NDArray, centre: NDArray, noise: NDArray, samples: int, logits: tuple,
    nc4: Any, margin: Any,
) -> Measures:  # fmt: skip
    """Measures from class means (..., d, K) and the within-class scatter ``noise noise^T``."""
    weight, shift, scale = logits
    classes, M = W.shape[-2], means - centre
    norms = np.linalg.norm(M, axis=-2)
    gram = transposed(M) @ M
    mean, largest = (np.abs(matrix).max(axis=(-2, -1)) for matrix in (means, M))
    offset = np.maximum(1.0, mean / np.where(largest > 0.0, largest, 1.0))[..., None]  # M has the rounding of the means
    between = inverse(M, 8 * max(M.shape[-2:]) * np.finfo(float).eps * offset)
    within = (between @ noise) ** 2  # S_B = M M^T / K, so S_B^+ = K between^T between
    logits_of_means = weight * (W @ means) + shift
    singular_values = svd(logits_of_means, compute_uv=False)
    etf = (np.eye(classes) - 1.0 / classes) / math.sqrt(classes - 1.0)

    with np.errstate(invalid="ignore", divide="ignore"):  # 0/0 of zero matrices, equal class means
        cosines = (gram / (norms[..., :, None] * norms[..., None, :]))[..., ~np.eye(classes, dtype=bool)]
        shares = singular_values / singular_values.sum(axis=-1, keepdims=True)
        return Measures(
            nc1=np.where(norms.any(axis=-1), within.sum(axis=(-2, -1)) / samples, np.nan)[()],
            nc1_quotient=(noise**2).sum(axis=(-2, -1)) / samples / (norms**2).mean(axis=-1),
            cdnv=normalized_variance(means, spread),
            nc2=norm(unit(gram) - etf),
            equinorm=norms.std(axis=-1) / norms.mean(axis=-1),
            equiangularity=cosines.std(axis=-1),
            maximal_angle=np.abs(cosines + 1.0 / (classes - 1.0)).mean(axis=-1),
            nc3=norm(transposed(unit(W)) - unit(M)),
            nc4=nc4,
            alignment=(transposed(unit(W)) * unit(means)).sum(axis=(-2, -1)),
            effective_rank=np.exp(scipy.special.entr(shares).sum(axis=-1)),
            etf_distance=norm(unit(logits_of_means - logits_of_means.mean(axis=-2, keepdims=True)) - etf),
            margin=margin * scale,
            normalized_margin=margin / norm(logits_of_means),
        )
