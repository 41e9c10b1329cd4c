"""`sweep`: from a grid of parameters and a rule for starts to a store of results."""

from __future__ import annotations

import hashlib
import importlib.util
import math
import os
import pickle
import uuid
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from .._checks import checked_array, checked_choice, checked_integer
from .._events import checked_events
from .._run import progress_bar
from ..flow import Flow
from ..solve import Outcome
from . import _store
from ._executors import carry_out, place_of
from ._grid import Block, Grid, labels
from ._problem import Problem, arrays_of, random_start, reduced_flow, text_of, without_floats

if TYPE_CHECKING:
    import xarray


def sweep(
    grid: Mapping[str, Any],
    starts: str | Callable[..., Any] | np.ndarray = "random",
    t_end: float | None = None,
    *,
    store: str | os.PathLike[str],
    members: int | None = None,
    flow: Callable[..., Flow[Any]] = reduced_flow,
    seed: int = 0,
    log_t_end: float | None = None,
    t_eval: ArrayLike | None = None,
    log_t_eval: ArrayLike | None = None,
    observables: Sequence[str] = ("singular_values", "loss"),
    until: Callable | Sequence[Callable] | None = None,
    rtol: float = 1e-9,
    atol: float = 0.0,
    max_steps: int = 1_000_000,
    chunk: int = 1000,
    executor: str | Executor | Callable[[], Executor] | None = None,
    workers: int | None = None,
    scheduler: str | None = None,
    threads: int = 1,
    progress: bool = False,
) -> xarray.Dataset:
    """Integrate many starts of each flow of a grid, in chunks, into a store from which a stopped sweep goes on.

    The same call goes on where an earlier one ended, however that ended: only chunks that are not in the store are
    worked on. What a run gives depends on its parameters, the seed and the number of its member; the executor, the
    chunks and the rest of the grid do not change a bit of it (on processors of one kind).

    Parameters
    ----------
    grid : dict
        Parameters by name. A list, a range or an array of one dimension is an axis of the grid; anything else, such as
        a number, a string or a tuple, is the same for all runs. A parameter goes to `flow`, to `starts`, or to both:
        to those that have an argument of this name, or else to those that take any keyword.
    starts : "random", callable, or (members, ...) array
        ``starts(flow, rng)``, which may have parameters of the grid as further arguments, makes the start of one member
        from a `numpy.random.Generator` of its own. "random" makes singular values uniform in ``scale * [0.1, 1]``,
        layers balanced, or the Gaussian layers of a `BlockFlow`; the parameter `scale` is 1e-3 unless the grid has it.
        An array holds the starts of all members, the same at all points of the grid.
    t_end, log_t_end, t_eval, log_t_eval, until, rtol, atol, max_steps
        As for `integrate_many`, the same for all runs. Without `t_eval` there is one row, the end of each run.
    store : path
        Directory of the Zarr store. It is made if it is not there; otherwise it must hold the same sweep.
    members : int, optional
        Starts at each point of the grid; 1 if left out, or as many as the array of starts has.
    flow : callable
        Makes a flow of parameters: a function at the top of a module, a constructor, or a `functools.partial` of one.
        If left out, a SpectralFlow with the parameter `scheme` (a scheme or text, such as "hamming:3,4"), `loss`
        (text may be "focal:2") and all others of `SpectralFlow`.
    seed : int
        Member i draws from ``numpy.random.SeedSequence(seed, spawn_key=(i,))``, at every point of the grid the same.
    observables : sequence of str
        Names of quantities of a trajectory that are kept.
    chunk : int
        Runs that are worked on, and stored, at a time, at most.
    executor : {None, "threads", "processes", "dask", "mpi"}, Executor, or callable
        Where chunks are worked on; None is here, one after the other. Any executor of `concurrent.futures` will do,
        such as that of a dask cluster, ``client.get_executor()``, or a function that makes one: it is called again when
        an executor breaks. Workers must reach the store under the same path.
    workers : int, optional
        Number of threads or processes, where the executor is given by name.
    scheduler : str, optional
        Address of a dask scheduler; "dask" starts a cluster on this machine if it is left out.
    threads : int
        Threads of each chunk.
    progress : bool
        Show a progress bar, of runs.

    Returns
    -------
    xarray.Dataset
        The store, opened: every observable with the axes of the grid, "member", "row" and its own; `status` (an
        `Outcome`), `success`, `event` (that of `until`, or -1), `log_t_end`, `nsteps` and `nfev` of every run; `log_t`
        of the rows, if times were asked for. Values are read when they are used. Rows that a run did not reach, and
        modes that a flow does not have, are NaN.

    Raises
    ------
    ValueError, TypeError
        If an argument is not acceptable, or the store holds another sweep. A run that fails raises nothing: its
        `status` tells.
    ImportError
        Without the extra ``sweep`` (zarr, xarray, dask, distributed).
    concurrent.futures.BrokenExecutor, ...
        If workers die time after time, or an executor that was handed over breaks, and whatever functions raise. Chunks
        that were done are kept.

    Notes
    -----
    [ceflow] Of a chunk that was cut off nothing counts: its runs are made again, to the same bits.

    Examples
    --------
    >>> grid = {"scheme": "complete:4", "depth": [2, 3]}
    >>> results = cf.sweep(grid, t_end=1e3, members=2, store="sweep.zarr")
    >>> dict(results.sizes)
    {'depth': 2, 'member': 2, 'row': 1, 'mode': 1}
    >>> results.loss.mean("member").values.round(4).ravel()
    array([0.0002, 0.    ])
    """
    for module in ("zarr", "xarray"):
        if importlib.util.find_spec(module) is None:
            raise ImportError(f"sweep needs {module}: pip install 'ceflow[sweep]'")
    starts, count = _starts(starts, members)
    seed, chunk = checked_integer("seed", seed, 0), checked_integer("chunk", chunk, 1)
    if workers is not None:
        workers = checked_integer("workers", workers, 1)
    if not callable(flow):
        raise TypeError(f"flow must be a function that makes a flow, got {type(flow).__name__}")
    grid = Grid.of(grid, count)
    options = {
        "t_end": t_end, "log_t_end": log_t_end, "t_eval": t_eval, "log_t_eval": log_t_eval, "until": until,
        "observables": _names(observables), "rtol": rtol, "atol": atol, "max_steps": max_steps,
        "threads": checked_integer("threads", threads, 1),
    }  # fmt: skip
    problem = Problem(flow, starts, seed, options)
    problem.check_names([*grid.axes, *grid.fixed])
    place = place_of(executor, workers, scheduler)
    if executor == "processes" or isinstance(executor, ProcessPoolExecutor):
        _check_travels(problem)
    path, points = Path(store), _Points(problem, grid)
    config = _config(problem, grid, chunk, points)
    if path.exists():
        _store.check(path, config)
    else:
        _store.create(path, config, grid, chunk, *points.probed())
    call = uuid.uuid4().hex
    tasks = [Task(problem.for_members(b[-1]), grid, path, b, call) for b in _store.pending(path, grid.blocks(chunk))]
    runs = math.prod(grid.shape)
    with progress_bar(progress, runs, "run", initial=runs - sum(task.runs for task in tasks)) as bar:
        try:
            carry_out(Task.run, tasks, place, lambda task: bar and bar.update(task.runs))
        except BaseException as error:
            error.add_note(f"what was done is in {path}; the same call goes on from there")
            raise
    return _store.open_dataset(path)


@dataclass(frozen=True)
class Task:
    """A block of runs to be made and stored."""

    problem: Problem
    grid: Grid
    path: Path
    block: Block
    call: str  # that of `sweep` which asks: dask would not make again what failed in an earlier one

    @property
    def runs(self) -> int:
        return math.prod(one.stop - one.start for one in self.block)

    def run(self) -> None:
        """Makes the runs, and writes what they gave, unless they are there: dask asks again for what a worker has done
        if that worker dies before its answer is heard."""
        if not _store.pending(self.path, [self.block]):
            return
        members = self.block[-1]
        points = self.grid.points(self.block)
        ensembles = [self.problem.run(self.grid.parameters(point), members) for point in points]
        if any(np.isin(one.status, (Outcome.RUNNING, Outcome.INTERRUPTED)).any() for one in ensembles):
            raise KeyboardInterrupt
        _store.write(self.path, self.block, ensembles)


class _Points:
    """All points of a grid, looked at before any work: what is wrong with one of them is said at once."""

    def __init__(self, problem: Problem, grid: Grid) -> None:
        self.problem, self.grid = problem, grid
        self.kinds: dict[str, tuple[int, ...]] = {}  # a point of each kind of flows, by what sizes depend on
        specs, ends = hashlib.sha256(), hashlib.sha256()
        for point in grid.points():
            parameters = grid.parameters(point)
            flow = problem.flow_at(parameters)
            specs.update(text_of(flow.spec).encode())
            for member in {0: None, grid.members - 1: None}:
                start = flow.start(problem.start(flow, parameters, member))
                for part in arrays_of(start):
                    ends.update(part.tobytes())
            kind = text_of([without_floats(flow.spec), flow.depth, [part.shape for part in arrays_of(start)]])
            self.kinds.setdefault(kind, point)
        self.specs, self.ends = specs.hexdigest()[:16], ends.hexdigest()[:16]

    def probed(self) -> tuple[np.ndarray | None, dict[str, _store.Array]]:
        """(rows,) log t, None if each run has a row at its own end, and how observables are stored: from the first step
        of a run of each kind."""
        found = [
            self.problem.run(self.grid.parameters(point), slice(0, 1), max_steps=1) for point in self.kinds.values()
        ]
        return found[0].grid, _store.largest([_store.arrays_of(one) for one in found])


def _config(problem: Problem, grid: Grid, chunk: int, points: _Points) -> dict[str, Any]:
    """All that results depend on, and how they are stored, in terms of JSON."""
    options = {name: value for name, value in problem.options.items() if name != "threads"}
    times = {name: np.asarray(options[name]).tolist() for name in ("t_eval", "log_t_eval") if options[name] is not None}
    return {
        "grid": {name: labels(values).tolist() for name, values in grid.axes.items()},
        "fixed": {name: labels((value,)).tolist()[0] for name, value in grid.fixed.items()},
        "members": grid.members,
        "chunk": chunk,
        "flow": _name(problem.flow),
        "starts": _name(problem.starts),
        "seed": problem.seed,
        **options,
        **times,
        "until": [repr(one) for one in checked_events(options["until"])],
        "digest of flows": points.specs,
        "digest of starts": points.ends,
    }


def _name(value: Any) -> str:
    """What a function is called, or the digest of an array."""
    if not callable(value):
        return f"array {value.shape}, {hashlib.sha256(np.ascontiguousarray(value).tobytes()).hexdigest()[:16]}"
    value = getattr(value, "func", value)
    return f"{value.__module__}.{value.__qualname__}"


def _starts(starts: Any, members: int | None) -> tuple[Callable[..., Any] | np.ndarray, int]:
    """The starts and their number, checked."""
    if members is not None:
        members = checked_integer("members", members, 1)
    if isinstance(starts, str):
        checked_choice("starts", starts, ("random",))
        return random_start, members or 1
    if callable(starts):
        return starts, members or 1
    starts = checked_array("starts", starts)
    if starts.ndim < 2 or not len(starts):
        raise ValueError(f"starts must be an array of one start or more, got shape {starts.shape}")
    if members not in (None, len(starts)):
        raise ValueError(f"members must be {len(starts)}, the number of starts, got {members}")
    return starts, len(starts)


def _names(observables: Sequence[str]) -> tuple[str, ...]:
    """Names of observables, checked as far as that goes without a flow."""
    names = (observables,) if isinstance(observables, str) else tuple(observables)
    if not all(isinstance(name, str) for name in names) or len(set(names)) < len(names):
        raise ValueError(f"observables must be names, each once, got {observables!r}")
    return names


def _check_travels(problem: Problem) -> None:
    """A ValueError that says what cannot be sent to another process."""
    for name, value in (("flow", problem.flow), ("starts", problem.starts), ("until", problem.options["until"])):
        try:
            pickle.dumps(value)
        except Exception as error:
            raise ValueError(f"{name} must be at the top of a module, to be sent to workers: {error}") from None
