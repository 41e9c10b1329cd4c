"""Observables of runs of tasks with replay: of trained samples, and of unseen ones of the same classes."""

from __future__ import annotations

import numpy as np
import scipy

from ._table import Flow, Run, Table

REPLAY = Table()


def _no_penalty(flow: Flow) -> None:
    raise ValueError("the norm of the layer behind features is not known: it depends on inputs that are not followed")


@REPLAY.add(dims=lambda flow: {"modes": ("row", "part", "task"), "classifier": ("row", "inner", "other_inner"),
                               "features": ("row", "seen", "inner", "task")})  # fmt: skip
def states(run: Run) -> tuple:
    """The states, a `ReplayState` of arrays whose first axis is that of the rows."""
    return run.flow.state(run.start, run.y)


@REPLAY.add("row", "task")
def mixture(run: Run) -> np.ndarray:
    """(n, T) pi = b of unseen over b of trained samples: which part of a difference between classes of a task is not
    private to the samples trained."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return run.states.modes[:, 2] / run.states.modes[:, 1]


@REPLAY.add("row", "seen", "task")
def margins_within(run: Run) -> np.ndarray:
    """(n, 2, T) margins over other classes of the own task, of trained samples and of unseen ones."""
    return run.flow.margins(run.y)[0]


@REPLAY.add("row", "seen", "other_task", "task")
def margins_between(run: Run) -> np.ndarray:
    """(n, 2, T, T) margins of a sample of the task of the last index over classes of that of the index before; inf on
    the diagonal, and between heads."""
    return run.flow.margins(run.y)[1]


@REPLAY.add("row", "seen", "task", exported=True)
def task_margin(run: Run) -> np.ndarray:
    """(n, 2, T) smallest margin of trained samples and of unseen ones."""
    within, between = run.flow.margins(run.y)
    return np.minimum(within, between.min(axis=-2))


@REPLAY.add("row", exported=True)
def margin(run: Run) -> np.ndarray:
    """(n,) smallest margin of a trained sample."""
    return run.task_margin[:, 0, run.flow.samples > 0.0].min(axis=-1)


@REPLAY.add("row")
def squared_norm_of_classifier(run: Run) -> np.ndarray:
    """(n,) ``|W|^2``, which is that of the layer behind features at rest, times lH/lW."""
    modes, V, _ = run.states
    return modes[:, 0] ** 2 @ (run.flow.classes_of_tasks - 1.0) + (V**2).sum(axis=(1, 2))


@REPLAY.add("row", "task")
def log_odds_of_error(run: Run) -> np.ndarray:
    """(n, T) log of the odds of an error, of trained samples."""
    within, between = (margins[:, 0] for margins in run.flow.margins(run.y))
    sizes = run.flow.classes_of_tasks.astype(float)
    every = np.concatenate([-within[:, None] + np.log(sizes - 1.0), -between + np.log(sizes)[:, None]], axis=1)
    return scipy.special.logsumexp(every, axis=1)


@REPLAY.add("row")
def log_loss(run: Run) -> np.ndarray:
    """(n,) natural logarithm of the loss of all trained samples."""
    flow = run.flow
    loads = flow.samples * flow.weights * flow.classes_of_tasks
    odds = run.log_odds_of_error
    # log(log(1 + e^x)) is x where e^x is below rounding
    logs = np.where(odds < -36.0, odds, np.log(np.logaddexp(0.0, np.maximum(odds, -36.0))))
    return scipy.special.logsumexp(logs, axis=-1, b=loads)


@REPLAY.add("row")
def log_accuracy_gap(run: Run) -> np.ndarray:
    """(n,) natural logarithm of the error probability."""
    counts = run.flow.samples * run.flow.classes_of_tasks
    gaps = run.log_odds_of_error - np.logaddexp(0.0, run.log_odds_of_error)
    return scipy.special.logsumexp(gaps, axis=-1, b=counts / counts.sum())


@REPLAY.add("row", requires=_no_penalty)
def penalty(run: Run) -> np.ndarray:
    """(n,) what decay adds to the loss, which is not known."""
    raise NotImplementedError
