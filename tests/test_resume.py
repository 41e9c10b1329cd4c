"""Runs that are interrupted, saved and gone on with."""

import subprocess
import sys
import textwrap
import time

import numpy as np
import pytest

import ceflow as cf


def spectral(K=8, seed=0, **options):
    flow = cf.SpectralFlow(cf.hadamard(K), **options)
    return flow, 1e-3 * np.random.default_rng(seed).uniform(0.1, 1.0, K - 1)


FLOWS = {
    "reduced": spectral(),
    "reduced, deep and decaying": spectral(depth=3, weight_decay=1e-3),
    "reduced, one dead mode": (spectral(4)[0], np.array([1e-3, 0.0, 2e-3])),
    "full": (cf.MatrixFlow(), cf.random_init(classes=5, width=6, scale=0.1, rng=1)),
    "full, deep": (
        cf.MatrixFlow(depth=3, loss="label_smoothing"),
        cf.random_init(classes=4, width=4, depth=3, rng=2, scale=0.5),
    ),
}  # fmt: skip


@pytest.mark.parametrize("keep", [True, False])
@pytest.mark.parametrize("name", FLOWS)
def test_resumed_to_the_bit(name, keep, tmp_path):
    flow, start = FLOWS[name]
    options = {"rtol": 1e-8, "dense_output": keep}
    whole = cf.integrate(flow, start, 1e8, **options)
    part = cf.integrate(flow, start, 30.0, **options)
    for end in (31.0, 1e3, 1e8):  # the first within the last step
        part.save(tmp_path / "part.npz")
        part = cf.resume(cf.load(tmp_path / "part.npz"), end)
        assert part.success and part.t[-1] == pytest.approx(end, rel=1e-12)
    np.testing.assert_array_equal(part.y[-1], whole.y[-1])
    assert part.nsteps == whole.nsteps and np.all(np.diff(part.log_t[1:]) > 0)
    if keep:
        t = np.geomspace(1e-3, 1e8, 57)
        np.testing.assert_array_equal(part.at(t).y, whole.at(t).y)
        rows = np.isin(part.log_t, whole.log_t)
        assert rows.sum() >= len(whole) - 1
    rows = cf.integrate(flow, start, t_eval=[1.0, 20.0], **options)
    more = cf.resume(rows, t_eval=[21.0, 500.0])
    np.testing.assert_array_equal(more.y, cf.integrate(flow, start, t_eval=[21.0, 500.0], **options).y)


def test_until_a_criterion():
    flow, start = spectral(4)
    whole = cf.integrate(flow, start, until=cf.collapsed(1e-4))
    part = cf.resume(cf.integrate(flow, start, until=cf.collapsed(1e-2)), until=cf.collapsed(1e-4))
    assert part.log_t_end == pytest.approx(whole.log_t_end, rel=1e-14)
    np.testing.assert_allclose(part.y[-1], whole.y[-1], rtol=1e-13)


def test_max_steps_can_be_raised():
    flow, start = spectral(8)
    few = cf.integrate(flow, start, 1e12, max_steps=7)
    assert not few.success and "max_steps = 7" in few.message
    more = cf.resume(few, 1e12)
    np.testing.assert_array_equal(more.y[-1], cf.integrate(flow, start, 1e12).y[-1])


@pytest.mark.parametrize("flow", ["cf.MatrixFlow()", "cf.SpectralFlow(cf.hadamard(4))"])
def test_interrupts_return_what_was_computed(flow, tmp_path):
    """Ctrl-C in the middle, in a process of its own; the second run is stiff, and compiled."""
    file = tmp_path / "run.npz"
    start = "cf.random_init(classes=5, width=6, scale=0.1, rng=1)" if "Matrix" in flow else "[1e-3, 0.0, 2e-3]"
    code = f"""
        import os, signal, threading
        import ceflow as cf
        cf.settings.compiled = True
        flow, start = {flow}, {start}
        cf.integrate(flow, start, 1.0)
        signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored where the tests run in the background
        threading.Timer(0.5, lambda: os.kill(os.getpid(), signal.SIGINT)).start()
        run = cf.integrate(flow, start, log_t_end=1e7, rtol=1e-12, max_steps=10**9)
        run.save({str(file)!r})
    """
    subprocess.run([sys.executable, "-c", textwrap.dedent(code)], check=True, timeout=300)
    run = cf.load(file)
    assert not run.success and "interrupted" in run.message and len(run) > 2
    assert run.log_t[-1] <= run.log_t_end < 1e7 and np.isfinite(run.singular_values).all()
    np.testing.assert_array_equal(run.at(log_t=run.log_t[3:]).y, run.y[3:])
    end = run.log_t_end + 0.5
    straight = cf.integrate(run.flow, run.start, log_t_end=end, rtol=1e-12, max_steps=10**9)
    np.testing.assert_array_equal(cf.resume(run, log_t_end=end, max_steps=10**9).y[-1], straight.y[-1])


def test_checkpoints_survive_a_kill(tmp_path):
    """A run that is killed leaves its last checkpoint, whole; gone on with, it is the run that was not killed."""
    file = tmp_path / "run.npz"
    code = f"""
        import ceflow as cf
        start = cf.random_init(classes=5, width=6, scale=0.1, rng=1)
        print("ready", flush=True)
        cf.integrate(cf.MatrixFlow(), start, log_t_end=1e6, rtol=1e-12, checkpoint={str(file)!r}, checkpoint_every=0.05)
    """
    child = subprocess.Popen([sys.executable, "-c", textwrap.dedent(code)], stdout=subprocess.PIPE)
    child.stdout.readline()
    while not file.exists():
        assert child.poll() is None
        time.sleep(0.01)
    time.sleep(0.4)
    child.kill()
    child.wait()
    child.stdout.close()
    run = cf.load(file)
    assert not run.success and "not finished" in run.message and len(run) > 2
    end = run.log_t_end + 1.0
    straight = cf.integrate(run.flow, run.start, log_t_end=end, rtol=1e-12)
    np.testing.assert_array_equal(cf.resume(run, log_t_end=end).y[-1], straight.y[-1])


def test_checkpoints_on_the_way(tmp_path):
    """Each is a run of its own, as far as it got."""
    file, seen = tmp_path / "run.npz", []

    def until(rows):
        if file.exists():
            seen.append(cf.load(file))
        return np.ones(len(rows))

    flow, start = FLOWS["full"]
    whole = cf.integrate(flow, start, 1e3, until=until, checkpoint=file, checkpoint_every=0.0)
    assert len(seen) > 5 and np.all(np.diff([run.log_t_end for run in seen]) >= 0.0)
    for run in seen[::4]:
        assert not run.success and run.message.startswith("not finished; reached log t = ")
        np.testing.assert_array_equal(run.y, whole.y[: len(run)])
    np.testing.assert_array_equal(cf.resume(seen[3], 1e3).y[-1], whole.y[-1])
    assert cf.load(file).success


@pytest.mark.parametrize("keep", [True, False])
@pytest.mark.parametrize("name", ["reduced", "full"])
def test_an_interrupt_ends_the_run_at_a_step_that_is_whole(name, keep):
    calls = []

    def until(rows):
        calls.append(len(rows))
        if len(calls) > 2:
            raise KeyboardInterrupt
        return np.ones(len(rows))

    flow, start = FLOWS[name]
    run = cf.integrate(flow, start, log_t_end=1e5, until=until, dense_output=keep, closed_form=False)
    assert not run.success and run.message.startswith("interrupted; stopped at log t = ")
    assert run.log_t[-1] == run.log_t_end < 1e5 and np.isfinite(run.y).all()
    again = cf.resume(run, log_t_end=run.log_t_end + 1.0)
    straight = cf.integrate(flow, start, log_t_end=again.log_t_end, closed_form=False)
    np.testing.assert_array_equal(again.y[-1], straight.y[-1])


def test_errors_of_the_criterion_are_its_own():
    def until(rows):
        raise RuntimeError("no idea")

    with pytest.raises(RuntimeError, match="no idea"):
        cf.integrate(*FLOWS["reduced"], until=until)


def test_the_last_checkpoint_is_the_run(tmp_path):
    flow, start = spectral(8)
    run = cf.integrate(flow, start, 1e6, checkpoint=tmp_path / "run.npz")
    assert repr(cf.load(tmp_path / "run.npz")) == repr(run)


def test_bad_input():
    flow, start = spectral(4)
    run = cf.integrate(flow, start, 10.0)
    for call, match in (
        (lambda: cf.resume(run, 5.0), "after the end of the run"),
        (lambda: cf.resume(run, t_eval=[5.0, 20.0]), "after the end of the run"),
        (lambda: cf.resume(run.at(3.0), 20.0), "whole run"),
        (lambda: cf.resume(run), "give t_end"),
        (lambda: cf.integrate(flow, start, 1.0, checkpoint="x.npz", checkpoint_every=-1.0), "checkpoint_every"),
    ):
        with pytest.raises(ValueError, match=match):
            call()
    with pytest.raises(TypeError, match="Trajectory"):
        cf.resume(flow, 1.0)
