"""Gates of "relu" in a block field: the functions that the field calls, and the choice of the gates at a state."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from .._field import CompiledField
from ..kernels.linking import FLOAT, FLOATS, INTEGERS, linked, part, vector
from ..network.chain import (
    BELOW,
    DRIFT,
    EACH,
    ENTRIES,
    FORCE,
    GATES,
    KEPT,
    MOST_SLIDING,
    OPEN,
    SHUT,
    SIZE,
    SLIDING,
    SLOW,
    VALUE,
)  # fmt: skip
from ..network.gates import backward_gated, left, measure
from .blocks_field import (
    _BETA,
    _CHAIN,
    _END,
    _FROZEN,
    _LAYER_ENDS,
    _LAYERS,
    _MATRICES,
    _MODES,
    _NEAR,
    _PRODUCTS,
    _R,
)  # fmt: skip

_ROUNDING = 1e-13  # of a gate between 0 and 1


@linked(FLOATS, INTEGERS, FLOATS, FLOATS, FLOATS, FLOAT)
def _pull_back(data, layout, scratch, y, dy, fading):
    layers = layout[_LAYERS]
    chain = part(layout, layout[_CHAIN], layout[_LAYER_ENDS] - layout[_CHAIN])
    matrices = part(data, layout[_MATRICES], layout[_FROZEN] - layout[_MATRICES])
    residual = part(scratch, layout[_R], layout[_PRODUCTS] - layout[_R])
    products = part(scratch, layout[_PRODUCTS], layout[_END] - layout[_PRODUCTS])
    y, dy, frozen = vector(y, layers), vector(dy, layers), part(data, layout[_FROZEN], layers)
    backward_gated(chain, matrices, data[_BETA], y, products, residual, frozen, fading, dy)
    return 0.0


@linked(FLOATS, INTEGERS, FLOATS, FLOATS)
def _left(data, layout, scratch, y):
    chain = part(layout, layout[_CHAIN], layout[_LAYER_ENDS] - layout[_CHAIN])
    products = part(scratch, layout[_PRODUCTS], layout[_END] - layout[_PRODUCTS])
    return 1.0 if left(chain, vector(y, layout[_LAYERS]), products, data[_NEAR]) else 0.0


def addresses() -> tuple[int, int]:
    """Addresses of two functions of a field with "relu": velocities, and the test whether the gates are still valid."""
    return _pull_back.address, _left.address


class Entries(NamedTuple):
    """State of the E entries that "relu" acts on.

    Attributes
    ----------
    gates : (E,) ints of `network.chain`; changed in place
    kept : (6, E) of `network.chain`
    """

    gates: np.ndarray
    kept: np.ndarray


def entries_of(field: CompiledField, y: np.ndarray) -> Entries:
    """Entries of "relu" at a state, with their rates."""
    field.rates(y, np.empty(field.size))
    layout, scratch = field.functions.layout, field.functions.scratch
    chain, products = layout[layout[_CHAIN] : layout[_LAYER_ENDS]], scratch[layout[_PRODUCTS] : layout[_END]]
    measure(chain, y[layout[_MODES] :], products, field.functions.data[_NEAR])
    kept = products[chain[KEPT] :][: EACH * chain[ENTRIES]].reshape(EACH, -1)
    return Entries(chain[chain[GATES] :], kept)


def choose(field: CompiledField, y: np.ndarray) -> None:
    """Set the gates of a field for the motion from y on.

    The gate of a nonzero entry follows its sign. An entry at 0 has an open gate if it then increases, a shut gate if it
    then does not, and otherwise slides: a gate in [0, 1] keeps it at 0. Each condition depends on all gates. So all
    gates start shut (relu has slope 0 at 0), and the gate with the largest violation is corrected until none is left.
    Several choices can be consistent if an entry is pushed away from 0 on both sides or does not move; then this
    procedure selects one.

    Raises
    ------
    RuntimeError
        If the procedure does not terminate.
    """
    gates, kept = entries_of(field, y)
    value, near = kept[VALUE].copy(), 2.0 * kept[SIZE]
    gates[:] = np.where(value > near, OPEN, SHUT)
    free, seen = np.flatnonzero(np.abs(value) <= near), set()
    while free.size:
        own, (below, force, drift, slow) = gates[free], entries_of(field, y).kept[[BELOW, FORCE, DRIFT, SLOW]][:, free]
        falls = below < 0.0  # sliding needs an open gate that pushes the entry down
        share = np.divide(force, below, out=np.full(len(own), -1.0), where=falls)
        slides, up = own == SLIDING, drift > 0.0
        beyond = np.maximum(-share, share - 1.0)
        off = np.where(own == OPEN, drift < -slow, drift > slow)
        wrong = np.where(slides, np.where(beyond > _ROUNDING, beyond, 0.0), np.where(off, np.abs(drift), 0.0))
        if not wrong.any():
            return
        better = np.where(falls, np.where(slides, np.where(share > 0.5, OPEN, SHUT), SLIDING), np.where(up, OPEN, SHUT))
        worst = np.argmax(wrong)
        gates[free[worst]] = better[worst]
        tried = gates[free].tobytes()
        if tried in seen or np.count_nonzero(gates == SLIDING) > MOST_SLIDING:
            raise RuntimeError(
                f"the gates of {free.size} relu inputs that are 0 cannot be determined; change the start, or use "
                'activation="softplus:BETA"'
            )
        seen.add(tried)
