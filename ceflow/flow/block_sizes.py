"""Sizes of the blocks of a reduced flow, and the options of each fibre."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

import numpy as np

from ..network.layers import Layers, ends, sides
from ..symmetry import Symmetry
from .objective import Objective


class BlockSizes:
    """Block sizes from a symmetry, its class and hidden fibres, and an objective.

    Attributes
    ----------
    symmetry : Symmetry
    class_fibres, hidden_fibres : tuples of ints
    objective : Objective
    """

    symmetry: Symmetry
    class_fibres: tuple[int, ...]
    hidden_fibres: tuple[int, ...]
    objective: Objective
    depth: int
    if TYPE_CHECKING:

        @property
        def reduction(self) -> Literal["mean", "sum"]: ...

    @functools.cached_property
    def fibre_sizes(self) -> np.ndarray:
        """(F,) number of classes in each fibre."""
        return np.array([self.symmetry.fibres[f] for f in self.class_fibres], float)

    @property
    def classes(self) -> int:
        """Number K of classes."""
        return int(self.fibre_sizes.sum())

    def per_fibre(self, name: str) -> np.ndarray:
        """(F,) values of an option of the objective."""
        value = getattr(self.objective, name)
        return np.broadcast_to(np.array(1.0 if value is None else value, float), len(self.class_fibres))

    @property
    def class_fibre(self) -> np.ndarray:
        """(K,) fibre of each class."""
        fibre_of = self.symmetry.fibre_of
        return fibre_of[np.isin(fibre_of, self.class_fibres)]

    @property
    def log_unit(self) -> float:
        """Logarithm of the time unit relative to reduction "sum"."""
        number = float(self.per_fibre("samples") @ self.fibre_sizes)
        return math.log(number) if self.reduction == "mean" else 0.0

    @functools.cached_property
    def kept(self) -> np.ndarray:
        """Blocks of the symmetry that act on the classes; the others are not used."""
        return np.flatnonzero(self._sizes_in(self.class_fibres) > 0)

    def _sizes_in(self, fibres: Sequence[int]) -> np.ndarray:
        return self.symmetry.block_sizes[:, list(fibres)].sum(axis=1)

    @functools.cached_property
    def outer(self) -> np.ndarray:
        """(I,) block sizes on the class side."""
        return self._sizes_in(self.class_fibres)[self.kept]

    @property
    def hidden_sizes(self) -> np.ndarray:
        """(I,) block sizes on the side of hidden units, if these are fibres."""
        return self._sizes_in(self.hidden_fibres)[self.kept]

    @functools.cached_property
    def structures(self) -> np.ndarray:
        """(I,) 1 for blocks of real type, see `Symmetry`."""
        return self.symmetry.structures[self.kept]

    @functools.cached_property
    def multiplicities(self) -> np.ndarray:
        """(I,) multiplicity of each block."""
        return self.symmetry.multiplicities[self.kept]

    @functools.cached_property
    def fibre_of_index(self) -> np.ndarray:
        """Class fibre (0..F-1) of each index, one block after another."""
        sizes = self.symmetry.block_sizes[self.kept][:, list(self.class_fibres)]
        return np.repeat(np.tile(np.arange(sizes.shape[1]), len(sizes)), sizes.ravel())

    @functools.cached_property
    def first_index(self) -> np.ndarray:
        """First index of each block, one block after another."""
        return np.cumsum(self.outer) - self.outer

    @property
    def biases(self) -> int:
        return len(self.class_fibres) if self.objective.bias else 0

    def roots(self, start: Layers) -> np.ndarray:
        """(N,) factors of the numbers in flat layers: square roots of the samples for columns of H, else 1."""
        shape, found = sides(self.outer, start.widths), np.ones(start.flat.shape[-1])
        if np.all(self.per_fibre("samples") == 1.0):
            return found
        root, last = np.sqrt(self.per_fibre("samples"))[self.fibre_of_index], ends(shape)[:, -1]
        for column in range(int(self.outer.max())):  # all blocks at once
            for row in range(int(shape[:, -2].max())):
                own = (self.outer > column) & (shape[:, -2] > row)
                place = last[own] - shape[own, -2] * shape[own, -1] + row * shape[own, -1] + column
                found[place] = root[self.first_index[own] + column]
        return found

    def layer_ends(self, start: Layers) -> np.ndarray:
        """(I, depth) end of each layer of each block in flat layers."""
        return ends(sides(self.outer, start.widths))
