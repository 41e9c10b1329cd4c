"""Steps of stiff runs, with implicit steps and with explicit ones alone, at rtol 1e-6, 1e-9 and 1e-12.

Evaluations are those of the right-hand side, with those that Jacobians take. "-" is a run that is given up after as
many attempted steps as `MOST` says. Times would say more of the size of a problem than of the method.

One run, of 64 classes to log t = 1e6, is looked at closely. Its work is CPU time, in units of a compiled evaluation, so
that linear algebra counts; with implicit steps from the 96th on, and as it is. And how few numbers tell its path: the
coefficients of polynomials, piece by piece, each as long as its error is below the tolerance. No method that knows the
path by polynomials takes fewer evaluations.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
from numpy.polynomial import chebyshev
from scipy.integrate import solve_ivp

import ceflow as cf
from ceflow import _run
from ceflow.kernels import compiling
from ceflow.solve import stepping
from ceflow.solve.stability import Response

from ._report import Table, report
from ._timing import best

MOST = 20_000
RTOLS = (1e-6, 1e-9, 1e-12)
MANY = "K = 64, to log t = 1e6"
DEGREES = (7, 14)
PARTS, SOME = (0.0, 1e2, 1e3, 1e4, 3e4, np.inf), 12  # of it, by the mean singular value, and steps that are looked at
MERGED = 6e4  # mean singular value at which the modes of that run have merged, and a closed form takes over


def cases() -> dict[str, tuple[Any, Any, float]]:
    """Flows with a start and an end, by their names."""
    four, sixteen, rng = cf.hadamard(4), cf.hadamard(16), np.random.default_rng(0)
    start = 1e-3 * np.arange(1.0, 16.0)

    def full(classes: int, width: int, scale: float, depth: int = 2) -> tuple[np.ndarray, ...]:
        return cf.random_init(classes=classes, width=width, scale=scale, depth=depth)

    return {
        "K = 4, a dead mode": (cf.SpectralFlow(four), [1e-3, 2e-3, 0.0], 1e5),
        "K = 4, depth 4, two modes merge": (
            cf.SpectralFlow(four, depth=4, reduction="sum"), [0.411, 2.178, 1.105], 60.0,
        ),
        "K = 4, depth 4, squared error, a negative mode": (
            cf.SpectralFlow(four, loss="squared_error", depth=4), [0.1, -0.2, 0.3], 300.0,
        ),
        "K = 16, weight decay 1e-3": (cf.SpectralFlow(sixteen, weight_decay=1e-3), start, 18.0),
        "K = 16, label smoothing 1e-3": (
            cf.SpectralFlow(sixteen, loss=cf.losses.label_smoothing(1e-3)), start, 18.0,
        ),
        MANY: (cf.SpectralFlow(cf.hadamard(64)), 1e-3 * rng.uniform(0.1, 1.0, 63), 1e6),
        "matrices, K = 4, depth 3, scale 1e-3": (cf.MatrixFlow(depth=3), full(4, 4, 1e-3, 3), 9.5),
        "matrices, K = 4, depth 4, scale 1e-2": (cf.MatrixFlow(depth=4), full(4, 4, 1e-2, 4), 11.0),
        "matrices, K = 4, width 1": (cf.MatrixFlow(), full(4, 1, 1e-2), 20.0),
        "matrices, K = 10, weight decay 1e-3": (cf.MatrixFlow(weight_decay=1e-3), full(10, 10, 0.1), 14.0),
    }  # fmt: skip


def counts(flow: Any, start: Any, log_t_end: float, rtol: float, most: int) -> list[int | None]:
    """Steps and evaluations of a run; none if it was given up."""
    run = cf.integrate(flow, start, log_t_end=log_t_end, rtol=rtol, max_steps=most)
    return [run.nsteps, run.nfev] if run.success else [None, None]


def field(flow: Any, start: np.ndarray) -> Any:
    return flow.motion(start, flow.origin(start), -np.inf, 1e-9, closed_form=False)


def run(flow: Any, start: np.ndarray, log_t_end: float, rtol: float, first_look: float) -> tuple[float, int]:
    """CPU time of a run over that of an evaluation, and evaluations, with implicit steps from the given one on."""
    n, own = 1000, field(flow, start)
    states, found, clocks = np.zeros((n, start.size)), np.empty((n, start.size)), np.empty((2, n))
    one = best(lambda: own.rates_of_rows(states, found, *clocks), clock=time.process_time) / n
    with mock.patch.object(_run, "_first_look", lambda size: first_look):
        whole = best(
            lambda: cf.integrate(flow, start, log_t_end=log_t_end, rtol=rtol), seconds=0.0, clock=time.process_time
        )
        return whole / one, counts(flow, start, log_t_end, rtol, MOST)[1] or 0


def path(flow: Any, start: np.ndarray) -> tuple[Callable[[np.ndarray], np.ndarray], float]:
    """States (m, N) at places (m,) of the clock, to twelve digits or so, and the place where modes have merged."""
    own, row = field(flow, start), (np.empty((1, start.size)), np.empty((1, 1)), np.empty((1, 1)))

    def velocity(_: float, y: np.ndarray) -> np.ndarray:
        own.rates_of_rows(y[None], *row)
        return row[0][0].copy()

    def merged(_: float, y: np.ndarray) -> float:
        return float(np.log((start * np.exp(2.0 * y)).mean() / MERGED))

    merged.terminal = True  # type: ignore[attr-defined]
    exact = solve_ivp(
        velocity, (0.0, 100.0), np.zeros(start.size), "DOP853", rtol=3e-14, atol=3e-14, events=merged, dense_output=True
    )  # fmt: skip
    return lambda x: exact.sol(x).T, float(exact.t[-1])


def pieces(states: Callable[[np.ndarray], np.ndarray], end: float, degree: int, tolerance: float) -> int:
    """How many polynomials tell a path (greedily)."""
    nodes, places = chebyshev.chebpts1(degree + 1), np.linspace(-1.0, 1.0, 2 * degree + 3)
    x, h, count = 0.0, 0.1, 0
    while x < end:
        h = min(2.0 * h, end - x)
        while True:
            series = chebyshev.chebfit(nodes, states(x + 0.5 * h * (nodes + 1.0)), degree)
            error = chebyshev.chebval(places, series).T - states(x + 0.5 * h * (places + 1.0))
            if np.abs(error).max() <= tolerance:
                break
            h *= 0.9
        x, count = x + h, count + 1
    return count


def closely(quick: bool) -> list[Table]:
    """The run of 64 classes: its work, and where its steps are."""
    columns = ["work", "evaluations", "work, implicit from the 96th step", "evaluations"]
    whole = Table("64 classes to log t = 1e6", ["rtol", *columns, *(f"numbers, degree {d}" for d in DEGREES)])
    parts = Table("Steps of it, by the mean singular value", ["rtol", "from", "to", "steps", "size times largest rate"])
    flow, start, log_t_end = cases()[MANY]
    with compiling(True):
        own, (states, end) = field(flow, start), path(flow, start)
        for rtol in RTOLS[:1] if quick else RTOLS:
            looks = _run._first_look(start.size), _run.FIRST_LOOK
            works = [x for look in looks for x in run(flow, start, log_t_end, rtol, look)]
            numbers = [degree * pieces(states, end, degree, rtol) for degree in DEGREES[: 1 if quick else 2]]
            whole.rows.append([rtol, *works, *numbers])
            steps = cf.integrate(flow, start, log_t_end=log_t_end, rtol=rtol)._path.segments[0]
            means = (start * np.exp(2.0 * steps.y[:-1])).mean(axis=1)
            for low, high in pairwise(PARTS):
                inside = np.flatnonzero((means >= low) & (means < high))
                some = inside[np.linspace(0, inside.size - 1, SOME).astype(int)]
                sizes = [steps.h[i] * Response(own, steps.y[i]).largest_rate() for i in some]
                parts.rows.append([rtol, low, high, inside.size, float(np.median(sizes))])
    return [whole, parts]


def main(out: Path | None = None, quick: bool = False) -> list[Table]:
    table = Table(
        "Steps and evaluations of stiff runs",
        ["case", "rtol", "explicit: steps", "explicit: evaluations", "steps", "evaluations"],
    )
    most = 500 if quick else MOST
    for name, (flow, start, log_t_end) in list(cases().items())[: 2 if quick else None]:
        for rtol in RTOLS[:1] if quick else RTOLS:
            if isinstance(flow, cf.MatrixFlow) and rtol < 1e-9:
                continue  # minutes of Python, and no other picture
            with mock.patch.object(stepping, "LARGEST", 0):
                alone = counts(flow, start, log_t_end, rtol, min(most, 2000) if name[0] == "m" else most)
            table.rows.append([name, rtol, *alone, *counts(flow, start, log_t_end, rtol, most)])
    tables = [table, *closely(quick)]
    report("stiff", tables, out, quick=quick, notes=[f"-: given up after {MOST} steps (matrices: 2000)"])
    return tables
