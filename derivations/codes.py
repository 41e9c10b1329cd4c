"""Softmax codes: how far K unit vectors can be from the convex hulls of the others, in closed form.

Theorem. Let w_1, ..., w_K be unit vectors in R^d, dist_k the distance of w_k from the convex hull of the others.

(a) dist_k is the largest margin min_j <w_k - w_j, h> of unit vectors h.
(b) min_k dist_k <= K/(K-1), attained by the simplex, for which d >= K - 1.
(c) For K >= d + 2, min_k dist_k <= 1. It is 1 if and only if no inner product <w_i, w_j>, i != j, is positive, and
    then K <= 2d.
(d) For d = 2 and K >= 4, min_k dist_k <= 2 sin^2(π/K) = 1 - cos(2π/K), attained by the regular polygon.
(e) Simplices of k_b points in orthogonal spaces have logits of margin 1 and cost sum_b (k_b - 1) (k_b/(k_b - 1))^{2/L}
    at L layers; for pairs that is 2^{2/L} for each of K/2 ranks.

Proof of (c). By Radon's theorem two disjoint sets A and B of the points have a common point p in their hulls. Some i in
A has <w_i, p> >= |p|^2, and p is in the hull of the others: dist_i^2 <= |w_i - p|^2 <= 1 - |p|^2. Equality in all means
p = 0. Every k is outside of A or outside of B, so 0 is in the hull of the others, and nearest to w_k; then <w_k, y> <=
0 on it. Proof of (d). A point with gaps a and b to its neighbours is at most 2 sin(a/2) sin(b/2) from their chord,
where both gaps are at most π. If all are, the mean of the logarithms is that of 2 sin^2(gap/2), and log sin is concave.
If one is not, the others sum to less than π, and two of them, next to each other, to less than π/m, K <= 2m + 2.

Source: the values are claims of arXiv:2310.05351 (abstract); (c) is the subject of arXiv:2603.20587 (abstract).
Proofs: [ceflow].
"""

from __future__ import annotations

from collections.abc import Iterator

import sympy as sp

from ._proof import SCALAR, Step, entries, identity, nonnegative, residuals_of
from ._quoted import JENSEN, NEAREST, RADON

UNIT = "all unit vectors, symbolic inner products"
WRONG = {
    "the mean of the others is S/K": {"others": 0},
    "the far point has twice the product": {"far": 2},
    "a chord at sin(a/2) sin(b/2)": {"chord": 1},
    "the cost of a simplex of k ranks": {"spare": 0},
}


def derivation(others: int = 1, far: int = 1, chord: int = 2, spare: int = 1) -> Iterator[Step]:
    """Yield the proof; arguments are K less the number of other points, the factor of |p|^2 in <w_i, p>, that of the
    distance from a chord, and the size of a simplex less its rank."""
    yield from _duality()
    yield from _simplex(others)
    yield from _radon(far)
    yield from _circle(chord)
    yield from _cost(spare)


def _duality() -> Iterator[Step]:
    ww, wx, wy, xx, xy, yy = (sp.Symbol(f"<{a},{b}>", real=True) for a, b in ("ww", "wx", "wy", "xx", "xy", "yy"))
    e = sp.Symbol("ε", nonnegative=True)
    yield identity(
        "(a) Let x be the point of the hull nearest to w, y another one, p = w - x. |w - x - ε (y - x)|^2 has the "
        "slope -2 <p, y - x> at ε = 0, which is not negative; and <p, w - y> is |p|^2 plus half of it. So h = p/|p| "
        "has the margin |p|, and no h has more, as <w - x, h> is a mean of the <w - w_j, h>.",
        (ww - wx - wy + xy),
        (ww - 2 * wx + xx)
        + sp.diff(ww - 2 * wx + xx - 2 * e * (wy - wx - xy + xx) + e**2 * (yy - 2 * xy + xx), e).subs(e, 0) / 2,
        "all vectors, symbolic inner products",
    ).on(name="duality", quotes=(NEAREST,))


def _simplex(others: int) -> Iterator[Step]:
    K = 2 + sp.Symbol("n", nonnegative=True)
    w, S = sp.symbols("w S", real=True)  # one coordinate
    yield identity(
        "(b) With S = sum_j w_j, w_k less the mean of the others, a point of their hull, is (K w_k - S)/(K - 1).",
        w - (S - w) / (K - others),
        (K * w - S) / (K - 1),
        "every K, each coordinate",
    ).on(name="mean")
    q = sp.Symbol("|S|^2", nonnegative=True)
    yield nonnegative(
        "The mean of its squares over k, sum_k <w_k, S> = |S|^2, is at most K^2/(K-1)^2; so is the smallest dist_k^2.",
        K**2 / (K - 1) ** 2 - (K**2 * K - 2 * K * q + K * q) / K / (K - 1) ** 2,
        q / (K - 1) ** 2,
        "every K >= 2",
    ).on(".mean")
    yield identity(
        "The simplex, <w_j, w_k> = -1/(K-1), has these margins with h_k = w_k.",
        1 + 1 / (K - 1),
        K / (K - 1),
        "every K >= 2",
    ).on(".duality")


def _radon(far: int) -> Iterator[Step]:
    P, excess = sp.symbols("|p|^2 e", nonnegative=True)
    yield nonnegative(
        "(c) In a mean of inner products |p|^2 = sum_(i in A) α_i <w_i, p> one is |p|^2 + e, e >= 0. For it "
        "|w_i - p|^2 is at most 1.",
        1 - (1 - 2 * (far * P + excess) + P),
        P + 2 * excess,
        UNIT,
    ).on(name="Radon", quotes=(RADON,))
    e, y = sp.symbols("ε |y|^2", nonnegative=True)
    g = sp.Symbol("<w_k,y>", real=True)
    yield identity(
        "If 0 is in the hull and dist_k = 1, |w_k - ε y|^2 >= 1 for y in the hull: its slope at 0, -2 <w_k, y>, is not "
        "negative.",
        sp.diff(1 - 2 * e * g + e**2 * y, e).subs(e, 0),
        -2 * g,
        UNIT,
    ).on(".Radon", quotes=(NEAREST,))
    a, b, c = sp.symbols("a b c", nonnegative=True)
    yield nonnegative(
        "Conversely, for <w_k, w_j> = -a the margins of h_k = w_k are at least 1.",
        (1 + a) - 1,
        a,
        UNIT,
    ).on(".duality")
    yield nonnegative(
        "There are at most 2d of them: take the part along one, w, off all others. With <w_i, w> = -a, <w_j, w> = -b, "
        "<w_i, w_j> = -c inner products stay as they are in sign, in a space of one dimension less, and at most one "
        "vector, -w, vanishes; in one dimension there are two.",
        -(-c - (-a) * (-b)),
        c + a * b,
        UNIT,
    )


def _circle(chord: int) -> Iterator[Step]:
    a, b = sp.symbols("a b", positive=True)
    half = (b - a) / 2

    def along(angle: sp.Expr) -> sp.Expr:
        """The coordinate of a point of the circle in the direction that is normal to the chord."""
        return sp.cos(angle) * sp.cos(half) + sp.sin(angle) * sp.sin(half)

    def simple(e: sp.Expr) -> sp.Expr:
        return sp.simplify(sp.expand(e.rewrite(sp.exp)))

    yield entries(
        "(d) A point at the angle 0 between neighbours at -a and b: both have the coordinate cos((a + b)/2) along the "
        "normal of their chord, and the point is 2 sin(a/2) sin(b/2) beyond. Its foot is on the chord for a, b <= π, "
        "where the angles of the triangle there, b/2 and a/2, are not obtuse.",
        [
            (along(-a), sp.cos((a + b) / 2)),
            (along(b), sp.cos((a + b) / 2)),
            (along(sp.S.Zero) - sp.cos((a + b) / 2), chord * sp.sin(a / 2) * sp.sin(b / 2)),
        ],
        SCALAR,
        by=simple,
        shows=sp.Eq(sp.Symbol("dist"), chord * sp.sin(a / 2) * sp.sin(b / 2), evaluate=False),
    ).on(name="chord")
    x = sp.Symbol("x", real=True)
    yield nonnegative(
        "log sin is concave: the mean of log(2 sin^2(gap/2)), gaps of the sum 2π, is at most that of equal gaps.",
        -sp.diff(sp.log(sp.sin(x)), x, 2),
        sp.sin(x) ** -2,
        SCALAR,
        by=sp.simplify,
    ).on(".chord", quotes=(JENSEN,))
    K = sp.Symbol("K", positive=True)
    yield identity("Equal gaps 2π/K.", 2 * sp.sin(sp.pi / K) ** 2, 1 - sp.cos(2 * sp.pi / K), "every K", by=simple)
    yield nonnegative(
        "Two gaps of the sum s: the product is at most sin^2(s/4).",
        sp.sin((a + b) / 4) ** 2 - sp.sin(a / 2) * sp.sin(b / 2),
        sp.sin((a - b) / 4) ** 2,
        SCALAR,
        by=simple,
    ).on(".chord", name="two gaps")
    n = sp.Symbol("n", nonnegative=True)
    m = n + 1
    yield nonnegative(
        "One gap above π: of K - 1 others, of the sum π at most, there are m = floor((K-1)/2) pairs of neighbours, and "
        "one has a sum up to π/m. It is enough that π/(4m) <= π/K, K = 2m + 2 at most.",
        4 * m - (2 * m + 2),
        2 * n,
        "every K >= 4",
    ).on(".two gaps")


def _cost(spare: int) -> Iterator[Step]:
    k = 2 + sp.Symbol("n", nonnegative=True)
    yield entries(
        "(e) A simplex of k points: Z = k/(k-1) (I - J/k) has the diagonal 1, which is the margin against all other "
        "blocks, and k/(k-1) against its own, not less.",
        [(k / (k - 1) * (1 - 1 / k), sp.S.One), (k / (k - 1) * (1 - 1 / k) - k / (k - 1) * (-1 / k), k / (k - 1))],
        "every k",
    )
    L = sp.Symbol("L", positive=True)
    yield identity(
        "k - 1 singular values k/(k-1); of pairs one, 2.",
        ((k - spare) * (k / (k - 1)) ** (2 / L)).subs(k, 2),
        2 ** (2 / L),
        "every L",
    )


check = residuals_of(derivation)
