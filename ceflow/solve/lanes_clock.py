"""The clock of `clock`, in lanes: time and where in a step it is, of several runs at once.

The clock comes as numbers m, total and speed at each place of a step, with ``dt/dtau = exp(log_unit) (exp(m) + total) /
speed``: so ``phi = log(1 + exp(a)) + b`` with ``a = m - log(total)`` and ``b = log_unit + log(total / speed)``, and
``exp(phi) = exp(b) + exp(a + b)``, a sum of two functions without poles.
"""

from __future__ import annotations

import math

import numpy as np

from .._tolerances import CLOCK_SHARE
from ..kernels import KERNEL, njit
from ..kernels.exponential import exp
from ..kernels.lanes import (
    LANES,
    absolute,
    exp_lanes,
    larger,
    load,
    log_lanes,
    smaller,
    splat,
    square_root,
    store,
    where_less,
)
from .clock import WEIGHTS, panel_values, phi_value

_GAUSS_X, _GAUSS_W = np.polynomial.legendre.leggauss(10)
_NODES, _WEIGHTS = 0.5 * (_GAUSS_X + 1.0), 0.5 * _GAUSS_W
_AIM, _RANGE = 3.5, 4.5  # of phi on a panel: what is aimed at, and what ten points still integrate to rounding
_NEGLIGIBLE = 1e-19  # of exp(phi) over that at the end of a step
_HUGE, _COUNTS = 1e200, 45.0  # an error beyond all tolerances; the least a that counts, as in `clock`
MOST_PANELS = 60
_NEAR, _CLOSE, _MOST_NEWTON = 6.0, 1e-9, 12  # of `near_place`
MOST_FALL = 1.0  # of phi within a step: beyond, its end is not where it is largest


@njit(**KERNEL)
def combined(high, low):
    """`controller.combined` of vectors."""
    return where_less(splat(0.0), high, high * high / square_root(high * high + 0.01 * low * low), high)


@njit(**KERNEL)
def log_sum(x, y):
    """`clock.log_sum` of vectors, the larger one of which is finite."""
    high, low = larger(x, y), smaller(x, y)
    return high + log_lanes(exp_lanes(low - high) + 1.0)


@njit(**KERNEL)
def _a_and_b(clock, place, log_unit):
    log_total = log_lanes(load(clock[place], LANES))
    b = log_unit + (log_total - log_lanes(load(clock[place], 2 * LANES)))
    return load(clock[place], 0) - log_total, b


@njit(**KERNEL)
def phi_at(clock, place, log_unit):
    """phi at a place of a step."""
    a, b = _a_and_b(clock, place, log_unit)
    return b + log_sum(a, splat(0.0))


@njit(**KERNEL)
def times_by_stages(method, clock, phi, end, h, log_t, log_t_new, errors):
    """`clock.time_by_stages`, whatever the rise of phi, which is given at the start and the end of the step."""
    zero = splat(0.0)
    level = larger(load(clock[0], 0), zero)
    share, time, high, low, first = exp_lanes(zero - level), zero, zero, zero, zero
    for i in range(method.last + 1):
        speed = (exp_lanes(load(clock[i], 0) - level) + load(clock[i], LANES) * share) / load(clock[i], 2 * LANES)
        if i == 0:
            first = speed
        time = time + method.weights[method.last, i] * speed
        high = high + method.estimates[0, i] * speed
        low = low + method.estimates[1, i] * speed
    start, stop, sizes = load(phi, 0), load(end, 0), load(h, 0)
    error = sizes * combined(absolute(high / first), absolute(low / first))
    store(log_t_new, 0, log_sum(load(log_t, 0), start + log_lanes(sizes * time / first)))
    store(errors, 0, error * larger(exp_lanes(smaller(start - stop, splat(1.0))), splat(1.0)))


@njit(**KERNEL)
def fit(method, clock, log_unit, end, values, series):
    """`clock.fit`: a and b at the samples, into `values`, and their series (2, s) of vectors."""
    samples = method.samples.size
    for m in range(samples):
        a, b = _a_and_b(clock, method.samples[m], log_unit)
        store(values, m * LANES, a)
        store(values, (samples + m) * LANES, b - load(end, 0))
    for which in range(2):
        for i in range(samples):
            total = splat(0.0)
            for m in range(samples):
                total = total + method.to_chebyshev[i, m] * load(values, (which * samples + m) * LANES)
            store(series, (which * samples + i) * LANES, total)


@njit(**KERNEL)
def _speed(series, samples, x):
    """exp(phi) over that at the end of the step, at places x, from the series (Clenshaw)."""
    u, zero = x * 4.0 - 2.0, splat(0.0)
    a, a_before, b, b_before = zero, zero, zero, zero
    for k in range(samples - 1, 0, -1):
        a, a_before = (load(series, k * LANES) - a_before) + u * a, a
        b, b_before = (load(series, (samples + k) * LANES) - b_before) + u * b, b
    a = (load(series, 0) - a_before) + (u * 0.5) * a
    b = (load(series, samples * LANES) - b_before) + (u * 0.5) * b
    return exp_lanes(b) + exp_lanes(a + b)


@njit(**KERNEL)
def log_integrals(series, samples, end, rise, work, out):
    """``log integral_0^end exp(phi(x)) dx``, over exp(phi) at the end of the step, of steps on which phi rises by so
    much. Not a number where that takes too many panels.

    Panels go from right to left, each as wide as the range of phi allows.
    """
    right, width, total = work[0], work[1], work[2]
    store(right, 0, load(end, 0))
    store(width, 0, smaller(_AIM / larger(load(rise, 0), splat(_AIM)), load(end, 0)))
    store(total, 0, splat(0.0))
    zero, panels, left_over = splat(0.0), 0, True
    while left_over and panels < MOST_PANELS:
        stop, size = load(right, 0), smaller(load(width, 0), load(right, 0))
        part, low, high = zero, splat(1e300), zero
        for i in range(10):
            speed = _speed(series, samples, stop - size * _NODES[i])
            part = part + _WEIGHTS[i] * speed
            low, high = smaller(speed, low), larger(speed, high)
        part = part * size
        # a panel counts if phi varies little on it, or if it does not matter
        spread = log_lanes(high / larger(low, splat(1e-300)))
        spread = where_less(high, splat(_NEGLIGIBLE), zero, spread)
        good = spread - _RANGE  # of those that count less than 0
        store(total, 0, load(total, 0) + where_less(good, zero, part, zero))
        store(right, 0, where_less(good, zero, larger(stop - size, zero), stop))
        # not wider than three times, nor in more than eight parts
        store(width, 0, size * smaller(larger(_AIM / larger(spread, splat(1e-3)), splat(0.125)), splat(3.0)))
        panels += 1
        left_over = False
        for lane in range(LANES):
            left_over = left_over or right[lane] > 0.0
    store(out, 0, log_lanes(load(total, 0)))
    for lane in range(LANES):
        if not (right[lane] <= 0.0 and total[lane] > 0.0 and total[lane] < np.inf):
            out[lane] = np.nan


@njit(**KERNEL)
def times_by_series(end, h, log_t, integrals, out):
    """log t at the ends of steps of which the integral is known."""
    store(out, 0, log_sum(load(log_t, 0), load(end, 0) + log_lanes(load(h, 0)) + load(integrals, 0)))


@njit(**KERNEL)
def _series_errors(series, first, samples, rounding):
    """`clock.interpolation_error` of the series that begins with the vector `first`; huge in place of infinite."""
    end, zero = (first + samples) * LANES, splat(0.0)
    last = larger(absolute(load(series, end - LANES)), 0.1 * absolute(load(series, end - 2 * LANES)))
    decay = larger(smaller(last / (absolute(load(series, end - 3 * LANES)) + 1e-300), splat(1.0)), splat(0.03))
    error, limit = last * decay, 1e-3 * (absolute(load(series, (first + 1) * LANES)) + 1.0)
    return where_less(error, limit, larger(error - rounding, zero), splat(_HUGE))


@njit(**KERNEL)
def time_errors(start, end, log_t, log_t_new, series, samples, rtol, out):
    """Errors of these times, in units of the tolerance, as of `clock.time_by_series`."""
    start, end, zero = load(start, 0), load(end, 0), splat(0.0)
    rounding = 5e-16 * larger(larger(absolute(start), absolute(end)), splat(1.0))
    top = load(series, 0)
    for i in range(1, samples):
        top = top + absolute(load(series, i * LANES))
    error = _series_errors(series, 0, samples, rounding) * exp_lanes(smaller(top, zero))
    error = _series_errors(series, samples, samples, rounding) + where_less(splat(-_COUNTS), top, error, zero)
    drift = exp_lanes(larger(load(log_t_new, 0) - end, load(log_t, 0) - start))
    store(out, 0, CLOCK_SHARE * drift * error / rtol)


@njit(**KERNEL)
def _between(series, left, right, scratch):
    """Integral of exp(phi) between places on one side of which it is at most exp(6) times that on the other."""
    count = 1 + int(abs(right - left) * _NEAR / _AIM)
    u, before, a, b = scratch[:12], scratch[12:24], scratch[24:36], scratch[36:48]
    width, total = (right - left) / count, 0.0
    for part in range(count):
        panel_values(series[0], left + part * width, width, u, before, a)
        panel_values(series[1], left + part * width, width, u, before, b)
        for i in range(12):
            a[i] = exp(b[i]) + exp(a[i] + b[i])
        for i in range(12):
            total += WEIGHTS[i] * a[i]
    return width * total


@njit(**KERNEL)
def near_place(target, log_t, log_t_new, rise, log_integral, series, scratch):
    """`clock.place_of` of one lane, from the end of the step backwards, where time and phi change little within it; not
    a number elsewhere.

    The time over that at the end is 1 less an integral from x to 1, which Newton's method goes along: few and small
    panels, where `place_of` begins anew each time.
    """
    if not (abs(rise) < _NEAR and target > log_t_new - _NEAR and log_t > -np.inf):
        return np.nan
    share, goal = -math.expm1(log_t - log_t_new) * math.exp(-log_integral), math.exp(target - log_t_new)
    x = time = 1.0
    for _ in range(_MOST_NEWTON):
        new = x + math.log(goal / time) * time / (share * math.exp(phi_value(series, x)))
        if not 0.0 < new <= 1.0:
            return np.nan
        if abs(new - x) < _CLOSE:  # the next error is the square of that
            return new
        time -= share * _between(series, new, x, scratch)
        x = new
    return np.nan
