"""Explicit steps of several runs side by side, each in its lane of `kernels.lanes`, with its own clock and step sizes.

The method, the clock and the control of steps are those of `loops`, and the steps agree with those to rounding; all is
done for all lanes at once, but what few steps need, and each lane takes of it what is its own. So no run depends on its
neighbours, not even in the last bit. As in `members`, a run that needs more than explicit steps is left as it is.
"""

from __future__ import annotations

import functools
import math
from typing import Any, NamedTuple

import numpy as np

from .._field import LaneFields
from .._tolerances import DEFECT_SHARE, STEP_SHARE
from ..kernels import KERNEL, njit
from ..kernels.lanes import LANES, absolute, exp_lanes, larger, load, log_lanes, smaller, splat, store, where_less
from ..kernels.linking import call
from .clock import SCRATCH, place_of, time_by_series
from .controller import (
    FIRST_STEP,
    GROWTH,
    INTEGRAL,
    PROPORTIONAL,
    SAFETY,
    SMALLEST_ERROR,
    SMALLEST_PREVIOUS,
    SMALLEST_STEP,
    shorter,
)
from .lanes_clock import (
    MOST_FALL,
    combined,
    fit,
    log_integrals,
    near_place,
    phi_at,
    time_errors,
    times_by_series,
    times_by_stages,
)
from .members import Found
from .method import DEFAULT, ERROR, NEW, PROBE, ROWS, START, Method, method
from .outcome import Outcome
from .stepping import weights_at

_REACHED, _CHANGED, _RUNNING = int(Outcome.REACHED), int(Outcome.CHANGED), int(Outcome.RUNNING)
_MOST_RISE = 1.0  # of phi in a step whose time is made by the stages alone, as in `clock.time_by_stages`
_PREVIOUS = 1.0  # what the error of the step before counts as where there is none
_HIGH, _LOW, _SLOPE = range(3)  # rows of sums after those of the places


class Work(NamedTuple):
    """Arrays that steps are made in. One number a lane, where nothing else is said."""

    lane_data: np.ndarray  # data of the fields, number by number
    scratch: np.ndarray  # what they work in
    states: np.ndarray  # (n + 5, N) vectors, as in `method.Work`
    clock: np.ndarray  # (P, 3) vectors of the clock at all places of a step
    values: np.ndarray  # (2, s) vectors, of the samples of the clock
    series: np.ndarray  # (2, s) vectors, their series
    of_clock: np.ndarray  # (6, LANES) what `lanes_clock` works in
    h: np.ndarray
    previous: np.ndarray  # error of the step before
    phi: np.ndarray  # at the start of the step
    end: np.ndarray  # at its end
    rise: np.ndarray
    log_t: np.ndarray
    log_t_new: np.ndarray
    integrals: np.ndarray  # of exp(phi), see `lanes_clock`
    targets: np.ndarray  # log times that are looked for
    places: np.ndarray  # of them
    errors: np.ndarray  # of the step, in tolerances
    time_errors: np.ndarray
    defects: np.ndarray
    flags: np.ndarray  # (5, LANES): rows below
    row: np.ndarray  # int64, the next row
    weights: np.ndarray  # of the stages, of one lane; and its series, and what its clock works in
    one_series: np.ndarray
    of_one_clock: np.ndarray


# Flags: goes on; has a small error, but for time; needs samples; is accepted; its field is to be looked at again.
_ACTIVE, _GOOD, _SAMPLED, _ACCEPTED, _EVENT = range(5)


class Span(NamedTuple):
    """How far to go: log times of rows, the tolerance, the most steps, the most attempts."""

    wanted: np.ndarray
    rtol: float
    steps: int
    most: int


class Sums(NamedTuple):
    """Sums over stages, without the terms that are 0: of row r the terms ``columns[r, : counts[r]]``."""

    counts: np.ndarray
    columns: np.ndarray
    weights: np.ndarray


@functools.cache
def _sums(name: str) -> Sums:
    """Those of all places of a step, and then those for errors and the defect of dense output."""
    used = method(name)
    rows = np.vstack([used.weights, used.estimates, used.slope])
    columns, weights = np.zeros(rows.shape, np.int64), np.zeros(rows.shape)
    for row, terms in enumerate(rows):
        (where,) = np.nonzero(terms)
        columns[row, : where.size], weights[row, : where.size] = where, terms[where]
    return Sums(np.count_nonzero(rows, axis=1), columns, weights)


@njit(**KERNEL)
def _sum(sums, row, states, size, i):
    """Row r of the sums of the vectors at i in the stages."""
    total = splat(0.0)
    for term in range(sums.counts[row]):
        total = total + sums.weights[row, term] * load(states, sums.columns[row, term] * size + i)
    return total


@njit(**KERNEL)
def _evaluate(f, method, sums, w, first, end):
    """Rates and clock at the places first..end-1 of a step; as `loops.evaluate_compiled`."""
    n, size = method.stages, w.states.shape[1]
    flat, h = w.states.reshape(-1), load(w.h, 0)
    for place in range(first, end):
        state = w.states[n + NEW if place <= method.last else n + PROBE]
        velocity = w.states[place if place < n else n + ERROR]
        for i in range(0, size, LANES):
            store(state, i, load(flat, (n + START) * size + i) + h * _sum(sums, place, flat, size, i))
        call(f.rates, (w.lane_data, f.lane_layout, w.scratch, state, velocity, w.clock[place]))


@njit(**KERNEL)
def _measure_errors(method, sums, w, level):
    """Sizes of the errors of a step, in tolerances; no number where one is none."""
    places, size, flat = len(method.weights), w.states.shape[1], w.states.reshape(-1)
    high, low, bad = splat(0.0), splat(0.0), splat(0.0)
    for i in range(0, size, LANES):
        one, other = _sum(sums, places + _HIGH, flat, size, i), _sum(sums, places + _LOW, flat, size, i)
        high, low = larger(absolute(one), high), larger(absolute(other), low)
        bad = bad + (one + other) * 0.0  # a comparison loses what is no number
    store(w.errors, 0, load(w.h, 0) * combined(high, low) / level + bad)


@njit(**KERNEL)
def _measure_defects(method, sums, w, level):
    """As `loops._defect_compiled`."""
    n, places, size, flat = method.stages, len(method.weights), w.states.shape[1], w.states.reshape(-1)
    largest, bad = splat(0.0), splat(0.0)
    for i in range(0, size, LANES):
        defect = load(flat, (n + ERROR) * size + i) - _sum(sums, places + _SLOPE, flat, size, i)
        largest, bad = larger(absolute(defect), largest), bad + defect * 0.0
    store(w.defects, 0, DEFECT_SHARE * load(w.h, 0) * largest / level + bad)


@njit(**KERNEL)
def _of_lane(vectors, lane, out):
    """One lane of vectors that follow each other."""
    for i in range(out.size):
        out[i] = vectors[i * LANES + lane]


@njit(**KERNEL)
def _begin(f, method, sums, span, w, first, lanes, found):
    """Puts runs into the lanes, at their starts, zeros; lanes in excess repeat the last. Returns how many go."""
    n, wanted, running, row = method.stages, span.wanted, 0, 0
    for lane in range(LANES):
        member = first + min(lane, lanes - 1)
        for i in range(f.data.shape[1]):
            w.lane_data[i * LANES + lane] = f.data[member, i]
    for i in range(w.states.shape[1]):
        w.states[n + START, i] = 0.0
    while row < wanted.size and wanted[row] == -np.inf:
        for lane in range(lanes):
            found.y[first + lane, row] = 0.0
        row += 1
    for lane in range(LANES):
        w.h[lane], w.previous[lane], w.log_t[lane], w.row[lane] = FIRST_STEP, _PREVIOUS, -np.inf, row
    _evaluate(f, method, sums, w, 0, 1)
    store(w.phi, 0, phi_at(w.clock, 0, f.log_unit))
    call(f.event, (w.lane_data, f.lane_layout, w.scratch, w.states[n + START], w.flags[_EVENT], span.rtol))
    for lane in range(LANES):
        speed, w.flags[_ACTIVE, lane] = w.clock[0, 2 * LANES + lane], 0.0
        if lane < lanes:
            found.nfev[first + lane] = 1
            if speed > 0.0 and speed < np.inf and w.flags[_EVENT, lane] == 0.0:
                w.flags[_ACTIVE, lane], running = 1.0, running + 1
            else:
                found.outcome[first + lane] = _CHANGED
    return running


@njit(**KERNEL)
def _attempt(f, method, sums, span, w):
    """Takes a step, and its time by stages; returns whether more is to be known of some of the steps."""
    _evaluate(f, method, sums, w, 1, method.last + 1)
    _measure_errors(method, sums, w, STEP_SHARE * span.rtol)
    store(w.end, 0, phi_at(w.clock, method.last, f.log_unit))
    store(w.rise, 0, load(w.end, 0) - load(w.phi, 0))
    slow, some = False, False
    for lane in range(LANES):
        speed = w.clock[method.last, 2 * LANES + lane]
        good = w.flags[_ACTIVE, lane] > 0.0 and w.errors[lane] <= 1.0 and speed > 0.0 and speed < np.inf
        w.flags[_GOOD, lane], w.flags[_SAMPLED, lane] = 1.0 if good else 0.0, 0.0
        slow = slow or (good and abs(w.rise[lane]) < _MOST_RISE)
    if slow:
        times_by_stages(method, w.clock, w.phi, w.end, w.h, w.log_t, w.log_t_new, w.time_errors)
    for lane in range(LANES):
        if w.flags[_GOOD, lane] > 0.0:
            if not (abs(w.rise[lane]) < _MOST_RISE and w.time_errors[lane] <= span.rtol):
                w.time_errors[lane], w.flags[_SAMPLED, lane] = np.inf, 1.0
            elif span.wanted[w.row[lane]] < w.log_t_new[lane]:
                w.flags[_SAMPLED, lane] = 1.0
            some = some or w.flags[_SAMPLED, lane] > 0.0
    return some


@njit(**KERNEL)
def _sample(f, method, sums, span, w):
    """Evaluates the rest of the places, and makes the time of them where stages did not do."""
    samples, flat = method.samples.size, w.one_series.reshape(-1)
    _evaluate(f, method, sums, w, method.last + 1, len(method.weights))
    fit(method, w.clock, f.log_unit, w.end, w.values, w.series)
    _measure_defects(method, sums, w, STEP_SHARE * span.rtol)
    for lane in range(LANES):
        w.places[lane] = w.flags[_SAMPLED, lane] if w.rise[lane] > -MOST_FALL else 0.0
    log_integrals(w.series, samples, w.places, w.rise, w.of_clock, w.integrals)
    times_by_series(w.end, w.h, w.log_t, w.integrals, w.targets)
    time_errors(w.phi, w.end, w.log_t, w.targets, w.series, samples, span.rtol, w.places)
    for lane in range(LANES):
        if w.flags[_SAMPLED, lane] > 0.0 and w.time_errors[lane] == np.inf:
            log_t_new, error = w.targets[lane], w.places[lane]
            if math.isnan(w.integrals[lane]):
                _of_lane(w.series, lane, flat)
                log_t_new, error = time_by_series(
                    w.phi[lane], w.end[lane], w.h[lane], w.log_t[lane], w.one_series, w.of_one_clock, span.rtol
                )
            w.log_t_new[lane], w.errors[lane] = log_t_new, max(w.errors[lane], error, w.defects[lane])
            w.flags[_GOOD, lane] = 1.0 if error <= 1.0 and w.defects[lane] <= 1.0 else 0.0


@njit(**KERNEL)
def _write_rows(method, span, w, first, found):
    """Writes the rows that are within the steps that were accepted."""
    n, flat = method.stages, w.one_series.reshape(-1)
    for lane in range(LANES):
        if w.flags[_ACCEPTED, lane] == 0.0 or span.wanted[w.row[lane]] > w.log_t_new[lane]:
            continue
        log_t, log_t_new, h = w.log_t[lane], w.log_t_new[lane], w.h[lane]
        _of_lane(w.series, lane, flat)
        while w.row[lane] < span.wanted.size and span.wanted[w.row[lane]] <= log_t_new:
            target, out = span.wanted[w.row[lane]], found.y[first + lane, w.row[lane]]
            if target == log_t_new:
                _of_lane(w.states[n + NEW], lane, out)
            else:
                x = near_place(target, log_t, log_t_new, w.rise[lane], w.integrals[lane], w.one_series, w.of_one_clock)
                if math.isnan(x):
                    x = place_of(target, log_t, log_t_new, w.one_series, w.of_one_clock)
                weights_at(x, method, w.weights)
                for i in range(out.size):
                    place, total = i * LANES + lane, 0.0
                    for j in range(n):
                        total += w.weights[j] * w.states[j, place]
                    out[i] = w.states[n + START, place] + h * total
            w.row[lane] += 1


@njit(**KERNEL)
def _judge(method, w, first, found):
    """Which steps are accepted."""
    for lane in range(LANES):
        w.flags[_ACCEPTED, lane] = 0.0
        if w.flags[_ACTIVE, lane] > 0.0:
            places = len(method.weights) if w.flags[_SAMPLED, lane] > 0.0 else method.last + 1
            found.nfev[first + lane] += places - 1
            if w.flags[_GOOD, lane] > 0.0 and w.log_t_new[lane] >= w.log_t[lane]:
                w.flags[_ACCEPTED, lane] = 1.0
                found.nsteps[first + lane] += 1
            else:
                found.nrejected[first + lane] += 1


@njit(**KERNEL)
def _longer(order, w, out):
    """`controller.longer` of vectors."""
    error = log_lanes(larger(load(w.errors, 0), splat(SMALLEST_ERROR)))
    previous = log_lanes(larger(load(w.previous, 0), splat(SMALLEST_PREVIOUS)))
    factor = SAFETY * exp_lanes((-INTEGRAL / order) * error + (PROPORTIONAL / order) * previous)
    store(out, 0, load(w.h, 0) * smaller(factor, splat(GROWTH)))


@njit(**KERNEL)
def _go_on(f, method, span, w, first, found):
    """Chooses the next step sizes, and says which runs end here; returns how many."""
    n, ended = method.stages, 0
    _longer(method.order, w, w.targets)
    call(f.event, (w.lane_data, f.lane_layout, w.scratch, w.states[n + NEW], w.flags[_EVENT], span.rtol))
    for lane in range(LANES):
        if w.flags[_ACTIVE, lane] == 0.0:
            continue
        member, outcome, error = first + lane, _RUNNING, w.errors[lane]
        if w.flags[_ACCEPTED, lane] > 0.0:
            w.h[lane], w.previous[lane] = w.targets[lane], min(error, 1.0)
            if w.log_t_new[lane] >= span.wanted[-1]:
                outcome = _REACHED
            elif w.flags[_EVENT, lane] > 0.0:
                outcome = _CHANGED
        else:
            w.h[lane], w.previous[lane] = shorter(w.h[lane], error, method.order), _PREVIOUS
        attempts = found.nsteps[member] + found.nrejected[member]
        spent = found.nsteps[member] >= span.steps or attempts >= span.most or w.h[lane] < SMALLEST_STEP
        if outcome != _RUNNING or spent:
            found.outcome[member], w.flags[_ACTIVE, lane] = outcome, 0.0
            ended += 1
    mask, half = load(w.flags[_ACCEPTED], 0), splat(0.5)
    for i in range(0, w.states.shape[1], LANES):
        store(w.states[n + START], i, where_less(half, mask, load(w.states[n + NEW], i), load(w.states[n + START], i)))
        store(w.states[0], i, where_less(half, mask, load(w.states[method.last], i), load(w.states[0], i)))
    for i in range(0, 3 * LANES, LANES):
        store(w.clock[0], i, where_less(half, mask, load(w.clock[method.last], i), load(w.clock[0], i)))
    store(w.phi, 0, where_less(half, mask, load(w.end, 0), load(w.phi, 0)))
    store(w.log_t, 0, where_less(half, mask, load(w.log_t_new, 0), load(w.log_t, 0)))
    return ended


@njit(**KERNEL)
def _advance(f: LaneFields, method: Method, sums: Sums, span: Span, w: Work, found: Found):
    members = len(f.data)
    for first in range(0, members, LANES):
        running = _begin(f, method, sums, span, w, first, min(LANES, members - first), found)
        while running > 0:
            if _attempt(f, method, sums, span, w):
                _sample(f, method, sums, span, w)
            _judge(method, w, first, found)
            _write_rows(method, span, w, first, found)
            running -= _go_on(f, method, span, w, first, found)


def _work_for(fields: LaneFields, modes: int, used: Method) -> Work:
    samples, n, places, size = used.samples.size, used.stages, len(used.weights), modes * LANES
    parts: Any = (
        np.zeros(fields.data.shape[1] * LANES), np.zeros(fields.spaces), np.zeros((n + ROWS, size)),
        np.zeros((places, 3 * LANES)), *np.zeros((2, 2 * samples * LANES)), np.zeros((6, LANES)),
        *np.zeros((13, LANES)), np.zeros((5, LANES)), np.zeros(LANES, np.int64), np.zeros(n),
        np.zeros((2, samples)), np.zeros(SCRATCH),
    )  # fmt: skip
    return Work(*parts)


def advance_lanes(
    fields: LaneFields, modes: int, wanted: np.ndarray, rtol: float, steps: int, most: int, name: str = DEFAULT
) -> Found:
    """Runs of states of so many numbers from 0 at t = 0 to the last of the times wanted; see `members`."""
    used, found = method(name), Found.room(len(fields.data), len(wanted), modes)
    _advance(fields, used, _sums(name), Span(wanted, rtol, steps, most), _work_for(fields, modes, used), found)
    return found
