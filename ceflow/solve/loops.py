"""The two loops over steps: a compiled one for fields of linked functions, and one on arrays of any library.

Both take the same steps, with the arithmetic of `controller` and `clock`. ``state`` is (log t, phi, a, step size,
previous error); phi is NaN if the rates at the start are not known yet. The loop ends with the step that reaches
`log_t_end`; its start, stages and end stay in the workspace. Otherwise the workspace is ready for the next step, from
``states[START]`` with its rates in ``states[0]``. The compiled loop also bisects a step in which its field changes, so
that it ends there; fields on other arrays do not change.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from .._arrays import host
from .._field import Event, Functions, combine
from .._tolerances import CROSSING_SHARE, DEFECT_SHARE
from ..kernels import KERNEL, njit
from ..kernels.compilation import process
from ..kernels.linking import call
from .clock import time_by_samples, time_by_stages
from .controller import SMALLEST_STEP, combined, ended, longer, narrowed, shorter
from .method import ERROR, NEW, PROBE, START, ZERO, Method, Work
from .outcome import Outcome

_RUNNING, _REACHED, _CHANGED, _AT_REST = (
    int(outcome) for outcome in (Outcome.RUNNING, Outcome.REACHED, Outcome.CHANGED, Outcome.AT_REST)
)
_CROSSING, _REST = int(Event.CROSSING), int(Event.REST)
_PREVIOUS = 1.0  # initial value of the previous error


@njit(**KERNEL)
def evaluate_compiled(f, method, work, h, first, end):
    """Rates, phi and a at the points first..end-1 of a step of size h; those up to ``method.last`` determine its
    end."""
    n, states = method.stages, work.states
    for i in range(first, end):
        state = states[n + NEW] if i <= method.last else states[n + PROBE]
        combine(states[n + START], h, method.weights[i], states, min(i, n), state)
        velocity = states[i] if i < n else states[n + ERROR]
        work.phi[0, i] = call(f.rates, (f.data, f.layout, f.scratch, state, velocity, work.phi[1, i:]))


@njit(**KERNEL)
def _error_compiled(f, method, work, h, rtol, atol):
    n, last, states = method.stages, method.last, work.states
    error, new, velocity = states[n + ERROR], states[n + NEW], states[last]
    combine(states[n + ZERO], h, method.estimates[0], states, last + 1, error)
    high = call(f.norm, (f.data, f.layout, f.scratch, error, new, velocity, rtol, atol))
    combine(states[n + ZERO], h, method.estimates[1], states, last + 1, error)
    return combined(high, call(f.norm, (f.data, f.layout, f.scratch, error, new, velocity, rtol, atol)))


@njit(**KERNEL)
def _defect_compiled(f, method, work, h, rtol, atol):
    """Norm of the defect of dense output at the last point of a step with all points evaluated."""
    n, states = method.stages, work.states
    velocity, defect = states[n + ERROR], states[n + PROBE]
    combine(velocity, -1.0, method.slope, states, n, defect)
    size = call(f.norm, (f.data, f.layout, f.scratch, defect, states[n + NEW], states[method.last], rtol, atol))
    return DEFECT_SHARE * h * size


@njit(**KERNEL)
def _outcome_compiled(f, y, velocity, rtol):
    event = call(f.event, (f.data, f.layout, f.scratch, y, velocity, rtol))
    return _RUNNING if event == 0.0 else _AT_REST if event == _REST else _CHANGED


@njit(**KERNEL)
def copy(source, out):
    for i in range(out.size):
        out[i] = source[i]


@copy.vectorized
def _copy(source, out):
    out[:] = source


@njit(**KERNEL)
def advance_compiled(
    f: Functions, method: Method, work: Work, state: np.ndarray, knots_y: np.ndarray, knots_h: np.ndarray,
    knots_log_t: np.ndarray, rtol: float, atol: float, rest: float, log_t_end: float, most: int,
    has_equilibria: bool,
):  # fmt: skip
    """Take steps until `log_t_end`, or until the knots are full, `most` attempts are used, or the field reports an
    event.

    `rest` is the tolerance of the field for events.

    Returns
    -------
    done, outcome, evaluations, rejected, known : int
        Accepted steps, written to the knots; an `Outcome`; evaluations; rejected attempts; and number of points of the
        last step in the workspace.
    """
    n, last, places = method.stages, method.last, len(method.weights)
    states, phi, order = work.states, work.phi, method.order
    log_t, h, previous = state[0], state[3], state[4]
    done, evaluations, rejected, known, outcome = 0, 0, 0, 0, _RUNNING
    # the longest step without a change of the field, the shortest with one, and their final distance
    clear, crossed, bracket, usual = 0.0, np.inf, max(CROSSING_SHARE * rtol, 2.0 * SMALLEST_STEP), h
    if math.isnan(state[1]):
        evaluate_compiled(f, method, work, h, np.int64(0), np.int64(1))  # literals would be compiled separately
        evaluations = 1
        if phi[0, 0] == np.inf or _outcome_compiled(f, states[n + START], states[0], rest) == _AT_REST:
            outcome = _AT_REST
    else:
        phi[0, 0], phi[1, 0] = state[1], state[2]
    while outcome == _RUNNING and done < knots_h.size:
        outcome = ended(log_t, log_t_end, done + rejected, most, h)
        if outcome != _RUNNING:
            break
        evaluate_compiled(f, method, work, h, np.int64(1), last + 1)
        evaluations, known = evaluations + last, last + 1
        error = _error_compiled(f, method, work, h, rtol, atol)
        log_t_new, bracketed = log_t, crossed < np.inf  # a longer step was accepted
        if (error <= 1.0 or bracketed) and phi[0, last] < np.inf:
            log_t_new, time_error = time_by_stages(phi, h, log_t, method, has_equilibria)
            if not time_error <= rtol:
                evaluate_compiled(f, method, work, h, last + 1, places)
                evaluations, known = evaluations + places - last - 1, places
                log_t_new, time_error = time_by_samples(
                    phi, h, log_t, method, has_equilibria, work.series, work.scratch, rtol
                )
                error = max(error, time_error, _defect_compiled(f, method, work, h, rtol, atol))
        if not ((error <= 1.0 or bracketed) and log_t_new >= log_t):
            h, previous, rejected = shorter(h, error, order), _PREVIOUS, rejected + 1
            continue
        event = call(f.event, (f.data, f.layout, f.scratch, states[n + NEW], states[last], rest))
        if not bracketed:
            usual = longer(h, error, previous, order)
        if event == _CROSSING:
            crossed = h
        else:
            clear = h
        if crossed < np.inf and not (event == _CROSSING and crossed - clear <= bracket):  # bisection
            h, rejected = narrowed(clear, crossed, bracket), rejected + 1
            continue
        knots_h[done], knots_log_t[done] = h, log_t_new
        copy(states[n + NEW], knots_y[done])
        done, log_t, h, previous, clear, crossed = done + 1, log_t_new, usual, min(error, 1.0), 0.0, np.inf
        if log_t >= log_t_end:
            outcome = _REACHED
            break
        outcome = _RUNNING if event == 0.0 else _AT_REST if event == _REST else _CHANGED
        copy(states[n + NEW], states[n + START])
        copy(states[last], states[0])
        phi[0, 0], phi[1, 0] = phi[0, last], phi[1, last]
    place = last if outcome == _REACHED and done > 0 else 0
    state[0], state[1], state[2], state[3], state[4] = log_t, phi[0, place], phi[1, place], h, previous
    return done, outcome, evaluations, rejected, known


process.on_disk = lambda: advance_compiled.on_disk


def evaluate(field, method: Method, work: Work, h: Any, first: int, end: int) -> None:
    """`evaluate_compiled` on arrays of any library."""
    n, states = method.stages, work.states
    for i in range(first, end):
        state = states[n + NEW] if i <= method.last else states[n + PROBE]
        field.combine(states[n + START], h, method.weights[i], states, min(i, n), state)
        work.phi[0, i], work.phi[1, i] = field.rates(state, states[i] if i < n else states[n + ERROR])


def _error(field, method: Method, work: Work, h: float, rtol: float, atol: float) -> float:
    n, last, states = method.stages, method.last, work.states
    error, new, velocity, sizes = states[n + ERROR], states[n + NEW], states[last], []
    for weights in method.estimates:
        field.combine(states[n + ZERO], h, weights, states, last + 1, error)
        sizes.append(field.norm(error, new, velocity, rtol, atol))
    return combined(*sizes)


def _defect(field, method: Method, work: Work, h: float, rtol: float, atol: float) -> float:
    n, states = method.stages, work.states
    field.combine(states[n + ERROR], -1.0, method.slope, states, n, states[n + PROBE])
    return DEFECT_SHARE * h * field.norm(states[n + PROBE], states[n + NEW], states[method.last], rtol, atol)


def _outcome(event: Event) -> int:
    return _RUNNING if event == Event.NONE else _AT_REST if event == Event.REST else _CHANGED


def advance(field, method, work, state, knots_y, knots_h, knots_log_t, rtol, atol, rest, log_t_end, most):
    """`advance_compiled` on arrays of any library."""
    n, last, places = method.stages, method.last, len(method.weights)
    states, order = work.states, method.order
    log_t, h, previous = float(state[0]), float(state[3]), float(state[4])
    done, evaluations, rejected, known, outcome = 0, 0, 0, 0, _RUNNING
    if math.isnan(state[1]):
        evaluate(field, method, work, h, 0, 1)
        evaluations = 1
        if host(work.phi)[0, 0] == np.inf or field.event(states[n + START], states[0], rest) == Event.REST:
            outcome = _AT_REST
    else:
        work.phi[0, 0], work.phi[1, 0] = float(state[1]), float(state[2])
    while outcome == _RUNNING and done < knots_h.size:
        outcome = ended(log_t, log_t_end, done + rejected, most, h)
        if outcome != _RUNNING:
            break
        evaluate(field, method, work, h, 1, last + 1)
        evaluations, known = evaluations + last, last + 1
        error, log_t_new = _error(field, method, work, h, rtol, atol), log_t
        phi = host(work.phi)
        if error <= 1.0 and phi[0, last] < np.inf:
            log_t_new, time_error = time_by_stages(phi, h, log_t, method, field.has_equilibria)
            if not time_error <= rtol:
                evaluate(field, method, work, h, last + 1, places)
                evaluations, known = evaluations + places - last - 1, places
                phi = host(work.phi)
                log_t_new, time_error = time_by_samples(
                    phi, h, log_t, method, field.has_equilibria, work.series, work.scratch, rtol
                )
                error = max(error, time_error, _defect(field, method, work, h, rtol, atol))
        if not (error <= 1.0 and log_t_new >= log_t):
            h, previous, rejected = shorter(h, error, order), _PREVIOUS, rejected + 1
            continue
        knots_h[done], knots_log_t[done], knots_y[done] = h, log_t_new, states[n + NEW]
        done, log_t, h, previous = done + 1, log_t_new, longer(h, error, previous, order), error
        if log_t >= log_t_end:
            outcome = _REACHED
            break
        outcome = _outcome(field.event(states[n + NEW], states[last], rest))
        states[n + START][:] = states[n + NEW]
        states[0][:] = states[last]
        work.phi[:, 0] = work.phi[:, last]
    place = last if outcome == _REACHED and done > 0 else 0
    state[:] = log_t, *host(work.phi)[:, place], h, previous
    return done, outcome, evaluations, rejected, known
