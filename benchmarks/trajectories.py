"""Whole trajectories to t = 1e12 with an error of 1e-9: ceflow against general solvers, each at its best tolerance.

Every solver gets the loosest tolerance of a grid with which log s at the end is right to 1e-9, and the same
cancellation-free equations in the form that suits it (see `_problem` and `_peers`). Times are without compilation.
"""

from __future__ import annotations

import math
from pathlib import Path

from ._peers import CEFLOW, PEERS, TOLERANCES, Solver, describe
from ._problem import Problem
from ._report import BLUE, RED, Table, new_figure, report
from ._timing import in_turns

TARGET = 1e-9


def tune(solver: Solver, problem: Problem, target: float = TARGET):
    """The loosest tolerance of the grid that meets the target, as (rtol, run)."""
    run = solver.make(problem)
    for rtol in TOLERANCES:
        if problem.error(run(rtol)[0]) <= target:
            if solver.finest is not None:
                run = solver.finest(problem)
            return rtol, run
    raise ArithmeticError(f"no tolerance reaches {target:g}")


def measure(problem: Problem, solvers: list[Solver], quick: bool) -> Table:
    table = Table(
        f"K = {problem.classes}, t = {problem.t_end:g}, error of log s at most {TARGET:g}",
        ["solver", "ms", "to ceflow", "evaluations", "rtol", "error"],
    )
    ready, failed = {}, {}
    for solver in solvers:
        try:
            ready[solver.name] = tune(solver, problem)
        except Exception as error:  # whatever a competitor raises belongs into the table
            failed[solver.name] = describe(error)
    times = in_turns(
        {name: lambda run=run, rtol=rtol: run(rtol) for name, (rtol, run) in ready.items()},
        rounds=2 if quick else 7,
        seconds=0.02 if quick else 0.3,
    )
    for solver in solvers:
        if solver.name in failed:
            table.rows.append([solver.name, failed[solver.name]])
            continue
        rtol, run = ready[solver.name]
        u, evaluations = run(rtol)
        ms = 1e3 * times[solver.name]
        table.rows.append(
            [solver.name, ms, ms / (1e3 * times[CEFLOW.name]), evaluations, f"{rtol:.0e}", problem.error(u)]
        )
    return table


def draw(tables: list[Table], sizes: list[int]):
    from matplotlib.ticker import LogLocator, NullFormatter

    figure, axes = new_figure(len(tables), 1, width=3.6, height=3.2, sharey=True, squeeze=False)
    names = [row[0] for row in tables[0].rows][::-1]
    for ax, table, classes in zip(axes[0], tables, sizes, strict=True):
        rows = {row[0]: row for row in table.rows}
        for place, name in enumerate(names):
            if len(rows[name]) == 2:
                ax.text(0.02, place, rows[name][1].split(":")[0], transform=ax.get_yaxis_transform(), va="center")
                continue
            ms = rows[name][1]
            color, marker = (RED, "o") if name == CEFLOW.name else (BLUE, "s")
            ax.plot(ms, place, color=color, marker=marker, ms=7)
            ax.annotate(f"{ms:.3g}", (ms, place), (7, 0), textcoords="offset points", va="center", fontsize="small")
        ax.set(xscale="log", title=f"$K = {classes}$", xlabel="time per trajectory [ms]")
        ax.set(yticks=range(len(names)), ylim=(-0.6, len(names) - 0.4))
        ax.set_yticklabels(names)
        ax.tick_params(axis="y", length=0)
        low, high = ax.get_xlim()
        ax.xaxis.set_major_locator(LogLocator(subs=(1.0,) if high > 200 * low else (1.0, 2.0, 5.0)))
        ax.xaxis.set_major_formatter("{x:g}")
        ax.xaxis.set_minor_formatter(NullFormatter())
        ax.set_xlim(low, high * 10 ** (0.2 * math.log10(high / low)))
    return figure


def main(out: Path | None = None, quick: bool = False, peers: bool = True) -> list[Table]:
    sizes = [4, 64] if quick else [4, 64, 1024]
    solvers = [CEFLOW, *(PEERS if peers else [])]
    tables, notes = [], []
    for classes in sizes:
        problem = Problem(classes)
        tables.append(measure(problem, solvers, quick))
        witness, error = problem.witness(quick)
        notes.append(f"K = {classes}: reference is ceflow at rtol 1e-13; {witness} differs by {error:.1e} in log s")
    notes += [f"{solver.name}: {solver.form}" for solver in solvers]
    report("trajectories", tables, out, quick=quick, notes=notes, figure=draw(tables, sizes) if out else None)
    return tables
