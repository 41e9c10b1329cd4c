"""Schemes given by a matrix of labels of the relations."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ._registry import register
from ._scheme import Scheme, frozen, require_room


@dataclass(frozen=True, eq=False, repr=False)
class _FromRelations(Scheme):
    eigenvalues: NDArray[np.float64]
    all_gaps: NDArray[np.float64]

    @property
    def name(self) -> str:
        return f"from_relations({self.classes} x {self.classes} labels)"

    def _eigenvalues(self) -> NDArray[np.float64]:
        return self.eigenvalues

    def _gaps(self) -> NDArray[np.float64]:
        return self.all_gaps

    def _relations(self) -> NDArray[Any]:
        return self.args[0]


@register()
def from_relations(labels: ArrayLike) -> Scheme:
    """Make a scheme from a matrix of labels, such as the distances in a strongly regular graph.

    The rows of the eigenmatrix, and so the modes, are in lexicographically decreasing order; row 0 belongs to the
    constant vector. Integer eigenvalues are exact, and their gaps are correctly rounded.

    Parameters
    ----------
    labels : (K, K) array of integers (floats with integral values are accepted, bools are not)
        ``labels[x, y]`` is the relation of the points x and y: symmetric, 0 exactly on the diagonal, using all of 0..D.
        The number of points in relations j and l to x and y must depend only on the relation of x and y.

    Raises
    ------
    TypeError
        If labels have another type.
    ValueError
        If they are not the relations of a symmetric association scheme; the message says where.

    Notes
    -----
    The last condition is tested by exact products of random combinations of the relations (fixed seed). A matrix that
    violates it passes with probability at most about ``4 K / 2**53`` (Schwartz-Zippel): 1e-13 at K = 256.

    Examples
    --------
    >>> labels = [[0, 1, 2, 1], [1, 0, 1, 2], [2, 1, 0, 1], [1, 2, 1, 0]]  # distances in a square
    >>> cf.from_relations(labels).eigenmatrix
    array([[ 1.,  2.,  1.],
           [ 1.,  0., -1.],
           [ 1., -2.,  1.]])
    """
    labels = _checked_labels(labels)
    classes = len(labels)
    representatives = np.unique(labels[0], return_index=True)[1]  # (0, representatives[h]) is a pair in relation h
    _check_intersection_numbers(labels, representatives)
    valencies = np.bincount(labels[0])
    rng = np.random.default_rng(0)
    for _ in range(8):  # in case a combination of relations is nearly degenerate
        gaps = _eigenspace_gaps(labels, representatives, rng.standard_normal(len(valencies)))
        gaps = gaps[np.lexsort(np.round(gaps, 9).T[::-1])]
        eigenvalues = valencies * (1 - gaps)
        nearest = np.rint(eigenvalues)
        integral = np.abs(eigenvalues - nearest) <= 1e-11 * valencies
        eigenvalues = np.where(integral, nearest, eigenvalues)
        gaps = np.where(integral, (valencies - nearest) / valencies, gaps)
        multiplicities = np.rint(classes / np.sum(eigenvalues**2 / valencies, axis=1))
        unitary = np.sqrt(multiplicities[:, None] / classes / valencies) * eigenvalues
        if np.allclose(unitary @ unitary.T, np.eye(len(valencies)), rtol=0, atol=1e-10):
            sizes = frozen(valencies), frozen(multiplicities)
            return _FromRelations("from_relations", (labels,), classes, *sizes, eigenvalues, gaps)
    raise ArithmeticError("labels passed all tests, but their eigenspaces could not be separated")


def _checked_labels(labels: ArrayLike) -> NDArray[np.int64]:
    """Read-only copy of labels that satisfy all conditions except the one on intersection numbers."""
    array = np.asarray(labels)
    if array.dtype.kind not in "iuf":
        raise TypeError(f"labels must be a matrix of integers, got dtype {array.dtype}")
    if array.ndim != 2 or len(array) != array.shape[1] or len(array) < 2:
        raise ValueError(f"labels must be a K x K matrix with K >= 2, got shape {array.shape}")
    classes = len(array)
    require_room("labels", classes, classes)

    def require(satisfied: NDArray[np.bool_], rule: str) -> None:
        if not satisfied.all():
            x, y = (int(index) for index in np.unravel_index(np.argmin(satisfied), satisfied.shape))
            raise ValueError(f"labels must be {rule}, got labels[{x}, {y}] = {array[x, y]}, [{y}, {x}] = {array[y, x]}")

    require((array >= 0) & (array < classes) & (array == np.rint(array)), "integers from 0 to K - 1")
    require((array == 0) == np.eye(classes, dtype=bool), "0 on the diagonal and nowhere else")
    require(array == array.T, "symmetric")
    result = frozen(np.array(array, np.int64), np.int64)
    missing = np.flatnonzero(np.bincount(result.ravel()) == 0)
    if missing.size:
        raise ValueError(f"labels must use all integers from 0 to {result.max()}, their largest, got no {missing[0]}")
    counts = np.stack([np.bincount(row, minlength=result.max() + 1) for row in result])
    if np.any(counts != counts[0]):
        x, j = np.argwhere(counts != counts[0])[0]
        raise ValueError(
            "labels must have constant valencies (each label as often in every row), "
            f"got label {j} {counts[0, j]} times in row 0 and {counts[x, j]} times in row {x}"
        )
    return result


def _check_intersection_numbers(labels: NDArray[np.int64], representatives: NDArray[np.int64]) -> None:
    """Raise a ValueError unless products of relations are constant on relations (see the notes of `from_relations`)."""
    classes, relations = len(labels), len(representatives)
    rng = np.random.default_rng(0)
    for _ in range(2):
        left, right = rng.integers(math.isqrt(2**53 // classes), size=(2, relations)).astype(np.float64)
        product = left[labels] @ right[labels]  # exact: integers below 2**53
        violated = product != product[0, representatives][labels]
        if violated.any():
            x, y = np.argwhere(violated)[0]
            h = labels[x, y]
            v = representatives[h]
            ours, theirs = (
                np.bincount(labels[a] * relations + labels[b], minlength=relations**2) for a, b in ((x, y), (0, v))
            )
            pair = int(np.argmax(ours != theirs))
            raise ValueError(
                f"labels must have constant intersection numbers, got pairs ({x}, {y}) and (0, {v}) of label {h}, to "
                f"which {ours[pair]} and {theirs[pair]} points are in relations {divmod(pair, relations)}"
            )


def _eigenspace_gaps(
    labels: NDArray[np.int64], representatives: NDArray[np.int64], combination: NDArray[np.float64]
) -> NDArray[np.float64]:
    """All gaps ``1 - P_ij / k_j``, with unsorted rows, from the eigenvectors of one combination of relations.

    Every eigenspace has one unit vector w that depends on a point z only through ``labels[0, z]``. These are the
    eigenvectors of a (D + 1, D + 1) matrix, a combination of intersection matrices (Bannai & Ito, II.3). The gaps are
    Dirichlet forms, ``(1 / 2 k_j) sum (w_y - w_z)^2`` over all pairs (y, z) in relation j: they are nonnegative, and
    errors of w enter squared.
    """
    valencies = np.bincount(labels[0])
    scale = np.sqrt(valencies)
    rows = labels[representatives]
    starts = np.cumsum(valencies) - valencies
    cells = np.argsort(rows, axis=1, kind="stable")  # all points, sorted by their relation to a representative
    quotient = np.add.reduceat((combination / scale)[rows][:, cells[0]], starts, axis=1)
    vectors = np.linalg.eigh(scale[:, None] * quotient / scale)[1].T
    w = (vectors / scale)[:, labels[0]]
    forms = sum(
        valency * np.add.reduceat((w[:, [y]] - w[:, cell]) ** 2, starts, axis=1)
        for valency, y, cell in zip(valencies, representatives, cells, strict=True)
    )
    return forms / (2 * valencies)
