"""Views of runs: states and the equations at them."""

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
    """States at n times, and quantities from the equations at them."""

    log_t: NDArray  # (n,)
    w: NDArray  # (n, ...) layers
    velocity: NDArray  # (n, ...), dw/dt = exp(log_scale) * velocity
    rate: NDArray  # (n, ...) rate of change of the velocity under relative changes of the state, same scale
    log_scale: NDArray  # (n,)
    size: NDArray  # (n, ...) reference size of errors
    singular_values: NDArray  # (n, D) of Z, from the layers
    largest: NDArray  # (n,) largest absolute value of them
    reach: NDArray  # (n,) effect of an error of the singular values on the root of a squared error
    log_objective: NDArray  # (n,) log of loss plus decay
    log_loss: NDArray  # (n,)
    least_force: NDArray  # (n,) relative to the largest one; NaN if forces have no sign
    log_odds: NDArray  # (n,) log odds of error; NaN if classes differ

    def rows(self, which: slice) -> States:
        """Some of the times."""
        return States(*(values[which] for values in self))


class View(ABC):
    """View of a run through its layers.

    Attributes
    ----------
    classes : int
    depth : float
    decay : float
        Weight decay, the largest one of the layers.
    fading : float
        Half the decay rate of the quantities that are conserved without weight decay.
    numbers : int
        Size of a state in memory.
    eps : float
        Rounding unit of the run.
    joint : bool
        Whether errors are norms over all numbers, not per mode.
    unit : float
        Logarithm of the rate of time relative to a loss summed over the classes.
    law : str or None
        Conserved quantity of the gradient flow; None if there is none.
    why_no_law, why_no_product : str
        Why there is no conserved quantity; why the singular values are not the products of layers. Empty otherwise.
    why_loss_may_rise : str
        Why the objective may increase; empty if it does not.
    terms : Terms or None
        Terms of the objective other than loss and decay, by the functions of the run.
    definition : SchemeByDefinition or None
        Definition of the scheme, if the run has one.
    """

    eps: float = EPS
    terms: Any = None
    joint = False
    numbers: int
    scheme: Any  # reduced runs only
    shares: NDArray  # reduced runs only
    slope_error: Callable[[Any], NDArray]  # full runs only
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
        """Logarithm of the ratio of the loss of the run and the loss of an average class."""
        return self.unit + float(np.log(self.classes))

    @abstractmethod
    def layers(self, rows: Any) -> NDArray:
        """(n, ...) moving layers."""

    @abstractmethod
    def start_layers(self) -> NDArray:
        """(1, ...) layers of the given start."""

    @abstractmethod
    def states(self, rows: Any) -> States:
        """States of some rows."""

    @abstractmethod
    def states_as_reported(self, rows: Any) -> States:
        """States with the reported singular values, if these differ from the products of the layers."""

    @abstractmethod
    def product(self, w: NDArray) -> NDArray:
        """(n, D) singular values from the layers."""

    @abstractmethod
    def size_of_product(self, w: NDArray) -> NDArray:
        """(n, D) or (n, 1) reference size of the errors of the singular values."""

    @abstractmethod
    def spread(self, s: NDArray) -> tuple[NDArray, NDArray]:
        """(n,) V of singular values (n, D) by its definition, NaN if undefined; and the rounding error of its root."""

    @abstractmethod
    def size(self, w: NDArray) -> NDArray:
        """(n, ...) positive reference size of the errors of layers."""

    @abstractmethod
    def pace(self, velocity: NDArray) -> NDArray:
        """(n, ...) size of velocities of layers (n, ...), analogous to `size`."""

    @abstractmethod
    def error(self, difference: NDArray, size: NDArray, factor: NDArray, tolerance: float, atol: float) -> NDArray:
        """(n,) differences of layers divided by the allowed errors; damped errors are divided by a factor."""

    @abstractmethod
    def response(self, states: States) -> Response:
        """Linear response of states to errors."""

    @abstractmethod
    def imbalance(self, w: NDArray) -> NDArray:
        """(n, ...) conserved quantities, which decay exponentially with weight decay; empty if there are none."""

    @abstractmethod
    def imbalance_size(self, w: NDArray) -> NDArray:
        """(n, ...) reference size of the errors of the imbalance."""

    @abstractmethod
    def mean_singular_value(self, states: States) -> NDArray:
        """(n,) mean over the K - 1 directions of the logits."""

    why_not_cross_entropy = "proved for the cross-entropy only"

    @property
    def cross_entropy(self) -> bool:
        """Whether the loss is plain cross-entropy."""
        return self.loss.name == "cross_entropy"

    @property
    def loss_may_vanish(self) -> bool:
        """Whether the loss can be 0 at a finite state."""
        return not self.loss.margins_only

    @abstractmethod
    def lyapunov(self) -> Lyapunov:
        """Lyapunov function, as far as known."""

    # -- what is proved: the reason why not, or nothing --

    @property
    @abstractmethod
    def why_no_signs(self) -> str:
        """Why forces need not be positive; empty if they are."""

    @property
    @abstractmethod
    def why_some_fall(self) -> str:
        """Why singular values may decrease; empty if they do not."""

    def drift(self, log_t: NDArray, w: NDArray) -> NDArray:
        """(n,) relative difference of the imbalance from its exact value."""
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
