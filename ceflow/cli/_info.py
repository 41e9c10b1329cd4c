"""``ceflow info``: installed versions, or contents of a file."""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import os
import platform
import sys
from pathlib import Path
from typing import Any

import ceflow as cf

from .. import losses
from ._page import summary

PACKAGES = ("numpy", "scipy", "sympy", "numba", "matplotlib", "tqdm")
EXTRAS = ("torch", "xarray", "zarr", "dask", "mpmath", "python-flint", "scikit-learn", "jupyter")


def add_to(commands: Any) -> None:
    """Add the command to a parser."""
    command = commands.add_parser(
        "info",
        help="versions, schemes and losses; or the contents of a saved run",
        description="Without FILE: versions of ceflow and its dependencies, schemes and losses.\n"
        "With FILE: flow and outcome of a saved run.",
        epilog="examples:\n  ceflow info\n  ceflow info ceflow-run/run.npz --json",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    command.add_argument("file", type=Path, metavar="FILE", nargs="?", help="a run, .npz")
    command.add_argument("--json", action="store_true", help="print the information as JSON")
    command.set_defaults(action=info)


def info(options: argparse.Namespace) -> int:
    """Run the command; return the exit code."""
    found = _installed() if options.file is None else _of_file(options.file)
    if options.json:
        print(json.dumps(found, indent=2))
        return 0
    for name, value in found.items():
        value = ", ".join(f"{k} {v}" for k, v in value.items()) if isinstance(value, dict) else value
        value = ", ".join(map(str, value)) if isinstance(value, list) else value
        print(f"{name.replace('_', ' '):<16}{value}")
    return 0


def _installed() -> dict[str, Any]:
    return {
        "ceflow": cf.__version__,
        "python": f"{platform.python_version()}, {platform.system()} {platform.machine()}",
        "cores": len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count(),
        "uses": _versions(PACKAGES),
        "extras": _versions(EXTRAS),
        "schemes": list(cf.SCHEMES),
        "losses": list(losses.LOSSES),
    }


def _versions(names: tuple[str, ...]) -> dict[str, str]:
    """Versions of installed packages."""
    found = {}
    for name in names:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def _of_file(path: Path) -> dict[str, Any]:
    run = cf.load(path)
    if isinstance(run, cf.Ensemble):
        facts = {"flow": repr(run.flow), "runs": len(run), "succeeded": int(run.success.sum()), "rtol": run.rtol}
        return facts | {"rows": run.log_t.shape[-1], "observables": list(run.data)}
    facts = {"flow": repr(run.flow), "rows": len(run), "rtol": run.rtol, "log_t_end": run.log_t_end}
    return facts | (summary(run) if run.log_loss.ndim == 1 else {"outcome": run.outcome.name, "message": run.message})
