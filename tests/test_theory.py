"""Closed forms against 50-digit arithmetic, and bounds against scipy's integration of the flow."""

import math
from itertools import product

import mpmath
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mpmath import mpf
from scipy.integrate import solve_ivp

from ceflow.symmetry import complete, cyclic, hadamard, hamming, johnson
from ceflow.theory import (
    collapse_exponent,
    collapsed_loss,
    deviation_decay,
    geometric_mean_bound,
    least_log_loss,
    loss_bound,
    loss_log_bound,
    ray_log_time,
    ray_singular_value,
    ray_time,
)

SCHEMES = [hadamard(8), cyclic(9), johnson(5, 2), hamming(2, 3)]
by_scheme = pytest.mark.parametrize("scheme", SCHEMES, ids=lambda scheme: scheme.name)
by_classes = pytest.mark.parametrize("classes", [2, 4, 1024])
STARTS = [1e-300, 1e-12, 1e-3, 0.5, 3.0, 49.0, 51.0, 600.0, 1e6]
STEPS = [1e-12, 1e-9, 1e-3, 0.1, 0.9, 3.0, 30.0, 1e3, 1e6]
GRID = np.array([(s0 * (1 + step), s0) for s0, step in product(STARTS, STEPS) if s0 * (1 + step) <= 2e6]).T


@pytest.fixture(autouse=True)
def fifty_digits():
    with mpmath.workdps(50):
        yield


def exact_log_time(s, s0, classes):
    """Balanced, "sum"."""
    s, s0 = mpf(float(s)), mpf(float(s0))
    return mpmath.log((mpmath.ei(s) - mpmath.ei(s0) + (classes - 1) * mpmath.log(s / s0)) / (2 * classes))


def exact_unbalanced_time(s, s0, classes, c):
    """ "sum"; the integral of ds over the velocity, over asinh(2s/c)."""
    u, u0 = (mpmath.asinh(2 * mpf(float(x)) / mpf(c)) for x in (s, s0))
    with mpmath.workdps(25):
        return mpmath.quad(
            lambda v: (mpmath.exp(mpf(c) / 2 * mpmath.sinh(v)) + classes - 1) / (2 * classes), mpmath.linspace(u0, u, 4)
        )


def probabilities(scheme, s):
    """``k_j p_j``, each with full relative accuracy."""
    odds = scheme.valencies[1:] * np.exp(-scheme.margins(s))
    return odds / (1 + odds.sum(axis=-1, keepdims=True))


def loss_of(scheme, s):
    """Of one class: the "mean" loss."""
    return np.log1p((scheme.valencies[1:] * np.exp(-scheme.margins(s))).sum(axis=-1))


def flow(scheme, s0, t):
    """Balanced reduced flow at times t of "sum"."""
    path = solve_ivp(
        lambda _, u: 2 * scheme.forces(probabilities(scheme, np.exp(u))),
        (0, t[-1]),
        np.log(s0),
        method="DOP853",
        rtol=1e-11,
        atol=1e-13,
        t_eval=t,
    )
    assert path.success
    return np.exp(path.y.T)


# -- the ray ----------------------------------------------------------------------------------------------------------


@by_classes
def test_ray_time_and_its_inverse_against_the_exponential_integral(classes):
    s, s0 = GRID
    expected = [exact_log_time(*ends, classes) for ends in zip(s, s0, strict=True)]
    log_t = np.array(list(map(float, expected)))
    np.testing.assert_allclose(ray_log_time(s, s0, classes, reduction="sum"), log_t, rtol=1e-14, atol=1e-14)
    np.testing.assert_allclose(ray_log_time(s, s0, classes), log_t + math.log(classes), rtol=1e-14, atol=1e-14)
    inverse = ray_singular_value(log_t=log_t, s0=s0, classes=classes, reduction="sum")
    np.testing.assert_allclose(inverse, s, rtol=2e-14)
    small = log_t < 700
    t = np.array([float(mpmath.exp(value)) for value in expected if value < 700])
    assert small.sum() > 40 and not small.all()
    np.testing.assert_allclose(ray_time(s, s0, classes, reduction="sum")[small], t, rtol=3e-14)
    back = ray_singular_value(t * classes, s0=s0[small], classes=classes)
    np.testing.assert_allclose(back, s[small], rtol=2e-14)
    assert np.isinf(ray_time(s, s0, classes)[log_t > 720]).all()


@by_classes
@pytest.mark.parametrize("c", [1e-9, 0.3, 40.0])
def test_unbalanced_ray_against_the_integral(classes, c):
    ends = [(s0 + step * max(s0, c), s0) for s0 in (0.0, 1e-12, 0.4, 5.0, 60.0) for step in (1e-6, 0.5, 7.0)]
    s, s0 = np.array(ends).T
    t = np.array([float(exact_unbalanced_time(*pair, classes, c)) for pair in ends])
    np.testing.assert_allclose(ray_time(s, s0, classes, imbalance=c, reduction="sum"), t, rtol=3e-14)
    back = ray_singular_value(t, s0=s0, classes=classes, imbalance=c, reduction="sum")
    np.testing.assert_allclose(back, s, rtol=1e-13)


@by_classes
def test_short_times(classes):
    for s0 in (1e-300, 1e-3, 2.0, 600.0):
        force = float(classes / (mpmath.exp(s0) + classes - 1))
        assert ray_time(s0, s0, classes) == 0 and ray_log_time(s0, s0, classes) == -np.inf
        for start in ({"t": 0}, {"t": 0.0}, {"log_t": -np.inf}, {"log_t": -1e300}, {"t": 5e-324}):
            assert ray_singular_value(**start, s0=s0, classes=classes) == s0
        t = 1e-9 / force
        moved = ray_singular_value(t, s0=s0, classes=classes, reduction="sum") - s0
        assert moved / s0 == pytest.approx(2e-9, rel=1e-6)
    assert ray_singular_value(0.0, s0=0.0, classes=classes, imbalance=1.0) == 0
    first = ray_singular_value(1e-250, s0=0.0, classes=classes, imbalance=3.0, reduction="sum")
    assert first == pytest.approx(3e-250, rel=1e-13)  # lambda = 1 at s = 0


def test_margins_grow_like_log_t_plus_log_log_t():
    log_t = np.array([1e3, 1e6, 1e12, 1e290])
    s = ray_singular_value(log_t=log_t, s0=1e-3, classes=4, reduction="sum")
    np.testing.assert_allclose(s[:2], log_t[:2] + np.log(8 * log_t[:2]), rtol=2e-5)
    np.testing.assert_allclose(s[2:], log_t[2:], rtol=1e-10)
    np.testing.assert_allclose(ray_log_time(s, 1e-3, 4, reduction="sum"), log_t, rtol=1e-14)
    for end in (4e15, 1e18, 1e300):  # where s - 45 and s are neighbours, or the same
        expected = float(mpf(end) - mpmath.log(8 * mpf(end)))
        assert ray_log_time(end, 1.0, 4, reduction="sum") == pytest.approx(expected, rel=1e-15)
        assert ray_singular_value(log_t=expected, s0=1.0, classes=4, reduction="sum") == pytest.approx(end, rel=1e-15)
    assert ray_time(712.0, 700.0, 4) == pytest.approx(float(4 * mpmath.exp(exact_log_time(712, 700, 4))), rel=3e-14)


def test_shapes_units_and_scalars():
    s, s0 = np.array([[2.0], [3.0]]), np.array([0.1, 1.0, 2.0])
    for time in (ray_time, ray_log_time):
        table = time(s[1:], s0, 5, imbalance=0.2)
        assert table.shape == (1, 3)
        # not bit for bit: matrix products of other shapes may add in another order
        np.testing.assert_allclose([time(3, x, 5, imbalance=0.2) for x in s0], table[0], rtol=1e-14)
        assert isinstance(time(3, 1, 5), float)
        assert time(np.empty(0), 1.0, 5).shape == (0,)
    t = np.array([[0.0], [1.5], [40.0]])
    table = ray_singular_value(t, s0=s0, classes=5)
    assert table.shape == (3, 3)
    for i, j in np.ndindex(3, 3):
        assert table[i, j] == pytest.approx(ray_singular_value(t[i, 0], s0=s0[j], classes=5), rel=1e-15)
    assert isinstance(ray_singular_value(1, s0=1, classes=np.int64(5)), float)
    assert ray_time(3.0, 1.0, 5) == pytest.approx(5 * ray_time(3.0, 1.0, 5, reduction="sum"), rel=1e-15)
    once, later = (ray_singular_value(x, s0=1.0, classes=5, reduction=r) for x, r in ((2.0, "sum"), (10.0, "mean")))
    assert once == pytest.approx(later, rel=1e-15)


@settings(deadline=None, derandomize=True, max_examples=60)
@given(st.integers(2, 10**6), st.floats(-290, 5), st.floats(-600, 1e5), st.sampled_from([0.0, 1e-8, 1.0, 1e4]))
def test_ray_inverts_its_time_everywhere(classes, log_s0, log_t, c):
    s0 = 10**log_s0
    s = ray_singular_value(log_t=log_t, s0=s0, classes=classes, imbalance=c)
    assert s >= s0
    if s - s0 > 1e-6 * s:  # else s is s0 to few digits or none
        back = ray_log_time(s, s0, classes, imbalance=c)
        assert back == pytest.approx(log_t, rel=1e-13, abs=1e-8)


# -- bounds -----------------------------------------------------------------------------------------------------------


@by_scheme
@pytest.mark.parametrize("spread", [0.01, 1.0, 4.0])
def test_bounds_hold_along_the_flow(scheme, spread):
    share = scheme.multiplicities[1:] / (scheme.classes - 1)
    s0 = 0.1 * np.exp(np.random.default_rng(1).uniform(-spread, 0, scheme.modes))
    t = np.logspace(-3, 4, 57)
    s = flow(scheme, s0, t)
    geometric_mean, loss = np.exp(np.log(s) @ share), loss_of(scheme, s)
    floor = geometric_mean_bound(scheme, s0, t, reduction="sum")
    ceiling = loss_bound(scheme, s0, t, reduction="sum")
    assert (geometric_mean >= floor * (1 - 1e-9)).all()
    assert (scheme.classes * loss <= ceiling * (1 + 1e-9)).all()
    assert (floor > np.exp(-spread) * 0.3 * geometric_mean).all()  # they are not idle
    assert ceiling[-1] < 0.05 and scheme.classes * loss[-1] > ceiling[-1] / 2000
    # the same in the time and loss of "mean", and in log t
    kwargs = {"log_t": np.log(scheme.classes * t)}
    np.testing.assert_allclose(geometric_mean_bound(scheme, s0, **kwargs), floor, rtol=1e-12)
    np.testing.assert_allclose(scheme.classes * loss_bound(scheme, s0, **kwargs), ceiling, rtol=1e-12)
    # the averaged flow straight from its own definition: K times slower, with the loss of one class
    assert (loss <= loss_bound(scheme, s0, scheme.classes * t) * (1 + 1e-9)).all()


@by_scheme
def test_geometric_mean_bound_is_exact_at_the_start_and_on_the_ray(scheme):
    s0 = np.random.default_rng(2).uniform(0.1, 2, (2, scheme.modes))
    share = scheme.multiplicities[1:] / (scheme.classes - 1)
    np.testing.assert_allclose(geometric_mean_bound(scheme, s0, 0.0), np.exp(np.log(s0) @ share), rtol=1e-14)
    t = np.array([0.1, 3.0, 1e5])
    s = geometric_mean_bound(scheme, np.full(scheme.modes, 0.2), t, reduction="sum")
    expected = [float(mpmath.exp(exact_log_time(x, 0.2, scheme.classes))) for x in s]
    np.testing.assert_allclose(expected, t, rtol=1e-12)
    assert geometric_mean_bound(scheme, s0[:, None], t).shape == (2, 3)
    assert isinstance(geometric_mean_bound(scheme, s0[0], 1), float)


@by_scheme
@pytest.mark.parametrize("log_scale", [-280.0, -3.0, 0.0, 1.5])
def test_loss_bound_is_the_minimum(scheme, log_scale):
    K, m = scheme.classes, list(map(int, scheme.multiplicities[1:]))
    s0 = 10**log_scale * np.random.default_rng(3).uniform(0.1, 1, scheme.modes)
    start = [mpf(float(x)) for x in s0]

    def bound(x, t):
        divergence = mpmath.fsum(n * (x * mpmath.log(x / y) - x + y) / 2 for n, y in zip(m, start, strict=True))
        return K * mpmath.log1p((K - 1) * mpmath.exp(-x)) + divergence / t

    def best(t):  # by bisection of the derivative, which increases, in log x
        low, high = min(map(mpmath.log, start)), mpmath.log(mpmath.log(t) * 2 + 3 * max(start) + 80)
        for _ in range(180):
            x = mpmath.exp((low + high) / 2)
            logs = mpmath.fsum(n * mpmath.log(x / y) / 2 for n, y in zip(m, start, strict=True))
            rising = logs / t > K * (K - 1) / (mpmath.exp(x) + K - 1)
            low, high = (low, (low + high) / 2) if rising else ((low + high) / 2, high)
        return x

    for log_t in (-9.0, 0.0, 3.0, 30.0, 600.0, 3e4):
        t = mpmath.exp(log_t)
        x = best(t)
        expected = bound(x, t)
        assert min(bound(x * mpf(1.1) ** n, t) for n in range(-20, 20)) >= expected * (1 - mpf(10) ** -40)
        value = loss_log_bound(scheme, s0, log_t=log_t, reduction="sum")
        assert value == pytest.approx(float(mpmath.log(expected)), rel=2e-14, abs=2e-14)
        averaged = loss_log_bound(scheme, s0, log_t=log_t + math.log(K))
        assert averaged == pytest.approx(value - math.log(K), rel=1e-14, abs=1e-12)
        if log_t < 700:
            assert loss_bound(scheme, s0, float(t), reduction="sum") == pytest.approx(float(expected), rel=2e-13)


def test_shapes_of_the_loss_bound():
    s0, t = np.random.default_rng(4).uniform(0.1, 1, (2, 1, 4)), np.array([0.5, 2.0, 1e3])
    table = loss_bound(cyclic(9), s0, t)
    assert table.shape == (2, 3)
    for i, j in np.ndindex(2, 3):
        single = loss_bound(cyclic(9), s0[i, 0], t[j])
        assert isinstance(single, float) and table[i, j] == pytest.approx(single, rel=1e-13)
    assert loss_bound(cyclic(9), s0[0, 0], log_t=1e5) == 0 > loss_log_bound(cyclic(9), s0[0, 0], log_t=1e5)


# -- collapse ---------------------------------------------------------------------------------------------------------


@by_classes
def test_collapsed_loss(classes):
    s = np.array([-1e6, -700.0, -1.0, 0.0, 1e-9, 0.5, 7.0, 40.0, 700.0])
    exact = [float(mpmath.log1p((classes - 1) * mpmath.exp(-mpf(x)))) for x in s]
    np.testing.assert_allclose(collapsed_loss(s, classes), exact, rtol=1e-13)
    np.testing.assert_allclose(collapsed_loss(s, classes, reduction="sum"), np.multiply(classes, exact), rtol=1e-13)
    assert isinstance(collapsed_loss(1, classes), float)
    logs = [float(mpmath.log(x)) for x in exact]
    np.testing.assert_allclose(least_log_loss(s, classes), logs, rtol=1e-13, atol=1e-13)
    assert least_log_loss(1e6, classes) == pytest.approx(math.log(classes - 1) - 1e6, rel=1e-15)
    summed = least_log_loss(s, classes, reduction="sum")
    np.testing.assert_allclose(summed, np.add(math.log(classes), logs), rtol=1e-13, atol=1e-13)
    assert np.isnan(least_log_loss(s, classes, loss="focal")).all(), "it is not proved"


@by_scheme
def test_collapse_has_the_least_loss_at_given_mean(scheme):
    s = np.random.default_rng(5).normal(1, 3, (200, scheme.modes))
    mean = s @ scheme.multiplicities[1:] / (scheme.classes - 1)
    loss = loss_of(scheme, s)
    assert (collapsed_loss(mean, scheme.classes) < loss).all()
    flat = np.broadcast_to(mean[:, None], s.shape)
    np.testing.assert_allclose(collapsed_loss(mean, scheme.classes), loss_of(scheme, flat), rtol=1e-12)


@by_scheme
def test_deviations_decay_as_predicted(scheme):
    share = scheme.multiplicities[1:] / (scheme.classes - 1)
    deviation = np.random.default_rng(6).uniform(-1, 1, scheme.modes)
    deviation -= share @ deviation
    tiny, s1, s = 1e-6, 2.0, np.array([2.5, 6.0, 14.0])

    def slope(mean, log_ratio):  # of log(s_i / mean) in the mean
        values = mean * np.exp(log_ratio)
        rate = scheme.forces(probabilities(scheme, values))
        return rate / (share @ (values * rate)) - 1 / mean

    path = solve_ivp(slope, (s1, s[-1]), np.log1p(tiny * deviation), t_eval=s, method="DOP853", rtol=1e-9, atol=1e-15)
    factor = deviation_decay(s, s1, scheme.classes)
    np.testing.assert_allclose(np.expm1(path.y) / tiny, np.outer(deviation, factor), rtol=0, atol=1e-4 * factor.min())
    assert factor[0] == pytest.approx(math.exp(-0.5 / scheme.classes), rel=1e-15)


@by_classes
def test_collapse_exponent_is_the_slope_in_log_time(classes):
    s = np.array([1e7, 2e7])
    slope = np.diff(np.log(deviation_decay(s[0] + np.array([0.0, 1.0]), s[0], classes)))
    slope /= np.diff(ray_log_time(s[0] + np.array([0.0, 1.0]), 1.0, classes))
    assert slope[0] == pytest.approx(collapse_exponent(classes), rel=1e-6)
    assert collapse_exponent(classes) == -1 / classes
    assert deviation_decay(3, 3, classes) == 1


# -- errors -----------------------------------------------------------------------------------------------------------

RAY = {"s0": 1.0, "classes": 4}
TWO = [1.0, 2.0]


@pytest.mark.parametrize(
    ("error", "message", "call"),
    [
        (TypeError, "exactly one of t and log_t .* got both", lambda: ray_singular_value(1, log_t=1, **RAY)),
        (TypeError, "exactly one of t and log_t .* got none", lambda: ray_singular_value(**RAY)),
        (TypeError, "exactly one of .* none", lambda: geometric_mean_bound(johnson(5, 2), TWO)),
        (TypeError, "exactly one of .* both", lambda: loss_bound(johnson(5, 2), TWO, 1.0, log_t=0.0)),
        (ValueError, "t must be from 0 .* got -1", lambda: ray_singular_value(-1.0, **RAY)),
        (ValueError, "t must be from 0 .* got inf", lambda: ray_singular_value(np.inf, **RAY)),
        (ValueError, "t must be from 0 .* got nan", lambda: geometric_mean_bound(johnson(5, 2), TWO, np.nan)),
        (ValueError, "log_t must be from .* got inf", lambda: ray_singular_value(log_t=np.inf, **RAY)),
        (ValueError, "log_t must be from .* got nan", lambda: ray_singular_value(log_t=[0.0, np.nan], **RAY)),
        (TypeError, "t must be real", lambda: ray_singular_value("1", **RAY)),
        (TypeError, "log_t must be real", lambda: ray_singular_value(log_t=1j, **RAY)),
        (ValueError, "t must be positive", lambda: loss_bound(johnson(5, 2), TWO, [1.0, 0.0])),
        (ValueError, "t must be positive", lambda: loss_log_bound(johnson(5, 2), TWO, log_t=-np.inf)),
        (ValueError, "s must be at least s0, got s = 1.0 < s0 = 2.0", lambda: ray_time(1.0, 2.0, 4)),
        (ValueError, "s must be at least s0, got s = 1.0 < s0 = 2.0", lambda: ray_log_time([3, 1], 2.0, 4)),
        (ValueError, "s must be at least s1, got s = 1.0 < s1 = 2.0", lambda: deviation_decay(1.0, 2.0, 4)),
        (ValueError, "s0 must be from 1e-300", lambda: ray_time(1.0, 0.0, 4)),
        (ValueError, "s0 must be from 0 .* got -1", lambda: ray_time(1.0, -1.0, 4, imbalance=1.0)),
        (ValueError, "s must be from .* got inf", lambda: ray_time(np.inf, 1.0, 4)),
        (ValueError, "s must be from .* got nan", lambda: collapsed_loss(np.nan, 4)),
        (TypeError, "s must be real", lambda: collapsed_loss("a", 4)),
        (ValueError, "imbalance must be from 0", lambda: ray_time(2.0, 1.0, 4, imbalance=-1.0)),
        (ValueError, "imbalance must be one number", lambda: ray_time(2.0, 1.0, 4, imbalance=[1.0])),
        (ValueError, "classes must be at least 2, got 1", lambda: ray_time(2.0, 1.0, 1)),
        (ValueError, "classes must be at least 2, got 1", lambda: collapse_exponent(1)),
        (TypeError, "classes must be an integer, got True", lambda: ray_singular_value(1.0, s0=1.0, classes=True)),
        (TypeError, "classes must be an integer, got 4.0", lambda: collapsed_loss(1.0, 4.0)),
        (ValueError, 'reduction must be "mean" or "sum", got \'max\'', lambda: ray_time(2.0, 1.0, 4, reduction="max")),
        (ValueError, "reduction must be", lambda: ray_singular_value(1.0, **RAY, reduction=None)),
        (ValueError, "reduction must be", lambda: collapsed_loss(1.0, 4, reduction="max")),
        (ValueError, "reduction must be", lambda: loss_bound(johnson(5, 2), TWO, 1.0, reduction="max")),
        (ValueError, r"s0 must have shape \(\.\.\., 2\)", lambda: loss_bound(johnson(5, 2), [1.0], 1.0)),
        (ValueError, "s0 must be from 1e-300", lambda: geometric_mean_bound(johnson(5, 2), [1.0, 0.0], 1.0)),
        (ValueError, r"s0 must have shape \(\.\.\., 1\)", lambda: geometric_mean_bound(complete(3), 1.0, 1.0)),
    ],
)
def test_errors(error, message, call):
    with pytest.raises(error, match=message):
        call()
