"""Linear maps between blocks of logits and the arguments of a loss."""

from __future__ import annotations

import itertools
from typing import NamedTuple

import numpy as np

from ..symmetry import LinearMap, Symmetry, dense_map


class Maps(NamedTuple):
    """Linear map from block entries of the logits to margins, or to the values on relations."""

    into: LinearMap  # applied to block entries times `weights`
    back: LinearMap
    weights: np.ndarray  # (B,)
    relations: np.ndarray  # (R,) relations, grouped by column fibre
    ends: np.ndarray  # (F,) end of each group
    row_fibre: np.ndarray  # (R,) index of the row fibre among the class fibres
    valencies: np.ndarray  # (R,)
    targets: np.ndarray  # (R,) targets of the squared error, or empty

    @property
    def columns(self) -> list[slice]:
        """Slice of the relations of each column fibre."""
        return [slice(begin, end) for begin, end in itertools.pairwise([0, *self.ends])]

    def between(self, values: np.ndarray) -> np.ndarray:
        """(..., R) value of the column fibre minus value of the row fibre, for values (..., F)."""
        own = np.repeat(np.arange(self.ends.size), np.diff(self.ends, prepend=0))
        return values[..., own] - values[..., self.row_fibre]


def margin_maps(symmetry: Symmetry, fibres: tuple[int, ...], single: bool = False) -> Maps:
    """Maps for losses of margins; with `single` every single force is accurate."""
    every = len(fibres) == len(symmetry.fibres)
    given = symmetry.logit_maps if every else symmetry.logit_maps_of(fibres)
    back = given.single_forces if single else given.forces
    rows = np.searchsorted(fibres, symmetry.row_fibre[given.relations])
    valencies = symmetry.valencies[given.relations]
    return Maps(given.margins, back, given.weights, given.relations, given.ends, rows, valencies, np.empty(0))


def entry_maps(symmetry: Symmetry, fibres: tuple[int, ...], targets: np.ndarray) -> Maps:
    """Maps for the squared error, with its targets on all relations."""
    to_entries, to_blocks, relations = symmetry.map(fibres, fibres)
    column = np.searchsorted(fibres, symmetry.column_fibre[relations])
    order = np.argsort(column, kind="stable")
    found, ends = relations[order], np.cumsum(np.bincount(column, minlength=len(fibres)))
    rows = np.searchsorted(fibres, symmetry.row_fibre[found])
    maps = dense_map(to_entries[order]), dense_map(to_blocks[:, order])
    return Maps(*maps, np.ones(len(to_blocks)), found, ends, rows, symmetry.valencies[found], targets[found])
