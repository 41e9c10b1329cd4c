"""The command ``ceflow``: solve, check and draw from a shell.

``ceflow run`` integrates the reduced flow and certifies what it found; ``ceflow compare`` measures it against the full
flow; ``ceflow sweep`` integrates many starts of each flow of a grid; ``ceflow prove`` proves the theorems; ``ceflow
compile`` compiles every kind of flow once. All exit with 0 only if every claim has passed, with 1 if one failed, and
with 2 on bad arguments.
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
    """Runs the command.

    Parameters
    ----------
    argv : sequence of str, optional
        Arguments; those of the process when left out.

    Returns
    -------
    int
        Exit code. Bad arguments and ``--help`` leave by SystemExit, as argparse does.
    """
    parser = _parser()
    options = parser.parse_args(argv)
    try:
        command = getattr(options, "parser", None)  # of those that take options from a file
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
        with np.errstate(over="ignore", under="ignore"):  # where everything decays, singular values become subnormal
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
        description="Gradient flow on unconstrained features models, reduced exactly where the start is symmetric.",
        epilog="'ceflow COMMAND --help' gives options and examples.",
    )
    parser.add_argument("--version", action="version", version=f"ceflow {cf.__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND")
    for command in COMMANDS:
        command.add_to(commands)
    return parser
