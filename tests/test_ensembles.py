"""Many runs at once: each is the run of `integrate`, whatever its neighbours, threads and order."""

import pickle

import numpy as np
import pytest

import ceflow as cf
from ceflow import _many, losses
from ceflow.kernels import lanes as vectors
from ceflow.solve import Outcome


def starts_of(flow, count, seed=0, low=0.05, high=0.6):
    return np.random.default_rng(seed).uniform(low, high, (count, flow.scheme.modes))


def alone(flow, start, names=("singular_values", "loss"), **options):
    run = cf.integrate(flow, start, dense_output=False, **options)
    return [getattr(run, name) for name in names], run


# -- the same as one run -----------------------------------------------------------------------------------------------

LANES = {
    "hadamard": cf.SpectralFlow(cf.hadamard(4)),
    "sixteen": cf.SpectralFlow(cf.hadamard(16), reduction="sum"),
    "two": cf.SpectralFlow(cf.hadamard(2)),
    "eight": cf.SpectralFlow(cf.hadamard(8)),
    "cyclic": cf.SpectralFlow(cf.cyclic(7)),
    "johnson": cf.SpectralFlow(cf.johnson(6, 3)),
}


@pytest.mark.parametrize("kind", LANES)
@pytest.mark.parametrize("rtol", [1e-3, 1e-6, 1e-12])
def test_runs_in_lanes_meet_their_tolerance(kind, rtol):
    flow = LANES[kind]
    starts, log_t = 1e-3 * starts_of(flow, 11), np.array([-np.inf, -1.0, 3.0, 5.5, 20.0, 60.0])
    many = cf.integrate_many(flow, starts, log_t_eval=log_t, rtol=rtol, threads=1)
    assert many.success.all() and many.singular_values.shape == (11, 6, flow.scheme.modes)
    for i in (0, 4, 10):
        (s, loss), run = alone(flow, starts[i], log_t_eval=log_t, rtol=1e-13)
        np.testing.assert_allclose(many.singular_values[i], s, rtol=3.0 * rtol)
        np.testing.assert_allclose(many.loss[i], loss, rtol=100.0 * rtol)  # an error of s is one in the exponent
        assert many.nsteps[i] <= run.nsteps


@pytest.mark.parametrize("loss", sorted(losses.LOSSES))
def test_runs_of_modes_are_those_of_integrate_to_the_bit(loss):
    flow = cf.SpectralFlow(cf.cyclic(7), loss=loss, depth=3, weight_decay=1e-4)
    starts, log_t = starts_of(flow, 3), [-1.0, 2.0, 4.0]
    many = cf.integrate_many(flow, starts, log_t_eval=log_t)
    for i, start in enumerate(starts):
        (s, value), run = alone(flow, start, log_t_eval=log_t)
        np.testing.assert_array_equal(many.singular_values[i], s)
        np.testing.assert_array_equal(many.loss[i], value)
        assert (many.nsteps[i], many.nfev[i], many.status[i]) == (run.nsteps, run.nfev, run.outcome)


HARD = {  # most of these cannot be left to a compiled loop
    "a dead mode": (cf.SpectralFlow(cf.cyclic(7)), [0.1, 0.0, 0.2], 40.0),
    "a mode that vanishes": (cf.SpectralFlow(cf.cyclic(7)), [0.1, -0.3, 0.2], 1e4),
    "merged": (cf.SpectralFlow(cf.cyclic(7)), [0.1, 0.1, 0.1], 1e4),
    "layers": (cf.SpectralFlow(cf.cyclic(7)), [[0.1, 0.2, 0.3], [0.3, 0.2, 0.1]], 20.0),
    "stiff": (cf.SpectralFlow(cf.cyclic(7), weight_decay=1e-3), [0.1, 0.2, 0.3], 30.0),
    "nothing moves": (cf.SpectralFlow(cf.cyclic(7)), [0.0, 0.0, 0.0], 5.0),
    "a real depth": (cf.SpectralFlow(cf.cyclic(7), depth=2.5), [0.1, 0.2, 0.3], 20.0),
    "blocks": (cf.SpectralFlow(cf.direct_sum(2, 2), bias=True), None, 3.0),
}


@pytest.mark.parametrize("kind", HARD)
def test_what_needs_more_than_explicit_steps_is_done_as_well(kind):
    flow, start, end = HARD[kind]
    if kind == "blocks":
        start = flow.random_start(0.3)
    many = cf.integrate_many(flow, [start, start], log_t_end=end, rtol=1e-8)
    (s, loss), run = alone(flow, start, log_t_end=end, rtol=1e-8)
    assert many.messages(1) == run.message
    np.testing.assert_allclose(many.singular_values[1, 0], s[-1], rtol=1e-11)
    np.testing.assert_allclose(many.loss[1, 0], loss[-1], rtol=1e-10)


def test_a_full_flow_has_the_same_face():
    flow = cf.MatrixFlow()  # see test_stacks
    starts = cf.random_init(classes=3, width=4, scale=0.3, batch=3, rng=0)
    many = cf.integrate_many(flow, starts, 20.0, observables=["singular_values", "loss"])
    for i in range(3):
        (s, loss), run = alone(flow, tuple(part[i] for part in starts), t_end=20.0)
        np.testing.assert_allclose(many.singular_values[i, 0], s[-1], atol=1e-12)
        assert many.loss[i, 0] == pytest.approx(loss[-1], rel=1e-12) and many.nsteps[i] == run.nsteps


# -- no run depends on another -----------------------------------------------------------------------------------------


def test_the_same_bits_for_all_threads_chunks_and_orders(monkeypatch):
    flow = LANES["hadamard"]
    starts = np.vstack([
        1e-3 * starts_of(flow, 21), np.full((1, 3), 0.1), [[0.1, 0.0, 0.2], [0.1, -0.2, 0.3], [1e-9, 1.0, 30.0]]
    ])  # fmt: skip
    names = "singular_values", "loss", "lyapunov", "margin"
    options = {"log_t_eval": np.linspace(0.0, 30.0, 5), "observables": names}

    def bits(ensemble):
        values = [*ensemble.data.values(), ensemble.nsteps, ensemble.nfev, ensemble.status]
        return [np.ascontiguousarray(value) for value in values]

    want = bits(cf.integrate_many(flow, starts, threads=1, **options))
    order = np.random.default_rng(3).permutation(len(starts))
    for threads, chunk in ((2, 2048), (3, 5), (1, 3)):
        monkeypatch.setattr("ceflow._many.CHUNK", chunk)
        monkeypatch.setattr("ceflow._many.LEAST", 1)
        found = bits(cf.integrate_many(flow, starts[order], threads=threads, **options))
        for value, right in zip(found, want, strict=True):
            np.testing.assert_array_equal(value, right[order])
    single = cf.integrate_many(flow, starts[7:8], **options)
    np.testing.assert_array_equal(single.singular_values[0], want[0][7])


def test_a_run_that_fails_stops_no_other():
    flow = cf.SpectralFlow(cf.hadamard(4))
    starts = [[0.1, 0.2, 0.3], [1e-200, 1e-100, 1.0], [0.3, 0.2, 0.1]]
    many = cf.integrate_many(flow, starts, log_t_end=40.0, max_steps=45)
    assert many.success.tolist() == [True, False, True]
    assert "max_steps = 45" in many.messages(1) and np.isnan(many.singular_values[1]).all()
    assert many.status[1] == Outcome.STEPS_SPENT and many.log_t_end[1] < 40.0 == many.log_t_end[0]
    assert "1 without success" in repr(many)


def test_an_error_of_one_run_stops_no_other(monkeypatch):
    flow, real = cf.SpectralFlow(cf.cyclic(7), depth=2.5), _many.Run.go

    def go(self):
        if self.start[0] == 0.5:
            raise RuntimeError("gates cannot be told")
        real(self)

    monkeypatch.setattr(_many.Run, "go", go)
    until = cf.event(lambda run: np.where(run.margin > 1.0, 1.0, np.nan), "up")  # is left to `Run`
    many = cf.integrate_many(flow, [[0.1, 0.2, 0.3], [0.5, 0.2, 0.3]], until=until, rtol=1e-3)
    assert many.status.tolist() == [Outcome.STOPPED, Outcome.FAILED] and "no unique continuation" in many.messages(1)


STOPS = {  # flow, starts, and how near log t at the event is to that of `integrate`
    "lanes": (LANES["eight"], None, 1e-7),
    "modes": (cf.SpectralFlow(cf.cyclic(7), depth=3, weight_decay=1e-4), None, 1e-12),
    "layers": (cf.SpectralFlow(cf.cyclic(7)), [[[0.1, 0.2, 0.3], [0.3, -0.2, 0.1]]] * 2, 1e-12),
    "blocks": (cf.SpectralFlow(cf.direct_sum(2, 2), bias=True), "random", 1e-12),
    "modes as blocks": (cf.SpectralFlow(cf.direct_sum(2, 3), depth=3, samples=(1, 2)), "random", 1e-12),
    "decay": (cf.SpectralFlow(cf.direct_sum(2, 2), weight_decay=1e-3), "balanced or not", 1e-12),
}


@pytest.mark.parametrize("kind", STOPS)
@pytest.mark.parametrize(
    "options", [{}, {"log_t_end": 2.5}, {"log_t_eval": np.linspace(-1.0, 5.0, 20)}], ids=["alone", "end", "rows"]
)
def test_each_run_has_its_own_stop(kind, options, monkeypatch):
    flow, starts, same = STOPS[kind]
    if starts is None:
        starts = np.vstack([starts_of(flow, 5), starts_of(flow, 1, low=2.0, high=3.0)])
    elif starts == "random":
        starts = [flow.random_start(0.5, rng=seed) for seed in range(3)]
    elif starts == "balanced or not":  # blocks of size 1 have one coordinate or several
        starts = [flow.collapsed_start(0.1), flow.random_start(0.5, rng=1)]
    until = [cf.event(lambda run: run.margin - 1.0, "up", looks=3), lambda run: run.loss - 0.4]
    alone_too, real = [], _many._Runs._alone
    monkeypatch.setattr(_many._Runs, "_alone", lambda runs, i: alone_too.append(i) or real(runs, i))
    many = cf.integrate_many(flow, starts, until=until, **options)
    assert len(alone_too) < 2  # only the one that stops at once
    for i, start in enumerate(starts):
        _, run = alone(flow, start, until=until, compiled=True, **options)
        assert (many.status[i], many.event[i]) == (run.outcome, -1 if run.event is None else run.event)
        assert many.messages(i) == run.message
        np.testing.assert_allclose(many.log_t_end[i], run.log_t_end, rtol=same)
        last = np.isfinite(many.loss[i]).sum()
        rows = run.log_t <= run.log_t_end if "log_t_eval" not in options else np.isin(run.log_t, many.log_t)
        np.testing.assert_allclose(many.loss[i, :last], run.loss[rows][-last:], rtol=1e-7)
        assert last == 1 if many.grid is None else last == rows.sum()


def test_the_same_stops_for_all_threads_chunks_and_orders(monkeypatch):
    flow = LANES["sixteen"]
    starts = 1e-3 * starts_of(flow, 21)
    starts[3, 2] *= -1.0  # V is never defined: this one is left over
    options = {"until": cf.collapsed(1e-3), "log_t_end": 1e3, "observables": ("lyapunov", "singular_values")}
    blocks, seeds = cf.SpectralFlow(cf.direct_sum(2, 3)), np.random.default_rng(1).permutation(8)
    learned = {"until": cf.event(lambda run: run.loss - 0.3, "down"), "observables": ("margins",)}
    several = cf.integrate_many(blocks, [blocks.random_start(0.5, rng=seed) for seed in range(8)], threads=1, **learned)
    want, order = cf.integrate_many(flow, starts, threads=1, **options), np.random.default_rng(3).permutation(21)
    assert (np.delete(want.status, 3) == Outcome.STOPPED).all() and want.status[3] == Outcome.REACHED
    stopped = np.delete(want.lyapunov[:, 0], 3)
    assert np.all((stopped <= 1e-3) & (stopped > 0.999999999e-3))
    monkeypatch.setattr("ceflow._many.CHUNK", 5)
    monkeypatch.setattr("ceflow._many.LEAST", 1)
    monkeypatch.setattr("ceflow._many_events.KNOT_NUMBERS", 700)
    found = cf.integrate_many(flow, starts[order], threads=3, **options)
    for name in (*want.data, *want._members):
        np.testing.assert_array_equal(getattr(found, name), getattr(want, name)[order])
    others = cf.integrate_many(blocks, [blocks.random_start(0.5, rng=seed) for seed in seeds], threads=2, **learned)
    for name in ("margins", "log_t_end", "nsteps"):
        np.testing.assert_array_equal(getattr(others, name), getattr(several, name)[seeds])


def test_times_of_collapse_in_lanes():
    flow, until = LANES["hadamard"], cf.collapsed(1e-6)
    starts = 1e-3 * starts_of(flow, 16, low=0.1, high=1.0)
    many = cf.integrate_many(flow, starts, until=until)
    for i in range(0, 16, 4):
        _, run = alone(flow, starts[i], until=until, rtol=1e-13, compiled=True)
        assert many.log_t_end[i] == pytest.approx(run.log_t_end, rel=1e-8)


def test_events_that_need_the_start_or_have_no_number_at_first():
    flow = cf.SpectralFlow(cf.cyclic(7))
    starts = starts_of(flow, 3)
    for function in (
        lambda run: run.squared_norm - 5.0,  # of the layers, which depend on the start
        lambda run: np.where(run.margin > 0.2, 5.0 - run.loss, np.nan) - 4.0,
        lambda run: np.where(run.log_t > -np.inf, run.margin - 1.0, 0.0),
    ):
        until = cf.event(function, "either")
        many = cf.integrate_many(flow, starts, until=until, log_t_end=30.0, observables=("layers", "loss"))
        for i, start in enumerate(starts):
            _, run = alone(flow, start, until=until, log_t_end=30.0)
            assert many.status[i] == run.outcome
            np.testing.assert_allclose(many.log_t_end[i], run.log_t_end, rtol=1e-8)
            np.testing.assert_allclose(many.layers[i], run.layers[-1:], rtol=1e-7)


def test_an_interrupt_returns_what_is_done(monkeypatch):
    flow = cf.SpectralFlow(cf.hadamard(4), depth=3)
    monkeypatch.setattr("ceflow._many.CHUNK", 1)
    told = []

    def interrupt(left, **options):
        if told:
            raise KeyboardInterrupt
        told.append(1)
        return real(left, **options)

    real = _many.wait
    monkeypatch.setattr(_many, "wait", interrupt)
    many = cf.integrate_many(flow, starts_of(flow, 400), 1e4, threads=1)
    assert 0 < many.success.sum() < 400
    assert set(np.unique(many.status)) == {Outcome.REACHED, Outcome.INTERRUPTED}
    assert np.array_equal(np.isnan(many.loss[:, 0]), ~many.success)
    assert many[~many.success].messages(0).startswith("interrupted")


# -- what comes back ---------------------------------------------------------------------------------------------------


def test_members_are_taken_by_index_and_told_in_words():
    flow = cf.SpectralFlow(cf.hadamard(4))
    many = cf.integrate_many(flow, starts_of(flow, 5), t_eval=[1.0, 10.0])
    assert len(many) == 5 and len(many[1:3]) == 2 and len(many[-1]) == 1 and len(list(many)) == 5
    np.testing.assert_array_equal(many[[4, 0]].loss, many.loss[[4, 0]])
    np.testing.assert_allclose(many.t, [1.0, 10.0])
    assert "5 runs" in repr(many) and "2 rows" in repr(many) and "loss" in dir(many)
    with pytest.raises(IndexError):
        many[5]
    with pytest.raises(AttributeError, match="singular_values, loss"):
        many.margin  # noqa: B018
    with pytest.raises(TypeError, match="not an array"):
        np.asarray(many)
    table = many.to_xarray()
    assert table.singular_values.dims == ("member", "row", "mode") and table.sizes["member"] == 5
    np.testing.assert_array_equal(table.start, many.starts)


def blocks_of(count):
    flow = cf.SpectralFlow(cf.direct_sum(2, 2), bias=True)
    return flow, [flow.random_start(0.3, rng=seed) for seed in range(count)]


def full_of_several_widths(count):
    flow = cf.MatrixFlow(bias=True)
    return flow, [cf.random_init(classes=3, width=2 + seed, scale=0.3, rng=seed) for seed in range(count)]


DATA = {  # the options of small ensembles
    "modes": (lambda: (cf.SpectralFlow(cf.cyclic(7)), starts_of(cf.SpectralFlow(cf.cyclic(7)), 3)), {"t_eval": [0, 1]}),
    "blocks": (lambda: blocks_of(2), {"log_t_end": 0.5, "observables": ("loss",)}),
    "full": (lambda: full_of_several_widths(3), {"t_eval": [0.5, 1.0]}),
    "stopped": (
        lambda: (cf.SpectralFlow(cf.cyclic(7)), starts_of(cf.SpectralFlow(cf.cyclic(7)), 2)),
        {"until": cf.event(lambda run: run.margin - 1.0, "up", name="learned")},
    ),
}


@pytest.mark.parametrize("kind", DATA)
def test_files_pickles_and_parts_hold_all_of_an_ensemble(kind, tmp_path):
    make, options = DATA[kind]
    many = cf.integrate_many(*make(), rtol=1e-4, **options)
    many.save(tmp_path / "many.npz")
    again = many[:1].concat(many[1:2], many[2:])
    for other in (cf.load(tmp_path / "many.npz"), pickle.loads(pickle.dumps(many)), again):
        assert other.flow == many.flow and repr(other) == repr(many) and other.messages(1) == many.messages(1)
        np.testing.assert_array_equal(other.log_t, many.log_t)
        for name, values in (many.data | many._members).items():
            np.testing.assert_array_equal(getattr(other, name), values)
        for one, same in zip(other.starts, many.starts, strict=True):
            for part, right in zip(one, same, strict=True):
                np.testing.assert_array_equal(part, right)
    assert not list(tmp_path.glob("*.tmp"))


def test_a_file_that_is_none_is_refused(tmp_path):
    flow = cf.SpectralFlow(cf.cyclic(7))
    many, path = cf.integrate_many(flow, starts_of(flow, 3), 0.1, rtol=1e-3), tmp_path / "many.npz"
    many.save(path)
    with np.load(path) as file:
        good = {name: file[name] for name in file.files}
    for name, bad in {
        "member_status": np.full(3, 99, np.int8), "member_nfev": good["member_nfev"][:2], "log_t": np.zeros(0),
        "data_loss": good["data_loss"][:, :0], "data_lass": good["data_loss"], "starts": good["starts"][:, :2],
        "meta": np.array(str(good["meta"]).replace('"version": 1', '"version": 2')),
    }.items():  # fmt: skip
        np.savez(path, **(good | {name: bad}))
        with pytest.raises(ValueError, match="not a whole file"):
            cf.load(path)


def test_ensembles_that_differ_are_not_joined():
    flow = cf.SpectralFlow(cf.cyclic(7))
    many = cf.integrate_many(flow, starts_of(flow, 2), 0.1, rtol=1e-3)
    others = [({"rtol": 1e-4}, "rtol"), ({"t_end": 0.2}, "grid"), ({"observables": ["loss"]}, "observables")]
    for options, words in others:
        other = cf.integrate_many(flow, starts_of(flow, 2), **{"t_end": 0.1, "rtol": 1e-3, **options})
        with pytest.raises(ValueError, match=words):
            many.concat(other)
    with pytest.raises(TypeError, match="ensembles"):
        many.concat([many])


def test_an_ensemble_as_a_table_and_in_a_notebook():
    flow = cf.SpectralFlow(cf.cyclic(7))
    many = cf.integrate_many(flow, starts_of(flow, 4), log_t_eval=[-1.0, 0.0, 1.0], rtol=1e-3)
    table = many.to_pandas()
    assert table.index.names == ["member", "row"] and len(table) == 12
    assert table.loc[(2, 1), "loss"] == many.loss[2, 1] and table.loc[(3, 0), "s_2"] == many.singular_values[3, 0, 1]
    assert table.loc[(1, 2), "nsteps"] == many.nsteps[1] and table.loc[1].log_t.tolist() == [-1.0, 0.0, 1.0]
    html = many._repr_html_()
    assert "4 reached" in html and "image/png" in html and f"{np.median(many.loss[:, -1]):.4g}" in html
    spent = cf.integrate_many(flow, starts_of(flow, 2), 1e4, rtol=1e-3, max_steps=2)
    assert "2 steps spent" in spent._repr_html_() and "not complete" in spent._repr_html_()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"starts": []}, "not be empty"),
        ({"starts": [[0.1, 0.2, 0.3], [0.1, 0.2]]}, r"starts\[1\]: s0 must have shape"),
        ({"starts": 3.0}, "sequence"),
        ({"observables": "loss"}, "sequence of names"),
        ({"observables": ("length",)}, "one of"),
        ({"observables": ("dissipation",), "flow": cf.SpectralFlow(cf.hadamard(4), depth=3)}, "dissipation"),
        ({"threads": 0}, "threads"),
        ({"t_end": None}, "t_end"),
        ({"rtol": 1.0}, "rtol"),
        ({"flow": 1}, "flow"),
    ],
)
def test_what_cannot_be_is_refused(change, words):
    given = {"flow": cf.SpectralFlow(cf.hadamard(4)), "starts": [[0.1, 0.2, 0.3]], "t_end": 1.0} | change
    with pytest.raises((ValueError, TypeError), match=words):
        cf.integrate_many(**given)


# -- vectors -----------------------------------------------------------------------------------------------------------


def test_exponentials_and_logarithms_in_lanes():
    from numba import njit

    @njit
    def both(x, exps, logs):
        for i in range(0, x.size, vectors.LANES):
            vectors.store(exps, i, vectors.exp_lanes(vectors.load(x, i)))
            vectors.store(logs, i, vectors.log_lanes(vectors.exp_lanes(vectors.load(x, i))))

    x = np.concatenate([np.linspace(-707.0, 708.0, 9973), np.linspace(-1e-3, 1e-3, 11)])
    exps, logs = np.empty_like(x), np.empty_like(x)
    both(x, exps, logs)
    np.testing.assert_allclose(exps, np.exp(x), rtol=3e-16)
    right = np.log(exps)
    assert np.abs(logs - right).max() <= 2.0 * np.spacing(708.0)
    assert np.all(np.abs(logs - right) <= 3.0 * np.spacing(np.abs(right)))
