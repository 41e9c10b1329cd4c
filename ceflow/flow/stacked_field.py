"""Vector fields of many runs of one flow, each with its own clock, on arrays of any library."""

from __future__ import annotations

from typing import Any

import numpy as np

from .._arrays import host
from .._field import Event
from .etf_field import ETFField, ReducedETFField
from .matrix_field import MatrixField
from .replay_field import ReplayField


class Stacked:
    """Changes a field on arrays to one of m runs, on states (m, N).

    It has the interface of a field (see `ceflow._field`), with arrays (m,) in place of numbers. m may change from call
    to call.
    """

    arrays: Any
    rests: Any
    velocity: Any
    _sizes: Any

    def combine(self, y, h: Any, w: np.ndarray, k, n: int, out) -> None:
        # not a matrix product: its rounding depends on the position in memory, so on the other runs
        out[...] = self.arrays.xp.einsum("s,smi->mi", self.arrays.constant(w[:n]), k[:n])
        out *= self.arrays.constant(h)[:, None]
        out += y

    def norm(self, error, y, dy, rtol: float, atol: float) -> Any:
        return host(self._sizes(error, y, rtol, atol))

    def events(self, y, dy, rtol: float) -> np.ndarray:
        """(m,) `Event` of each run."""
        return np.where(self.rests(host(self.velocity(y, dy)), rtol), Event.REST, Event.NONE)


class StackedField(Stacked, MatrixField):
    """Vector field of m runs with factors of the same shapes.

    Parameters
    ----------
    members : int
        Largest number of runs at a time.
    *arguments
        Those of the field of one run.
    """

    def __init__(self, members: int, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._room = self.arrays.zeros(members, *self.logits.shape)

    def parts(self, y) -> list:
        self.logits = self._room[: len(y)]
        begins = [0, *self.ends[:-1]]
        return [
            y[:, begin:end].reshape(len(y), *shape)
            for begin, end, shape in zip(begins, self.ends, self.shapes, strict=True)
        ]

    def squares(self, y):
        return self.xp.einsum("mi,mi->m", y, y)


class StackedETFField(StackedField, ETFField):
    """Vector field of m runs of `ETFFlow` with the same shapes; a fixed classifier is common to all."""


class StackedReducedETFField(StackedField, ReducedETFField):
    """Vector field of m runs of `ReducedETFFlow` with the same number of classes."""


class StackedReplayField(Stacked, ReplayField):
    """Vector field of m runs of `ReplayFlow`."""

    rates = ReplayField.rates_of_runs
