"""Exact solution of collapsed states: the ray on which all singular values agree.

Theorem. On any symmetric scheme the states with all s_i = s are invariant under balanced flow, and
under unbalanced flow with one common c = |a_i^2 - b_i^2|. There every margin is s, every force is
lambda = K/(e^s + K - 1), and time is the quadrature

    dt/ds = (e^s + K - 1) / (K sqrt(4 s^2 + c^2)).

Balanced (c = 0):      t = [ Ei(s) - Ei(s_0) + (K-1) log(s/s_0) ] / (2K).
Unbalanced (c > 0), with 2 s = c sinh(theta), any signs of s and s_0, and J_n the Bessel functions
at c/2:

    t = (1/2K) [ (K - 1 + J_0)(theta - theta_0)
                 + sum_{n>=1} (J_n/n) ( e^{n theta} - e^{n theta_0} - (-1)^n (e^{-n theta} - e^{-n theta_0}) ) ].

With different imbalances c_i the ray is not invariant: equal s_i then move with different speeds.
Times are those of reduction "sum".

Source: arXiv:2512.04006 (balanced); [ceflow] for schemes and the unbalanced series.
"""

from __future__ import annotations

from collections.abc import Iterator

import sympy as sp

from ._proof import RATIONAL, SCALAR, Step, entries, identity, residuals_of, vanish
from ._quoted import BESSEL
from ._schemes import Model, complete, cyclic, hadamard, hamming, johnson
from ._sums import Generic

SCHEMES = (hadamard(4), hadamard(8), cyclic(5), cyclic(6), complete(4), hamming(2, 3), johnson(5, 2))

WRONG = {"K instead of K - 1 before the logarithm": {"extra": 1}, "wrong parity in the Bessel series": {"parity": 1}}


def force(s: sp.Expr, K: sp.Expr) -> sp.Expr:
    """Return the force on every mode of the ray."""
    return K / (sp.exp(s) + K - 1)


def time(s: sp.Expr, s0: sp.Expr, K: sp.Expr, extra: int = 0) -> sp.Expr:
    """Return the time from s0 to s > 0 on the balanced ray."""
    return (sp.Ei(s) - sp.Ei(s0) + (K - 1 + extra) * sp.log(s / s0)) / (2 * K)


def unbalanced_time(
    theta: sp.Expr, theta0: sp.Expr, c: sp.Expr, K: sp.Expr, terms: object = sp.oo, parity: int = -1
) -> sp.Expr:
    """Return the time on the unbalanced ray, 2 s = c sinh(theta), as a series with `terms` terms."""
    n = sp.Symbol("n", integer=True, positive=True)
    wave = [sp.exp(n * x) + parity * (-1) ** n * sp.exp(-n * x) for x in (theta, theta0)]
    series = sp.Sum(sp.besselj(n, c / 2) / n * (wave[0] - wave[1]), (n, 1, terms))
    return ((K - 1 + sp.besselj(0, c / 2)) * (theta - theta0) + series) / (2 * K)


def derivation(extra: int = 0, parity: int = -1) -> Iterator[Step]:
    """Yield the proof; arguments are an error of the factor of the logarithm, and the parity of the Bessel series."""
    g = Generic()
    s, s0, c, p = sp.symbols("s s_0 c p", positive=True)

    def on_ray(expr: sp.Expr) -> sp.Expr:
        return vanish(g.normal(g.constant(expr, s=s, p=p)))

    yield identity("On s_i = s every margin is s (sum_i m_i P_ij = -k_j).", g.z0 - g.z(g.j), s, g.name, by=on_ray).on(
        "closure.axioms", "closure.logits", name="margins"
    )
    yield identity(
        "So all p_j, j > 0, are one number p, and every force is K p (the coefficients k_j - P_ij sum to K): equal "
        "s_i and equal c_i stay equal.",
        g.lam(g.i),
        g.K * p,
        g.name,
        by=on_ray,
    ).on("closure.axioms", "closure.softmax", "closure.force", ".margins", name="equal")
    yield identity(
        "p = e^{-s}/(1 + (K-1) e^{-s}): the force.",
        g.K * sp.exp(-s) / (1 + (g.K - 1) * sp.exp(-s)),
        force(s, g.K),
        SCALAR,
    ).on(".margins", ".equal", name="force")
    for scheme in SCHEMES:
        model = Model(scheme, [s] * scheme.D)
        yield entries(
            f"{scheme.name}: every force at s_i = s, with the explicit softmax.",
            [(model.lam(i), force(s, model.K)) for i in range(1, model.D + 1)],
            scheme.name,
            by=lambda e: vanish(sp.simplify(e)),
        )
    yield identity(
        "Balanced: ds/dt = 2 s lambda, and the time formula has the derivative 1/(2 s lambda) ...",
        sp.diff(time(s, s0, g.K, extra), s),
        1 / (2 * s * force(s, g.K)),
        SCALAR,
    ).on("mirror.speed", ".force", name="time")
    yield identity("... and vanishes at s_0.", time(s, s0, g.K, extra).subs(s, s0), sp.S.Zero, SCALAR)
    yield from _unbalanced(g.K, s, c, parity)


def _unbalanced(K: sp.Expr, s: sp.Expr, c: sp.Expr, parity: int) -> Iterator[Step]:
    theta, theta0 = sp.symbols("θ θ_0", real=True)
    position = c * sp.sinh(theta) / 2
    yield identity(
        "Unbalanced: 2 s = c sinh(theta) gives sqrt(4 s^2 + c^2) = c cosh(theta) = 2 ds/dtheta, so dtheta/dt = 2 "
        "lambda and dt/dtheta = (e^s + K - 1)/(2K).",
        (2 * sp.diff(position, theta)) ** 2,
        4 * position**2 + c**2,
        SCALAR,
        by=lambda e: sp.simplify(e.rewrite(sp.exp)),
    ).on("mirror.speed", ".force", name="theta")
    n, x = sp.Symbol("n", integer=True), sp.Symbol("x", positive=True)
    yield identity(
        "e^{(c/2) sinh(theta)} is the generating function exp(x (u - 1/u)/2) at u = e^theta, x = c/2 ...",
        sp.exp(position.rewrite(sp.exp)),
        sp.exp(x * (sp.exp(theta) - sp.exp(-theta)) / 2).subs(x, c / 2),
        SCALAR,
    ).on(".theta", name="generating")
    yield identity(
        "... whose Laurent coefficients c_n(x) solve c_n' = (c_{n-1} - c_{n+1})/2 (differentiate in x) with c_n(0) = "
        "delta_n0. So do the J_n, and a bounded linear equation in l^2 has one solution: c_n = J_n(x).",
        sp.diff(sp.besselj(n, x), x),
        (sp.besselj(n - 1, x) - sp.besselj(n + 1, x)) / 2,
        SCALAR,
        shows=sp.Eq(
            sp.Derivative(sp.besselj(n, x), x), (sp.besselj(n - 1, x) - sp.besselj(n + 1, x)) / 2, evaluate=False
        ),
    ).on(".generating", name="Bessel", quotes=(BESSEL,))
    yield entries(
        "Their values at x = 0: J_0 = 1 and J_n = 0 otherwise, listed for |n| <= 3.",
        [(sp.besselj(i, 0), int(i == 0)) for i in range(-3, 4)],
        "scalar equation, |n| <= 3",
        how=RATIONAL,
    )
    order = 3
    generating = (
        1
        + (sp.besselj(0, x) - 1)
        + sum(
            sp.besselj(i, x) * (sp.exp(i * theta) - parity * (-1) ** i * sp.exp(-i * theta))
            for i in range(1, order + 1)
        )
    )
    claimed = 2 * K * sp.diff(unbalanced_time(theta, theta0, c, K, order, parity).doit(), theta)
    yield identity(
        "Integrate J_n e^{n theta} term by term, J_{-n} = (-1)^n J_n: the series has the derivative (e^s + K - "
        "1)/(2K), here its terms |n| <= 3 ...",
        claimed,
        (K - 1 + generating).subs(x, c / 2),
        "scalar equation, series truncated at |n| <= 3",
    ).on(".theta", ".Bessel", name="series")
    expansion = sp.series(sp.exp(x * sp.sinh(theta).rewrite(sp.exp)), x, 0, order + 1).removeO()
    yield identity(
        "... which agree with e^s + K - 1 through third order in c, for every theta.",
        sp.series(claimed.subs(c, 2 * x), x, 0, order + 1).removeO(),
        expansion + K - 1,
        "scalar equation, through third order in c",
    ).on(".series")
    yield identity(
        "... and it vanishes at theta_0.",
        unbalanced_time(theta, theta0, c, K, order, parity).doit().subs(theta, theta0),
        sp.S.Zero,
        SCALAR,
    )


check = residuals_of(derivation)
