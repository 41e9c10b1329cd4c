"""Two lives of kernels: the same steps and the same numbers, and when which of them is led."""

import math
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

import ceflow as cf
from ceflow import _field
from ceflow._sweep import _executors
from ceflow.kernels import compilation, kernel

PAIR = cf.direct_sum(3, 2)


def blocks(flow):
    return flow.random_start(0.3, rng=1)


def modes(scale=1e-2):
    return lambda flow: scale * np.random.default_rng(0).uniform(0.3, 1.0, flow.scheme.modes)


def layers(flow):
    return np.random.default_rng(0).uniform(0.2, 0.6, (int(flow.depth), flow.scheme.modes))


CASES = {
    "hadamard": (cf.SpectralFlow(cf.hadamard(16)), modes(), 1e12),
    "two classes": (cf.SpectralFlow(cf.hadamard(2)), modes(), 1e6),
    "cyclic": (cf.SpectralFlow(cf.cyclic(9)), modes(), 1e6),
    "complete": (cf.SpectralFlow(cf.complete(5)), modes(), 1e6),
    "hamming": (cf.SpectralFlow(cf.hamming(3, 2)), modes(), 1e6),
    "johnson": (cf.SpectralFlow(cf.johnson(5, 2)), modes(), 1e6),
    "unbalanced": (cf.SpectralFlow(cf.hadamard(4)), layers, 1e6),
    "a mode that dies": (cf.SpectralFlow(cf.hadamard(4)), lambda flow: np.array([0.1, 0.0, -0.2]), 1e6),
    "decay": (cf.SpectralFlow(cf.hadamard(4), weight_decay=1e-3), modes(0.3), 1e2),
    "decay, unbalanced": (cf.SpectralFlow(cf.hadamard(4), weight_decay=1e-2), layers, 1e1),
    "deep": (cf.SpectralFlow(cf.hadamard(8), depth=3), modes(0.3), 1e6),
    "depth between": (cf.SpectralFlow(cf.cyclic(5), depth=2.5), modes(0.3), 1e6),
    "deep, unbalanced": (cf.SpectralFlow(cf.hadamard(4), depth=4), layers, 1e4),
    "sum": (cf.SpectralFlow(cf.hadamard(4), reduction="sum"), modes(), 1e6),
    **{
        loss: (cf.SpectralFlow(cf.hadamard(4), loss=loss), modes(0.3), 30.0)
        for loss in ("squared_error", "label_smoothing", "focal")
    },
    "groups": (cf.SpectralFlow(PAIR, samples=(10, 1), bias=True), blocks, 1e4),
    "groups, deep": (cf.SpectralFlow(PAIR, depth=3, weights=(1.0, 2.0), logit_scale=(1.0, 0.5)), blocks, 1e3),
    "groups, decay": (cf.SpectralFlow(PAIR, weight_decay=(1e-2, 2e-2), logit_adjustment=(0.5, 0.0)), blocks, 3.0),
    "groups, frozen": (cf.SpectralFlow(PAIR, frozen=("W",)), blocks, 1e3),
    "groups, targets": (cf.SpectralFlow(PAIR, loss="squared_error", targets="one-hot"), blocks, 10.0),
    "groups, softplus": (cf.SpectralFlow(PAIR, depth=3, activation="softplus:2"), blocks, 1e2),
    "groups, relu": (cf.SpectralFlow(PAIR, depth=3, activation="relu"), blocks, 1e2),
    "atol": (cf.SpectralFlow(cf.hadamard(4)), modes(), 1e6),
}  # fmt: skip


def values(run):
    return run.singular_values if run.flow.kind == "spectral" else run.flow.logit_blocks(run.start, run.y)


@pytest.mark.parametrize("name", CASES)
def test_both_lives_take_the_same_steps_to_the_same_numbers(name):
    flow, start, end = CASES[name]
    start, times = start(flow), np.geomspace(1e-2, end, 7)
    options = {"atol": 1e-8} if name == "atol" else {}
    runs = [cf.integrate(flow, start, t_eval=times, compiled=compiled, **options) for compiled in (True, False)]
    assert [run.compiled for run in runs] == [True, False]
    assert runs[0].success and len({(run.nsteps, run.nrejected, run.nfev, run.outcome) for run in runs}) == 1
    one, other = map(values, runs)
    # under label smoothing steps are as long as the error of the clock near an equilibrium allows, which is rounding
    close = 2e-12 if name == "label_smoothing" else 1e-13
    np.testing.assert_allclose(other, one, rtol=close, atol=close * np.abs(one).max())


def test_implicit_steps_to_rest_agree_within_the_tolerance():
    flow, s0 = cf.SpectralFlow(cf.hadamard(4), weight_decay=1e-3), np.array([0.1, 0.2, 0.3])
    runs = [cf.integrate(flow, s0, 1e6, compiled=compiled) for compiled in (True, False)]
    assert {run.outcome for run in runs} == {cf.Outcome.AT_REST}
    np.testing.assert_allclose(runs[1].singular_values[-1], runs[0].singular_values[-1], rtol=1e-9)


def test_steps_in_which_time_grows_by_thousands_of_e_folds(monkeypatch):
    """Where it is interpreted, a step is cut into panels side by side, which count for nothing but at its end."""
    flow = cf.SpectralFlow(cf.complete(4), depth=3)
    runs = [cf.integrate(flow, [0.01], log_t_end=1e4, rtol=1e-6, compiled=compiled) for compiled in (False, True)]
    log_t = np.linspace(-2.0, 1e4, 50)
    for kind in ("singular_values", "log_loss"):
        interpreted, compiled = (getattr(run.at(log_t=log_t), kind) for run in runs)
        np.testing.assert_allclose(interpreted, compiled, rtol=1e-12)
    assert runs[0].nsteps == runs[1].nsteps and runs[0].success


@pytest.mark.parametrize("name", ["hadamard", "cyclic", "decay"])
def test_ensembles_are_compiled_but_where_nothing_is_to_be(name, monkeypatch):
    flow, start, end = CASES[name]
    starts = start(flow) * np.linspace(0.5, 1.5, 11)[:, None]
    runs, interpreted, silent = {}, [], kernel.Kernel.silent
    monkeypatch.setattr(
        kernel.Kernel, "silent", lambda *given: interpreted.append(given[0].__module__) or silent(*given)
    )
    for compiled in (None, False):
        monkeypatch.setattr(cf.settings, "compiled", compiled)
        runs[compiled] = cf.integrate_many(flow, starts, end, threads=2)
        # that of starts, and the shapes of rows, are looked at without compiling
        assert any(module.startswith("ceflow.solve") for module in interpreted) == (compiled is False)
    one, other = runs.values()
    assert one.success.all() and np.array_equal(one.nfev, other.nfev) and np.array_equal(one.status, other.status)
    np.testing.assert_allclose(other.singular_values, one.singular_values, rtol=1e-12)


FIRST_RUN = """
import sys
import numpy as np
import ceflow as cf
flow = cf.SpectralFlow(cf.hadamard(4))
run = cf.integrate(flow, [1e-3, 2e-3, 5e-4], 1e6)
full = cf.integrate(flow.full(), flow.lift(run.start), 1e3)
assert run.certificate().passed and full.certificate().passed and cf.compare(run[:5], full)
slow = "numba", "sympy", "matplotlib", "scipy.sparse", "scipy.special", "scipy.linalg", "scipy.optimize"
print(run.compiled, *(name for name in slow if name in sys.modules))
"""


def test_a_first_run_with_certificates_is_interpreted_and_imports_nothing_slow():
    done = subprocess.run([sys.executable, "-c", FIRST_RUN], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


def test_a_process_compiles_when_that_pays(monkeypatch):
    monkeypatch.setattr(cf.settings, "compiled", None)
    for work, on_disk, expected in (
        (0.0, True, [False, False]),
        (compilation.SOON, True, [True, True]),
        (compilation.SOON, False, [False, False]),
        (compilation.LATE, False, [False, True]),  # it looks at the disk first
    ):
        process = compilation._Process()
        process.work, process.on_disk = work, lambda on_disk=on_disk: on_disk
        monkeypatch.setattr(compilation, "process", process)
        assert [compilation.compiled() for _ in range(2)] == expected


def test_a_run_changes_over_in_its_midst(monkeypatch):
    flow, s0 = cf.SpectralFlow(cf.hadamard(16)), 1e-3 * np.arange(1.0, 16.0)
    whole = cf.integrate(flow, s0, log_t_end=300.0)
    monkeypatch.setattr(cf.settings, "compiled", None)

    def changing():
        process = compilation._Process()
        process.on_disk, process.enough = lambda: True, 1.0
        for module in (compilation, _field):
            monkeypatch.setattr(module, "process", process)
        run = cf.integrate(flow, s0, log_t_end=300.0)
        assert run.compiled and process.work >= 32 * 12 * flow.motion(s0, flow.origin(s0), 0.0, 1e-9).work
        return run

    changed = changing()
    assert np.array_equal(changed.y, changing().y)  # at the same step
    assert (changed.nsteps, changed.nfev) == (whole.nsteps, whole.nfev + 1)
    log_t = np.linspace(-5.0, 300.0, 30)
    s, expected = (run.at(log_t=log_t).singular_values for run in (changed, whole))
    np.testing.assert_allclose(s, expected, rtol=1e-11)


@pytest.mark.parametrize("value", [1, "yes", 0.0])
def test_bad_choices(value):
    with pytest.raises(TypeError, match="compiled must be True, False or None"):
        cf.integrate(*CASES["two classes"][:1], [0.1], 1.0, compiled=value)
    with pytest.raises(TypeError, match="compiled must be True, False or None"):
        cf.settings.compiled = value


def test_files_know_it(tmp_path):
    run = cf.integrate(cf.SpectralFlow(cf.hadamard(4)), [1e-3, 2e-3, 5e-4], 1.0, compiled=False)
    run.save(tmp_path / "run.npz")
    assert cf.load(tmp_path / "run.npz").compiled is False and math.isfinite(run.at(0.5).singular_values.sum())


def test_workers_of_a_sweep_have_the_setting_of_their_parent(monkeypatch):
    monkeypatch.setattr(cf.settings, "compiled", True)
    with _executors.place_of("processes", 1, None).make() as pool:
        assert pool.submit(compilation.compiled).result()


def test_threads_may_enter_a_compiled_function_at_the_same_time():
    double, together = kernel.njit(lambda x: 2.0 * x, **kernel.KERNEL | {"cache": False}), threading.Barrier(4)

    def call(x):
        together.wait()
        return double.direct(compiled=True)(x)

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(call, np.arange(4.0))) == [0.0, 2.0, 4.0, 6.0]
    assert double.direct(compiled=False)(3.0) == 6.0 and len(double.dispatcher.signatures) == 1
