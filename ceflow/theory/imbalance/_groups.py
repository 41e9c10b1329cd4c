"""Groups of equivalent classes, symmetric layers, and the geometry of classifier and features."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..._checks import checked_array, checked_choice, checked_integer
from ...symmetry._symmetry import require_room
from .._arguments import SMALLEST

Array = NDArray[np.float64]


class Groups(NamedTuple):
    """Data of G groups, each (G,): classes K, samples n per class, weight o of a sample after the reduction, and
    adjustment of the logits."""

    classes: Array
    samples: Array
    weights: Array
    adjustment: Array

    @property
    def strengths(self) -> Array:
        """(G,) ``n o^2``: the threshold of the decay product ``lW lH`` for the zero-sum modes of each group."""
        return self.samples * self.weights**2


def checked_groups(
    classes: Sequence[int],
    samples: ArrayLike,
    weights: ArrayLike = 1.0,
    logit_adjustment: ArrayLike = 0.0,
    reduction: str = "mean",
) -> Groups:
    """Check the arguments that describe groups."""
    if isinstance(classes, (str, int, np.integer)) or np.ndim(classes) != 1 or not len(classes):
        raise TypeError(f"classes must be a list of the sizes of groups, got {classes!r}")
    K = np.array([checked_integer("classes", size, 1, 10**15) for size in np.asarray(classes).tolist()], float)
    if K.sum() < 2:
        raise ValueError("classes must sum to at least 2, got 1")

    def per_group(name: str, values: ArrayLike, low: float, high: float) -> Array:
        array = checked_array(name, values, low, high)
        if array.shape not in ((), K.shape):
            raise ValueError(f"{name} must be a number or one for each of {K.size} groups, got shape {array.shape}")
        return np.broadcast_to(array, K.shape).astype(float)

    n = per_group("samples", samples, SMALLEST ** (1 / 4), 1e75)
    o = per_group("weights", weights, SMALLEST ** (1 / 4), 1e75)
    if checked_choice("reduction", reduction, ("mean", "sum")) == "mean":
        o = o / (K @ n)
    return Groups(K, n, o, per_group("logit_adjustment", logit_adjustment, -1e6, 1e6))


class GroupLayers(NamedTuple):
    """Classifier and features that are symmetric within groups of classes.

    ``W = sum_g a_g E_g R_g + F X R`` and ``H = sum_g b_g R_g^T E_g + R^T Y F^T``, where E_g projects on the zero-sum
    vectors of group g, column g of F is its normalized constant vector, and R_g, R are orthonormal frames of features.

    Attributes
    ----------
    classes : (G,) array
    a, b : (G,) arrays
        Singular values of classifier and features on the zero-sum vectors of each group.
    X : (G, G-1) array
        Block of the classifier on the constants of the groups.
    Y : (G-1, G) array
        Block of the features on the constants of the groups.

    Examples
    --------
    >>> layers = cf.theory.imbalance.equilibrium((2, 2), (10, 1), 1e-3).layers
    >>> (layers.a / layers.b).round(4)  # sqrt(n) with equal decay
    array([3.1623, 1.    ])
    """

    classes: Array
    a: Array
    b: Array
    X: Array
    Y: Array

    @property
    def classifier_gram(self) -> Array:
        """(K, K) array ``W W^T``, with the classes of a group adjacent."""
        return _gram(self.classes, self.a, self.X)

    @property
    def feature_gram(self) -> Array:
        """(K, K) array ``H^T H``, with one column of H per class."""
        return _gram(self.classes, self.b, self.Y.T)

    @property
    def blocks(self) -> list:
        """Argument of ``flow.layers`` for the `ceflow.SpectralFlow` of ``direct_sum(*classes)``."""
        modes = [(float(a), float(b)) for K, a, b in zip(self.classes, self.a, self.b, strict=True) if K > 1]
        return [[self.X, self.Y], *modes]


def _gram(classes: Array, a: Array, X: Array) -> Array:
    K = int(classes.sum())
    require_room("the Gram matrix", K, K)
    group = np.repeat(np.arange(classes.size), classes.astype(int))
    rows = X / np.sqrt(classes)[:, None]
    gram = (rows @ rows.T - np.diag(a**2 / classes))[np.ix_(group, group)]
    gram[np.diag_indices(K)] = (a**2 * (1.0 - 1.0 / classes) + (rows**2).sum(axis=1))[group]
    return gram


class Geometry(NamedTuple):
    """Lengths and angles by group; NaN if there is no such pair of classes, or a vector is zero.

    Attributes
    ----------
    classifier_squares, feature_squares : (..., G) arrays
        ``|w_c|^2`` and ``|h_c|^2``.
    classifier_cosines, feature_cosines : (..., G, G) arrays
        Cosines between the vectors of two classes; on the diagonal, of two different classes of the group.
    angles : (..., G) array
        Angle in radians between w_c and h_c. Features of balanced layers have mean zero over classes, so it is also the
        angle to the centred class mean.
    centred_angles : (..., G) array
        Angle in radians between w_c and h_c minus the mean over all samples.
    pair_angles : (..., G, G) array
        Angle in radians between ``w_k - w_j`` and ``h_k - h_j``, for k in the row's and j in the column's group. The
        error exponent of a pair with equal margins is ``cos^2`` times that of the nearest-mean classifier.

    Examples
    --------
    >>> geometry = cf.theory.imbalance.seli((2, 2), (10, 1)).geometry
    >>> np.degrees(geometry.angles).round(2)
    array([ 8.05, 22.49])
    """

    classifier_squares: Array
    feature_squares: Array
    classifier_cosines: Array
    feature_cosines: Array
    angles: Array
    centred_angles: Array
    pair_angles: Array


def geometry(groups: Groups, layers: GroupLayers) -> Geometry:
    """Geometry of layers, from one vector per group whose first G coordinates are in the zero-sum modes."""
    K, a, b = layers.classes, layers.a, layers.b
    share = np.sqrt(1.0 - 1.0 / K)
    W = np.hstack([np.diag(a * share), layers.X / np.sqrt(K)[:, None]])
    H = np.hstack([np.diag(b * share), layers.Y.T / np.sqrt(K)[:, None]])
    mean = (K * groups.samples / (K @ groups.samples)) @ H
    mean[: K.size] = 0.0  # zero-sum modes have no mean
    inside = np.where((K > 1) & (a * b > 0.0), 0.0, np.nan)
    pairs = np.array([angle(W[g] - W, H[g] - H) for g in range(K.size)])
    pairs[np.diag_indices(K.size)] = inside
    return Geometry(
        (W**2).sum(axis=1), (H**2).sum(axis=1), _cosines(W, a, K), _cosines(H, b, K),
        angle(W, H), angle(W, H - mean), pairs,
    )  # fmt: skip


def _cosines(rows: Array, a: Array, K: Array) -> Array:
    gram = rows @ rows.T
    squares = np.diag(gram).copy()
    # two classes of a group have equal block parts, and inner product -a^2 / K in the mode part
    gram[np.diag_indices(K.size)] = np.where(K > 1, (rows[:, K.size :] ** 2).sum(axis=1) - a**2 / K, np.nan)
    with np.errstate(invalid="ignore", divide="ignore"):
        return gram / np.sqrt(squares[:, None] * squares)


def angle(x: Array, y: Array) -> Array:
    """Angle between vectors along the last axis, from the tangent of half the angle, accurate for small angles."""
    with np.errstate(invalid="ignore", divide="ignore"):
        x, y = (v / np.linalg.norm(v, axis=-1, keepdims=True) for v in (x, y))
    return 2.0 * np.arctan2(np.linalg.norm(x - y, axis=-1), np.linalg.norm(x + y, axis=-1))


def margins_of(groups: Groups, layers: GroupLayers) -> Array:
    """(G, G) margins of a class of the row's group over another class of the column's group."""
    s = layers.a * layers.b
    return _margins(groups.classes, s, layers.X @ layers.Y)


def _margins(K: Array, s: Array, block: Array) -> Array:
    """Margins from zero-sum modes s (G,) and the block (G, G) of the logits on the constants."""
    means = block / np.sqrt(K[:, None] * K)
    margins = (np.diag(means) - means + s * (1.0 - 1.0 / K)).T
    margins[np.diag_indices(K.size)] = np.where(K > 1, s, np.nan)
    return margins


def block_of(K: Array, s: Array, margins: Array) -> Array:
    """(G, G) block of the logits on the constants from margins, with column sums 0; inverse of `margins_of`."""
    gaps = (margins - (s * (1.0 - 1.0 / K))[:, None]).T  # mean logit of the own group minus that of the row's
    gaps[np.diag_indices(K.size)] = 0.0
    own = K @ gaps / K.sum()
    return (own - gaps) * np.sqrt(K[:, None] * K)
