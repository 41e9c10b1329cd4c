"""Many runs to t = 1e12 with an error of 1e-9: ceflow's ensemble against batches of general solvers, and loops.

All solvers get the same starts, balanced layers on hadamard(K), the equations of `_problem` in the form that suits
them, and the loosest tolerance of a grid with which log s at the ends of all runs is right to 1e-9. Times are without
compilation: CPU time of one thread, which other work on the machine disturbs least, and wall time of two. Where a
solver has no threads of its own, they share its runs. Further tables are of the Taylor series that ceflow's ensemble
goes by, and of runs of other flows and runs to an event, beside a loop.
"""

from __future__ import annotations

import bisect
import math
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, cast

import numpy as np

import ceflow as cf

from ._peers import TOLERANCES, describe, heyoka_system
from ._problem import Problem
from ._report import Table, report
from ._timing import in_turns

TARGET = 1e-9
Run = Callable[[float, int], np.ndarray]  # of a tolerance and a number of threads: log s at the end, (m, D)


class Starts:
    """m starts of one problem, and what is right."""

    def __init__(self, classes: int, members: int) -> None:
        self.problem = Problem(classes)
        self.s0 = 1e-3 * np.random.default_rng(0).uniform(0.1, 1.0, (members, classes - 1))
        flow, t_end = self.problem.flow, self.problem.t_end
        runs = [cf.integrate(flow, s0, t_end, rtol=1e-13, dense_output=False) for s0 in self.s0]
        self.reference = np.log([run.singular_values[-1] for run in runs])

    def error(self, u: np.ndarray) -> float:
        """Largest error of log s; infinite when there is no finite answer."""
        error = float(np.max(np.abs(u - self.reference)))
        return error if math.isfinite(error) else math.inf


def _ensemble(starts: Starts) -> Run:
    problem = starts.problem

    def run(rtol: float, threads: int) -> np.ndarray:
        names = ("singular_values",)
        many = cf.integrate_many(problem.flow, starts.s0, problem.t_end, rtol=rtol, observables=names, threads=threads)
        return np.log(many.singular_values[:, 0])

    return run


def _shared(one: Callable[[np.ndarray, float], np.ndarray], starts: Starts) -> Run:
    """A solver of some starts, as one of all on threads."""

    def run(rtol: float, threads: int) -> np.ndarray:
        if threads == 1:
            return one(starts.s0, rtol)
        with ThreadPoolExecutor(threads) as pool:
            return np.concatenate(list(pool.map(lambda part: one(part, rtol), np.array_split(starts.s0, threads))))

    return run


def _loop(starts: Starts) -> Run:
    problem = starts.problem

    def one(s0: np.ndarray, rtol: float) -> np.ndarray:
        runs = [cf.integrate(problem.flow, start, problem.t_end, rtol=rtol, dense_output=False) for start in s0]
        return np.log([run.singular_values[-1] for run in runs])

    return _shared(one, starts)


def _heyoka(starts: Starts) -> Run:
    import heyoka as hy

    problem, width, solvers = starts.problem, 4, {}
    system = heyoka_system(problem.classes)

    def solver(rtol: float, thread: int):
        if (rtol, thread) not in solvers:  # the tolerance decides the order, which is compiled in
            u0, compact = np.zeros((problem.classes - 1, width)), problem.classes >= 64
            solvers[rtol, thread] = hy.taylor_adaptive_batch(system, u0, tol=rtol, compact_mode=compact)
        return solvers[rtol, thread]

    def part(s0: np.ndarray, rtol: float, thread: int) -> np.ndarray:
        batch, u = solver(rtol, thread), np.log(s0)
        for first in range(0, len(u), width):
            batch.set_time(0.0)
            batch.state[:] = u[first : first + width].T
            batch.propagate_until(problem.x_end)
            u[first : first + width] = batch.state.T
        return u

    def run(rtol: float, threads: int) -> np.ndarray:
        parts = np.split(starts.s0, threads)
        for thread in range(threads):
            solver(rtol, thread)
        with ThreadPoolExecutor(threads) as pool:
            return np.concatenate(list(pool.map(lambda i: part(parts[i], rtol, i), range(threads))))

    return run


def _diffrax(starts: Starts) -> Run:
    import jax

    jax.config.update("jax_enable_x64", True)
    import diffrax
    import jax.numpy as jnp

    problem, classes = starts.problem, starts.problem.classes
    gaps = 1.0 - jnp.asarray(problem.flow.scheme.eigenmatrix[1:, 1:])

    def rates(x, u, args):
        q = jnp.exp(-(gaps @ jnp.exp(u)) / classes)
        return 2.0 * jnp.exp(x) / (1.0 + q.sum()) * (gaps @ q)

    def solve(u0, rtol):
        return diffrax.diffeqsolve(
            diffrax.ODETerm(rates), diffrax.Dopri8(), 0.0, problem.x_end, None, u0, saveat=diffrax.SaveAt(t1=True),
            stepsize_controller=diffrax.PIDController(rtol=rtol, atol=rtol), adjoint=diffrax.ForwardMode(),
            max_steps=100_000, throw=False,
        ).ys[0]  # fmt: skip

    compiled = jax.jit(jax.vmap(solve, (0, None)))
    return _shared(lambda s0, rtol: np.asarray(compiled(jnp.log(s0), rtol)), starts)


def _numbalsoda(starts: Starts) -> Run:
    import numbalsoda

    from ._peers import numba_call

    problem = starts.problem
    call, times = numba_call(problem, "x u out"), np.array([0.0, problem.x_end])

    def one(s0: np.ndarray, rtol: float) -> np.ndarray:
        data = np.zeros(problem.classes + 1)
        runs = (numbalsoda.dop853(call.address, np.log(start), times, data, rtol, rtol, 100_000) for start in s0)
        return np.array([u[-1] for u, _ in runs])

    run = _shared(one, starts)
    run.keep = call  # the address dies with the function
    return run


OURS = "ceflow.integrate_many"
SOLVERS: dict[str, Callable[[Starts], Run]] = {OURS: _ensemble, "loop of ceflow.integrate": _loop}
PEERS = {"heyoka, batches of 4": _heyoka, "numbalsoda dop853": _numbalsoda, "diffrax Dopri8, vmap": _diffrax}


def _tuned(make: Callable[[Starts], Run], starts: Starts) -> tuple[float, Run]:
    run = make(starts)
    first = bisect.bisect_left(TOLERANCES, True, key=lambda rtol: starts.error(run(rtol, 1)) <= TARGET)
    if first == len(TOLERANCES):
        raise ArithmeticError(f"no tolerance reaches {TARGET:g}")
    return TOLERANCES[first], run


def measure(classes: int, members: int, solvers: dict[str, Callable[[Starts], Run]], quick: bool) -> Table:
    """Times of a run by all solvers, taken in turns."""
    starts = Starts(classes, members)
    columns = ["solver", "CPU us, 1 thread", "to ceflow", "us, 2 threads", "to ceflow", "rtol", "error"]
    table = Table(f"K = {classes}, {members} runs to t = 1e12, error of log s at most {TARGET:g}", columns)
    ready, failed = {}, {}
    for name, make in solvers.items():
        try:
            ready[name] = _tuned(make, starts)
        except Exception as error:  # whatever a competitor raises belongs into the table
            failed[name] = describe(error)
    times = {}
    for threads, clock in ((1, time.process_time), (2, time.perf_counter)):
        calls = {name: lambda run=run, rtol=rtol, n=threads: run(rtol, n) for name, (rtol, run) in ready.items()}
        found = in_turns(calls, rounds=2 if quick else 9, seconds=0.02 if quick else 0.15, clock=clock)
        times |= {(name, threads): seconds for name, seconds in found.items()}
    for name in solvers:
        if name in failed:
            table.rows.append([name, failed[name]])
            continue
        rtol, run = ready[name]
        row = [name]
        for threads in (1, 2):
            row += [1e6 * times[name, threads] / members, times[name, threads] / times[OURS, threads]]
        table.rows.append([*row, f"{rtol:.0e}", starts.error(run(rtol, 1))])
    return table


def measure_series(classes: int, members: int) -> Table:
    """What the Taylor series cost and how far they err, at several tolerances."""
    starts = Starts(classes, members)
    columns = ["rtol", "coefficients", "steps, mean", "steps, most", "error of log s, over rtol"]
    table = Table(f"Taylor series, K = {classes}, {members} runs to t = 1e12", columns)
    for rtol in (1e-6, 1e-9, 1e-12):
        many = cf.integrate_many(starts.problem.flow, starts.s0, starts.problem.t_end, rtol=rtol)
        steps, error = many.nsteps, starts.error(np.log(many.singular_values[:, 0]))
        table.rows.append([f"{rtol:.0e}", int(many.nfev[0] // steps[0]), steps.mean(), int(steps.max()), error / rtol])
    return table


def measure_kind(name: str, flow: Any, starts: Any, end: dict, quick: bool) -> Table:
    """Times of a run in an ensemble and by itself, to an event or to a time."""
    alone, words = len(starts) if len(starts) <= 16 else 4, end.get("until") or f"t = {end.get('t_end'):g}"

    def together() -> np.ndarray:
        return cf.integrate_many(flow, starts, **end, observables=("log_loss",), threads=1).log_loss[:, 0]

    def loop() -> np.ndarray:
        runs = [cf.integrate(flow, start, **end, dense_output=False, compiled=True) for start in starts[:alone]]
        return np.array([run.log_loss[-1] for run in runs])

    apart = float(np.abs(together()[:alone] - loop()).max())
    calls = {OURS: together, "loop of ceflow.integrate": loop}
    found = in_turns(calls, rounds=1 if quick else 3, seconds=0.02, clock=time.process_time)
    times = {OURS: found[OURS] / len(starts), "loop of ceflow.integrate": found["loop of ceflow.integrate"] / alone}
    title = f"{name}, {len(starts)} runs to {words} at rtol = 1e-9"
    table = Table(title, ["solver", "CPU ms a run, 1 thread", "to integrate_many", "largest difference of log loss"])
    table.rows = [[name, 1e3 * seconds, seconds / times[OURS], apart] for name, seconds in times.items()]
    return table


def kinds(quick: bool) -> Iterator[tuple[str, Any, Any, dict]]:
    """Flows and random starts: of reduced flows to an event, of others also to a time."""
    learned, rng = cf.event(lambda run: run.margin - 5.0, "up", name="a margin of 5"), np.random.default_rng(0)
    late, members, sizes = {"t_end": 1e3}, 4 if quick else 64, (4,) if quick else (4, 16)
    for classes in sizes if quick else (4, 16, 64):
        starts = 1e-3 * rng.uniform(0.1, 1.0, (16 if classes == 64 else 16 * members, classes - 1))
        flow, end = cf.SpectralFlow(cf.hadamard(classes)), {"until": cf.collapsed(1e-6)}
        yield f"modes, K = {classes}", flow, starts, end
    blocks = cf.SpectralFlow(cf.direct_sum(2, 2), bias=True)
    yield "blocks, K = 4", blocks, [blocks.random_start(0.3, rng=i) for i in range(4 * members)], {"until": learned}
    for classes in sizes if quick else (4, 16, 64):
        W, H = cf.random_init(classes=classes, width=classes, scale=0.1, batch=members, rng=0)
        for end in (late, {"until": learned})[: 1 if classes == 64 else 2]:
            yield f"full flow, K = d = {classes}", cf.MatrixFlow(), list(zip(W, H, strict=True)), end
    for classes in sizes:
        features = list(0.1 * rng.standard_normal((members, classes, classes)))
        A = 0.1 * rng.standard_normal((members, classes - 1, classes - 1))
        squares = list(A @ A.swapaxes(1, 2) + 0.003 * np.eye(classes - 1))
        for end in (late, {"until": learned}):
            yield f"nearest ETF, K = d = {classes}", cf.ETFFlow(), features, end
            yield f"nearest ETF reduced, K = {classes}", cf.ReducedETFFlow(), squares, end
    replay = cf.ReplayFlow((2, 3), (2.0, 0.5), (0.3, 0.4))
    states = [replay.state(cast(Any, None), y) for y in 0.2 * rng.standard_normal((members, 11))]
    for end in (late, {"until": learned}):
        yield "two tasks with replay", replay, states, end


def main(out: Path | None = None, quick: bool = False, peers: bool = True) -> list[Table]:
    solvers = SOLVERS | (PEERS if peers else {})
    sizes = {4: 64} if quick else {4: 1024, 16: 512, 64: 256}
    tables = [measure(classes, members, solvers, quick) for classes, members in sizes.items()]
    tables += [measure_series(classes, 16 if quick else 256) for classes in ((4,) if quick else (4, 16))]
    tables += [measure_kind(*kind, quick) for kind in kinds(quick)]
    notes = ["reference is ceflow.integrate at rtol 1e-13, see the benchmark `trajectories` for its witnesses"]
    report("ensembles", tables, out, quick=quick, notes=notes)
    return tables
