"""`integrate_many`: many runs of one flow, each with its own clock, in compiled loops and on several threads."""

from __future__ import annotations

import contextlib
import math
import os
import threading
from collections.abc import Sequence
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from typing import Any, cast

import numpy as np
from numpy.typing import ArrayLike

from ._checks import checked_choice, checked_integer, checked_number
from ._ensemble import Ensemble
from ._field import CompiledField
from ._integrate import Method, Until, _span
from ._run import Run, steps_unwatched
from .flow import Flow, SpectralFlow
from .kernels import compiling, settings
from .kernels.lanes import LANES
from .solve import DEFAULT, TABLEAUS, Found, Outcome, advance_lanes, advance_members
from .trajectory import Times, Trajectory, trajectory_type

CHUNK, LEAST = 2048, 128  # runs that a thread takes at a time, at most, and at least if there are so many
KNOT_NUMBERS = 2**20  # of the steps of one run, that a compiled loop keeps
# Observables of modes that follow from singular values alone: those of many runs are made at once.
_OF_SINGULAR_VALUES = {
    "singular_values", "margins", "margin", "loss", "log_loss", "accuracy_gap", "log_accuracy_gap", "lyapunov",
    "dissipation",
}  # fmt: skip


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
    """Integrate a flow from many starts, each by itself: its own clock, its own steps, its own end [ceflow].

    Of every run only rows of some observables are kept, so that a million of runs fit in memory. A run that fails stops
    no other. What comes back depends on no other run, on no number of threads and on no order, to the last bit. An
    interrupt (Ctrl-C) returns what is done; the other runs have the status ``Outcome.INTERRUPTED``.

    Parameters
    ----------
    flow : Flow
    starts : (m, ...) array or sequence
        Starts as for `integrate`, m >= 1 of them: (m, D) singular values, (m, depth, D) layers, or a sequence of
        whatever the flow starts from. For a MatrixFlow also a tuple of factors with a leading axis, as `random_init`
        makes them with ``batch=m``.
    t_end, log_t_end, t_eval, log_t_eval, rtol, atol, max_steps, closed_form, method
        As for `integrate`. Without `t_eval` the only row is the last one.
    observables : sequence of str
        Names out of ``Trajectory.observables`` of this flow, which become those of `Ensemble.data`.
    until : Event, callable, or a list of them, optional
        As for `integrate`. The only row is then where each run stopped or ended, at a time of its own; rows of `t_eval`
        are NaN after that time.
    threads : int, optional
        All cores that the process may use, when left out. Compiled loops run on them side by side; what a run needs
        besides (`until`, closed forms, implicit steps) takes turns, but for the linear algebra in it.
    progress : bool
        Show a progress bar.

    Returns
    -------
    Ensemble

    Raises
    ------
    ValueError, TypeError
        If an argument is not acceptable; the message names it.

    Notes
    -----
    Each run is that of `integrate` with ``dense_output=False``, to the bit, but for cross-entropy on two balanced
    layers without decay and absolute tolerance. There eight runs go side by side, in the lanes of vectors, with the
    same steps and other rounding: singular values agree to a relative 1e-12, or 1e-4 rtol where that is more. All runs
    are compiled, unless ``ceflow.settings.compiled`` is False: to the bit they are those of ``integrate(...,
    compiled=True)``.
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
    """Many runs are what compiling pays for, but for those who want none of it."""
    return compiling(settings.compiled is not False)


def _cores() -> set[int]:
    with contextlib.suppress(AttributeError):  # not everywhere
        return os.sched_getaffinity(0)
    return set(range(os.cpu_count() or 1))


def _starts(flow: Flow[Any], starts: Any) -> Any:
    """The starts, checked: as one array if each of them is one of the same shape, else as a list."""
    if isinstance(starts, tuple) and flow.kind == "matrix":
        parts = [np.asarray(part) for part in starts]
        if len({part.shape[:1] for part in parts}) != 1 or parts[0].ndim < 2:
            raise ValueError("starts must be factors with one leading axis, or a sequence of starts")
        starts = list(zip(*parts, strict=True))
    if (isinstance(starts, np.ndarray) and starts.ndim == 0) or not hasattr(starts, "__len__"):
        raise TypeError(f"starts must be an array of starts or a sequence of them, got {type(starts).__name__}")
    if not len(starts):
        raise ValueError("starts must be one or more, got none")
    return flow.starts(starts)


def _observables(flow: Flow, names: Sequence[str]) -> tuple[str, ...]:
    known = trajectory_type(flow).observables
    if isinstance(names, str) or not all(isinstance(name, str) for name in names):
        raise TypeError(f"observables must be a sequence of names, got {names!r}")
    for name in names:
        if checked_choice("observables", name, known) and known[name].why_not(flow):
            raise ValueError(f"observables must be those of the flow, got {name!r}: {known[name].why_not(flow)}")
    return tuple(dict.fromkeys(names))


class _Runs:
    """The runs, before and while they go.

    Parameters
    ----------
    flow : Flow
    starts : array or list
        Checked.
    options, span : dict
        Of a `Run`.
    names : tuple of str
        Observables.
    """

    def __init__(self, flow: Flow[Any], starts: Any, options: dict, span: dict, names: tuple[str, ...]) -> None:
        self.flow, self.starts, self.options, self.names, self.span = flow, starts, options, names, span
        own = span["rows"] is None and span["events"]  # each run has its own last time, and a row there
        rows = None if own else span["end"] if span["rows"] is None else span["rows"]
        self.rows: Times | None = rows
        self.wanted = cast(Any, None if rows is None else rows.log_t)
        self.stopped = threading.Event()
        # the last time is not that of the last row only where `until` is given, or the end is beyond the rows
        self.compiled = not span["events"] and self.wanted[-1] == span["end"].log_t[0]
        members, count = Ensemble.room(len(starts)), 1 if rows is None else len(rows)
        data, table = {}, trajectory_type(flow).observables
        for part, value in self._parts(self._trajectory(0, np.full(1, -np.inf), flow.origin(starts[0])[None])):
            data[part] = np.full((len(starts), count, *value.shape[1:]), np.nan)
        self.at_once = flow.kind == "spectral" and isinstance(starts, np.ndarray) and starts.ndim == 2
        self.at_once = self.at_once and set(names) <= _OF_SINGULAR_VALUES and set(names) <= set(table)
        common = {name: options[name] for name in ("rtol", "atol")} | {
            name: span[name] for name in ("max_steps", "events")
        }
        self.ensemble = Ensemble(flow, starts, self.wanted, data, members, **common)

    # -- on threads ----------------------------------------------------------------------------------------------------

    def go(self, threads: int, progress: bool) -> None:
        """Makes all runs, or as many as there are before an interrupt."""
        members = len(self.starts)
        size = CHUNK if threads == 1 else min(CHUNK, max(LEAST, LANES * math.ceil(members / (4 * threads * LANES))))
        with _bar(members) if progress else contextlib.nullcontext() as bar, ThreadPoolExecutor(threads) as pool:
            left = {pool.submit(self._chunk, first, min(first + size, members)) for first in range(0, members, size)}
            try:
                while left:
                    done, left = wait(left, return_when=FIRST_COMPLETED)
                    for one in done:
                        count = one.result()
                        if bar is not None:
                            bar.update(count)
            except BaseException as error:
                self.stopped.set()
                pool.shutdown(wait=True, cancel_futures=True)
                if not isinstance(error, KeyboardInterrupt):
                    raise
                status = self.ensemble.status
                status[status == Outcome.RUNNING] = Outcome.INTERRUPTED

    def _chunk(self, first: int, end: int) -> int:
        """Makes the runs first..end-1, and returns how many that are."""
        left = np.arange(first, end)
        with _compiling():  # which a thread does not know from that which made it
            if self.compiled:
                left = self._compiled(self._in_lanes(left))
            for i in left:
                if self.stopped.is_set():
                    break
                self._alone(int(i))
        return end - first

    # -- three ways to make runs ---------------------------------------------------------------------------------------

    def _steps(self, size: int) -> int:
        """How many steps a compiled loop takes of a run; later ones may be implicit."""
        return min(steps_unwatched(size), max(KNOT_NUMBERS // size, 1))

    def _in_lanes(self, members: np.ndarray) -> np.ndarray:
        """Makes runs side by side, where the flow can; returns which are left."""
        left = [members]
        if self.options["atol"] == 0.0 and hasattr(self.flow, "side_by_side") and isinstance(self.starts, np.ndarray):
            starts = self.starts[members]
            fields = self.flow.side_by_side(starts, self.options["closed_form"])
            left = [members] if not fields else []
            for which, lanes in fields:
                if self.stopped.is_set():
                    return members[:0]
                size, chosen = starts.shape[1], members[which]
                found = advance_lanes(
                    lanes, size, self.wanted, self.options["rtol"], self._steps(size), self.span["max_steps"],
                    self.options["method"],
                )  # fmt: skip
                left.append(self._keep(chosen, found))
            taken = np.concatenate([which for which, _ in fields]) if fields else np.zeros(0, np.int64)
            left.append(np.delete(members, taken) if fields else members[:0])
        return np.sort(np.concatenate(left))

    def _compiled(self, members: np.ndarray) -> np.ndarray:
        """Makes runs of compiled fields one after another in a compiled loop; returns which are left."""
        kinds: dict[tuple, list[tuple[int, CompiledField, np.ndarray]]] = {}
        left = []
        for i in members:
            start = self.starts[i]
            y, o = self.flow.origin(start), self.options
            field = self.flow.motion(start, y, -math.inf, o["rtol"], o["atol"], o["closed_form"])
            if not isinstance(field, CompiledField):
                left.append(i)
                continue
            f = field.functions
            kind = (*f[:3], f.data.size, f.layout.size, f.scratch.size, field.has_equilibria, field.size)
            kinds.setdefault(kind, []).append((i, field, y))
        for runs in kinds.values():
            which, fields, origins = zip(*runs, strict=True)
            found = advance_members(
                fields, np.array(origins), self.wanted, self.options["rtol"], self.options["atol"],
                self._steps(fields[0].size), self.span["max_steps"], self.options["method"],
            )  # fmt: skip
            left.extend(self._keep(np.array(which), found))
        return np.sort(np.array(left, np.int64))

    def _alone(self, i: int) -> None:
        """Makes one run, in every detail as `integrate` does."""
        span = self.span | {"rows": self.rows}
        run = Run(self.flow, self.starts[i], **self.options, dense_output=False, **span)
        run.go()
        trajectory, members = run.trajectory(), self.ensemble._members
        members["event"][i] = -1 if trajectory.event is None else trajectory.event
        for name in ("log_t_end", "nsteps", "nrejected", "nfev"):
            members[name][i] = getattr(trajectory, name)
        if self.wanted is None:
            trajectory = trajectory[-1:]
        else:
            trajectory = trajectory[np.isin(trajectory.log_t, self.wanted)]
        if len(trajectory):
            for part, value in self._parts(trajectory):
                self.ensemble.data[part][i, : len(value)] = value
        members["status"][i] = run.outcome  # last: an interrupt must not find it done

    # -- what is kept --------------------------------------------------------------------------------------------------

    def _keep(self, which: np.ndarray, found: Found) -> np.ndarray:
        """Keeps those of the runs that got to the end; returns which did not."""
        done = found.outcome == Outcome.REACHED
        members, kept, y = self.ensemble._members, which[done], found.y[done]
        if len(kept):
            for name in ("nsteps", "nrejected", "nfev"):
                members[name][kept] = getattr(found, name)[done]
            members["log_t_end"][kept] = self.wanted[-1]
            if self.at_once:
                run = self._trajectory_of_many(kept, y)
                for part, value in self._parts(run):
                    self.ensemble.data[part][kept] = value.reshape(y.shape[:2] + value.shape[1:])
            else:
                for i, rows in zip(kept, y, strict=True):
                    for part, value in self._parts(self._trajectory(i, self.wanted, rows)):
                        self.ensemble.data[part][i] = value
            members["status"][kept] = Outcome.REACHED
        return which[~done]

    def _trajectory(self, i: int, log_t: np.ndarray, y: np.ndarray) -> Trajectory:
        return trajectory_type(self.flow)(self.flow, self.starts[i], log_t, y)

    def _trajectory_of_many(self, which: np.ndarray, y: np.ndarray) -> Trajectory:
        """The rows of many runs as one trajectory, of which singular values are known, and what follows from them."""
        s = cast(SpectralFlow, self.flow).singular_values_of(self.starts[which], y)
        run = trajectory_type(self.flow)(self.flow, None, np.tile(self.wanted, len(which)), y.reshape(-1, y.shape[2]))
        vars(run)["singular_values"] = s.reshape(-1, s.shape[2])
        return run

    def _parts(self, run: Trajectory) -> list[tuple[str, np.ndarray]]:
        """The observables of a trajectory, those of several parts as these, by name."""
        found: list[tuple[str, np.ndarray]] = []
        for name in self.names:
            observable, value = run.observables[name], getattr(run, name)
            dims = observable.dims(self.flow) if callable(observable.dims) else observable.dims
            found += zip(dims, value, strict=True) if isinstance(dims, dict) else [(name, value)]
        return found


def _bar(members: int):
    from tqdm.auto import tqdm  # which is slow to import

    return tqdm(total=members, unit="run")
