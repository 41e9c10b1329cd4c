"""Symmetric association schemes with exact entries, and the reduced model written on them.

A scheme is a K x K array of relation labels 0..D (0 on the diagonal). Its 0/1 matrices A_j span the
Bose-Mesner algebra; P[i][j] is the eigenvalue of A_j on the common eigenspace i, and m[i] the
dimension of that eigenspace. The formulas for P and m are the textbook ones (Bannai & Ito,
Algebraic Combinatorics I); `derivations.closure` verifies them on the matrices.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations, product
from math import comb

import sympy as sp


@dataclass(frozen=True)
class Scheme:
    """A symmetric association scheme.

    Attributes
    ----------
    name : str
        Name in the tables.
    labels : tuple of tuple of int
        Relation of every pair, shape (K, K).
    P : tuple of tuple of sympy.Expr
        Eigenmatrix, shape (D + 1, D + 1); row 0 holds the valencies.
    m : tuple of int
        Multiplicities, shape (D + 1,).
    """

    name: str
    labels: tuple[tuple[int, ...], ...]
    P: tuple[tuple[sp.Expr, ...], ...]
    m: tuple[int, ...]

    @property
    def K(self) -> int:
        """Number of classes."""
        return len(self.labels)

    @property
    def D(self) -> int:
        """Number of relations besides the diagonal, and of eigenspaces besides the constant vector."""
        return len(self.m) - 1

    @property
    def k(self) -> tuple[sp.Expr, ...]:
        """Valencies: the row sums of the relations."""
        return self.P[0]

    def matrix(self, values: Iterable[object]) -> sp.ImmutableMatrix:
        """Return sum_j values[j] A_j: the matrix with entry values[j] on relation j."""
        values = list(values)
        return sp.ImmutableMatrix(self.K, self.K, lambda x, y: values[self.labels[x][y]])

    @cached_property
    def A(self) -> list[sp.ImmutableMatrix]:
        """The 0/1 matrices of the relations."""
        return [self.matrix(int(j == h) for h in range(self.D + 1)) for j in range(self.D + 1)]

    @cached_property
    def E(self) -> list[sp.ImmutableMatrix]:
        """The projectors on the eigenspaces, E_i = (1/K) sum_j (m_i P_ij / k_j) A_j."""
        return [
            self.matrix(sp.S(m) * P / (self.K * k) for P, k in zip(row, self.k, strict=True))
            for m, row in zip(self.m, self.P, strict=True)
        ]


def _from_points(name: str, points: list, relation: Callable, P: list[list], m: list[int]) -> Scheme:
    labels = tuple(tuple(relation(x, y) for y in points) for x in points)
    return Scheme(name, labels, tuple(tuple(sp.sympify(v) for v in row) for row in P), tuple(m))


def hadamard(K: int) -> Scheme:
    """Return the group scheme of Z_2^m, K = 2^m: relation j joins x and x XOR j; modes in Sylvester order."""
    P = [[(-1) ** (i & j).bit_count() for j in range(K)] for i in range(K)]
    return _from_points(f"hadamard({K})", list(range(K)), lambda x, y: x ^ y, P, [1] * K)


def cyclic(K: int) -> Scheme:
    """Return the symmetric circulants: relation j joins x and x +- j modulo K; modes by frequency."""
    half = range(K // 2 + 1)
    pair = [1 if 2 * j % K == 0 else 2 for j in half]
    P = [[pair[j] * sp.cos(2 * sp.pi * i * j / K) for j in half] for i in half]
    return _from_points(f"cyclic({K})", list(range(K)), lambda x, y: min((x - y) % K, (y - x) % K), P, pair)


def complete(K: int) -> Scheme:
    """Return the scheme with one relation, x != y."""
    return _from_points(f"complete({K})", list(range(K)), lambda x, y: int(x != y), [[1, K - 1], [1, -1]], [1, K - 1])


def hamming(n: int, q: int) -> Scheme:
    """Return words of length n over q letters by their distance; P holds the Krawtchouk polynomials."""
    words = list(product(range(q), repeat=n))
    span = range(n + 1)
    P = [
        [sum((-1) ** h * (q - 1) ** (j - h) * comb(i, h) * comb(n - i, j - h) for h in range(j + 1)) for j in span]
        for i in span
    ]
    m = [(q - 1) ** i * comb(n, i) for i in span]
    return _from_points(f"hamming({n},{q})", words, lambda x, y: sum(a != b for a, b in zip(x, y, strict=True)), P, m)


def johnson(n: int, k: int) -> Scheme:
    """Return the k-subsets of n points, n >= 2k, by the size of their difference; P holds the Eberlein polynomials."""
    subsets = [frozenset(c) for c in combinations(range(n), k)]
    span = range(k + 1)
    P = [
        [sum((-1) ** h * comb(i, h) * comb(k - i, j - h) * comb(n - k - i, j - h) for h in range(j + 1)) for j in span]
        for i in span
    ]
    m = [comb(n, i) - (comb(n, i - 1) if i else 0) for i in span]
    return _from_points(f"johnson({n},{k})", subsets, lambda x, y: len(x - y), P, m)


class Model:
    """The reduced model on one scheme, with all quantities as explicit expressions in s_1..s_D.

    The methods have the same names as those of `Generic`, so that a formula applies to both.

    Parameters
    ----------
    scheme : Scheme
        The scheme; K, m, k, P are its numbers.
    s : sequence of sympy.Expr, optional
        Singular values of the modes 1..D, default the positive symbols s1..sD.
    """

    def __init__(self, scheme: Scheme, s: Iterable[object] | None = None) -> None:
        self.scheme = scheme
        self.K, self.D = sp.Integer(scheme.K), scheme.D
        self._s = list(sp.symbols(f"s1:{self.D + 1}", positive=True)) if s is None else [sp.sympify(v) for v in s]
        self._z = [
            sum(self.m(i) * self.s(i) * self.P(i, j) for i in range(1, self.D + 1)) / (self.K * self.k(j))
            for j in range(self.D + 1)
        ]

    @property
    def name(self) -> str:
        """Name of the scheme."""
        return self.scheme.name

    @property
    def singular_values(self) -> list[sp.Expr]:
        """The list s_1..s_D."""
        return list(self._s)

    def sum(self, term: Callable[[int], sp.Expr]) -> sp.Expr:
        """Return the sum of term(1), ..., term(D), over the modes or over the relations off the diagonal."""
        return sp.Add(*(term(i) for i in range(1, self.D + 1)))

    def m(self, i: int) -> sp.Integer:
        """Multiplicity of mode i."""
        return sp.Integer(self.scheme.m[i])

    def k(self, j: int) -> sp.Expr:
        """Valency of relation j."""
        return self.scheme.k[j]

    def P(self, i: int, j: int) -> sp.Expr:
        """Eigenvalue of relation j on eigenspace i."""
        return self.scheme.P[i][j]

    def s(self, i: int) -> sp.Expr:
        """Singular value of mode i."""
        return self._s[i - 1]

    def z(self, j: int) -> sp.Expr:
        """Logit on relation j."""
        return self._z[j]

    def p(self, j: int) -> sp.Expr:
        """Softmax on relation j: exp(z_j) over sum_{h>=0} k_h exp(z_h)."""
        return sp.exp(self.z(j)) / sp.Add(*(k * sp.exp(z) for k, z in zip(self.scheme.k, self._z, strict=True)))

    def lam(self, i: int) -> sp.Expr:
        """Force on mode i: sum_j p_j (k_j - P_ij)."""
        return self.sum(lambda j: self.p(j) * (self.k(j) - self.P(i, j)))

    @property
    def z0(self) -> sp.Expr:
        """Logit of the true class."""
        return self._z[0]

    @property
    def p0(self) -> sp.Expr:
        """Probability of the true class."""
        return self.p(0)

    @property
    def zbar(self) -> sp.Expr:
        """Mean of the logits off the diagonal, weighted by the valencies."""
        return self.sum(lambda j: self.k(j) * self.z(j)) / (self.K - 1)

    @property
    def sbar(self) -> sp.Expr:
        """Mean of the singular values, weighted by the multiplicities."""
        return self.sum(lambda i: self.m(i) * self.s(i)) / (self.K - 1)

    def derivative(self, expr: sp.Expr, velocity: Callable[[int], sp.Expr]) -> sp.Expr:
        """Return d(expr)/dt along ds_i/dt = velocity(i); the s_i must be symbols."""
        return self.sum(lambda i: sp.diff(expr, self.s(i)) * velocity(i))
