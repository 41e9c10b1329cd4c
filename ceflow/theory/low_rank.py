"""Deep relu networks with squared error and weight decay: deep collapse and solutions of low rank.

*Neural collapse vs. low-rank bias: Is deep neural collapse really optimal?* (arXiv:2405.14468), of which we read the
abstract, the introduction and captions. The strongly-regular-graph solution here is our reading of it, and the formulas
are ours [ceflow]. The model has K classes, linear features H_1 and L weight matrices (L + 1 = `depth` layers here),
with s(x) = max(x, 0) ::

    Z = W_L s(W_(L-1) s(... s(W_1 H_1))),    |Z - Y|^2 / (2N) + (weight_decay / 2) (|H_1|^2 + sum_l |W_l|^2)

It is the objective of a flow with ``loss="squared_error", targets="one-hot", depth=L + 1``, this weight decay,
reduction "mean" and ``activation=activations(depth)``: relu at all places except after H_1.

A family of solutions with ``Z = z I`` has the smallest sum of squared norms ``C z^(2/depth)``, and its minimal loss
(`profile`) increases with C. So of two nonzero families the one with smaller C has the smaller loss, for every decay. C
is depth K for deep collapse (`collapse_coefficient`), and `graph_coefficient` if the classes are the r (r - 1) / 2
edges of a complete graph on r vertices. C adds up over blocks of layers (`union`). We do not claim that a solution is a
global minimum: flows with the symmetry of the graph find better ones (`ceflow.lowest`).

Examples
--------
>>> K, depth = 10, 4
>>> collapse = cf.theory.low_rank.collapse_coefficient(K, depth=depth)
>>> f"deep collapse {collapse:.3f}, the Petersen graph {cf.theory.low_rank.graph_coefficient(5, depth=depth):.3f}"
'deep collapse 40.000, the Petersen graph 36.937'
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import scipy
from numpy.typing import NDArray

from .._checks import LIMIT, checked_array, checked_choice, checked_integer, checked_number
from . import _low_rank_chain as chain
from ._arguments import checked_classes

SIGNS = ("-", "+")
_MOST_CLASSES, _MOST_DEPTH = 10**5, 1000
_EQUAL = 1e-12  # relative difference of equal coefficients


class Profile(NamedTuple):
    """Minimum of the loss over a family of solutions.

    Attributes
    ----------
    scale : float
        z of Z = z I; 0 if the zero solution is better.
    loss : float
        Loss with weight decay.

    Examples
    --------
    >>> found = cf.theory.low_rank.profile(40.0, depth=4, weight_decay=0.01)
    >>> f"z = {found.scale:.4f}, loss {found.loss:.4f}"
    'z = 0.8943, loss 0.1947'
    """

    scale: float
    loss: float


class Union(NamedTuple):
    """Solution with blocks of classes, each with its own family.

    Attributes
    ----------
    coefficient : float
        Sum of the coefficients of the blocks, which have one common scale.
    blocks : tuple of ints
        Numbers of classes, descending: 1 for a class with deep collapse, r (r - 1) / 2 for a graph.

    Examples
    --------
    >>> cf.theory.low_rank.union(12, depth=4).blocks
    (10, 1, 1)
    """

    coefficient: float
    blocks: tuple[int, ...]


def activations(depth: int, name: str = "relu") -> tuple[str, ...]:
    """Activation of each of the ``depth - 1`` places between layers, from W to H; linear after H_1.

    Parameters
    ----------
    depth : int
        L + 1 >= 3.
    name : str
        Activation at all other places, such as "softplus:20".

    Examples
    --------
    >>> cf.theory.low_rank.activations(4)
    ('relu', 'relu', 'linear')
    """
    return (name,) * (_checked_depth(depth) - 2) + ("linear",)


def equal_decay(weight_decay: Sequence[float], samples: int = 1) -> float:
    """Common decay with the same losses as one decay per layer, ``(n prod_l decay_l)^(1/depth)`` [ceflow].

    With n equal samples per class, the decay of H_1 is per sample. Layers ``(decay_l / decay)^(1/2) W_l`` under the
    common decay have the loss of W_l, because relu commutes with positive factors. The flows differ.

    Parameters
    ----------
    weight_decay : sequence of positive numbers
        Decays from W to H.
    samples : int
        Number n of samples per class.

    Examples
    --------
    >>> f"{cf.theory.low_rank.equal_decay((1e-2, 1e-2, 1e-4)):.6f}"
    '0.002154'
    """
    decays = checked_array("weight_decay", weight_decay, 1e-300)
    if decays.ndim != 1 or not decays.size:
        raise ValueError(f"weight_decay must be one number for each layer, got shape {decays.shape}")
    samples = checked_integer("samples", samples, 1)
    return float(np.exp((math.log(samples) + np.log(decays).sum()) / decays.size))


def profile(coefficient: float, *, depth: int, weight_decay: float) -> Profile:
    """Minimum of ``(z - 1)^2 / 2 + (weight_decay / 2) C z^p``, p = 2 / depth, over z >= 0 [ceflow].

    The scale is the larger root of ``(1 - z) z^(1-p) = weight_decay C p / 2``, or 0 above `threshold`.

    Parameters
    ----------
    coefficient : float
        C >= 0.
    depth : int
        L + 1 >= 3.
    weight_decay : float
        Decay >= 0 of every layer.

    Returns
    -------
    Profile
        With a relative error of about 1e-15.

    Raises
    ------
    TypeError, ValueError
        If an argument is invalid.

    Examples
    --------
    >>> collapse = cf.theory.low_rank.profile(40.0, depth=4, weight_decay=0.01)
    >>> graph = cf.theory.low_rank.profile(cf.theory.low_rank.graph_coefficient(5, depth=4), depth=4, weight_decay=0.01)
    >>> f"{collapse.loss:.5f}, {graph.loss:.5f}"  # of deep collapse on 10 classes, and of the graph
    '0.19472, 0.18021'
    """
    p, pull = 2.0 / _checked_depth(depth), 0.5 * checked_number("weight_decay", weight_decay, 0.0, 1e100)
    pull *= checked_number("coefficient", coefficient, 0.0, 1e100)
    if pull >= threshold(depth):
        return Profile(0.0, 0.5)
    lowest = (1.0 - p) / (2.0 - p)  # maximum of (1 - z) z^(1-p)

    def slope(e):  # at z = 1 - e
        return e * (1.0 - e) ** (1.0 - p) - p * pull

    e = scipy.optimize.brentq(slope, p * pull, 1.0 - lowest, xtol=1e-300, rtol=1e-15, maxiter=1000)
    return Profile(1.0 - e, 0.5 * e**2 + pull * (1.0 - e) ** p)


def threshold(depth: int) -> float:
    """Value of ``weight_decay C / 2`` above which zero layers (loss 1/2) are better [ceflow].

    ``(1 - z) z^(1-p) / p`` at ``z = (1/p - 1) / (1/p - 1/2)``, p = 2 / depth: .5443 for four layers, .5259 for five.

    Examples
    --------
    >>> f"{cf.theory.low_rank.threshold(4):.4f}"
    '0.5443'
    """
    inverse = 0.5 * _checked_depth(depth)
    z = (inverse - 1.0) / (inverse - 0.5)
    return (1.0 - z) * z ** (1.0 - 1.0 / inverse) * inverse


def collapse_coefficient(classes: int, *, depth: int) -> float:
    """Coefficient C = depth K of deep neural collapse, with layers that are isometries on the classes.

    Examples
    --------
    >>> cf.theory.low_rank.collapse_coefficient(10, depth=4)
    40.0
    """
    return float(checked_classes(classes) * _checked_depth(depth))


def inverse_adjacency_norm(vertices: int) -> float:
    """Squared norm ``|A^-1|^2`` for the Kneser graph on the edges of a complete graph (adjacent if disjoint).

    ``4 / ((r-2)^2 (r-3)^2) + (r-1) / (r-3)^2 + r (r-3) / 2``; r = 5 is the Petersen graph.

    Examples
    --------
    >>> f"{cf.theory.low_rank.inverse_adjacency_norm(5):.4f}"  # of the Petersen graph
    '6.1111'
    """
    r = _checked_vertices(vertices)
    return 4.0 / ((r - 2) ** 2 * (r - 3) ** 2) + (r - 1.0) / (r - 3) ** 2 + 0.5 * r * (r - 3)


def graph_coefficient(vertices: int, *, depth: int, sign: str = "-") -> float:
    """Coefficient C of the solution whose classes are the edges of a complete graph on r vertices [ceflow].

    The layers before the last two have r units, one for each vertex, and the last pre-activation is ``+-a (N^T N - J)``
    of rank r (r - 1 for r = 4), with the incidence matrix N. With "-" its relu is a multiple of the adjacency matrix A
    of a strongly regular graph, and W_L is a multiple of ``A^-1``. With "+" both are multiples of the identity, and C
    is larger (equal for r = 4). ::

        C = depth (w a (r-2)^2)^(1/depth),    w = |A^-1|^2 or K

    where a is the minimum over ``t_2, ..., t_(L-1) >= rho = (2 (r-1) / (r-2))^(1/2)`` of ``(r-1 + t_2)^2 prod_l (r-1 +
    (t_(l+1) / t_l)^2) (r-1 + (k / t_(L-1))^2)`` with ``k = (r-1)(r-4) / (2 (r-2))``. For r <= 6 all t equal rho; else a
    convex problem in log t is solved, with a relative error of C of 1e-12.

    Parameters
    ----------
    vertices : int
        r >= 4; there are r (r - 1) / 2 classes.
    depth : int
        L + 1 >= 3.
    sign : {"-", "+"}

    Raises
    ------
    TypeError, ValueError
        If an argument is invalid.

    Examples
    --------
    >>> f"{cf.theory.low_rank.graph_coefficient(5, depth=4):.4f} < 40"
    '36.9375 < 40'
    """
    r, depth = _checked_vertices(vertices), _checked_depth(depth)
    norm = inverse_adjacency_norm(r) if checked_choice("sign", sign, SIGNS) == "-" else 0.5 * r * (r - 1)
    log_layers = chain.log_chain(r, chain.ratios(r, depth))
    return depth * math.exp((math.log(norm) + 2.0 * math.log(r - 2) + log_layers) / depth)


def union(classes: int, *, depth: int) -> Union:
    """Blocks of classes (edges of complete graphs, or single classes) with the smallest coefficient.

    The coefficient of block-diagonal layers with one scale is the sum over blocks. With one scale per block the loss is
    lower still, but a union beats deep collapse only if one of its blocks does.

    Parameters
    ----------
    classes : int
        K >= 2.
    depth : int
        L + 1 >= 3.

    Examples
    --------
    >>> found = cf.theory.low_rank.union(12, depth=5)
    >>> found.blocks, f"{found.coefficient:.3f} < {cf.theory.low_rank.collapse_coefficient(12, depth=5):.0f}"
    ((10, 1, 1), '50.840 < 60')
    """
    classes, depth = checked_classes(classes), _checked_depth(depth)
    if classes > _MOST_CLASSES:
        raise ValueError(f"classes must be at most {_MOST_CLASSES} here, got {classes}")
    blocks = [(1, float(depth))]
    for r in range(4, int((1 + math.isqrt(1 + 8 * classes)) // 2) + 1):
        cost, size = graph_coefficient(r, depth=depth), r * (r - 1) // 2
        if cost < (1.0 - _EQUAL) * depth * size:
            blocks.append((size, cost))
    best: list[tuple[float, int]] = [(0.0, 0)]  # coefficient, and size of the last block
    for k in range(1, classes + 1):
        best.append(min((best[k - size][0] + cost, size) for size, cost in blocks if size <= k))
    found, left = [], classes
    while left:
        found.append(best[left][1])
        left -= found[-1]
    return Union(best[classes][0], tuple(sorted(found, reverse=True)))


def least_classes(depth: int) -> float:
    """Smallest number of classes for which a `union` beats deep collapse: 6, four layers 10, three inf.

    More classes add single classes to the blocks.

    Examples
    --------
    >>> [cf.theory.low_rank.least_classes(depth) for depth in (3, 4, 5)]
    [inf, 10.0, 6.0]
    """
    depth = _checked_depth(depth)
    for r in (4, 5):  # with three layers C >= depth K, see derivations/low_rank.py
        if graph_coefficient(r, depth=depth) < (1.0 - _EQUAL) * 0.5 * depth * r * (r - 1):
            return 0.5 * r * (r - 1)
    return math.inf


def collapse_layers(classes: int, *, depth: int, scale: float = 1.0) -> tuple[NDArray[np.float64], ...]:
    """Layers W, ..., H of deep collapse: ``depth`` matrices (K, K), each ``z^(1/depth) I``.

    Examples
    --------
    >>> layers = cf.theory.low_rank.collapse_layers(3, depth=4, scale=0.5)
    >>> np.linalg.multi_dot(layers).round(4)
    array([[0.5, 0. , 0. ],
           [0. , 0.5, 0. ],
           [0. , 0. , 0.5]])
    """
    classes, depth = checked_classes(classes), _checked_depth(depth)
    return (checked_number("scale", scale, 0.0, LIMIT) ** (1.0 / depth) * np.eye(classes),) * depth


def graph_layers(
    vertices: int, *, depth: int, scale: float = 1.0, sign: str = "-"
) -> tuple[NDArray[np.float64], ...]:
    """Layers W, ..., H of the solution of `graph_coefficient`, with ``Z = z I`` and squared norms ``C z^(2/depth)``.

    Parameters
    ----------
    vertices, depth, sign
        As in `graph_coefficient`.
    scale : float
        Scale z of the logits.

    Returns
    -------
    W : (K, r + K) array
    (r + K, r + K) arrays
        depth - 2 of them.
    H : (r + K, K) array
        Hidden units are the points of ``ceflow.subsets(r, (1, 2))``, vertices and then edges; unused ones are 0.
        ``SpectralFlow(..., class_fibres=1).project`` gives the start of the reduced flow.

    Examples
    --------
    >>> W, *_, H = layers = cf.theory.low_rank.graph_layers(5, depth=4)
    >>> W.shape, H.shape  # 10 classes, 5 vertices and 10 edges
    ((10, 15), (15, 10))
    >>> coefficient = cf.theory.low_rank.graph_coefficient(5, depth=4)
    >>> f"{sum((layer**2).sum() for layer in layers):.4f}, {coefficient:.4f}"
    '36.9375, 36.9375'
    """
    r, depth = _checked_vertices(vertices), _checked_depth(depth)
    checked_choice("sign", sign, SIGNS)
    z = checked_number("scale", scale, 0.0, LIMIT)
    pairs = list(itertools.combinations(range(r), 2))
    K = len(pairs)
    N = np.zeros((r, K))
    N[np.array(pairs).T, np.arange(K)] = 1.0
    # unit maps from the classes to the vertices: on constants, and on vectors of vertex sum 0
    constant, standard = np.full((r, K), (r * K) ** -0.5), (N - 2.0 / r) / math.sqrt(r - 2)
    mean, ratios, k = np.full((r, r), 1.0 / r), chain.ratios(r, depth), chain.last_ratio(r)
    first = math.sqrt(ratios[0] if ratios.size else k)
    layers: list[NDArray] = [first * constant + standard]
    if ratios.size:
        steps = [first, *(ratios[1:] / ratios[:-1])]
        layers += [np.eye(r) + (step - 1.0) * mean for step in steps]
    last = k / ratios[-1] if ratios.size else first
    way = 1.0 if sign == "+" else -1.0
    layers.append(way * (standard - last * constant).T)
    layers.append(np.linalg.inv(np.eye(K) + 1.0 - N.T @ N) if sign == "-" else np.eye(K))
    size = math.sqrt(graph_coefficient(r, depth=depth, sign=sign) / depth) * z ** (1.0 / depth)
    vertex, edge = slice(0, r), slice(r, r + K)
    places = [slice(0, K), *[vertex] * (depth - 2), edge, slice(0, K)]
    widths = [K, *[r + K] * (depth - 1), K]
    found: list[NDArray] = []
    for layer, (below, above), (columns, rows) in zip(
        layers, itertools.pairwise(places), itertools.pairwise(widths), strict=True
    ):
        whole = np.zeros((rows, columns))
        whole[above, below] = size / np.linalg.norm(layer) * layer
        found.insert(0, whole)
    return tuple(found)


def _checked_depth(depth: int) -> int:
    return checked_integer("depth", depth, 3, _MOST_DEPTH)


def _checked_vertices(vertices: int) -> int:
    return checked_integer("vertices", vertices, 4, 1000)
