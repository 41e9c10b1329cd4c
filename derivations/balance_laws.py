"""Conservation laws with samples and weights, and their form with weight decay.

Theorem. Let column c of H stand for n_c samples of weight o_c, N = diag(n), O = diag(o), and let G
be any K x K matrix, so any loss of the logits:

    dW/dt = G N O H^T - lW W,    dH/dt = W^T G O - lH H.

Without decay C = W^T W - H N H^T is constant. With equal decay l it decays, C(t) = e^{-2 l t} C(0). With unequal decay
the balance law remains,

    (d/dt + 2 lW) W^T W = (d/dt + 2 lH) H N H^T,

and with it, for lH >= lW, that e^{2 lW t} C grows (as a symmetric matrix), and that it shrinks for
lH <= lW; at rest lW W^T W = lH H N H^T. All this holds between any two layers next to each other in
a deep linear network, too.

For two groups (`groups`) the three conserved numbers are

    a_A^2 - n_A b_A^2,    a_B^2 - n_B b_B^2,    w^2 - n_A y_A^2 - n_B y_B^2,

each by itself under the same laws. At rest |a| = |b| sqrt(n lH/lW) on every mode, and lW w^2 = lH
(n_A y_A^2 + n_B y_B^2).

Source: arXiv:1312.6120 for one sample and no decay; [ceflow].
"""

from __future__ import annotations

from collections.abc import Iterator

import sympy as sp

from ._proof import ALL_MATRICES, SCALAR, Step, entries, identity, nonnegative, residuals_of, vanish_matrix
from ._quoted import MONOTONE
from .groups import TWO, Two

WRONG = {
    "a^2 - b^2 without the number of samples": {"power": 0},
    "equal decay: e^{-l t}": {"rate": 1},
    "unequal decay: e^{-2 lW t}": {"unequal": 0},
}


def derivation(power: int = 1, rate: int = 2, unequal: int = 1) -> Iterator[Step]:
    """Yield the proof.

    Arguments are the power of n in the conserved quantities, the factor of l in the rate at which they fade, and
    whether unequal decays leave a difference.
    """
    yield from _matrices(power, rate, unequal)
    yield from _two_groups(power, rate, unequal)


def _matrices(power: int, rate: int, unequal: int) -> Iterator[Step]:
    """Yield the laws for all matrices."""
    K, d = sp.symbols("K d", integer=True, positive=True)
    W, H, G = sp.MatrixSymbol("W", K, d), sp.MatrixSymbol("H", d, K), sp.MatrixSymbol("G", K, K)
    N, O = sp.MatrixSymbol("N", K, K), sp.MatrixSymbol("O", K, K)  # noqa: E741
    lW, lH = sp.symbols("l_W l_H", nonnegative=True)
    dW, dH = G * N * O * H.T - lW * W, W.T * G * O - lH * H
    counted = N if power == 1 else sp.Identity(K)
    grams = W.T * W, H * counted * H.T
    speeds = dW.T * W + W.T * dW, dH * counted * H.T + H * counted * dH.T
    diagonal = {N.T: N, O.T: O}

    def vanish(e: sp.MatrixExpr) -> sp.Basic:
        return vanish_matrix(e.doit().expand().subs(diagonal).doit().expand().subs(O * N, N * O))

    yield identity(
        "Balance law: the residual drops out of the difference, d(W^T W)/dt + 2 lW W^T W = d(H N H^T)/dt + 2 lH H N "
        "H^T, for every G; N and O are diagonal and commute.",
        speeds[0] + 2 * lW * grams[0],
        speeds[1] + 2 * lH * grams[1],
        ALL_MATRICES,
        by=vanish,
    ).on("groups.loss", name="law")
    law = sp.Symbol("l", nonnegative=True)
    yield identity(
        "Equal decay: d/dt (W^T W - H N H^T) = -2 l (W^T W - H N H^T).",
        (speeds[0] - speeds[1]).subs({lW: law, lH: law}),
        -rate * law * (grams[0] - grams[1]),
        ALL_MATRICES,
        by=vanish,
    ).on("groups.loss")
    yield identity(
        "Unequal decay: the derivative of e^{2 lW t} (W^T W - H N H^T), divided by the exponential, is 2 (lH - lW) H N "
        "H^T, a positive semi-definite matrix times the sign of lH - lW.",
        speeds[0] - speeds[1] + 2 * lW * (grams[0] - grams[1]),
        unequal * 2 * (lH - lW) * grams[1],
        ALL_MATRICES,
        by=vanish,
    ).on("groups.loss", quotes=(MONOTONE,))
    U, V, Y, X = (
        sp.MatrixSymbol(name, *shape) for name, shape in zip("UVYX", ((K, d), (d, d), (d, d), (d, K)), strict=True)
    )
    dV, dY = U.T * G * (Y * X).T, (U * V).T * G * X.T
    yield identity(
        "Deep: for neighbours V, Y in Z = U V Y X, with R = G N O in place of G, dV/dt = U^T R (Y X)^T and dY/dt = (U "
        "V)^T R X^T: V^T V - Y Y^T is constant, and has the same laws with decay.",
        dV.T * V + V.T * dV,
        dY * Y.T + Y * dY.T,
        ALL_MATRICES,
        by=vanish_matrix,
    ).on("reduction.W", "reduction.H")


def _two_groups(power: int, rate: int, unequal: int) -> Iterator[Step]:
    """Yield the laws of the seven numbers, and the equations at equilibrium."""
    two = Two()
    p_o, p_x = sp.symbols("p_oA p_oB", positive=True), sp.symbols("p_xA p_xB", positive=True)
    v = two.velocity(p_o, p_x)
    speed = {two.w: v["w"]}
    for k, name in enumerate("AB"):
        speed |= {two.a[k]: v[f"a_{name}"], two.b[k]: v[f"b_{name}"], two.y[k]: v[f"y_{name}"]}
    n = [n**power for n in two.n]
    classifier = [two.a[0] ** 2, two.a[1] ** 2, two.w**2]
    features = [n[0] * two.b[0] ** 2, n[1] * two.b[1] ** 2, n[0] * two.y[0] ** 2 + n[1] * two.y[1] ** 2]
    free, law = {two.lW: sp.S.Zero, two.lH: sp.S.Zero}, sp.Symbol("l", nonnegative=True)
    conserved = [p - q for p, q in zip(classifier, features, strict=True)]

    def derivative(e: sp.Expr) -> sp.Expr:
        return sum(sp.diff(e, x) * dx for x, dx in speed.items())

    yield entries(
        "Two groups, no decay: a_A^2 - n_A b_A^2, a_B^2 - n_B b_B^2 and w^2 - n_A y_A^2 - n_B y_B^2 are conserved.",
        [(derivative(c).subs(free), sp.S.Zero) for c in conserved],
        TWO,
    ).on("groups.classifier", "groups.features")
    yield entries(
        "Equal decay l: each decays as e^{-2 l t}.",
        [(derivative(c).subs({two.lW: law, two.lH: law}), -rate * law * c) for c in conserved],
        TWO,
    ).on("groups.classifier", "groups.features")
    yield entries(
        "Unequal decay: dc/dt = -2 lW c + 2 (lH - lW) q for each c = p - q, p the part of W and q >= 0 that of H.",
        [
            (derivative(c), -2 * two.lW * c + unequal * 2 * (two.lH - two.lW) * q)
            for c, q in zip(conserved, features, strict=True)
        ],
        TWO,
    ).on("groups.classifier", "groups.features", name="unequal")
    q, gap, t = sp.symbols("q h t", nonnegative=True)
    c, lW, grown = sp.Symbol("c", real=True), two.lW, sp.exp(2 * two.lW * t)
    yield nonnegative(
        "So for lH = lW + h, h >= 0, e^{2 lW t} c does not decrease: c(t) >= e^{-2 lW t} c(0). (For lH <= lW exchange "
        "the layers: c(t) <= e^{-2 lH t} c(0).)",
        grown * (-2 * lW * c + unequal * 2 * gap * q) + sp.diff(grown, t) * c,
        2 * gap * q * grown,
        SCALAR,
    ).on(".unequal", quotes=(MONOTONE,))
    lH, a, b, samples = sp.symbols("l_H a b n", positive=True)
    rest = sp.Symbol("l_W", positive=True)
    ratio = sp.sqrt(samples * lH / rest)
    yield identity(
        "At rest the derivatives are 0: lW p = lH q, so a/b = sqrt(n lH/lW) up to the sign.",
        (rest * a**2 - lH * samples**power * b**2).subs(a, b * ratio),
        sp.S.Zero,
        SCALAR,
    ).on(".unequal")


check = residuals_of(derivation)
