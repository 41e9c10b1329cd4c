"""Which symmetry a start has: the coherent closure of what is given (Weisfeiler and Leman)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .._checks import checked_array, checked_number
from ._coherent import Coherent, coherent
from ._symmetry import require_room


def closure(labels: NDArray[np.int64]) -> NDArray[np.int64]:
    """The coarsest coherent configuration that tells apart what the labels (n, n) do: 2-dimensional Weisfeiler-Leman.

    A pair is told by the multiset of pairs of labels on the ways over every point. Multisets are compared by products
    of random numbers for the labels, in exact arithmetic.
    """
    n = len(labels)
    rng = np.random.default_rng(0)
    labels = _renumbered(np.where(np.eye(n, dtype=bool), labels + labels.max() + 1, labels))
    bound = int(np.sqrt(2.0**52 / n))
    while True:
        count = int(labels.max()) + 1
        keys = [labels, labels.T]
        for _ in range(2):
            left, right = rng.integers(1, bound, size=(2, count)).astype(float)
            keys.append((left[labels] @ right[labels]).astype(np.int64))
        finer = _renumbered(*keys)
        if int(finer.max()) + 1 == count:
            return labels
        labels = finer


def _renumbered(*keys: NDArray[np.int64]) -> NDArray[np.int64]:
    """Labels 0, 1, ... in order of appearance, for pairs that agree in all keys."""
    flat = np.stack([key.ravel() for key in keys], axis=1)
    _, first, inverse = np.unique(flat, axis=0, return_index=True, return_inverse=True)
    order = np.empty(first.size, np.int64)
    order[np.argsort(first)] = np.arange(first.size)
    return order[inverse.ravel()].reshape(keys[0].shape)


def _pattern(matrix: NDArray[np.float64], tolerance: float) -> NDArray[np.int64]:
    """Labels of the entries of a matrix: those that follow each other within the tolerance, of the largest, are one."""
    size = np.abs(matrix).max(initial=0.0)
    values, inverse = np.unique(matrix, return_inverse=True)
    steps = np.diff(values) > tolerance * size
    return np.concatenate([[0], np.cumsum(steps)])[inverse.ravel()].reshape(matrix.shape)


def symmetry_of(*factors: ArrayLike, tolerance: float = 1e-9, hidden: bool = False) -> Coherent:
    """The finest reduction that a start allows: the coarsest symmetry that its matrices have.

    Of linear layers, whose hidden units may be turned by any rotation, what counts is the products of layers from
    either side with their transposes, and the logits. With an activation between layers the hidden units are points
    too.

    Parameters
    ----------
    *factors : W (K, d), ..., H (d, K)
    tolerance : float
        Entries that differ by less, over the largest entry of a matrix, count as equal.
    hidden : bool
        Whether hidden units are points: fibres of classes then come first, those of each hidden layer follow, from W to
        H.

    Returns
    -------
    Symmetry
        On the K classes; with `hidden` on classes and hidden units. Its `rank` says how far a run is reduced: K^2
        relations of K classes are no reduction.

    Raises
    ------
    TypeError, ValueError
        If factors do not fit together.
    """
    tolerance = checked_number("tolerance", tolerance, 0.0, 1.0)
    matrices = [checked_array(f"factor {i}", factor) for i, factor in enumerate(factors, 1)]
    if len(matrices) < 2 or any(matrix.ndim != 2 for matrix in matrices):
        raise ValueError("symmetry_of takes two matrices or more: W (K, d), ..., H (d, K)")
    shapes = [matrix.shape for matrix in matrices]
    if any(a[1] != b[0] for a, b in zip(shapes, shapes[1:] + shapes[:1], strict=True)):
        raise ValueError(f"W must be (K, d) and H (d, K), and factors between them must fit, got {shapes}")
    points = shapes[0][0] + (sum(shape[1] for shape in shapes[:-1]) if hidden else 0)
    require_room("the pairs of points", points, points)
    if hidden:
        keys = _units(matrices, tolerance)
    else:
        keys = [_pattern(matrix, tolerance) for matrix in _invariants(matrices)]
    found = closure(_renumbered(*keys))
    return coherent(found)


def _invariants(matrices: Sequence[NDArray[np.float64]]) -> list[NDArray[np.float64]]:
    """(K, K) matrices that no rotation of hidden units changes."""
    found, left = [], np.eye(len(matrices[0]))
    for i, matrix in enumerate(matrices[:-1]):
        left = left @ matrix
        found.append(left @ left.T)
        if i > 0:
            found.append((left @ matrix.T) @ (left @ matrix.T).T)
    right = np.eye(len(matrices[0]))
    for i, matrix in enumerate(matrices[:0:-1]):
        right = matrix @ right
        found.append(right.T @ right)
        if i > 0:
            found.append((matrix.T @ right).T @ (matrix.T @ right))
    return [*found, left @ matrices[-1]]


def _units(matrices: Sequence[NDArray[np.float64]], tolerance: float) -> list[NDArray[np.int64]]:
    """Labels on classes and hidden units: which layer a point belongs to, and the weights between them."""
    sizes = [len(matrices[0]), *(matrix.shape[1] for matrix in matrices[:-1])]
    starts = np.cumsum([0, *sizes])
    kind = np.repeat(np.arange(len(sizes)), sizes)
    layers = kind[:, None] * len(sizes) + kind
    forward, backward = np.zeros((2, starts[-1], starts[-1]), np.int64)
    for i, matrix in enumerate(matrices):
        after = (i + 1) % len(matrices)
        rows, columns = slice(starts[i], starts[i + 1]), slice(starts[after], starts[after + 1])
        target = forward if i < len(matrices) - 1 else backward
        target[rows, columns] = 1 + _pattern(matrix, tolerance)
    return [layers, forward, backward]
