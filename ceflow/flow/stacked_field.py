"""Vector fields of many runs of one full flow, on arrays of any library: each has its own clock."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from .._arrays import host
from .._field import Event
from .matrix_field import MatrixField

if TYPE_CHECKING:
    from .matrix import MatrixFlow


class StackedField(MatrixField):
    """The fields of m runs that start from factors of the same shapes, on states (m, N).

    It has the face of one field, see `ceflow._field`, where what is one number of a run is an array (m,); m may change
    from call to call.

    Parameters
    ----------
    flow : MatrixFlow
    shapes : tuple
        Of the factors, and of the bias as (K, 1), of one run.
    members : int
        The most runs at a time.
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
        # not by a matrix product, whose rounding depends on the place in memory, and so on what other runs there are
        out[...] = self.xp.einsum("s,smi->mi", self.arrays.constant(w[:n]), k[:n])
        out *= self.arrays.constant(h)[:, None]
        out += y

    def norm(self, error, y, dy, rtol: float, atol: float) -> Any:
        return host(self._sizes(error, y, rtol, atol))

    def events(self, y, dy, rtol: float) -> np.ndarray:
        """(m,) whether each of the runs should go on, an `Event`."""
        velocity = host(self.velocity(y, dy))
        return np.where(self.rests(velocity, rtol), Event.REST, Event.NONE)
