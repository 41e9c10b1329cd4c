"""``ceflow run``: integrate the reduced flow, certify it, and compare it with the full flow."""

from __future__ import annotations

import argparse
import math
from typing import Any

import numpy as np

import ceflow as cf

from ..certify import time_text
from ..trajectory import SpectralTrajectory
from ._arguments import add_options
from ._page import LN10, Page, decades, save_figure, summary
from ._problem import describe, problem

FULL_UNTIL, FULL_CLASSES = 6.0 * LN10, 128  # last time and largest number of classes of the full flow
GROWING = "accumulated error of all steps"  # check of certificates that fails if errors grow
LEAST_LOG_TIME = -690.0  # shorter runs are not compared

DESCRIPTION = """\
Integrate the flow of the singular values from a small random start. Check the
result against the equations, the conservation laws and proved bounds, and
against the flow of the full matrices. Print a summary; write data and a figure.
Exit code 0 only if the run reached its end and every check passed."""

EXAMPLES = """\
examples:
  ceflow run                                   16 classes to t = 1e30
  ceflow run -K 64 --t-end 1e1000              t may exceed the largest float
  ceflow run --scheme cyclic -K 10 --seed 3    any number of classes
  ceflow run --scheme hamming:3,4              64 classes, 3 modes
  ceflow run --depth 3 --weight-decay 1e-3     three layers, to equilibrium
  ceflow run --loss label_smoothing:0.2        another loss"""


def add_to(commands: Any) -> None:
    """Add the command to a parser."""
    command = commands.add_parser(
        "run",
        help="integrate the reduced flow, certify it, save data and a figure",
        description=DESCRIPTION,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_options(command, t_end="1e30", rtol=1e-9)
    command.set_defaults(action=run, parser=command)


def run(options: argparse.Namespace) -> int:
    """Run the command; return the exit code."""
    flow, start = problem(options)
    options.out.mkdir(parents=True, exist_ok=True)
    page = Page(options.quiet, options.json)
    page.problem(describe(flow, start, options))
    traj, seconds = page.timed(
        lambda: cf.integrate(flow, start, log_t_end=options.t_end, rtol=options.rtol, progress=page.progress)
    )
    rests = _rest(traj)
    at = traj.at(log_t=decades(traj.log_t, traj.log_t_end if rests is None else rests))
    s, weights = at.singular_values, flow.scheme.multiplicities[1:]
    mean = s @ weights / weights.sum()
    columns = np.stack([s.min(axis=1), mean, s.max(axis=1), at.loss, at.lyapunov, at.accuracy_gap], axis=1)
    page.table(("t", "min s", "mean s", "max s", "loss", "V", "1 - p_0"), at.log_t, columns)
    if rests is not None:
        page.say(f"At equilibrium from t = {time_text(rests)} on, within the tolerance.")
    page.say(f"{traj.nsteps} steps ({traj.nrejected} rejected), {traj.nfev} evaluations in {seconds:.3g} s")
    page.say("compiled\n" if traj.compiled else "interpreted (compiling would take longer)\n")

    traj.save(options.out / "run.npz")  # before the checks: the run is saved in any case
    page.written(options.out / "run.npz")
    page.say()
    certificate, seconds = page.timed(traj.certificate)
    page.data |= {"flow": flow.spec, "run": summary(traj), "certificate": certificate.to_dict()}
    page.heading(f"Certificate, in {seconds:.2g} s")
    page.report(certificate)
    agrees = _check_against_full(page, flow, start, traj, options.rtol)
    if options.plot:
        save_figure(options.out / "run.png", lambda figure: cf.plot.dashboard(traj, figure), (11, 7.5))
        page.written(options.out / "run.png")
    return page.verdict(certificate.passed and agrees)


def _check_against_full(
    page: Page, flow: cf.SpectralFlow, start: np.ndarray, traj: SpectralTrajectory, rtol: float
) -> bool:
    """Integrate full matrices from the same start; check this run, and whether it agrees."""
    why_not = None
    if flow.scheme.classes > FULL_CLASSES:
        why_not = f"more than {FULL_CLASSES} classes"
    elif not isinstance(flow.depth, int):
        why_not = "the depth is not an integer"
    elif traj.log_t_end < LEAST_LOG_TIME:
        why_not = "the run ended before log t = -690"
    if why_not is not None:
        page.say(f"Not compared with the full flow: {why_not}.\n")
        return True
    full_flow = flow.full()
    rests = _rest(traj)  # nothing to compare after this
    end = min(traj.log_t_end if rests is None else rests, FULL_UNTIL)
    full, seconds = page.timed(
        lambda: cf.integrate(full_flow, flow.lift(start), log_t_end=end, rtol=rtol, progress=page.progress)
    )
    found = cf.compare(traj, full)
    own, note = full.certificate(), ""
    failed = [check.claim for check in own.checks if not check.passed]
    if found.trusted_until < end and GROWING in failed:
        failed.remove(GROWING)
        note = ", except for the error, which grows by the instability"
    applied = sum(check.status != "not applicable" for check in own.checks)
    page.heading(f"Full flow from the same start to t = {time_text(end)}, in {seconds:.2g} s")
    agrees = page.agreement("reduced flow agrees with it", found)
    measure = f"failed: {'; '.join(failed)}" if failed else f" {applied} checks{note}"
    sound = page.check("its own certificate", not failed, measure)
    page.say()
    return agrees and sound


def _rest(traj: cf.Trajectory) -> float | None:
    """log t after which the state is constant; None if it moves until the end."""
    last = traj._path.segments[-1] if traj._path is not None else None
    if last is None or last.kind != "rest" or not traj.success:
        return None
    return last.log_t if -math.inf < last.log_t < traj.log_t_end else None
