"""Functions of margins, shared by the losses.

The probabilities ``p_j`` of wrong classes are about 1/t, so formulas that subtract from 1 lose all digits. All formulas
here sum the terms of the wrong classes.
"""

from __future__ import annotations

import math

import numpy as np

from .._arrays import log_sum
from ..kernels import KERNEL, njit
from ..kernels.exponential import exp, softplus

NO_ODDS = -1e3  # its exponential is 0


def log_odds_of_error(margins: np.ndarray, valencies: np.ndarray | None = None) -> np.ndarray:
    """Logarithm of the odds of error (1 - p_0) / p_0.

    Parameters
    ----------
    margins : (..., D) array
        ``z_0 - z_j`` for each relation (or each wrong class) j.
    valencies : (D,) array, optional
        Number of wrong classes in each relation; default 1.

    Returns
    -------
    (...) array
        ``log sum_j k_j exp(-margins_j)``, without cancellation or overflow.

    Examples
    --------
    >>> f"{cf.losses.log_odds_of_error(np.array([10.0, 12.0]), np.array([1.0, 8.0])):.4f}"  # one rival, and eight
    '-9.2663'
    """
    return log_sum(-np.asarray(margins, float), valencies)


def cross_entropy(log_odds: np.ndarray) -> np.ndarray:
    """Cross-entropy per sample, ``-log p_0 = log(1 + odds)``, accurate for arbitrarily small values.

    Examples
    --------
    >>> log_odds = cf.losses.log_odds_of_error(np.array([2.0, 2.0]))  # margins to two wrong classes
    >>> f"{cf.losses.cross_entropy(log_odds):.4f}"
    '0.2395'
    """
    return np.logaddexp(0.0, log_odds)


def log_cross_entropy(log_odds: np.ndarray) -> np.ndarray:
    """Logarithm of `cross_entropy`; it does not underflow.

    Examples
    --------
    >>> log_odds = cf.losses.log_odds_of_error(np.array([800.0, 800.0]))
    >>> f"{cf.losses.log_cross_entropy(log_odds):.4f}"
    '-799.3069'
    """
    x = np.asarray(log_odds, float)
    return np.where(x < -40.0, x, np.log(cross_entropy(np.maximum(x, -40.0))))


def accuracy_gap(log_odds: np.ndarray) -> np.ndarray:
    """Error probability ``1 - p_0``: softmax probability of all wrong classes, without cancellation.

    Examples
    --------
    >>> log_odds = cf.losses.log_odds_of_error(np.array([50.0, 50.0]))
    >>> f"{cf.losses.accuracy_gap(log_odds):.4e}"
    '3.8575e-22'
    """
    tail = np.exp(-np.abs(log_odds))
    return np.where(np.less(log_odds, 0.0), tail, 1.0) / (1.0 + tail)


def log_accuracy_gap(log_odds: np.ndarray) -> np.ndarray:
    """Logarithm of `accuracy_gap`; it does not underflow.

    Examples
    --------
    >>> log_odds = cf.losses.log_odds_of_error(np.array([800.0, 800.0]))
    >>> f"{cf.losses.log_accuracy_gap(log_odds):.4f}"
    '-799.3069'
    """
    return -np.logaddexp(0.0, np.negative(log_odds))


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
    """Write ``out_j = k_j exp(smallest - margins_j)``; return their sum."""
    total = 0.0
    for j in range(margins.size):
        weight = valencies[j] * exp(min(smallest - margins[j], 0.0))  # positive only for valency 0
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
    """Write ``out_j = k_j p_j / scale``. Return the log scale and a as in `residual`, and the log odds of these
    relations against the true class."""
    smallest = smallest_margin(valencies, margins)
    total = scaled_odds(valencies, margins, smallest, out)
    log_total = math.log(total)
    log_base = math.log(base) if base > 1.0 else 0.0
    a = log_base + smallest - log_total
    return -log_total - softplus(a), a, log_total - smallest


def full_odds(Z, own, xp):
    """Replace logits by odds of the wrong classes, in place; probabilities are then ``Z_jk exp(log_weight_k)``.

    Returns
    -------
    log_odds, log_weight : (..., N) arrays
        Log odds of error of each column, and the log factor from its entries to probabilities.
    """
    right = (..., *own)
    Z -= Z[right][..., None, :]  # minus the margins; the true class is excluded
    Z[right] = -math.inf
    largest = xp.amax(Z, -2)  # minus the smallest margin of each column
    Z -= largest[..., None, :]
    xp.exp(Z, out=Z)
    log_total = xp.log(Z.sum(-2))
    return largest + log_total, -xp.logaddexp(-largest, log_total)


def weigh_columns(Z, log_weight, xp):
    """Multiply column k by ``-exp(log_weight_k)``, in place."""
    # below -700 the exponential is 0, and some libraries warn
    Z *= -xp.exp(xp.clip(log_weight, -700.0, None))[..., None, :]


def close_columns(Z, own):
    """Set the entry of the true class so that each column sums to 0."""
    right = (..., *own)
    Z[right] = 0.0
    Z[right] = -Z.sum(-2)


def mean_odds(log_odds, log_weights, xp):
    """(...) minus the weighted mean of the log odds of error (..., N) over the columns."""
    if log_weights is None:
        return -log_odds.mean(-1)
    weights = xp.exp(log_weights)
    return -(log_odds * weights).mean(-1) / weights.mean()


def shares(margins: np.ndarray, valencies: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Shares (..., D) of the relations in the odds of error, and log odds (...)."""
    margins = np.asarray(margins, float)
    smallest = margins.min(axis=-1, keepdims=True)
    odds = np.exp(smallest - margins) * (1.0 if valencies is None else valencies)
    total = odds.sum(axis=-1, keepdims=True)
    return odds / total, (np.log(total) - smallest)[..., 0]


def response(share, own, common, rest, change):
    """``-share_j (own change_j - rest mean)``, where mean is the mean of `change` weighted by the shares.

    ``common = own - rest``. This is the derivative of ``share_j own`` with the shares of `shares` and ``d own = common
    d log_odds``. If ``common`` is small, a common change of all margins would cancel: changes are then measured
    relative to that of the relation with the largest share.
    """
    share, change = np.broadcast_arrays(share, np.asarray(change, float))
    own, common, rest = (np.asarray(x, float)[..., None] for x in (own, common, rest))
    top = np.take_along_axis(change, share.argmax(axis=-1, keepdims=True), axis=-1)
    level = np.where(np.abs(common) < np.abs(rest), top, 0.0)
    apart = change - level
    return -share * (own * apart - rest * (share * apart).sum(axis=-1, keepdims=True) + common * level)
