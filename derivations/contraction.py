"""Samples of one class come together: contraction of the differences within a class.

Setting. Sample i has the features h_i, the logits z_i = W h_i + b, the loss ℓ(z_i), with one
function ℓ and one weight o for all samples of a class, and moves by dh_i/dt = -o W^T ∇ℓ(z_i) - lH
h_i. W and b may move in any way, and W may be a product of linear layers.

Theorem. For two samples of one class, ε = h_i - h_j, whatever convex ℓ,

    d/dt |ε|^2 = -2 lH |ε|^2 - 2 o (z_i - z_j)^T (∇ℓ(z_i) - ∇ℓ(z_j)) <= -2 lH |ε|^2.

So |h_i - h_j| <= e^{-lH t} times its start, and the variability within classes, the numerator of
NC1, with it: without decay it does not grow. For cross-entropy, with or without logit adjustment,
the second term is exact:

    (z_i - z_j)^T (∇ℓ(z_i) - ∇ℓ(z_j)) = KL(p_i | p_j) + KL(p_j | p_i),

p the softmax: the symmetric divergence of the predictions for the two samples. It is 0 only for p_i = p_j.

Proof in general. Convex functions have monotone gradients: the product is the integral of D^T Hess
ℓ(z_j + u D) D over 0 < u < 1, D = z_i - z_j. Samples of two classes have different ℓ, samples of
different weight different o, and neither is covered.

Source: [ceflow].
"""

from __future__ import annotations

from collections.abc import Iterator

import sympy as sp

from ._proof import (
    ALL_MATRICES,
    SCALAR,
    MeanExp,
    Step,
    gap_lemmas,
    identity,
    nonnegative,
    open_gaps,
    residuals_of,
    vanish,
    vanish_matrix,
)
from ._quoted import MONOTONE
from ._sums import normal

SYMBOLIC = "every K, symbolic"

WRONG = {
    "rate -4 lH": {"rate": 4},
    "one divergence instead of both": {"both": 0},
    "samples of two classes": {"classes": 2},
    "samples of different weights": {"weights": 2},
}


def derivation(rate: int = 2, both: int = 1, classes: int = 1, weights: int = 1) -> Iterator[Step]:
    """Yield the proof.

    Arguments are the factor of lH, whether KL(p_j | p_i) is counted, and whether the two samples have two classes or
    two weights.
    """
    yield from _distance(rate, weights)
    yield from _divergence(both, classes)
    yield from _convex()


def _distance(rate: int, weights: int) -> Iterator[Step]:
    """Yield the derivative of the distance, for any gradients of the loss."""
    K, d = sp.symbols("K d", integer=True, positive=True)
    W = sp.MatrixSymbol("W", K, d)
    h, k = sp.MatrixSymbol("h_i", d, 1), sp.MatrixSymbol("h_j", d, 1)
    g, f = sp.MatrixSymbol("g_i", K, 1), sp.MatrixSymbol("g_j", K, 1)
    b = sp.MatrixSymbol("b", K, 1)
    o, lH = sp.Symbol("o", positive=True), sp.Symbol("l_H", nonnegative=True)
    other = o if weights == 1 else sp.Symbol("o_j", positive=True)
    gap = h - k
    speed = (-o * W.T * g - lH * h) - (-other * W.T * f - lH * k)
    yield identity(
        "With g = ∇ℓ(z): ε moves by -o W^T (g_i - g_j) - lH ε, and z_i - z_j = W ε, for b drops out; so d|ε|^2/dt "
        "= 2 ε^T dε/dt.",
        2 * gap.T * speed,
        -rate * lH * gap.T * gap - 2 * o * (W * h + b - (W * k + b)).T * (g - f),
        ALL_MATRICES,
        by=vanish_matrix,
    ).on("reduction.H", name="distance")


def _divergence(both: int, classes: int) -> Iterator[Step]:
    """Yield the exact difference term of cross-entropy, with symbolic K."""
    K = sp.Symbol("K", integer=True, positive=True)
    j, c, step = *sp.symbols("j c", integer=True), sp.Symbol("ε", real=True)
    p, q, z, y, delta, X = (sp.IndexedBase(name, real=True) for name in ("p", "q", "z", "y", "δ", "X"))
    S = sp.Symbol("S", positive=True)

    def total(term: sp.Expr) -> sp.Expr:
        return sp.Sum(term, (j, 1, K))

    loss = sp.log(total(sp.exp(z[j] + step * X[j] + delta[j]))) - z[c] - step * X[c] - delta[c]
    slope = sp.diff(loss, step).xreplace({step: sp.S.Zero})
    softmax = {total(sp.exp(z[j] + delta[j])): S, p[j]: sp.exp(z[j] + delta[j]) / S}
    yield identity(
        "Cross-entropy of class c with logit adjustment: ∇ℓ = p - e_c. The difference of two gradients is p_i - p_j "
        "(e_c is the same).",
        slope,
        total(p[j] * X[j]) - X[c],
        SYMBOLIC,
        by=lambda e: vanish(normal(e.xreplace(softmax), [])),
    ).on(name="gradient")
    A, B = sp.symbols("S_i S_j", positive=True)  # p_j = exp(z_j + δ_j)/S_i, q_j = exp(y_j + δ_j)/S_j, both of sum 1
    ratio = z[j] - sp.log(A) - (y[j] - sp.log(B))
    other = sp.Symbol("c_j", integer=True)
    labels = 0 if classes == 1 else z[c] - y[c] - z[other] + y[other]
    bound = sp.Symbol("n0", integer=True)  # the index of sums in normal form
    ones = {sp.Sum(base[bound], (bound, 1, K)): sp.S.One for base in (p, q)}
    yield identity(
        "With x = log p_i - log p_j = (z_i - z_j) - log S_i + log S_j, entry by entry (δ drops out), and sum p_i = "
        "sum p_j = 1, the partition sums drop out: (z_i - z_j)^T (p_i - p_j) = KL(p_i | p_j) + KL(p_j | p_i).",
        total((z[j] - y[j]) * (p[j] - q[j])) - labels,
        total(p[j] * ratio) - both * total(q[j] * ratio),
        SYMBOLIC,
        by=lambda e: vanish(normal(e, []).xreplace(ones)),
    ).on(".gradient", name="divergence")
    yield from gap_lemmas(MeanExp)
    weight, x = sp.Symbol("q", positive=True), sp.Symbol("x", real=True, nonzero=True)
    yield nonnegative(
        "Term by term it is not negative: p_i = p_j e^x, and (p_i - p_j) x = p_j x^2 ε₁(x), 0 only for x = 0.",
        (weight * sp.exp(x) - weight) * x,
        weight * x**2 * MeanExp(x),
        SCALAR,
        by=lambda e: vanish(open_gaps(e)),
    ).on(".distance", ".divergence", ".ε₁", quotes=(MONOTONE,))


def _convex() -> Iterator[Step]:
    """Yield the integral that makes the gradient of any convex function monotone, and the Hessian of cross-entropy."""
    u = sp.Symbol("u", real=True)
    phi = sp.Function("φ")
    yield identity(
        "Any convex ℓ: on the segment z_j + u (z_i - z_j), φ(u) = ℓ, φ' = (z_i - z_j)^T ∇ℓ, so φ'(1) - φ'(0) is the "
        "integral of φ'' >= 0.",
        sp.Integral(sp.diff(phi(u), u, 2), (u, 0, 1)).doit(),
        sp.diff(phi(u), u).subs(u, 1) - sp.diff(phi(u), u).subs(u, 0),
        "every convex loss, twice differentiable",
    ).on(".distance", quotes=(MONOTONE,))
    K = sp.Symbol("K", integer=True, positive=True)
    j, k, bound = *sp.symbols("j k", integer=True), sp.Symbol("n0", integer=True)
    z, D, p = sp.IndexedBase("z", real=True), sp.IndexedBase("D", real=True), sp.IndexedBase("p", positive=True)
    S, step = sp.Symbol("S", positive=True), sp.Symbol("ε", real=True)
    loss = sp.log(sp.Sum(sp.exp(z[j] + step * D[j]), (j, 1, K)))
    second = sp.diff(loss, step, 2).xreplace({step: sp.S.Zero})
    second = second.xreplace({sp.Sum(sp.exp(z[j]), (j, 1, K)): S}).xreplace({sp.exp(z[j]): S * p[j]})
    yield nonnegative(
        "Cross-entropy: its second derivative along D is the variance of D under p, a sum of squares over pairs.",
        second,
        sp.Sum(p[j] * p[k] * (D[j] - D[k]) ** 2 / 2, (j, 1, K), (k, 1, K)),
        SYMBOLIC,
        by=lambda e: vanish(normal(e, []).xreplace({sp.Sum(p[bound], (bound, 1, K)): sp.S.One})),
    ).on(name="Hessian")


check = residuals_of(derivation)
