"""Data of a run for plots: sampled times, modes, name."""

from __future__ import annotations

import math
from typing import Any, TypeVar, cast, overload

import numpy as np

from ..flow import MatrixFlow
from ..solve import Outcome
from ..trajectory import BlockTrajectory, MatrixTrajectory, ReducedTrajectory, SpectralTrajectory, Trajectory
from ._style import power

Run = TypeVar("Run", bound=Trajectory)
SAMPLES, MOST_NUMBERS = 500, 2**21  # samples of a curve; numbers of all sampled states
LN10 = math.log(10.0)
ROUNDING = 2.0**-48  # relative rounding of differences of singular values
USUAL = MatrixFlow()  # defaults, omitted in titles


def check_run(traj: Trajectory) -> None:
    """Check that the argument is a single trajectory, not a batch."""
    if not isinstance(traj, Trajectory):
        raise TypeError(f"a plot needs a Trajectory, got {type(traj).__name__}")
    if isinstance(traj, MatrixTrajectory) and traj.start[0].ndim > 2:
        raise ValueError(f"a plot needs a single run, got a batch of {len(traj.start[0])}")


@overload
def drawn(traj: Trajectory) -> Trajectory: ...
@overload
def drawn(traj: Trajectory, need: str, /, *needs: str) -> SpectralTrajectory | MatrixTrajectory: ...
def drawn(traj: Trajectory, *needs: str) -> Trajectory:
    """Run for a plot; runs on blocks are lifted to full matrices. Raise a TypeError if an observable is missing."""
    check_run(traj)
    if isinstance(traj, ReducedTrajectory) and not isinstance(traj, SpectralTrajectory):
        traj = traj.lifted()
    lacking = [name for name in needs if name not in traj.observables]
    if lacking:
        raise TypeError(
            f"this plot needs {' and '.join(lacking)}, which a run of a {type(traj.flow).__name__} does not have; "
            "plot.loss accepts any run, and its lifted() run on full matrices has all observables"
        )
    return traj


@overload
def sampled(traj: Run) -> Run: ...
@overload
def sampled(traj: Trajectory, need: str, /, *needs: str) -> SpectralTrajectory | MatrixTrajectory: ...
def sampled(traj: Trajectory, *needs: str) -> Trajectory:
    """Run at times > 0 for smooth curves: evenly between its rows, and evenly in log t."""
    traj = cast(Any, drawn)(traj, *needs)
    rows = traj.log_t[np.isfinite(traj.log_t)]
    if not len(rows):
        raise ValueError("the trajectory has no row after t = 0")
    count = int(np.clip(MOST_NUMBERS // traj.y.shape[1], 20, SAMPLES))
    if traj._path is None or len(rows) >= count:
        return traj[np.isfinite(traj.log_t)]
    knots = rows if len(rows) == len(traj) else np.append(rows[0] - LN10, rows)  # from t = 0: a decade earlier
    between = np.interp(np.linspace(0.0, len(knots) - 1.0, count), np.arange(len(knots)), knots)
    return traj.at(log_t=np.unique(np.concatenate([rows, between, np.linspace(knots[0], knots[-1], count)])))


def log10_t(traj: Trajectory) -> np.ndarray:
    return traj.log_t / LN10


def modes_of(traj: SpectralTrajectory | MatrixTrajectory) -> tuple[np.ndarray, np.ndarray]:
    """Singular values (n, modes) and their weights in the mean."""
    values = traj.singular_values
    if isinstance(traj, SpectralTrajectory):
        weights = traj.flow.scheme.multiplicities[1:]
    else:
        values = values if traj.flow.objective.regression else values[:, :-1]  # the last is that of the constant vector
        weights = np.ones(values.shape[1])
    return values, weights / weights.sum()


def told_from_rounding(traj: SpectralTrajectory | MatrixTrajectory) -> np.ndarray:
    """(n, modes) whether a singular value differs from the mean by more than rounding of both."""
    values, weights = modes_of(traj)
    mean = (values @ weights)[:, None]
    return ~(np.abs(values - mean) <= ROUNDING * np.abs(mean))


def name_of(traj: Trajectory) -> str:
    flow: Any
    flow, what = traj.flow, "flow" if traj.step_size is None else "descent"
    what = "training run" if traj.outcome == Outcome.RECORDED else what
    if isinstance(traj, SpectralTrajectory):
        parts = [f"Reduced {what}", flow.scheme.name]
    elif isinstance(traj, BlockTrajectory):
        parts = [f"Reduced {what}", flow.symmetry.name]
    elif "W" in traj.observables:
        classifier = getattr(flow, "classifier", None)
        parts = [f"Full {what}" if classifier is None else f"{classifier.capitalize()} classifier"]
        parts += [f"K = {traj.classes}", f"d = {cast(Any, traj).W.shape[-1]}"]
    else:
        parts = [f"Reduced {what}", f"K = {traj.classes}"]
    parts += [f"depth {flow.depth:g}"] if flow.depth != USUAL.depth else []
    parts += [str(flow.loss).replace("_", " ")] if flow.loss != USUAL.loss else []
    parts += [f"weight decay {flow.weight_decay}"] if flow.weight_decay != USUAL.weight_decay else []
    return ", ".join(parts)


def moment_of(row: Trajectory) -> str:
    log_t = float(row.log_t[0])
    if -7.0 < log_t < 7.0:  # 1/1000 to 1000
        return f"$t = {float(f'{math.exp(log_t):.3g}'):g}$"
    return "$t = 0$" if log_t == -math.inf else f"$t = {power(round(log_t / LN10, 2))}$"
