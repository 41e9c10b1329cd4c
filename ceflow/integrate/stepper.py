"""One adaptive stepper for every flow.

The functions here are written once. For a system of NumPy arrays whose kernels are compiled (`SpectralFlow`) Numba
compiles them whole; for any other system (`MatrixFlow`) the same source runs as plain Python. A system supplies

    rates(y, dy) -> (phi, a)       velocity in the clock, dy/dtau, and phi = log(dt/dtau), with a as `clock` tells
    combine(y, h, w, k, n, out)    out = y + h * (w[:n] @ k[:n])
    norm(error, y, dy, rtol, atol) size of an error in units of the tolerance, at a state y of velocity dy
    rests(y, dy, rtol) -> bool     whether the state has come to rest
    watch(y, dy, rtol) -> bool     True when the system wants to be looked at again (a closed form may take over)
    allocate(*shape)               room for states
    settles                        whether there are equilibria at finite distance

as methods and attributes, or, compiled, as kernels of the same names with the system as first argument. `combine` has
one compiled form.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numba import njit
from numba.extending import overload, register_jitable

from .._kernels import KERNEL
from ..exponential import softplus
from ..matrix import host
from .clock import AT_STAGE, POINTS, ROOM, SAMPLES, TO_CHEBYSHEV, locate, log_integral, log_sum, phi_error
from .tableau import DOP853, interpolation_weights

LAST = DOP853.stages
STAGES = len(DOP853.coefficients)
_INTERPOLANT = DOP853.interpolant
_SOLUTION = DOP853.coefficients[LAST]
_ESTIMATES = DOP853.estimates
# All places in a step at which rates are evaluated, by their weights of the stages: the regular stages, those for dense
# output, and, by dense output, where else the clock is sampled.
_OWN = np.flatnonzero(AT_STAGE < 0)
_WEIGHTS = np.vstack([DOP853.coefficients, interpolation_weights(DOP853, POINTS[_OWN])])
_PLACES = len(_WEIGHTS)
_SAMPLES = AT_STAGE.copy()  # the place of each sample
_SAMPLES[_OWN] = np.arange(STAGES, _PLACES)

# PI control of the step (Gustafsson): exponents over the order of the error estimate.
_KI, _KP = 0.8 / DOP853.error_order, 0.2 / DOP853.error_order
_K = 1.0 / DOP853.error_order
_SAFETY, _GROWTH, _SHRINK = 0.8, 2.0, 0.1
_SMALLEST_STEP = 1e-13
_SMALL_RISE = 1.0  # of phi, so that time may be quadrature by the stages
FIRST_STEP = 0.4  # the clock moves the state at unit speed: 0.4 is a relative change of singular values by 2

RUNNING, REACHED, WATCH, AT_REST, STEPS_SPENT, STEP_TOO_SMALL = range(6)


class Workspace(NamedTuple):
    """Arrays that the stepper works in: stages, states, and what the clock needs."""

    k: np.ndarray  # (STAGES, N)
    y: np.ndarray  # (N,) like those that follow
    new: np.ndarray
    probe: np.ndarray
    scratch: np.ndarray
    zero: np.ndarray
    end: np.ndarray  # state at the end of the run
    phi: np.ndarray  # (2, n) phi and a at all places of a step
    series: np.ndarray  # (2, SAMPLES)
    weights: np.ndarray  # (STAGES,)
    room: np.ndarray  # (ROOM,)

    @classmethod
    def of(cls, system, n: int) -> Workspace:
        """For states of n numbers of a system."""
        rows = system.allocate(STAGES + 6, n)
        k, y, new, probe, scratch, zero, end = rows[:STAGES], *rows[STAGES:]
        zero[:] = 0.0
        phi = system.allocate(2, _PLACES)
        return cls(k, y, new, probe, scratch, zero, end, phi, np.empty((2, SAMPLES)), np.empty(STAGES), np.empty(ROOM))


def rates(system, y, dy):
    return system.rates(y, dy)


def combine(system, y, h, w, k, n, out):
    system.combine(y, h, w, k, n, out)


def copy(source, out):
    out[:] = source


def numbers(array):
    return host(array)


def norm(system, error, y, dy, rtol, atol):
    return system.norm(error, y, dy, rtol, atol)


def rests(system, y, dy, rtol):
    return system.rests(y, dy, rtol)


def watch(system, y, dy, rtol):
    return system.watch(y, dy, rtol)


@overload(rates, inline="always")
def _rates(system, y, dy):
    kernel = system.instance_class.rates
    return lambda system, y, dy: kernel(system, y, dy)


@overload(numbers, inline="always")
def _numbers(array):
    return lambda array: array


@overload(norm, inline="always")
def _norm(system, error, y, dy, rtol, atol):
    kernel = system.instance_class.norm
    return lambda system, error, y, dy, rtol, atol: kernel(system, error, y, dy, rtol, atol)


@overload(rests, inline="always")
def _rests(system, y, dy, rtol):
    kernel = system.instance_class.rests
    return lambda system, y, dy, rtol: kernel(system, y, dy, rtol)


@overload(watch, inline="always")
def _watch(system, y, dy, rtol):
    kernel = system.instance_class.watch
    return lambda system, y, dy, rtol: kernel(system, y, dy, rtol)


@overload(combine, inline="always")
def _combine(system, y, h, w, k, n, out):
    return lambda system, y, h, w, k, n, out: _combine_arrays(y, h, w, k, n, out)


@overload(copy, inline="always")
def _copy(source, out):
    return lambda source, out: _copy_array(source, out)


@njit(**KERNEL)
def _copy_array(source, out):
    for i in range(out.size):  # a loop compiles much faster than an assignment to a slice
        out[i] = source[i]


@njit(**KERNEL, fastmath={"contract"})
def _combine_arrays(y, h, w, k, n, out):
    if y.size < 8:  # no loop over vectors
        for i in range(y.size):
            total = 0.0
            for j in range(n):
                total += w[j] * k[j, i]
            out[i] = y[i] + h * total
        return
    for start in range(0, y.size, 1024):  # blocks that stay in the first-level cache
        block = out[start : start + 1024]
        _copy_array(y[start : start + 1024], block)
        for j in range(n):
            weight = h * w[j]
            if weight != 0.0:
                stage = k[j, start : start + 1024]
                for i in range(block.size):
                    block[i] += weight * stage[i]


@register_jitable
def _evaluate(system, work, h, first, end):
    """Rates, phi and a at some of the places of a step of size h from ``work.y``: 0 is its start, and those up to LAST
    are what it takes to know its end, ``work.new``."""
    for i in range(first, end):
        state = work.new if i <= LAST else work.probe
        combine(system, work.y, h, _WEIGHTS[i], work.k, min(i, STAGES), state)
        work.phi[0, i], work.phi[1, i] = rates(system, state, work.k[i] if i < STAGES else work.scratch)


@register_jitable
def _plain_time(phi, h):
    """Time that the step takes, and its estimated error, both over dt/dtau at its start, from the stages alone.

    Time as one more component of the state: that is all it takes as long as phi changes little.
    """
    time = high = low = 0.0
    for i in range(LAST + 1):
        speed = math.exp(min(phi[i] - phi[0], 700.0))
        time += _SOLUTION[i] * speed
        high += _ESTIMATES[0, i] * speed
        low += _ESTIMATES[1, i] * speed
    return h * time, h * _combined(abs(high), abs(low))


@register_jitable
def _combined(high, low):
    """Size of the error, from the two estimates of DOP853."""
    return high * high / math.sqrt(high * high + 0.01 * low * low) if high > 0.0 else high


@register_jitable
def _interpolate_clock(phi, series):
    """From phi and a at all places of a step a and b, where ``log(1 + exp(a)) + b`` is phi less that at the end, as
    Chebyshev series."""
    for i in range(SAMPLES):
        series[0, i] = series[1, i] = 0.0
    for m in range(SAMPLES):
        place = _SAMPLES[m]
        a = phi[1, place]
        b = phi[0, place] - phi[0, LAST] - softplus(a)
        for i in range(SAMPLES):
            series[0, i] += TO_CHEBYSHEV[i, m] * a
            series[1, i] += TO_CHEBYSHEV[i, m] * b


@register_jitable
def _interpolate(system, work, h, log_t, log_t_new, target, out):
    """Dense output: the state at the time `target` within the step of size h from log_t to log_t_new, whose stages and
    clock are known."""
    weights = work.weights
    log_step = log_t_new + math.log(-math.expm1(log_t - log_t_new)) - log_integral(work.series, 1.0, work.room)
    x = locate(work.series, log_t, log_step, target, work.room)
    for j in range(STAGES):
        weights[j] = 0.0
    bubble = 1.0
    for m in range(len(_INTERPOLANT)):
        bubble *= x if m % 2 == 0 else 1.0 - x
        for j in range(STAGES):
            weights[j] += bubble * _INTERPOLANT[m, j]
    combine(system, work.y, h, weights, work.k, STAGES, out)


def advance(system, work, state, knots_y, knots_h, knots_log_t, rtol, atol, log_t_end, steps_left):
    """Steps until `log_t_end`, or until the knots are full, or until something is up.

    ``state`` = (log_t, phi, a, h, previous error) is updated, as are ``work.y`` and its rates ``work.k[0]``; a phi of
    NaN says that they are not known yet. Leaves the state at `log_t_end` in ``work.end`` when that is reached. Returns
    the number of accepted steps, a status, and the numbers of evaluations and of rejected steps.
    """
    log_t, h, previous = state[0], state[3], state[4]
    y, k, new = work.y, work.k, work.new
    done, evaluations, rejected = 0, 0, 0
    status = RUNNING
    if math.isnan(state[1]):
        _evaluate(system, work, h, 0, 1)
        evaluations += 1
        if numbers(work.phi)[0, 0] == np.inf or rests(system, y, k[0], rtol):
            status = AT_REST
    else:
        work.phi[0, 0], work.phi[1, 0] = state[1], state[2]
    while status == RUNNING and done < knots_h.size:
        if log_t >= log_t_end:
            status = REACHED
            break
        if done + rejected >= steps_left:
            status = STEPS_SPENT
            break
        if h < _SMALLEST_STEP:
            status = STEP_TOO_SMALL
            break
        _evaluate(system, work, h, 1, LAST + 1)
        evaluations += LAST
        phi = numbers(work.phi)
        phi_old, phi_new = phi[0, 0], phi[0, LAST]
        combine(system, work.zero, h, _ESTIMATES[0], k, LAST + 1, work.probe)
        combine(system, work.zero, h, _ESTIMATES[1], k, LAST + 1, work.scratch)
        high = norm(system, work.probe, new, k[LAST], rtol, atol)
        error = _combined(high, norm(system, work.scratch, new, k[LAST], rtol, atol))
        log_t_new = log_t
        sampled = False
        if error <= 1.0 and phi_new < np.inf:
            # An error of t is a displacement along the path by dtau/dt times that. At the start of a long step, where
            # dense output is to be right too, that is more than at its end.
            passed, error_of_time = np.nan, np.inf
            # near an equilibrium steps are as long as stability allows, and only samples in a step see whether it was
            if abs(phi_new - phi_old) < _SMALL_RISE and not system.settles:
                passed, error_of_time = _plain_time(phi[0], h)
            if error_of_time * max(1.0, math.exp(min(phi_old - phi_new, 1.0))) <= rtol:
                log_t_new = log_sum(log_t, phi_old + math.log(passed))
            else:
                _evaluate(system, work, h, LAST + 1, _PLACES)
                evaluations += _PLACES - LAST - 1
                _interpolate_clock(numbers(work.phi), work.series)
                sampled = True
                log_t_new = log_sum(log_t, phi_new + math.log(h) + log_integral(work.series, 1.0, work.room))
                # an error of phi is one of log t
                drift = math.exp(max(min(max(log_t_new - phi_new, log_t - phi_old), 700.0), -700.0))
                error = max(error, 0.4 * drift * phi_error(work.series, max(abs(phi_old), abs(phi_new))) / rtol)
        if not (error <= 1.0 and log_t_new >= log_t):
            shrink = _SAFETY * error**-_K if error > 1.0 else _SHRINK
            h *= max(_SHRINK, min(shrink, 0.9))
            previous = 1.0
            rejected += 1
            continue
        if log_t_new == log_t_end:
            copy(new, work.end)
        elif log_t_new > log_t_end:
            if not sampled:
                _evaluate(system, work, h, LAST + 1, _PLACES)
                evaluations += _PLACES - LAST - 1
                _interpolate_clock(numbers(work.phi), work.series)
            _interpolate(system, work, h, log_t, log_t_new, log_t_end, work.end)
        knots_h[done] = h
        copy(new, knots_y[done])
        knots_log_t[done] = log_t_new
        done += 1
        copy(new, y)
        copy(k[LAST], k[0])
        work.phi[0, 0], work.phi[1, 0] = work.phi[0, LAST], work.phi[1, LAST]
        log_t = log_t_new
        h *= min(_GROWTH, _SAFETY * max(error, 1e-10) ** -_KI * max(previous, 1e-4) ** _KP)
        previous = error
        if watch(system, y, k[0], rtol):
            status = WATCH
    phi = numbers(work.phi)
    state[0], state[1], state[2], state[3], state[4] = log_t, phi[0, 0], phi[1, 0], h, previous
    return done, status, evaluations, rejected


def sample(system, work, h, log_t, log_t_new, targets, out):
    """Dense output: redoes the step of size h from log_t and ``work.y`` to log_t_new, and writes the states at the
    times `targets`, which are in it."""
    _evaluate(system, work, h, 0, _PLACES)
    _interpolate_clock(numbers(work.phi), work.series)
    for row in range(targets.size):
        _interpolate(system, work, h, log_t, log_t_new, targets[row], out[row])


advance_compiled = njit(**KERNEL)(advance)
sample_compiled = njit(**KERNEL)(sample)
