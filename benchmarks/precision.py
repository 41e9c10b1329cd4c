"""Work-precision diagrams: time against the error of log s at t = 1e12, for ceflow and general solvers.

All solvers run through the same grid of tolerances; a curve shows the fastest run for each error reached.
"""

from __future__ import annotations

import functools
import math
from pathlib import Path

from ._peers import CEFLOW, PEERS, TOLERANCES, Solver, describe
from ._problem import Problem
from ._report import BLACK, BLUE, GREEN, ORANGE, PINK, RED, SKY, Table, new_figure, report
from ._timing import in_turns

STYLES = {
    "ceflow": (RED, "o", "-"),
    "numbalsoda dop853": (BLUE, "s", "-"),
    "numbalsoda lsoda": (BLUE, "s", ":"),
    "heyoka": (GREEN, "^", "-"),
    "CyRK DOP853": (PINK, "v", "-"),
    "CyRK VERN8": (PINK, "v", ":"),
    "diffrax Dopri8": (ORANGE, "D", "-"),
    "diffrax Tsit5": (ORANGE, "D", ":"),
    "scipy DOP853": (SKY, "x", "-"),
    "scipy LSODA": (SKY, "x", ":"),
}
DECADES = [4, 6, 8, 10, 12]


def measure(problem: Problem, solvers: list[Solver], quick: bool):
    """(error, ms) of every tolerance of the grid, by solver, and why others did not run."""
    errors, calls, failed = {}, {}, {}
    for solver in solvers:
        try:
            run = solver.make(problem)
            for rtol in TOLERANCES[:: 4 if quick else 1]:
                error = problem.error(run(rtol)[0])
                if math.isfinite(error):
                    errors[solver.name, rtol] = error
                    calls[solver.name, rtol] = functools.partial(run, rtol)
        except Exception as error:  # whatever a competitor raises belongs into the table
            failed[solver.name] = describe(error)
    times = in_turns(calls, rounds=2 if quick else 6, seconds=0.01 if quick else 0.03)
    points = {
        solver.name: [(errors[key], 1e3 * times[key]) for key in calls if key[0] == solver.name] for solver in solvers
    }
    return points, failed


def frontier(points: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """Those points that no other one beats in both error and time."""
    kept, fastest = [], math.inf
    for error, ms in sorted(points):
        if ms < fastest:
            kept.append((error, ms))
            fastest = ms
    return kept


def main(out: Path | None = None, quick: bool = False, peers: bool = True) -> list[Table]:
    sizes = [4, 64] if quick else [4, 64, 1024]
    solvers = [CEFLOW, *(PEERS if peers else [])]
    figure, axes = new_figure(len(sizes), 1, width=3.5, height=4.0, sharex=True, squeeze=False)
    tables, shown = [], {}
    for ax, classes in zip(axes[0], sizes, strict=True):
        problem = Problem(classes)
        table = Table(
            f"K = {classes}: ms to t = {problem.t_end:g} for an error of log s of at most",
            ["solver", *(f"1e-{n}" for n in DECADES)],
        )
        measured, failed = measure(problem, solvers, quick)
        for solver in solvers:
            points = measured[solver.name]
            if solver.name in failed or not points:
                table.rows.append([solver.name, failed.get(solver.name, "failed: no finite answer")])
                continue
            reach = [[ms for error, ms in points if error <= 10.0**-n] for n in DECADES]
            table.rows.append([solver.name, *(min(times) if times else None for times in reach)])
            color, marker, line = STYLES[solver.name]
            curve = frontier(points)
            front = {"lw": 2.0, "zorder": 5} if solver is CEFLOW else {"lw": 1.1}
            front |= {"color": color, "marker": marker, "ls": line, "ms": 4}
            (shown[solver.name],) = ax.plot(*zip(*curve, strict=True), **front)
        ax.set(xscale="log", yscale="log", title=f"$K = {classes}$", xlabel=r"largest error of $\log s_i$")
        ax.set_xlim(3e-3, 1e-13)
        tables.append(table)
    axes[0, 0].set_ylabel("time per trajectory [ms]")
    columns = 5 if len(sizes) > 2 else 3
    figure.legend(shown.values(), shown, loc="outside lower center", ncols=columns, frameon=False, labelcolor=BLACK)
    report("precision", tables, out, quick=quick, figure=figure)
    return tables
