"""Hostile input and faults: nothing but documented errors, no crash, no hang, no file lost.

What goes in, for each run of this file (counted by the tests themselves, see `COUNTS`): some 2500 calls of public
functions with 48 odd values, 400 command lines, 110 truncated, 1500 damaged and 130 forged files, 20 processes killed
while they save, and 5 writes that the system refuses. Tests that found a bug say which, and what its cure was.
"""

import collections
import decimal
import io
import json
import math
import os
import pickle
import random
import resource
import signal
import subprocess
import sys
import textwrap
import threading
import time
import tracemalloc
import zipfile

import numpy as np
import pytest

import ceflow as cf
from ceflow import cli
from ceflow.kernels.walsh import walsh_hadamard
from ceflow.symmetry import from_spec

DOCUMENTED = (ValueError, TypeError)
FLOW = cf.SpectralFlow(cf.hadamard(4))
S0 = np.array([1e-3, 2e-3, 5e-4])
COUNTS = collections.Counter()


@pytest.fixture(autouse=True, scope="module")
def counts():
    yield
    print("\nhostile input:", ", ".join(f"{count} {name}" for name, count in sorted(COUNTS.items())))


def outcome(kind, call, errors=DOCUMENTED):
    """Runs a call; anything but success and the documented errors is raised. The error's type; None is success."""
    COUNTS[kind] += 1
    try:
        call()
    except errors as error:
        assert str(error), "an error without a message"
        return type(error)
    return None


# -- public functions --------------------------------------------------------------------------------------------------

# As they are written: each call gets a value of its own (an iterator can be used up), and a failure can name it.
ODD = [
    "None", "True", "False", "0", "1", "-1", "2", "3", "4", "1.5", "-0.0", "1e-320", "1e308", "math.nan", "math.inf",
    "-math.inf", "''", "'x'", "'1e3'", "b'x'", "[]", "[1]", "[1, 2, 3]", "[[1, 2], [3, 4]]", "[[1], [2, 3]]",
    "(1, 2, 3)", "{}", "{'a': 1}", "set()", "object()", "np.full(3, np.nan)", "np.ones(3)", "np.ones((2, 3))",
    "np.ones((3, 3))", "np.zeros(3)", "-np.ones(3)", "np.array(['a', 'b'])", "np.array([None, 1, 2], object)",
    "np.ones(3, bool)", "np.ones(3, np.int8)", "np.datetime64('2020-01-01')", "1j", "range(3)", "decimal.Decimal('1')",
    "2**62", "np.ones((0, 3))", "np.ones((3, 1))", "iter([1, 2])",
]  # fmt: skip

NAMES = {"np": np, "math": math, "decimal": decimal}

RUN = cf.integrate(FLOW, S0, 10.0)
SCHEME = cf.hadamard(4)

FUNCTIONS = {
    "hadamard": cf.hadamard,
    "cyclic": cf.cyclic,
    "complete": cf.complete,
    "hamming, m": lambda x: cf.hamming(x, 2),
    "hamming, q": lambda x: cf.hamming(2, x),
    "johnson, n": lambda x: cf.johnson(x, 2),
    "johnson, k": lambda x: cf.johnson(5, x),
    "from_relations": cf.from_relations,
    "from_spec": from_spec,
    "from_spec, args": lambda x: from_spec({"kind": "hadamard", "args": x}),
    "from_spec, kind": lambda x: from_spec({"kind": x, "args": [4]}),
    "margins": SCHEME.margins,
    "forces": SCHEME.forces,
    "SpectralFlow": cf.SpectralFlow,
    "SpectralFlow, loss": lambda x: cf.SpectralFlow(SCHEME, loss=x),
    "SpectralFlow, depth": lambda x: cf.SpectralFlow(SCHEME, depth=x),
    "SpectralFlow, reduction": lambda x: cf.SpectralFlow(SCHEME, reduction=x),
    "SpectralFlow, weight_decay": lambda x: cf.SpectralFlow(SCHEME, weight_decay=x),
    "MatrixFlow, loss": lambda x: cf.MatrixFlow(loss=x),
    "MatrixFlow, backend": lambda x: cf.MatrixFlow(backend=x),
    "integrate, flow": lambda x: cf.integrate(x, S0, 1.0),
    "integrate, start": lambda x: cf.integrate(FLOW, x, 1.0, max_steps=100),
    "integrate, matrices": lambda x: cf.integrate(cf.MatrixFlow(), (x, x), 1.0, max_steps=20),
    "integrate, pair": lambda x: cf.integrate(cf.MatrixFlow(), x, 1.0, max_steps=20),
    "integrate, t_end": lambda x: cf.integrate(FLOW, S0, x, max_steps=100),
    "integrate, log_t_end": lambda x: cf.integrate(FLOW, S0, log_t_end=x, max_steps=100),
    "integrate, t_eval": lambda x: cf.integrate(FLOW, S0, t_eval=x, max_steps=100),
    "integrate, log_t_eval": lambda x: cf.integrate(FLOW, S0, log_t_eval=x, max_steps=100),
    "integrate, rtol": lambda x: cf.integrate(FLOW, S0, 1.0, rtol=x, max_steps=100),
    "integrate, atol": lambda x: cf.integrate(FLOW, S0, 1.0, atol=x, max_steps=100),
    "integrate, max_steps": lambda x: cf.integrate(FLOW, S0, 1.0, max_steps=x),
    "integrate, until": lambda x: cf.integrate(FLOW, S0, 1.0, until=x),
    "event": cf.event,
    "event, direction": lambda x: cf.event(len, x),
    "event, name": lambda x: cf.event(len, name=x),
    "event, looks": lambda x: cf.event(len, looks=x),
    "at": RUN.at,
    "at, log_t": lambda x: RUN.at(log_t=x),
    "lift": FLOW.lift,
    "lift, width": lambda x: FLOW.lift(S0, width=x),
    "project": lambda x: FLOW.project(x, x),
    "load": cf.load,
    "collapsed": cf.collapsed,
    "compare": lambda x: cf.compare(x, x),
    "random_init": lambda x: cf.random_init(classes=x, width=2, rng=0),
    "random_init, width": lambda x: cf.random_init(classes=2, width=x, rng=0),
    "random_init, scale": lambda x: cf.random_init(classes=2, width=2, scale=x, rng=0),
    "measures": lambda x: cf.collapse.measures(x, x),
    "measures, labels": lambda x: cf.collapse.measures(np.eye(3), np.eye(3), x),
    "measures, bias": lambda x: cf.collapse.measures(np.eye(3), np.eye(3), bias=x),
    "measures, centring": lambda x: cf.collapse.measures(np.eye(3), np.eye(3), centring=x),
    "lyapunov": lambda x: cf.lyapunov.lyapunov(SCHEME, x),
    "dissipation": lambda x: cf.lyapunov.dissipation(SCHEME, x),
    "ray_time": lambda x: cf.theory.ray_time(x, 1e-3, 4),
    "ray_time, imbalance": lambda x: cf.theory.ray_time(2.0, 1.0, 4, imbalance=x),
    "ray_singular_value": lambda x: cf.theory.ray_singular_value(x, s0=0.1, classes=4),
    "loss_bound": lambda x: cf.theory.loss_bound(SCHEME, S0, x),
    "collapsed_loss": lambda x: cf.theory.collapsed_loss(x, 4),
    "walsh_hadamard": walsh_hadamard,
}

# What is no bad value, and for which function; all else must be refused.
POSITIVE = {"1", "2", "3", "4", "1.5", "2**62"}
ZERO = {"0", "-0.0"}
INCREASING = {"[1]", "[1, 2, 3]", "(1, 2, 3)", "range(3)"}
MODES = {"[1, 2, 3]", "(1, 2, 3)", "np.ones(3)", "np.zeros(3)", "-np.ones(3)", "np.ones(3, np.int8)", "range(3)"}
STATES = MODES | {"np.ones((2, 3))", "np.ones((3, 3))", "np.ones((0, 3))"}
STARTS = MODES | {"np.ones((2, 3))"}  # singular values, or two layers
SQUARE = {"[[1, 2], [3, 4]]", "np.ones((3, 3))"}
POSITIVES = {
    "[]", "[1]", "[1, 2, 3]", "(1, 2, 3)", "[[1, 2], [3, 4]]", "np.ones(3)", "np.ones((2, 3))", "np.ones((3, 3))",
    "np.ones(3, np.int8)", "np.ones((0, 3))", "np.ones((3, 1))",
}  # fmt: skip
NONNEGATIVES = POSITIVES | {"np.zeros(3)", "range(3)"}
ACCEPTED = {
    "hadamard": {"2", "4"},
    "cyclic": {"2", "3", "4"},
    "complete": {"2", "3", "4", "2**62"},
    "hamming, m": {"1", "2", "3", "4"},
    "hamming, q": {"2", "3", "4", "2**62"},
    "johnson, n": {"3", "4", "2**62"},
    "johnson, k": {"1", "2", "3", "4"},
    "margins": STATES,
    "forces": STATES,
    "SpectralFlow, depth": {"2", "3", "4"},
    "SpectralFlow, weight_decay": ZERO | POSITIVE | {"1e-320"},
    "integrate, start": STARTS,
    "integrate, matrices": SQUARE,
    "integrate, t_end": POSITIVE | {"1e-320", "1e308"},
    "integrate, log_t_end": ZERO | POSITIVE - {"2**62"} | {"-1", "1e-320"},
    "integrate, t_eval": ZERO | POSITIVE | {"1e-320", "1e308"} | INCREASING,
    "integrate, log_t_eval": ZERO | POSITIVE - {"2**62"} | {"-1", "1e-320", "-math.inf"} | INCREASING,
    "integrate, atol": ZERO | POSITIVE | {"1e-320"},
    "integrate, max_steps": POSITIVE - {"1.5"},
    "integrate, until": {"None", "[]"},
    "event, name": {"None", "''", "'x'", "'1e3'"},
    "event, looks": {"1", "2", "3", "4"},
    "at": ZERO | POSITIVE - {"2**62"} | {"1e-320", "[]", "[1]"} | MODES - {"-np.ones(3)"},
    "at, log_t": ZERO  # up to log 10, where the run ends
    | {"1", "-1", "2", "1.5", "1e-320", "-math.inf", "[]", "[1]"}
    | MODES - {"[1, 2, 3]", "(1, 2, 3)"},
    "lift": STARTS,
    "lift, width": {"None", "3", "4"},
    "collapsed": POSITIVE,
    "random_init": {"2", "3", "4"},
    "random_init, width": {"1", "2", "3", "4"},
    "random_init, scale": POSITIVE | {"1e-320"},
    "measures": SQUARE,
    "measures, labels": {"None", "range(3)"},
    "measures, bias": {"None"} | MODES,
    "lyapunov": STATES,
    "dissipation": STATES,
    "ray_time": POSITIVE | POSITIVES,
    "ray_time, imbalance": ZERO | POSITIVE | {"1e-320"},
    "ray_singular_value": ZERO | POSITIVE | {"1e-320", "1e308"} | NONNEGATIVES,
    "loss_bound": POSITIVE | {"1e-320", "1e308"} | POSITIVES,
    "collapsed_loss": ZERO | POSITIVE | {"-1", "1e-320"} | NONNEGATIVES | {"-np.ones(3)"},
    "walsh_hadamard": {"[1]", "[[1, 2], [3, 4]]", "np.ones((3, 1))"},
}


def outcome_of(name, value):
    errors = (*DOCUMENTED, FileNotFoundError) if name == "load" else DOCUMENTED
    return outcome("odd values", lambda: FUNCTIONS[name](eval(value, NAMES)), errors)


@pytest.mark.filterwarnings("ignore:.*is rounded to float64")  # of integers that are too large
@pytest.mark.parametrize("name", FUNCTIONS)
def test_odd_values_meet_documented_errors(name):
    passed = {value for value in ODD if outcome_of(name, value) is None}
    assert passed == ACCEPTED.get(name, set())


HUGE = 10**400


# found a bug: OverflowError: catch it where float(x) is taken and raise a ValueError
@pytest.mark.parametrize(
    "call",
    [
        lambda: cf.integrate(FLOW, S0, HUGE),
        lambda: cf.integrate(FLOW, S0, t_eval=HUGE),
        lambda: RUN.at(HUGE),
        lambda: cf.collapsed(HUGE),
        lambda: cf.random_init(classes=2, width=2, scale=HUGE, rng=0),
        lambda: cf.theory.ray_time(2.0, 1.0, HUGE),
        lambda: cf.theory.collapse_exponent(HUGE),
    ],
    ids=["t_end", "t_eval", "at", "collapsed", "scale", "classes", "exponent"],
)
def test_integers_beyond_floats(call):
    assert outcome("bugs", call) in DOCUMENTED


def test_more_steps_than_floats_count():
    assert cf.integrate(FLOW, S0, 1.0, max_steps=HUGE).success


# found a bug: complex times lose their imaginary part: check dtype.kind in 'iuf' first
@pytest.mark.parametrize(
    "call",
    [lambda: cf.integrate(FLOW, S0, t_eval=np.array([1.0, 2j])), lambda: RUN.at(np.array([1j]))],
    ids=["t_eval", "at"],
)
def test_complex_times(call):
    with pytest.raises(TypeError):
        call()


# found a bug: checked_array compares float32 with 1e300: astype(float64) before the comparison
@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_short_floats_are_welcome(dtype):
    assert cf.integrate(FLOW, np.ones(3, dtype), 1.0).success


# found a bug: an exception of a signal while Numba loads what it supports left it without: load it in another thread
def test_an_alarm_in_the_first_compilation_breaks_nothing(tmp_path):
    code = """
        import os, signal
        import ceflow as cf
        cf.settings.compiled = True
        from numba.core.registry import cpu_target

        def alarm(*_):
            raise RuntimeError("alarm")

        def install(registry, installed=cpu_target.typing_context.install_registry, count=[0]):
            count[0] += 1
            if count[0] == 3:
                os.kill(os.getpid(), signal.SIGALRM)
            installed(registry)

        signal.signal(signal.SIGALRM, alarm)
        cpu_target.typing_context.install_registry = install
        try:
            cf.integrate(cf.SpectralFlow(cf.hadamard(4)), [1e-3, 2e-3, 5e-4], 10.0)
        except RuntimeError as error:
            print(error)
        assert cf.integrate(cf.SpectralFlow(cf.hadamard(4)), [1e-3, 2e-3, 5e-4], 10.0).success
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, timeout=300)
    assert (done.returncode, done.stdout) == (0, "alarm\n"), done.stderr


# found a bug: checked_modes takes any object for a scheme: isinstance check, TypeError
def test_bounds_of_no_scheme():
    with pytest.raises(TypeError):
        cf.theory.loss_bound("hadamard", S0, 1.0)


# found a bug: load(0) reads standard input and closes it: path = os.fspath(path) comes first
def test_a_path_is_no_file_descriptor(tmp_path):
    (tmp_path / "file").write_bytes(b"hello")
    descriptor = os.open(tmp_path / "file", os.O_RDONLY)
    try:
        with pytest.raises(TypeError):
            cf.load(descriptor)
    finally:
        os.fstat(descriptor)  # still open
        os.close(descriptor)


# found a bug: __len__ and __getitem__ make it an endless nested sequence: __array__ should refuse
def test_a_trajectory_is_no_array():
    """np.asarray(run) fills the memory today, which is why this only looks for what would prevent it."""
    with pytest.raises(TypeError):
        type(RUN).__array__(RUN)


# found a bug: `until` may return anything: _Run.stopped should ask for n numbers, a ValueError
@pytest.mark.parametrize(
    "until", [lambda run: np.ones((len(run), 2)) - 2, lambda run: np.full(7, -1.0)], ids=["2d", "7"]
)
def test_until_returns_nonsense(until):
    with pytest.raises(ValueError):
        cf.integrate(FLOW, S0, 10.0, until=until)


# found a bug: is_collapsed reconstructs K as 1 / (1 - share): give it K instead
def test_more_classes_than_floats_count():
    assert cf.integrate(cf.SpectralFlow(cf.johnson(10**9, 5)), np.linspace(1e-3, 2e-3, 5), 1e30).success


# found a bug: nothing moves before log t = 1e7: refuse s0 > 1e15, or follow Rest to the end
def test_singular_values_too_large_to_move():
    for start in (np.array([1e100, 2e100, 3e100]), np.full((2, 3), 1e50)):
        with pytest.raises(ValueError, match="at most 1e\\+15"):
            cf.integrate(FLOW, start, 1e30)


# -- the edges of floating point ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("scale", [2e-300, 1e-290, 1e-150, 1e-16, 1.0, 1e3])
def test_underflow_and_overflow(scale):
    layers = np.sqrt(scale) * np.array([[1.0, -1.0, 0.0], [1.0, 1.0, 0.9]])
    for start, last in ((np.array([1.0, 2.0, 5.0]) * scale, 1e7), (layers, 1e4)):
        for log_t_end in (-700.0, 0.0, 700.0, last):
            run = cf.integrate(FLOW, start, log_t_end=log_t_end)
            COUNTS["starts at the edges"] += 1
            assert run.success and run.log_t[-1] == log_t_end
            for name in ("y", "singular_values", "layers", "loss", "log_loss", "margin", "accuracy_gap", "conserved"):
                assert np.isfinite(getattr(run, name)).all(), name
            assert np.isfinite(run.at(log_t=np.linspace(-750.0, log_t_end, 20)).singular_values).all()
            assert np.all(np.diff(run.log_t) > 0.0)


@pytest.mark.parametrize("scale", [1e-150, 1e-75, 1e-8, 10.0])
def test_matrices_at_the_edges(scale):
    W, H = cf.random_init(classes=3, width=2, scale=1.0, rng=0)
    run = cf.integrate(cf.MatrixFlow(), (scale * W, scale * H), log_t_end=20.0, rtol=1e-5)
    assert run.success and np.isfinite(run.y).all() and np.isfinite(run.loss).all()


def test_denormals_are_refused_or_survive():
    with pytest.raises(ValueError, match="between"):
        cf.integrate(FLOW, np.full(3, 5e-324), 1.0)
    with pytest.raises(ValueError, match="squares of smaller ones underflow"):
        cf.integrate(cf.MatrixFlow(), (np.full((3, 2), 5e-324), np.full((2, 3), 5e-324)), 1.0)


# found a bug: squares of the layers underflowed, and "the step size decreased to rounding"
@pytest.mark.parametrize(("dtype", "scale"), [("float64", 1e-170), ("float32", 1e-25)])
def test_matrices_too_small_to_square(dtype, scale):
    flow, start = cf.MatrixFlow(dtype=dtype), cf.random_init(classes=3, width=2, scale=scale, rng=0)
    with pytest.raises(ValueError, match="the factors must be 0 or have an entry of at least"):
        cf.integrate(flow, start, 1.0, rtol=1e-5)
    batch = [np.stack([factor / scale, factor]) for factor in start]
    with pytest.raises(ValueError, match="the factors of member 1 of the batch must be 0"):
        cf.integrate(flow, batch, 1.0, rtol=1e-5)
    least = cf.random_init(classes=3, width=2, scale={"float64": 1e-149, "float32": 1e-17}[dtype], rng=0)
    assert cf.integrate(flow, least, 20.0, rtol=1e-5).success


# found a bug: the error of a member that is zero was 0 / 0
@pytest.mark.parametrize("decay", [0.0, 1e-2])
def test_a_zero_member_of_a_batch_stays(decay):
    flow, start = cf.MatrixFlow(weight_decay=decay), cf.random_init(classes=3, width=2, scale=0.1, rng=0)
    run = cf.integrate(flow, [np.stack([factor, 0 * factor]) for factor in start], t_eval=[1.0, 30.0])
    alone = cf.integrate(flow, start, t_eval=[1.0, 30.0])
    assert run.success and not np.any(run.W[:, 1]) and not np.any(run.H[:, 1])
    np.testing.assert_allclose(run.W[:, 0], alone.W, rtol=0, atol=1e-7)


def test_rows_of_a_reduced_start_are_layers_and_no_batch():
    layers = np.array([[0.1, 0.2, 0.3], [0.3, 0.2, 0.1]])
    for start in (layers, tuple(layers), layers.tolist()):
        np.testing.assert_allclose(cf.integrate(FLOW, start, 1.0).layers[0], layers, rtol=1e-15)
    for batch in (layers[:1], np.tile(layers, (2, 1)), layers[None]):
        with pytest.raises(ValueError, match="several starts are several runs"):
            cf.integrate(FLOW, batch, 1.0)


# -- files -------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """Path, bytes, arrays and description of a run with steps and a closed form."""
    path = tmp_path_factory.mktemp("run") / "run.npz"
    cf.integrate(FLOW, S0, log_t_end=1000.0).save(path)
    arrays = dict(np.load(path))
    return path, path.read_bytes(), arrays, json.loads(str(arrays.pop("meta")))


def forge(path, arrays, meta, **changes):
    np.savez(path, meta=np.array(json.dumps(meta)), **(arrays | changes))


def test_files_cut_short(saved, tmp_path):
    path, whole = tmp_path / "run.npz", saved[1]
    for size in range(0, len(whole), 63):
        path.write_bytes(whole[:size])
        with pytest.raises(ValueError, match="not a whole file"):
            cf.load(path)
        COUNTS["truncated files"] += 1


def contents(path):
    """All that a loaded run says, to the bit: what it would save again."""
    cf.load(path).save(path.with_suffix(".again.npz"))
    with np.load(path.with_suffix(".again.npz")) as archive:
        return {name: (archive[name].dtype, archive[name].shape, archive[name].tobytes()) for name in archive}


def test_damaged_files(saved, tmp_path):
    """Accepted only where the damage is to what says nothing, such as the archive's dates: the run is the same."""
    path, whole, rng = tmp_path / "run.npz", saved[1], np.random.default_rng(0)
    path.write_bytes(whole)
    expected, refused = contents(path), 0
    for _ in range(1500):
        damaged = bytearray(whole)
        for _ in range(rng.integers(1, 4)):
            damaged[rng.integers(len(damaged))] = rng.integers(256)
        path.write_bytes(bytes(damaged))
        found = outcome("damaged files", lambda: cf.load(path))
        assert found is ValueError or contents(path) == expected
        refused += found is ValueError
    assert refused > 1300


# found a bug: load lets NotImplementedError, IndexError and more through: except Exception
def test_an_unknown_compression(saved, tmp_path):
    path, whole = tmp_path / "run.npz", bytearray(saved[1])
    entry = whole.rfind(b"PK\x01\x02")
    whole[entry + 10] = 99
    path.write_bytes(bytes(whole))
    assert outcome("bugs", lambda: cf.load(path)) is ValueError


def test_headers_of_another_version(saved, tmp_path):
    """NumPy writes them where headers are long; they say the same."""
    path, arrays, meta = tmp_path / "run.npz", saved[2], saved[3]
    with zipfile.ZipFile(path, "w") as archive:
        for name, array in (arrays | {"meta": np.array(json.dumps(meta))}).items():
            with archive.open(f"{name}.npy", "w") as member:
                np.lib.format.write_array(member, np.asarray(array), version=(2, 0))
    np.testing.assert_array_equal(cf.load(path).y, cf.load(saved[0]).y)


def test_forged_ends(saved, tmp_path):
    """What a run would go on with."""
    path, (arrays, meta) = tmp_path / "run.npz", saved[2:]
    steps = {f"tail_{name}": arrays[f"path0_{name}"][:n] for name, n in (("y", 3), ("h", 2), ("log_t", 3))}
    for changes, message in (
        ({"resume_state": np.full(4, np.inf)}, "resume_state is not that of a stepper"),
        ({"resume_state": np.zeros(3)}, "resume_state is not that of a stepper"),
        (steps, "tail is not one step"),
    ):
        forge(path, arrays, meta, **changes)
        with pytest.raises(ValueError, match=message):
            cf.load(path)


def test_foreign_files(tmp_path, saved):
    path, meta = tmp_path / "run.npz", saved[3]

    class Bomb:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "exploded"),)

    path.write_bytes(pickle.dumps(Bomb()))
    assert outcome("forged files", lambda: cf.load(path)) is ValueError
    for name in ("meta", "y"):
        np.savez(path, **{"meta": np.array(json.dumps(meta)), name: np.array([Bomb()], dtype=object)})
        assert outcome("forged files", lambda: cf.load(path)) is ValueError
    assert not (tmp_path / "exploded").exists()
    np.save(path.with_suffix(".npy"), np.ones(3))
    assert outcome("forged files", lambda: cf.load(path.with_suffix(".npy"))) is ValueError
    for text in (b"", b"{}", b"PK\x05\x06" + bytes(18), b"\x93NUMPY", b"\x00" * 1000):
        path.write_bytes(text)
        assert outcome("forged files", lambda: cf.load(path)) is ValueError
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("../../escaped.npy", b"x")
        archive.writestr("meta.npy", b"x")
    assert outcome("forged files", lambda: cf.load(path)) is ValueError
    assert outcome("forged files", lambda: cf.load(tmp_path / "none"), FileNotFoundError) is FileNotFoundError


def test_forged_descriptions(saved, tmp_path):
    path, (_, _, arrays, meta) = tmp_path / "run.npz", saved
    for key, value in (
        ("format", "other"), ("version", 2), ("version", 5), ("version", "4"), ("version", None),
        ("flow", None), ("flow", {}), ("flow", {"flow": "spectral"}), ("flow", {"flow": "matrix"}),
        ("flow", meta["flow"] | {"loss": "hinge"}),
        ("flow", meta["flow"] | {"loss": ["cross_entropy"]}), ("flow", meta["flow"] | {"depth": -1}),
        ("flow", meta["flow"] | {"reduction": 3}), ("flow", meta["flow"] | {"speed": 3}),
        ("flow", meta["flow"] | {"scheme": {"kind": "hadamard", "args": [8]}}),
        ("flow", meta["flow"] | {"scheme": {"kind": "__import__", "args": ["os"]}}),
        ("flow", meta["flow"] | {"scheme": []}), ("options", {}), ("options", {"log_t_end": "x"}), ("options", 3),
        ("options", meta["options"] | {"path": 3}), ("segments", 3), ("segments", ["steps"] * 1 + ["ray"] * 5),
            ("methods", ["euler"] * 2), ("methods", 3), ("options", meta["options"] | {"outcome": "GOOD"}),
    ):  # fmt: skip
        forge(path, arrays, meta | {key: value})
        assert outcome("forged files", lambda: cf.load(path)) is ValueError, (key, value)
        forge(path, arrays, {name: entry for name, entry in meta.items() if name != key})
        assert outcome("forged files", lambda: cf.load(path)) is ValueError, key
    for name in arrays:
        np.savez(path, meta=np.array(json.dumps(meta)), **{k: v for k, v in arrays.items() if k != name})
        assert outcome("forged files", lambda: cf.load(path)) is ValueError, name


SHAPES = "load takes arrays of any shape, and kernels then write out of bounds: check shapes, dtypes, finiteness, order"


# found a bug: see SHAPES
@pytest.mark.parametrize("name", ["log_t", "y", "path0_y", "path0_h", "path0_log_t", "path1_y", "path1_log_t"])
def test_arrays_of_the_wrong_kind(saved, tmp_path, name):
    path, (_, _, arrays, meta) = tmp_path / "run.npz", saved
    base = arrays[name]
    for wrong in (
        np.empty(0), np.zeros((2, 2, 2)), np.array(["a"]), np.full(base.shape, np.nan), np.full(base.shape, np.inf),
        np.ones(base.shape, complex), np.atleast_1d(base)[..., :-1], np.zeros((*base.shape[:-1], 50)),
    ):  # fmt: skip
        forge(path, arrays, meta, **{name: wrong})
        with pytest.raises(ValueError):
            cf.load(path)


# found a bug: the order of times is not checked by load: rows and knots must increase
@pytest.mark.parametrize("name", ["log_t", "path0_log_t"])
def test_times_that_do_not_increase(saved, tmp_path, name):
    path, (_, _, arrays, meta) = tmp_path / "run.npz", saved
    forge(path, arrays, meta, **{name: arrays[name][::-1].copy()})
    with pytest.raises(ValueError):
        cf.load(path)


@pytest.mark.parametrize("wrong", [-1.0, 7.0, math.inf, "x"])
def test_times_that_are_others(saved, tmp_path, wrong):
    path, (_, _, arrays, meta) = tmp_path / "run.npz", saved
    given = np.full(len(arrays["log_t"]), math.nan)
    forge(path, arrays, meta, t=given)
    assert cf.load(path).success
    forge(path, arrays, meta, t=np.where(np.arange(len(given)) == 3, wrong, given))
    with pytest.raises(ValueError):
        cf.load(path)


# found a bug: rtol and the options are taken as they come: load must check their types
@pytest.mark.parametrize("key", ["rtol", "success", "nfev", "message"])
def test_options_of_the_wrong_kind(saved, tmp_path, key):
    path, (_, _, arrays, meta) = tmp_path / "run.npz", saved
    wrong = meta | ({"rtol": "x"} if key == "rtol" else {"options": meta["options"] | {key: ["x"]}})
    forge(path, arrays, wrong)
    with pytest.raises(ValueError):
        cf.load(path)


# found a bug: np.savez does not compress: load should refuse members that are compressed
def test_a_decompression_bomb(saved, tmp_path):
    path, (_, _, arrays, meta) = tmp_path / "run.npz", saved
    np.savez_compressed(path, meta=np.array(json.dumps(meta)), **(arrays | {"y": np.zeros((2**20, 3))}))
    assert path.stat().st_size < 2**17
    tracemalloc.start()
    try:
        assert outcome("forged files", lambda: cf.load(path)) is ValueError
        assert tracemalloc.get_traced_memory()[1] < 2**24
    finally:
        tracemalloc.stop()


# found a bug: numpy allocates what a header claims: compare it with the size of the member
@pytest.mark.parametrize("rows", [10**9, 10**15])
def test_a_header_that_claims_too_much(saved, tmp_path, rows):
    path, (_, _, arrays, meta) = tmp_path / "run.npz", saved
    forge(path, {name: array for name, array in arrays.items() if name != "y"}, meta)
    member = io.BytesIO()
    np.lib.format.write_array_header_1_0(member, {"descr": "<f8", "fortran_order": False, "shape": (rows, 3)})
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("y.npy", member.getvalue() + bytes(240))
    tracemalloc.start()
    try:
        assert outcome("forged files", lambda: cf.load(path)) is ValueError
        assert tracemalloc.get_traced_memory()[1] < 2**24
    finally:
        tracemalloc.stop()


# found a bug: a few bytes can name a scheme of 2**28 classes: compare with the start's shape
def test_a_scheme_that_takes_too_much(saved, tmp_path):
    path, (_, _, arrays, meta) = tmp_path / "run.npz", saved
    forge(path, arrays, meta | {"flow": meta["flow"] | {"scheme": {"kind": "hadamard", "args": [2**22]}}})
    tracemalloc.start()
    try:
        assert outcome("forged files", lambda: cf.load(path)) is ValueError
        assert tracemalloc.get_traced_memory()[1] < 2**24
    finally:
        tracemalloc.stop()


def test_save_where_it_cannot(tmp_path):
    (tmp_path / "directory").mkdir()
    for path in (tmp_path / "directory", tmp_path / "none" / "run.npz", "/proc/run.npz"):
        with pytest.raises(OSError):
            RUN.save(path)
        COUNTS["refused writes"] += 1
    assert [entry.name for entry in tmp_path.iterdir()] == ["directory"]


def child(work):
    """Forks, does the work in the child, and returns its process id."""
    pid = os.fork()
    if pid == 0:
        try:
            work()
            os._exit(0)
        except BaseException:
            os._exit(1)
    return pid


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_save_survives_sudden_death(tmp_path):
    path, run = tmp_path / "run.npz", cf.integrate(cf.SpectralFlow(cf.hadamard(1024)), np.full(1023, 1e-3), 1e9)
    run.save(path)

    def work():
        while True:
            run.save(path)

    delays, deaths = np.random.default_rng(0).uniform(0.003, 0.06, 20), 0
    for delay in delays:
        pid = child(work)
        time.sleep(delay)
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        deaths += any(entry.suffix == ".tmp" for entry in tmp_path.iterdir())
        for entry in tmp_path.glob("*.tmp"):
            entry.unlink()
        np.testing.assert_array_equal(cf.load(path).y, run.y)
        COUNTS["processes killed"] += 1
    assert deaths > 0  # some were in the middle of it


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.parametrize("room", [0, 5000])
def test_save_survives_a_full_disk(tmp_path, room):
    path = tmp_path / "run.npz"
    RUN.save(path)
    before = path.read_bytes()
    other = cf.integrate(FLOW, S0, 1e300)

    def work():
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (room, room))
        try:
            other.save(path)
        except OSError:
            os._exit(7)

    assert os.waitstatus_to_exitcode(os.waitpid(child(work), 0)[1]) == 7
    assert path.read_bytes() == before and len(list(tmp_path.iterdir())) == 1
    COUNTS["refused writes"] += 1


# -- at the same time --------------------------------------------------------------------------------------------------


def fingerprints():
    """Bits of runs of both flows, with what the workspace could mix up: rows, dense output, matrices."""
    one = cf.integrate(cf.SpectralFlow(cf.hadamard(64)), np.linspace(1e-3, 2e-3, 63), 1e30)
    two = cf.integrate(cf.SpectralFlow(cf.cyclic(9)), np.linspace(0.1, 0.2, 8).reshape(2, 4), 1e20, rtol=1e-12)
    three = cf.integrate(cf.MatrixFlow(), FLOW.lift(S0), 1e3)
    return b"".join(run.y.tobytes() + run.at(log_t=np.linspace(-5.0, 6.0, 40)).y.tobytes() for run in (one, two, three))


def test_threads_get_the_same_bits():
    alone, found = fingerprints(), []
    threads = [threading.Thread(target=lambda: found.extend(fingerprints() for _ in range(3))) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [alone] * 18


def test_threads_that_share_a_trajectory():
    run, log_t = (
        cf.integrate(cf.SpectralFlow(cf.hadamard(64)), np.linspace(1e-3, 2e-3, 63), 1e30),
        np.linspace(-5, 60, 200),
    )
    alone, found = run.at(log_t=log_t).y, []
    threads = [threading.Thread(target=lambda: found.append(run.at(log_t=log_t).y)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 8 and all(np.array_equal(alone, y) for y in found)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_fork_gets_the_same_bits():
    alone = fingerprints()

    def work():
        os._exit(0 if fingerprints() == alone else 3)

    pids = [child(work) for _ in range(3)]
    assert [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in pids] == [0, 0, 0]


# -- the command -------------------------------------------------------------------------------------------------------

ARGUMENTS = {
    "-K": ["2", "3", "4", "5", "8", "0", "-1", "x", "", "1e3", "4.0", "1073741824", "9" * 30],
    "--scheme": ["hadamard", "cyclic", "complete", "hamming:2,2", "johnson:4,2", "hamming:,", "hamming:2,3,4", "",
                 "johnson:0,0", "johnson:4,9", "hadamard:3", "star", ":", "hamming:99999,2", "hamming:2,1",
                 "hamming:1000000000000,2"],
    "--t-end": ["1", "1e6", "1e-3", "1e-300", "1e-400", "1e1000", "1e999999999999", "1e99999999999999999999999999", "0",
                "-1", "nan", "inf", "sNaN", "", "x", "1_0", "0x10", "1e"],
    "--rtol": ["1e-6", "1e-9", "1e-13", "1e-14", "0.2", "0", "-1", "nan", "inf", "x", ""],
    "--seed": ["0", "1", "-1", "9" * 30, "x", "1.5", ""],
    "--scale": ["1e-3", "1", "1e-12", "1e3", "1e291", "0", "nan", "inf", "-1", "x"],
    "--out": ["here", "a/b/c", "", "taken", "/proc/none", "x" * 300, "here\n", "\0"],
    "--width": ["16", "3", "0", "-1", "x", "20"],
}  # fmt: skip


# What is no bad value of an option by itself; all else must be refused.
GOOD = {
    "--t-end": {"1", "1e6", "1e-3", "1e-300", "1e1000", "1_0"},
    "--rtol": {"1e-6", "1e-9", "1e-13"},
    "--seed": {"0", "1", "9" * 30},
    "--scale": {"1e-3", "1", "1e-12", "1e3"},
    "--out": {"here", "a/b/c", "", "here\n"},  # "" is the current directory
}
OVERRIDDEN = {"1e-400", "1e999999999999"}  # numbers out of range, and of no effect where another --t-end follows
CLASSES = {
    "hadamard": {"2", "4", "8"},
    "cyclic": {"2", "3", "4", "5", "8"},
    "complete": {"2", "3", "4", "5", "8", "1073741824", "9" * 30},
    "hamming:2,2": {"4"},  # johnson:4,2 has 6, of which there are none among ARGUMENTS["-K"]
}


def is_good(name, given):
    """Whether a command with these options may run."""
    scheme, classes = given.get("--scheme", "hadamard"), given.get("-K", "4")
    if classes not in CLASSES.get(scheme, ()):
        return False
    if name == "compare":
        width = given.get("--width", "20")
        if len(classes) > 1 or width not in ("3", "16", "20") or int(width) < int(classes) - 1:
            return False
    overridden = OVERRIDDEN if name == "compare" else set()
    return all(value in GOOD[option] | overridden for option, value in given.items() if option in GOOD)


def command(arguments):
    try:
        return cli.main(arguments)
    except SystemExit as leave:
        return leave.code


def test_every_value_of_every_option_was_judged():
    assert {option: GOOD[option] - set(ARGUMENTS[option]) for option in GOOD} == {option: set() for option in GOOD}
    assert set(CLASSES) < set(ARGUMENTS["--scheme"]) and set().union(*CLASSES.values()) < set(ARGUMENTS["-K"])


@pytest.mark.parametrize("seed", range(8))
def test_any_command_line_ends_in_order(seed, tmp_path, monkeypatch, capsys):
    """With 0 where all options are good, with 2 where one is not."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "taken").write_text("a file of somebody else's")
    source, ended = random.Random(seed), collections.Counter()
    for _ in range(50):
        name = source.choice(["run", "run", "compare"])
        arguments, given = [name, "--no-plot", "-K", "4"], {}
        for option, values in ARGUMENTS.items():
            if source.random() < 0.35 and (option != "--width" or name == "compare"):
                given[option] = value = source.choice(values)
                arguments += [option, value] if option == "-K" else [f"{option}={value}"]
        if name == "compare":
            arguments += ["--t-end=10"]  # the full flow takes its time
        code = command(arguments)
        captured = capsys.readouterr()
        COUNTS["command lines"] += 1
        ended[code] += 1
        assert code == (0 if is_good(name, given) else 2), arguments
        assert (code == 2) == bool(captured.err) and "Traceback" not in captured.err, arguments
        assert code != 2 or f"ceflow {name}: error: " in captured.err, arguments
    assert min(ended[0], ended[2]) >= 3  # the lines were of both kinds
    assert (tmp_path / "taken").read_text() == "a file of somebody else's"


@pytest.mark.parametrize("name", ["run", "compare"])
@pytest.mark.parametrize("option", ARGUMENTS)
def test_every_bad_value_of_an_option_is_refused(name, option, tmp_path, monkeypatch, capsys):
    """One at a time: in the lines above another one may be the reason."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "taken").write_text("a file of somebody else's")
    for value in ARGUMENTS[option]:
        if is_good(name, {option: value}) or (name == "run" and option == "--width"):
            continue
        arguments = [name, "--no-plot", "-K", "4", *([option, value] if option == "-K" else [f"{option}={value}"])]
        assert command(arguments) == 2, arguments
        COUNTS["command lines"] += 1
        assert f"ceflow {name}: error: " in capsys.readouterr().err


def test_a_refused_command_clobbers_nothing(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert command(["run", "--no-plot", "-K", "4", "--out", "here"]) == 0
    before = (tmp_path / "here" / "run.npz").read_bytes()
    for wrong in (["--rtol", "2"], ["-K", "12"], ["--scale", "0"], ["--t-end", "1e999999999"]):
        assert command(["run", "--no-plot", "--out", "here", *wrong]) == 2
        assert (tmp_path / "here" / "run.npz").read_bytes() == before


# found a bug: cli.main: catch MemoryError too; lift: _require_room(K, width)
def test_a_width_that_no_memory_holds(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert command(["compare", "--no-plot", "--width", "99999999999"]) == 2


# found a bug: cli._certificates takes rows[0] of a run that has none
def test_a_scale_that_does_not_move(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert command(["run", "--no-plot", "-K", "4", "--scale", "1e290"]) == 2


# found a bug: a quadrature that began 30 e-folds before the first row, which was not enough
def test_a_tiny_start_is_certified():
    run = cf.integrate(cf.SpectralFlow(cf.complete(2)), [5e-291], t_end=1e30)
    assert run.success and run.certificate().passed


# -- wrong results that property tests and certificates found ----------------------------------------------------------


# found a bug: _Run.go: a step beyond the end that also collapses must end the run, not go on to Ray
def test_the_last_step_may_collapse_beyond_the_end():
    """The row at the end is appended twice, the second time with the state of a later time: 9 % off."""
    flow, s0 = cf.SpectralFlow(cf.johnson(5, 2)), np.array([143.65271609, 143.65415608])
    run = cf.integrate(flow, s0, log_t_end=166.0, rtol=1e-10)
    stepped = cf.integrate(flow, s0, log_t_end=166.0, rtol=1e-10, closed_form=False)
    assert np.all(np.diff(run.log_t) > 0.0)
    np.testing.assert_allclose(run.singular_values[-1], stepped.singular_values[-1], rtol=1e-9)


# found a bug: is_collapsed divides by the mean: return False unless > 0
def test_a_mean_of_zero():
    assert cf.integrate(cf.SpectralFlow(cf.hadamard(2)), np.array([[0.0], [1.0]]), 10.0).success


# found a bug: singular_values: 1 / (1 + expm1(2y)) where y is below -18
def test_a_wild_stage():
    """A stage of a step that is about to be rejected."""
    from ceflow.network import coordinates

    start = np.array([[1.0], [0.5]])
    s, gain = np.empty((2, 1))
    coordinates.singular_values(coordinates.constants(start), 0.0, True, np.array([-20.0]), s, gain)
    assert s[0] < 0.0  # (a0 + b0)^2 e^2y - (a0 - b0)^2 e^-2y


# found a bug: `drift` is larger at the start of a long step than at its end, and only the end was looked at
def test_dense_output_inside_a_very_long_step():
    """One step leads from log t = 7.8 to 1532 after the other modes have faded: 156 tolerances at log t = 9."""
    start = np.array([-2.23474927e-01, -1.55242092e-07, 0.0, 1.39553976e-09])
    coarse, fine = (
        cf.integrate(cf.SpectralFlow(cf.cyclic(8)), start, log_t_end=9.0, rtol=rtol) for rtol in (1e-6, 1e-11)
    )
    np.testing.assert_allclose(coarse.singular_values[-1, 3], fine.singular_values[-1, 3], rtol=1e-5)


EMPTY = "_Run.step: collect_rows(...) only if n > 0; a block that came back empty has no step to sample"


# found a bug: see EMPTY
def test_any_number_of_steps():
    """A run whose steps fill the last block exactly: the first one ends with step 32, the second with step 96."""
    knots = cf.integrate(FLOW, S0, log_t_end=1e4, closed_form=False)._path.segments[0].log_t
    for steps in (32, 96):
        end = 0.5 * (knots[steps - 1] + knots[steps])
        run = cf.integrate(FLOW, S0, log_t_end=end, closed_form=False)
        assert run.nsteps == steps and run.log_t[-1] == end and np.all(np.diff(run.log_t) > 0.0)


# found a bug: see EMPTY
def test_progress_of_the_full_flow(capsys):
    """With a progress bar blocks are one step long, so that the last one is always empty."""
    assert cf.integrate(cf.MatrixFlow(), FLOW.lift(S0), 10.0, progress=True).success


# found a bug: layers_at: (a + b) sinh(y) is 0 * inf where a mode has faded by e^-710
def test_layers_of_a_mode_that_has_faded_far():
    for start in (-0.1, -0.2, -0.3, -1.0, -3.0, -10.0, -30.0, -100.0):
        run = cf.integrate(cf.SpectralFlow(cf.hadamard(2)), np.array([start]), log_t_end=10.0, rtol=1e-3)
        with np.errstate(all="ignore"):
            assert np.isfinite(run.layers).all()
