"""Vector field of the reduced flow under any symmetry.

A 1x1 block of linear layers with equal decays has one coordinate. All other blocks have their layers as coordinates.

Columns are scaled by the square root of their number of samples, ``H -> H N^(1/2)``. Then all layers have the same
residual, ``dW = R H^T`` and ``dH = W^T R`` with ``R = G O N^(1/2)``, and numbers of samples, weights and logit scales
multiply rows and columns of blocks. [ceflow]
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from .._field import EVENT, NORM, RATES, CompiledField, Event, Functions
from .._tolerances import REST_ROUNDING, REST_SPEED, STEP_SHARE
from ..kernels import KERNEL, njit
from ..kernels.butterflies import empty
from ..kernels.exponential import softplus
from ..kernels.linking import call, linked, part, pointer, vector
from ..losses import Loss
from ..network.chain import ACTIVATION, LINEAR, RELU, backward, forward
from ..network.coordinates import singular_values
from ..symmetry import LinearMap

_NONE, _CHANGE, _REST, _CROSSING = int(Event.NONE), int(Event.CHANGE), int(Event.REST), int(Event.CROSSING)

# `layout`: these sizes, flags and addresses, then the integer parts of `Parts`. `data`: these numbers, then the float
# parts. `layout` has the start of each part, at _PLACES.
(_MODES, _ROWS, _FIBRES, _ENTRIES, _RELATIONS, _BLOCK_ENTRIES, _LAYERS, _BLOCKS, _BIAS, _SQUARED) = range(10)
_EQUILIBRIA = 10
(_RESIDUAL, _MARGINS, _FORCES, _TO_MARGINS, _TO_FORCES, _OWN_RATES, _GATED, _LEFT) = range(11, 19)
_PLACES = 19
(_CLASSES, _DECAY, _BIAS_DECAY, _LOG_UNIT, _COUNTERFORCE, _VANISHED, _BETA, _INVERSE_COUNT, _NEAR) = range(9)
_NUMBERS = 9


class Parts(NamedTuple):
    """Flat arrays that the compiled functions read. D modes, B block entries, R relations, F fibres.

    Attributes
    ----------
    mode_entry : (D,) ints, index of each mode in the vector of block entries
    block_entry : (B',) ints, the same for the entries of the larger blocks, one block after another
    relation_ends : (F,) ints, end of the relations of each column fibre
    row_fibre : (R,) ints, row fibre of each relation
    chain : ints of `network.chain`
    layer_ends : (I,) ints, end of the layers of each larger block, in the state after the modes
    layer_decay : decay of each number in those layers
    active, direction, gain : (D,) as in `modes_field`; gain is the factor of the force of a mode
    mode_weight : (D,) factor from a singular value to its block entry
    entry_weight, residual_weight : (B',) the same for the larger blocks, and for their residual
    column_gain : (F,) log of the weight of each column fibre in R
    valencies : (R,)
    adjustment : (F,) added to the rows of a fibre
    scale : (F,) logit scale of the rows of a fibre
    bias_gain : (F, F) map from the trivial block of G to the velocity of the bias
    targets : (R,) targets of the squared error
    constants : rows of `network.coordinates`, flat
    parameters : parameters of the loss
    matrices : of `network.chain`
    frozen : 0 or 1, for each number in the layers
    """

    mode_entry: np.ndarray
    block_entry: np.ndarray
    relation_ends: np.ndarray
    row_fibre: np.ndarray
    chain: np.ndarray
    layer_ends: np.ndarray
    layer_decay: np.ndarray
    active: np.ndarray
    direction: np.ndarray
    gain: np.ndarray
    mode_weight: np.ndarray
    entry_weight: np.ndarray
    residual_weight: np.ndarray
    column_gain: np.ndarray
    valencies: np.ndarray
    adjustment: np.ndarray
    scale: np.ndarray
    bias_gain: np.ndarray
    targets: np.ndarray
    constants: np.ndarray
    parameters: np.ndarray
    matrices: np.ndarray
    frozen: np.ndarray


_INTEGERS = 6  # number of integer parts
(_MODE_ENTRY, _BLOCK_ENTRY, _RELATION_ENDS, _ROW_FIBRE, _CHAIN, _LAYER_ENDS) = range(_PLACES, _PLACES + 6)
(_LAYER_DECAY, _ACTIVE, _DIRECTION, _GAIN, _MODE_WEIGHT, _ENTRY_WEIGHT, _RESIDUAL_WEIGHT, _COLUMN_GAIN) = range(
    _PLACES + 6, _PLACES + 14
)
(_VALENCIES, _ADJUSTMENT, _SCALE, _BIAS_GAIN, _TARGETS, _CONSTANTS, _PARAMETERS, _MATRICES, _FROZEN) = range(
    _PLACES + 14, _PLACES + 23
)
_SCRATCH = _PLACES + 23  # offsets of the arrays in `scratch`, followed by offsets of the parts
(_WORK, _SPARE, _MARGIN, _SHARE, _FORCE, _SINGULAR, _COORDINATE_GAIN, _RATE, _SCALES) = range(_SCRATCH, _SCRATCH + 9)
(_VELOCITY, _R, _PRODUCTS, _END) = range(_SCRATCH + 9, _SCRATCH + 13)
_HEADER = _SCRATCH + 13
_BIAS_FLOOR = 1e-8  # share of the sum of squares: floor of the size of a bias and of a constant block that start at 0


@njit(**KERNEL)
def _residuals(data, layout, scratch, bias, a):
    """Write the scaled probabilities ``k_r p_r`` of all relations, from margins; return the log scale (kernel)."""
    fibres = layout[_FIBRES]
    ends, rows = part(layout, layout[_RELATION_ENDS], fibres), part(layout, layout[_ROW_FIBRE], layout[_RELATIONS])
    adjustment, scale = part(data, layout[_ADJUSTMENT], fibres), part(data, layout[_SCALE], fibres)
    margins = part(scratch, layout[_MARGIN], layout[_RELATIONS])
    shares = part(scratch, layout[_SHARE] + 1, layout[_RELATIONS])
    scales, gains = part(scratch, layout[_SCALES], 2 * fibres), part(data, layout[_COLUMN_GAIN], fibres)
    valencies = part(data, layout[_VALENCIES], layout[_RELATIONS])
    odds, high, most, begin = scales[fibres:], -np.inf, -np.inf, 0
    for f in range(fibres):
        for r in range(begin, ends[f]):
            margins[r] += adjustment[f] - adjustment[rows[r]]
            if layout[_BIAS]:
                margins[r] += scale[f] * bias[f] - scale[rows[r]] * bias[rows[r]]
        scales[f] = -np.inf
        if gains[f] > -np.inf:
            scales[f] = gains[f] + call(
                layout[_RESIDUAL],
                (part(data, layout[_PARAMETERS], 1), valencies[begin:], margins[begin:], shares[begin:], odds[f:],
                 data[_CLASSES], 1.0, ends[f] - begin),
            )  # fmt: skip
            most = max(most, gains[f] - softplus(odds[f]))
        high, begin = max(high, scales[f]), ends[f]
    begin, total, mean = 0, 0.0, 0.0
    for f in range(fibres):
        weight = math.exp(scales[f] - high)
        for r in range(begin, ends[f]):
            shares[r] = weight * shares[r] if weight > 0.0 else 0.0
        if gains[f] > -np.inf:  # weights of the mean of a are smooth: the clock interpolates a
            weight = math.exp(gains[f] - softplus(odds[f]) - most)
            total, mean = total + weight, mean + weight * odds[f]
        begin = ends[f]
    a[0] = mean / total
    return high


@linked(*RATES)
def _rates(data, layout, scratch, y, dy, a):
    modes, fibres, entries = layout[_MODES], layout[_FIBRES], layout[_ENTRIES]
    relations, inner, layers = layout[_RELATIONS], layout[_BLOCK_ENTRIES], layout[_LAYERS]
    blocks, biased = layout[_BLOCKS], layout[_BIAS]
    state, velocity = vector(y, modes + layers + biased * fibres), vector(dy, modes + layers + biased * fibres)
    # a linear map may overwrite the number before its argument
    work, spare = part(scratch, layout[_WORK] + 1, entries), part(scratch, layout[_SPARE], entries + relations + 1)
    margins, shares = part(scratch, layout[_MARGIN], relations), part(scratch, layout[_SHARE] + 1, relations)
    force, s = part(scratch, layout[_FORCE], entries), part(scratch, layout[_SINGULAR], modes)
    gain, rates = part(scratch, layout[_COORDINATE_GAIN], modes), part(scratch, layout[_RATE], modes + blocks)
    residual = part(scratch, layout[_R], layout[_PRODUCTS] - layout[_R])
    products = part(scratch, layout[_PRODUCTS], layout[_END] - layout[_PRODUCTS])
    chain = part(layout, layout[_CHAIN], layout[_LAYER_ENDS] - layout[_CHAIN])
    matrices = part(data, layout[_MATRICES], layout[_FROZEN] - layout[_MATRICES])
    mode_entry, block_entry = part(layout, layout[_MODE_ENTRY], modes), part(layout, layout[_BLOCK_ENTRY], inner)
    mode_weight, entry_weight = part(data, layout[_MODE_WEIGHT], modes), part(data, layout[_ENTRY_WEIGHT], inner)
    theirs, mine = state[modes:], velocity[modes:]
    bias = state[modes + layers :]
    for j in range(entries):
        work[j] = 0.0
    if modes > 0:
        constants = part(data, layout[_CONSTANTS], layout[_ROWS] * modes).reshape((layout[_ROWS], modes))
        singular_values(constants, 0.0, True, state[:modes], s, gain)
        for i in range(modes):
            work[mode_entry[i]] = mode_weight[i] * s[i]
    if inner > 0:
        forward(chain, matrices, data[_BETA], theirs, products)
        for j in range(inner):
            work[block_entry[j]] = entry_weight[j] * products[j]
    high = 0.0
    if layout[_SQUARED]:
        targets, rows = part(data, layout[_TARGETS], relations), part(layout, layout[_ROW_FIBRE], relations)
        call(layout[_MARGINS], (pointer(layout[_TO_MARGINS]), work, spare, margins, entries, relations))
        ends, gains = part(layout, layout[_RELATION_ENDS], fibres), part(data, layout[_COLUMN_GAIN], fibres)
        begin = 0
        for f in range(fibres):
            weight = math.exp(gains[f])
            for r in range(begin, ends[f]):
                shares[r] = weight * (targets[r] - margins[r] - (bias[rows[r]] if biased else 0.0))
            begin = ends[f]
        a[0] = -1e3
    else:
        call(layout[_MARGINS], (pointer(layout[_TO_MARGINS]), work, spare, margins, entries, relations))
        high = _residuals(data, layout, scratch, bias, a)
    call(layout[_FORCES], (pointer(layout[_TO_FORCES]), shares, spare, force, relations, entries))
    log_scale, weight, fading = high, 1.0, 0.0
    if data[_DECAY] > 0.0:
        log_scale = max(high, math.log(data[_DECAY]))
        weight, fading = math.exp(high - log_scale), math.exp(-log_scale)
    counterforce = data[_COUNTERFORCE] * math.exp(-log_scale) if data[_COUNTERFORCE] > 0.0 else 0.0
    peak = 0.0
    if modes > 0:
        active, direction = part(data, layout[_ACTIVE], modes), part(data, layout[_DIRECTION], modes)
        own = part(data, layout[_GAIN], modes)
        common = part(data, layout[_LAYER_DECAY], 1)[0] * fading
        for i in range(modes):
            push = gain[i] * own[i]
            pull = weight * push * force[mode_entry[i]]
            rates[i] = active[i] * (abs(pull) + push * counterforce + common)
            velocity[i] = active[i] * (pull - direction[i] * common)
            peak = max(peak, rates[i])
    if blocks > 0:
        residual_weight = part(data, layout[_RESIDUAL_WEIGHT], inner)
        for j in range(inner):
            residual[j] = weight * residual_weight[j] * force[block_entry[j]]
        if biased:
            bias_gain = part(data, layout[_BIAS_GAIN], fibres * fibres)
            for f in range(fibres):
                total = 0.0
                for g in range(fibres):
                    total += bias_gain[f * fibres + g] * residual[f * fibres + g]
                velocity[modes + layers + f] = total
        decay, frozen = part(data, layout[_LAYER_DECAY] + 1, layers), part(data, layout[_FROZEN], layers + 1)
        if chain[ACTIVATION] == RELU:
            call(layout[_GATED], (data, layout, scratch, theirs, mine, data[_DECAY] * fading))
        else:
            backward(chain, matrices, data[_BETA], theirs, products, residual, mine)
        ends = part(layout, layout[_LAYER_ENDS], blocks)
        all_squares, begin = 0.0, 0
        for j in range(layers):
            all_squares += theirs[j] * theirs[j]
        depth = float(chain[1])
        for i in range(blocks):
            squares, speeds, most = 0.0, 0.0, 0.0
            for j in range(begin, ends[i]):
                squares += theirs[j] * theirs[j]
                if frozen[j] > 0.0:
                    mine[j] = 0.0
                    continue
                speeds, most = speeds + mine[j] * mine[j], max(most, decay[j])
                mine[j] -= decay[j] * fading * theirs[j]
            squares = max(squares, _least(layout, i) * all_squares)
            if biased and i == 0:
                for f in range(fibres):
                    squares += bias[f] * bias[f]
                    if frozen[layers] > 0.0:
                        velocity[modes + layers + f] = 0.0
                        continue
                    speeds += velocity[modes + layers + f] ** 2
                    velocity[modes + layers + f] -= data[_BIAS_DECAY] * fading * bias[f]
                most = max(most, data[_BIAS_DECAY])
            rates[modes + i] = 0.0
            if squares > 0.0:
                push = counterforce * (squares / depth) ** (0.5 * depth - 1.0) if counterforce > 0.0 else 0.0
                rates[modes + i] = math.sqrt(speeds / squares) + push + most * fading
            peak, begin = max(peak, rates[modes + i]), ends[i]
    if peak == 0.0:
        return np.inf
    total = 0.0
    for i in range(modes + blocks):
        total += (rates[i] / peak) ** 2
    speed = peak * math.sqrt(total * data[_INVERSE_COUNT])
    inverse = 1.0 / speed
    for i in range(velocity.size):
        velocity[i] *= inverse
    return data[_LOG_UNIT] - log_scale - math.log(speed)


@njit(**KERNEL)
def _least(layout, i):
    """Smallest share of the sum of squares that a block is assigned (kernel)."""
    if layout[layout[_CHAIN] + ACTIVATION] != LINEAR:
        return 1.0  # relu mixes blocks, so a block may pass through 0
    return _BIAS_FLOOR if i == 0 and layout[_BIAS] else 0.0


@njit(**KERNEL)
def _speed(data, layout, y, dy):
    """Root mean square of the relative velocities of modes and blocks (kernel)."""
    total = all_squares = 0.0
    for i in range(layout[_MODES]):
        total += dy[i] * dy[i]
    for i in range(layout[_BLOCKS]):
        all_squares += _group(layout, y, i)
    for i in range(layout[_BLOCKS]):
        squares, speeds = max(_group(layout, y, i), _least(layout, i) * all_squares), _group(layout, dy, i)
        total += speeds / squares if squares > 0.0 else 0.0
    return math.sqrt(total * data[_INVERSE_COUNT])


@njit(**KERNEL)
def _group(layout, y, i):
    """Sum of squares of the layers of a block in y; the first block includes the bias (kernel)."""
    modes, layers = layout[_MODES], layout[_LAYERS]
    ends = part(layout, layout[_LAYER_ENDS], layout[_BLOCKS])
    total = 0.0
    for j in range(modes + (ends[i - 1] if i > 0 else 0), modes + ends[i]):
        total += y[j] * y[j]
    if i == 0 and layout[_BIAS]:
        for j in range(modes + layers, modes + layers + layout[_FIBRES]):
            total += y[j] * y[j]
    return total


@linked(*NORM)
def _norm(data, layout, scratch, error, y, dy, rtol, atol):
    modes, fibres, layers = layout[_MODES], layout[_FIBRES], layout[_LAYERS]
    blocks, size = layout[_BLOCKS], modes + layers + layout[_BIAS] * fibres
    error, y = vector(error, size), vector(y, size)
    level = STEP_SHARE * rtol
    largest, squares = 0.0, 0.0
    for i in range(modes):
        ratio = abs(error[i]) / level
        if not (ratio <= largest):  # true for NaN too
            largest = ratio
    for j in range(modes, modes + layers):
        squares += y[j] * y[j]
    for i in range(blocks):
        own, wrong = _group(layout, y, i), _group(layout, error, i)
        own = max(own, _least(layout, i) * squares)
        if wrong == 0.0:
            continue
        ratio = math.sqrt(wrong) / (level * math.sqrt(own) + atol) if own > 0.0 or atol > 0.0 else np.inf
        if not (ratio <= largest):
            largest = ratio
    return largest


@linked(*EVENT)
def _event(data, layout, scratch, y, dy, rtol):
    modes, fibres, layers = layout[_MODES], layout[_FIBRES], layout[_LAYERS]
    size = modes + layers + layout[_BIAS] * fibres
    y, dy = vector(y, size), vector(dy, size)
    active, direction = part(data, layout[_ACTIVE], modes), part(data, layout[_DIRECTION], modes)
    for i in range(modes):
        if active[i] > 0.0 and -direction[i] * y[i] > data[_VANISHED]:
            return _CHANGE
    if layout[layout[_CHAIN] + ACTIVATION] == RELU:
        velocity, a = part(scratch, layout[_VELOCITY], size + 1), part(scratch, layout[_VELOCITY] + size, 1)
        call(layout[_OWN_RATES], (data, layout, scratch, y, velocity, a))
        if call(layout[_LEFT], (data, layout, scratch, y[modes:])) > 0.0:
            return _CROSSING
    if layout[_EQUILIBRIA] and _speed(data, layout, y, dy) <= max(REST_SPEED * rtol, REST_ROUNDING):
        return _REST
    return _NONE


# -- in Python --------------------------------------------------------------------------------------------------------


def blocks_field(
    parts: Parts, margins: LinearMap, forces: LinearMap, loss: Loss, *, classes: float, entries: int, relations: int,
    bias: bool, squared: bool, chain_scratch: int, rows: int, count: float, decay: float, bias_decay: float,
    log_unit: float, vanished: float, beta: float,
    near: float = 0.0, gates: tuple[int, int] = (0, 0),
) -> CompiledField:  # fmt: skip
    """Vector field of a flow under any symmetry; "relu" needs `near` and the addresses from `block_gates`."""
    modes, blocks, layers = parts.active.size, parts.layer_ends.size, parts.frozen.size - 1
    fibres, inner = parts.adjustment.size, parts.block_entry.size
    equilibria = loss.counterforce > 0.0 or decay > 0.0
    sizes = [modes, rows, fibres, entries, relations, inner, layers, blocks, bias, squared, equilibria]
    addresses = [loss.residual.address, margins.function.address, forces.function.address]
    matrices = [transform.matrix.__array_interface__["data"][0] for transform in (margins, forces)]
    spaces = [entries + 1, entries + relations + 1, relations, relations + 1, entries, modes, modes, modes + blocks]
    size = modes + layers + bias * fibres
    spaces += [2 * fibres, size + 1, max(chain_scratch, 1), max(chain_scratch, 1)]
    starts = np.concatenate([[0], np.cumsum(spaces)])
    integers, floats = parts[:_INTEGERS], parts[_INTEGERS:]
    first = np.cumsum([_HEADER, *(part.size for part in integers)])[:-1]
    second = np.cumsum([_NUMBERS, *(part.size for part in floats)])[:-1]
    layout = np.concatenate([sizes, addresses, matrices, [_rates.address, *gates], first, second, starts, *integers])
    numbers = classes, decay, bias_decay, log_unit, loss.counterforce, vanished, beta, 1.0 / count, near
    layout = layout.astype(np.int64)
    data = np.concatenate([numbers, *(part.ravel() for part in floats)])
    functions = Functions(_rates.entry, _norm.entry, _event.entry, data, layout, empty(int(starts[-1])))
    return CompiledField(size, functions, equilibria, (margins.matrix, forces.matrix))
