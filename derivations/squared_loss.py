"""Squared loss: the modes are independent, each with a closed-form solution.

Theorem. For L = |W H - Y|^2/2 with Y = sum_i y_i E_i, gradient flow on aligned factors is

    da_i/dt = b_i (y_i - s_i),    db_i/dt = a_i (y_i - s_i),    s_i = a_i b_i,

one equation per mode. Balanced, ds/dt = 2 s (y - s), with the solution s = y/(1 + (y/s_0 - 1) e^{-2
y t}), or s_0/(1 + 2 s_0 t) if y = 0. Unbalanced, 2 s = c sinh(theta) with c = |a^2 - b^2|: u =
e^theta solves the Riccati equation du/dt = 2 y u - (c/2)(u^2 - 1), and with kappa = sqrt(4 y^2 +
c^2), u_+- = (2 y +- kappa)/c, the ratio (u - u_+)/(u - u_-) decays like e^{-kappa t}.

The residual Y - Z takes the place of I - softmax and lies in the algebra without any closure under
entrywise functions; here schemes are not needed, only that Y and the start share singular vectors.
The constant mode is one more mode, with target y_0.

Source: arXiv:1312.6120.
"""

from __future__ import annotations

from collections.abc import Iterator

import sympy as sp

from ._proof import ALL_MATRICES, SCALAR, Step, entries, identity, residuals_of, vanish_matrix
from ._quoted import EXISTENCE
from ._schemes import complete, cyclic, hadamard

SCHEMES = (complete(3), hadamard(4), cyclic(5))

WRONG = {"rate y instead of 2 y": {"rate": 1}, "kappa without c": {"imbalance": 0}}


def balanced(t: sp.Expr, y: sp.Expr, s0: sp.Expr, rate: int = 2) -> sp.Expr:
    """Return s(t) on balanced factors, for the target y > 0."""
    return y / (1 + (y / s0 - 1) * sp.exp(-rate * y * t))


def unbalanced(t: sp.Expr, y: sp.Expr, s0: sp.Expr, c: sp.Expr, imbalance: int = 1) -> sp.Expr:
    """Return u(t) = e^{theta(t)}, with 2 s = c sinh(theta), for the imbalance c > 0; s = c (u - 1/u)/4."""
    kappa = sp.sqrt(4 * y**2 + imbalance * c**2)
    high, low = (2 * y + kappa) / c, (2 * y - kappa) / c
    u0 = (2 * s0 + sp.sqrt(4 * s0**2 + c**2)) / c
    ratio = (u0 - high) / (u0 - low) * sp.exp(-kappa * t)
    return (high - low * ratio) / (1 - ratio)


def derivation(rate: int = 2, imbalance: int = 1) -> Iterator[Step]:
    """Yield the proof; arguments are the factor of the balanced rate, and whether kappa contains c."""
    K, d = sp.symbols("K d", integer=True, positive=True)
    W, H, Y = sp.MatrixSymbol("W", K, d), sp.MatrixSymbol("H", d, K), sp.MatrixSymbol("Y", K, K)
    A, B, O = sp.MatrixSymbol("A", K, K), sp.MatrixSymbol("B", K, K), sp.MatrixSymbol("O", K, d)  # noqa: E741
    aligned = {W: A * O, H: O.T * B}
    yield identity(
        "On aligned factors W = A O, H = O^T B, O O^T = I, A and B symmetric and commuting with Y, the velocity of W "
        "is ((Y - A B) B) O: mode by mode (y_i - s_i) b_i.",
        (Y - W * H) * H.T,
        (Y - A * B) * B.T * O,
        ALL_MATRICES,
        by=lambda e: vanish_matrix(e.subs(aligned).doit().expand().subs(O * O.T, sp.Identity(K)).doit()),
    ).on("reduction.W", "reduction.H", name="modes", quotes=(EXISTENCE,))
    for scheme in SCHEMES:
        yield _gradient(scheme)
    t, y, s0, c = sp.symbols("t y s_0 c", positive=True)
    s = balanced(t, y, s0, rate)
    yield identity(
        "Balanced: the logistic solution solves ds/dt = 2 s (y - s) ...", sp.diff(s, t), 2 * s * (y - s), SCALAR
    ).on(".modes")
    yield identity("... and starts at s_0.", s.subs(t, 0), s0, SCALAR)
    zero = s0 / (1 + 2 * s0 * t)
    yield identity("For the target 0 it decays like 1/t.", sp.diff(zero, t), 2 * zero * (0 - zero), SCALAR).on(".modes")
    u = sp.Symbol("u", positive=True)
    position, speed = c * (u - 1 / u) / 4, c * (u + 1 / u) / 2
    yield identity(
        "Unbalanced: s = c (u - 1/u)/4 has a^2 + b^2 = c (u + 1/u)/2, and ds/dt = (a^2 + b^2)(y - s) becomes the "
        "Riccati equation.",
        speed * (y - position) / sp.diff(position, u),
        2 * y * u - c * (u**2 - 1) / 2,
        SCALAR,
    ).on(".modes", "mirror.speed", name="Riccati")
    kappa = sp.Symbol("κ", positive=True)
    high, low = (2 * y + kappa) / c, (2 * y - kappa) / c
    rule = sp.sqrt(4 * y**2 + imbalance * c**2)
    ratio = (u - high) / (u - low)
    yield identity(
        "If du/dt = -(c/2)(u - u_+)(u - u_-), then d log[(u - u_+)/(u - u_-)]/dt = -kappa.",
        sp.diff(sp.log(ratio), u) * (-c / 2) * (u - high) * (u - low),
        -kappa,
        SCALAR,
    ).on(name="ratio")
    yield identity(
        "And it is: u_+ and u_- are the roots of the right side of the Riccati equation, kappa = sqrt(4 y^2 + c^2).",
        (-c / 2 * (u - high) * (u - low)).subs(kappa, rule),
        2 * y * u - c * (u**2 - 1) / 2,
        SCALAR,
    ).on(".Riccati", ".ratio", name="roots")
    solution = unbalanced(t, y, s0, c, imbalance)
    yield entries(
        "Solved for u, this is the solution of the Riccati equation ...",
        [(sp.diff(solution, t), 2 * y * solution - c * (solution**2 - 1) / 2)],
        SCALAR,
    ).on(".Riccati", ".ratio", ".roots")
    start = (2 * s0 + sp.sqrt(4 * s0**2 + c**2)) / c
    yield entries("... that starts at u_0 ...", [(solution.subs(t, 0), start)], SCALAR, by=sp.simplify)
    yield identity("... where s = s_0.", c * (start - 1 / start) / 4, s0, SCALAR, by=sp.simplify)


def _gradient(scheme: object) -> Step:
    """Differentiate the loss by every entry of W and H and compare on aligned factors of width K."""
    K, D = scheme.K, scheme.D
    W, H = sp.Matrix(K, K, sp.symbols(f"w:{K * K}")), sp.Matrix(K, K, sp.symbols(f"h:{K * K}"))
    a, b, y = (sp.symbols(f"{name}0:{D + 1}", real=True) for name in "aby")
    A, B, Y = (sum((v * E for v, E in zip(values, scheme.E, strict=True)), sp.zeros(K)) for values in (a, b, y))
    G = sum(((yi - ai * bi) * E for ai, bi, yi, E in zip(a, b, y, scheme.E, strict=True)), sp.zeros(K))
    residual = W * H - Y
    at = dict(zip([*W, *H], [*A, *B], strict=True))
    pairs = []
    for variables, velocity in ((W, G * B), (H, A * G)):
        for variable, claimed in zip(variables, velocity, strict=True):
            slope = sum((r * sp.diff(r, variable) for r in residual if r.has(variable)), sp.S.Zero)
            pairs.append((-slope.xreplace(at), claimed))
    return entries(
        f"{scheme.name}: the gradient of the loss by every entry of W and H, with symbolic a, b, y.",
        pairs,
        scheme.name,
        by=sp.expand,
    )


check = residuals_of(derivation)
