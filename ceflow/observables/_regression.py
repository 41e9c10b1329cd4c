"""Observables of runs of the reduced flow of a regression, on the modes of its targets."""

from __future__ import annotations

import numpy as np

from .. import collapse as neural_collapse
from .._arrays import log_sum
from ..flow.terms import Terms
from ._table import Flow, Run, Table

REGRESSION = Table()


@REGRESSION.add("row", "layer", "mode", exported=True)
def layers(run: Run) -> np.ndarray:
    """(n, 2, r) layers of each mode: of W, and of H (of F for the rate "canonical")."""
    return run.flow.layers_at(run.start, run.y)


@REGRESSION.add("row", "mode", exported=True)
def singular_values(run: Run) -> np.ndarray:
    """(n, r) singular values of W H, or W F, in the order of the flow's `spectrum`, with their signs."""
    return run.layers.prod(axis=1)


@REGRESSION.add("row", "mode")
def imbalance(run: Run) -> np.ndarray:
    """(n, r) ``a^2 - b^2`` of each mode: constant without decay, proportional to ``exp(-2 l t)`` for equal decays l of
    the integrated layers."""
    a, b = np.moveaxis(run.layers, 1, 0)
    return (a - b) * (a + b)


@REGRESSION.add("row", cached=True)
def log_loss(run: Run) -> np.ndarray:
    """(n,) natural logarithm of the loss, ``|W H + b 1^T - Y|^2 / (2 M)``."""
    terms = Terms(run.flow.objective, 1)
    return log_sum(terms.log_loss(run.singular_values[..., None, None]))


@REGRESSION.add("row")
def penalty(run: Run) -> np.ndarray:
    """(n,) weight decay term of the objective."""
    return 0.5 * ((run.layers**2).sum(axis=-1) @ np.array(run.flow.objective.decays))


@REGRESSION.add("row", "output", "sample")
def logits(run: Run) -> np.ndarray:
    """(n, outputs, M) outputs W H, or W F; with the bias if `RegressionFlow.full` has one."""
    flow = run.flow
    found = (flow.frame * run.singular_values[:, None, :]) @ flow.directions
    return found + flow.mean[:, None] if flow.full().objective.bias else found


def _measures(flow: Flow) -> dict[str, tuple[str, ...]]:
    return dict.fromkeys(neural_collapse.RegressionMeasures._fields, ("row",))


@REGRESSION.add(dims=_measures)
def regression_collapse(run: Run) -> neural_collapse.RegressionMeasures:
    """Measures of neural regression collapse, each (n,), computed on full matrices."""
    full = run.lifted()
    return neural_collapse.regression(full.W, full.H, run.flow.targets)
