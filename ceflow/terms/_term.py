"""Base class of the terms, and their registry."""

from __future__ import annotations

import abc
import dataclasses
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np

REGISTRY: dict[str, type[Term]] = {}  # by name, in the order of definition


@dataclasses.dataclass(frozen=True)
class Term(abc.ABC):
    """Base class of functions of the classifier W (..., K, d) and its input features X (..., d, N).

    A new term is a file of this package with a frozen dataclass. Its fields, of JSON types or tuples of them, are its
    parameters, checked in ``__post_init__``; it defines the abstract methods. Files and certificates refer to it by its
    name.

    Values and gradients are sums over all samples: a column of X that stands for n samples moves by its gradient
    divided by n, as for the loss. A term does not depend on activations or layers before the features.

    Attributes
    ----------
    name : str
        Name in files.
    words : str
        Formula in one line.
    rests : bool
        Whether the layers converge exponentially under this term alone.

    Examples
    --------
    >>> flow = cf.MatrixFlow(terms=(cf.terms.Alignment(0.1),))
    >>> run = cf.integrate(flow, cf.random_init(classes=3, width=3, scale=1.0, rng=0), 5.0, rtol=1e-6)
    >>> f"{run.penalty[0]:.4f}, then {run.penalty[-1]:.4f}"
    '0.1278, then 0.0089'
    >>> flow.objective.terms[0].spec
    {'name': 'alignment', 'strength': 0.1, 'centred': False}
    """

    name: ClassVar[str]
    words: ClassVar[str]

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        if "name" in vars(cls):
            other = REGISTRY.setdefault(cls.name, cls)
            if (other.__module__, other.__qualname__) != (cls.__module__, cls.__qualname__):
                raise ValueError(f"a term named {cls.name!r} exists already: {other.__qualname__}")
            REGISTRY[cls.name] = cls

    def __str__(self) -> str:
        return f"{self.name}({', '.join(f'{name}={_short(value)}' for name, value in self.parameters.items())})"

    @property
    def parameters(self) -> dict[str, Any]:
        """Parameters by name, in order."""
        return {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}

    @property
    def spec(self) -> dict[str, Any]:
        """Arguments of `as_term` as JSON data."""
        return {"name": self.name} | {
            name: list(value) if isinstance(value, tuple) else value for name, value in self.parameters.items()
        }

    @abc.abstractmethod
    def constants(self, rows: int, labels: np.ndarray, samples: np.ndarray) -> tuple[np.ndarray, ...]:
        """Precompute arguments of `value` and `gradient` that do not depend on the layers.

        Parameters
        ----------
        rows : int
            Number K of rows of W.
        labels : (N,) ints
            Class of each column; all 0 without classes.
        samples : (N,) array
            Number of samples of each column.

        Returns
        -------
        tuple of arrays of floats, or of integer indices

        Raises
        ------
        ValueError
            If the term does not fit such layers.
        """

    @abc.abstractmethod
    def value(self, W: Any, X: Any, *constants: Any, **library: Any) -> Any:
        """(...) value of the term, for arrays of the library ``xp=`` (default NumPy)."""

    @abc.abstractmethod
    def gradient(self, W: Any, X: Any, *constants: Any, **library: Any) -> tuple[Any, Any]:
        """Gradient of the term in W (..., K, d) and in X (..., d, N)."""

    @property
    def rests(self) -> bool:
        return False

    def rate(self, W: Any, X: Any, *constants: Any, **library: Any) -> Any:
        """(...) approximate relative rate of convergence of the layers, as a smooth function; 0 if it has none."""
        return 0.0

    def check_start(self, W: np.ndarray, X: np.ndarray, *constants: Any, **options: Any) -> None:
        """Raise a ValueError if the term has no gradient at the start."""
        return None


def as_term(term: Term | Mapping[str, Any]) -> Term:
    """Return the term itself, or the term with a `Term.spec`.

    Examples
    --------
    >>> cf.terms.as_term({"name": "alignment", "strength": 0.1, "centred": True})
    Alignment(strength=0.1, centred=True)
    """
    if isinstance(term, Term):
        return term
    if not isinstance(term, Mapping):
        raise TypeError(f"a term must be made by ceflow.terms, got {type(term).__name__}")
    spec = dict(term)
    kind = REGISTRY.get(spec.pop("name", None))
    if kind is None or spec.keys() != {field.name for field in dataclasses.fields(kind)}:
        raise ValueError(f"unknown term: {dict(term)}; known are {', '.join(REGISTRY)}")
    return kind(**spec)


def norms(x: Any, xp: Any) -> Any:
    """Norms along the last axis, kept with length 1."""
    return xp.sqrt((x * x).sum(-1))[..., None]


def _short(value: Any) -> str:
    if isinstance(value, tuple) and len(value) > 8:
        return f"<{len(value)} values>"
    return f"{value:g}" if isinstance(value, float) else repr(value)
