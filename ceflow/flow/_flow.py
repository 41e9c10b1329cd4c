"""What all flows share."""

from __future__ import annotations

import abc
from typing import Any, ClassVar

import numpy as np

from .._checks import LIMIT, checked_number, log_time_unit
from ..kernels.loading import load_compiler
from ..losses import Loss, as_loss


class Flow(abc.ABC):
    """Gradient flow of a loss on the layers of a linear network, from any start that it accepts.

    Attributes
    ----------
    loss : Loss
    depth : float
        Number of layers.
    reduction : {"mean", "sum"}
    weight_decay : float
    """

    kind: ClassVar[str]
    memory_errors: tuple[type[Exception], ...] = (MemoryError,)  # what is raised where memory does not suffice
    depth: float

    def __init__(self, loss: str | Loss, reduction: str, weight_decay: float) -> None:
        load_compiler()
        log_time_unit(2, reduction)
        self.loss, self.reduction = as_loss(loss), reduction
        self.weight_decay = checked_number("weight_decay", weight_decay, 0.0, LIMIT)

    @property
    def _options_text(self) -> str:
        """The options as a repr shows them."""
        decay = f", weight_decay={self.weight_decay:g}" if self.weight_decay else ""
        return f", loss={str(self.loss)!r}, depth={self.depth}, reduction={self.reduction!r}{decay}"

    @property
    def spec(self) -> dict[str, Any]:
        """All that makes this flow again, in terms of JSON."""
        options = {"depth": self.depth, "reduction": self.reduction, "weight_decay": self.weight_decay}
        return {"flow": self.kind, "loss": self.loss.spec} | options

    @abc.abstractmethod
    def start(self, start: Any) -> Any:
        """The start, checked."""

    @abc.abstractmethod
    def origin(self, start: Any) -> np.ndarray:
        """(N,) coordinates of the start."""

    @abc.abstractmethod
    def motion(
        self, start: Any, y: np.ndarray, log_t: float, rtol: float, atol: float = 0.0, closed_form: bool = True
    ) -> Any:
        """What carries the state on from y: a vector field (see `ceflow._field`), or a closed form that holds for all
        later times."""

    @abc.abstractmethod
    def segment(self, kind: str, start: Any, y: np.ndarray, log_t: float) -> Any:
        """The closed form of a kind that holds from the state y on."""
