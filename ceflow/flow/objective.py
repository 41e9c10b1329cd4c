"""What a flow descends: a loss of weighted samples and decay, on a network of so many layers."""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np

from .._checks import LIMIT, checked_choice, checked_number
from ..losses import CrossEntropy, Loss, SquaredError, as_loss, from_spec
from ..network.activation import Activation, parse
from ..terms import Term, as_term
from . import option_checks as checks

MOST_SAMPLES = 10**15  # of a class: their number is exact as a float
TARGETS = ("centred", "one-hot")
_ALWAYS = {"loss", "depth", "reduction", "weight_decay"}  # what every file names


@dataclasses.dataclass(frozen=True, eq=False)
class Objective:
    """What a flow descends, and how: the options that `SpectralFlow` and `MatrixFlow` share.

    With N samples in all, the sample i of class y_i and logits z_i, the flow descends ::

        sum_i o_i loss(scale * z_i + adjustment; y_i) + sum_l (decay_l / 2) |W_l|^2 + (bias_decay / 2) |b|^2 + terms

    where o_i is the weight of the sample over N ("mean") or the weight ("sum"), and ``|H|^2``, of the last layer, is a
    sum over all N samples. Samples of a class that start equal stay equal, so one column h_c of H stands for n_c of
    them: ``dW = sum_c n_c o_c g_c h_c^T - decay W`` and ``dh_c = o_c W^T g_c - decay h_c``, g_c minus the gradient of
    the loss of one sample.

    Parameters
    ----------
    loss : str or Loss
    depth : float
        Number of layers.
    reduction : {"mean", "sum"}
        With "mean" the sum over samples is divided by their number, as PyTorch does without weights. Weights are not
        renormalized: twice the weights is twice the loss. Decay is never averaged.
    samples : int or tuple of ints, optional
        Number n_c of equal samples that a column of H stands for: of all classes alike, or one number for each; 1 when
        left out.
    labels : (N,) ints, optional
        The classes of the columns of H, where H has one column for each sample; not together with `samples`. When left
        out, H has one column for each class.
    weights : float or tuple of floats
        Weight of each sample of a class, or, with `labels`, of each sample. A sample of weight 0 is not trained. All
        may be 0 beside `terms`, with the squared error: then these are all there is.
    logit_adjustment, logit_scale : float or tuple of floats
        Per class: added to that row of the logits before the loss sees them (Menon et al., arXiv:2007.07314), and
        multiplied to it before that (> 0; both: the VS-loss of Kini et al., arXiv:2103.01550). Margins and accuracy are
        those of the logits as they are, without either.
    weight_decay : float or tuple of floats
        Of all layers alike, or one for each, from W to H. A frozen layer has none.
    bias : bool
        Whether a bias b, trained unless it is frozen, is added to every column of the logits.
    bias_decay : float
    frozen : tuple
        What does not move: "W", "H", "b", or the place of a layer, 0 (W) to depth - 1 (H).
    targets : {"centred", "one-hot"}, (n, N) or (B, n, N) array
        Of the squared error: one-hot less its mean 1/K, which an output bias would provide; one-hot; or what the N
        columns of the output shall be, for regression. With a leading axis every start of a batch has its own.
    kernel : (N, N) array, optional
        Symmetric and positive semi-definite, Theta: features move by ``dH = W^T (G O) Theta - decay H``. That is the
        linear network ``H = W_1 X`` on inputs with ``Theta = X^T X``, its decay that of W_1. With "mean" and "sum" as
        above; no kernel is the identity.
    activation : str or tuple of str
        Between layers: "linear", "relu" or "softplus:BETA"; or one for each place between them, from W to H, all that
        are not "linear" alike: ``("relu", "relu", "linear")`` is ``W s(X s(X' H))``. The features that W sees are those
        of the layer behind it after its activation.
    terms : tuple of Term
        What is added to the loss beside decay, functions of the layers made by `ceflow.terms`; only of full matrices.
        Neither the reduction nor weights touch them.

    Raises
    ------
    ValueError, TypeError
        If an option is not acceptable, or cannot be combined with another.

    Examples
    --------
    >>> cf.Objective(loss="focal", weight_decay=(1e-3, 5e-4)).decays  # of a flow: flow.objective
    (0.001, 0.0005)
    """

    loss: Loss = dataclasses.field(default_factory=CrossEntropy)
    depth: float = 2
    reduction: Literal["mean", "sum"] = "mean"
    samples: Any = None
    labels: Any = None
    weights: Any = 1.0
    logit_adjustment: Any = 0.0
    logit_scale: Any = 1.0
    weight_decay: Any = 0.0
    bias: bool = False
    bias_decay: float = 0.0
    frozen: Sequence[str | int] = ()
    targets: Any = "centred"
    kernel: Any = None
    activation: str | tuple[str, ...] = "linear"
    terms: tuple[Term, ...] = ()

    def __post_init__(self) -> None:
        set_ = functools.partial(object.__setattr__, self)
        set_("loss", as_loss(self.loss))
        depth = checked_number("depth", self.depth, 2, 1000)
        set_("depth", int(depth) if depth == int(depth) else depth)
        if self.reduction not in ("mean", "sum"):
            raise ValueError(f'reduction must be "mean" or "sum", got {self.reduction!r}')
        set_("samples", checks.integers("samples", self.samples, 1, MOST_SAMPLES))
        set_("labels", checks.integers("labels", self.labels, 0, 10**9))
        if isinstance(self.labels, int):
            raise TypeError("labels must be the classes of all samples, got one integer")
        set_("weights", checks.numbers("weights", 1.0 if self.weights is None else self.weights, 0.0, 1e15))
        if isinstance(self.terms, (Term, Mapping, str)):
            raise TypeError(f"terms must be a tuple of those made by ceflow.terms, got {type(self.terms).__name__}")
        set_("terms", tuple(map(as_term, self.terms)))
        if not np.any(self.weights) and not (self.terms and isinstance(self.loss, SquaredError)):
            raise ValueError("weights must not all be 0, unless terms go with the squared error: nothing would move")
        set_("logit_adjustment", checks.numbers("logit_adjustment", self.logit_adjustment, -1e6, 1e6))
        set_("logit_scale", checks.numbers("logit_scale", self.logit_scale, 1e-6, 1e6))
        set_("weight_decay", checks.numbers("weight_decay", self.weight_decay, 0.0, LIMIT))
        if not isinstance(self.bias, (bool, np.bool_)):
            raise TypeError(f"bias must be True or False, got {self.bias!r}")
        set_("bias", bool(self.bias))
        set_("bias_decay", checked_number("bias_decay", self.bias_decay, 0.0, LIMIT))
        set_("frozen", checks.frozen(self.frozen, self.depth, self.bias))
        if isinstance(self.targets, str):
            checked_choice("targets", self.targets, TARGETS)
        else:
            set_("targets", checks.matrix("targets", self.targets, (2, 3)))
        if self.kernel is not None:
            set_("kernel", checks.semidefinite(checks.matrix("kernel", self.kernel)))
        set_("activation", checks.activation(self.activation, self.depth))
        self._check_combinations()

    def _check_combinations(self) -> None:
        """Options that exclude each other, and why."""
        decays, columns = self.weight_decay, None
        if isinstance(decays, tuple) and (not isinstance(self.depth, int) or len(decays) != self.depth):
            raise ValueError(f"weight_decay must be a number or one for each of {self.depth} layers, got {len(decays)}")
        if isinstance(decays, tuple) and len(set(decays)) == 1:
            object.__setattr__(self, "weight_decay", decays[0])
        if not self.act.linear and not isinstance(self.depth, int):
            raise ValueError(f"depth must be an integer where there is an activation between layers, got {self.depth}")
        if self.labels is not None and self.samples is not None:
            raise ValueError("give labels or samples: with labels each column is one sample")
        if self.bias_decay and not self.bias:
            raise ValueError("bias_decay needs bias=True")
        if len(self.frozen) == self.depth + self.bias:
            raise ValueError("frozen must leave something that moves")
        squared = isinstance(self.loss, SquaredError)
        if not squared and not (isinstance(self.targets, str) and self.targets == "centred"):
            raise ValueError(
                f"targets are those of the squared error; the loss {self.loss} takes its own from the classes"
            )
        if squared and not (self.logit_adjustment == 0.0 and self.logit_scale == 1.0):
            raise ValueError("logit_adjustment and logit_scale are of losses that see margins; give targets instead")
        if self.regression:
            columns = self.targets.shape[-1]
            if self.labels is not None:
                raise ValueError("labels have no meaning beside an array of targets: there are no classes")
        elif self.labels is not None:
            columns = len(self.labels)
        if self.kernel is not None:
            if self.samples is not None:
                raise ValueError("kernel couples single samples: give labels, with one column each, instead of samples")
            if columns is not None and len(self.kernel) != columns:
                raise ValueError(f"kernel must be ({columns}, {columns}), got {self.kernel.shape}")
        if columns is not None and isinstance(self.weights, tuple) and len(self.weights) != columns:
            raise ValueError(f"weights must be a number or one for each of {columns} samples, got {len(self.weights)}")
        if self.regression and isinstance(self.samples, tuple) and len(self.samples) != columns:
            raise ValueError(f"samples must be a number or one for each of {columns} columns, got {len(self.samples)}")

    # -- what it says of layers ----------------------------------------------------------------------------------------

    @functools.cached_property
    def act(self) -> Activation:
        """The activation: that of all places between layers that have one."""
        given = (self.activation,) if isinstance(self.activation, str) else self.activation
        return parse(max(given, key="linear".__ne__))

    @functools.cached_property
    def acts(self) -> tuple[Activation, ...]:
        """The activation of each place between layers, from W to H."""
        places = int(self.depth) - 1
        given = (self.activation,) * places if isinstance(self.activation, str) else self.activation
        return tuple(map(parse, given))

    @functools.cached_property
    def plain(self) -> bool:
        """Whether there is nothing but a loss, a reduction, and one decay for all layers."""
        return self.spec.keys() == _ALWAYS and not isinstance(self.weight_decay, tuple)

    @property
    def regression(self) -> bool:
        """Whether the targets are given, so that there are no classes."""
        return not isinstance(self.targets, str)

    @functools.cached_property
    def decays(self) -> tuple[float, ...]:
        """Decay of each layer, from W to H; 0 where it is frozen."""
        given = self.weight_decay if isinstance(self.weight_decay, tuple) else (self.weight_decay,) * int(self.depth)
        return tuple(0.0 if i in self.frozen else decay for i, decay in enumerate(given))

    @property
    def decay_of_bias(self) -> float:
        """Decay of the bias; 0 where it is frozen, or is none."""
        return 0.0 if "b" in self.frozen else self.bias_decay

    @property
    def decaying(self) -> bool:
        """Whether anything decays."""
        return self.decay_of_bias > 0.0 or any(self.decays)

    # -- what it says of classes and columns ---------------------------------------------------------------------------

    def columns(self, classes: int) -> int:
        """Number of columns of H."""
        if self.regression:
            return self.targets.shape[-1]
        return classes if self.labels is None else len(self.labels)

    def number(self, classes: int) -> float:
        """N, the samples in all."""
        return float(self.samples_of(classes).sum())

    def log_unit(self, classes: int) -> float:
        """Log of time over the time of reduction "sum": 0, or log N for "mean"."""
        return math.log(self.number(classes)) if self.reduction == "mean" else 0.0

    def labels_of(self, classes: int) -> np.ndarray:
        """(columns,) classes of the columns."""
        return np.arange(classes) if self.labels is None else np.array(self.labels)

    def samples_of(self, classes: int) -> np.ndarray:
        """(columns,) number of samples of each column."""
        return np.broadcast_to(np.array(1 if self.samples is None else self.samples, float), self.columns(classes))

    def weights_of(self, classes: int) -> np.ndarray:
        """(columns,) weight of each sample of a column, before the reduction."""
        return np.broadcast_to(np.array(self.weights, float), self.columns(classes))

    def check_classes(self, classes: int) -> None:
        """A ValueError where options do not fit K classes, or n outputs."""
        if self.regression and self.targets.shape[-2] != classes:
            raise ValueError(f"targets must have {classes} rows, as W has, got {self.targets.shape[-2]}")
        if self.labels is not None and max(self.labels) >= classes:
            raise ValueError(f"labels must be 0 to {classes - 1}, as W has {classes} rows, got {max(self.labels)}")
        per_class = ["logit_adjustment", "logit_scale"]
        per_class += ["samples", "weights"] if self.labels is None and not self.regression else []
        for name in per_class:
            value = getattr(self, name)
            if isinstance(value, tuple) and len(value) != classes:
                raise ValueError(f"{name} must be a number or one for each of {classes} classes, got {len(value)}")
        if self.kernel is not None and len(self.kernel) != self.columns(classes):
            raise ValueError(f"kernel must be square of {self.columns(classes)} columns, got {self.kernel.shape}")

    def per_class(self, classes: int) -> Objective:
        """The same with one number for each of K classes where there may be one for all, so that it can be compared."""
        numbers = {"samples": self.samples_of(classes).astype(int), "weights": self.weights_of(classes)}
        if self.labels is not None or self.regression:
            numbers = {}
        for name in ("logit_adjustment", "logit_scale"):
            numbers[name] = np.broadcast_to(getattr(self, name), classes)
        squared = isinstance(self.loss, SquaredError)  # which takes no adjustment
        kept = {name: value for name, value in numbers.items() if not (squared and "logit" in name)}
        changed: dict[str, Any] = {name: tuple(value.tolist()) for name, value in kept.items()}
        return dataclasses.replace(self, **changed)

    # -- as data -------------------------------------------------------------------------------------------------------

    @property
    def spec(self) -> dict[str, Any]:
        """All that `from_spec` needs to make it again, in terms of JSON: the loss, depth, reduction and weight decay,
        and whatever else is not as usual."""
        found: dict[str, Any] = {"loss": self.loss.spec}
        for field in dataclasses.fields(self)[1:]:
            value = getattr(self, field.name)
            value = value.tolist() if isinstance(value, np.ndarray) else value
            value = list(value) if isinstance(value, tuple) else value
            value = [term.spec for term in value] if field.name == "terms" else value
            usual = list(field.default) if isinstance(field.default, tuple) else field.default
            if field.name in _ALWAYS or value != usual:
                found[field.name] = value
        return found

    @classmethod
    def from_spec(cls, spec: Mapping[str, Any]) -> Objective:
        """The objective of a spec."""
        options = dict(spec)
        if "loss" in options:
            options["loss"] = from_spec(options["loss"])
        return cls(**options)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Objective) and self.spec == other.spec

    def __hash__(self) -> int:
        return hash((self.loss, self.depth, self.reduction, self.samples, self.labels, self.weights, self.weight_decay))

    @property
    def text(self) -> str:
        """The options as a repr of a flow shows them."""
        decay = f", weight_decay={_short(self.weight_decay)}" if self.weight_decay else ""
        spec = self.spec | ({"terms": self.terms} if self.terms else {})
        rest = "".join(f", {name}={_short(value)}" for name, value in spec.items() if name not in _ALWAYS)
        return f", loss={str(self.loss)!r}, depth={self.depth}, reduction={self.reduction!r}{decay}{rest}"

    def __repr__(self) -> str:
        return f"Objective({self.text[2:]})"


def _short(value: Any) -> str:
    if isinstance(value, (list, tuple)):
        if len(value) > 8 or any(isinstance(item, list) for item in value):
            rows = f"{len(value)} rows" if isinstance(value[0], list) else f"{len(value)} values"
            return f"<{rows}>"
        return f"({', '.join(map(_short, value))}{',' if len(value) == 1 else ''})"
    return f"{value:g}" if isinstance(value, float) else str(value) if isinstance(value, Term) else repr(value)
