"""Alignment of the classifier's rows with the class means."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .._checks import checked_number
from ._term import Term, norms


@dataclass(frozen=True)
class Alignment(Term):
    """Alignment term ``strength * mean_k (1 - cos(w_k, m_k))``, with the class means m_k of the features.

    It is independent of norms. Every class needs a column.

    Parameters
    ----------
    strength : float
        From 0 to 1e6.
    centred : bool
        Whether to subtract the mean of all class means from each m_k.

    Notes
    -----
    Our model [ceflow] of the regularizer SpA-Reg of arXiv:2512.07844, whose formula we have not seen.

    Examples
    --------
    >>> start = cf.random_init(classes=3, width=3, scale=1.0, rng=0)
    >>> for terms in ((), (cf.terms.Alignment(1.0),)):
    ...     run = cf.integrate(cf.MatrixFlow(terms=terms), start, 5.0, rtol=1e-6)
    ...     W, H = (layer[-1] for layer in run.factors)
    ...     print(np.degrees(cf.collapse.alignment(W, H).angle).round(1))
    [42.4 65.5 33.1]
    [4.4 1.  2.3]
    """

    strength: float = 0.1
    centred: bool = False

    name = "alignment"
    words = "strength * mean_k (1 - cos(w_k, m_k))"

    def __post_init__(self) -> None:
        object.__setattr__(self, "strength", checked_number("strength", self.strength, 0.0, 1e6))
        if not isinstance(self.centred, bool):
            raise TypeError(f"centred must be True or False, got {self.centred!r}")

    def constants(self, rows, labels, samples):
        one_hot = np.equal.outer(labels, np.arange(rows)) * samples[:, None]
        total = one_hot.sum(axis=0)
        if not total.all():
            lacking = np.flatnonzero(total == 0)
            raise ValueError(f"alignment needs a column of each of {rows} classes, got none of {lacking}")
        shares = one_hot / total
        return (shares - shares.mean(axis=1, keepdims=True) if self.centred else shares,)

    def check_start(self, W, X, shares):
        for name, vectors, axis in (("row of W", W, -1), ("class mean", X @ shares, -2)):
            if not np.all(np.linalg.norm(vectors, axis=axis) > 0.0):
                raise ValueError(f"alignment has no gradient where a {name} is 0")

    def value(self, W, X, shares, xp=np):
        _, _, apart, _ = self._parts(W, X, shares, xp)
        return 0.5 * self.strength * (apart * apart).sum(-1).mean(-1)

    def gradient(self, W, X, shares, xp=np):
        row, mean, apart, scale = self._parts(W, X, shares, xp)
        # mean - cos row = apart + (1 - cos) row, and 1 - cos = |apart|^2 / 2
        gap = 0.5 * (apart * apart).sum(-1)[..., None]
        factor = self.strength / W.shape[-2]
        in_means = factor * (apart - gap * mean) / scale[1]
        return -factor * (apart + gap * row) / scale[0], (shares @ in_means).swapaxes(-1, -2)

    def _parts(self, W, X, shares, xp):
        """Unit rows and unit class means (..., K, d), their differences, and their norms."""
        means = (X @ shares).swapaxes(-1, -2)
        scale = norms(W, xp), norms(means, xp)
        row, mean = W / scale[0], means / scale[1]
        return row, mean, mean - row, scale
