"""Depth L: the reduced equation, its conserved quantities, and the depth at which low rank beats collapse.

Theorem. Let Z = W_L ... W_1 and dW_l/dt = (W_L ... W_{l+1})^T G (W_{l-1} ... W_1)^T. Then W_{l+1}^T
W_{l+1} - W_l W_l^T is constant for every G. On aligned layers with values w_1..w_L in one mode, s =
w_1 ... w_L,

    dw_l/dt = lambda s/w_l,    w_l^2 - w_k^2 constant,    ds/dt = lambda s^2 sum_l w_l^{-2},

and on balanced layers, w_l = s^{1/L}, ds/dt = L s^{2-2/L} lambda.

Rank threshold. The cost of a state is sum_i m_i s_i^{2/L}, (1/L) times the squared norm of all
layers. For Hadamard, K = 4, among all s >= 0 with every margin z_0 - z_j >= 1 and L >= 2, the cost
is smallest at collapse, s = (1, 1, 1), or at a state of rank two, (2, 2, 0) in some order; rank two
wins if and only if 2 * 2^{2/L} < 3, that is

    L > 2 log 2 / log(3/2) = 3.419...: it loses at L = 3 (2^5 > 3^3) and wins at L = 4 (2^3 < 3^2).

This compares global minima of the cost. The limit of a run depends on its start, and the theorem does not determine it.

Near collapse, s_i = s (1 + r_i) with sum_i m_i r_i = 0, to first order, and on the ray ds/dt = L s^{2-2/L} λ,

    d log r_i/dt = s^{1-2/L} λ (L - 2 - L s/K):

deviations grow until s = (1 - 2/L) K, and decay for larger s. For K = 4, s_1 = s_2 = s and s_3 = x s, x < 1, the forces
have λ_3/λ_1 = 2/(1 + e^{-(1-x) s/2}), which tends to 2 with s, and with 2 in its place

    d log x/d log s = 2 x^{1-2/L} - 1 < 0    if and only if x < x* = 2^{-L/(L-2)}.

Source: arXiv:2605.23087, arXiv:2410.23169; [ceflow] for the list of all vertices and for what is near collapse and
near rank two.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations

import sympy as sp

from ._proof import (
    ALL_MATRICES,
    RATIONAL,
    Step,
    entries,
    identity,
    nonnegative,
    residuals_of,
    vanish,
    vanish_matrix,
)
from ._quoted import CONCAVE, MONOTONE
from ._schemes import Model, hadamard
from ._sums import normal

WRONG = {
    "exponent 2 - 1/L": {"power": 1},
    "threshold log 2 / log(3/2)": {"threshold_factor": 1},
    "deviations from collapse that decay from s = 0 on": {"lost": 0},
    "rank two attracts below x = 1/2": {"edge": 1},
}

THRESHOLD = 2 * sp.log(2) / sp.log(sp.Rational(3, 2))


def velocity(s: sp.Expr, lam: sp.Expr, L: sp.Expr, power: int = 2) -> sp.Expr:
    """Return ds/dt on balanced layers."""
    return L * s ** (2 - power / L) * lam


def cost(s: list, m: list, L: sp.Expr) -> sp.Expr:
    """Return sum_i m_i s_i^(2/L)."""
    return sum(mi * sp.sympify(si) ** (2 / sp.sympify(L)) for mi, si in zip(m, s, strict=True))


def derivation(power: int = 2, threshold_factor: int = 2, lost: int = 2, edge: int = 0) -> Iterator[Step]:
    """Yield the proof.

    Arguments are p in the exponent 2 - p/L, the factor of the threshold, what is taken off L in the rate of deviations,
    and whether x* is claimed to be 1/2.
    """
    sizes = sp.symbols("n_0:4", integer=True, positive=True)
    K = sp.Symbol("K", integer=True, positive=True)
    above, layer1 = sp.MatrixSymbol("U", K, sizes[2]), sp.MatrixSymbol("W_{l+1}", sizes[2], sizes[1])
    layer0, below = sp.MatrixSymbol("W_l", sizes[1], sizes[0]), sp.MatrixSymbol("V", sizes[0], K)
    G = sp.MatrixSymbol("G", K, K)
    upper, lower = above.T * G * (layer0 * below).T, (above * layer1).T * G * below.T
    yield identity(
        "Z = U W_{l+1} W_l V, U the layers above and V those below: d(W_{l+1}^T W_{l+1})/dt = d(W_l W_l^T)/dt.",
        upper.T * layer1 + layer1.T * upper,
        lower * layer0.T + layer0 * lower.T,
        ALL_MATRICES,
        by=vanish_matrix,
    ).on("reduction.W", "reduction.H", name="balance")
    yield from _modes(power)
    yield from _threshold(threshold_factor)
    yield from _near(lost, edge)


def _modes(power: int) -> Iterator[Step]:
    L = sp.Symbol("L", integer=True, positive=True)
    l, k = sp.symbols("l k", integer=True)  # noqa: E741
    lam, s = sp.Symbol("λ", real=True), sp.Symbol("s", positive=True)
    w = sp.IndexedBase("w", positive=True)
    step = lam * s / w[l]
    for depth in (2, 3, 4):
        v = sp.symbols(f"w1:{depth + 1}", positive=True)
        product = sp.prod(v)
        yield entries(
            f"Depth {depth}: the product of the other layers is s/w_l, so dw_l/dt = lambda s/w_l, differentiating s "
            f"itself.",
            [(sp.diff(product, x), product / x) for x in v],
            f"depth {depth}",
        )
    yield identity(
        "w_l dw_l/dt = lambda s is the same in all layers: the differences of squares are constant.",
        2 * w[l] * step - 2 * w[k] * step.xreplace({l: k}),
        sp.S.Zero,
        "every depth, symbolic L",
    ).on(name="squares")
    rate = sp.Sum(s / w[l] * step, (l, 1, L))
    yield identity(
        "ds/dt = sum_l (s/w_l) dw_l/dt; on balanced layers w_l = s^{1/L}.",
        rate.xreplace({w[l]: s ** (1 / L)}),
        velocity(s, lam, L, power),
        "every depth, symbolic L",
        by=lambda e: sp.powsimp(vanish(sp.powsimp(normal(e, [])))),
    ).on(".squares", name="speed")


def _threshold(factor: int) -> Iterator[Step]:
    model = Model(hadamard(4), sp.symbols("s1:4", nonnegative=True))
    s = model.singular_values
    margins = [sp.expand(model.z0 - model.z(j)) for j in (1, 2, 3)]
    expected = [(s[0] + s[2]) / 2, (s[1] + s[2]) / 2, (s[0] + s[1]) / 2]
    yield entries(
        "The margins of hadamard(4) are half the sums of two singular values.",
        zip(margins, expected, strict=True),
        "hadamard(4)",
    ).on("closure.logits", name="margins")
    planes = [*(margin - 1 for margin in margins), *s]
    vertices = set()
    for tight in combinations(planes, 3):
        for solution in sp.linsolve(tight, s):
            values = dict(zip(s, solution, strict=True))
            if not any(v.free_symbols for v in solution) and all(plane.subs(values) >= 0 for plane in planes):
                vertices.add(tuple(solution))
    listed = {(1, 1, 1), (2, 2, 0), (2, 0, 2), (0, 2, 2)}
    yield entries(
        "The states with all margins >= 1 and s >= 0 form a polyhedron with exactly the vertices (1, 1, 1), (2, 2, "
        "0), (2, 0, 2), (0, 2, 2). The cost is concave for L >= 2 and increasing in every s_i, so it is smallest at "
        "a vertex.",
        [(len(vertices), 4), (len(vertices & listed), 4)],
        "hadamard(4)",
        how=RATIONAL,
    ).on(".margins", name="vertices")
    L, x = sp.Symbol("L", positive=True), sp.Symbol("x", positive=True)
    excess = sp.Symbol("q", nonnegative=True)  # L = 2 + q
    yield nonnegative(
        "Concave: minus the second derivative of x^(2/L), L = 2 + q with q >= 0.",
        -sp.diff(x ** (2 / (2 + excess)), x, 2),
        2 * excess / (2 + excess) ** 2 * x ** (2 / (2 + excess) - 2),
        "every depth, symbolic L",
        by=sp.simplify,
    ).on(name="concave")
    ones = [1, 1, 1]
    two, three = cost([2, 2, 0], ones, L), cost([1, 1, 1], ones, L)
    yield identity(
        "The costs of the two kinds of vertices are 2 * 2^{2/L} and 3.",
        two - three,
        2 * 2 ** (2 / L) - 3,
        "hadamard(4)",
    ).on(".vertices", ".concave", name="costs", quotes=(CONCAVE,))
    yield nonnegative(
        "The difference falls with L ...",
        -sp.diff(two - three, L),
        4 * sp.log(2) * 2 ** (2 / L) / L**2,
        "every depth, symbolic L",
    ).on(".costs", name="falls")
    threshold = THRESHOLD * factor / 2
    yield identity(
        "... and vanishes at the threshold, where 2^{2/L} = 3/2.",
        (two - three).subs(L, threshold),
        sp.S.Zero,
        "hadamard(4)",
    ).on(".costs", name="threshold")
    cubes, squares = sp.Integer(2) ** 5 - sp.Integer(3) ** 3, sp.Integer(3) ** 2 - sp.Integer(2) ** 3
    yield Step(
        "It lies between 3 and 4, in integers: (2 * 2^{2/3})^3 = 2^5 > 3^3 and (2 * 2^{2/4})^2 = 2^3 < 3^2.",
        sp.And(sp.Gt(two.subs(L, 3), 3, evaluate=False), sp.Lt(two.subs(L, 4), 3, evaluate=False), evaluate=False),
        (
            vanish(two.subs(L, 3) ** 3 - 27 - cubes),
            vanish(9 - two.subs(L, 4) ** 2 - squares),
            *(d for d in (cubes, squares) if not d.is_positive),
        ),
        RATIONAL,
        "hadamard(4)",
    ).on(".falls", ".threshold", quotes=(MONOTONE,))


def _near(lost: int, edge: int) -> Iterator[Step]:
    """Yield the rates of deviations from collapse, and of a third mode near a state of rank two."""
    s, r, K, p, x = sp.symbols("s r K p x", positive=True)
    L = 2 + sp.Symbol("q", positive=True)
    step = sp.Symbol("ε", real=True)
    moved = velocity(s * (1 + step * r), K * p - step * p * s * r, L) / (s * (1 + step * r))  # λ = K p, dλ = -p dh
    yield identity(
        "Near collapse: λ = K p on the ray, and a deviation h = s r of sum 0 changes it by -p h. So r moves by the "
        "change of d log s_i/dt = L s_i^{1-2/L} λ_i.",
        sp.diff(moved, step).subs(step, 0),
        s ** (1 - 2 / L) * K * p * (L - lost - L * s / K) * r,
        "every symmetric scheme, symbolic K and L > 2",
        by=lambda e: sp.simplify(sp.expand(sp.powsimp(sp.expand(e)))),
    ).on(".speed", "linearization.jacobian", "ray.equal")
    model = Model(hadamard(4), [s, s, x * s])
    yield identity(
        "K = 4, s_1 = s_2 = s, s_3 = x s: λ_3/λ_1 = 2/(1 + e^{-(1-x) s/2}), which tends to 2 for x < 1.",
        model.lam(3) * (1 + sp.exp(-(1 - x) * s / 2)),
        2 * model.lam(1),
        "hadamard(4)",
    ).on("closure.force", name="edge")
    lam = sp.Symbol("λ", positive=True)
    rate = velocity(x * s, 2 * lam, L) / (x * s) / (velocity(s, lam, L) / s) - 1
    share = sp.S.Half if edge else 2 ** (-L / (L - 2))
    yield entries(
        "With λ_3 = 2 λ_1, d log x/d log s = 2 x^{1-2/L} - 1, which is 0 at x* = 2^{-L/(L-2)} and grows with x.",
        [(rate, 2 * x ** (1 - 2 / L) - 1), ((2 * x ** (1 - 2 / L) - 1).subs(x, share), sp.S.Zero)],
        "every depth, symbolic L > 2",
        by=lambda e: sp.simplify(sp.powdenest(sp.expand(sp.powsimp(sp.expand_power_base(e, force=True))), force=True)),
    ).on(".speed", ".edge")


check = residuals_of(derivation)
