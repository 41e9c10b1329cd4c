"""Observables of runs of the reduced flow on the D modes of a scheme."""

from __future__ import annotations

import math

import numpy as np

from .. import losses
from .. import lyapunov as functions
from ..network import coordinates
from ..network.factors import check_whole_depth
from ..theory import complexity
from ._table import Flow, Run, Table

REDUCED = Table()


def _has_layers(flow: Flow) -> None:
    check_whole_depth(flow.depth)


def _has_dissipation(flow: Flow) -> None:
    if not flow.plain:
        raise ValueError(f"dissipation is implemented for two layers and plain cross-entropy only, not for {flow!r}")


def _dims_of_conserved(flow: Flow) -> tuple[str, ...]:
    return ("row", "mode") if flow.depth == 2 else ("row", "pair", "mode")


@REDUCED.add("row", "mode", cached=True, exported=True)
def singular_values(run: Run) -> np.ndarray:
    """(n, D) singular values of the logits Z with signs, one per eigenspace (not repeated)."""
    return run.flow.evaluate(run.start, run.y)[0]


@REDUCED.add("row", "layer", "mode", exported=True, requires=_has_layers)
def layers(run: Run) -> np.ndarray:
    """(n, depth, D) singular values of the layers."""
    return run.flow.layers_at(run.start, run.y)


@REDUCED.add(dims=_dims_of_conserved, requires=_has_layers)
def conserved(run: Run) -> np.ndarray:
    """(n, D) imbalance a^2 - b^2, computed from the layers; (n, depth - 1, D) for neighbours of deeper networks.

    With weight decay it decays like ``exp(-2 weight_decay t)``.
    """
    return coordinates.conserved(run.layers)


def _features(run: Run) -> np.ndarray:
    """(n, D) singular values of the features: product of all layers except the classifier."""
    if run.start.ndim == 1:  # balanced, any depth
        return np.abs(run.singular_values) ** (1.0 - 1.0 / run.flow.depth)
    return np.prod(run.layers[:, 1:], axis=1)


@REDUCED.add("row")
def geometric_complexity(run: Run) -> np.ndarray:
    """(n,) squared Frobenius norm of the features; see `ceflow.theory.complexity`."""
    return complexity.feature_complexity(run.flow.scheme, _features(run))


@REDUCED.add("row", "relation")
def class_distances(run: Run) -> np.ndarray:
    """(n, D) squared distances between the features of classes, one per relation."""
    return complexity.class_distances(run.flow.scheme, _features(run))


@REDUCED.add("row")
def squared_norm(run: Run) -> np.ndarray:
    """(n,) squared Frobenius norm of all layers together, ``sum_l |W_l|^2``."""
    multiplicities = run.flow.scheme.multiplicities[1:].astype(float)
    if run.start.ndim == 1:  # balanced, any depth
        return run.flow.depth * np.abs(run.singular_values) ** (2.0 / run.flow.depth) @ multiplicities
    return (run.layers**2).sum(axis=1) @ multiplicities


@REDUCED.add("row")
def penalty(run: Run) -> np.ndarray:
    """(n,) weight decay term of the objective, ``(weight_decay / 2) sum_l |W_l|^2``."""
    return 0.5 * run.flow.weight_decay * run.squared_norm


@REDUCED.add("row", "relation", cached=True)
def margins(run: Run) -> np.ndarray:
    """(n, D) margins z_0 - z_j, one per relation."""
    return run.flow.scheme.margins(run.singular_values)


@REDUCED.add("row", exported=True)
def margin(run: Run) -> np.ndarray:
    """(n,) smallest margin."""
    return run.margins.min(axis=-1)


@REDUCED.add("row")
def log_loss(run: Run) -> np.ndarray:
    """(n,) natural logarithm of the loss; it does not underflow."""
    value = run.flow.loss.log_value(run.margins, run.flow.scheme.valencies[1:])
    return value if run.flow.reduction == "mean" else math.log(run.classes) + value


@REDUCED.add("row")
def log_accuracy_gap(run: Run) -> np.ndarray:
    """(n,) natural logarithm of the error probability."""
    return losses.log_accuracy_gap(losses.log_odds_of_error(run.margins, run.flow.scheme.valencies[1:]))


@REDUCED.add("row", cached=True, exported=True)
def lyapunov(run: Run) -> np.ndarray:
    """(n,) Lyapunov function V, log of arithmetic over geometric mean; NaN if a singular value is not positive."""
    return functions.lyapunov(run.flow.scheme, run.singular_values)


@REDUCED.add("row", units="1/time", cached=True, requires=_has_dissipation)
def dissipation(run: Run) -> np.ndarray:
    """(n,) dV/dt of the balanced flow of two layers and cross-entropy at these singular values; NaN if V is NaN.

    Raises
    ------
    ValueError
        For other flows, for which V need not decrease.
    """
    return functions.dissipation(run.flow.scheme, run.singular_values, reduction=run.flow.reduction)
