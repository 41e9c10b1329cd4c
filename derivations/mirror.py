"""Gradient flow on the factors is mirror flow on a convex loss of the singular values.

Theorem. The loss of a state on a symmetric scheme is L(s) = -K log p_0 = K log( 1 + sum_{j>0} k_j
exp(z_j - z_0) ). Then

    lambda_i = -(1/m_i) dL/ds_i,    L is convex in s,    d psi'(s_i)/dt = lambda_i,

with psi'(s) = (1/2) log s on balanced factors, s > 0, and psi'(s) = (1/2) arcsinh(2 s/c) for c =
|a_i^2 - b_i^2| > 0, any s. Their potentials are psi = (s log s - s)/2 and psi = (s/2) arcsinh(2
s/c) - sqrt(4 s^2 + c^2)/4 (the hypentropy). So L never increases, and d( m_i psi'(s_i) )/dt =
-dL/ds_i: mirror flow with potential sum_i m_i psi(s_i).

The absolute value matters: c stands for |a^2 - b^2|, since only a^2 + b^2 = sqrt(4 s^2 + c^2)
enters the velocity.

Source: arXiv:2002.09277 (hypentropy), arXiv:2512.04006; [ceflow] for schemes.
"""

from __future__ import annotations

from collections.abc import Iterator

import sympy as sp

from ._proof import SCALAR, Step, entries, identity, nonnegative, residuals_of, vanish
from ._schemes import Model, cyclic, hadamard, hamming, johnson
from ._sums import Generic

SCHEMES = (hadamard(4), cyclic(5), cyclic(6), hamming(2, 3), johnson(5, 2))

WRONG = {
    "force up the gradient": {"sign": 1},
    "arcsinh without the factor 1/2": {"half": sp.S.One},
}

HALF = sp.Rational(1, 2)


class psi(sp.Function):
    """An undetermined potential."""

    def fdiff(self, argindex: int = 1) -> sp.Expr:
        """Return psi'."""
        return dpsi(*self.args)


class dpsi(sp.Function):
    """Its first derivative."""

    def fdiff(self, argindex: int = 1) -> sp.Expr:
        """Return psi''."""
        return d2psi(*self.args)


class d2psi(sp.Function):
    """Its second derivative."""


def loss(model: Model) -> sp.Expr:
    """Return the cross-entropy, summed over the classes."""
    return -model.K * sp.log(model.p0)


def balanced_coordinate(s: sp.Expr, half: sp.Expr = HALF) -> sp.Expr:
    """Return psi'(s) of balanced factors."""
    return half * sp.log(s)


def balanced_potential(s: sp.Expr, half: sp.Expr = HALF) -> sp.Expr:
    """Return psi(s) of balanced factors."""
    return half * (s * sp.log(s) - s)


def coordinate(s: sp.Expr, c: sp.Expr, half: sp.Expr = HALF) -> sp.Expr:
    """Return psi'(s) for the imbalance c = |a^2 - b^2| > 0."""
    return half * sp.asinh(2 * s / c)


def potential(s: sp.Expr, c: sp.Expr, half: sp.Expr = HALF) -> sp.Expr:
    """Return psi(s) for the imbalance c = |a^2 - b^2| > 0."""
    return half * (s * sp.asinh(2 * s / c) - sp.sqrt(4 * s**2 + c**2) / 2)


def plain_roots(expr: sp.Expr) -> sp.Expr:
    """Write sqrt(4 s^2/c^2 + 1) as sqrt(4 s^2 + c^2)/c for positive c."""
    return expr.replace(
        lambda e: isinstance(e, sp.Pow) and e.exp.is_Rational and not e.exp.is_Integer,
        lambda e: sp.Pow(sp.together(e.base), e.exp),
    )


def derivation(sign: int = -1, half: sp.Expr = HALF) -> Iterator[Step]:
    """Yield the proof; arguments are the sign of the gradient and the factor of the mirror potentials."""
    yield from _potentials(half)
    yield from _convex_loss(sign)
    for scheme in SCHEMES:
        model = Model(scheme)
        yield entries(
            f"{scheme.name}: lambda_i = -(1/m_i) dL/ds_i, differentiating the loss with the explicit softmax.",
            [(model.lam(i), sign * sp.diff(loss(model), model.s(i)) / model.m(i)) for i in range(1, model.D + 1)],
            scheme.name,
        )


def _potentials(half: sp.Expr) -> Iterator[Step]:
    a, b = sp.symbols("a b", real=True)
    s, c = sp.Symbol("s", real=True), sp.Symbol("c", positive=True)
    positive = sp.Symbol("s", positive=True)
    speed = sp.sqrt(4 * s**2 + c**2)

    def rooted(expr: sp.Expr) -> sp.Expr:
        return vanish(plain_roots(expr))

    yield identity(
        "With s = a b and c = |a^2 - b^2| the velocity ds/dt = (a^2 + b^2) lambda is sqrt(4 s^2 + c^2) lambda.",
        (a**2 + b**2) ** 2,
        4 * (a * b) ** 2 + (a**2 - b**2) ** 2,
        SCALAR,
    ).on("reduction.modes", "conservation.modes", name="speed")
    yield identity(
        "Unbalanced: psi' is the derivative of psi ...",
        sp.diff(potential(s, c, half), s),
        coordinate(s, c, half),
        SCALAR,
        by=rooted,
    )
    yield identity(
        "... and psi'' times the velocity is lambda, so d psi'/dt = lambda.",
        sp.diff(coordinate(s, c, half), s) * speed,
        sp.S.One,
        SCALAR,
        by=rooted,
    ).on(".speed", name="unbalanced")
    yield identity(
        "Balanced: psi' is the derivative of psi ...",
        sp.diff(balanced_potential(positive, half), positive),
        balanced_coordinate(positive, half),
        SCALAR,
    )
    yield identity(
        "... and psi'' times the velocity 2 s lambda is lambda.",
        sp.diff(balanced_coordinate(positive, half), positive) * 2 * positive,
        sp.S.One,
        SCALAR,
    ).on(".speed", name="balanced")
    yield identity(
        "As c -> 0 the unbalanced coordinate, less a constant, becomes the balanced one: sinh of the logarithm below "
        "is 2 s/c.",
        sp.sinh(sp.log((2 * positive + sp.sqrt(4 * positive**2 + c**2)) / c)).rewrite(sp.exp),
        2 * positive / c,
        SCALAR,
        by=sp.simplify,
    )
    shifted = half * sp.log((2 * positive + sp.sqrt(4 * positive**2 + c**2)) / 4)
    yield identity(
        "So psi' + (1/2) log(c/4) = (1/2) log((2 s + sqrt(4 s^2 + c^2))/4), which is (1/2) log s at c = 0.",
        shifted.subs(c, 0),
        sp.log(positive) / 2,
        SCALAR,
        by=lambda e: vanish(sp.expand_log(sp.simplify(e))),
    )


def _convex_loss(sign: int) -> Iterator[Step]:
    """Yield the gradient of the loss along a direction h, and its second derivative as a sum of squares."""
    g = Generic()
    step, h = sp.Symbol("ε", real=True), sp.IndexedBase("h", real=True)
    odds, y = sp.IndexedBase("o", positive=True), sp.IndexedBase("y", real=True)
    cost = g.K * sp.log(1 + g.sum(lambda j: odds[j] * sp.exp(step * y[j])))
    first, second = (sp.diff(cost, step, n).xreplace({step: sp.S.Zero}).doit(deep=False) for n in (1, 2))

    def in_probabilities(expr: sp.Expr) -> sp.Expr:
        # odds o_j = k_j p_j / p_0, so 1 + sum_j o_j = 1/p_0
        expr = expr.xreplace({1 + g.sum(lambda j: odds[j]): 1 / g.p0})
        return expr.replace(
            lambda e: isinstance(e, sp.Indexed) and e.base == odds,
            lambda e: g.k(e.indices[0]) * g.p(e.indices[0]) / g.p0,
        )

    yield identity(
        "Let o_j = k_j exp(z_j - z_0) = k_j p_j / p_0 and move the margins, z_j - z_0, with velocity y_j: the slope "
        "of the loss.",
        first,
        g.K * g.sum(lambda j: g.k(j) * g.p(j) * y[j]),
        g.name,
        by=lambda e: vanish(_normal_with_p0(g, in_probabilities(e))),
    ).on("closure.softmax", name="slope")
    margins = g.sum(lambda i: g.m(i) * h[i] * (g.P(i, g.j) / g.k(g.j) - 1)) / g.K
    yield identity(
        "Moving s along h moves the margins by y_j = (1/K) sum_i m_i h_i (P_ij/k_j - 1): the slope is -sum_i m_i "
        "lambda_i h_i for every h, that is lambda_i = -(1/m_i) dL/ds_i.",
        g.K * sp.Sum(g.k(g.j) * g.p(g.j) * margins, (g.j, 1, g.D)),
        sign * g.sum(lambda i: g.m(i) * g.lam(i) * h[i]),
        g.name,
        by=g.vanish,
    ).on("closure.logits", ".slope", name="gradient")
    pairs = g.k(g.j) * g.k(g.h) * g.p(g.j) * g.p(g.h) * (y[g.j] - y[g.h]) ** 2 / 2
    squares = g.K * g.p0 * g.sum(lambda j: g.k(j) * g.p(j) * y[j] ** 2) + g.K * sp.Sum(
        pairs, (g.j, 1, g.D), (g.h, 1, g.D)
    )
    yield nonnegative(
        "The second derivative of the loss is K times the variance of y under the softmax: L is convex in s.",
        second,
        squares,
        g.name,
        by=lambda e: vanish(g.normal(_normal_with_p0(g, in_probabilities(e)))),
    ).on(".slope", name="convex")
    speed = sp.IndexedBase("ρ", positive=True)
    yield nonnegative(
        "Along ds_i/dt = rho_i lambda_i, rho_i = a_i^2 + b_i^2, the loss therefore decreases at a rate that is a "
        "sum of "
        "squares, -dL/dt = -sum_i dL/ds_i ds_i/dt.",
        g.sum(lambda i: -(sign * g.m(i) * g.lam(i)) * speed[i] * g.lam(i)),
        g.sum(lambda i: g.m(i) * speed[i] * g.lam(i) ** 2),
        g.name,
    ).on("reduction.modes", ".gradient", name="falls")


def _normal_with_p0(g: Generic, expr: sp.Expr) -> sp.Expr:
    """Bring to normal form with p_0 kept as a symbol."""
    kept = sp.Dummy("p_0", positive=True)
    return g.normal(expr.xreplace({g.p0: kept})).xreplace({kept: g.p0})


check = residuals_of(derivation)
