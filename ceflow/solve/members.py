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
from .stepping import sample_compiled

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
def _advance(
    addresses, data, layouts, scratch, has_equilibria, method: Method, work: Work, origins, wanted, rtol, atol, most,
    y, h, log_t, state, weights, found,
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
            steps = y[: done + 1], h[:done], log_t[: done + 1]
            sample_compiled(f, method, work, *steps, wanted, known, weights, found.y[member])


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
        np.empty(steps), log_t, np.empty(5), np.empty((len(wanted), used.stages)), found,
    )  # fmt: skip
    return found
