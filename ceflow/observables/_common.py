"""Observables of all runs. Those of which the logarithm is one too are accurate however small."""

from __future__ import annotations

import numpy as np

from ._table import Flow, Run, Table

COMMON = Table()


def has_classes(flow: Flow) -> None:
    """A ValueError for a flow that has none."""
    if flow.objective.regression:
        raise ValueError("a regression on given targets has no classes")


@COMMON.add("row", units="time")
def t(run: Run) -> np.ndarray:
    """(n,) times, those that were asked for as they were given; inf where they leave float64."""
    return run.times.t


@COMMON.add("row", exported=True)
def loss(run: Run) -> np.ndarray:
    """(n,) loss of all samples, a mean or a sum as the flow's `reduction` says, without weight decay; accurate however
    small."""
    with np.errstate(under="ignore"):
        return np.exp(run.log_loss)


@COMMON.add("row")
def objective(run: Run) -> np.ndarray:
    """(n,) what the flow descends: the loss, and what weight decay and terms add to it."""
    return run.loss + run.penalty if run.flow.objective.decaying or run.flow.objective.terms else run.loss


@COMMON.add("row", exported=True, requires=has_classes)
def accuracy_gap(run: Run) -> np.ndarray:
    """(n,) error probability 1 - p_0, the softmax probability of all wrong classes, a mean over the trained samples;
    accurate however small."""
    with np.errstate(under="ignore"):
        return np.exp(run.log_accuracy_gap)
