"""Observables of runs of the reduced flow under any symmetry."""

from __future__ import annotations

import itertools

import numpy as np

from .. import collapse as neural_collapse
from .. import losses
from ..network.layers import sides, unpacked
from ._common import has_classes
from ._table import Flow, Run, Table

BLOCKS = Table()
MOST_LOGITS = 2**28


def _has_bias(flow: Flow) -> None:
    if not flow.objective.bias:
        raise ValueError("the flow has no bias: it was made without bias=True")


def _has_linear_layers(flow: Flow) -> None:
    if not flow.objective.act.linear:
        raise ValueError("features are defined here for linear layers only; with an activation use the layers")


def _has_conserved(flow: Flow) -> None:
    if not flow.objective.act.linear or set(flow.objective.frozen) - {"b"}:
        raise ValueError("conserved differences exist only for linear layers, none frozen")


@BLOCKS.add("row", "entry", cached=True)
def logit_blocks(run: Run) -> np.ndarray:
    """(n, B) entries of the blocks of the logits W H, row-major one block after another."""
    return run.flow.logit_blocks(run.start, run.y)


@BLOCKS.add("row", "number")
def flat_layers(run: Run) -> np.ndarray:
    """(n, N) flat layers, as in the start."""
    return run.flow.flat_layers(run.start, run.y)


@BLOCKS.add("row", "fibre", requires=_has_bias)
def bias(run: Run) -> np.ndarray:
    """(n, F) bias of each fibre of classes."""
    return run.flow.bias_of(run.y)


def _samples(flow: Flow) -> np.ndarray:
    """(F,) samples per class of each fibre."""
    return flow.per_fibre("samples") * flow.fibre_sizes


@BLOCKS.add("row", "mode", cached=True, exported=True)
def singular_values(run: Run) -> np.ndarray:
    """(n, M) singular values of the logits W H, descending in each block, not repeated; for a block of size 1 its
    value, with sign."""
    found, begin = [], 0
    for n in run.flow.outer:
        block = run.logit_blocks[:, begin : begin + n * n].reshape(len(run), n, n)
        found.append(block[:, 0] if n == 1 else np.linalg.svd(block, compute_uv=False))
        begin += n * n
    return np.concatenate(found, axis=1)


@BLOCKS.add("row")
def penalty(run: Run) -> np.ndarray:
    """(n,) weight decay term of the objective."""
    flow, given = run.flow, run.flow.objective
    squares = (run.flat_layers * flow.roots(run.start)) ** 2
    areas = np.diff(flow.layer_ends(run.start).ravel(), prepend=0)
    weights = np.repeat(np.outer(flow.multiplicities, given.decays).ravel(), areas)
    found = 0.5 * squares @ weights
    if given.bias:
        found = found + 0.5 * given.decay_of_bias * run.bias**2 @ flow.fibre_sizes
    return found


@BLOCKS.add("row", "relation", cached=True, requires=has_classes)
def margins(run: Run) -> np.ndarray:
    """(n, R) margins ``z_own - z_r`` on the relations `flow.margin_maps.relations`, grouped by column fibre."""
    return run.flow.seen(run.start, run.y, maps=run.flow.margin_maps)


@BLOCKS.add("row", exported=True, requires=has_classes)
def margin(run: Run) -> np.ndarray:
    """(n,) smallest margin of a trained sample."""
    flow = run.flow
    trained = [own for own, weight in zip(flow.margin_maps.columns, flow.per_fibre("weights"), strict=True) if weight]
    return np.minimum.reduce([run.margins[:, own].min(axis=-1, initial=np.inf) for own in trained])


@BLOCKS.add("row", cached=True)
def log_loss(run: Run) -> np.ndarray:
    """(n,) natural logarithm of the loss; it does not underflow."""
    flow, maps, found = run.flow, run.flow.maps, []
    with np.errstate(divide="ignore"):
        weights = np.log(_samples(flow) * flow.per_fibre("weights"))
    if maps.targets.size:
        squares = 0.5 * maps.valencies * (flow.seen(run.start, run.y) - maps.targets) ** 2
        with np.errstate(divide="ignore"):
            found = [np.log(squares[:, own].sum(axis=1)) for own in maps.columns]
    else:
        scale, shift = flow.per_fibre("logit_scale"), flow.per_fibre("logit_adjustment")
        seen = flow.seen(run.start, run.y, scale) + maps.between(shift)
        found = [flow.loss.log_value(seen[:, own], maps.valencies[own]) for own in maps.columns]
    total = np.logaddexp.reduce([value + weight for value, weight in zip(found, weights, strict=True)])
    return total - flow.log_unit


@BLOCKS.add("row", cached=True, requires=has_classes)
def log_accuracy_gap(run: Run) -> np.ndarray:
    """(n,) natural logarithm of the error probability, averaged over the trained samples."""
    flow, counts = run.flow, _samples(run.flow) * (run.flow.per_fibre("weights") > 0.0)
    maps = flow.margin_maps
    odds = [losses.log_odds_of_error(run.margins[:, own], maps.valencies[own]) for own in maps.columns]
    with np.errstate(divide="ignore"):
        shares = np.log(counts / counts.sum())
    gaps = [losses.log_accuracy_gap(value) + share for value, share in zip(odds, shares, strict=True)]
    return np.logaddexp.reduce(gaps)


@BLOCKS.add("row", "logit", "class")
def logits(run: Run) -> np.ndarray:
    """(n, K, K) logits, bias included; a ValueError beyond 2^28 entries."""
    flow, K = run.flow, run.flow.classes
    if len(run) * K * K > MOST_LOGITS:
        raise ValueError(f"the logits would have {len(run)} x {K} x {K} entries; the limit is 2**28")
    found = _on_classes(flow, run.logit_blocks)
    if flow.objective.bias:
        found += run.bias[:, np.searchsorted(flow.class_fibres, flow.class_fibre)][:, :, None]
    return found


def _on_classes(flow: Flow, blocks: np.ndarray) -> np.ndarray:
    """(n, K, K) matrices from blocks (n, B)."""
    to_entries, _, relations = flow.symmetry.map(flow.class_fibres, flow.class_fibres)
    entries = np.zeros((len(blocks), flow.symmetry.rank))
    entries[:, relations] = blocks @ to_entries.T
    inside = np.isin(flow.symmetry.fibre_of, flow.class_fibres)
    return entries[:, flow.symmetry.relations()[np.ix_(inside, inside)]]


def _gram(run: Run, first: bool) -> np.ndarray:
    """(n, K, K) inner products of classifier rows, or of the features of the classes."""
    flow, found = run.flow, []
    for layers in unpacked(run.flat_layers, sides(flow.outer, run.start.widths)):
        side = layers[0] if first else _features(layers).swapaxes(-1, -2)
        found.append((side @ side.swapaxes(-1, -2)).reshape(len(run), -1))
    return _on_classes(flow, np.concatenate(found, axis=1))


def _features(layers: list[np.ndarray]) -> np.ndarray:
    """Features of one block: product of all layers except W."""
    product = layers[-1]
    for layer in layers[-2:0:-1]:
        product = layer @ product
    return product


def _cosines(gram: np.ndarray) -> np.ndarray:
    size = np.sqrt(np.diagonal(gram, axis1=-2, axis2=-1))
    with np.errstate(invalid="ignore", divide="ignore"):
        return gram / (size[..., :, None] * size[..., None, :])


@BLOCKS.add("row", requires=_has_linear_layers)
def geometric_complexity(run: Run) -> np.ndarray:
    """(n,) squared Frobenius norm of the features, summed over samples; see `ceflow.theory.complexity`."""
    scaled = unpacked(run.flat_layers * run.flow.roots(run.start), sides(run.flow.outer, run.start.widths))
    squares = [(_features(layers) ** 2).sum(axis=(-2, -1)) for layers in scaled]
    return np.stack(squares, axis=-1) @ run.flow.multiplicities


@BLOCKS.add("row", "class", "other_class", requires=_has_linear_layers)
def class_distances(run: Run) -> np.ndarray:
    """(n, K, K) squared distances between the features of classes."""
    return run.lifted().class_distances


@BLOCKS.add("row", "class", "other_class")
def classifier_cosines(run: Run) -> np.ndarray:
    """(n, K, K) cosines between the rows of W; NaN for a zero row."""
    return _cosines(_gram(run, True))


@BLOCKS.add("row", "class", "other_class", requires=_has_linear_layers)
def feature_cosines(run: Run) -> np.ndarray:
    """(n, K, K) cosines between the features of classes; NaN for zero features."""
    return _cosines(_gram(run, False))


@BLOCKS.add("row", "number", requires=_has_conserved)
def conserved(run: Run) -> np.ndarray:
    """(n, C) entries of the differences ``W_l^T W_l - W_(l+1) W_(l+1)^T`` of neighbouring layers, block by block.

    Columns of H count once per sample. They are constant without weight decay.
    """
    found, flow = [], run.flow
    scaled = run.flat_layers * flow.roots(run.start)
    for layers in unpacked(scaled, sides(flow.outer, run.start.widths)):
        for left, right in itertools.pairwise(layers):
            found.append((left.swapaxes(-1, -2) @ left - right @ right.swapaxes(-1, -2)).reshape(len(run), -1))
    return np.concatenate(found, axis=1)


@BLOCKS.add(dims=lambda flow: dict.fromkeys(neural_collapse.Measures._fields, ("row",)), requires=has_classes)
def collapse(run: Run) -> neural_collapse.Measures:
    """Neural-collapse measures, each (n,), computed on full matrices."""
    return run.lifted().collapse


@BLOCKS.add(dims={"rank_before": ("row", "place"), "rank_after": ("row", "place"), "rank_of_logits": ("row",)})
def layer_ranks(run: Run) -> neural_collapse.LayerRanks:
    """Ranks of the outputs of the layers, computed on full matrices."""
    return run.lifted().layer_ranks
