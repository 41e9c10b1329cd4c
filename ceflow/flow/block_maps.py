"""Between the blocks of logits and what a loss sees of them."""

from __future__ import annotations

import itertools
from typing import NamedTuple

import numpy as np

from ..symmetry import LinearMap, Symmetry, dense_map


class Maps(NamedTuple):
    """Between the blocks of logits, entry by entry, and what a loss sees: margins, or the values on relations."""

    into: LinearMap  # of the entries of blocks, times `weights`
    back: LinearMap
    weights: np.ndarray  # (B,)
    relations: np.ndarray  # (R,) which they are, grouped by column fibre
    ends: np.ndarray  # (F,) where those of each column fibre end
    row_fibre: np.ndarray  # (R,) place of the row fibre among those of the classes
    valencies: np.ndarray  # (R,)
    targets: np.ndarray  # (R,) of the squared error, else none

    @property
    def columns(self) -> list[slice]:
        """The relations of each column fibre."""
        return [slice(begin, end) for begin, end in itertools.pairwise([0, *self.ends])]

    def between(self, values: np.ndarray) -> np.ndarray:
        """(..., R) of values (..., F) the difference of that of the column fibre and that of the row fibre."""
        own = np.repeat(np.arange(self.ends.size), np.diff(self.ends, prepend=0))
        return values[..., own] - values[..., self.row_fibre]


def margin_maps(symmetry: Symmetry, fibres: tuple[int, ...], single: bool = False) -> Maps:
    """The maps of losses that see margins; `single` if every single force is to be accurate."""
    every = len(fibres) == len(symmetry.fibres)
    given = symmetry.logit_maps if every else symmetry.logit_maps_of(fibres)
    back = given.single_forces if single else given.forces
    rows = np.searchsorted(fibres, symmetry.row_fibre[given.relations])
    valencies = symmetry.valencies[given.relations]
    return Maps(given.margins, back, given.weights, given.relations, given.ends, rows, valencies, np.empty(0))


def entry_maps(symmetry: Symmetry, fibres: tuple[int, ...], targets: np.ndarray) -> Maps:
    """The maps of the squared error, with its targets on all relations."""
    to_entries, to_blocks, relations = symmetry.map(fibres, fibres)
    column = np.searchsorted(fibres, symmetry.column_fibre[relations])
    order = np.argsort(column, kind="stable")
    found, ends = relations[order], np.cumsum(np.bincount(column, minlength=len(fibres)))
    rows = np.searchsorted(fibres, symmetry.row_fibre[found])
    maps = dense_map(to_entries[order]), dense_map(to_blocks[:, order])
    return Maps(*maps, np.ones(len(to_blocks)), found, ends, rows, symmetry.valencies[found], targets[found])
