"""Each loss against its formula, differentiated by mpmath; and the registry, to which a loss is one file."""

import os
import pickle
import shutil
import subprocess
import sys
from pathlib import Path

import mpmath
import numpy as np
import pytest
from mpmath import mpf
from scipy.special import logsumexp

import ceflow as cf
from ceflow import losses
from ceflow._arrays import log_sum
from ceflow.losses import CrossEntropy, Focal, LabelSmoothing, SquaredError, as_loss, from_spec, parse

ALL = [*map(as_loss, losses.LOSSES), LabelSmoothing(0.3), Focal(0.5), Focal(1e-6), Focal(30.0)]
by_loss = pytest.mark.parametrize("loss", ALL, ids=str)
VALENCIES = np.array([2.0, 1.0, 4.0])
CENTERS = (0.0, 1.0, 6.0, 37.0, 200.0, -3.0, -30.0)


def value(loss, margins, valencies):
    """The formula, of mpmath numbers."""
    k = [mpf(x) for x in valencies]
    names = {name: mpf(x) for name, x in loss.parameters.items()} | {
        "S": sum(x * mpmath.exp(-m) for x, m in zip(k, margins, strict=True)),
        "M": sum(x * m for x, m in zip(k, margins, strict=True)),
        "Q": sum(x * m**2 for x, m in zip(k, margins, strict=True)),
        "K": 1 + sum(k),
    }
    return eval(loss.formula, names | {name: getattr(mpmath, name) for name in ("log", "log1p", "exp")})


def slope(loss, margins, valencies, j, change=None):
    """``k_j r_j`` or, with a change, its derivative along that."""

    def shifted(u, v=0):
        moved = [mpf(m) + v * mpf(x) for m, x in zip(margins, margins if change is None else change, strict=True)]
        moved[j] += u
        return value(loss, moved, valencies)

    with mpmath.workdps(250):
        if change is None:
            return -mpmath.diff(shifted, 0)
        return -mpmath.diff(shifted, (0, 0), (1, 1))


@by_loss
def test_values_and_residuals_are_those_of_the_formula(loss):
    rng, out = np.random.default_rng(0), np.empty(3)
    for center in CENTERS:
        margins = center + rng.standard_normal(3)
        with mpmath.workdps(60):
            exact = float(mpmath.log(value(loss, [mpf(m) for m in margins], VALENCIES)))
        assert loss.log_value(margins, VALENCIES) == pytest.approx(exact, rel=1e-13, abs=1e-13)
        log_scale, _ = losses.residual(loss, 8.0, 1.0, VALENCIES, margins, out)
        with mpmath.workdps(30):
            scale = mpmath.exp(mpf(log_scale))
            scaled = [float(slope(loss, margins, VALENCIES, j) / scale) for j in range(3)]
        np.testing.assert_allclose(out, scaled, rtol=1e-12, atol=1e-15)


@by_loss
def test_relations_that_are_left_out_have_margin_zero(loss):
    margins, out, whole = np.array([0.7, 5.0, 0.0]), np.empty(2), np.empty(3)
    log_scale, _ = losses.residual(loss, 8.0, 1.0 + VALENCIES[2], VALENCIES[:2], margins[:2], out)
    log_whole, _ = losses.residual(loss, 8.0, 1.0, VALENCIES, margins, whole)
    np.testing.assert_allclose(out * np.exp(log_scale), whole[:2] * np.exp(log_whole), rtol=1e-14)


@by_loss
def test_curvature_is_the_second_derivative_of_the_formula(loss):
    rng = np.random.default_rng(1)
    for center in CENTERS:
        margins = center + rng.standard_normal(3)
        together = 1.0 + 1e-12 * np.array([0.0, 3.0, -5.0])  # which a difference from the mean would lose
        for change in (rng.standard_normal(3), np.ones(3), together, np.array([0.0, 0.0, 1e8])):
            found = loss.curvature(margins, VALENCIES, change=change)
            exact = [float(slope(loss, margins, VALENCIES, j, change)) for j in range(3)]
            np.testing.assert_allclose(found, exact, rtol=2e-12)


@by_loss
def test_curvature_of_many_states_and_of_plain_columns(loss):
    rng = np.random.default_rng(2)
    margins, change = rng.standard_normal((2, 4, 5, 3))
    found = loss.curvature(margins, VALENCIES, change=change)
    assert found.shape == (4, 5, 3)
    np.testing.assert_array_equal(found[1, 2], loss.curvature(margins[1, 2], VALENCIES, change=change[1, 2]))
    repeated = loss.curvature(
        margins.repeat(VALENCIES.astype(int), axis=-1), change=change.repeat(VALENCIES.astype(int), axis=-1)
    )
    np.testing.assert_allclose(np.add.reduceat(repeated, [0, 2, 3], axis=-1), found, rtol=1e-12, atol=1e-15)


@by_loss
def test_forces_of_collapsed_logits(loss):
    """They are K r, and at rest what the losses' definitions say."""
    out, K = np.empty(1), 6
    for s in (-20.0, -1.0, 0.0, 0.3, 4.0, 90.0):
        log_scale, _ = losses.residual(loss, float(K), 1.0, np.array([K - 1.0]), np.array([s]), out)
        expected = K / (K - 1) * out[0] * np.exp(log_scale)
        assert loss.collapsed_force(s, K) == pytest.approx(expected, rel=1e-13)
    by_name = {"label_smoothing": 1.0 - loss.counterforce, "focal": cf.theory.collapsed_force(0.0, K, loss=loss)}
    assert loss.force_at_rest(K) == pytest.approx(by_name.get(loss.name, 1.0), rel=1e-15)


def test_names_text_and_specifications():
    assert losses.LOSSES == ("cross_entropy", "squared_error", "label_smoothing", "focal")
    assert losses.forms() == "cross_entropy, squared_error, label_smoothing[:SMOOTHING=0.1] or focal[:FOCUSING=2]"
    for loss in ALL:
        assert as_loss(loss) is loss
        assert loss == from_spec(loss.spec) == pickle.loads(pickle.dumps(loss))
        assert len({loss, from_spec(loss.spec)}) == 1
        assert loss == parse(":".join([loss.name, *map(repr, loss.parameters.values())]))
        assert losses.residual(loss, 2.0, 1.0, np.ones(1), np.ones(1), np.empty(1))
        assert loss.words and loss.residual_formula
    assert list(map(str, ALL[:4])) == ["cross_entropy", "squared_error", "label_smoothing(0.1)", "focal(2)"]
    assert parse("focal") == Focal() == losses.focal() == Focal(2) and parse("label_smoothing:0.2").counterforce == 0.2
    assert Focal(2) != Focal(3) and CrossEntropy() != SquaredError()
    assert [loss.name for loss in ALL[:4] if not loss.margins_only] == ["squared_error"]
    older = {"squared": False, "smoothing": 0.0, "focusing": 0.0}
    assert from_spec(older) == CrossEntropy() and from_spec(older | {"squared": True}) == SquaredError()
    assert from_spec(older | {"smoothing": 0.2}) == LabelSmoothing(0.2)
    assert from_spec(older | {"focusing": 0.5}) == Focal(0.5)


@pytest.mark.parametrize(
    ("call", "error", "match"),
    [
        (lambda: losses.Loss(), TypeError, "abstract"),
        (lambda: as_loss("hinge"), ValueError, "loss must be one of cross_entropy, .*, got 'hinge'"),
        (lambda: as_loss(Focal), TypeError, "loss must be a name or a loss made by ceflow.losses"),
        (lambda: Focal(101), ValueError, "focusing must be between"),
        (lambda: Focal(True), TypeError, "focusing must be a number"),
        (lambda: LabelSmoothing("0.1"), TypeError, "smoothing must be a number"),
        (lambda: LabelSmoothing(float("nan")), ValueError, "smoothing must be between"),
        (lambda: parse(3), TypeError, "loss must be a string"),
        (lambda: parse("focal:1,2"), ValueError, "loss must be cross_entropy, .*; got 'focal:1,2'"),
        (lambda: parse("hinge:1"), ValueError, "loss must be cross_entropy, .*; got 'hinge:1'"),
        (lambda: parse("cross_entropy:1"), ValueError, "loss must be cross_entropy, "),
        (lambda: parse("focal:x"), ValueError, "loss focal:x: could not convert"),
        (lambda: parse("focal:-1"), ValueError, "loss focal:-1: focusing must be between"),
        (lambda: from_spec("focal"), TypeError, "spec must be a mapping, got str"),
        (lambda: from_spec({"name": "hinge"}), ValueError, "unknown loss"),
        (lambda: from_spec({"name": ["focal"]}), ValueError, "unknown loss"),
        (lambda: from_spec({"name": "focal"}), ValueError, "unknown loss"),
        (lambda: from_spec({"name": "focal", "focusing": 1.0, "smoothing": 0.1}), ValueError, "unknown loss"),
        (lambda: from_spec({"smoothing": 0.1, "focusing": 1.0}), ValueError, "unknown loss"),
        (lambda: from_spec({"squared": 1}), ValueError, "unknown loss"),
        (lambda: from_spec({"smoothing": 2.0}), ValueError, "smoothing must be between"),
        (lambda: from_spec({"sharpness": 0.0}), ValueError, "unknown loss"),
        (lambda: type("Other", (losses.Loss,), {"name": "focal"}), ValueError, "a loss named 'focal' exists already"),
    ],
)  # fmt: skip
def test_bad_input(call, error, match):
    with pytest.raises(error, match=match):
        call()


NEW_LOSS = '''
"""The odds of error themselves."""

from dataclasses import dataclass

import numpy as np
from numba import njit

from ..kernels import KERNEL
from ._loss import parameter
from ._margins import close_columns, full_odds, log_odds_of_error, probabilities, weigh_columns
from ._odds import OddsLoss


@njit(**KERNEL)
def _residual(parameters, classes, base, valencies, margins, out):
    _, a, own = probabilities(1.0, valencies, margins, out)
    return parameters[0] + own, a


@dataclass(frozen=True)
class Exponential(OddsLoss):
    log_size: float = parameter(0.0, -10.0, 10.0)

    name, formula, words, residual_formula = "exponential", "exp(log_size) * S", "exponential", "-"
    residual = staticmethod(_residual)

    def log_value(self, margins, valencies=None, mean=0.0):
        return self.log_size + log_odds_of_error(margins, valencies)

    def full_residual(self, Z, own, xp=np, log_weights=None):
        log_odds, _ = full_odds(Z, own, xp)
        log_weight = log_odds - xp.log(Z.sum(-2)) + self.log_size
        log_weight += 0.0 if log_weights is None else log_weights
        weigh_columns(Z, log_weight - log_weight.max(), xp)
        close_columns(Z, own)
        return log_weight.max(), -log_odds.mean()

    def slopes(self, log_odds):
        g = np.exp(self.log_size + log_odds)
        return g, g, 0.0 * g
'''
ASK = """
import ceflow as cf, numpy as np
loss = cf.losses.parse("exponential:0.5")
print(cf.losses.LOSSES[-1], str(loss), loss == cf.losses.from_spec(loss.spec), cf.MatrixFlow(loss="exponential"))
s = cf.theory.equilibrium(5, loss=loss, weight_decay=0.01)
Z = s * (np.eye(5) - 0.2)
log_scale, _ = cf.losses.full_residual(loss, Z, np.arange(5))
print(np.linalg.norm(Z * np.exp(log_scale) / 5 - 0.01 * (np.eye(5) - 0.2)) < 1e-15, cf.losses.forms())
"""


def test_a_new_loss_is_one_file(tmp_path):
    shutil.copytree(Path(cf.__file__).parent, tmp_path / "ceflow", ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "ceflow" / "losses" / "_exponential.py").write_text(NEW_LOSS)
    done = subprocess.run(
        [sys.executable, "-c", ASK], cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(tmp_path)},
        capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    first, second = done.stdout.splitlines()
    assert first.startswith("exponential exponential(0.5) True MatrixFlow(") and "loss='exponential(0)'" in first
    assert second.startswith("True ") and second.endswith("or exponential[:LOG_SIZE=0]")


def test_logarithm_of_a_weighted_sum_is_that_of_scipy():
    rng, weights = np.random.default_rng(0), np.array([0.0, 1.0, 2.5])
    x = rng.normal(size=(90, 3)) * 10.0 ** rng.uniform(-3.0, 6.0, (90, 1))
    x[:3, :2], x[3, 1:] = -np.inf, np.inf
    for given in (None, weights):
        np.testing.assert_allclose(log_sum(x, given), logsumexp(x, b=given, axis=-1), rtol=1e-15, atol=1e-15)
