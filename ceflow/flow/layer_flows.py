"""Reduced flows whose states are the layers.

The usual coordinates satisfy the conservation laws identically. Gradient descent violates these laws, so its steps need
the layers as coordinates, or linear functions of them. There a step of gradient descent is a step of Euler's method.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from ..network import coordinates
from ..network.factors import check_whole_depth
from ..network.layers import Layers
from ._flow import Flow, RunT
from .blocks import BlockFlow
from .etf import ETFFlow
from .matrix import MatrixFlow
from .regression import RegressionFlow
from .rest import Rest
from .spectral import SpectralFlow


class BlockLayersFlow(BlockFlow):
    """`BlockFlow` with the layers of all blocks as its state."""

    kind = "block_layers"

    def is_mode(self, start: Layers) -> np.ndarray:
        return np.zeros(len(self.outer), bool)


class LayersFlow(SpectralFlow):
    """`SpectralFlow` with layers (depth, D) as its state, stored as (D, depth) in one array."""

    kind = "layers"
    if TYPE_CHECKING:

        @property
        def depth(self) -> int: ...

    def start(self, start: np.ndarray) -> np.ndarray:
        check_whole_depth(self.depth)
        return coordinates.layers_of(super().start(start), self.depth)

    def origin(self, start: np.ndarray) -> np.ndarray:
        return start.T.ravel()

    def state(self, start: np.ndarray, y: np.ndarray) -> np.ndarray:
        return self.layers_at(start, y[None])[0]

    def segment(self, kind: str, start: np.ndarray, y: np.ndarray, log_t: float) -> Rest:
        return self._blocks.segment(kind, cast(Any, start), y, log_t)

    def motion(
        self, start: np.ndarray, y: Any, log_t: float, rtol: float, atol: float = 0.0, closed_form: bool = True
    ) -> Any:
        widths = np.ones((self.scheme.modes + 1, self.depth - 1), np.int64)
        widths[0] = 0  # no constant block
        return self._blocks.motion(Layers(self.origin(start), widths, np.empty(0)), y, log_t, rtol)

    @functools.cached_property
    def _blocks(self) -> BlockLayersFlow:
        return BlockLayersFlow(self.scheme, self.objective)

    def __getstate__(self) -> dict:
        return {name: value for name, value in super().__getstate__().items() if name != "_blocks"}

    def layers_at(self, start: np.ndarray, y: np.ndarray) -> np.ndarray:
        return y.reshape(len(y), self.scheme.modes, self.depth).swapaxes(1, 2)

    def evaluate(self, start: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return np.prod(self.layers_at(start, y), axis=1), np.ones((len(y), self.scheme.modes))


def in_layers(flow: Flow[RunT]) -> Flow[RunT]:
    """The same flow with the layers (or linear functions of them) as its state, as gradient descent needs.

    Raises
    ------
    ValueError
        For fractional depth, "relu" under a symmetry, and features on spheres (steps would leave the sphere).
    TypeError
        For flows without layers.
    """
    if isinstance(flow, ETFFlow) and flow.radius is not None:
        raise ValueError("gradient descent does not support radius=: steps would leave the sphere")
    if isinstance(flow, (MatrixFlow, RegressionFlow, LayersFlow, BlockLayersFlow, ETFFlow)):
        return cast("Flow[RunT]", flow)
    if not isinstance(flow, (SpectralFlow, BlockFlow)):
        raise TypeError(
            f"gradient descent needs a SpectralFlow, MatrixFlow, RegressionFlow or ETFFlow, got {type(flow).__name__}"
        )
    check_whole_depth(flow.depth)
    if isinstance(flow, BlockFlow):
        if flow.objective.act.name == "relu":
            raise ValueError("gradient descent of relu needs a MatrixFlow: the reduced flow has sliding modes")
        blocks = BlockLayersFlow(flow.symmetry, flow.objective, flow.class_fibres, flow.hidden_fibres or None)
        return cast("Flow[RunT]", blocks)
    given = flow.objective
    modes = LayersFlow(
        flow.scheme, loss=given.loss, depth=given.depth, reduction=given.reduction, weight_decay=given.weight_decay
    )
    return cast("Flow[RunT]", modes)
