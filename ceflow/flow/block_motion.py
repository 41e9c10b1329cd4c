"""Assembly of the vector field of a reduced flow on blocks."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from .._field import CompiledField
from .._tolerances import NEAR_ROUNDING, NEAR_SHARE
from ..network import coordinates
from ..network.chain import LINEAR, RELU, SOFTPLUS, chain_of
from ..network.layers import Layers, sides
from . import block_gates
from .blocks_field import Parts, blocks_field
from .rest import Rest

if TYPE_CHECKING:
    from .blocks import BlockFlow

_KINDS = {"linear": LINEAR, "relu": RELU, "softplus": SOFTPLUS}


def motion(flow: BlockFlow, start: Layers, y: np.ndarray, log_t: float, rtol: float) -> CompiledField | Rest:
    """Vector field at y, or Rest if the state is constant."""
    given, modes, maps = flow.objective, flow.is_mode(start), flow.maps
    layers = flow.mode_layers(start, modes)
    constants = coordinates.constants(layers, flow.depth) if modes.any() else np.zeros((3, 0))
    vanished = coordinates.vanished(constants, 0.0)
    direction, active = np.empty(constants.shape[1]), np.empty(constants.shape[1])
    count, _ = coordinates.mobility(constants, vanished, y, direction, active)
    bigger = ~modes
    shape = sides(flow.outer, start.widths)[bigger]
    levels = [None if act.linear else flow.level for act in given.acts]
    chain, matrices, size, scratch = chain_of(shape, _KINDS[given.act.name], levels)
    areas = shape[:, :-1] * shape[:, 1:]
    layer_ends = np.cumsum(areas.sum(axis=1))
    squares = np.diff(np.cumsum(y[constants.shape[1] :][:size] ** 2)[layer_ends - 1], prepend=0.0)
    groups = int(np.count_nonzero(squares)) + int(given.bias and squares[0] == 0.0)
    if count + groups == 0:
        return flow.segment(Rest.kind, start, y, log_t)

    unit = math.exp(flow.log_unit)
    layer_of = np.repeat(np.tile(np.arange(flow.depth), len(areas)), areas.ravel())  # layer of each number
    decays, common = unit * np.array(given.decays), unit * (flow.common_decay or 0.0)
    decay_of_bias = unit * given.decay_of_bias
    frozen = np.isin(layer_of, [layer for layer in given.frozen if layer != "b"])
    samples, scale, sizes = flow.per_fibre("samples"), flow.per_fibre("logit_scale"), flow.fibre_sizes
    first, outer = flow.first_index, flow.outer
    own = flow.fibre_of_index[first[modes]]  # fibre of each mode
    places = np.cumsum(outer**2) - outer**2  # position of the entries of each block
    inside, rows, columns = _entries(places[bigger], first[bigger], outer[bigger])
    rows, columns = flow.fibre_of_index[rows], flow.fibre_of_index[columns]
    with np.errstate(divide="ignore"):
        column_gain = np.log(np.sqrt(samples) * flow.per_fibre("weights"))
    parts = Parts(
        mode_entry=places[modes],
        block_entry=inside,
        relation_ends=maps.ends,
        row_fibre=maps.row_fibre,
        chain=chain,
        layer_ends=layer_ends,
        layer_decay=np.append(common, decays[layer_of]),
        active=active,
        direction=direction,
        gain=scale[own],
        mode_weight=maps.weights[places[modes]] * scale[own] / np.sqrt(samples[own]),
        entry_weight=maps.weights[inside] * scale[rows] / np.sqrt(samples[columns]),
        residual_weight=scale[rows],
        column_gain=column_gain,
        valencies=maps.valencies,
        adjustment=flow.per_fibre("logit_adjustment"),
        scale=scale,
        bias_gain=np.sqrt(samples * sizes / sizes[:, None]),
        targets=maps.targets,
        constants=constants.ravel(),
        parameters=given.loss.packed,
        matrices=matrices,
        frozen=np.append(frozen, "b" in given.frozen).astype(float),
    )
    gated = given.act.name == "relu"
    field = blocks_field(
        parts,
        maps.into,
        maps.back,
        given.loss,
        classes=float(flow.classes),
        entries=int((outer**2).sum()),
        relations=maps.row_fibre.size,
        bias=given.bias,
        squared=maps.targets.size > 0,
        chain_scratch=scratch,
        rows=len(constants),
        count=float(count + groups),
        decay=max(*decays, common, decay_of_bias),
        bias_decay=decay_of_bias,
        log_unit=flow.log_unit,
        vanished=vanished,
        beta=given.act.beta,
        near=max(NEAR_SHARE * rtol, NEAR_ROUNDING),
        gates=block_gates.addresses() if gated else (0, 0),
    )
    if gated:
        block_gates.choose(field, y)
    return field


def _entries(places: np.ndarray, first: np.ndarray, sizes: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Positions, row indices and column indices of the entries of blocks, row-major one block after another."""
    block = np.repeat(np.arange(len(sizes)), sizes**2)
    within = np.arange(block.size) - np.repeat(np.cumsum(sizes**2) - sizes**2, sizes**2)
    row, column = np.divmod(within, sizes[block]) if block.size else (within, within)
    return places[block] + within, first[block] + row, first[block] + column
