"""The landscape of cross-entropy with weight decay: balance, strict saddles, global minima.

Setting. f(W, H, b) = loss(W H + b) + (lW/2)|W|^2 + (lH/2)|H|^2 + (lb/2)|b|^2, the loss convex, g its
gradient in the logits, 1^T g = 0.

Theorem. At a critical point lW W = -g H^T and lH H = -W^T g, so

    lW W^T W = lH H H^T  and  1^T W = 0.

Let μ = (lW+lH)/2 - sqrt(((lW-lH)/2)^2 + |g|^2), |g| the spectral norm. The second derivative of f is
at least μ |D|^2 in every direction D of (W, H), at any point. Let W a = 0 for a unit vector a (there is
one if d > rank W) and u, v be top singular vectors of g. Then D_W = r u a^T, D_H = -a v^T / r, r =
(lH/lW)^{1/4}, has the second derivative 2 (sqrt(lW lH) - |g|), and with other lengths of the two parts
the second derivative is μ |D|^2. So, where |g| > sqrt(lW lH), μ < 0 is the smallest eigenvalue of the
Hessian. A critical point is a global minimum if and only if |g| <= sqrt(lW lH), in any such width.

Proof of the last line. "Only if" is the direction. "If": (lW |W|^2 + lH |H|^2)/2 >= sqrt(lW lH) |W H|_*,
the nuclear norm, with equality where both are balanced; at a critical point this equals -<g, W H>; and
for any other (W', H'), with Z = W H + b and Z' = W' H' + b', loss(Z') >= loss(Z) + <g, Z' - Z> by
convexity, while <-g, W' H'> <= |g| |W' H'|_*. The bias adds lb |b' - b|^2/2 >= 0.

Source: arXiv:2105.02375 for strict saddles and the global minimum (abstract); [ceflow] for the smallest
eigenvalue and for unequal decays in this form.
"""

from __future__ import annotations

from collections.abc import Iterator

import sympy as sp

from ._proof import (
    ALL_MATRICES,
    SCALAR,
    Step,
    identity,
    nonnegative,
    residuals_of,
    vanish,
    vanish_matrix,
)
from ._quoted import DUALITY, NUCLEAR
from ._sums import normal

WRONG = {
    "curvature sqrt(lW lH) - |g|": {"curvature": 1},
    "r = (lH/lW)^{1/2}": {"root": 2},
    "lH W^T W = lW H H^T": {"swapped": 1},
    "root without the difference of decays": {"spread": 0},
}


def derivation(curvature: int = 2, root: int = 4, swapped: int = 0, spread: int = 1) -> Iterator[Step]:
    """Yield the proof; arguments are the factor of the curvature, the root in r, whether decays change places in the
    balance, and whether their difference is in the eigenvalue."""
    yield from _critical(swapped)
    yield from _second_derivative()
    yield from _direction(curvature, root)
    yield from _bound(spread)
    yield from _global()


def _critical(swapped: int) -> Iterator[Step]:
    K, d, N = sp.symbols("K d N", integer=True, positive=True)
    W, H, g = sp.MatrixSymbol("W", K, d), sp.MatrixSymbol("H", d, N), sp.MatrixSymbol("g", K, N)
    one, a = sp.MatrixSymbol("1", K, 1), sp.MatrixSymbol("a", d, 1)
    lW, lH = sp.symbols("l_W l_H", positive=True)
    slope_W, slope_H = lW * W + g * H.T, lH * H + W.T * g
    first, second = (lH, lW) if swapped else (lW, lH)
    yield identity(
        "W^T times the gradient in W, less the gradient in H times H^T: both are 0 at a critical point, so lW W^T W = "
        "lH H H^T.",
        W.T * slope_W - slope_H * H.T,
        first * W.T * W - second * H * H.T,
        ALL_MATRICES,
        by=vanish_matrix,
    ).on("reduction.W", "reduction.H", name="balance")
    yield identity(
        "The columns of g have the sum 0: 1^T times the gradient in W leaves lW 1^T W = 0, and the rank of W is at "
        "most K - 1.",
        one.T * slope_W - (one.T * g) * H.T,
        lW * one.T * W,
        ALL_MATRICES,
        by=vanish_matrix,
    ).on("reduction.W")
    yield identity(
        "Where W a = 0, the gradient in H leaves lH a^T H = 0.",
        a.T * slope_H - (W * a).T * g,
        lH * a.T * H,
        ALL_MATRICES,
        by=vanish_matrix,
    ).on("reduction.H", name="kernel")
    yield identity(
        "The sum of the two products, and its trace: lW |W|^2 + lH |H|^2 = -2 <g, W H> at a critical point.",
        W.T * slope_W + slope_H * H.T,
        lW * W.T * W + lH * H * H.T + 2 * W.T * g * H.T,
        ALL_MATRICES,
        by=vanish_matrix,
    ).on("reduction.W", "reduction.H", name="sum")


def _second_derivative() -> Iterator[Step]:
    K, d, N = sp.symbols("K d N", integer=True, positive=True)
    W, U = sp.MatrixSymbol("W", K, d), sp.MatrixSymbol("D_W", K, d)
    H, Y = sp.MatrixSymbol("H", d, N), sp.MatrixSymbol("D_H", d, N)
    e = sp.Symbol("ε", real=True)
    yield identity(
        "Along D the logits are W H + ε (D_W H + W D_H + D_b) + ε^2 D_W D_H: the second derivative of f is that of the "
        "loss along its first-order change, plus 2 <g, D_W D_H> + lW |D_W|^2 + lH |D_H|^2 + lb |D_b|^2.",
        (W + e * U) * (H + e * Y),
        W * H + e * (U * H + W * Y) + e**2 * U * Y,
        ALL_MATRICES,
        by=vanish_matrix,
    ).on(name="second")
    j, n0 = sp.symbols("j n0", integer=True)
    p, x = sp.IndexedBase("p", positive=True), sp.IndexedBase("x", real=True)
    ones = {sp.Sum(p[n0], (n0, 1, K)): sp.S.One}
    mean = sp.Sum(p[j] * x[j], (j, 1, K))
    m = sp.Symbol("m", real=True)
    yield nonnegative(
        "For cross-entropy the first part is a variance in each column, sum p x^2 - m^2 with m = sum p x, not "
        "negative.",
        sp.Sum(p[j] * x[j] ** 2, (j, 1, K)) - 2 * m * mean + m**2,
        sp.Sum(p[j] * (x[j] - m) ** 2, (j, 1, K)),
        "every K, symbolic",
        by=lambda e: vanish(normal(e, []).xreplace(ones)),
    ).on(".second", "contraction.Hessian", name="variance")


def _direction(curvature: int, root: int) -> Iterator[Step]:
    lW, lH, sigma = sp.symbols("l_W l_H σ", positive=True)
    r = (lH / lW) ** sp.Rational(1, root)
    K, d, N = sp.symbols("K d N", integer=True, positive=True)
    u, a, v = (sp.MatrixSymbol(name, n, 1) for name, n in (("u", K), ("a", d), ("v", N)))
    g = sp.MatrixSymbol("g", K, N)
    norm = {a.T * a: sp.Identity(1)}
    yield identity(
        "D_W = r u a^T, D_H = -a v^T / r with a^T a = 1: g (D_W D_H)^T = -g v u^T, and its trace <g, D_W D_H> is "
        "-u^T g v = -|g|.",
        (g * ((u * a.T) * (-a * v.T)).T).subs(norm).doit(),
        -g * v * u.T,
        ALL_MATRICES,
        by=lambda e: vanish_matrix(e.doit().expand().subs(norm).doit()),
    ).on(".second", name="direction")
    yield identity(
        "D_W H = 0 and W D_H = 0, so the only term of the loss is 2 <g, D_W D_H> = -2 σ, σ = |g|; with |D_W| = r "
        "and |D_H| = 1/r the second derivative is 2 (sqrt(lW lH) - σ).",
        lW * r**2 + lH / r**2 - 2 * sigma,
        curvature * (sp.sqrt(lW * lH) - sigma),
        SCALAR,
        by=lambda e: vanish(sp.powdenest(sp.expand(e), force=True)),
    ).on(".direction", ".kernel")


def _bound(spread: int) -> Iterator[Step]:
    lW, lH, sigma = sp.symbols("l_W l_H σ", positive=True)
    mu = (lW + lH) / 2 - sp.sqrt(spread * ((lW - lH) / 2) ** 2 + sigma**2)
    yield identity("μ is an eigenvalue of [[lW, -σ], [-σ, lH]].", (lW - mu) * (lH - mu), sigma**2, SCALAR).on(
        name="eigenvalue"
    )
    a, b = sp.symbols("α β", nonnegative=True)
    p, q = sp.symbols("p q", positive=True)
    yield nonnegative(
        "2 <g, D_W D_H> >= -2 σ α β with α = |D_W|, β = |D_H|. With p = lW - μ > 0, q = lH - μ > 0 and σ = sqrt(p q), "
        "what is left of the second derivative over μ (α^2 + β^2) is a square; it is 0 for α : β = sqrt(q) : sqrt(p), "
        "which the direction above, with these lengths, attains.",
        p * a**2 + q * b**2 - 2 * sp.sqrt(p * q) * a * b,
        (sp.sqrt(p) * a - sp.sqrt(q) * b) ** 2,
        SCALAR,
    ).on(".variance", ".eigenvalue", ".direction", quotes=(DUALITY, NUCLEAR))
    yield identity(
        "μ < 0 if and only if σ^2 > lW lH: the product of the two eigenvalues is lW lH - σ^2, and the larger one is "
        "positive.",
        mu * (lW + lH - mu),
        lW * lH - sigma**2,
        SCALAR,
    ).on(".eigenvalue")


def _global() -> Iterator[Step]:
    lW, lH = sp.symbols("l_W l_H", positive=True)
    w, h = sp.symbols("w h", nonnegative=True)
    yield nonnegative(
        "Decay over the nuclear norm: |W H|_* <= |W| |H|, and for w = |W|, h = |H| the difference is a square.",
        (lW * w**2 + lH * h**2) / 2 - sp.sqrt(lW * lH) * w * h,
        (sp.sqrt(lW) * w - sp.sqrt(lH) * h) ** 2 / 2,
        SCALAR,
    ).on(".sum", name="nuclear", quotes=(NUCLEAR,))
    c, excess, size = sp.symbols("c q z", nonnegative=True)
    yield nonnegative(
        "With c = sqrt(lW lH) = |g| + q, q >= 0: c |Z'|_* - |g| |Z'|_* is not negative, so f' - f >= 0.",
        c * size - (c - excess) * size,
        excess * size,
        SCALAR,
    ).on(".balance", ".sum", ".nuclear", "contraction.Hessian", quotes=(DUALITY,))
    lb, b, move = sp.symbols("l_b b δ", real=True)
    decay = sp.Symbol("l_b", nonnegative=True)
    yield nonnegative(
        "The bias: its decay lies above its tangent, whose slope -g 1 = lb b cancels in <g, Z' - Z>.",
        (lb * (b + move) ** 2 / 2 - lb * b**2 / 2 - lb * b * move).xreplace({lb: decay}),
        decay * move**2 / 2,
        SCALAR,
    )


check = residuals_of(derivation)
