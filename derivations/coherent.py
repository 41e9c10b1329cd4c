"""Coherent configurations are closed under all operations of a layer.

Axioms (Higman). Points fall into fibres, and pairs of points into relations with 0/1 matrices A_1,
..., A_r: they partition the pairs; those that meet the diagonal lie in it, and are the identities
of the fibres; the transpose of a relation is a relation; and A_i A_j = sum_k p_ij^k A_k. An
association scheme is the case of one fibre and symmetric relations.

Theorem. Matrices constant on relations (the span of the A_k) are closed under

    product, transpose, every entrywise function,
    multiplication from the left or right by a diagonal matrix constant on fibres,
    the column softmax over the rows of any set of fibres (its column sums differ between fibres),
    and bias, W X + b 1^T with b constant on fibres.

Proof in general. Product and transpose are the axioms. The A_k are 0/1 and disjoint, so f(sum_k x_k
A_k) = sum_k f(x_k) A_k. A diagonal matrix constant on fibres is a combination of the fibres'
identities. The column sums of A_k stand on the diagonal of A_k^T A_k, which is constant on fibres;
so the columns of sum_k exp(x_k) A_k, over the rows of any fibres, have one sum for each fibre of
columns, and dividing by it is multiplication by such a diagonal matrix. One more point, with one
relation to and from every fibre, gives a configuration again: the products with its relations are
row sums and column sums. The bias is the column of that point.

The steps prove it for matrices with one symbol for each relation, entry by entry, and for direct
sums of groups with symbolic sizes, where (x, Y) stands for the blocks x_g I and Y_gh J.

Source: Higman, Coherent configurations I; [ceflow] for softmax, bias and their use here.
"""

from __future__ import annotations

from collections.abc import Iterator

import sympy as sp

from ._configurations import POINT, Configuration, Groups, circulant, direct_sum, scheme, subsets
from ._proof import IDENTITY, RATIONAL, Step, entries, residuals_of, vanish_matrix
from ._schemes import complete, cyclic, hadamard

_complete, _cyclic = (lambda K: scheme(f"complete({K})", complete(K).labels)), scheme("cyclic(5)", cyclic(5).labels)

CONFIGURATIONS = (
    direct_sum(_complete(3), _complete(2)),
    direct_sum(scheme("hadamard(4)", hadamard(4).labels), _cyclic),
    direct_sum(_complete(2), circulant(3), POINT),
    subsets(4, (1, 2)),
    circulant(5),
)

_STAR = scheme("star(3)", ((0, 1, 1, 1), (1, 0, 2, 2), (1, 2, 0, 2), (1, 2, 2, 0)))  # its centre is no fibre of its own
_PATHS = direct_sum(_complete(2), scheme("path(4)", ((0, 1, 2, 2), (1, 0, 1, 2), (2, 1, 0, 1), (2, 2, 1, 0))))

WRONG = {
    "labels that are no configuration (a star in one fibre)": {"configurations": (_STAR,)},
    "labels that are no configuration (a path in a direct sum)": {"configurations": (_PATHS,)},
    "a diagonal matrix not constant on a fibre": {"diagonal": "points"},
    "a bias not constant on a fibre": {"bias": "points"},
    "column sums equal between fibres": {"fibrewise": False},
    "groups of size 1 in the product": {"size_power": 0},
}


def derivation(
    configurations: tuple[Configuration, ...] = CONFIGURATIONS,
    diagonal: str = "fibres",
    bias: str = "fibres",
    fibrewise: bool = True,
    size_power: int = 1,
) -> Iterator[Step]:
    """Yield the proof.

    Arguments are the configurations to check, on what the diagonal matrices and the bias are constant, whether each
    fibre has its own column sum, and the power of the size of a group in the product.
    """
    yield from _symbolic_sizes(size_power)
    for configuration in configurations:
        yield from _axioms(configuration)
        yield from _on_entries(configuration, diagonal, bias, fibrewise)


def _symbolic_sizes(size_power: int) -> Iterator[Step]:
    """Yield the closure of three groups with symbolic sizes; x and Y of a group may be 0."""
    count = 3
    sizes = sp.symbols(f"K1:{count + 1}", integer=True, positive=True)
    scope = f"direct sum of {count} complete schemes, symbolic sizes"
    X, Y = (
        Groups.of(sizes, sp.symbols(f"{v}1:{count + 1}"), sp.Matrix(count, count, sp.symbols(f"{v}{v}:{count**2}")))
        for v in "xy"
    )
    every = range(count)
    product = X @ Y
    if size_power != 1:
        counted = sp.diag(*(K**size_power for K in sizes))
        left, right = sp.diag(*X.x), sp.diag(*Y.x)
        product = Groups.of(sizes, product.x, left * Y.Y + X.Y * right + X.Y * counted * Y.Y)
    blocks = [
        sum((X.block(g, l) * Y.block(l, h) for l in every), sp.ZeroMatrix(sizes[g], sizes[h]))  # noqa: E741
        - product.block(g, h)
        for g in every
        for h in every
    ]
    yield Step(
        "Groups with symbolic sizes: the product of (x, Y) and (x', Y') is (x x', x Y' + Y x' + Y K Y'), since J J "
        "= K_l J through group l.",
        None,
        tuple(vanish_matrix(block) for block in blocks),
        IDENTITY,
        scope,
    ).on(name="product")
    delta, f = sp.Symbol("δ"), sp.Function("f")
    image = X.apply(f)
    yield entries(
        "The entry of a diagonal block is x δ_ij + Y, of the others Y: an entrywise function gives f(x + Y) - f(Y) "
        "in place of x, and f(Y).",
        [(f(X.x[g] * delta + X.Y[g, g]).subs(delta, v), image.x[g] * v + image.Y[g, g]) for g in every for v in (0, 1)],
        scope,
    ).on(name="entries")
    yield entries(
        "The column sums of group h are x_h + sum_g K_g Y_gh: one number a group.",
        [
            (
                sum((sp.OneMatrix(1, sizes[g]) * X.block(g, h) for g in every), sp.ZeroMatrix(1, sizes[h])),
                X.column_sum(h) * sp.OneMatrix(1, sizes[h]),
            )
            for h in every
        ],
        scope,
        by=vanish_matrix,
    ).on(name="columns")


def _axioms(c: Configuration) -> Iterator[Step]:
    diagonal = {c.labels[x][x] for x in range(c.n)}
    A = [c.matrix(int(j == k) for j in range(c.r)) for k in range(c.r)]
    identity = sum((A[k] for k in diagonal), sp.zeros(c.n))
    yield entries(
        f"{c.name}: the relations partition the pairs; those on the diagonal are the identities of the fibres; the "
        "transpose of each relation is one relation.",
        [(sum(A, sp.zeros(c.n)), sp.ones(c.n)), (identity, sp.eye(c.n)), *((a.T, c.constant(a.T)) for a in A)],
        c.name,
        how=RATIONAL,
    )


def _on_entries(c: Configuration, diagonal: str, bias: str, fibrewise: bool) -> Iterator[Step]:
    X, Y = c.symbols("x"), c.symbols("y")
    product, f = (X * Y).applyfunc(sp.expand), sp.Function("f")
    yield entries(
        f"{c.name}: the product of two matrices with a symbol for each relation is constant on relations; so are the "
        "transpose and every entrywise function.",
        [(M, c.constant(M)) for M in (product, X.T, X.applyfunc(f))],
        c.name,
        by=sp.expand,
    )
    free = sp.diag(*sp.symbols(f"d0:{c.n}", real=True))
    D = free if diagonal == "points" else c.diagonal("d")
    yield entries(
        f"{c.name}: a diagonal matrix that is constant on fibres may be multiplied from the left and from the right.",
        [(M, c.constant(M)) for M in (D * X, X * D)],
        c.name,
    )
    e = c.symbols("e", positive=True)
    rows = [range(c.n), *c.fibres] if len(c.fibres) > 1 else [range(c.n)]
    pairs = []
    for some in rows:
        sums = [sum(e[x, y] for x in some) for y in range(c.n)]
        below = sums if fibrewise else [sums[0]] * c.n
        softmax = sp.Matrix(c.n, c.n, lambda x, y, s=sums: e[x, y] / s[y])
        claimed = c.constant(sp.Matrix(c.n, c.n, lambda x, y, s=below: e[x, y] / s[y]))
        pairs.append((softmax, claimed))
    yield entries(
        f"{c.name}: with e = exp(x), the softmax of the columns, over all rows and over the rows of each fibre alone.",
        pairs,
        c.name,
        by=sp.cancel,
    )
    yield from _bias(c, product, bias)


def _bias(c: Configuration, product: sp.MatrixBase, bias: str) -> Iterator[Step]:
    """Yield the bias as the column of one more point, with the product that is already there."""
    larger = direct_sum(c, POINT)
    W, X = larger.symbols("w"), larger.symbols("v")
    once = (W * X).applyfunc(sp.expand)
    yield entries(
        f"{larger.name}: with one more point, in relation with each fibre, it is a configuration again ...",
        [(once, larger.constant(once))],
        larger.name,
        by=sp.expand,
    )
    values = sp.symbols(f"b0:{c.n}", real=True)
    b = sp.Matrix([values[x if bias == "points" else c.fibre_of(x)] for x in range(c.n)])
    moved = product + b * sp.ones(1, c.n)
    yield entries(
        f"{c.name}: ... and W X + b 1^T, b constant on fibres, is constant on relations.",
        [(moved, c.constant(moved))],
        c.name,
        by=sp.expand,
    )


check = residuals_of(derivation)
