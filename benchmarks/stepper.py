"""Steps, evaluations and time of ceflow at rtol 1e-6, 1e-9 and 1e-12: where is there to save?

"compiled" is the time inside the compiled stepper, "Python" all around it in one call of `integrate`. An evaluation
is timed by itself, warm in the cache; "the rest" of the stepper is what its evaluations do not explain. A second table
is of rows between the steps.
"""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np

import ceflow as cf
from ceflow.kernels import compiling
from ceflow.kernels.linking import call
from ceflow.solve import stepping

from ._problem import Problem
from ._report import Table, report
from ._timing import best

_MANY = 200


def compiled_share(call, seconds: float) -> tuple[float, float]:
    """(seconds of the fastest call, seconds of it inside the compiled stepper)."""
    kernels, spent = (stepping.advance_compiled, stepping.sample_compiled), [0.0]

    def watched(original):
        def called(*args):
            begin = time.perf_counter()
            result = original(*args)
            spent[0] += time.perf_counter() - begin
            return result

        return lambda compiled: called

    fastest, inside = float("inf"), float("inf")
    for kernel in kernels:
        kernel.direct = watched(kernel.direct(compiled=True))
    try:
        start = time.perf_counter()
        while time.perf_counter() - start < seconds:
            spent[0] = 0.0
            begin = time.perf_counter()
            call()
            fastest = min(fastest, time.perf_counter() - begin)
            inside = min(inside, spent[0])
    finally:
        for kernel in kernels:
            del kernel.direct
    return fastest, inside


def one_evaluation(problem: Problem) -> float:
    """Seconds of one evaluation of the right-hand side, without the cost of calling into compiled code."""
    from numba import njit

    field = problem.flow.motion(problem.s0, np.zeros(problem.classes - 1), -np.inf, 1e-9)
    y, dy, a = np.full(problem.classes - 1, 4.0), np.empty(problem.classes - 1), np.empty(1)

    @njit
    def many(f, y, dy, a):
        total = 0.0
        for _ in range(_MANY):
            total += call(f.rates, (f.data, f.layout, f.scratch, y, dy, a))
        return total

    many(field.functions, y, dy, a)
    return best(lambda: many(field.functions, y, dy, a), seconds=0.3) / _MANY


def measure_rows(classes: int, seconds: float) -> list:
    """Microseconds of a call with three rows, and of dense output of a run at 10 and at 300 times."""
    problem, times = Problem(classes), 10.0 ** np.linspace(0.0, 12.0, 300)
    run = cf.integrate(problem.flow, problem.s0, problem.t_end)
    calls = [
        lambda: cf.integrate(problem.flow, problem.s0, t_eval=[1.0, 1e6, problem.t_end], dense_output=False),
        lambda: run.at(times[::33]),
        lambda: run.at(times),
    ]
    return [classes, *(1e6 * best(call, seconds=seconds) for call in calls)]


def main(out: Path | None = None, quick: bool = False, peers: bool = True) -> list[Table]:
    table = Table(
        "ceflow to t = 1e12, dense_output=False; microseconds",
        ["K", "rtol", "steps", "rejected", "evals", "error", "call", "compiled", "Python", "one eval", "the rest"],
    )
    rows = Table("rows, rtol 1e-9; microseconds", ["K", "call with 3 rows", "at 10 times", "at 300 times"])
    with compiling(True):
        for classes in [4, 64] if quick else [4, 64, 1024]:
            rows.rows.append(measure_rows(classes, 0.1 if quick else 1.0))
            problem = Problem(classes)
            each = 1e6 * one_evaluation(problem)
            for rtol in (1e-6, 1e-9, 1e-12):

                def call(problem=problem, rtol=rtol):
                    return cf.integrate(problem.flow, problem.s0, problem.t_end, rtol=rtol, dense_output=False)

                run = call()
                error = problem.error(np.log(run.singular_values[-1]))
                whole, inside = (1e6 * seconds for seconds in compiled_share(call, 0.2 if quick else 2.0))
                table.rows.append([
                    classes, rtol, run.nsteps, run.nrejected, run.nfev, error, whole, inside, whole - inside, each,
                    inside - each * run.nfev,
                ])  # fmt: skip
    report("stepper", [table, rows], out, quick=quick)
    return [table, rows]
