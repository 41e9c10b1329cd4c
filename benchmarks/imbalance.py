"""A long tail of classes: the flow of ten groups against that of the full matrices, in the same run.

Ten groups of classes with 500 to 10 samples of a class, as in CIFAR-100-LT with an imbalance of 50, from the same small
start to the same time at the same tolerance. Both follow the same path: the distance of their logits is in the table.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

import ceflow as cf

from ._report import Table, report
from ._timing import best

RTOL, T_END, GROUPS = 1e-9, 1e6, 10


def tail(groups: int = GROUPS, most: int = 500, imbalance: float = 50.0) -> tuple[int, ...]:
    """Samples of a class in each group, falling geometrically."""
    return tuple(round(most * imbalance ** (-i / (groups - 1))) for i in range(groups))


def measure(classes: int, quick: bool) -> Table:
    sizes, samples = (classes // GROUPS,) * GROUPS, tail()
    flow = cf.SpectralFlow(cf.direct_sum(*sizes), samples=samples)
    full, start = flow.full(), flow.random_start(0.1, rng=0)
    matrices, times = flow.lift(start), np.logspace(0, np.log10(T_END), 7)
    runs = {
        "groups": lambda: cf.integrate(flow, start, t_end=T_END, rtol=RTOL),
        "full matrices": lambda: cf.integrate(full, matrices, t_eval=times, rtol=RTOL),
    }
    mine, yours = (run() for run in runs.values())  # compiles what has to be
    Z, reduced = yours.logits, mine.at(log_t=yours.log_t).logits
    error = float((np.linalg.norm(reduced - Z, axis=(1, 2)) / np.linalg.norm(Z, axis=(1, 2))).max())
    seconds = {name: best(run, seconds=0.1 if quick else 5.0, least=1 if quick else 3) for name, run in runs.items()}
    table = Table(
        f"K = {classes} in {GROUPS} groups, {samples[0]} to {samples[-1]} samples, t = {T_END:g}, rtol {RTOL:g}",
        ["flow", "numbers", "ms", "to groups", "steps", "distance of logits"],
    )
    for (name, time), run in zip(seconds.items(), (mine, yours), strict=True):
        numbers = 2 * classes**2 if run is yours else run.y.shape[1]
        ratio = time / seconds["groups"]
        table.rows.append([name, numbers, 1e3 * time, ratio, run.nsteps, error if run is yours else None])
    return table


def main(out: Path | None = None, quick: bool = False, peers: bool = True) -> list[Table]:
    tables = [measure(20 if quick else 100, quick)]
    report("imbalance", tables, out, quick=quick)
    return tables
