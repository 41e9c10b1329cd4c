"""What the textbook form `1 - softmax` costs: evaluations and digits, at K = 64 to late times.

scipy's DOP853 at rtol 1e-9 in log s, x = log(1 + t/K), once with forces summed over the wrong classes and once with
``lambda_i = 1 - p_hat_i``; beside them ceflow at the same tolerance. Errors are against ceflow at rtol 1e-13.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from scipy.integrate import solve_ivp

from ._peers import CEFLOW
from ._problem import Problem
from ._report import BLACK, BLUE, ORANGE, RED, Table, new_figure, report
from ._timing import best

RTOL = 1e-9
MOST = 300_000  # evaluations after which a run is given up


class _GivenUp(Exception):
    pass


def general(problem: Problem, kernel):
    """(log s at the end, evaluations) by a general solver; None when it was given up."""
    work, count = np.empty(problem.classes), 0

    def rates(x: float, u: np.ndarray) -> np.ndarray:
        nonlocal count
        count += 1
        if count > MOST:
            raise _GivenUp
        out = np.empty_like(u)
        kernel(x, u, out, work)
        return out

    try:
        run = solve_ivp(rates, (0.0, problem.x_end), problem.u0, "DOP853", rtol=RTOL, atol=RTOL)
    except _GivenUp:
        return None, count
    return (run.y[:, -1] if run.success else None), count


def main(out: Path | None = None, quick: bool = False, peers: bool = True) -> list[Table]:
    exponents = [6, 9, 12] if quick else [6, 7, 8, 9, 10, 11, 12, 13, 14, 15]
    forms = ("1-p", "sum", "ceflow")
    table = Table(
        f"K = 64, rtol {RTOL:g}: evaluations, ms and largest error of log s, for the textbook 1-p, the sum, and ceflow",
        ["log10 t", *(f"{what} {form}" for what in ("evals", "ms", "err") for form in forms)],
    )
    for exponent in exponents:
        problem = Problem(64, t_end=10.0**exponent)
        run = CEFLOW.make(problem)
        calls = [
            lambda problem=problem: general(problem, problem.textbook_rates),
            lambda problem=problem: general(problem, problem.rates),
            lambda run=run: run(RTOL),
        ]
        found = [call() for call in calls]
        evaluations = [count for _, count in found]
        errors = [problem.error(u) if u is not None else None for u, _ in found]
        times = [1e3 * best(call, seconds=0.2, least=1) for call in calls]
        table.rows.append([exponent, *evaluations, *times, *errors])
    figure, (left, right) = new_figure(2, 1, width=4.0, height=3.6)
    times = [10.0 ** row[0] for row in table.rows]
    for first, label, color, marker, line in (
        (1, "$1 - $softmax", ORANGE, "s", "--"),
        (2, "sum over wrong classes", BLUE, "^", "-"),
        (3, "ceflow", RED, "o", "-"),
    ):
        for ax, column in ((left, first), (right, first + 6)):
            values = [np.nan if row[column] is None else row[column] for row in table.rows]
            ax.plot(times, values, color=color, marker=marker, ls=line, ms=4, label=label)
    right.axhline(RTOL, color=BLACK, lw=0.8, ls=":")
    right.annotate("tolerance", (times[-1], RTOL), (0, 3), textcoords="offset points", ha="right", fontsize="small")
    for ax in (left, right):
        ax.set(xscale="log", yscale="log", xlabel="last time $t$")
    left.set_ylabel("evaluations of the right-hand side")
    right.set_ylabel(r"largest error of $\log s_i$")
    left.legend(frameon=False)
    notes = [f"a run is given up after {MOST} evaluations"]
    report("cancellation", [table], out, quick=quick, notes=notes, figure=figure)
    return [table]
