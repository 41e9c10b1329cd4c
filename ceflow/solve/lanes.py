"""Steps by Taylor series, of several runs side by side, each in its lane of `kernels.lanes`, with its own step sizes.

All is done for all lanes at once, and each lane takes of it what is its own: so no run depends on its neighbours, not
even in the last bit. A lane whose run has ended takes the next run. A series gives all states within a step, and time as
well, so that rows cost no further evaluation. As in `members`, a run that needs more than explicit steps is left as it
is.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from .._field import LaneFields
from .._tolerances import SERIES_DEFECT, SERIES_ORDER, SERIES_ORDERS, SERIES_ROUNDING, SERIES_SHARE
from ..kernels import KERNEL, njit
from ..kernels.butterflies import empty
from ..kernels.lanes import LANES, absolute, exp_lanes, larger, load, log_lanes, smaller, splat, store, sum_series, where_less
from ..kernels.linking import call
from .controller import SMALLEST_STEP
from .members import Found
from .outcome import Outcome

_REACHED, _CHANGED, _RUNNING = int(Outcome.REACHED), int(Outcome.CHANGED), int(Outcome.RUNNING)
_NONE = -1  # member of a lane without a run
_SHRINK, _MOST_NEWTON, _CLOSE = 0.2, 100, 1e-8


class Span(NamedTuple):
    """How far to go: log times of rows, the tolerance, the number of coefficients, the most steps and attempts."""

    wanted: np.ndarray
    rtol: float
    order: int
    steps: int
    most: int


class Work(NamedTuple):
    """Arrays that steps are made in: of vectors, one number a lane; and integers of each lane."""

    lane_data: np.ndarray  # data of the fields, number by number
    scratch: np.ndarray  # what they work in
    series: np.ndarray  # (n, order) coefficients of the rates
    powers: np.ndarray  # (order) of a place in the step
    integrals: np.ndarray  # (order) of these powers, from 0
    y: np.ndarray  # (n) at the start of the step, rates there, and the clock
    rates: np.ndarray
    clock: np.ndarray
    y_new: np.ndarray  # the same at its end
    rates_new: np.ndarray
    clock_new: np.ndarray
    rates_within: np.ndarray  # (n) by the series, at the end of the step
    h: np.ndarray
    log_t: np.ndarray
    log_t_new: np.ndarray
    passed: np.ndarray  # time since the start of the step, see `_look`
    good: np.ndarray  # 1 where the defect at the end of the step is small enough
    member: np.ndarray  # int64
    row: np.ndarray  # int64, the next row


@njit(**KERNEL)
def log_sum(x, y):
    """`clock.log_sum` of vectors, the larger one of which is finite."""
    high, low = larger(x, y), smaller(x, y)
    return high + log_lanes(exp_lanes(low - high) + 1.0)


@njit(**KERNEL)
def _look(w, order, time):
    """States and rates at the end of the step, by the series, and time passed, over exp(log_unit + max(m, 0))."""
    h, power, zero, one = load(w.h, 0), splat(1.0), splat(0.0), splat(1.0)
    for k in range(order):
        store(w.powers, k * LANES, power)
        power = power * h
        store(w.integrals, k * LANES, power * (1.0 / (k + 1)))
    sum_series(w.series, w.powers, w.integrals, order * LANES, w.y, w.y_new, w.rates_within)
    m = load(w.clock, 0)
    small = exp_lanes(zero - absolute(m))
    rise = exp_lanes(load(w.clock, 2 * LANES) * h) - 1.0
    # over the logarithm of what is rounded this has no error of cancellation (Kahan)
    mean = where_less(zero, rise, rise / where_less(zero, rise, log_lanes(rise + 1.0), one), one)
    left, right = where_less(m, zero, small, one), where_less(m, zero, one, small)
    store(w.passed, 0, left * h * mean + right * load(w.y_new, time * LANES))


@njit(**KERNEL)
def _choose(order, tolerance, w):
    """Sizes of steps: the largest for which neither of the last two terms of y is above the tolerance."""
    last = before = splat(1e-290)
    for i in range(0, w.series.size, order * LANES):
        last = larger(absolute(load(w.series, i + (order - 1) * LANES)), last)
        before = larger(absolute(load(w.series, i + (order - 2) * LANES)), before)
    one = (math.log(tolerance * order) - log_lanes(last)) * (1.0 / order)
    other = (math.log(tolerance * (order - 1)) - log_lanes(before)) * (1.0 / (order - 1))
    store(w.h, 0, exp_lanes(smaller(one, other)))


@njit(**KERNEL)
def _judge(tolerance, w):
    """Compares rates at the end of steps with what the series say."""
    h, defect, size, bad = load(w.h, 0), splat(0.0), splat(0.0), splat(0.0)
    factor = exp_lanes(load(w.clock, 2 * LANES) * h + (load(w.clock, 0) - load(w.clock_new, 0)))
    for i in range(0, w.y.size, LANES):
        rate = load(w.rates_new, i) * factor
        error = load(w.rates_within, i) - rate
        defect, size = larger(absolute(error), defect), larger(absolute(rate), size)
        bad = bad + error * 0.0  # a comparison loses what is no number
    limit = splat(SERIES_DEFECT * tolerance)
    store(w.good, 0, where_less(h * (defect - size * SERIES_ROUNDING) + bad, limit, splat(1.0), splat(0.0)))


@njit(**KERNEL)
def _step(f, span, w, found):
    """Takes a step of all runs; one that cannot be taken ends a run."""
    order, tolerance = span.order, SERIES_SHARE * span.rtol
    call(f.series, (w.lane_data, f.lane_layout, w.scratch, w.rates, w.clock, w.series, order))
    _choose(order, tolerance, w)
    trying = True
    while trying:
        trying = False
        _look(w, order, found.y.shape[2])
        _start(f, span, w, w.y_new, w.rates_new, w.clock_new)
        _judge(tolerance, w)
        for lane in range(LANES):
            member = w.member[lane]
            if member != _NONE and w.good[lane] == 0.0:
                w.h[lane] *= _SHRINK
                found.nrejected[member] += 1
                found.nfev[member] += 1
                trying = True
                if not w.h[lane] > SMALLEST_STEP:
                    w.member[lane] = _NONE
    store(w.log_t_new, 0, log_sum(load(w.log_t, 0), _log_passed(f.log_unit, w)))


@njit(**KERNEL)
def _log_passed(log_unit, w):
    return log_lanes(load(w.passed, 0)) + (larger(load(w.clock, 0), splat(0.0)) + log_unit)


@njit(**KERNEL)
def _start(f, span, w, y, rates, clock):
    call(f.start, (w.lane_data, f.lane_layout, w.scratch, y, rates, clock, span.order, span.rtol))


@njit(**KERNEL)
def _locate(w, lane, order, time, share):
    """Where in the step of a lane a share of its time has passed: Newton's method for the logarithm, in a bracket."""
    m, bend, h = w.clock[lane], w.clock[2 * LANES + lane], w.h[lane]
    left, right = math.exp(min(m, 0.0)), math.exp(-max(m, 0.0))
    log_goal = math.log(share * w.passed[lane])
    low, high, x = 0.0, h, h * share if bend * h < 1.0 else h + math.log(share) / bend
    for _ in range(_MOST_NEWTON):
        x = x if low < x <= high else 0.5 * (low + high)
        rate = total = 0.0
        for k in range(order - 1, -1, -1):
            c = w.series[(time * order + k) * LANES + lane]
            rate, total = rate * x + c, total * x + c / (k + 1)
        passed = left * (math.expm1(bend * x) / bend if bend > 0.0 else x) + right * total * x
        excess = math.log(passed) - log_goal
        if excess > 0.0:
            high = x
        else:
            low = x
        step = excess * passed / (left * math.exp(bend * x) + right * rate)
        x -= step
        if abs(step) < _CLOSE * h:  # the next error is the square of that
            break
    return min(x, h)


@njit(**KERNEL)
def _write_rows(span, w, found):
    """Writes the rows that are within the steps."""
    order, numbers = span.order, found.y.shape[2]
    for lane in range(LANES):
        log_t, log_t_new = w.log_t[lane], w.log_t_new[lane]
        while w.member[lane] != _NONE and w.row[lane] < span.wanted.size and span.wanted[w.row[lane]] <= log_t_new:
            target, x = span.wanted[w.row[lane]], w.h[lane]
            if target < log_t_new:
                share = math.expm1(log_t - target) / math.expm1(log_t - log_t_new) * math.exp(target - log_t_new)
                x = _locate(w, lane, order, numbers, max(share, 1e-300))
            for i in range(numbers):
                total = 0.0
                for k in range(order - 1, -1, -1):
                    total = total * x + w.series[(i * order + k) * LANES + lane] / (k + 1)
                found.y[w.member[lane], w.row[lane], i] = w.y[i * LANES + lane] + total * x
            w.row[lane] += 1


@njit(**KERNEL)
def _enter(f, span, w, lane, member, found):
    """Puts a run into a lane, at its start, zeros."""
    for i in range(f.data.shape[1]):
        w.lane_data[i * LANES + lane] = f.data[member, i]
    for i in range(w.y.size // LANES):
        w.y[i * LANES + lane] = 0.0
    row = 0
    while row < span.wanted.size and span.wanted[row] == -np.inf:
        for i in range(found.y.shape[2]):
            found.y[member, row, i] = 0.0
        row += 1
    w.log_t[lane], w.member[lane], w.row[lane] = -np.inf, member, row


@njit(**KERNEL)
def _fill(f, span, w, entered, found):
    """Puts the next runs into lanes without one; returns how many have been put into lanes until now."""
    while True:
        begun = entered
        for lane in range(LANES):
            if w.member[lane] == _NONE and entered < len(f.data):
                _enter(f, span, w, lane, entered, found)
                entered += 1
        if begun == entered:
            return entered
        _start(f, span, w, w.y, w.rates, w.clock)
        for lane in range(LANES):
            if w.member[lane] >= begun:
                found.nfev[w.member[lane]] = 1
                total = w.rates[found.y.shape[2] * LANES + lane]
                if w.clock[LANES + lane] > 0.0 or not (total > 0.0 and total < np.inf):
                    found.outcome[w.member[lane]], w.member[lane] = _CHANGED, _NONE


@njit(**KERNEL)
def _go_on(span, w, found):
    """Accepts the steps, and takes runs that end here out of their lanes; returns whether there are any left."""
    for i in range(0, w.y.size, LANES):
        store(w.y, i, load(w.y_new, i))
        store(w.rates, i, load(w.rates_new, i))
    store(w.y, found.y.shape[2] * LANES, splat(0.0))  # time in the next step
    for i in range(0, w.clock.size, LANES):
        store(w.clock, i, load(w.clock_new, i))
    store(w.log_t, 0, load(w.log_t_new, 0))
    for lane in range(LANES):
        member = w.member[lane]
        if member == _NONE:
            continue
        found.nsteps[member] += 1
        found.nfev[member] += span.order
        outcome = _RUNNING
        if w.log_t[lane] >= span.wanted[-1]:
            outcome = _REACHED
        elif w.clock[LANES + lane] > 0.0:
            outcome = _CHANGED
        attempts = found.nsteps[member] + found.nrejected[member]
        if outcome != _RUNNING or found.nsteps[member] >= span.steps or attempts >= span.most:
            found.outcome[member], w.member[lane] = outcome, _NONE


@njit(**KERNEL)
def _advance(f: LaneFields, span: Span, w: Work, found: Found):
    for lane in range(LANES):  # all lanes hold a run, though it is none of theirs if there are few
        _enter(f, span, w, lane, 0, found)
        w.member[lane] = _NONE
    entered = _fill(f, span, w, 0, found)
    while _some(w):
        _step(f, span, w, found)
        _write_rows(span, w, found)
        _go_on(span, w, found)
        entered = _fill(f, span, w, entered, found)


@njit(**KERNEL)
def _some(w):
    some = False
    for lane in range(LANES):
        some = some or w.member[lane] != _NONE
    return some


def _work_for(fields: LaneFields, order: int) -> Work:
    n = fields.numbers
    vectors = [n * order, order, order, *(n, n, 3) * 2, n, *[1] * 5]
    spaces = fields.data.shape[1] * LANES, fields.spaces + order * fields.spaces_a_coefficient
    arrays = [empty(size) for size in (*spaces, *(LANES * count for count in vectors))]
    for array in arrays:
        array[:] = 0.0
    return Work(*arrays, *np.zeros((2, LANES), np.int64))


def order_for(rtol: float) -> int:
    """Coefficients of the series for a tolerance, an odd number of them."""
    return 2 * math.ceil(0.5 * (SERIES_ORDER - SERIES_ORDERS * math.log(rtol))) + 1


def advance_lanes(fields: LaneFields, modes: int, wanted: np.ndarray, rtol: float, steps: int, most: int) -> Found:
    """Runs of states of so many numbers from 0 at t = 0 to the last of the times wanted; see `members`."""
    found, order = Found.room(len(fields.data), len(wanted), modes), order_for(rtol)
    _advance(fields, Span(wanted, rtol, order, steps, most), _work_for(fields, order), found)
    np.multiply(found.y, fields.units[:, None], out=found.y)
    return found
