"""``ceflow certify``: certificate of a saved run."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import ceflow as cf

from ._page import Page

EXAMPLES = """\
examples:
  ceflow certify ceflow-run/run.npz            a run written by `ceflow run`
  ceflow certify run.npz --json                machine-readable"""


def add_to(commands: Any) -> None:
    """Add the command to a parser."""
    command = commands.add_parser(
        "certify",
        help="check a saved run against its equations",
        description="Load a run saved by `ceflow run` or Trajectory.save, and check it against its\n"
        "equations. Exit code 0 only if every check passed.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    command.add_argument("file", type=Path, metavar="FILE", help="a run, .npz")
    command.add_argument("--json", action="store_true", help="print the certificate as JSON")
    command.set_defaults(action=certify)


def certify(options: argparse.Namespace) -> int:
    """Run the command; return the exit code."""
    run = cf.load(options.file)
    if isinstance(run, cf.Ensemble):
        raise ValueError(f"{options.file} holds an ensemble; a certificate needs a run of cf.integrate with its steps")
    page = Page(True, options.json)
    certificate = run.certificate()
    page.data = {"certificate": certificate.to_dict()}
    page.heading(f"Certificate of {options.file}")
    page.say(f"{run}\n")
    page.report(certificate)
    return page.verdict(certificate.passed)
