"""Base class of the flows."""

from __future__ import annotations

import abc
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Literal, TypeVar

import numpy as np

from .._html import card
from ..losses import Loss
from .objective import Objective

if TYPE_CHECKING:
    from ..trajectory import Trajectory

RunT = TypeVar("RunT", bound="Trajectory", covariant=True)  # type of the trajectories of a flow


class Flow(abc.ABC, Generic[RunT]):
    """Gradient flow of an objective on the layers of a network.

    Attributes
    ----------
    objective : Objective
        The objective. Its loss, depth, reduction and weight decay are also attributes of the flow.
    """

    kind: ClassVar[str]

    def __init__(self, objective: Objective) -> None:
        self.objective = objective

    def __setattr__(self, name: str, value: object) -> None:
        """Set an attribute. Public ones are set once, because caches depend on them."""
        if name in self.__dict__ and not name.startswith("_"):
            raise AttributeError(f"a flow does not change, so its {name} cannot be replaced: make another flow")
        super().__setattr__(name, value)

    @property
    def memory_errors(self) -> tuple[type[Exception], ...]:
        """Exceptions raised when memory runs out."""
        return (MemoryError,)

    @property
    def loss(self) -> Loss:
        """Loss of one sample."""
        return self.objective.loss

    @property
    def depth(self) -> float:
        """Number of layers."""
        return self.objective.depth

    @property
    def reduction(self) -> Literal["mean", "sum"]:
        """"mean" or "sum" over samples."""
        return self.objective.reduction

    @property
    def weight_decay(self) -> float | tuple[float, ...]:
        """Weight decay of all layers, or one number for each."""
        return self.objective.weight_decay

    def _repr_html_(self) -> str:
        symmetry = getattr(self, "scheme", None) or getattr(self, "symmetry", None)
        facts = [] if symmetry is None else [("symmetry", symmetry.name)]
        facts += [("loss", self.loss.words), ("residual", f"G = {self.loss.residual_formula}")]
        facts += [("layers", f"{self.depth:g}"), ("loss is a", f"{self.reduction} over samples")]
        return card(type(self).__name__, [*facts, ("as written", repr(self))])

    @property
    def spec(self) -> dict[str, Any]:
        """Arguments that reconstruct this flow, as JSON data."""
        return {"flow": self.kind} | self.objective.spec

    def __eq__(self, other: object) -> bool:
        return self is other or (type(self) is type(other) and self.spec == other.spec)

    def __hash__(self) -> int:
        return hash((type(self), self.loss, self.depth, self.reduction))

    @abc.abstractmethod
    def start(self, start: Any) -> Any:
        """Check a start and convert it."""

    def starts(self, starts: Any) -> Any:
        """Check several starts; one array if all are arrays of one shape, else a list."""
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
        """Start of a new run from the state y of a run from `start`."""

    @abc.abstractmethod
    def motion(
        self, start: Any, y: np.ndarray, log_t: float, rtol: float, atol: float = 0.0, closed_form: bool = True
    ) -> Any:
        """Vector field at y (see `ceflow._field`), or a closed form for all later times."""

    @abc.abstractmethod
    def segment(self, kind: str, start: Any, y: np.ndarray, log_t: float) -> Any:
        """Closed form of the given kind from the state y on."""
