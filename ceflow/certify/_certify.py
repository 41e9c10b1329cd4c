"""Check of a run against the list of claims."""

from __future__ import annotations

import math

import numpy as np

from ..solve import Outcome
from ..trajectory import (
    ETFTrajectory,
    MatrixTrajectory,
    ReducedETFTrajectory,
    ReducedTrajectory,
    ReplayTrajectory,
    SpectralTrajectory,
    Trajectory,
)
from ._certificate import Certificate, Check
from ._classifier import ClassifierView
from ._examination import Examination
from ._full import FullView
from ._reduced import ReducedView
from .claims import GROUPS


def certify(trajectory: Trajectory) -> Certificate:
    """Check a run a posteriori; also `Trajectory.certificate`.

    Parameters
    ----------
    trajectory : Trajectory
        Run of any flow, not a batch. With dense output it is also checked between its steps.

    Returns
    -------
    Certificate

    Raises
    ------
    TypeError
        If it is not a trajectory.
    ValueError
        If it is a batch of runs, gradient descent, recorded states, or of a `ReducedETFFlow` with the nearest ETF.

    Notes
    -----
    Cost is bounded: for large states fewer are evaluated, evenly over the run.

    Examples
    --------
    >>> run = cf.integrate(cf.MatrixFlow(), cf.random_init(classes=2, width=2, scale=0.1, rng=0), 1.0, rtol=1e-6)
    >>> certificate = cf.certify.certify(run)
    >>> certificate.passed, certificate["loss never increases"].status
    (True, 'passed')
    """
    title = repr(trajectory)
    if getattr(trajectory, "outcome", None) == Outcome.RECORDED:
        raise ValueError(
            "certify takes a solution of a flow: recorded states need not solve its equations. Integrate the "
            "flow from the first state, certify that run, and compare the states with it: "
            "ceflow.compare(ceflow.integrate(run.flow, run.start, run.t[-1]), run)"
        )
    if getattr(trajectory, "step_size", None) is not None:
        raise ValueError("certify takes a solution of a flow: gradient descent is none; use ceflow.compare")
    if isinstance(trajectory, ReducedETFTrajectory) and trajectory.flow.classifier == "nearest":
        raise ValueError(
            "certify needs the features: a ReducedETFFlow with the nearest ETF has them up to a "
            "rotation. Certify a run of flow.full() from flow.lift(start), and compare both runs by ceflow.compare"
        )
    if isinstance(trajectory, (ReducedTrajectory, ReplayTrajectory)) and not isinstance(trajectory, SpectralTrajectory):
        trajectory = trajectory.lifted()  # uses the equations of full matrices, independent of the symmetry
    if not isinstance(trajectory, (SpectralTrajectory, MatrixTrajectory)):
        raise TypeError(f"certify takes a trajectory, got {type(trajectory).__name__}")
    if isinstance(trajectory, MatrixTrajectory) and trajectory.start[0].ndim != 2:
        shape = trajectory.start[0].shape
        raise ValueError(f"certify takes one run, not a batch; got a start of shape {shape}: certify each run")
    full = ClassifierView if isinstance(trajectory, ETFTrajectory) else FullView
    view = full if isinstance(trajectory, MatrixTrajectory) else ReducedView
    with np.errstate(all="ignore"):  # a corrupt run may contain anything; the checks fail without exceptions
        exam, checks, sound = Examination(trajectory, view(trajectory)), [], True
        for group in GROUPS:
            found: list[tuple[bool, Check]] = []
            if sound:
                found = [(claim.vital, claim.check(exam)) for claim in group if claim.title(exam)]
            checks += [check for _, check in found]
            sound = sound and all(check.passed for vital, check in found if vital)
        estimate = exam.error_estimate if sound else math.nan
    return Certificate(title, checks, estimate, exam.samples)
