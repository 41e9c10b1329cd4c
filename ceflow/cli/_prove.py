"""``ceflow prove``: symbolic proofs, independent of the rest of the package."""

from __future__ import annotations

import argparse
from pathlib import Path
from types import ModuleType

CLONE = Path(__file__).resolve().parents[2] / "derivations" / "_command.py"


def add_to(commands: argparse._SubParsersAction) -> None:
    """Add the command to a parser."""
    proofs = _proofs()
    parser = commands.add_parser(
        "prove",
        help="prove the theorems symbolically, or print one proof",
        description="Prove the theorems behind ceflow by exact computer algebra. Without NAME: all, as a table; "
        "exit code 1 if any fails. With NAME: that proof, line by line, and whether all its premises are proved.",
        epilog="example: ceflow prove convergence",
    )
    proofs.add_arguments(parser)
    parser.set_defaults(action=proofs.run)


def _proofs() -> ModuleType:
    """Package of the proofs: `derivations` in a clone, `ceflow_derivations` in an installed wheel."""
    if CLONE.exists():
        from derivations import _command as here

        return here
    from ceflow_derivations import _command

    return _command
