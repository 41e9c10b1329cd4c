"""Seeded faults: whatever is wrong in a scheme, a loss, a network, the clock, the stepper or the dense output is found
by a certificate or by the comparison of reduced with full flow, or stands here with the reason why it cannot be.

Compiled kernels have their constants inside, so all faults run as plain Python, one after another in one process.
"""

import contextlib
import dataclasses
import importlib
import json
import math
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

FOLLOWS, TOGETHER = "layers follow the equations", "accumulated error of all steps"
SCHEME, REPORTED, LAYERS = "scheme agrees with its definition", "loss is as reported", "singular values are as reported"
START, ROWS, END = "starts at its start", "rows agree with the dense output", "reached the end of the time span"
CONSERVED, FALLS = "a^2 - b^2 conserved", "V decreases by its dissipation"
V, DISSIPATION = "V is as reported", "dissipation is as reported"
FULL, OFF, LOSS = "comparison: logits", "comparison: off the scheme", "comparison: loss"


class Fault(NamedTuple):
    """What is changed, how, in which run, and which checks find it (any of them)."""

    name: str
    target: str  # "module:attribute", or "module:class.attribute"
    change: Callable[[Any], Any]  # from what is there to what is put in its place
    probe: str
    caught: tuple[str, ...]


# -- how things are changed --------------------------------------------------------------------------------------------


def times(factor):
    """A number or an array, or what a function returns, times a factor."""
    return lambda old: (lambda *a, **k: factor * old(*a, **k)) if callable(old) else factor * old


def entry(index, change):
    """One entry of an array, or of what a function returns."""

    def changed(array):
        array = np.array(array)
        array[index] = change(array[index])
        return array

    return lambda old: (lambda *a, **k: changed(old(*a, **k))) if callable(old) else changed(old)


def returns(change):
    """What a function returns."""
    return lambda old: lambda *a, **k: change(old(*a, **k))


def writes(position, change):
    """What a function writes into its argument at this position."""

    def wrap(old):
        def wrapped(*arguments):
            result = old(*arguments)
            arguments[position][:] = change(arguments[position])
            return result

        return wrapped

    return wrap


def argument(position, change):
    """One argument of a function."""
    return lambda old: lambda *a: old(*(change(x) if i == position % len(a) else x for i, x in enumerate(a)))


def prop(change):
    """The same for a property, cached or not."""
    return lambda old: property(lambda self: change(getattr(old, "fget", None) or old.func)(self))


def with_sizes(name, index):
    """A scheme one of whose valencies or multiplicities is one more."""

    def change(scheme):
        sizes = getattr(scheme, name).copy()
        sizes[index] += 1.0
        return dataclasses.replace(scheme, **{name: sizes})

    return returns(change)


def part_of_method(name, index):
    """One number of a tableau, or of what is made of it."""
    return returns(lambda method: method._replace(**{name: entry(index, slightly)(getattr(method, name))}))


# -- where the parts of the solver are ---------------------------------------------------------------------------------

FIELD, STEPPING, CLOCK = "ceflow.flow.modes_field", "ceflow.solve.stepping", "ceflow.solve.clock"
STEP = 12  # row of the tableau that is the solution


def tenth(x):
    return 1.1 * x


def slightly(x):
    return x + 1e-4


def first_more(out, factor=1.1):
    return np.concatenate([out[:1] * factor, out[1:]])


FAULTS = [
    # schemes
    Fault("gap of cyclic", "ceflow.symmetry._cyclic:_Cyclic._gaps", entry((1, 2), tenth), "cyclic", (SCHEME, FOLLOWS)),
    Fault("gap of cyclic, focal loss", "ceflow.symmetry._cyclic:_Cyclic._gaps", entry((1, 2), tenth), "cyclic focal",
          (FOLLOWS,)),
    Fault("gap of hamming", "ceflow.symmetry._hamming:_Hamming._eigenvalues", entry((1, 1), lambda p: p - 1), "hamming",
          (SCHEME, FOLLOWS)),
    Fault("gap of complete", "ceflow.symmetry._hamming:_Hamming._eigenvalues", entry((1, 1), lambda p: p - 1),
          "complete", (SCHEME, FOLLOWS)),
    Fault("gap of johnson", "ceflow.symmetry._johnson:_Johnson._eigenvalues", entry((2, 1), lambda p: p + 1), "johnson",
          (SCHEME, FOLLOWS)),
    Fault("gap of from_relations", "ceflow.symmetry._relations:_FromRelations._gaps", entry((2, 1), tenth), "relations",
          (SCHEME, FOLLOWS)),
    Fault("transform of hadamard", "ceflow.symmetry._hadamard:transform",
          lambda old: lambda x: (old(x), x.__setitem__(1, 1.1 * x[1]))[0], "hadamard", (SCHEME, FOLLOWS)),
    Fault("velocity of the flow", f"{FIELD}:_plain_rates.function", writes(4, first_more), "hadamard", (FOLLOWS,)),
    Fault("multiplicity", "ceflow:cyclic", with_sizes("multiplicities", 1), "cyclic", (SCHEME,)),
    Fault("valency", "ceflow:cyclic", with_sizes("valencies", 2), "cyclic", (SCHEME,)),
    Fault("relations", "ceflow.symmetry._johnson:_Johnson._relations", returns(lambda labels: (3 - labels) % 3),
          "johnson", (SCHEME, FOLLOWS)),
    Fault("basis", "ceflow.symmetry._cyclic:_Cyclic._eigenvectors", returns(lambda q: q[:, [0, 3, 2, 1, 4]]),
          "compared", (FULL, OFF)),
    # losses
    Fault("residual of cross-entropy", f"{FIELD}:scaled_odds", writes(3, first_more), "hadamard", (FOLLOWS,)),
    Fault("scale of cross-entropy", f"{FIELD}:scaled_odds", returns(lambda total: 1.001 * total),
          "hadamard", (FOLLOWS, TOGETHER)),
    Fault("residual of squared error", "ceflow.losses:SquaredError.residual.function", writes(3, first_more), "squared",
          (FOLLOWS,)),
    Fault("share of label smoothing", "ceflow.losses:LabelSmoothing.residual.function", argument(5, lambda K: K + 1.0),
          "smoothing", (FOLLOWS,)),
    Fault("scale of focal loss", "ceflow.losses:Focal.residual.function", argument(0, lambda p: p + 0.01),
          "cyclic focal",
          (FOLLOWS,)),
    Fault("parameter", "ceflow.losses:LabelSmoothing.packed", prop(times(1.1)), "smoothing", (FOLLOWS,)),
    Fault("residual of the full flow", "ceflow.flow.terms:full_residual",
          writes(1, lambda G: G + 1e-4 * G[::-1]), "full",
          (FOLLOWS,)),
    Fault("scale of the full flow", "ceflow.flow.terms:full_residual",
          returns(lambda out: (out[0] + 1e-3, out[1])), "full",
          (FOLLOWS, TOGETHER)),
    Fault("value of cross-entropy", "ceflow.losses:CrossEntropy.log_value", returns(lambda x: x + 1e-9), "hadamard",
          (REPORTED,)),
    Fault("value of focal loss", "ceflow.losses:Focal.log_value", times(1.0 + 1e-9), "cyclic focal", (REPORTED,)),
    Fault("value of label smoothing", "ceflow.losses:LabelSmoothing.log_value", times(1.001), "smoothing", (REPORTED,)),
    Fault("value of squared error", "ceflow.losses:SquaredError.log_value", returns(lambda x: x + 1e-9), "squared",
          (REPORTED,)),
    # networks
    Fault("product of two layers", "ceflow.network.coordinates:pair", returns(lambda out: (1.001 * out[0], out[1])),
          "unbalanced",
          (LAYERS,)),
    Fault("constant that makes modes grow", "ceflow.flow.spectral:coordinates.constants", entry((1, 0), tenth),
          "unbalanced",
          (LAYERS, FOLLOWS)),
    Fault("constant of further layers", "ceflow.flow.spectral:coordinates.constants", entry((3, 0), tenth),
          "deep unbalanced",
          (LAYERS, FOLLOWS)),
    Fault("product of further layers", "ceflow.network.coordinates:remaining_product", times(1.01), "deep unbalanced",
          (LAYERS, FOLLOWS)),
    Fault("exponent of depth", "ceflow.flow.spectral:coordinates.equal_pairs", returns(lambda x: x + 0.01), "deep",
          (LAYERS,)),
    Fault("conserved quantity", "ceflow.network.coordinates:layers_at",
          returns(lambda w: np.stack([w[..., 0, :] * 1.001, w[..., 1, :] / 1.001], axis=-2)), "unbalanced",
          (START, CONSERVED)),
    Fault("layers", "ceflow.network.coordinates:layers_at", argument(1, lambda y: 1.001 * y), "unbalanced",
          (LAYERS, FOLLOWS)),
    Fault("weight decay", "ceflow.flow.spectral:modes_field",
          lambda old: lambda *a, **k: old(*a, **k | {"decay": 1.1 * k["decay"]}), "decay", (FOLLOWS,)),
    # time
    Fault("unit of time", "ceflow.flow.spectral:log_time_unit", returns(lambda x: x + 0.01), "hadamard", (FOLLOWS,)),
    Fault("unit of time of the full flow", "ceflow.flow.objective:Objective.log_unit", returns(lambda x: x + 0.01),
          "full",
          (FOLLOWS,)),
    Fault("interpolation of the clock", f"{STEPPING}:method", part_of_method("to_chebyshev", (1, 3)), "late",
          (FOLLOWS, ROWS)),
    Fault("quadrature of the clock", f"{CLOCK}:WEIGHTS", entry(5, slightly), "late", (FOLLOWS, TOGETHER, ROWS)),
    Fault("time of plain steps", f"{CLOCK}:stage_quadrature", returns(lambda out: (1.001 * out[0], out[1])), "hadamard",
          (FOLLOWS, TOGETHER)),
    Fault("rate of time", f"{FIELD}:_plain_rates.function", returns(lambda phi: phi + 1e-3), "hadamard",
          (FOLLOWS, TOGETHER)),
    Fault("sum of times", f"{CLOCK}:log_sum", returns(lambda x: x + 1e-3), "hadamard", (FOLLOWS, TOGETHER, ROWS)),
    # stepper and dense output
    Fault("weight of the solution", f"{STEPPING}:method", part_of_method("weights", (STEP, 5)), "hadamard",
          (FOLLOWS, TOGETHER)),
    Fault("coefficient of a stage", f"{STEPPING}:method", part_of_method("weights", (7, 4)), "hadamard",
          (FOLLOWS, TOGETHER, END)),
    Fault("estimate of the error", f"{STEPPING}:method",
          returns(lambda m: m._replace(estimates=1e-9 * m.estimates)), "hamming", (FOLLOWS,)),
    Fault("dense output", f"{STEPPING}:method", part_of_method("interpolant", (3, 5)), "hadamard", (FOLLOWS,)),
    Fault("ends of dense output", f"{STEPPING}:method", part_of_method("interpolant", (0, 5)), "hadamard",
          (FOLLOWS, ROWS)),
    Fault("place in a step", f"{STEPPING}:place_of", returns(lambda x: min(x + 1e-3, 1.0)), "hadamard", (FOLLOWS,)),
    # closed forms
    Fault("tail of the ray", "ceflow.flow.ray:theory.deviation_decay", returns(lambda x: x**2), "ray",
          (FOLLOWS, FALLS)),
    Fault("the ray", "ceflow.flow.ray:theory.ray_singular_value", times(1.001), "ray", (FOLLOWS, TOGETHER)),
    Fault("the ray taken too early", f"{FIELD}:_plain_event.function", argument(-1, lambda rtol: 1e8 * rtol),
          "nearly a ray", (FOLLOWS,)),
    # between modes and matrices
    Fault("lift", "ceflow.flow:SpectralFlow.lift", returns(lambda out: (1.001 * out[0], out[1])), "compared",
          (FULL,)),
    Fault("projection", "ceflow.flow:SpectralFlow.project", returns(lambda out: (out[0], out[1] + 0.01)),
          "compared", (OFF,)),
    # reports
    Fault("reported loss", "ceflow.trajectory:SpectralTrajectory.log_loss", prop(returns(slightly)), "hadamard",
          (REPORTED,)),
    Fault("reported loss of the full flow", "ceflow.trajectory:MatrixTrajectory.log_loss", prop(returns(slightly)),
          "full", (REPORTED,)),
    Fault("V", "ceflow.observables._reduced:functions.lyapunov", times(1.001), "hadamard", (V,)),
    Fault("V of the full flow", "ceflow.observables._full:of_logits", times(1.001), "full", (V,)),
    Fault("dissipation", "ceflow.observables._reduced:functions.dissipation", times(1.001), "hadamard", (DISSIPATION,)),
]  # fmt: skip

UNCAUGHT = {
    "step control": (
        Fault("", "ceflow.solve.controller:GROWTH", times(0.9), "hadamard", ()),
        "how long steps are is a matter of speed: the error of each is still estimated",
    ),
    "safety": (
        Fault("", "ceflow.solve.controller:SAFETY", times(0.9), "hadamard", ()),
        "the same",
    ),
    "first step": (
        Fault("", "ceflow._run:FIRST_STEP", times(0.5), "hadamard", ()),
        "the same",
    ),
    "clock": (
        Fault("", f"{FIELD}:_sum_of_squares", times(1.01), "hadamard", ()),
        "any rate of the clock that is known solves the same equations",
    ),
    "norm of errors": (
        Fault("", f"{FIELD}:_plain_norm.function", times(1e-9), "hamming", ()),
        "the clock's estimate for the same steps keeps them short enough; without both the error shows, see FAULTS",
    ),
    "reported imbalance": (
        Fault("", "ceflow.network.coordinates:conserved", times(1.1), "unbalanced", ()),
        "the run is right: certificates take the imbalance from the layers, and tests of networks see the report",
    ),
    "user's relations": (
        Fault("", "ceflow:from_relations", argument(0, lambda labels: (3 - labels) % 3), "relations", ()),
        "they are the definition: any valid ones make a right run of another scheme",
    ),
}


# -- the runs, as plain Python in a process of their own ---------------------------------------------------------------


def probe(make, *start, t_end=10.0, compared=False, rtol=1e-9, **options):
    """A function that returns the names of all checks that fail."""

    def run():
        import ceflow as cf

        flow = make(cf)
        begin = np.array(start[0]) if len(start) == 1 else np.array(start)
        if isinstance(flow, cf.MatrixFlow):
            begin = cf.random_init(classes=3, width=3, scale=0.8, rng=0)
        traj = cf.integrate(flow, begin, t_end, rtol=rtol, max_steps=60, **options)
        failed = [check.claim for check in traj.certificate().checks if not check.passed]
        if compared:
            full = cf.integrate(cf.MatrixFlow(), flow.lift(begin), t_eval=[1.0, 10.0], rtol=rtol, max_steps=60)
            found = cf.compare(traj, full)
            for name, value in ((FULL, found.error), (OFF, found.off_diagonal), (LOSS, found.loss_error)):
                failed += [name] if not value.max() < 100 * rtol else []
        return failed

    return run


PROBES = {
    "hadamard": probe(lambda cf: cf.SpectralFlow(cf.hadamard(4)), [0.1, 0.2, 0.05]),
    "late": probe(lambda cf: cf.SpectralFlow(cf.hadamard(4)), [0.1, 0.2, 0.05], t_end=1e9),
    "cyclic": probe(lambda cf: cf.SpectralFlow(cf.cyclic(5)), [0.1, 0.3]),
    "cyclic focal": probe(lambda cf: cf.SpectralFlow(cf.cyclic(5), loss="focal"), [0.1, 0.3]),
    "hamming": probe(lambda cf: cf.SpectralFlow(cf.hamming(2, 3)), [0.1, 0.3]),
    "complete": probe(lambda cf: cf.SpectralFlow(cf.complete(5)), [0.1]),
    "johnson": probe(lambda cf: cf.SpectralFlow(cf.johnson(5, 2)), [0.1, 0.3]),
    "relations": probe(lambda cf: cf.SpectralFlow(cf.from_relations(cf.johnson(5, 2).relations())), [0.1, 0.3]),
    "squared": probe(lambda cf: cf.SpectralFlow(cf.cyclic(5), loss="squared_error"), [0.1, 0.3]),
    "smoothing": probe(lambda cf: cf.SpectralFlow(cf.cyclic(5), loss="label_smoothing"), [0.1, 0.3]),
    "unbalanced": probe(lambda cf: cf.SpectralFlow(cf.cyclic(5)), [0.1, 0.3], [0.4, -0.2]),
    "deep": probe(lambda cf: cf.SpectralFlow(cf.cyclic(5), depth=3), [0.1, 0.3]),
    "deep unbalanced": probe(lambda cf: cf.SpectralFlow(cf.cyclic(5), depth=3), [0.1, 0.3], [0.4, 0.2], [0.7, 0.5]),
    "decay": probe(lambda cf: cf.SpectralFlow(cf.cyclic(5), weight_decay=0.01), [0.1, 0.3]),
    "ray": probe(lambda cf: cf.SpectralFlow(cf.cyclic(5)), [3.0, 3.00001], t_end=1e20),
    "nearly a ray": probe(lambda cf: cf.SpectralFlow(cf.cyclic(5)), [3.0, 3.03], t_end=1e3),
    "full": probe(lambda cf: cf.MatrixFlow()),
    "compared": probe(lambda cf: cf.SpectralFlow(cf.cyclic(5)), [0.5, 0.3], compared=True),
}


@contextlib.contextmanager
def seeded(fault):
    """The fault in its place."""
    module, _, path = fault.target.partition(":")
    *owners, name = path.split(".")
    owner = importlib.import_module(module)
    for part in owners:
        owner = getattr(owner, part)
    missing = object()
    raw = vars(owner).get(name, missing)
    old = getattr(owner, name) if not isinstance(raw, property) else raw
    new = fault.change(old)
    setattr(owner, name, staticmethod(new) if isinstance(raw, staticmethod) else new)
    try:
        yield
    finally:
        if raw is missing:
            delattr(owner, name)
        else:
            setattr(owner, name, raw)


def main():
    """Prints which checks fail, for each clean run and each fault."""
    import interpreted

    from ceflow.certify import _definitions, _intervals

    interpreted.supply()
    importlib.import_module(CLOCK).exp = lambda x: math.exp(min(x, 709.0))  # the kernel is slow as plain Python
    _intervals.VOLUME, _intervals.FEWEST = 0, 3 * _intervals.NODES  # as few states as there may be
    results = {}
    for name, run in PROBES.items():
        results[f"clean {name}"] = run()
    every = [(fault.name, fault) for fault in FAULTS] + [(name, fault) for name, (fault, _) in UNCAUGHT.items()]
    for name, fault in every:
        _definitions.definition_of_scheme.cache_clear()
        with seeded(fault):
            try:
                results[name] = PROBES[fault.probe]()
            except Exception as error:
                results[name] = [f"{type(error).__name__}: {error}"]
    print(json.dumps(results))


@pytest.fixture(scope="module")
def results():
    here = Path(__file__).parent
    path = os.pathsep.join([str(here), str(here.parent), os.environ.get("PYTHONPATH", "")])
    environment = os.environ | {"NUMBA_DISABLE_JIT": "1", "PYTHONPATH": path}
    command = [sys.executable, "-W", "ignore", "-c", "import test_mutation; test_mutation.main()"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize("name", PROBES)
def test_without_a_fault_all_checks_pass(results, name):
    assert results[f"clean {name}"] == []


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_faults_are_caught(results, fault):
    assert set(fault.caught) & set(results[fault.name]), results[fault.name]


@pytest.mark.parametrize("name", UNCAUGHT)
def test_what_no_check_can_see(results, name):
    assert results[name] == [], UNCAUGHT[name][1]


def test_there_are_enough_faults_and_each_has_its_name():
    names = [fault.name for fault in FAULTS]
    assert len(names) == len(set(names)) >= 30
