"""Certificates: sound runs of every kind pass, and every corruption is found by a check that is named here."""

import copy
import json
import math

import numpy as np
import pytest

import ceflow as cf
from benchmarks._exact import Modes, Solution
from ceflow.certify import FAILED, SKIPPED, Certificate, _intervals, certify
from ceflow.certify._definitions import SchemeByDefinition

FLOW = cf.SpectralFlow(cf.hadamard(8))
S0 = 1e-3 * np.random.default_rng(0).uniform(0.1, 1.0, 7)


def statuses(certificate):
    return {check.claim: check.status for check in certificate.checks}


def failures(certificate):
    return {check.claim for check in certificate.checks if not check.passed}


# -- sound runs pass ---------------------------------------------------------------------------------------------------

HADAMARD, CYCLIC = cf.hadamard(4), cf.cyclic(5)
SOUND = {
    "balanced": (FLOW, S0, {"t_end": 1e300}),
    "coarse": (FLOW, S0, {"t_end": 1e100, "rtol": 1e-2}),
    "fine": (FLOW, S0, {"t_end": 1e100, "rtol": 1e-13}),
    "a closed form": (cf.SpectralFlow(HADAMARD), np.array([1e-3, 2e-3, 5e-4]), {"log_t_end": 1e6}),
    "stiff steps": (cf.SpectralFlow(HADAMARD), np.array([1e-3, 2e-3, 5e-4]), {"log_t_end": 1e4, "closed_form": False}),
    "unbalanced": (cf.SpectralFlow(CYCLIC, reduction="sum"), np.array([[0.3, 0.1], [-0.2, 0.5]]), {"t_end": 1e10}),
    "one imbalance": (
        cf.SpectralFlow(CYCLIC),
        np.array([[math.sqrt(0.34), math.sqrt(0.79)], [0.2, 0.7]]),
        {"t_end": 1e9},
    ),
    "dead modes": (cf.SpectralFlow(HADAMARD), np.array([0.1, 0.0, 0.0]), {"log_t_end": 1e5}),
    "at rest": (cf.SpectralFlow(HADAMARD), np.zeros(3), {"t_end": 1e9}),
    "fading modes": (cf.SpectralFlow(HADAMARD), np.array([-0.1, -0.2, -0.3]), {"log_t_end": 1e5}),
    "both": (cf.SpectralFlow(HADAMARD), np.array([0.1, -0.3, 0.2]), {"log_t_end": 300.0}),
    "through zero": (cf.SpectralFlow(HADAMARD), np.array([[0.1, 0.2, 1.0], [0.1, 0.2, -0.999]]), {"t_end": 1e12}),
    "15 decades": (FLOW, np.array([1e3, 1e-12, 1.0, 1e-6, 30.0, 1e-9, 1e2]), {"log_t_end": 2000.0}),
    "no time at all": (FLOW, S0, {"t_end": 1e-9}),
    "given times": (FLOW, S0, {"t_eval": [0.0, 1.0, 1e5]}),
    "rows only": (FLOW, S0, {"t_eval": np.logspace(-3, 5, 50), "dense_output": False}),
    "rows only, depth 2.5": (
        cf.SpectralFlow(HADAMARD, depth=2.5),
        [0.1, 0.2, 0.3],
        {"t_eval": [1.0, 5.0, 9.0], "dense_output": False},
    ),
    "one row": (FLOW, S0, {"t_eval": [1.0], "dense_output": False}),
    "until collapse": (FLOW, S0, {"until": cf.collapsed(1e-6)}),
    "a thousand classes": (cf.SpectralFlow(cf.hadamard(1024)), np.linspace(1e-4, 1e-3, 1023), {"t_end": 1e300}),
    "full": (cf.MatrixFlow(), FLOW.lift(S0), {"t_end": 1e6}),
    "full, random": (
        cf.MatrixFlow(reduction="sum"),
        cf.random_init(classes=5, width=3, scale=0.5, rng=0),
        {"t_end": 1e4},
    ),
    "full, at rest": (cf.MatrixFlow(), (np.zeros((3, 2)), np.zeros((2, 3))), {"t_end": 1.0}),
}


@pytest.mark.parametrize("kind", SOUND)
def test_sound_runs_pass(kind):
    flow, start, options = SOUND[kind]
    run = cf.integrate(flow, start, **options)
    certificate = certify(run)
    assert certificate.passed and bool(certificate), str(certificate)
    assert max(map(len, str(certificate).splitlines())) <= 80
    assert json.loads(json.dumps(certificate.to_dict()))["passed"] is True
    if options.get("dense_output", True):
        assert 0.0 <= certificate.error_estimate <= 10 * run.rtol
    for check in certificate.checks:
        assert check.status != SKIPPED or check.note


def test_what_applies_and_what_does_not():
    balanced = statuses(certify(cf.integrate(FLOW, S0, 1e9)))
    assert SKIPPED not in balanced.values() and "geometric mean grows as predicted" in balanced
    unequal = certify(cf.integrate(cf.SpectralFlow(CYCLIC), np.array([[0.3, 0.1], [0.2, 0.5]]), 1e9))
    assert unequal["V never increases"].note == "false in general for imbalances that differ between modes"
    common = statuses(certify(cf.integrate(*SOUND["one imbalance"][:2], 1e9)))
    assert common["V_c never increases"] == common["V_c decreases by its dissipation"] == "passed"
    full = certify(cf.integrate(cf.MatrixFlow(), FLOW.lift(S0), 1e3))
    assert full["W'W - HH' conserved"].status == "passed" and full["V never increases"].status == SKIPPED
    assert full["V changes by its dissipation"].status == "passed"
    narrow = certify(cf.integrate(cf.MatrixFlow(), cf.random_init(classes=6, width=3, scale=0.5, rng=0), 10.0))
    assert narrow["V changes by its dissipation"].note.startswith("one of the K - 1 singular values is 0")
    early = certify(cf.integrate(FLOW, S0, 1.0)[:1])
    assert early.passed and early["loss below its bound"].note == "there is no row after t = 0"
    negative = certify(cf.integrate(cf.SpectralFlow(CYCLIC), np.array([[0.5, 0.5], [-0.4, -0.4]]), 1e-3))
    assert negative.passed and negative["V_c never increases"].note == "the mean singular value is not positive yet"
    rows = certify(cf.integrate(FLOW, S0, t_eval=[1.0, 2.0], dense_output=False))
    assert rows["layers follow the equations"].note == "there is no dense output"
    assert math.isnan(rows.error_estimate) and rows.to_dict()["error_estimate"] is None
    with pytest.raises(KeyError):
        rows["no such check"]


ESTIMATED = {
    "plain": (cf.SpectralFlow(CYCLIC), [1e-3, 3e-4], 690.0),
    "merged": (cf.SpectralFlow(HADAMARD), [0.1, 0.2, 0.3], 100.0),
    "deep, small": (cf.SpectralFlow(CYCLIC, depth=4), [1e-3, 3e-4], 30.0),
    "real depth": (cf.SpectralFlow(CYCLIC, depth=2.5, loss="focal"), [0.1, 0.03], 60.0),
    "decay": (cf.SpectralFlow(CYCLIC, depth=3, weight_decay=1e-4), [0.1, 0.3], 30.0),
    "smoothing": (cf.SpectralFlow(cf.hamming(2, 3), loss="label_smoothing", depth=5), [3.9, 1.8], 18.0),
    "through zero": (cf.SpectralFlow(CYCLIC), [[0.1, 1.0], [0.2, -0.99]], 30.0),
    "fading": (cf.SpectralFlow(CYCLIC), [0.1, -0.3], 60.0),
}


@pytest.mark.parametrize("kind", ESTIMATED)
def test_the_estimate_is_that_of_the_error(kind):
    """Relative to singular values, or how far they move while time changes by its own size."""
    flow, start, end = ESTIMATED[kind]
    for rtol in (1e-4, 1e-9):
        run = cf.integrate(flow, np.array(start), log_t_end=end, rtol=rtol)
        knots = run.log_t[1:][:: max(1, len(run) // 30)]
        log_t = np.unique(np.concatenate([knots, knots - 0.02, [end]]))
        exact = Solution(Modes(flow, np.array(start)), end).at(log_t)
        errors = np.abs(run.at(log_t=log_t).singular_values - exact[0]) / (exact[1] + np.abs(exact[2]))
        error = float(np.where(exact[1] > 1e-200, errors, 0.0).max())
        certificate = certify(run)
        assert certificate.passed and error <= certificate.error_estimate <= 30.0 * max(error, 0.1 * rtol)


LARGE = {  # of more numbers than directions of errors, to a log time
    "blocks": (cf.SpectralFlow(cf.direct_sum(cf.complete(3), cf.complete(2))), 0.3, 4.0),
    "blocks, deep": (cf.SpectralFlow(cf.direct_sum(cf.cyclic(4), 1), depth=3), 0.5, 3.0),
    "blocks, decay": (cf.SpectralFlow(cf.subsets(4, (1, 2)), class_fibres=0, weight_decay=1e-2), 0.5, 8.0),
    "matrices": (cf.MatrixFlow(depth=3), 0.3, 4.0),
}


@pytest.mark.parametrize("kind", LARGE)
def test_the_estimate_is_that_of_the_error_of_many_numbers(kind):
    """Of all of them together; exact is a run of full matrices at a tight tolerance."""
    flow, scale, end = LARGE[kind]
    if isinstance(flow, cf.MatrixFlow):
        start = factors = cf.random_init(classes=4, width=3, scale=scale, depth=3, rng=1)
        exact = cf.integrate(flow, factors, log_t_end=end, rtol=1e-13)
    else:
        start = flow.random_start(scale, rng=1)
        exact = cf.integrate(flow.full(), flow.lift(start), log_t_end=end, rtol=1e-13)
    for rtol in (1e-4, 1e-8):
        run = cf.integrate(flow, start, log_t_end=end, rtol=rtol)
        certificate = certify(run)
        log_t = np.unique(np.append(np.linspace(-2.0, end - 0.01, 40), run.log_t[1:-1]))
        found = run if isinstance(flow, cf.MatrixFlow) else run.lifted()
        right, later = exact.at(log_t=log_t).y, exact.at(log_t=log_t + 1e-5).y
        size = np.linalg.norm(right, axis=1) + 1e5 * np.linalg.norm(later - right, axis=1)
        error = float((np.linalg.norm(found.at(log_t=log_t).y - right, axis=1) / size).max())
        assert certificate.passed and error <= certificate.error_estimate <= 30.0 * max(error, 0.01 * rtol)


EQUILIBRIA = {
    "weak decay, long after": (
        cf.SpectralFlow(cf.hadamard(8), reduction="sum", weight_decay=3e-6), 1e-6 * np.arange(2.0, 9.0), 1400.0,
    ),
    "modes that fade to nothing": (
        cf.SpectralFlow(cf.johnson(5, 2), loss="focal", weight_decay=2e-6), np.array([-1.2e-6, -9e-7]), 230.0,
    ),
    "smoothing and decay of unequal layers": (
        cf.SpectralFlow(cf.complete(2), loss="label_smoothing", depth=3, weight_decay=1e-9),
        np.array([[0.3], [0.6], [0.9]]), 1000.0,
    ),
}  # fmt: skip


@pytest.mark.parametrize("rtol", [1e-4, 1e-8, 1e-12])
@pytest.mark.parametrize("kind", EQUILIBRIA)
def test_equilibria_are_not_failed(kind, rtol):
    flow, start, end = EQUILIBRIA[kind]
    certificate = certify(cf.integrate(flow, start, log_t_end=end, rtol=rtol))
    assert certificate.passed and certificate.error_estimate < 3 * rtol, str(certificate)


@pytest.mark.parametrize("rtol", [1e-6, 1e-12])
def test_deep_networks_from_small_layers_are_not_failed(rtol):
    """Singular values from 1e-12 grow at once, and then change much while time changes by its rounding."""
    start = 1e-2 * np.ones((6, 1)) * np.array([1.0, 0.9, 0.8])
    certificate = certify(cf.integrate(cf.SpectralFlow(HADAMARD, depth=6), start, log_t_end=30.0, rtol=rtol))
    assert certificate.passed and certificate.error_estimate < 3 * rtol, str(certificate)


def test_a_run_that_is_over_at_once_is_not_failed():
    run = cf.integrate(FLOW, np.ones(7), until=cf.collapsed(1e-6))
    assert len(run) == 1 and run.log_t_end == -math.inf and certify(run).passed, str(certify(run))


@pytest.mark.parametrize(("wrong", "verdict"), [(0.0, True), (5.0, True), (12.0, False)])
def test_twelve_tolerances_are_too_much(wrong, verdict):
    """At the equilibrium, exp(s) = 1 / decay - 1, of another decay; and from a knot of a run on."""
    rtol, decay = 1e-8, 0.01
    s = math.log(1.0 / decay - 1.0)
    flow = cf.SpectralFlow(cf.complete(2), weight_decay=decay)
    other = cf.SpectralFlow(cf.complete(2), weight_decay=decay * (1.0 - wrong * rtol * s * (1.0 - decay)))
    run = corrupt(cf.integrate(other, [0.1], log_t_end=30.0, rtol=rtol), flow=flow)
    assert certify(run).passed == verdict
    if not verdict:
        assert {"layers follow the equations", "accumulated error of all steps"} & failures(certify(run))
    shifted = with_knots(reduced(rtol=rtol), lambda knots: knots.y[-2:].__iadd__(0.5 * wrong * rtol))
    assert certify(shifted).passed == verdict, str(certify(shifted))


def test_an_absolute_tolerance_counts_where_the_run_knows_it():
    run = cf.integrate(cf.SpectralFlow(cf.hadamard(16)), 10.0 ** -np.arange(0, 15), 1e4, rtol=1e-10, atol=1e-4)
    assert run.atol == 1e-4 and certify(run).passed


def test_only_trajectories():
    with pytest.raises(TypeError, match="certify takes a trajectory, got int"):
        certify(3)


# -- corrupt runs fail -------------------------------------------------------------------------------------------------


@pytest.fixture
def hasty(monkeypatch):
    """A run that fails is looked at as closely as there is time for; it is found wrong by a tenth of that."""
    monkeypatch.setattr(_intervals, "SAMPLES", _intervals.SAMPLES // 10)


def reduced(**options):
    return cf.integrate(FLOW, S0, 1e30, **options)


def full(**options):
    return cf.integrate(cf.MatrixFlow(), FLOW.lift(S0), 1e6, **options)


def corrupt(run, **changes):
    """A copy of a run with other attributes."""
    out = copy.copy(run)
    out.__dict__ = {name: value for name, value in vars(run).items() if name not in ("singular_values", "margins")}
    out._path = copy.deepcopy(run._path)
    for name, value in changes.items():
        setattr(out, name, value)
    return out


def with_rows(run, change):
    y = run.y.copy()
    change(y)
    return corrupt(run, y=y)


def with_knots(run, change):
    """The dense output itself is changed, and the rows follow it."""
    out = corrupt(run)
    segment = next(segment for segment in out._path.segments if segment.kind == "steps")
    segment.y, segment.log_t = segment.y.copy(), segment.log_t.copy()
    change(segment)
    out.y = out._path.sample(out.log_t)
    return out


def perturb(y):
    y[10] += 1e-6


def swap(y):
    y[[10, 11]] = y[[11, 10]]


def spoil(y):
    y[5, 0] = np.nan


ROUGH = 1.0 + 1e-6 * np.random.default_rng(0).standard_normal(2 * 8 * 8)

CORRUPTIONS = {
    "a row off by 1e-6": (lambda: with_rows(reduced(), perturb), "rows agree with the dense output"),
    "rows swapped": (lambda: with_rows(reduced(), swap), "rows agree with the dense output"),
    "a NaN": (lambda: with_rows(reduced(), spoil), "rows are in order"),
    "times swapped": (lambda: corrupt(reduced(), log_t=reduced().log_t[::-1].copy()), "rows are in order"),
    "no rows": (lambda: corrupt(reduced(), log_t=np.empty(0), y=np.empty((0, 7))), "rows are in order"),
    "no tolerance": (lambda: corrupt(reduced(), rtol=math.nan), "rows are in order"),
    "rows beyond the end": (lambda: corrupt(reduced(), log_t_end=3.0), "rows are in order"),
    "rows only, swapped": (
        lambda: with_rows(cf.integrate(FLOW, S0, t_eval=np.logspace(-3, 5, 50), dense_output=False), swap),
        "loss never increases",
    ),
    "rows only, swapped, singular values": (
        lambda: with_rows(cf.integrate(FLOW, S0, t_eval=np.logspace(-3, 5, 50), dense_output=False), swap),
        "singular values never decrease",
    ),
    "another start": (lambda: corrupt(reduced(), start=S0[::-1].copy()), "layers follow the equations"),
    "a mode moved back": (lambda: with_knots(reduced(), lambda knots: knots.y[20:, 0].__isub__(0.3)),
                          "V never increases"),
    "a step off by 1e-6": (
        lambda: with_knots(reduced(), lambda knots: knots.y[20].__iadd__(np.linspace(-1e-6, 1e-6, 7))),
        "layers follow the equations",
    ),
    "all later steps off": (
        lambda: with_knots(reduced(), lambda knots: knots.y[12:, 3].__iadd__(1e-4)),
        "V decreases by its dissipation",
    ),
    "all later steps off, geometric mean": (
        lambda: with_knots(reduced(), lambda knots: knots.y[12:, 3].__iadd__(1e-4)),
        "geometric mean grows as predicted",
    ),
    "a false tolerance": (
        lambda: corrupt(cf.integrate(FLOW, S0, 1e30, rtol=1e-3), rtol=1e-12), "layers follow the equations"
    ),
    "a false tolerance, in all": (
        lambda: corrupt(cf.integrate(FLOW, S0, 1e30, rtol=1e-3), rtol=1e-12), "accumulated error of all steps"
    ),
    "another unit of time": (
        lambda: corrupt(reduced(), flow=cf.SpectralFlow(cf.hadamard(8), reduction="sum")), "layers follow the equations"
    ),
    "another scheme": (
        lambda: corrupt(reduced(), flow=cf.SpectralFlow(cf.cyclic(15))), "layers follow the equations"
    ),
    "time runs late": (
        lambda: with_rows(
            corrupt(cf.integrate(FLOW, S0, t_eval=np.logspace(-3, 5, 50), dense_output=False),
                    log_t=np.log(np.logspace(-3, 5, 50)) + 5.0, log_t_end=20.0), lambda y: None
        ),
        "geometric mean above its bound",
    ),
    "time runs late, loss": (
        lambda: corrupt(cf.integrate(FLOW, S0, t_eval=np.logspace(-3, 5, 50), dense_output=False),
                        log_t=np.log(np.logspace(-3, 5, 50)) + 30.0, log_t_end=50.0),
        "loss below its bound",
    ),
    "not at the end": (lambda: cf.integrate(FLOW, S0, 1e30, max_steps=5), "reached the end of the time span"),
    "full: a step off": (
        lambda: with_knots(full(), lambda knots: knots.y[8, 3:9].__iadd__(1e-5)), "layers follow the equations"
    ),
    "full: W'W - HH'": (
        lambda: with_knots(full(), lambda knots: knots.y[8:, 3:9].__iadd__(1e-3)), "W'W - HH' conserved"
    ),
    "full: V": (lambda: with_knots(full(), lambda knots: knots.y[8:].__imul__(ROUGH)), "V changes by its dissipation"),
    "full: a row off": (lambda: with_rows(full(), lambda y: y[8].__iadd__(1e-6)), "rows agree with the dense output"),
    "full: a false tolerance": (lambda: corrupt(full(rtol=1e-3), rtol=1e-12), "layers follow the equations"),
    "full: another start": (lambda: corrupt(full(), start=tuple(1.1 * x for x in full().start)), "starts at its start"),
    "full: another unit of time": (
        lambda: corrupt(full(), flow=cf.MatrixFlow(reduction="sum")), "layers follow the equations"
    ),
    "full: time reversed": (
        lambda: corrupt(cf.integrate(cf.MatrixFlow(), FLOW.lift(S0), t_eval=[1.0, 9.0, 50.0], dense_output=False),
                        y=cf.integrate(cf.MatrixFlow(), FLOW.lift(S0), t_eval=[1.0, 9.0, 50.0]).y[::-1].copy()),
        "loss never increases",
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", CORRUPTIONS)
def test_corrupt_runs_fail(kind, hasty):
    make, claim = CORRUPTIONS[kind]
    certificate = certify(make())
    assert not certificate.passed and claim in failures(certificate), str(certificate)
    assert max(map(len, str(certificate).splitlines())) <= 80 and "FAIL" in str(certificate)
    assert json.loads(json.dumps(certificate.to_dict()))["passed"] is False


class Shifted(cf.trajectory.SpectralTrajectory):
    """Derived quantities that do not follow from the states."""

    spoiled = "log_loss"

    @property
    def log_loss(self):
        return super().log_loss + (1e-9 if self.spoiled == "log_loss" else 0.0)

    @property
    def singular_values(self):
        return super().singular_values * (1.0 + (1e-9 if self.spoiled == "singular_values" else 0.0))

    @property
    def lyapunov(self):
        return super().lyapunov * (1.0 + (1e-6 if self.spoiled == "lyapunov" else 0.0))

    @property
    def dissipation(self):
        return super().dissipation * (1.0 + (1e-6 if self.spoiled == "dissipation" else 0.0))

    @property
    def layers(self):
        layers = super().layers.copy()
        if self.spoiled == "layers":
            late = self.log_t > 1.0
            layers[late, 0] *= 1.0 + 1e-6
            layers[late, 1] /= 1.0 + 1e-6
        if self.spoiled == "start":
            layers *= 1.0 + 1e-9
        return layers


@pytest.mark.parametrize(
    ("spoiled", "claim"),
    [
        ("log_loss", "loss is as reported"),
        ("singular_values", "singular values are as reported"),
        ("lyapunov", "V is as reported"),
        ("dissipation", "dissipation is as reported"),
        ("layers", "a^2 - b^2 conserved"),
        ("start", "starts at its start"),
    ],
)
def test_wrong_quantities_fail(spoiled, claim, monkeypatch, hasty):
    run = reduced()
    monkeypatch.setattr(Shifted, "spoiled", spoiled)
    run.__class__ = Shifted
    assert claim in failures(certify(run))


def test_wrong_forces_fail(monkeypatch, hasty):
    """Forces of the wrong sign, and a softmax that beats Jensen's bound: both only if the definition is broken."""
    run = reduced()
    forces, margins = SchemeByDefinition.forces, SchemeByDefinition.margins
    monkeypatch.setattr(SchemeByDefinition, "forces", lambda self, r: forces(self, r) * np.array([-1.0] + [1.0] * 6))
    assert "forces are positive" in failures(certify(run))
    monkeypatch.setattr(SchemeByDefinition, "forces", forces)
    monkeypatch.setattr(SchemeByDefinition, "margins", lambda self, s: 1.01 * margins(self, s))
    assert "loss above loss at collapse" in failures(certify(run))


def test_a_wrong_scheme_is_found(hasty):
    """One gap of ten percent more: the run solves its own equations, and these are not those of the relations."""
    wrong = cf.cyclic(5)
    gaps = wrong.gaps.copy()
    gaps[0, 1] *= 1.1
    vars(wrong)["gaps"] = gaps
    run = cf.integrate(cf.SpectralFlow(wrong, loss="focal"), np.array([0.1, 0.2]), 1e3)
    right = cf.integrate(cf.SpectralFlow(CYCLIC, loss="focal"), np.array([0.1, 0.2]), 1e3)
    assert np.abs(run.singular_values[-1] / right.singular_values[-1] - 1).max() > 0.01
    assert {"scheme agrees with its definition", "layers follow the equations"} <= failures(certify(run))
    assert certify(right).passed


def test_a_scheme_too_large_for_independent_definitions_is_named(monkeypatch):
    monkeypatch.setattr("ceflow.certify._definitions.MOST_GAPS", 3)
    scheme = SchemeByDefinition(cf.cyclic(9))
    assert scheme.borrowed == "margins and forces are those of the scheme: 4 modes are too many for a matrix"
    np.testing.assert_array_equal(scheme.margins(np.ones((1, 4))), cf.cyclic(9).margins(np.ones((1, 4))))


@pytest.mark.parametrize("sum_of_layers", [1e-3, 1e-5, 1e-7])
def test_singular_values_of_nearly_opposite_layers(sum_of_layers):
    start = np.array([[0.1, 0.2, 1.0], [0.1, 0.2, sum_of_layers - 1.0]])
    certificate = certify(cf.integrate(cf.SpectralFlow(HADAMARD), start, 1e12))
    assert certificate.passed and certificate["singular values are as reported"].value < 1e-14


def test_forces_that_differ_by_more_than_all_digits():
    """Two modes that fade, slowly in three layers, hold a tie: the force on the third falls to 1e-46 of theirs."""
    same = cf.from_relations(HADAMARD.relations())  # without the fast transform, which subtracts
    run = cf.integrate(cf.SpectralFlow(same, depth=3), np.array([0.1, -0.2, -0.3]), log_t_end=100.0, rtol=1e-7)
    assert run.singular_values[-1, 0] == pytest.approx(213.70486722060934, rel=1e-6)
    for scheme in (same, HADAMARD):
        certificate = certify(corrupt(run, flow=cf.SpectralFlow(scheme, depth=3)))
        assert certificate.passed and certificate.error_estimate < 1e-6, str(certificate)


def test_every_check_has_failed_at_least_once():
    claimed = {entry[1] for entry in CORRUPTIONS.values()}
    claimed |= {"loss is as reported", "a^2 - b^2 conserved", "starts at its start", "forces are positive"}
    claimed |= {"loss above loss at collapse", "singular values are as reported", "V is as reported"}
    claimed |= {"dissipation is as reported", "scheme agrees with its definition"}
    known = set()
    for run in (reduced(), full()):
        known |= {check.claim for check in certify(run).checks}
    assert known <= claimed, known - claimed


def test_report(hasty):
    certificate = certify(corrupt(cf.integrate(FLOW, S0, 1e30, rtol=1e-3), rtol=1e-12))
    text = str(certificate)
    assert "FAIL  layers follow the equations" in text and "checks FAILED" in text and "  at t = " in text
    assert isinstance(certificate, Certificate) and "failed" in repr(certificate)
    assert certificate["layers follow the equations"].status == FAILED
    assert certificate["layers follow the equations"].log_t > -math.inf


# -- other losses, depths and decay ------------------------------------------------------------------------------------


@pytest.mark.parametrize("decay", [0.0, 0.01])
@pytest.mark.parametrize("depth", [2, 2.5, 3])
@pytest.mark.parametrize("loss", cf.losses.LOSSES)
def test_other_losses_depths_and_decay(loss, depth, decay, request):
    """To rest, where there is one: that state is held to the tolerance too."""
    flow = cf.SpectralFlow(HADAMARD, loss=loss, depth=depth, weight_decay=decay)
    run = cf.integrate(flow, np.array([0.1, 0.2, 0.05]), 1e30)
    certificate = run.certificate()
    assert certificate.passed and certificate.error_estimate < 1e-7, str(certificate)
    assert certificate["layers follow the equations"].status == "passed"
    assert ("at rest" in run.message) == bool(decay or flow.loss.counterforce)
    assert max(map(len, str(certificate).splitlines())) <= 80
    request.getfixturevalue("hasty")
    wrong = copy.copy(run)  # the equations are those that were asked for
    wrong.flow = cf.SpectralFlow(HADAMARD, loss=loss, depth=depth, weight_decay=decay + 0.003)
    assert "layers follow the equations" in failures(certify(wrong))
    if loss in ("focal", "label_smoothing"):
        other = cf.losses.focal(2.1) if loss == "focal" else cf.losses.label_smoothing(0.11)
        wrong.flow = cf.SpectralFlow(HADAMARD, loss=other, depth=depth, weight_decay=decay)
        assert "layers follow the equations" in failures(certify(wrong))


@pytest.mark.parametrize("decay", [0.0, 0.01])
@pytest.mark.parametrize("depth", [2, 3])
@pytest.mark.parametrize("loss", cf.losses.LOSSES)
def test_layers_of_their_own(loss, depth, decay):
    start = np.random.default_rng(0).uniform(-0.2, 0.9, (depth, 3))
    flow = cf.SpectralFlow(HADAMARD, loss=loss, depth=depth, weight_decay=decay)
    certificate = cf.integrate(flow, start, 300.0).certificate()
    assert certificate.passed, str(certificate)
    law = ("a^2 - b^2" if depth == 2 else "w_k^2 - w_l^2") + (" decays as predicted" if decay else " conserved")
    assert certificate[law].status == "passed"


@pytest.mark.parametrize("loss", ["squared_error", "label_smoothing"])
def test_an_imbalance_goes_on_fading_at_rest(loss):
    start = np.random.default_rng(0).uniform(0.2, 0.9, (2, 3))
    assert cf.integrate(cf.SpectralFlow(HADAMARD, loss=loss, weight_decay=0.01), start, 1e3).certificate().passed


def test_the_end_of_a_plateau():
    """All within 1e-9 of the time, and nothing moves in the interval that begins there: an error is of the time."""
    flow = cf.SpectralFlow(HADAMARD, loss="squared_error", depth=6)
    certificate = cf.integrate(flow, [1.5e-4, 2e-14, 3.3e-6], log_t_end=40.0, rtol=1e-4).certificate()
    assert certificate.passed and certificate.error_estimate < 1e-3, str(certificate)


@pytest.mark.parametrize("decay", [0.0, 0.01])
@pytest.mark.parametrize("depth", [2, 3])
@pytest.mark.parametrize("loss", cf.losses.LOSSES)
def test_full_flows(loss, depth, decay, request):
    flow = cf.MatrixFlow(loss=loss, depth=depth, weight_decay=decay)
    run = cf.integrate(flow, cf.random_init(classes=3, width=4, depth=depth, scale=0.8, rng=0), 1e2, rtol=1e-7)
    certificate = run.certificate()
    assert certificate.passed, str(certificate)
    law = "W'W - HH'" if depth == 2 else "W'W - VV' of neighbours"
    law += " decays as predicted" if decay else " conserved"
    assert certificate[law].status == "passed"
    request.getfixturevalue("hasty")
    wrong = copy.copy(run)
    wrong.flow = cf.MatrixFlow(loss=loss, depth=depth, weight_decay=decay + 0.003)
    assert law not in failures(certificate) and "layers follow the equations" in failures(certify(wrong))


def test_single_precision():
    run = cf.integrate(cf.MatrixFlow(dtype="float32"), FLOW.lift(S0), 1e4, rtol=1e-5)
    assert run.certificate().passed, str(run.certificate())


def test_a_batch_is_refused():
    run = cf.integrate(cf.MatrixFlow(), cf.random_init(classes=3, width=2, batch=4, rng=0), 1.0)
    with pytest.raises(ValueError, match=r"not a batch; got a start of shape \(4, 3, 2\)"):
        run.certificate()


def test_resumed_loaded_and_interrupted_runs(tmp_path):
    run = cf.integrate(FLOW, S0, 10.0, atol=1e-12)
    run.save(tmp_path / "run.npz")
    loaded = cf.load(tmp_path / "run.npz")
    assert loaded.atol == run.atol == loaded[:3].atol == 1e-12
    assert loaded.certificate().to_dict() == run.certificate().to_dict()
    assert cf.resume(loaded, 1e9).certificate().passed
    early = cf.integrate(FLOW, S0, 1e9, max_steps=5).certificate()
    assert failures(early) == {"reached the end of the time span"}


def test_singular_values_of_few_digits_are_not_held_against_v():
    """Below 1e-308 floats have fewer digits, and V of such singular values is known to these only."""
    flow = cf.SpectralFlow(cf.hamming(2, 3), weight_decay=0.117161)
    run = cf.integrate(flow, [0.0791, 0.2588], log_t_end=11.0033, rtol=1e-6)
    assert 0.0 < run.singular_values[-1].min() < 1e-314
    assert run.certificate().passed


def test_singular_values_of_few_digits_are_not_held_against_the_layers():
    """Nor are they the product of the layers to more than these digits."""
    flow = cf.SpectralFlow(cf.cyclic(4), loss="squared_error", reduction="sum")
    run = cf.integrate(flow, [1.83, -2.53], log_t_end=7.0, rtol=1e-8)
    assert 0.0 < np.abs(run.singular_values[-1]).min() < 1e-310
    assert run.certificate().passed
