"""The size of steps: PI control (Gustafsson), and what ends a run. Scalar kernels, for every loop."""

from __future__ import annotations

import math

from ..kernels import KERNEL, njit
from .outcome import Outcome

FIRST_STEP = 0.4  # the clock moves the state at unit speed: 0.4 is a relative change of singular values by 2
SMALLEST_STEP = 1e-13  # below it steps are rounding
# Exponents of PI control, over the order of the error estimate; the error aimed at is SAFETY ** order. Steps do not
# more than double: dense output of stiff stretches became unstable where they did.
SAFETY, INTEGRAL, PROPORTIONAL = 0.8, 0.8, 0.2
GROWTH, SHRINK = 2.0, 0.1
SMALLEST_ERROR, SMALLEST_PREVIOUS = 1e-10, 1e-4  # errors below are luck

_RUNNING, _REACHED = int(Outcome.RUNNING), int(Outcome.REACHED)
_STEPS_SPENT, _STEP_TOO_SMALL = int(Outcome.STEPS_SPENT), int(Outcome.STEP_TOO_SMALL)


@njit(**KERNEL)
def ended(log_t, log_t_end, attempts, most, h):
    """The outcome before another step of size h."""
    if log_t >= log_t_end:
        return _REACHED
    if attempts >= most:
        return _STEPS_SPENT
    return _STEP_TOO_SMALL if h < SMALLEST_STEP else _RUNNING


@njit(**KERNEL)
def combined(high, low):
    """Size of the error, from the two estimates of DOP853, the one of higher order first."""
    return high * high / math.sqrt(high * high + 0.01 * low * low) if high > 0.0 else high


@njit(**KERNEL)
def shorter(h, error, order):
    """Size of the next attempt after an error that was too large, or no number."""
    factor = SAFETY * error ** (-1.0 / order) if error > 1.0 else SHRINK
    return h * max(SHRINK, min(factor, 0.9))


@njit(**KERNEL)
def longer(h, error, previous, order):
    """Size of the next step after one whose error was accepted, and the error of the step before."""
    error, previous = max(error, SMALLEST_ERROR), max(previous, SMALLEST_PREVIOUS)
    return h * min(GROWTH, SAFETY * error ** (-INTEGRAL / order) * previous ** (PROPORTIONAL / order))


@njit(**KERNEL)
def narrowed(clear, crossed, bracket):
    """Size of the next attempt between a step that crosses no change of its field and one that does: half-way, and the
    latter once they are near each other."""
    return 0.5 * (clear + crossed) if crossed - clear > bracket else crossed
