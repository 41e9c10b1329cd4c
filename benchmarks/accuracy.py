"""True errors of ceflow: how far singular values are from the exact solution, in units of the tolerance asked for.

``python -m benchmarks.accuracy`` prints a Markdown table. The exact solution is `ceflow.reference`, right to 20 digits.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

import ceflow as cf
from ceflow import reference

TOLERANCES = (1e-6, 1e-9, 1e-12)
WORST = 100.0  # of the tolerance; an error beyond counts as a failure
LN10 = math.log(10.0)
LOG_T = LN10 * np.linspace(-3.0, 300.0, 203)


class Row(NamedTuple):
    """Worst error of a run over the tolerance, and log10 of the time where it is."""

    scheme: cf.Scheme
    rtol: float
    ratio: float
    place: float
    nsteps: int


def schemes() -> list[cf.Scheme]:
    """One of every kind."""
    petersen = cf.johnson(5, 2).relations()
    return [
        cf.hadamard(4),
        cf.hadamard(8),
        cf.cyclic(5),
        cf.cyclic(9),
        cf.johnson(5, 2),
        cf.hamming(2, 3),
        cf.complete(7),
        cf.from_relations(petersen),
    ]


def errors(scheme: cf.Scheme, start: np.ndarray, log_t: np.ndarray = LOG_T) -> Iterator[Row]:
    """Largest relative errors of all singular values at all times, one row for each tolerance."""
    flow = cf.SpectralFlow(scheme)
    exact = reference.solve(flow, start, log_t, digits=20).singular_values
    for rtol in TOLERANCES:
        run = cf.integrate(flow, start, log_t_eval=log_t, rtol=rtol)
        error = np.abs((run.singular_values / exact - 1).astype(float)).max(axis=1)
        worst = int(error.argmax())
        yield Row(scheme, rtol, float(error[worst] / rtol), float(log_t[worst] / LN10), run.nsteps)


def main(quick: bool = False, seed: int = 0) -> int:
    """Prints the table, of two schemes if it must be quick. Returns 0 if all errors are below 100 tolerances.

    The starts are s = 1e-3 U(0.1, 1) of the seed.
    """
    print(f"Largest error of any singular value over rtol, at {len(LOG_T)} times from 1e-3 to 1e300 (and where).")
    print()
    print("| scheme | " + " | ".join(f"rtol = {rtol:g}" for rtol in TOLERANCES) + " | steps |")
    print("|---" * (len(TOLERANCES) + 2) + "|")
    passed = True
    for scheme in schemes()[: 2 if quick else None]:
        start = 1e-3 * np.random.default_rng(seed).uniform(0.1, 1.0, scheme.modes)
        rows = list(errors(scheme, start))
        cells = [f"{row.ratio:.2g} (1e{row.place:.3g})" for row in rows]
        print(f"| {scheme.name} | {' | '.join(cells)} | {', '.join(str(row.nsteps) for row in rows)} |", flush=True)
        passed = passed and all(row.ratio <= WORST for row in rows)
    return 0 if passed else 1


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m benchmarks.accuracy", description=__doc__)
    parser.add_argument("--seed", type=int, default=0, help="of the start, s = 1e-3 U(0.1, 1) (default: 0)")
    raise SystemExit(main(seed=parser.parse_args().seed))
