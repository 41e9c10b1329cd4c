"""Observables of runs of the full flow, on matrices W (K, d) and H (d, N), or on one factor per layer.

H and the logits have one column per class, which may stand for several samples, or one per sample. For a batch of B
starts every array has an axis B after the axis of the rows.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import cast

import numpy as np

from .. import collapse as neural_collapse
from .. import losses
from .._arrays import svd
from .._checks import log_time_unit
from ..lyapunov import gradient_of_logits, of_logits
from ..network.factors import inputs, product, pull_back
from ._common import has_classes
from ._table import Flow, Run, Table

FULL = Table()


def _by_parts(run: Run, function: Callable[..., np.ndarray], *shape: int) -> np.ndarray:
    """Apply a function to all factors and the bias, row by row."""
    rows = [function(*parts) for parts in zip(*_parts(run), strict=True)]
    return np.stack(rows) if rows else np.empty((0, *run.start[0].shape[:-2], *shape))


def _by_row(run: Run, function: Callable[[np.ndarray], np.ndarray], *shape: int) -> np.ndarray:
    """Apply a function to the logits, row by row, to limit memory."""
    return _by_parts(run, lambda *parts: function(_logits(run, parts)), *shape)


def _logits(run: Run, parts: Sequence[np.ndarray]) -> np.ndarray:
    """Logits (..., K, N) from factors (..., n, m), and a bias (..., K) if there is one."""
    objective, depth = run.flow.objective, run.flow.depth
    Z = inputs(parts[:depth], objective.acts)[-1]
    return Z + parts[-1][..., None] if objective.bias else Z


def _has_dissipation(flow: Flow) -> None:
    if not flow.objective.plain:
        raise ValueError(f"dissipation is implemented for flows with loss, depth and one decay only, not for {flow!r}")


def _has_conserved(flow: Flow) -> None:
    objective = flow.objective
    if flow.kind != "matrix":
        raise ValueError("conserved differences exist for a MatrixFlow only, in which all layers move freely")
    if not objective.act.linear or set(objective.frozen) - {"b"} or len(set(objective.decays)) > 1:
        raise ValueError("conserved differences exist only for linear layers, none frozen, with equal decays")
    if objective.terms:
        raise ValueError("conserved differences do not exist if terms depend on the layers")


def _has_linear_layers(flow: Flow) -> None:
    if not flow.objective.act.linear:
        raise ValueError("geometric complexity is for linear layers here; see ceflow.collapse.geometric_complexity")


def _has_bias(flow: Flow) -> None:
    if not flow.objective.bias:
        raise ValueError("the flow has no bias: it was made without bias=True")


def _parts(run: Run) -> tuple[np.ndarray, ...]:
    """Factors (n, ...), and the bias (n, K) if there is one."""
    return run.flow.parts(run.start, run.y)


def _column(flow: Flow) -> str:
    """Name of the axis of the columns of H."""
    return "class" if flow.objective.labels is None and not flow.objective.regression else "sample"


def _feature(layer: int) -> str:
    """Name of the axis between a factor, counted from the left, and the next."""
    return "feature" if layer == 1 else f"feature{layer}"


def _dims_of_factors(flow: Flow) -> dict[str, tuple[str, ...]]:
    names = ["W", *(f"factor{i}" for i in range(2, flow.depth)), "H"]
    first = "output" if flow.objective.regression else "class"
    sides = [first, *map(_feature, range(1, flow.depth)), _column(flow)]
    return {name: ("row", *pair) for name, pair in zip(names, itertools.pairwise(sides), strict=True)}


def _dims_of_conserved(flow: Flow) -> dict[str, tuple[str, ...]] | tuple[str, ...]:
    dims = [("row", _feature(i), f"other_{_feature(i)}") for i in range(1, flow.depth)]
    return dims[0] if flow.depth == 2 else {f"conserved{i}": pair for i, pair in enumerate(dims, 1)}


@FULL.add(dims=_dims_of_factors, exported=True)
def factors(run: Run) -> tuple[np.ndarray, ...]:
    """Layers (n, K, d), ..., (n, d, N); for linear layers without bias their product is Z."""
    return _parts(run)[: run.flow.depth]


@FULL.add(dims=lambda flow: _dims_of_factors(flow)["W"])
def W(run: Run) -> np.ndarray:
    """(n, K, d) classifier W, the last layer."""
    return run.factors[0]


@FULL.add(dims=lambda flow: _dims_of_factors(flow)["H"])
def H(run: Run) -> np.ndarray:
    """(n, d, N) first layer H; the features before the activation for two layers."""
    return run.factors[-1]


@FULL.add("row", "class", exported=True, requires=_has_bias)
def bias(run: Run) -> np.ndarray:
    """(n, K) bias b of every column of the logits."""
    return _parts(run)[-1]


@FULL.add(dims=lambda flow: ("row", "feature", _column(flow)))
def features(run: Run) -> np.ndarray:
    """(n, d, N) features, the input of the classifier W."""
    return inputs(run.factors, run.flow.objective.acts)[0][0]


@FULL.add(dims=lambda flow: ("row", "output" if flow.objective.regression else "logit", _column(flow)))
def logits(run: Run) -> np.ndarray:
    """(n, K, N) logits Z, bias included; without `labels` column c has class c."""
    return _logits(run, _parts(run))


@FULL.add("row", "mode", cached=True, exported=True)
def singular_values(run: Run) -> np.ndarray:
    """(n, K) singular values of Z, descending, padded with 0; accurate to rounding of the largest one."""

    def values(Z: np.ndarray) -> np.ndarray:
        found = svd(Z, compute_uv=False)
        lacking = [(0, 0)] * (found.ndim - 1) + [(0, run.classes - found.shape[-1])]
        return np.pad(found, lacking)

    return _by_row(run, values, run.classes)


@FULL.add(dims=_dims_of_conserved, requires=_has_conserved)
def conserved(run: Run) -> np.ndarray | tuple[np.ndarray, ...]:
    """(n, d, d) conserved W^T W - H N H^T, with N the samples per column; a tuple for more than two layers.

    With a kernel Theta it is ``W^T W - H Theta^+ H^T``. With equal decays it decays like ``exp(-2 weight_decay t)``.
    """
    *others, last = run.factors
    pairs = itertools.pairwise([*others, None])
    found = [W.swapaxes(-1, -2) @ W - X @ X.swapaxes(-1, -2) for W, X in pairs if X is not None]
    found.append(others[-1].swapaxes(-1, -2) @ others[-1] - _outer(run, last))
    return found[0] if len(found) == 1 else tuple(found)


def _outer(run: Run, H: np.ndarray) -> np.ndarray:
    """``H N H^T``, or ``H Theta^+ H^T`` with a kernel."""
    kernel = run.flow.objective.kernel
    if kernel is not None:
        return H @ np.linalg.pinv(kernel, rcond=1e-12, hermitian=True) @ H.swapaxes(-1, -2)
    return (H * run.terms.samples) @ H.swapaxes(-1, -2)


def _squared_norm_of_columns(run: Run, H: np.ndarray) -> np.ndarray:
    """(n,) squared norm of the first layer, summed over samples."""
    if run.flow.objective.kernel is not None:
        return np.trace(_outer(run, H), axis1=-2, axis2=-1)
    return (H**2 * run.terms.samples).sum(axis=(-1, -2))


def _squared_norms(run: Run) -> list[np.ndarray]:
    """Squared norm (n,) of each layer."""
    *others, last = run.factors
    return [*((factor**2).sum(axis=(-1, -2)) for factor in others), _squared_norm_of_columns(run, last)]


@FULL.add("row", requires=_has_linear_layers)
def geometric_complexity(run: Run) -> np.ndarray:
    """(n,) squared Frobenius norm of the features, summed over samples; see `ceflow.theory.complexity`."""
    return _squared_norm_of_columns(run, run.features)


@FULL.add(dims=("row", "class", "other_class"), requires=has_classes)
def class_distances(run: Run) -> np.ndarray:
    """(n, K, K) squared distances between the mean features of classes."""
    return neural_collapse.class_distances(run.features, run.terms.labels)


@FULL.add("row")
def squared_norm(run: Run) -> np.ndarray:
    """(n,) squared Frobenius norm ``sum_l |W_l|^2`` of all layers; the norm of H is summed over samples."""
    return cast(np.ndarray, sum(_squared_norms(run)))


@FULL.add("row")
def penalty(run: Run) -> np.ndarray:
    """(n,) objective minus loss: ``sum_l (decay_l / 2) |W_l|^2``, decay of the bias, and terms."""
    objective, norms = run.flow.objective, _squared_norms(run)
    found = 0.5 * sum(decay * norm for decay, norm in zip(objective.decays, norms, strict=True))
    if objective.bias:
        found = found + 0.5 * objective.decay_of_bias * (run.bias**2).sum(axis=-1)
    return found + run.terms.values_of_others(run.W, run.features)


@FULL.add(dims=lambda flow: ("row", _column(flow), "wrong_class"), requires=has_classes)
def margins(run: Run) -> np.ndarray:
    """(n, N, K - 1) margins of the class of each column of the logits over all other classes."""
    return _by_row(run, run.terms.margins, len(run.terms.labels), run.classes - 1)


@FULL.add("row", cached=True, exported=True, requires=has_classes)
def margin(run: Run) -> np.ndarray:
    """(n,) smallest margin of a trained sample."""
    trained = run.terms.trained > 0.0
    return _by_row(run, lambda Z: run.terms.margins(Z)[..., trained, :].min(axis=(-1, -2)))


@FULL.add("row", exported=True, requires=has_classes)
def accuracy(run: Run) -> np.ndarray:
    """(n,) accuracy: share of the trained samples whose true class has the largest logit."""
    counts = run.terms.trained
    return _by_row(run, lambda Z: (run.terms.margins(Z).min(axis=-1) > 0.0) @ counts / counts.sum())


@FULL.add("row", cached=True)
def log_loss(run: Run) -> np.ndarray:
    """(n,) natural logarithm of the loss; it does not underflow."""
    log_unit = run.flow.objective.log_unit(run.classes)
    return _by_row(run, lambda Z: run.terms.log_loss(Z) - log_unit)


@FULL.add("row", cached=True, requires=has_classes)
def log_accuracy_gap(run: Run) -> np.ndarray:
    """(n,) natural logarithm of the error probability, averaged over trained samples."""
    gap, odds, terms = losses.log_accuracy_gap, losses.log_odds_of_error, run.terms
    return _by_row(run, lambda Z: terms.log_mean(gap(odds(terms.margins(Z)))))


@FULL.add("row", cached=True, exported=True, requires=has_classes)
def lyapunov(run: Run) -> np.ndarray:
    """(n,) V of the K - 1 largest singular values of Z; NaN if one of them is 0 up to rounding of the largest."""
    return of_logits(run.singular_values)


@FULL.add("row", units="1/time", cached=True, requires=_has_dissipation)
def dissipation(run: Run) -> np.ndarray:
    """(n,) dV/dt along the run; NaN if V is NaN.

    It holds for any depth, loss and decay (V is invariant under scaling of Z). It may be positive: V is proved to
    decrease for the reduced flow only. It is a sum of terms of both signs with an error of rounding of the largest
    term. So near collapse ``-log10(V) / 2`` digits are lost, as in V, and for small logits ``-log10`` of their size
    more. For times beyond 1e308 it underflows to 0.
    """
    indices, log_unit = np.arange(run.classes), log_time_unit(run.classes, run.flow.reduction)

    def rate(*factors: np.ndarray) -> np.ndarray:
        Z = product(factors)
        slopes = pull_back(gradient_of_logits(Z), factors)
        log_scale, _ = losses.full_residual(run.flow.loss, Z, indices)  # Z now contains the scaled G
        velocities = pull_back(Z, factors)
        rates = sum((slope * velocity).sum(axis=(-1, -2)) for slope, velocity in zip(slopes, velocities, strict=True))
        return rates * np.exp(log_scale - log_unit)

    with np.errstate(under="ignore"):
        return _by_parts(run, rate)


def _has_single_targets(flow: Flow) -> None:
    given = flow.objective
    if not given.regression or given.targets.ndim > 2 or given.samples is not None or np.ptp(given.weights) > 0.0:
        raise ValueError("neural regression collapse needs an array of targets, and samples of equal weight")


@FULL.add(
    dims=lambda flow: dict.fromkeys(neural_collapse.RegressionMeasures._fields, ("row",)), requires=_has_single_targets
)
def regression_collapse(run: Run) -> neural_collapse.RegressionMeasures:
    """Measures of neural regression collapse, each (n,), with gamma fitted in each row.

    Gamma refers to the targets of the flow: for targets Y / sqrt(M) it is gamma of Y divided by M.
    """
    return neural_collapse.regression(run.W, run.features, run.flow.objective.targets)


@FULL.add(dims=lambda flow: dict.fromkeys(neural_collapse.Measures._fields, ("row",)), requires=has_classes)
def collapse(run: Run) -> neural_collapse.Measures:
    """Neural-collapse measures, each (n,), of the classifier W with its bias and of its input features.

    Every class must have a column; all columns have equal weight.
    """
    bias = run.bias if run.flow.objective.bias else None
    return neural_collapse.measures(run.W, run.features, labels=run.terms.labels, bias=bias)


@FULL.add(dims={"rank_before": ("row", "place"), "rank_after": ("row", "place"), "rank_of_logits": ("row",)})
def layer_ranks(run: Run) -> neural_collapse.LayerRanks:
    """Ranks of the outputs of the layers, (n, depth - 1) before and after each activation, and (n,) of the logits;
    singular values above 1/100 of the largest count."""
    return neural_collapse.layer_ranks(run.factors, activation=run.flow.objective.activation)
