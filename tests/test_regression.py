"""Regression: the minimum against an optimizer, exact solutions against mpmath, flows against exact solutions, measures
against their definitions."""

import itertools
import math

import mpmath as mp
import numpy as np
import pytest
import scipy.linalg
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import solve_ivp
from scipy.optimize import minimize

import ceflow as cf
from ceflow.theory import regression

N, D, M = 3, 7, 40
EIGENVALUES = np.array([2.0, 0.7, 0.1])
BASIS = np.linalg.qr(np.random.default_rng(3).standard_normal((N, N)))[0]
SIGMA = (BASIS * EIGENVALUES) @ BASIS.T
Y = regression.targets_of(SIGMA, M, mean=[1.0, -2.0, 0.5], rng=1)
T = (Y - Y.mean(axis=1, keepdims=True)) / math.sqrt(M)
PAIRS = [(0.02, 0.05), (0.1, 0.01), (0.5, 0.4), (0.9, 0.4), (0.5, 2.0), (2.0, 1.5)]  # ranks 3, 3, 2, 2, 1, 0


def loss_and_gradient(W, H, b, lW, lH):
    R = W @ H + b[:, None] - Y
    value = (R**2).sum() / (2 * M) + lH / (2 * M) * (H**2).sum() + lW / 2 * (W**2).sum()
    return value, (R @ H.T / M + lW * W, (W.T @ R + lH * H) / M, R.sum(axis=1) / M)


def balanced_start(scale, rng=0, width=D):
    """W and F with W'W = FF', not aligned with the targets."""
    rng = np.random.default_rng(rng)
    W = scale * rng.standard_normal((N, width))
    _, s, V = np.linalg.svd(W, full_matrices=False)
    frame = np.linalg.qr(rng.standard_normal((M, N)))[0]
    return W, (V.T * s) @ frame.T


# -- the minimum -------------------------------------------------------------------------------------------------------


def test_targets_have_the_covariance_that_is_asked_for():
    assert np.allclose(np.cov(Y, bias=True), SIGMA, atol=1e-14)
    assert np.allclose(Y.mean(axis=1), [1.0, -2.0, 0.5], atol=1e-14)
    U, sigma, V = regression.modes_of(Y)
    assert np.allclose(sigma**2, EIGENVALUES, rtol=1e-13) and np.allclose((U * sigma) @ V, T, atol=1e-14)
    assert len(regression.modes_of(np.tile(Y[:1], (2, 1)))[1]) == 1  # rounding is no mode


@pytest.mark.parametrize("decays", PAIRS)
def test_no_optimizer_finds_less_than_the_minimum(decays):
    lW, lH = decays
    found = regression.minimum(Y, decays, width=D)
    ends = np.cumsum([N * D, D * M, N])

    def flat(x):
        W, H, b = np.split(x, ends[:-1])
        value, gradient = loss_and_gradient(W.reshape(N, D), H.reshape(D, M), b, lW, lH)
        return value, np.concatenate([part.ravel() for part in gradient])

    start = 0.5 * np.random.default_rng(0).standard_normal(ends[-1])
    options = dict(maxiter=20_000, maxfun=40_000, ftol=1e-16, gtol=1e-10, maxcor=30)
    best = minimize(flat, start, jac=True, method="L-BFGS-B", options=options)
    assert best.fun == pytest.approx(found.objective, abs=1e-9)
    W = best.x[: ends[0]].reshape(N, D)
    assert np.allclose(W @ W.T, found.W @ found.W.T, atol=1e-4)
    assert found.rank == np.count_nonzero(EIGENVALUES > lW * lH)


@pytest.mark.parametrize("decays", PAIRS)
def test_the_minimum_is_critical_and_its_value_is_said(decays):
    lW, lH = decays
    c = lW * lH
    found = regression.minimum(Y, decays, width=D, rng=5)
    value, gradient = loss_and_gradient(found.W, found.H, found.b, lW, lH)
    assert value == pytest.approx(found.objective, rel=1e-13)
    assert value == pytest.approx(regression.minimal_objective(np.sqrt(EIGENVALUES), c).sum(), rel=1e-13)
    assert max(np.abs(part).max() for part in gradient) < 1e-14
    assert lH * (found.H**2).sum() == pytest.approx(M * lW * (found.W**2).sum(), rel=1e-12, abs=1e-14)
    if found.rank == N:  # the residual is white
        R = found.W @ found.H + found.b[:, None] - Y
        assert np.allclose(R @ R.T / M, c * np.eye(N), atol=1e-14)


def test_columns_of_a_root_are_no_minimum_between_the_eigenvalues():
    """Theorem 4.1 of arXiv:2409.04180 as it is written, with the real part of the root."""
    lW, lH = 0.9, 0.4
    basis = np.linalg.qr(np.random.default_rng(0).standard_normal((N, N)))[0]
    Sigma = (basis * EIGENVALUES) @ basis.T
    root = scipy.linalg.sqrtm(scipy.linalg.sqrtm(Sigma) - math.sqrt(lW * lH) * np.eye(N))
    assert np.abs(root.imag).max() > 0.1
    W = (lH / lW) ** 0.25 * np.where(np.arange(N) < 2, root.real, 0.0)
    F = math.sqrt(lW / lH) * W.T @ np.linalg.inv(scipy.linalg.sqrtm(Sigma))  # times the centred targets
    rest = np.eye(N) - W @ F
    value = 0.5 * (np.trace(rest @ Sigma @ rest.T) + lW * (W**2).sum() + lH * np.trace(F @ Sigma @ F.T))
    gradient = -rest @ Sigma @ F.T + lW * W
    assert value == pytest.approx(1.3640, abs=1e-4) and np.abs(gradient).max() > 0.01
    assert regression.minimum(Y, (lW, lH)).objective == pytest.approx(1.0405, abs=1e-4)


def test_without_decay_the_minimum_is_that_of_vanishing_decay():
    found, small = regression.minimum(Y, 0.0), regression.minimum(Y, 1e-9)
    assert found.objective == 0.0 and np.allclose(found.W @ found.H + found.b[:, None], Y, atol=1e-13)
    assert np.allclose(found.W, small.W, atol=1e-8)


def test_fewer_samples_than_outputs():
    few = np.random.default_rng(0).standard_normal((5, 3))
    found = regression.minimum(few, (0.1, 0.2))
    R = found.W @ found.H + found.b[:, None] - few
    assert found.rank <= 2 and found.singular_values.shape == (5,)
    assert np.abs(found.W.T @ R + 0.2 * found.H).max() < 1e-14


def test_rates_are_those_of_the_jacobian():
    for (lW, lH), sigma in itertools.product([(0.1, 0.4), (0.3, 0.3), (2.0, 1e-3)], [0.1, 0.2, 0.5, 3.0]):
        s = max(sigma - math.sqrt(lW * lH), 0.0)
        a, b = math.sqrt(s * math.sqrt(lH / lW)), math.sqrt(s * math.sqrt(lW / lH))
        J = np.array([[-b * b - lW, sigma - 2 * s], [sigma - 2 * s, -a * a - lH]])
        assert regression.rates(sigma, (lW, lH)) == pytest.approx(-np.linalg.eigvalsh(J), rel=1e-9)
    assert regression.rates([1.0, 2.0], 0.0) == pytest.approx(np.array([[2.0, 0.0], [4.0, 0.0]]))


# -- one mode ----------------------------------------------------------------------------------------------------------


def exact_mode(t, sigma, a, b, decay):
    """By mpmath: exponentials for no decay, else modified Bessel functions."""
    t, sigma, a, b, decay = map(mp.mpf, (t, sigma, a, b, decay))
    difference, P0, r = a**2 - b**2, (a + b) ** 2, sigma - decay

    def solutions(time):
        """w and w'/w of both."""
        if decay == 0:
            ks = [r + sign * mp.sqrt(r**2 + difference**2 / 4) for sign in (1, -1)]
            return [mp.exp(k * time) for k in ks], ks
        nu, z = r / (2 * decay), abs(difference) * mp.exp(-2 * decay * time) / (4 * decay)
        first, second = mp.besseli(nu, z), mp.besselk(nu, z)
        slopes = -2 * decay * z * mp.besseli(nu + 1, z) / first, 2 * decay * z * mp.besselk(nu + 1, z) / second
        return [mp.exp(r * time) * first, mp.exp(r * time) * second], slopes

    (first, last), (slope, steep) = solutions(mp.mpf(0))
    share = -(slope - P0 / 2) * first / ((steep - P0 / 2) * last)
    (first, last), (slope, steep) = solutions(t)
    P = 2 * (first * slope + share * last * steep) / (first + share * last)
    p = mp.sqrt(P) * mp.sign(a + b)
    m = difference * mp.exp(-2 * decay * t) / p
    return (p + m) / 2, (p - m) / 2


STARTS = [(0.3, 0.1), (1e-3, 2e-3), (-2.0, -1.0), (1.0, -0.999), (1e-10, 3e-10), (20.0, 3.0), (0.0, 0.4), (1e-4, -1.0)]


@pytest.mark.parametrize("decay", [0.0, 1e-3, 9.8e-3, 9.95e-3, 0.02, 0.5, 0.999, 1.0, 3.0])
def test_modes_against_mpmath(decay):
    mp.mp.dps = 50
    for (a, b), t in itertools.product(STARTS, (1e-3, 0.5, 8.0, 30.0)):
        size = abs(a) + abs(b)
        if size**2 * decay and size**2 / (4 * decay) > 300.0:
            continue  # beyond mpmath
        found = regression.mode(t, sigma=1.0, a=a, b=b, weight_decay=decay)
        exact = exact_mode(t, 1.0, a, b, decay)
        largest = max(abs(part) for part in exact)
        for mine, true in zip(found, exact, strict=True):
            assert abs(mp.mpf(float(mine)) - true) <= 1e-13 * (1 + decay * t) * largest, (a, b, t)


@pytest.mark.parametrize("decay", [0.0, 1e-9, 1e-5, 0.05, 0.3, 1.5])
def test_modes_against_steps(decay):
    """Where imbalance is large over decay, and for any order."""
    for a, b, sigma in ((3.0, 0.1, 1.2), (0.2, 9.0, 0.5), (-0.7, 0.69, 0.3)):

        def speed(t, y, sigma=sigma):
            return [(sigma - y[0] * y[1]) * y[1] - decay * y[0], (sigma - y[0] * y[1]) * y[0] - decay * y[1]]

        run = solve_ivp(speed, (0, 4.0), [a, b], method="DOP853", rtol=1e-12, atol=1e-14, t_eval=[0.3, 4.0])
        found = regression.mode([0.3, 4.0], sigma=sigma, a=a, b=b, weight_decay=decay)
        assert np.allclose(found.a, run.y[0], rtol=1e-10, atol=1e-11)
        assert np.allclose(found.b, run.y[1], rtol=1e-10, atol=1e-11)


def test_balanced_modes_are_logistic():
    t, s0 = np.array([0.0, 0.5, 3.0, 40.0]), 0.01
    for sigma, decay in ((1.0, 0.0), (1.0, 0.4), (0.3, 0.9)):
        r = sigma - decay
        s = s0 * np.exp(2 * r * t) / (1 + s0 * np.expm1(2 * r * t) / r)
        found = regression.mode(t, sigma=sigma, a=0.1, b=0.1, weight_decay=decay)
        assert np.allclose(found.singular_value, s, rtol=1e-13, atol=0.0)
    at_threshold = regression.mode(t, sigma=0.5, a=0.1, b=0.1, weight_decay=0.5)
    assert np.allclose(at_threshold.singular_value, s0 / (1 + 2 * s0 * t), rtol=1e-14)
    same = cf.theory.squared_error_singular_value(t, s0=s0, classes=4, reduction="sum", weight_decay=0.2)
    assert np.allclose(regression.mode(t, sigma=1.0, a=0.1, b=0.1, weight_decay=0.2).singular_value, same, rtol=1e-13)


@pytest.mark.parametrize("decay", [0.0, 1e-300, 1e-8, 0.3, 1.0, 1e20, 1e100])
def test_no_size_of_numbers_overflows(decay):
    layers = [0.0, -1e-160, 1e-30, 1e-5, -1.0, 1e10, 1e60]
    t, sigma, a, b = np.meshgrid([0.0, 1e-300, 1e-3, 1.0, 1e5, 1e300], [1e-300, 1e-3, 1.0, 1e100], layers, layers)
    found = regression.mode(t, sigma=sigma, a=a, b=b, weight_decay=decay)
    assert np.isfinite(found).all() and np.abs(found).max() <= 1.01e60


def test_late_modes_rest_without_a_warning():
    for decay in (0.0, 1e-12, 1e-3, 0.2, 0.5, 4.0):
        late = regression.mode(1e300, sigma=0.5, a=[1e-8, 1.0, 30.0], b=[2e-8, -0.9, 1e-3], weight_decay=decay)
        assert np.allclose(late.singular_value, max(0.5 - decay, 0.0), atol=1e-12)


@settings(max_examples=60, deadline=None)
@given(
    st.floats(-3, 3), st.floats(-3, 3), st.floats(0.05, 3), st.sampled_from([0.0, 1e-6, 0.01, 0.3, 2.0]),
    st.floats(0, 5), st.floats(0, 5),
)  # fmt: skip
def test_modes_are_a_flow_with_its_symmetries(a, b, sigma, decay, first, second):
    options = dict(sigma=sigma, weight_decay=decay)
    whole = regression.mode(first + second, a=a, b=b, **options)
    middle = regression.mode(first, a=a, b=b, **options)
    twice = regression.mode(second, a=middle.a, b=middle.b, **options)
    # a start near the stable direction a = -b is told apart by rounding, which grows
    allowed = 1e-12 * (1 + abs(a) + abs(b)) * math.exp(max(sigma - decay, 0.0) * second)
    assert np.allclose(whole, twice, rtol=1e-10, atol=allowed)
    assert np.allclose(regression.mode(first, a=b, b=a, **options), middle[::-1], rtol=1e-12, atol=1e-14)
    assert np.allclose(regression.mode(first, a=-a, b=-b, **options), np.negative(middle), rtol=1e-12, atol=1e-14)
    imbalance = (a * a - b * b) * math.exp(-2 * decay * first)
    assert middle.a**2 - middle.b**2 == pytest.approx(imbalance, rel=1e-11, abs=1e-13 * (1 + a * a + b * b))


# -- the whole flow ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("decay", [0.0, 0.2, 1.0])
@pytest.mark.parametrize("aligned", [True, False])
def test_the_full_flow_follows_the_riccati_solution(decay, aligned):
    flow = cf.RegressionFlow(Y, weight_decay=decay)
    start = flow.lift([0.2, 0.05, 0.01], width=D) if aligned else balanced_start(0.2)
    t = [0.5, 3.0, 12.0]
    run = cf.integrate(flow.full(), start, t_eval=t, rtol=1e-12)
    W, F = regression.balanced(t, *start, T, weight_decay=decay)
    size = np.maximum((W**2).sum(axis=(1, 2)), 1e-6)[:, None, None]
    for mine, exact in (
        (run.W @ run.W.swapaxes(1, 2), W @ W.swapaxes(1, 2)),
        (run.logits, W @ F),
        (run.H.swapaxes(1, 2) @ run.H, F.swapaxes(1, 2) @ F),
    ):
        assert (np.abs(mine - exact) / size).max() < 1e-10


def test_the_riccati_solution_in_the_mean_and_on_any_targets():
    W, H = balanced_start(0.9, rng=4)
    run = cf.integrate(
        cf.MatrixFlow(loss="squared_error", targets=Y, weight_decay=0.01), (W, H), t_eval=[2.0, 30.0], rtol=1e-12
    )
    found = regression.balanced([2.0, 30.0], W, H, Y, weight_decay=0.01, reduction="mean")
    assert np.allclose(run.logits, found[0] @ found[1], atol=1e-10)


def test_the_riccati_solution_begins_at_its_start_and_ends_at_the_minimum():
    W, F = balanced_start(1.0)
    first, last = (regression.balanced(t, W, F, T, weight_decay=0.2) for t in (0.0, 1e300))
    assert np.allclose(first[0] @ first[1], W @ F, atol=1e-13)
    found = regression.minimum(Y, 0.2)
    assert np.allclose(last[0] @ last[0].T, found.W @ found.W.T, atol=1e-14)
    assert np.allclose(last[0] @ last[1], found.W @ found.H / math.sqrt(M), atol=1e-14)
    assert np.abs(regression.balanced(1e300, W, F, T, weight_decay=3.0)[0]).max() == 0.0


def test_a_start_of_low_rank_keeps_it():
    """Rounding must not grow into directions that the exact solution never has."""
    rng = np.random.default_rng(0)
    x, y, v = (rng.standard_normal(size) for size in (N, M, D))
    x, y = 0.1 * x / np.linalg.norm(x), 0.1 * y / np.linalg.norm(y)
    W, F = regression.balanced([20.0, 1e5], np.outer(x, v), np.outer(v, y), T)
    assert np.all(np.linalg.matrix_rank(W @ F, tol=1e-12) == 1)
    assert np.linalg.norm(W[1] @ F[1]) == pytest.approx(math.sqrt(2.0), rel=1e-12)  # the largest mode


@pytest.mark.parametrize("decay", [0.0, 0.05, 0.5])
def test_the_reduced_flow_follows_its_exact_modes(decay):
    rtol = 1e-9
    flow = cf.RegressionFlow(Y, weight_decay=decay)
    start = np.array([[0.3, 1e-4, 2.0], [0.1, 1e-3, -0.1]])
    run = cf.integrate(flow, start, 60.0, rtol=rtol)
    exact = regression.mode(run.t[:, None], sigma=flow.spectrum, a=start[0], b=start[1], weight_decay=decay)
    error = np.abs(run.layers - np.stack([exact.a, exact.b], axis=1)).max(axis=1) / np.abs(run.layers).max(axis=1)
    assert error.max() <= 100 * rtol
    assert np.allclose(run.imbalance, (start[0] ** 2 - start[1] ** 2) * np.exp(-2 * decay * run.t[:, None]), atol=1e-7)


@pytest.mark.parametrize("rate", ["canonical", "raw"])
@pytest.mark.parametrize("decays", [(0.0, 0.0), (0.1, 0.4), (0.9, 0.4)])
def test_reduced_against_full(rate, decays):
    flow = cf.RegressionFlow(Y, weight_decay=decays, rate=rate)
    start = np.array([[0.1, 0.02, 0.03], [0.2, 0.01, -0.05]])
    span = 30.0 if rate == "canonical" else 100.0
    reduced = cf.integrate(flow, start, span, rtol=1e-9)
    full = cf.integrate(flow.full(), flow.lift(start, width=D), span, rtol=1e-9)
    comparison = cf.compare(reduced, full)
    assert comparison.max_error < 1e-7 and comparison.loss_error[comparison.full.loss > 1e-12].max() < 1e-6
    assert comparison.off_diagonal.max() < 1e-7
    assert reduced.at(t=span).objective == pytest.approx(full.objective[-1], rel=1e-7)
    value, _ = loss_and_gradient(
        *(part[-1] for part in (full.W, full.H * (1.0 if rate == "raw" else math.sqrt(M)))), Y.mean(axis=1), *decays
    )
    assert full.objective[-1] == pytest.approx(value, rel=1e-9)
    assert np.allclose(reduced.at(t=span).logits[0], full.logits[-1], atol=1e-7)


def test_the_raw_flow_is_the_canonical_one_at_other_numbers():
    lW, lH, root = 0.03, 0.08, math.sqrt(M)
    start = np.array([[0.3, 0.2, 0.4], [0.5, 0.6, 0.1]])
    raw = cf.integrate(cf.RegressionFlow(Y, weight_decay=(lW, lH), rate="raw"), start, t_eval=[5.0, 60.0])
    scaled = start / M**0.25 / np.array([[1.0], [root]]) * np.array([[1.0], [root]])
    other = cf.RegressionFlow(Y, weight_decay=(lW * root, lH / root))
    canonical = cf.integrate(other, scaled, t_eval=np.array([5.0, 60.0]) / root)
    assert np.allclose(canonical.layers * M**0.25, raw.layers, rtol=1e-7)


def test_runs_end_at_the_minimum_from_any_start():
    flow = cf.RegressionFlow(Y, weight_decay=(0.1, 0.4), rate="raw")
    rng = np.random.default_rng(8)
    start = rng.standard_normal((N, D)), rng.standard_normal((D, M))
    run = cf.integrate(flow.full(), start, t_eval=[1.5e3], rtol=1e-7)
    found = regression.minimum(Y, (0.1, 0.4))
    assert np.allclose(run.W[-1] @ run.W[-1].T, found.W @ found.W.T, atol=1e-6)
    assert np.allclose(run.bias[-1], Y.mean(axis=1), atol=1e-6)  # it began at 0
    assert run.objective[-1] == pytest.approx(found.objective, abs=1e-9)


def test_a_reduced_flow_without_bias_sees_the_mean():
    flow = cf.RegressionFlow(Y, bias=False)
    assert np.allclose(flow.spectrum, np.linalg.svd(Y, compute_uv=False) / math.sqrt(M), rtol=1e-12)
    run = cf.integrate(flow, [0.1, 0.2, 0.3], 80.0)
    assert np.allclose(run.logits[-1] * math.sqrt(M), Y, atol=1e-6)


# -- the flow as an object ---------------------------------------------------------------------------------------------


def test_lift_and_project_are_inverse():
    for rate in ("canonical", "raw"):
        flow = cf.RegressionFlow(Y, rate=rate)
        start = np.array([[1e-3, 0.2, 0.0], [2.0, -1e-4, 0.1]])
        layers, off = flow.project(*flow.lift(start, width=D, rng=4))
        assert np.allclose(layers, start, atol=1e-15) and off < 1e-14
        W, H, *b = flow.lift(start, width=D)
        assert flow.project(W + 1e-3 * np.random.default_rng(0).standard_normal(W.shape), H, *b)[1] > 1e-4
    assert flow.project(W, H, b[0] + 1.0)[1] > 0.1


def test_files_resume_and_datasets(tmp_path):
    flow = cf.RegressionFlow(Y, weight_decay=(0.1, 0.2), rate="raw")
    run = cf.integrate(flow, [0.1, 0.2, 0.3], 10.0)
    run.save(tmp_path / "run.npz")
    loaded = cf.load(tmp_path / "run.npz")
    assert np.array_equal(loaded.layers, run.layers) and loaded.flow.spec == flow.spec
    longer, whole = cf.resume(loaded, 40.0), cf.integrate(flow, [0.1, 0.2, 0.3], 40.0)
    assert np.allclose(longer.layers[-1], whole.layers[-1], rtol=1e-12)
    other = cf.resume(run, 5.0, flow=cf.RegressionFlow(Y, rate="raw"))
    assert np.allclose(other.layers[0], run.layers[-1])
    data = run.to_xarray()
    assert data["singular_values"].dims == ("row", "mode") and data["layers"].shape == (len(run), 2, N)
    assert run.classes == N and "raw" in repr(flow)
    assert run.certificate().passed
    lifted = run.lifted(width=D)
    assert np.allclose(lifted.at(t=3.0).logits, run.at(t=3.0).logits, atol=1e-13)
    assert run.regression_collapse.nrc2.max() < 1e-28


def test_gradient_descent_on_modes_is_that_of_full_matrices():
    flow, start = cf.RegressionFlow(Y, weight_decay=(0.1, 0.2)), [0.1, 0.2, 0.3]
    reduced = cf.descend(flow, start, step_size=0.3, steps=50)
    full = cf.descend(flow.full(), flow.lift(start), step_size=0.3, steps=50)
    assert cf.compare(reduced, full).max_error < 1e-13


def test_every_member_of_a_batch_may_have_targets_of_its_own():
    rng = np.random.default_rng(2)
    targets, W, H = (rng.standard_normal((3, *shape)) for shape in ((2, 5), (2, 4), (4, 5)))
    options = dict(loss="squared_error", weight_decay=(0.1, 0.2), bias=True)
    batch = cf.integrate(cf.MatrixFlow(targets=targets, **options), (W, H), t_eval=[1.0, 9.0])
    for i in range(3):
        one = cf.integrate(cf.MatrixFlow(targets=targets[i], **options), (W[i], H[i]), t_eval=[1.0, 9.0])
        assert np.allclose(batch.logits[:, i], one.logits, atol=1e-7)
        assert np.allclose(batch.objective[:, i], one.objective, rtol=1e-7)
    with pytest.raises(ValueError, match="targets are those of a batch of 3 starts"):
        cf.integrate(cf.MatrixFlow(targets=targets, **options), (W[0], H[0]), 1.0)
    with pytest.raises(ValueError, match="targets are those of a batch of 3 starts"):
        cf.integrate(cf.MatrixFlow(targets=targets, **options), (W[:2], H[:2]), 1.0)


def test_samples_can_be_rotated_into_as_few_as_targets_and_features():
    """n + d columns make the run of any number of samples."""
    rng = np.random.default_rng(3)
    start = rng.standard_normal((N, 4)), rng.standard_normal((4, M)) / 3.0
    V = regression.modes_of(Y)[2]
    frame = np.vstack([V, np.linalg.qr((start[1] - start[1] @ V.T @ V).T)[0].T])
    options, times = dict(loss="squared_error", reduction="sum", weight_decay=(0.05, 0.1)), [3.0, 40.0]
    whole = cf.integrate(cf.MatrixFlow(targets=T, **options), start, t_eval=times)
    few = cf.integrate(cf.MatrixFlow(targets=T @ frame.T, **options), (start[0], start[1] @ frame.T), t_eval=times)
    assert few.H.shape[-1] == N + 4
    assert np.allclose(few.H @ frame, whole.H, atol=1e-6) and np.allclose(few.W, whole.W, atol=1e-6)


def test_figures_and_refusals_of_runs():
    run = cf.integrate(cf.RegressionFlow(Y, weight_decay=0.1), [0.1, 0.2, 0.3], 10.0)
    axes = cf.plot.singular_values(run)
    assert len(axes.lines) >= N
    with pytest.raises(ValueError, match="no classes"):
        _ = run.accuracy_gap
    with pytest.raises(ValueError, match="array of targets"):
        _ = cf.integrate(cf.MatrixFlow(), cf.random_init(classes=3, width=3, rng=0), 1.0).regression_collapse
    objective = cf.Objective(loss="squared_error", targets=np.ones((2, 3, 4)))
    with pytest.raises(ValueError, match="not of a batch"):
        cf.reference.NetworkDefinition(objective, 3)


# -- measures ----------------------------------------------------------------------------------------------------------


def by_definition(W, H, gamma):
    """NRC1 to NRC3 of arXiv:2409.04180, sample by sample, gamma below the smallest eigenvalue."""
    unit = H / np.linalg.norm(H, axis=0)
    values, vectors = np.linalg.eigh(H @ H.T)
    principal = vectors[:, np.argsort(values)[::-1][:N]]
    rows = scipy.linalg.orth(W.T)
    first, second = (
        np.mean([np.linalg.norm(h - frame @ frame.T @ h) ** 2 for h in unit.T]) for frame in (principal, rows)
    )
    B = scipy.linalg.sqrtm(SIGMA) - math.sqrt(gamma) * np.eye(N)
    third = np.linalg.norm(W @ W.T / np.linalg.norm(W @ W.T) - B / np.linalg.norm(B)) ** 2
    return first, second, third


def test_measures_are_those_of_the_definition():
    rng = np.random.default_rng(6)
    W, H = rng.standard_normal((4, N, D)), rng.standard_normal((4, D, M))
    for gamma in (0.0, 0.04, 0.09):
        found = cf.collapse.regression(W, H, Y, gamma=gamma)
        for i in range(4):
            assert [found.nrc1[i], found.nrc2[i], found.nrc3[i]] == pytest.approx(by_definition(W[i], H[i], gamma))
    assert found.nrc2_energy == pytest.approx(
        [((h - h @ scipy.linalg.orth(w.T) @ scipy.linalg.orth(w.T).T) ** 2).sum() / (h**2).sum()
         for w, h in zip(W, H.swapaxes(1, 2), strict=True)]
    )  # fmt: skip
    shifted = H + 5.0
    plain, centred = (cf.collapse.regression(W, shifted, Y, centred=c) for c in (False, True))
    assert np.all(plain.nrc1 != centred.nrc1) and np.allclose(plain.nrc2, centred.nrc2)


@pytest.mark.parametrize("decays", [*PAIRS[:4], (0.3, 0.3)])
def test_the_minimum_is_collapsed_in_every_regime(decays):
    state = regression.minimum(Y, decays, width=D)
    for gamma in (state.threshold, None):
        found = cf.collapse.regression(state.W, state.H, Y, gamma=gamma)
        assert max(found.nrc1, found.nrc2, found.nrc3, found.nrc1_energy, found.nrc2_energy) < 1e-28
        assert found.gamma == pytest.approx(state.threshold, abs=1e-9)


def test_the_best_gamma_is_the_best():
    rng, grid = np.random.default_rng(9), np.linspace(0.0, 1.99, 500)
    H = rng.standard_normal((D, M))
    for _ in range(20):
        root = np.sqrt(np.sqrt(EIGENVALUES) - 0.25 * rng.random())
        W = np.pad(BASIS * root, ((0, 0), (0, D - N))) + 0.1 * rng.standard_normal((N, D))
        found = cf.collapse.regression(W, H, Y)
        batch = np.broadcast_to(W, (len(grid), N, D)), np.broadcast_to(H, (len(grid), D, M))
        assert found.nrc3 <= cf.collapse.regression(*batch, Y, gamma=grid).nrc3.min() + 1e-14
        assert cf.collapse.regression(W, H, Y, gamma=found.gamma).nrc3 == pytest.approx(found.nrc3)


def test_a_fit_that_is_not_normalized_misses_the_threshold():
    """Theorem F.1: gamma* = ((tr Sigma^(1/2) - tr WW')/n)^2 is c for equal decay alone."""
    for decays, hits in (((0.2, 0.2), True), ((0.1, 0.4), False)):
        state = regression.minimum(Y, decays)
        fitted = ((np.sqrt(EIGENVALUES).sum() - (state.W**2).sum()) / N) ** 2
        assert (abs(fitted - state.threshold) < 1e-12) == hits


def test_measures_of_tensors_and_what_they_cannot_say():
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(1)
    W, H = rng.standard_normal((N, D)), rng.standard_normal((D, M))
    one = cf.collapse.regression(W, H, Y)
    other = cf.collapse.regression(torch.tensor(W, requires_grad=True), torch.tensor(H), torch.tensor(Y))
    assert np.array_equal(one, other)
    H[:, 3] = 0.0
    found = cf.collapse.regression(W, H, Y, gamma=0.01)
    assert math.isnan(found.nrc1) and math.isnan(found.nrc2) and 0.0 < found.nrc1_energy < 1.0
    assert math.isnan(cf.collapse.regression(np.zeros((N, D)), H, Y, gamma=0.01).nrc3)
    assert math.isnan(cf.collapse.regression(W, np.zeros((D, M)), Y).nrc1_energy)
    assert cf.collapse.regression(W[:1], H + 1.0, Y[:1]).nrc3 < 1e-30  # one output
    big = cf.collapse.regression(1e140 * W, 1e-140 * (H + 1.0), 1e100 * Y)
    assert np.allclose(big[:3], cf.collapse.regression(W, H + 1.0, Y)[:3], rtol=1e-9)


# -- collapse along the flow -------------------------------------------------------------------------------------------


def unbalanced_run(decay, times, scale=1.0, rtol=1e-9):
    rng = np.random.default_rng(0)
    start = scale * rng.standard_normal((N, D)), scale * rng.standard_normal((D, M)) / math.sqrt(M)
    start = start[0], start[1] - start[1].mean(axis=1, keepdims=True)
    flow = cf.RegressionFlow(Y, weight_decay=decay).full()
    return cf.integrate(flow, start, t_eval=times, rtol=rtol)


def test_features_leave_the_null_space_of_the_classifier_at_twice_the_decay():
    decay, times = 0.05, np.array([1e-9, 5.0, 40.0, 80.0])
    run = unbalanced_run(decay, times)
    first = run.H[0] @ run.H[0].T - run.W[0].T @ run.W[0]
    for t, W, F in zip(times, run.W, run.H, strict=True):
        P = np.eye(D) - np.linalg.pinv(W) @ W
        assert np.allclose(P @ F @ F.T @ P, math.exp(-2 * decay * t) * P @ first @ P, atol=1e-8)
    measures = run.regression_collapse
    # samples count alike in the first two: those of small features take longer
    for name, within in (("nrc1", 0.1), ("nrc2", 0.1), ("nrc1_energy", 0.01), ("nrc2_energy", 0.01)):
        early, late = getattr(measures, name)[2:]
        assert np.log(late / early) / 40.0 == pytest.approx(-2 * decay, rel=within)
    nrc3 = cf.collapse.regression(run.W, run.H, Y, gamma=decay**2).nrc3
    assert np.log(nrc3[3] / nrc3[2]) / 40.0 == pytest.approx(-4 * decay, rel=0.05)


def test_collapse_is_a_universal_function_of_decay_times_time():
    x = np.array([0.5, 1.0, 1.5])
    coarse, fine = (unbalanced_run(decay, x / decay, rtol=1e-6).regression_collapse for decay in (0.02, 0.01))
    for name in ("nrc1", "nrc2", "nrc2_energy"):
        assert getattr(coarse, name) == pytest.approx(getattr(fine, name), rel=0.05)


def test_small_starts_collapse_without_decay():
    found = []
    for scale in (0.1, 0.01):
        run = unbalanced_run(0.0, [400.0], scale)
        found.append(cf.collapse.regression(run.W[-1], run.H[-1], Y, gamma=0.0))
    for name, power in (("nrc1", 2), ("nrc2", 2), ("nrc2_energy", 2), ("nrc3", 4)):
        assert math.log10(getattr(found[0], name) / getattr(found[1], name)) == pytest.approx(power, abs=0.15)
    large = unbalanced_run(0.0, [400.0], 3.0)
    assert large.regression_collapse.nrc2[-1] > 0.5 and large.loss[-1] < 1e-12  # a minimum, and not collapsed


# -- at the door -------------------------------------------------------------------------------------------------------

W_, F_ = balanced_start(0.5)
REFUSED = [
    (lambda: regression.minimum(Y, (0.1, 0.0)), "both positive or both 0"),
    (lambda: regression.minimum(Y, (0.1, 0.1, 0.1)), "weight_decay must be"),
    (lambda: regression.minimum(Y, 0.1, width=2), "width must be at least 3"),
    (lambda: regression.minimum(Y[0], 0.1), r"targets must be a matrix"),
    (lambda: regression.targets_of(SIGMA, 3), "samples must be"),
    (lambda: regression.targets_of(-SIGMA, 9), "positive semi-definite"),
    (lambda: regression.targets_of(SIGMA[:2], 9), "square matrix"),
    (lambda: regression.targets_of(SIGMA, 9, mean=[1.0, 2.0]), "mean must be"),
    (lambda: regression.mode(-1.0, sigma=1.0, a=1.0, b=1.0), "t must be"),
    (lambda: regression.mode(1.0, sigma=0.0, a=1.0, b=1.0), "sigma must be"),
    (lambda: regression.mode(1.0, sigma=1.0, a=math.nan, b=1.0), "a must be"),
    (lambda: regression.balanced(1.0, W_, 1.1 * F_, T), "must agree at the start"),
    (lambda: regression.balanced(1.0, W_, F_[:, :9], T), "H"),
    (lambda: regression.balanced(1.0, W_, F_, T, reduction="none"), "reduction"),
    (lambda: cf.RegressionFlow(np.ones((2, 5))), "targets must not be all equal"),
    (lambda: cf.RegressionFlow(Y, rate="fast"), "rate must be one of"),
    (lambda: cf.RegressionFlow(Y, weight_decay=(0.1, 0.2, 0.3)), "weight_decay"),
    (lambda: cf.RegressionFlow(Y).start([1.0, 2.0]), "a start must be layers"),
    (lambda: cf.RegressionFlow(Y).lift([1.0, 2.0, 3.0], width=2), "width must be"),
    (lambda: cf.RegressionFlow(Y).project(W_, F_, [1.0]), "b must have shape"),
    (lambda: cf.RegressionFlow(Y).project(W_, F_[:, :5]), r"H \(d, 40\)"),
    (lambda: cf.collapse.regression(W_, F_[:5], Y), r"W must be \(\.\.\., n, d\)"),
    (lambda: cf.collapse.regression(W_, F_, Y[:2]), "targets must be"),
    (lambda: cf.collapse.regression(W_, F_, Y, gamma=2.1), "gamma must be"),
    (lambda: cf.collapse.regression(W_, F_, Y, gamma=[0.1, 0.1]), "gamma must be"),
    (lambda: cf.collapse.regression(W_, F_, Y, gamma=-0.1), "gamma must be"),
]


@pytest.mark.parametrize("number", range(len(REFUSED)))
def test_what_is_refused(number):
    call, message = REFUSED[number]
    with pytest.raises(ValueError, match=message):
        call()
