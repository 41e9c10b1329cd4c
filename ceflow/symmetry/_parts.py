"""Margins and forces of a direct sum of schemes, by their transforms."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..kernels import KERNEL, compiled, njit
from ..kernels.linking import call, linked, part, pointer, vector
from ._linear_map import LINEAR_MAP, LinearMap
from ._transform import Transform

if TYPE_CHECKING:
    from ._scheme import Scheme

_HEADER, _ROW = 1, 4  # table: number of parts; for each part points, modes, two addresses


class Table(np.ndarray):
    """Array of addresses that keeps the objects alive."""

    kept: Any = None
    compiled: bool | None = None  # whether the addresses are of compiled functions


def _table(parts: Sequence[Scheme], name: str) -> NDArray[np.float64]:
    """For each part: points, modes, and addresses of its transform and matrix (integers below 2^53)."""
    transforms: list[Transform] = [getattr(scheme.transforms, name) for scheme in parts]
    rows = [
        (scheme.classes, scheme.modes, transform.function.address, transform.matrix.__array_interface__["data"][0])
        for scheme, transform in zip(parts, transforms, strict=True)
    ]
    table = np.concatenate([[float(len(rows))], np.array(rows, float).ravel()]).view(Table)
    table.kept, table.compiled = transforms, compiled()
    return table


@njit(**KERNEL)
def _transformed(table, g, x, first, spare, out, modes):
    """Apply the transform of part g to `modes` numbers of x starting at `first`, into out (kernel).

    It overwrites these numbers and the one before them."""
    if modes > 0:
        function, matrix = int(table[_HEADER + _ROW * g + 2]), int(table[_HEADER + _ROW * g + 3])
        call(function, (pointer(matrix), part(x, first - 1, modes + 1), spare, out, modes))


@linked(*LINEAR_MAP)
def _margins(matrix, x, spare, out, inputs, outputs):
    groups = int(matrix[0])
    table, numbers = part(matrix, 0, _HEADER + _ROW * groups), vector(x, inputs)
    spare, out = vector(spare, inputs + outputs + 1), vector(out, outputs)
    constants, spare = spare[: groups * groups], spare[groups * groups :]
    for i in range(groups * groups):
        constants[i] = numbers[i]
    first, to = groups * groups, 0
    for g in range(groups):
        modes = int(table[_HEADER + _ROW * g + 1])
        total = 0.0
        for i in range(first, first + modes):
            total += numbers[i]
        _transformed(table, g, x, first, spare, out[to:], modes)
        first, to = first + modes, to + modes
        for h in range(groups):
            if h != g:
                out[to] = (constants[g * groups + g] - constants[h * groups + g]) + total
                to += 1
    return 0.0


@linked(*LINEAR_MAP)
def _forces(matrix, x, spare, out, inputs, outputs):
    groups = int(matrix[0])
    table, numbers = part(matrix, 0, _HEADER + _ROW * groups), vector(x, inputs)
    spare, out = vector(spare, inputs + outputs + 1), vector(out, outputs)
    first, to = 0, groups * groups
    for g in range(groups):
        modes, points = int(table[_HEADER + _ROW * g + 1]), table[_HEADER + _ROW * g]
        total, between = 0.0, first + modes
        for h in range(groups):
            if h != g:
                out[h * groups + g] = -numbers[between] * (points / table[_HEADER + _ROW * h]) ** 0.5
                total += numbers[between]
                between += 1
        out[g * groups + g] = total
        _transformed(table, g, x, first, spare, out[to:], modes)
        for i in range(to, to + modes):
            out[i] += total
        first, to = between, to + modes
    return 0.0


def maps_of_parts(
    parts: Sequence[Scheme], row_fibre: NDArray[np.int64], column_fibre: NDArray[np.int64]
) -> dict[str, Any]:
    """Fields of `LogitMaps` of a direct sum; relations are those of the schemes in order, then those between them."""
    groups, sizes = len(parts), np.array([scheme.classes for scheme in parts], float)
    modes = [scheme.modes for scheme in parts]
    starts = np.cumsum([0, *(count + 1 for count in modes)])
    relations = []
    for g, count in enumerate(modes):
        between = starts[-1] + np.flatnonzero(column_fibre[starts[-1] :] == g)
        relations.append(np.concatenate([starts[g] + 1 + np.arange(count), between]))
    inputs, outputs = groups**2 + sum(modes), sum(modes) + groups * (groups - 1)
    weights = [1.0 / np.sqrt(np.outer(sizes, sizes)).ravel()]
    weights += [scheme.multiplicities[1:] / scheme.classes for scheme in parts]
    return {
        "margins": LinearMap(_margins, _table(parts, "margins"), inputs, outputs),
        "forces": LinearMap(_forces, _table(parts, "forces"), outputs, inputs),
        "single_forces": LinearMap(_forces, _table(parts, "single_forces"), outputs, inputs),
        "weights": np.concatenate(weights),
        "relations": np.concatenate(relations),
        "ends": np.cumsum([relation.size for relation in relations]),
    }
