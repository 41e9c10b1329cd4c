"""The objective of a flow: loss, samples, weights, decay and network."""

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

MOST_SAMPLES = 10**15  # per class: exact as a float
TARGETS = ("centred", "one-hot")
_ALWAYS = {"loss", "depth", "reduction", "weight_decay"}  # present in every file


@dataclasses.dataclass(frozen=True, eq=False)
class Objective:
    """Objective of a gradient flow: the options that `SpectralFlow` and `MatrixFlow` share.

    For N samples, where sample i has class y_i and logits z_i, it is ::

        sum_i o_i loss(scale * z_i + adjustment; y_i) + sum_l (decay_l / 2) |W_l|^2 + (bias_decay / 2) |b|^2 + terms

    where o_i is the weight of the sample, divided by N for "mean". ``|H|^2`` is a sum over all N samples. Samples of a
    class that start equal stay equal, so one column h_c of H stands for n_c samples: ``dW = sum_c n_c o_c g_c h_c^T -
    decay W`` and ``dh_c = o_c W^T g_c - decay h_c``, where -g_c is the gradient of the loss of one sample.

    Parameters
    ----------
    loss : str or Loss
    depth : float
        Number of layers.
    reduction : {"mean", "sum"}
        "mean" divides the sum over samples by N, as PyTorch does without weights. Weights are not normalized: doubled
        weights double the loss. Decay is not averaged.
    samples : int or tuple of ints, optional
        Number n_c of equal samples that a column of H stands for, one for all classes or one for each; default 1.
    labels : (N,) ints, optional
        Class of each column of H, if H has one column per sample; excludes `samples`. By default H has one column per
        class.
    weights : float or tuple of floats
        Weight of a sample of each class or, with `labels`, of each sample. A sample of weight 0 is not trained. All
        weights may be 0 with `terms` and the squared error; then only the terms are descended.
    logit_adjustment, logit_scale : float or tuple of floats
        Per class: the loss is evaluated at ``scale * z + adjustment``, scale > 0 (adjustment: Menon et al.,
        arXiv:2007.07314; both, the VS-loss: Kini et al., arXiv:2103.01550). Margins and accuracy use the logits z
        without either.
    weight_decay : float or tuple of floats
        One number for all layers, or one for each from W to H. Frozen layers do not decay.
    bias : bool
        Whether a bias b is added to every column of the logits. It is trained unless frozen.
    bias_decay : float
    frozen : tuple
        Layers kept constant: "W", "H", "b", or indices from 0 (W) to depth - 1 (H).
    targets : {"centred", "one-hot"}, (n, N) or (B, n, N) array
        Targets of the squared error: one-hot minus its mean 1/K (an output bias would fit the mean), one-hot, or an
        array of N target columns for regression. A leading axis B gives each start of a batch its own targets.
    kernel : (N, N) array, optional
        Kernel Theta of the inputs, symmetric and positive semi-definite: ``dH = W^T (G O) Theta - decay H``. This is a
        linear first layer ``H = W_1 X`` with ``Theta = X^T X`` and the decay of W_1. Default identity.
    activation : str or tuple of str
        Activation between layers: "linear", "relu" or "softplus:BETA". A tuple has one for each place from W to H; all
        nonlinear ones must agree. ``("relu", "relu", "linear")`` is ``W s(X s(X' H))``. W acts on features after the
        activation.
    terms : tuple of Term
        Functions of the layers that are added to the loss, made by `ceflow.terms`; full matrices only. They are not
        divided by N and not weighted.

    Raises
    ------
    ValueError, TypeError
        If an option is invalid, or excluded by another one.

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
            raise TypeError("labels must be a sequence with the class of each sample, got one integer")
        set_("weights", checks.numbers("weights", 1.0 if self.weights is None else self.weights, 0.0, 1e15))
        if isinstance(self.terms, (Term, Mapping, str)):
            raise TypeError(f"terms must be a tuple of terms made by ceflow.terms, got {type(self.terms).__name__}")
        set_("terms", tuple(map(as_term, self.terms)))
        if not np.any(self.weights) and not (self.terms and isinstance(self.loss, SquaredError)):
            raise ValueError("weights must not all be 0 (nothing would move), except with terms and the squared error")
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
        """Reject combinations of options that exclude each other."""
        decays, columns = self.weight_decay, None
        if isinstance(decays, tuple) and (not isinstance(self.depth, int) or len(decays) != self.depth):
            raise ValueError(f"weight_decay must be a number or one for each of {self.depth} layers, got {len(decays)}")
        if isinstance(decays, tuple) and len(set(decays)) == 1:
            object.__setattr__(self, "weight_decay", decays[0])
        if not self.act.linear and not isinstance(self.depth, int):
            raise ValueError(f"depth must be an integer with an activation between layers, got {self.depth}")
        if self.labels is not None and self.samples is not None:
            raise ValueError("give labels or samples, not both: with labels each column is one sample")
        if self.bias_decay and not self.bias:
            raise ValueError("bias_decay needs bias=True")
        if len(self.frozen) == self.depth + self.bias:
            raise ValueError("frozen must not contain all layers: nothing would move")
        squared = isinstance(self.loss, SquaredError)
        if not squared and not (isinstance(self.targets, str) and self.targets == "centred"):
            raise ValueError(
                f"targets are an option of the squared error; the loss {self.loss} has targets of its own"
            )
        if squared and not (self.logit_adjustment == 0.0 and self.logit_scale == 1.0):
            raise ValueError("logit_adjustment and logit_scale do not apply to the squared error; give targets instead")
        if self.regression:
            columns = self.targets.shape[-1]
            if self.labels is not None:
                raise ValueError("labels cannot be given with an array of targets: regression has no classes")
        elif self.labels is not None:
            columns = len(self.labels)
        if self.kernel is not None:
            if self.samples is not None:
                raise ValueError("kernel needs one column per sample: give labels instead of samples")
            if columns is not None and len(self.kernel) != columns:
                raise ValueError(f"kernel must be ({columns}, {columns}), got {self.kernel.shape}")
        if columns is not None and isinstance(self.weights, tuple) and len(self.weights) != columns:
            raise ValueError(f"weights must be a number or one for each of {columns} samples, got {len(self.weights)}")
        if self.regression and isinstance(self.samples, tuple) and len(self.samples) != columns:
            raise ValueError(f"samples must be a number or one for each of {columns} columns, got {len(self.samples)}")

    # -- layers --------------------------------------------------------------------------------------------------------

    @functools.cached_property
    def act(self) -> Activation:
        """The nonlinear activation, or the linear one if there is none."""
        given = (self.activation,) if isinstance(self.activation, str) else self.activation
        return parse(max(given, key="linear".__ne__))

    @functools.cached_property
    def acts(self) -> tuple[Activation, ...]:
        """Activation at each place between layers, from W to H."""
        places = int(self.depth) - 1
        given = (self.activation,) * places if isinstance(self.activation, str) else self.activation
        return tuple(map(parse, given))

    @functools.cached_property
    def plain(self) -> bool:
        """Whether only loss, depth, reduction and one decay for all layers are set."""
        return self.spec.keys() == _ALWAYS and not isinstance(self.weight_decay, tuple)

    @property
    def regression(self) -> bool:
        """Whether the targets are an array; then there are no classes."""
        return not isinstance(self.targets, str)

    @functools.cached_property
    def decays(self) -> tuple[float, ...]:
        """Decay of each layer, from W to H; 0 for frozen layers."""
        given = self.weight_decay if isinstance(self.weight_decay, tuple) else (self.weight_decay,) * int(self.depth)
        return tuple(0.0 if i in self.frozen else decay for i, decay in enumerate(given))

    @property
    def decay_of_bias(self) -> float:
        """Decay of the bias; 0 if it is frozen or absent."""
        return 0.0 if "b" in self.frozen else self.bias_decay

    @property
    def decaying(self) -> bool:
        """Whether any layer or the bias has weight decay."""
        return self.decay_of_bias > 0.0 or any(self.decays)

    # -- classes and columns -------------------------------------------------------------------------------------------

    def columns(self, classes: int) -> int:
        """Number of columns of H."""
        if self.regression:
            return self.targets.shape[-1]
        return classes if self.labels is None else len(self.labels)

    def number(self, classes: int) -> float:
        """Number N of samples."""
        return float(self.samples_of(classes).sum())

    def log_unit(self, classes: int) -> float:
        """Logarithm of the time unit relative to reduction "sum": 0, or log N for "mean"."""
        return math.log(self.number(classes)) if self.reduction == "mean" else 0.0

    def labels_of(self, classes: int) -> np.ndarray:
        """(columns,) class of each column."""
        return np.arange(classes) if self.labels is None else np.array(self.labels)

    def samples_of(self, classes: int) -> np.ndarray:
        """(columns,) number of samples of each column."""
        return np.broadcast_to(np.array(1 if self.samples is None else self.samples, float), self.columns(classes))

    def weights_of(self, classes: int) -> np.ndarray:
        """(columns,) weight of a sample of each column, before the reduction."""
        return np.broadcast_to(np.array(self.weights, float), self.columns(classes))

    def check_classes(self, classes: int) -> None:
        """Raise a ValueError if options do not fit K classes, or n outputs."""
        if self.regression and self.targets.shape[-2] != classes:
            raise ValueError(f"targets must have {classes} rows like W, got {self.targets.shape[-2]}")
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
        """This objective with every per-class option written as K numbers, for comparison."""
        numbers = {"samples": self.samples_of(classes).astype(int), "weights": self.weights_of(classes)}
        if self.labels is not None or self.regression:
            numbers = {}
        for name in ("logit_adjustment", "logit_scale"):
            numbers[name] = np.broadcast_to(getattr(self, name), classes)
        squared = isinstance(self.loss, SquaredError)  # it has no adjustment
        kept = {name: value for name, value in numbers.items() if not (squared and "logit" in name)}
        changed: dict[str, Any] = {name: tuple(value.tolist()) for name, value in kept.items()}
        return dataclasses.replace(self, **changed)

    # -- as data -------------------------------------------------------------------------------------------------------

    @property
    def spec(self) -> dict[str, Any]:
        """Arguments of `from_spec` as JSON data: loss, depth, reduction, weight decay, and all options that differ from
        their defaults."""
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
        """Objective from its spec."""
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
        """Options as shown in the repr of a flow."""
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
