"""Explicit steps of several runs side by side, each in its lane of `kernels.lanes`, with its own clock and step sizes.

The method, the clock and the control of steps are those of `loops`, and the steps agree with those to rounding; all is
done for all lanes at once, but what few steps need, and each lane takes of it what is its own. So no run depends on its
neighbours, not even in the last bit. As in `members`, a run that needs more than explicit steps is left as it is.
"""

from __future__ import annotations

import functools
from typing import NamedTuple

import numpy as np
from numba import njit

from .._field import LaneFields
from .._tolerances import DEFECT_SHARE, STEP_SHARE
from ..kernels import KERNEL
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
from ..kernels.linking import call
from .clock import SCRATCH, place_of, time_by_series
from .controller import FIRST_STEP, SMALLEST_STEP, longer, shorter
from .members import Found
from .method import DEFAULT, ERROR, NEW, PROBE, ROWS, START, Method, method
from .outcome import Outcome
from .stepping import weights_at

_REACHED, _CHANGED, _RUNNING = int(Outcome.REACHED), int(Outcome.CHANGED), int(Outcome.RUNNING)
_MOST_RISE = 1.0  # of phi in a step whose time is made by the stages alone, as in `clock.time_by_stages`
_PREVIOUS = 1.0  # what the error of the step before counts as where there is none
_TIME, _HIGH, _LOW, _SLOPE = range(4)  # rows of sums after those of the places


class Sums(NamedTuple):
    """Sums over stages, without the terms that are 0: of row r the terms ``columns[r, : counts[r]]``."""

    counts: np.ndarray
    columns: np.ndarray
    weights: np.ndarray


@functools.cache
def _sums(name: str) -> Sums:
    """Those of all places of a step, and then those for time, errors and the defect of dense output."""
    used = method(name)
    rows = np.vstack([used.weights, used.weights[used.last], used.estimates, used.slope])
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
def _evaluate(f, data, scratch, method, sums, states, clock, h, first, end):
    """Rates and clock at the places first..end-1 of a step of the sizes h; as `loops.evaluate_compiled`."""
    n, size = method.stages, states.shape[1]
    flat, sizes = states.reshape(-1), load(h, 0)
    for place in range(first, end):
        state, velocity = states[n + NEW if place <= method.last else n + PROBE], states[place if place < n else n + ERROR]
        for i in range(0, size, LANES):
            store(state, i, load(flat, (n + START) * size + i) + sizes * _sum(sums, place, flat, size, i))
        call(f.rates, (data, f.lane_layout, scratch, state, velocity, clock[place]))


@njit(**KERNEL)
def _combined(high, low):
    """`controller.combined` of vectors."""
    return where_less(splat(0.0), high, high * high / square_root(high * high + 0.01 * low * low), high)


@njit(**KERNEL)
def _errors(method, sums, states, h, level, out):
    """Sizes of the errors of a step, in tolerances; no number where one is none."""
    places, size, flat = len(method.weights), states.shape[1], states.reshape(-1)
    high, low, bad = splat(0.0), splat(0.0), splat(0.0)
    for i in range(0, size, LANES):
        one, other = _sum(sums, places + _HIGH, flat, size, i), _sum(sums, places + _LOW, flat, size, i)
        high, low = larger(absolute(one), high), larger(absolute(other), low)
        bad = bad + (one + other) * 0.0  # a comparison loses what is no number
    store(out, 0, load(h, 0) * _combined(high, low) / level + bad)


@njit(**KERNEL)
def _defects(method, sums, states, h, level, out):
    """`loops._defect_compiled` of vectors."""
    n, places, size, flat = method.stages, len(method.weights), states.shape[1], states.reshape(-1)
    largest, bad = splat(0.0), splat(0.0)
    for i in range(0, size, LANES):
        defect = load(flat, (n + ERROR) * size + i) - _sum(sums, places + _SLOPE, flat, size, i)
        largest, bad = larger(absolute(defect), largest), bad + defect * 0.0
    store(out, 0, DEFECT_SHARE * load(h, 0) * largest / level + bad)


@njit(**KERNEL)
def _log_sum(x, y):
    """`clock.log_sum` of vectors, the larger one of which is finite."""
    high, low = larger(x, y), smaller(x, y)
    return high + log_lanes(exp_lanes(low - high) + 1.0)


@njit(**KERNEL)
def _a_and_b(clock, place, log_unit):
    """What the clock is made of at a place, ``phi = log(1 + exp(a)) + b``."""
    log_total = log_lanes(load(clock[place], LANES))
    b = log_unit + (log_total - log_lanes(load(clock[place], 2 * LANES)))
    return load(clock[place], 0) - log_total, b


@njit(**KERNEL)
def _phi(clock, place, log_unit):
    a, b = _a_and_b(clock, place, log_unit)
    return b + _log_sum(a, splat(0.0))


@njit(**KERNEL)
def _times_by_stages(method, sums, clock, phi, end, h, log_t, log_t_new, errors):
    """`clock.time_by_stages` of vectors, whatever the rise of phi; phi at the start and the end is given."""
    places, zero = len(method.weights), splat(0.0)
    level = larger(load(clock[0], 0), zero)
    share, time, high, low = exp_lanes(zero - level), zero, zero, zero
    first = zero
    for i in range(method.last + 1):
        speed = (exp_lanes(load(clock[i], 0) - level) + load(clock[i], LANES) * share) / load(clock[i], 2 * LANES)
        if i == 0:
            first = speed
        time = time + method.weights[method.last, i] * speed
        high = high + method.estimates[0, i] * speed
        low = low + method.estimates[1, i] * speed
    start, stop, sizes = load(phi, 0), load(end, 0), load(h, 0)
    passed = sizes * time / first
    error = sizes * _combined(absolute(high / first), absolute(low / first))
    store(log_t_new, 0, _log_sum(load(log_t, 0), start + log_lanes(passed)))
    store(errors, 0, error * larger(exp_lanes(smaller(start - stop, splat(1.0))), splat(1.0)))


@njit(**KERNEL)
def _fit(method, clock, log_unit, end, values, series):
    """`clock.fit` of vectors: a and b at the samples, into `values`, and their series (2, s) of vectors."""
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
def _of_lane(vectors, lane, out):
    """One lane of vectors that follow each other."""
    for i in range(out.size):
        out[i] = vectors[i * LANES + lane]


@njit(**KERNEL)
def _row(method, states, lane, x, h, weights, out):
    """The state of a lane at the place x of its step."""
    n = method.stages
    weights_at(x, method, weights)
    for i in range(out.size):
        place, total = i * LANES + lane, 0.0
        for j in range(n):
            total += weights[j] * states[j, place]
        out[i] = states[n + START, place] + h * total


@njit(**KERNEL)
def _begin(f, method, lane_data, first, lanes, wanted, states, found):
    """Puts the fields of runs and their starts, zeros, into the lanes, and their first rows; those in excess repeat."""
    for lane in range(LANES):
        member = first + min(lane, lanes - 1)
        for i in range(f.data.shape[1]):
            lane_data[i * LANES + lane] = f.data[member, i]
        row = 0
        while row < wanted.size and wanted[row] == -np.inf:
            for i in range(found.y.shape[2]):
                found.y[member, row, i] = 0.0
            row += 1
    for i in range(states.shape[1]):
        states[method.stages + START, i] = 0.0


@njit(**KERNEL)
def _accept(method, accepted, clock, phi, end, log_t, log_t_new, states):
    """Goes to the ends of the steps that were accepted."""
    n, half, size = method.stages, splat(0.5), states.shape[1]
    mask, last = load(accepted, 0), method.last
    for i in range(0, size, LANES):
        store(states[n + START], i, where_less(half, mask, load(states[n + NEW], i), load(states[n + START], i)))
        store(states[0], i, where_less(half, mask, load(states[last], i), load(states[0], i)))
    for i in range(0, 3 * LANES, LANES):
        store(clock[0], i, where_less(half, mask, load(clock[last], i), load(clock[0], i)))
    store(phi, 0, where_less(half, mask, load(end, 0), load(phi, 0)))
    store(log_t, 0, where_less(half, mask, load(log_t_new, 0), load(log_t, 0)))


@njit(**KERNEL)
def _group(
    f: LaneFields, method: Method, sums: Sums, first, lanes, wanted, rtol, steps, most, lane_data, scratch, states, clock,
    values, series, room, vectors, one_series, found,
):  # fmt: skip
    n, last, places, order = method.stages, method.last, len(method.weights), method.order
    modes, samples, log_t_end, level = states.shape[1] // LANES, method.samples.size, wanted[-1], STEP_SHARE * rtol
    h, previous, phi, end, log_t = vectors[0], vectors[1], vectors[2], vectors[3], vectors[4]
    log_t_new, errors, time_errors, defects, accepted = vectors[5], vectors[6], vectors[7], vectors[8], vectors[9]
    row, active, sampled = vectors[10], vectors[11], vectors[12]
    y, dy, weights = room[:modes], room[modes : 2 * modes], room[2 * modes : 2 * modes + n]
    scratch_of_clock = room[2 * modes + n :]
    _begin(f, method, lane_data, first, lanes, wanted, states, found)
    row0 = 0
    while row0 < wanted.size and wanted[row0] == -np.inf:
        row0 += 1
    for lane in range(LANES):
        h[lane], previous[lane], log_t[lane], row[lane] = FIRST_STEP, _PREVIOUS, -np.inf, row0
    _evaluate(f, lane_data, scratch, method, sums, states, clock, h, 0, 1)
    store(phi, 0, _phi(clock, 0, f.log_unit))
    running = 0
    for lane in range(LANES):
        active[lane] = 1.0 if lane < lanes else 0.0
        if lane < lanes:
            found.nfev[first + lane] = 1
            speed = clock[0, 2 * LANES + lane]
            _of_lane(states[0], lane, dy)
            _of_lane(states[n + START], lane, y)
            event = call(f.event, (f.data[first + lane], f.layout, scratch, y, dy, rtol))
            if not (speed > 0.0 and speed < np.inf) or event != 0.0:
                found.outcome[first + lane], active[lane] = _CHANGED, 0.0
            running += active[lane] > 0.0
    while running > 0:
        _evaluate(f, lane_data, scratch, method, sums, states, clock, h, 1, last + 1)
        _errors(method, sums, states, h, level, errors)
        store(end, 0, _phi(clock, last, f.log_unit))
        _times_by_stages(method, sums, clock, phi, end, h, log_t, log_t_new, time_errors)
        some = False
        for lane in range(LANES):  # accepted: that the error is small enough; sampled: 1 for time, -1 for rows alone
            speed = clock[last, 2 * LANES + lane]
            good = active[lane] > 0.0 and errors[lane] <= 1.0 and speed > 0.0 and speed < np.inf
            accepted[lane], sampled[lane] = 1.0 if good else 0.0, 0.0
            if good:
                if not (abs(end[lane] - phi[lane]) < _MOST_RISE and time_errors[lane] <= rtol):
                    sampled[lane] = 1.0
                elif wanted[int(row[lane])] <= log_t_new[lane]:
                    sampled[lane] = -1.0
                some = some or sampled[lane] != 0.0
        if some:
            _evaluate(f, lane_data, scratch, method, sums, states, clock, h, last + 1, places)
            _fit(method, clock, f.log_unit, end, values, series)
            _defects(method, sums, states, h, level, defects)
        for lane in range(LANES):
            if active[lane] == 0.0:
                continue
            member, flat_series = first + lane, one_series.reshape(-1)
            found.nfev[member] += last + (places - last - 1 if sampled[lane] != 0.0 else 0)
            if sampled[lane] != 0.0:
                _of_lane(series, lane, flat_series)
            if sampled[lane] > 0.0:
                log_t_new[lane], error = time_by_series(
                    phi[lane], end[lane], h[lane], log_t[lane], one_series, scratch_of_clock, rtol
                )
                errors[lane] = max(errors[lane], error, defects[lane])
                if not (error <= 1.0 and defects[lane] <= 1.0):
                    accepted[lane] = 0.0
            if not (accepted[lane] > 0.0 and log_t_new[lane] >= log_t[lane]):
                accepted[lane] = 0.0
                h[lane], previous[lane] = shorter(h[lane], errors[lane], order), _PREVIOUS
                found.nrejected[member] += 1
            else:
                found.nsteps[member] += 1
                r = int(row[lane])
                while r < wanted.size and wanted[r] <= log_t_new[lane]:
                    if wanted[r] == log_t_new[lane]:
                        _of_lane(states[n + NEW], lane, found.y[member, r])
                    else:
                        x = place_of(wanted[r], log_t[lane], log_t_new[lane], one_series, scratch_of_clock)
                        _row(method, states, lane, x, h[lane], weights, found.y[member, r])
                    r += 1
                row[lane] = r
                h[lane] = longer(h[lane], errors[lane], previous[lane], order)
                previous[lane] = min(errors[lane], 1.0)
            outcome = _RUNNING
            if accepted[lane] > 0.0 and log_t_new[lane] >= log_t_end:
                outcome = _REACHED
            elif accepted[lane] > 0.0:
                _of_lane(states[n + NEW], lane, y)
                _of_lane(states[last], lane, dy)
                if call(f.event, (f.data[member], f.layout, scratch, y, dy, rtol)) != 0.0:
                    outcome = _CHANGED
            attempts = found.nsteps[member] + found.nrejected[member]
            spent = found.nsteps[member] >= steps or attempts >= most or h[lane] < SMALLEST_STEP
            if outcome != _RUNNING or spent:
                found.outcome[member], active[lane] = outcome, 0.0
                running -= 1
        _accept(method, accepted, clock, phi, end, log_t, log_t_new, states)


@njit(**KERNEL)
def _advance(
    f, method, sums, wanted, rtol, steps, most, lane_data, scratch, states, clock, values, series, room, vectors,
    one_series, found,
):  # fmt: skip
    members = len(f.data)
    for first in range(0, members, LANES):
        _group(
            f, method, sums, first, min(LANES, members - first), wanted, rtol, steps, most, lane_data, scratch, states,
            clock, values, series, room, vectors, one_series, found,
        )  # fmt: skip


def advance_lanes(
    fields: LaneFields, modes: int, wanted: np.ndarray, rtol: float, steps: int, most: int, name: str = DEFAULT
) -> Found:
    """Runs of states of so many numbers from 0 at t = 0 to the last of the times wanted; see `members`."""
    used = method(name)
    members, n, samples, size = len(fields.data), used.stages, used.samples.size, modes * LANES
    found = Found.room(members, len(wanted), modes)
    room = np.zeros(2 * modes + n + SCRATCH)
    _advance(
        fields, used, _sums(name), wanted, rtol, steps, most, np.zeros(fields.data.shape[1] * LANES),
        np.zeros(fields.spaces), np.zeros((n + ROWS, size)), np.zeros((len(used.weights), 3 * LANES)),
        np.zeros(2 * samples * LANES), np.zeros(2 * samples * LANES), room, np.zeros((13, LANES)),
        np.zeros((2, samples)), found,
    )  # fmt: skip
    return found
