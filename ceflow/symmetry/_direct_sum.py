"""Groups of classes, each with its own scheme."""

from __future__ import annotations

import functools

import numpy as np
from numpy.typing import NDArray

from .._checks import checked_integer
from ..kernels import cached_in_each_life
from ._coherent import Coherent
from ._hamming import complete
from ._parts import maps_of_parts
from ._point import point
from ._scheme import Scheme
from ._symmetry import KINDS, LogitMaps, Symmetry, frozen, require_room


class DirectSum(Symmetry):
    """Direct sum of schemes: each scheme is a fibre, and all pairs between two fibres are one relation.

    Every mode of a scheme is a block of size 1; the constants of the G fibres form one block of size G. Relations are
    those of the schemes in order, then those between fibres (row fibre, column fibre), row by row.
    """

    kind = "direct_sum"
    fibres: tuple[int, ...]
    row_fibre: NDArray[np.int64]
    column_fibre: NDArray[np.int64]
    transposed: NDArray[np.int64]
    diagonals: NDArray[np.int64]
    multiplicities: NDArray[np.float64]
    block_sizes: NDArray[np.int64]

    def __init__(self, parts: tuple[Scheme, ...]) -> None:
        self.args = self.parts = parts
        groups = len(parts)
        self.fibres = tuple(part.classes for part in parts)
        modes = [part.modes for part in parts]
        starts = np.cumsum([0, *(m + 1 for m in modes)])
        own = np.repeat(np.arange(groups), np.array(modes) + 1)
        pairs = np.array([(h, g) for h in range(groups) for g in range(groups) if h != g], np.int64).reshape(-1, 2)
        self.row_fibre = frozen(np.concatenate([own, pairs[:, 0]]), np.int64)
        self.column_fibre = frozen(np.concatenate([own, pairs[:, 1]]), np.int64)
        place = {(h, g): starts[-1] + i for i, (h, g) in enumerate(pairs.tolist())}
        turned = [place[g, h] for h, g in pairs.tolist()]
        self.transposed = frozen(np.concatenate([np.arange(starts[-1]), np.array(turned, np.int64)]), np.int64)
        self.diagonals = frozen(starts[:-1], np.int64)
        between = np.array(self.fibres, float)[pairs[:, 0]]
        self.valencies = frozen(np.concatenate([*(part.valencies for part in parts), between]))
        self.multiplicities = frozen(np.concatenate([[1.0], *(part.multiplicities[1:] for part in parts)]))
        group = np.repeat(np.arange(groups), modes)
        sizes = np.zeros((1 + group.size, groups), np.int64)
        sizes[0] = 1
        sizes[1 + np.arange(group.size), group] = 1
        self.block_sizes = frozen(sizes, np.int64)

    @property
    def name(self) -> str:
        return f"direct_sum({', '.join(part.name for part in self.parts)})"

    def relations(self) -> NDArray[np.int64]:
        return self._labels

    @functools.cached_property
    def _labels(self) -> NDArray[np.int64]:
        require_room(f"the relation labels of {self.name}", self.points, self.points)
        between = np.zeros((len(self.parts), len(self.parts)), np.int64)
        off = self.row_fibre != self.column_fibre
        between[self.row_fibre[off], self.column_fibre[off]] = np.flatnonzero(off)
        labels = between[np.ix_(self.fibre_of, self.fibre_of)]
        for first, start, part_ in zip(np.cumsum(self.fibres) - self.fibres, self.diagonals, self.parts, strict=True):
            inside = slice(first, first + part_.classes)
            labels[inside, inside] = start + part_.relations()
        return frozen(labels, np.int64)

    def vectors(self, i: int) -> NDArray[np.float64]:
        if i == 0:
            return (self.fibre_of[:, None] == np.arange(len(self.parts)))[:, :, None] / np.sqrt(self.fibres)[:, None]
        g = int(np.argmax(self.block_sizes[i]))
        mode = i - int(np.argmax(self.block_sizes[1:, g])) if g else i
        part_, first = self.parts[g], sum(self.fibres[:g])
        own = part_.basis()[:, part_.columns == mode]
        found = np.zeros((self.points, 1, own.shape[1]))
        found[first : first + part_.classes, 0] = own
        return found

    def _images(self) -> NDArray[np.float64]:
        groups, off = len(self.parts), self.row_fibre != self.column_fibre
        constants = np.zeros((groups, groups, self.rank))
        sizes = np.array(self.fibres, float)
        at = np.arange(self.rank)
        constants[self.row_fibre, self.column_fibre, at] = np.where(
            off, np.sqrt(sizes[self.row_fibre] * sizes[self.column_fibre]), self.valencies
        )
        modes = np.zeros((len(self.block_sizes) - 1, self.rank))
        row = 0
        for start, part_ in zip(self.diagonals, self.parts, strict=True):
            modes[row : row + part_.modes, start : start + part_.modes + 1] = part_.eigenmatrix[1:]
            row += part_.modes
        return np.concatenate([constants.reshape(groups**2, -1), modes])

    @cached_in_each_life
    def logit_maps(self) -> LogitMaps:
        """Maps to margins and forces, by the transforms of the schemes and sums between fibres."""
        return LogitMaps(**maps_of_parts(self.parts, self.row_fibre, self.column_fibre))


def direct_sum(*parts: Symmetry | int) -> DirectSum | Coherent:
    """Make the symmetry of groups of classes, each with its own symmetry, e.g. for class imbalance.

    Parameters
    ----------
    *parts : Symmetry or int
        At least two; an integer K means ``complete(K)``, and 1 a single class.

    Returns
    -------
    Symmetry
        It has the fibres of all parts in order, and one relation between any two fibres of different parts. Two
        `complete(5)` are the symmetry of step imbalance: blocks of size 1 for the modes of each group, and one block
        (2, 2) for the constants. A sum of schemes is cheap for millions of classes; sums with other parts need their
        (n, n) relations.

    Raises
    ------
    TypeError, ValueError
        If an argument is invalid, or there are fewer than two.

    Examples
    --------
    >>> groups = cf.direct_sum(5, 3)
    >>> groups.fibres, groups.multiplicities, groups.block_sizes.tolist()
    ((5, 3), array([1., 4., 2.]), [[1, 1], [1, 0], [0, 1]])
    >>> flow = cf.SpectralFlow(groups, samples=(100, 1), weight_decay=1e-3)  # 100 samples a class, and 1
    >>> cf.integrate(flow, flow.random_start(0.1, rng=0), 10.0, rtol=1e-4).y.shape[1]  # numbers
    12
    """
    found: list[Symmetry] = []
    for given in parts:
        if isinstance(given, DirectSum):
            found += given.parts
        elif isinstance(given, Symmetry):
            found.append(given)
        elif isinstance(given, (int, np.integer)) and not isinstance(given, bool):
            K = checked_integer("the size of a group", given, 1)
            found.append(point() if K == 1 else complete(K))
        else:
            raise TypeError(
                f"direct_sum takes symmetries such as ceflow.complete(5) or sizes of groups, got {type(given).__name__}"
            )
    if len(found) < 2:
        raise ValueError(f"direct_sum takes two symmetries or more, got {len(found)}")
    schemes = tuple(part for part in found if isinstance(part, Scheme))
    if len(schemes) == len(found):
        return DirectSum(schemes)
    return Coherent(_relations(found), "direct_sum", tuple(found))


def _relations(parts: list[Symmetry]) -> NDArray[np.int64]:
    """(n, n) relations of a direct sum."""
    points = sum(part.points for part in parts)
    require_room("the relations of a direct sum", points, points)
    fibres = np.cumsum([0, *(len(part.fibres) for part in parts)])
    fibre_of = np.concatenate([first + part.fibre_of for first, part in zip(fibres, parts, strict=False)])
    between = sum(part.rank for part in parts) + fibre_of[:, None] * fibres[-1] + fibre_of
    first = relation = 0
    for part in parts:
        inside = slice(first, first + part.points)
        between[inside, inside] = relation + part.relations()
        first, relation = first + part.points, relation + part.rank
    return np.unique(between, return_inverse=True)[1].reshape(between.shape)


KINDS["direct_sum"] = direct_sum
