"""Samples: with columns scaled by sqrt(n) all layers have one residual; equal samples rescale the flow.

Setting. Column c of H stands for n_c equal samples of weight o_c; N = diag(n), O = diag(o), and G
the negative gradient of the loss by the logits, so dW/dt = G N O H^T - lW W, dH/dt = W^T G O - lH
H.

Theorem. (a) With H~ = H N^{1/2} and the one residual R = G O N^{1/2},

    dW/dt = R H~^T - lW W,    dH~/dt = W^T R - lH H~,    Z = W H~ N^{-1/2}:

the gradient flow of two plain layers, with W^T W - H~ H~^T conserved without decay and the decay
(lH/2) |H~|^2 of all samples. The same for any number of linear layers, where H is the last.

(b) Let all classes have n samples. If (V, U) solves the plain flow of the loss, one sample a class,
in the time τ, then for L layers

    W_l(t) = n^{1/(2L)} V_l(τ)  for all layers but the last,    H(t) = n^{-(L-1)/(2L)} U(τ),

solve the flow with n samples, and Z is the same. "sum" (o = 1): τ = n^{1-1/L} t; "mean" (o = 1/(n
K), against 1/K in the plain flow): τ = n^{-1/L} t. The decays in τ are l dt/dτ. For two layers: W
n^{-1/4} and H n^{1/4} are the plain solution, at τ = t sqrt(n) for "sum" and at τ = t/sqrt(n) for
"mean". What happens at the plain time τ happens at t = τ/sqrt(n) for "sum". These exponents are the
only ones.

Layers that are balanced in the sense of conservation, a^2 = n b^2, correspond to a plain start with
a = b.

Source: [ceflow].
"""

from __future__ import annotations

from collections.abc import Iterator

import sympy as sp

from ._proof import ALL_MATRICES, SCALAR, Step, entries, identity, residuals_of, vanish_matrix

L_LAYERS = "L linear layers, symbolic L, n, K"

WRONG = {
    "W = n^{-1/4} V and H = n^{1/4} U": {"sign": -1},
    "columns scaled by n": {"root": 1},
    'the time of "sum" for "mean"': {"mean_time": 1},
    "time t n": {"time": sp.S.One},
}


def derivation(
    sign: int = 1, root: sp.Expr = sp.S.Half, mean_time: int = 0, time: sp.Expr | None = None
) -> Iterator[Step]:
    """Yield the proof.

    Arguments are the sign of the power of n in W, the power of N in the scaled columns, whether "mean" has the time of
    "sum", and the power of n in the time of "sum" (1 - 1/L unless given).
    """
    yield from _one_residual(root)
    yield from _equal_samples(sign, mean_time, time)


def _one_residual(root: sp.Expr) -> Iterator[Step]:
    """Yield (a); N^{1/2} is the symbol D, a diagonal matrix."""
    K, d = sp.symbols("K d", integer=True, positive=True)
    W, H, G = sp.MatrixSymbol("W", K, d), sp.MatrixSymbol("H", d, K), sp.MatrixSymbol("G", K, K)
    D, O = sp.MatrixSymbol("D", K, K), sp.MatrixSymbol("O", K, K)  # noqa: E741
    lW, lH = sp.symbols("l_W l_H", nonnegative=True)
    scale = D if root == sp.S.Half else D * D
    scaled, residual = H * scale, G * O * scale

    def vanish(e: sp.MatrixExpr) -> sp.Basic:
        return vanish_matrix(e.doit().expand().subs({D.T: D, O.T: O}).doit().expand().subs(D * O, O * D).doit())

    yield identity(
        "With D = N^{1/2}, diagonal, H~ = H D and R = G O D: the velocity of W is R H~^T - lW W ...",
        G * D * D * O * H.T - lW * W,
        residual * scaled.T - lW * W,
        ALL_MATRICES,
        by=lambda e: vanish(e.subs(D * D * O, O * D * D)),
    ).on("groups.loss", name="classifier")
    yield identity(
        "... that of H~ is W^T R - lH H~: n and o occur only in R.",
        (W.T * G * O - lH * H) * scale,
        W.T * residual - lH * scaled,
        ALL_MATRICES,
        by=vanish,
    ).on("groups.loss", name="features")
    dW, dH = residual * scaled.T, W.T * residual
    yield identity(
        "So W^T W - H~ H~^T = W^T W - H N H^T is conserved without decay.",
        dW.T * W + W.T * dW,
        dH * scaled.T + scaled * dH.T,
        ALL_MATRICES,
        by=vanish,
    ).on(".classifier", ".features")
    c = sp.symbols("n1:4", positive=True)
    h = sp.Matrix(2, 3, sp.symbols("h:6", real=True))
    both = h * sp.diag(*(v**root for v in c))
    yield identity(
        "The decay of all samples, sum_c n_c |h_c|^2, is |H~|^2 (shown on three columns).",
        sum(c[k] * h[r, k] ** 2 for r in range(2) for k in range(3)),
        sum(v**2 for v in both),
        "three columns, symbolic n",
    )


def _equal_samples(sign: int, mean_time: int, time: sp.Expr | None) -> Iterator[Step]:
    """Yield (b): powers of n on both sides of each equation."""
    n, K, L = sp.symbols("n K L", positive=True)
    p, q, r = sp.symbols("p q r", real=True)  # W_l = n^p V_l, H = n^q U, τ = n^r t
    reductions = {"sum": (sp.S.Zero, sp.S.One), "mean": (sp.S.NegativeOne, 1 / K)}
    for name, (weight, plain) in reductions.items():
        power_W, power_H = sign / (2 * L), -sign * (L - 1) / (2 * L)
        power_t = (1 - 1 / L if time is None else time) + (0 if mean_time else weight)
        here = {p: power_W, q: power_H, r: power_t}
        # the other layers of a product, and the residual of n samples of weight n^weight * plain, against the plain one
        classifier = n ** (p + r) * plain, n * n**weight * plain * n ** ((L - 2) * p + q)
        features = n ** (q + r) * plain, n**weight * plain * n ** ((L - 1) * p)
        logits = n ** ((L - 1) * p + q), sp.S.One
        yield entries(
            f'"{name}": W_l = n^p V_l moves by n^(p+r) times the plain velocity, which must be n o times the powers of '
            "the other layers; H = n^q U by n^(q+r), which must be o times those of all others; the logits stay.",
            [(left.subs(here), right.subs(here)) for left, right in (classifier, features, logits)],
            L_LAYERS,
            by=lambda e: sp.simplify(sp.powsimp(sp.expand_power_exp(sp.expand(e)))),
        ).on("groups.loss")
        equations = [
            p + r - (1 + weight + (L - 2) * p + q),
            q + r - (weight + (L - 1) * p),
            (L - 1) * p + q,
        ]
        (solution,) = sp.linsolve(equations, (p, q, r))
        yield entries(
            f'"{name}": three linear equations for the exponents, with this one solution.',
            [(found, here[name]) for found, name in zip(solution, (p, q, r), strict=True)],
            L_LAYERS,
        )
        yield entries(
            f'"{name}": two layers: W = n^(1/4) V, H = n^(-1/4) U, τ = n^({sp.S.Half + weight}) t.',
            [
                (here[x].subs(L, 2), value)
                for x, value in ((p, sp.Rational(1, 4)), (q, -sp.Rational(1, 4)), (r, sp.S.Half + weight))
            ],
            SCALAR,
        )
    l, v, w = sp.symbols("l v w", positive=True)  # noqa: E741
    yield identity(
        "Decay: dW/dt = ... - l W becomes dV/dτ = ... - l n^(-r) V.",
        (-l * n**p * v) / n ** (p + r),
        -l * n ** (-r) * v,
        SCALAR,
        by=sp.simplify,
    )
    yield identity(
        "Balanced, a^2 = n b^2, with a = n^(1/4) v and b = n^(-1/4) w: v^2 = w^2.",
        (n ** (sp.Rational(sign, 4)) * v) ** 2 - n * (n ** (-sp.Rational(sign, 4)) * w) ** 2,
        sp.sqrt(n) * (v**2 - w**2),
        SCALAR,
    )


check = residuals_of(derivation)
