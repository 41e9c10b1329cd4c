"""Observables of runs of tasks with replay, of trained and of unseen samples."""

from __future__ import annotations

import numpy as np

from .._arrays import log_sum
from ._table import Flow, Run, Table

REPLAY = Table()


def _no_penalty(flow: Flow) -> None:
    raise ValueError("the norm of the layer behind features is not known: it depends on inputs outside the state")


@REPLAY.add(dims=lambda flow: {"modes": ("row", "part", "task"), "classifier": ("row", "inner", "other_inner"),
                               "features": ("row", "seen", "inner", "task")})  # fmt: skip
def states(run: Run) -> tuple:
    """States, as a `ReplayState` of arrays whose first axis is the row."""
    return run.flow.state(run.start, run.y)


@REPLAY.add("row", "task")
def mixture(run: Run) -> np.ndarray:
    """(n, T) ratio pi of b for unseen to b for trained samples, for differences between classes of a task."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return run.states.modes[:, 2] / run.states.modes[:, 1]


@REPLAY.add("row", "seen", "task")
def margins_within(run: Run) -> np.ndarray:
    """(n, 2, T) margins over other classes of the same task, of trained and of unseen samples."""
    return run.flow.margins(run.y)[0]


@REPLAY.add("row", "seen", "other_task", "task")
def margins_between(run: Run) -> np.ndarray:
    """(n, 2, T, T) margins of samples of the task of the last index over classes of the task of the index before; inf
    on the diagonal, and between heads."""
    return run.flow.margins(run.y)[1]


@REPLAY.add("row", "seen", "task", exported=True)
def task_margin(run: Run) -> np.ndarray:
    """(n, 2, T) smallest margin of trained and of unseen samples."""
    within, between = run.flow.margins(run.y)
    return np.minimum(within, between.min(axis=-2))


@REPLAY.add("row", exported=True)
def margin(run: Run) -> np.ndarray:
    """(n,) smallest margin of a trained sample."""
    return run.task_margin[:, 0, run.flow.samples > 0.0].min(axis=-1)


@REPLAY.add("row")
def squared_norm_of_classifier(run: Run) -> np.ndarray:
    """(n,) ``|W|^2``; at equilibrium it equals lH/lW times the squared norm of the feature layer."""
    modes, V, _ = run.states
    return modes[:, 0] ** 2 @ (run.flow.classes_of_tasks - 1.0) + (V**2).sum(axis=(1, 2))


@REPLAY.add("row", "task")
def log_odds_of_error(run: Run) -> np.ndarray:
    """(n, T) log odds of error of trained samples."""
    within, between = (margins[:, 0] for margins in run.flow.margins(run.y))
    sizes = run.flow.classes_of_tasks.astype(float)
    every = np.concatenate([-within[:, None] + np.log(sizes - 1.0), -between + np.log(sizes)[:, None]], axis=1)
    return log_sum(every.swapaxes(1, 2))


@REPLAY.add("row")
def log_loss(run: Run) -> np.ndarray:
    """(n,) natural logarithm of the loss of all trained samples."""
    flow = run.flow
    loads = flow.samples * flow.weights * flow.classes_of_tasks
    odds = run.log_odds_of_error
    # log(log(1 + e^x)) is x if e^x is below rounding
    logs = np.where(odds < -36.0, odds, np.log(np.logaddexp(0.0, np.maximum(odds, -36.0))))
    return log_sum(logs, loads)


@REPLAY.add("row")
def log_accuracy_gap(run: Run) -> np.ndarray:
    """(n,) natural logarithm of the error probability."""
    counts = run.flow.samples * run.flow.classes_of_tasks
    gaps = run.log_odds_of_error - np.logaddexp(0.0, run.log_odds_of_error)
    return log_sum(gaps, counts / counts.sum())


@REPLAY.add("row", requires=_no_penalty)
def penalty(run: Run) -> np.ndarray:
    """(n,) weight decay term of the objective; not known for this flow."""
    raise NotImplementedError
