"""Base class of the losses, and their registry."""

from __future__ import annotations

import abc
import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from .._checks import checked_number
from ..kernels import KERNEL, in_one_life, njit
from ..kernels.linking import FLOAT, FLOATS, INTEGER, Linked, call

# Arguments of the linked function: parameters, valencies, margins, out, a, classes, base, number of relations
RESIDUAL = (FLOATS, FLOATS, FLOATS, FLOATS, FLOATS, FLOAT, FLOAT, INTEGER)
REGISTRY: dict[str, type[Loss]] = {}  # by name, in the order of definition


def parameter(default: float, low: float, high: float) -> Any:
    """Dataclass field for a parameter of a loss, from low to high."""
    return dataclasses.field(default=default, metadata={"low": low, "high": high})


@dataclasses.dataclass(frozen=True)
class Loss(abc.ABC):
    """Base class of losses of logits: value, residual and curvature.

    A new loss is a file of this package with a frozen dataclass. Its fields, made by `parameter`, are the parameters of
    the loss; it defines the abstract methods. Other code refers to it by its name.

    The residual is minus the gradient of the loss in the logits: ``r_j >= 0`` decreases the logit z_j of a wrong class.

    Attributes
    ----------
    name : str
        Name for `as_loss` and the command line.
    formula : str
        Loss of one sample as a SymPy expression. Symbols are the odds of error ``S = sum_j k_j exp(-margin_j)``, the
        sums ``M = sum_j k_j margin_j`` and ``Q = sum_j k_j margin_j^2``, the number K of classes, and the parameters by
        name; functions are exp, log and log1p. The mean of all logits is 0. For the formula phi, ``k_j r_j = k_j
        (exp(-margin_j) phi_S - phi_M - 2 margin_j phi_Q)``.
    words : str
        One line in plain English.
    residual_formula : str
        Minus the gradient in the logit matrix Z, in the symbols of `words`.
    margins_only : bool
        Whether the loss is a positive function of the margins alone, so that its logarithm is finite. The squared error
        also depends on the mean of the logits, and can be 0.
    counterforce : float
        Size of the constant part of the forces, which growing logits finally balance; 0 if there is none.
    residual : Linked
        Compiled function with the arguments `RESIDUAL` that computes `ceflow.losses.residual`; it writes a[0] and
        returns the log scale.

    Examples
    --------
    >>> loss = cf.losses.as_loss("cross_entropy")
    >>> loss.words, loss.formula
    ('cross-entropy', 'log1p(S)')
    >>> f"{loss.log_value(np.array([800.0])):.1f}"  # of a loss of 1e-347
    '-800.0'
    """

    name: ClassVar[str]
    formula: ClassVar[str]
    residual_formula: ClassVar[str]
    margins_only: ClassVar[bool] = True
    residual: ClassVar[Linked]
    if TYPE_CHECKING:  # a property in some losses

        @property
        def words(self) -> str: ...

    @property
    def counterforce(self) -> float:
        return 0.0

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        if "name" in vars(cls):
            other = REGISTRY.setdefault(cls.name, cls)
            if (other.__module__, other.__qualname__) != (cls.__module__, cls.__qualname__):
                raise ValueError(f"a loss named {cls.name!r} exists already: {other.__qualname__}")
            REGISTRY[cls.name] = cls

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            value = checked_number(field.name, getattr(self, field.name), **field.metadata)
            object.__setattr__(self, field.name, value)

    def __str__(self) -> str:
        values = ", ".join(f"{value:g}" for value in self.parameters.values())
        return f"{self.name}({values})" if values else self.name

    @property
    def parameters(self) -> dict[str, float]:
        """Parameters by name, in order."""
        return dataclasses.asdict(self)

    @property
    def packed(self) -> np.ndarray:
        """Parameters as an array for the compiled `residual`."""
        return np.array(list(self.parameters.values()), float)

    @property
    def spec(self) -> dict[str, Any]:
        """Arguments of `from_spec` as JSON data."""
        return {"name": self.name} | self.parameters

    @abc.abstractmethod
    def log_value(
        self, margins: np.ndarray, valencies: np.ndarray | None = None, mean: np.ndarray | float = 0.0
    ) -> np.ndarray:
        """Logarithm of the loss per sample, accurate for arbitrarily small losses.

        Parameters
        ----------
        margins : (..., D) array
            ``z_0 - z_j`` for each relation (or each wrong class) j.
        valencies : (D,) array, optional
            Number of wrong classes in each relation; default 1.
        mean : (...) array
            Mean of all K logits of the sample; only the squared error depends on it.

        Returns
        -------
        (...) array
        """

    @abc.abstractmethod
    def full_residual(self, Z: Any, own: Any, xp: Any = np, log_weights: Any = None) -> tuple[Any, Any]:
        """Scaled residual on full logit matrices, in place; the true classes are at ``Z[(..., *own)]``.

        See `ceflow.losses.full_residual`."""

    @abc.abstractmethod
    def curvature(
        self, margins: np.ndarray, valencies: np.ndarray | None = None, *, change: np.ndarray
    ) -> np.ndarray:
        """Directional derivative of the residuals ``k_j r_j`` along a change of the margins.

        It is minus the Hessian of the loss times the change; symmetric, and negative semi-definite for convex losses.

        Parameters
        ----------
        margins, valencies
            As in `log_value`.
        change : (..., D) array

        Returns
        -------
        (..., D) array
            Free of cancellation.
        """

    @abc.abstractmethod
    def collapsed_force(self, s: np.ndarray, classes: int) -> np.ndarray:
        """Force ``K r(s)`` on every mode at collapsed logits of K classes with all margins s, with reduction "sum"."""

    def force_at_rest(self, classes: int) -> float:
        """Force on every mode at zero logits."""
        return float(self.collapsed_force(np.zeros(()), classes))


USUAL = {"ce": "cross_entropy", "xent": "cross_entropy", "softmax": "cross_entropy", "mse": "squared_error"}


def as_loss(loss: str | Loss) -> Loss:
    """Return the loss with a name in `LOSSES` and default parameters, or the loss itself.

    Examples
    --------
    >>> cf.losses.as_loss("label_smoothing")
    LabelSmoothing(smoothing=0.1)
    """
    if isinstance(loss, Loss):
        return loss
    if not isinstance(loss, str):
        raise TypeError(f"loss must be a name or a loss made by ceflow.losses, got {type(loss).__name__}")
    if loss not in REGISTRY:
        meant = f"; {loss!r} is {USUAL[loss.lower()]!r} here" if loss.lower() in USUAL else ""
        raise ValueError(f"loss must be one of {', '.join(REGISTRY)}, got {loss!r}{meant}")
    return REGISTRY[loss]()


def forms() -> str:
    """Description of the strings that `parse` accepts: names, and parameters with their defaults.

    Examples
    --------
    >>> cf.losses.forms()
    'cross_entropy, squared_error, label_smoothing[:SMOOTHING=0.1] or focal[:FOCUSING=2]'
    """

    def form(kind: type[Loss]) -> str:
        values = ",".join(f"{field.name.upper()}={field.default:g}" for field in dataclasses.fields(kind))
        return f"{kind.name}[:{values}]" if values else kind.name

    *others, last = map(form, REGISTRY.values())
    return f"{', '.join(others)} or {last}"


def parse(text: str) -> Loss:
    """Parse a loss from the command line, for example "focal", or "focal:3" with a parameter.

    Examples
    --------
    >>> cf.losses.parse("focal:3")
    Focal(focusing=3.0)
    """
    if not isinstance(text, str):
        raise TypeError(f"loss must be a string, got {type(text).__name__}")
    name, _, values = text.partition(":")
    if not values:
        return as_loss(name)
    kind, values = REGISTRY.get(name), values.split(",")
    if kind is None or len(values) != len(dataclasses.fields(kind)):
        raise ValueError(f"loss must be {forms()}; got {text!r}")
    try:
        return kind(*map(float, values))
    except ValueError as error:
        raise ValueError(f"loss {text}: {error}") from None


def from_spec(spec: Mapping[str, Any]) -> Loss:
    """Return the loss with a `Loss.spec`, or with the fields squared, smoothing and focusing of older files.

    Examples
    --------
    >>> cf.losses.from_spec({"name": "focal", "focusing": 3.0})
    Focal(focusing=3.0)
    """
    if not isinstance(spec, Mapping):
        raise TypeError(f"spec must be a mapping, got {type(spec).__name__}")
    new = dict(spec) if "name" in spec else _renamed(spec)
    name = new.pop("name", None)
    kind = REGISTRY.get(name) if isinstance(name, str) else None
    if kind is None or new.keys() != {field.name for field in dataclasses.fields(kind)}:
        raise ValueError(f"unknown loss: {dict(spec)}")
    return kind(**new)


def _renamed(spec: Mapping[str, Any]) -> dict[str, Any]:
    fields = {"squared": False, "smoothing": 0.0, "focusing": 0.0}
    given = {name: value for name, value in spec.items() if name not in fields or value != fields[name]}
    if not given:
        return {"name": "cross_entropy"}
    if given == {"squared": True} and given["squared"] is True:
        return {"name": "squared_error"}
    return {"name": {"smoothing": "label_smoothing", "focusing": "focal"}.get(" ".join(given))} | given


@in_one_life
def residual(
    loss: Loss, classes: float, base: float, valencies: np.ndarray, margins: np.ndarray, out: np.ndarray
) -> tuple[float, float]:
    """Scaled residual of a loss on the relations.

    Write ``out_j = k_j r_j / scale`` and return ``log scale``; r_j = p_j for cross-entropy. The largest ``exp`` is 1,
    so relevant terms do not underflow. ``base`` is 1 plus the valencies of omitted relations whose margin is always 0.
    Relations of valency 0 are ignored.

    The second result a is minus the log odds of the given relations against all others. For cross-entropy ``-log(1 +
    exp(a))`` is the part of the log scale that is not smooth. a is -1000 if there is no such part.

    Examples
    --------
    >>> loss, k, margins, out = cf.losses.CrossEntropy(), np.array([1.0, 2.0]), np.array([1.0, 2.0]), np.empty(2)
    >>> log_scale, _ = cf.losses.residual(loss, 4, 1.0, k, margins, out)
    >>> (np.exp(log_scale) * out).round(4)  # probabilities k_j p_j of the wrong classes
    array([0.2245, 0.1652])
    """
    a = np.empty(1)
    log_scale = _call_residual(loss.residual.address, loss.packed, valencies, margins, out, a, classes, base)
    return log_scale, float(a[0])


@njit(**KERNEL)
def _call_residual(address, parameters, valencies, margins, out, a, classes, base):
    return call(address, (parameters, valencies, margins, out, a, classes, base, margins.size))


def full_residual(
    loss: Loss, Z: Any, labels: Any, xp: Any = np, columns: Any = None, log_weights: Any = None
) -> tuple[Any, Any]:
    """Scaled residual G of a loss on full logit matrices, one column per sample; I - p for cross-entropy.

    Works in place for any array library xp with NumPy's names, without branches on values.

    Parameters
    ----------
    Z : (..., K, N) array
        Logits; overwritten by G divided by ``exp(log_scale)``. For cross-entropy G is -p_jk for wrong classes, and the
        sum of these p_jk (not 1 - p_kk) for the true class.
    labels : (N,) array of integers
        Class of each column, on the device of Z.
    columns : (N,) array of integers, optional
        0..N-1; omit if the labels are 0..N-1.
    log_weights : (N,) array, optional
        Logarithms of the weights of the columns of G; -inf for weight 0.

    Returns
    -------
    log_scale : (...) array
        Log scale of each matrix: the largest entry of the scaled G is about 1.
    a : (...) array or float
        Mean log odds of the true class, as in `residual`.

    Examples
    --------
    >>> Z = np.array([[1.0, 0.0], [0.0, 1.0]])
    >>> log_scale, _ = cf.losses.full_residual(cf.losses.as_loss("cross_entropy"), Z, np.array([0, 1]))
    >>> (np.exp(log_scale) * Z).round(4)  # I - softmax
    array([[ 0.2689, -0.2689],
           [-0.2689,  0.2689]])
    """
    return loss.full_residual(Z, (labels, labels if columns is None else columns), xp, log_weights)
