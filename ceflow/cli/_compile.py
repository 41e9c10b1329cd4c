"""``ceflow compile``: compile all kinds of flows once, so that later runs load compiled code."""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from typing import Any

import numpy as np

import ceflow as cf

DESCRIPTION = """\
Compile every kind of flow once. Without this command a process interprets its
first runs, and compiles once compilation saves time."""


def add_to(commands: Any) -> None:
    """Add the command to a parser."""
    command = commands.add_parser("compile", help="compile every kind of flow once", description=DESCRIPTION)
    command.add_argument("-q", "--quiet", action="store_true", help="no progress bar")
    command.set_defaults(action=run)


def run(options: argparse.Namespace) -> int:
    """Run the command; return the exit code."""
    from tqdm import tqdm  # slow to import

    before = time.process_time()
    every = tqdm(list(_kinds()), unit="kind", disable=options.quiet)
    for name, flow, start in every:
        every.set_postfix_str(name)
        cf.integrate(flow, start, t_end=1.0, compiled=True)
        cf.integrate_many(flow, [start], t_end=1.0, threads=1)
    if not options.quiet:
        print(f"all compiled, in {time.process_time() - before:.3g} CPU seconds")
    return 0


def _kinds() -> Iterator[tuple[str, cf.flow.Flow[Any], Any]]:
    """Name, flow and start of one flow of each kind."""
    s0 = np.array([0.1, 0.2, 0.3])
    yield "cross_entropy", cf.SpectralFlow(cf.hadamard(4)), s0
    for loss in cf.losses.LOSSES:
        yield f"{loss}, decay", cf.SpectralFlow(cf.hadamard(4), loss=loss, weight_decay=0.1), s0
    yield "deep", cf.SpectralFlow(cf.hadamard(4), depth=3), np.stack([s0, 2 * s0, 3 * s0])
    yield "dense", cf.SpectralFlow(cf.cyclic(7)), s0
    pair = cf.direct_sum(3, 2)
    groups: dict[str, Any] = {
        "groups": {"bias": True},
        "groups, targets": {"loss": "squared_error", "targets": "one-hot"},
        "groups, softplus": {"activation": "softplus:2"},
        "groups, relu": {"activation": "relu"},
    }
    for name, options in groups.items():
        flow = cf.SpectralFlow(pair, **options)
        yield name, flow, flow.random_start(0.3)
