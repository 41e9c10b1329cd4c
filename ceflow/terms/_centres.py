"""Losses of classifiers with several rows (centres) for each class.

Own rows of a column are the rows of its class. Sums are over rows and over samples; cos is the cosine between a column
h and a row w. All three are our model [ceflow] of the losses in *Neural Collapse To Multiple Centers For Imbalanced
Data* (NeurIPS 2024), of which we read only the abstract.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from .._checks import checked_integer, checked_number
from ._term import Term, norms


@dataclass(frozen=True)
class CentreTerm(Term):
    """Base class of losses with several rows per class.

    Parameters
    ----------
    owners : tuple of ints
        Class of each row of W.
    labels : tuple of ints, optional
        Class of each column of H; default 0, 1, 2, ...

    Examples
    --------
    >>> cf.terms.CentreCosine(owners=(0, 1, 1), labels=(0, 1, 1)).spec
    {'name': 'centre_cosine', 'owners': [0, 1, 1], 'labels': [0, 1, 1]}
    """

    owners: tuple[int, ...]
    labels: tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        for name in ("owners", "labels"):
            given = getattr(self, name)
            if given is None and name == "labels":
                continue
            if isinstance(given, str) or not np.iterable(given):
                raise TypeError(f"{name} must be a tuple of classes, got {given!r}")
            object.__setattr__(self, name, tuple(checked_integer(name, one, 0) for one in np.asarray(given).tolist()))
        missing = set(self.labels or ()) - set(self.owners)
        if not self.owners or missing:
            raise ValueError(f"owners must contain every class in labels; missing are {sorted(missing)}")

    def constants(self, rows, labels, samples):
        """(n, N) whether a row is an own row of a column, (N,) samples, and indices of the own pairs."""
        classes = np.arange(len(samples)) if self.labels is None else np.array(self.labels)
        if len(self.owners) != rows or len(classes) != len(samples):
            raise ValueError(
                f"{self.name} is made for W of {len(self.owners)} rows and H of {len(classes)} columns, got {rows} and "
                f"{len(samples)}"
            )
        own = np.equal.outer(self.owners, classes)
        if not own.any(axis=0).all():
            raise ValueError(f"owners must contain each of the classes 0 to {classes.max()}")
        return own.astype(float), samples, *np.nonzero(own)


@dataclass(frozen=True)
class _Weighted(CentreTerm):
    """Losses in which rows of other classes have the weight beta."""

    beta: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "beta", checked_number("beta", self.beta, 0.0, 1e6))


class _Cosine(CentreTerm):
    """Base class of losses of the cosines."""

    def _push(self, gap: Any, own: Any) -> Any:
        """Minus the derivative of the loss in each cosine."""
        raise NotImplementedError

    def check_start(self, W, X, *constants):
        if not (np.linalg.norm(W, axis=-1).all() and np.linalg.norm(X, axis=-2).all()):
            raise ValueError(f"{self.name} has no gradient if a row of W or a column of the features is 0")

    def _parts(self, W, X, places, xp) -> tuple[Any, ...]:
        """Unit rows and columns (..., n, d) and (..., N, d), their norms, and 1 - cos (..., n, N)."""
        X = X.swapaxes(-1, -2)
        scale = norms(W, xp), norms(X, xp)
        row, column = W / scale[0], X / scale[1]
        gap = 1.0 - row @ column.swapaxes(-1, -2)
        apart = row[..., places[0], :] - column[..., places[1], :]
        gap[..., places[0], places[1]] = 0.5 * (apart * apart).sum(-1)  # accurate for own rows, which may be close
        return row, column, scale, gap

    def gradient(self, W, X, own, samples, *places, xp=np):
        row, column, scale, gap = self._parts(W, X, places, xp)
        push = self._push(gap, own) * samples  # minus the derivative in each cosine
        along = push * (1.0 - gap)
        in_rows = push @ column - along.sum(-1)[..., None] * row
        in_columns = push.swapaxes(-1, -2) @ row - along.sum(-2)[..., None] * column
        return -in_rows / scale[0], -(in_columns / scale[1]).swapaxes(-1, -2)

    def rate(self, W, X, own, samples, *places, xp=np):
        return (own.sum(-2) / (X * X).sum(-2)).mean(-1) if self.rests else 0.0


@dataclass(frozen=True)
class CentreSquaredError(_Weighted):
    """Squared error on several own rows, ``1/2 sum_own (w.h - 1)^2 + beta/2 sum_others (w.h)^2``.

    With beta = 1 it is the squared error with one-hot targets.

    Parameters
    ----------
    owners, labels
        Class of each row of W, and of each column of H (default 0, 1, 2, ...).
    beta : float

    Examples
    --------
    >>> centres = cf.Centres((1, 2), angle=0.5)  # class 1 has two rows of W
    >>> flow = centres.flow("squared_error")
    >>> flow.objective.terms == (cf.terms.CentreSquaredError(owners=(0, 1, 1)),)
    True
    >>> run = cf.integrate(flow, (centres.W, 0.1 * centres.axes.T), 30.0, rtol=1e-6)
    >>> run.logits[-1].max(axis=0).round(3)  # of own rows
    array([1., 1.])
    """

    name = "centre_squared_error"
    words = "1/2 sum_own (w.h - 1)^2 + beta/2 sum_others (w.h)^2"

    @property
    def rests(self) -> bool:
        return True

    def value(self, W, X, own, samples, *places, xp=np):
        off = W @ X - own
        return 0.5 * (self._weights(own, samples) * off * off).sum(-1).sum(-1)

    def gradient(self, W, X, own, samples, *places, xp=np):
        slope = self._weights(own, samples) * (W @ X - own)
        return slope @ X.swapaxes(-1, -2), W.swapaxes(-1, -2) @ slope

    def rate(self, W, X, *constants, xp=np):
        return (W * W).sum(-1).mean(-1)

    def _weights(self, own, samples):
        return (own + self.beta * (1.0 - own)) * samples


@dataclass(frozen=True)
class CentreCosine(_Cosine):
    """Cosine loss on several own rows, ``sum_own (1 - cos)``.

    Parameters
    ----------
    owners, labels
        Class of each row of W, and of each column of H (default 0, 1, 2, ...).

    Examples
    --------
    >>> centres = cf.Centres((1, 2), angle=0.5)  # class 1 has two rows of W
    >>> flow = centres.flow("cosine")
    >>> flow.objective.terms == (cf.terms.CentreCosine(owners=(0, 1, 1)),)
    True
    >>> run = cf.integrate(flow, (centres.W, centres.axes.T), 30.0, rtol=1e-6)
    >>> f"{run.penalty[0]:.4f}, then {run.penalty[-1]:.4f}"
    '1.5617, then 0.4317'
    """

    name = "centre_cosine"
    words = "sum_own (1 - cos)"

    @property
    def rests(self) -> bool:
        return True

    def value(self, W, X, own, samples, *places, xp=np):
        *_, gap = self._parts(W, X, places, xp)
        return (own * gap * samples).sum(-1).sum(-1)

    def _push(self, gap, own):
        return own


@dataclass(frozen=True)
class CentreSquaredCosine(_Cosine, _Weighted):
    """Squared cosine loss on several own rows, ``1/2 sum_own (1 - cos)^2 + beta/2 sum_others cos^2``.

    A class with one centre converges only like 1/sqrt(t).

    Parameters
    ----------
    owners, labels
        Class of each row of W, and of each column of H (default 0, 1, 2, ...).
    beta : float

    Examples
    --------
    >>> centres = cf.Centres((1, 2), angle=0.5)  # class 1 has two rows of W
    >>> flow = centres.flow("squared_cosine", beta=0.5)
    >>> flow.objective.terms == (cf.terms.CentreSquaredCosine(owners=(0, 1, 1), beta=0.5),)
    True
    >>> run = cf.integrate(flow, (centres.W, centres.axes.T), 30.0, rtol=1e-6)
    >>> f"{run.penalty[0]:.4f}, then {run.penalty[-1]:.4f}"
    '0.4065, then 0.0467'
    """

    name = "centre_squared_cosine"
    words = "1/2 sum_own (1 - cos)^2 + beta/2 sum_others cos^2"

    @property
    def rests(self) -> bool:
        return min(np.unique(self.owners, return_counts=True)[1]) > 1

    def value(self, W, X, own, samples, *places, xp=np):
        *_, gap = self._parts(W, X, places, xp)
        cost = own * gap**2 + self.beta * (1.0 - own) * (1.0 - gap) ** 2
        return 0.5 * (cost * samples).sum(-1).sum(-1)

    def _push(self, gap, own):
        return own * gap - self.beta * (1.0 - own) * (1.0 - gap)
