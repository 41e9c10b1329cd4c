"""Data of a run for all claims, evaluated once."""

from __future__ import annotations

import math
from functools import cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ._intervals import Interval, Looker, most_states, some
from ._limits import SAFETY
from ._propagation import Errors, carried
from ._view import View


class Moments(NamedTuple):
    """Scalars of states at n times; see States."""

    log_t: NDArray
    log_objective: NDArray
    largest: NDArray
    reach: NDArray
    least_force: NDArray
    drift: NDArray


class Examination:
    """Data of a run for the claims.

    Attributes
    ----------
    run : Trajectory
    view : View
    v : Lyapunov
    tolerance : float
        Relative tolerance; NaN if unknown.
    dense : bool
        Whether the run has dense output.
    samples : int
        Number of states evaluated so far.
    """

    def __init__(self, run, view: View) -> None:
        self.run, self.view, self.v = run, view, view.lyapunov()
        self.tolerance = run.rtol if run.rtol > 0.0 else math.nan
        self.dense = run._path is not None
        self.looker = Looker(run, view, self.v, self.tolerance, run.atol)
        self.rows_seen = 0

    @property
    def samples(self) -> int:
        return self.looker.samples + self.rows_seen

    def some_rows(self, most: int):
        """At most `most` rows of the run, evenly spaced."""
        return self.run[some(len(self.run), most)]

    @cached_property
    def errors(self) -> Errors:
        """Relative errors from the defects of all intervals: propagated, or their sum if intervals were omitted."""
        propagators = [interval.propagator for interval in self.intervals]
        if len(propagators) >= self.looker.total:
            return carried(propagators, self.view.joint)
        last = max(self.intervals, key=lambda interval: interval.defect[-1])
        return Errors(self.tolerance * float(sum(interval.defect[-1] for interval in self.intervals)), last.high)

    @property
    def error_estimate(self) -> float:
        """Conservative estimate of the errors; NaN without dense output."""
        return SAFETY * self.errors.largest if self.dense else math.nan

    @cached_property
    def intervals(self) -> list[Interval]:
        """Intervals between rows; empty without dense output."""
        return self.looker.intervals() if self.dense else []

    @cached_property
    def moments(self) -> Moments:
        """All evaluated times: on the intervals, or else at the rows."""
        if self.intervals:
            return Moments(*(np.concatenate([getattr(x, name) for x in self.intervals]) for name in Moments._fields))
        rows = self.some_rows(most_states(self.view))
        states = self.view.states(rows)
        self.rows_seen = len(rows)
        drift = self.view.drift(states.log_t, states.w)
        return Moments(*(drift if name == "drift" else getattr(states, name) for name in Moments._fields))

    @cached_property
    def v_values(self) -> tuple[NDArray, NDArray]:
        """log t and V, where V is defined, in the order of time."""
        if self.intervals:
            log_t = np.concatenate([interval.log_t[::2] for interval in self.intervals])
            v = np.concatenate([interval.v.values for interval in self.intervals])
        else:
            states = self.view.states(self.some_rows(400))
            log_t, v = states.log_t, self.v.values(states.singular_values)
        order = np.argsort(log_t, kind="stable")
        order = order[self.v.defined(v[order])]
        return log_t[order], v[order]
