"""What all flows share."""

from __future__ import annotations

import abc
from typing import Any, ClassVar

import numpy as np

from ..losses import Loss
from .objective import Objective


class Flow(abc.ABC):
    """Gradient flow of an objective on the layers of a network, from any start that it accepts.

    Attributes
    ----------
    objective : Objective
        What is descended; its loss, depth, reduction and weight decay are attributes of the flow too.
    """

    kind: ClassVar[str]
    memory_errors: tuple[type[Exception], ...] = (MemoryError,)  # what is raised where memory does not suffice

    def __init__(self, objective: Objective) -> None:
        self.objective = objective

    @property
    def loss(self) -> Loss:
        """The loss of a sample."""
        return self.objective.loss

    @property
    def depth(self) -> float:
        """Number of layers."""
        return self.objective.depth

    @property
    def reduction(self) -> str:
        """Whether the loss is a "mean" over samples or a "sum"."""
        return self.objective.reduction

    @property
    def weight_decay(self) -> float | tuple[float, ...]:
        """That of all layers, or one for each."""
        return self.objective.weight_decay

    @property
    def spec(self) -> dict[str, Any]:
        """All that makes this flow again, in terms of JSON."""
        return {"flow": self.kind} | self.objective.spec

    @abc.abstractmethod
    def start(self, start: Any) -> Any:
        """The start, checked."""

    @abc.abstractmethod
    def origin(self, start: Any) -> np.ndarray:
        """(N,) coordinates of the start."""

    @abc.abstractmethod
    def state(self, start: Any, y: np.ndarray) -> Any:
        """The state y of a run from `start` as the start of another run."""

    @abc.abstractmethod
    def motion(
        self, start: Any, y: np.ndarray, log_t: float, rtol: float, atol: float = 0.0, closed_form: bool = True
    ) -> Any:
        """What carries the state on from y: a vector field (see `ceflow._field`), or a closed form that holds for all
        later times."""

    @abc.abstractmethod
    def segment(self, kind: str, start: Any, y: np.ndarray, log_t: float) -> Any:
        """The closed form of a kind that holds from the state y on."""
