"""Execution of a run: steps, closed forms, and collection of rows."""

from __future__ import annotations

import contextlib
import functools
import math
import time
from typing import TYPE_CHECKING, Any

import numpy as np

from ._arrays import host
from ._events import Watches
from ._field import CompiledField
from .kernels import compiled, compiling, settings
from .solve import IMPLICIT, Outcome, Path, Stepper, Steps, first_step, stepper
from .solve.controller import FIRST_STEP
from .trajectory import Resume, Trajectory, trajectory_type

if TYPE_CHECKING:
    from tqdm import tqdm

CHUNK_BYTES, CHUNK_STEPS = 2**25, 256  # states and steps per call of the compiled loop
FIRST_CHUNK = 32  # steps; each chunk is twice the one before
FIRST_LOOK = 96  # steps before the first test for stiffness
FEW = 32  # largest size of a compiled state for which this holds, see `_first_look`

LARGEST_INTERPRETED = 4096  # size of a state: runs of larger states are long, and compiled at once if possible


class Run:
    """One run of a flow.

    Parameters
    ---------
    flow : Flow
    start
        As returned by ``flow.start``.
    rtol, atol, closed_form, dense_output, method
        As in `ceflow.integrate`, checked.
    end : Times
        End of the run; infinite if only events end it.
    events : tuple of Event
    max_steps : int
    rows : Times, optional
        Times of the rows; default the solver's steps.
    before : Trajectory, optional
        The run to continue.
    compiled : bool, optional
        As in `ceflow.integrate`.
    """

    def __init__(
        self, flow, start, rtol, atol, closed_form, dense_output, method, end, events, max_steps, rows=None,
        before=None, compiled=None,
    ) -> None:  # fmt: skip
        self.flow, self.start, self.rtol, self.atol, self.method = flow, start, rtol, atol, method
        self.compiled, self.was_compiled = compiled, False
        self.max_steps, self.closed_form, self.dense_output = max_steps, closed_form, dense_output
        self.log_end, self.asked = float(end.log_t[0]), end if rows is None else rows
        self.wanted = None if rows is None else rows.log_t
        self.events, self.watches = events, Watches(events, flow, start) if events else None
        self.event: int | None = None
        self.checkpoint: str | None = None
        self.every, self.saved = math.inf, time.monotonic()
        self.outcome = Outcome.REACHED
        self.segments: list = []  # finished segments
        self.growing: list[Steps] = []
        self.again: Any = None  # the pieces of the unfinished segment, and its field
        self.known_to = -math.inf  # rows are complete up to here
        y = flow.origin(start)
        self.found = [(np.array([-math.inf]), y[None])]  # final rows: (log_t, y)
        self.nfev = self.nsteps = self.nrejected = 0
        self.at = Resume(np.array([-math.inf, 0.0, 0.0, FIRST_STEP, 1.0]), y, None, {}, method)
        if before is not None:
            self.at, self.known_to = before._resume, before.log_t_end
            self.nfev, self.nsteps, self.nrejected = before.nfev, before.nsteps, before.nrejected
            if before._path is not None:
                self.segments = [segment for segment in before._path.segments if segment.kind == Steps.kind]
            self.asked = before.times.followed_by(self.asked)
            if rows is None:
                self.found = [(before.log_t, before.y)]

    def take_on(self, at: Resume, known: tuple[np.ndarray, np.ndarray], counts: dict[str, int]) -> None:
        """Continue a run that another loop began, with its known rows and counts."""
        self.at, self.known_to = at, float(at.state[0])
        later = known[0] > -math.inf
        self.found.append((known[0][later], known[1][later]))
        for name, count in counts.items():
            setattr(self, name, count)

    # -- steps ---------------------------------------------------------------------------------------------------------

    def go(self, progress: bool = False) -> None:
        """Integrate to the end, or as far as possible."""
        large = self.at.y.size > LARGEST_INTERPRETED and isinstance(self.at.y, np.ndarray)
        chosen = self.compiled
        if chosen is None and (compiled() or (settings.compiled is None and large)):
            chosen = True  # final
        style = "{l_bar}{bar}| {postfix} [{elapsed}]"
        with progress_bar(progress, 100, "%", bar_format=style) as bar, compiling(chosen):
            try:
                self._go(bar)
            except self.flow.memory_errors as error:
                raise MemoryError(self._memory_message()) from error
            except KeyboardInterrupt:
                self._fail(Outcome.INTERRUPTED, self.at.state[0])
                self.found = [(log_t[log_t <= self.log_end], y[log_t <= self.log_end]) for log_t, y in self.found]
            self.was_compiled = compiled()

    def _go(self, bar: tqdm | None) -> None:
        y, state = self.at.y, self.at.state.copy()
        if self.at.tail is not None:  # the last step, which may extend beyond the former end
            first, log_first = self.at.tail[0][0], float(self.at.tail[2][0])
            tail = Steps(lambda: self._motion(first, log_first, closed_form=False), *self.at.tail, self.at.method)
            if self._collect(tail.log_t, tail) or tail.log_t[-1] >= self.log_end:
                return
        elif self.known_to == -math.inf and self._stops_at_once(-math.inf, y):
            return
        method = self.at.method
        while True:
            motion = self._motion(y, float(state[0]))
            if not hasattr(motion, "rates"):  # a closed form
                self._follow(motion)
                return
            state[1] = math.nan
            outcome, y = self._step(motion, method, y, state, bar)
            if outcome == Outcome.AT_REST:
                self._follow(self.flow.segment("rest", self.start, y, float(state[0])))
            if outcome == Outcome.STIFF:
                method = IMPLICIT
                state[3:] = first_step(motion, y, state), 1.0  # the last error has no meaning for the new steps
            elif outcome != Outcome.CHANGED or state[0] >= self.log_end:
                return

    def _motion(self, y: np.ndarray, log_t: float, closed_form: bool = True):
        return self.flow.motion(self.start, y, log_t, self.rtol, self.atol, self.closed_form and closed_form)

    def _step(
        self, field, method: str, y: np.ndarray, state: np.ndarray, bar: tqdm | None
    ) -> tuple[Outcome, np.ndarray]:
        """Integrate from y until the end, an event, or a change of the field or of the method.

        Return the outcome and the last state."""
        solver: Any = stepper(field, method)
        solver.begin(y)
        # for slow flows an interrupt loses at most one step
        most = max(1, min(CHUNK_STEPS, CHUNK_BYTES // (8 * y.size))) if solver.compiled else 1
        interpreted = isinstance(field, CompiledField) and not field.compiled
        self.again = functools.partial(  # without a reference to this run, because a path keeps it
            self.flow.motion, self.start, y, float(state[0]), self.rtol, self.atol, self.closed_form
        )
        first_look = _first_look(y.size) if isinstance(field, CompiledField) else FIRST_LOOK
        last = y  # the last step end, on the device of the flow
        taken, stopped, outcome = self.at.taken, False, Outcome.RUNNING
        while True:
            left, look = self.max_steps - self.nsteps - self.nrejected, _next_look(taken)
            if taken >= first_look and _next_look(taken - 1) == taken and solver.is_stiff(state):
                outcome = Outcome.STIFF
                break
            batch = solver.advance(state, min(most, look - taken), self.rtol, self.atol, self.log_end, left)
            n, h, log_t = len(batch.h), batch.h, batch.log_t
            self.nfev, self.nsteps = self.nfev + batch.evaluations, self.nsteps + n
            self.nrejected += batch.rejected
            states = host(batch.y) if self.dense_output else batch.y
            if self.dense_output:
                states[0] = host(last)  # in float32 the start is rounded
            known = states if isinstance(states, np.ndarray) else None
            segment = Steps(lambda: field, states, h, log_t, method)
            if n and log_t[-1] > self.log_end:
                segment.end = self.log_end, solver.sample_last(batch, self.log_end)
            stopped = n > 0 and self._collect(log_t, segment, known)
            if n:
                last, taken = states[-1], taken + n
                if self.dense_output:
                    self.growing.append(segment)
                if not stopped:  # else the run continues from before the event
                    self.at = Resume(state.copy(), last, (states[-2:], h[-1:], log_t[-2:]), {}, method, taken)
            self._show(bar, state[0])
            if self.checkpoint is not None and time.monotonic() - self.saved > self.every:
                self.trajectory(unfinished=True).save(self.checkpoint)
                self.saved = time.monotonic()
            outcome = batch.outcome
            if not stopped:
                outcome = solver.judged(outcome, state, self.rtol, self.atol)
            if outcome == Outcome.RUNNING and interpreted and compiled():
                outcome = Outcome.CHANGED
            if stopped or outcome != Outcome.RUNNING:
                break
        self.segments += Steps.joined(self.growing, self.again)
        self.growing = []
        if stopped:
            return Outcome.STOPPED, host(last)
        if outcome in (Outcome.STEPS_SPENT, Outcome.STEP_TOO_SMALL):
            self._fail(outcome, state[0])
        return outcome, host(solver.y)

    def _follow(self, segment) -> None:
        """Follow a closed form to the end."""
        grid = segment.grid(self.log_end)
        if math.isfinite(self.log_end):
            grid = np.append(grid, self.log_end)
        grid = grid[grid > self.known_to]
        self.segments.append(segment)
        self.at = Resume(np.array([segment.log_t, 0.0, 0.0, FIRST_STEP, 1.0]), segment.y, None, {})
        stopped = len(grid) > 0 and self._collect(np.append(segment.log_t, grid), Path([segment]))
        if math.isfinite(self.log_end):
            if not stopped and len(grid):
                self.outcome = Outcome.AT_REST if segment.kind == "rest" else Outcome.CLOSED_FORM
        elif self.outcome == Outcome.REACHED:
            self._fail(Outcome.UNMET, float(grid[-1]) if len(grid) else segment.log_t)

    def _fail(self, outcome: Outcome, log_t: float) -> None:
        self.outcome, self.log_end = outcome, float(log_t)
        if self.wanted is None and not self.dense_output and self.at.state[0] > self.known_to:
            self.found[1:] = [(self.at.state[:1].copy(), host(self.at.y)[None])]

    # -- rows ----------------------------------------------------------------------------------------------------------

    def _collect(self, log_t: np.ndarray, segment, states: np.ndarray | None = None) -> bool:
        """Collect the rows after ``log_t[0]`` from a new segment; states at log_t may be given. Return whether an event
        occurred."""
        if not self.watches and self.wanted is None and not self.dense_output:  # only the last row is needed
            if log_t[-1] >= self.log_end:
                last = np.array([self.log_end])
                self.found[1:] = [(last, segment.sample(last))]
            return False
        first, begin = log_t[0], 1  # some step ends may have equal times
        if self.known_to > first:
            first, begin = self.known_to, log_t.searchsorted(self.known_to, "right")
        end = log_t.searchsorted(self.log_end)
        reached = end < len(log_t)
        knots = slice(begin, max(begin, end) + reached)
        inside = log_t[knots]
        y: Any = None
        if not len(inside):
            return False
        if reached:
            inside = inside.copy()
            inside[-1] = self.log_end
        if self.watches and not self.watches.begun and self._stops_at_once(first, segment.sample(np.array([first]))[0]):
            return True
        if self.watches or self.wanted is None:
            y = segment.sample(inside) if states is None else host(states[knots])
            if reached and states is not None:
                y = y.copy()
                y[-1] = segment.sample(inside[-1:])[0]
        found = self.watches.look(first, inside, y, segment.sample) if self.watches else None
        if found is not None:  # the run ends exactly there
            self.outcome, (self.log_end, self.event) = Outcome.STOPPED, found
            inside = np.append(inside[inside < self.log_end], self.log_end)
            y = segment.sample(inside)
        if self.wanted is not None:
            inside = self.wanted[(self.wanted > first) & (self.wanted <= inside[-1])]
            if found is not None and self.log_end not in inside[-1:]:
                inside = np.append(inside, self.log_end)
            if len(inside):
                self.found.append((inside, segment.sample(inside)))
        elif self.dense_output:
            self.found.append((inside, y))
        else:
            self.found[1:] = [(inside[-1:], y[-1:])]
        return found is not None

    def _stops_at_once(self, log_t: float, y: np.ndarray) -> bool:
        """Whether an event occurs at the initial state y."""
        self.event = self.watches.begin(log_t, y) if self.watches else None
        if self.event is None:
            return False
        self.outcome, self.log_end, row = Outcome.STOPPED, log_t, (np.array([log_t]), y[None])
        if self.wanted is not None:
            self.found = [(np.empty(0), y[None][:0]), row]
        elif log_t not in self.found[-1][0]:
            self.found.append(row)
        return True

    # -- messages ------------------------------------------------------------------------------------------------------

    def trajectory(self, unfinished: bool = False) -> Trajectory:
        """Trajectory of the run so far."""
        found = self.found
        if self.wanted is not None:
            found = found if self.wanted[0] == -math.inf else found[1:]
            if not found:
                found = [(np.empty(0), np.empty((0, self.found[0][1].shape[1])))]
        log_t, y = np.concatenate([log_t for log_t, _ in found]), np.concatenate([y for _, y in found])
        if self.wanted is None:
            later = log_t[1:] > log_t[:-1]
            if np.count_nonzero(later) < len(later):  # keep the last of the states at equal times
                later = np.append(later, True)
                log_t, y = log_t[later], y[later]
        segments = self.segments + Steps.joined(self.growing, self.again)
        outcome, end = (Outcome.RUNNING, float(self.at.state[0])) if unfinished else (self.outcome, self.log_end)
        run = trajectory_type(self.flow)(
            self.flow,
            self.start,
            log_t,
            y,
            t=self.asked,
            path=Path(segments) if self.dense_output and segments else None,
            log_t_end=end,
            rtol=self.rtol,
            atol=self.atol,
            outcome=outcome,
            message=self._message(outcome, end),
            nfev=self.nfev,
            nsteps=self.nsteps,
            nrejected=self.nrejected,
            event=self.event,
            compiled=self.was_compiled,
        )
        tail = self.at.tail
        if tail is not None and not isinstance(tail[0], np.ndarray):
            tail = (host(tail[0]), *tail[1:])
        options = {
            "rtol": self.rtol, "atol": self.atol, "closed_form": self.closed_form, "dense_output": self.dense_output,
            "method": self.method,
        }  # fmt: skip
        if self.compiled is not None:
            options["compiled"] = self.compiled
        run._resume = Resume(self.at.state, host(self.at.y), tail, options, self.at.method, self.at.taken)
        return run

    def _message(self, outcome: Outcome, end: float) -> str:
        met = None if self.event is None else self.events[self.event]
        return outcome.explained(end, met, self.max_steps, self.rtol)

    def _show(self, bar: tqdm | None, log_t: float) -> None:
        if bar is None:
            return
        if math.isfinite(self.log_end):
            share = np.logaddexp(0.0, min(log_t, self.log_end)) / np.logaddexp(0.0, self.log_end)
            bar.n = round(100 * float(share), 1)
        bar.set_postfix_str(f"log10 t = {log_t / math.log(10):.4g}, {self.nsteps} steps")

    def _memory_message(self) -> str:
        size, item = self.found[0][1].shape[1], 4 if getattr(self.flow, "dtype", "float64") == "float32" else 8
        arrays = Stepper.arrays(self.method)
        where = getattr(self.flow, "device", None) or "this machine"
        advice = " and keep less with dense_output=False" if self.dense_output else ""
        return (
            f"out of memory: a state of {size} numbers takes {item * size * arrays / 2**30:.3g} GiB of working space "
            f"on {where}, in addition to stored rows; 1 GiB holds {2**30 / (item * arrays):.3g} numbers. Use fewer "
            f"classes or features{advice}."
        )


@functools.cache
def is_looked_at(taken: int) -> bool:
    """Whether to test a run on arrays for stiffness after this number of steps."""
    return taken >= FIRST_LOOK and _next_look(taken - 1) == taken


def steps_unwatched(size: int) -> int:
    """Number of steps of a compiled state before the first test for stiffness."""
    return _next_look(math.ceil(_first_look(size)) - 1)


def _first_look(size: int) -> float:
    """Steps of a compiled field of some size before the first test for stiffness.

    They cost about as much as the implicit steps of a run, so that a run costs at most twice that of the better method.
    An implicit step costs a few interpreted explicit steps, or a hundred compiled ones. For thousands of numbers this
    ratio grows like the square of the size.
    """
    ratio = max(1.0, size / FEW)
    return FIRST_LOOK * max(ratio**2, min(ratio**5, 40.0))


def _next_look(nsteps: int) -> int:
    """Number of steps at which the loop next returns to Python."""
    look = chunk = FIRST_CHUNK
    while look <= nsteps:
        chunk = min(2 * chunk, CHUNK_STEPS)
        look += chunk
    return look


def progress_bar(shown: bool, total: int, unit: str, **options):
    """Context manager of a tqdm bar, or of None."""
    if not shown:
        return contextlib.nullcontext()
    from tqdm.auto import tqdm  # slow to import

    return tqdm(total=total, unit=unit, **options)
