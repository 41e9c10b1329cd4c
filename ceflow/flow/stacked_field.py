"""Vector field of many runs of one full flow, each with its own clock, on arrays of any library."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from .._arrays import host
from .._field import Event
from .matrix_field import MatrixField

if TYPE_CHECKING:
    from .matrix import MatrixFlow


class StackedField(MatrixField):
    """Vector field of m runs with factors of the same shapes, on states (m, N).

    It has the interface of a field (see `ceflow._field`), with arrays (m,) in place of numbers. m may change from call
    to call.

    Parameters
    ----------
    flow : MatrixFlow
    shapes : tuple
        Shapes of the factors, and of the bias as (K, 1), of one run.
    members : int
        Largest number of runs at a time.
    """

    def __init__(self, flow: MatrixFlow, shapes: tuple[tuple[int, ...], ...], members: int) -> None:
        super().__init__(flow, shapes)
        self.members, self._room = members, self.arrays.zeros(members, *self.logits.shape)

    def parts(self, y) -> list:
        self.logits = self._room[: len(y)]
        begins = [0, *self.ends[:-1]]
        return [
            y[:, begin:end].reshape(len(y), *shape)
            for begin, end, shape in zip(begins, self.ends, self.shapes, strict=True)
        ]

    def squares(self, y):
        return self.xp.einsum("mi,mi->m", y, y)

    def combine(self, y, h: Any, w: np.ndarray, k, n: int, out) -> None:
        # not a matrix product: its rounding depends on the position in memory, so on the other runs
        out[...] = self.xp.einsum("s,smi->mi", self.arrays.constant(w[:n]), k[:n])
        out *= self.arrays.constant(h)[:, None]
        out += y

    def norm(self, error, y, dy, rtol: float, atol: float) -> Any:
        return host(self._sizes(error, y, rtol, atol))

    def events(self, y, dy, rtol: float) -> np.ndarray:
        """(m,) `Event` of each run."""
        velocity = host(self.velocity(y, dy))
        return np.where(self.rests(velocity, rtol), Event.REST, Event.NONE)
