"""Every association scheme diagonalizes the softmax.

Axioms. A symmetric association scheme on K points is a partition of the pairs into relations with
symmetric 0/1 matrices A_0 = I, A_1, ..., A_D such that sum_j A_j = J (all ones) and every product
A_j A_h is a combination of the A_l. Their span is the Bose-Mesner algebra. It is commutative,
because a product of two of its matrices is again in it, hence symmetric; so it has common
eigenspaces with projectors E_0 = J/K, E_1, ..., E_D, of ranks m_i, and A_j E_i = P_ij E_i.

Theorem. Let Z = sum_i s_i E_i. Then Z has the entry z_j = (1/K) sum_i m_i s_i P_ij / k_j on
relation j, with k_j = P_0j the valency. Its column-wise softmax is sum_j p_j A_j with p_j =
exp(z_j) / sum_h k_h exp(z_h), and

    I - softmax(Z) = sum_i lambda_i E_i,    lambda_i = sum_{j>0} p_j (k_j - P_ij),    lambda_0 = 0.

Proof in general. (a) Since the A_j are 0/1 and disjoint, f(sum_j z_j A_j) = sum_j f(z_j) A_j for
every entrywise f: the algebra is closed under f. (b) Each A_j commutes with J, so its column sums
are all equal to k_j; the columns of sum_j exp(z_j) A_j all have the sum sum_j k_j exp(z_j), and
dividing by it stays in the algebra. (c) Apply sum_j p_j A_j to E_i. (d) trace(A_j E_i) = m_i P_ij,
and trace(A_j A_h) = K k_j delta_jh, so E_i = (1/K) sum_j (m_i P_ij / k_j) A_j: the formula for z_j.
Taking traces of E_i E_l = delta_il E_i gives sum_j P_ij P_lj / k_j = K delta_il / m_i.

Conversely, a linear space of symmetric matrices that contains I and is closed under the matrix
product and every entrywise function is such an algebra: entrywise idempotents give disjoint 0/1
matrices with sum J, products of symmetric matrices that stay symmetric commute, so row sums are
constant and I cannot split: A_0 = I. Without I among the matrices, or without linear combinations,
closure alone does not suffice.

The steps below check the axioms and the theorem on matrices, for every entry, and with symbolic s,
z and f; the two formulas for the eigenvalues are also proved from the axioms with symbolic K.

Source: arXiv:2512.04006 for Hadamard; Bannai & Ito, Algebraic Combinatorics I, for schemes;
[ceflow] for their use here.
"""

from __future__ import annotations

from collections.abc import Iterator

import sympy as sp

from ._proof import RATIONAL, Step, entries, identity, residuals_of, vanish
from ._quoted import SPECTRAL
from ._schemes import Model, Scheme, complete, cyclic, hadamard, hamming, johnson
from ._sums import Generic, normal, other, summed, third

SCHEMES = (
    *map(hadamard, (2, 4, 8, 16)),
    *map(cyclic, (4, 5, 6, 8)),
    complete(5),
    hamming(2, 3),
    hamming(3, 2),
    johnson(4, 2),
    johnson(5, 2),
)

_PATH = Scheme(  # the path 0 - 1 - 2 - 3 and its complement, with the numbers of a scheme that it is not
    "path(4)",
    ((0, 1, 2, 2), (1, 0, 1, 2), (2, 1, 0, 1), (2, 2, 1, 0)),
    cyclic(4).P,
    cyclic(4).m,
)

WRONG = {
    "labels that are no scheme (a path)": {"schemes": (_PATH,)},
    "logits without the valency": {"valency_power": 0},
    "forces of the opposite sign": {"force_sign": -1},
}


def derivation(schemes: tuple[Scheme, ...] = SCHEMES, valency_power: int = 1, force_sign: int = 1) -> Iterator[Step]:
    """Yield the proof; arguments are the schemes to check and the constants of the two formulas."""
    g = Generic()
    i = g.i
    yield from _axioms(g)
    yield identity(
        "The eigenvalue of I - softmax on eigenspace i: 1 - sum_{j>=0} p_j P_ij, with P_i0 = 1 and p_0 = 1 - sum k_j "
        "p_j, is a sum over the relations off the diagonal in which nothing cancels.",
        1 - g.p0 - g.sum(lambda j: g.p(j) * g.P(i, j)),
        force_sign * g.sum(lambda j: g.p(j) * (g.k(j) - g.P(i, j))),
        g.name,
        by=g.vanish,
    ).on(".axioms", ".softmax", name="force")
    yield identity(
        "The formula for the logits inverts the eigenvalues: sum_{j>=0} P_ij z_j = s_i, by orthogonality of the rows "
        "of P.",
        g.z0 + g.sum(lambda j: g.P(i, j) * g.k(j) ** (1 - valency_power) * g.z(j)),
        g.s(i),
        g.name,
        by=g.vanish,
    ).on(".axioms", name="logits")
    for scheme in schemes:
        yield from _on_matrices(scheme, valency_power, force_sign)


def _axioms(g: Generic) -> Iterator[Step]:
    """Yield what all symbolic proofs take from a scheme: orthogonality of the rows of P, and equal column sums."""
    i, l, j, h = g.i, g.l, g.j, g.h  # noqa: E741
    overlap = sp.KroneckerDelta(j, h) * g.K * g.k(j)
    parts = g.m(i) * g.P(i, j) / (g.K * g.k(j)), g.m(l) * g.P(l, h) / (g.K * g.k(h))
    rows = sp.Sum(g.P(i, j) * g.P(l, j) / g.k(j), (j, 1, g.D))
    yield identity(
        "The A_j are symmetric, disjoint, 0/1: trace(A_j A_h) = K k_j δ_jh. As trace(A_j E_i) = m_i P_ij, E_i is "
        "(1/K) sum_j (m_i P_ij/k_j) A_j, and trace(E_i E_l) = δ_il m_i is this: the rows of P are orthogonal. Other "
        "axioms are traces (sum_i m_i = K - 1, sum_i m_i P_ij = -k_j) and row sums (sum_j k_j = K - 1, sum_j P_ij = "
        "-1).",
        g.m(i) * g.m(l) / g.K + sp.Sum(parts[0] * parts[1] * overlap, (j, 1, g.D), (h, 1, g.D)),
        g.m(i) * g.m(l) / g.K * (1 + rows),
        g.name,
        by=lambda e: vanish(normal(e, [])),
    ).on(name="axioms", quotes=(SPECTRAL,))
    x, y, A, e = *sp.symbols("x y", integer=True), sp.IndexedBase("A"), sp.IndexedBase("e", positive=True)
    yield identity(
        "An entrywise function acts on the coefficients, as the A_j are disjoint and 0/1; a column y of sum_j e_j A_j "
        "has the sum sum_j k_j e_j for every y. So the softmax of sum_j z_j A_j is sum_j p_j A_j.",
        sp.Sum(e[j] * A[j, x, y], (j, 1, g.D), (x, 1, g.K)),
        sp.Sum(g.k(j) * e[j], (j, 1, g.D)),
        g.name,
        by=lambda d: vanish(normal(d, [(summed, A[other, summed, third], g.k(other))])),
    ).on(name="softmax")


def _on_matrices(scheme: Scheme, valency_power: int, force_sign: int) -> Iterator[Step]:
    K, D, A, E, P = scheme.K, scheme.D, scheme.A, scheme.E, scheme.P
    every = range(D + 1)
    yield entries(
        f"{scheme.name}: the relations are symmetric, partition the pairs, and the first is the diagonal.",
        [(A[0], sp.eye(K)), (sum(A, sp.zeros(K)), sp.ones(K)), *((a, a.T) for a in A)],
        scheme.name,
        how=RATIONAL,
    )
    yield entries(
        f"{scheme.name}: every product A_j A_h is constant on relations, so the span is closed under the matrix "
        f"product.",
        [(A[j] * A[h], _averaged(scheme, A[j] * A[h])) for j in every for h in range(j, D + 1)],
        scheme.name,
        how=RATIONAL,
    )
    overlaps = {(i, h): sum(P[i][j] * P[h][j] / P[0][j] for j in every) for i in every for h in range(i, D + 1)}
    yield entries(
        f"{scheme.name}: with E_i = (1/K) sum_j (m_i P_ij / k_j) A_j, A_j E_i = P_ij E_i, and the rows of P are "
        "orthogonal. So E_l E_i = (m_l/K) sum_j P_lj P_ij/k_j E_i: orthogonal projectors, of rank m_i, with sum I.",
        [
            (sum(E, sp.zeros(K)), sp.eye(K)),
            *((scheme.m[h] * total, K * int(i == h)) for (i, h), total in overlaps.items()),
            *((E[i].trace(), scheme.m[i]) for i in every),
            *((A[j] * E[i], P[i][j] * E[i]) for i in every for j in every),
        ],
        scheme.name,
        by=sp.expand,
        how=RATIONAL,
    )
    f, z = sp.Function("f"), sp.symbols(f"z0:{D + 1}", real=True)
    yield entries(
        f"{scheme.name}: an entrywise function f acts on the coefficients, and the columns of the result have equal "
        f"sums.",
        [
            (scheme.matrix(z).applyfunc(f), sum((f(v) * a for v, a in zip(z, A, strict=True)), sp.zeros(K))),
            (
                sp.ones(1, K) * scheme.matrix(map(f, z)),
                sp.ones(1, K) * sum(k * f(v) for k, v in zip(P[0], z, strict=True)),
            ),
        ],
        scheme.name,
    )
    model = Model(scheme)
    Z = sum((model.s(i) * E[i] for i in range(1, D + 1)), sp.zeros(K))
    logits = [model.z(j) * model.k(j) ** (1 - valency_power) for j in every]
    yield entries(
        f"{scheme.name}: Z = sum_i s_i E_i has the entry z_j on relation j, for symbolic s.",
        [(Z, scheme.matrix(logits))],
        scheme.name,
        by=sp.expand,
    )
    # softmax of the matrix, column by column, with the exponentials e_j = exp(z_j) as independent positive symbols
    e = sp.symbols(f"e0:{D + 1}", positive=True)
    exponentials = scheme.matrix(e)
    softmax = sp.Matrix(K, K, lambda x, y: exponentials[x, y] / sum(exponentials[:, y]))
    p = [v / sum(k * w for k, w in zip(P[0], e, strict=True)) for v in e]
    total = sp.Add(*(k * w for k, w in zip(P[0], e, strict=True)))  # G = I - softmax times the sum of a column
    G, lam = (
        total * sp.eye(K) - exponentials,
        [force_sign * sum(e[j] * (P[0][j] - P[i][j]) for j in range(1, D + 1)) for i in every],
    )
    yield entries(
        f"{scheme.name}: the softmax is sum_j p_j A_j, and (I - softmax) E_i = lambda_i E_i, entry by entry.",
        [(softmax, scheme.matrix(p)), *((G * E[i], lam[i] * E[i]) for i in every)],
        scheme.name,
        by=lambda d: vanish(sp.expand(d)),
    )


def _averaged(scheme: Scheme, M: sp.MatrixBase) -> sp.MatrixBase:
    """Return M with every entry replaced by the first entry, in reading order, of its relation."""
    first = {}
    for x in range(scheme.K):
        for y in range(scheme.K):
            first.setdefault(scheme.labels[x][y], M[x, y])
    return scheme.matrix(first[j] for j in range(scheme.D + 1))


check = residuals_of(derivation)
