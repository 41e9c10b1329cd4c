"""Taylor series steps of several runs at once, in the vectors of `kernels.lanes`, with separate step sizes.

All operations are on vectors with one number (lane) per run, so a run does not depend on its neighbours, not even in
the last bit. When a run ends, its lane gets the next run. A series gives all states and times within a step, so rows
need no further evaluation. As in `members`, a run that needs more than explicit steps is left unfinished.

The size of a step follows from the last two terms of the series (A. Jorba, M. Zou, A software package for the numerical
integration of ODEs by means of high-order Taylor methods, Experiment. Math. 14, 2005). The rates at its end are
compared with those of the series [ceflow]; a failed step is repeated with a smaller size from the same series.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from .._field import LaneFields
from .._tolerances import SERIES_DEFECT, SERIES_ORDER, SERIES_ORDERS, SERIES_ROUNDING, SERIES_SHARE
from ..kernels import KERNEL, njit
from ..kernels.butterflies import empty
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
    store,
    sum_series,
    where_less,
)
from ..kernels.linking import call
from .controller import SMALLEST_STEP
from .members import Found, Knots, Places
from .outcome import Outcome

_REACHED, _CHANGED, _RUNNING = int(Outcome.REACHED), int(Outcome.CHANGED), int(Outcome.RUNNING)
_NONE = -1  # member of a lane without a run
_SHRINK, _MOST_NEWTON, _CLOSE = 0.2, 100, 1e-8


class Span(NamedTuple):
    """Log times (m, r) of rows, tolerance, number of coefficients, limit of steps, and limits (m,) of attempts."""

    wanted: np.ndarray
    rtol: float
    order: int
    steps: int
    most: np.ndarray


class Work(NamedTuple):
    """Work arrays of the steps: vectors with one number per lane, and integers per lane."""

    lane_data: np.ndarray  # data of the fields, number by number
    scratch: np.ndarray  # work space of the fields
    state: np.ndarray  # (2 n + 3) at the start of the step, see `LaneFields`
    new: np.ndarray  # the same at its end
    series: np.ndarray  # (n, order) coefficients of the rates
    rates: np.ndarray  # (n) rates at the end of the step from the series
    powers: np.ndarray  # (2, order) powers of the step size, and their integrals
    numbers: np.ndarray  # (5) see below
    shares: np.ndarray  # 1, 1/2, .. 1/order, for integrals of powers
    member: np.ndarray  # int64
    row: np.ndarray  # int64, the next row


# Of `Work.numbers`: the size of the step; times at its start and end; the time between, see `_look`; and whether the
# defect at the end is small enough.
_H, _LOG_T, _LOG_T_NEW, _PASSED, _GOOD = range(0, 5 * LANES, LANES)
_CHANGE, _BEND = LANES, 2 * LANES  # of the clock


@njit(**KERNEL)
def _log_sum(x, y):
    """`clock.log_sum` of vectors whose larger one is finite."""
    high, low = larger(x, y), smaller(x, y)
    return high + log_lanes(exp_lanes(low - high) + 1.0)


@njit(**KERNEL)
def _choose(order, tolerance, series):
    """Step sizes: the largest for which the last two terms of the states are below the tolerance."""
    last = before = splat(1e-290)
    for i in range(order * LANES, series.size + 1, order * LANES):
        last = larger(absolute(load(series, i - LANES)), last)
        before = larger(absolute(load(series, i - 2 * LANES)), before)
    one = (math.log(tolerance * order) - log_lanes(last)) * (1.0 / order)
    other = (math.log(tolerance * (order - 1)) - log_lanes(before)) * (1.0 / (order - 1))
    return exp_lanes(smaller(one, other))


@njit(**KERNEL)
def _look(f, w, order, time):
    """States and rates at the end of the step from the series, and elapsed time over exp(log_unit + max(m, 0))."""
    clock, n = 2 * f.numbers * LANES, order * LANES
    h, power, zero, one = load(w.numbers, _H), splat(1.0), splat(0.0), splat(1.0)
    for k in range(order):
        store(w.powers, k * LANES, power)
        power = power * h
        store(w.powers, n + k * LANES, power * w.shares[k])
    sum_series(w.series, w.powers, n, w.state, w.new, w.rates)
    m = load(w.state, clock)
    small = exp_lanes(zero - absolute(m))
    rise = exp_lanes(load(w.state, clock + _BEND) * h) - 1.0
    # division by the logarithm of the rounded sum avoids cancellation (Kahan)
    mean = where_less(zero, rise, rise / where_less(zero, rise, log_lanes(rise + 1.0), one), one)
    left, right = where_less(m, zero, small, one), where_less(m, zero, one, small)
    passed = left * h * mean + right * load(w.new, time * LANES)
    store(w.numbers, _PASSED, passed)
    log_passed = log_lanes(passed) + (larger(m, zero) + f.log_unit)
    store(w.numbers, _LOG_T_NEW, _log_sum(load(w.numbers, _LOG_T), log_passed))


@njit(**KERNEL)
def _judge(f, tolerance, w):
    """Compare rates at the end of steps with those of the series."""
    n, clock = f.numbers * LANES, 2 * f.numbers * LANES
    h, defect, size, bad = load(w.numbers, _H), splat(0.0), splat(0.0), splat(0.0)
    factor = exp_lanes(load(w.state, clock + _BEND) * h + (load(w.state, clock) - load(w.new, clock)))
    for i in range(0, n, LANES):
        rate = load(w.new, n + i) * factor
        error = load(w.rates, i) - rate
        defect, size = larger(absolute(error), defect), larger(absolute(rate), size)
        bad = bad + error * 0.0  # comparisons would lose NaN
    error = h * (defect - size * SERIES_ROUNDING) + bad
    store(w.numbers, _GOOD, where_less(error, splat(SERIES_DEFECT * tolerance), splat(1.0), splat(0.0)))


@njit(**KERNEL)
def _step(f, span, w, found):
    """Take a step of all runs; an impossible step ends a run."""
    order, tolerance, trying = span.order, SERIES_SHARE * span.rtol, True
    call(f.series, (w.lane_data, f.lane_layout, w.scratch, w.state, w.series, order))
    store(w.numbers, _H, _choose(order, tolerance, w.series))
    while trying:
        trying = False
        _look(f, w, order, found.y.shape[2])
        call(f.start, (w.lane_data, f.lane_layout, w.scratch, w.new, order, span.rtol))
        _judge(f, tolerance, w)
        for lane in range(LANES):
            member = w.member[lane]
            if member != _NONE and w.numbers[_GOOD + lane] == 0.0:
                h = _SHRINK * w.numbers[_H + lane]
                w.numbers[_H + lane], trying = h, True
                found.nrejected[member] += 1
                found.nfev[member] += 1
                if not h > SMALLEST_STEP:
                    w.member[lane] = _NONE


@njit(**KERNEL)
def _locate(f, w, lane, order, time, share):
    """Position in the step of a lane at a share of its duration, by Newton's method in the logarithm with a bracket."""
    clock = 2 * f.numbers * LANES + lane
    m, bend, h = w.state[clock], w.state[clock + _BEND], w.numbers[_H + lane]
    left, right = exp(m if m < 0.0 else 0.0), exp(0.0 if m < 0.0 else -m)
    log_goal = math.log(share * w.numbers[_PASSED + lane])
    low, high, x = 0.0, h, math.log1p(share * math.expm1(bend * h)) / bend if bend > 0.0 else h * share
    for _ in range(_MOST_NEWTON):
        x = x if low < x <= high else 0.5 * (low + high)
        rate = total = 0.0
        for k in range(order - 1, -1, -1):
            c = w.series[(time * order + k) * LANES + lane]
            rate, total = rate * x + c, total * x + c * w.shares[k]
        passed = left * (math.expm1(bend * x) / bend if bend > 0.0 else x) + right * total * x
        excess = math.log(passed) - log_goal
        if excess > 0.0:
            high = x
        else:
            low = x
        step = excess * passed / (left * exp(bend * x) + right * rate)
        x -= step
        if abs(step) < _CLOSE * h:  # the next error is quadratic in it
            break
    return x if x < h else h


@njit(**KERNEL)
def _write_rows(f, span, w, found):
    """Write the rows within the steps."""
    order, numbers = span.order, found.y.shape[2]
    for lane in range(LANES):
        member, row = w.member[lane], w.row[lane]
        log_t, log_t_new = w.numbers[_LOG_T + lane], w.numbers[_LOG_T_NEW + lane]
        while member != _NONE and row < span.wanted.shape[1] and span.wanted[member, row] <= log_t_new:
            target, x = span.wanted[member, row], w.numbers[_H + lane]
            if target < log_t_new:
                share = math.expm1(log_t - target) / math.expm1(log_t - log_t_new) * exp(target - log_t_new)
                x = _locate(f, w, lane, order, numbers, share if share > 1e-300 else 1e-300)
            for i in range(numbers):
                total = 0.0
                for k in range(order - 1, -1, -1):
                    total = total * x + w.series[(i * order + k) * LANES + lane] * w.shares[k]
                found.y[member, row, i] = w.state[i * LANES + lane] + total * x
            row += 1
        w.row[lane] = row


@njit(**KERNEL)
def _keep(w, lane, member, step, knots):
    """Store the end of a step of a run."""
    knots.log_t[member, step] = w.numbers[_LOG_T + lane]
    for i in range(knots.y.shape[2]):
        knots.y[member, step, i] = w.state[i * LANES + lane]


@njit(**KERNEL)
def _go_on(f, span, w, knots, found):
    """Accept the steps, and remove finished runs from their lanes."""
    for i in range(0, w.state.size, LANES):
        store(w.state, i, load(w.new, i))
    store(w.state, found.y.shape[2] * LANES, splat(0.0))  # time in the next step
    store(w.numbers, _LOG_T, load(w.numbers, _LOG_T_NEW))
    for lane in range(LANES):
        member, outcome = w.member[lane], _RUNNING
        if member == _NONE:
            continue
        found.nsteps[member] += 1
        found.nfev[member] += span.order
        if len(knots.y) > 0:
            _keep(w, lane, member, found.nsteps[member], knots)
        if w.numbers[_LOG_T + lane] >= span.wanted[member, -1]:
            outcome = _REACHED
        elif w.state[2 * f.numbers * LANES + _CHANGE + lane] > 0.0:
            outcome = _CHANGED
        attempts = found.nsteps[member] + found.nrejected[member]
        if outcome != _RUNNING or found.nsteps[member] >= span.steps or attempts >= span.most[member]:
            found.outcome[member], w.member[lane] = outcome, _NONE


@njit(**KERNEL)
def _enter(f, span, w, lane, member, places, knots, found):
    """Put a run into a lane, at its place; the number for time is 0."""
    for i in range(f.data.shape[1]):
        w.lane_data[i * LANES + lane] = f.data[member, i]
    for i in range(f.numbers):
        w.state[i * LANES + lane] = places.y[member, i] if i < found.y.shape[2] else 0.0
    row, log_t = 0, places.state[member, 0]
    while row < span.wanted.shape[1] and span.wanted[member, row] <= log_t:
        if span.wanted[member, row] == log_t:
            for i in range(found.y.shape[2]):
                found.y[member, row, i] = places.y[member, i]
        row += 1
    w.numbers[_LOG_T + lane], w.member[lane], w.row[lane] = log_t, member, row
    if len(knots.y) > 0:
        _keep(w, lane, member, 0, knots)


@njit(**KERNEL)
def _fill(f, span, w, entered, places, knots, found):
    """Put the next runs into empty lanes; return the number of runs that have entered."""
    begun = -1
    while begun < entered:
        begun = entered
        for lane in range(LANES):
            if w.member[lane] == _NONE and entered < len(f.data):
                _enter(f, span, w, lane, entered, places, knots, found)
                entered += 1
        if begun < entered:
            call(f.start, (w.lane_data, f.lane_layout, w.scratch, w.state, span.order, span.rtol))
        for lane in range(LANES):
            member, place = w.member[lane], f.numbers * LANES + lane
            if member >= begun:
                found.nfev[member], total = 1, w.state[place + found.y.shape[2] * LANES]
                if w.state[place + f.numbers * LANES + _CHANGE] > 0.0 or not 0.0 < total < np.inf:
                    found.outcome[member], w.member[lane] = _CHANGED, _NONE
    return entered


@njit(**KERNEL)
def _advance(f: LaneFields, span: Span, w: Work, places: Places, knots: Knots, found: Found):
    entered, some = np.int64(0), True  # a literal would compile `_fill` twice
    while some:
        entered, some = _fill(f, span, w, entered, places, knots, found), False
        for lane in range(LANES):
            some = some or w.member[lane] != _NONE
        if some:
            _step(f, span, w, found)
            _write_rows(f, span, w, found)
            _go_on(f, span, w, knots, found)


def _work_for(fields: LaneFields, order: int) -> Work:
    n, spaces = fields.numbers, fields.spaces + order * fields.spaces_a_coefficient
    sizes = spaces, *(LANES * count for count in (2 * n + 3, 2 * n + 3, n * order, n, 2 * order, 5))
    arrays = [empty(size) for size in sizes]
    for array in arrays:
        array[:] = 0.0
    # all lanes hold a run, possibly a copy if there are few
    shares, places = 1.0 / np.arange(1.0, order + 1.0), (np.full(LANES, _NONE), np.zeros(LANES, np.int64))
    lanes: Any = np.repeat(fields.data[0], LANES), *arrays, shares, *places
    return Work(*lanes)


def order_for(rtol: float) -> int:
    """Odd number of coefficients of the series for a tolerance."""
    return 2 * math.ceil(0.5 * (SERIES_ORDER - SERIES_ORDERS * math.log(rtol))) + 1


class Lanes:
    """Runs of m fields, with the interface of `Members`; their initial states are 0.

    Parameters
    ----------
    fields : LaneFields
    modes : int
        N.
    rtol : float
    """

    def __init__(self, fields: LaneFields, modes: int, rtol: float) -> None:
        self.fields, self.rtol, self.order = fields, rtol, order_for(rtol)
        self.places = Places.begin(np.zeros((len(fields.data), modes)))
        self._work = _work_for(fields, self.order)

    def advance(
        self, which: Any, wanted: np.ndarray, steps: int, most: np.ndarray, keep: bool = False
    ) -> tuple[Found, Knots]:
        """As `Members.advance`."""
        found, knots = self._go(which, Places(*(part[which] for part in self.places)), wanted, steps, most, keep)
        if keep:
            last = np.arange(len(found.nsteps)), found.nsteps
            self.places.state[which, 0], self.places.y[which] = knots.log_t[last], knots.y[last]
        return found, knots

    def sample(self, which, knots: Knots, place: np.ndarray, step: np.ndarray, targets: np.ndarray) -> np.ndarray:
        """As `Members.sample`: the same step again, with rows."""
        places = Places(knots.log_t[place, step][:, None], knots.y[place, step])
        return self._go(which, places, targets, 1, np.full(len(place), 2**62), False)[0].y

    def _go(self, which, places: Places, wanted, steps: int, most, keep: bool) -> tuple[Found, Knots]:
        members, modes = places.y.shape
        fields = self.fields._replace(data=self.fields.data[which], units=self.fields.units[which])
        found, knots = Found.room(members, wanted.shape[1], modes), Knots.room(members if keep else 0, steps, modes)
        places = Places(places.state, places.y / fields.units)  # units are powers of 2
        _advance(fields, Span(wanted, self.rtol, self.order, steps, most), self._work, places, knots, found)
        for y in (found.y, knots.y):
            np.multiply(y, fields.units[: len(y), None], out=y)
        return found, knots
