"""Every start collapses, except those with a_i + b_i = 0 in some mode.  [ceflow]

Theorem. Two layers on a symmetric association scheme, reduction "sum", any imbalances. Write

    x_i = (a_i + b_i)^2 / 4,   y_i = (a_i - b_i)^2 / 4,   s_i = x_i - y_i,

bars for means weighted by m_i, GM for the geometric mean of the x_i, and W = log(x̄/GM) >= 0. If
x_i(0) > 0 for every mode, then s̄ -> infinity and s_i/s̄ -> 1 for all i: neural collapse. With the
clock tau = log(GM/GM(0)), Y = max_i y_i(0), all quantities at the start marked 0,

    W <= W_1 = W_0 + Y/GM_0                                          at every time,
    x_i/x̄ >= ξ = exp(-1 - (K-1) W_1),
    dW/dtau <= -κ W + (1 + 1/K) (Y/GM_0) e^{-tau},    κ = ξ x̄_0 tanh(x̄_0) / (2K (x̄_0 + ȳ_0)) < 1,
    W <= e^{-κ tau} W_0 + (1 + 1/K) (Y/GM_0) (e^{-κ tau} - e^{-tau})/(1 - κ), GM(t) >= e^{-W_1} s_ray(t; e^{W_1} GM_0),
    so tau grows at least like log log t.

Balanced layers with s_i > 0 have x_i = s_i and Y = 0: W is the V of lyapunov, and V(t) <= V(0) (s_ray(t;
s̄_0)/s̄_0)^{-κ}. There are no assumptions on the signs of s_i, on the multiplicities (equal values are no special
case), on the valencies, or on K >= 2.

The condition is sharp. A mode with a_i + b_i = 0 keeps it, s_i = -a_i^2 <= 0 at all times, and the run does not
collapse. Its limit is not determined here.

The steps are algebra. Three theorems of analysis are quoted, each named in its step: global existence, monotonicity of
a function whose derivative has one sign, and limits. No compactness is used.

Source: [ceflow]; arXiv:2512.04006 has convergence for balanced Hadamard starts.
"""

from __future__ import annotations

from collections.abc import Iterator

import sympy as sp

from . import loss_bound, lyapunov, ray
from ._proof import (
    SCALAR,
    ConvexityGap,
    MeanExp,
    Step,
    entries,
    gap_lemmas,
    identity,
    nonnegative,
    open_gaps,
    residuals_of,
    vanish,
)
from ._quoted import EXISTENCE, LIMITS, MONOTONE
from ._schemes import Model, cyclic, hamming
from ._sums import Generic, normal, summed

SCHEMES = (cyclic(5), hamming(2, 3))

WRONG = {
    "s = x + y": {"imbalance_sign": 1},
    "logits that spread with 1/(K-1)": {"spread_classes": -1},
    "pairs without the half angle": {"angle": 1},
    "no valencies in the mean of the logits": {"valencies": False},
    "a share that is bounded by W without K - 1": {"share_factor": 0},
    "twice the rate": {"speed": 2},
    "a mode with a = -b leaves this set": {"departure": 1},
}


def rate(K: sp.Expr, W1: sp.Expr, x_mean: sp.Expr, y_mean: sp.Expr) -> sp.Expr:
    """Return κ, the rate at which W falls per unit of tau."""
    return sp.exp(-1 - (K - 1) * W1) * x_mean * sp.tanh(x_mean) / (2 * K * (x_mean + y_mean))


def bound(tau: sp.Expr, W0: sp.Expr, ratio: sp.Expr, kappa: sp.Expr, K: sp.Expr) -> sp.Expr:
    """Return the upper bound of W at tau; `ratio` is Y/GM_0."""
    return sp.exp(-kappa * tau) * W0 + (1 + 1 / K) * ratio * (sp.exp(-kappa * tau) - sp.exp(-tau)) / (1 - kappa)


def derivation(
    imbalance_sign: int = -1,
    spread_classes: int = 0,
    angle: sp.Expr = sp.S.Half,
    valencies: bool = True,
    share_factor: int = 1,
    speed: int = 1,
    departure: int = 0,
) -> Iterator[Step]:
    """Yield the proof; arguments are constants and signs of its claims, see `WRONG`."""
    g = Generic()
    yield from _coordinates(departure)
    yield from _identity(g, imbalance_sign)
    yield from _pairs(g, angle, valencies)
    yield from _spread(g, spread_classes)
    yield from _shares(g, share_factor)
    yield from _inequality(speed)
    yield from _time()


def _coordinates(departure: int) -> Iterator[Step]:
    a, b, lam = sp.symbols("a b λ", real=True)
    da, db = b * lam, a * lam
    x, y = (a + b) ** 2 / 4, (a - b) ** 2 / 4

    def rate_of(e: sp.Expr) -> sp.Expr:
        return sp.diff(e, a) * da + sp.diff(e, b) * db

    yield identity("s = a b is x - y.", a * b, x - y, SCALAR).on(name="split")
    yield entries(
        "d log x/dt = 2 λ and d log y/dt = -2 λ, without a condition on the imbalance: x y is conserved. As 0 < λ <= "
        "2, x > 0 grows, at most like e^{4t}, and y falls: the solution exists for all t.",
        [(rate_of(x), 2 * lam * x), (rate_of(y), -2 * lam * y), (rate_of(x * y), sp.S.Zero)],
        SCALAR,
    ).on("reduction.modes", "positivity.positive", "positivity.at most 2", name="clock", quotes=(EXISTENCE, MONOTONE))
    yield identity(
        "A mode with a + b = 0 keeps it (d(a + b)/dt = λ (a + b)), and then s = -a^2 <= 0: no collapse. So x_i(0) > 0 "
        "for all i is necessary.",
        (a + b).diff(a) * da + (a + b).diff(b) * db,
        lam * (a + b) + departure * lam,
        SCALAR,
    ).on("reduction.modes", ".split", name="necessary", quotes=(EXISTENCE,))


def _identity(g: Generic, sign: int) -> Iterator[Step]:
    """Yield dW/dtau in terms of the excess A of the logits and of the y_i."""
    x, y = sp.IndexedBase("x", positive=True), sp.IndexedBase("y", nonnegative=True)
    xbar, ybar = sp.symbols("x̄ ȳ", positive=True)
    i, error = g.i, 1 - g.p0
    sums = [(summed, g.m(summed) * x[summed], (g.K - 1) * xbar), (summed, g.m(summed) * y[summed], (g.K - 1) * ybar)]
    yield identity(
        "The geometric mean of the x_i is a clock: d log GM/dt = (2/(K-1)) sum_i m_i λ_i = (2K/(K-1)) (1 - p_0).",
        2 * g.sum(lambda i: g.m(i) * g.lam(i)) / (g.K - 1),
        2 * g.K / (g.K - 1) * error,
        g.name,
        by=g.vanish,
    ).on(".clock", "geometric_mean.trace", "closure.axioms", name="tau")
    yield identity(
        "W of the x_i is V of lyapunov, with x_i for s_i, and moves by (2/((K-1) x̄)) sum_i m_i λ_i (x_i - x̄): divided "
        "by dtau/dt it obeys x̄ (1 - p_0) K dW/dtau = sum_i m_i λ_i (x_i - x̄).",
        g.derivative(lyapunov.value(g), lambda i: 2 * g.s(i) * g.lam(i)) / (2 * g.K / (g.K - 1) * error),
        g.sum(lambda i: g.m(i) * g.lam(i) * (g.s(i) - g.sbar)) / (g.sbar * error * g.K),
        g.name,
        by=g.vanish,
    ).on(".clock", ".tau", "closure.axioms", name="speed")
    excess = g.sum(lambda j: g.k(j) * g.p(j) * (g.z(j) - g.zbar))

    def split(expr: sp.Expr) -> sp.Expr:
        moved = g.unfold(expr).replace(
            lambda e: isinstance(e, sp.Indexed) and e.base == g._s,
            lambda e: x[e.indices[0]] + sign * y[e.indices[0]],
        )
        return vanish(normal(moved.xreplace({g.sbar: xbar + sign * ybar}), [*g.axioms, *sums]))

    yield identity(
        "With x = s + y, sum_i m_i λ_i (x_i - x̄) is -K sum_j k_j p_j (z_j - z̄) + "
        "sum_i m_i λ_i (y_i - ȳ): with A the mean of z_j - z̄ under the weights k_j p_j, dW/dtau = -(A - Δ)/x̄, where Δ "
        "is a mean of y_i - ȳ with the weights m_i λ_i.",
        g.sum(lambda i: g.m(i) * g.lam(i) * (x[i] - xbar)),
        -g.K * excess + g.sum(lambda i: g.m(i) * g.lam(i) * (y[i] - ybar)),
        g.name,
        by=split,
    ).on(
        ".split", ".speed", "closure.axioms", "lyapunov.trace", "lyapunov.weighted", "lyapunov.mean", name="dissipation"
    )
    top, low = sp.Symbol("Y", positive=True), sp.IndexedBase("d", nonnegative=True)
    weight = sp.IndexedBase("w", nonnegative=True)
    yield nonnegative(
        "Δ <= Y: with weights w_i >= 0 that sum to 1, d_i = Y - y_i >= 0 and ȳ >= 0 (λ_i > 0; y_i <= y_i(0) <= Y).",
        top - sp.Sum(weight[i] * (y[i] - ybar), (i, 1, g.D)),
        ybar + sp.Sum(weight[i] * low[i], (i, 1, g.D)),
        g.name,
        by=lambda e: vanish(normal(e.xreplace({low[i]: top - y[i]}), [(summed, weight[summed], sp.S.One)])),
    ).on(".clock", ".tau", ".dissipation", "positivity.positive", name="perturbation")


def _pairs(g: Generic, angle: sp.Expr, valencies: bool) -> Iterator[Step]:
    """Yield A >= Var(z) tanh(R/2)/R, R the range of the logits off the diagonal."""
    zj, zh = g.z(g.j), g.z(g.h)
    pair = (g.p(g.j) - g.p(g.h)) * (zj - zh)
    total = (g.p(g.j) + g.p(g.h)) * (zj - zh) * sp.tanh((zj - zh) * angle)
    yield identity(
        "p_j/p_h = exp(z_j - z_h) makes every pair of the dissipation exactly (p_j + p_h) times z_j - z_h times the "
        "tanh of half of it: A >= 0.",
        pair,
        total,
        g.name,
        by=lambda e: vanish(sp.expand(g.softmax(e.rewrite(sp.exp)))),
    ).on("closure.softmax", "lyapunov.pairs", name="half angle")
    u, r = sp.symbols("u r", positive=True)
    yield nonnegative(
        "tanh(v)/v falls: minus its slope times v^2 cosh(v)^2 is (sinh(2v) - 2v)/2, here as the integral of sinh(u)^2 "
        "over 0 < u < v. So tanh(d/2)/d >= tanh(R/2)/R for 0 < d <= R.",
        -sp.diff(sp.tanh(r) / r, r) * r**2 * sp.cosh(r) ** 2,
        sp.Integral((sp.exp(u) - sp.exp(-u)) ** 2 / 2, (u, 0, r)),
        SCALAR,
        by=lambda e: sp.simplify(sp.simplify(e.doit().rewrite(sp.exp))),
    ).on(name="tanh", quotes=(MONOTONE,))
    weight = g.k if valencies else lambda j: sp.S.One
    square = g.sum(lambda j: g.sum(lambda h: g.k(j) * g.k(h) * (g.p(j) + g.p(h)) * (g.z(j) - g.z(h)) ** 2))
    mean = g.sum(lambda h: weight(h) * g.z(h)) / (g.K - 1)
    terms = 2 * (g.K - 1) * g.sum(lambda j: g.k(j) * g.p(j) * (g.z(j) - mean) ** 2) + 2 * (1 - g.p0) * g.sum(
        lambda j: weight(j) * (g.z(j) - mean) ** 2
    )
    yield identity(
        "The pairs of squares split at the mean: 2 (1 - p_0) sum_j k_j (z_j - z̄)^2 and a sum of squares with the "
        "weights k_j p_j. With the two lines above, A >= (tanh(R/2)/R) sum_j k_j (z_j - z̄)^2/(K - 1).",
        square,
        terms,
        g.name,
        by=lambda e: vanish(normal(e.xreplace({g.p0: 1 - g.sum(lambda j: g.k(j) * g.p(j))}), g.axioms)),
    ).on(".half angle", ".tanh", "lyapunov.pairs", "closure.axioms", name="variance")


def _spread(g: Generic, classes: int) -> Iterator[Step]:
    """Yield the variance of the logits in terms of the s_i, and a bound of their range."""
    yield identity("The mean of the logits off the diagonal is -s̄/K.", g.zbar, -g.sbar / g.K, g.name, by=g.vanish).on(
        "closure.axioms", "closure.logits", name="mean"
    )
    yield identity(
        "The logits off the diagonal spread like the singular values: sum_j k_j (z_j - z̄)^2 = (1/K) sum_i m_i (s_i - "
        "s̄)^2, by orthogonality of the rows of P ...",
        g.sum(lambda j: g.k(j) * (g.z(j) + g.sbar / g.K) ** 2),
        g.sum(lambda i: g.m(i) * (g.s(i) - g.sbar) ** 2) / (g.K + classes),
        g.name,
        by=g.vanish,
    ).on("closure.axioms", "closure.logits", ".mean", name="spread")
    size, f = sp.IndexedBase("S", nonnegative=True), sp.IndexedBase("f", nonnegative=True)
    i, j = g.i, g.j
    bounds = {f[i, j]: g.k(j) - g.P(i, j)}
    mean = g.sum(lambda i: g.m(i) * size[i]) / g.K
    yield nonnegative(
        "... and |z_j| <= (1/K) sum_i m_i |s_i| as |P_ij| <= k_j: here for the upper bound with S_i = |s_i|, f_ij = "
        "k_j - P_ij >= 0; the lower one has k_j + P_ij. |s_i| <= x_i + y_i, so the range R is at most 2 (x̄ + ȳ).",
        mean - g.sum(lambda i: g.m(i) * size[i] * g.P(i, j)) / (g.K * g.k(j)),
        sp.Sum(g.m(i) * size[i] * f[i, j], (i, 1, g.D)) / (g.K * g.k(j)),
        g.name,
        by=lambda e: g.vanish(e.xreplace(bounds)),
    ).on("positivity.k I - A", "positivity.k I + A", "closure.logits", ".split", name="range")
    for scheme in SCHEMES:
        model = Model(scheme)
        spread = model.sum(lambda j, m=model: m.k(j) * (m.z(j) - m.zbar) ** 2)
        squares = model.sum(lambda i, m=model: m.m(i) * (m.s(i) - m.sbar) ** 2)
        yield entries(
            f"{scheme.name}: the spread of the logits, with explicit numbers.",
            [(spread, squares / (model.K + classes))],
            scheme.name,
            by=lambda e: sp.simplify(sp.expand(e)),
        )
    x, y, xbar, ybar = sp.IndexedBase("x", positive=True), sp.IndexedBase("y", nonnegative=True), *_means()
    sums = [(summed, g.m(summed) * x[summed], (g.K - 1) * xbar), (summed, g.m(summed) * y[summed], (g.K - 1) * ybar)]
    yield nonnegative(
        "sum_i m_i (s_i - s̄)^2 >= sum_i m_i (x_i - x̄)^2 - 2 sum_i m_i x_i y_i, the last sum conserved and at most "
        "(K-1) x̄ Y.",
        g.sum(lambda i: g.m(i) * ((x[i] - y[i] - xbar + ybar) ** 2 - (x[i] - xbar) ** 2 + 2 * x[i] * y[i])),
        g.sum(lambda i: g.m(i) * (y[i] - ybar) ** 2) + 2 * (g.K - 1) * xbar * ybar,
        g.name,
        by=lambda e: vanish(normal(e, [*g.axioms, *sums])),
    ).on("closure.axioms", ".split", ".clock", name="squares")


def _means() -> tuple[sp.Symbol, sp.Symbol]:
    return sp.Symbol("x̄", positive=True), sp.Symbol("ȳ", nonnegative=True)


def _shares(g: Generic, factor: int) -> Iterator[Step]:
    """Yield W against the shares r_i = x_i/x̄: bounds from below of the smallest, and of their variance."""
    share, i = sp.IndexedBase("r", positive=True), g.i
    rule = [(summed, g.m(summed) * share[summed], g.K - 1)]
    W = -g.sum(lambda i: g.m(i) * sp.log(share[i])) / (g.K - 1)
    yield from gap_lemmas(ConvexityGap)
    v = sp.log(share[i])
    yield nonnegative(
        "With the shares r_i = x_i/x̄ of mean 1, (K-1) W = sum_i m_i (r_i - 1 - log r_i), every term non-negative. So "
        "log r_i >= r_i - 1 - (K-1) W/m_i: r_i >= exp(-1 - (K-1) W), and W -> 0 implies r_i -> 1.",
        (g.K - 1) ** factor * W,
        sp.Sum(g.m(i) * v**2 * ConvexityGap(v), (i, 1, g.D)),
        g.name,
        by=lambda e: vanish(normal(sp.expand(open_gaps(e)), [*g.axioms, *rule])),
    ).on("closure.axioms", ".ε₂", name="shares")
    yield nonnegative(
        "log(1/r) <= 1/r - 1 termwise, the gap at log(1/r), and 1/r - 1 = (1 - r) + (1 - r)^2/r: with r_i >= ξ the "
        "sum of m_i (r_i - 1)^2 is at least ξ (K - 1) W.",
        g.sum(lambda i: g.m(i) * (share[i] - 1) ** 2 / share[i]) - (g.K - 1) * W,
        sp.Sum(g.m(i) * v**2 * ConvexityGap(-v), (i, 1, g.D)),
        g.name,
        by=lambda e: vanish(normal(sp.expand(open_gaps(e)), [*g.axioms, *rule])),
    ).on("closure.axioms", ".shares", ".ε₂", name="quadratic")


def _inequality(speed: int) -> Iterator[Step]:
    """Yield the differential inequality of W, its solution, and the bound W_1."""
    K, Y, GM, tau, W0, kappa = sp.symbols("K Y GM_0 τ W_0 κ", positive=True)
    xbar, ybar = _means()
    A, ahead, below = sp.symbols("A l p", nonnegative=True)
    clock = GM * sp.exp(tau)
    lead = clock + ahead
    yield nonnegative(
        "x̄ = GM e^W >= GM = GM_0 e^tau (x̄ = GM + l), A >= 0 and Δ <= Y (Δ = Y - p): W + (Y/GM_0) e^{-tau} does not "
        "grow. So W <= W_1 = W_0 + Y/GM_0 at all times.",
        -(-(A - (Y - below)) / lead + sp.diff(Y / GM * sp.exp(-tau), tau)),
        (A + below) / lead + Y * ahead / (clock * lead),
        SCALAR,
    ).on(".speed", ".dissipation", ".half angle", ".perturbation", ".shares", name="bounded", quotes=(MONOTONE,))
    xi, W, T, flat, spare, slack = sp.symbols("ξ W T f e d", nonnegative=True)
    v, classes = xbar + ybar, sp.Symbol("K", positive=True)
    spread = xbar**2 * xi * W + spare - 2 * (xbar * Y - slack)
    yield nonnegative(
        "Together A >= (T/(2 v K)) [x̄^2 ξ W + e - 2 (x̄ Y - d)] with v = x̄ + ȳ, T = tanh(v) = 1 - f and excesses e, d "
        ">= 0 (tanh(R/2)/R falls, R <= 2 v). So A/x̄ + Y/(K x̄) exceeds x̄ T ξ W/(2 v K) by this.",
        T * spread / (2 * v * classes * xbar) + Y / (classes * xbar) - speed * xbar * T * xi * W / (2 * v * classes),
        T * (spare + 2 * slack) / (2 * v * classes * xbar) + Y * (ybar + flat * xbar) / (classes * xbar * v),
        SCALAR,
        by=lambda e: vanish(e.xreplace({flat: 1 - T})),
    ).on(".variance", ".spread", ".range", ".squares", ".quadratic", ".tanh", name="drift")
    lead, drop, more = sp.symbols("δ ε d", nonnegative=True)
    x0 = sp.Symbol("x̄_0", positive=True)
    yield nonnegative(
        "x̄ grows and ȳ falls (x̄ = x̄_0 + δ, ȳ_0 = ȳ + ε): x̄/(x̄ + ȳ) does not fall ...",
        (x0 + lead) / (x0 + lead + ybar) - x0 / (x0 + ybar + drop),
        (x0 * drop + lead * ybar + lead * drop) / ((x0 + lead + ybar) * (x0 + ybar + drop)),
        SCALAR,
    ).on(".clock", name="share")
    yield nonnegative(
        "... and tanh(v) >= tanh(x̄_0), v = x̄_0 + d: so x̄ tanh(v)/(2 v K) is at least κ/ξ. κ is a product of three "
        "numbers between 0 and 1, over 2K.",
        sp.tanh(x0 + more) - sp.tanh(x0),
        sp.sinh(more) / (sp.cosh(x0) * sp.cosh(x0 + more)),
        SCALAR,
        by=lambda e: vanish(sp.expand(e.rewrite(sp.exp))),
    ).on(".share", name="constant")
    size, spare = sp.symbols("W q", nonnegative=True)
    mean = clock + ahead
    drift = kappa * size - Y / (K * mean) + spare  # A/x̄, by drift and constant
    yield nonnegative(
        "Hence dW/dtau <= -κ W + (1 + 1/K) (Y/GM_0) e^{-tau}: A/x̄ = κ W - Y/(K x̄) + q, Δ = Y - p, x̄ = GM_0 e^tau + l, "
        "and what is left is not negative.",
        -kappa * size + (1 + 1 / K) * Y / GM * sp.exp(-tau) + drift - (Y - below) / mean,
        spare + below / mean + (1 + 1 / K) * Y * ahead / (clock * mean),
        SCALAR,
    ).on(".speed", ".dissipation", ".perturbation", ".bounded", ".drift", ".constant", ".shares", name="inequality")
    U = bound(tau, W0, Y / GM, kappa, K)
    forced = (1 + 1 / K) * Y / GM * sp.exp(-tau)
    yield identity(
        "The claimed bound U solves dU/dtau = -κ U + (1 + 1/K) (Y/GM_0) e^{-tau} ...",
        sp.diff(U, tau),
        -kappa * U * speed + forced,
        SCALAR,
    ).on(name="solution")
    yield identity("... with U(0) = W_0.", U.subs(tau, 0), W0, SCALAR).on(name="start")
    path, short = sp.Function("W")(tau), sp.Symbol("q", nonnegative=True)
    rate_of_W = -kappa * path + forced - short
    gap = sp.diff(sp.exp(kappa * tau) * (U - path), tau).subs(sp.diff(path, tau), rate_of_W)
    yield nonnegative(
        "Comparison, by the integrating factor: with dW/dtau less than that by q >= 0, e^{κ tau} (U - W) has the "
        "derivative e^{κ tau} q. It is 0 at the start, so W <= U.",
        gap,
        sp.exp(kappa * tau) * short,
        SCALAR,
    ).on(".inequality", ".solution", ".start", name="decay", quotes=(MONOTONE,))
    yield identity(
        "The bound tends to 0 as tau -> infinity.",
        sp.limit(U, tau, sp.oo),
        sp.S.Zero,
        SCALAR,
        shows=sp.Eq(sp.Limit(U, tau, sp.oo), 0, evaluate=False),
    ).on(".decay", name="limit")


def _time() -> Iterator[Step]:
    """Yield that tau is unbounded: GM is bounded below by a ray."""
    n, y, excess, start = sp.symbols("n y ρ s_0", positive=True)
    mean, lead = sp.Symbol("s̄", real=True), sp.Symbol("δ", nonnegative=True)
    growth = y * 2 * (n + 1) / n * (loss_bound.error_bound(mean, n + 1) + excess)
    yield from gap_lemmas(MeanExp)
    yield nonnegative(
        "y = e^{W_1} GM is at least x̄ >= s̄, y = s̄ + δ, and 1 - p_0 is at least (K-1)/(e^{s̄} + K - 1) whatever the sign "
        "of s̄; n = K - 1. T(y) - t does not decrease: the ray's time T(y) runs at least as fast as t, "
        "and GM(t) >= e^{-W_1} s_ray(t; y_0).",
        sp.diff(ray.time(y, start, n + 1), y) * growth - 1,
        sp.exp(mean) * lead * MeanExp(lead) / (sp.exp(mean) + n) + excess * (sp.exp(y) + n) / n,
        SCALAR,
        by=lambda e: vanish(open_gaps(e).subs(y, mean + lead)),
    ).on(".tau", ".bounded", ".split", "loss_bound.error", "ray.time", ".ε₁", name="time", quotes=(MONOTONE,))
    W0, kappa, at, x, small, share, part = sp.symbols("W_0 κ s x̄ ȳ r y", positive=True)
    yield identity(
        "Balanced, Y = 0: GM >= e^{-W_0} s, s = s_ray(t; x̄_0), x̄_0 = e^{W_0} GM_0, so that W <= W_0 (s/x̄_0)^{-κ}.",
        bound(sp.log(at * sp.exp(-W0) / start), W0, sp.S.Zero, kappa, n + 1),
        W0 * (at / (sp.exp(W0) * start)) ** -kappa,
        SCALAR,
        by=lambda e: vanish(e.subs({at: sp.exp(mean), start: sp.exp(sp.Symbol("u", real=True))})),
    ).on(".decay", ".time", name="balanced")
    yield entries(
        "T(y) is finite for every y, so GM, x̄ and tau tend to infinity, W to 0, and s_i/s̄ = (x_i - y_i)/(x̄ - ȳ) to 1, "
        "as y_i and ȳ stay bounded: here with x_i = r x̄, and r -> 1 by the shares.",
        [(sp.limit((share * x - part) / (x - small), x, sp.oo), share)],
        SCALAR,
        shows=sp.Eq(sp.Limit((share * x - part) / (x - small), x, sp.oo), share, evaluate=False),
    ).on(".time", ".limit", ".shares", ".clock", ".split", name="collapse", quotes=(LIMITS,))


check = residuals_of(derivation)
