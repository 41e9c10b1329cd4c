"""The gates of "relu" in a field of blocks, chosen from a state alone."""

from __future__ import annotations

import numpy as np

from .._field import CompiledField
from ..network.chain import BELOW, DRIFT, FORCE, MOST_SLIDING, OPEN, SHUT, SIZE, SLIDING, SLOW, VALUE
from .blocks_field import entries_of

_ROUNDING = 1e-13  # of a share


def choose_gates(field: CompiledField, y: np.ndarray) -> None:
    """Sets the gates of a field for the way on from y.

    An entry away from 0 passes by its sign. One at 0 is open if it then moves up, shut if it then moves down, and
    slides if neither, where the gate that keeps it there is in [0, 1]. What one does depends on the gates of all
    others, so from their signs on they are put right one at a time, the one that is most wrong first: where a
    choice is not unique, it is the one next to the signs.
    """
    velocity = np.empty(field.size)
    gates, kept = entries_of(field, y, velocity)
    value, size = kept[VALUE].copy(), kept[SIZE].copy()
    gates[:] = np.where(value > 2.0 * size, OPEN, SHUT)
    at_zero = np.flatnonzero(np.abs(value) <= 2.0 * size)
    if not at_zero.size:
        return
    seen = set()
    while True:
        _, kept = entries_of(field, y, velocity)
        own, below, force, drift = gates[at_zero], kept[BELOW, at_zero], kept[FORCE, at_zero], kept[DRIFT, at_zero]
        small = kept[SLOW, at_zero]
        falls = below < 0.0  # the more it is open, the more the entry is pushed down: else nothing keeps it at 0
        share = np.divide(force, below, out=np.zeros(len(own)), where=falls)
        to = np.where(falls, SLIDING, np.where(drift > 0.0, OPEN, SHUT))
        wrong = np.where(((own == OPEN) & (drift < -small)) | ((own == SHUT) & (drift > small)), np.abs(drift), 0.0)
        slides = own == SLIDING
        to[slides] = np.where(falls, np.where(share > 0.5, OPEN, SHUT), to)[slides]
        beyond = np.where(falls, np.maximum(-share, share - 1.0), 1.0)
        wrong[slides] = np.where(beyond > _ROUNDING, beyond, 0.0)[slides]
        worst = np.argmax(wrong)
        if wrong[worst] == 0.0:
            return
        gates[at_zero[worst]] = to[worst]
        key = gates[at_zero].tobytes()
        if key in seen or np.count_nonzero(gates == SLIDING) > MOST_SLIDING:
            raise RuntimeError("relu: no gates keep these entries at 0")
        seen.add(key)
