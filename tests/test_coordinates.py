"""Coordinates of layers against mpmath, where digits are easily lost: nearly opposite layers, and tiny ones."""

import mpmath as mp
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import ceflow as cf
from ceflow.network import coordinates

examples = settings(
    derandomize=True, deadline=None, max_examples=300, database=None, suppress_health_check=list(HealthCheck)
)
DIGITS, ROUNDING = 60, 1e-15


def exact(a, b, y, theta):
    """Both layers at the coordinate y of a mode that starts from a and b."""
    with mp.workdps(DIGITS):
        a, b, y, theta = map(mp.mpf, (a, b, y, theta))
        fall = mp.exp(-y - 2 * theta)
        growth = (a + b) * (mp.exp(y) - fall) / 2
        return a * fall + growth, b * fall + growth


@examples
@given(
    exponent=st.floats(-149.0, 0.0), apart=st.floats(-15.5, 0.5), sign=st.sampled_from([1.0, -1.0]),
    swapped=st.booleans(), y=st.floats(-2.0, 80.0), theta=st.sampled_from([0.0, 1e-3, 1.0, 30.0]),
)  # fmt: skip
def test_two_layers_of_any_ratio(exponent, apart, sign, swapped, y, theta):
    b = 10.0**exponent
    a = sign * b * (1.0 + 10.0**apart)
    pair = (b, a) if swapped else (a, b)
    first, second = exact(*pair, y, theta)
    size = float(first**2 + second**2)
    product, square = coordinates.pair(coordinates.constants(np.array([[pair[0]], [pair[1]]])), y, theta, 0)
    slack = ROUNDING * (1.0 + abs(y) + theta)  # an error of the coordinate by its own rounding
    assert abs(product - float(first * second)) <= slack * size + 1e-300
    assert square == pytest.approx(size / 2, rel=4 * slack, abs=1e-300)


@pytest.mark.parametrize("scale", [1.0, 1e-3, 1e-149])
@pytest.mark.parametrize("apart", [1e-7, 1e-8, 1e-12])
def test_runs_from_nearly_opposite_layers(scale, apart):
    """They fade until almost nothing is left, and then grow. With one mode of two classes, 2 dt = (1 + e^s) dy."""
    start = np.array([[-scale * (1.0 + apart)], [scale]])
    run = cf.integrate(cf.SpectralFlow(cf.complete(2), reduction="sum"), start, log_t_end=12.0, rtol=1e-10)
    s, layers = run.singular_values[:, 0], run.layers[:, :, 0]
    assert np.all(np.abs(s - layers.prod(axis=1)) <= ROUNDING * (layers**2).sum(axis=1) + 1e-300)
    assert s[0] < 0.0 < s[-1]
    with mp.workdps(30):
        growing, fading = (mp.mpf((start[0, 0] + start[1, 0]) / 2), mp.mpf((start[0, 0] - start[1, 0]) / 2))

        def value(y):
            return growing**2 * mp.exp(2 * y) - fading**2 * mp.exp(-2 * y)

        end = mp.findroot(lambda y: value(y) - mp.mpf(s[-1]), mp.log(mp.mpf(s[-1]) / growing**2) / 2)
        time = mp.quad(lambda y: (1 + mp.exp(value(y))) / 2, [0, 1, *(end - x for x in (16, 8, 4, 2, 1, 0.5, 0.2, 0))])
        assert float(mp.log(time)) == pytest.approx(12.0, abs=1e-8)
