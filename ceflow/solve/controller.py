"""Step size control (PI controller, Gustafsson) and end of a run, as scalar kernels for all loops."""

from __future__ import annotations

import math

from ..kernels import KERNEL, njit
from .outcome import Outcome

FIRST_STEP = 0.4  # in the clock the state has unit speed: 0.4 changes singular values by a factor of 2
SMALLEST_STEP = 1e-13  # below it steps are rounding
# Exponents of PI control, divided by the order of the error estimate; the target error is SAFETY ** order. Steps at
# most double: larger factors made dense output of stiff parts unstable.
SAFETY, INTEGRAL, PROPORTIONAL = 0.8, 0.8, 0.2
GROWTH, SHRINK = 2.0, 0.1
SMALLEST_ERROR, SMALLEST_PREVIOUS = 1e-10, 1e-4  # smaller errors are accidental

_RUNNING, _REACHED = int(Outcome.RUNNING), int(Outcome.REACHED)
_STEPS_SPENT, _STEP_TOO_SMALL = int(Outcome.STEPS_SPENT), int(Outcome.STEP_TOO_SMALL)


@njit(**KERNEL)
def ended(log_t, log_t_end, attempts, most, h):
    """Outcome before another step of size h."""
    if log_t >= log_t_end:
        return _REACHED
    if attempts >= most:
        return _STEPS_SPENT
    return _STEP_TOO_SMALL if h < SMALLEST_STEP else _RUNNING


@njit(**KERNEL)
def combined(high, low):
    """Error norm from the two estimates of DOP853, the one of higher order first."""
    return high * high / math.sqrt(high * high + 0.01 * low * low) if high > 0.0 else high


@njit(**KERNEL)
def shorter(h, error, order):
    """Size of the next attempt after an error that was too large, or NaN."""
    factor = SAFETY * error ** (-1.0 / order) if error > 1.0 else SHRINK
    return h * max(SHRINK, min(factor, 0.9))


@njit(**KERNEL)
def longer(h, error, previous, order):
    """Size of the next step after an accepted one, and the error to remember."""
    error, previous = max(error, SMALLEST_ERROR), max(previous, SMALLEST_PREVIOUS)
    return h * min(GROWTH, SAFETY * error ** (-INTEGRAL / order) * previous ** (PROPORTIONAL / order))


@njit(**KERNEL)
def narrowed(clear, crossed, bracket):
    """Size of the next attempt between a step without a change of the field and a longer one with it: the midpoint, or
    the longer step if both are close."""
    return 0.5 * (clear + crossed) if crossed - clear > bracket else crossed
