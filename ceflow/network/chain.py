"""Products of layers, block by block: the logits of a network under a symmetry, and the pull-back of their gradient.

In an adapted basis every layer is a list of blocks, one per irreducible of the symmetry, and products of layers are
products of blocks. A `Chain` describes the positions of all blocks in one flat array. Between layers an entrywise
activation may act on the relations between hidden units and columns; only it couples blocks. For "relu" the gate of
each entry is given (see `gates`).
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from ..kernels import KERNEL, njit

# layout of a chain, after these numbers. For each block: dimensions of its layers (depth + 1), offsets of its layers
# (depth), and offsets in scratch of the products of its last layers (depth). For each level between layers, from the
# first to the last: sizes of its blocks and of its entries (0 for linear), offsets of its matrices in `data`, its
# offset in scratch, and the number of entries on earlier levels. For "relu": the gates of all entries. At the end of
# scratch: the arrays of "relu" for `gates`.
BLOCKS, DEPTH, ACTIVATION, PRODUCTS, ENTRIES, GATES, KEPT, NUMBERS, WIDEST, MOST = range(10)
HEADER = 10
LEVEL = 6  # integers per level
LINEAR, RELU, SOFTPLUS = range(3)
SHUT, OPEN, SLIDING, BY_SIGN = range(4)  # gates of "relu"
VALUE, BELOW, FORCE, DRIFT, SIZE, SLOW = range(6)  # arrays of "relu", one number per entry
EACH = 6
MOST_SLIDING = 1000


class Level(NamedTuple):
    """Linear maps between blocks and the entries on which an activation acts.

    Attributes
    ----------
    to_entries : (R, B) array
        From the blocks of hidden units and columns, row-major one after another, to the entries on relations.
    to_blocks : (B, R) array
    """

    to_entries: np.ndarray
    to_blocks: np.ndarray


@njit(**KERNEL)
def product(a, b, out, rows, inner, columns, transpose_a=False, transpose_b=False, add=False):
    """Write ``out = a b`` or ``out += a b`` for flat row-major matrices, optionally transposed (kernel)."""
    for i in range(rows):
        for j in range(columns):
            total = out[i * columns + j] if add else 0.0
            for k in range(inner):
                left = a[k * rows + i] if transpose_a else a[i * inner + k]
                total += left * (b[j * inner + k] if transpose_b else b[k * columns + j])
            out[i * columns + j] = total


@njit(**KERNEL)
def apply(matrix, x, out):
    """Write ``out = matrix x`` for a flat matrix (kernel)."""
    rows, columns = out.size, x.size
    for i in range(rows):
        total = 0.0
        for j in range(columns):
            total += matrix[i * columns + j] * x[j]
        out[i] = total


@apply.vectorized
def _applied(matrix, x, out):
    np.dot(matrix[: out.size * x.size].reshape(out.size, x.size), x, out=out)


@njit(**KERNEL)
def _activate(beta, x, value, slope):
    """Softplus of entries x, and its derivative."""
    for i in range(x.size):
        u = beta * x[i]
        rest = math.exp(-abs(u))
        value[i] = (max(u, 0.0) + math.log1p(rest)) / beta
        slope[i] = 1.0 / (1.0 + rest) if u > 0.0 else rest / (1.0 + rest)


@njit(**KERNEL)
def _pass(gates, x, kept, slope):
    """Relu of entries x by their gates, and its derivative; stores x."""
    for i in range(x.size):
        kept[i] = x[i]
        slope[i] = 1.0 if gates[i] == OPEN or (gates[i] == BY_SIGN and x[i] > 0.0) else 0.0
        x[i] *= slope[i]


@njit(**KERNEL)
def forward(chain, matrices, beta, y, scratch):
    """Write the product of all layers of every block into `scratch` (kernel)."""
    blocks, depth, kind = chain[BLOCKS], chain[DEPTH], chain[ACTIVATION]
    step, levels = 3 * depth + 1, HEADER + blocks * (3 * depth + 1)
    gates, kept = chain[chain[GATES] :], scratch[chain[KEPT] :]
    for layer in range(depth - 1, -1, -1):
        for i in range(blocks):
            own = HEADER + i * step
            rows, inner, columns = chain[own + layer], chain[own + layer + 1], chain[own + depth]
            weights = y[chain[own + depth + 1 + layer] :]
            out = scratch[chain[own + 2 * depth + 1 + layer] :]
            if layer == depth - 1:
                for j in range(rows * columns):
                    out[j] = weights[j]
            else:
                after = scratch[chain[own + 2 * depth + 2 + layer] :]
                product(weights, after, out, rows, inner, columns)
        level = levels + LEVEL * (layer - 1)
        if layer > 0 and chain[level + 1] > 0:
            size, entries, place, first = chain[level], chain[level + 1], chain[level + 4], chain[level + 5]
            x = scratch[chain[HEADER + 2 * depth + 1 + layer] :][:size]
            found, slope = scratch[place : place + entries], scratch[place + entries : place + 2 * entries]
            apply(matrices[chain[level + 2] :], x, found)
            if kind == RELU:
                _pass(gates[first:], found, kept[first:], slope)
            else:
                _activate(beta, found, found, slope)
            apply(matrices[chain[level + 3] :], found, x)


@njit(**KERNEL)
def backward(chain, matrices, beta, y, scratch, residual, dy):
    """Write the velocities of all layers into dy, from the residual G (minus the gradient) in every block (kernel).

    The residual is overwritten. `scratch` is that of `forward`; its last PRODUCTS numbers are work space."""
    blocks, depth, kind = chain[BLOCKS], chain[DEPTH], chain[ACTIVATION]
    step, levels = 3 * depth + 1, HEADER + blocks * (3 * depth + 1)
    spare, kept = scratch[chain[PRODUCTS] :], scratch[chain[KEPT] :]
    for layer in range(depth):
        for i in range(blocks):
            own = HEADER + i * step
            rows, inner, columns = chain[own + layer], chain[own + layer + 1], chain[own + depth]
            place = chain[own + 2 * depth + 1 + layer]
            # G is stored like the products
            gradient = residual[place - chain[HEADER + 2 * depth + 1 + layer] :]
            velocity = dy[chain[own + depth + 1 + layer] :]
            if layer == depth - 1:
                for j in range(rows * columns):
                    velocity[j] = gradient[j]
            else:
                after = scratch[chain[own + 2 * depth + 2 + layer] :]
                product(gradient, after, velocity, rows, columns, inner, False, True)
                below = spare[chain[own + 2 * depth + 2 + layer] - chain[HEADER + 2 * depth + 2 + layer] :]
                product(y[chain[own + depth + 1 + layer] :], gradient, below, inner, rows, columns, True, False)
        if layer < depth - 1:
            level = levels + LEVEL * layer
            size, entries, place, first = chain[level], chain[level + 1], chain[level + 4], chain[level + 5]
            if entries > 0:
                found, slope = scratch[place : place + entries], scratch[place + entries : place + 2 * entries]
                apply(matrices[chain[level + 2] :], spare[:size], found)
                if kind == RELU:
                    below, force = kept[BELOW * chain[ENTRIES] + first :], kept[FORCE * chain[ENTRIES] + first :]
                    for j in range(entries):
                        below[j] = found[j]
                        found[j] = slope[j] * found[j] + force[j]
                else:
                    for j in range(entries):
                        found[j] *= slope[j]
                apply(matrices[chain[level + 3] :], found, residual[:size])
            else:
                for j in range(size):
                    residual[j] = spare[j]


def chain_of(
    sides: np.ndarray, kind: int = LINEAR, levels: list[Level | None] | None = None
) -> tuple[np.ndarray, np.ndarray, int, int]:
    """Layout of blocks of given sizes.

    Parameters
    ----------
    sides : (I, depth + 1) ints
        Dimensions of the layers of each block, from the rows of the first layer to the columns of the last.
    kind : int
        Kind of the activation.
    levels : list of depth - 1 Level or None
        Activation between layer l and layer l + 1; None for linear, the default.

    Returns
    -------
    chain : ints
    matrices : floats
    size : int
        Total size of all layers.
    scratch : int
        Size of the work space.
    """
    blocks, depth = len(sides), sides.shape[1] - 1
    areas = sides[:, :-1] * sides[:, 1:]  # of the layers
    products = sides[:, :-1] * sides[:, -1:]  # of the products of the last layers
    places = (np.cumsum(areas.ravel()) - areas.ravel()).reshape(areas.shape)  # block after block
    order = products.T.ravel()  # level after level
    in_scratch = (np.cumsum(order) - order).reshape(products.T.shape).T
    total = int(order.sum())
    rows = np.concatenate([sides, places, in_scratch], axis=1)
    matrices, place, found, count = [], 0, [], 0
    for layer in range(1, depth):
        size = int(products[:, layer].sum())
        level = None if levels is None else levels[layer - 1]
        if level is None:
            found.append([size, 0, place, place, total, count])
            continue
        entries = len(level.to_entries)
        found.append([size, entries, place, place + level.to_entries.size, total, count])
        matrices += [level.to_entries.ravel(), level.to_blocks.ravel()]
        place, total, count = place + 2 * level.to_entries.size, total + 2 * entries, count + entries
    numbers, widest = int(areas.sum()), int(products.sum(axis=0).max()) if blocks else 0
    gates = np.full(count if kind == RELU else 0, BY_SIGN)
    most = min(gates.size, MOST_SLIDING)
    kept = EACH * gates.size + numbers + 3 * widest + most * (most + 1) if kind == RELU else 0
    first = HEADER + rows.size + LEVEL * len(found)
    header = [blocks, depth, kind, total + kept, count, first, total, numbers, widest, most]
    chain = np.concatenate([header, rows.ravel(), np.array(found, np.int64).ravel(), gates]).astype(np.int64)
    return chain, np.concatenate(matrices) if matrices else np.empty(0), numbers, total + kept + widest
