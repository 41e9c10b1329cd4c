"""ceflow's numbers against the formulas that the derivations prove, evaluated in 50-digit arithmetic.

The two share no code: the derivations are exact expressions in sympy, on schemes of their own. Tolerances are relative.
TIGHT is rounding; where a test asks for less it says what limits it.
"""

from functools import cache

import mpmath
import numpy as np
import pytest
import sympy as sp
from numpy.testing import assert_allclose
from scipy.integrate import solve_ivp

import ceflow
from ceflow import SpectralFlow, integrate, theory
from ceflow import lyapunov as numeric
from ceflow.losses import cross_entropy, log_odds_of_error
from derivations import (
    _schemes,
    common_imbalance,
    conservation,
    depth,
    geometric_mean,
    linearization,
    loss_bound,
    lyapunov,
    mirror,
    ray,
    time_bounds,
)

TIGHT = 1e-12
FACTORIES = [("hadamard", 4), ("hadamard", 8), ("cyclic", 5), ("johnson", 4, 2), ("hamming", 2, 3)]
by_scheme = pytest.mark.parametrize("which", FACTORIES, ids=lambda which: "-".join(map(str, which)))
by_reduction = pytest.mark.parametrize("reduction", ["mean", "sum"])
C = sp.Symbol("c", positive=True)


@cache
def scheme_of(which):
    return getattr(ceflow, which[0])(*which[1:])


@cache
def model_of(which):
    return _schemes.Model(getattr(_schemes, which[0])(*which[1:]))


def exactly(arguments, expressions):
    """The expressions as a function of floats that works with 50 digits and rounds at the end."""
    function = sp.lambdify(arguments, expressions, "mpmath", cse=True)

    def evaluated(*values):
        with mpmath.workdps(50):
            result = function(*(mpmath.mpf(float(v)) for v in values))
            return np.array(result, dtype=float) if isinstance(result, list) else float(result)

    return evaluated


@cache
def formulas(which):
    """All that depends on the state (s, c); times are those of reduction "sum"."""
    model = model_of(which)
    modes = range(1, model.D + 1)
    expressions = {
        "margins": [model.z0 - model.z(j) for j in modes],
        "wrong": [model.k(j) * model.p(j) for j in modes],
        "forces": [model.lam(i) for i in modes],
        "loss": mirror.loss(model),
        "balanced": [depth.velocity(model.s(i), model.lam(i), sp.Integer(2)) for i in modes],
        "V": lyapunov.value(model),
        "dV": lyapunov.dissipation(model),
        "dV_pairs": lyapunov.dissipation_pairs(model),
        "V_c": common_imbalance.value(model, C),
        "dV_c": common_imbalance.dissipation(model, C),
        "log_mean": geometric_mean.log_mean(model),
        "growth": geometric_mean.growth(model),
        "jensen": loss_bound.loss_bound(model.sbar, model.K),
    }
    functions = {name: exactly([*model.singular_values, C], e) for name, e in expressions.items()}
    return {name: lambda s, c=1.0, f=f: f(*s, c) for name, f in functions.items()}


def states(which, seed=0):
    """Near the origin, in between, late, and two near collapse: all positive."""
    rng = np.random.default_rng([seed, *which[1:]])
    modes = scheme_of(which).modes
    return [
        *(scale * rng.uniform(0.2, 1.0, modes) for scale in (1e-3, 3.0, 3.0, 30.0)),
        *(2.5 * (1 + spread * rng.uniform(-1.0, 1.0, modes)) for spread in (1e-3, 1e-6)),
    ]


def unit(which, reduction):
    """Units of "sum" time in one of the reduction's."""
    return scheme_of(which).classes if reduction == "mean" else 1


def gauss(function, low, high, nodes=80):
    """Integral over t of a function of an array of times, by Gauss's rule in log t."""
    x, w = np.polynomial.legendre.leggauss(nodes)
    half = 0.5 * np.log(high / low)
    t = np.sqrt(low * high) * np.exp(half * x)
    return half * np.sum(w * t * function(t))


@by_scheme
def test_scheme_data(which):
    scheme, exact = scheme_of(which), model_of(which).scheme
    assert scheme.classes == exact.K
    assert np.array_equal(scheme.relations(), exact.labels)
    assert np.array_equal(scheme.valencies, np.array(exact.k, float))
    assert np.array_equal(scheme.multiplicities, exact.m)
    P = np.array([[sp.N(v, 30) for v in row] for row in exact.P], float)
    assert_allclose(scheme.eigenmatrix, P, rtol=TIGHT, atol=1e-15)
    basis = scheme.basis()
    for i, projector in enumerate(exact.E):
        vectors = basis[:, scheme.columns == i]
        entries = np.array([sp.N(v, 30) for v in projector], float).reshape(exact.K, exact.K)
        assert_allclose(vectors @ vectors.T, entries, rtol=0, atol=1e-14)


@by_scheme
def test_margins_softmax_forces_and_loss(which):
    """The fast transform is accurate relative to the sum of its input, hence the absolute part."""
    scheme, exact = scheme_of(which), formulas(which)
    for s in states(which):
        margins, wrong = scheme.margins(s), exact["wrong"](s)
        assert_allclose(margins, exact["margins"](s), rtol=TIGHT, atol=1e-14 * s.max())
        odds = log_odds_of_error(margins, scheme.valencies[1:])
        softmax = scheme.valencies[1:] * np.exp(-margins - cross_entropy(odds))
        assert_allclose(softmax, wrong, rtol=TIGHT)
        assert_allclose(scheme.forces(softmax), exact["forces"](s), rtol=TIGHT, atol=1e-14 * wrong.sum())
        assert_allclose(scheme.classes * cross_entropy(odds), exact["loss"](s), rtol=TIGHT)


@by_scheme
@by_reduction
def test_reduced_right_hand_side(which, reduction):
    """The compiled rates, which are scaled to unit size, times their scale: the forces, and with them ds/dt."""
    flow, exact = SpectralFlow(scheme_of(which), reduction=reduction), formulas(which)
    for s in states(which)[:4]:
        y = np.zeros(s.size)
        field = flow.motion(flow.start(s), y, -np.inf, 1e-9, closed_form=False)
        dy = np.empty_like(y)
        phi, _ = field.rates(y, dy)
        rates = dy * np.exp(-phi) * unit(which, reduction)
        size = TIGHT * np.abs(exact["forces"](s)).max() / 10
        assert_allclose(rates, exact["forces"](s), rtol=TIGHT, atol=size)
        assert_allclose(2 * s * rates, exact["balanced"](s), rtol=TIGHT, atol=2 * size * s.max())


@by_scheme
def test_layers_obey_the_equations_and_conserve_the_imbalance(which):
    """Against the two-layer equations with the exact forces; 1e-9 is what the reference integration reaches."""
    scheme, model = scheme_of(which), model_of(which)
    rng = np.random.default_rng(3)
    start = rng.uniform(0.1, 1.0, (2, scheme.modes)) * np.stack(
        [np.ones(scheme.modes), rng.choice([-1, 1], scheme.modes)]
    )
    forces = sp.lambdify(model.singular_values, [model.lam(i) for i in range(1, model.D + 1)], "numpy", cse=True)

    def velocity(t, layers):
        a, b = layers.reshape(2, -1)
        lam = np.array(forces(*(a * b)))
        return np.concatenate([b * lam, a * lam])

    times = [0.3, 2.0, 15.0]
    reference = solve_ivp(velocity, (0, 15), start.ravel(), method="DOP853", t_eval=times, rtol=1e-12, atol=1e-13)
    run = integrate(SpectralFlow(scheme, reduction="sum"), start, t_eval=times, rtol=1e-12)
    run = run[-3:]
    assert_allclose(run.layers, reference.y.T.reshape(3, 2, -1), rtol=1e-9, atol=1e-10)
    a, b = start
    sizes = (run.layers**2).sum(axis=1)
    assert np.all(np.abs(run.conserved - (a**2 - b**2)) <= 1e-14 * sizes)
    names = sp.symbols("a b Lambda")
    product = exactly(names, conservation.singular_value(*names))
    for s, y, size in zip(run.singular_values, run.y, sizes, strict=True):
        assert np.all(np.abs(s - [product(*v) for v in zip(a, b, y, strict=True)]) <= TIGHT * size)


@by_scheme
@by_reduction
def test_lyapunov_function_and_its_dissipation(which, reduction):
    """Near collapse a rounding error of s is one of 1e-16/r relative to the deviations r: the tolerance is 1e-14/r."""
    scheme, exact, per = scheme_of(which), formulas(which), unit(which, reduction)
    for s in states(which):
        tolerance = max(TIGHT, 1e-14 / np.ptp(s / s.mean()))
        assert_allclose(numeric.lyapunov(scheme, s), exact["V"](s), rtol=tolerance)
        computed = numeric.dissipation(scheme, s, reduction) * per
        assert_allclose(computed, exact["dV"](s), rtol=tolerance)
        assert_allclose(computed, exact["dV_pairs"](s), rtol=tolerance)


@by_scheme
@by_reduction
@pytest.mark.parametrize("c", [1e-3, 0.7, 20.0])
def test_common_imbalance_and_its_dissipation(which, reduction, c):
    scheme, exact, per = scheme_of(which), formulas(which), unit(which, reduction)
    mixed = states(which)[1].copy()
    mixed[0] = -0.1 * mixed[1:].min()  # one negative singular value, a positive mean
    for s in [*states(which), mixed]:
        tolerance = max(TIGHT, 1e-14 / np.ptp(s / s.mean()))
        assert_allclose(numeric.common_imbalance(scheme, s, c), exact["V_c"](s, c), rtol=tolerance)
        computed = numeric.common_imbalance_dissipation(scheme, s, c, reduction) * per
        assert_allclose(computed, exact["dV_c"](s, c), rtol=tolerance)


@by_scheme
def test_identities_along_trajectories(which):
    """log GM, V and V_c between two times are the integrals of their exact rates; 1e-9 for runs at rtol 1e-12."""
    scheme, exact = scheme_of(which), formulas(which)
    s, c, ends = states(which, seed=5)[1], 0.4, (0.05, 8.0)
    flow = SpectralFlow(scheme, reduction="sum")
    plus = np.sqrt(np.hypot(s, c / 2) + c / 2)
    runs = {0.0: s, c: np.stack([plus, s / plus])}
    for imbalance, quantities in ((0.0, {"log_mean": "growth", "V": "dV"}), (c, {"V_c": "dV_c"})):
        run = integrate(flow, runs[imbalance], 10.0, rtol=1e-12, closed_form=False)
        for value, rate in quantities.items():
            at = [exact[value](x, c) for x in run.at(ends).singular_values]
            total = gauss(
                lambda t, run=run, r=rate: np.array([exact[r](x, c) for x in run.at(t).singular_values]), *ends
            )
            assert abs(total) > 1e-4
            assert_allclose(at[1] - at[0], total, rtol=1e-9, atol=1e-11)


@by_scheme
@by_reduction
def test_jensen_bound(which, reduction):
    scheme, exact, per = scheme_of(which), formulas(which), unit(which, reduction)
    for s in states(which):
        mean = scheme.multiplicities[1:] @ s / (scheme.classes - 1)
        bound = theory.collapsed_loss(mean, scheme.classes, reduction=reduction) * per
        assert_allclose(bound, exact["jensen"](s), rtol=TIGHT)
        assert exact["loss"](s) >= bound * (1 - TIGHT)
    assert exact["loss"](states(which)[3]) > 1.01 * exact["jensen"](states(which)[3])
    collapsed = np.full(scheme.modes, 1.7)
    assert_allclose(theory.collapsed_loss(1.7, scheme.classes, reduction="sum"), exact["loss"](collapsed), rtol=TIGHT)


@pytest.mark.parametrize("classes", [2, 5, 9])
def test_balanced_ray_time(classes):
    s, s0 = sp.symbols("s s_0", positive=True)
    exact = exactly([s, s0], ray.time(s, s0, sp.Integer(classes)))
    for ends in ((2.0, 1.0), (1e-3, 1e-5), (40.0, 0.3), (3.0 + 1e-6, 3.0)):
        assert_allclose(theory.ray_time(*ends, classes, reduction="sum"), exact(*ends), rtol=TIGHT)
        assert_allclose(theory.ray_time(*ends, classes), classes * exact(*ends), rtol=TIGHT)
        back = theory.ray_singular_value(exact(*ends), s0=ends[1], classes=classes, reduction="sum")
        assert_allclose(back, ends[0], rtol=TIGHT)


@pytest.mark.parametrize("c", [0.05, 0.5, 3.0])
def test_unbalanced_ray_time(c):
    """100 terms of the Bessel series: the rest is below 1e-20 for s <= 12."""
    theta, theta0 = sp.symbols("theta theta_0", real=True)
    series = ray.unbalanced_time(theta, theta0, C, sp.Integer(6), 100).doit()
    s, s0 = sp.symbols("s s_0", nonnegative=True)
    angles = {theta: sp.asinh(2 * s / C), theta0: sp.asinh(2 * s0 / C)}
    exact = exactly([s, s0, C], series.xreplace(angles))
    for ends in ((2.0, 1.0), (0.1, 0.0), (12.0, 1e-4)):
        time = theory.ray_time(*ends, 6, imbalance=c, reduction="sum")
        assert_allclose(time, exact(*ends, c), rtol=TIGHT)


@by_scheme
@by_reduction
@pytest.mark.parametrize("t", [0.02, 1.0, 300.0])
def test_finite_time_bounds(which, reduction, t):
    """Both bounds as numbers, and that the flow respects them; `t` is in the units of "sum"."""
    scheme, exact, per = scheme_of(which), formulas(which), unit(which, reduction)
    start, multiplicities = states(which, seed=7)[1], [int(m) for m in scheme.multiplicities[1:]]
    K, mean = scheme.classes, float(scheme.multiplicities[1:] @ start / (scheme.classes - 1))
    x, s0 = sp.symbols("x s_0", positive=True)
    run = integrate(SpectralFlow(scheme, reduction="sum"), start, t_eval=[t], rtol=1e-11)[-1]
    with mpmath.workdps(40):
        elapsed = sp.lambdify([x, s0], ray.time(x, s0, sp.Integer(K)), "mpmath")
        on_ray = mpmath.findroot(
            lambda v: mpmath.log(elapsed(v, mpmath.mpf(mean))) - mpmath.log(t),
            (mean * 1.01, mean + 15),
            solver="anderson",
        )
        expected = time_bounds.geometric_mean_bound(sp.Float(exact["V"](start), 40), sp.Float(on_ray, 40))
        price = time_bounds.loss_at_most(sp.Float(t, 40), x, multiplicities, [sp.Float(v, 40) for v in start])
        slope = sp.lambdify(x, sp.diff(price, x), "mpmath")
        sigma = mpmath.findroot(slope, (mpmath.mpf("0.01"), 60), solver="anderson", tol=1e-25)
        least = float(sp.lambdify(x, price, "mpmath")(sigma))
    bound = theory.geometric_mean_bound(scheme, start, t * per, reduction=reduction)
    assert_allclose(bound, float(expected), rtol=1e-11)  # the inverse of the ray's time
    assert np.exp(exact["log_mean"](run.singular_values[0])) >= bound
    computed = theory.loss_bound(scheme, start, t * per, reduction=reduction)
    assert_allclose(computed * per, least, rtol=1e-11)
    assert exact["loss"](run.singular_values[0]) <= least


@by_scheme
def test_linear_rate_at_collapse(which):
    """The Jacobian by central differences (1e-8), and the decay of deviations of 1e-6, linear to about s times that."""
    scheme, model = scheme_of(which), model_of(which)
    x, names = sp.Symbol("s", positive=True), sp.symbols("r s s_1")
    jacobian = exactly([x], linearization.jacobian(model, x).tolist())
    decay = exactly(names, linearization.deviation(*names, model.K))
    s1, weights = 1.5, scheme.multiplicities[1:] / (scheme.classes - 1)

    def forces(s):
        odds = scheme.valencies[1:] * np.exp(-scheme.margins(s))
        return scheme.forces(odds / (1 + odds.sum()))

    steps = 1e-4 * np.eye(scheme.modes)
    columns = [(forces(s1 + h) - forces(s1 - h)) / 2e-4 for h in steps]
    exact = jacobian(s1)
    assert_allclose(np.array(columns).T, exact, rtol=0, atol=1e-8 * np.abs(exact).max())
    r = np.random.default_rng(2).uniform(-1e-6, 1e-6, scheme.modes)
    r -= weights @ r
    flow = SpectralFlow(scheme, reduction="sum")
    for closed_form in (True, False):
        s = integrate(flow, s1 * (1 + r), t_eval=[1.0, 50.0], rtol=1e-12, closed_form=closed_form)[-2:].singular_values
        means = s @ weights
        assert means[-1] > s1 + 2
        for row, mean in zip(s, means, strict=True):
            assert_allclose(row / mean - 1, [decay(v, mean, s1) for v in r], rtol=0, atol=3e-5 * np.abs(r).max())
            factor = theory.deviation_decay(mean, s1, scheme.classes)
            assert_allclose(factor, decay(1.0, mean, s1), rtol=TIGHT)


@by_scheme
def test_false_variants_are_told_apart(which):
    """The formulas with the wrong constants that the derivations reject miss the numbers by far more than rounding."""
    scheme, model, s = scheme_of(which), model_of(which), states(which)[1]
    K = model.K
    wrong = exactly(model.singular_values, geometric_mean.growth(model, normalized=False))
    assert abs(wrong(*s) / formulas(which)["growth"](s) - 1) > 0.05
    times = [float(ray.time(sp.Float(2.0), sp.Float(1.0), K, extra)) for extra in (0, 1)]
    assert abs(theory.ray_time(2.0, 1.0, scheme.classes, reduction="sum") / times[0] - 1) < TIGHT
    assert abs(theory.ray_time(2.0, 1.0, scheme.classes, reduction="sum") / times[1] - 1) > 0.01
