"""Exponential function for kernels; loops over it are vectorized, unlike loops over math.exp.

``exp(x) = 2**n exp(r)``, with n the integer nearest to ``x / log 2``, and ``|r| <= log(2) / 2``. There is no branch, no
table and no call in it.
"""

from __future__ import annotations

import math

import numpy as np

from . import KERNEL, njit

LOWEST, HIGHEST = -750.0, 710.0  # exp is 0 below the first, and infinite above the second
PER_LOG_2 = 1.4426950408889634
LOG_2, REST = 0.6931471803691238, 1.9082149292705877e-10  # LOG_2 has trailing zero bits, so n * LOG_2 is exact
ROUND = 1.5 * 2.0**52  # adding this rounds to an integer, stored in the last bits
BIAS, PLACE = np.uint64(1023), np.uint64(52)  # the bits ``(n + BIAS) << PLACE`` are the float64 2**n
# 1 + r + r^2 (C[0] + C[1] r + ..) is exp(r) up to 2e-17; interpolated in the zeros of a Chebyshev polynomial
C = (
    0.5000000000000001,
    0.16666666666666669,
    0.04166666666662413,
    0.008333333333330062,
    0.0013888888917213717,
    0.00019841269863053618,
    2.4801521295954376e-05,
    2.7557268459997064e-06,
    2.7620088445409746e-07,
    2.510038549551032e-08,
)


@njit(**KERNEL, fastmath={"contract"})
def exp(x):
    """``exp(x)`` for compiled loops.

    Parameters
    ----------
    x : float

    Returns
    -------
    float
        The error is at most 1.1 units in the last place, and 0 at x = 0. Infinity, NaN, overflow and gradual underflow
        are as in `numpy.exp`, without warnings.
    """
    x = LOWEST if x < LOWEST else x
    x = HIGHEST if x > HIGHEST else x
    rounded = np.float64(x * PER_LOG_2 + ROUND)
    n = rounded - ROUND
    r = (x - n * LOG_2) - n * REST
    r2 = r * r
    low = (C[0] + r * C[1]) + r2 * (C[2] + r * C[3])
    high = (C[4] + r * C[5]) + r2 * (C[6] + r * C[7]) + r2 * r2 * (C[8] + r * C[9])
    digits = rounded.view(np.uint64)
    half = digits >> np.uint64(1)  # 2**n may overflow or underflow although its product with exp(r) does not
    power = np.uint64((half + BIAS) << PLACE).view(np.float64)
    other_power = np.uint64((digits - half + BIAS) << PLACE).view(np.float64)
    return (1.0 + (r + r2 * (low + r2 * r2 * high))) * power * other_power


exp.vectorized(np.exp)


@njit(**KERNEL)
def softplus(a: float) -> float:
    """``log(1 + exp(a))``, without overflow."""
    return max(a, 0.0) + math.log1p(math.exp(-abs(a)))
