"""Layers of a network under a symmetry, as one flat array: block after block, and of each block layer after layer."""

from __future__ import annotations

import itertools
from typing import NamedTuple

import numpy as np


class Layers(NamedTuple):
    """The layers of a network whose classes, and hidden units if an activation acts on them, have a symmetry.

    Where a reduced flow starts, and what its state is: in an adapted basis a layer is a list of blocks, one for each
    irreducible of the symmetry, see `ceflow.symmetry.Symmetry.blocks`.

    Attributes
    ----------
    flat : (N,) array
        The blocks of all layers, row-major: block after block, and of each block layer after layer.
    widths : (I, depth - 1) ints
        Sizes of the blocks' sides between two layers.
    bias : (F,) array
        The bias of each fibre of classes; empty where there is none.
    """

    flat: np.ndarray
    widths: np.ndarray
    bias: np.ndarray


def sides(outer: np.ndarray, widths: np.ndarray) -> np.ndarray:
    """(I, depth + 1) sizes of the sides of each block, from the classes to the columns, both of sizes `outer` (I,)."""
    return np.concatenate([outer[:, None], widths, outer[:, None]], axis=1)


def ends(sides: np.ndarray) -> np.ndarray:
    """(I, depth) where each layer of each block ends in the flat array."""
    areas = sides[:, :-1] * sides[:, 1:]
    return np.cumsum(areas.ravel()).reshape(areas.shape)


def unpacked(flat: np.ndarray, sides: np.ndarray) -> list[list[np.ndarray]]:
    """The layers of each block as views (..., rows, columns) of flat arrays (..., N)."""
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
    """The flat array of blocks of layers."""
    return np.concatenate([np.ravel(layer) for layers in blocks for layer in layers]) if blocks else np.empty(0)
