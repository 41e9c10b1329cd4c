"""The solver by itself, on fields that have nothing to do with any flow: orders, clocks, and two loops that agree."""

import math
import pickle

import mpmath
import numpy as np
import pytest

import ceflow as cf
from ceflow._field import CompiledField, Event
from ceflow.losses import NO_ODDS
from ceflow.solve import TABLEAUS, Outcome, Stepper, Steps
from ceflow.solve.clock import (
    SCRATCH,
    interpolation_error,
    locate,
    log_integral,
    phi_value,
    places,
    stage_quadrature,
    to_chebyshev,
)
from ceflow.solve.controller import FIRST_STEP
from ceflow.solve.loops import evaluate
from ceflow.solve.method import NEW, method
from ceflow.solve.tableaus import interpolation_weights

POINTS = TABLEAUS["dop853"].samples
TO_CHEBYSHEV = to_chebyshev(POINTS)
by_tableau = pytest.mark.parametrize("tableau", TABLEAUS.values(), ids=TABLEAUS)


class Circle:
    """A plain field: y' = (y1, -y0), in a clock that is time."""

    size, has_equilibria = 2, False

    def rates(self, y, dy):
        dy[:] = y[1], -y[0]
        return 0.0, NO_ODDS

    def allocate(self, *shape):
        return np.empty(shape)

    def combine(self, y, h, w, k, n, out):
        out[:] = y + h * (w[:n] @ k[:n])

    def norm(self, error, y, dy, rtol, atol):
        return np.abs(error).max() / (0.1 * rtol)

    def event(self, y, dy, rtol):
        return Event.NONE


def step(stepper, h, places):
    """Evaluates the places of one step; returns its end."""
    evaluate(stepper.field, stepper.method, stepper.work, h, 0, places)
    return stepper.work.states[stepper.method.stages + NEW]


# -- tableaus ----------------------------------------------------------------------------------------------------------


@by_tableau
def test_convergence_order(tableau):
    errors = []
    for n in (4, 8) if tableau.order > 6 else (16, 32):
        stepper = Stepper(Circle(), tableau.name)
        stepper.begin(np.array([0.0, 1.0]))
        for _ in range(n):
            stepper.begin(step(stepper, 2.0 / n, tableau.last + 1).copy())
        errors.append(abs(stepper.y - [math.sin(2.0), math.cos(2.0)]).max())
    assert tableau.order - 0.5 < math.log2(errors[0] / errors[1]) < tableau.order + 1.5


@by_tableau
def test_dense_output_is_one_order_below_or_better(tableau):
    errors, x = [], np.linspace(0.05, 0.95, 19)
    for h in (0.8, 0.4) if tableau.order > 6 else (0.2, 0.1):
        stepper = Stepper(Circle(), tableau.name)
        stepper.begin(np.array([0.0, 1.0]))
        n = stepper.method.stages
        step(stepper, h, n)
        found = stepper.y + h * interpolation_weights(tableau, x) @ stepper.work.states[:n]
        errors.append(np.abs(found - np.stack([np.sin(h * x), np.cos(h * x)], axis=1)).max())
    assert math.log2(errors[0] / errors[1]) > tableau.order - 0.5  # the local error of an interpolant of order p - 1


@by_tableau
def test_conditions_of_order(tableau):
    weights = tableau.coefficients[tableau.last]
    nodes = tableau.coefficients.sum(axis=1)
    for power in range(tableau.order):
        assert weights @ nodes**power == pytest.approx(1 / (power + 1), abs=1e-14)
    assert np.abs(tableau.estimates.sum(axis=1)).max() < 1e-14
    ends = interpolation_weights(tableau, np.array([0.0, 1.0]))
    np.testing.assert_allclose(ends, [np.zeros(len(weights)), weights], atol=1e-13)
    assert tableau.samples[0] == 0.0 and tableau.samples[-1] == 1.0


@by_tableau
def test_every_solver_meets_its_tolerance_in_time_and_state(tableau):
    flow, s0 = cf.SpectralFlow(cf.hadamard(8)), 1e-3 * np.arange(1.0, 8.0)
    t = np.geomspace(1e-2, 1e9, 40)
    exact = cf.integrate(flow, s0, t_eval=t, rtol=1e-13).singular_values
    for rtol in (1e-5, 1e-8):
        run = cf.integrate(flow, s0, 1e9, rtol=rtol, method=tableau.name)
        assert run.success
        np.testing.assert_allclose(run.at(t).singular_values, exact, rtol=10 * rtol)


# -- two loops ---------------------------------------------------------------------------------------------------------


FIELDS = {
    "plain": (cf.SpectralFlow(cf.hadamard(8)), 1e-3 * np.arange(1.0, 8.0)),
    "dense": (cf.SpectralFlow(cf.cyclic(9)), 1e-3 * np.arange(1.0, 5.0)),
    "deep, unbalanced, decaying, focal": (
        cf.SpectralFlow(cf.hadamard(4), depth=3, weight_decay=1e-3, loss="focal"),
        np.random.default_rng(0).uniform(0.1, 0.5, (3, 3)),
    ),
    "coming to rest": (cf.SpectralFlow(cf.johnson(5, 2), loss="squared_error"), np.array([0.1, 0.2])),
}


class Interpreted:
    """A compiled field whose functions are called one by one, from the loop for arrays."""

    def __init__(self, field):
        self.field = field

    def __getattr__(self, name):
        return getattr(self.field, name)


@by_tableau
@pytest.mark.parametrize("name", FIELDS)
def test_both_loops_take_the_same_steps(name, tableau):
    flow, start = FIELDS[name]
    start = flow.start(start)
    y, found = flow.origin(start), []
    for wrap in (lambda field: field, Interpreted):
        field = wrap(flow.motion(start, y, -math.inf, 1e-8))
        assert isinstance(field, CompiledField) == (wrap is not Interpreted)
        stepper = Stepper(field, tableau.name)
        stepper.begin(y)
        state, batches = np.array([-math.inf, math.nan, 0.0, FIRST_STEP, 1.0]), []
        while not batches or batches[-1].outcome == Outcome.RUNNING:
            batches.append(stepper.advance(state, 7, 1e-8, 0.0, 12.0, 10_000))
        last = batches[-1]
        end = stepper.sample_last(last, last.log_t[-2:].mean()) if last.outcome == 1 else []
        found.append([*map(np.concatenate, zip(*((b.y, b.h[:, None], b.log_t[:, None]) for b in batches), strict=True)),
                      [b[3:] for b in batches], state, end])  # fmt: skip
    compiled, interpreted = found
    assert len(compiled[0]) > 10 and compiled[3] == interpreted[3]
    for one, other in zip(compiled[:3] + compiled[4:], interpreted[:3] + interpreted[4:], strict=True):
        np.testing.assert_array_equal(one, other)


def test_addresses_do_not_leave_the_process():
    flow, start = FIELDS["plain"]
    expected = cf.integrate(flow, start, 10.0).y
    state = flow.__getstate__()
    assert "_makers" in vars(flow) and "_makers" not in state
    np.testing.assert_array_equal(cf.integrate(pickle.loads(pickle.dumps(flow)), start, 10.0).y, expected)


def test_a_step_is_sampled_as_it_was_taken():
    """The step that reaches the end need not be taken again; taken again it is the same, to the bit."""
    flow, start = FIELDS["plain"]
    start = flow.start(start)
    y = flow.origin(start)
    field = flow.motion(start, y, -math.inf, 1e-8)
    stepper = Stepper(field)
    stepper.begin(y)
    state = np.array([-math.inf, math.nan, 0.0, FIRST_STEP, 1.0])
    batch = stepper.advance(state, 1000, 1e-8, 0.0, 12.0, 10_000)
    assert batch.outcome == Outcome.REACHED and batch.log_t[-1] > 12.0
    here = stepper.sample_last(batch, 12.0)
    path = Steps(lambda: field, batch.y, batch.h, batch.log_t)
    np.testing.assert_array_equal(here, path.sample(np.array([12.0]))[0])


def test_nothing_is_evaluated_more_than_a_step_needs():
    """Evaluations of a field that is not stiff: 12 a step and the first one; 4 more where the clock is sampled."""
    stepper = Stepper(Circle())
    stepper.begin(np.array([0.0, 1.0]))
    state = np.array([-math.inf, math.nan, 0.0, FIRST_STEP, 1.0])
    batch = stepper.advance(state, 100, 1e-8, 0.0, math.log(20.0), 1000)
    assert batch.outcome == Outcome.REACHED and batch.rejected == 0
    assert batch.evaluations == 1 + 12 * len(batch.h)
    np.testing.assert_allclose(batch.h.sum(), math.exp(state[0]), rtol=1e-12)


# -- the clock ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("low", "high"), [(0.0, 1e-9), (-3.0, 4.0), (0.0, 300.0), (5.0, -200.0), (0.0, 1e5)])
def test_log_integral_of_an_exponential(low, high):
    series = np.stack([TO_CHEBYSHEV @ np.full(POINTS.size, NO_ODDS), TO_CHEBYSHEV @ (low + (high - low) * POINTS)])
    for end in (1.0, 0.37, 1e-6):
        x = (high - low) * end
        exact = low + math.log(end) + (math.log(math.expm1(x) / x) if x < 600 else x - math.log(x))
        assert log_integral(series, end, np.empty(SCRATCH)) == pytest.approx(
            exact, rel=1e-13, abs=1e-13 + 1e-15 * abs(high)
        )


@pytest.mark.parametrize(
    ("a", "b"), [((-8.0, 9.0), (0.0, 0.0)), ((-40.0, 300.0), (2.0, -7.0)), ((3.0, -90.0), (0, 60))]
)
def test_log_integral_of_a_softplus(a, b):
    """exp(phi) = (1 + exp(a)) exp(b), with a and b straight lines from a[0] to a[1]: two exponentials."""
    series = np.stack([TO_CHEBYSHEV @ (low + (high - low) * POINTS) for low, high in (a, b)])

    def exponential(low, high):
        return mpmath.exp(low) * mpmath.expm1(high - low) / (high - low) if high != low else mpmath.exp(low)

    exact = mpmath.log(exponential(*map(mpmath.mpf, b)) + exponential(a[0] + mpmath.mpf(b[0]), a[1] + mpmath.mpf(b[1])))
    assert log_integral(series, 1.0, np.empty(SCRATCH)) == pytest.approx(float(exact), rel=1e-13)
    for x in (0.0, 0.3, 1.0):
        here = [low + (high - low) * x for low, high in (a, b)]
        assert phi_value(series, x) == pytest.approx(np.logaddexp(0.0, here[0]) + here[1], rel=1e-13, abs=1e-13)


def test_locate_inverts_the_integral():
    scratch = np.empty(SCRATCH)
    series = np.stack([TO_CHEBYSHEV @ (30 * POINTS - 20.0), TO_CHEBYSHEV @ (40 * POINTS**2 - 40.0)])
    for log_start in (-math.inf, -30.0):
        for x in (1e-9, 0.01, 0.5, 0.999):
            target = np.logaddexp(log_start, 2.0 + log_integral(series, x, scratch))
            x = locate(series, log_start, 2.0, target, scratch)
            found = np.logaddexp(log_start, 2.0 + log_integral(series, x, scratch))
            assert found == pytest.approx(target, abs=1e-13)


@pytest.mark.parametrize("rise", [1e-9, 2.5, 30.0, 300.0, -5.0])
@pytest.mark.parametrize("log_t", [-math.inf, -2.0])
def test_places_of_several_times_are_those_of_an_exponential(rise, log_t):
    """Where phi is a straight line, ``(t - t_0) / (t_1 - t_0) = expm1(rise x) / expm1(rise)``."""
    x = np.array([1e-6, 0.01, 0.3, 0.5, 0.77, 0.999, 1.0])
    series = np.stack([TO_CHEBYSHEV @ np.full(POINTS.size, NO_ODDS), TO_CHEBYSHEV @ (rise * POINTS)])
    share = np.log(np.expm1(rise * x) / np.expm1(rise))
    if log_t > -math.inf:  # later ones are not told apart from the beginning
        x, share = x[share > -5.0], share[share > -5.0]
    targets = np.logaddexp(log_t, 3.0 + math.log(-math.expm1(log_t - 3.0)) + share)
    with np.errstate(all="ignore"):  # as where kernels are interpreted: a time may be that of the edge of a panel
        found = places(targets, log_t, 3.0, series)
    np.testing.assert_allclose(found, x, rtol=1e-11)


@pytest.mark.parametrize("c", [np.full(8, np.nan), np.full(8, np.inf), 1e9 * np.cos(np.arange(8.0))])
@pytest.mark.parametrize("part", [0, 1])
def test_log_integral_of_what_floats_do_not_resolve(c, part):
    series = np.zeros((2, 8))
    series[part] = c
    assert math.isnan(log_integral(series, 1.0, np.empty(SCRATCH)))


def test_a_series_that_does_not_converge_is_not_trusted():
    assert interpolation_error(TO_CHEBYSHEV @ np.exp(60 * POINTS), 0.0) == math.inf
    assert interpolation_error(TO_CHEBYSHEV @ np.exp(POINTS), 0.0) < 1e-6
    assert interpolation_error(TO_CHEBYSHEV @ np.exp(POINTS), 1e-6) == 0.0


@by_tableau
def test_time_by_the_stages_alone_has_the_order_of_the_state(tableau):
    """In a circle whose angle is phi, t = integral of exp(phi) dtau."""
    errors = []
    for h in (0.8, 0.4) if tableau.order > 6 else (0.1, 0.05):
        stepper = Stepper(Circle(), tableau.name)
        stepper.begin(np.array([0.0, 1.0]))
        step(stepper, h, tableau.last + 1)
        velocities = stepper.work.states[: stepper.method.stages]
        states = [stepper.y + h * row @ velocities for row in tableau.coefficients[: tableau.last + 1]]
        angles = np.array([math.atan2(*state) for state in states])
        made = method(tableau.name)
        passed, estimate = stage_quadrature(angles, h, made.weights[made.last], made.estimates, made.last)
        errors.append(abs(passed - math.expm1(h)))
        assert errors[-1] < estimate < 1e-4
    assert tableau.order - 0.5 < math.log2(errors[0] / errors[1]) < tableau.order + 2.5
