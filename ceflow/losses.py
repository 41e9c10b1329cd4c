"""Losses on unconstrained features: what the logits say, and the residual that drives the flow.

Everything is expressed through the margins ``z_0 - z_j``, one for each relation j = 1..D of an association scheme
(for a plain column of K logits every off-diagonal entry is a relation of valency 1). With the probabilities of the
wrong classes ``p_j`` at about 1/t, a form that subtracts from 1 would lose every digit: all forms here sum the
off-diagonal terms.

A residual is minus the gradient of the loss in the logits: ``r_j >= 0`` off the diagonal pushes the logit z_j down.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import scipy
from numba import njit

from ._checks import checked_number
from ._kernels import KERNEL
from .exponential import exp, softplus

NO_ODDS = -1e3  # whose exponential is 0
LOSSES = ("cross_entropy", "squared_error", "label_smoothing", "focal")


class Loss(NamedTuple):
    """A loss: cross-entropy, one of its relatives, or the squared error. Made by `as_loss`, `label_smoothing`, `focal`.

    Attributes
    ----------
    squared : bool
        ``(1/2) |z - y|^2`` per sample instead of a function of probabilities. The target y is one-hot less its mean
        1/K, which an output bias would provide; cross-entropy does not see that mean either.
    smoothing : float
        Label smoothing: the target has ``smoothing / K`` in every class and the rest in the right one.
    focusing : float
        Focal loss ``-(1 - p_0)^focusing log p_0`` (Lin et al., arXiv:1708.02002).
    """

    squared: bool = False
    smoothing: float = 0.0
    focusing: float = 0.0

    @property
    def name(self) -> str:
        """One of `LOSSES`."""
        named = (self.squared, "squared_error"), (self.smoothing, "label_smoothing"), (self.focusing, "focal")
        return next((name for value, name in named if value), "cross_entropy")

    @property
    def pull(self) -> float:
        """Size of the constant part of the forces that the growing logits come to balance; 0 if they never do."""
        return 1.0 if self.squared else self.smoothing

    def __str__(self) -> str:
        parameter = {"label_smoothing": self.smoothing, "focal": self.focusing}.get(self.name)
        return self.name if parameter is None else f"{self.name}({parameter:g})"

    def log_value(self, margins: np.ndarray, valencies: np.ndarray | None = None, mean: np.ndarray | float = 0.0):
        """Logarithm of the loss per sample, accurate however small.

        Parameters
        ----------
        margins : (..., D) array
            ``z_0 - z_j`` for each relation (or each wrong class) j.
        valencies : (D,) array, optional
            Number of wrong classes in each relation; 1 each when left out.
        mean : (...) array
            Mean of all K logits of the sample, on which only the squared error depends.

        Returns
        -------
        (...) array
        """
        margins = np.asarray(margins, float)
        k = np.ones(margins.shape[-1]) if valencies is None else np.asarray(valencies, float)
        classes = 1.0 + k.sum()
        if self.squared:
            first = margins @ k / classes + mean
            wrong = first[..., None] - margins + 1.0 / classes
            with np.errstate(divide="ignore"):
                return np.log(0.5 * ((first - 1.0 + 1.0 / classes) ** 2 + wrong**2 @ k))
        log_odds = log_odds_of_error(margins, k)
        if self.smoothing:
            return np.log(cross_entropy(log_odds) + self.smoothing / classes * (margins @ k))
        return log_cross_entropy(log_odds) + self.focusing * log_accuracy_gap(log_odds)


def label_smoothing(smoothing: float = 0.1) -> Loss:
    """Cross-entropy with a share of the target, 0 < smoothing < 1, spread evenly over all K classes."""
    return Loss(smoothing=checked_number("smoothing", smoothing, 1e-12, 1.0 - 1e-12))


def focal(focusing: float = 2.0) -> Loss:
    """Focal loss, ``(1 - p_0)^focusing`` times the cross-entropy, 0 < focusing <= 100."""
    return Loss(focusing=checked_number("focusing", focusing, 1e-12, 100.0))


def as_loss(loss: str | Loss) -> Loss:
    """The loss of a name in `LOSSES` (with the parameters of `label_smoothing` and `focal`), or the loss itself."""
    if isinstance(loss, Loss):
        return from_spec(loss._asdict())
    if not isinstance(loss, str):
        raise TypeError(f"loss must be a name or made by ceflow.losses, got {type(loss).__name__}")
    if loss not in LOSSES:
        raise ValueError(f"loss must be one of {', '.join(LOSSES)}, got {loss!r}")
    if loss == "label_smoothing":
        return label_smoothing()
    return focal() if loss == "focal" else Loss(squared=loss == "squared_error")


def from_spec(spec: Mapping) -> Loss:
    """The loss that has the given fields."""
    loss = Loss(**spec)
    if (loss.squared is True and loss == Loss(squared=True)) or (loss.squared is False and loss == Loss()):
        return loss
    if loss.squared or (loss.smoothing and loss.focusing):
        raise ValueError(f"there is no such loss: {dict(spec)}")
    return label_smoothing(loss.smoothing) if loss.smoothing else focal(loss.focusing)


def log_odds_of_error(margins: np.ndarray, valencies: np.ndarray | None = None) -> np.ndarray:
    """Logarithm of (1 - p_0) / p_0, the odds that a sample is misclassified.

    Parameters
    ----------
    margins : (..., D) array
        ``z_0 - z_j`` for each relation (or each wrong class) j.
    valencies : (D,) array, optional
        Number of wrong classes in each relation; 1 each when left out.

    Returns
    -------
    (...) array
        ``log sum_j k_j exp(-margins_j)``; no cancellation, no overflow.
    """
    return scipy.special.logsumexp(-np.asarray(margins, float), b=valencies, axis=-1)


def cross_entropy(log_odds: np.ndarray) -> np.ndarray:
    """Cross-entropy per sample, ``-log p_0 = log(1 + odds)``, accurate however small."""
    return np.logaddexp(0.0, log_odds)


def log_cross_entropy(log_odds: np.ndarray) -> np.ndarray:
    """Logarithm of `cross_entropy`, which does not underflow."""
    x = np.asarray(log_odds, float)
    return np.where(x < -40.0, x, np.log(cross_entropy(np.maximum(x, -40.0))))


def accuracy_gap(log_odds: np.ndarray) -> np.ndarray:
    """``1 - p_0``, the probability given to the wrong classes, accurate however small."""
    return scipy.special.expit(log_odds)


def log_accuracy_gap(log_odds: np.ndarray) -> np.ndarray:
    """Logarithm of `accuracy_gap`, which does not underflow."""
    return scipy.special.log_expit(log_odds)


@njit(**KERNEL, fastmath={"nnan", "nsz"})
def _smallest(valencies, margins):
    smallest = np.inf
    for j in range(margins.size):
        smallest = min(smallest, margins[j] if valencies[j] > 0.0 else np.inf)
    return smallest if smallest < np.inf else 0.0


@njit(**KERNEL, fastmath={"reassoc"})
def _exponentials(valencies, margins, smallest, out):
    """``out_j = k_j exp(smallest - margins_j)``, and their sum."""
    total = 0.0
    for j in range(margins.size):
        weight = valencies[j] * exp(min(smallest - margins[j], 0.0))  # > 0 only where the valency is 0
        out[j] = weight
        total += weight
    return total


@njit(**KERNEL)
def residual(
    loss: Loss, classes: float, base: float, valencies: np.ndarray, margins: np.ndarray, out: np.ndarray
) -> tuple[float, float]:
    """Scaled residual of a loss on the relations (kernel).

    Writes ``out_j = k_j r_j / scale`` and returns ``log scale``, with r_j = p_j for cross-entropy; the largest ``exp``
    is 1, so nothing that matters underflows. ``base`` is 1 plus the valencies of those relations that are left out
    because their margin is always 0. A relation of valency 0 takes no part.

    Returned beside it is a, minus the log odds of the relations that take part against all others: for cross-entropy
    ``-log(1 + exp(a))`` is what is not smooth in the scale. It is -1000 where there is no such thing.
    """
    if loss.squared:
        first = 0.0
        for j in range(margins.size):
            first += valencies[j] * margins[j]
        first = (first + 1.0) / classes
        for j in range(margins.size):
            out[j] = valencies[j] * (first - margins[j])
        return 0.0, NO_ODDS
    smallest = _smallest(valencies, margins)
    total = _exponentials(valencies, margins, smallest, out)
    log_total = math.log(total)
    log_base = math.log(base) if base > 1.0 else 0.0
    a = log_base + smallest - log_total
    log_scale = -log_total - softplus(a)
    if loss.focusing > 0.0:
        # r_j = p_j q^f (1 + f log(1 + o) / o), with q = 1 - p_0 and o = q / p_0
        rest, own = math.log(base - 1.0) if base > 1.0 else -np.inf, log_total - smallest
        high = max(rest, own)
        log_odds = high + math.log(math.exp(rest - high) + math.exp(own - high))
        odds = math.exp(min(log_odds, 700.0))
        ratio = math.log1p(odds) / odds if odds > 0.0 else 1.0
        log_scale += loss.focusing * (log_odds - math.log1p(odds)) + math.log1p(loss.focusing * ratio)
    if loss.smoothing > 0.0:
        share = loss.smoothing / classes
        high = max(log_scale, math.log(share))
        weight, share = math.exp(log_scale - high), share * math.exp(-high)
        for j in range(margins.size):
            out[j] = out[j] * weight - valencies[j] * share
        log_scale = high
    return log_scale, a


def full_residual(loss: Loss, Z, indices, xp=np):
    """Scaled residual G of a loss on full logit matrices, column c belonging to class c; for cross-entropy G = I - P.

    Written for any array library xp with NumPy's names, in place, without a look at the values.

    Parameters
    ----------
    Z : (..., K, K) array
        Logits; becomes G divided by ``exp(log_scale)``. For cross-entropy G is -P_jk off the diagonal and on it the sum
        of the column's off-diagonal P_jk, never 1 - P_kk.
    indices : (K,) array of integers
        0..K-1, where Z lives.

    Returns
    -------
    log_scale : 0-dimensional array
        Common to all matrices: the largest entry of G is about 1, or less for those that move much more slowly.
    a : 0-dimensional array or float
        Mean log odds of the right class, as in `residual`.
    """
    classes = Z.shape[-1]
    diagonal = (..., indices, indices)
    if loss.squared:
        Z *= -1.0
        Z -= 1.0 / classes
        Z[diagonal] += 1.0
        return 0.0 * Z[..., 0, 0].sum(), NO_ODDS
    Z -= Z[diagonal][..., None, :]  # minus the margins; the diagonal takes no part
    Z[diagonal] = -math.inf
    largest = xp.amax(Z, -2)  # minus the smallest margin of each column
    Z -= largest[..., None, :]
    xp.exp(Z, out=Z)
    # P_jk = Z_jk exp(log_weight_k), 1 / exp(log_weight) = exp(smallest margin) + total
    log_total = xp.log(Z.sum(-2))
    log_weight = -xp.logaddexp(-largest, log_total)
    a = -(largest + log_total).mean()
    if loss.focusing:
        log_odds = largest + log_total
        odds = xp.exp(xp.clip(log_odds, -80.0, 80.0))
        ratio = xp.log1p(odds) / odds
        log_weight += loss.focusing * (log_odds - xp.logaddexp(log_odds, 0.0 * log_odds))
        log_weight += xp.log1p(loss.focusing * ratio)
    log_scale = log_weight.max()
    if loss.smoothing:
        log_scale = xp.clip(log_scale, math.log(loss.smoothing / classes), None)
    # beyond -700 an exponential is 0 anyway, and a warning in some libraries
    Z *= -xp.exp(xp.clip(log_weight - log_scale, -700.0, None))[..., None, :]
    if loss.smoothing:
        Z += loss.smoothing / classes * xp.exp(-log_scale)
    Z[diagonal] = 0.0
    Z[diagonal] = -Z.sum(-2)
    return log_scale, a
