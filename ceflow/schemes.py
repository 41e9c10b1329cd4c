"""Symmetric association schemes: the symmetries under which the softmax stays diagonal.

A scheme on K points sorts all pairs of points into relations j = 0..D (0 is the diagonal) such that the 0/1 matrices of
the relations span an algebra, the Bose-Mesner algebra. Matrices that are constant on every relation are therefore
closed under entrywise functions *and* under products. If the logits are such a matrix then so is their softmax, and
both have the same eigenspaces i = 0..D for ever [ceflow]. ``hadamard(K)`` is the scheme behind Hadamard initialization
(Garrod, Keating & Thrampoulidis, arXiv:2512.04006). The notation is that of Bannai & Ito, *Algebraic Combinatorics I:
Association Schemes*:

=========  =========================================================================
``k_j``    valencies: how many points are in relation j to any given point
``m_i``    multiplicities: the dimension of eigenspace i
``P_ij``   eigenmatrix: the eigenvalue of relation j on eigenspace i
=========  =========================================================================

The dynamics need P only through the *gaps* ``1 - P_ij / k_j``. They are never negative, and are computed here without
the cancellation in that formula.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property, reduce
from itertools import combinations
from numbers import Integral
from typing import Any

import numpy as np
import scipy
from numba import njit
from numpy.typing import ArrayLike, DTypeLike, NDArray

from ceflow.walsh import add_by_sign, transform

from ._kernels import KERNEL

MAX_ENTRIES = 2**28  # of one array: 2 GiB
MAX_CLASSES = 2**1000  # valencies and multiplicities are float64


@njit(**KERNEL, fastmath={"reassoc", "contract"})  # a sum in any order, so that it vectorizes
def gap_transform(gaps, work, out):
    """Multiply by the gaps of a scheme, or by their transpose: the kernel of `Scheme.margins` and `Scheme.forces`.

    A kernel, to be called from compiled code: it allocates nothing and checks nothing. With a matrix of gaps and x >= 0
    every entry of the result has full relative accuracy; the fast transform subtracts, and is accurate relative to the
    sum of x.

    Parameters
    ----------
    gaps : (D, D) or (0, 0) contiguous array
        One of `Scheme.transforms`. An empty one stands for the Hadamard scheme and its fast transform.
    work : (D + 1,) contiguous array
        From its second entry on ``m_i s_i / K`` for margins, ``k_j p_j`` for forces. The fast transform overwrites it.
    out : (D,) contiguous array
        Overwritten by the result; must not overlap work.
    """
    if gaps.size > 0:
        for i in range(out.size):
            total = 0.0
            for j in range(out.size):
                total += gaps[i, j] * work[j + 1]
            out[i] = total
    else:
        work[0] = 0.0
        transform(work)
        for i in range(out.size):
            out[i] = work[0] - work[i + 1]


@njit(**KERNEL)
def careful_forces(work, minus, out):
    """The forces of a Hadamard scheme as `gap_transform` makes them, each with full relative accuracy; in twice the
    time, and with another array `minus` like `work` (kernel)."""
    work[0] = 0.0
    add_by_sign(work, minus)
    for i in range(out.size):
        out[i] = 2.0 * minus[i + 1]


@njit(cache=True)
def _gap_transform_rows(gaps, rows):
    out = np.empty_like(rows)
    work = np.empty(rows.shape[1] + 1)
    for n in range(len(rows)):
        for i in range(rows.shape[1]):  # a loop compiles much faster than an assignment to a slice
            work[i + 1] = rows[n, i]
        gap_transform(gaps, work, out[n])
    return out


def _frozen(array: ArrayLike, dtype: DTypeLike = np.float64) -> NDArray[Any]:
    array = np.ascontiguousarray(array, dtype)
    array.setflags(write=False)
    return array


EMPTY = _frozen(np.empty((0, 0)))


def _require_room(what: str, *shape: int) -> None:
    if math.prod(shape) > MAX_ENTRIES:
        raise ValueError(f"{what} would have shape {shape}, and at most {MAX_ENTRIES} entries are accepted")


def _require_float64(kind: str, classes: int) -> None:
    if classes >= MAX_CLASSES:
        raise ValueError(f"{kind} must have fewer than 2**1000 classes, got about 2**{classes.bit_length() - 1}")


def _integer(name: str, value: int, least: int) -> int:
    if isinstance(value, bool) or not isinstance(value, Integral):
        raise TypeError(f"{name} must be an integer, got {value!r}")
    if value < least:
        raise ValueError(f"{name} must be at least {least}, got {value}")
    return int(value)


@dataclass(frozen=True, eq=False, repr=False)
class Scheme(ABC):
    """A symmetric association scheme; immutable, made by one of the factory functions of this module.

    Two schemes are equal if they come from the same factory with the same arguments. Arrays are read-only. Dense ones
    are built when first asked for; asking for more than 2**28 entries is a ValueError.

    Attributes
    ----------
    kind, args : str, tuple
        The factory and its arguments.
    classes : int
        Number K of points, which are the classes of the classifier.
    modes : int
        Number D of eigenspaces other than that of the constant vector, and of relations other than the diagonal.
    valencies, multiplicities : (D + 1,) arrays
        ``k_j`` and ``m_i``; both start with 1, for the diagonal and for the constant vector.
    """

    kind: str
    args: tuple[Any, ...]
    classes: int
    valencies: NDArray[np.float64]
    multiplicities: NDArray[np.float64]

    @property
    def modes(self) -> int:
        return self.valencies.size - 1

    @property
    def name(self) -> str:
        """How to write the scheme, for example ``hamming(3, 4)``."""
        return f"{self.kind}({', '.join(map(str, self.args))})"

    @property
    def spec(self) -> dict[str, Any]:
        """All that `from_spec` needs to make the scheme again, in terms of JSON."""
        return {"kind": self.kind, "args": [np.asarray(arg).tolist() for arg in self.args]}

    @cached_property
    def eigenmatrix(self) -> NDArray[np.float64]:
        """(D + 1, D + 1) array ``P_ij``, the eigenvalue of relation j on eigenspace i; row 0 is the valencies."""
        _require_room(f"the eigenmatrix of {self.name}", self.modes + 1, self.modes + 1)
        return _frozen(self._eigenvalues())

    @cached_property
    def gaps(self) -> NDArray[np.float64]:
        """(D, D) array ``1 - P_ij / k_j`` for i, j = 1..D; non-negative, and accurate even where it is tiny."""
        _require_room(f"the gap matrix of {self.name}", self.modes + 1, self.modes + 1)
        return _frozen(self._gaps()[1:, 1:])

    @cached_property
    def transforms(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """The matrices that `gap_transform` takes for margins and for forces: the gaps transposed, and the gaps."""
        symmetric = np.array_equal(self.gaps, self.gaps.T)
        return self.gaps if symmetric else _frozen(self.gaps.T), self.gaps

    @property
    def columns(self) -> NDArray[np.int64]:
        """(K,) array, the eigenspace (0..D) that each column of `basis` belongs to."""
        _require_room(f"the basis columns of {self.name}", self.classes)
        return np.repeat(np.arange(self.modes + 1), self.multiplicities.astype(np.int64))

    def relations(self) -> NDArray[np.int64]:
        """(K, K) array, the relation (0..D) that each pair of points is in."""
        return self._labels

    def basis(self) -> NDArray[np.float64]:
        """Orthonormal eigenvectors common to all relations.

        Returns
        -------
        (K, K) array
            Column 0 is constant, the others are grouped by eigenspace in the order of the modes (see `columns`). Where
            a factory names no basis, the vectors inside an eigenspace are as LAPACK finds them: the same on every call,
            but not on every machine.
        """
        return self._basis

    def margins(self, s: ArrayLike) -> NDArray[np.float64]:
        """Logit margins of given singular values.

        Parameters
        ----------
        s : (..., D) array
            Singular values (eigenvalues) of the logit matrix, one per mode.

        Returns
        -------
        (..., D) array
            ``z_0 - z_j = (1/K) sum_i m_i s_i (1 - P_ij / k_j)`` for the relations j = 1..D.

        Raises
        ------
        TypeError, ValueError
            If s is not an array of finite real numbers of that shape.
        """
        return self._transform(0, self.multiplicities[1:] / float(self.classes) * self._checked("s", s))

    def forces(self, r: ArrayLike) -> NDArray[np.float64]:
        """Mode forces of given off-diagonal probabilities.

        Parameters
        ----------
        r : (..., D) array
            ``k_j p_j``, the total probability of the classes in relation j = 1..D to the right one.

        Returns
        -------
        (..., D) array
            ``lambda_i = sum_j (1 - P_ij / k_j) r_j`` for the modes i = 1..D: one minus the eigenvalue of the softmax on
            eigenspace i.

        Raises
        ------
        TypeError, ValueError
            If r is not an array of finite real numbers of that shape.
        """
        return self._transform(1, self._checked("r", r))

    def __repr__(self) -> str:
        return self.name

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Scheme):
            return NotImplemented
        return self.kind == other.kind and all(map(np.array_equal, self.args, other.args))

    def __hash__(self) -> int:
        return hash((self.kind, self.classes, self.modes))

    def __reduce__(self) -> tuple[Any, ...]:
        return from_spec, ({"kind": self.kind, "args": self.args},)

    def _checked(self, name: str, values: ArrayLike) -> NDArray[np.float64]:
        array = np.asarray(values)
        if array.dtype.kind not in "iuf":
            raise TypeError(f"{name} must be an array of real numbers, got dtype {array.dtype}")
        if array.ndim == 0 or array.shape[-1] != self.modes:
            raise ValueError(f"{name} must have shape (..., {self.modes}) for {self.name}, got {array.shape}")
        if not np.isfinite(array).all():
            raise ValueError(f"{name} must be finite, got {array[~np.isfinite(array)][0]}")
        return array.astype(np.float64, order="C")

    def _transform(self, which: int, x: NDArray[np.float64]) -> NDArray[np.float64]:
        return _gap_transform_rows(self.transforms[which], x.reshape(-1, self.modes)).reshape(x.shape)

    @cached_property
    def _labels(self) -> NDArray[np.int64]:
        _require_room(f"the relation labels of {self.name}", self.classes, self.classes)
        return _frozen(self._relations(), np.int64)

    @cached_property
    def _basis(self) -> NDArray[np.float64]:
        _require_room(f"the basis of {self.name}", self.classes, self.classes)
        vectors = self._eigenvectors()
        vectors[:, 0] = 1 / math.sqrt(self.classes)
        return _frozen(vectors)

    @abstractmethod
    def _eigenvalues(self) -> NDArray[Any]:
        """P as floats, or as Python integers (dtype object) to have the gaps rounded only once."""

    @abstractmethod
    def _relations(self) -> NDArray[Any]:
        """What `relations` returns, of any dtype."""

    def _gaps(self) -> NDArray[Any]:
        """The gaps, with the row and column of zeros that belong to the index 0."""
        eigenvalues = self._eigenvalues()
        return (eigenvalues[0] - eigenvalues) / eigenvalues[0]

    def _eigenvectors(self) -> NDArray[np.float64]:
        """Eigenvectors of ``sum_i i E_i``, whose eigenvalues are in order and evenly spaced (E_i: the projectors)."""
        levels = np.arange(self.modes + 1) * self.multiplicities / self.classes
        entries = levels @ (self.eigenmatrix / self.valencies)
        return np.linalg.eigh(entries[self.relations()])[1]


@dataclass(frozen=True, eq=False, repr=False)
class _Hadamard(Scheme):
    @property
    def transforms(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        return EMPTY, EMPTY

    def _eigenvalues(self) -> NDArray[np.float64]:
        return scipy.linalg.hadamard(self.classes, dtype=np.float64)

    def _relations(self) -> NDArray[Any]:
        points = np.arange(self.classes)
        return np.bitwise_xor.outer(points, points)

    def _eigenvectors(self) -> NDArray[np.float64]:
        return self._eigenvalues() / math.sqrt(self.classes)


@dataclass(frozen=True, eq=False, repr=False)
class _Cyclic(Scheme):
    def _gaps(self) -> NDArray[np.float64]:
        index = np.arange(self.modes + 1)
        turns = np.outer(index, index) % self.classes
        return 2 * np.sin(np.pi * np.minimum(turns, self.classes - turns) / self.classes) ** 2

    def _eigenvalues(self) -> NDArray[np.float64]:
        return self.valencies * (1 - self._gaps())

    def _relations(self) -> NDArray[Any]:
        points = np.arange(self.classes)
        distance = np.abs(np.subtract.outer(points, points))
        return np.minimum(distance, self.classes - distance)

    def _eigenvectors(self) -> NDArray[np.float64]:
        frequency = self.columns
        sine = np.append(False, frequency[1:] == frequency[:-1])  # a sine is a cosine, a quarter of a turn late
        quarters = (4 * np.outer(np.arange(self.classes), frequency) - self.classes * sine) % (4 * self.classes)
        return np.sqrt(self.multiplicities[frequency] / self.classes) * np.cos(np.pi / 2 * quarters / self.classes)


def _p_polynomial(theta: NDArray[Any], b: NDArray[Any], c: NDArray[Any]) -> NDArray[Any]:
    """Exact eigenmatrix from the eigenvalues of relation 1 and the intersection numbers of a distance-regular graph.

    The recurrence ``A_1 A_j = b_{j-1} A_{j-1} + (b_0 - b_j - c_j) A_j + c_{j+1} A_{j+1}`` (Bannai & Ito, III.1), on
    (D + 1,) arrays of Python integers.
    """
    p = [np.ones_like(theta), theta]
    for j in range(1, len(theta) - 1):
        p.append(((theta - b[0] + b[j] + c[j]) * p[j] - b[j - 1] * p[j - 1]) // c[j + 1])
    return np.stack(p, axis=1)


@dataclass(frozen=True, eq=False, repr=False)
class _Hamming(Scheme):
    m: int
    q: int

    def _eigenvalues(self) -> NDArray[Any]:
        i = np.arange(self.m + 1, dtype=object)
        degree = self.m * (self.q - 1)
        return _p_polynomial(degree - self.q * i, degree - (self.q - 1) * i, i)

    def _words(self) -> NDArray[np.int64]:
        """(m, K) array, the letters of all words in lexicographic order."""
        return np.indices((self.q,) * self.m).reshape(self.m, -1)

    def _relations(self) -> NDArray[Any]:
        return sum(np.not_equal.outer(letters, letters) for letters in self._words())

    def _eigenvectors(self) -> NDArray[np.float64]:
        product = reduce(np.kron, [scipy.linalg.helmert(self.q, full=True).T] * self.m)
        return product[:, np.argsort(np.count_nonzero(self._words(), axis=0), kind="stable")]


@dataclass(frozen=True, eq=False, repr=False)
class _Johnson(Scheme):
    n: int
    k: int

    def _eigenvalues(self) -> NDArray[Any]:
        i = np.arange(self.k + 1, dtype=object)
        b = (self.k - i) * (self.n - self.k - i)
        return _p_polynomial(b - i, b, i**2)

    def _relations(self) -> NDArray[Any]:
        member = np.zeros((self.classes, self.n))  # floats multiply faster
        np.put_along_axis(member, np.array(list(combinations(range(self.n), self.k))), 1.0, axis=1)
        return self.k - member @ member.T


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


def hadamard(K: int) -> Scheme:
    """The group Z_2^n on K = 2^n points: x and y are in relation ``x XOR y``. Everything is done by the fast transform.

    The scheme of Hadamard initialization (arXiv:2512.04006): the basis is the Sylvester-Hadamard matrix, in natural
    order, divided by sqrt(K). All valencies and multiplicities are 1.

    Parameters
    ----------
    K : int
        A power of two from 2 to 2**28.

    Raises
    ------
    TypeError, ValueError
        If K is anything else.
    """
    K = _integer("K", K, 2)
    if K.bit_count() != 1 or K > MAX_ENTRIES:
        raise ValueError(f"K must be a power of two from 2 to {MAX_ENTRIES}, got {K}")
    ones = _frozen(np.ones(K))
    return _Hadamard("hadamard", (K,), K, ones, ones)


def cyclic(K: int) -> Scheme:
    """Symmetric circulants on K points: x and y are in relation j if they are j steps apart on a circle.

    Mode i = 1..K//2 is the frequency, with the basis ``cos(2 pi i x / K)``, then ``sin(2 pi i x / K)``, normalized.
    Valencies and multiplicities are 2, or 1 at index K/2.

    Parameters
    ----------
    K : int
        At least 2, and less than 2**15.

    Raises
    ------
    TypeError, ValueError
        If K is anything else.
    """
    K = _integer("K", K, 2)
    _require_room(f"the gap matrix of cyclic({K})", K // 2 + 1, K // 2 + 1)
    sizes = np.full(K // 2 + 1, 2.0)
    sizes[0] = 1
    if K % 2 == 0:
        sizes[-1] = 1
    return _Cyclic("cyclic", (K,), K, _frozen(sizes), _frozen(sizes))


def complete(K: int) -> Scheme:
    """All K points alike: one relation, "different", of valency K - 1, and one mode, the ray of neural collapse.

    The basis is Helmert's.

    Parameters
    ----------
    K : int
        At least 2.

    Raises
    ------
    TypeError, ValueError
        If K is anything else.
    """
    K = _integer("K", K, 2)
    return _hamming("complete", (K,), 1, K)


def hamming(m: int, q: int) -> Scheme:
    """Words of m letters from an alphabet of q: words are in relation j if they differ in j places. K = q^m.

    Mode i has multiplicity ``(q-1)^i C(m, i)`` and, as its eigenvalues, the Krawtchouk polynomials (Bannai & Ito,
    III.2). The basis is the Kronecker product of m Helmert bases, sorted by weight; points are in lexicographic order.

    Parameters
    ----------
    m, q : int
        Number of letters m >= 1, and size of the alphabet q >= 2.

    Raises
    ------
    TypeError, ValueError
        If m or q is anything else, or the scheme is too large.
    """
    m, q = _integer("m", m, 1), _integer("q", q, 2)
    _require_room(f"the gap matrix of hamming({m}, {q})", m + 1, m + 1)
    return _hamming("hamming", (m, q), m, q)


def _hamming(kind: str, args: tuple[int, ...], m: int, q: int) -> Scheme:
    _require_float64(kind, q**m)
    sizes = _frozen([math.comb(m, i) * (q - 1) ** i for i in range(m + 1)])
    return _Hamming(kind, args, q**m, sizes, sizes, m, q)


def johnson(n: int, k: int) -> Scheme:
    """Subsets of k out of n elements: two are in relation j if they share all but j elements. K = C(n, k).

    Mode i has multiplicity ``C(n, i) - C(n, i-1)`` and, as its eigenvalues, the Eberlein polynomials (Bannai & Ito,
    III.2). johnson(n, 2) is the triangular graph. Points are in lexicographic order.

    Parameters
    ----------
    n, k : int
        1 <= k <= n - 1. If k > n/2 the result is ``johnson(n, n - k)``, the same scheme on the complements.

    Raises
    ------
    TypeError, ValueError
        If n or k is anything else, or the scheme is too large.
    """
    n = _integer("n", n, 2)
    k = _integer("k", k, 1)
    if k >= n:
        raise ValueError(f"k must be at most n - 1 = {n - 1}, got {k}")
    k = min(k, n - k)
    _require_room(f"the gap matrix of johnson({n}, {k})", k + 1, k + 1)
    classes = math.comb(n, k)
    _require_float64("johnson", classes)
    valencies = [math.comb(k, j) * math.comb(n - k, j) for j in range(k + 1)]
    multiplicities = [1] + [math.comb(n, i) - math.comb(n, i - 1) for i in range(1, k + 1)]
    return _Johnson("johnson", (n, k), classes, _frozen(valencies), _frozen(multiplicities), n, k)


def from_relations(labels: ArrayLike) -> Scheme:
    """The scheme whose relations are given by a matrix of labels, such as the distances in a strongly regular graph.

    The rows of the eigenmatrix, and so the modes, are in lexicographically decreasing order; row 0 is that of the
    constant vector. Eigenvalues that are integers come out exact, and their gaps correctly rounded.

    Parameters
    ----------
    labels : (K, K) array of integers (floats with integral values are accepted, bools are not)
        ``labels[x, y]`` is the relation of the points x and y: 0 on the diagonal and only there, symmetric, using all
        of 0..D. How many points are in relations j and l to x and y must depend on the relation of x and y alone.

    Raises
    ------
    TypeError
        If labels are not numbers of such a type.
    ValueError
        If they are not the relations of a symmetric association scheme; the message says where they fail.

    Notes
    -----
    The last condition is tested by exact products of random combinations of the relations (from a fixed seed). A matrix
    that violates it passes with probability about ``4 K / 2**53`` at most (Schwartz-Zippel): 1e-13 at K = 256.
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
            sizes = _frozen(valencies), _frozen(multiplicities)
            return _FromRelations("from_relations", (labels,), classes, *sizes, eigenvalues, gaps)
    raise ArithmeticError("labels passed all tests, but their eigenspaces could not be told apart")


def _checked_labels(labels: ArrayLike) -> NDArray[np.int64]:
    """The labels as a read-only copy, if they satisfy all conditions but the one on intersection numbers."""
    array = np.asarray(labels)
    if array.dtype.kind not in "iuf":
        raise TypeError(f"labels must be a matrix of integers, got dtype {array.dtype}")
    if array.ndim != 2 or len(array) != array.shape[1] or len(array) < 2:
        raise ValueError(f"labels must be a K x K matrix with K >= 2, got shape {array.shape}")
    classes = len(array)
    _require_room("labels", classes, classes)

    def require(satisfied: NDArray[np.bool_], rule: str) -> None:
        if not satisfied.all():
            x, y = (int(index) for index in np.unravel_index(np.argmin(satisfied), satisfied.shape))
            raise ValueError(f"labels must be {rule}, got labels[{x}, {y}] = {array[x, y]}, [{y}, {x}] = {array[y, x]}")

    require((array >= 0) & (array < classes) & (array == np.rint(array)), "integers from 0 to K - 1")
    require((array == 0) == np.eye(classes, dtype=bool), "0 on the diagonal and nowhere else")
    require(array == array.T, "symmetric")
    result = _frozen(np.array(array, np.int64), np.int64)
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
        product = left[labels] @ right[labels]  # exact: integers up to 2**53
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
    """All gaps ``1 - P_ij / k_j``, rows in no particular order, from the eigenvectors of one combination of relations.

    In every eigenspace there is one unit vector w that depends on a point z through ``labels[0, z]`` alone, so that all
    of them are eigenvectors of a (D + 1, D + 1) matrix, a combination of intersection matrices (Bannai & Ito, II.3).
    The gaps are Dirichlet forms, ``(1 / 2 k_j) sum (w_y - w_z)^2`` over all pairs (y, z) in relation j: they cannot be
    negative, and errors of w enter squared.
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


_FACTORIES = {factory.__name__: factory for factory in (hadamard, cyclic, complete, hamming, johnson, from_relations)}


def from_spec(spec: Mapping[str, Any]) -> Scheme:
    """The scheme that has the given `Scheme.spec`.

    Parameters
    ----------
    spec : mapping
        ``{"kind": name of a factory, "args": its arguments}``.

    Raises
    ------
    TypeError, ValueError
        If spec is anything else, or the factory refuses the arguments.
    """
    if not isinstance(spec, Mapping):
        raise TypeError(f"spec must be a mapping, got {type(spec).__name__}")
    if spec.keys() != {"kind", "args"} or spec["kind"] not in _FACTORIES:
        raise ValueError(
            f'spec must be {{"kind": ..., "args": ...}}, kind one of {", ".join(_FACTORIES)}, '
            f"got keys {', '.join(map(str, spec))} and kind {spec.get('kind')!r}"
        )
    return _FACTORIES[spec["kind"]](*spec["args"])
