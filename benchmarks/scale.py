"""Time and memory of ceflow up to millions of classes, and the reduced flow against full matrices.

Every run has a process of its own, compiled beforehand; memory is the largest resident set of that process, less that
of one which imports ceflow and solves K = 16. Slopes are fitted to the largest sizes: time ~ K^slope.
"""

from __future__ import annotations

import json
import math
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

from ._report import BLACK, BLUE, GREEN, RED, Table, new_figure, report
from ._timing import best

RTOL = 1e-9


def worker(kind: str, classes: int, t_end: float) -> None:
    """Runs in a process of its own, and prints what it took as JSON."""
    import resource

    import ceflow as cf

    def start(classes: int) -> np.ndarray:
        return 1e-3 * np.random.default_rng(0).uniform(0.1, 1.0, classes - 1)

    def solve(classes: int):
        flow = cf.SpectralFlow(cf.hadamard(classes))
        s0 = start(classes)
        if kind == "reduced":
            return lambda: cf.integrate(flow, s0, t_end, rtol=RTOL, dense_output=False)
        matrices, full = flow.lift(s0), cf.MatrixFlow()
        return lambda: cf.integrate(full, matrices, t_end, rtol=RTOL, dense_output=False)

    solve(16)()  # compiles
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    call = solve(classes)
    begin = time.perf_counter()
    run = call()
    seconds = time.perf_counter() - begin
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    if seconds < 1.0:
        seconds = min(seconds, best(call, seconds=1.0))
    unit = 1 if sys.platform == "darwin" else 1024
    found = {"seconds": seconds, "bytes": (peak - before) * unit, "total": peak * unit, "success": bool(run.success)}
    print(json.dumps(found | {"steps": run.nsteps, "evaluations": run.nfev}))


def alone(kind: str, classes: int, t_end: float) -> dict:
    """What `worker` found in a fresh process; {"failed": reason} when it did not come back."""
    code = f"from benchmarks.scale import worker; worker({kind!r}, {classes}, {t_end!r})"
    process = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=Path(__file__).resolve().parents[1]
    )
    if process.returncode:
        lines = process.stderr.strip().splitlines()
        return {"failed": lines[-1] if lines else f"exit code {process.returncode}, out of memory?"}
    return json.loads(process.stdout)


def slope(classes: list[int], values: list[float], last: int = 5) -> float:
    """Exponent of a power law through the `last` sizes."""
    return float(np.polyfit(np.log(classes[-last:]), np.log(values[-last:]), 1)[0])


def main(out: Path | None = None, quick: bool = False, peers: bool = True) -> list[Table]:
    figure, (left, middle, right) = new_figure(3, 1, width=3.8, height=3.6)
    sizes = [2**n for n in range(4, 17 if quick else 23, 4 if quick else 2)]
    tables, notes = [], []
    for t_end, color, marker in ((1e12, BLUE, "o"), (1e300, RED, "s")):
        table = Table(
            f"reduced flow to t = {t_end:g}, rtol {RTOL:g}, dense_output=False",
            ["K", "seconds", "MiB", "states", "steps", "evaluations", "ns per evaluation and K"],
        )
        done = []
        for classes in sizes:
            found = alone("reduced", classes, t_end)
            print(f"  scale: K = {classes}, t = {t_end:g}: {found}", file=sys.stderr, flush=True)
            if "failed" in found:
                table.rows.append([str(classes), found["failed"]])
                break
            done.append((classes, found["seconds"], found["bytes"]))
            table.rows.append([
                classes, found["seconds"], found["bytes"] / 2**20, found["bytes"] / (8.0 * classes), found["steps"],
                found["evaluations"], 1e9 * found["seconds"] / found["evaluations"] / classes,
            ])  # fmt: skip
        tables.append(table)
        columns = [list(column) for column in zip(*done, strict=True)]
        fitted = slope(columns[0], columns[1])
        notes.append(f"t = {t_end:g}: time ~ K^{fitted:.2f} over the last sizes")
        power = round(math.log10(t_end))
        label = rf"$t = 10^{{{power}}}$, slope {fitted:.2f}"
        left.plot(columns[0], columns[1], color=color, marker=marker, ms=4, label=label)
        big = [(k, b / 2**20) for k, b in zip(columns[0], columns[2], strict=True) if b >= 2**20]
        if big:
            middle.plot(*zip(*big, strict=True), color=color, marker=marker, ms=4, label=rf"$t = 10^{{{power}}}$")
    scale = np.array(sizes[-2:], float)
    middle.plot(scale, 8.0 * scale / 2**20, color=BLACK, lw=1.0, ls=":", label="one state")
    left.set(yscale="log", xlabel="classes $K$", ylabel="time [s]", title="reduced flow")
    middle.set(yscale="log", xlabel="classes $K$", ylabel="peak memory of the run [MiB]")
    middle.set_title("reduced flow")

    sizes = [2**n for n in range(2, 6 if quick else 10)]
    table = Table(
        f"reduced against full matrices to t = 1e6, rtol {RTOL:g}", ["K", "reduced ms", "full ms", "full to reduced"]
    )
    both = []
    for classes in sizes:
        found = [alone(kind, classes, 1e6) for kind in ("reduced", "matrix")]
        print(f"  scale: K = {classes}, reduced and full: {found}", file=sys.stderr, flush=True)
        if lost := [each["failed"] for each in found if "failed" in each]:
            table.rows.append([str(classes), lost[0]])
            break
        reduced, full = (1e3 * each["seconds"] for each in found)
        both.append([classes, reduced, full, full / reduced])
    sizes = [row[0] for row in both]
    table.rows[:0] = both
    tables.append(table)
    for column, name, color, marker in ((2, "full matrices", GREEN, "^"), (1, "reduced", BLUE, "o")):
        values = [row[column] for row in both]
        fitted = slope(sizes, values, 4)
        notes.append(f"{name}: time ~ K^{fitted:.2f} over K = {sizes[-4]} to {sizes[-1]}")
        right.plot(sizes, values, color=color, marker=marker, ms=4, label=f"{name}, slope {fitted:.2f}")
    right.set(yscale="log", xlabel="classes $K$", ylabel="time to $t = 10^6$ [ms]")
    right.set_title("against full matrices")
    for ax in (left, middle, right):
        ax.set_xscale("log", base=2)
        ax.legend(frameon=False, fontsize="small")
    report("scale", tables, out, quick=quick, notes=notes, figure=figure)
    return tables
