"""Observables of all runs. An observable whose logarithm is one too is accurate for arbitrarily small values."""

from __future__ import annotations

import numpy as np

from ._table import Flow, Run, Table

COMMON = Table()


def has_classes(flow: Flow) -> None:
    """Raise a ValueError for a flow without classes."""
    if flow.objective.regression:
        raise ValueError("a regression on given targets has no classes")


@COMMON.add("row", units="time")
def t(run: Run) -> np.ndarray:
    """(n,) times; given times are returned exactly; inf on overflow."""
    return run.times.t


@COMMON.add("row", exported=True)
def loss(run: Run) -> np.ndarray:
    """(n,) loss without weight decay, averaged or summed over samples by the flow's `reduction`; accurate for
    arbitrarily small values."""
    with np.errstate(under="ignore"):
        return np.exp(run.log_loss)


@COMMON.add("row")
def objective(run: Run) -> np.ndarray:
    """(n,) objective of the flow: loss, weight decay and terms."""
    return run.loss + run.penalty if run.flow.objective.decaying or run.flow.objective.terms else run.loss


@COMMON.add("row", exported=True, requires=has_classes)
def accuracy_gap(run: Run) -> np.ndarray:
    """(n,) error probability 1 - p_0 (softmax probability of all wrong classes), averaged over the trained samples;
    accurate for arbitrarily small values."""
    with np.errstate(under="ignore"):
        return np.exp(run.log_accuracy_gap)
