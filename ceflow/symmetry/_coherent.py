"""Coherent configurations from labels."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ._adapted import AdaptedBlock, adapted_basis
from ._axioms import checked_labels
from ._symmetry import KINDS, Symmetry, frozen, require_room


class Coherent(Symmetry):
    """Coherent configuration given by the relation of every pair of points; returned by `coherent` and others."""

    kind = "coherent"
    fibres: tuple[int, ...]
    row_fibre: NDArray[np.int64]
    column_fibre: NDArray[np.int64]
    transposed: NDArray[np.int64]
    diagonals: NDArray[np.int64]

    def __init__(self, labels: NDArray[np.int64], kind: str | None = None, args: tuple[Any, ...] | None = None) -> None:
        self._labels = frozen(labels, np.int64)
        self.kind, self.args = kind or "coherent", (self._labels,) if args is None else args
        own = np.diagonal(labels)
        first = np.unique(own, return_index=True)[1]
        self.diagonals = frozen(own[np.sort(first)], np.int64)
        place = np.full(labels.max() + 1, -1)
        place[self.diagonals] = np.arange(self.diagonals.size)
        self._fibre_of = frozen(place[own], np.int64)
        self.fibres = tuple(np.bincount(self._fibre_of).tolist())
        pairs = np.unique(labels.ravel(), return_index=True)[1]
        rows, columns = np.divmod(pairs, len(labels))
        self.row_fibre, self.column_fibre = (frozen(self._fibre_of[side], np.int64) for side in (rows, columns))
        self.transposed = frozen(labels[columns, rows], np.int64)
        sizes = np.bincount(labels.ravel())
        self.valencies = frozen(sizes / np.array(self.fibres)[self.column_fibre])

    @property
    def name(self) -> str:
        if self.kind == "coherent":
            return f"coherent(<{self.points} points, {self.rank} relations>)"
        return super().name

    @property
    def fibre_of(self) -> NDArray[np.int64]:
        return self._fibre_of

    def relations(self) -> NDArray[np.int64]:
        return self._labels

    @functools.cached_property
    def _basis(self) -> list[AdaptedBlock]:
        require_room(f"the adapted basis of {self.name}", self.points, self.points)
        return adapted_basis(self._labels, self._fibre_of)

    @property
    def block_sizes(self) -> NDArray[np.int64]:
        return np.array([block.sizes for block in self._basis], np.int64)

    @property
    def multiplicities(self) -> NDArray[np.float64]:
        return np.array([block.vectors.shape[2] for block in self._basis], float)

    @property
    def structures(self) -> NDArray[np.int64]:
        return np.array([block.structure for block in self._basis], np.int64)

    def vectors(self, i: int) -> NDArray[np.float64]:
        return self._basis[i].vectors

    def _images(self) -> NDArray[np.float64]:
        found = []
        for block in self._basis:
            _, size, m = block.vectors.shape
            image = np.empty((size, size, self.rank))
            for relation in range(self.rank):
                rows, columns = np.nonzero(self._labels == relation)
                image[:, :, relation] = np.einsum("pam,pbm->ab", block.vectors[rows], block.vectors[columns]) / m
            found.append(image.reshape(size * size, -1))
        return np.concatenate(found)

    @functools.cached_property
    def intersection_numbers(self) -> NDArray[np.int64]:
        """(R, R, R) array p[i, j, k]: number of z with (x, z) in i and (z, y) in j, for (x, y) in k."""
        require_room(f"the intersection numbers of {self.name}", self.rank, self.rank, self.rank)
        first = np.unique(self._labels.ravel(), return_index=True)[1]
        found = np.empty((self.rank, self.rank, self.rank), np.int64)
        for k, (x, y) in enumerate(zip(*np.divmod(first, self.points), strict=True)):
            pairs = self._labels[x] * self.rank + self._labels[:, y]
            found[:, :, k] = np.bincount(pairs, minlength=self.rank**2).reshape(self.rank, self.rank)
        return frozen(found, np.int64)


def coherent(labels: ArrayLike) -> Coherent:
    """Make the coherent configuration with given relations.

    Parameters
    ----------
    labels : (n, n) integers
        Relation 0, 1, ... of each pair of points; relations need not be symmetric.

    Raises
    ------
    TypeError, ValueError
        If labels violate an axiom; the message says which one, and where.

    Examples
    --------
    >>> cf.coherent([[0, 1, 2], [1, 0, 2], [3, 3, 4]]).fibres  # two classes alike, and one apart
    (2, 1)
    """
    return Coherent(checked_labels(labels))


KINDS["coherent"] = coherent
