"""The command ``ceflow``: integrate, check and plot from a shell.

``ceflow run`` integrates the reduced flow and checks the result. ``ceflow compare`` compares it with the full flow.
``ceflow sweep`` integrates many starts of each flow of a grid. ``ceflow prove`` proves the theorems. ``ceflow compile``
compiles every kind of flow once. The exit code is 0 only if every check passed, 1 if one failed, and 2 for invalid
arguments.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

import numpy as np

import ceflow as cf

from . import _certify, _compare, _compile, _info, _prove, _run, _sweep
from ._arguments import defaults_of

__all__ = ["main"]

COMMANDS = (_run, _compare, _sweep, _certify, _prove, _compile, _info)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command.

    Parameters
    ----------
    argv : sequence of str, optional
        Arguments; default those of the process.

    Returns
    -------
    int
        Exit code. Invalid arguments and ``--help`` raise SystemExit, as argparse does.
    """
    parser = _parser()
    options = parser.parse_args(argv)
    try:
        command = getattr(options, "parser", None)  # set by commands with options from a file
        if command is not None and options.config is not None:
            command.set_defaults(**defaults_of(options.config, command))
            options = parser.parse_args(argv)
    except (ValueError, OSError) as error:
        print(f"ceflow {options.command}: error: {error}", file=sys.stderr)
        return 2
    if options.command is None:
        parser.print_help()
        return 2
    try:
        with np.errstate(over="ignore", under="ignore"):  # decaying singular values become subnormal
            return options.action(options)
    except (ValueError, TypeError, OSError, ImportError, MemoryError) as error:
        print(f"ceflow {options.command}: error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(f"ceflow {options.command}: interrupted", file=sys.stderr)
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="ceflow",
        description="Gradient flow on unconstrained features models, with exact reduction for symmetric starts.",
        epilog="'ceflow COMMAND --help' gives options and examples.",
    )
    parser.add_argument("--version", action="version", version=f"ceflow {cf.__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND")
    for command in COMMANDS:
        command.add_to(commands)
    return parser
