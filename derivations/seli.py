"""SELI of two groups: the limit of imbalanced classes without decay, and the residual of constant direction.

Setting. K_A classes of n_A samples and K_B classes of n_B, K = K_A + K_B, D = diag(n), o the weight
of a sample, Π_A, Π_B, u as in `groups`, C = I - 1 1^T/K. Balanced layers have W^T W = H D H^T.

Theorem. Let S^2 = (K_B n_A + K_A n_B)/K. The balanced layers with W H = C are those with

    W W^T = P = √n_A Π_A + √n_B Π_B + S u u^T,     H^T H = Q = Π_A/√n_A + Π_B/√n_B + u u^T/S,

so that C D^(1/2) has the singular values √n_A (K_A - 1 times), √n_B (K_B - 1 times) and S. Hence

    |w_A|^2 = √n_A (1 - 1/K_A) + S K_B/(K K_A),
    w_A.w_A' = -√n_A/K_A + S K_B/(K K_A),    w_A.w_B = -S/K,

B alike, the features with 1/√n and 1/S in place of √n and S. Differences w - w' and h - h' are
parallel within a group, and between the groups have the angle

    cos^2 θ = 4 / ((√n_A (1 - 1/K_A) + √n_B (1 - 1/K_B) + S K/(K_A K_B))
                   ((1 - 1/K_A)/√n_A + (1 - 1/K_B)/√n_B + K/(K_A K_B S))),

which is 4 √R/(1 + √R)^2 for many classes, R = n_A/n_B. For any number of groups the squared
singular values beside the n_g are the roots x of sum_g K_g/(n_g - x) = 0, with vectors k_g/(n_g -
x), k_g = √(K_g/K).

The direction does not change, with or without decay, if the residual is G = I - softmax = κ Q diag(1/o), κ any number:
then both layers grow as dW/dt = κ W, dH/dt = κ H, and WW^T = ρ P has dρ/dt = 2 ρ κ. Entries of Q between different
classes are negative, so that this is the residual of probabilities: the wrong class h in a sample of class c has -κ
Q_hc/o_c.

Source: Thrampoulidis, Kini, Vakilian & Behnia, arXiv:2208.05512, for the geometry; the rest
[ceflow].
"""

from __future__ import annotations

from collections.abc import Iterator

import sympy as sp

from ._configurations import Groups
from ._proof import SCALAR, Step, entries, identity, nonnegative, residuals_of, vanish
from ._quoted import ROOT
from .groups import TWO, Two, constants

WRONG = {
    "mixed mode with sizes exchanged": {"mixed": "own"},
    "features like the classifier": {"features": 1},
    "no angle between the groups": {"across": 0},
    "residual by the classifier's Gram matrix": {"residual": "W"},
}


def derivation(mixed: str = "other", features: int = -1, across: int = 1, residual: str = "H") -> Iterator[Step]:
    """Yield the proof.

    Arguments are whose size multiplies n_A in S^2, the power of √n in the features' Gram matrix, whether the mean
    of the groups counts in cos^2 θ, and whose Gram matrix the residual is.
    """
    two = Two()
    (A, B), (n_A, n_B), K = two.sizes, two.n, two.K
    S = sp.sqrt((B * n_A + A * n_B if mixed == "other" else A * n_A + B * n_B) / K)
    C = two.element([1, 1], -sp.ones(2) / K)
    P = two.classifier(sp.sqrt(n_A), sp.sqrt(n_B), S)
    Q = two.classifier(sp.sqrt(n_A) ** features, sp.sqrt(n_B) ** features, S**features)
    yield equal(
        "P is the square root of C D C: the squares of the singular values are n_A, n_B and S^2, and W W^T = P for "
        "balanced W (W^T W = H D H^T gives (W W^T)^2 = Z D Z^T).",
        [(P @ P, C.columns_times(two.n) @ C)],
    ).on("coherent.product", "groups.projectors", name="P", quotes=(ROOT,))
    yield equal(
        "Q is its pseudo-inverse, P Q = C, and Q D Q = C: D^(1/2) Q D^(1/2) is the square root of D^(1/2) C D^(1/2), "
        "so that H^T H = Q for balanced H.",
        [(P @ Q, C), (Q.columns_times(two.n) @ Q, C)],
    ).on("coherent.product", ".P", name="Q", quotes=(ROOT,))
    yield entries(
        "The entries of P.",
        [
            (P.own(0), sp.sqrt(n_A) * (1 - 1 / A) + S * B / (K * A)),
            (P.other(0, 0), -sp.sqrt(n_A) / A + S * B / (K * A)),
            (P.other(0, 1), -S / K),
        ],
        TWO,
    ).on(".P")
    yield from _angles(two, P, Q, S, across)
    yield from _any_number()
    yield from _residual(two, P, Q, C, residual)
    for g, (own, other) in enumerate(((A, B), (B, A))):
        n, m = two.n[g], two.n[1 - g]
        yield nonnegative(
            f"Within group {'AB'[g]} -Q is positive: S^2 K^2 - K_other^2 n > 0, and between the groups it is 1/(K S).",
            K * (B * n_A + A * n_B) - other**2 * n,
            own * other * n + K * own * m,
            TWO,
            by=lambda e: vanish(sp.expand(e)),
        ).on(".Q")


def equal(says: str, pairs: list[tuple[Groups, Groups]]) -> Step:
    """Return the step that matrices of two groups agree."""
    return entries(says, [(sp.Matrix(X.coefficients), sp.Matrix(Y.coefficients)) for X, Y in pairs], TWO)


def _angles(two: Two, P: Groups, Q: Groups, S: sp.Expr, across: int) -> Iterator[Step]:
    """Yield lengths of differences and the angles between them."""
    (A, B), (n_A, n_B), K = two.sizes, two.n, two.K

    def between(M: Groups) -> sp.Expr:
        return M.own(0) + M.own(1) - 2 * M.other(0, 1)

    yield entries(
        "Two classes of a group: |w - w'|^2 = 2 √n, |h - h'|^2 = 2/√n, and (w - w').(h - h') = 2 of W H = C: parallel.",
        [(4 * (P.own(g) - P.other(g, g)) * (Q.own(g) - Q.other(g, g)), sp.Integer(4)) for g in (0, 1)],
        TWO,
    ).on(".P", ".Q")
    lengths = [
        sp.sqrt(n_A) * (1 - 1 / A) + sp.sqrt(n_B) * (1 - 1 / B) + across * S * K / (A * B),
        (1 - 1 / A) / sp.sqrt(n_A) + (1 - 1 / B) / sp.sqrt(n_B) + across * K / (A * B * S),
    ]
    yield entries(
        "Between the groups: |w - w'|^2 and |h - h'|^2, whose product divides 4 in cos^2 θ.",
        [(between(P), lengths[0]), (between(Q), lengths[1])],
        TWO,
    ).on(".P", ".Q", name="between")
    k, R = sp.symbols("k R", positive=True)
    inverse = {A: 1 / k, B: 1 / k, n_A: R, n_B: sp.S.One}
    at_infinity = [sp.simplify(sp.expand(length.subs(inverse))).subs(k, 0) for length in lengths]
    yield identity(
        "For many classes of either group: 4 √R/(1 + √R)^2, R = n_A/n_B.",
        4 / (at_infinity[0] * at_infinity[1]),
        4 * sp.sqrt(R) / (1 + sp.sqrt(R)) ** 2,
        SCALAR,
    ).on(".between")


def _any_number() -> Iterator[Step]:
    """Yield the secular equation of the constants of any number of groups."""
    sizes = sp.symbols("K1:4", positive=True)
    block = constants(Groups.of(sizes, [1, 1, 1], -sp.ones(3) / sum(sizes)))
    roots = sp.Matrix([sp.sqrt(size / sum(sizes)) for size in sizes])
    yield entries(
        "The block of C on the constants is I - k k^T.",
        [(block, sp.eye(3) - roots * roots.T)],
        "three groups, symbolic",
    ).on("groups.blocks", name="constants")
    n, k, x = sp.symbols("n_g k_g x", positive=True)
    yield identity(
        "Any number of groups: v_g = k_g/(n_g - x) has D v = x v + k entry by entry. On the constants C = I - k k^T "
        "and C k = 0, and k^T v = 0 is the equation of x: so C D C v = C D v = x v.",
        n * k / (n - x),
        x * k / (n - x) + k,
        SCALAR,
    ).on("groups.blocks", ".constants", name="secular")
    A, B, n_A, n_B = sp.symbols("K_A K_B n_A n_B", positive=True)
    yield identity(
        "Two groups have one root, S^2.",
        (A / (n_A - x) + B / (n_B - x)).subs(x, (A * n_B + B * n_A) / (A + B)),
        sp.S.Zero,
        SCALAR,
    ).on(".secular")


def _residual(two: Two, P: Groups, Q: Groups, C: Groups, residual: str) -> Iterator[Step]:
    """Yield that the direction does not change under the residual κ Q diag(1/o)."""
    kappa, rho = sp.Symbol("κ", positive=True), sp.Symbol("ρ", positive=True)
    G = kappa * (Q if residual == "H" else P).columns_times([1 / o for o in two.o])
    yield equal(
        "G diag(n o) H^T = κ W: from the right with H, G diag(n o) Q = κ C (the rows of both lie in the span of H).",
        [(G.columns_times(two.nu) @ Q, kappa * C)],
    ).on("groups.loss", "coherent.product", ".Q", name="classifier")
    yield equal(
        "W^T G diag(o) = κ H: from the left with W, P G diag(o) = κ C. Each sample moves by its own weight.",
        [(P @ G.columns_times(two.o), kappa * C)],
    ).on("groups.loss", "coherent.product", ".P", name="features")
    yield identity(
        "Both layers √ρ times SELI's: d(ρ P)/dt = 2 κ ρ P, and margins ρ + const have κ = e^-ρ: t = Ei(ρ)/2.",
        sp.diff(sp.Ei(rho) / 2, rho) * (2 * rho * sp.exp(-rho)),
        sp.S.One,
        SCALAR,
    ).on(".classifier", ".features")


check = residuals_of(derivation)
