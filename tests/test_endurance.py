"""What shows only after long work: leaks, growth with the number of steps, drift of a very long run."""

import gc
import tracemalloc

import numpy as np
import pytest

import ceflow as cf
from ceflow.certify import certify

FLOW, S0 = cf.SpectralFlow(cf.hadamard(8)), np.linspace(1e-3, 2e-3, 7)


def growth(work, times):
    """Bytes that stay behind after so many repetitions, beyond those that the first ones leave."""
    for _ in range(5):
        work()
    gc.collect()
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        for _ in range(times):
            work()
        gc.collect()
        return tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()


def test_many_runs_leave_nothing_behind(tmp_path):
    def work():
        run = cf.integrate(FLOW, S0, 1e6, rtol=1e-6)
        run.at(1.0).singular_values.sum()

    def store():
        cf.integrate(FLOW, S0, 10.0, rtol=1e-3).save(tmp_path / "run.npz")
        cf.load(tmp_path / "run.npz")

    assert growth(work, 400) < 200_000
    assert growth(store, 50) < 200_000
    assert growth(lambda: certify(cf.integrate(FLOW, S0, 10.0, rtol=1e-3)), 10) < 80_000


def test_failures_leave_nothing_behind():
    def work():
        for start in (np.ones(6), np.full(7, np.nan)):
            with pytest.raises(ValueError):
                cf.integrate(FLOW, start, 1.0)
        cf.integrate(FLOW, S0, 1e6, max_steps=3)

    assert growth(work, 300) < 200_000


def test_a_long_run_without_dense_output_needs_no_memory(monkeypatch):
    """40000 stiff steps, as of a state that is too large for implicit ones; all that stays are the first row and
    the last."""
    monkeypatch.setattr("ceflow.solve.stepping.LARGEST", 0)
    flow, s0 = cf.SpectralFlow(cf.hadamard(4)), np.array([1e-3, 2e-3, 5e-4])
    cf.integrate(flow, s0, 10.0, dense_output=False)
    tracemalloc.start()
    try:
        run = cf.integrate(flow, s0, log_t_end=1e6, rtol=1e-9, closed_form=False, dense_output=False)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert run.success and run.nsteps > 10_000 and len(run) == 2 and peak < 2**20
    closed = cf.integrate(flow, s0, log_t_end=1e6, rtol=1e-9)
    np.testing.assert_allclose(run.singular_values[-1], closed.singular_values[-1], rtol=1e-8)


def test_ten_thousand_moments_of_one_run():
    """Dense output at very many times costs what it must, and never contradicts itself."""
    run = cf.integrate(FLOW, S0, 1e300)
    log_t = np.sort(np.random.default_rng(0).uniform(-20.0, 690.0, 10_000))
    s = run.at(log_t=log_t).singular_values
    assert np.isfinite(s).all() and np.diff(s, axis=0).min() > -1e-9 * s.max()
    # not bit for bit: the closed form is computed for all times at once, and sums of other shapes add in another order
    np.testing.assert_allclose(s[::1000], run.at(log_t=log_t[::1000]).singular_values, rtol=1e-13)
