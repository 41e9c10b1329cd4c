"""Observables of all runs. Those of which the logarithm is one too are accurate however small."""

from __future__ import annotations

import numpy as np

from ._table import Run, Table

COMMON = Table()


@COMMON.add("row", units="time")
def t(run: Run) -> np.ndarray:
    """(n,) times, those that were asked for as they were given; inf where they leave float64."""
    return run.times.t


@COMMON.add("row", exported=True)
def loss(run: Run) -> np.ndarray:
    """(n,) loss, a mean or a sum over classes as the flow's `reduction` says, without weight decay; accurate however
    small."""
    with np.errstate(under="ignore"):
        return np.exp(run.log_loss)


@COMMON.add("row")
def objective(run: Run) -> np.ndarray:
    """(n,) what the flow descends: the loss and ``(weight_decay / 2) sum_l |W_l|^2``."""
    return run.loss + (0.5 * run.flow.weight_decay) * run.squared_norm if run.flow.weight_decay else run.loss


@COMMON.add("row", exported=True)
def accuracy_gap(run: Run) -> np.ndarray:
    """(n,) 1 - p_0, the probability given to the wrong classes (mean over classes); accurate however small."""
    with np.errstate(under="ignore"):
        return np.exp(run.log_accuracy_gap)
