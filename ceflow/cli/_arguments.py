"""Common options of the commands."""

from __future__ import annotations

import argparse
import tomllib
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any

from .. import losses, symmetry


def add_options(command: argparse.ArgumentParser, t_end: str, rtol: float) -> None:
    """Add the options for problem, solver and output; the defaults of two of them are arguments."""
    add = command.add_argument
    add("-K", "--classes", type=int, metavar="K", help=f"number of classes (default: {symmetry.CLASSES})")
    add("--scheme", default="hadamard", metavar="NAME", help=f"{symmetry.forms()}; default: %(default)s")
    add("--loss", default="cross_entropy", metavar="NAME", help=f"{losses.forms()}; default: %(default)s")
    add("--depth", type=float, default=2, metavar="L", help="number of layers (default: %(default)s)")
    add(
        "--weight-decay",
        type=float,
        default=0.0,
        metavar="MU",
        help="adds (MU / 2) sum |W_l|^2 to the loss (default: %(default)g)",
    )
    add(
        "--reduction",
        choices=("mean", "sum"),
        default="mean",
        help="reduction of the loss over classes; sets the unit of time (default: %(default)s)",
    )
    add(
        "--t-end",
        type=log_time,
        default=t_end,
        metavar="T",
        help="last time, in the unit of the reduction; may exceed 1e308 (default: %(default)s)",
    )
    add("--rtol", type=tolerance, default=rtol, help="relative tolerance (default: %(default)s)")
    add("--seed", type=int, default=0, help="seed of the random start (default: %(default)s)")
    add(
        "--scale",
        type=float,
        default=1e-3,
        metavar="S",
        help="initial singular values uniform in S * [0.1, 1], balanced layers (default: %(default)s)",
    )
    add(
        "--start",
        type=Path,
        metavar="FILE",
        help=".npy, .txt or .csv of singular values (D) or layers (L x D), in place of a random start",
    )
    out = Path(f"ceflow-{command.prog.split()[-1]}")
    add("--out", type=Path, default=out, metavar="DIR", help="output folder (default: %(default)s)")
    add("--plot", action=argparse.BooleanOptionalAction, default=True, help="write a figure (default: yes)")
    names = "TOML file of options by their long names; the command line takes precedence"
    add("--config", type=Path, metavar="FILE", help=names)
    add("--json", action="store_true", help="print one JSON object and nothing else")
    add("--quiet", action="store_true", help="no progress bars (shown on a terminal only)")


def defaults_of(config: Path, command: argparse.ArgumentParser) -> dict[str, Any]:
    """Checked options of a TOML file; names may have - or _ between words."""
    try:
        found = tomllib.loads(config.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"--config {config} is not a TOML file: {error}") from None
    found = {name.replace("-", "_"): value for name, value in found.items()}
    known = {action.dest: action for action in command._actions if action.dest not in ("help", "config")}
    if found.keys() - known.keys():
        raise ValueError(f"--config {config} has unknown options: {', '.join(sorted(found.keys() - known.keys()))}")
    for name, value in found.items():
        if isinstance(known[name].const, bool) or isinstance(known[name], argparse.BooleanOptionalAction):
            if not isinstance(value, bool):
                raise ValueError(f"--config {config}: {name} must be true or false, got {value!r}")
        else:  # argparse parses string defaults like arguments
            found[name] = str(value)
    return found


def tolerance(text: str) -> float:
    """Parse a relative tolerance."""
    try:
        if 1e-13 <= float(text) <= 0.1:
            return float(text)
    except ValueError:
        pass
    raise argparse.ArgumentTypeError(f"rtol must be between 1e-13 and 0.1, got {text}")


def log_time(text: str) -> float:
    """Parse a time, possibly beyond the range of floats, and return log t."""
    try:
        value = Decimal(text)
        if value.is_finite() and value > 0:
            return float(value.ln())
    except InvalidOperation:
        pass
    raise argparse.ArgumentTypeError(f"must be a positive number such as 1e30 or 1e1000, got {text!r}")
