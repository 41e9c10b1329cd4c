"""The exponential for kernels against mpmath, and against math.exp where there is nothing to round."""

import math
import platform

import mpmath
import numpy as np
import pytest
from numba import njit

from ceflow.kernels.exponential import exp

SMALLEST, LARGEST = math.log(2.0**-1074), math.log(np.finfo(float).max)
NORMAL = math.log(2.0**-1022)


@njit
def exp_of_all(x, out):
    for i in range(x.size):
        out[i] = exp(x[i])


def exponentials(x):
    out = np.empty_like(x)
    exp_of_all(x, out)
    return out


def largest_error(x):
    """In units in the last place of the exact result."""
    errors = []
    with mpmath.workprec(120):
        for exponent, found in zip(x.tolist(), exponentials(x).tolist(), strict=True):
            exact = mpmath.exp(exponent)
            unit = mpmath.ldexp(1, max(mpmath.frexp(exact)[1] - 53, -1074))
            errors.append(abs(found - exact) / unit)
    return float(max(errors))


@pytest.mark.parametrize(
    ("low", "high", "bound"),
    [
        (-1e-3, 1e-3, 0.51),
        (-1.0, 1.0, 1.1),
        (-40.0, 0.0, 1.1),
        (NORMAL, LARGEST, 1.1),
        (SMALLEST, NORMAL, 1.1),
        (-800.0, SMALLEST, 1.0),
    ],
)
def test_errors_are_about_one_unit_in_the_last_place(low, high, bound):
    assert largest_error(np.random.default_rng(0).uniform(low, high, 4000)) < bound


def test_errors_where_the_reduction_changes_from_one_power_of_2_to_the_next():
    x = (np.arange(-1021, 1023) + 0.5) * math.log(2)
    for shift in (-1e-12, 0.0, 1e-12):
        assert largest_error(x + x * shift) < 1.1


def test_extreme_arguments():
    x = np.array([np.inf, LARGEST + 1e-10, 710.0, 1e300, -np.inf, SMALLEST - 1, -1e300, 0.0, -0.0, 1e-320, -1e-17])
    np.testing.assert_array_equal(exponentials(x), [np.inf] * 4 + [0.0] * 3 + [1.0] * 4)
    assert np.isnan(exponentials(np.array([np.nan, -np.nan]))).all()
    assert exponentials(np.array([LARGEST - 1e-12]))[0] < np.inf
    assert exponentials(np.array([-745.1]))[0] == 2.0**-1074


def test_it_decreases_by_one_unit_at_most_from_one_number_to_the_next():
    for start in (-745.0, -708.4, -30.0, -1.5 * math.log(2), -0.5 * math.log(2), -1e-15, 0.5 * math.log(2), 700.0):
        x = start + np.spacing(start) * np.arange(-2000, 2000)
        x.sort()
        steps = np.diff(exponentials(x)) / np.spacing(math.exp(start))
        assert steps.min() >= -1.0


def test_a_number_has_the_same_exponential_wherever_it_is_in_an_array():
    x = np.random.default_rng(1).uniform(-750, 710, 1003)  # the last ones are not part of any vector
    together = exponentials(x)
    np.testing.assert_array_equal([exp(value) for value in x], together)
    np.testing.assert_array_equal(exponentials(x[1:].copy()), together[1:])


@pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="names of x86 instructions")
def test_loops_become_vector_instructions():
    exponentials(np.zeros(1))
    (assembly,) = exp_of_all.inspect_asm().values()
    assert "mulpd" in assembly or "fmadd213pd" in assembly
