"""True errors of random runs in units of the tolerance, and whether certificates tell them, on a grid of problems.

Problems are of eight schemes, direct sums, a coherent configuration and plain matrices; of all losses; of depth 2 to 6
and real depths; with weight decay from none to above its threshold; from starts that are balanced, unbalanced, equal,
negative, 0, nearly opposite or many decades apart; to log t = 1e4. Each is run at four tolerances, and held against one
exact solution (`_exact`) at knots and between them. One problem in sixteen is of matrices, whose exact solutions cost
most: these runs end at log t = 5.

The error of a mode at a time is ``|s - s*| / (size + |ds*/dlog t|)``: relative to the singular value, or to how far it
moves while time changes by its own size; or e, if the exact mode passes s at a time that differs by no more than a part
of e. So it says that s is right to the tolerance, or is so at a time that is. For
two layers a, b of opposite sign, which may cross 0, `size` is ``(a^2 + b^2) / 2`` (times the layers beyond the two
smallest): that of balanced layers, whose size is |s|. A mode that has faded to 1e-200 of its size counts as 0. Of
matrices the same is taken of all layers together, in the Frobenius norm.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np

from ._grid import KINDS, TOLERANCES, Row, rows
from ._report import Table, report

RUNS, QUICK_RUNS = 2000, 8
ESTIMATED = 0.1  # of rtol: true errors up to it are too small to be worth a ratio
LOWEST, HIGHEST = 1.0, 30.0  # of the estimate over the true error


def measured(first: int, runs: int, jobs: int) -> list[Row]:
    """Runs of the problems from a seed on."""
    seeds = range(first, first + -(-runs // TOLERANCES))
    if jobs == 1:
        return [row for seed in seeds for row in rows(seed)]
    with ProcessPoolExecutor(jobs) as pool:
        return [row for found in pool.map(rows, seeds) for row in found]


def errors(title: str, groups: dict[str, list[Row]]) -> Table:
    """Of groups of runs."""
    columns = ["runs", "at knots", "between", "99 %", "worst", "beyond", "s alone"]
    table = Table(f"True errors over rtol, {title}", [title.split()[-1], *columns])
    for name, group in groups.items():
        every = np.array([row.error for row in group])
        table.rows.append(
            [
                name, len(group), max(row.at_knots for row in group), max(row.between for row in group),
                float(np.quantile(every, 0.99)), float(every.max()), sum(row.error > row.limit for row in group),
                sum(row.plain > row.limit for row in group),
            ]
        )  # fmt: skip
    return table


def verdicts(groups: dict[str, list[Row]]) -> Table:
    """Whether certificates are right, and the quantiles of their estimate over the true error."""
    columns = ["runs", "false pass", "false failure", "runs with a ratio", "least", "1 %", "half", "99 %", "largest"]
    table = Table("Certificates, and their estimate over the true error", ["kind", *columns, "outside"])
    for name, group in groups.items():
        passes = sum(row.error > row.limit and not row.failed for row in group)
        failures = sum(row.error <= row.limit and bool(row.failed) for row in group)
        ratios = np.array([row.estimate / row.error for row in group if row.error >= ESTIMATED])
        quantiles = np.quantile(ratios, (0.0, 0.01, 0.5, 0.99, 1.0)).tolist() if ratios.size else [None] * 5
        outside = int(np.sum(~((ratios >= LOWEST) & (ratios <= HIGHEST))))
        table.rows.append([name, len(group), passes, failures, len(ratios), *quantiles, outside])
    return table


def grouped(found: list[Row], key: Callable[[Row], str], names: list[str]) -> dict[str, list[Row]]:
    """By a key, and all of them."""
    groups = {name: [row for row in found if key(row) == name] for name in names}
    return {name: group for name, group in groups.items() if group} | {"all": found}


def main(
    out: Path | None = None, quick: bool = False, runs: int | None = None, seed: int = 0, jobs: int = 2
) -> list[Table]:
    """Prints the tables; the runs of four tolerances are of problems with the seeds from `seed` on."""
    runs = (QUICK_RUNS if quick else RUNS) if runs is None else runs
    found = measured(seed, runs, 1 if quick else jobs)
    by_kind = grouped(found, lambda row: row.kind, list(KINDS))
    by_rtol = grouped(found, lambda row: f"{row.rtol:g}", [f"{x:g}" for x in sorted({r.rtol for r in found})[::-1]])
    tables = [errors("by kind", by_kind), errors("by rtol", by_rtol), verdicts(by_kind)]
    notes = [
        f"{len(found)} runs of {len(found) // TOLERANCES} problems, seeds from {seed}; of "
        f"{-(-runs // TOLERANCES) - len(found) // TOLERANCES} more problems no exact solution was found",
        "beyond: runs with an error above 10 rtol, or 30 rtol where rtol <= 1e-12; s alone: the same without regard to "
        "how fast singular values move",
        f"a ratio is taken where the true error is at least {ESTIMATED:g} rtol; outside: not within [1, 30]",
    ]
    for row in found:
        wrong = bool(row.failed) != (row.error > row.limit)
        if wrong or row.error > row.limit:
            verdict = f"fails by {', '.join(row.failed)}" if row.failed else "passes"
            notes.append(f"rtol {row.rtol:g}, error {row.error:.3g} rtol, the certificate {verdict}: {row.text}")
    report("accuracy", tables, out, quick=quick, notes=notes)
    return tables
