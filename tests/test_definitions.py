"""Independent definitions of schemes and losses, with which results are judged."""

import ast
import math
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from scipy.integrate import solve_ivp

import ceflow as cf
from ceflow.reference import _derivation, definitions
from ceflow.reference._stated import STATED
from ceflow.reference.definitions import LossDefinition, relation_algebra, relation_gaps, scheme_definition

mpmath = pytest.importorskip("mpmath")


# -- schemes -----------------------------------------------------------------------------------------------------------

SCHEMES = [
    cf.hadamard(2), cf.hadamard(16), cf.cyclic(2), cf.cyclic(9), cf.cyclic(64), cf.complete(7), cf.hamming(3, 4),
    cf.johnson(8, 3), cf.from_relations(cf.cyclic(7).relations()), cf.from_relations(cf.hadamard(16).relations()),
]  # fmt: skip


@pytest.mark.parametrize("scheme", SCHEMES, ids=str)
def test_relations_say_everything(scheme):
    """Not even the other attributes are there."""
    bare = SimpleNamespace(kind=scheme.kind, name=scheme.name, classes=scheme.classes, relations=scheme.relations)
    algebra = relation_algebra(bare)
    np.testing.assert_array_equal(algebra.valencies, scheme.valencies[1:])
    np.testing.assert_array_equal(algebra.multiplicities, scheme.multiplicities[1:])
    np.testing.assert_allclose(algebra.gaps, scheme.gaps, rtol=4e-15, atol=0)


@pytest.mark.parametrize(
    "scheme",
    [cf.hadamard(512), cf.cyclic(257), cf.cyclic(1026), cf.complete(10**6), cf.hamming(9, 2), cf.hamming(20, 5),
     cf.johnson(11, 4), cf.johnson(30, 7)],
    ids=str,
)  # fmt: skip
def test_closed_formulas(scheme):
    definition = scheme_definition(scheme)
    assert definition.source != "the matrix of relations"
    np.testing.assert_array_equal(definition.valencies, scheme.valencies[1:])
    np.testing.assert_array_equal(definition.multiplicities, scheme.multiplicities[1:])
    np.testing.assert_allclose(definition.gaps(), scheme.gaps, rtol=4e-15, atol=0)
    np.testing.assert_allclose(definition.gaps([0, -1], [0]), scheme.gaps[[0, -1], :1], rtol=4e-15, atol=0)
    if scheme.classes <= 600:  # the formulas against the relations
        np.testing.assert_allclose(definition.gaps(), relation_gaps(scheme), rtol=4e-15, atol=0)


def test_rows_of_a_large_scheme():
    scheme, modes = cf.hadamard(2**20), [0, 4, 2**19, 2**20 - 2]
    definition, x = scheme_definition(scheme), np.random.default_rng(0).uniform(0.0, 1.0, 2**20 - 1)
    np.testing.assert_allclose(definition.gaps(modes) @ x, scheme.forces(x)[modes], rtol=1e-12)
    with pytest.raises(ValueError, match=r"of hadamard\(1048576\) are more than .* numbers; ask for fewer modes"):
        definition.gaps()


def test_a_wrong_gap_is_not_taken_for_granted():
    scheme = cf.cyclic(5)
    wrong = scheme.gaps.copy()
    wrong[0, 0] *= 1.1
    scheme.__dict__.update(gaps=wrong, eigenmatrix=np.zeros((3, 3)))
    np.testing.assert_allclose(relation_gaps(scheme), cf.cyclic(5).gaps, rtol=1e-15)
    np.testing.assert_array_equal(scheme_definition(scheme).gaps(), relation_gaps(scheme))


def test_relations_that_are_none():
    def stub(labels):
        return SimpleNamespace(kind="stub", name="stub", classes=len(labels), relations=lambda: labels)

    pentagon = cf.cyclic(5).relations()
    path = np.minimum(np.abs(np.subtract.outer(np.arange(5), np.arange(5))), 2)
    swapped = pentagon[np.array([0, 2, 1, 3, 4])]
    for labels, match in ((path, "closed under products"), (swapped, "symmetric"), (pentagon[:, :4], "symmetric")):
        with pytest.raises(ValueError, match=match):
            relation_gaps(stub(labels))
    with pytest.raises(ValueError, match=r"no closed formula .*; the scheme must have at most 1024 classes, got 2000"):
        scheme_definition(SimpleNamespace(kind="stub", name="stub", classes=2000))


# -- losses ------------------------------------------------------------------------------------------------------------

LOSSES = [cf.losses.CrossEntropy(), cf.losses.SquaredError(), cf.losses.label_smoothing(0.2), cf.losses.focal(2.5),
          cf.losses.focal(0.5), cf.losses.focal(2.0)]  # fmt: skip


def exact(loss, margins, valencies):
    """Logarithm of the value and the residuals k_j r_j, by the definitions, to 80 digits."""
    with mpmath.workdps(80):
        k, x = [mpmath.mpf(int(a)) for a in valencies], [mpmath.mpf(float(a)) for a in margins]
        K, odds = 1 + sum(k), [a * mpmath.exp(-b) for a, b in zip(k, x, strict=True)]
        S = sum(odds)
        p = [a / (1 + S) for a in odds]
        if loss.name == "squared_error":  # of logits without mean, and so is the target
            z0 = sum(a * b for a, b in zip(k, x, strict=True)) / K
            wrong = [z0 - b + 1 / K for b in x]
            value = ((z0 - 1 + 1 / K) ** 2 + sum(a * b**2 for a, b in zip(k, wrong, strict=True))) / 2
            return mpmath.log(value) if value else -mpmath.inf, [a * b for a, b in zip(k, wrong, strict=True)]
        if loss.name == "focal":
            f, q = mpmath.mpf(loss.focusing), S / (1 + S)
            factor = q**f + f * q ** (f - 1) / (1 + S) * mpmath.log1p(S)
            return mpmath.log(q**f * mpmath.log1p(S)), [a * factor for a in p]
        share = mpmath.mpf(loss.parameters.get("smoothing", 0.0)) / K
        value = mpmath.log1p(S) + share * sum(a * b for a, b in zip(k, x, strict=True))
        return mpmath.log(value), [a - b * share for a, b in zip(p, k, strict=True)]


MARGINS = {
    "moderate": lambda rng, n: rng.normal(size=n),
    "large": lambda rng, n: 1e3 * rng.normal(size=n),
    "underflow": lambda rng, n: 1e6 * rng.uniform(0.9, 1.0, n),
    "overflow": lambda rng, n: -1e6 * rng.uniform(0.0, 1.0, n),
    "near one": lambda rng, n: 1.0 + 1e-9 * rng.normal(size=n),
    "zero": lambda rng, n: np.zeros(n),
}


@pytest.mark.parametrize("where", MARGINS)
@pytest.mark.parametrize("loss", LOSSES, ids=str)
def test_losses_to_rounding_wherever_margins_are(loss, where):
    rng, definition = np.random.default_rng(0), LossDefinition(loss.formula, loss.parameters)
    for modes in (1, 2, 5):
        valencies = rng.integers(1, 9, modes).astype(float)
        margins = MARGINS[where](rng, modes)
        size = 1e-15 * (1.0 + np.abs(margins).max())  # margins are no better
        log_value, truth = exact(loss, margins, valencies)
        assert abs(float(definition.log_value(margins, valencies) - log_value)) <= 1e-15 * (2.0 + abs(float(log_value)))
        r, sizes, log_scale = definition.residuals(margins, valencies)
        scaled = np.array([float(a * mpmath.exp(-mpmath.mpf(float(log_scale)))) for a in truth])
        np.testing.assert_allclose(r, scaled, rtol=0, atol=4.0 * size * sizes.max())
        assert np.all(np.abs(r) <= sizes * (1.0 + 1e-12)) and 1.0 <= sizes.max() < 10.0
        if where != "near one":  # of that ceflow's own form says less
            assert abs(loss.log_value(margins, valencies) - log_value) <= 1e-14 * (1.0 + abs(log_value))


def test_relations_that_nobody_reaches():
    definition = LossDefinition("log1p(S)", {})
    margins, valencies, reached = np.array([3e3, 0.0, 2e3]), np.ones(3), np.array([True, False, True])
    r, sizes, log_scale = definition.residuals(margins, valencies, reached)
    np.testing.assert_array_equal(r, [0.0, 0.0, 1.0])
    np.testing.assert_array_equal(sizes, r)
    assert log_scale == pytest.approx(-2e3 - math.log(2.0), rel=1e-15)
    assert not definition.residuals(margins, valencies, np.zeros(3, bool))[0].any()


def test_samples_are_looked_at_one_by_one():
    margins, valencies = np.random.default_rng(0).normal(size=(4, 3, 5)), np.arange(1.0, 6.0)
    for loss in LOSSES:
        definition = LossDefinition(loss.formula, loss.parameters)
        assert definition.log_value(margins, valencies).shape == (4, 3)
        whole, one = definition.residuals(margins, valencies), definition.residuals(margins[2, 1], valencies)
        for a, b in zip(whole, one, strict=True):
            np.testing.assert_allclose(a[2, 1], b, rtol=1e-13)


@pytest.mark.parametrize("loss", LOSSES, ids=str)
def test_stated_forms_are_the_derived_ones(loss):
    names = tuple(loss.parameters)
    stated, derived = STATED[loss.formula, names], _derivation.centred(loss.formula, names)
    for one, other in zip((*stated[:-1], *stated.terms), (*derived[:-1], *derived.terms), strict=True):
        assert _derivation.expression(one, names) == _derivation.expression(other, names)


def test_formulas_that_are_none():
    for formula, match in (("log1p(S) + T", "with T"), ("S * focusing", "with focusing"), ("z", "with z")):
        with pytest.raises(ValueError, match=match):
            LossDefinition(formula, {"smoothing": 0.1})


@pytest.mark.parametrize("formula", ["log(1 + S) + strength * Q / (2 * K)", "log1p(S)**2 + strength * M**2", "sqrt(S)"])
def test_a_new_formula_is_all_that_the_reference_needs(formula):
    """The Taylor integrator against scipy on the residuals of the definition."""
    scheme, parameters = cf.cyclic(5), {"strength": 0.25}
    flow = SimpleNamespace(
        scheme=scheme, loss=SimpleNamespace(formula=formula, parameters=parameters), depth=2, reduction="sum",
        weight_decay=0.0,
    )  # fmt: skip
    start, times = np.array([[0.3, 0.9], [0.5, -0.1]]), np.array([0.1, 1.0, 3.0])
    found = cf.reference.solve(flow, start, np.log(times), digits=15).layers.astype(float)
    definition, gaps = LossDefinition(formula, parameters), relation_gaps(scheme)
    valencies, multiplicities = np.full(2, 2.0), np.full(2, 2.0)

    def velocity(_, layers):
        a, b = layers.reshape(2, 2)
        r, _, log_scale = definition.residuals((multiplicities * a * b / 5.0) @ gaps, valencies)
        force = gaps @ r * np.exp(log_scale)
        return np.concatenate([b * force, a * force])

    run = solve_ivp(velocity, (0.0, 3.0), start.ravel(), method="DOP853", rtol=1e-12, atol=1e-14, t_eval=times)
    np.testing.assert_allclose(found, run.y.T.reshape(3, 2, 2), rtol=0, atol=1e-10)


# -- independence ------------------------------------------------------------------------------------------------------


def test_nothing_is_shared_with_what_is_judged():
    """Imports of ceflow, those for type checkers aside: checks of arguments, and one another."""
    root = Path(definitions.__file__).parents[1]
    for path in (*(root / "reference").glob("*.py"), root / "rigor.py"):
        tree = ast.parse(path.read_text())
        for node in list(ast.walk(tree)):
            if isinstance(node, ast.If) and getattr(node.test, "id", "") == "TYPE_CHECKING":
                node.body = []
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom) and node.level:
                inside = path.parent.name == "reference" and node.level == 1
                assert inside or node.module.split(".")[0] in ("_checks", "reference"), (path, node.module)
            elif isinstance(node, (ast.Import, ast.ImportFrom)):
                names = [node.module] if isinstance(node, ast.ImportFrom) else [alias.name for alias in node.names]
                assert not any(name.split(".")[0] == "ceflow" for name in names), (path, names)


def test_no_further_import_is_needed():
    code = (
        "import sys, ceflow as cf; before = {'sympy', 'mpmath', 'flint', 'ceflow.reference', 'ceflow.rigor'} & set("
        "sys.modules); assert not before, before; cf.reference.solve, cf.rigor.ray_time; "
        "after = {'sympy', 'mpmath', 'flint'} & set(sys.modules); assert not after, after"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=300)
