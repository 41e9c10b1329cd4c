"""Layers of a network under a symmetry as one flat array, ordered by blocks and then by layers."""

from __future__ import annotations

import itertools
from typing import NamedTuple

import numpy as np


class Layers(NamedTuple):
    """Layers of a network with a symmetry of its classes (and hidden units, with an activation).

    Start and state of a reduced flow. In an adapted basis a layer is a list of blocks, one per irreducible of the
    symmetry (see `ceflow.symmetry.Symmetry`).

    Attributes
    ----------
    flat : (N,) array
        Blocks of all layers, row-major, ordered by blocks and then by layers.
    widths : (I, depth - 1) ints
        Sizes of the blocks between two layers.
    bias : (F,) array
        Bias of each fibre of classes; empty without bias.
    """

    flat: np.ndarray
    widths: np.ndarray
    bias: np.ndarray


def sides(outer: np.ndarray, widths: np.ndarray) -> np.ndarray:
    """(I, depth + 1) dimensions of the layers of each block, from the classes to the columns, both `outer` (I,)."""
    return np.concatenate([outer[:, None], widths, outer[:, None]], axis=1)


def ends(sides: np.ndarray) -> np.ndarray:
    """(I, depth) end of each layer of each block in the flat array."""
    areas = sides[:, :-1] * sides[:, 1:]
    return np.cumsum(areas.ravel()).reshape(areas.shape)


def unpacked(flat: np.ndarray, sides: np.ndarray) -> list[list[np.ndarray]]:
    """Layers of each block as views (..., rows, columns) of flat arrays (..., N)."""
    found, begin = [], 0
    for row in sides:
        layers = []
        for rows, columns in itertools.pairwise(row):
            end = begin + rows * columns
            layers.append(flat[..., begin:end].reshape(*flat.shape[:-1], rows, columns))
            begin = end
        found.append(layers)
    return found


def packed(blocks: list[list[np.ndarray]]) -> np.ndarray:
    """Flat array from blocks of layers."""
    return np.concatenate([np.ravel(layer) for layers in blocks for layer in layers]) if blocks else np.empty(0)
