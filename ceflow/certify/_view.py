"""How to look at a run: its states, and what the equations say of them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ._limits import EPS

if TYPE_CHECKING:
    from ._lyapunov import Lyapunov
    from ._propagation import Response


class States(NamedTuple):
    """States at n times: N numbers each, and what the equations say of them."""

    log_t: NDArray  # (n,)
    w: NDArray  # (n, ...) layers
    velocity: NDArray  # (n, ...), dw/dt = exp(log_scale) * velocity
    rate: NDArray  # (n, ...) how fast the velocity reacts to a relative change of the state, with the same scale
    log_scale: NDArray  # (n,)
    size: NDArray  # (n, ...) by which errors are measured
    singular_values: NDArray  # (n, D) of Z, as the layers make them
    largest: NDArray  # (n,) of them, in size
    reach: NDArray  # (n,) what an error of the singular values is to the root of a squared error
    log_objective: NDArray  # (n,) of loss plus decay
    log_loss: NDArray  # (n,)
    least_force: NDArray  # (n,) over the largest one; NaN where forces have no sign
    log_odds: NDArray  # (n,) of error; NaN where classes differ

    def rows(self, which: slice) -> States:
        """Some of the times."""
        return States(*(values[which] for values in self))


class View(ABC):
    """A run, seen through the layers.

    Attributes
    ----------
    classes : int
    depth : float
    decay : float
        Weight decay, the largest one of the layers.
    fading : float
        Decay of what is conserved without it, over 2.
    numbers : int
        Of a state, as far as memory counts.
    eps : float
        Rounding of the run's arithmetic.
    joint : bool
        Whether errors are of all numbers together, not of each mode by itself.
    unit : float
        Logarithm of the rate at which time runs, over that of a loss that is summed over the classes.
    law : str or None
        What the gradient flow of such layers conserves; None if there is no such thing.
    why_no_law, why_no_product : str
        Why there is no such thing; why the singular values are not those that layers make. Empty if there is, and if
        they are.
    why_loss_may_rise : str
        Why the run descends no objective; empty if it does.
    terms : Terms or None
        What the run descends beside loss and decay, by the run's own functions.
    definition : SchemeByDefinition or None
        Of the scheme, if the run has one.
    """

    eps: float = EPS
    terms: Any = None
    joint = False
    numbers: int
    scheme: Any  # of a reduced run
    shares: NDArray  # the same
    slope_error: Callable[[Any], NDArray]  # of a full run
    if TYPE_CHECKING:

        @property
        def law(self) -> str | None: ...

    why_no_law = why_no_product = why_loss_may_rise = ""
    definition: Any = None

    def __init__(self, run: Any, classes: int) -> None:
        self.flow, self.start, self.classes = run.flow, run.start, classes
        self.loss, self.depth, self.decay = run.flow.loss, run.flow.depth, float(np.max(run.flow.weight_decay))
        self.fading = self.decay
        self.unit = -float(np.log(classes)) if run.flow.reduction == "mean" else 0.0

    @property
    def log_total(self) -> float:
        """Logarithm of the loss of the run over that of an average class."""
        return self.unit + float(np.log(self.classes))

    @abstractmethod
    def layers(self, rows: Any) -> NDArray:
        """(n, ...) what moves."""

    @abstractmethod
    def start_layers(self) -> NDArray:
        """(1, ...) the layers that the run was asked to begin at."""

    @abstractmethod
    def states(self, rows: Any) -> States:
        """What the equations say of some rows."""

    @abstractmethod
    def states_as_reported(self, rows: Any) -> States:
        """The same for the singular values that the run reports, where these are not what its layers make."""

    @abstractmethod
    def product(self, w: NDArray) -> NDArray:
        """(n, D) singular values that layers make."""

    @abstractmethod
    def size_of_product(self, w: NDArray) -> NDArray:
        """(n, D) or (n, 1), by which errors of that are measured."""

    @abstractmethod
    def spread(self, s: NDArray) -> tuple[NDArray, NDArray]:
        """(n,) V of singular values (n, D), by its definition, NaN where it has none; and what rounding makes of its
        root."""

    @abstractmethod
    def size(self, w: NDArray) -> NDArray:
        """(n, ...) by which errors of layers are measured; never 0."""

    @abstractmethod
    def pace(self, velocity: NDArray) -> NDArray:
        """(n, ...) of velocities of layers (n, ...), as `size` is of layers."""

    @abstractmethod
    def error(self, difference: NDArray, size: NDArray, factor: NDArray, tolerance: float, atol: float) -> NDArray:
        """(n,) differences of layers over what is allowed, where errors that are forgotten are divided by a factor."""

    @abstractmethod
    def response(self, states: States) -> Response:
        """How states react to errors."""

    @abstractmethod
    def imbalance(self, w: NDArray) -> NDArray:
        """(n, ...) what is conserved, or decays by its law; empty if there is nothing such."""

    @abstractmethod
    def imbalance_size(self, w: NDArray) -> NDArray:
        """(n, ...) by which its errors are measured."""

    @abstractmethod
    def mean_singular_value(self, states: States) -> NDArray:
        """(n,) over the K - 1 directions in which the logits may differ."""

    why_not_cross_entropy = "proved for the cross-entropy only"

    @property
    def cross_entropy(self) -> bool:
        """Whether the loss is the one of which most is proved."""
        return self.loss.name == "cross_entropy"

    @property
    def loss_may_vanish(self) -> bool:
        """Whether the loss comes to 0 at a finite state."""
        return not self.loss.margins_only

    @abstractmethod
    def lyapunov(self) -> Lyapunov:
        """What there is of a Lyapunov function."""

    # -- what is proved: the reason why not, or nothing --

    @property
    @abstractmethod
    def why_no_signs(self) -> str:
        """Of forces that are positive."""

    @property
    @abstractmethod
    def why_some_fall(self) -> str:
        """Of singular values that never fall."""

    def drift(self, log_t: NDArray, w: NDArray) -> NDArray:
        """(n,) how far the imbalance is from what its law makes of that of the start, relative."""
        imbalance = self.imbalance(w)
        if not imbalance.size:
            return np.zeros(len(w))
        elapsed = np.exp(np.minimum(log_t, 700.0)).reshape((len(w),) + (1,) * (w.ndim - 1))
        kept = self.imbalance(self.start_layers()) * np.exp(-2.0 * self.fading * elapsed)
        return (np.abs(imbalance - kept) / self.imbalance_size(w)).reshape(len(w), -1).max(axis=1)


def log_sum(x: NDArray) -> NDArray:
    """``log(sum(exp(x)))`` over the last axis."""
    top = x.max(axis=-1)
    return top + np.log(np.exp(x - top[..., None]).sum(axis=-1))


def log_of_log1p_exp(x: NDArray) -> NDArray:
    """``log(log(1 + e^x))``."""
    return np.where(x < -40.0, x, np.log(np.logaddexp(0.0, np.maximum(x, -40.0))))


def with_decay(log_loss: NDArray, decay: float, squares: NDArray) -> NDArray:
    """Logarithm of the loss plus ``decay / 2`` times the squares of the layers."""
    return np.logaddexp(log_loss, np.log(0.5 * decay * squares)) if decay else log_loss
