"""Definitions of losses and schemes for certificates, independent of the code of the flows."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..reference.definitions import LossDefinition, scheme_definition

DENSE = 512  # largest number of modes for forces as sums without cancellation
MOST_GAPS = 4096  # largest number of modes for a matrix of gaps: 128 MiB


@functools.lru_cache(maxsize=8)
def definition_of_scheme(scheme: Any) -> SchemeByDefinition:
    """Definition of a scheme; the last ones are cached."""
    return SchemeByDefinition(scheme)


@functools.lru_cache(maxsize=64)
def _definition_of_loss(formula: str, parameters: tuple[tuple[str, float], ...]) -> LossDefinition:
    return LossDefinition(formula, dict(parameters))


def definition_of_loss(loss: Any) -> LossDefinition:
    """Definition of a loss, from its formula."""
    return _definition_of_loss(loss.formula, tuple(loss.parameters.items()))


class SchemeByDefinition:
    """Valencies, multiplicities, margins and forces from the relations of a scheme, or from the formulas of its family.

    Attributes
    ----------
    valencies, multiplicities : (D,) arrays
    borrowed : str
        Data taken from the scheme itself; empty if none.
    """

    borrowed = ""

    def __init__(self, scheme: Any) -> None:
        self.scheme, self.classes, modes = scheme, scheme.classes, scheme.modes
        self.gaps, fast = None, scheme.kind == "hadamard" and modes > DENSE
        try:
            definition = scheme_definition(scheme)
            self.valencies, self.multiplicities = definition.valencies, definition.multiplicities
            if not fast and modes <= MOST_GAPS:
                self.gaps = definition.gaps()
        except ValueError as error:
            self.valencies, self.multiplicities = scheme.valencies[1:], scheme.multiplicities[1:]
            self.borrowed = f"the numbers of the scheme itself are used: {error}"
        if not self.borrowed and self.gaps is None and not fast:
            self.borrowed = f"margins and forces are those of the scheme: {modes} modes are too many for a matrix"
        self.fast = fast and not self.borrowed

    def margins(self, s: NDArray) -> NDArray:
        """(n, D) margins of singular values (n, D), ``sum_i (m_i s_i / K) gap_ij``."""
        weighted = s * (self.multiplicities / self.classes)
        if self.gaps is not None:
            return weighted @ self.gaps
        return _parity_gaps(weighted) if self.fast else self.scheme.margins(s)

    def forces(self, r: NDArray) -> NDArray:
        """(n, D) forces of residuals (n, D), ``sum_j gap_ij r_j``."""
        if self.gaps is not None:
            return r @ self.gaps.T
        return _parity_gaps(r) if self.fast else self.scheme.forces(r)


def _parity_gaps(x: NDArray) -> NDArray:
    """Product with the gaps of the group Z_2^n: twice the sums of the numbers (n, D) whose indices share an odd number
    of bits with i, by a fast transform."""
    out = np.pad(x, ((0, 0), (1, 0)))
    h = 1
    while h < out.shape[1]:
        pairs = out.reshape(len(x), -1, 2, h)
        out = np.stack([pairs[:, :, 0] + pairs[:, :, 1], pairs[:, :, 0] - pairs[:, :, 1]], axis=2)
        out, h = out.reshape(len(x), -1), 2 * h
    return out[:, :1] - out[:, 1:]
