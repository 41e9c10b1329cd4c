"""Taylor series of the plain field of `modes_field`, for several runs in the vectors of `kernels.lanes`.

[ceflow] Notation: w s are singular values times weights, z margins, m the smallest margin at the start of a step, k
valencies, and ``q = k exp(m + bend rho - z)`` the scaled odds of the wrong classes. The equations consist of products
and linear maps,

    (log s)' = ±2 forces(q),    (w s)' = (log s)' (w s),    q' = q (bend - z'),    z = margins(w s),

where ``dt = unit (exp(m + bend rho) + sum q) drho``. So a coefficient needs two convolutions per mode and no
exponential, and time follows from the series of the sum. The constant `bend` of each step makes equal steps of rho
equal steps of log t at late times. Without it, time would grow at most by a constant factor per step.
"""

from __future__ import annotations

import numpy as np

from .._field import SERIES, START, LaneFields
from ..kernels import KERNEL, njit
from ..kernels.lanes import (
    LANES,
    absolute,
    exp_lanes,
    extend_series,
    larger,
    load,
    smaller,
    splat,
    store,
    where_less,
)
from ..kernels.linking import call, linked, part, pointer, vector
from ..symmetry import Transforms
from .modes_field import (
    CLOSES,
    FORCES,
    MARGINS,
    MODES,
    NUMBERS,
    TO_FORCES,
    TO_MARGINS,
    VANISHED,
    plain_data,
    plain_layout,
)

_SPACES, _SERIES = 3, 3  # numbers of work vectors of the transforms, and of series


@linked(*START)
def _start(data, layout, scratch, state, order, rtol):
    """First coefficients at y: velocities of log s, and the sum of q for time."""
    modes = layout[MODES]
    n, row, zero = modes * LANES, order * LANES, splat(0.0)
    first, step = NUMBERS * LANES, n + LANES  # length of an array with one vector per mode, and offset of the first one
    start_weights, double_sign = part(data, first, n), part(data, first + step, n)
    valencies, weights = part(data, first + 2 * step, n), part(data, first + 3 * step, n)
    size, step = modes * row, (modes + 1) * LANES
    work, spare, margins = vector(scratch, step), part(scratch, step, step), part(scratch, 2 * step, n)
    sizes, odds = part(scratch, _SPACES * step, size), part(scratch, _SPACES * step + size, size)
    y, numbers, after = vector(state, n), vector(data, first), (modes + 1) * LANES
    velocity, clock = part(state, after, n + LANES), part(state, 2 * after, 3 * LANES)
    fall = mean = share = zero
    for i in range(modes):
        grown = load(y, i * LANES)
        s = load(start_weights, i * LANES) * exp_lanes(grown)
        fall, mean, share = larger(grown * -0.5, fall), mean + s, share + load(weights, i * LANES)
        store(sizes, i * row, s)
        store(work, (i + 1) * LANES, s)
    changed = where_less(load(numbers, VANISHED * LANES), fall, splat(1.0), zero)
    if layout[CLOSES]:
        mean, spread = mean / share, zero
        for i in range(modes):
            spread = larger(absolute(load(sizes, i * row) / (load(weights, i * LANES) * mean) - 1.0), spread)
        merged = larger(mean, splat(1.0)) * spread * spread - 0.01 * rtol  # see `modes_field`
        changed = where_less(merged, zero, splat(1.0), changed)
    call(layout[MARGINS], (pointer(layout[TO_MARGINS]), work, spare, margins, modes))
    smallest, total = load(margins, 0), zero
    for i in range(0, n, LANES):
        smallest = smaller(load(margins, i), smallest)
    for i in range(modes):
        odd = load(valencies, i * LANES) * exp_lanes(smallest - load(margins, i * LANES))
        store(odds, i * row, odd)
        store(work, (i + 1) * LANES, odd)
        total = total + odd
    call(layout[FORCES], (pointer(layout[TO_FORCES]), work, spare, velocity, modes))
    for i in range(0, n, LANES):
        store(velocity, i, load(velocity, i) * load(double_sign, i))
    store(velocity, n, total)
    store(clock, 0, smallest)
    store(clock, LANES, changed)
    return 0.0


@linked(*SERIES)
def _series(data, layout, scratch, state, rates, order):
    """All Taylor coefficients of the rates, and the bend; see `LaneFields`."""
    modes = layout[MODES]
    n, row = modes * LANES, order * LANES
    double_sign = part(data, (NUMBERS + modes + 1) * LANES, n)
    size, step = modes * row, (modes + 1) * LANES
    work, spare, out = vector(scratch, step), part(scratch, step, step), part(scratch, 2 * step, n)
    sizes, odds = part(scratch, _SPACES * step, size), part(scratch, _SPACES * step + size, size)
    bends = part(scratch, _SPACES * step + 2 * size, size)
    after, rates = (modes + 1) * LANES, vector(rates, size + row)
    velocity, clock = part(state, after, n + LANES), part(state, 2 * after, 3 * LANES)
    copy = work[LANES:]
    for i in range(modes + 1):
        store(rates, i * row, load(velocity, i * LANES))
    for k in range(order - 1):
        here, factor, bend = k * LANES, 1.0 / (k + 1), splat(0.0)
        extend_series(rates, sizes, modes, row, k, factor, copy)
        call(layout[MARGINS], (pointer(layout[TO_MARGINS]), work, spare, out, modes))
        if k == 0:
            bend = _bend(load(clock, 0), load(velocity, n), out, odds, modes, row)
            store(clock, 2 * LANES, bend)
        for i in range(modes):
            store(bends, i * row + here, bend - load(out, i * LANES) * (k + 1.0))
        total = extend_series(bends, odds, modes, row, k, factor, copy)
        store(rates, modes * row + here + LANES, total)
        call(layout[FORCES], (pointer(layout[TO_FORCES]), work, spare, out, modes))
        for i in range(modes):
            store(rates, i * row + here + LANES, load(out, i * LANES) * load(double_sign, i * LANES))
    return 0.0


@njit(**KERNEL)
def _bend(smallest, total, slopes, odds, modes, row):
    """Late-time value of ``dlog(time)/drho``, from the slopes of the margins z.

    For equal modes ``dz/dt ~ z exp(-z)``, so t is Ei(z) plus a constant. z is a smooth function of log Ei(z), whose
    slope is ``z' / (1 + 1/z + 2/z^2 + ..)``.
    """
    m, slope = larger(smallest, splat(0.0)), splat(0.0)
    for i in range(modes):
        slope = slope + load(odds, i * row) * load(slopes, i * LANES)
    return slope / total * (m * m / (m * m + m + 2.0))


def lane_fields(
    starts: np.ndarray, weights: np.ndarray, valencies: np.ndarray, transforms: Transforms, closes: bool, *,
    classes: float, log_unit: float, vanished: float,
) -> LaneFields:  # fmt: skip
    """Fields of m starts (m, D) of balanced, nonzero singular values."""
    modes = weights.size
    direction, data = np.where(starts > 0.0, 1.0, -1.0), np.empty((len(starts), NUMBERS + 4 * (modes + 1)))
    data[:] = plain_data(starts[0], weights, valencies, classes, log_unit, vanished)
    data[:, NUMBERS : NUMBERS + modes] = weights * starts
    data[:, NUMBERS + modes + 1 : NUMBERS + 2 * modes + 1] = 2.0 * direction
    margins, forces = transforms.margins.by_lanes, transforms.forces.by_lanes
    assert margins is not None and forces is not None
    by_lanes = transforms._replace(
        margins=transforms.margins._replace(function=margins),
        forces=transforms.forces._replace(function=forces),
    )
    numbers = modes + 1
    spaces = _SPACES * numbers * LANES, _SERIES * modes * LANES
    layout = plain_layout(modes, by_lanes, closes)
    return LaneFields(_start.entry, _series.entry, data, layout, log_unit, 0.5 * direction, numbers, *spaces)
