"""Many runs of compiled fields in one compiled loop, each with the clock and steps of `loops`.

A run that needs more than explicit steps (closed form, implicit steps, more steps than allowed) is left unfinished for
the caller. Finished runs equal those of the other loops to the bit.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from .._field import CompiledField, Functions
from ..kernels import KERNEL, njit
from .controller import FIRST_STEP
from .loops import advance_compiled
from .method import DEFAULT, START, Method, Work, method, work_for
from .outcome import Outcome
from .stepping import sample_compiled, sample_step

_REACHED = int(Outcome.REACHED)


class Places(NamedTuple):
    """Where m runs are: state of the stepper (m, 5), as in `loops`, and y (m, N)."""

    state: np.ndarray
    y: np.ndarray

    @classmethod
    def begin(cls, origins: np.ndarray) -> Places:
        """At t = 0."""
        return cls(np.tile([-np.inf, np.nan, 0.0, FIRST_STEP, 1.0], (len(origins), 1)), np.array(origins))


class Knots(NamedTuple):
    """Steps of m runs, at most k of each: y (m, k + 1, N) and log times (m, k + 1) at their ends, sizes (m, k)."""

    y: np.ndarray
    h: np.ndarray
    log_t: np.ndarray

    @classmethod
    def room(cls, members: int, steps: int, size: int) -> Knots:
        """Empty arrays for the steps."""
        return cls(np.empty((members, steps + 1, size)), np.empty((members, steps)), np.empty((members, steps + 1)))


class Found(NamedTuple):
    """Results of m runs: rows (m, r, N), NaN if not reached; outcome, steps, rejected steps and evaluations of each."""

    y: np.ndarray
    outcome: np.ndarray
    nsteps: np.ndarray
    nrejected: np.ndarray
    nfev: np.ndarray

    @classmethod
    def room(cls, members: int, rows: int, size: int) -> Found:
        """Empty arrays for the results."""
        return cls(np.full((members, rows, size), np.nan), *np.zeros((4, members), np.int64))


@njit(**KERNEL)
def _advance(
    addresses, data, layouts, scratch, has_equilibria, method: Method, work: Work, places, wanted, rtol, atol, most,
    knots, weights, found,
):  # fmt: skip
    for member in range(len(data)):
        f = Functions(addresses[0], addresses[1], addresses[2], data[member], layouts[member], scratch)
        state, start, room = places.state[member], work.states[method.stages + START], member % len(knots.y)
        y, h, log_t = knots.y[room], knots.h[room], knots.log_t[room]
        for i in range(start.size):
            y[0, i] = start[i] = places.y[member, i]
        log_t[0], state[1] = state[0], np.nan
        done, outcome, evaluations, rejected, known = advance_compiled(
            f, method, work, state, y[1:], h, log_t[1:], rtol, atol, rtol, wanted[member, -1], most[member],
            has_equilibria,
        )  # fmt: skip
        found.outcome[member], found.nsteps[member] = outcome, done
        found.nrejected[member], found.nfev[member] = rejected, evaluations
        for i in range(start.size):
            places.y[member, i] = y[done, i]
        if outcome != _REACHED:
            known = 0
        times, first, end = wanted[member], 0, wanted.shape[1]
        while first < end and times[first] < log_t[0]:
            first += 1
        while end > first and times[end - 1] > log_t[done]:
            end -= 1
        steps, rows = (y[: done + 1], h[:done], log_t[: done + 1]), found.y[member, first:end]
        sample_compiled(f, method, work, *steps, times[first:end], known, weights, rows)


@njit(**KERNEL)
def _sample(addresses, data, layouts, scratch, method, work, y, h, log_t, log_t_new, targets, weights, out):
    for i in range(len(data)):
        f = Functions(addresses[0], addresses[1], addresses[2], data[i], layouts[i], scratch)
        start = work.states[method.stages + START]
        for j in range(start.size):
            start[j] = y[i, j]
        sample_step(f, method, work, h[i], log_t[i], log_t_new[i], targets[i], np.int64(0), weights, out[i])


class Members:
    """Runs of m compiled fields with the same functions and sizes.

    Parameters
    ----------
    fields : list of CompiledField
    origins : (m, N) array
        Initial states.
    rtol, atol : float
    name : str
        Name of a tableau.
    """

    def __init__(
        self, fields: list[CompiledField], origins: np.ndarray, rtol: float, atol: float, name: str = DEFAULT
    ) -> None:
        self.field, self.method, self.tolerances = fields[0], method(name), (rtol, atol)
        self.places = Places.begin(origins)
        self._data = np.array([field.functions.data for field in fields])
        self._layouts = np.array([field.functions.layout for field in fields])
        self._work = work_for(self.field, self.method)

    def _fields(self, which) -> tuple:
        functions = self.field.functions
        return functions[:3], self._data[which], self._layouts[which], functions.scratch

    def advance(
        self, which: Any, wanted: np.ndarray, steps: int, most: np.ndarray, keep: bool = False
    ) -> tuple[Found, Knots]:
        """Advance runs from their places, at most to the last of their wanted times.

        Parameters
        ----------
        which : index
            n of the runs.
        wanted : (n, r) array
            Increasing log times of the rows of each run.
        steps : int
            Number of steps after which a run is left unfinished.
        most : (n,) array of int64
            Attempted steps after which a run fails.
        keep : bool
            Whether the knots have the steps of all runs; else they are meaningless.
        """
        places = Places(*(part[which] for part in self.places))
        members, size = places.y.shape
        found, knots = Found.room(members, wanted.shape[1], size), Knots.room(members if keep else 1, steps, size)
        _advance(
            *self._fields(which), self.field.has_equilibria, self.method, self._work, places, wanted, *self.tolerances,
            most, knots, np.empty((wanted.shape[1], self.method.stages)), found,
        )  # fmt: skip
        for part, new in zip(self.places, places, strict=True):
            part[which] = new
        return found, knots

    def sample(self, which, knots: Knots, place: np.ndarray, step: np.ndarray, targets: np.ndarray) -> np.ndarray:
        """States (n, r, N) of runs at log times (n, r), each within a step of the knots, given by two indices."""
        y, h = knots.y[place, step], knots.h[place, step]
        log_t, log_t_new = knots.log_t[place, step], knots.log_t[place, step + 1]
        out, weights = np.empty((*targets.shape, y.shape[1])), np.empty((targets.shape[1], self.method.stages))
        _sample(*self._fields(which), self.method, self._work, y, h, log_t, log_t_new, targets, weights, out)
        return out
