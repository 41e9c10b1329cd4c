"""What margins say, and what losses share of the arithmetic on them.

With the probabilities of the wrong classes ``p_j`` at about 1/t, a form that subtracts from 1 would lose every digit:
all forms here sum the off-diagonal terms.
"""

from __future__ import annotations

import math

import numpy as np
import scipy

from ..kernels import KERNEL, njit
from ..kernels.exponential import exp, softplus

NO_ODDS = -1e3  # whose exponential is 0


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

    Examples
    --------
    >>> f"{cf.losses.log_odds_of_error(np.array([10.0, 12.0]), np.array([1.0, 8.0])):.4f}"  # one rival, and eight
    '-9.2663'
    """
    return scipy.special.logsumexp(-np.asarray(margins, float), b=valencies, axis=-1)


def cross_entropy(log_odds: np.ndarray) -> np.ndarray:
    """Cross-entropy per sample, ``-log p_0 = log(1 + odds)``, accurate however small.

    Examples
    --------
    >>> log_odds = cf.losses.log_odds_of_error(np.array([2.0, 2.0]))  # margins to two wrong classes
    >>> f"{cf.losses.cross_entropy(log_odds):.4f}"
    '0.2395'
    """
    return np.logaddexp(0.0, log_odds)


def log_cross_entropy(log_odds: np.ndarray) -> np.ndarray:
    """Logarithm of `cross_entropy`, which does not underflow.

    Examples
    --------
    >>> log_odds = cf.losses.log_odds_of_error(np.array([800.0, 800.0]))
    >>> f"{cf.losses.log_cross_entropy(log_odds):.4f}"
    '-799.3069'
    """
    x = np.asarray(log_odds, float)
    return np.where(x < -40.0, x, np.log(cross_entropy(np.maximum(x, -40.0))))


def accuracy_gap(log_odds: np.ndarray) -> np.ndarray:
    """Error probability ``1 - p_0``, the softmax probability of all wrong classes, accurate however small.

    Examples
    --------
    >>> log_odds = cf.losses.log_odds_of_error(np.array([50.0, 50.0]))
    >>> f"{cf.losses.accuracy_gap(log_odds):.4e}"
    '3.8575e-22'
    """
    return scipy.special.expit(log_odds)


def log_accuracy_gap(log_odds: np.ndarray) -> np.ndarray:
    """Logarithm of `accuracy_gap`, which does not underflow.

    Examples
    --------
    >>> log_odds = cf.losses.log_odds_of_error(np.array([800.0, 800.0]))
    >>> f"{cf.losses.log_accuracy_gap(log_odds):.4f}"
    '-799.3069'
    """
    return scipy.special.log_expit(log_odds)


@njit(**KERNEL, fastmath={"nnan", "nsz"})
def smallest_margin(valencies, margins):
    smallest = np.inf
    for j in range(margins.size):
        smallest = min(smallest, margins[j] if valencies[j] > 0.0 else np.inf)
    return smallest if smallest < np.inf else 0.0


@smallest_margin.vectorized
def _smallest(valencies, margins):
    smallest = np.where(valencies[: margins.size] > 0.0, margins, np.inf).min(initial=np.inf)
    return smallest if smallest < np.inf else 0.0


@njit(**KERNEL, fastmath={"reassoc"})
def scaled_odds(valencies, margins, smallest, out):
    """``out_j = k_j exp(smallest - margins_j)``, and their sum."""
    total = 0.0
    for j in range(margins.size):
        weight = valencies[j] * exp(min(smallest - margins[j], 0.0))  # > 0 only where the valency is 0
        out[j] = weight
        total += weight
    return total


@scaled_odds.vectorized
def _odds(valencies, margins, smallest, out):
    out = out[: margins.size]
    np.exp(np.minimum(smallest - margins, 0.0), out=out)
    out *= valencies[: margins.size]
    return out.sum()


@njit(**KERNEL)
def probabilities(base, valencies, margins, out):
    """Writes ``out_j = k_j p_j / scale``; returns the log scale and a, as `residual` does, and the log odds of these
    relations against the right class."""
    smallest = smallest_margin(valencies, margins)
    total = scaled_odds(valencies, margins, smallest, out)
    log_total = math.log(total)
    log_base = math.log(base) if base > 1.0 else 0.0
    a = log_base + smallest - log_total
    return -log_total - softplus(a), a, log_total - smallest


def full_odds(Z, own, xp):
    """Turns logits into odds of the wrong classes, in place: the probabilities are ``Z_jk exp(log_weight_k)``.

    Returns
    -------
    log_odds, log_weight : (..., N) arrays
        The log odds of error of each column, and what its entries lack.
    """
    right = (..., *own)
    Z -= Z[right][..., None, :]  # minus the margins; the right class takes no part
    Z[right] = -math.inf
    largest = xp.amax(Z, -2)  # minus the smallest margin of each column
    Z -= largest[..., None, :]
    xp.exp(Z, out=Z)
    log_total = xp.log(Z.sum(-2))
    return largest + log_total, -xp.logaddexp(-largest, log_total)


def weigh_columns(Z, log_weight, xp):
    """``-Z_jk exp(log_weight_k)``, in place."""
    # beyond -700 an exponential is 0 anyway, and a warning in some libraries
    Z *= -xp.exp(xp.clip(log_weight, -700.0, None))[..., None, :]


def close_columns(Z, own):
    """Puts in the place of the right class what makes the sum of each column 0."""
    right = (..., *own)
    Z[right] = 0.0
    Z[right] = -Z.sum(-2)


def mean_odds(log_odds, log_weights, xp):
    """(...) minus the mean of the log odds of error (..., N), by the weights of the columns."""
    if log_weights is None:
        return -log_odds.mean(-1)
    weights = xp.exp(log_weights)
    return -(log_odds * weights).mean(-1) / weights.mean()


def shares(margins: np.ndarray, valencies: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Shares (..., D) of the relations in the odds of error, whose logarithm (...) comes with them."""
    margins = np.asarray(margins, float)
    smallest = margins.min(axis=-1, keepdims=True)
    odds = np.exp(smallest - margins) * (1.0 if valencies is None else valencies)
    total = odds.sum(axis=-1, keepdims=True)
    return odds / total, (np.log(total) - smallest)[..., 0]


def response(share, own, common, rest, change):
    """``-share_j (own change_j - rest mean)``, mean the one of the change by the shares, and ``common = own - rest``.

    That is the derivative of ``share_j own`` where the shares are those of `shares` and ``d own = common d log_odds``.
    Where ``common`` is the smaller one of the two, a change that the relations have in common must not cancel: there
    the changes are taken relative to that of the relation with the largest share.
    """
    share, change = np.broadcast_arrays(share, np.asarray(change, float))
    own, common, rest = (np.asarray(x, float)[..., None] for x in (own, common, rest))
    top = np.take_along_axis(change, share.argmax(axis=-1, keepdims=True), axis=-1)
    level = np.where(np.abs(common) < np.abs(rest), top, 0.0)
    apart = change - level
    return -share * (own * apart - rest * (share * apart).sum(axis=-1, keepdims=True) + common * level)
