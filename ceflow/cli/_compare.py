"""``ceflow compare``: comparison of the reduced with the full flow."""

from __future__ import annotations

import argparse
from typing import Any

import numpy as np

import ceflow as cf

from .._compare import AGREEMENT, COARSEST_AGREEMENT
from ._arguments import add_options
from ._page import Page, decades, save_figure, summary
from ._problem import describe, problem

ROWS = 40  # compared rows of the full run, in addition to the printed ones
LARGEST_FILE = 2**28  # largest size in bytes of the states of a saved full run

DESCRIPTION = f"""\
Integrate the reduced flow and the full matrices from the same start, and
print the difference. Exit code 0 only if both runs reached their end and the
error is at most {AGREEMENT:g} rtol (and at most {COARSEST_AGREEMENT:g} for any rtol). Where the
symmetric trajectory is unstable, rounding errors grow: times after that are
not compared."""

EXAMPLES = """\
examples:
  ceflow compare                               16 classes to t = 1e6
  ceflow compare --scheme johnson:5,2          triangular graph on 10 classes
  ceflow compare -K 8 --width 100 --rtol 1e-12
  ceflow compare -K 1024 --backend torch --device cuda"""

LEGEND = """\
  Z             |Z_reduced - Z_full| / |Z_full|, Frobenius norm
  off-diagonal  part of the full matrices outside the scheme's basis
  s             largest difference of singular values / largest singular value
  loss, V       relative difference of the losses, difference of V
"""


def add_to(commands: Any) -> None:
    """Add the command to a parser."""
    command = commands.add_parser(
        "compare",
        help="compare the reduced with the full flow",
        description=DESCRIPTION,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_options(command, t_end="1e6", rtol=1e-10)
    add = command.add_argument
    add("--width", type=int, metavar="d", help="feature dimension of the full model (default: K)")
    add("--backend", default="numpy", choices=("numpy", "torch"),
        help="array library of the full flow (default: %(default)s)")
    add("--device", metavar="DEV", help="cpu, cuda or cuda:1, with --backend torch (default: cpu)")
    add("--dtype", default="float64", choices=("float64", "float32"), help="number type (default: %(default)s)")
    command.set_defaults(action=compare, parser=command)


def compare(options: argparse.Namespace) -> int:
    """Run the command; return the exit code."""
    flow, start = problem(options)
    # invalid widths and devices raise errors before the runs
    full_start = flow.lift(start, width=options.width)
    full_flow = cf.MatrixFlow(
        backend=options.backend,
        device=options.device,
        dtype=options.dtype,
        loss=flow.loss,
        depth=flow.full().depth,
        reduction=flow.reduction,
        weight_decay=flow.weight_decay,
    )
    options.out.mkdir(parents=True, exist_ok=True)
    page = Page(options.quiet, options.json)
    page.problem(describe(flow, start, options, width=full_start[0].shape[1]))
    reduced, reduced_seconds = page.timed(
        lambda: cf.integrate(flow, start, log_t_end=options.t_end, rtol=options.rtol, progress=page.progress)
    )
    printed = decades(reduced.log_t, reduced.log_t_end)
    if len(printed) < 2:
        page.check("reduced flow reached the end", False, reduced.message)
        page.say()
        return page.verdict(False)
    rows = np.union1d(np.linspace(printed[1], printed[-1], ROWS), printed)
    full, full_seconds = page.timed(
        lambda: cf.integrate(
            full_flow,
            full_start,
            log_t_eval=rows,
            rtol=options.rtol,
            dense_output=False,
            progress=page.progress,
        )
    )
    for name, traj in (("reduced.npz", reduced), ("full.npz", full)):
        if traj.y.nbytes > LARGEST_FILE:
            page.say(f"{name} is not written: {traj.y.nbytes / 2**30:.2g} GiB")
            continue
        traj.save(options.out / name)
        page.written(options.out / name)
    page.say()
    found = cf.compare(reduced, full)
    page.data |= {"flow": reduced.flow.spec, "reduced": summary(reduced), "full": summary(full)}
    page.data |= {"max_error": found.max_error, "tolerance": found.tolerance, "trusted_until": found.trusted_until}
    at = np.isin(found.log_t, printed)
    errors = (found.error, found.off_diagonal, found.singular_value_error, found.loss_error, found.lyapunov_error)
    page.table(("t", "Z", "off-diagonal", "s", "loss", "V"), found.log_t[at], np.stack(errors, axis=1)[at])
    page.say(LEGEND)
    passed = [
        page.check("reduced flow reached the end", reduced.success, "" if reduced.success else reduced.message),
        page.check("full flow reached the end", full.success, "" if full.success else full.message),
        page.agreement(f"error at most {AGREEMENT:g} rtol", found),
    ]
    page.say()
    page.say(f"reduced: {reduced.nsteps} steps, {reduced.nfev} evaluations in {reduced_seconds:.3g} s")
    page.say(f"full:    {full.nsteps} steps, {full.nfev} evaluations in {full_seconds:.3g} s")
    if options.plot:
        path = options.out / "compare.png"
        save_figure(path, lambda figure: cf.plot.comparison(found, figure.subplots()), (7, 4.6))
        page.written(path)
    return page.verdict(all(passed))
