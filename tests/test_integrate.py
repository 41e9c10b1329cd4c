"""The reduced flow against independent references, closed forms and its own invariants."""

import math

import numpy as np
import pytest
from reference import layers_flow, reduced_flow

import ceflow as cf
from ceflow.flow.matrix_field import MatrixField

SCHEMES = [cf.hadamard(8), cf.cyclic(9), cf.johnson(5, 2), cf.hamming(2, 3)]


def small(scheme, seed=0, scale=1e-3):
    return scale * np.random.default_rng(seed).uniform(0.1, 1.0, scheme.modes)


def parts(scheme):
    return scheme.gaps, scheme.multiplicities[1:], scheme.valencies[1:]


# -- accuracy ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("scheme", [cf.hadamard(4), cf.hadamard(64), *SCHEMES], ids=lambda s: s.name)
def test_error_is_within_10_tolerances_at_all_times(scheme):
    s0 = small(scheme)
    at = reduced_flow(*parts(scheme), s0, 760.0)
    flow = cf.SpectralFlow(scheme, reduction="sum")
    times = np.log(10.0) * np.array([-1.0, 0.0, 0.7, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 100.0, 200.0, 300.0])
    exact = np.array([at(log_t) for log_t in times])
    for rtol in (1e-6, 1e-8, 1e-10, 1e-12):
        run = cf.integrate(flow, s0, log_t_eval=times, rtol=rtol)
        assert run.success
        np.testing.assert_allclose(run.singular_values, exact, rtol=10 * rtol, atol=0)


def test_steps_and_dense_output_agree_with_the_reference_everywhere():
    scheme = cf.hadamard(8)
    s0 = small(scheme, seed=3)
    at = reduced_flow(*parts(scheme), s0, 760.0)
    run = cf.integrate(cf.SpectralFlow(scheme, reduction="sum"), s0, 1e300, rtol=1e-8)
    for log_t, s in zip(run.log_t[1:], run.singular_values[1:], strict=True):
        np.testing.assert_allclose(s, at(log_t), rtol=1e-7)
    log_t = np.linspace(-3, 690, 100)
    for x, s in zip(log_t, run.at(log_t=log_t).singular_values, strict=True):
        np.testing.assert_allclose(s, at(x), rtol=1e-7)


@pytest.mark.parametrize("log_t", [-14.0, 0.0, 3.0, 100.0, 1e4, 1e6])
@pytest.mark.parametrize("scheme", [cf.hadamard(4), cf.complete(1000)], ids=lambda s: s.name)
def test_the_stepper_follows_the_exact_ray(scheme, log_t):
    s0 = np.full(scheme.modes, 1e-3)
    run = cf.integrate(cf.SpectralFlow(scheme), s0, log_t_end=log_t, rtol=1e-10, closed_form=False)
    exact = cf.theory.ray_singular_value(log_t=log_t, s0=1e-3, classes=scheme.classes)
    np.testing.assert_allclose(run.singular_values[-1], exact, rtol=1e-9)
    assert [segment.kind for segment in run._path.segments] == ["steps"]


def test_the_closed_form_takes_over_within_tolerance():
    scheme, rtol = cf.hadamard(8), 1e-9
    flow, s0 = cf.SpectralFlow(scheme), small(cf.hadamard(8), seed=1)
    closed = cf.integrate(flow, s0, log_t_end=1000.0, rtol=rtol)
    stepped = cf.integrate(flow, s0, log_t_end=1000.0, rtol=1e-12, closed_form=False)
    assert [segment.kind for segment in closed._path.segments] == ["steps", "ray"]
    log_t = np.linspace(1.0, 1000.0, 200)
    difference = closed.at(log_t=log_t).singular_values / stepped.at(log_t=log_t).singular_values - 1.0
    assert np.abs(difference).max() <= 10 * rtol


def test_reductions_differ_by_the_unit_of_time():
    scheme = cf.cyclic(7)
    s0 = small(scheme)
    t = np.array([0.1, 1.0, 10.0, 1e5])
    mean = cf.integrate(cf.SpectralFlow(scheme), s0, t_eval=7 * t, rtol=1e-11)
    total = cf.integrate(cf.SpectralFlow(scheme, reduction="sum"), s0, t_eval=t, rtol=1e-11)
    np.testing.assert_allclose(mean.singular_values, total.singular_values, rtol=1e-10)
    np.testing.assert_allclose(7 * mean.loss, total.loss, rtol=1e-10)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("scheme", SCHEMES, ids=lambda s: s.name)
def test_unbalanced_layers_of_any_sign(scheme, seed):
    layers = np.random.default_rng(seed).uniform(-1.0, 1.0, (2, scheme.modes))
    t = np.array([0.01, 0.3, 1.0, 3.0, 10.0, 30.0])
    run = cf.integrate(cf.SpectralFlow(scheme, reduction="sum"), layers, t_eval=t, rtol=1e-10)
    exact = layers_flow(*parts(scheme), layers, t)
    np.testing.assert_allclose(run.layers, exact, rtol=0, atol=1e-9 * np.abs(exact).max())
    np.testing.assert_allclose(run.conserved, np.tile(layers[0] ** 2 - layers[1] ** 2, (6, 1)), rtol=0, atol=1e-13)


def test_starts_from_1e_minus_12_to_1e3_against_the_plain_equations():
    scheme = cf.hadamard(8)
    s0 = np.array([1e3, 1e-12, 1.0, 1e-6, 30.0, 1e-9, 1e2])
    t = np.array([1e-6, 1e-3, 1.0, 10.0, 30.0])
    exact = layers_flow(*parts(scheme), np.sqrt([s0, s0]), t)
    run = cf.integrate(cf.SpectralFlow(scheme, reduction="sum"), s0, t_eval=t, rtol=1e-9)
    np.testing.assert_allclose(run.layers, exact, rtol=1e-8)


def test_starts_from_1e_minus_12_to_1e3():
    scheme = cf.hadamard(8)
    s0 = np.array([1e3, 1e-12, 1.0, 1e-6, 30.0, 1e-9, 1e2])
    coarse = cf.integrate(cf.SpectralFlow(scheme), s0, log_t_end=2000.0, rtol=1e-8)
    fine = cf.integrate(cf.SpectralFlow(scheme), s0, log_t_end=2000.0, rtol=1e-12)
    log_t = np.concatenate([np.linspace(-14, 10, 50), np.linspace(10, 2000, 50)])
    # measured: 6.7 tolerances, where the modes catch up with each other over 15 decades
    np.testing.assert_allclose(coarse.at(log_t=log_t).singular_values, fine.at(log_t=log_t).singular_values, rtol=1e-6)
    early = fine.at(1e-6).singular_values[0]
    rate = (
        scheme.forces(scheme.valencies[1:] * np.exp(-scheme.margins(s0)) / (1 + np.exp(-scheme.margins(s0)).sum())) / 8
    )
    np.testing.assert_allclose(early, s0 * np.exp(2 * rate * 1e-6), rtol=1e-9)


@pytest.mark.parametrize("scale", [1e-12, 1e-5, 1e-2])
def test_the_closed_form_waits_until_the_modes_have_merged(scale):
    flow, s0 = cf.SpectralFlow(cf.hadamard(4)), scale * np.array([0.5, 1.0, 0.2])
    run = cf.integrate(flow, s0, 1e6, rtol=1e-9)
    stepped = cf.integrate(flow, s0, 1e6, rtol=1e-12, closed_form=False)
    np.testing.assert_allclose(run.singular_values[-1], stepped.singular_values[-1], rtol=1e-8)


# -- special starts ----------------------------------------------------------------------------------------------------


def test_a_dead_mode_stays_dead_and_the_clock_goes_on():
    run = cf.integrate(cf.SpectralFlow(cf.hadamard(4)), np.array([0.1, 0.0, 0.0]), log_t_end=1e5)
    assert run.success and np.all(run.singular_values[:, 1:] == 0.0)
    # one mode alone: ds/dt = 2 s lambda / K with lambda = 2 / (1 + e^(s/2)), so log t tends to s/2 + log(2/s)
    s = run.singular_values[-1, 0]
    assert abs(s / 2 + math.log(2 / s) - 1e5) < 1e-3
    assert run.nsteps < 60


def test_everything_dead_is_at_rest():
    run = cf.integrate(cf.SpectralFlow(cf.hadamard(4)), np.zeros(3), 1e9)
    assert (
        run.success and "rest" in run.message and np.all(run.singular_values == 0.0) and run.t[-1] == pytest.approx(1e9)
    )


def test_opposite_layers_decay_and_do_not_stall_the_clock():
    flow = cf.SpectralFlow(cf.hadamard(4), reduction="sum")
    run = cf.integrate(flow, np.array([-0.1, -0.2, -0.3]), log_t_end=1e5)
    assert run.success and np.all(np.abs(run.singular_values[-1]) < 1e-250)
    mixed = cf.integrate(flow, np.array([0.1, -0.3, 0.2]), log_t_end=300.0)
    s = mixed.singular_values
    assert (
        mixed.success
        and np.all(s[:, 1] < 0.0)
        and np.all(np.diff(s[:, 1]) > 0.0)
        and np.all(np.diff(s[:, [0, 2]], axis=0) > 0)
    )


def test_opposite_signs_cross_zero():
    layers = np.array([[0.1, 0.2, 1.0], [0.1, 0.2, -0.999]])
    run = cf.integrate(cf.SpectralFlow(cf.hadamard(4), reduction="sum"), layers, 1e12)
    a, b = run.layers[:, 0, 2], run.layers[:, 1, 2]
    assert run.success and b[0] < 0.0 < b[-1] and np.all(a > 0.0) and run.singular_values[-1, 2] > 0.0
    np.testing.assert_allclose(run.conserved[:, 2], 1.0 - 0.999**2, rtol=1e-12)
    assert np.all(np.isnan(run.lyapunov[run.singular_values.min(axis=1) <= 0.0]))


# -- the cost of time --------------------------------------------------------------------------------------------------


def test_a_thousand_classes_to_1e300_in_under_60_steps():
    scheme = cf.hadamard(1024)
    run = cf.integrate(cf.SpectralFlow(scheme), small(scheme), 1e300, rtol=1e-9)
    assert run.success and run.nsteps < 60


def test_steps_on_the_ray_grow_with_log_of_log_t_only():
    flow, s0 = cf.SpectralFlow(cf.complete(16)), np.array([1e-3])
    steps = [cf.integrate(flow, s0, log_t_end=x, closed_form=False).nsteps for x in (1e2, 1e4, 1e6)]
    assert steps[2] - steps[1] <= steps[1] - steps[0] + 5 and steps[2] < 60


def test_states_are_continuous_where_steps_meet():
    """Time is computed in two ways, which agree to the tolerance."""
    run = cf.integrate(cf.SpectralFlow(cf.hadamard(64)), small(cf.hadamard(64)), 1e12, rtol=1e-9)
    before = run.at(log_t=run.log_t[1:] * (1.0 - 1e-15)).singular_values
    assert np.all(run.log_t[2:] > 0.0) and np.abs(before / run.singular_values[1:] - 1.0).max() < 1e-9


# -- rows, stopping, options -------------------------------------------------------------------------------------------


def test_rows():
    flow, s0 = cf.SpectralFlow(cf.hadamard(4)), np.array([1e-3, 2e-3, 5e-4])
    run = cf.integrate(flow, s0, 1e9)
    assert (
        run.log_t[0] == -math.inf
        and run.t[0] == 0.0
        and run.t[-1] == 1e9
        and np.all(np.diff(run.log_t) > 0)
    )
    np.testing.assert_array_equal(run.singular_values[0], s0)
    wanted = np.array([0.0, 1e-6, 1.0, 1e6])
    rows = cf.integrate(flow, s0, 1e9, t_eval=wanted)
    np.testing.assert_array_equal(rows.t, wanted)
    np.testing.assert_allclose(rows.at(1e9).y, run.y[-1:], rtol=1e-14)
    ends = cf.integrate(flow, s0, 1e9, dense_output=False)
    assert len(ends) == 2
    np.testing.assert_array_equal(ends.y, run.y[[0, -1]])
    with pytest.raises(ValueError, match="dense_output=True"):
        ends.at(1.0)
    sparse = cf.integrate(flow, s0, 1e9, t_eval=wanted, dense_output=False)
    np.testing.assert_array_equal(sparse.y, rows.y)


@pytest.mark.parametrize("threshold", [1e-2, 1e-6, 1e-20])
def test_until_collapsed(threshold):
    flow, s0 = cf.SpectralFlow(cf.hadamard(4)), np.array([1e-3, 2e-3, 5e-4])
    run = cf.integrate(flow, s0, until=cf.collapsed(threshold))
    assert run.success and "collapsed" in run.message
    assert run.lyapunov[-1] == pytest.approx(threshold, rel=1e-6) and np.all(run.lyapunov[:-1] > threshold)
    assert run.log_t_end == run.log_t[-1]


def test_until_met_at_the_start_or_never():
    flow = cf.SpectralFlow(cf.hadamard(4))
    assert len(cf.integrate(flow, np.ones(3), until=cf.collapsed(1e-3))) == 1
    run = cf.integrate(flow, np.array([1e-3, 2e-3, 5e-4]), 1e3, until=cf.collapsed(1e-20))
    assert run.success and run.t[-1] == pytest.approx(1e3)
    never = cf.integrate(flow, np.zeros(3), until=lambda trajectory: np.ones(len(trajectory)))
    assert not never.success and "no event" in never.message


def test_running_out_of_steps_with_rows_only():
    flow, s0 = cf.SpectralFlow(cf.hadamard(4)), np.array([1e-3, 2e-3, 5e-4])
    steps = cf.integrate(flow, s0, 1e9, max_steps=5)
    ends = cf.integrate(flow, s0, 1e9, max_steps=5, dense_output=False)
    np.testing.assert_array_equal(ends.y, steps.y[[0, -1]])
    none = cf.integrate(flow, s0, t_eval=[1e8, 1e9], max_steps=5)  # it does not get so far
    assert not none.success and none.y.shape == (0, 3) and none.singular_values.shape == (0, 3)
    assert none.log_t_end == steps.log_t_end


def test_an_error_that_cannot_be_met_ends_the_run(monkeypatch):
    monkeypatch.setattr(MatrixField, "norm", lambda *arguments: 2.0)
    run = cf.integrate(cf.MatrixFlow(), cf.random_init(classes=3, width=2, scale=0.1, rng=0), 1.0)
    assert not run.success and "the step size fell to rounding, rtol = 1e-09 cannot be met" in run.message
    assert len(run) == 1 and run.nsteps == 0 < run.nrejected


def test_running_out_of_steps_returns_what_was_computed():
    run = cf.integrate(cf.SpectralFlow(cf.hadamard(4)), np.array([1e-3, 2e-3, 5e-4]), 1e9, max_steps=5)
    assert not run.success and "max_steps = 5" in run.message and len(run) == 6 and run.log_t_end == run.log_t[-1]
    assert run.at(log_t=run.log_t_end - 0.1).success is False


def test_absolute_tolerance_saves_work_on_tiny_modes():
    flow, s0 = cf.SpectralFlow(cf.hadamard(16)), 10.0 ** -np.arange(0, 15)
    strict, loose = (cf.integrate(flow, s0, 1e4, rtol=1e-10, atol=atol) for atol in (0.0, 1e-4))
    assert loose.nfev < strict.nfev
    assert np.abs(loose.singular_values[-1] - strict.singular_values[-1]).max() < 1e-2


def test_progress_bar(capsys):
    cf.integrate(cf.SpectralFlow(cf.hadamard(4)), np.full(3, 1e-3), 1e9, progress=True)
    assert "%" in capsys.readouterr().err
    start = cf.random_init(classes=3, width=3, scale=0.1, rng=0)
    cf.integrate(cf.MatrixFlow(), start, until=lambda rows: rows.loss - 0.1, progress=True)
    assert "log10 t = " in capsys.readouterr().err  # and nobody knows which share of the way that is


FLOW, START = cf.SpectralFlow(cf.hadamard(4)), np.full(3, 1e-3)


@pytest.mark.parametrize(
    ("call", "error", "match"),
    [
        (lambda: cf.integrate(FLOW, np.ones(4), 1.0), ValueError, r"s0 must have shape \(3,\)"),
        (lambda: cf.integrate(FLOW, np.array([1.0, np.nan, 1.0]), 1.0), ValueError, "s0 must be from"),
        (lambda: cf.integrate(FLOW, np.array([1.0, 1e-310, 1.0]), 1.0), ValueError, "s0 must be 0 or between"),
        (lambda: cf.integrate(FLOW, ["a", "b", "c"], 1.0), TypeError, "s0 must be real"),
        (lambda: cf.integrate(FLOW, START), ValueError, "needs an end"),
        (lambda: cf.integrate(FLOW, START, 0.0), ValueError, "t_end must be positive"),
        (lambda: cf.integrate(FLOW, START, -1.0), ValueError, "t_end must be positive"),
        (lambda: cf.integrate(FLOW, START, math.inf), ValueError, "log_t_end"),
        (lambda: cf.integrate(FLOW, START, math.nan), ValueError, "t_end"),
        (lambda: cf.integrate(FLOW, START, 1.0, log_t_end=1.0), ValueError, "not both"),
        (lambda: cf.integrate(FLOW, START, log_t_end=1e9), ValueError, "log_t_end"),
        (lambda: cf.integrate(FLOW, START, 1.0, rtol=0.0), ValueError, "rtol must be between"),
        (lambda: cf.integrate(FLOW, START, 1.0, rtol="x"), TypeError, "rtol must be a number"),
        (lambda: cf.integrate(FLOW, START, 1.0, atol=-1.0), ValueError, "atol"),
        (lambda: cf.integrate(FLOW, START, 1.0, max_steps=0), ValueError, "max_steps"),
        (lambda: cf.integrate(FLOW, START, 1.0, t_eval=[2.0]), ValueError, "t_eval must not go beyond"),
        (lambda: cf.integrate(FLOW, START, t_eval=[2.0, 1.0]), ValueError, "strictly increasing"),
        (lambda: cf.integrate(FLOW, START, t_eval=[-1.0, 1.0]), ValueError, "must not be negative"),
        (lambda: cf.integrate(FLOW, START, t_eval=[]), ValueError, "t_eval"),
        (lambda: cf.integrate(FLOW, START, t_eval=[1.0], log_t_eval=[0.0]), ValueError, "log_t_eval, not both"),
        (lambda: cf.integrate(FLOW, START, 1.0, until=3), TypeError, "until must be callable"),
        (lambda: cf.collapsed(0.0), ValueError, "threshold"),
        (lambda: cf.collapsed(1e-40), ValueError, "at least 1e-28"),
        (lambda: cf.integrate("flow", START, 1.0), TypeError, "flow must be"),
        (lambda: cf.SpectralFlow("hadamard"), TypeError, "symmetry must be"),
        (lambda: cf.SpectralFlow(cf.hadamard(4), loss="hinge"), ValueError, "loss must be one of"),
        (lambda: cf.SpectralFlow(cf.hadamard(4), reduction="none"), ValueError, "reduction must be"),
        (lambda: cf.SpectralFlow(cf.hadamard(4), depth=1), ValueError, "depth must be"),
        (lambda: cf.integrate(FLOW, START, 1.0).at(2.0), ValueError, "the run ends"),
        (lambda: cf.integrate(FLOW, START, 1.0).at(), ValueError, "either t or log_t"),
        (lambda: cf.integrate(FLOW, START, 1.0).at(-1.0), ValueError, "must not be negative"),
    ],
)
def test_bad_input(call, error, match):
    with pytest.raises(error, match=match):
        call()
