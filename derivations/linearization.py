"""Linearization at collapse: all deviations decay alike, at the rate 1/K per unit of margin.

Theorem. On any symmetric scheme, at s_i = s, with p = 1/(e^s + K - 1) and h̄ = sum_i m_i h_i/(K-1),

    d lambda_i along h = -p (h_i - h̄) - K e^s p^2 h̄:

the Jacobian of lambda has the eigenvalue -p on all deviations, sum_i m_i h_i = 0 (K - 2 of them,
counted with multiplicity), and -K e^s p^2 = d lambda/ds along the ray. Hence to first order, for
s_i = s (1 + r_i) on balanced factors, sum_i m_i r_i = 0,

    d log r_i / ds = -1/K,

and the same holds for deviations of the mirror coordinates psi'(s_i) for any common potential psi
(common imbalance, any depth).

In time r is proportional to e^{-s/K}, and t = e^s/(2 K s) (1 + o(1)), so r ~ (2 K s t)^{-1/K}: the
power -1/K of t with a logarithmic correction. d log r/d log t tends to -1/K only as fast as 1/s.

Away from the ray d log s_i/dt = 2 lambda_i has the Jacobian -2 (1/m_i) (Hess L)_il s_l, similar to
a symmetric negative semi-definite matrix as L is convex: a real, non-positive spectrum everywhere.
For Hadamard its entries are d lambda_i/ds_l = -(1/K) (q_{i XOR l} - q_i q_l), q_i = 1 - lambda_i
the eigenvalues of the softmax.

Source: [ceflow].
"""

from __future__ import annotations

from collections.abc import Iterator

import sympy as sp

from . import ray
from ._proof import SCALAR, Step, entries, identity, residuals_of, vanish
from ._quoted import LIMITS
from ._schemes import Model, cyclic, hadamard, hamming, johnson
from ._sums import Generic, normal

SCHEMES = (hadamard(4), cyclic(5), cyclic(6), hamming(2, 3), johnson(5, 2))

WRONG = {"deviations grow": {"sign": 1}, "rate 1/(K - 1)": {"classes": -1}}


def jacobian(model: Model, s: sp.Expr) -> sp.Matrix:
    """Return d lambda_i/ds_l at s_i = s."""
    p = 1 / (sp.exp(s) + model.K - 1)

    def entry(i: int, l: int) -> sp.Expr:  # noqa: E741
        mean = model.m(l + 1) / (model.K - 1)
        return -p * (int(i == l) - mean) - model.K * sp.exp(s) * p**2 * mean

    return sp.Matrix(model.D, model.D, entry)


def deviation(r: sp.Expr, s: sp.Expr, s_start: sp.Expr, K: sp.Expr) -> sp.Expr:
    """Return a small relative deviation at margin s that was r at s_start."""
    return r * sp.exp(-(s - s_start) / K)


def derivation(sign: int = -1, classes: int = 0) -> Iterator[Step]:
    """Yield the proof; arguments are the sign of the eigenvalue -p, and an error of K in the rate."""
    g = Generic()
    s, step = sp.Symbol("s", positive=True), sp.Symbol("ε", real=True)
    h = sp.IndexedBase("h", real=True)
    p = sp.Symbol("p", positive=True)
    p_ray = 1 / (sp.exp(s) + g.K - 1)
    y = g.sum(lambda i: g.m(i) * h[i] * (g.P(i, g.j) / g.k(g.j) - 1)) / g.K
    odds = sp.exp(-s + step * y)
    total = 1 + sp.Sum(g.k(g.j) * odds, (g.j, 1, g.D))
    force = sp.Sum((g.k(g.j) - g.P(g.l, g.j)) * odds, (g.j, 1, g.D)) / total
    mean = g.sum(lambda i: g.m(i) * h[i]) / (g.K - 1)
    claim = sign * p_ray * (h[g.l] - mean) - g.K * sp.exp(s) * p_ray**2 * mean
    yield identity(
        "On the ray every margin is s (see ray); moving s along h moves z_j - z_0 by y_j = (1/K) sum_i m_i h_i "
        "(P_ij/k_j - 1). Differentiate the softmax, exchange the sums, use orthogonality of the rows of P: the "
        "change of lambda_l, with p = 1/(e^s + K - 1).",
        sp.diff(force, step).xreplace({step: sp.S.Zero}),
        claim,
        g.name,
        by=lambda e: vanish(g.normal(e)),
        shows=sp.Eq(sp.Derivative(g.lam(g.l), step), claim.xreplace({p_ray: p}), evaluate=False),
    ).on("ray.margins", "closure.axioms", "closure.force", "closure.logits", name="jacobian")
    yield identity(
        "Along the ray this is the derivative of its force.",
        -g.K * sp.exp(s) * p_ray**2,
        sp.diff(ray.force(s, g.K), s),
        SCALAR,
    ).on("ray.force")
    pi = sp.IndexedBase("m", positive=True)
    yield identity(
        "The two parts are the complementary projectors I - Π and Π = 1 m^T/(K-1), since Π^2 = Π; the trace of Π is "
        "1 on the modes, so -p has multiplicity D - 1 there, K - 2 in the space of the matrices.",
        sp.Sum(pi[g.i] * pi[g.l], (g.i, 1, g.D)) / (g.K - 1) ** 2,
        pi[g.l] / (g.K - 1),
        g.name,
        by=g.vanish,
    ).on("closure.axioms", ".jacobian")
    yield from _rates(g, s, p, p_ray, sign, classes)
    for scheme in SCHEMES:
        model = Model(scheme)
        modes, at = range(1, model.D + 1), {v: s for v in model.singular_values}
        explicit = sp.Matrix([[sp.diff(model.lam(i), model.s(j)).subs(at) for j in modes] for i in modes])
        claimed = jacobian(model, s)
        yield entries(
            f"{scheme.name}: the Jacobian of lambda on the ray, differentiating the explicit softmax.",
            [(explicit, claimed if sign == -1 else -claimed)],
            scheme.name,
            by=lambda e, K=model.K: vanish(e.subs(s, K * sp.log(p))),  # rational in p = e^{s/K}
        )
    yield from _hadamard(sign)


def _hadamard(sign: int) -> Iterator[Step]:
    """Yield the Jacobian at every s of the Hadamard schemes, in the eigenvalues of the softmax."""
    K, step = sp.Symbol("K", integer=True, positive=True), sp.Symbol("ε", real=True)
    i, l, j = sp.symbols("i l j", integer=True)  # noqa: E741
    z, p, chi = sp.IndexedBase("z", real=True), sp.IndexedBase("p", positive=True), sp.IndexedBase("χ", real=True)
    total = sp.Symbol("S", positive=True)
    odds = sp.exp(z[j] + step * chi[l, j] / K)

    def mean(term: sp.Expr) -> sp.Expr:
        return sp.Sum(p[j] * term, (j, 1, K))

    moved = sp.Sum(chi[i, j] * odds, (j, 1, K)) / sp.Sum(odds, (j, 1, K))
    at_rest = sp.Sum(sp.exp(z[j]), (j, 1, K))
    yield identity(
        "Hadamard: q_i = sum_j p_j χ_i(j), j over all K relations, and z_j moves by χ_l(j)/K with s_l. As χ_i χ_l = "
        "χ_{i XOR l}, q_i = 1 - λ_i moves by (q_{i XOR l} - q_i q_l)/K.",
        sp.diff(moved, step).xreplace({step: sp.S.Zero}),
        -sp.sympify(sign) / K * (mean(chi[i, j] * chi[l, j]) - mean(chi[i, j]) * mean(chi[l, j])),
        "every hadamard(K), symbolic K",
        by=lambda e: vanish(normal(e.xreplace({at_rest: total, p[j]: sp.exp(z[j]) / total}), [])),
    ).on("closure.softmax", "closure.logits")
    model = Model(hadamard(4))
    q = [sp.S.One, *(1 - model.lam(i) for i in range(1, 4))]
    yield entries(
        "hadamard(4): the same, differentiating the explicit softmax.",
        [
            (sp.diff(model.lam(i), model.s(j)), sp.sympify(sign) / 4 * (q[i ^ j] - q[i] * q[j]))
            for i in range(1, 4)
            for j in range(i, 4)
        ],
        "hadamard(4)",
    )


def _rates(g: Generic, s: sp.Expr, p: sp.Expr, p_ray: sp.Expr, sign: int, classes: int) -> Iterator[Step]:
    """Yield the decay of deviations per unit of s, in mirror coordinates, in r, and in time."""
    K = g.K
    r, curvature, eta = sp.symbols("r ψ₂ η", positive=True)
    advance = K * p / curvature
    yield identity(
        "A deviation η of the mirror coordinate is ψ₂ = psi''(s) times that of s, and grows with that of lambda, "
        "dη/dt = -p η/ψ₂, while ds/dt = K p/ψ₂: so dη/ds = -η/K for every psi.",
        sign * p * (eta / curvature) / advance,
        -eta / (K + classes),
        SCALAR,
    ).on(".jacobian", "ray.equal", "mirror.unbalanced", name="rate")
    yield identity(
        "Balanced, r = s_i/s - 1 is 2 η to first order: d log r/ds = 2 (-p s)/(2 s K p).",
        2 * sign * p * s * r / (2 * s * K * p) / r,
        -1 / (K + classes),
        SCALAR,
    ).on(".rate", "mirror.balanced", name="balanced")
    start, first = sp.symbols("s_1 r_1", positive=True)
    decay = deviation(first, s, start, K + classes)
    yield identity("Its solution.", sp.diff(decay, s), sign * decay / K, SCALAR).on(".balanced")
    slope = -ray.time(s, start, K) / (K * sp.diff(ray.time(s, start, K), s))
    tail, small = s * sp.exp(-s), sp.exp(-s)
    parts = tail * sp.Ei(s), tail * sp.log(s), tail, small
    constant = sp.Ei(start) + (K - 1) * sp.log(start)
    yield identity(
        "In time, on the balanced ray: K d log r/d log t = -t/(dt/ds), written with four functions of s ...",
        (K + classes) * slope,
        -(parts[0] + (K - 1) * parts[1] - constant * parts[2]) / (1 + (K - 1) * parts[3]),
        SCALAR,
        by=lambda e: vanish(sp.expand_log(e)),
    ).on(".balanced", "ray.time", name="time")
    yield entries(
        "... whose limits are 1, 0, 0, 0: K d log r/d log t tends to -1.",
        [(sp.limit(part, s, sp.oo), value) for part, value in zip(parts, (1, 0, 0, 0), strict=True)],
        SCALAR,
    ).on(".time", quotes=(LIMITS,))
    yield identity(
        "... like -(1 + 1/s): Ei(s) = (e^s/s)(1 + 1/s + O(1/s^2)), since (Ei(s) - e^s/s - e^s/s^2)' = 2 e^s/s^3.",
        sp.diff(sp.Ei(s) - sp.exp(s) / s - sp.exp(s) / s**2, s),
        2 * sp.exp(s) / s**3,
        SCALAR,
    )
    weight, other_weight, size, other_size, hessian = sp.symbols("m_i m_l s_i s_l H_il", positive=True)
    similar = sp.sqrt(size * weight) * (-2 * hessian * other_size / weight) / sp.sqrt(other_size * other_weight)
    yield identity(
        "Away from the ray: conjugated with the diagonal matrix of sqrt(m_i s_i), the Jacobian of d log s/dt is "
        "symmetric, and negative semi-definite like -Hess L (mirror).",
        similar,
        -2 * hessian * sp.sqrt(size * other_size / (weight * other_weight)),
        SCALAR,
        by=sp.simplify,
    ).on("reduction.modes", "mirror.gradient", "mirror.convex")


check = residuals_of(derivation)
