"""One adaptive stepper for every flow.

The functions here are written once. For a system of NumPy arrays whose kernels are compiled (`SpectralFlow`) Numba
compiles them whole; for any other system (`MatrixFlow`) the same source runs as plain Python. A system supplies

    rates(y, dy) -> phi            velocity in the clock, dy/dtau, and phi = log(dt/dtau)
    combine(y, h, w, k, n, out)    out = y + h * (w[:n] @ k[:n])
    norm(error, y, dy, rtol, atol) size of an error in units of the tolerance, at a state y of velocity dy
    watch(y, dy, rtol) -> bool     True when the system wants to be looked at again (a closed form may take over)

as methods, or, compiled, as kernels of the same names with the system as first argument. `combine` has one compiled
form.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit
from numba.extending import overload, register_jitable

from .._kernels import KERNEL
from .clock import AT_STAGE, POINTS, ROOM, SAMPLES, TO_CHEBYSHEV, interpolation_error, locate, log_integral, log_sum
from .tableau import DOP853, interpolation_weights

LAST = DOP853.stages
STAGES = len(DOP853.coefficients)
_COEFFICIENTS = DOP853.coefficients
_ESTIMATES = DOP853.estimates
_INTERPOLANT = DOP853.interpolant
_AT_POINTS = interpolation_weights(DOP853, POINTS)

# PI control of the step (Gustafsson): exponents over the order of the error estimate.
_KI, _KP = 0.7 / DOP853.error_order, 0.4 / DOP853.error_order
_K = 1.0 / DOP853.error_order
_SAFETY, _GROWTH, _SHRINK = 0.8, 2.0, 0.1
_SMALLEST_STEP = 1e-13
FIRST_STEP = 0.1  # the clock moves the state at unit speed: a tenth of a relative change

RUNNING, REACHED, WATCH, STEPS_SPENT, STEP_TOO_SMALL = range(5)


def rates(system, y, dy):
    return system.rates(y, dy)


def combine(system, y, h, w, k, n, out):
    system.combine(y, h, w, k, n, out)


def copy(source, out):
    out[:] = source


def norm(system, error, y, dy, rtol, atol):
    return system.norm(error, y, dy, rtol, atol)


def watch(system, y, dy, rtol):
    return system.watch(y, dy, rtol)


@overload(rates)
def _rates(system, y, dy):
    kernel = system.instance_class.rates
    return lambda system, y, dy: kernel(system, y, dy)


@overload(norm)
def _norm(system, error, y, dy, rtol, atol):
    kernel = system.instance_class.norm
    return lambda system, error, y, dy, rtol, atol: kernel(system, error, y, dy, rtol, atol)


@overload(watch)
def _watch(system, y, dy, rtol):
    kernel = system.instance_class.watch
    return lambda system, y, dy, rtol: kernel(system, y, dy, rtol)


@overload(combine)
def _combine(system, y, h, w, k, n, out):
    return lambda system, y, h, w, k, n, out: _combine_arrays(y, h, w, k, n, out)


@overload(copy)
def _copy(source, out):
    return lambda source, out: _copy_array(source, out)


@njit(**KERNEL)
def _copy_array(source, out):
    for i in range(out.size):  # a loop compiles much faster than an assignment to a slice
        out[i] = source[i]


@njit(**KERNEL, fastmath={"contract"})
def _combine_arrays(y, h, w, k, n, out):
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
def _attempt(system, y, h, k, new):
    """The regular stages of a step from y, where ``k[0]`` is known. Leaves the solution in `new`; returns phi there."""
    phi = 0.0
    for i in range(1, LAST + 1):
        combine(system, y, h, _COEFFICIENTS[i], k, i, new)
        phi = rates(system, new, k[i])
    return phi


@register_jitable
def _sample_clock(system, y, h, k, phi_start, phi_end, probe, scratch, c):
    """The further stages for dense output, and phi - phi_end over the step as a Chebyshev series."""
    for i in range(SAMPLES):
        c[i] = TO_CHEBYSHEV[i, 0] * (phi_start - phi_end)
    for i in range(LAST + 1, STAGES):
        combine(system, y, h, _COEFFICIENTS[i], k, i, probe)
        phi = float(rates(system, probe, k[i])) - phi_end
        for m in range(1, SAMPLES - 1):
            if AT_STAGE[m] == i:
                for j in range(SAMPLES):
                    c[j] += TO_CHEBYSHEV[j, m] * phi
    for m in range(1, SAMPLES - 1):
        if AT_STAGE[m] == 0:
            combine(system, y, h, _AT_POINTS[m], k, STAGES, probe)
            phi = float(rates(system, probe, scratch)) - phi_end
            for j in range(SAMPLES):
                c[j] += TO_CHEBYSHEV[j, m] * phi


def advance(
    system, y, k, new, probe, scratch, zero, room,
    state, knots_y, knots_h, knots_log_t, rtol, atol, log_t_end, steps_left,
):  # fmt: skip
    """Steps until `log_t_end`, or until the knots are full, or until something is up.

    ``state`` = (log_t, phi, h, previous error) is updated, as are y and ``k[0]`` (its rates). Returns the number of
    accepted steps, a status, and the numbers of evaluations and of rejected steps.
    """
    log_t, phi, h, previous = state[0], state[1], state[2], state[3]
    c = room[ROOM : ROOM + SAMPLES]
    done, evaluations, rejected = 0, 0, 0
    status = RUNNING
    while done < knots_h.size:
        if log_t >= log_t_end:
            status = REACHED
            break
        if done + rejected >= steps_left:
            status = STEPS_SPENT
            break
        if h < _SMALLEST_STEP:
            status = STEP_TOO_SMALL
            break
        phi_new = float(_attempt(system, y, h, k, new))
        evaluations += LAST
        combine(system, zero, h, _ESTIMATES[0], k, LAST + 1, probe)
        combine(system, zero, h, _ESTIMATES[1], k, LAST + 1, scratch)
        high = norm(system, probe, new, k[LAST], rtol, atol)
        low = norm(system, scratch, new, k[LAST], rtol, atol)
        error = high * high / math.sqrt(high * high + 0.01 * low * low) if high > 0.0 else high
        log_t_new = log_t
        if error <= 1.0 and phi_new < np.inf:
            _sample_clock(system, y, h, k, phi, phi_new, probe, scratch, c)
            evaluations += STAGES - LAST + SAMPLES - 6
            log_t_new = log_sum(log_t, phi_new + math.log(h) + log_integral(c, 1.0, room))
            # An error of phi is one of log t; as a displacement along the path it counts t dtau/dt times. At the start
            # of a long step, where dense output is to be right too, that is more than at its end.
            drift = math.exp(max(min(max(log_t_new - phi_new, log_t - phi), 700.0), -700.0))
            rounding = 5e-16 * max(1.0, abs(phi), abs(phi_new))  # coefficients below it are noise
            error = max(error, 2.0 * drift * max(interpolation_error(c) - rounding, 0.0) / rtol)
        if not (error <= 1.0 and log_t_new >= log_t):
            shrink = _SAFETY * error**-_K if error > 1.0 else _SHRINK
            h *= max(_SHRINK, min(shrink, 0.9))
            previous = 1.0
            rejected += 1
            continue
        knots_h[done] = h
        copy(new, knots_y[done])
        knots_log_t[done] = log_t_new
        done += 1
        copy(new, y)
        copy(k[LAST], k[0])
        log_t, phi = log_t_new, phi_new
        h *= min(_GROWTH, _SAFETY * max(error, 1e-10) ** -_KI * max(previous, 1e-4) ** _KP)
        previous = error
        if watch(system, y, k[0], rtol):
            status = WATCH
            break
    state[0], state[1], state[2], state[3] = log_t, phi, h, previous
    return done, status, evaluations, rejected


def sample(system, y, k, new, probe, scratch, room, h, log_t, targets, out):
    """Dense output: redoes the step of size h from (log_t, y) and writes the states at the times `targets`, in it."""
    c, weights = room[ROOM : ROOM + SAMPLES], room[ROOM + SAMPLES : ROOM + SAMPLES + STAGES]
    phi = float(rates(system, y, k[0]))
    phi_new = float(_attempt(system, y, h, k, new))
    _sample_clock(system, y, h, k, phi, phi_new, probe, scratch, c)
    for row in range(targets.size):
        x = locate(c, log_t, phi_new + math.log(h), targets[row], room)
        for j in range(STAGES):
            weights[j] = 0.0
        bubble = 1.0
        for m in range(len(_INTERPOLANT)):
            bubble *= x if m % 2 == 0 else 1.0 - x
            for j in range(STAGES):
                weights[j] += bubble * _INTERPOLANT[m, j]
        combine(system, y, h, weights, k, STAGES, out[row])


advance_compiled = njit(**KERNEL)(advance)
sample_compiled = njit(**KERNEL)(sample)
