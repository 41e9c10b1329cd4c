"""Explicit steps of many runs on arrays of any library, one row of the state per run, each with its own clock.

Method, clock and step size control are those of `loops`, and steps agree with these to rounding. A field is evaluated
for all runs at once; step sizes, clocks and acceptance are arrays over the runs. A run that has ended, or needs more
than explicit steps, leaves the stack.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from .._arrays import as_like, host
from .._field import Event
from .._tolerances import DEFECT_SHARE
from ..kernels import KERNEL, njit
from .clock import SCRATCH, fit, place_of, time_by_samples, time_by_stages
from .controller import FIRST_STEP, SMALLEST_STEP, combined, longer, shorter
from .loops import evaluate
from .members import Found, Places
from .method import DEFAULT, ERROR, NEW, PROBE, ROWS, START, ZERO, Work, method
from .outcome import Outcome
from .stepping import weights_at

_PREVIOUS = 1.0  # initial value of the previous error
Crosses = Callable[..., tuple[np.ndarray, np.ndarray]]


@njit(**KERNEL)
def _times_by_stages(phi, h, log_t, next_row, sizes, method, has_equilibria, rtol, errors, log_t_new, by_stages, wants):
    """Errors and time of a step from the stages, if these suffice; and the runs that need samples in the step."""
    for i in range(h.size):
        errors[i], log_t_new[i], by_stages[i], wants[i] = combined(sizes[0, i], sizes[1, i]), log_t[i], False, False
        if errors[i] <= 1.0 and phi[i, 0, method.last] < np.inf:
            log_t_new[i], error = time_by_stages(phi[i], h[i], log_t[i], method, has_equilibria)
            by_stages[i] = error <= rtol
            wants[i] = not by_stages[i] or next_row[i] <= log_t_new[i]


@njit(**KERNEL)
def _times_by_samples(
    phi, h, log_t, which, defects, method, has_equilibria, series, scratch, rtol, errors, log_t_new, by_stages
):
    """Clock of the runs `which`, and time and error from it if the stages did not suffice."""
    for place in range(which.size):
        i = which[place]
        if by_stages[i]:
            fit(phi[place], method, series[place])
        else:
            log_t_new[i], error = time_by_samples(
                phi[place], h[i], log_t[i], method, has_equilibria, series[place], scratch, rtol
            )
            errors[i] = max(errors[i], error, defects[place])


@njit(**KERNEL)
def _control(errors, log_t, log_t_new, h, previous, order, accepted):
    """Acceptance of the steps, and sizes of the next ones."""
    for i in range(h.size):
        accepted[i] = errors[i] <= 1.0 and log_t_new[i] >= log_t[i]
        if accepted[i]:
            h[i], previous[i], log_t[i] = longer(h[i], errors[i], previous[i], order), errors[i], log_t_new[i]
        else:
            h[i], previous[i] = shorter(h[i], errors[i], order), _PREVIOUS


@njit(**KERNEL)
def _weights_of_rows(targets, log_t, log_t_new, series, method, scratch, weights):
    """Weights (r, n) of the stages at times within a step."""
    for row in range(targets.size):
        weights_at(place_of(targets[row], log_t, log_t_new, series, scratch), method, weights[row])


class Stack:
    """Unfinished runs of one field.

    Parameters
    ----------
    field : vector field of m runs
        As in `ceflow._field`, on states (m, N) of any m up to its `members`: phi, a, norms and step sizes are arrays
        (m,), and ``events(y, dy, rtol)`` are in place of `event`.
    origins : (m, N) array
        Initial states.
    wanted : (r,) array
        Increasing log times of the rows.
    rtol, atol : float
    name : str
        Name of a tableau.
    crosses : callable, optional
        Which of n runs leave the stack before a step, and which stop within it. A function of their indices, of the log
        times (n,) at both ends of their steps, of the states (n, N) at the later ones, of a function that returns the
        states in the steps of some runs, see `_within`, and of the last wanted time.
    """

    def __init__(
        self, field, origins: np.ndarray, wanted: np.ndarray, rtol: float, atol: float, name: str,
        crosses: Crosses | None = None,
    ) -> None:  # fmt: skip
        self.field, self.wanted, self.rtol, self.atol, self.method = field, wanted, rtol, atol, method(name)
        self.crosses = crosses
        members, size = origins.shape
        self.found = Found.room(members, len(wanted), size)
        self.left = Places(np.full((members, 5), np.nan), np.empty((members, size)))
        self.runs = np.arange(members)  # members in the stack
        self.log_t, self.h, self.previous = np.full(members, -np.inf), np.full(members, FIRST_STEP), np.ones(members)
        self.row = np.zeros(members, np.int64)  # next row of each run
        if wanted[0] == -np.inf:
            self.found.y[:, 0], self.row[:] = origins, 1
        self._states = field.allocate(self.method.stages + ROWS, members, size).reshape(-1)
        self._phi = field.allocate(2 * len(self.method.weights) * members)
        self.work = self._workspace()
        self.start[:] = as_like(origins, self.start)
        evaluate(field, self.method, self.work, self.h, 0, 1)
        self.found.nfev[:] = 1
        resting = field.events(self.start, self.work.states[0], rtol) == Event.REST
        self.keep(~resting & (host(self.work.phi[0, 0]) < np.inf), np.full(members, Outcome.CHANGED))

    def _workspace(self) -> Work:
        """Work arrays for steps of the runs in the stack."""
        members, n, samples = len(self.runs), self.method.stages, self.method.samples.size
        states = self._states[: (n + ROWS) * members * self.field.size].reshape(n + ROWS, members, self.field.size)
        states[n + ZERO][:] = 0.0
        places = len(self.method.weights)
        phi = self._phi[: 2 * places * members].reshape(2, places, members)
        return Work(states, phi, np.empty((members, 2, samples)), np.empty(SCRATCH))

    @property
    def start(self):
        """(m, N) states at the start of the step, on the device of the field."""
        return self.work.states[self.method.stages + START]

    @property
    def size(self) -> int:
        """Number of runs in the stack."""
        return len(self.runs)

    def keep(self, going: np.ndarray, outcomes: np.ndarray) -> None:
        """Keep the continuing runs in the stack; store the states and outcomes of the others."""
        if going.all():
            return
        states, n, phi = self.work.states, self.method.stages, host(self.work.phi)
        gone, stay = np.flatnonzero(~going), np.flatnonzero(going)
        runs = self.runs[gone]
        self.found.outcome[runs] = outcomes[gone]
        self.left.y[runs] = host(states[n + START][gone])
        self.left.state[runs] = np.array([self.log_t, *phi[:, 0], self.h, self.previous]).T[gone]
        kept = states[n + START][stay], states[0][stay], self.work.phi[:, 0][:, stay]
        for name in ("runs", "log_t", "h", "previous", "row"):
            setattr(self, name, getattr(self, name)[stay])
        self.work = self._workspace()
        self.work.states[n + START][:], self.work.states[0][:], self.work.phi[:, 0] = kept

    def step(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Attempt a step of every run; return which were accepted, which runs leave before theirs, and which stop in
        theirs."""
        field, used, work, members = self.field, self.method, self.work, self.size
        last, places = used.last, len(used.weights)
        evaluate(field, used, work, self.h, 1, last + 1)
        self.found.nfev[self.runs] += last
        errors, log_t_new, by_stages, wants = np.empty(members), np.empty(members), *np.empty((2, members), bool)
        next_row = np.append(self.wanted, np.inf)[self.row]
        _times_by_stages(
            _by_run(work.phi), self.h, self.log_t, next_row, self._sizes(), used, field.has_equilibria, self.rtol,
            errors, log_t_new, by_stages, wants,
        )  # fmt: skip
        which = np.flatnonzero(wants)
        if which.size:
            part = work if which.size == members else _part(work, which)
            h = self.h[which]
            evaluate(field, used, part, h, last + 1, places)
            self.found.nfev[self.runs[which]] += places - last - 1
            _times_by_samples(
                _by_run(part.phi), self.h, self.log_t, which, self._defects(part, h), used, field.has_equilibria,
                part.series, part.scratch, self.rtol, errors, log_t_new, by_stages,
            )  # fmt: skip
        log_t, h, previous = self.log_t.copy(), self.h.copy(), self.previous.copy()
        accepted, before, stops = np.zeros((3, members), bool)
        _control(errors, self.log_t, log_t_new, self.h, self.previous, used.order, accepted)
        if self.crosses is not None:
            ends = np.flatnonzero(accepted)
            before[ends], stops[ends] = self.crosses(
                self.runs[ends], log_t[ends], self.log_t[ends], host(work.states[used.stages + NEW])[ends],
                lambda i: self._within(ends[i], log_t[ends[i]], self.log_t[ends[i]], h[ends[i]]), self.wanted[-1],
            )  # fmt: skip
            accepted &= ~before
            for now, then in ((self.log_t, log_t), (self.h, h), (self.previous, previous)):
                now[before] = then[before]
        for place in np.flatnonzero(accepted[which]):
            i = which[place]
            self._write_rows(i, part.states[:, place], part.series[place], log_t[i], log_t_new[i], h[i])
        self.found.nsteps[self.runs] += accepted
        self.found.nrejected[self.runs] += ~(accepted | before)
        return accepted, before, stops

    def _within(self, which: np.ndarray, log_t: np.ndarray, log_t_new: np.ndarray, h: np.ndarray) -> Callable:
        """States in the steps of some runs, as a function of indices (k,) and log times (k,)."""
        used, part, (members,) = self.method, _part(self.work, which), which.shape
        evaluate(self.field, used, part, h, used.last + 1, len(used.weights))
        self.found.nfev[self.runs[which]] += len(used.weights) - used.last - 1
        phi, series = _by_run(part.phi), np.empty((members, 2, used.samples.size))
        for i in range(members):
            fit(phi[i], used, series[i])
        stages = host(part.states[: used.stages + START + 1])

        def sample(i: np.ndarray, x: np.ndarray) -> np.ndarray:
            weights, y = np.empty((1, used.stages)), np.empty((len(i), stages.shape[2]))
            for row, place in enumerate(i):
                _weights_of_rows(
                    x[row : row + 1], log_t[place], log_t_new[place], series[place], used, part.scratch, weights
                )
                y[row] = stages[used.stages + START, place] + h[place] * (weights[0] @ stages[: used.stages, place])
            return y

        return sample

    def move(self, accepted: np.ndarray) -> None:
        """Advance to the ends of the accepted steps."""
        states, phi, n, last = self.work.states, self.work.phi, self.method.stages, self.method.last
        which = slice(None) if accepted.all() else np.flatnonzero(accepted)
        self.start[which], states[0][which] = states[n + NEW][which], states[last][which]
        phi[:, 0, which] = phi[:, last, which]

    def _sizes(self) -> np.ndarray:
        """(2, m) norms of the two error estimates."""
        n, last, states, sizes = self.method.stages, self.method.last, self.work.states, []
        for weights in self.method.estimates:
            self.field.combine(states[n + ZERO], self.h, weights, states, last + 1, states[n + ERROR])
            sizes.append(self.field.norm(states[n + ERROR], states[n + NEW], states[last], self.rtol, self.atol))
        return np.array(sizes)

    def _defects(self, work: Work, h: np.ndarray) -> np.ndarray:
        """(m,) defects as in `loops._defect_compiled`."""
        n, states = self.method.stages, work.states
        self.field.combine(states[n + ERROR], np.full(len(h), -1.0), self.method.slope, states, n, states[n + PROBE])
        sizes = self.field.norm(states[n + PROBE], states[n + NEW], states[self.method.last], self.rtol, self.atol)
        return DEFECT_SHARE * h * sizes

    def _write_rows(self, i: int, states, series: np.ndarray, log_t: float, log_t_new: float, h: float) -> None:
        """Write the rows of a run within its step."""
        first, end = self.row[i], np.searchsorted(self.wanted, log_t_new, "right")
        if end <= first:
            return
        n, weights = self.method.stages, np.empty((end - first, self.method.stages))
        _weights_of_rows(self.wanted[first:end], log_t, log_t_new, series, self.method, self.work.scratch, weights)
        stages = host(states[: n + START + 1])
        self.found.y[self.runs[i], first:end] = stages[n + START] + h * (weights @ stages[:n])
        self.row[i] = end


def _by_run(phi) -> np.ndarray:
    """(m, 2, P) phi and a of each run, on the host."""
    return np.ascontiguousarray(host(phi).transpose(2, 0, 1))


def _part(work: Work, which: np.ndarray) -> Work:
    """Copy of some of the runs."""
    rows, _, size = work.states.shape
    states = work.states[:, which].reshape(-1).reshape(rows, len(which), size)  # indexing may return any memory order
    return Work(states, work.phi[:, :, which], work.series[: len(which)], work.scratch)


def advance_stacked(
    field, origins: np.ndarray, wanted: np.ndarray, rtol: float, atol: float, most: int, name: str = DEFAULT, *,
    leaves: Callable[[int, int, np.ndarray, float, float], bool], stopped: Callable[[], bool],
    crosses: Crosses | None = None,
) -> tuple[Found, Places]:  # fmt: skip
    """Integrate runs from t = 0 to the last wanted time.

    Parameters
    ----------
    field, origins, wanted, rtol, atol, name, crosses
        As in `Stack`.
    most : int
        Attempted steps after which a run fails.
    leaves : callable
        Whether a run leaves the stack, as a function of its index, steps, state (N,), log t and step size.
    stopped : callable
        Whether to stop.

    Returns
    -------
    Found, Places
        A run that did not reach the end has the outcome RUNNING or CHANGED and must be continued.
    """
    stack = Stack(field, origins, wanted, rtol, atol, name, crosses)
    while stack.size and not stopped():
        accepted, before, stops = stack.step()
        work, runs, found = stack.work, stack.runs, stack.found
        outcomes = np.full(stack.size, Outcome.RUNNING)
        resting = field.events(work.states[stack.method.stages + NEW], work.states[stack.method.last], rtol)
        outcomes[accepted & (resting == Event.REST)] = Outcome.CHANGED
        outcomes[accepted & (stack.log_t >= wanted[-1])] = Outcome.REACHED
        outcomes[stops] = Outcome.STOPPED
        stack.move(accepted)
        spent = (found.nsteps[runs] + found.nrejected[runs] >= most) | (stack.h < SMALLEST_STEP) | before
        for i in np.flatnonzero(accepted & (outcomes == Outcome.RUNNING) & ~spent):
            state = stack.start[i]
            spent[i] = leaves(runs[i], found.nsteps[runs[i]], state, stack.log_t[i], stack.h[i])
        stack.keep((outcomes == Outcome.RUNNING) & ~spent, outcomes)
    return stack.found, stack.left
