"""Lyapunov functions against their definitions in 50 digits and more, and against derivatives along the exact flow."""

import math
from functools import cache

import mpmath
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mpmath import mpf

from ceflow.lyapunov import (
    common_imbalance,
    common_imbalance_dissipation,
    dissipation,
    excess,
    log_dissipation,
    log_growth,
    lyapunov,
)
from ceflow.symmetry import complete, cyclic, hadamard, hamming, johnson

SCHEMES = [hadamard(4), hadamard(8), cyclic(6), cyclic(9), complete(5), hamming(2, 3), johnson(5, 2)]
by_name = pytest.mark.parametrize("scheme", SCHEMES, ids=lambda scheme: scheme.name)
deterministic = settings(deadline=None, derandomize=True, max_examples=60)


def exact(values):
    return [mpf(float(value)) for value in values]


def mean_of(scheme, s):
    return mpmath.fdot(exact(scheme.multiplicities[1:]), s) / (scheme.classes - 1)


def definition(scheme, s, c):
    """V_c, one c for each mode: Bregman divergences as they are written; c = 0 is balanced."""

    def psi(x, c):
        if c == 0:
            return x / 2 * (mpmath.log(x) - 1)
        return x / 2 * mpmath.asinh(2 * x / c) - mpmath.sqrt(4 * x * x + c * c) / 4

    def slope(x, c):
        return mpmath.log(x) / 2 if c == 0 else mpmath.asinh(2 * x / c) / 2

    mean = mean_of(scheme, s)
    divergences = [psi(mean, y) - psi(x, y) - slope(x, y) * (mean - x) for x, y in zip(s, c, strict=True)]
    return mpmath.fdot(exact(scheme.multiplicities[1:]), divergences) / mean


@cache
def exact_gaps(scheme, precision):
    """1 - P_ij / k_j to all digits: the schemes used here have integer eigenvalues, or are circulants."""
    indices = range(1, scheme.modes + 1)
    if scheme.kind == "cyclic":
        return [[1 - mpmath.cospi(mpf(2 * i * j) / scheme.classes) for j in indices] for i in indices]
    P, k = np.rint(scheme.eigenmatrix).astype(int).tolist(), scheme.valencies
    return [[1 - mpf(P[i][j]) / int(k[j]) for j in indices] for i in indices]


def softmax(scheme, s):
    """Margins, probabilities p_j and forces."""
    k = [int(valency) for valency in scheme.valencies]
    gaps = exact_gaps(scheme, mpmath.mp.prec)
    weighted = [m * x / scheme.classes for m, x in zip(exact(scheme.multiplicities[1:]), s, strict=True)]
    margins = [mpmath.fdot(weighted, column) for column in zip(*gaps, strict=True)]
    terms = [mpmath.exp(-margin) for margin in margins]
    total = 1 + mpmath.fdot(k[1:], terms)
    p = [term / total for term in terms]
    forces = [mpmath.fdot(row, [a * b for a, b in zip(k[1:], p, strict=True)]) for row in gaps]
    return margins, p, forces


def rate(scheme, s, c):
    """dV_c/dt along ds_i/dt = sqrt(4 s_i^2 + c_i^2) lambda_i ("sum"), by a central difference."""
    forces = softmax(scheme, s)[2]
    speeds = [mpmath.sqrt(4 * x * x + y * y) * force for x, y, force in zip(s, c, forces, strict=True)]
    step = mpmath.eps ** (mpf(1) / 3) * max(map(abs, s)) / max(map(abs, speeds))
    ahead, behind = ([x + sign * step * v for x, v in zip(s, speeds, strict=True)] for sign in (1, -1))
    return (definition(scheme, ahead, c) - definition(scheme, behind, c)) / (2 * step)


@by_name
@pytest.mark.parametrize("spread", [0.999999, 0.5, 1e-3, 1e-8, 1e-15])
def test_lyapunov_is_the_log_of_arithmetic_over_geometric_mean(scheme, spread):
    rng = np.random.default_rng(1)
    for scale in (1e-290, 1e-5, 1.0, 30.0, 1e290):
        s = scale * (1 + spread * rng.uniform(-1, 1, scheme.modes))
        with mpmath.workdps(60):
            logs = mpmath.fdot(exact(scheme.multiplicities[1:]), map(mpmath.log, exact(s))) / (scheme.classes - 1)
            expected = mpmath.log(mean_of(scheme, exact(s))) - logs
        assert lyapunov(scheme, s) == pytest.approx(float(expected), rel=4e-15, abs=1e-45)


def test_lyapunov_over_the_whole_range():
    scheme = hadamard(4)
    tiny = [[1e-300, 1e-300, 1e-299], [5e-324, 1.0, 2.0], [5e-324] * 3, [1e-311, 3e-311, 2e-310]]
    for s in (*tiny, [1e-300, 1e300, 1.0], [1e300] * 3):
        with mpmath.workdps(60):
            expected = mpmath.log(mpmath.fsum(exact(s)) / 3) - mpmath.fsum(map(mpmath.log, exact(s))) / 3
        assert lyapunov(scheme, s) == pytest.approx(float(expected), rel=1e-14, abs=1e-50)


def test_excess_and_growth_are_relatively_accurate():
    x = np.concatenate([sign * np.logspace(-150, 2.8, 100) for sign in (1, -1)])
    with mpmath.workdps(400):
        expected = [float(mpmath.expm1(-mpf(v)) + mpf(v)) for v in x]
    np.testing.assert_allclose(excess(x), expected, rtol=4e-15)
    for half in (0.0, 1e-300, 1e-3, 1.0, 1e8, 1e300):
        for start in (1e-300, 1e-3, 1.0, 7.0, 1e300):
            for s in (start, start * (1 + 1e-14), start * 1.3, start / 3, 1e-300, 1.0, 1e300, -half, -3 * half):
                if s == 0 or abs(s) > 1e300 or (half == 0 and s < 0):
                    continue
                difference = s - start
                with mpmath.workdps(700):
                    a, b, h = exact((s, start, half))
                    expected = (a + mpmath.hypot(a, h)) / (b + mpmath.hypot(b, h))
                    expected = float(mpmath.log(expected))
                value = log_growth(*map(np.float64, (s, start, difference)), half)
                assert value == pytest.approx(expected, rel=3e-15, abs=1e-300), (half, start, s)


@by_name
@pytest.mark.parametrize("c", [0.0, 1e-6, 0.1, 30.0])
def test_values_and_rates_against_definition_and_flow(scheme, c):
    rng = np.random.default_rng(2)
    for scale in (1e-200, 1e-3, 1.0, 300.0):
        for spread in (1e-12, 1e-4, 0.9) if c == 0 else (1e-12, 1e-4, 0.9, 4.0):
            s = scale * (1 + spread * rng.uniform(-1, 1, scheme.modes))
            if scheme.multiplicities[1:] @ s <= 0:
                s = -s
            with mpmath.workdps(900 if scale < 1e-100 else 120):
                state, imbalances = exact(s), exact([c] * scheme.modes)
                value, slope = float(definition(scheme, state, imbalances)), float(rate(scheme, state, imbalances))
            assert value >= 0 >= slope
            assert common_imbalance(scheme, s, c) == pytest.approx(value, rel=1e-14, abs=1e-300)
            tolerance = 1e-13 * max(1.0, scale / 30)  # the margins are known to rounding of s
            assert common_imbalance_dissipation(scheme, s, c, "sum") == pytest.approx(slope, rel=tolerance, abs=1e-300)
            if c == 0:
                V, dV = lyapunov(scheme, s), dissipation(scheme, s, "sum")
                assert V == pytest.approx(2 * value / (scheme.classes - 1), rel=1e-14)
                assert dV == pytest.approx(2 * slope / (scheme.classes - 1), rel=tolerance, abs=1e-300)


@by_name
@pytest.mark.parametrize("spread", [1e-6, 0.95])
def test_pair_form_of_the_dissipation(scheme, spread):
    s = 2.5 * (1 + spread * np.random.default_rng(3).uniform(-1, 1, scheme.modes))
    K, k = scheme.classes, exact(scheme.valencies[1:])
    sites = range(scheme.modes)
    with mpmath.workdps(50):
        margins, p, _ = softmax(scheme, exact(s))
        pairs = mpmath.fsum(k[j] * k[h] * (p[j] - p[h]) * (margins[h] - margins[j]) for j in sites for h in sites)
        expected = float(-K / ((K - 1) ** 2 * mean_of(scheme, exact(s))) * pairs)
    assert dissipation(scheme, s, "sum") == pytest.approx(expected, rel=1e-13)
    assert dissipation(scheme, s) == pytest.approx(expected / K, rel=1e-13)  # "mean" is the default


def test_dissipation_where_it_underflows():
    scheme = johnson(5, 2)
    s = np.array([2e4, 3e4])
    with mpmath.workdps(60):
        margins, p, _ = softmax(scheme, exact(s))
        mean = mean_of(scheme, exact(s))
        excesses = [k * q * (mean - m) for k, q, m in zip(scheme.valencies[1:], p, margins, strict=True)]
        expected = float(mpmath.log(2 * 10 / (9 * mean) * mpmath.fsum(excesses)))
    assert expected < -1e4
    assert log_dissipation(scheme, s, "sum") == pytest.approx(expected, rel=1e-14)
    assert log_dissipation(scheme, s, "mean") == pytest.approx(expected - math.log(10), rel=1e-14)
    assert dissipation(scheme, s) == 0
    assert np.isfinite(log_dissipation(scheme, [1e300, 2e300 / 3]))


@deterministic
@given(st.sampled_from(SCHEMES), st.integers(0, 2**32 - 1), st.floats(-9, 2.5), st.floats(0, 17.3), st.floats(-9, 3))
def test_neither_function_ever_increases(scheme, seed, log_scale, spread, log_c):
    s = 10**log_scale * np.exp(spread * np.random.default_rng(seed).uniform(-1, 1, scheme.modes))
    assert lyapunov(scheme, s) >= 0 >= dissipation(scheme, s)
    assert common_imbalance(scheme, s, 10**log_c) >= 0 >= common_imbalance_dissipation(scheme, s, 10**log_c)


@deterministic
@given(st.sampled_from([hadamard(4), cyclic(6), johnson(6, 2)]), st.integers(0, 2**32 - 1), st.floats(-3, 3))
def test_common_imbalance_decreases_along_the_exact_flow_whatever_the_signs(scheme, seed, log_c):
    s = np.random.default_rng(seed).normal(0.5, 2, scheme.modes)
    s *= np.sign(scheme.multiplicities[1:] @ s)
    with mpmath.workdps(60):
        slope = rate(scheme, exact(s), exact([10**log_c] * scheme.modes))
    assert slope < 0
    assert common_imbalance_dissipation(scheme, s, 10**log_c, "sum") == pytest.approx(float(slope), rel=1e-11)


def test_imbalances_that_differ_between_modes_break_monotonicity():
    scheme, s = hadamard(4), exact([1.0, 1.0, 1.1])
    c = exact([0.1, 0.1, 10.0])
    assert rate(scheme, s, c) > 0
    balanced = exact([0.0] * 3)
    speeds = [mpmath.sqrt(4 * x * x + y * y) * f for x, y, f in zip(s, c, softmax(scheme, s)[2], strict=True)]
    step = mpf(10) ** -6
    moved = [x + step * v for x, v in zip(s, speeds, strict=True)]
    assert definition(scheme, moved, balanced) > definition(scheme, s, balanced)  # nor is V itself monotone


@by_name
def test_small_imbalance_tends_to_the_balanced_case(scheme):
    s = np.random.default_rng(5).uniform(0.5, 2, scheme.modes)
    limit = (scheme.classes - 1) / 2 * lyapunov(scheme, s)
    np.testing.assert_allclose([common_imbalance(scheme, s, c) for c in (0.0, 1e-300, 1e-12)], limit, rtol=1e-14)


@by_name
def test_collapse_is_zero(scheme):
    for size in (1e-300, 0.1, 3.0, 1e6):
        s = np.full(scheme.modes, size)
        for c in (0.0, 0.7):
            assert common_imbalance(scheme, s, c) == 0
            assert common_imbalance_dissipation(scheme, s, c) == 0
        assert lyapunov(scheme, s) == dissipation(scheme, s) == 0
        assert log_dissipation(scheme, s) == -np.inf


def test_undefined_states_are_nan():
    scheme = hadamard(4)
    s = np.array([[1.0, 2.0, 3.0], [1.0, 0.0, 2.0], [1.0, -0.1, 2.0], [-1.0, -2.0, 0.5], [0.0, 0.0, 0.0]])
    for function in (lyapunov, dissipation, log_dissipation):
        assert np.isnan(function(scheme, s)).tolist() == [False, True, True, True, True]
    for function in (common_imbalance, common_imbalance_dissipation):
        assert np.isnan(function(scheme, s, 1.0)).tolist() == [False, False, False, True, True]


def test_batches_and_scalars():
    scheme = johnson(5, 2)
    s = np.random.default_rng(6).uniform(0.1, 3, (2, 3, 2))
    for function in (
        lambda s: lyapunov(scheme, s),
        lambda s: dissipation(scheme, s),
        lambda s: common_imbalance(scheme, s, 0.3),
        lambda s: common_imbalance_dissipation(scheme, s, 0.3),
    ):
        rows = [[function(state) for state in row] for row in s]
        assert isinstance(rows[0][0], float)
        np.testing.assert_allclose(function(s), rows, rtol=1e-14)
        assert function(np.empty((0, 2))).shape == (0,)
    assert lyapunov(scheme, [1, 2]) == lyapunov(scheme, [1.0, 2.0])


@pytest.mark.parametrize(
    ("error", "message", "call"),
    [
        (ValueError, r"singular_values must have shape \(\.\.\., 3\)", lambda f: lyapunov(f, [1.0, 2.0])),
        (ValueError, r"singular_values must have shape", lambda f: lyapunov(f, 1.0)),
        (ValueError, "singular_values must be from .* got nan", lambda f: lyapunov(f, [1, 2, np.nan])),
        (ValueError, "singular_values must be from .* got inf", lambda f: lyapunov(f, [1, 2, np.inf])),
        (ValueError, "singular_values must be an array", lambda f: lyapunov(f, [[1, 2, 3], [1]])),
        (TypeError, "singular_values must be real", lambda f: lyapunov(f, ["a", "b", "c"])),
        (TypeError, "singular_values must be real", lambda f: lyapunov(f, [1j, 0, 0])),
        (ValueError, 'reduction must be "mean" or "sum"', lambda f: dissipation(f, [1, 2, 3], "max")),
        (ValueError, "imbalance must be from 0", lambda f: common_imbalance(f, [1, 2, 3], -1.0)),
        (ValueError, "imbalance must be one number", lambda f: common_imbalance(f, [1, 2, 3], [1, 2, 3])),
    ],
)
def test_errors(error, message, call):
    with pytest.raises(error, match=message):
        call(hadamard(4))
