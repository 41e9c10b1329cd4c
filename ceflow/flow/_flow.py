"""What all flows share."""

from __future__ import annotations

import abc
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Literal, TypeVar

import numpy as np

from .._html import card
from ..losses import Loss
from .objective import Objective

if TYPE_CHECKING:
    from ..trajectory import Trajectory

RunT = TypeVar("RunT", bound="Trajectory", covariant=True)  # of the trajectories of a flow


class Flow(abc.ABC, Generic[RunT]):
    """Gradient flow of an objective on the layers of a network, from any start that it accepts.

    Attributes
    ----------
    objective : Objective
        What is descended; its loss, depth, reduction and weight decay are attributes of the flow too.
    """

    kind: ClassVar[str]

    def __init__(self, objective: Objective) -> None:
        self.objective = objective

    @property
    def memory_errors(self) -> tuple[type[Exception], ...]:
        """What is raised where memory does not suffice."""
        return (MemoryError,)

    @property
    def loss(self) -> Loss:
        """The loss of a sample."""
        return self.objective.loss

    @property
    def depth(self) -> float:
        """Number of layers."""
        return self.objective.depth

    @property
    def reduction(self) -> Literal["mean", "sum"]:
        """Whether the loss is a "mean" over samples or a "sum"."""
        return self.objective.reduction

    @property
    def weight_decay(self) -> float | tuple[float, ...]:
        """That of all layers, or one for each."""
        return self.objective.weight_decay

    def _repr_html_(self) -> str:
        symmetry = getattr(self, "scheme", None) or getattr(self, "symmetry", None)
        facts = [] if symmetry is None else [("symmetry", symmetry.name)]
        facts += [("loss", self.loss.words), ("residual", f"G = {self.loss.residual_formula}")]
        facts += [("layers", f"{self.depth:g}"), ("loss is a", f"{self.reduction} over samples")]
        return card(type(self).__name__, [*facts, ("as written", repr(self))])

    @property
    def spec(self) -> dict[str, Any]:
        """All that makes this flow again, in terms of JSON."""
        return {"flow": self.kind} | self.objective.spec

    def __eq__(self, other: object) -> bool:
        return self is other or (type(self) is type(other) and self.spec == other.spec)

    def __hash__(self) -> int:
        return hash((type(self), self.loss, self.depth, self.reduction))

    @abc.abstractmethod
    def start(self, start: Any) -> Any:
        """The start, checked."""

    def starts(self, starts: Any) -> Any:
        """Several starts, checked: as one array if each of them is one of the same shape, else as a list."""
        found = []
        for i, start in enumerate(starts):
            try:
                found.append(self.start(start))
            except (ValueError, TypeError) as error:
                raise type(error)(f"starts[{i}]: {error}") from None
        same = isinstance(found[0], np.ndarray) and len({start.shape for start in found}) == 1
        return np.array(found) if same else found

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
