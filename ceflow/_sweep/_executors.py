"""Executors by name, and the loop that submits chunks and replaces a broken executor."""

from __future__ import annotations

import collections
import contextlib
import functools
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import (
    FIRST_COMPLETED,
    BrokenExecutor,
    Executor,
    Future,
    ThreadPoolExecutor,
    wait,
)
from typing import Any, NamedTuple

from ..kernels import settings

WINDOW = 256  # chunks submitted at a time, which limits memory
PATIENCE = 60.0  # seconds without a finished chunk before checking whether workers exist
BREAKDOWNS = 3  # consecutive broken executors without a finished chunk


class Place(NamedTuple):
    """Executor of chunks."""

    make: Callable[[], contextlib.AbstractContextManager[Executor]]
    window: int = WINDOW
    again: bool = True  # whether it can be replaced
    deserted: Callable[[], bool] = lambda: False  # whether it waits for workers that do not exist


class Serial(Executor):
    """Executor in the calling thread."""

    def submit(self, function: Callable, /, *arguments: Any, **options: Any) -> Future:
        future: Future = Future()
        try:
            future.set_result(function(*arguments, **options))
        except Exception as error:
            future.set_exception(error)
        return future


def place_of(executor: Any, workers: int | None, scheduler: str | None) -> Place:
    """Resolve an argument `executor`; raise a ValueError if it is invalid."""
    if executor is None:
        return Place(Serial, window=1)
    if isinstance(executor, Executor):
        return Place(lambda: contextlib.nullcontext(executor), again=False)
    named = {
        "threads": functools.partial(ThreadPoolExecutor, workers or os.cpu_count()),
        "processes": functools.partial(_processes, workers),
        "dask": functools.partial(_dask, workers, scheduler),
        "mpi": functools.partial(_mpi, workers),
    }
    make = named.get(executor) if isinstance(executor, str) else executor
    if not callable(make):
        raise ValueError(f"executor must be None, {', '.join(named)}, an Executor or a function, got {executor!r}")
    own_cluster = executor == "dask" and scheduler is None  # other clusters may get workers at any time
    return Place(make, deserted=_without_workers) if own_cluster else Place(make)


def _processes(workers: int | None) -> Executor:
    import multiprocessing  # this and the executor are slow to import
    from concurrent.futures import ProcessPoolExecutor

    # not forked: locks held by threads of the parent would never be released in the child
    context = multiprocessing.get_context("spawn")
    return ProcessPoolExecutor(workers, context, initializer=_begin, initargs=(settings.compiled,))


def _begin(compiled: bool | None) -> None:
    """Take over the setting of the parent, and end this process when the parent is gone (even if it was killed)."""
    import multiprocessing

    settings.compiled = compiled

    def follow() -> None:
        if parent := multiprocessing.parent_process():
            parent.join()
        os._exit(1)

    threading.Thread(target=follow, daemon=True).start()


@contextlib.contextmanager
def _dask(workers: int | None, scheduler: str | None) -> Iterator[Executor]:
    from distributed import Client, LocalCluster

    with contextlib.ExitStack() as stack:
        if scheduler is None:
            cluster = LocalCluster(n_workers=workers, threads_per_worker=1, dashboard_address=":0")
            scheduler = stack.enter_context(cluster)
        client = stack.enter_context(Client(scheduler))
        yield stack.enter_context(client.get_executor())


def _without_workers() -> bool:
    from distributed import default_client

    return not default_client().scheduler_info()["workers"]


def _mpi(workers: int | None) -> Executor:
    from mpi4py.futures import MPIPoolExecutor

    return MPIPoolExecutor(workers)


def carry_out(function: Callable, tasks: Sequence, place: Place, report: Callable[[Any], None]) -> None:
    """Apply a function to each task, replace broken executors, and report finished tasks.

    Raises
    ------
    BrokenExecutor
        If executors break repeatedly.
    Exception
        The exception of the first failed call.
    """
    left, breakdowns = dict(enumerate(tasks)), 0
    while left:
        before = len(left)
        try:
            with place.make() as executor:
                _feed(function, left, executor, place, report)
        except BrokenExecutor:
            breakdowns = 0 if len(left) < before else breakdowns + 1
            if breakdowns == BREAKDOWNS or not place.again:
                raise


def _feed(
    function: Callable, left: dict[int, Any], executor: Executor, place: Place, report: Callable[[Any], None]
) -> None:
    """Submit tasks and remove the finished ones from the list."""
    waiting, running = collections.deque(left), dict[Future, int]()
    try:
        while waiting or running:
            while waiting and len(running) < place.window:
                number = waiting.popleft()
                running[executor.submit(function, left[number])] = number
            done = wait(running, PATIENCE, FIRST_COMPLETED).done
            if not done and place.deserted():
                raise BrokenExecutor("no worker is left, and none has returned")
            for future in done:
                number = running.pop(future)
                if future.cancelled():  # not by this loop: the dask scheduler is gone
                    raise BrokenExecutor("the executor has cancelled chunks: its scheduler may be gone")
                future.result()
                report(left.pop(number))
    except BaseException:
        for future in running:
            future.cancel()
        raise
