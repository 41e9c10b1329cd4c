"""Base class of symmetries: coherent configurations with an adapted basis."""

from __future__ import annotations

import functools
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from .._html import card, few
from ..kernels import cached_in_each_life
from ._linear_map import LinearMap, dense_map
from ._registry import SCHEMES

MAX_ENTRIES = 2**28  # entries of one array: 2 GiB
KINDS: dict[str, Callable[..., Symmetry]] = {}  # factories of symmetries from the arguments in their spec, by kind


def frozen(array: ArrayLike, dtype: DTypeLike = np.float64) -> NDArray[Any]:
    array = np.ascontiguousarray(array, dtype)
    array.setflags(write=False)
    return array


def require_room(what: str, *shape: int) -> None:
    if math.prod(shape) > MAX_ENTRIES:
        raise ValueError(f"{what} would have shape {shape}; the limit is {MAX_ENTRIES} entries")


class LogitMaps(NamedTuple):
    """Maps between blocks of logits and margins, for compiled code.

    The relations are the off-diagonal ones, grouped by column fibre.

    Attributes
    ----------
    margins : LinearMap
        From the entries of all blocks (B,), row-major one block after another, times `weights`, to the margins ``z_own
        - z_r`` of the relations, where z_own is the value on the diagonal of the column fibre.
    forces : LinearMap
        From the probabilities ``q_r = k_r p_r`` of the relations in a column to the block entries of ``sum_r p_r (k_r I
        - A_r)``, where I is the identity on the column fibre and A_r is the 0/1 matrix of relation r. This is minus the
        gradient of a loss of the margins, as a sum of terms of one sign.
    single_forces : LinearMap
        As `forces`; for schemes every force has full relative accuracy.
    weights : (B,) array
    relations : (R,) ints
    ends : (F,) ints
        End of the relations of each column fibre.
    """

    margins: LinearMap
    forces: LinearMap
    single_forces: LinearMap
    weights: NDArray[np.float64]
    relations: NDArray[np.int64]
    ends: NDArray[np.int64]


class Symmetry(ABC):
    """Coherent configuration (Higman): points are grouped in fibres, pairs of points in relations. Immutable.

    Matrices that are constant on the relations are closed under products, transposes *and* entrywise functions. In an
    adapted basis such a matrix is block diagonal. Block i occurs m_i times and has n_i[f] rows and columns for each
    fibre f; products of matrices are products of blocks. The first block belongs to the constant vectors of the fibres.
    Association schemes are the case of one fibre and blocks of size 1. Irreducibles of complex or quaternionic type are
    real blocks of two or four times their size, for example for directed circulants (see `structures`). Arrays are
    read-only.

    Attributes
    ----------
    kind, args : str, tuple
        Arguments that reconstruct the symmetry, see `spec`.
    fibres : tuple of ints
        Sizes of the fibres.
    row_fibre, column_fibre : (R,) ints
        Fibres of each relation.
    transposed : (R,) ints
        Transposed relation of each relation.
    diagonals : (F,) ints
        Diagonal relation of each fibre.
    valencies : (R,) array
        Number of points in the relation to a given point of the column fibre.
    multiplicities : (I,) array
        Multiplicity of each block.
    block_sizes : (I, F) ints
        n_i[f].

    Examples
    --------
    >>> symmetry = cf.direct_sum(3, 2)
    >>> symmetry.fibres, symmetry.multiplicities, symmetry.block_sizes.tolist()
    ((3, 2), array([1., 2., 1.]), [[1, 1], [1, 0], [0, 1]])
    """

    kind: str
    args: tuple[Any, ...]
    valencies: NDArray[np.float64]
    if TYPE_CHECKING:  # a property in some classes

        @property
        def fibres(self) -> tuple[int, ...]: ...
        @property
        def row_fibre(self) -> NDArray[np.int64]: ...
        @property
        def column_fibre(self) -> NDArray[np.int64]: ...
        @property
        def transposed(self) -> NDArray[np.int64]: ...
        @property
        def diagonals(self) -> NDArray[np.int64]: ...
        @property
        def multiplicities(self) -> NDArray[np.float64]: ...
        @property
        def block_sizes(self) -> NDArray[np.int64]: ...

    @property
    def points(self) -> int:
        """Number of points."""
        return sum(self.fibres)

    @property
    def rank(self) -> int:
        """Number R of relations."""
        return self.valencies.size

    @property
    def name(self) -> str:
        """Expression that returns the symmetry."""
        return f"{self.kind}({', '.join(map(str, self.args))})"

    @property
    def spec(self) -> dict[str, Any]:
        """Arguments of `from_spec` as JSON data."""
        return {"kind": self.kind, "args": [_plain(arg) for arg in self.args]}

    @property
    def fibre_of(self) -> NDArray[np.int64]:
        """(n,) fibre of each point."""
        return np.repeat(np.arange(len(self.fibres)), self.fibres)

    @abstractmethod
    def relations(self) -> NDArray[np.int64]:
        """(n, n) relation of each pair of points."""

    @abstractmethod
    def vectors(self, i: int) -> NDArray[np.float64]:
        """Orthonormal vectors V (n, n_i, m_i) of block i. Columns are grouped by fibre, and 0 outside of it.

        A matrix X of the algebra with blocks X_i is ``sum_i sum_m V[:, :, m] X_i V[:, :, m]^T``."""

    @abstractmethod
    def _images(self) -> NDArray[np.float64]:
        """(B, R) blocks of the 0/1 matrix of each relation, row-major one after another."""

    # -- blocks and entries --------------------------------------------------------------------------------------------

    @functools.cached_property
    def images(self) -> NDArray[np.float64]:
        """(B, R) blocks of the 0/1 matrix of each relation, row-major one block after another."""
        require_room(f"the blocks of the relations of {self.name}", int((self.sizes**2).sum()), self.rank)
        return frozen(self._images())

    @property
    def structures(self) -> NDArray[np.int64]:
        """(I,) 1, 2 or 4 for blocks of real, complex or quaternionic type. Blocks of types 2 and 4 are real matrices of
        this multiple of the size, and commute with matrices that act as imaginary units."""
        return np.ones(len(self.block_sizes), np.int64)

    @property
    def sizes(self) -> NDArray[np.int64]:
        """(I,) sizes n_i of the blocks."""
        return self.block_sizes.sum(axis=1)

    @property
    def relation_sizes(self) -> NDArray[np.float64]:
        """(R,) number of pairs in each relation."""
        return self.valencies * np.array(self.fibres, float)[self.column_fibre]

    def map(
        self, rows: Sequence[int], columns: Sequence[int]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.int64]]:
        """Linear maps between the blocks and the entries of matrices between some of the fibres.

        Parameters
        ----------
        rows, columns : sequences of ints
            Fibres; rows and columns of the blocks are always in the order of `block_sizes`.

        Returns
        -------
        to_entries : (R', B') array
            From the entries of the blocks, row-major one block after another, to the values on the relations.
        to_blocks : (B', R') array
            Its inverse.
        relations : (R',) ints
            The relations.
        """
        keep_rows, keep_columns = (np.isin(np.arange(len(self.fibres)), list(side)) for side in (rows, columns))
        relations = np.flatnonzero(keep_rows[self.row_fibre] & keep_columns[self.column_fibre])
        inside = [
            np.outer(np.repeat(keep_rows, sizes), np.repeat(keep_columns, sizes)).ravel() for sizes in self.block_sizes
        ]
        weights = np.repeat(self.multiplicities, [mask.sum() for mask in inside])
        to_blocks = self.images[np.concatenate(inside)][:, relations]
        return (to_blocks * weights[:, None]).T / self.relation_sizes[relations, None], to_blocks, relations

    def entries(self, blocks: ArrayLike) -> NDArray[np.float64]:
        """Values (..., R) on the relations from blocks (..., B), row-major one after another."""
        every = range(len(self.fibres))
        return np.asarray(blocks, float) @ self.map(every, every)[0].T

    def blocks_of(self, entries: ArrayLike) -> NDArray[np.float64]:
        """Blocks (..., B) from values (..., R) on the relations."""
        return np.asarray(entries, float) @ self.images.T

    @cached_in_each_life
    def logit_maps(self) -> LogitMaps:
        """Maps to margins and forces if all points are classes."""
        return self.logit_maps_of(range(len(self.fibres)))

    def logit_maps_of(self, fibres: Sequence[int]) -> LogitMaps:
        """Maps to margins and forces if the classes are the points of some fibres, by matrices."""
        to_entries, to_blocks, relations = self.map(fibres, fibres)
        column = self.column_fibre[relations]
        own = np.searchsorted(relations, self.diagonals[column])
        order = np.argsort(column, kind="stable")
        order = order[own[order] != order]
        into = to_entries[own[order]] - to_entries[order]
        back = to_blocks[:, own[order]] - to_blocks[:, order] / self.valencies[relations[order]]
        back[np.abs(back) < 1e-14] = 0.0
        forces, ones = dense_map(back), np.ones(into.shape[1])
        ends = np.array([np.count_nonzero(column[order] <= f) for f in sorted(fibres)])
        return LogitMaps(dense_map(into), forces, forces, ones, relations[order], ends)

    # -- as an object --------------------------------------------------------------------------------------------------

    def __repr__(self) -> str:
        return self.name

    def _repr_html_(self) -> str:
        return card(self.name, self._facts())

    def _facts(self) -> list[tuple[str, object]]:
        blocks = [f"{m:g} x {n.max()}" for m, n in zip(self.multiplicities, self.block_sizes, strict=True)]
        return [
            ("fibres", few(self.fibres)),
            ("relations", self.rank),
            ("blocks", ", ".join(blocks[:10]) + (", ..." if len(blocks) > 10 else "")),
        ]

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Symmetry):
            return NotImplemented
        same = self.kind == other.kind and len(self.args) == len(other.args)
        return same and all(_equal(mine, theirs) for mine, theirs in zip(self.args, other.args, strict=True))

    def __hash__(self) -> int:
        return hash((self.kind, self.fibres, self.rank))

    def __reduce__(self) -> tuple[Any, ...]:
        return from_spec, ({"kind": self.kind, "args": self.args},)


def _equal(one: Any, other: Any) -> bool:
    return one == other if isinstance(one, Symmetry) else np.array_equal(one, other)


def _plain(arg: Any) -> Any:
    return arg.spec if isinstance(arg, Symmetry) else np.asarray(arg).tolist()


def from_spec(spec: Mapping[str, Any]) -> Symmetry:
    """Return the symmetry with a given `Symmetry.spec`.

    Parameters
    ----------
    spec : mapping
        ``{"kind": name of the factory, "args": its arguments}``.

    Raises
    ------
    TypeError, ValueError
        If spec or its arguments are invalid.
    """
    if not isinstance(spec, Mapping):
        raise TypeError(f"spec must be a mapping, got {type(spec).__name__}")
    makers = KINDS | {name: entry.factory for name, entry in SCHEMES.items()}
    if spec.keys() != {"kind", "args"} or spec["kind"] not in makers:
        raise ValueError(
            f'spec must be {{"kind": ..., "args": ...}}, kind one of {", ".join(sorted(makers))}, '
            f"got keys {', '.join(map(str, spec))} and kind {spec.get('kind')!r}"
        )
    args = [from_spec(arg) if isinstance(arg, Mapping) else arg for arg in spec["args"]]
    return makers[spec["kind"]](*args)
