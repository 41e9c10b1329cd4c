"""The command ``ceflow``: solve, check and draw from a shell.

``ceflow run`` integrates the reduced flow and certifies what it found; ``ceflow compare`` measures it against the full
flow; ``ceflow compile`` compiles every kind of flow once. They exit with 0 only if every claim has passed, with 1 if
one failed, and with 2 on bad arguments.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

import numpy as np

import ceflow as cf

from . import _compare, _compile, _run

__all__ = ["main"]


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
        description="Cross-entropy gradient flow on unconstrained features models, exactly where symmetry allows it.",
        epilog="'ceflow run --help' and 'ceflow compare --help' give options and examples.",
    )
    parser.add_argument("--version", action="version", version=f"ceflow {cf.__version__}")
    commands = parser.add_subparsers(dest="command", metavar="{run,compare,compile}")
    _run.add_to(commands)
    _compare.add_to(commands)
    _compile.add_to(commands)
    return parser
