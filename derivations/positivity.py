"""The force on every mode is positive.

Theorem. On a symmetric association scheme, for every mode i >= 1 and all positive p_j, j > 0,

    lambda_i = sum_{j>0} p_j (k_j - P_ij),    k_j - P_ij >= 0,    sum_{j>0} (k_j - P_ij) = K,

so that K min_j p_j <= lambda_i <= 2 (1 - p_0). The lower bound is positive: no mode is at rest at finite s.

Proof. A unit vector v of eigenspace i turns k_j - P_ij into a Dirichlet form, half the sum of (v_x
- v_y)^2 over the ordered pairs x, y in relation j: non-negative. It is 0 for some i and j in
general (for Hadamard it is 0 for half of the j), but not for all j at once, by the sum. Then
subtract the smallest p_j.

Source: arXiv:2512.04006 (Hadamard); [ceflow] for schemes and the two bounds.
"""

from __future__ import annotations

from collections.abc import Iterator

import sympy as sp

from ._proof import RATIONAL, Step, identity, nonnegative, residuals_of, vanish
from ._schemes import cyclic, hadamard, hamming, johnson
from ._sums import Generic, normal, other, summed

SCHEMES = (hadamard(4), hadamard(8), hadamard(16), cyclic(5), cyclic(6), cyclic(8), hamming(2, 3), johnson(5, 2))

WRONG = {
    "squares of sums instead of differences": {"inner_sign": 1},
    "the coefficients sum to K - 1": {"deficit": 1},
}


def derivation(inner_sign: int = -1, deficit: int = 0) -> Iterator[Step]:
    """Yield the proof; arguments are the sign inside the Dirichlet form and the error of the coefficients' sum."""
    g = Generic()
    i, total = g.i, g.K - deficit
    yield from _dirichlet(inner_sign)
    yield identity(
        "The coefficients of mode i sum to K, since sum_j k_j = K - 1 and sum_j P_ij = -1.",
        g.sum(lambda j: g.k(j) - g.P(i, j)),
        total,
        g.name,
        by=g.vanish,
    ).on("closure.axioms", name="sum")
    smallest = sp.Symbol("p_min", positive=True)
    excess, gap = sp.IndexedBase("e", nonnegative=True), sp.IndexedBase("g", nonnegative=True)
    gaps = {excess[g.j]: g.p(g.j) - smallest, gap[i, g.j]: g.k(g.j) - g.P(i, g.j)}
    yield nonnegative(
        "With e_j = p_j - p_min >= 0 and g_ij = k_j - P_ij >= 0 the force is at least K p_min > 0.",
        g.lam(i),
        total * smallest + sp.Sum(excess[g.j] * gap[i, g.j], (g.j, 1, g.D)),
        g.name,
        by=lambda e: g.vanish(e.xreplace(gaps)),
    ).on("closure.axioms", ".k I - A", ".sum", name="positive")
    opposite = sp.IndexedBase("f", nonnegative=True)
    yield nonnegative(
        "With f_ij = k_j + P_ij >= 0 (the same form with squares of sums) the force is at most 2 (1 - p_0).",
        2 * (1 - g.p0) - g.lam(i),
        sp.Sum(g.p(g.j) * opposite[i, g.j], (g.j, 1, g.D)),
        g.name,
        by=lambda e: g.vanish(e.xreplace({opposite[i, g.j]: g.k(g.j) + g.P(i, g.j)})),
    ).on(".k I + A", name="at most 2")
    for scheme in SCHEMES:
        coefficients = [
            [scheme.k[j] - scheme.P[mode][j] for j in range(1, scheme.D + 1)] for mode in range(1, scheme.D + 1)
        ]
        sums = tuple(vanish(sum(row) - scheme.K + deficit) for row in coefficients)
        negative = tuple(c for row in coefficients for c in row if not c.is_nonnegative)
        yield Step(
            f"{scheme.name}: all {scheme.D**2} coefficients are non-negative, and those of each mode sum to K.",
            None,
            (*sums, *negative),
            RATIONAL,
            scheme.name,
        )


def _dirichlet(inner_sign: int) -> Iterator[Step]:
    """Yield the Dirichlet form of a symmetric 0/1 matrix with constant row sums."""
    A, v = sp.IndexedBase("A", nonnegative=True), sp.IndexedBase("v", real=True)
    K, k = sp.symbols("K k", integer=True, positive=True)
    x, y = sp.symbols("x y", integer=True)
    row_sums = [(summed, A[other, summed], k), (summed, A[summed, other], k)]
    over = ((x, 1, K), (y, 1, K))
    for sign, name in ((inner_sign, "k I - A"), (-inner_sign, "k I + A")):
        yield nonnegative(
            f"For a symmetric 0/1 matrix A with row sums k: {name} is positive semi-definite; for a unit vector v of "
            f"eigenspace i and A = A_j the left side is k_j {'-' if sign == inner_sign else '+'} P_ij.",
            k * sp.Sum(v[x] ** 2, (x, 1, K)) + (-1 if sign == inner_sign else 1) * sp.Sum(A[x, y] * v[x] * v[y], *over),
            sp.Sum(A[x, y] * (v[x] + sign * v[y]) ** 2 / 2, *over),
            "every symmetric scheme, symbolic K",
            by=lambda e: vanish(normal(e, row_sums)),
        ).on("closure.axioms", name=name)


check = residuals_of(derivation)
