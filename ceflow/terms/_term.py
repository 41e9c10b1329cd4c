"""What a term is, and the registry of all of them."""

from __future__ import annotations

import abc
import dataclasses
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np

REGISTRY: dict[str, type[Term]] = {}  # by name, in the order of definition


@dataclasses.dataclass(frozen=True)
class Term(abc.ABC):
    """A function of the classifier W (..., K, d) and of the features X (..., d, N) that it sees.

    A new one is a file of this package with a frozen dataclass: its fields, of JSON's types or tuples of them, are its
    parameters, checked in ``__post_init__``, and what is abstract here is written down for it. Everything else, files
    and certificates included, follows from its name.

    Values and gradients are those of all samples together: a column of X that stands for n samples moves by its
    gradient over n, as do columns under the loss. What lies below the features, an activation or deeper layers, is none
    of a term's business.

    Attributes
    ----------
    name : str
        What files call it.
    words : str
        The formula in one line.
    rests : bool
        Whether the layers come to rest exponentially where this term alone moves them.

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
                raise ValueError(f"there is a term of the name {cls.name!r} already: {other.__qualname__}")
            REGISTRY[cls.name] = cls

    def __str__(self) -> str:
        return f"{self.name}({', '.join(f'{name}={_short(value)}' for name, value in self.parameters.items())})"

    @property
    def parameters(self) -> dict[str, Any]:
        """Parameters by name, in order."""
        return {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}

    @property
    def spec(self) -> dict[str, Any]:
        """All that `as_term` needs to make the term again, in terms of JSON."""
        return {"name": self.name} | {
            name: list(value) if isinstance(value, tuple) else value for name, value in self.parameters.items()
        }

    @abc.abstractmethod
    def constants(self, rows: int, labels: np.ndarray, samples: np.ndarray) -> tuple[np.ndarray, ...]:
        """What `value` and `gradient` need beside the layers, made once.

        Parameters
        ----------
        rows : int
            K, the rows of W.
        labels : (N,) ints
            Classes of the columns; all 0 where there are none.
        samples : (N,) array
            How many samples a column stands for.

        Returns
        -------
        tuple of arrays of floats, or of integers that are places

        Raises
        ------
        ValueError
            If the term does not fit such layers.
        """

    @abc.abstractmethod
    def value(self, W: Any, X: Any, *constants: Any, **library: Any) -> Any:
        """(...) the term, for arrays of the library ``xp=``, NumPy when left out."""

    @abc.abstractmethod
    def gradient(self, W: Any, X: Any, *constants: Any, **library: Any) -> tuple[Any, Any]:
        """Its gradient in W (..., K, d) and in X (..., d, N)."""

    @property
    def rests(self) -> bool:
        return False

    def rate(self, W: Any, X: Any, *constants: Any, **library: Any) -> Any:
        """(...) about how fast the layers come to rest, relative, where they do; a smooth function."""
        return 0.0

    def check_start(self, W: np.ndarray, X: np.ndarray, *constants: Any, **options: Any) -> None:
        """A ValueError where the term has no gradient at the start."""
        return None


def as_term(term: Term | Mapping[str, Any]) -> Term:
    """The term itself, or that of a `Term.spec`.

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
        raise ValueError(f"there is no such term: {dict(term)}; known are {', '.join(REGISTRY)}")
    return kind(**spec)


def norms(x: Any, xp: Any) -> Any:
    """Norms along the last axis, which is kept."""
    return xp.sqrt((x * x).sum(-1))[..., None]


def _short(value: Any) -> str:
    if isinstance(value, tuple) and len(value) > 8:
        return f"<{len(value)} values>"
    return f"{value:g}" if isinstance(value, float) else repr(value)
