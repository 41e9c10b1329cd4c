"""Features under the nearest, a fixed or a free classifier: the reduction against all features and against independent
solvers, the exact ray, rates on spheres, and which classifier is faster at what."""

import math

import mpmath
import numpy as np
import pytest
import scipy
from scipy.integrate import solve_ivp

import ceflow as cf

theory = cf.theory
VARIANTS = [("fixed", False), ("nearest", False), ("nearest", True)]
RTOL = 1e-11


def helmert(K):
    return cf.collapse.simplex_etf(K) * math.sqrt(1.0 - 1.0 / K)


def residual(Z, labels=None):
    p = np.exp(Z - Z.max(axis=0))
    labels = np.arange(len(Z)) if labels is None else labels
    return np.equal.outer(np.arange(len(Z)), labels) - p / p.sum(axis=0)


def nearest_by_root(H):
    """The nearest ETF of one column a class by the root of the Gram matrix, which no polar decomposition has seen."""
    B, K = helmert(H.shape[1]), H.shape[1]
    F = H @ B
    S = scipy.linalg.sqrtm(F.T @ F).real
    return math.sqrt(K / (K - 1.0)) * B @ np.linalg.solve(S, F.T), S, F


def velocity(classifier, gradient, W, H):
    """dH/dt with "sum", by matrix roots and a Lyapunov equation."""
    K = H.shape[1]
    J, B = np.eye(K) - 1.0 / K, helmert(K)
    if classifier == "fixed":
        return W.T @ residual(W @ H @ J) @ J
    W, S, F = nearest_by_root(H)
    G = residual(W @ H @ J)
    if not gradient:
        return W.T @ G @ J
    # the gradient of the loss as a function of S, S^2 = F'F
    Y = scipy.linalg.solve_continuous_lyapunov(S, math.sqrt(K / (K - 1.0)) * B.T @ (G + G.T) @ B / 2.0)
    return 2.0 * F @ Y @ B.T


# -- the reduction -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("classifier", "gradient"), VARIANTS)
@pytest.mark.parametrize("seed", [0, 1])
def test_a_matrix_is_all_features(classifier, gradient, seed):
    rng, (K, d) = np.random.default_rng(seed), [(3, 7), (5, 4)][seed]
    W, H = cf.collapse.simplex_etf(K, d, rng), rng.standard_normal((d, K))
    flow = cf.ReducedETFFlow(classifier, argmin_gradient=gradient, reduction="sum")
    X, off = flow.project(W if classifier == "fixed" else None, H)
    reduced = cf.integrate(flow, X, 40.0, rtol=RTOL)
    full = cf.integrate(flow.full(), (W, H), 40.0, rtol=RTOL)
    assert off < 1e-14 and cf.compare(reduced, full).max_error < 1e-9
    assert flow.project(full.W[-1], full.H[-1], full.bias[-1])[1] < 1e-9
    at = reduced.at(full.t)
    for name in ("loss", "accuracy_gap", "singular_values", "margins"):
        np.testing.assert_allclose(getattr(at, name), getattr(full, name), rtol=1e-8, atol=1e-9)
    if classifier == "nearest":
        for name in ("nc2", "nc3", "etf_distance"):
            np.testing.assert_allclose(getattr(at.collapse, name), getattr(full.collapse, name), atol=1e-9)
        np.testing.assert_allclose(at.squared_distance, full.squared_distance, atol=1e-9)
    moved = solve_ivp(
        lambda t, y: velocity(classifier, gradient, W, y.reshape(d, K)).ravel(), (0.0, 40.0), H.ravel(),
        method="DOP853", rtol=1e-11, atol=1e-12,
    ).y[:, -1].reshape(d, K)  # fmt: skip
    np.testing.assert_allclose(full.H[-1], moved, atol=1e-8)


def test_the_gradient_through_the_argmin_turns_eigenvectors_and_nothing_else():
    """Velocities of X in its eigenbasis: 2 (s_i^2 + s_j^2)/(s_i + s_j)^2 times the symmetric part of the force."""
    rng, K = np.random.default_rng(0), 5
    A = rng.standard_normal((K - 1, K - 1))
    X = A @ A.T + 0.1 * np.eye(K - 1)
    s, V = np.linalg.eigh(X)
    found = {}
    for gradient in (False, True):
        flow = cf.ReducedETFFlow(argmin_gradient=gradient, reduction="sum")
        step = cf.descend(flow.full(), flow.lift(X), step_size=1e-7, steps=1)
        found[gradient] = V.T @ (flow.project(None, step.H[-1])[0] - X) @ V / 1e-7
    B, c = helmert(K), math.sqrt(K / (K - 1.0))
    G = c * V.T @ B.T @ residual(c * B @ X @ B.T) @ B @ V
    plus = s[:, None] + s
    np.testing.assert_allclose(found[False], (s[:, None] * G + G.T * s) / plus, atol=1e-5)
    np.testing.assert_allclose(found[True], (s[:, None] ** 2 + s**2) / plus**2 * (G + G.T), atol=1e-5)
    np.testing.assert_allclose(np.diag(found[True]), np.diag(found[False]), atol=1e-5)
    assert np.abs(found[True] - found[False]).max() > 0.01


def test_on_a_scheme_fixed_and_nearest_are_the_flow_with_a_frozen_classifier():
    """ds_i/dt = c^2 lambda_i(s): SpectralFlow with W frozen at singular values c."""
    scheme, K = cf.hadamard(8), 8
    c, b = math.sqrt(K / (K - 1.0)), np.array([0.3, 1.0, 0.1, 0.7, 0.5, 0.2, 0.9])
    modes = cf.SpectralFlow(scheme, frozen=("W",))
    run = cf.integrate(modes, modes.layers(np.stack([np.full(7, c), b])), 1e4, rtol=RTOL)
    Q = helmert(K).T @ scheme.basis()[:, 1:]
    order = scheme.columns[1:] - 1
    X = (Q * b[order]) @ Q.T
    expected = run.lifted().logits[-1]
    for classifier, gradient in VARIANTS:
        found = cf.integrate(cf.ReducedETFFlow(classifier, argmin_gradient=gradient), X, 1e4, rtol=RTOL)
        np.testing.assert_allclose(found.logits[-1], expected, rtol=1e-8, atol=1e-8)
    flipped = (Q * np.where(np.arange(7) == 2, -1.0, 1.0)[order] * b[order]) @ Q.T
    _, H = cf.ReducedETFFlow("fixed").lift(flipped)
    turned, _ = cf.ReducedETFFlow().project(None, H)  # the nearest ETF flips a mode of negative sign at once
    np.testing.assert_allclose(turned, X, atol=1e-12)


@pytest.mark.parametrize("radius", [None, 2.0])
@pytest.mark.parametrize("classifier", ["free", "nearest"])
def test_several_samples_a_class_against_an_independent_solver(classifier, radius):
    rng, labels = np.random.default_rng(4), np.array([0, 1, 2, 2, 1, 0, 2])
    W, H = rng.standard_normal((3, 5)), rng.standard_normal((5, 7))
    if radius:
        W, H = W / np.linalg.norm(W, axis=1, keepdims=True), radius * H / np.linalg.norm(H, axis=0)
    flow = cf.ETFFlow(classifier, radius=radius, labels=labels)
    run = cf.integrate(flow, (W, H), 20.0, rtol=RTOL)
    average = np.equal.outer(labels, np.arange(3)) / np.bincount(labels)

    def rate(t, y):
        W, H = y[:15].reshape(3, 5), y[15:].reshape(5, 7)
        mean = (H @ average).mean(axis=1, keepdims=True) if classifier == "nearest" else 0.0
        if classifier == "nearest":
            W = nearest_by_root(H @ average)[0]
        G = residual(W @ (H - mean), labels) / 7.0
        dW, dH = (G @ H.T if classifier == "free" else 0.0 * W), W.T @ G
        if classifier == "nearest":
            dH = dH - dH.sum(axis=1, keepdims=True) * average.mean(axis=1)
        if radius:
            dW, dH = dW - W * (W * dW).sum(axis=1, keepdims=True), dH - H * (H * dH).sum(axis=0) / radius**2
        return np.r_[dW.ravel(), dH.ravel()]

    y = solve_ivp(rate, (0.0, 20.0), np.r_[W.ravel(), H.ravel()], method="DOP853", rtol=1e-11, atol=1e-12).y[:, -1]
    np.testing.assert_allclose(run.H[-1], y[15:].reshape(5, 7), atol=1e-8)
    if classifier == "free":
        np.testing.assert_allclose(run.W[-1], y[:15].reshape(3, 5), atol=1e-8)
    if radius:
        np.testing.assert_allclose(np.linalg.norm(run.H, axis=1), radius, rtol=1e-9)


# -- closed forms ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("K", "s0", "s"), [(2, -3.0, 5.0), (10, 0.0, 16.0), (1000, 1e-9, 0.5), (5, -800.0, 30.0)])
def test_the_ray_is_exact(K, s0, s):
    with mpmath.workdps(50):
        a, b = mpmath.mpf(s0), mpmath.mpf(s)
        exact = float((mpmath.exp(b) - mpmath.exp(a) + (K - 1) * (b - a)) * (K - 1) / mpmath.mpf(K) ** 2)
    t = theory.etf_ray_time(s, s0, K, reduction="sum")
    assert t == pytest.approx(exact, rel=1e-14)
    assert theory.etf_ray_time(s, s0, K) == pytest.approx(K * t, rel=1e-14)
    back = theory.etf_ray_singular_value(t, s0=s0, classes=K, reduction="sum")
    assert back == pytest.approx(s, abs=1e-15 * max(1.0, abs(s), abs(s0)))
    late = theory.etf_ray_singular_value(log_t=[699.0, 1e5], s0=s0, classes=K)
    np.testing.assert_allclose(late, np.array([699.0, 1e5]) + math.log(K / (K - 1)), rtol=1e-12)


@pytest.mark.parametrize("classifier", ["fixed", "nearest"])
def test_runs_from_collapsed_features_are_the_ray(classifier):
    K, c = 10, math.sqrt(10.0 / 9.0)
    run = cf.integrate(cf.ReducedETFFlow(classifier), 0.2 / c * np.eye(K - 1), 1e6, rtol=1e-12)
    expected = theory.etf_ray_singular_value(run.t, s0=0.2, classes=K)
    np.testing.assert_allclose(run.singular_values[:, 0], expected, rtol=1e-10)
    np.testing.assert_allclose(theory.etf_ray_time(run.singular_values[1:, 0], 0.2, K), run.t[1:], rtol=1e-10)
    free = theory.ray_time(600.0, 0.2, K) / theory.etf_ray_time(600.0, 0.2, K)
    assert free == pytest.approx(c**2 / 1200.0, rel=0.003)  # in the end a free classifier is faster


def test_distance_is_that_of_singular_values():
    H = np.random.default_rng(0).standard_normal((3, 6, 5))
    s = np.linalg.svd(H - H.mean(axis=-1, keepdims=True), compute_uv=False)[:, :4]
    np.testing.assert_allclose(theory.etf_squared_distance(s), cf.collapse.nearest_etf(H).squared_distance, rtol=1e-12)
    assert theory.etf_squared_distance([1.0, 0.0, 0.0]) == pytest.approx(2.0 * (1.0 - 1.0 / math.sqrt(3.0)))


def _tangent(kind, W, rng):
    """A direction (d, K) of features that are an ETF, tangent to the spheres."""
    K, d = W.shape
    if kind == "outside":
        D = rng.standard_normal((d, K))
        return D - W.T @ np.linalg.lstsq(W.T, D, rcond=None)[0]
    if kind == "mean":
        a = W.T @ rng.standard_normal(K)
        return a[:, None] - W.T * (W @ a)
    span = W.T @ helmert(K) * math.sqrt(1.0 - 1.0 / K)  # orthonormal columns in the span
    rows = []  # of features span x, x (K-1, K): orthogonal to their class, of mean 0, no rotation of all
    for i in range((K - 1) * K):
        D = span @ np.eye((K - 1) * K)[i].reshape(K - 1, K)
        M = W @ D
        rows.append(np.r_[np.diag(M), D.sum(axis=1), (M - M.T)[np.triu_indices(K, 1)]])
    x = scipy.linalg.null_space(np.array(rows).T)
    return span @ (x @ rng.standard_normal(x.shape[1])).reshape(K - 1, K)


@pytest.mark.parametrize("kind", ["outside", "inside", "mean"])
def test_rates_at_the_optimum_of_spheres(kind):
    K, tau, rng = 5, 4.0, np.random.default_rng(0)
    W = cf.collapse.simplex_etf(K, 9, rng)
    rates = theory.etf_sphere(tau, K)
    k, D = getattr(rates, kind), _tangent(kind, W, rng)
    start = tau * W.T + 1e-6 * D / np.linalg.norm(D)
    for classifier in ["fixed"] if kind == "outside" else ["fixed", "nearest"]:  # the nearest ETF turns with the former
        run = cf.integrate(cf.ETFFlow(classifier, radius=tau), (W, start), 2.0 / k, rtol=1e-13)
        left = np.linalg.norm(run.H[-1] - tau * W.T) / np.linalg.norm(run.H[0] - tau * W.T)
        assert -math.log(left) == pytest.approx(2.0, rel=1e-5)
    best = cf.integrate(cf.ETFFlow("fixed", radius=tau), (W, tau * W.T), 1.0)
    assert best.loss[0] == pytest.approx(rates.loss, rel=1e-14) and best.margin[0] == pytest.approx(rates.margin)
    assert rates.outside < rates.mean < rates.inside
    assert theory.etf_sphere(tau, K, samples=3).inside == pytest.approx(rates.inside / 3)
    assert theory.etf_sphere(tau, K, samples=3, reduction="sum").inside == pytest.approx(rates.inside * K)


def test_late_slopes_on_spheres_from_a_random_start():
    """NC1 falls at 2 outside under both; NC3 at outside with a fixed ETF, at mean to inside with the nearest one."""
    K, d, n, tau, rng = 10, 24, 3, 5.0, np.random.default_rng(1)
    labels, H = np.repeat(np.arange(K), n), rng.standard_normal((d, K * n))
    rates = theory.etf_sphere(tau, K, reduction="sum")
    t = np.array([1200.0, 1700.0])
    for classifier in ("fixed", "nearest"):
        flow = cf.ETFFlow(classifier, radius=tau, labels=labels, reduction="sum")
        found = cf.integrate(flow, H, 1800.0, rtol=1e-10).at(t).collapse
        nc1, nc2, nc3 = (-np.diff(np.log(x))[0] / 500.0 for x in (found.nc1_quotient, found.nc2, found.nc3))
        assert nc1 == pytest.approx(2.0 * rates.outside, rel=0.005)
        assert 0.995 * rates.mean < nc2 < 1.005 * rates.inside
        if classifier == "fixed":
            assert nc3 == pytest.approx(rates.outside, rel=0.005)
        else:
            assert nc3 == pytest.approx(nc2, rel=0.005) and nc3 == pytest.approx(rates.inside, rel=0.02)


def test_features_on_spheres_come_to_rest():
    H = np.random.default_rng(0).standard_normal((6, 4))
    run = cf.integrate(cf.ETFFlow(radius=3.0), H, log_t_end=50.0)
    assert run.outcome == cf.Outcome.AT_REST and run.collapse.nc3[-1] < 1e-8
    assert run.loss[-1] == pytest.approx(theory.etf_sphere(3.0, 4).loss, rel=1e-12)


# -- which classifier is faster ----------------------------------------------------------------------------------------


def test_classifiers_side_by_side():
    W, H = cf.random_init(classes=10, width=16, scale=0.3, rng=0)
    found = cf.compare_classifiers(W, H, 3000.0, reduction="sum")
    times = {name: dict(zip(found.levels, row, strict=True)) for name, row in zip(found.runs, found.times, strict=True)}
    free, fixed, nearest, through = times.values()
    assert nearest["loss", 1.0] < fixed["loss", 1.0] < free["loss", 1.0]  # the start
    assert free["loss", 0.01] < 0.2 * nearest["loss", 0.01]  # the terminal phase
    for level in (0.1, 0.01, 0.001):
        assert nearest["loss", level] == pytest.approx(fixed["loss", level], rel=0.05)
        assert through["loss", level] == pytest.approx(nearest["loss", level], rel=0.001)
    assert nearest["nc2", 0.1] < fixed["nc2", 0.1] and math.isinf(free["nc2", 0.1])
    assert nearest["nc3", 0.1] < min(free["nc3", 0.1], fixed["nc3", 0.1])
    flow = cf.ETFFlow(reduction="sum")
    met = cf.integrate(flow, H, until=cf.event(lambda run: run.loss / 10 - 0.01, "down"), rtol=1e-8)
    assert met.t[-1] == pytest.approx(nearest["loss", 0.01], rel=1e-6)
    assert "nearest, argmin gradient" in repr(found) and " - " in found.table


def test_classifiers_side_by_side_on_spheres():
    rng, labels = np.random.default_rng(0), np.repeat(np.arange(4), 3)
    W, H = rng.standard_normal((4, 12)), rng.standard_normal((12, 12))
    found = cf.compare_classifiers(W, H, 150.0, radius=3.0, labels=labels, reduction="sum", rtol=1e-6)
    assert found.levels[4][0] == "nc1" and found.levels[1][1] == pytest.approx(2.0 * found.optimum)
    last = found.times[:, 3]  # within a thousandth of the optimum: NC1 governs, the same for all
    assert np.ptp(last) < 0.1 * last.min()
    figure = cf.plot.classifiers(found)
    assert [len(ax.lines) for ax in figure.axes] == [4] * 4
    with pytest.raises(TypeError, match="compare_classifiers"):
        cf.plot.classifiers(found.runs)


# -- as data -----------------------------------------------------------------------------------------------------------


def test_files_and_going_on(tmp_path):
    rng = np.random.default_rng(0)
    W, H = rng.standard_normal((3, 5)), rng.standard_normal((5, 3))
    flows = [
        (cf.ETFFlow("free", radius=2.0, labels=[2, 0, 1]), (W, H)),
        (cf.ETFFlow(argmin_gradient=True, loss="label_smoothing"), H),
        (cf.ReducedETFFlow("fixed"), rng.standard_normal((2, 2))),
    ]
    for flow, start in flows:
        run = cf.integrate(flow, start, 5.0)
        run.save(tmp_path / "run.npz")
        loaded = cf.load(tmp_path / "run.npz")
        assert loaded.flow.spec == flow.spec and repr(loaded.flow) == repr(flow)
        np.testing.assert_array_equal(loaded.at(3.0).logits, run.at(3.0).logits)
        on = cf.resume(loaded, 9.0)
        np.testing.assert_allclose(on.logits[-1], cf.integrate(flow, start, 9.0).logits[-1], rtol=1e-7, atol=1e-9)
        assert {"squared_distance", "loss", "margin"} <= set(run.to_xarray().data_vars)
    first, second = cf.sequence([(cf.ETFFlow("free"), 3.0), (cf.ETFFlow("nearest"), 3.0)], (W, H))
    np.testing.assert_array_equal(second.H[0], first.H[-1])


def test_descent_is_eulers_method_for_the_flow():
    H = np.random.default_rng(0).standard_normal((5, 4))
    flow = cf.ETFFlow(argmin_gradient=True)
    errors = [
        abs(cf.descend(flow, H, step_size=size, steps=round(2 / size)).loss[-1] - cf.integrate(flow, H, 2.0).loss[-1])
        for size in (0.02, 0.01)
    ]
    assert errors[0] / errors[1] == pytest.approx(2.0, rel=0.05)


def test_lift_and_project_are_inverse():
    A = np.random.default_rng(0).standard_normal((4, 4))
    for classifier, X in (("nearest", A @ A.T), ("fixed", A)):
        flow = cf.ReducedETFFlow(classifier)
        W, H = flow.lift(X, width=7, rng=3)
        found, off = flow.project(W, H)
        np.testing.assert_allclose(found, X, atol=1e-12)
        assert W.shape == (5, 7) and off < 1e-14 and flow.project(1.1 * W, H)[1] > 0.05


H4 = np.random.default_rng(0).standard_normal((4, 4))


CERTIFIED = [
    {}, {"argmin_gradient": True}, {"classifier": "fixed"}, {"classifier": "free"},
    {"classifier": "free", "radius": 1.0}, {"radius": 2.0, "argmin_gradient": True, "loss": "squared_error"},
]  # fmt: skip


@pytest.mark.parametrize("options", CERTIFIED, ids=str)
def test_certificates_know_the_equations_of_computed_classifiers(options):
    rng, flow = np.random.default_rng(0), cf.ETFFlow(**options, labels=[0, 1, 2, 2])
    start = rng.standard_normal((3, 3)), rng.standard_normal((3, 4))
    run = cf.integrate(flow, start, 3.0, rtol=1e-7)
    certificate = run.certificate()
    assert certificate.passed, str(certificate)
    assert certificate.error_estimate < 1e-6
    assert ("loss never increases: the classifier" in str(certificate)) == (options == {})
    changed = {"argmin_gradient": not flow.argmin_gradient} if flow.classifier == "nearest" else {"reduction": "sum"}
    run.flow = cf.ETFFlow(**options | changed, labels=[0, 1, 2, 2])
    assert not run.certificate().passed  # by other equations


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: cf.ETFFlow("closest"), "classifier"),
        (lambda: cf.ETFFlow("fixed", argmin_gradient=True), "argmin_gradient"),
        (lambda: cf.ETFFlow(argmin_gradient=1), "argmin_gradient"),
        (lambda: cf.ETFFlow(radius=0.0), "radius"),
        (lambda: cf.ETFFlow("free").start(H4), "pair"),
        (lambda: cf.ETFFlow("free").start((np.eye(4, 3), H4)), "W"),
        (lambda: cf.ETFFlow().start(np.ones((4, 4))), "same"),
        (lambda: cf.ETFFlow().start(np.outer(np.arange(4.0), np.arange(4.0))), "unique"),
        (lambda: cf.ETFFlow("free", labels=[0, 1, 1, 1]).start((np.eye(3, 4), H4)), "every class"),
        (lambda: cf.ETFFlow(radius=1.0).start(H4 * [1, 1, 1, 0]), "zeros"),
        (lambda: cf.ETFFlow().start(np.full((4, 4), np.nan)), "H"),
        (lambda: cf.ReducedETFFlow("free"), "classifier"),
        (lambda: cf.ReducedETFFlow().start(H4), "symmetric"),
        (lambda: cf.ReducedETFFlow().start(-np.eye(3)), "positive definite"),
        (lambda: cf.ReducedETFFlow("fixed").start(np.zeros((3, 3))), "X"),
        (lambda: cf.ReducedETFFlow("fixed").project(None, H4), "W"),
        (lambda: cf.ReducedETFFlow().lift(np.eye(3), width=2), "width"),
        (lambda: cf.descend(cf.ETFFlow(radius=1.0), H4, step_size=0.1, steps=2), "spheres"),
        (lambda: cf.descend(cf.ReducedETFFlow(), np.eye(3), step_size=0.1, steps=2), "ReducedETFFlow"),
        (lambda: cf.integrate(cf.ReducedETFFlow(), np.eye(3), 1.0).certificate(), "compare"),
        (lambda: cf.sharpness(cf.integrate(cf.ETFFlow(), H4, 1.0)), "sharpness"),
        (lambda: cf.integrate(cf.ETFFlow(), H4, 1.0).conserved, "MatrixFlow"),
        (lambda: cf.compare(cf.integrate(cf.ReducedETFFlow(), np.eye(3), 1.0),
                            cf.integrate(cf.ETFFlow("fixed"), H4, 1.0)), "same flow"),
        (lambda: cf.compare_classifiers(np.ones(4), H4, 1.0), "W"),
        (lambda: theory.etf_ray_time(1.0, 2.0, 3), "at least s0"),
        (lambda: theory.etf_ray_singular_value(1.0, s0=1e6, classes=3), "s0"),
        (lambda: theory.etf_sphere(-1.0, 3), "radius"),
        (lambda: theory.etf_squared_distance([0.0, 0.0]), "not all 0"),
    ],
)  # fmt: skip
def test_bad_input(make, words):
    with pytest.raises((ValueError, TypeError), match=words):
        make()
