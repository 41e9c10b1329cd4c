"""The plain vector field of `modes_field` for several runs side by side, each in its lane of `kernels.lanes`."""

from __future__ import annotations

import numpy as np

from .._field import EVENT, RATES, LaneFields
from ..kernels import KERNEL, njit
from ..kernels.lanes import LANES, absolute, exp_lanes, larger, load, smaller, splat, square_root, store, where_less
from ..kernels.linking import call, linked, part, pointer, vector
from ..symmetry import Transforms
from .modes_field import (
    CLOSES,
    FORCES,
    INVERSE_COUNT,
    MARGINS,
    MODES,
    NUMBERS,
    TO_FORCES,
    TO_MARGINS,
    VANISHED,
    pack_plain,
    plain_layout,
)

_SPACES = 3  # of D + 1 vectors, which the rates work in


@linked(*RATES)
def _rates(data, layout, scratch, y, dy, clock):
    """Velocities of unit root mean square, and the numbers of the clock that `LaneFields` names: without logarithms."""
    modes = layout[MODES]
    n = modes * LANES
    first, step = NUMBERS * LANES, n + LANES  # of arrays of one vector a mode, and where the first of them is
    start_weights, double_sign = part(data, first, n), part(data, first + step, n)
    valencies = part(data, first + 2 * step, n)
    work, spare = vector(scratch, step), part(scratch, step, step)
    margins = part(scratch, 2 * step, n)
    y, dy, clock = vector(y, n), vector(dy, n), vector(clock, 3 * LANES)
    for i in range(0, n, LANES):
        store(work, i + LANES, load(start_weights, i) * exp_lanes(load(double_sign, i) * load(y, i)))
    call(layout[MARGINS], (pointer(layout[TO_MARGINS]), work, spare, margins, modes))
    smallest, total, squares = splat(1e300), splat(0.0), splat(0.0)
    for i in range(0, n, LANES):
        smallest = smaller(load(margins, i), smallest)
    for i in range(0, n, LANES):
        odds = load(valencies, i) * exp_lanes(smallest - load(margins, i))
        store(work, i + LANES, odds)
        total = total + odds
    call(layout[FORCES], (pointer(layout[TO_FORCES]), work, spare, dy, modes))
    for i in range(0, n, LANES):
        squares = squares + load(dy, i) * load(dy, i)
    speed = square_root(squares * load(vector(data, first), INVERSE_COUNT * LANES))
    inverse = 1.0 / speed
    for i in range(0, n, LANES):
        store(dy, i, load(dy, i) * inverse)
    store(clock, 0, smallest)
    store(clock, LANES, total)
    store(clock, 2 * LANES, speed)
    return 0.0


@linked(*EVENT)
def _event(data, layout, scratch, y, found, rtol):
    """As `modes_field.plain_event`."""
    modes = layout[MODES]
    n = modes * LANES
    first, step, zero = NUMBERS * LANES, n + LANES, splat(0.0)
    start_weights, double_sign = part(data, first, n), part(data, first + step, n)
    weights, numbers, work = part(data, first + 3 * step, n), vector(data, first), vector(scratch, n)
    y, found, fall = vector(y, n), vector(found, LANES), zero
    for i in range(0, n, LANES):
        fall = larger(load(double_sign, i) * load(y, i) * -0.5, fall)
    changed = where_less(load(numbers, VANISHED * LANES), fall, splat(1.0), zero)
    if layout[CLOSES]:
        mean, share, spread = zero, zero, zero
        for i in range(0, n, LANES):
            s = load(start_weights, i) * exp_lanes(load(y, i) * 2.0)  # times its weight
            store(work, i, s / load(weights, i))
            mean, share = mean + s, share + load(weights, i)
        mean = mean / share
        for i in range(0, n, LANES):
            spread = larger(absolute(load(work, i) / mean - 1.0), spread)
        merged = larger(mean, splat(1.0)) * spread * spread - 0.01 * rtol  # see `modes_field`
        changed = where_less(merged, zero, splat(1.0), changed)
    store(found, 0, changed)
    return 0.0


@njit(**KERNEL)
def _pack(starts, weights, valencies, classes, log_unit, vanished, constants, direction, data):
    for member in range(len(starts)):
        for i in range(weights.size):
            constants[0, i] = starts[member, i]
            direction[i] = 1.0 if starts[member, i] > 0.0 else -1.0
        pack_plain(constants, weights, valencies, direction, classes, log_unit, vanished, data[member])


def lane_fields(
    starts: np.ndarray, weights: np.ndarray, valencies: np.ndarray, transforms: Transforms, closes: bool, *,
    classes: float, log_unit: float, vanished: float,
) -> LaneFields:  # fmt: skip
    """Fields, as of `modes_field.plain_field`, of m starts (m, D), balanced singular values none of which is 0."""
    modes = weights.size
    data = np.zeros((len(starts), NUMBERS + 4 * (modes + 1)))
    scratch = np.empty((1, modes)), np.empty(modes)
    _pack(np.ascontiguousarray(starts), weights, valencies, classes, log_unit, vanished, *scratch, data)
    margins, forces = transforms.margins.by_lanes, transforms.forces.by_lanes
    assert margins is not None and forces is not None
    by_lanes = transforms._replace(
        margins=transforms.margins._replace(function=margins),
        forces=transforms.forces._replace(function=forces),
    )
    spaces = _SPACES * (modes + 1) * LANES
    layout = plain_layout(modes, by_lanes, closes)
    return LaneFields(_rates.entry, _event.entry, data, layout, log_unit, spaces)
