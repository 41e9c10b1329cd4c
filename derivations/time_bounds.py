"""Two bounds at finite time.

Theorem. On any symmetric scheme, time in the units of reduction "sum":

1. Balanced, s_i > 0, with V as in lyapunov, GM the geometric mean and s_ray(t; x) the balanced ray
from x at t = 0,
       GM(t) >= e^{-V(0)} s_ray(t; s̄(0)).
2. For every sigma (for balanced flow sigma > 0) and every t > 0, with psi the mirror potential of
mode i,
       L(t) <= K log(1 + (K-1) e^{-sigma}) + (1/t) sum_i m_i D(sigma, s_i(0)),
       D(sigma, s) = psi(sigma) - psi(s) - psi'(s)(sigma - s),
   which is (sigma log(sigma/s) - sigma + s)/2 on balanced factors.

Proof of 1. y = e^{V(0)} GM starts at s̄(0) and is never less than s̄ = e^V GM, as V decreases. With
T the ray's time from s̄(0), dT(y)/dt >= 1: so T(y(t)) >= t, and T is increasing. Proof of 2. F = t
(L(s(t)) - L(sigma)) + sum_i m_i D(sigma, s_i(t)) never increases, because the loss is convex and
falls; its last term is non-negative, and F(0) = sum_i m_i D(sigma, s_i(0)).

Source: [ceflow]; 2 is the standard argument for mirror descent in continuous time.
"""

from __future__ import annotations

from collections.abc import Iterator

import sympy as sp

from . import geometric_mean, loss_bound, lyapunov, mirror, ray
from ._proof import (
    SCALAR,
    ConvexityGap,
    MeanExp,
    Step,
    gap_lemmas,
    identity,
    nonnegative,
    open_gaps,
    residuals_of,
    vanish,
)
from ._quoted import MONOTONE
from ._sums import Generic
from .mirror import d2psi, dpsi, psi

WRONG = {
    "a bound that moves twice as fast": {"speed": 2},
    "divergence without the factor 1/2": {"half": sp.S.One},
}


def geometric_mean_bound(V0: sp.Expr, ray_value: sp.Expr) -> sp.Expr:
    """Return the lower bound of the geometric mean, from V(0) and the ray from s̄(0) at the same time."""
    return sp.exp(-V0) * ray_value


def divergence(sigma: sp.Expr, s: sp.Expr, half: sp.Expr = mirror.HALF) -> sp.Expr:
    """Return D(sigma, s) of balanced factors."""
    return half * (sigma * sp.log(sigma / s) - sigma + s)


def loss_at_most(t: sp.Expr, sigma: sp.Expr, multiplicities: list, initial: list) -> sp.Expr:
    """Return the upper bound of the loss at time t for one sigma, balanced flow from the given singular values."""
    K = 1 + sum(multiplicities)
    start = sum(m * divergence(sigma, s) for m, s in zip(multiplicities, initial, strict=True))
    return loss_bound.loss_bound(sigma, K) + start / t


def derivation(speed: int = 1, half: sp.Expr = mirror.HALF) -> Iterator[Step]:
    """Yield the proof; arguments are the rate dT/dt claimed, and the factor of the balanced divergence."""
    g = Generic()
    yield identity(
        "1. e^V GM is the arithmetic mean, so y = e^{V(0)} GM starts at s̄(0), and s̄ = y e^{V - V(0)} <= y later.",
        lyapunov.value(g) + geometric_mean.log_mean(g),
        sp.log(g.sbar),
        g.name,
        by=g.vanish,
    ).on("lyapunov.falls", name="mean")
    n, mean, y, excess, start = sp.symbols("n s̄ y ρ s_0", positive=True)
    lead = sp.Symbol("δ", nonnegative=True)
    error = loss_bound.error_bound(mean, n + 1) + excess
    growth = y * 2 * (n + 1) / n * error
    yield from gap_lemmas(MeanExp, ConvexityGap)
    yield nonnegative(
        "dy/dt = y (2K/(K-1)) (1 - p_0), 1 - p_0 = (K-1)/(e^{s̄} + K - 1) + ρ with ρ >= 0 (geometric_mean, "
        "loss_bound); n = K - 1, y = s̄ + δ, δ >= 0. So the ray's time runs at least as fast as t along y: dT(y)/dt "
        "- 1 is non-negative.",
        sp.diff(ray.time(y, start, n + 1), y) * growth - speed,
        sp.exp(mean) * lead * MeanExp(lead) / (sp.exp(mean) + n) + excess * (sp.exp(y) + n) / n,
        SCALAR,
        by=lambda e: vanish(open_gaps(e).subs(y, mean + lead)),
    ).on("geometric_mean.growth", "loss_bound.error", "ray.time", ".mean", ".ε₁", name="faster", quotes=(MONOTONE,))
    yield nonnegative(
        "T is increasing, so y(t) >= s_ray(t; s̄(0)), which is the bound.",
        sp.diff(ray.time(y, start, n + 1), y),
        (sp.exp(y) + n) / (2 * (n + 1) * y),
        SCALAR,
    ).on(".faster", name="increasing", quotes=(MONOTONE,))
    yield from _mirror_descent(g, half)


def _mirror_descent(g: Generic, half: sp.Expr) -> Iterator[Step]:
    sigma = sp.Symbol("σ", positive=True)
    distance = g.sum(lambda i: g.m(i) * (psi(sigma) - psi(g.s(i)) - dpsi(g.s(i)) * (sigma - g.s(i))))
    yield identity(
        "2. The divergence to a fixed sigma moves with the forces alone, ds_i/dt = lambda_i/psi''(s_i), any psi; since "
        "-m_i lambda_i = dL/ds_i (mirror), its rate is <grad L, sigma - s>.",
        g.derivative(distance, lambda i: g.lam(i) / d2psi(g.s(i))),
        -g.sum(lambda i: g.m(i) * g.lam(i) * (sigma - g.s(i))),
        g.name,
        by=g.vanish,
    ).on("mirror.unbalanced", "mirror.balanced", "mirror.gradient", "closure.axioms", name="rate")
    q, q0 = sp.IndexedBase("q", positive=True), sp.Symbol("q_0", positive=True)
    margin = sp.log(g.p(g.j) / g.p0), sp.log(q[g.j] / q0)
    convexity = sp.log(g.p0 / q0) + sp.Sum(g.k(g.j) * g.p(g.j) * (margin[0] - margin[1]), (g.j, 1, g.D))
    ratio, ratio0 = sp.log(q[g.j] / g.p(g.j)), sp.log(q0 / g.p0)

    def normalized(expr: sp.Expr) -> sp.Expr:
        return g.vanish(sp.expand_log(open_gaps(expr)).subs(q0, 1 - g.sum(lambda j: g.k(j) * q[j])))

    yield nonnegative(
        "Let p and q be the softmax at s and at sigma. L(sigma) - L(s) - <grad L, sigma - s> is K times this: log "
        "p_0/q_0 and the mean difference of the margins. It is the divergence of p from q, a sum of gaps of the "
        "exponential: L is convex.",
        convexity,
        g.p0 * ratio0**2 * ConvexityGap(ratio0)
        + sp.Sum(g.k(g.j) * g.p(g.j) * ratio**2 * ConvexityGap(ratio), (g.j, 1, g.D)),
        g.name,
        by=normalized,
    ).on("mirror.gradient", "closure.softmax", ".ε₂", name="convexity")
    t, fall, divergence_pq, K = sp.symbols("t R KL K", positive=True)
    now, goal = sp.symbols("L_s L_σ", real=True)
    slope = goal - now - K * divergence_pq  # <grad L, sigma - s> by the convexity step
    yield nonnegative(
        "With R = -dL/dt >= 0 (mirror) and KL the divergence above: minus the rate of F = t (L_s - L_σ) + D. So F "
        "never increases.",
        -((now - goal) + t * (-fall) + slope),
        t * fall + K * divergence_pq,
        SCALAR,
    ).on("mirror.falls", ".rate", ".convexity", quotes=(MONOTONE,))
    s = sp.Symbol("s", positive=True)
    potential, coordinate = mirror.balanced_potential, mirror.balanced_coordinate
    yield identity(
        "Balanced, the divergence is the one of the statement.",
        potential(sigma) - potential(s) - coordinate(s) * (sigma - s),
        divergence(sigma, s, half),
        SCALAR,
        by=lambda e: vanish(sp.expand_log(e)),
    ).on("mirror.balanced", name="balanced")
    r = sp.log(sigma / s)
    yield nonnegative(
        "It is non-negative, r = log(sigma/s): a gap again.",
        divergence(sigma, s, half),
        sigma * r**2 * ConvexityGap(-r) / 2,
        SCALAR,
        by=lambda e: vanish(sp.expand_log(sp.expand(open_gaps(e)))),
    ).on(".balanced", ".ε₂")


check = residuals_of(derivation)
