"""`integrate_many`: many independent runs of one flow, in compiled loops on several threads."""

from __future__ import annotations

import contextlib
import functools
import math
import os
import threading
from collections.abc import Sequence
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from typing import Any, cast

import numpy as np
from numpy.typing import ArrayLike

from ._arrays import host
from ._checks import checked_choice, checked_integer, checked_number
from ._ensemble import Ensemble
from ._field import CompiledField
from ._integrate import Method, Until, _span
from ._many_events import Search
from ._rows import Rows
from ._run import Run, is_looked_at, progress_bar, steps_unwatched
from .flow import Flow
from .kernels import compiling, settings
from .kernels.lanes import LANES
from .solve import DEFAULT, TABLEAUS, Found, Lanes, Members, Outcome, Stepper, advance_stacked
from .solve.stability import LARGEST, Response
from .trajectory import Resume, Times, trajectory_type

CHUNK, LEAST = 2048, 256  # largest and smallest number of runs per task of a thread
KNOT_NUMBERS = 2**20  # numbers stored for the steps of one run in a compiled loop
MOST_SERIES = 256  # steps by Taylor series; stability limits longer runs, where series are no better
STACK_NUMBERS = 2**22  # numbers of work space and rows of a stack of runs on arrays


def integrate_many(
    flow: Flow[Any],
    starts: Any,
    t_end: float | None = None,
    *,
    log_t_end: float | None = None,
    t_eval: ArrayLike | None = None,
    log_t_eval: ArrayLike | None = None,
    observables: Sequence[str] = ("singular_values", "loss"),
    until: Until | Sequence[Until] | None = None,
    rtol: float = 1e-9,
    atol: float = 0.0,
    max_steps: int = 1_000_000,
    closed_form: bool = True,
    method: Method = DEFAULT,
    threads: int | None = None,
    progress: bool = False,
) -> Ensemble:
    """Integrate a flow from many starts, each with its own clock, steps and end [ceflow].

    Only rows of selected observables are stored, so that a million runs fit in memory. A failed run does not affect the
    others. Results do not depend on the other runs, their order, or the number of threads: to the last bit, or to
    rounding for a MatrixFlow on PyTorch. An interrupt (Ctrl-C) returns the finished runs; the others have the status
    ``Outcome.INTERRUPTED``.

    Parameters
    ----------
    flow : Flow
    starts : (m, ...) array or sequence
        m >= 1 starts as for `integrate`: singular values (m, D), layers (m, depth, D), or a sequence of starts. For a
        MatrixFlow also a tuple of factors with a leading axis, as from `random_init` with ``batch=m``.
    t_end, log_t_end, t_eval, log_t_eval, rtol, atol, max_steps, closed_form, method
        As in `integrate`. Without `t_eval` the only row is the last one.
    observables : sequence of str
        Names from ``Trajectory.observables`` of this flow, to be stored in `Ensemble.data`.
    until : Event, callable, or a list of them, optional
        As in `integrate`. The only row is then the end of each run, at its own time; rows of `t_eval` are NaN after it.
    threads : int, optional
        Number of threads; default all cores available to the process. Compiled loops run in parallel. Other parts of a
        run (events, closed forms, implicit steps) run one at a time, except for their linear algebra.
    progress : bool
        Show a progress bar.

    Returns
    -------
    Ensemble

    Raises
    ------
    ValueError, TypeError
        If an argument is invalid; the message names it.

    Notes
    -----
    Each run equals that of ``integrate(..., dense_output=False, compiled=True)``, to the bit, with two exceptions.
    Cross-entropy on two balanced layers without decay, with the default method and atol=0, uses Taylor series for 16
    runs at once in vector registers [ceflow]. They meet the same tolerance in fewer steps; a step counts one evaluation
    per coefficient of the series. Runs of other flows than a SpectralFlow with starts of equal shapes are integrated
    together on arrays, with the same steps to rounding. Times of events agree to rounding, or in Taylor series to the
    tolerance of the states. Functions of events are called with rows of several runs; they must treat each row by
    itself. Runs are interpreted if ``ceflow.settings.compiled`` is False.

    Examples
    --------
    >>> starts = np.random.default_rng(0).uniform(1e-3, 1e-2, (3, 3))
    >>> flow, times = cf.SpectralFlow(cf.hadamard(4)), [1e2, 1e3, 1e4]
    >>> runs = cf.integrate_many(flow, starts, t_eval=times, observables=("lyapunov",), rtol=1e-6)
    >>> runs.lyapunov.round(4)  # a row for each start
    array([[0.0116, 0.0038, 0.0013],
           [0.0519, 0.0243, 0.0119],
           [0.0002, 0.    , 0.    ]])
    """
    if not isinstance(flow, Flow):
        raise TypeError(f"flow must be a SpectralFlow or a MatrixFlow, got {type(flow).__name__}")
    starts = _starts(flow, starts)
    options = {
        "rtol": checked_number("rtol", rtol, 1e-13, 0.1),
        "atol": checked_number("atol", atol, 0.0, 1e300),
        "closed_form": bool(closed_form),
        "method": checked_choice("method", method, TABLEAUS),
    }
    span = _span(t_end, log_t_end, t_eval, log_t_eval, until, max_steps)
    threads = len(_cores()) if threads is None else checked_integer("threads", threads, 1, 1024)
    with _compiling():
        runs = _Runs(flow, starts, options, span, _observables(flow, observables))
        runs.go(threads, progress)
    return runs.ensemble


def _compiling() -> compiling:
    """Compile, unless the settings exclude it."""
    return compiling(settings.compiled is not False)


def _cores() -> set[int]:
    with contextlib.suppress(AttributeError):  # not on all systems
        return os.sched_getaffinity(0)
    return set(range(os.cpu_count() or 1))


def _starts(flow: Flow[Any], starts: Any) -> Any:
    """Check several starts; one array if all are arrays of one shape, else a list."""
    if isinstance(starts, tuple) and flow.kind == "matrix":
        parts = [np.asarray(part) for part in starts]
        if len({part.shape[:1] for part in parts}) != 1 or parts[0].ndim < 2:
            raise ValueError("starts must be factors with one leading axis, or a sequence of starts")
        starts = list(zip(*parts, strict=True))
    if (isinstance(starts, np.ndarray) and starts.ndim == 0) or not hasattr(starts, "__len__"):
        raise TypeError(f"starts must be an array of starts or a sequence of them, got {type(starts).__name__}")
    if not len(starts):
        raise ValueError("starts must not be empty")
    return flow.starts(starts)


def _observables(flow: Flow, names: Sequence[str]) -> tuple[str, ...]:
    known = trajectory_type(flow).observables
    if isinstance(names, str) or not all(isinstance(name, str) for name in names):
        raise TypeError(f"observables must be a sequence of names, got {names!r}")
    for name in names:
        if checked_choice("observables", name, known) and known[name].why_not(flow):
            raise ValueError(f"observables must exist for the flow, got {name!r}: {known[name].why_not(flow)}")
    return tuple(dict.fromkeys(names))


class _Runs:
    """State of the runs of one call.

    Parameters
    ----------
    flow : Flow
    starts : array or list
        Checked starts.
    options, span : dict
        Options of a `Run`.
    names : tuple of str
        Observables.
    """

    def __init__(self, flow: Flow[Any], starts: Any, options: dict, span: dict, names: tuple[str, ...]) -> None:
        self.flow, self.starts, self.options, self.span = flow, starts, options, span
        own = span["rows"] is None and span["events"]  # the only row of each run is at its own last time
        rows = None if own else span["end"] if span["rows"] is None else span["rows"]
        self.rows: Times | None = rows
        self.wanted = cast(Any, None if rows is None else rows.log_t)
        self.stopped, self.tell = threading.Event(), lambda count: None  # reports the number of finished runs
        self.times = span["end"].log_t if own else self.wanted  # of the rows, or the end, in loops of many runs
        self.together = self.times[-1] == span["end"].log_t[0]  # otherwise the end is beyond the rows
        self.own = own
        members, count = Ensemble.room(len(starts)), 1 if rows is None else len(rows)
        data, self.by_rows = {}, Rows(flow, starts, names)
        with compiling(False):  # only to determine shapes, from one state
            at_first = self.by_rows.trajectory(0, np.full(1, -np.inf), flow.origin(starts[0])[None])
            for part, value in self.by_rows.observables(at_first):
                data[part] = np.full((len(starts), count, *value.shape[1:]), np.nan)
        common = {name: options[name] for name in ("rtol", "atol")} | {
            "max_steps": span["max_steps"], "events": tuple(map(str, span["events"]))
        }  # fmt: skip
        self.ensemble = Ensemble(flow, starts, self.wanted, data, members, **common)

    # -- on threads ----------------------------------------------------------------------------------------------------

    def go(self, threads: int, progress: bool) -> None:
        """Carry out all runs, or until an interrupt."""
        members = len(self.starts)
        size = CHUNK if threads == 1 else min(CHUNK, max(LEAST, LANES * math.ceil(members / (4 * threads * LANES))))
        with progress_bar(progress, members, "run") as bar, ThreadPoolExecutor(threads) as pool:
            self.tell = bar.update if progress else self.tell
            left = {pool.submit(self._chunk, first, min(first + size, members)) for first in range(0, members, size)}
            try:
                while left:
                    done, left = wait(left, return_when=FIRST_COMPLETED)
                    for one in done:
                        one.result()
            except BaseException as error:
                self.stopped.set()
                pool.shutdown(wait=True, cancel_futures=True)
                if not isinstance(error, KeyboardInterrupt):
                    raise
                status = self.ensemble.status
                status[status == Outcome.RUNNING] = Outcome.INTERRUPTED

    def _chunk(self, first: int, end: int) -> None:
        """Carry out the runs first..end-1."""
        left = np.arange(first, end)
        with _compiling():  # a new thread does not inherit it
            if self.together and hasattr(self.flow, "stacked"):
                left = self._in_stacks(left)
            elif self.together:
                left = self._compiled(self._in_lanes(left))
            for i in left:
                if self.stopped.is_set():
                    break
                self._alone(int(i))

    # -- integration ---------------------------------------------------------------------------------------------------

    def _steps(self, size: int) -> int:
        """Number of steps of a run in a compiled loop; later steps may be implicit."""
        return min(steps_unwatched(size), max(KNOT_NUMBERS // size, 1))

    def _in_lanes(self, members: np.ndarray) -> np.ndarray:
        """Integrate runs in vectors, if the flow supports it; return the members that are left."""
        left = np.full(len(members), True)
        usual = self.options["atol"] == 0.0 and self.options["method"] == DEFAULT
        if usual and hasattr(self.flow, "side_by_side") and isinstance(self.starts, np.ndarray):
            starts = self.starts[members]
            for which, lanes in self.flow.side_by_side(starts, self.options["closed_form"]):
                size = starts.shape[1]
                walk, steps = Lanes(lanes, size, self.options["rtol"]), min(self._steps(size), MOST_SERIES)
                left[which] = self._walk(members[which], walk, steps)
        return members[left]

    def _compiled(self, members: np.ndarray) -> np.ndarray:
        """Integrate runs of compiled fields one after another in a compiled loop; return the members that are left."""
        kinds: dict[tuple, list[tuple[int, CompiledField, np.ndarray]]] = {}
        left = []
        for i in members:
            start = self.starts[i]
            y, o = self.flow.origin(start), self.options
            try:
                field = self.flow.motion(start, y, -math.inf, o["rtol"], o["atol"], o["closed_form"])
            except RuntimeError:  # no unique continuation: `_alone` stores it
                field = None
            if not isinstance(field, CompiledField):
                left.append(i)
                continue
            f = field.functions
            kind = (*f[:3], f.data.size, f.layout.size, f.scratch.size, field.has_equilibria, field.size)
            kinds.setdefault(kind, []).append((i, field, y))
        for runs in kinds.values():
            which, fields, origins = zip(*runs, strict=True)
            o, chosen = self.options, np.array(which)
            walk = Members(fields, np.array(origins), o["rtol"], o["atol"], o["method"])
            left.extend(chosen[self._walk(chosen, walk, self._steps(fields[0].size))])
        return np.sort(np.array(left, np.int64))

    def _walk(self, members: np.ndarray, walk: Lanes | Members, steps: int) -> np.ndarray:
        """Carry out runs of a compiled loop and store those it finishes; return which are left."""
        if self.stopped.is_set():
            return np.full(len(members), False)
        most, search = self.span["max_steps"], self._search(members, walk.places.y)
        if search is not None:
            found = search.seek(walk, self.times, steps, most, self.stopped.is_set, self.own)
        else:
            wanted, limits = np.tile(self.times, (len(members), 1)), np.full(len(members), most)
            found, _ = walk.advance(slice(None), wanted, steps, limits)
        return ~self._keep(members, found, search)

    def _search(self, members: np.ndarray, origins: np.ndarray) -> Search | None:
        """Search for the events of some runs, if there are any."""
        events = self.span["events"]
        return Search(events, functools.partial(self.by_rows.numbers, members), origins) if events else None

    def _in_stacks(self, members: np.ndarray) -> np.ndarray:
        """Integrate runs that are alike together on arrays; return the members that are left at their starts."""
        flow, left, kinds = cast(Any, self.flow), list[int](), dict[Any, list[int]]()
        for i in members:
            kinds.setdefault(flow.alike(self.starts[i]), []).append(i)
        for kind, runs in kinds.items():
            arrays = Stepper.arrays(self.options["method"]) + len(self.times)
            most = max(1, STACK_NUMBERS // (arrays * flow.origin(self.starts[runs[0]]).size))
            for first in range(0, len(runs), most):
                chosen = np.array(runs[first : first + most])
                if kind is None:
                    left.extend(chosen)
                elif not self.stopped.is_set():
                    self._in_a_stack(chosen)
        return np.sort(np.array(left, np.int64))

    def _in_a_stack(self, members: np.ndarray) -> None:
        """Integrate runs together on arrays, then finish each run by itself if necessary."""
        flow, o, starts = self.flow, self.options, [self.starts[i] for i in members]
        origins = np.array([flow.origin(start) for start in starts])
        search = self._search(members, origins)

        def leaves(member: int, taken: int, y, log_t: float, h: float) -> bool:
            asked = is_looked_at(int(taken)) and len(y) <= LARGEST and log_t > -math.inf
            y = host(y) if asked else y
            return asked and Response(flow.motion(starts[member], y, log_t, o["rtol"], o["atol"]), y).is_stiff(h)

        flow.motion(starts[0], origins[0], -math.inf, o["rtol"], o["atol"])  # raises errors for invalid options
        field = cast(Any, flow).stacked(starts[0], len(starts))
        found, where = advance_stacked(
            field, origins, self.times, o["rtol"], o["atol"], self.span["max_steps"], o["method"], leaves=leaves,
            stopped=self.stopped.is_set, crosses=None if search is None else search.crosses,
        )  # fmt: skip
        if search is not None:
            search.finish(found, self.times, self.own)
        for place in np.flatnonzero(~self._keep(members, found, search)):
            if self.stopped.is_set():
                break
            rows = ~np.isnan(found.y[place, :, 0])
            at = Resume(where.state[place], where.y[place], None, {}, o["method"], int(found.nsteps[place]))
            counts = {name: int(getattr(found, name)[place]) for name in ("nsteps", "nrejected", "nfev")}
            self._alone(int(members[place]), at=at, known=(self.times[rows], found.y[place, rows]), counts=counts)

    def _alone(self, i: int, **taken_on) -> None:
        """Integrate one run exactly as `integrate` does, or continue it."""
        span = self.span | {"rows": self.rows}
        run = Run(self.flow, self.starts[i], **self.options, dense_output=False, **span)
        if taken_on:
            run.take_on(**taken_on)
        try:
            run.go()
        except RuntimeError:  # the flow has no unique continuation
            run._fail(Outcome.FAILED, run.at.state[0])
        trajectory, members = run.trajectory(), self.ensemble._members
        members["event"][i] = -1 if trajectory.event is None else trajectory.event
        for name in ("log_t_end", "nsteps", "nrejected", "nfev"):
            members[name][i] = getattr(trajectory, name)
        if self.wanted is None:
            trajectory = trajectory[-1:]
        else:
            trajectory = trajectory[np.isin(trajectory.log_t, self.wanted)]
        if len(trajectory):
            for part, value in self.by_rows.observables(trajectory):
                self.ensemble.data[part][i, : len(value)] = value
        members["status"][i] = run.outcome  # last, so that an interrupted member does not count as finished
        self.tell(1)

    # -- storage -------------------------------------------------------------------------------------------------------

    def _keep(self, which: np.ndarray, found: Found, search: Search | None = None) -> np.ndarray:
        """Store the finished runs; return which are."""
        done = np.isin(found.outcome, (Outcome.REACHED, Outcome.STOPPED))
        members, kept, y = self.ensemble._members, which[done], found.y[done]
        for name in ("nsteps", "nrejected", "nfev"):
            members[name][kept] = getattr(found, name)[done]
        members["log_t_end"][kept] = self.times[-1]
        if search is not None:
            stopped = found.outcome == Outcome.STOPPED
            members["event"][which], members["log_t_end"][which[stopped]] = search.event, search.log_t[stopped]
        place, row = np.nonzero(~np.isnan(y[..., 0]))
        log_t = members["log_t_end"][kept[place]] if self.own else self.times[row]
        for some, parts in self.by_rows.values(self.by_rows.observables, kept[place], log_t, y[place, row]):
            for part, value in parts:
                self.ensemble.data[part][kept[place[some]], row[some]] = value
        members["status"][kept] = found.outcome[done]  # last, so that an interrupted member does not count as finished
        self.tell(len(kept))
        return done
