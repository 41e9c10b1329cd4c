"""Vectors of `LANES` float64 numbers as values of kernels, for several runs at once.

Compilers do not reliably vectorize loops over few numbers. Here `+ - * /` of vectors, and of vectors and floats, are
vector instructions; a product and a sum may be fused to one rounding. Lanes are independent. In interpreted mode a
vector is a NumPy array.
"""

from __future__ import annotations

import numpy as np

from . import KERNEL, Intrinsic, njit
from .exponential import LOG_2, PER_LOG_2, REST, ROUND, C
from .lane_count import LANES


@Intrinsic
def load(x, i):
    """Load ``x[i : i + LANES]`` from a contiguous one-dimensional array."""
    return x[i : i + LANES].copy()


@Intrinsic
def store(x, i, value):
    """Store ``x[i : i + LANES] = value``."""
    x[i : i + LANES] = value


@Intrinsic
def splat(value):
    """Vector with the same number in every lane."""
    return np.full(LANES, value)


@Intrinsic
def where_less(x, y, this, that):
    """Select in each lane `this` if x < y, else `that` (also for NaN)."""
    return np.where(x < y, this, that)


@Intrinsic
def square_root(x):
    """Square root."""
    return np.sqrt(x)


@Intrinsic
def absolute(x):
    """Absolute value."""
    return np.abs(x)


@Intrinsic
def _two_to(rounded):
    """2**n for integers n given as n + ROUND."""
    return ((rounded.view(np.int64) + 1023) << 52).view(np.float64)


@Intrinsic
def _exponent(x):
    """2**52 + the biased exponent of a positive number, by setting the last bits of 2**52."""
    return (x.view(np.int64) >> 52 | 0x4330000000000000).view(np.float64)


@Intrinsic
def _mantissa(x):
    """Mantissa of a positive number, in [1, 2)."""
    return (x.view(np.int64) & 0x000FFFFFFFFFFFFF | 0x3FF0000000000000).view(np.float64)


@njit(**KERNEL)
def larger(x, y):
    """Larger one of two numbers; y if one is NaN."""
    return where_less(y, x, x, y)


@njit(**KERNEL)
def smaller(x, y):
    """Smaller one of two numbers; y if one is NaN."""
    return where_less(x, y, x, y)


@njit(**KERNEL)
def exp_lanes(x):
    """``exp(x)`` as in `exponential.exp`, with x clipped to [-708, 709]."""
    x = smaller(larger(x, splat(-708.0)), splat(709.0))
    rounded = x * PER_LOG_2 + ROUND
    n = rounded - ROUND
    r = (x - n * LOG_2) - n * REST
    r2 = r * r
    low = (r * C[1] + C[0]) + r2 * (r * C[3] + C[2])
    high = (r * C[5] + C[4]) + r2 * (r * C[7] + C[6]) + r2 * r2 * (r * C[9] + C[8])
    return ((r + r2 * (low + r2 * r2 * high)) + 1.0) * _two_to(rounded)


# 2 (1/3, 1/5, ..), adjusted so that seven terms suffice
L = (
    0.6666666666666735130,
    0.3999999999940941908,
    0.2857142874366239149,
    0.2222219843214978396,
    0.1818357216161805012,
    0.1531383769920937332,
    0.1479819860511658591,
)


@njit(**KERNEL)
def log_lanes(x):
    """``log(x)`` of positive normal numbers, to two units in the last place (the series of fdlibm).

    ``x = 2**n (1 + f)`` with 1 + f between the roots of 1/2 and 2; ``log(1 + f)`` is a series in ``f / (2 + f)``.
    """
    n, m = _exponent(x) - (2.0**52 + 1023.0), _mantissa(x)
    top = splat(1.4142135623730951)
    n, m = where_less(top, m, n + 1.0, n), where_less(top, m, m * 0.5, m)
    f = m - 1.0
    s = f / (f + 2.0)
    z = s * s
    w = z * z
    odd = w * (w * (w * L[5] + L[3]) + L[1])
    even = z * (w * (w * (w * L[6] + L[4]) + L[2]) + L[0])
    half = f * f * 0.5
    return n * LOG_2 + (f - (half - (s * (half + odd + even) + n * REST)))


# Power series of several numbers: `row` entries for the coefficients of one, an odd number of vectors.


@njit(**KERNEL)
def extend_series(x, y, numbers, row, k, factor, copy):
    """Compute coefficient k + 1 of series y: `factor` times coefficient k of the products of x and y. Write it to
    `copy` too, and return its sum over all numbers.

    For even k the known part of the next coefficient is computed in the same pass and stored in its place.
    """
    total, n = splat(0.0), k * LANES
    for number in range(numbers):
        i = number * row
        here, later = splat(0.0), splat(0.0)  # coefficients k and k + 1
        if k % 2 == 1:
            here = load(y, i + n + LANES)
        elif k > 0:
            v = load(y, i + n - LANES)
            for p in range(2 * LANES, n, LANES):  # oldest coefficients first
                u = load(x, i + p)
                later = later + u * v
                v = load(y, i + n - p)
                here = here + u * v
            u = load(x, i + LANES)
            here, later = here + u * load(y, i + n - LANES), later + u * load(y, i + n)
            later = later + load(x, i + n) * load(y, i + LANES)
        if k % 2 == 0:
            store(y, i + n + 2 * LANES, later)
        if k > 0:
            here = here + load(x, i) * load(y, i + n)
        here = (here + load(x, i + n) * load(y, i)) * factor
        store(y, i + n + LANES, here)
        store(copy, number * LANES, here)
        total = total + here
    return total


@njit(**KERNEL)
def sum_series(x, powers, row, start, sums, rates):
    """Evaluate the series x into `rates`, and `start` plus their integrals into `sums`, from the powers of a position
    and their integrals."""
    for place in range(0, rates.size, LANES):
        i = place // LANES * row
        rate, integral = splat(0.0), splat(0.0)
        for p in range(row - LANES, -LANES, -LANES):  # small terms first
            u = load(x, i + p)
            rate, integral = rate + u * load(powers, p), integral + u * load(powers, row + p)
        store(rates, place, rate)
        store(sums, place, load(start, place) + integral)
