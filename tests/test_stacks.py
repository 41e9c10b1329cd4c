"""Ensembles of full flows: in one stack, and yet each run is that of `integrate`, whatever else is in the stack."""

import numpy as np
import pytest

import ceflow as cf
from ceflow import _many, terms
from ceflow.solve import Outcome

LOG_T = np.array([-np.inf, -1.0, 1.5, 4.0])
LABELS = (0, 0, 1, 2, 2)


def starts_of(flow, count, width=4, classes=3, seed=0):
    """Starts of sizes that differ by decades, so that the runs leave the stack one after another."""
    rng, depth = np.random.default_rng(seed), flow.depth
    columns = flow.objective.columns(classes)
    shapes = [(classes, width), *[(width, width)] * (depth - 2), (width, columns)]
    return [
        tuple(scale * rng.standard_normal(shape) for shape in shapes)
        for scale in np.resize([0.3, 0.05, 1.0, 0.6], count)
    ]


FLOWS = {
    "plain": {},
    "three layers": {"depth": 3, "reduction": "sum"},
    "bias and samples": {"bias": True, "samples": (3, 1, 2), "bias_decay": 1e-3, "weight_decay": (0.1, 0.0)},
    "relu": {"activation": "relu", "labels": LABELS, "weights": (1.0, 0.0, 2.0, 1.0, 1.0)},
    "adjusted": {"logit_adjustment": (0.5, 0.0, -0.3), "logit_scale": 1.5, "loss": cf.losses.focal(2.0)},
    "smoothing": {"loss": "label_smoothing", "weights": (1.0, 2.0, 3.0)},
    "regression": {"loss": "squared_error", "targets": np.eye(3)[:, list(LABELS)] * 2.0, "weight_decay": 0.05},
    "term": {"terms": (terms.Alignment(0.2),)},
    "frozen": {"frozen": ("W",), "loss": "squared_error"},
}


@pytest.mark.parametrize(
    ("kind", "backend"), [*((kind, "numpy") for kind in FLOWS), ("plain", "torch"), ("term", "torch")]
)
def test_each_run_is_that_of_integrate(kind, backend):
    if backend == "torch":
        pytest.importorskip("torch")
    flow = cf.MatrixFlow(backend=backend, **FLOWS[kind])
    starts, names = starts_of(flow, 3), ["loss", "singular_values"]
    many = cf.integrate_many(flow, starts, log_t_eval=LOG_T, observables=names, rtol=1e-6)
    assert many.success.all()
    for i in (0, 2):
        run = cf.integrate(flow, starts[i], log_t_eval=LOG_T, rtol=1e-6, dense_output=False, compiled=True)
        assert many.messages(i) == run.message
        assert abs(many.nsteps[i] - run.nsteps) <= 1  # near equilibria stability limits steps: rounding grows in each,
        same = 1e-6 if flow.objective.decaying or flow.loss.name == "squared_error" else 1e-9  # up to the tolerance
        np.testing.assert_allclose(many.loss[i], run.loss, rtol=same, atol=1e-20)
        largest = run.singular_values.max(axis=1, keepdims=True)
        np.testing.assert_allclose(many.singular_values[i] / largest, run.singular_values / largest, atol=same)


@pytest.mark.parametrize("options", [{}, {"log_t_eval": LOG_T}, {"t_end": np.exp(4.0)}])
def test_events_are_met_where_integrate_meets_them(options, monkeypatch):
    until = [
        cf.event(lambda run: run.margin - 0.2, "up"),
        cf.event(lambda run: run.loss - 0.85),
        cf.event(lambda run: run.log_t - 5.0, "up"),
    ]
    flow, left, real = cf.MatrixFlow(bias=True), [], _many.Run.take_on
    monkeypatch.setattr(
        _many.Run, "take_on", lambda run, at, **known: left.append(at.state[0]) or real(run, at, **known)
    )
    starts = starts_of(flow, 4, seed=3)
    many = cf.integrate_many(flow, starts, until=until, rtol=1e-8, observables=("loss", "W"), threads=1, **options)
    assert len(left) < 2  # only the one whose event is met at once
    for i, start in enumerate(starts):
        run = cf.integrate(flow, start, until=until, rtol=1e-8, dense_output=False, compiled=True, **options)
        assert (many.event[i], many.status[i]) == (-1 if run.event is None else run.event, run.outcome)
        np.testing.assert_allclose(many.log_t_end[i], run.log_t_end, rtol=1e-9)
        rows = slice(-1, None) if "log_t_eval" not in options else np.isin(run.log_t, LOG_T)
        reached = len(run.loss[rows])
        np.testing.assert_allclose(many.loss[i, :reached], run.loss[rows], rtol=1e-8)
        np.testing.assert_allclose(many.W[i, :reached], run.W[rows], atol=1e-8)
        assert np.isnan(many.loss[i, reached:]).all()


def others():
    """Other flows on arrays, with starts that are not all alike."""
    rng = np.random.default_rng(0)
    features, W = [scale * rng.standard_normal((4, 3)) for scale in (0.3, 0.05, 1.0)], rng.standard_normal((3, 4))
    squares = [0.3 * A @ A.T + 0.1 * np.eye(3) for A in rng.standard_normal((3, 3, 3))]
    replay = cf.ReplayFlow((2, 3), (2.0, 0.5), (0.3, 0.4), weight_decay=1e-3)
    states = [replay.state(None, 0.3 * rng.standard_normal(11)) for _ in range(2)]
    yield "nearest", cf.ETFFlow("nearest", labels=[0, 0, 1, 2]), [rng.standard_normal((3, 4)) for _ in range(3)]
    yield "nearest on a sphere", cf.ETFFlow("nearest", radius=3.0), features
    yield "argmin", cf.ETFFlow("nearest", argmin_gradient=True), [*features, rng.standard_normal((5, 3))]
    yield "fixed", cf.ETFFlow("fixed", loss="squared_error"), [*features, (W, features[0]), (W, features[2])]
    yield "free", cf.ETFFlow("free"), [(W, H) for H in features]
    yield "free on a sphere", cf.ETFFlow("free", radius=2.0), [(W, H) for H in features]
    yield "reduced", cf.ReducedETFFlow(), squares
    yield "reduced argmin", cf.ReducedETFFlow(argmin_gradient=True, loss="label_smoothing"), squares
    yield "reduced fixed", cf.ReducedETFFlow("fixed"), [A - 0.5 for A in squares]
    yield "replay", replay, [*states, 0.1]
    yield "replay with heads", cf.ReplayFlow((2, 2, 3), (2.0, 1.0, 1.0), (0.3, 0.4), heads="task"), [0.1, 0.3]


OTHERS = {name: rest for name, *rest in others()}


@pytest.mark.parametrize("kind", OTHERS)
def test_classifiers_and_replay(kind, monkeypatch):
    (flow, starts), alone, real = OTHERS[kind], [], _many._Runs._alone
    monkeypatch.setattr(_many._Runs, "_alone", lambda runs, i, **at: alone.append(at) or real(runs, i, **at))
    options = {"log_t_eval": np.array([-np.inf, -1.0, 1.5, 3.0]), "rtol": 1e-7, "observables": ("loss", "margin")}
    until = cf.event(lambda run: run.log_t - 1.0, "up")
    many = cf.integrate_many(flow, starts, **options)
    assert not alone
    met = cf.integrate_many(flow, starts, until=until, **options)
    single = cf.integrate_many(flow, starts[1:2], **options)
    del options["observables"]
    for i, start in enumerate(starts):
        run = cf.integrate(flow, start, dense_output=False, **options)
        assert many.messages(i) == run.message and abs(many.nsteps[i] - run.nsteps) <= 1
        np.testing.assert_allclose(many.loss[i], run.loss, rtol=1e-6 if flow.objective.decaying else 1e-9)
        assert (met.log_t_end[i], met.status[i]) == (pytest.approx(1.0, rel=1e-12), Outcome.STOPPED)
        np.testing.assert_allclose(met.loss[i, :2], many.loss[i, :2], rtol=1e-12)
    np.testing.assert_array_equal(single.loss[0], many.loss[1])  # to the bit
    np.testing.assert_array_equal(single.margin[0], many.margin[1])


def test_an_event_that_is_met_at_once_or_that_fails_is_told_as_by_integrate():
    flow, starts = cf.MatrixFlow(), starts_of(cf.MatrixFlow(), 3)
    many = cf.integrate_many(flow, starts, 10.0, until=cf.event(lambda run: run.log_t + 1e9, "down"))
    assert (many.log_t == -np.inf).all() and (many.status == Outcome.STOPPED).all()
    with pytest.raises(ValueError, match="one number for each"):
        cf.integrate_many(flow, starts, 10.0, until=lambda run: 1.0)


def test_no_run_depends_on_what_else_is_in_the_stack(monkeypatch):
    flow = cf.MatrixFlow(weight_decay=1e-3)
    starts = starts_of(flow, 9)
    options = {"log_t_eval": LOG_T, "rtol": 1e-10, "observables": ["loss", "W"]}
    want = cf.integrate_many(flow, starts, **options)
    monkeypatch.setattr(_many, "STACK_NUMBERS", 3 * 30 * 24)
    order = np.random.default_rng(1).permutation(9)
    found = cf.integrate_many(flow, [starts[i] for i in order], **options)
    single = cf.integrate_many(flow, [starts[4]], **options)
    for name in ("loss", "W", "nsteps", "nfev", "status"):  # to the bit
        np.testing.assert_array_equal(getattr(found, name), getattr(want, name)[order])
        np.testing.assert_array_equal(getattr(single, name)[0], getattr(want, name)[4])


def test_a_run_far_below_the_others_keeps_its_digits():
    """Scales are those of each run: what is about to be fitted hides nothing of what has only begun, or the other
    way."""
    flow, (W, H) = cf.MatrixFlow(), cf.random_init(classes=3, width=3, scale=1.0, rng=0)
    starts = [(W, H), (1e-6 * W, 1e-6 * H), (20.0 * np.eye(3), 50.0 * np.eye(3))]  # the last has a loss of exp(-1000)
    many = cf.integrate_many(flow, starts, 1.0, observables=["log_loss"], rtol=1e-10)
    runs = [cf.integrate(flow, start, 1.0, rtol=1e-10) for start in starts]
    np.testing.assert_allclose(many.log_loss[:, 0], [run.log_loss[-1] for run in runs], rtol=1e-12)


def test_what_needs_implicit_steps_or_rests_is_taken_on_alone(monkeypatch):
    flow, taken = cf.MatrixFlow(weight_decay=0.02), []
    starts = [*starts_of(flow, 3), (np.zeros((3, 4)), np.zeros((4, 3)))]
    monkeypatch.setattr(_many.Run, "take_on", _told(_many.Run.take_on, taken))
    rows = [-np.inf, 0.0, 3.0, 9.0, 20.0]
    many = cf.integrate_many(flow, starts, log_t_eval=rows)
    assert len(taken) == 4 and min(at.taken for at in taken[:3]) > 20  # each with most of its way behind it
    for i, start in enumerate(starts):
        run = cf.integrate(flow, start, log_t_eval=rows, dense_output=False)
        np.testing.assert_allclose(many.loss[i], run.loss, rtol=1e-9)
        assert many.messages(i) == run.message and abs(many.nsteps[i] - run.nsteps) <= 2
    assert many.status[3] == Outcome.AT_REST


def _told(function, said):
    def telling(self, at, **rest):
        said.append(at)
        return function(self, at, **rest)

    return telling


def test_a_run_that_fails_stops_no_other_and_keeps_its_rows():
    flow = cf.MatrixFlow()
    starts, options = starts_of(flow, 4), {"log_t_eval": [-2.0, 2.0, 9.0], "rtol": 1e-6}
    whole = cf.integrate_many(flow, starts, **options)
    attempts = whole.nsteps + whole.nrejected
    most = int(np.sort(attempts)[1])
    many = cf.integrate_many(flow, starts, max_steps=most, **options)
    spent = attempts > most
    assert 0 < spent.sum() < 4
    assert (many.status[spent] == Outcome.STEPS_SPENT).all() and many.success[~spent].all()
    np.testing.assert_array_equal(many.loss[~spent], whole.loss[~spent])
    assert np.isfinite(many.loss[:, 0]).all() and np.array_equal(np.isnan(many.loss[:, 2]), spent)
    assert f"max_steps = {most}" in many.messages(int(np.flatnonzero(spent)[0]))


def test_starts_of_several_shapes_and_short_floats():
    flow = cf.MatrixFlow(dtype="float32")
    starts = [*starts_of(flow, 2), *starts_of(flow, 2, width=6), *starts_of(flow, 1, classes=5)]
    many = cf.integrate_many(flow, starts, 10.0, rtol=1e-5, observables=["loss"])
    exact = [cf.integrate(cf.MatrixFlow(), start, 10.0).loss[-1] for start in starts]
    np.testing.assert_allclose(many.loss[:, 0], exact, rtol=1e-4)
    with pytest.raises(ValueError, match="float32"):
        cf.integrate_many(flow, starts, 10.0, rtol=1e-9)


def test_all_observables_of_many_runs_are_those_of_each():
    flow, starts = cf.MatrixFlow(), starts_of(cf.MatrixFlow(), 3)
    table = cf.integrate(flow, starts[0], 1.0).observables
    names = [name for name, observable in table.items() if not observable.why_not(flow) and name != "t"]
    many = cf.integrate_many(flow, starts, log_t_eval=[0.0, 1.0], observables=names)
    run = cf.integrate(flow, starts[2], log_t_eval=[0.0, 1.0])
    table = run.to_xarray()
    for name in set(table.data_vars) & set(many.data):
        np.testing.assert_allclose(many.data[name][2], table[name], rtol=1e-8, atol=1e-10, err_msg=name)


def test_an_interrupt_returns_what_is_done(monkeypatch):
    flow = cf.MatrixFlow()
    starts, real, steps = starts_of(flow, 4), _many.advance_stacked, []
    whole = cf.integrate_many(flow, starts, log_t_end=9.0, rtol=1e-6)
    runs = _many._Runs(
        flow, starts, {"rtol": 1e-6, "atol": 0.0, "closed_form": True, "method": "dop853"},
        _many._span(None, 9.0, None, None, None, 10**6), ("loss",),
    )  # fmt: skip
    first = (whole.nsteps + whole.nrejected).min()  # steps of the run that ends first

    def stop_after_some(*arguments, stopped, **options):
        def stops():
            steps.append(1)
            if len(steps) == first + 1:
                runs.stopped.set()
            return stopped()

        return real(*arguments, stopped=stops, **options)

    monkeypatch.setattr(_many, "advance_stacked", stop_after_some)
    monkeypatch.setattr(_many, "wait", _interrupted_when(runs.stopped))
    runs.go(1, False)
    done = runs.ensemble.success
    assert 0 < done.sum() < 4 and (runs.ensemble.status[~done] == Outcome.INTERRUPTED).all()
    assert np.array_equal(np.isnan(runs.ensemble.loss[:, 0]), ~done)


def _interrupted_when(stopped):
    def wait(left, **options):
        assert stopped.wait(60.0)
        raise KeyboardInterrupt

    return wait


def test_the_bar_counts_every_run(monkeypatch):
    told, real = [], _many.progress_bar

    def bar(*options):
        shown = real(*options)
        told.append(shown)
        return shown

    monkeypatch.setattr(_many, "progress_bar", bar)
    flow = cf.MatrixFlow(weight_decay=0.05)
    cf.integrate_many(flow, [*starts_of(flow, 2), *starts_of(flow, 1, width=2)], 0.5, rtol=1e-3, progress=True)
    assert told[0].n == told[0].total == 3
