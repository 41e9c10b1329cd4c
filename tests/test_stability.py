"""Comparisons that tell an error from an instability: rounding leaves a symmetric path that is a saddle."""

import math

import numpy as np
import pytest

import ceflow as cf
from ceflow._stability import _largest_eigenvalue, _State, growth_off_symmetry

DECAY = 3e-3
FLOW = cf.SpectralFlow(cf.hadamard(8), depth=3, weight_decay=DECAY)
FULL = cf.MatrixFlow(depth=3, weight_decay=DECAY)
S0 = 0.1 * np.random.default_rng(0).uniform(0.1, 1.0, 7)
END = 3e4


@pytest.fixture(scope="module")
def reduced():
    return cf.integrate(FLOW, S0, END, rtol=1e-8)


@pytest.fixture(scope="module")
def found(reduced):
    return cf.compare(reduced, cf.integrate(FULL, FLOW.lift(S0), t_eval=np.geomspace(1.0, END, 60), rtol=1e-8))


def test_an_unstable_path_is_compared_as_long_as_rounding_has_not_left_it(found):
    assert found.error.max() > 0.1 > found.tolerance == pytest.approx(1e-5)
    assert found.max_error <= found.tolerance and not found.trusted.all() and found.trusted[0]
    left = found.log_t[np.argmax(found.error > found.tolerance)]
    assert left - 1.0 < found.trusted_until < left  # not before it must be
    assert f"until t = 1e{found.trusted_until / math.log(10):.4g}, as it is unstable" in repr(found)
    labels = [line.get_label() for line in found.plot().patches]
    assert labels == ["unstable: rounding errors grow"]


def test_an_error_is_none_of_it(reduced):
    times = np.geomspace(1.0, 3e3, 20)
    wrong = cf.compare(reduced, cf.integrate(FULL, FLOW.lift(1.001 * S0), t_eval=times, rtol=1e-8))
    assert wrong.trusted.all() and wrong.trusted_until == wrong.log_t[-1] and wrong.max_error > wrong.tolerance
    assert "unstable" not in repr(wrong) and not wrong.plot().patches


def test_the_growth_bounds_that_of_a_deviation(reduced):
    """Put on the start on purpose, and measured as the distance from the symmetry."""
    rng, start, size = np.random.default_rng(1), FLOW.lift(S0), 1e-9
    noise = [rng.standard_normal(factor.shape) for factor in start]
    log_t, log_growth = growth_off_symmetry(reduced, math.log(4e3), 8)
    near = [f + size * n for f, n in zip(start, noise, strict=True)]
    distance = cf.compare(reduced, cf.integrate(FULL, near, log_t_eval=log_t[1:], rtol=1e-10)).off_diagonal
    grown = (distance / distance[0]) / np.exp(log_growth[1:] - log_growth[1])
    assert grown.max() < 10.0 and grown[-1] > 1e-3
    assert log_growth[-1] - log_growth[1] > 5.0 and np.all(log_growth >= 0.0)


@pytest.mark.parametrize("loss", ["cross_entropy", "squared_error", "focal", "label_smoothing"])
@pytest.mark.parametrize("scheme", [cf.hadamard(4), cf.cyclic(5), cf.hamming(2, 2)], ids=lambda scheme: scheme.name)
def test_largest_eigenvalue_off_the_scheme(scheme, loss):
    """Against the dense matrix of central differences of the full flow's own velocities."""
    flow = cf.SpectralFlow(scheme, depth=3, loss=loss, weight_decay=0.01)
    layers = np.random.default_rng(2).uniform(0.3, 1.2, (3, scheme.modes))
    state = _State(flow, layers, scheme.classes)
    y = np.concatenate([factor.ravel() for factor in state.factors])
    field = cf.MatrixFlow(depth=3, loss=loss, weight_decay=0.01).motion(tuple(state.factors), y, 0.0, 1e-6)

    def velocity(y):
        dy = np.empty_like(y)
        phi, _ = field.rates(y, dy)
        return dy * math.exp(-phi)

    unit, step = np.eye(y.size), 1e-5
    dense = np.array([velocity(y + step * e) - velocity(y - step * e) for e in unit]).T / (2 * step)
    off = np.array([state.off(e) for e in unit])
    np.testing.assert_allclose(off @ off, off, atol=1e-12)
    np.testing.assert_allclose(off @ dense @ (np.eye(y.size) - off), 0.0, atol=1e-7)  # the scheme is left by nothing
    v = np.random.default_rng(3).standard_normal(y.size)
    np.testing.assert_allclose(state(off @ v), off @ dense @ off @ v, atol=1e-6)
    values = np.linalg.eigvalsh(off @ dense @ off)
    assert _largest_eigenvalue(state, v)[0] == pytest.approx(values[-1], abs=2e-2 * (values[-1] - values[0]))
