"""Steps of stiff runs, with implicit steps and with explicit ones alone, at rtol 1e-6, 1e-9 and 1e-12.

Evaluations are those of the right-hand side, with those that Jacobians take. "-" is a run that is given up after as
many attempted steps as `MOST` says. Times would say more of the size of a problem than of the method.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np

import ceflow as cf
from ceflow.solve import stepping

from ._report import Table, report

MOST = 20_000
RTOLS = (1e-6, 1e-9, 1e-12)


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
        "K = 64, to log t = 1e6": (cf.SpectralFlow(cf.hadamard(64)), 1e-3 * rng.uniform(0.1, 1.0, 63), 1e6),
        "matrices, K = 4, depth 3, scale 1e-3": (cf.MatrixFlow(depth=3), full(4, 4, 1e-3, 3), 9.5),
        "matrices, K = 4, depth 4, scale 1e-2": (cf.MatrixFlow(depth=4), full(4, 4, 1e-2, 4), 11.0),
        "matrices, K = 4, width 1": (cf.MatrixFlow(), full(4, 1, 1e-2), 20.0),
        "matrices, K = 10, weight decay 1e-3": (cf.MatrixFlow(weight_decay=1e-3), full(10, 10, 0.1), 14.0),
    }  # fmt: skip


def counts(flow: Any, start: Any, log_t_end: float, rtol: float, most: int) -> list[int | None]:
    """Steps and evaluations of a run; none if it was given up."""
    run = cf.integrate(flow, start, log_t_end=log_t_end, rtol=rtol, max_steps=most)
    return [run.nsteps, run.nfev] if run.success else [None, None]


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
    report("stiff", [table], out, quick=quick, notes=[f"-: given up after {MOST} steps (matrices: 2000)"])
    return [table]
