"""Weight decay and imbalanced classes: threshold of minority collapse, and the equilibrium equations.

Setting. As in `groups`: G groups of K_g classes with n_g samples of weight o_g, ν_g = n_g o_g,
decays lW and lH, c = lW lH, μ = √c. The zero-sum modes of group g have singular values a_g, b_g,
s_g = a_g b_g.

Theorem. (i) The zero-sum modes of a group are zero at the optimum if and only if n o^2 <= c, for any other groups, and
for any logit adjustment that is constant on groups. The same holds for the squared error. (ii) At rest λ_g = min(1,
√(c/(n_g o_g^2))); and for two groups

    n_A o_A^2 g_A^2 + n_B o_B^2 g_B^2 = c,          t_A/t_B = o_A g_A/(o_B g_B),

or w = 0. (iii) For two groups, n_A > n_B, K_A > 1 and equal weights, as decay decreases the modes of A become nonzero
first, at c = n_A o^2. The mode between the groups is 0 there, and nonzero at c = n_B o^2, where the modes of B become
nonzero. So all modes are 0 for c >= n_A o^2; the threshold of the means at zero is smaller.

Proof of (i). The objective is convex in the logits: the loss, and the decay, which at its smallest
is μ times the nuclear norm of Z D^(1/2) (see `decay_equilibrium`). Averaging over permutations
within groups does not increase it, so Z may be taken of the form of `groups`, and the part of a
group's modes in the nuclear norm is (K_g - 1) √n_g |s_g|. As a function of s_g the loss is convex
and has the slope -(K_g - 1) ν_g at 0, whatever the other logits. So s_g = 0 is the minimum if and
only if ν_g <= √n_g μ.

Source: [ceflow]. Minority collapse: Fang, He, Long & Su, arXiv:2101.12699.
"""

from __future__ import annotations

from collections.abc import Iterator

import sympy as sp

from ._configurations import Groups
from ._proof import SCALAR, Step, entries, identity, nonnegative, residuals_of, vanish
from ._quoted import AVERAGING
from .groups import TWO, Two

WRONG = {
    "threshold n^2 o^2": {"power": 2},
    "force 1 - 1/K at zero": {"at_zero": "1 - 1/K"},
    "forces on an ellipse of first powers": {"square": 1},
    "all modes are 0 above the force on the means at zero": {"last": "means"},
}


def derivation(power: int = 1, at_zero: str = "1", square: int = 2, last: str = "majority") -> Iterator[Step]:
    """Yield the proof.

    Arguments are the power of n in the threshold, the force on a mode that is zero, the power of g in the equation of
    the means, and which modes vanish last.
    """
    yield _force_at_zero(at_zero)
    yield from _slope(power)
    yield from _at_rest(square)
    yield from _order(last)


def _force_at_zero(at_zero: str) -> Step:
    """Return the force on the modes of a group, with three groups of any sizes and logits."""
    sizes = sp.symbols("K1:4", positive=True)
    own, across = sp.symbols("e1:4", positive=True), sp.Matrix(3, 3, sp.symbols("f:9", positive=True))
    Y = sp.Matrix(3, 3, lambda g, h: own[g] if g == h else across[g, h])
    exponentials = Groups.of(sizes, [0, 0, 0], Y)  # equal logits within each group
    G = Groups.of(sizes, [1, 1, 1], sp.zeros(3)) - exponentials.columns_times(
        [1 / exponentials.column_sum(g) for g in range(3)]
    )
    claimed = [sp.S.One if at_zero == "1" else 1 - 1 / size for size in sizes]
    return entries(
        "Where all logits of a group agree in its columns, p has equal entries there, and the force on its zero-sum "
        "modes is exactly 1: whatever the other entries, with or without logit adjustment.",
        zip(G.x, claimed, strict=True),
        "three groups, symbolic sizes and logits",
    ).on("coherent.product", "coherent.columns", name="zero")


def _slope(power: int) -> Iterator[Step]:
    """Yield that the loss is convex in s with a known slope at 0, and hence the threshold."""
    K, rest, n, o = sp.symbols("K_g r n o", positive=True)
    s = sp.Symbol("s", real=True)
    loss = K * n * o * sp.log(1 + (K - 1) * sp.exp(-s) + rest * sp.exp(-s * (1 - 1 / K)))
    yield identity(
        "The loss of a group's columns, r the other groups' exponentials over those of its mean: slope -(K - 1) n o at "
        "s = 0.",
        sp.diff(loss, s).subs(s, 0),
        -(K - 1) * n * o,
        SCALAR,
    ).on(name="slope")
    others = sp.Symbol("k", nonnegative=True)  # K - 1
    E, F = others * sp.exp(-s), rest * sp.exp(-s * others / (1 + others))
    share = others / (1 + others)
    below = 1 + E + F
    second = (E + share**2 * F + (1 - share) ** 2 * E * F) / below**2
    yield nonnegative(
        "It is convex in s: K n o times a variance of what s multiplies.",
        sp.diff(sp.log(below), s, 2),
        sp.Add(*[part / below**2 for part in (E, share**2 * F, (1 - share) ** 2 * E * F)]),
        SCALAR,
        shows=second,
    ).on(".slope", name="convex")
    yield identity(
        "With (K - 1) √n μ |s| the slopes at s = ±0 have the signs of ±: s = 0 is the minimum if and only if n o <= √n "
        "μ, that is n o^2 <= μ^2.",
        ((K - 1) * n * o / ((K - 1) * sp.sqrt(n))) ** 2,
        n**power * o**2,
        SCALAR,
    ).on(".slope", ".convex", "decay_equilibrium.nuclear", "contraction.Hessian", name="threshold", quotes=(AVERAGING,))
    yield identity(
        "Squared error, targets I or I - 1 1^T/K: the columns of a group have n o (K - 1) (1 - s)^2/2 on its zero-sum "
        "modes, the same slope at s = 0.",
        sp.diff(n * o * (K - 1) * (1 - s) ** 2 / 2, s).subs(s, 0),
        -(K - 1) * n * o,
        SCALAR,
    )


def _at_rest(square: int) -> Iterator[Step]:
    """Yield the equations at rest."""
    two = Two()
    p_o, p_x = sp.symbols("p_oA p_oB", positive=True), sp.symbols("p_xA p_xB", positive=True)
    v = two.velocity(p_o, p_x)
    (A, B), (n, m), (o, q) = two.sizes, two.n, two.o
    lW, lH = sp.symbols("l_W l_H", positive=True)
    v = {name: value.subs({two.lW: lW, two.lH: lH}) for name, value in v.items()}
    lam = sp.Symbol("λ_A", positive=True)
    force = {p_o[0]: (lam - B * p_x[0]) / A}
    rest = {two.a[0]: sp.sqrt(n * lH / lW) * two.b[0], lam: sp.sqrt(lW * lH / n) / o}
    yield entries(
        "a and b of a group rest if a/b = √(n lH/lW) and λ = √(lW lH/n)/o, or if both are 0. The product of the two "
        "equations, n o^2 λ^2 = lW lH, shows that there is no other rest.",
        [(v[name].subs(force).subs(rest), sp.S.Zero) for name in ("a_A", "b_A")],
        TWO,
        by=lambda e: sp.simplify(sp.powdenest(sp.expand(e), force=True)),
    ).on("groups.classifier", "groups.features", name="rest")
    s, e = sp.symbols("s p", positive=True)
    yield identity(
        "1 - λ = p_d - p_o = p_o (e^s - 1), so that s = log(1 + (1 - λ)/p_o) is positive where λ < 1.",
        1 - (A * e + (1 - (A - 1) * e - e * sp.exp(s))),
        e * (sp.exp(s) - 1),
        SCALAR,
    ).on("groups.force")
    g = [sp.sqrt(two.K * other) * p for other, p in zip((B, A), p_x, strict=True)]
    y = [o_g * two.w * force_g / lH for o_g, force_g in zip(two.o, g, strict=True)]
    at = dict(zip(two.y, y, strict=True))
    yield entries(
        "y_A and y_B rest at o g w/lH, hence t_A/t_B = o_A g_A/(o_B g_B); then w rests if it is 0, or if the sum of "
        "n o^2 g^2 is lW lH.",
        [
            (v["y_A"].subs(at), sp.S.Zero),
            (v["y_B"].subs(at), sp.S.Zero),
            (v["w"].subs(at) * lH / two.w, n * o**2 * g[0] ** square + m * q**2 * g[1] ** square - lW * lH),
        ],
        TWO,
        by=lambda e: vanish(sp.expand(sp.powdenest(e, force=True))),
    ).on("groups.classifier", "groups.features", name="means")


def _order(last: str) -> Iterator[Step]:
    """Yield the order of the thresholds of two groups with equal weights."""
    A, B, m, o, more = sp.symbols("K_A K_B n_B o d", positive=True)
    n, K, y = m + more, A + B, sp.Symbol("y", positive=True)
    means = (B * n + A * m) / K * o**2
    yield identity(
        "Everything zero: p = 1/K, g_A = √(K_B/K), g_B = √(K_A/K): the force on the means is the root of the sum of "
        "n o^2 g^2, that is (K_B n_A + K_A n_B) o^2/K ...",
        n * o**2 * (sp.sqrt(K * B) / K) ** 2 + m * o**2 * (sp.sqrt(K * A) / K) ** 2,
        means,
        SCALAR,
    ).on(".means", name="at zero")
    died = n * o**2 if last == "majority" else means
    yield nonnegative(
        "... which is less than n_A o^2 by K_A (n_A - n_B) o^2/K: the modes of A, if there are any, are nonzero at it.",
        died - means,
        A * more * o**2 / K if last == "majority" else sp.S.Zero,
        SCALAR,
    ).on(".at zero", ".threshold")
    yield nonnegative(
        "Above the last threshold the modes of A are 0 as well: it is not less than n_A o^2.",
        died - n * o**2,
        sp.S.Zero,
        SCALAR,
    ).on(".threshold")
    below = sp.Symbol("D", positive=True)  # the exponentials of a column of A over that of B
    lam, p = (A * y + B) / below, 1 / below
    yield identity(
        "At the threshold of the modes of B, c = n_B o^2 = n_A o^2 λ_A^2, let the means be 0 too, g_B = √(K_A/K): "
        "the sum of "
        "n o^2 g^2 exceeds c by n_A o^2 K_B/K times (K p_x)^2 - λ_A^2 ...",
        (n * K * B * p**2 + n * lam**2 * A / K) - n * lam**2,
        n * B / K * ((K * p) ** 2 - lam**2),
        SCALAR,
    ).on(".threshold", ".rest", ".means", name="B")
    gap = sp.Symbol("u", nonnegative=True)  # 1 - y, y = e^(-s_A/K_A) <= 1
    yield nonnegative(
        "... and K p_x > λ_A where s_A > 0, y = e^(-s_A/K_A) < 1: the means are nonzero, and "
        "vanish after the modes of B.",
        (K * p - lam).subs(y, 1 - gap),
        A * gap / below,
        SCALAR,
    ).on(".B")


check = residuals_of(derivation)
