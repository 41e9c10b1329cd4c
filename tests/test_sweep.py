"""Sweeps: the same bits from every executor, and nothing lost when something is killed."""

import collections
import functools
import os
import re
import signal
import subprocess
import sys
from concurrent.futures import BrokenExecutor, Future, ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from logged_starts import logged

import ceflow as cf
from ceflow import cli
from ceflow._sweep import _executors
from ceflow._sweep._grid import Grid

xarray = pytest.importorskip("xarray")
pytest.importorskip("zarr")

ROOT = Path(__file__).resolve().parents[1]
MEMBERS, CHUNK = 12, 3


def calls(log):
    """How often the start of each member was asked for."""
    return collections.Counter(map(int, Path(log, "calls").read_text().split()))


def sweep(store, log=None, executor=None, fatal=-1, depth=(2, 3), **options):
    """A small sweep; with a log, its starts are written down."""
    grid = {"depth": list(depth), "scheme": "hadamard:4"}
    grid |= {"scale": 1e-2} if log is None else {"log": str(log), "fatal": fatal}
    options = {"members": MEMBERS, "chunk": CHUNK, "t_eval": [1.0, 1e3, 1e6], "seed": 5, **options}
    return cf.sweep(grid, "random" if log is None else logged, store=store, executor=executor, **options)


@pytest.fixture(scope="module")
def serial(tmp_path_factory):
    return sweep(tmp_path_factory.mktemp("serial") / "s.zarr").load()


def same(found, expected):
    """Whether all values are the same to the bit."""
    return found.drop_attrs().load().identical(expected.drop_attrs())


# -- what a sweep holds ------------------------------------------------------------------------------------------------


def test_runs_are_those_of_integrate(serial):
    assert serial.singular_values.dims == ("depth", "member", "row", "mode")
    np.testing.assert_array_equal(serial.log_t, np.log([1.0, 1e3, 1e6]))
    for depth, member in ((2, 0), (3, 7), (3, MEMBERS - 1)):
        rng = np.random.default_rng(np.random.SeedSequence(5, spawn_key=(member,)))
        flow = cf.SpectralFlow(cf.hadamard(4), depth=depth)
        run = cf.integrate(flow, 1e-2 * rng.uniform(0.1, 1.0, 3), t_eval=[1.0, 1e3, 1e6], rtol=1e-11)
        found = serial.sel(depth=depth, member=member)
        np.testing.assert_allclose(found.singular_values, run.singular_values, rtol=1e-6)
        np.testing.assert_allclose(found.loss, run.loss, rtol=1e-6)
        assert found.success and found.status == cf.Outcome.REACHED and found.event == -1


@pytest.mark.parametrize("chunk", [1, 5, 1000])
def test_neither_chunks_nor_threads_change_a_bit(serial, chunk, tmp_path):
    assert same(sweep(tmp_path / "s", executor="threads", workers=2, chunk=chunk), serial)


def test_more_members_and_values_change_nothing_of_the_others(serial, tmp_path):
    grid = {"scheme": ["complete:9", "hadamard:4"], "depth": [4, 3], "scale": 1e-2}
    options = {"members": MEMBERS + 4, "t_eval": [1.0, 1e3, 1e6], "seed": 5}
    with ThreadPoolExecutor(2) as pool:
        found = cf.sweep(grid, store=tmp_path / "s", executor=pool, **options).load()
        assert pool.submit(int).result() == 0  # what was handed over is not shut down
    assert np.isnan(found.singular_values.sel(scheme="complete:9")[..., 1:]).all()
    there = found.sel(scheme="hadamard:4", depth=3, member=slice(0, MEMBERS - 1))
    for name in ("singular_values", "loss", "nfev"):
        np.testing.assert_array_equal(there[name], serial[name].sel(depth=3))


def test_runs_that_fail_say_so_and_stop_no_other(tmp_path):
    starts = np.array([[1e-9, 1e-8, 1e-9], [1.0, 1.0, 1.0], [1e-9, 1e-9, 2e-9]])
    found = cf.sweep({"scheme": "hadamard:4"}, starts, 1e9, store=tmp_path / "s", max_steps=15)
    assert found.success.values.tolist() == [False, True, False]
    assert found.status.values[0] == cf.Outcome.STEPS_SPENT and np.isfinite(found.loss[1]).all()
    assert "STEPS_SPENT" in found.status.attrs["flag_meanings"]


def test_an_event_ends_runs_at_times_of_their_own(tmp_path):
    stop = {"until": cf.collapsed(1e-3), "log_t_end": 1e4, "observables": "lyapunov"}
    found = cf.sweep({"scheme": "hadamard:4", "scale": 1e-2}, members=4, store=tmp_path / "s", **stop)
    assert np.all(found.event == 0)
    np.testing.assert_allclose(found.lyapunov.values, 1e-3, rtol=1e-6)
    assert len(np.unique(found.log_t_end)) == found.log_t_end.size


def test_flows_on_blocks_and_functions_of_several_parameters(tmp_path):
    flow = functools.partial(cf.SpectralFlow, cf.direct_sum(2, 3), samples=(2, 1))
    found = cf.sweep({"scale": [1e-2, 1e-1]}, t_end=10.0, store=tmp_path / "s", flow=flow, observables=["loss"])
    rng = np.random.default_rng(np.random.SeedSequence(0, spawn_key=(0,)))
    single = cf.integrate(flow(), flow().random_start(0.1, rng), t_end=10.0)
    assert found.loss.sel(scale=0.1).values.item() == pytest.approx(single.loss[-1], rel=1e-6)


# -- kills -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("executor, workers", [("processes", 1), ("dask", 2)])
def test_a_killed_worker_costs_what_it_had_in_hand(executor, workers, serial, tmp_path):
    if executor == "dask":
        pytest.importorskip("distributed")
    found = sweep(tmp_path / "s", tmp_path, executor, fatal=4, depth=[3], workers=workers)
    assert same(found, serial.sel(depth=[3]))
    # the first and the last are looked at before, the first is tried too; 4 was the second of its chunk
    assert calls(tmp_path) == dict.fromkeys(range(MEMBERS), 1) | {0: 3, MEMBERS - 1: 2, 3: 2, 4: 2}


def test_a_killed_driver_goes_on_where_it_was(serial, tmp_path):
    script = f"import test_sweep as t; t.sweep({str(tmp_path / 's')!r}, {str(tmp_path)!r}, fatal=7, depth=[3])"
    env = os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "tests")])}
    assert subprocess.run([sys.executable, "-c", script], env=env).returncode == -signal.SIGKILL
    half = xarray.open_zarr(tmp_path / "s", consolidated=False).isel(depth=0)
    done = half.status.values != cf.Outcome.RUNNING
    assert done.tolist() == [True] * 6 + [False] * 6
    assert np.isnan(half.loss.values[~done]).all() and np.isfinite(half.loss.values[done]).all()
    for _ in range(2):  # the second time there is nothing left to be done
        assert same(sweep(tmp_path / "s", tmp_path, fatal=7, depth=[3]), serial.sel(depth=[3]))
        count = calls(tmp_path)
        assert [count[member] for member in range(1, MEMBERS - 1)] == [1] * 5 + [2, 2] + [1] * 3  # 6, 7 were in hand


def test_results_without_their_mark_do_not_count(serial, tmp_path, monkeypatch):
    """Killed between the results of a chunk and the mark that it is done, which is written last."""
    import zarr

    setitem = zarr.Array.__setitem__

    def cut_off(array, place, values):
        if array.name == "/status":
            raise OSError("disk full")
        setitem(array, place, values)

    with monkeypatch.context() as patch, pytest.raises(OSError, match="disk full") as caught:
        patch.setattr(zarr.Array, "__setitem__", cut_off)
        sweep(tmp_path / "s")
    assert "continues from there" in caught.value.__notes__[0]
    half = xarray.open_zarr(tmp_path / "s", consolidated=False)
    assert np.isfinite(half.loss[0, :CHUNK]).all() and np.all(half.status == cf.Outcome.RUNNING)
    assert same(sweep(tmp_path / "s"), serial)


def test_an_executor_that_breaks_time_after_time_is_given_up(tmp_path):
    class Broken(ThreadPoolExecutor):
        made = 0

        def __init__(self):
            super().__init__(1)
            Broken.made += 1

        def submit(self, *task):
            raise BrokenExecutor("gone")

    with pytest.raises(BrokenExecutor, match="gone"):
        sweep(tmp_path / "s", executor=Broken)
    assert Broken.made == 3
    with Broken() as pool, pytest.raises(BrokenExecutor, match="gone"):
        sweep(tmp_path / "s", executor=pool)


def test_an_executor_whose_workers_do_not_come_back_is_given_up(monkeypatch):
    class Deserted(ThreadPoolExecutor):
        def submit(self, *task):
            return Future()

    monkeypatch.setattr(_executors, "PATIENCE", 0.01)
    place = _executors.Place(Deserted, deserted=lambda: True)
    with pytest.raises(BrokenExecutor, match="no worker is left"):
        _executors.carry_out(print, [1, 2], place, print)


# -- what is refused ---------------------------------------------------------------------------------------------------


def test_another_sweep_in_the_same_store_is_refused(tmp_path):
    sweep(tmp_path / "s")
    with pytest.raises(ValueError, match=r"holds another sweep: seed was 5, is 6"):
        sweep(tmp_path / "s", seed=6)
    with pytest.raises(ValueError, match=r"rtol was 1e-09, is 1e-06"):
        sweep(tmp_path / "s", rtol=1e-6)
    (tmp_path / "other").mkdir()
    with pytest.raises(ValueError, match="neither"):
        sweep(tmp_path / "other")


@pytest.mark.parametrize(
    "grid, options, message",
    [
        ({"colour": [1]}, {"flow": lambda: None}, "'colour', which neither"),
        ({"depth": []}, {}, "at least one value"),
        ({"depth": [2, 2]}, {}, "not have equal values"),
        ({"depth": np.ones((2, 2))}, {}, "one-dimensional"),
        ({"depth": [2, 1]}, {}, "depth"),
        ({"loss": ["cross_entropy", "focal:2"]}, {}, "must not have an axis 'loss'"),
        ({}, {"starts": "uniform"}, "starts must be one of random"),
        ({}, {"starts": np.ones((2, 15)), "members": 3}, "members must be 2"),
        ({}, {"starts": np.ones(15)}, "shape"),
        ({}, {"members": 0}, "members"),
        ({}, {"chunk": 0}, "chunk"),
        ({}, {"seed": -1}, "seed"),
        ({}, {"executor": "cloud"}, "executor"),
        ({}, {"workers": 0}, "workers"),
        ({}, {"observables": ["loss", "loss"]}, "distinct"),
        ({}, {"flow": cf.MatrixFlow}, "starts"),
        ({}, {"starts": lambda flow, rng: None, "executor": "processes"}, "module-level"),
    ],
)
def test_bad_input_is_refused_and_leaves_nothing_behind(grid, options, message, tmp_path):
    starts = options.pop("starts", "random")
    with pytest.raises((ValueError, TypeError), match=message):
        cf.sweep(grid, starts, 1.0, store=tmp_path / "s", **options)
    assert list(tmp_path.iterdir()) == []


@given(sizes=st.lists(st.integers(1, 6), max_size=3), members=st.integers(1, 20), most=st.integers(1, 60))
@settings(max_examples=60, deadline=None)
def test_blocks_cover_each_run_once(sizes, members, most):
    grid = Grid.of({f"p{i}": list(range(size)) for i, size in enumerate(sizes)}, members)
    count = np.zeros(grid.shape, int)
    for block in grid.blocks(most):
        count[block] += 1
        assert count[block].size <= most
    assert np.all(count == 1)
    assert (len(grid.blocks(most)) == 1) == (count.size <= most)


# -- the command -------------------------------------------------------------------------------------------------------

CONFIG = """
members = 4
t_end = "1e400"
observables = ["loss"]
collapsed = 1e-4
[grid]
scheme = ["hadamard:4", "cyclic:5"]
scale = {log = [1e-3, 1e-1, 3]}
"""


def test_command(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("c.toml").write_text(CONFIG)
    assert cli.main(["sweep", "c.toml"]) == 0
    out = capsys.readouterr().out
    assert "24 runs: 2 scheme x 3 scale x 4 member" in out and "wrote c.zarr" in out
    found = xarray.open_zarr("c.zarr", consolidated=False)
    np.testing.assert_allclose(found.scale, [1e-3, 1e-2, 1e-1])
    assert np.all(found.event == 0)
    assert cli.main(["sweep", "c.toml", "--store", "d.zarr", "--executor", "threads", "--workers", "2"]) == 0
    assert same(xarray.open_zarr("d.zarr", consolidated=False), found.load())
    Path("c.toml").write_text(CONFIG.replace("members = 4", "members = 5"))
    assert cli.main(["sweep", "c.toml"]) == 2
    assert "members was 4, is 5" in capsys.readouterr().err


@pytest.mark.parametrize(
    "text, message",
    [
        ("members = ", "not a TOML file"),
        ("colour = 1\n[grid]", "unknown settings colour"),
        ("members = 1", r"table \[grid\]"),
        ("[grid]\ndepth = {log = [1, 2]}", "how many"),
        ("[grid]\ndepth = {cubic = [1, 2, 3]}", "linear"),
        ("[grid]\ndepth = {log = [-1, 2, 3]}", "positive"),
        ("t_end = 'soon'\n[grid]", "positive number"),
    ],
)
def test_command_refuses_a_bad_file(text, message, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("c.toml").write_text(text)
    assert cli.main(["sweep", "c.toml"]) == 2
    assert re.search(message, capsys.readouterr().err)
