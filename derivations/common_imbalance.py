"""The Lyapunov function of unbalanced flow with one common imbalance.  [ceflow]

Theorem. Let psi be a convex potential, ds_i/dt = lambda_i / psi''(s_i), the same psi for every
mode, s̄ > 0, and

    V_psi = (1/s̄) sum_i m_i [ psi(s̄) - psi(s_i) - psi'(s_i)(s̄ - s_i) ]  >= 0   (a sum of Bregman divergences).

With chi(s) = s psi'(s) - psi(s), and s̄' the velocity of s̄,

    dV_psi/dt = -(K/s̄) sum_{j>0} k_j p_j (z_j - z̄) - (s̄'/s̄^2) [ sum_i m_i chi(s_i) - (K-1) chi(s̄) ].

The first term is <= 0 (see lyapunov), the bracket is >= 0 if chi is convex, and s̄' > 0. For all
|a_i^2 - b_i^2| = c > 0, psi is the hypentropy and chi(s) = sqrt(4 s^2 + c^2)/4 is convex: V_c =
V_psi is non-increasing. It is enough that s̄ > 0: single s_i may be negative, and the signs of
a_i^2 - b_i^2 may differ. dV_c/dt = 0 only at collapse.

Balanced, chi = s/2 is linear, the bracket is 0, and V_psi = ((K-1)/2) V: V_c is normalized differently from V. For
depth L >= 3, chi = s^{2/L}/2 is concave: the argument does not apply, and there are low-rank limits. With different c_i
neither V_psi (psi_i for mode i) nor V is monotone: near collapse their rates are of first order in the deviations, with
a coefficient that changes sign with them; the last two steps show it on cyclic(5).

Source: [ceflow].
"""

from __future__ import annotations

from collections.abc import Iterator

import sympy as sp

from . import mirror
from ._proof import SCALAR, Step, entries, identity, nonnegative, residuals_of, surely_not_zero, vanish
from ._schemes import Model, cyclic, hadamard, hamming
from ._sums import Generic
from .mirror import d2psi, dpsi, psi

SCHEMES = (hadamard(4), cyclic(4), cyclic(5), hamming(2, 3))

WRONG = {
    "Jensen gap with the opposite sign": {"gap_sign": 1},
    "not divided by the mean": {"mean_power": 0},
}


def value(model: Model, c: sp.Expr) -> sp.Expr:
    """Return V_c for the common imbalance c > 0."""
    return _value(model, model.sbar, lambda s: mirror.potential(s, c), lambda s: mirror.coordinate(s, c))


def dissipation(model: Model, c: sp.Expr) -> sp.Expr:
    """Return dV_c/dt for the common imbalance c > 0, time in the units of reduction "sum"."""
    return _dissipation(model, lambda s: sp.sqrt(4 * s**2 + c**2), lambda s: sp.sqrt(4 * s**2 + c**2) / 4, -1, 1)


def _value(model: Model | Generic, mean: sp.Expr, potential: object, slope: object, mean_power: int = 1) -> sp.Expr:
    divergence = model.sum(
        lambda i: model.m(i) * (potential(mean) - potential(model.s(i)) - slope(model.s(i)) * (mean - model.s(i)))
    )
    return divergence / mean**mean_power


def _dissipation(model: Model | Generic, speed: object, chi: object, gap_sign: int, mean_power: int) -> sp.Expr:
    excess = model.sum(lambda j: model.k(j) * model.p(j) * (model.z(j) - model.zbar))
    growth = model.sum(lambda i: model.m(i) * speed(model.s(i)) * model.lam(i)) / (model.K - 1)
    gap = model.sum(lambda i: model.m(i) * chi(model.s(i))) - (model.K - 1) * chi(model.sbar)
    return -model.K * excess / model.sbar**mean_power + gap_sign * growth * gap / model.sbar ** (mean_power + 1)


def derivation(gap_sign: int = -1, mean_power: int = 1) -> Iterator[Step]:
    """Yield the proof; arguments are the sign of the Jensen gap and the power of the mean that divides V."""
    g = Generic()
    yield identity(
        "Differentiate V_psi along ds_i/dt = lambda_i/psi''(s_i), any psi: the terms with psi' of the moving s_i "
        "cancel, and sum_i m_i lambda_i (s_i - s̄) = -K sum_j k_j p_j (z_j - z̄), as for V.",
        g.derivative(_value(g, g.sbar, psi, dpsi, mean_power), lambda i: g.lam(i) / d2psi(g.s(i))),
        _dissipation(g, lambda s: 1 / d2psi(s), lambda s: s * dpsi(s) - psi(s), gap_sign, 1),
        g.name,
        by=g.vanish,
    ).on("mirror.unbalanced", "closure.axioms", "lyapunov.trace", "lyapunov.weighted", "lyapunov.mean", name="rate")
    yield from _hypentropy()
    s = sp.Symbol("s", positive=True)
    L = sp.Symbol("L", positive=True)
    slope = s ** (2 / L - 1) / (2 - L)
    yield identity(
        "Depth L: the velocity L s^(2-2/L) lambda belongs to psi' = s^(2/L-1)/(2-L), and chi = s^(2/L)/2 is concave "
        "for L > 2.",
        s * slope - sp.integrate(slope, s).simplify(),
        s ** (2 / L) / 2,
        SCALAR,
        by=lambda e: sp.simplify(sp.expand_power_exp(sp.simplify(e))),
    ).on(".rate")
    yield identity(
        "Balanced: V_psi is (K-1)/2 times the log of the arithmetic over the geometric mean.",
        _value(g, g.sbar, mirror.balanced_potential, mirror.balanced_coordinate, mean_power),
        (g.K - 1) * sp.log(g.sbar) / 2 - g.sum(lambda i: g.m(i) * sp.log(g.s(i))) / 2,
        g.name,
        by=g.vanish,
    ).on("closure.axioms", "mirror.balanced")
    c = sp.Symbol("c", positive=True)
    for scheme in SCHEMES:
        model = Model(scheme, sp.symbols(f"s1:{scheme.D + 1}", real=True))
        explicit = model.derivative(
            _value(model, model.sbar, lambda s: mirror.potential(s, c), lambda s: mirror.coordinate(s, c), mean_power),
            lambda i, model=model: sp.sqrt(4 * model.s(i) ** 2 + c**2) * model.lam(i),
        )
        claim = _dissipation(
            model, lambda s: sp.sqrt(4 * s**2 + c**2), lambda s: sp.sqrt(4 * s**2 + c**2) / 4, gap_sign, 1
        )
        yield entries(
            f"{scheme.name}: dV_c/dt with the explicit softmax, s of any sign.",
            [(explicit, claim)],
            scheme.name,
            by=_with_roots,
        )
    yield from _different_imbalances()


def _hypentropy() -> Iterator[Step]:
    """Yield chi of the hypentropy and its tangent gap, with 2 s = c sinh(theta), sqrt(4 s^2 + c^2) = c cosh(theta)."""
    s, c = sp.Symbol("s", real=True), sp.Symbol("c", positive=True)
    theta, mean = sp.symbols("θ θ̄", real=True)
    yield identity(
        "For the hypentropy chi = s psi' - psi is sqrt(4 s^2 + c^2)/4.",
        s * mirror.coordinate(s, c) - mirror.potential(s, c),
        sp.sqrt(4 * s**2 + c**2) / 4,
        SCALAR,
    ).on(name="chi")
    yield identity(
        "Its slope is s/sqrt(4 s^2 + c^2), that is tanh(theta)/2 where 2 s = c sinh(theta).",
        sp.diff(sp.sqrt(4 * s**2 + c**2) / 4, s),
        s / sp.sqrt(4 * s**2 + c**2),
        SCALAR,
    ).on(".chi", name="slope")
    gap = c * (sp.cosh(theta) - sp.cosh(mean)) / 4 - sp.tanh(mean) / 2 * c * (sp.sinh(theta) - sp.sinh(mean)) / 2
    yield nonnegative(
        "chi lies above each of its tangents, whatever the sign of s: the Jensen gap is the sum of m_i times this, at "
        "theta_i and the theta of s̄ (the linear parts sum to 0), and it is 0 only where theta_i is that of the mean.",
        gap,
        c * sp.sinh((theta - mean) / 2) ** 2 / (2 * sp.cosh(mean)),
        SCALAR,
        by=lambda e: sp.simplify(vanish(e.rewrite(sp.exp))),
    ).on(".rate", ".chi", ".slope", "lyapunov.pairs", "lyapunov.falls", "positivity.positive")


def _with_roots(expr: sp.Expr) -> sp.Expr:
    """Simplify with every square root, arcsinh and exponential as an independent symbol, squares of roots resolved."""
    if surely_not_zero(expr):
        return expr
    expr = mirror.plain_roots(expr)
    roots = {p.base: sp.Dummy(positive=True) for p in expr.atoms(sp.Pow) if p.exp.is_Rational and not p.exp.is_Integer}
    free = expr.replace(
        lambda e: isinstance(e, sp.Pow) and e.base in roots and not e.exp.is_Integer,
        lambda e: roots[e.base] ** (2 * e.exp),
    )
    free = free.xreplace({f: sp.Dummy(real=True) for f in free.atoms(sp.asinh, sp.exp)})
    numerator = sp.expand(sp.fraction(sp.together(free))[0])
    for base, root in roots.items():
        numerator = sp.expand(sp.rem(numerator, root**2 - base, root)) if numerator.has(root) else numerator
    return numerator if numerator == 0 else expr


def _merged(expr: sp.Expr) -> sp.Expr:
    """Expand the exponents, in which the irrational numbers of cyclic(5) cancel on the ray."""
    return expr.replace(lambda e: isinstance(e, sp.exp), lambda e: sp.exp(sp.expand(e.args[0])))


def _different_imbalances() -> Iterator[Step]:
    """Yield the first-order rates at s (1 + r), s (1 - r) on cyclic(5): two modes of multiplicity 2."""
    s, force = sp.symbols("s λ", positive=True)
    c = sp.symbols("c1:3", positive=True)
    r, u = sp.Symbol("r", real=True), sp.Symbol("u", positive=True)
    model = Model(cyclic(5), [s * (1 + r), s * (1 - r)])
    speed = [sp.sqrt(4 * model.s(i) ** 2 + c[i - 1] ** 2) for i in (1, 2)]
    ray = [v.subs(r, 0) for v in speed]
    forces = [model.lam(i) for i in (1, 2)]
    on_ray = {f: _merged(f.subs(r, 0)) for f in forces}
    growth = sum(v * f for v, f in zip(speed, forces, strict=True)) / 2

    x, y, mean = sp.symbols("x y m̄", positive=True)
    psis = [(lambda v, ci=ci: mirror.potential(v, ci), lambda v, ci=ci: mirror.coordinate(v, ci)) for ci in c]
    V_psi = sum(2 * (f(mean) - f(v) - df(v) * (mean - v)) for (f, df), v in zip(psis, (x, y), strict=True)) / mean
    V = sp.log(mean) - sp.log(x) / 2 - sp.log(y) / 2
    for name, function, coefficient in (
        ("V_psi", V_psi, (1 / ray[1] - 1 / ray[0]) * (ray[0] + ray[1])),
        ("V", V, (ray[0] - ray[1]) / (2 * s)),
    ):
        at = {x: model.s(1), y: model.s(2), mean: s}
        rate = sum(
            sp.diff(function, v).subs(at) * w
            for v, w in ((x, speed[0] * forces[0]), (y, speed[1] * forces[1]), (mean, growth))
        )
        first = sp.diff(rate, r).subs(r, 0)
        yield entries(
            f"Different imbalances: d{name}/dt at s(1 + r), s(1 - r) is lambda r times a number that is not 0 where "
            f"c_1 and c_2 "
            "differ, plus O(r^2): of either sign.",
            [
                (rate.subs(r, 0), sp.S.Zero),
                (first, on_ray[forces[0]] * coefficient),
                (on_ray[forces[0]], on_ray[forces[1]]),
            ],
            "cyclic(5)",
            by=lambda e: _with_roots(_merged(e).subs(s, 5 * sp.log(u))),  # rational in u = e^{s/5}
            shows=force * r * coefficient,
        )


check = residuals_of(derivation)
