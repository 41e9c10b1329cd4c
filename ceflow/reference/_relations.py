"""Valencies, multiplicities and gaps of a scheme from its matrix of relations only, in floats or to all digits.

For an eigenspace and point 0 there is a function that is constant on each relation to point 0. Normalized to 1 at point
0, its values are ``P_ij / k_j``. As a vector over the relations they are an eigenvector of all matrices of intersection
numbers: for a point in relation h to point 0, the number of points in relation j to it and in relation l to point 0
(Bannai & Ito, II.3). One combination of these matrices separates all eigenspaces.

Modes are in the documented order of the schemes: those of ``hadamard`` in natural order, all others by their rows of
the eigenmatrix, in lexicographically decreasing order, which for ``cyclic`` is that of the frequency, for ``hamming``,
``johnson`` and ``complete`` that of the index.
"""

from __future__ import annotations

import functools
import math
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import numpy as np
from numpy.typing import NDArray

from ._precision import context

if TYPE_CHECKING:
    from ..symmetry import Scheme

MAX_CLASSES = 1024
NO_GAP = 1e-7  # the smallest gap for 1024 classes is 1 - cos(2 pi / 1024), or 2e-5
ATTEMPTS = 8  # combinations of relations, in case one is nearly degenerate


class Algebra(NamedTuple):
    """Data of a scheme for the dynamics.

    Attributes
    ----------
    valencies, multiplicities : (D,) arrays of integers
        ``k_j`` and ``m_i``, without those of the diagonal and of the constant vector.
    gaps : (D, D) array
        ``1 - P_ij / k_j``.
    """

    valencies: NDArray[np.int64]
    multiplicities: NDArray[np.int64]
    gaps: NDArray[Any]


class Counts(NamedTuple):
    """Counts from a matrix of relations."""

    valencies: NDArray[np.int64]  # (D + 1,)
    to_first: NDArray[np.int64]  # (K,) relations of the points to point 0
    rows: NDArray[np.int64]  # (D + 1, K) relations of the points to one in each relation to point 0

    def quotient(self, weights: NDArray) -> NDArray:
        """(D + 1, D + 1) matrix of sum_j weights_j A_j on functions of the relation to point 0."""
        member = np.equal.outer(self.to_first, np.arange(len(self.valencies)))
        return weights[self.rows] @ member.astype(weights.dtype)


def relation_gaps(scheme: Scheme) -> NDArray[np.float64]:
    """The gaps of `relation_algebra`.

    Examples
    --------
    >>> cf.reference.relation_gaps(cf.cyclic(4))
    array([[1., 2.],
           [2., 0.]])
    """
    return relation_algebra(scheme).gaps


def relation_algebra(scheme: Scheme) -> Algebra:
    """Compute valencies, multiplicities and gaps of a scheme from ``scheme.relations()`` only, to about rounding.

    Parameters
    ----------
    scheme : Scheme
        Scheme with at most 1024 classes.

    Raises
    ------
    ValueError
        If the scheme has more classes, or its relations are not an association scheme.

    Notes
    -----
    If all eigenvalues are integers, gaps are correctly rounded. Otherwise they are Dirichlet forms, ``(1 / 2 k_j) sum
    (w_y - w_z)^2`` over all pairs (y, z) in relation j, in which the error of w enters squared.
    """
    counts = counted(scheme)
    valencies, scale = counts.valencies, np.sqrt(counts.valencies)
    for weights in combinations(valencies):
        quotient = counts.quotient(weights.astype(float))
        vectors = np.linalg.eigh(scale[:, None] * quotient / scale)[1].T
        with np.errstate(divide="ignore", invalid="ignore"):
            ratios = vectors / scale / vectors[:, :1]
        if is_unitary(ratios, valencies, 1e-6):
            break
    else:
        raise ArithmeticError(f"the eigenspaces of {scheme.name} could not be separated")
    ratios = ratios[order(scheme, ratios)]
    eigenvalues = np.rint(ratios * valencies)
    if np.abs(ratios * valencies - eigenvalues).max() < 1e-5:
        gaps = (valencies - eigenvalues) / valencies
    else:
        gaps = _dirichlet_forms(counts, ratios)
        gaps[gaps < NO_GAP] = 0.0
    return Algebra(valencies[1:], _multiplicities(counts, ratios)[1:], np.ascontiguousarray(gaps[1:, 1:]))


def counted(scheme: Scheme) -> Counts:
    """Counts, after a check that the relations are a symmetric association scheme."""
    classes = int(scheme.classes)
    if classes > MAX_CLASSES:
        raise ValueError(f"the scheme must have at most {MAX_CLASSES} classes, got {classes}")
    labels = np.asarray(scheme.relations())
    if labels.shape != (classes, classes) or np.any(labels != labels.T) or np.any((labels == 0) != np.eye(classes)):
        raise ValueError(f"the relations of {scheme.name} must be a symmetric matrix that is 0 exactly on the diagonal")
    valencies = np.bincount(labels[0])
    first = [int(np.flatnonzero(labels[0] == h)[0]) if count else -1 for h, count in enumerate(valencies)]
    rng = np.random.default_rng(1)
    left, right = rng.integers(1, math.isqrt(2**53 // classes), size=(2, int(labels.max()) + 1)).astype(float)
    product = left[labels] @ right[labels]  # of integers, exact
    if -1 in first or labels.max() >= len(first) or np.any(product != product[0, first][labels]):
        raise ValueError(f"the relations of {scheme.name} are not closed under products")
    return Counts(valencies, labels[0], labels[first])


def combinations(valencies: NDArray[np.int64]):
    """Integer coefficients of combinations of relations that separate the eigenspaces, in several attempts."""
    rng = np.random.default_rng(0)
    for _ in range(ATTEMPTS):
        yield np.rint(2.0**20 * rng.standard_normal(len(valencies)) / np.sqrt(valencies)).astype(np.int64)


def is_unitary(ratios: NDArray[np.float64], valencies: NDArray[np.int64], tolerance: float) -> bool:
    """Whether the rows ``P_ij / k_j`` are orthogonal with the weights k_j, as those of different eigenspaces are."""
    rows = ratios * np.sqrt(valencies)
    rows = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    return bool(np.abs(rows @ rows.T - np.eye(len(rows))).max() < tolerance)  # false for NaN


def order(scheme: Scheme, ratios: NDArray[np.float64]) -> list[int]:
    """Rows ``P_ij / k_j`` of the modes 0..D of a scheme, in its documented order."""
    columns = np.arange(1, ratios.shape[1])
    if scheme.kind == "hadamard":  # bit b of the mode: whether it changes sign with bit b of the relation
        columns = 2 ** np.arange(ratios.shape[1].bit_length() - 2, -1, -1)

    def compare(one: int, other: int) -> Any:
        difference = ratios[other, columns] - ratios[one, columns]
        unequal = np.flatnonzero(np.abs(difference) > 1e-6)
        return difference[unequal[0]] if unequal.size else 0.0

    return sorted(range(len(ratios)), key=functools.cmp_to_key(compare))


def _dirichlet_forms(counts: Counts, ratios: NDArray[np.float64]) -> NDArray[np.float64]:
    valencies, relations = counts.valencies, len(counts.valencies)
    w = ratios / np.sqrt(ratios**2 @ valencies)[:, None]  # unit vectors over the points
    values = w[:, counts.to_first]
    forms, starts = np.zeros((relations, relations)), np.cumsum(valencies) - valencies
    for h in range(relations):
        points = np.argsort(counts.rows[h], kind="stable")  # by their relation to a point in relation h to point 0
        squares = (values[:, points] - w[:, h : h + 1]) ** 2
        forms += valencies[h] * np.add.reduceat(squares, starts, axis=1)
    return forms / (2.0 * valencies)


def exact_gaps(scheme: Scheme, ctx=None) -> list[list]:
    """Compute the gaps ``1 - P_ij / k_j`` (D, D) of a scheme from its matrix of relations only, to all digits.

    Parameters
    ----------
    scheme : Scheme
        Scheme with at most 1024 classes.
    ctx : mpmath context, optional
        Context with the precision; default 30 digits.

    Raises
    ------
    ValueError
        If the scheme has more classes, its relations are invalid, or its eigenmatrix does not match them.

    Examples
    --------
    >>> str(cf.reference.exact_gaps(cf.cyclic(5))[0][0])[:30]  # 1 - cos(72 degrees)
    '0.6909830056250525758977065828'
    """
    return cast("list[list]", exact_algebra(scheme, context(30) if ctx is None else ctx).gaps)


def exact_algebra(scheme: Scheme, ctx) -> Algebra:
    """`relation_algebra` with the gaps as lists of numbers of mpmath."""
    counts = counted(scheme)
    valencies, relations = [int(k) for k in counts.valencies], len(counts.valencies)
    fine = context(ctx.dps + 20)  # errors of eigenvectors are large for close eigenvalues
    roots = [fine.sqrt(k) for k in valencies]
    for weights in combinations(counts.valencies):
        quotient = counts.quotient(weights)
        symmetric = fine.matrix(relations, relations)
        for h in range(relations):
            for j in range(relations):
                symmetric[h, j] = int(quotient[h, j]) * roots[h] / roots[j]
        _, vectors = fine.eigsy(symmetric)
        rows = [[vectors[j, i] / (roots[j] * vectors[0, i]) if vectors[0, i] else fine.nan for j in range(relations)]
                for i in range(relations)]  # fmt: skip
        ratios = np.array([[float(value) for value in row] for row in rows])
        if is_unitary(ratios, counts.valencies, 1e-10):
            break
    else:
        raise ArithmeticError(f"the eigenspaces of {scheme.name} could not be separated")
    modes = order(scheme, ratios)
    # the eigenmatrix of the scheme is only compared
    if not np.allclose(ratios[modes] * counts.valencies, scheme.eigenmatrix, rtol=0.0, atol=1e-6):
        raise ValueError(f"{scheme.name} has an eigenmatrix that does not match its relations")
    gaps = [[1 - rows[i][j] for j in range(1, relations)] for i in modes[1:]]
    # zeros must be exact: a force may be below the precision of residuals that do not contribute to it
    gaps = [[ctx.mpf(gap) if gap > NO_GAP else ctx.mpf(0) for gap in row] for row in gaps]
    return Algebra(counts.valencies[1:], _multiplicities(counts, ratios[modes])[1:], cast(Any, gaps))


def _multiplicities(counts: Counts, ratios: NDArray[np.float64]) -> NDArray[np.int64]:
    return np.rint(counts.valencies.sum() / (ratios**2 @ counts.valencies)).astype(np.int64)
