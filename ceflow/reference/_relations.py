"""A scheme from nothing but its matrix of relations: valencies, multiplicities and gaps, in floats or to all digits.

The function on the points that belongs to an eigenspace and to point 0 takes one value on each relation to point 0.
With its value at point 0 put to 1 these are ``P_ij / k_j``, and as a vector over the relations they are an eigenvector
of every matrix that counts, from a point in relation h to point 0, the points in relation j to it that are in relation
l to point 0 (Bannai & Ito, II.3). One combination of these matrices tells all eigenspaces apart.

Modes come in the order that the schemes document: those of ``hadamard`` in natural order, all others by their rows of
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
NO_GAP = 1e-7  # the least gap of so many classes is 1 - cos(2 pi / 1024), or 2e-5
ATTEMPTS = 8  # combinations of relations, in case one is nearly degenerate


class Algebra(NamedTuple):
    """What the dynamics need of a scheme.

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
    """What is counted in a matrix of relations."""

    valencies: NDArray[np.int64]  # (D + 1,)
    to_first: NDArray[np.int64]  # (K,) relations of the points to point 0
    rows: NDArray[np.int64]  # (D + 1, K) relations of the points to one in each relation to point 0

    def quotient(self, weights: NDArray) -> NDArray:
        """(D + 1, D + 1) matrix of sum_j weights_j A_j on functions that depend on the relation to point 0 alone."""
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
    """Valencies, multiplicities and gaps of a scheme, near rounding, from ``scheme.relations()`` alone.

    Parameters
    ----------
    scheme : Scheme
        Of at most 1024 classes.

    Raises
    ------
    ValueError
        If the scheme has more classes, or its relations are none of an association scheme.

    Notes
    -----
    Where all eigenvalues are integers gaps are correctly rounded. Elsewhere they are Dirichlet forms,
    ``(1 / 2 k_j) sum (w_y - w_z)^2`` over all pairs (y, z) in relation j, into which the error of w enters squared.
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
        raise ArithmeticError(f"the eigenspaces of {scheme.name} could not be told apart")
    ratios = ratios[order(scheme, ratios)]
    eigenvalues = np.rint(ratios * valencies)
    if np.abs(ratios * valencies - eigenvalues).max() < 1e-5:
        gaps = (valencies - eigenvalues) / valencies
    else:
        gaps = _dirichlet_forms(counts, ratios)
        gaps[gaps < NO_GAP] = 0.0
    return Algebra(valencies[1:], _multiplicities(counts, ratios)[1:], np.ascontiguousarray(gaps[1:, 1:]))


def counted(scheme: Scheme) -> Counts:
    """What the methods of this module count, if the relations are those of a symmetric association scheme."""
    classes = int(scheme.classes)
    if classes > MAX_CLASSES:
        raise ValueError(f"the scheme must have at most {MAX_CLASSES} classes, got {classes}")
    labels = np.asarray(scheme.relations())
    if labels.shape != (classes, classes) or np.any(labels != labels.T) or np.any((labels == 0) != np.eye(classes)):
        raise ValueError(f"the relations of {scheme.name} must be a symmetric matrix, 0 on the diagonal and only there")
    valencies = np.bincount(labels[0])
    first = [int(np.flatnonzero(labels[0] == h)[0]) if count else -1 for h, count in enumerate(valencies)]
    rng = np.random.default_rng(1)
    left, right = rng.integers(1, math.isqrt(2**53 // classes), size=(2, int(labels.max()) + 1)).astype(float)
    product = left[labels] @ right[labels]  # of integers, exact
    if -1 in first or labels.max() >= len(first) or np.any(product != product[0, first][labels]):
        raise ValueError(f"the relations of {scheme.name} are not closed under products")
    return Counts(valencies, labels[0], labels[first])


def combinations(valencies: NDArray[np.int64]):
    """Integers with which to combine relations, such that the eigenspaces can be told apart, in several attempts."""
    rng = np.random.default_rng(0)
    for _ in range(ATTEMPTS):
        yield np.rint(2.0**20 * rng.standard_normal(len(valencies)) / np.sqrt(valencies)).astype(np.int64)


def is_unitary(ratios: NDArray[np.float64], valencies: NDArray[np.int64], tolerance: float) -> bool:
    """Whether the rows ``P_ij / k_j`` are orthogonal with the weights k_j, as those of different eigenspaces are."""
    rows = ratios * np.sqrt(valencies)
    rows = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    return bool(np.abs(rows @ rows.T - np.eye(len(rows))).max() < tolerance)  # not so for NaN


def order(scheme: Scheme, ratios: NDArray[np.float64]) -> list[int]:
    """Which rows ``P_ij / k_j`` belong to the modes 0..D of a scheme, in the order that it documents."""
    columns = np.arange(1, ratios.shape[1])
    if scheme.kind == "hadamard":  # bit b of the mode says whether it changes sign with bit b of the relation
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
    """The gaps ``1 - P_ij / k_j`` of a scheme, (D, D), from nothing but its matrix of relations, to all digits.

    Parameters
    ----------
    scheme : Scheme
        Of at most 1024 classes.
    ctx : mpmath context, optional
        Whose precision to use; 30 digits when left out.

    Raises
    ------
    ValueError
        If the scheme has more classes, its relations are none, or its eigenmatrix does not belong to them.

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
    fine = context(ctx.dps + 20)  # errors of eigenvectors are large where eigenvalues are close
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
        raise ArithmeticError(f"the eigenspaces of {scheme.name} could not be told apart")
    modes = order(scheme, ratios)
    # nothing of the scheme's own eigenmatrix is used; that it says the same is checked
    if not np.allclose(ratios[modes] * counts.valencies, scheme.eigenmatrix, rtol=0.0, atol=1e-6):
        raise ValueError(f"{scheme.name} has an eigenmatrix that does not belong to its relations")
    gaps = [[1 - rows[i][j] for j in range(1, relations)] for i in modes[1:]]
    # those that vanish do so exactly: a force may be beyond all digits of the residuals that have no part in it
    gaps = [[ctx.mpf(gap) if gap > NO_GAP else ctx.mpf(0) for gap in row] for row in gaps]
    return Algebra(counts.valencies[1:], _multiplicities(counts, ratios[modes])[1:], cast(Any, gaps))


def _multiplicities(counts: Counts, ratios: NDArray[np.float64]) -> NDArray[np.int64]:
    return np.rint(counts.valencies.sum() / (ratios**2 @ counts.valencies)).astype(np.int64)
