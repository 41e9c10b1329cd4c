"""Regression on two linear layers: modes of any targets, exact solutions, the minimum, and how features collapse.

Setting. T (n x M) of singular values σ_i, L = |T - W F|^2/2 + (lW/2) |W|^2 + (lH/2) |F|^2, and its flow
dW/dt = R F^T - lW W, dF/dt = W^T R - lH F, R = T - W F. c = lW lH, and r = σ - l where both decays
are l.

Theorem.

(i) An aligned start, W = U a R^T and F = R b V with T = U σ V, stays aligned, and da/dt = (σ - ab) b -
lW a, db/dt = (σ - ab) a - lH b for each mode. With s = ab, u = log(a/b): ds/dt = 2 s ((σ - s) cosh u -
(lW + lH)/2) and du/dt = -2 (σ - s) sinh u - (lW - lH).

(ii) Equal decay: D = a^2 - b^2 = D0 e^{-2lt}. If D = 0, s is logistic. Else P = (a + b)^2 = 2 w'/w with
w'' = 2 r w' + (D^2/4) w, solved by exponentials for l = 0, and for l > 0 by e^{rt} times modified
Bessel functions of order r/(2l) in z = D/(4l).

(iii) Equal decay, any matrices: W^T W - F F^T = e^{-2lt} times its start. So with the projector P on the null space of
W(t), P F F^T P = e^{-2lt} P (F0 F0^T - W0^T W0) P: the squared part of features outside of the row space of W decays at
the rate 2l for any targets, and is constant without decay.

(iv) Equal decay and W0^T W0 = F0 F0^T: with Q = [W; F^T], A = [[-l, T], [T^T, -l]], S = Q Q^T obeys
S' = A S + S A - S^2, and S = E Q0 (I + Q0^T ∫ E^2 Q0)^{-1} Q0^T E, E = e^{At}.

(v) The minimum: every mode at s_i = (σ_i - √c)_+, a/b = (lH/lW)^{1/2}, and L* the sum of c/2 + √c (σ_i -
√c) over σ_i > √c and of σ_i^2/2 over the others. A mode comes there at the rates μ with
μ^2 - σ (lW + lH)/√c μ + 4 √c (σ - √c) = 0.

Proof that (v) is the minimum. For matrices Z = W F of singular values s_i, the decay is at least
√c Σ s_i (variational form of the nuclear norm), and |T - Z|^2 >= Σ (σ_i - s_i)^2 (von Neumann's trace
inequality); what is left is one parabola in each s_i >= 0. For √c between the σ_i it is the positive
part in the eigenbasis of Sigma = T T^T that is the minimum, and not columns of the root of
Sigma^{1/2} - √c I, as an exact example shows.

Source: [ceflow]; the model, and (v) for c below all eigenvalues, are those of arXiv:2409.04180.
"""

from __future__ import annotations

from collections.abc import Iterator

import sympy as sp

from ._proof import ALL_MATRICES, RATIONAL, SCALAR, Step, entries, identity, nonnegative, residuals_of, vanish
from ._quoted import EXISTENCE, NUCLEAR, VON_NEUMANN

WRONG = {
    "logistic growth without the decay": {"growth": 0},
    "Bessel order r/l": {"order": 1},
    "imbalance decays as e^{-lt}": {"rate": 1},
    "imbalance of two different decays": {"decays": 2},
    "Riccati equation of a start that is not balanced": {"imbalance": 1},
    "threshold at σ = c": {"power": 2},
    "first columns of the root of Sigma^{1/2} - √c I": {"columns": True},
}

a, b, sigma, lW, lH, ell, s = sp.symbols("a b σ l_W l_H l s", positive=True)
t, u = sp.symbols("t u", real=True)
ANY_TARGETS = "all targets, all sizes"


def velocity(decays: tuple[sp.Expr, sp.Expr]) -> tuple[sp.Expr, sp.Expr]:
    """Return da/dt and db/dt of one mode."""
    return (sigma - a * b) * b - decays[0] * a, (sigma - a * b) * a - decays[1] * b


def derivation(
    growth: int = 1,
    order: int = 2,
    rate: int = 2,
    decays: int = 1,
    imbalance: int = 0,
    power: int = 1,
    columns: bool = False,
) -> Iterator[Step]:
    """Yield the proof.

    Arguments are the decay in the logistic growth, the divisor of the Bessel order, the rate of the imbalance in l, how
    many decays there are in (iii), whether the start of (iv) has an imbalance, the power of √c in the threshold, and
    whether the example takes columns in place of the positive part.
    """
    yield from _aligned()
    yield from _modes(growth, order)
    yield from _imbalance(rate, decays)
    yield from _riccati(imbalance)
    yield from _minimum(power)
    yield _between(columns)


def _words(names: str) -> tuple[sp.Symbol, ...]:
    """Return matrices: their products are words, with what is known of them substituted."""
    return sp.symbols(names, commutative=False)


def _reduced(expr: sp.Expr, *rules: tuple[sp.Expr, sp.Expr]) -> sp.Expr:
    """Expand, and apply the rules until nothing changes."""
    expr, before = sp.expand(expr), None
    while expr != before:
        before = expr
        expr = sp.expand(expr.subs(rules))
    return expr


def _aligned() -> Iterator[Step]:
    """Yield that aligned matrices stay aligned, and the flow of s and u."""
    U, Ut, R, Rt, V, Vt, A, B, S = _words("U U^T R R^T V V^T a b σ")
    rules = [(Ut * U, 1), (Rt * R, 1), (V * Vt, 1)]
    T, W, F = U * S * V, U * A * Rt, R * B * V
    yield entries(
        "(i) a, b, σ diagonal; U, R, V^T of orthonormal columns: the velocities have the form of W and F, with (σ - "
        "ab) b - lW a and a (σ - ab) - lH b in place of a and b.",
        [
            ((T - W * F) * Vt * B * Rt - lW * W, U * ((S - A * B) * B - lW * A) * Rt),
            (R * A * Ut * (T - W * F) - lH * F, R * (A * (S - A * B) - lH * B) * V),
        ],
        ANY_TARGETS,
        by=lambda e: _reduced(e, *rules),
    ).on("reduction.W", "reduction.H", name="aligned", quotes=(EXISTENCE,))
    da, db = velocity((lW, lH))
    layers = {a: sp.sqrt(s) * sp.exp(u / 2), b: sp.sqrt(s) * sp.exp(-u / 2)}
    yield entries(
        "The flow of s = ab and u = log(a/b).",
        [
            ((da * b + a * db).subs(layers), 2 * s * ((sigma - s) * sp.cosh(u).rewrite(sp.exp) - (lW + lH) / 2)),
            ((da / a - db / b).subs(layers), -2 * (sigma - s) * sp.sinh(u).rewrite(sp.exp) - (lW - lH)),
        ],
        SCALAR,
        by=sp.simplify,
    ).on(".aligned")


def _modes(growth: int, order: int) -> Iterator[Step]:
    """Yield the exact solutions of one mode with equal decay."""
    r, s0 = sp.Symbol("r", real=True, nonzero=True), sp.Symbol("s_0", positive=True)
    da, db = velocity((ell, ell))
    curve = s0 * sp.exp(2 * r * t) / (1 + s0 * (sp.exp(2 * r * t) - 1) / r)
    yield identity(
        "(ii) a = b: ds/dt = 2 s (r - s) with r = σ - l ...",
        (da * b + a * db).subs(b, a),
        2 * a**2 * (sigma - growth * ell - a**2),
        SCALAR,
    ).on(".aligned", name="balanced")
    yield identity("... whose solution is logistic.", sp.diff(curve, t), 2 * curve * (r - curve), SCALAR).on(
        ".balanced"
    )
    yield entries(
        "In general the difference D = (a + b)(a - b) decays by itself, and P = (a + b)^2 obeys P' = 2 r P - P^2/2 + "
        "D^2/2.",
        [
            (2 * a * da - 2 * b * db, -2 * ell * (a**2 - b**2)),
            (2 * (a + b) * (da + db), 2 * (sigma - ell) * (a + b) ** 2 - (a + b) ** 4 / 2 + (a**2 - b**2) ** 2 / 2),
        ],
        SCALAR,
    ).on(".aligned", name="Riccati")
    w, D = sp.Function("w")(t), sp.Function("D")(t)
    P = 2 * sp.diff(w, t) / w
    yield identity(
        "With P = 2 w'/w it is linear: P' - 2 r P + P^2/2 - D^2/2 = (2/w) (w'' - 2 r w' - D^2 w/4).",
        sp.diff(P, t) - 2 * r * P + P**2 / 2 - D**2 / 2,
        2 / w * (sp.diff(w, t, 2) - 2 * r * sp.diff(w, t) - D**2 * w / 4),
        SCALAR,
    ).on(".Riccati", name="linear")
    D0, z = sp.symbols("D_0 z", positive=True)
    for sign in (1, -1):
        k = r + sign * sp.sqrt(r**2 + D0**2 / 4)
        yield identity(
            "l = 0: D is constant, and w = e^{kt}, k = r ± sqrt(r^2 + D^2/4).", k**2, 2 * r * k + D0**2 / 4, SCALAR
        ).on(".Riccati", ".linear")
    nu, f = r / (order * ell), sp.Function("f")
    whole = sp.exp(r * t) * f(D0 * sp.exp(-2 * ell * t) / (4 * ell))
    fade = sp.exp(-2 * ell * t)
    left = sp.diff(whole, t, 2) - 2 * r * sp.diff(whole, t) - (D0 * fade) ** 2 / 4 * whole
    first, second = f(z).diff(z), f(z).diff(z, 2)
    yield identity(
        "l > 0: w = e^{rt} f(z), z = D/(4l), turns it into the modified Bessel equation z^2 f'' + z f' - (z^2 + ν^2) f "
        "= 0, ν = r/(2l).",
        left.doit().subs(t, sp.log(D0 / (4 * ell * z)) / (2 * ell)).doit()
        / (4 * ell**2 * (D0 / (4 * ell * z)) ** (r / (2 * ell))),
        z**2 * second + z * first - (z**2 + nu**2) * f(z),
        SCALAR,
        by=lambda e: sp.simplify(sp.powsimp(sp.expand(e), force=True)),
    ).on(".Riccati", ".linear")


def _imbalance(rate: int, decays: int) -> Iterator[Step]:
    """Yield the decay of the imbalance and its consequence for features."""
    W, Wt, F, Ft, R, Rt, P = _words("W W^T F F^T R R^T P")
    lF = ell if decays == 1 else lH
    dW, dWt = R * Ft - ell * W, F * Rt - ell * Wt
    dF, dFt = Wt * R - lF * F, Rt * W - lF * Ft
    yield identity(
        "(iii) R drops out of the derivative of W^T W - F F^T: it is -2l times itself.",
        dWt * W + Wt * dW - dF * Ft - F * dFt,
        -rate * ell * (Wt * W - F * Ft),
        ALL_MATRICES,
        by=sp.expand,
    ).on("reduction.W", "reduction.H", name="imbalance")
    yield identity(
        "Where W P = 0, P F F^T P = -P (W^T W - F F^T) P, which is -e^{-2lt} P G P with G the imbalance at the start.",
        P * F * Ft * P,
        -P * (Wt * W - F * Ft) * P,
        ALL_MATRICES,
        by=lambda e: _reduced(e, (W * P, 0)),
    ).on(".imbalance")


def _riccati(imbalance: int) -> Iterator[Step]:
    """Yield the flow of Q Q^T for balanced starts, and its solution."""
    W, Wt, F, Ft, T, Tt, gap = _words("W W^T F F^T T T^T X")
    half = (Wt * W + F * Ft) / 2
    rules = [(F * Ft, Wt * W + imbalance * gap)]
    yield entries(
        "(iv) With W^T W = F F^T, dQ/dt = A Q - Q (Q^T Q)/2: its two blocks.",
        [
            ((T - W * F) * Ft - ell * W, -ell * W + T * Ft - W * half),
            ((Tt - Ft * Wt) * W - ell * Ft, Tt * W - ell * Ft - Ft * half),
        ],
        ALL_MATRICES,
        by=lambda e: _reduced(e, *rules),
    ).on(".imbalance", name="Q")
    A, E, Q, Qt, N = _words("A E Q Q^T N^{-1}")
    S = E * Q * N * Qt * E
    speed = A * E * Q * N * Qt * E + E * Q * N * Qt * E * A - E * Q * N * (Qt * E * E * Q) * N * Qt * E
    yield identity(
        "So S' = A S + S A - S^2. With E' = A E = E A and N' = Q0^T E^2 Q0, (N^{-1})' = -N^{-1} N' N^{-1}: it is "
        "solved by S = E Q0 N^{-1} Q0^T E, N = I at the start.",
        speed,
        A * S + S * A - S * S,
        ALL_MATRICES,
        by=sp.expand,
    ).on(".Q")


def _minimum(power: int) -> Iterator[Step]:
    """Yield the bound on each mode, where it is attained, and the rates there."""
    q, gap = sp.symbols("q g", positive=True)  # q = √c
    edge = q**power
    yield nonnegative(
        "(v) Decay: (lW a^2 + lH b^2)/2 - √c ab is half a square, 0 for a/b = (lH/lW)^{1/2}.",
        (lW * a**2 + lH * b**2) / 2 - sp.sqrt(lW * lH) * a * b,
        (sp.sqrt(lW) * a - sp.sqrt(lH) * b) ** 2 / 2,
        SCALAR,
    ).on(name="decay", quotes=(NUCLEAR,))
    cost = (sigma - s) ** 2 / 2 + q * s
    yield nonnegative(
        "Above the threshold, σ > √c: what each mode costs exceeds c/2 + √c (σ - √c) by half a square, 0 at s = σ - "
        "√c.",
        cost - (q**2 / 2 + q * (sigma - q)),
        (s - (sigma - edge)) ** 2 / 2,
        SCALAR,
    ).on(".decay", quotes=(VON_NEUMANN,))
    yield nonnegative(
        "Below it, √c = σ + g with g >= 0: it exceeds σ^2/2 by terms that are not negative, 0 at s = 0.",
        cost.subs(q, sigma + gap) - sigma**2 / 2,
        s**2 / 2 + gap * s,
        SCALAR,
    ).on(".decay", quotes=(VON_NEUMANN,))
    da, db = velocity((lW, lH))
    c = sp.sqrt(lW * lH)
    size = sigma - c**power
    rest = {a: sp.sqrt(size) * (lH / lW) ** sp.Rational(1, 4), b: sp.sqrt(size) * (lW / lH) ** sp.Rational(1, 4)}
    mu = sp.Symbol("μ")
    jacobian = sp.Matrix([da, db]).jacobian([a, b])
    yield entries(
        "There the mode rests.",
        [(da.subs(rest), 0), (db.subs(rest), 0)],
        SCALAR,
        by=lambda e: sp.simplify(sp.expand(e)),
    ).on(".aligned", name="rest")
    yield identity(
        "Its linear rates: det(J + μ) = μ^2 - σ (lW + lH)/√c μ + 4 √c (σ - √c).",
        (jacobian + mu * sp.eye(2)).det().subs(rest),
        mu**2 - sigma * (lW + lH) / c * mu + 4 * c * (sigma - c),
        SCALAR,
        by=lambda e: sp.simplify(sp.expand(e)),
    ).on(".aligned", ".rest")


def _between(columns: bool) -> Step:
    """Return the gradient at the claimed minimum of an exact example with √c between the σ_i, Sigma not diagonal."""
    U = sp.Matrix([[3, -4], [4, 3]]) / 5
    T = U * sp.diag(2, sp.Rational(1, 2)) * U.T  # lW = lH = √c = 1; T is its own left and right basis
    root = U * sp.diag(1, sp.I / sp.sqrt(2)) * U.T  # of Sigma^{1/2} - √c I = U diag(1, -1/2) U^T
    positive = U * sp.diag(1, 0) * U.T
    W = sp.Matrix.hstack(root[:, 0].applyfunc(sp.re), sp.zeros(2, 1)) if columns else positive
    F = W.T * T.inv() * T  # W^T Sigma^{-1/2} T
    zero = sp.zeros(2, 2)
    return entries(
        "√c = 1 between σ = 2 and 1/2, U a rotation: with the positive part, W = F = U diag(1, 0) U^T, both gradients "
        "vanish.",
        [((T - W * F) * F.T - W, zero), (W.T * (T - W * F) - F, zero)],
        "an exact example with two outputs",
        by=vanish,
        how=RATIONAL,
    ).on("reduction.W", "reduction.H")


check = residuals_of(derivation)
