"""`sweep`: integration over a grid of parameters into a store of results."""

from __future__ import annotations

import concurrent.futures
import hashlib
import importlib.util
import math
import os
import pickle
import uuid
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor
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
    """Integrate many starts of each flow of a grid, in chunks, into a store from which a sweep can continue.

    After an interruption the same call continues: only chunks that are not in the store are computed. The result of a
    run depends on its parameters, the seed and its member index only. It does not depend on the executor, the chunks
    and the rest of the grid (to the bit, on processors of one type).

    Parameters
    ----------
    grid : dict
        Parameters by name. A list, a range or a one-dimensional array is an axis of the grid; another value, such as a
        number, a string or a tuple, is common to all runs. A parameter is passed to `flow` or `starts` or both: to
        functions with an argument of this name, else to functions that accept any keyword.
    starts : "random", callable, or (members, ...) array
        ``starts(flow, rng)``, returns the start of one member, from its own `numpy.random.Generator`; it may have grid
        parameters as further arguments. "random": singular values of balanced layers, uniform in ``scale * [0.1, 1]``,
        or Gaussian layers of a `BlockFlow`; the parameter `scale` is 1e-3 unless it is in the grid. An array has the
        starts of all members, equal at all points of the grid.
    t_end, log_t_end, t_eval, log_t_eval, until, rtol, atol, max_steps
        As in `integrate_many`, common to all runs. Without `t_eval` the only row is the end of each run.
    store : path
        Directory of the Zarr store. It is created, or must contain the same sweep.
    members : int, optional
        Number of starts at each point of the grid; default 1, or the length of the array of starts.
    flow : callable
        Returns a flow from parameters: a module-level function, a constructor, or a `functools.partial` of one.
        Default: a SpectralFlow with the parameters `scheme` (a scheme, or a string such as "hamming:3,4"), `loss` (or a
        string such as "focal:2") and the others of `SpectralFlow`.
    seed : int
        Member i uses ``numpy.random.SeedSequence(seed, spawn_key=(i,))`` at every point of the grid.
    observables : sequence of str
        Names of the observables of a trajectory to store.
    chunk : int
        Largest number of runs computed and stored at a time.
    executor : {None, "threads", "processes", "dask", "mpi"}, Executor, or callable
        Executor of the chunks; None is the calling thread. It may be any executor of `concurrent.futures`, such as
        ``client.get_executor()`` of a dask cluster, or a function that returns one, which is called again when an
        executor breaks. Workers must have access to the store under the same path.
    workers : int, optional
        Number of threads or processes, if the executor is given by name.
    scheduler : str, optional
        Address of a dask scheduler; by default "dask" starts a local cluster.
    threads : int
        Number of threads per chunk.
    progress : bool
        Show a progress bar of the runs.

    Returns
    -------
    xarray.Dataset
        The opened store: every observable with the axes of the grid, "member", "row" and its own axes; `status` (an
        `Outcome`), `success`, `event` (index in `until`, or -1), `log_t_end`, `nsteps` and `nfev` of every run; `log_t`
        of the rows, if times were given. Values are read lazily. Rows that a run did not reach, and modes that a flow
        does not have, are NaN.

    Raises
    ------
    ValueError, TypeError
        If an argument is invalid, or the store holds another sweep. A failed run raises no error; see its `status`.
    ImportError
        If the extra ``sweep`` (zarr, xarray, dask, distributed) is not installed.
    concurrent.futures.BrokenExecutor, ...
        If workers fail repeatedly, or a given executor breaks; and all errors of given functions. Finished chunks are
        kept.

    Notes
    -----
    [ceflow] An unfinished chunk is computed again, to the same bits.

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
        raise TypeError(f"flow must be a function that returns a flow, got {type(flow).__name__}")
    grid = Grid.of(grid, count)
    options = {
        "t_end": t_end, "log_t_end": log_t_end, "t_eval": t_eval, "log_t_eval": log_t_eval, "until": until,
        "observables": _names(observables), "rtol": rtol, "atol": atol, "max_steps": max_steps,
        "threads": checked_integer("threads", threads, 1),
    }  # fmt: skip
    problem = Problem(flow, starts, seed, options)
    problem.check_names([*grid.axes, *grid.fixed])
    place = place_of(executor, workers, scheduler)
    if executor == "processes" or isinstance(executor, concurrent.futures.ProcessPoolExecutor):
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
            error.add_note(f"finished chunks are in {path}; the same call continues from there")
            raise
    return _store.open_dataset(path)


@dataclass(frozen=True)
class Task:
    """Block of runs to integrate and store."""

    problem: Problem
    grid: Grid
    path: Path
    block: Block
    call: str  # identifies the call of `sweep`: dask would not repeat tasks that failed in an earlier one

    @property
    def runs(self) -> int:
        return math.prod(one.stop - one.start for one in self.block)

    def run(self) -> None:
        """Integrate the runs and write the results, unless they are stored: dask repeats a finished task if its worker
        dies before reporting."""
        if not _store.pending(self.path, [self.block]):
            return
        members = self.block[-1]
        points = self.grid.points(self.block)
        ensembles = [self.problem.run(self.grid.parameters(point), members) for point in points]
        if any(np.isin(one.status, (Outcome.RUNNING, Outcome.INTERRUPTED)).any() for one in ensembles):
            raise KeyboardInterrupt
        _store.write(self.path, self.block, ensembles)


class _Points:
    """All points of a grid, checked before any run, so that errors are raised at once."""

    def __init__(self, problem: Problem, grid: Grid) -> None:
        self.problem, self.grid = problem, grid
        self.kinds: dict[str, tuple[int, ...]] = {}  # a point for each kind of flow, by the data that determine sizes
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
        """log t (rows,), or None if the only row is the end of each run; and stored arrays of the observables, from the
        first step of a run of each kind."""
        found = [
            self.problem.run(self.grid.parameters(point), slice(0, 1), max_steps=1) for point in self.kinds.values()
        ]
        return found[0].grid, _store.largest([_store.arrays_of(one) for one in found])


def _config(problem: Problem, grid: Grid, chunk: int, points: _Points) -> dict[str, Any]:
    """Everything that determines the results and their storage, as JSON data."""
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
    """Name of a function, or digest of an array."""
    if not callable(value):
        return f"array {value.shape}, {hashlib.sha256(np.ascontiguousarray(value).tobytes()).hexdigest()[:16]}"
    value = getattr(value, "func", value)
    return f"{value.__module__}.{value.__qualname__}"


def _starts(starts: Any, members: int | None) -> tuple[Callable[..., Any] | np.ndarray, int]:
    """Checked starts and their number."""
    if members is not None:
        members = checked_integer("members", members, 1)
    if isinstance(starts, str):
        checked_choice("starts", starts, ("random",))
        return random_start, members or 1
    if callable(starts):
        return starts, members or 1
    starts = checked_array("starts", starts)
    if starts.ndim < 2 or not len(starts):
        raise ValueError(f"starts must be a non-empty array of starts, got shape {starts.shape}")
    if members not in (None, len(starts)):
        raise ValueError(f"members must be {len(starts)}, the number of starts, got {members}")
    return starts, len(starts)


def _names(observables: Sequence[str]) -> tuple[str, ...]:
    """Names of observables, checked without a flow."""
    names = (observables,) if isinstance(observables, str) else tuple(observables)
    if not all(isinstance(name, str) for name in names) or len(set(names)) < len(names):
        raise ValueError(f"observables must be distinct names, got {observables!r}")
    return names


def _check_travels(problem: Problem) -> None:
    """Raise a ValueError naming the argument that cannot be sent to another process."""
    for name, value in (("flow", problem.flow), ("starts", problem.starts), ("until", problem.options["until"])):
        try:
            pickle.dumps(value)
        except Exception as error:
            raise ValueError(f"{name} must be a module-level function, to be sent to workers: {error}") from None
