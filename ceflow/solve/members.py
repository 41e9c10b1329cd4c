"""Many runs of compiled fields in one compiled loop, each with the clock and steps of `loops`.

A run that needs more than explicit steps (closed form, implicit steps, more steps than allowed) is left unfinished for
the caller. Finished runs equal those of the other loops to the bit.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from .._field import CompiledField, Functions
from ..kernels import KERNEL, njit
from .controller import FIRST_STEP
from .loops import advance_compiled
from .method import DEFAULT, START, Method, Work, method, work_for
from .outcome import Outcome
from .stepping import _sample_compiled

_REACHED = int(Outcome.REACHED)


class Found(NamedTuple):
    """Results of m runs: rows (m, r, N); outcome, steps, rejected steps and evaluations of each."""

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
def _rows(f, method, work, done, known, y, h, log_t, wanted, out):
    """States at wanted times within the steps; `known` points of the last step are already evaluated."""
    start, step, ready = work.states[method.stages + START], 0, -1
    for row in range(wanted.size):
        while step < done and log_t[step + 1] <= wanted[row]:
            step += 1
        if log_t[step] == wanted[row]:
            for i in range(start.size):
                out[row, i] = y[step, i]
            continue
        if step != ready:
            if step < done - 1 or ready >= 0:
                known = 0
            for i in range(start.size):
                start[i] = y[step, i]
        target, place = wanted[row : row + 1], out[row : row + 1]
        weights = work.scratch[: method.stages].reshape((1, method.stages))
        _sample_compiled(f, method, work, h[step], log_t[step], log_t[step + 1], target, known, weights, place)
        ready, known = step, len(method.weights)


@njit(**KERNEL)
def _advance(
    addresses, data, layouts, scratch, has_equilibria, method: Method, work: Work, origins, wanted, rtol, atol, most,
    y, h, log_t, state, found,
):  # fmt: skip
    for member in range(len(origins)):
        f = Functions(addresses[0], addresses[1], addresses[2], data[member], layouts[member], scratch)
        start = work.states[method.stages + START]
        for i in range(start.size):
            y[0, i] = start[i] = origins[member, i]
        state[0], state[1], state[2], state[3], state[4] = -np.inf, np.nan, 0.0, FIRST_STEP, 1.0
        done, outcome, evaluations, rejected, known = advance_compiled(
            f, method, work, state, y[1:], h, log_t[1:], rtol, atol, rtol, wanted[-1], most, has_equilibria
        )
        found.outcome[member], found.nsteps[member] = outcome, done
        found.nrejected[member], found.nfev[member] = rejected, evaluations
        if outcome == _REACHED:
            _rows(f, method, work, done, known, y, h, log_t, wanted, found.y[member])


def advance_members(
    fields: list[CompiledField], origins: np.ndarray, wanted: np.ndarray, rtol: float, atol: float, steps: int,
    most: int, name: str = DEFAULT,
) -> Found:  # fmt: skip
    """Integrate fields of one kind from t = 0 to the last wanted time.

    Parameters
    ----------
    fields : list of CompiledField
        m fields with the same functions and sizes.
    origins : (m, N) array
        Initial states.
    wanted : (r,) array
        Increasing log times of the rows.
    rtol, atol : float
    steps : int
        Number of steps after which a run is left unfinished.
    most : int
        Attempted steps after which a run fails.
    name : str
        Name of a tableau.
    """
    first, used, (members, size) = fields[0], method(name), origins.shape
    found = Found.room(members, len(wanted), size)
    data = np.array([field.functions.data for field in fields])
    layouts = np.array([field.functions.layout for field in fields])
    log_t = np.empty(steps + 1)
    log_t[0] = -np.inf
    _advance(
        first.functions[:3], data, layouts, first.functions.scratch, first.has_equilibria, used,
        work_for(first, used), np.ascontiguousarray(origins), wanted, rtol, atol, most, np.empty((steps + 1, size)),
        np.empty(steps), log_t, np.empty(5), found,
    )  # fmt: skip
    return found
