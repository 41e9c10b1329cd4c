"""Products of layers, block by block: the logits of a network under a symmetry, and the pull-back of their gradient.

In an adapted basis every layer is a list of blocks, one for each irreducible of the symmetry, and the product of
layers is the product of blocks. A `Chain` says how the blocks of all layers lie in one flat array. Between layers an
activation acts entry by entry, on the relations between hidden units and columns; it is the only thing that mixes
blocks.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numba import njit

from ..kernels import KERNEL

# layout of a chain, after these numbers: for each block the sizes of its sides (depth + 1), the places of its layers
# (depth), and the places in scratch of the products of its last layers (depth); for each activation, from the last
# layer to the first, the places of its matrices in `data` and their shape
BLOCKS, DEPTH, ACTIVATION, PRODUCTS = range(4)
HEADER = 4
LINEAR, RELU, SOFTPLUS = range(3)


class Level(NamedTuple):
    """What an activation acts on: the entries that blocks make, and back.

    Attributes
    ----------
    to_entries : (R, B) array
        From the blocks of hidden units and columns, row-major one after another, to the entries on relations.
    to_blocks : (B, R) array
    """

    to_entries: np.ndarray
    to_blocks: np.ndarray


@njit(**KERNEL)
def _product(a, b, out, rows, inner, columns, transpose_a, transpose_b):
    """``out = a b`` of flat row-major matrices, either of them transposed."""
    for i in range(rows):
        for j in range(columns):
            total = 0.0
            for k in range(inner):
                left = a[k * rows + i] if transpose_a else a[i * inner + k]
                total += left * (b[j * inner + k] if transpose_b else b[k * columns + j])
            out[i * columns + j] = total


@njit(**KERNEL)
def _apply(matrix, x, out):
    rows, columns = out.size, x.size
    for i in range(rows):
        total = 0.0
        for j in range(columns):
            total += matrix[i * columns + j] * x[j]
        out[i] = total


@njit(**KERNEL)
def _activate(kind, beta, x, value, slope):
    """The activation of entries x, and its derivative."""
    for i in range(x.size):
        if kind == RELU:
            slope[i] = 1.0 if x[i] > 0.0 else 0.0
            value[i] = slope[i] * x[i]
        else:
            u = beta * x[i]
            rest = math.exp(-abs(u))
            value[i] = (max(u, 0.0) + math.log1p(rest)) / beta
            slope[i] = 1.0 / (1.0 + rest) if u > 0.0 else rest / (1.0 + rest)


@njit(**KERNEL)
def forward(chain, matrices, beta, y, scratch):
    """The product of all layers of every block, into `scratch` (kernel)."""
    blocks, depth, kind = chain[BLOCKS], chain[DEPTH], chain[ACTIVATION]
    step, levels = 3 * depth + 1, HEADER + blocks * (3 * depth + 1)
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
                _product(weights, after, out, rows, inner, columns, False, False)
        if kind != LINEAR and layer > 0:
            level = levels + 5 * (layer - 1)
            size, entries, place = chain[level], chain[level + 1], chain[level + 4]
            x = scratch[chain[HEADER + 2 * depth + 1 + layer] :][:size]
            found, slope = scratch[place : place + entries], scratch[place + entries : place + 2 * entries]
            _apply(matrices[chain[level + 2] :], x, found)
            _activate(kind, beta, found, found, slope)
            _apply(matrices[chain[level + 3] :], found, x)


@njit(**KERNEL)
def backward(chain, matrices, beta, y, scratch, residual, dy):
    """Velocities of all layers, into dy, from the residual G (minus the gradient) in every block, which is overwritten
    (kernel). `scratch` is as `forward` left it; its last PRODUCTS numbers are worked in."""
    blocks, depth, kind = chain[BLOCKS], chain[DEPTH], chain[ACTIVATION]
    step, levels = 3 * depth + 1, HEADER + blocks * (3 * depth + 1)
    spare = scratch[chain[PRODUCTS] :]
    for layer in range(depth):
        for i in range(blocks):
            own = HEADER + i * step
            rows, inner, columns = chain[own + layer], chain[own + layer + 1], chain[own + depth]
            place = chain[own + 2 * depth + 1 + layer]
            # where the blocks of this level begin, G lies like the products
            gradient = residual[place - chain[HEADER + 2 * depth + 1 + layer] :]
            velocity = dy[chain[own + depth + 1 + layer] :]
            if layer == depth - 1:
                for j in range(rows * columns):
                    velocity[j] = gradient[j]
            else:
                after = scratch[chain[own + 2 * depth + 2 + layer] :]
                _product(gradient, after, velocity, rows, columns, inner, False, True)
                below = spare[chain[own + 2 * depth + 2 + layer] - chain[HEADER + 2 * depth + 2 + layer] :]
                _product(y[chain[own + depth + 1 + layer] :], gradient, below, inner, rows, columns, True, False)
        if layer < depth - 1:
            size = chain[levels + 5 * layer]
            if kind != LINEAR:
                level = levels + 5 * layer
                entries, place = chain[level + 1], chain[level + 4]
                found, slope = scratch[place : place + entries], scratch[place + entries : place + 2 * entries]
                _apply(matrices[chain[level + 2] :], spare[:size], found)
                for j in range(entries):
                    found[j] *= slope[j]
                _apply(matrices[chain[level + 3] :], found, residual[:size])
            else:
                for j in range(size):
                    residual[j] = spare[j]


def chain_of(
    sides: np.ndarray, kind: int = LINEAR, levels: list[Level] | None = None
) -> tuple[np.ndarray, np.ndarray, int, int]:
    """How blocks of the given sizes lie.

    Parameters
    ----------
    sides : (I, depth + 1) ints
        Sizes of the sides of each block, from the rows of the first layer to the columns of the last.
    kind : int
        Of the activation.
    levels : list of depth - 1 Level
        Between layer l and layer l + 1, where there is an activation.

    Returns
    -------
    chain : ints
    matrices : floats
    size : int
        Numbers in all layers.
    scratch : int
        Numbers to work in.
    """
    blocks, depth = len(sides), sides.shape[1] - 1
    areas = sides[:, :-1] * sides[:, 1:]  # of the layers
    products = sides[:, :-1] * sides[:, -1:]  # of the products of the last layers
    places = (np.cumsum(areas.ravel()) - areas.ravel()).reshape(areas.shape)  # block after block
    order = products.T.ravel()  # level after level
    in_scratch = (np.cumsum(order) - order).reshape(products.T.shape).T
    total = int(order.sum())
    rows = np.concatenate([sides, places, in_scratch], axis=1)
    matrices, place, found = [], 0, []
    for layer in range(1, depth):
        size = int(products[:, layer].sum())
        if kind == LINEAR:
            found.append([size, 0, 0, 0, 0])
            continue
        level = levels[layer - 1]
        entries = len(level.to_entries)
        found.append([size, entries, place, place + level.to_entries.size, total])
        matrices += [level.to_entries.ravel(), level.to_blocks.ravel()]
        place, total = place + 2 * level.to_entries.size, total + 2 * entries
    header = [blocks, depth, kind, total]
    chain = np.concatenate([header, rows.ravel(), np.array(found, np.int64).ravel()]).astype(np.int64)
    widest = int(products.sum(axis=0).max()) if blocks else 0
    return chain, np.concatenate(matrices) if matrices else np.empty(0), int(areas.sum()), total + widest
