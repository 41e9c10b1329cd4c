"""Symmetry of given matrices, which gives the smallest reduced flow for a start [ceflow].

The coarsest coherent configuration with matrices constant on relations is computed by two-dimensional Weisfeiler-Leman
refinement (1968): pairs of points get different labels if other points are related to them in different ways, until
labels are stable. The flow stays in the algebra of this configuration.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .._checks import checked_array, checked_number
from ._coherent import coherent
from ._symmetry import Symmetry, require_room

COPIES = 2  # size of the random matrix coefficients of words; matrices distinguish words that differ by order


def symmetry_of(
    *matrices: ArrayLike, tolerance: float = 1e-9, hidden: bool = False, weights: ArrayLike | None = None
) -> Symmetry:
    """Compute the symmetry of a start or state: the coarsest coherent configuration compatible with all layers.

    Parameters
    ----------
    *matrices : arrays
        Layers from the classifier to the features, in the order of the product: W (K, d), ..., H (d, K). A single
        matrix (K, K) is interpreted as logits.
    tolerance : float
        Sorted entries of a matrix count as equal if neighbours differ by at most this times the largest one.
    hidden : bool
        Whether hidden units are points too, as an activation requires. Linear networks are invariant under rotations of
        hidden layers, so only matrices between classes count: W W', H' H, W H, and so on.
    weights : (K,) array, optional
        Numbers of the classes that must be equal within a fibre, such as numbers of samples.

    Returns
    -------
    Symmetry
        Symmetry of the classes in their order; if hidden, of the classes and the units of each hidden layer, in the
        order of the product.

    Raises
    ------
    TypeError, ValueError
        If matrices are not real, or do not fit.

    Notes
    -----
    Products are compared by exact sums of random integers (fixed seed). For a thousand points different relations are
    confused with probability about ``4 / 10**13``; the result is a coherent configuration in any case.

    Examples
    --------
    >>> W, H = cf.SpectralFlow(cf.hadamard(4)).lift([0.1, 0.1, 0.3])
    >>> symmetry = cf.symmetry_of(W, H)
    >>> symmetry, symmetry.multiplicities
    (coherent(<4 points, 3 relations>), array([1., 1., 2.]))
    """
    layers = _checked_layers(matrices)
    tolerance = checked_number("tolerance", tolerance, 0, 0.1)
    classes = len(layers[0])
    counts = np.zeros(classes) if weights is None else checked_array("weights", weights)
    if counts.shape != (classes,):
        raise ValueError(f"weights must have shape ({classes},), one for each class, got {counts.shape}")
    labels = _pattern(layers, tolerance) if hidden else _pattern_of_words(_words(layers), tolerance)
    colours = np.zeros(len(labels), np.int64)
    colours[:classes] = 1 + _alike(counts, tolerance)
    labels = _joined(labels, np.diag(colours))
    return coherent(closure(labels))


def closure(labels: NDArray[np.int64]) -> NDArray[np.int64]:
    """Labels of the coarsest coherent configuration that refines given labels (n, n)."""
    rng, size = np.random.default_rng(0), len(labels)
    labels = _joined(_joined(labels, labels.T), np.eye(size, dtype=np.int64))
    while True:
        number, refined = labels.max() + 1, labels
        for _ in range(2):
            left, right = rng.integers(math.isqrt(2**53 // size), size=(2, number)).astype(np.float64)
            product = left[labels] @ right[labels]  # exact: integers below 2**53
            refined = _joined(refined, np.unique(product, return_inverse=True)[1].reshape(labels.shape))
        if refined.max() + 1 == number:
            return labels
        labels = refined


def _checked_layers(matrices: Sequence[ArrayLike]) -> list[NDArray[np.float64]]:
    if not matrices:
        raise TypeError("symmetry_of takes at least one matrix")
    layers = [checked_array(f"matrix {i}", matrix) for i, matrix in enumerate(matrices)]
    shapes = [layer.shape for layer in layers]
    fits = all(len(shape) == 2 and min(shape) > 0 for shape in shapes)
    if not fits or any(a[1] != b[0] for a, b in zip(shapes, [*shapes[1:], shapes[0]], strict=True)):
        raise ValueError(
            "matrices must be layers (K, d), (d, K), or (K, d), (d, e), .., (z, K), from the classifier to the "
            f"features, got shapes {', '.join(map(str, shapes))}"
        )
    points = sum(len(layer) for layer in layers)
    require_room("the pairs of points", points, points)
    return layers


def _words(layers: list[NDArray[np.float64]]) -> NDArray[np.float64]:
    """Matrices (m, K, K) between classes that are invariant under rotations of the hidden layers.

    They are W w V', where W and V are the classifier or the transposed features, and w is any product of hidden layers
    and their transposes. They are summed with random matrix coefficients, as one resolvent.
    """
    if len(layers) == 1:
        return layers[0][None]
    classes, sizes = len(layers[0]), [layer.shape[1] for layer in layers[:-1]]
    starts, width = np.cumsum([0, *sizes]), sum(sizes)
    ends = np.zeros((width, 2 * classes))
    ends[: sizes[0], :classes] = layers[0].T
    ends[starts[-2] :, classes:] = layers[-1]
    rng, copies = np.random.default_rng(0), COPIES if len(layers) > 2 else 1
    letters = np.zeros((copies * width, copies * width))
    for i, layer in enumerate(layers[1:-1]):
        scale = np.linalg.norm(layer) * 4 * copies * len(layers)
        for letter, row, column in ((layer, i, i + 1), (layer.T, i + 1, i)):
            placed = np.zeros((width, width))
            placed[starts[row] : starts[row + 1], starts[column] : starts[column + 1]] = letter
            letters += np.kron(rng.uniform(-1, 1, (copies, copies)), placed) / (scale or 1.0)
    ends = np.kron(np.eye(copies), ends)
    sums = np.asarray(ends.T @ np.linalg.solve(np.eye(len(letters)) - letters, ends), float)
    blocks = sums.reshape(2 * copies, classes, 2 * copies, classes)
    return blocks.transpose(0, 2, 1, 3).reshape(-1, classes, classes)


def _pattern_of_words(words: NDArray[np.float64], tolerance: float) -> NDArray[np.int64]:
    labels = np.zeros(words.shape[1:], np.int64)
    for word in words:
        labels = _joined(labels, _alike(word, tolerance))
    return labels


def _pattern(layers: list[NDArray[np.float64]], tolerance: float) -> NDArray[np.int64]:
    """Labels of all pairs of classes and hidden units."""
    starts = np.cumsum([0, *(len(layer) for layer in layers)])
    spans = [slice(first, last) for first, last in pairwise(starts)]
    number = np.repeat(np.arange(len(layers)), np.diff(starts))
    labels = np.add.outer(number * len(layers), number)
    for layer, rows, columns in zip(layers, spans, [*spans[1:], spans[0]], strict=True):
        labels[rows, columns] += len(layers) ** 2 * _alike(layer, tolerance)
    return _joined(labels, np.zeros_like(labels))


def _alike(values: NDArray[np.float64], tolerance: float) -> NDArray[np.int64]:
    """Labels 0, 1, ... of groups of values separated by gaps."""
    order = np.argsort(values, axis=None, kind="stable")
    steps = np.diff(values.ravel()[order]) > tolerance * np.abs(values).max()
    groups = np.empty(values.size, np.int64)
    groups[order] = np.cumsum(np.append(0, steps))
    return groups.reshape(values.shape)


def _joined(labels: NDArray[np.int64], others: NDArray[np.int64]) -> NDArray[np.int64]:
    """Labels 0, 1, ... of the distinct pairs of two labels."""
    _, inverse = np.unique(labels * (others.max() + 1) + others, return_inverse=True)
    return inverse.reshape(labels.shape)
