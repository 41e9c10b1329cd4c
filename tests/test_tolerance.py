"""The tolerance holds at the knots of a run and between them, against references of other kinds."""

import itertools
import math

import mpmath
import numpy as np
import pytest
from reference import balanced_flow
from scipy.integrate import solve_ivp
from scipy.optimize import brentq
from scipy.special import softmax
from test_solve import Circle

import ceflow as cf
from ceflow._run import steps_unwatched
from ceflow.losses import NO_ODDS
from ceflow.solve import ImplicitStepper
from ceflow.solve.collocation import collocation, halves
from ceflow.solve.newton import Dense, Projected
from ceflow.solve.stability import Response


def between(run, n: int = 5) -> np.ndarray:
    """Log times at the knots of a run, from the second on, and at n - 1 places between each two."""
    knots = run.log_t[1:]
    return np.unique(np.concatenate([np.linspace(low, high, n + 1) for low, high in itertools.pairwise(knots)]))


def worst(run, exact, log_t) -> float:
    """Largest relative error of a singular value at the log times, in tolerances."""
    return float(np.abs(run.at(log_t=log_t).singular_values / exact - 1.0).max() / run.rtol)


def test_nearly_equal_modes_at_a_loose_tolerance():
    """The last step is long, dense output is all there is at the end, and the modes are merged: it must be right."""
    flow = cf.SpectralFlow(cf.hadamard(4))
    run = cf.integrate(flow, [8.7e-4, 7.5e-4, 7.6e-4], 1e6, rtol=1e-6)
    np.testing.assert_allclose(run.singular_values[-1], [17.31544870, 17.28324438, 17.28670007], rtol=3e-6)


@pytest.mark.parametrize("rtol", [1e-4, 1e-6, 1e-7])
def test_many_nearly_equal_starts_at_loose_tolerances(rtol):
    rng = np.random.default_rng(1)
    for classes in (4, 8, 16):
        flow = cf.SpectralFlow(cf.hadamard(classes))
        for _ in range(10):
            start = 10 ** rng.uniform(-4, -1) * rng.uniform(0.7, 1.0, classes - 1)
            t_end = 10 ** rng.uniform(2, 10)
            run, best = (cf.integrate(flow, start, t_end, rtol=r) for r in (rtol, 1e-12))
            log_t = between(run)
            assert worst(run, best.at(log_t=log_t).singular_values, log_t) < 3.0


@pytest.fixture(scope="module", params=[4, 5])
def two_merged_modes(request):
    """Depth 4 and 5: two modes merge and a third lags behind, see `reference.balanced_flow`."""
    scheme, start = cf.hadamard(4), np.array([0.411, 2.178, 1.105])
    gaps = 1.0 - scheme.eigenmatrix[1:, 1:]
    flow = cf.SpectralFlow(scheme, depth=request.param, reduction="sum")
    return flow, start, balanced_flow(gaps, start, request.param, 100.0)


@pytest.mark.parametrize("rtol", [1e-6, 1e-8, 1e-10, 1e-12])
def test_merged_modes_of_a_deep_network_at_knots_and_between(two_merged_modes, rtol):
    flow, start, at = two_merged_modes
    run = cf.integrate(flow, start, log_t_end=60.0, rtol=rtol)
    log_t = between(run)
    assert worst(run, np.array([at(x) for x in log_t]), log_t) < 3.0


# -- rest --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("decay", "rtol"), [(0.4999, 1e-4), (0.49999, 1e-4), (0.49999, 1e-9)])
def test_slow_contraction_is_not_rest(decay, rtol):
    """Near the threshold of decay, 1/2, the velocity is small long before the way that is left is."""
    run = cf.integrate(cf.SpectralFlow(cf.complete(2), weight_decay=decay), [0.1], log_t_end=300.0, rtol=rtol)
    right = np.log(1.0 / decay - 1.0)  # K / (exp(s) + K - 1) = K decay
    assert run.outcome == cf.Outcome.AT_REST
    np.testing.assert_allclose(run.singular_values[-1], right, rtol=rtol)


def test_decay_at_its_threshold():
    """``ds/dt = -s tanh(s/2)``: s falls like 2 / t; the rounding of force less decay counts from eps t = rtol on."""
    run = cf.integrate(cf.SpectralFlow(cf.complete(2), weight_decay=0.5), [0.1], log_t_end=20.0, rtol=1e-6)
    for log_t in (2.0, 8.0, 14.0, 20.0):
        s = mpmath.mpf(float(run.at(log_t=[log_t]).singular_values[0, 0]))
        # 1 / tanh(u/2) - 2/u is smooth, and the rest has an integral
        smooth = mpmath.quad(lambda u: (mpmath.coth(u / 2) - 2 / u) / u, [s, mpmath.mpf("0.1")])
        t = smooth + 2 / s - 2 / mpmath.mpf("0.1")
        assert abs(t / mpmath.exp(log_t) - 1) < 1e-5


@pytest.mark.parametrize("scheme", [cf.cyclic(100), cf.cyclic(1000), cf.hadamard(512)])
def test_many_modes_come_to_rest_where_they_should(scheme):
    """Small states know their Jacobian, large ones products with it."""
    classes, decay, rtol = scheme.classes, 1e-4, 1e-4
    start = 1e-2 * np.random.default_rng(0).uniform(0.1, 1.0, scheme.modes)
    run = cf.integrate(cf.SpectralFlow(scheme, weight_decay=decay), start, 1e12, rtol=rtol)
    assert run.outcome == cf.Outcome.AT_REST
    # K / (exp(s) + K - 1) = K decay on every mode
    np.testing.assert_allclose(run.singular_values[-1], np.log(1.0 / decay - (classes - 1)), rtol=rtol)


@pytest.mark.parametrize(("depth", "decay"), [(3, 1e-9), (4, 1e-3)])
def test_layers_that_still_become_equal_are_not_at_rest(depth, decay):
    """Under decay their imbalance goes on fading when singular values are all but at rest, and moves these by more than
    the tightest tolerances, though too slowly for a difference of neighbouring states to tell."""
    flow = cf.SpectralFlow(cf.complete(2), depth=depth, weight_decay=decay, loss="label_smoothing")
    run = cf.integrate(flow, np.linspace(0.3, 0.9, depth)[:, None], log_t_end=200.0, rtol=1e-12)
    right = brentq(lambda s: 1.0 / (1.0 + np.exp(s)) - 0.05 - decay * s ** (2.0 / depth - 1.0), 1.0, 5.0, xtol=1e-15)
    assert run.outcome == cf.Outcome.AT_REST
    assert run.singular_values[-1, 0] == pytest.approx(right, rel=3e-12)


def test_a_saddle_is_not_rest():
    """Two of three modes come to an equilibrium, which the third one, of 1e-20, leaves in time."""
    layers = cf.SpectralFlow(cf.hadamard(4), weight_decay=5e-3).lift([1e-2, 1e-2, 1e-20])
    run = cf.integrate(cf.MatrixFlow(weight_decay=5e-3), layers, 1e6, rtol=1e-6)
    right = np.log(1.0 / 5e-3 - 3.0)
    assert run.success and right == pytest.approx(5.28320, abs=1e-5)
    np.testing.assert_allclose(run.singular_values[-1, :3], right, rtol=1e-6)


# -- implicit steps ----------------------------------------------------------------------------------------------------

STIFF = {
    "a dead mode beside merged ones": (cf.SpectralFlow(cf.hadamard(4)), [1e-3, 2e-3, 0.0], 1e5),
    "decay": (cf.SpectralFlow(cf.hadamard(16), weight_decay=1e-3), 1e-3 * np.arange(1.0, 16.0), 18.0),
    "smoothing": (
        cf.SpectralFlow(cf.hadamard(16), loss=cf.losses.label_smoothing(1e-3)), 1e-3 * np.arange(1.0, 16.0), 18.0,
    ),
    "squared error, a deep negative mode": (
        cf.SpectralFlow(cf.hadamard(4), loss="squared_error", depth=4), [0.1, -0.2, 0.3], 300.0,
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", STIFF)
def test_stiff_paths_take_few_steps_and_keep_the_tolerance(name):
    flow, start, log_t_end = STIFF[name]
    runs = {rtol: cf.integrate(flow, start, log_t_end=log_t_end, rtol=rtol) for rtol in (1e-6, 1e-9, 1e-12, 1e-13)}
    best = runs.pop(1e-13)
    for rtol, run in runs.items():
        assert run.success and run.nsteps < 300
        log_t = between(run, 2)[::3]
        here, exact = (r.at(log_t=log_t).singular_values for r in (run, best))
        assert np.all(np.abs(here - exact) <= 10 * rtol * np.abs(exact))
    assert best.success and best.nsteps < 300


@pytest.mark.parametrize(
    ("smoothing", "depth", "start"),
    [(0.000143168, 2.119576211366625, (2.7, -3.17)), (0.00441571, 2.6472560384934325, (-0.4672694934937723, 2.03))],
)
def test_a_mode_that_fades_beside_one_in_equilibrium(smoothing, depth, start):
    """The velocity of the one is rounding times t, and must not be taken for one when the other is followed to 1e-300:
    runs took more than 20000 steps."""
    scheme, rtol = cf.johnson(5, 2), 1e-6
    flow = cf.SpectralFlow(scheme, loss=cf.losses.label_smoothing(smoothing), depth=depth)
    run = cf.integrate(flow, start, log_t_end=347.0, rtol=rtol, max_steps=1000)
    stays = int(start[1] > 0.0)
    slope, k, K = scheme.margins(np.eye(2)[stays]), scheme.valencies[1:], scheme.classes

    def force(s: float) -> float:  # of the softmax with smoothed targets
        p = k * np.exp(-s * slope)
        return float((p / (1.0 + p.sum()) - k * smoothing / K) @ slope)

    assert run.success and run.nsteps < 300
    assert run.singular_values[-1, stays] == pytest.approx(brentq(force, 1.0, 200.0, xtol=1e-13), rel=10 * rtol)
    assert -1e-100 < run.singular_values[-1, 1 - stays] <= 0.0


def test_a_negative_mode_of_a_deep_network_against_its_closed_form():
    """u = -s of du/dt = -u^(3/2) (1 + u): 2/sqrt(u) + 2 arctan(sqrt(u)) grows by t."""
    flow, start, log_t_end = STIFF["squared error, a deep negative mode"]
    with mpmath.workdps(30):
        root = mpmath.sqrt("0.2")
        total = mpmath.exp(log_t_end) + 2 / root + 2 * mpmath.atan(root)
        exact = float((2 / total) ** 2)  # what is left of the arctangent is below 1e-130 of it
    for rtol in (1e-6, 1e-9, 1e-12):
        run = cf.integrate(flow, start, log_t_end=log_t_end, rtol=rtol)
        assert -run.singular_values[-1, 1] == pytest.approx(exact, rel=10 * rtol)


def test_decay_and_smoothing_at_the_tightest_tolerance_end_at_the_equilibrium():
    for name, force in (
        ("decay", lambda s: 16 / (np.exp(s) + 15) - 16e-3),
        ("smoothing", lambda s: 16 / (np.exp(s) + 15) - 1e-3),
    ):
        flow, start, _ = STIFF[name]
        run = cf.integrate(flow, start, 1e8, rtol=1e-13)
        right = brentq(force, 1.0, 50.0, xtol=1e-15, rtol=1e-15)
        assert run.outcome == cf.Outcome.AT_REST and run.nsteps < 300
        np.testing.assert_allclose(run.singular_values[-1], right, rtol=1e-12)


@pytest.mark.parametrize(("depth", "scale", "log_t_end"), [(3, 1e-3, 9.5), (4, 1e-2, 11.0)])
def test_deep_full_flows_from_small_random_starts(depth, scale, log_t_end):
    """One mode grows before all others, and is stiff beside them; what is conserved, is."""
    start = cf.random_init(classes=4, width=4, scale=scale, depth=depth, rng=0)
    run = cf.integrate(cf.MatrixFlow(depth=depth), start, log_t_end=log_t_end, rtol=1e-6)
    assert run.success and run.nsteps < 500 and run._path.segments[-1].method == "radau"
    left, right = (factor[-1] for factor in run.factors[:2])
    balance = left.T @ left - right @ right.T
    assert np.linalg.norm(balance - (start[0].T @ start[0] - start[1] @ start[1].T)) < 1e-5 * np.linalg.norm(left) ** 2


def test_a_large_full_flow_comes_to_rest_by_few_products_of_its_jacobian(monkeypatch):
    """Against explicit steps alone all the way, and the equilibrium, log(1/decay - K + 1)."""
    flow, log_t = cf.MatrixFlow(weight_decay=1e-3), np.linspace(2.0, 11.5, 40)
    start = cf.random_init(classes=17, width=17, scale=0.1, rng=0)
    run = cf.integrate(flow, start, log_t_end=14.0, rtol=1e-6)
    assert [segment.kind for segment in run._path.segments] == ["steps", "steps", "rest"]
    assert run._path.segments[1].method == "radau" and run.nsteps < 110
    np.testing.assert_allclose(run.singular_values[-1, :16], np.log(1e3 - 16.0), rtol=1e-6)
    monkeypatch.setattr("ceflow.solve.stepping.LARGEST", 0)
    explicit = cf.integrate(flow, start, log_t_end=11.6, rtol=1e-8)
    assert [segment.kind for segment in explicit._path.segments] == ["steps", "rest"]
    here, exact = run.at(log_t=log_t).y, explicit.at(log_t=log_t).y
    assert np.all(np.linalg.norm(here - exact, axis=1) < 1e-6 * np.linalg.norm(exact, axis=1))


def test_a_full_flow_at_the_threshold_of_decay_does_not_count_as_at_rest():
    """It moves on like 1/t, by a rate that differences do not tell from 0."""
    flow = cf.SpectralFlow(cf.hadamard(4), weight_decay=0.25)
    start = np.array([0.3, 0.2, 0.1])
    reduced, full = (
        cf.integrate(system, first, log_t_end=21.0, rtol=1e-6)
        for system, first in ((flow, start), (flow.full(), flow.lift(start)))
    )
    np.testing.assert_allclose(full.singular_values[-1, :3], np.sort(reduced.singular_values[-1])[::-1], rtol=1e-5)


@pytest.mark.parametrize("classes", [7, 8])  # the smaller one has hardly more numbers than a subspace has directions
def test_systems_of_implicit_steps_in_a_subspace_and_with_a_matrix(classes):
    flow, size = cf.MatrixFlow(weight_decay=1e-3), 2 * classes**2
    start = cf.random_init(classes=classes, width=classes, scale=1.0, rng=0)
    y = cf.integrate(flow, start, 1e3, rtol=1e-4).y[-1]
    here, rng = Response(flow.motion(start, y, math.log(1e3), 1e-6), y, math.log(1e3)), np.random.default_rng(0)
    M, right = np.linalg.inv(collocation().coefficients), rng.standard_normal((7, 3)) @ rng.standard_normal((3, size))
    dense, projected = Dense(here), Projected(here)
    exact = dense.inverse(M, 0.5)(right)
    np.testing.assert_allclose(M @ exact - 0.5 * exact @ dense.matrix.T, right, atol=1e-10)
    found = projected.inverse(M, 0.5)(right)
    left = right - M @ found + 0.5 * found @ dense.matrix.T
    assert np.linalg.norm(left) < 0.2 * np.linalg.norm(right) and projected.products < dense.products
    one = right[0] - (np.eye(size) - 0.5 * dense.matrix) @ projected.filtered(0.5, right[0])
    assert np.linalg.norm(one) < 0.2 * np.linalg.norm(right[0])


def test_the_more_an_implicit_step_costs_the_later_it_is_asked_for():
    """At once up to 32 numbers; and there is no jump, nor any fall."""
    steps = [steps_unwatched(size) for size in range(1, 2000)]
    assert steps[0] == steps[31] == 96 and np.all(np.diff(steps) >= 0)
    assert steps[62] > 2000 and max(np.diff(steps)) <= 512


def test_short_floats_with_decay_come_to_rest():
    flow = cf.MatrixFlow(dtype="float32", weight_decay=1e-3)
    run = cf.integrate(flow, cf.random_init(classes=4, width=4, scale=0.1, rng=0), 1e6, rtol=1e-5)
    assert run.success and run.nsteps < 300
    np.testing.assert_allclose(run.singular_values[-1, :3], np.log(1e3 - 3.0), rtol=1e-4)


def test_implicit_steps_are_kept_sampled_and_resumed(tmp_path):
    flow, start, _ = STIFF["a dead mode beside merged ones"]
    run = cf.integrate(flow, start, log_t_end=1e3)
    assert [segment.method for segment in run._path.segments] == ["dop853", "radau"]
    run.save(tmp_path / "run.npz")
    again = cf.load(tmp_path / "run.npz")
    log_t = between(run)[-60:]
    np.testing.assert_allclose(again.at(log_t=log_t).y, run.at(log_t=log_t).y, rtol=1e-14)
    straight = cf.integrate(flow, start, log_t_end=2e3)
    np.testing.assert_array_equal(cf.resume(again, log_t_end=2e3).y[-1], straight.y[-1])


# -- the collocation method --------------------------------------------------------------------------------------------


def test_collocation_integrates_polynomials():
    made = collocation()
    for power in range(made.stages):
        np.testing.assert_allclose(
            made.coefficients @ made.nodes**power, made.nodes ** (power + 1) / (power + 1), atol=1e-14
        )
        embedded = made.estimate @ made.nodes**power + (made.damping if power == 0 else 0.0)
        assert abs(embedded) < 1e-14
    for power in range(2 * made.stages - 1):
        assert made.coefficients[-1] @ made.nodes**power == pytest.approx(1 / (power + 1), abs=1e-13)
    eigenvalues, vectors, left = halves(np.linalg.inv(made.coefficients))
    np.testing.assert_allclose(
        ((vectors * eigenvalues) @ left).real @ made.coefficients, np.eye(made.stages), atol=1e-11
    )


def test_implicit_steps_have_their_order():
    """Of the end of a step 2 n - 1, of dense output n, in a circle."""
    ends, middles = [], []
    for h in (2.0, 1.0):
        solver = ImplicitStepper(Circle())
        log_t, y = np.array([-np.inf, np.log(h)]), np.array([[0.0, 1.0], [np.nan, np.nan]])
        found = solver.sample(y, np.array([h]), log_t, np.log(h * np.array([0.5, 1.0 - 1e-15])))
        exact = np.array([[np.sin(h / 2), np.cos(h / 2)], [np.sin(h), np.cos(h)]])
        middles.append(np.abs(found[0] - exact[0]).max())
        ends.append(np.abs(found[1] - exact[1]).max())
    assert np.log2(ends[0] / ends[1]) > 12.0 and 7.0 < np.log2(middles[0] / middles[1]) < 9.5


# -- full matrices -----------------------------------------------------------------------------------------------------


def in_log_time(W, H, log_t, log_begin=-8.0):
    """Singular value of the logits of layers of width 1 at the log times, by SciPy's Radau in log t."""
    classes = len(W)

    def velocity(x, y):
        w, h = y[:classes], y[classes:]
        G = np.eye(classes) - softmax(np.outer(w, h), axis=0)
        return np.exp(x) / classes * np.concatenate([G @ h, w @ G])

    y = np.concatenate([W.ravel(), H.ravel()])
    begin = y + np.exp(log_begin) * velocity(0.0, y)
    found = solve_ivp(
        velocity, (log_begin, log_t[-1]), begin, "Radau", log_t, rtol=1e-10, atol=1e-12 * np.abs(y).max()
    )
    w, h = found.y[:classes], found.y[classes:]
    return np.sqrt((w**2).sum(axis=0) * (h**2).sum(axis=0))


@pytest.mark.parametrize(("scale", "rtol"), [(1e-2, 1e-6), (1e-2, 1e-9), (1.0, 1e-6), (10.0, 1e-6)])
def test_layers_of_width_one(scale, rtol):
    """The classes in the middle of a line are never fitted: forces of size 1 cancel, and the flow is stiff for ever."""
    W, H = cf.random_init(classes=4, width=1, scale=scale, rng=0)
    run = cf.integrate(cf.MatrixFlow(), (W, H), log_t_end=20.0, rtol=rtol)
    assert run.success and run.nsteps < 300
    log_t = np.array([2.0, 6.0, 12.0])
    here = run.at(log_t=log_t).singular_values[:, 0]
    np.testing.assert_allclose(here, in_log_time(W, H, log_t), rtol=10 * rtol + 2e-7)
    imbalance = run.W[-1].T @ run.W[-1] - run.H[-1] @ run.H[-1].T
    assert abs(imbalance - (W.T @ W - H @ H.T)).item() < 10 * rtol * (run.W[-1] ** 2).sum()


def test_large_random_layers():
    """Logits of 1e7: the softmax is a step, and the path slides along the places where two classes tie."""
    W, H = cf.random_init(classes=3, width=3, scale=2e3, rng=0)
    run = cf.integrate(cf.MatrixFlow(), (W, H), log_t_end=5.0, rtol=1e-6)
    assert run.success and run.nsteps < 500
    imbalance = run.W[-1].T @ run.W[-1] - run.H[-1] @ run.H[-1].T
    assert np.abs(imbalance - (W.T @ W - H @ H.T)).max() < 1e-5 * (run.W[-1] ** 2).sum()
    assert run.loss[-1] < 1e-2 * run.loss[0]


class Logarithm(Circle):
    """y' = exp(-y) from 0, that is y = log(1 + tau), in a clock with log(dt/dtau) = 40 y."""

    size = 1

    def rates(self, y, dy):
        dy[0] = np.exp(-y[0])
        return 40.0 * y[0], NO_ODDS


@pytest.mark.parametrize("h", [1e-3, 1e-2])
def test_the_clock_of_implicit_steps_is_that_of_their_last_states(h):
    """Newton's method may end with a change that is large, if that leaves little: the clock has to know of it."""
    solver = ImplicitStepper(Logarithm())
    solver.begin(np.zeros(1))
    batch = solver.advance(np.array([-np.inf, 0.0, NO_ODDS, h, 1.0]), 1, 1e-13, 0.0, 100.0, 10)
    exact = np.log(np.expm1(41.0 * np.log1p(h)) / 41.0)
    assert batch.rejected == 0 and abs(batch.log_t[1] - exact) < 1e-14 * abs(exact)


def test_the_second_change_of_newtons_method_is_not_believed_to_tell_how_the_next_ones_fall():
    """The first implicit step was solved for to 150 tolerances only: changes fell by 6e-7, and then by 1e-3."""
    flow = cf.SpectralFlow(cf.hadamard(4), loss=cf.losses.focal(1.33446), weight_decay=5.26378e-05)
    start = [4.537507213220542e-07, -5.387857008940626e-07, -1.0487012221978627e-06]
    best, run = (cf.integrate(flow, start, log_t_end=20.0, rtol=rtol) for rtol in (1e-13, 1e-11))
    log_t = between(run, 2)
    here, exact = (r.at(log_t=log_t).singular_values[:, 0] for r in (run, best))
    assert np.abs(here / exact - 1.0).max() <= 1e-11


def test_a_run_that_turns_stiff_begins_anew_with_growth():
    """The size of the last explicit error, here far below the tolerance, is not one by which implicit steps grow."""
    flow = cf.SpectralFlow(cf.hadamard(8), loss="label_smoothing", depth=5)
    run = cf.integrate(flow, [1.07, 0.924, 1.34, 2.47, 0.569, 1.58, 1.52], log_t_end=6.0, rtol=1e-12)
    assert run.success and run._path.segments[1].method == "radau" and run.nsteps < 200


def test_unbalanced_layers_at_the_tightest_tolerance():
    """51 tolerances off when implicit steps kept the time of states before the last change."""
    start = [[-0.0091, -0.0307], [0.0248, -0.0116]]
    flow = cf.SpectralFlow(cf.hamming(2, 3), loss="focal", depth=2)
    run = cf.integrate(flow, start, log_t_end=400.0, rtol=1e-13)
    assert run.certificate().passed


def test_a_large_state_is_seldom_asked_whether_it_is_at_rest(monkeypatch):
    """It takes a hundred evaluations, and its velocity, which is known, has to fall by the ratio of all rates first."""
    asked, distance = [], Response.distance
    monkeypatch.setattr(Response, "distance", lambda *args: asked.append(1) or distance(*args))
    start = cf.random_init(classes=18, width=18, scale=0.1)
    run = cf.integrate(cf.MatrixFlow(weight_decay=1e-3), start, 1e6, rtol=1e-6)
    assert run.outcome == cf.Outcome.AT_REST and len(asked) < 8
    np.testing.assert_allclose(run.singular_values[-1, :17], np.log(1e3 - 17.0), rtol=5e-6)
