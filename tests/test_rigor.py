"""Interval arithmetic: signs and enclosures that hold for whole boxes, rounding included."""

import math
import sys

import numpy as np
import pytest

import ceflow as cf

flint = pytest.importorskip("flint", reason="interval arithmetic needs python-flint")
from ceflow import rigor  # noqa: E402


@pytest.mark.parametrize(
    ("scheme", "centre", "width"),
    [
        (cf.hadamard(4), [1.0, 2.0, 4.0], 0.3),
        (cf.hadamard(4), [0.1, 5.0, 5.0], 0.09),
        (cf.hadamard(4), [1e-3, 2e-3, 5e-4], 1e-4),
        (cf.hadamard(4), [40.0, 41.0, 42.0], 0.3),
        (cf.cyclic(5), [3.0, 1.0], 0.9),
        (cf.johnson(5, 2), [1.0, 3.0], 0.9),
        (cf.hadamard(8), [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0], 0.02),
        (cf.hadamard(8), [0.5, 0.5, 0.5, 9.0, 9.0, 9.0, 9.0], 0.05),
        (cf.cyclic(9), [4.0, 3.0, 2.0, 1.0], 0.2),
    ],
    ids=str,
)
def test_v_falls_on_whole_boxes(scheme, centre, width):
    low, high = np.array(centre) - width, np.array(centre) + width
    sign = rigor.dissipation_sign(scheme, low, high)
    assert sign.proved and sign.undecided is None
    inside = np.random.default_rng(0).uniform(low, high, (100, scheme.modes))
    assert np.all(cf.lyapunov.dissipation(scheme, inside) < 0.0)


@pytest.mark.parametrize("K", [4, 8])
def test_v_falls_on_random_boxes(K):
    rng, scheme, boxes = np.random.default_rng(K), cf.hadamard(K), 0
    for _ in range(20):
        s = np.exp(rng.uniform(-7.0, 3.0)) * rng.uniform(0.2, 1.0, K - 1)
        width = 0.01 * s if K == 8 else 0.03 * s
        if np.ptp(s) > 10 * width.max():
            sign = rigor.dissipation_sign(scheme, s - width, s + width)
            assert sign.proved, (s, sign)
            boxes += sign.boxes
    assert boxes > 10


def test_a_box_that_holds_the_ray_is_not_proved():
    sign = rigor.dissipation_sign(cf.hadamard(4), [0.9, 0.9, 0.9], [1.1, 1.1, 1.1], max_boxes=200)
    assert not sign.proved and sign.boxes <= 200
    assert np.all(np.array(sign.undecided[0]) >= 0.9)


def test_enclosures_contain_what_they_enclose():
    """f at points of a box, in plain numbers, and the sign of the dissipation."""
    for scheme in (cf.hadamard(4), cf.cyclic(7)):
        low, high = np.full(3, 0.5), np.array([0.9, 1.5, 2.0])
        gaps = rigor._algebra(scheme, flint.arb)[2]
        assert all(ball.rel_accuracy_bits() > 100 for row in gaps for ball in row if not ball.contains(0))
        np.testing.assert_allclose([[float(ball) for ball in row] for row in gaps], scheme.gaps, rtol=1e-14, atol=1e-40)
        m, k, K = scheme.multiplicities[1:], scheme.valencies[1:], scheme.classes
        ball, slopes = rigor._enclosure(flint.arb, gaps, [int(x) for x in m], [int(x) for x in k], K, low, high)

        def plain(s, scheme=scheme, m=m, k=k, K=K):
            return (m * scheme.forces(k * np.exp(-scheme.margins(s)))) @ (s - s @ m / (K - 1))

        for s in np.random.default_rng(0).uniform(low, high, (50, 3)):
            assert ball.contains(flint.arb(plain(s)))
            for slope, step in zip(slopes, 1e-6 * np.eye(3), strict=True):
                assert slope.contains(flint.arb((plain(s + step) - plain(s - step)) / 2e-6, 1e-7))


@pytest.mark.parametrize("K", [2, 4, 1000])
def test_the_ray_is_enclosed(K):
    for s0 in (1e-12, 1e-3, 1.0, 30.0):
        for s in (s0 * (1 + 1e-9), 2 * s0, s0 + 1.0, 100.0, 700.0, 1e6):
            if s <= s0:
                continue
            ball = rigor.ray_time(s, s0, K)
            assert ball.rel_accuracy_bits() > 40
            log_time = cf.theory.ray_log_time(s, s0, K, reduction="sum")
            assert abs(float(ball.log()) - log_time) <= 1e-13 * max(1.0, abs(log_time))
            # the inverse: the time of a slightly smaller value is earlier, for certain, and of a larger one later
            back = float(cf.theory.ray_singular_value(log_t=log_time, s0=s0, classes=K, reduction="sum"))
            slack = 1e-12 * (1.0 + abs(math.log(s / s0)))
            assert rigor.ray_time(max(s0, back * (1 - slack)), s0, K) <= ball.upper()
            assert rigor.ray_time(back * (1 + slack), s0, K) > ball


def test_bad_input():
    for low, high in (
        ([1.0, 1.0], [2.0, 2.0]),
        ([0.0, 1.0, 1.0], [2.0] * 3),
        ([3.0] * 3, [2.0] * 3),
        ([1.0] * 3, [np.inf] * 3),
    ):
        with pytest.raises(ValueError, match="low and high"):
            rigor.dissipation_sign(cf.hadamard(4), low, high)
    with pytest.raises(ValueError, match="s0"):
        rigor.ray_time(1.0, 2.0, 4)


def test_without_flint(monkeypatch):
    monkeypatch.setitem(sys.modules, "flint", None)
    with pytest.raises(ImportError, match="reference"):
        rigor.ray_time(2.0, 1.0, 4)
