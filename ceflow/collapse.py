"""Neural-collapse measures of a state, and KKT points of the margin problem, on plain arrays.

NC1 to NC4 are those of Papyan, Han & Donoho, *Prevalence of neural collapse during the terminal phase of deep
learning training* (PNAS 117, 2020, arXiv:2008.08186). With class means ``mu_c`` and their mean ``mu_G``, the
centred class means are ``M = [mu_c - mu_G]``, shape (d, K). A simplex equiangular tight frame (ETF) has the Gram
matrix ``M^T M`` proportional to ``I - 11^T/K``. Measures are computed from sums and differences of the entries:
below about 1e-15 they are rounding.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import scipy
from numpy.typing import ArrayLike, NDArray

from ._arrays import svd
from ._checks import checked_array, checked_choice, checked_number
from .symmetry import Scheme

LIMIT = 1e150  # of entries: logits do not overflow


class Measures(NamedTuple):
    """Neural-collapse measures, each of the batch's shape (...); NaN where a zero matrix leaves one undefined.

    Attributes
    ----------
    nc1 : array
        Within-class variability ``tr(S_W S_B^+) / K``, S_W and S_B the covariances within and between classes. With one
        sample a class it is 0 by construction: unconstrained features have no variability to lose.
    nc1_quotient : array
        The same as a quotient of traces, ``tr S_W / tr S_B``, which needs no inverse.
    cdnv : array
        Class-distance normalized variance: mean over pairs of classes of ``(v_c + v_d) / (2 |mu_c - mu_d|^2)``, v_c the
        mean squared distance of the samples of a class from their mean (Galanti, Gyorgy & Hutter, arXiv:2112.15121);
        inf where two means agree.
    nc2 : array
        Distance to the simplex ETF, ``|M^T M / |M^T M| - (I - 11^T/K) / sqrt(K-1)|`` (Frobenius norms).
    equinorm : array
        Part of NC2: standard deviation of the norms of the centred class means over their mean.
    equiangularity : array
        Part of NC2: standard deviation of the cosines between them.
    maximal_angle : array
        Part of NC2: mean of ``|cos + 1/(K-1)|``; no larger angle is possible for all pairs at once.
    nc3 : array
        Self-duality, ``|W^T / |W| - M / |M||``.
    nc4 : array
        Share of the samples for which the classifier's decision is not the nearest class mean.
    alignment : array
        Cosine between W and the transposed class means, not centred; 1 if one is a positive multiple of the other.
    effective_rank : array
        Exponential of the entropy of the singular values of the class means' logits, normalized to sum 1 (Roy &
        Vetterli, EUSIPCO 2007); K - 1 at collapse.
    etf_distance : array
        ``|Z / |Z| - (I - 11^T/K) / sqrt(K-1)|``, Z the logits of the class means with the mean of each column taken
        off, which the softmax does not see.
    margin : array
        Smallest margin of a sample, the right logit less the largest wrong one.
    normalized_margin : array
        Margin over ``|Z|_F``, Z the logits of the class means; 1 / sqrt(K - 1) at collapse, the largest possible.
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
    """Neural-collapse measures of classifier and features; nc1 to nc4, and all that is part of them, are 0 at collapse.

    Parameters
    ----------
    W : (..., K, d) array
        Classifier, K >= 2.
    H : (..., d, n) array
        Features, a column for each sample, with the leading axes of W.
    labels : (n,) array of integers, optional
        The class 0..K-1 of each column of H; every class must occur. Left out, n = K and column c belongs to class c.
    bias : (K,) or (..., K) array, optional
        Of the classifier: the logits are ``W H + bias``. Only measures of logits and decisions see it.
    centring : {"class-means", "samples"}
        What mu_G is the mean of. With classes of different size they differ, and much published code takes the mean
        over all samples.

    Returns
    -------
    Measures

    Raises
    ------
    TypeError, ValueError
        If W, H and bias are not real arrays of such shapes with entries up to 1e150, or labels are not as described.

    Notes
    -----
    Class means have equal weight in S_B, samples in S_W, whatever the sizes of the classes. Where logits or distances
    tie, the lowest class counts for `nc4`.
    """
    W, H = (checked_array(name, values, -LIMIT, LIMIT) for name, values in (("W", W), ("H", H)))
    if W.ndim < 2 or H.ndim < 2 or W.shape[-2] < 2 or (*W.shape[:-2], W.shape[-1]) != H.shape[:-1] or 0 in W.shape:
        raise ValueError(f"W must be (..., K, d) with K >= 2, d >= 1 and H (..., d, n), got {W.shape} and {H.shape}")
    classes = W.shape[-2]
    labels = _checked_labels(labels, classes, H.shape[-1])
    bias = None if bias is None else _checked_bias(bias, W.shape[:-1])
    checked_choice("centring", centring, ("class-means", "samples"))
    W, scale_W = _scaled(W)
    H, scale_H = _scaled(H)
    weight, shift, scale = _scales_of_logits(scale_W * scale_H, bias)
    one_hot = labels[:, None] == np.arange(classes)
    of_class = one_hot / one_hot.sum(axis=0)  # makes a mean of the samples of each class

    means = H @ of_class
    centre = (means if centring == "class-means" else H).mean(axis=-1, keepdims=True)
    M = means - centre
    norms = np.linalg.norm(M, axis=-2)
    gram = _t(M) @ M
    between = _inverse(M, 8 * max(M.shape[-2:]) * np.finfo(float).eps)
    noise = H - means[..., labels]
    within = (between @ noise) ** 2  # S_B = M M^T / K, so that S_B^+ = K between^T between
    squares = (noise**2).sum(axis=-2)
    spread = squares @ of_class
    first, second = np.triu_indices(classes, 1)
    distances = ((means[..., first] - means[..., second]) ** 2).sum(axis=-2)
    logits = weight * (W @ H) + shift
    right = np.where(one_hot.T, logits, 0.0).sum(axis=-2)
    wrong = np.where(one_hot.T, -np.inf, logits).max(axis=-2)
    nearest = (_t(M) @ (H - centre) - norms[..., None] ** 2 / 2).argmax(axis=-2)
    logits_of_means = weight * (W @ means) + shift
    singular_values = svd(logits_of_means, compute_uv=False)
    margin = (right - wrong).min(axis=-1)
    etf = (np.eye(classes) - 1.0 / classes) / math.sqrt(classes - 1.0)

    with np.errstate(invalid="ignore", divide="ignore"):  # 0/0 of zero matrices, class means that agree
        cosines = (gram / (norms[..., :, None] * norms[..., None, :]))[..., ~np.eye(classes, dtype=bool)]
        shares = singular_values / singular_values.sum(axis=-1, keepdims=True)
        return Measures(
            nc1=np.where(norms.any(axis=-1), within.sum(axis=-2).mean(axis=-1), np.nan)[()],
            nc1_quotient=squares.mean(axis=-1) / (norms**2).mean(axis=-1),
            cdnv=((spread[..., first] + spread[..., second]) / (2 * distances)).mean(axis=-1),
            nc2=_norm(_unit(gram) - etf),
            equinorm=norms.std(axis=-1) / norms.mean(axis=-1),
            equiangularity=cosines.std(axis=-1),
            maximal_angle=np.abs(cosines + 1.0 / (classes - 1.0)).mean(axis=-1),
            nc3=_norm(_t(_unit(W)) - _unit(M)),
            nc4=(logits.argmax(axis=-2) != nearest).mean(axis=-1),
            alignment=(_t(_unit(W)) * _unit(means)).sum(axis=(-2, -1)),
            effective_rank=np.exp(scipy.special.entr(shares).sum(axis=-1)),
            etf_distance=_norm(_unit(logits_of_means - logits_of_means.mean(axis=-2, keepdims=True)) - etf),
            margin=margin * scale,
            normalized_margin=margin / _norm(logits_of_means),
        )


class MarginKKT(NamedTuple):
    """How far a direction is from a Karush-Kuhn-Tucker point of the margin problem; see `margin_kkt`.

    Attributes
    ----------
    s : (D,) array
        The direction, scaled to a smallest margin of 1; modes below the tolerance are 0.
    cost : float
        ``sum_i m_i s_i^(2/L)``: the sum of the layers' squared norms, over L, of balanced layers.
    rank : int
        Rank of the logits, the sum of the multiplicities of the modes that are not 0.
    margins : (D,) array
    multipliers : (D,) array
        Of the margins, not negative, 0 where a margin is above 1; they belong to the cost over its degree 2/L.
    residual : float
        ``|grad cost - sum_j multiplier_j grad margin_j| / |grad cost|`` over the modes that are not 0.
    is_kkt : bool
        Whether the residual is within the tolerance and, for two layers, no mode at 0 wants to grow.
    """

    s: NDArray[np.float64]
    cost: float
    rank: int
    margins: NDArray[np.float64]
    multipliers: NDArray[np.float64]
    residual: float
    is_kkt: bool


def margin_kkt(scheme: Scheme, s: ArrayLike, depth: float = 2, tolerance: float = 1e-2) -> MarginKKT:
    """Whether a direction of the singular values is a KKT point of ``min sum_i m_i s_i^(2/L)``, margins >= 1, s >= 0.

    These are the directions in which cross-entropy flow of L balanced layers can go to infinity. For L = 2 the problem
    is linear and neural collapse its solution; for L >= 3 low-rank softmax codes are KKT points too, and may cost less.

    Parameters
    ----------
    scheme : Scheme
    s : (D,) array
        Singular values of the logits, not all margins of which may be 0 or less.
    depth : float
        L >= 2.
    tolerance : float
        Of the residual; margins up to 1 + tolerance count as 1, and modes up to tolerance times the largest as 0.
        Directions converge as slowly as 1 / log t.

    Returns
    -------
    MarginKKT

    Raises
    ------
    TypeError, ValueError
        If an argument is not as described.

    Notes
    -----
    The margin problem for depth is that of arXiv:2605.23087 (and of Lyu & Li, arXiv:1906.05890, for homogeneous
    networks); the test on schemes is [ceflow]. All gaps of the scheme are made: use it for moderate K.
    """
    depth = checked_number("depth", depth, 2, 1000)
    tolerance = checked_number("tolerance", tolerance, 1e-12, 0.5)
    s = checked_array("s", s)
    if s.shape != (scheme.modes,):
        raise ValueError(f"s must have shape ({scheme.modes},) for {scheme.name}, got {s.shape}")
    s = np.where(np.abs(s) > tolerance * np.abs(s).max(), s, 0.0)
    multiplicities = scheme.multiplicities[1:].astype(float)
    slopes = multiplicities[:, None] * scheme.gaps / scheme.classes  # d margin_j / d s_i
    margin = (s @ slopes).min()
    if margin <= 0.0 or s.min() < 0.0:
        raise ValueError(f"s must not be negative and all margins must be positive, got {s.min():g} and {margin:g}")
    s = s / margin
    margins = s @ slopes
    on, active = s > 0.0, margins <= 1.0 + tolerance
    gradient = multiplicities[on] * s[on] ** (2.0 / depth - 1.0)
    multipliers = np.zeros(scheme.modes)
    multipliers[active], residual = scipy.optimize.nnls(slopes[on][:, active], gradient)
    residual /= np.linalg.norm(gradient)
    grows = depth == 2 and np.any(slopes[~on] @ multipliers > multiplicities[~on] * (1.0 + tolerance))
    return MarginKKT(
        s=s,
        cost=float(multiplicities @ s ** (2.0 / depth)),
        rank=int(multiplicities[on].sum()),
        margins=margins,
        multipliers=multipliers,
        residual=float(residual),
        is_kkt=bool(residual <= tolerance and not grows),
    )


def _checked_labels(labels: ArrayLike | None, classes: int, samples: int) -> NDArray[np.int64]:
    if labels is None:
        if samples != classes:
            raise ValueError(
                f"labels must be given unless H has one column for each of the {classes} classes, got {samples}"
            )
        return np.arange(classes)
    labels = np.asarray(labels)
    if labels.dtype.kind not in "iu":
        raise TypeError(f"labels must be integers, got dtype {labels.dtype}")
    if labels.shape != (samples,):
        raise ValueError(f"labels must have shape ({samples},), one for each column of H, got {labels.shape}")
    if not np.array_equal(np.unique(labels), np.arange(classes)):
        raise ValueError(f"labels must be from 0 to {classes - 1} and all occur, got {np.unique(labels)}")
    return labels.astype(np.int64)


def _checked_bias(bias: ArrayLike, lead: tuple[int, ...]) -> NDArray[np.float64]:
    bias = checked_array("bias", bias, -LIMIT, LIMIT)
    if bias.shape not in (lead, lead[-1:]):
        raise ValueError(f"bias must have shape ({lead[-1]},) or {lead}, one for each class, got {bias.shape}")
    return bias


def _scales_of_logits(scale: NDArray[np.float64], bias: NDArray[np.float64] | None) -> tuple:
    """What the product of scaled matrices is multiplied by, what is added to it, and the scale of the sum."""
    if bias is None:
        return 1.0, 0.0, scale
    top = np.maximum(scale, np.abs(bias).max(axis=-1))
    top = np.where(top > 0, top, 1.0)
    return (scale / top)[..., None, None], (bias / top[..., None])[..., None], top


def _inverse(matrix: NDArray[np.float64], smallest: float) -> NDArray[np.float64]:
    """Moore-Penrose inverse; singular values up to `smallest` times the largest count as 0."""
    left, s, right = svd(matrix, full_matrices=False)
    kept = s > smallest * s[..., :1]
    return _t(right) @ (np.where(kept, 1.0 / np.where(kept, s, 1.0), 0.0)[..., None] * _t(left))


def _t(matrix: NDArray[np.float64]) -> NDArray[np.float64]:
    return matrix.swapaxes(-1, -2)


def _scaled(matrix: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The matrix over its largest entry, so that no square overflows, and that entry (1 for a zero matrix)."""
    largest = np.abs(matrix).max(axis=(-2, -1))
    largest = np.where(largest > 0, largest, 1.0)
    return matrix / largest[..., None, None], largest


def _norm(matrix: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.linalg.norm(matrix, axis=(-2, -1))


def _unit(matrix: NDArray[np.float64]) -> NDArray[np.float64]:
    return matrix / _norm(matrix)[..., None, None]
