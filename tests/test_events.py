"""What a run stops at: directions, numbers that are missing, several events at once, and the row where it stops."""

import math

import numpy as np
import pytest
from reference import layers_flow

import ceflow as cf

SCHEME = cf.hadamard(4)
FLOW, S0 = cf.SpectralFlow(SCHEME), np.array([1e-3, 2e-3, 5e-4])


def stops(function, direction="either", **options):
    """log t where a run stops at a function of log t."""
    settings = {"name": options.pop("name", None), "looks": options.pop("looks", 1)}
    run = cf.integrate(FLOW, S0, log_t_end=300.0, until=cf.event(function, direction, **settings), **options)
    return run.log_t_end if run.outcome == cf.Outcome.STOPPED else None


@pytest.mark.parametrize("until", [cf.collapsed(1), cf.collapsed(1, looks=7), lambda run: run.lyapunov - 1.0])
def test_a_criterion_that_is_no_number_at_first(until):
    """V is not defined until the third singular value is positive."""
    layers = np.array([[1.0, 1.0, -0.5], [1.0, 1.0, 1.0]])
    run = cf.integrate(FLOW, layers, until=until)
    assert run.success and run.t[-1] == pytest.approx(2.6629525591704, rel=1e-9)
    assert run.lyapunov[-1] == pytest.approx(1.0, rel=1e-12) and run.lyapunov[-1] <= 1.0
    assert np.isnan(run.lyapunov[0])
    parts = SCHEME.gaps, SCHEME.multiplicities[1:], SCHEME.valencies[1:]
    exact = layers_flow(*parts, layers, run.t[-1:] / SCHEME.classes)[0].prod(axis=0)
    assert cf.lyapunov.lyapunov(SCHEME, exact) == pytest.approx(1.0, rel=1e-7)


def test_a_rising_function():
    run = cf.integrate(FLOW, S0, until=lambda run: run.margin - 5.0)
    assert run.margin[-1] == pytest.approx(5.0, rel=1e-12) and run.margin[-1] >= 5.0 and len(run) > 10
    assert run.event == 0 and "stopped by <lambda>" in run.message
    up, down = (cf.event(lambda run: run.margin - 5.0, direction, name="margin 5") for direction in ("up", "down"))
    assert cf.integrate(FLOW, S0, until=up).log_t_end == run.log_t_end
    once = cf.integrate(FLOW, S0, until=down)  # margin <= 5 holds at t = 0
    assert once.log_t.tolist() == [-math.inf] and once.message == "stopped by margin 5" and once.success


@pytest.mark.parametrize("looks", [1, 8])
def test_all_zeros_of_a_wave_by_going_on(looks):
    """Each stop is on the far side of a zero, so that the next one is the next stop."""

    def wave(run):
        return np.cos(run.log_t)

    zeros = math.pi * (np.arange(3, 8) + 0.5)
    for direction, expected in (("either", zeros), ("up", zeros[::2]), ("down", zeros[1::2])):
        run, found = cf.integrate(FLOW, S0, log_t_end=12.0 if direction == "down" else 10.0), []
        for _ in expected:
            # where a direction's claim holds the run would stop at once: go on until it does not
            if direction != "either" and found:
                run = cf.resume(run, log_t_end=found[-1] + 1.3 * math.pi)
            run = cf.resume(run, log_t_end=60.0, until=cf.event(wave, direction, looks=looks))
            assert run.event == 0 and run.log_t[-1] == run.log_t_end
            found.append(run.log_t_end)
        np.testing.assert_allclose(found, expected, rtol=1e-14)


def test_before_the_first_step():
    run = cf.integrate(FLOW, S0, log_t_end=300.0)
    for target in (-40.0, run.log_t[1] - 0.5):
        assert stops(lambda rows, x=target: rows.log_t - x) == pytest.approx(target, rel=1e-14)


def test_within_a_step_that_is_long_in_log_t():
    flow = cf.SpectralFlow(cf.cyclic(33))
    start = 1e-3 * np.random.default_rng(0).uniform(0.1, 1.0, 16)
    run = cf.integrate(flow, start, log_t_end=1e6, compiled=True)
    first = np.flatnonzero(np.diff(run.log_t[1:]) > 300.0)[0] + 1
    half = 0.5 * (run.lyapunov[first] + run.lyapunov[first + 1])
    again = cf.integrate(flow, start, until=cf.collapsed(half), compiled=True)
    assert again.lyapunov[-1] == pytest.approx(half, rel=1e-12)
    assert run.log_t[first] < again.log_t_end < run.log_t[first + 1]


def test_where_there_is_no_number_nothing_is_met_or_bracketed():
    def gap(run):
        x = run.log_t
        return np.where((x > 40.0) & (x < 50.3), np.nan, np.where(x < 40.0, 1.0, 70.0 - x))

    assert stops(gap) == pytest.approx(70.0, rel=1e-14)
    assert stops(lambda run: np.full(len(run), np.nan), "down") is None
    assert stops(lambda run: np.where(run.log_t > 20.0, -1.0, np.nan)) is None  # no change of sign
    assert stops(lambda run: np.where(run.log_t > 20.0, -1.0, np.nan), "down") == pytest.approx(20.0, rel=1e-14)
    # positive, nothing, negative, all within one step
    knots = cf.integrate(FLOW, S0, log_t_end=300.0).log_t
    low, high = knots[-3], knots[-2]
    edges = low + (high - low) * np.array([0.3, 0.6])

    def hole(run):
        return np.where(run.log_t < edges[0], 1.0, np.where(run.log_t < edges[1], np.nan, -1.0))

    assert stops(hole) == pytest.approx(edges[1], rel=1e-14)


def test_a_dip_between_two_looks():
    def dip(run):
        return np.abs(run.log_t - 100.0) - 0.05

    assert stops(dip) is None  # as the documentation says
    for options in ({}, {"closed_form": False}):
        assert stops(dip, looks=400, **options) == pytest.approx(99.95, rel=1e-14)


def test_the_first_of_several_events():
    events = [
        cf.event(lambda run: run.margin - 8.0, "up", name="large"),
        cf.event(lambda run: run.loss - 0.5, "down", name="learned"),
        lambda run: run.log_t - 300.0,
    ]
    run = cf.integrate(FLOW, S0, until=events)
    assert run.event == 1 and run.message == "stopped by learned" and run.loss[-1] == pytest.approx(0.5, rel=1e-12)
    assert cf.integrate(FLOW, S0, until=events[::2]).event == 0
    assert cf.integrate(FLOW, S0, 1.0, until=events).event is None
    assert cf.integrate(FLOW, S0, 1.0, until=[]).event is None
    same = cf.integrate(FLOW, S0, until=[events[0], events[0]])
    assert same.event == 0


@pytest.mark.parametrize("keep", [True, False])
def test_the_row_where_it_stops_is_always_there(keep):
    until = cf.event(lambda run: run.margin - 5.0, "up")
    plain = cf.integrate(FLOW, S0, until=until)
    for rows in ([1e7, 1e9], [1.0, 2.0, 1e9], [1.0]):
        run = cf.integrate(FLOW, S0, 1e9, t_eval=rows, until=until, dense_output=keep)
        assert run.success and run.margin[-1] == pytest.approx(5.0, rel=1e-12)
        assert len(run) == sum(t < plain.t[-1] for t in rows) + 1 and run.log_t_end == run.log_t[-1]
        np.testing.assert_array_equal(run.t[:-1], rows[: len(run) - 1])
    once = cf.integrate(FLOW, S0, t_eval=[1.0], until=cf.collapsed(10.0), dense_output=keep)
    assert once.t.tolist() == [0.0] and once.event == 0
    full = cf.integrate(cf.MatrixFlow(), FLOW.lift(S0), t_eval=[1e9], until=until, dense_output=keep)
    assert full.log_t_end == pytest.approx(plain.log_t_end, rel=1e-7) and len(full) == 1


def test_what_is_gone_on_with(tmp_path):
    part = cf.integrate(FLOW, S0, 1e6)
    again = cf.resume(part, until=cf.event(lambda run: run.margin - 5.0, "up"))  # holds where it goes on: at once
    assert again.success and again.log_t_end == part.log_t_end and len(again) == len(part) and again.event == 0
    again.save(tmp_path / "run.npz")
    assert cf.load(tmp_path / "run.npz").event == 0
    rows = cf.resume(part, t_eval=[1e8], until=cf.event(lambda run: run.margin - 5.0, "up"))
    assert rows.t.tolist() == [1e6] and rows.success
    more = cf.resume(again, until=lambda run: run.margin - 20.0)
    assert more.margin[-1] == pytest.approx(20.0, rel=1e-12)


@pytest.mark.parametrize(
    ("call", "error", "match"),
    [
        (lambda: cf.event(3), TypeError, "function must be callable"),
        (lambda: cf.event(len, "left"), ValueError, "direction must be one of down, up, either"),
        (lambda: cf.event(len, name=3), TypeError, "name must be a string"),
        (lambda: cf.event(len, looks=0), ValueError, "looks must be from 1 to 1000"),
        (lambda: cf.integrate(FLOW, S0, 1.0, until=[len, 3]), TypeError, "until must be callable.* or a list"),
        (lambda: cf.integrate(FLOW, S0, 1.0, until=lambda run: 1.0), ValueError, "one number for each of 1 rows"),
    ],
)
def test_bad_input(call, error, match):
    with pytest.raises(error, match=match):
        call()
