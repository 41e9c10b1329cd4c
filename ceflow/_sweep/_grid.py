"""The grid of runs: parameters, labels, and blocks."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

Block = tuple[slice, ...]  # rectangle of runs: slices along the axes of the grid, then members


@dataclass(frozen=True)
class Grid:
    """All combinations of parameters, with a number of members each.

    Attributes
    ----------
    axes : dict
        Values of the varying parameters, by name.
    fixed : dict
        Parameters equal for all runs.
    members : int
    """

    axes: dict[str, tuple]
    fixed: dict[str, Any]
    members: int

    @classmethod
    def of(cls, parameters: Mapping[str, Any], members: int) -> Grid:
        """Make a grid: lists, ranges and one-dimensional arrays are axes, other values are fixed. Raise a ValueError
        for invalid names, empty axes and equal labels."""
        if not isinstance(parameters, Mapping) or not all(isinstance(name, str) for name in parameters):
            raise TypeError(f"grid must be a dict from names of parameters to their values, got {parameters!r}")
        axes, fixed = {}, {}
        for name, values in parameters.items():
            if not isinstance(values, (list, range, np.ndarray)):
                fixed[name] = values
                continue
            if np.ndim(values) != 1 and isinstance(values, np.ndarray):
                raise ValueError(f"grid[{name!r}] must be one-dimensional, got shape {values.shape}")
            axes[name] = tuple(values.tolist() if isinstance(values, np.ndarray) else values)
            if not axes[name]:
                raise ValueError(f"grid[{name!r}] must have at least one value")
            if len(set(labels(axes[name]).tolist())) < len(axes[name]):
                raise ValueError(f"grid[{name!r}] must not have equal values, got {list(axes[name])!r}")
        return cls(axes, fixed, members)

    @property
    def shape(self) -> tuple[int, ...]:
        """Sizes of the axes, then the number of members."""
        return (*map(len, self.axes.values()), self.members)

    def parameters(self, point: tuple[int, ...]) -> dict[str, Any]:
        """All parameters at the indices along the axes."""
        values = {name: axis[i] for (name, axis), i in zip(self.axes.items(), point, strict=True)}
        return {**self.fixed, **values}

    def points(self, block: Block | None = None) -> Iterator[tuple[int, ...]]:
        """Indices along the axes, of a block or of all."""
        sizes = self.shape[:-1]
        ranges = (slice(0, size) for size in sizes) if block is None else block[:-1]
        return itertools.product(*(range(one.start, one.stop) for one in ranges))

    def block_shape(self, most: int) -> tuple[int, ...]:
        """Shape of the largest rectangle of at most `most` runs, filled from the members on."""
        sizes = []
        for size in reversed(self.shape):
            sizes.append(max(1, min(size, most)))
            most = most // size if most >= size else 1  # axes before a split axis have length 1
        return tuple(reversed(sizes))

    def blocks(self, most: int) -> list[Block]:
        """All runs, in rectangles of at most `most`."""
        cuts = (
            [slice(first, min(first + step, size)) for first in range(0, size, step)]
            for size, step in zip(self.shape, self.block_shape(most), strict=True)
        )
        return list(itertools.product(*cuts))


def labels(values: tuple) -> np.ndarray:
    """Coordinates of an axis: the values themselves if they are all numbers or all strings, else their text."""
    array = np.asarray(values) if all(isinstance(one, (bool, int, float, str)) for one in values) else None
    if array is not None and array.ndim == 1 and (array.dtype.kind != "U" or all(type(v) is str for v in values)):
        return array.astype(object) if array.dtype.kind == "U" else array
    return np.array([getattr(one, "name", None) or repr(one) for one in values], dtype=object)
