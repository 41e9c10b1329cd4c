"""Coherent configurations: explicit ones, and direct sums of groups with symbolic sizes.

A configuration is an n x n array of relation labels on its points. The relations on the diagonal
split the points into fibres. A matrix of the algebra has one entry for each relation.
`derivations.coherent` verifies the axioms and what they imply.

`Groups` are the matrices of the direct sum of complete schemes with any sizes K_g, symbols allowed:
block (g, h) is Y_gh J, plus x_g I for g = h, with J all ones. They multiply by

    (x, Y)(x', Y') = (x x', x Y' + Y x' + Y K Y'),   K = diag(K_g), x and x' as diagonal matrices.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations

import sympy as sp


@dataclass(frozen=True)
class Configuration:
    """Points and a label for every pair of them, without checks, so that labels may be false.

    Attributes
    ----------
    name : str
        Name in the tables.
    labels : tuple of tuple of int
        Relation of every pair, shape (n, n), numbered from 0 in reading order.
    """

    name: str
    labels: tuple[tuple[int, ...], ...]

    @property
    def n(self) -> int:
        """Number of points."""
        return len(self.labels)

    @property
    def r(self) -> int:
        """Number of relations."""
        return 1 + max(map(max, self.labels))

    @cached_property
    def fibres(self) -> tuple[tuple[int, ...], ...]:
        """The points of each fibre: points with the same label on the diagonal."""
        found: dict[int, list[int]] = {}
        for x in range(self.n):
            found.setdefault(self.labels[x][x], []).append(x)
        return tuple(map(tuple, found.values()))

    def fibre_of(self, x: int) -> int:
        """Return the number of the fibre of a point."""
        return next(f for f, points in enumerate(self.fibres) if x in points)

    def matrix(self, values: Iterable[object]) -> sp.ImmutableMatrix:
        """Return the matrix with entry values[k] on relation k."""
        values = list(values)
        return sp.ImmutableMatrix(self.n, self.n, lambda x, y: values[self.labels[x][y]])

    def symbols(self, name: str, **assumptions: bool) -> sp.ImmutableMatrix:
        """Return the general matrix of the algebra: one symbol for each relation."""
        return self.matrix(sp.symbols(f"{name}0:{self.r}", **assumptions))

    def diagonal(self, name: str) -> sp.ImmutableMatrix:
        """Return the general diagonal matrix that is constant on fibres."""
        values = sp.symbols(f"{name}0:{len(self.fibres)}", real=True)
        return sp.ImmutableMatrix(sp.diag(*(values[self.fibre_of(x)] for x in range(self.n))))

    def constant(self, M: sp.MatrixBase) -> sp.ImmutableMatrix:
        """Return M with every entry replaced by the first entry, in reading order, of its relation."""
        first: dict[int, sp.Expr] = {}
        for x in range(self.n):
            for y in range(self.n):
                first.setdefault(self.labels[x][y], M[x, y])
        return self.matrix(first[k] for k in range(self.r))


def from_keys(name: str, points: Sequence, key: Callable[[object, object], Hashable]) -> Configuration:
    """Return the points with the relations key(x, y), numbered in reading order."""
    number: dict[Hashable, int] = {}
    labels = tuple(tuple(number.setdefault(key(x, y), len(number)) for y in points) for x in points)
    return Configuration(name, labels)


def direct_sum(*parts: Configuration) -> Configuration:
    """Return the direct sum; fibres of different parts have one relation in each direction."""
    points = [(g, x) for g, part in enumerate(parts) for x in range(part.n)]

    def key(x: tuple[int, int], y: tuple[int, int]) -> tuple[int, ...]:
        (g, i), (h, j) = x, y
        return (g, h, parts[g].labels[i][j]) if g == h else (g, h, parts[g].fibre_of(i), parts[h].fibre_of(j))

    return from_keys(" + ".join(part.name for part in parts), points, key)


def subsets(r: int, sizes: Sequence[int]) -> Configuration:
    """Return the subsets of r points with these sizes; (1, 2): vertices and edges of the complete graph."""
    points = [frozenset(c) for size in sizes for c in combinations(range(r), size)]
    name = f"subsets({r},{','.join(map(str, sizes))})"
    return from_keys(name, points, lambda x, y: (len(x), len(y), len(x & y)))


def circulant(n: int) -> Configuration:
    """Return the directed circulants: relation j joins x to x + j modulo n."""
    return from_keys(f"circulant({n})", range(n), lambda x, y: (y - x) % n)


def scheme(name: str, labels: Sequence[Sequence[int]]) -> Configuration:
    """Return an association scheme as a configuration with one fibre."""
    return from_keys(name, range(len(labels)), lambda x, y: labels[x][y])


POINT = Configuration("point", ((0,),))


@dataclass(frozen=True)
class Groups:
    """A matrix on groups of points: block (g, h) is Y_gh J, plus x_g I for g = h.

    Attributes
    ----------
    sizes : tuple of sympy.Expr
        Number of points of each group; integer symbols or numbers.
    x : tuple of sympy.Expr
        Coefficients of the identities.
    Y : sympy.ImmutableMatrix
        Coefficients of the all-ones blocks.
    """

    sizes: tuple[sp.Expr, ...]
    x: tuple[sp.Expr, ...]
    Y: sp.ImmutableMatrix

    @staticmethod
    def of(sizes: Sequence[sp.Expr], x: Sequence[object], Y: object) -> Groups:
        """Return the matrix with these coefficients, which may be anything that SymPy accepts."""
        return Groups(tuple(sizes), tuple(map(sp.sympify, x)), sp.ImmutableMatrix(Y))

    @property
    def count(self) -> int:
        """Number of groups."""
        return len(self.sizes)

    @property
    def coefficients(self) -> list[sp.Expr]:
        """x and then Y, row by row."""
        return [*self.x, *self.Y]

    @property
    def T(self) -> Groups:
        """The transposed matrix."""
        return Groups.of(self.sizes, self.x, self.Y.T)

    def __add__(self, other: Groups) -> Groups:
        return Groups.of(self.sizes, [a + b for a, b in zip(self.x, other.x, strict=True)], self.Y + other.Y)

    def __sub__(self, other: Groups) -> Groups:
        return self + (-1) * other

    def __rmul__(self, factor: object) -> Groups:
        return Groups.of(self.sizes, [factor * a for a in self.x], sp.sympify(factor) * self.Y)

    def __matmul__(self, other: Groups) -> Groups:
        left, right = sp.diag(*self.x), sp.diag(*other.x)
        Y = left * other.Y + self.Y * right + self.Y * sp.diag(*self.sizes) * other.Y
        return Groups.of(self.sizes, [a * b for a, b in zip(self.x, other.x, strict=True)], Y)

    def columns_times(self, factors: Sequence[object]) -> Groups:
        """Return the product with the diagonal matrix that has factors[g] on group g, from the right."""
        return self @ Groups.of(self.sizes, factors, sp.zeros(self.count))

    def rows_times(self, factors: Sequence[object]) -> Groups:
        """Return the product with that diagonal matrix from the left."""
        return Groups.of(self.sizes, factors, sp.zeros(self.count)) @ self

    def own(self, g: int) -> sp.Expr:
        """Return the entry on the diagonal of group g."""
        return self.x[g] + self.Y[g, g]

    def other(self, g: int, h: int) -> sp.Expr:
        """Return the entry at a point of g and another point of h."""
        return self.Y[g, h]

    def apply(self, f: Callable[[sp.Expr], sp.Expr]) -> Groups:
        """Return the matrix of the entries f(entry)."""
        return Groups.of(self.sizes, [f(self.own(g)) - f(self.Y[g, g]) for g in range(self.count)], self.Y.applyfunc(f))

    def column_sum(self, h: int) -> sp.Expr:
        """Return the sum of a column of group h."""
        return self.x[h] + sum(K * self.Y[g, h] for g, K in enumerate(self.sizes))

    def block(self, g: int, h: int) -> sp.MatrixExpr:
        """Return block (g, h) as a matrix expression of symbolic shape."""
        ones = self.Y[g, h] * sp.OneMatrix(self.sizes[g], self.sizes[h])
        return self.x[g] * sp.Identity(self.sizes[g]) + ones if g == h else ones

    def matrix(self) -> sp.ImmutableMatrix:
        """Return the matrix itself; the sizes must be numbers."""
        group = [g for g, K in enumerate(self.sizes) for _ in range(int(K))]

        def entry(i: int, j: int) -> sp.Expr:
            return self.own(group[i]) if i == j else self.Y[group[i], group[j]]

        return sp.ImmutableMatrix(len(group), len(group), entry)
