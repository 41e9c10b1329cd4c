"""``ceflow sweep``: many starts of a grid of flows, given by a TOML file."""

from __future__ import annotations

import argparse
import inspect
import math
import sys
import tomllib
from pathlib import Path
from typing import Any

import numpy as np

import ceflow as cf

from ._arguments import log_time
from ._page import Page

DESCRIPTION = """\
Integrate many starts of each flow of a grid given by CONFIG, and write a Zarr
store for xarray. If the command is interrupted or killed, the same command
continues with the missing runs. Exit code 0 only if every run reached its end."""

EXAMPLES = """\
example of CONFIG:
  members = 200                         # starts at each point of the grid
  t_end = "1e1000"                      # or t_eval = {log = [1, 1e6, 30]}
  observables = ["singular_values", "loss", "lyapunov"]

  [grid]                                # arrays are axes, scalars are fixed
  scheme = ["hadamard:8", "complete:8"]
  depth = [2, 3, 4]
  weight_decay = {log = [1e-6, 1e-2, 9]}   # from, to, how many; or linear
  scale = 1e-3                          # size of random starts

Other settings are arguments of ceflow.sweep, such as seed, rtol, max_steps,
chunk and store; collapsed = 1e-6 stops runs at V = 1e-6.

examples:
  ceflow sweep config.toml --executor processes --workers 8
  ceflow sweep config.toml --executor dask --scheduler tcp://10.0.0.1:8786"""

LISTS = ("t_eval", "log_t_eval")
SPACED: dict[str, Any] = {"linear": np.linspace, "log": np.geomspace}
FROM_PYTHON = {"grid", "starts", "flow", "until", "progress"}  # arguments of ceflow.sweep that a file cannot have


def add_to(commands: Any) -> None:
    """Add the command to a parser."""
    command = commands.add_parser(
        "sweep",
        help="integrate many starts of each flow of a grid; resumable",
        description=DESCRIPTION,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = command.add_argument
    add("config", type=Path, metavar="CONFIG", help="TOML file")
    add("--store", type=Path, metavar="DIR", help="output store (default: that of CONFIG, or its name with .zarr)")
    add("--executor", choices=("threads", "processes", "dask", "mpi"),
        help="executor of the chunks (default: one after the other)")
    add("--workers", type=int, metavar="N", help="number of threads or processes (default: one per core)")
    add("--scheduler", metavar="ADDRESS", help="dask scheduler (default: a local cluster)")
    add("--quiet", action="store_true", help="no progress bar (shown on a terminal only)")
    command.set_defaults(action=sweep)


def sweep(options: argparse.Namespace) -> int:
    """Run the command; return the exit code."""
    settings = read(options.config)
    store = options.store or Path(settings.pop("store", options.config.with_suffix(".zarr")))
    for name in ("executor", "workers", "scheduler"):
        if getattr(options, name) is not None:
            settings[name] = getattr(options, name)
    page = Page(options.quiet)
    try:
        results = cf.sweep(**settings, store=store, progress=page.progress)
    except Exception as error:
        print(*getattr(error, "__notes__", ()), sep="\n", file=sys.stderr)
        raise
    shape = " x ".join(f"{size} {name}" for name, size in results.status.sizes.items())
    page.heading(f"{results.status.size} runs: {shape}")
    outcomes, counts = np.unique(results.status.values, return_counts=True)
    for outcome, count in zip(outcomes, counts, strict=True):
        page.say(f"  {count:>9}  {cf.Outcome(outcome).name.lower().replace('_', ' ')}")
    page.written(store)
    return page.verdict(bool(results.success.all()))


def read(path: Path) -> dict[str, Any]:
    """Read arguments of `ceflow.sweep` from a file; raise a ValueError for unknown ones."""
    try:
        found = tomllib.loads(path.read_text(encoding="utf-8"))
    except tomllib.TOMLDecodeError as error:
        raise ValueError(f"{path} is not a TOML file: {error}") from None
    known = set(inspect.signature(cf.sweep).parameters) - FROM_PYTHON | {"grid", "collapsed"}
    if unknown := sorted(set(found) - known):
        raise ValueError(f"{path} has unknown settings {', '.join(unknown)}; known are {', '.join(sorted(known))}")
    if not isinstance(found.get("grid"), dict):
        raise ValueError(f"{path} must have a table [grid]")
    settings = found | {"grid": {name: _values(name, value) for name, value in found["grid"].items()}}
    settings |= {name: _values(name, found[name]) for name in LISTS if name in found}
    if isinstance(found.get("t_end"), str):
        settings["log_t_end"] = _log_time(settings.pop("t_end"))
    if "collapsed" in found:
        settings["until"] = cf.collapsed(settings.pop("collapsed"))
    return settings


def _values(name: str, value: Any) -> Any:
    """List of values, given as a list or as from, to and how many."""
    if not isinstance(value, dict):
        return value
    spacing: Any
    given: Any
    spacing, given = next(iter(value.items()), ("", ()))
    numbers = isinstance(given, list) and len(given) == 3 and all(type(one) in (int, float) for one in given)
    if len(value) != 1 or spacing not in SPACED or not numbers or given[2] < 2 or given[2] != int(given[2]):
        raise ValueError(f"{name} must be {{linear = [from, to, how many]}} or {{log = [...]}}, got {value!r}")
    if not all(map(math.isfinite, given)) or (spacing == "log" and min(given[:2]) <= 0.0):
        raise ValueError(f"{name} must have finite numbers, positive ones for log, got {value!r}")
    return SPACED[spacing](*given[:2], int(given[2]))


def _log_time(text: str) -> float:
    try:
        return log_time(text)
    except argparse.ArgumentTypeError as error:
        raise ValueError(f"t_end {error}") from None
