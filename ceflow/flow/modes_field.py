"""Vector field of the reduced flow: one coordinate per mode (see `network.coordinates`), in a clock of unit speed.

The functions are linked into the solver's loop. They call the linked transforms of a symmetry and the linked residual
of a loss. The plain case (cross-entropy on two balanced layers without decay) has its own, shorter functions.
"""

from __future__ import annotations

import math

import numpy as np

from .._field import EVENT, NORM, RATES, CompiledField, Event, Functions
from .._tolerances import REST_ROUNDING, REST_SPEED, STEP_SHARE
from ..kernels import KERNEL, njit
from ..kernels.butterflies import empty
from ..kernels.exponential import exp
from ..kernels.linking import call, linked, part, pointer, vector
from ..losses import Loss
from ..losses._margins import scaled_odds, smallest_margin
from ..network.coordinates import pair, singular_value_slope, singular_values
from ..symmetry import Transform, Transforms

_NONE, _CHANGE, _REST = int(Event.NONE), int(Event.CHANGE), int(Event.REST)

# `data`: numbers with these indices, followed by arrays with one number per mode. In the plain case: singular values at
# y = 0 times weights, twice the direction, valencies, weights. In all other cases: active, direction, valencies,
# weights, then the constants of `network.coordinates` and the parameters of the loss.
(_CLASSES, _BASE, INVERSE_COUNT, _DECAY, _LOG_UNIT, _COUNTERFORCE, _EQUAL_PAIRS, VANISHED) = range(8)
NUMBERS = 8
# `layout`: sizes, flags, and addresses of functions and matrices
(MODES, _SIZE, _ROWS, _PARAMETERS, _UNEQUAL, CLOSES, _EQUILIBRIA) = range(7)
(_RESIDUAL, MARGINS, FORCES, TO_MARGINS, TO_FORCES) = range(7, 12)
# `scratch`: five arrays of D + 1 numbers: two work spaces of the transforms (aligned to cache lines if D + 1 is a power
# of two), margins, singular values, gains
_SPACES = 5


@njit(**KERNEL, fastmath={"nnan", "nsz"})
def _largest(x):
    """Largest absolute value; x has no NaN."""
    largest = 0.0
    for i in range(x.size):
        largest = max(largest, abs(x[i]))
    return largest


@_largest.vectorized
def _largest_of_all(x):
    return np.abs(x).max(initial=0.0)


@njit(**KERNEL, fastmath={"reassoc", "contract"})
def _sum_of_squares(x, scale):
    total = 0.0
    for i in range(x.size):
        total += (x[i] * scale) * (x[i] * scale)
    return total


@_sum_of_squares.vectorized
def _square(x, scale):
    x = x * scale
    return x @ x


@njit(**KERNEL)
def _weighted_exponentials(weights, double_sign, y, out):
    """Write ``out_i = weights_i exp(±2 y_i)``; one loop, which compiles to vector instructions."""
    for i in range(out.size):
        out[i] = weights[i] * exp(double_sign[i] * y[i])


@_weighted_exponentials.vectorized
def _all_weighted_exponentials(weights, double_sign, y, out):
    np.multiply(weights, np.exp(double_sign * y), out=out)


@njit(**KERNEL)
def _scale(x, factor):
    for i in range(x.size):
        x[i] *= factor


@_scale.vectorized
def _scale_all(x, factor):
    x *= factor


@njit(**KERNEL)
def _velocity(dy, inverse_count):
    return math.sqrt(_sum_of_squares(dy, 1.0) * inverse_count)


@njit(**KERNEL)
def _merged(s, weights, classes, imbalance, rtol):
    """Whether the singular values (two layers) are so close that the linearized tail of `Ray` meets the tolerance.

    With d = max |s_i / s_bar - 1|, the error of the tail is max(s_bar, 1) d^2. Unequal imbalances change the relative
    differences by 2 K (|a^2 - b^2| / 4)^2 / s_bar^3; `imbalance` is the largest |a^2 - b^2| / 4.
    """
    mean, share = 0.0, 0.0
    for i in range(s.size):
        mean += weights[i] * s[i]
        share += weights[i]
    mean /= share
    if not mean > 0.0:
        return False
    spread = 0.0
    for i in range(s.size):
        spread = max(spread, abs(s[i] / mean - 1.0))
    merged = max(mean, 1.0) * spread**2 <= 0.01 * rtol
    return merged and 2.0 * classes * (imbalance / mean) ** 2 <= 0.1 * rtol * mean


@njit(**KERNEL)
def _apart(first, last, rtol):
    """Quick test: whether two singular values already show that the modes have not merged."""
    return not abs(first - last) <= 0.3 * math.sqrt(rtol) * max(first, last)


# -- the plain case ---------------------------------------------------------------------------------------------------


@linked(*RATES)
def _plain_rates(data, layout, scratch, y, dy, a):
    modes = layout[MODES]
    start_weights, double_sign = part(data, NUMBERS, modes), part(data, NUMBERS + modes + 1, modes)
    valencies = part(data, NUMBERS + 2 * (modes + 1), modes)
    work, spare = vector(scratch, modes + 1), part(scratch, modes + 1, modes + 1)
    margins = part(scratch, 2 * (modes + 1), modes)
    y, dy = vector(y, modes), vector(dy, modes)
    _weighted_exponentials(start_weights, double_sign, y, work[1:])
    call(layout[MARGINS], (pointer(layout[TO_MARGINS]), work, spare, margins, modes))
    smallest = smallest_margin(valencies, margins)
    log_total = math.log(scaled_odds(valencies, margins, smallest, work[1:]))
    a[0] = odds = smallest - log_total  # the scale is exp(-log_total) / (1 + exp(odds))
    call(layout[FORCES], (pointer(layout[TO_FORCES]), work, spare, dy, modes))  # the forces times exp(-log_scale)
    speed = _velocity(dy, data[INVERSE_COUNT])
    if not speed > 0.0:
        return np.inf
    _scale(dy, 1.0 / speed)
    rest = odds - math.log(speed) if odds > 40.0 else math.log((1.0 + exp(odds)) / speed)  # one logarithm, not two
    return data[_LOG_UNIT] + log_total + rest


@linked(*NORM)
def _plain_norm(data, layout, scratch, error, y, dy, rtol, atol):
    error = vector(error, layout[MODES])
    return _largest(error) / (STEP_SHARE * rtol) if _sum_of_squares(error, 1.0) < np.inf else np.inf


@linked(*EVENT)
def _plain_event(data, layout, scratch, y, dy, rtol):
    modes = layout[MODES]
    start_weights, double_sign = part(data, NUMBERS, modes), part(data, NUMBERS + modes + 1, modes)
    weights = part(data, NUMBERS + 3 * (modes + 1), modes)
    for i in range(modes):
        if -0.5 * double_sign[i] * y[i] > data[VANISHED]:
            return _CHANGE
    if not layout[CLOSES]:
        return _NONE
    last = modes - 1
    first_s = start_weights[0] / weights[0] * exp(2.0 * y[0])
    if _apart(first_s, start_weights[last] / weights[last] * exp(2.0 * y[last]), rtol):
        return _NONE
    s = part(scratch, 3 * (modes + 1), modes)
    for i in range(modes):
        s[i] = start_weights[i] / weights[i] * exp(2.0 * y[i])
    return _CHANGE if _merged(s, weights, data[_CLASSES], 0.0, rtol) else _NONE


# -- any other case ---------------------------------------------------------------------------------------------------


@linked(*RATES)
def _rates(data, layout, scratch, y, dy, a):
    modes, size, rows = layout[MODES], layout[_SIZE], layout[_ROWS]
    active, direction = part(data, NUMBERS, modes), part(data, NUMBERS + modes + 1, modes)
    valencies, weights = part(data, NUMBERS + 2 * (modes + 1), modes), part(data, NUMBERS + 3 * (modes + 1), modes)
    constants = part(data, NUMBERS + 4 * (modes + 1), rows * modes).reshape((rows, modes))
    parameters = part(data, NUMBERS + 4 * (modes + 1) + rows * modes, layout[_PARAMETERS])
    work, spare = vector(scratch, modes + 1), part(scratch, modes + 1, modes + 1)
    margins = part(scratch, 2 * (modes + 1), modes)
    s, gain = part(scratch, 3 * (modes + 1), modes), part(scratch, 4 * (modes + 1), modes)
    y, dy = vector(y, size), vector(dy, size)
    singular_values(constants, data[_EQUAL_PAIRS], layout[_UNEQUAL] > 0, y, s, gain)
    for i in range(modes):
        work[i + 1] = weights[i] * s[i]
    call(layout[MARGINS], (pointer(layout[TO_MARGINS]), work, spare, margins, modes))
    log_scale = call(
        layout[_RESIDUAL], (parameters, valencies, margins, work[1:], a, data[_CLASSES], data[_BASE], modes)
    )
    call(layout[FORCES], (pointer(layout[TO_FORCES]), work, spare, dy, modes))  # the forces times exp(-log_scale)
    decay = 0.0
    if data[_DECAY] > 0.0:
        log_decay = math.log(data[_DECAY])
        high = max(log_scale, log_decay)
        weight, decay, log_scale = math.exp(log_scale - high), math.exp(log_decay - high), high
        for i in range(modes):
            dy[i] *= weight
    counterforce = 0.0
    if data[_COUNTERFORCE] > 0.0:
        counterforce = data[_COUNTERFORCE] * math.exp(-log_scale)
    # Root mean square, over the modes that can move, of the rates of forces and counterforces taken separately. It is
    # smooth and positive, also at an equilibrium, where the clock is then proportional to time.
    rates = work[1:]
    for i in range(modes):
        rates[i] = active[i] * (gain[i] * (abs(dy[i]) + counterforce) + decay)
        dy[i] = active[i] * (gain[i] * dy[i] - direction[i] * decay)
    peak = _largest(rates)
    if peak == 0.0:
        return np.inf
    # scaled, because squares of small velocities in deep networks would underflow
    speed = peak * math.sqrt(_sum_of_squares(rates, 1.0 / peak) * data[INVERSE_COUNT])
    inverse = 1.0 / speed
    for i in range(modes):
        dy[i] *= inverse
    if size > modes:
        dy[modes] = decay / speed
    return data[_LOG_UNIT] - log_scale - math.log(speed)


@linked(*NORM)
def _norm(data, layout, scratch, error, y, dy, rtol, atol):
    modes, size, rows = layout[MODES], layout[_SIZE], layout[_ROWS]
    constants = part(data, NUMBERS + 4 * (modes + 1), rows * modes).reshape((rows, modes))
    error, y = vector(error, size), vector(y, size)
    level = STEP_SHARE * rtol
    largest = 0.0
    for i in range(size):
        tolerance = level
        if i == modes:
            tolerance *= max(1.0, y[i])
        elif atol > 0.0:
            tolerance += atol / max(singular_value_slope(constants, data[_EQUAL_PAIRS], y, i), 1e-300)
        ratio = abs(error[i]) / tolerance
        if not (ratio <= largest):  # true for NaN too
            largest = ratio
    return largest


@njit(**KERNEL)
def _are_merged(constants, weights, classes, y, s, gain, rtol):
    """`_merged` for two layers of any imbalance, at the coordinates y; overwrites s and gain (kernel)."""
    first, last = pair(constants, y[0], 0.0, 0)[0], pair(constants, y[-1], 0.0, y.size - 1)[0]
    if _apart(first, last, rtol):
        return False
    singular_values(constants, 0.0, True, y, s, gain)
    imbalance = 0.0
    for i in range(y.size):
        imbalance = max(imbalance, constants[1, i] * constants[2, i])
    return _merged(s, weights, classes, imbalance, rtol)


@linked(*EVENT)
def _event(data, layout, scratch, y, dy, rtol):
    modes, rows = layout[MODES], layout[_ROWS]
    active, direction = part(data, NUMBERS, modes), part(data, NUMBERS + modes + 1, modes)
    weights = part(data, NUMBERS + 3 * (modes + 1), modes)
    constants = part(data, NUMBERS + 4 * (modes + 1), rows * modes).reshape((rows, modes))
    y, velocity = vector(y, layout[_SIZE]), _velocity(vector(dy, modes), data[INVERSE_COUNT])
    for i in range(modes):
        if active[i] > 0.0 and -direction[i] * y[i] > data[VANISHED]:
            return _CHANGE
    if layout[_EQUILIBRIA] and velocity <= max(REST_SPEED * rtol, REST_ROUNDING):
        return _REST
    if layout[CLOSES]:
        s, gain = part(scratch, 3 * (modes + 1), modes), part(scratch, 4 * (modes + 1), modes)
        if _are_merged(constants, weights, data[_CLASSES], y, s, gain, rtol):
            return _CHANGE
    return _NONE


# -- in Python --------------------------------------------------------------------------------------------------------


def plain_layout(modes: int, transforms: Transforms, closes: bool) -> np.ndarray:
    """`layout` of a plain field; it does not depend on the start."""
    return _layout((modes, modes, 0, 0, False, closes, False), 0, transforms.margins, transforms.forces)


def plain_data(
    s: np.ndarray, weights: np.ndarray, valencies: np.ndarray, classes: float, log_unit: float, vanished: float
) -> np.ndarray:
    """`data` of the plain field of a start with singular values s (D,), all nonzero."""
    numbers = classes, 1.0, 1.0 / s.size, 0.0, log_unit, 0.0, 0.0, vanished
    return _packed(numbers, (weights * s, np.copysign(2.0, s), valencies, weights))


class PlainFields:
    """Factory of fields of two balanced layers under cross-entropy; all modes must move.

    Parameters
    ----------
    weights, valencies : (D,) arrays
    transforms : Transforms
    closes : bool
        Whether a closed form may replace the field.
    classes, log_unit, vanished : float
    """

    def __init__(
        self, weights: np.ndarray, valencies: np.ndarray, transforms: Transforms, closes: bool, classes: float,
        log_unit: float, vanished: float,
    ) -> None:  # fmt: skip
        self._data = plain_data(np.ones(weights.size), weights, valencies, classes, log_unit, vanished)
        self._addresses = _plain_rates.entry, _plain_norm.entry, _plain_event.entry
        self._layout = plain_layout(weights.size, transforms, closes)
        self._matrices = transforms.margins.matrix, transforms.forces.matrix

    def __call__(self, s: np.ndarray) -> CompiledField:
        """Field of a start with singular values s (D,), all nonzero."""
        data, modes = empty(self._data.size), s.size
        data[:] = self._data
        data[NUMBERS : NUMBERS + modes] *= s
        np.copysign(2.0, s, out=data[NUMBERS + modes + 1 : NUMBERS + 2 * modes + 1])
        functions = Functions(*self._addresses, data, self._layout, empty(_SPACES * (modes + 1)))
        return CompiledField(modes, functions, False, self._matrices)


def modes_field(
    constants: np.ndarray, weights: np.ndarray, valencies: np.ndarray, active: np.ndarray, direction: np.ndarray,
    margins: Transform, forces: Transform, loss: Loss, *, size: int, classes: float, base: float, count: int,
    decay: float, log_unit: float, equal_pairs: float, vanished: float, unequal: bool, closes: bool,
) -> CompiledField:  # fmt: skip
    """Vector field of all other flows on modes."""
    modes, equilibria = weights.size, loss.counterforce > 0.0 or decay > 0.0
    numbers = classes, base, 1.0 / count, decay, log_unit, loss.counterforce, equal_pairs, vanished
    data = _packed(numbers, (active, direction, valencies, weights), constants.ravel(), loss.packed)
    sizes = modes, size, len(constants), loss.packed.size, unequal, closes, equilibria
    layout = _layout(sizes, loss.residual.address, margins, forces)
    addresses = _rates.entry, _norm.entry, _event.entry
    functions = Functions(*addresses, data, layout, empty(_SPACES * (modes + 1)))
    return CompiledField(size, functions, equilibria, (margins.matrix, forces.matrix), modes)


def _packed(numbers: tuple[float, ...], arrays: tuple[np.ndarray, ...], *others: np.ndarray) -> np.ndarray:
    """`data`, with arrays of D + 1 entries, so that they start at cache lines if K is a power of two."""
    step = arrays[0].size + 1
    data = empty(NUMBERS + len(arrays) * step + sum(other.size for other in others))
    data[:NUMBERS] = numbers
    for i, array in enumerate(arrays):
        data[NUMBERS + i * step : NUMBERS + (i + 1) * step - 1] = array
    if others:
        data[NUMBERS + len(arrays) * step :] = np.concatenate(others)
    return data


def _layout(sizes: tuple[int, ...], residual: int, margins: Transform, forces: Transform) -> np.ndarray:
    functions = residual, margins.function.address, forces.function.address
    matrices = (transform.matrix.__array_interface__["data"][0] for transform in (margins, forces))  # their addresses
    return np.array([*sizes, *functions, *matrices], np.int64)
