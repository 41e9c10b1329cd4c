"""Softmax codes: K points on a sphere, each as far as possible from the convex hull of the others.

The one-vs-rest distance of a point w_k is its distance from the convex hull of all w_j, j != k. It is the largest
margin that a unit vector h_k can have, ::

    dist_k = max_(|h| <= 1) min_(j != k) <w_k - w_j, h>,

and a softmax code of width d maximizes ``min_k dist_k`` over unit vectors in R^d. It is the limit of normalized
classifiers and features that minimize cross-entropy at temperature going to 0. For ``d >= K - 1`` it is the simplex of
neural collapse, with distance K/(K-1). For d = 2 it is the regular polygon, ``1 - cos(2 pi / K)``. For ``d + 2 <= K <=
2d`` the distance is 1, and codes are the sets of unit vectors without positive inner products, such as the orthoplex
(`largest_distance`). For more classes no formula is known (`search`).

Sources: the definition and these three values are claims of arXiv:2310.05351. The codes for ``d + 2 <= K <= 2d`` are
the subject of arXiv:2603.20587. Convergence of deep linear networks to codes of width equal to the rank of their logits
is a claim of arXiv:2605.23087. We read the three abstracts; the proofs are ours [ceflow]: ``python -m derivations
codes``.

Examples
--------
>>> code = cf.theory.codes.code(5, 2)  # a pentagon
>>> f"{cf.theory.codes.one_vs_rest(code).distances.min():.6f}, {1 - np.cos(2 * np.pi / 5):.6f}"
'0.690983, 0.690983'
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import scipy
from numpy.typing import ArrayLike, NDArray

from .._arrays import svd
from .._checks import checked_array, checked_integer, checked_number
from ..symmetry import complete
from ._arguments import checked_classes

MOST_UNKNOWNS = 1000  # limit of a search
ZERO = 1e-14  # distances below this are rounding, for points with largest entry 1


class Separation(NamedTuple):
    """Distance of each point from the convex hull of the others.

    Attributes
    ----------
    distances : (K,) array
    directions : (K, d) array
        Unit vectors from the nearest point of the hull; 0 if the distance is 0.

    Examples
    --------
    >>> found = cf.theory.codes.one_vs_rest([[1.0, 0.0], [-1.0, 0.0], [0.0, 1.0]])
    >>> found.distances.round(4)
    array([1.4142, 1.4142, 1.    ])
    """

    distances: NDArray[np.float64]
    directions: NDArray[np.float64]


def one_vs_rest(points: ArrayLike) -> Separation:
    """One-vs-rest distances of points, accurate to rounding.

    Each is a least-distance problem, solved by non-negative least squares (Lawson & Hanson 1974, chapter 23).

    Parameters
    ----------
    points : (K, d) array
        K >= 2 points of any norms.

    Returns
    -------
    Separation
        Error about 1e-15 of the largest norm; distances below 1e-14 of it are 0.

    Raises
    ------
    TypeError, ValueError
        If points are invalid.

    Examples
    --------
    >>> points = cf.collapse.simplex_etf(4)
    >>> cf.theory.codes.one_vs_rest(points).distances.round(4)  # K/(K-1)
    array([1.3333, 1.3333, 1.3333, 1.3333])
    """
    points = checked_array("points", points, -1e150, 1e150)
    if points.ndim != 2 or len(points) < 2 or not points.shape[1]:
        raise ValueError(f"points must have shape (K, d), K >= 2 and d >= 1, got {points.shape}")
    scale = np.abs(points).max() or 1.0
    away = np.array([_from_hull(np.delete(points, k, axis=0) / scale, point / scale) for k, point in enumerate(points)])
    distances = np.linalg.norm(away, axis=1)
    distances[distances < ZERO] = 0.0
    away[distances == 0.0] = 0.0
    return Separation(scale * distances, away / np.where(distances > 0.0, distances, 1.0)[:, None])


def _from_hull(others: NDArray, point: NDArray) -> NDArray:
    """Point minus the nearest point of the hull, from nonnegative weights u proportional to the convex weights."""
    apart = (others - point).T
    target = np.append(np.zeros(len(point)), 1.0)
    weights, _ = scipy.optimize.nnls(np.vstack([apart, np.ones(len(others))]), target, maxiter=100 * len(others))
    return -apart @ (weights / weights.sum())


def largest_distance(classes: int, width: int) -> float:
    """One-vs-rest distance of softmax codes in closed form.

    ``K/(K-1)`` for ``d >= K - 1``, 1 for ``d + 2 <= K <= 2d``, and ``1 - cos(2 pi / K)`` for d = 2. Other codes (``K >
    2d >= 6``) have a distance below 1.

    Parameters
    ----------
    classes : int
        K >= 2.
    width : int
        d >= 1; d >= 2 for K >= 3.

    Raises
    ------
    TypeError, ValueError
        If an argument is invalid, or no closed form is known.

    Examples
    --------
    >>> [f"{cf.theory.codes.largest_distance(classes, 3):.4f}" for classes in (4, 5, 6)]
    ['1.3333', '1.0000', '1.0000']
    """
    classes, width = _checked_sizes(classes, width)
    if classes <= width + 1:
        return classes / (classes - 1.0)
    if classes <= 2 * width:
        return 1.0
    _require_plane(classes, width)
    return 2.0 * math.sin(math.pi / classes) ** 2


def code(classes: int, width: int) -> NDArray[np.float64]:
    """Softmax code in closed form: simplices in orthogonal subspaces, or a polygon.

    For K <= 2d it consists of ``max(1, K - d)`` simplices of sizes as equal as possible: one for ``d >= K - 1``, pairs
    of opposite points for K = 2d. The code is unique up to rotations in these two cases and for d = 2.

    Parameters
    ----------
    classes, width : int
        As in `largest_distance`.

    Returns
    -------
    (K, d) array
        Unit vectors; their sum is 0.

    Raises
    ------
    TypeError, ValueError
        As in `largest_distance`.

    Examples
    --------
    >>> square = cf.theory.codes.code(4, 2)
    >>> cf.theory.codes.one_vs_rest(square).distances.round(6)
    array([1., 1., 1., 1.])
    """
    classes, width = _checked_sizes(classes, width)
    found = np.zeros((classes, width))
    if classes > 2 * width:
        _require_plane(classes, width)
        angles = 2.0 * math.pi * np.arange(classes) / classes
        return np.column_stack([np.cos(angles), np.sin(angles)])
    row = column = 0
    for block in np.array_split(np.arange(classes), max(1, classes - width)):
        size = len(block)
        corners = math.sqrt(size / (size - 1.0)) * complete(size).basis()[:, 1:]
        found[row : row + size, column : column + size - 1] = corners
        row, column = row + size, column + size - 1
    return found


def search(classes: int, width: int, *, starts: int = 10, seed: int = 0) -> NDArray[np.float64]:
    """Search for a code numerically from random points; optimality is not proved.

    Maximizes t over unit w_k, ``|h_k| <= 1`` and ``<w_k - w_j, h_k> >= t``, by SLSQP.

    Parameters
    ----------
    classes, width : int
        As in `largest_distance`, with 2 K d <= 1000.
    starts : int
        From 1 to 10000. Not every start reaches the best code; up to ten classes most do.
    seed : int
        At least 0.

    Returns
    -------
    (K, d) array
        Unit vectors with the smallest distance ``one_vs_rest(found).distances.min()``.

    Raises
    ------
    TypeError, ValueError
        If an argument is invalid.

    Examples
    --------
    >>> found = cf.theory.codes.search(5, 2, starts=2)
    >>> f"{cf.theory.codes.one_vs_rest(found).distances.min():.6f}"
    '0.690983'
    """
    classes, width = _checked_sizes(classes, width)
    starts, seed = checked_integer("starts", starts, 1, 10_000), checked_integer("seed", seed, 0)
    if 2 * classes * width > MOST_UNKNOWNS:
        raise ValueError(f"classes and width must leave at most {MOST_UNKNOWNS} unknowns, got {2 * classes * width}")
    rng, problem = np.random.default_rng(seed), _Problem(classes, width)
    codes = [problem.solve(_unit(rng.normal(size=(classes, width)))) for _ in range(starts)]
    return max(codes, key=lambda found: one_vs_rest(found).distances.min())


class _Problem:
    """Objective t as a function of (W, H, t), and constraints with derivatives."""

    def __init__(self, classes: int, width: int) -> None:
        self.shape, self.size = (2, classes, width), 2 * classes * width + 1
        self.right, self.wrong = np.nonzero(~np.eye(classes, dtype=bool))

    def solve(self, W: NDArray) -> NDArray:
        up = np.append(np.zeros(self.size - 1), -1.0)
        found = scipy.optimize.minimize(
            lambda y: -y[-1],
            np.append(np.stack([W, W]).ravel(), 0.0),
            jac=lambda y: up,
            method="SLSQP",
            constraints=[
                {"type": "ineq", "fun": self.margins, "jac": self.margin_slopes},
                {"type": "ineq", "fun": lambda y: self.norms(y)[1], "jac": lambda y: self.norm_slopes(y, 1)},
                {"type": "eq", "fun": lambda y: self.norms(y)[0], "jac": lambda y: self.norm_slopes(y, 0)},
            ],
            options={"maxiter": 500, "ftol": 1e-15},
        )
        return _unit(found.x[:-1].reshape(self.shape)[0])

    def margins(self, y: NDArray) -> NDArray:
        W, H = y[:-1].reshape(self.shape)
        return ((W[self.right] - W[self.wrong]) * H[self.right]).sum(axis=1) - y[-1]

    def margin_slopes(self, y: NDArray) -> NDArray:
        W, H = y[:-1].reshape(self.shape)
        slopes, rows = np.zeros((len(self.right), self.size)), np.arange(len(self.right))
        layers = slopes[:, :-1].reshape(-1, *self.shape)
        layers[rows, 0, self.right] = H[self.right]
        layers[rows, 0, self.wrong] = -H[self.right]
        layers[rows, 1, self.right] = W[self.right] - W[self.wrong]
        slopes[:, -1] = -1.0
        return slopes

    def norms(self, y: NDArray) -> NDArray:
        return 1.0 - (y[:-1].reshape(self.shape) ** 2).sum(axis=2)

    def norm_slopes(self, y: NDArray, layer: int) -> NDArray:
        points, rows = y[:-1].reshape(self.shape)[layer], np.arange(self.shape[1])
        slopes = np.zeros((len(rows), self.size))
        slopes[:, :-1].reshape(-1, *self.shape)[rows, layer, rows] = -2.0 * points
        return slopes


def depth_cost(logits: ArrayLike, depth: float) -> float:
    """Cost of logits in a deep linear network: ``sum_i s_i^(2/L)``, scaled to smallest margin 1.

    It is the sum of the squared norms of L balanced layers, divided by L; for large L it tends to the rank. Limit
    directions of cross-entropy flow are Karush-Kuhn-Tucker points of its minimum (Lyu & Li, arXiv:1906.05890).

    Parameters
    ----------
    logits : (K, K) array
        One column per class, with positive margins.
    depth : float
        L >= 2.

    Raises
    ------
    TypeError, ValueError
        If an argument is invalid.

    Examples
    --------
    >>> etf, square = cf.collapse.simplex_etf(4), cf.theory.codes.code(4, 2)
    >>> for depth in (2, 10):
    ...     costs = [cf.theory.codes.depth_cost(points @ points.T, depth) for points in (etf, square)]
    ...     print(f"{costs[0]:.4f}, {costs[1]:.4f}")
    3.0000, 4.0000
    3.0000, 2.2974
    """
    logits, depth = checked_array("logits", logits, -1e150, 1e150), checked_number("depth", depth, 2, 1000)
    if logits.ndim != 2 or logits.shape[0] != logits.shape[1] or len(logits) < 2:
        raise ValueError(f"logits must have shape (K, K), K >= 2, got {logits.shape}")
    margins = np.diag(logits) - logits
    margin = margins[~np.eye(len(logits), dtype=bool)].min()
    if margin <= 0.0:
        raise ValueError(f"logits must have positive margins, got {margin:g}")
    s = svd(logits, compute_uv=False) / margin
    return float((s[s > 1e-14 * s[0]] ** (2.0 / depth)).sum())


def _unit(points: NDArray) -> NDArray:
    return points / np.linalg.norm(points, axis=-1, keepdims=True)


def _checked_sizes(classes: int, width: int) -> tuple[int, int]:
    classes = checked_classes(classes)
    return classes, checked_integer("width", width, 1 if classes == 2 else 2)


def _require_plane(classes: int, width: int) -> None:
    if width > 2:
        raise ValueError(f"width must be 2, or at least {-(-classes // 2)}: no closed form is known for {width}")
