"""Check of the axioms of a coherent configuration."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ._symmetry import require_room


def checked_labels(labels: ArrayLike) -> NDArray[np.int64]:
    """Check the labels of a coherent configuration; errors name the violated axiom and where."""
    array = np.asarray(labels)
    if array.dtype.kind not in "iu":
        raise TypeError(f"labels must be integers, got dtype {array.dtype}")
    if array.ndim != 2 or array.shape[0] != array.shape[1] or not array.size:
        raise ValueError(f"labels must be a square matrix, got shape {array.shape}")
    require_room("labels", *array.shape)
    array = array.astype(np.int64)
    used = np.unique(array)
    if used[0] != 0 or used[-1] != used.size - 1:
        raise ValueError(f"labels must be 0, 1, ... without gaps, got {used[:10].tolist()}{'...' * (used.size > 10)}")
    on, off = np.unique(np.diagonal(array)), array[~np.eye(len(array), dtype=bool)]
    both = np.intersect1d(on, off)
    if both.size:
        x, y = np.argwhere((array == both[0]) & ~np.eye(len(array), dtype=bool))[0]
        raise ValueError(
            f"labels of the diagonal must not occur elsewhere, got label {both[0]} for the pair ({x}, {y})"
        )
    first = np.unique(array.ravel(), return_index=True)[1]
    rows, columns = np.divmod(first, len(array))
    turned = array[columns, rows]
    wrong = np.argwhere(array.T != turned[array])
    if wrong.size:
        x, y = wrong[0]
        k = array[x, y]
        raise ValueError(
            f"the transposed pairs of a label must have one label, got ({rows[k]}, {columns[k]}) and ({x}, {y}) of "
            f"label {k}, with transposed labels {turned[k]} and {array[y, x]}"
        )
    _check_products(array, rows, columns)
    return array


def _check_products(array: NDArray[np.int64], rows: NDArray[np.int64], columns: NDArray[np.int64]) -> None:
    """Raise an error unless products of relations are constant on relations.

    Products of two random combinations of relations, in exact arithmetic, miss a violation with probability at most
    1e-6; two pairs are tested.
    """
    n, count = len(array), rows.size
    rng = np.random.default_rng(0)
    for _ in range(2):
        left, right = rng.integers(math.isqrt(2**53 // n), size=(2, count)).astype(np.float64)
        product = left[array] @ right[array]  # exact: integers below 2**53
        wrong = np.argwhere(product != product[rows, columns][array])
        if wrong.size:
            x, y = wrong[0]
            k = array[x, y]
            ours, theirs = (
                np.bincount(array[a] * count + array[:, b], minlength=count**2)
                for a, b in ((x, y), (rows[k], columns[k]))
            )
            pair = int(np.argmax(ours != theirs))
            raise ValueError(
                f"intersection numbers must be constant, got pairs ({x}, {y}) and ({rows[k]}, {columns[k]}) of label "
                f"{k}, with {ours[pair]} and {theirs[pair]} points z between them, (x, z) and (z, y) in the relations "
                f"{divmod(pair, count)}"
            )
