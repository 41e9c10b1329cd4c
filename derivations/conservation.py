"""Conservation laws, for any loss of the logits and for cross-entropy.

Theorem. Along dW/dt = G H^T, dH/dt = W^T G, for every K x K matrix G (so for every loss of Z = W
H):

    W^T W - H H^T is constant.

If 1^T G = 0, as for G = I - softmax by columns, then 1^T W, the sum of the classifier's rows, is
constant too. On aligned factors with singular values a_i, b_i, da_i/dt = b_i lambda_i and db_i/dt =
a_i lambda_i, so a_i^2 - b_i^2 is constant, and with Lambda_i the integral of lambda_i from time 0

    s_i = a_i b_i = ( (a_i(0) + b_i(0))^2 e^{2 Lambda_i} - (a_i(0) - b_i(0))^2 e^{-2 Lambda_i} ) / 4.

s_i increases along every orbit except the equilibrium a_i = b_i = 0.

Source: arXiv:1312.6120; the conserved row sum and the form in Lambda are [ceflow].
"""

from __future__ import annotations

from collections.abc import Iterator

import sympy as sp

from ._proof import ALL_MATRICES, SCALAR, Step, identity, nonnegative, residuals_of, vanish_matrix

WRONG = {
    "the sum W^T W + H H^T": {"sign": 1},
    "s without the factor 1/4": {"quarter": 1},
}


QUARTER = sp.Rational(1, 4)


def singular_value(a0: sp.Expr, b0: sp.Expr, Lambda: sp.Expr, quarter: sp.Expr = QUARTER) -> sp.Expr:
    """Return s = a b after the integrated force Lambda, from a0 and b0."""
    return quarter * ((a0 + b0) ** 2 * sp.exp(2 * Lambda) - (a0 - b0) ** 2 * sp.exp(-2 * Lambda))


def derivation(sign: int = -1, quarter: sp.Expr = QUARTER) -> Iterator[Step]:
    """Yield the proof; arguments are the sign between W^T W and H H^T, and the factor of s in the form in Lambda."""
    K, d = sp.symbols("K d", integer=True, positive=True)
    W, H, G = sp.MatrixSymbol("W", K, d), sp.MatrixSymbol("H", d, K), sp.MatrixSymbol("G", K, K)
    dW, dH = G * H.T, W.T * G
    yield identity(
        "d(W^T W)/dt and d(H H^T)/dt are the same matrix, W^T G H^T + H G^T W; G need not be symmetric.",
        dW.T * W + W.T * dW,
        -sign * (dH * H.T + H * dH.T),
        ALL_MATRICES,
        by=vanish_matrix,
    ).on("reduction.W", "reduction.H", name="balance")
    ones = sp.OneMatrix(1, K)
    P = sp.MatrixSymbol("P", K, K)
    yield identity(
        "The columns of a softmax p sum to 1, 1^T p = 1^T; so 1^T dW/dt = 1^T (I - p) H^T = 0.",
        ones * (sp.Identity(K) - P) * H.T,
        sp.ZeroMatrix(1, d),
        ALL_MATRICES,
        by=lambda e: vanish_matrix(e.doit().expand().subs(ones * P * H.T, ones * H.T)),
    ).on("reduction.loss", "reduction.W")
    a, b, lam, t = sp.symbols("a b λ t", real=True)
    da, db = b * lam, a * lam
    yield identity("Mode by mode: d(a^2 - b^2)/dt.", 2 * a * da + sign * 2 * b * db, sp.S.Zero, SCALAR).on(
        "reduction.modes", name="modes"
    )
    a0, b0 = sp.symbols("a_0 b_0", real=True)
    Lambda = sp.Function("Λ", real=True)(t)
    A = ((a0 + b0) * sp.exp(Lambda) + (a0 - b0) * sp.exp(-Lambda)) / 2
    B = ((a0 + b0) * sp.exp(Lambda) - (a0 - b0) * sp.exp(-Lambda)) / 2
    yield identity(
        "a + b grows with rate lambda and a - b decays with it, so these solve da/dt = b lambda, lambda = dΛ/dt ...",
        sp.diff(A, t),
        B * sp.diff(Lambda, t),
        SCALAR,
    ).on("reduction.modes")
    yield identity(
        "... and db/dt = a lambda, from a_0 and b_0 at Λ = 0.", sp.diff(B, t), A * sp.diff(Lambda, t), SCALAR
    ).on("reduction.modes")
    yield identity("Their product is s.", A * B, singular_value(a0, b0, Lambda, quarter), SCALAR)
    yield nonnegative(
        "ds/dΛ = a^2 + b^2 is a sum of squares.",
        sp.diff(singular_value(a0, b0, Lambda, quarter), Lambda),
        A**2 + B**2,
        SCALAR,
    )


check = residuals_of(derivation)
