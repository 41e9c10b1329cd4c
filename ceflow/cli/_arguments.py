"""Options that the commands share."""

from __future__ import annotations

import argparse
from decimal import Decimal, InvalidOperation
from pathlib import Path

from .. import losses, symmetry


def add_options(command: argparse.ArgumentParser, t_end: str, rtol: float) -> None:
    """Adds the options for the problem, the solver and the output, two of them with defaults of the command's own."""
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
        "--t-end",
        type=log_time,
        default=t_end,
        metavar="T",
        help="last time, loss averaged over classes; may exceed 1e308 (default: %(default)s)",
    )
    add("--rtol", type=float, default=rtol, help="relative tolerance (default: %(default)s)")
    add("--seed", type=int, default=0, help="of the random start (default: %(default)s)")
    add(
        "--scale",
        type=float,
        default=1e-3,
        metavar="S",
        help="singular values start uniform in S * [0.1, 1], layers balanced (default: %(default)s)",
    )
    out = Path(f"ceflow-{command.prog.split()[-1]}")
    add("--out", type=Path, default=out, metavar="DIR", help="where to write (default: %(default)s)")
    add("--plot", action=argparse.BooleanOptionalAction, default=True, help="draw the figure (default: yes)")
    add("--quiet", action="store_true", help="no progress bars, which only a terminal shows")


def log_time(text: str) -> float:
    """log t of a time that may be too large for a float."""
    try:
        value = Decimal(text)
        if value.is_finite() and value > 0:
            return float(value.ln())
    except InvalidOperation:
        pass
    raise argparse.ArgumentTypeError(f"must be a positive number such as 1e30 or 1e1000, got {text!r}")
