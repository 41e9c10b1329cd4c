"""The first stage of training from a small random start: W aligns with H^T.

Theorem. At the origin the softmax is uniform, G = G_0 = I - J/K, and to first order dW/dt = G_0
H^T, dH^T/dt = G_0 W. Hence, with A = G_0 (W + H^T)/2 and B = G_0 (W - H^T)/2 at t = 0,

    G_0 W = e^t A + e^{-t} B,    G_0 H^T = e^t A - e^{-t} B,    the rest of W and of H^T is constant,
    G_0 W H G_0 = e^{2t} A A^T + (B A^T - A B^T) - e^{-2t} B B^T.

The sum grows like e^t, the difference decays like e^{-t}, the relative misalignment like e^{-2t}.
The antisymmetric part of the centered logits is constant; relative to the symmetric part, which
becomes positive semi-definite of rank min(d, K-1), it decays like e^{-2t}. With h = H 1/K, the
whole Z = G_0 W H G_0 + G_0 W h 1^T + a constant in every column: its uncentered part grows like e^t
only, so relative to Z the asymmetry of Z itself decays like e^{-t}.

1^T W is constant exactly, at all times. H 1 is constant only to first order.

Next order. G = G_0 - G_0 Z/K + O(Z^2). On W = H^T with centered columns this is again symmetric, so
the form is kept through this order: dZ/dt = 2 (Z - Z^2/K), the singular vectors do not move,
ds_i/dt = 2 s_i (1 - s_i/K), and for V of the K - 1 singular values

    dV/dt = -(2/(K (K-1) s̄)) sum_i (s_i - s̄)^2 <= 0,

for any symmetric positive semi-definite centered Z: no scheme is needed. To first order V is constant, since all s_i
grow by the same factor. Beyond that order a symmetric Z has in general no symmetric softmax (columns are normalized one
by one), so W = H^T is not invariant, and that V decreases along the full flow is an observation, not a theorem.

Source: arXiv:1312.6120 for the linear stage; [ceflow] for the next order.
"""

from __future__ import annotations

from collections.abc import Iterator

import sympy as sp

from . import lyapunov
from ._proof import ALL_MATRICES, RATIONAL, SCALAR, Step, entries, identity, nonnegative, residuals_of, vanish
from ._sums import Generic, normal

WRONG = {
    "W - H^T grows": {"growing": -1},
    "next order with G_0 Z instead of G_0 Z/K": {"classes_power": 0},
}

_G0 = sp.Symbol("G_0", commutative=False)


def _project(expr: sp.Expr) -> sp.Expr:
    """Expand a polynomial in matrices, using G_0^2 = G_0."""
    expr = sp.expand(expr.rewrite(sp.exp))
    while (reduced := sp.expand(expr.subs(_G0**2, _G0))) != expr:
        expr = reduced
    return expr


def centered_factors(t: sp.Expr, A: sp.Expr, B: sp.Expr) -> tuple[sp.Expr, sp.Expr]:
    """Return G_0 W and G_0 H^T at time t of the first-order flow."""
    return sp.exp(t) * A + sp.exp(-t) * B, sp.exp(t) * A - sp.exp(-t) * B


def derivation(growing: int = 1, classes_power: int = 1) -> Iterator[Step]:
    """Yield the proof; arguments are the sign between the growing factors, and the power of K in the next order."""
    K = sp.Symbol("K", integer=True, positive=True)
    x, y, w = sp.symbols("x y w", integer=True)
    g0 = sp.KroneckerDelta(x, y) - 1 / K
    yield identity(
        "G_0 = I - J/K is a projector: the entries of its square.",
        sp.Sum(g0 * g0.xreplace({x: y, y: w}), (y, 1, K)),
        sp.KroneckerDelta(x, w) - 1 / K,
        "every K, symbolic",
        by=lambda e: vanish(normal(e, [])),
    ).on(name="projector")
    t = sp.Symbol("t", real=True)
    W0, X0 = sp.symbols("W_0 X_0", commutative=False)
    stay_W, stay_X = W0 - _G0 * W0, X0 - _G0 * X0
    A, B = _G0 * (W0 + X0) / 2, _G0 * (W0 - X0) / 2
    GW, GX = centered_factors(t, A, growing * B)
    yield identity(
        "Write X for H^T. W = (W_0 - G_0 W_0) + e^t A + e^{-t} B and X = (X_0 - G_0 X_0) + e^t A - e^{-t} B solve "
        "dW/dt = G_0 X ...",
        sp.diff(stay_W + GW, t),
        _G0 * (stay_X + GX),
        ALL_MATRICES,
        by=_project,
    ).on(".projector", "reduction.W", name="W")
    yield identity(
        "... and dX/dt = G_0 W ...", sp.diff(stay_X + GX, t), _G0 * (stay_W + GW), ALL_MATRICES, by=_project
    ).on(".projector", "reduction.H", name="X")
    yield entries(
        "... from W_0 and X_0.",
        [((stay_W + GW).subs(t, 0), W0), ((stay_X + GX).subs(t, 0), X0)],
        ALL_MATRICES,
        by=_project,
    )
    a, b, aT, bT = sp.symbols("A B A^T B^T", commutative=False)
    left, right = centered_factors(t, a, b)[0], centered_factors(t, aT, bT)[1]
    yield identity(
        "The centered logits: a growing symmetric part, a constant antisymmetric part, a decaying symmetric part.",
        left * right,
        sp.exp(2 * t) * a * aT + growing * (b * aT - a * bT) - sp.exp(-2 * t) * b * bT,
        ALL_MATRICES,
        by=lambda e: sp.expand(sp.expand(e)),
    ).on(".W", ".X")
    W, H = sp.symbols("W H", commutative=False)
    yield identity(
        "The whole Z: its centered part of order e^{2t}; (G_0 W)(H - H G_0), of order e^t (H - H G_0 is constant); and "
        "a part that is constant in every column, to which the softmax is invariant.",
        W * H,
        _G0 * W * H * _G0 + _G0 * W * (H - H * _G0) + (W * H - _G0 * W * H),
        ALL_MATRICES,
        by=_project,
    ).on(".projector", ".W", ".X")
    yield from _next_order(classes_power)


def _next_order(classes_power: int) -> Iterator[Step]:
    g = Generic()
    K = g.K
    scale = K**classes_power
    j, c, step = g.j, sp.Symbol("c", integer=True), sp.Symbol("ε", real=True)
    Z = sp.IndexedBase("Z", real=True)
    softmax = sp.exp(step * Z[j, c]) / sp.Sum(sp.exp(step * Z[j, c]), (j, 1, K))
    first = sp.diff(softmax, step).xreplace({step: sp.S.Zero})
    yield identity(
        "The softmax to first order at Z = 0: p_jc = 1/K + (Z_jc - mean of column c)/K, that is p = J/K + G_0 Z/K.",
        first,
        (Z[j, c] - sp.Sum(Z[j, c], (j, 1, K)) / K) / scale,
        "every K, symbolic",
        by=lambda e: vanish(normal(e, [])),
    ).on("reduction.loss", name="softmax")
    W, WT = sp.symbols("W W^T", commutative=False)
    Zs = W * WT
    G = _G0 - Zs / scale

    def centered(expr: sp.Expr) -> sp.Expr:
        return sp.expand(sp.expand(expr).subs(_G0 * W, W).subs(WT * _G0, WT))

    yield identity(
        "On W = H^T, G_0 W = W: G = G_0 - W W^T/K is symmetric, W and H^T keep moving together, and Z = W W^T obeys "
        "a matrix logistic equation, whose solutions keep their eigenvectors: ds_i/dt = 2 s_i (1 - s_i/K).",
        G * W * WT + W * WT * G,
        2 * (Zs - Zs * Zs / K),
        ALL_MATRICES,
        by=centered,
    ).on(".softmax", "reduction.W", "reduction.H", name="logistic")
    t, s0 = sp.symbols("t s_0", positive=True)
    s = K / (1 + (K / s0 - 1) * sp.exp(-2 * t))
    yield identity("Every singular value is logistic.", sp.diff(s, t), 2 * s * (1 - s / scale), SCALAR).on(
        ".logistic", name="values"
    )
    change = g.derivative(lyapunov.value(g), lambda i: 2 * g.s(i) * (1 - g.s(i) / scale))
    spread = g.sum(lambda i: g.m(i) * (g.s(i) - g.sbar) ** 2)
    yield nonnegative(
        "V of these singular values (all m_i = 1 in general): -(K - 1) dV/dt is a sum of squares.",
        -(K - 1) * change,
        2 * spread / (K * g.sbar),
        "every K, symbolic",
        by=g.vanish,
    ).on("closure.axioms", ".logistic", "lyapunov.nonnegative")
    rows = sp.Matrix([[2, 1, 1], [1, 1, 1], [1, 1, 1]])  # entrywise exponential of diag(log 2, 0, 0)
    P = sp.Matrix(3, 3, lambda i, j: rows[i, j] / sum(rows[:, j]))
    yield entries(
        "Beyond this order symmetry is not kept: the softmax of the symmetric Z = diag(log 2, 0, 0) has p_12 - p_21 "
        "= 1/3 - 1/4.",
        [(P[0, 1] - P[1, 0], sp.Rational(1, 12))],
        "one exact example, K = 3",
        how=RATIONAL,
    )


check = residuals_of(derivation)
