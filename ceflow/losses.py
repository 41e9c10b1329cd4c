"""Losses on unconstrained features: what the logits say, and the residual that drives the flow.

Everything is expressed through the margins ``z_0 - z_j``, one for each relation j = 1..D of an association scheme
(for a plain column of K logits every off-diagonal entry is a relation of valency 1). With the probabilities of the
wrong classes ``p_j`` at about 1/t, a form that subtracts from 1 would lose every digit: all forms here sum the
off-diagonal terms.
"""

from __future__ import annotations

import math

import numpy as np
import scipy
from numba import njit

LOSSES = ("cross_entropy",)


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


@njit(cache=True)
def residual(base: float, valencies: np.ndarray, margins: np.ndarray, out: np.ndarray) -> float:
    """Scaled residual of the cross-entropy on the relations (kernel).

    Writes ``out_j = k_j p_j / scale`` and returns ``log scale``; the largest ``exp`` is 1, so nothing that matters
    underflows. ``base`` is 1 plus the valencies of those relations that are left out because their margin is always 0.
    A relation of valency 0 takes no part.
    """
    smallest = np.inf
    for j in range(margins.size):
        if valencies[j] > 0.0 and margins[j] < smallest:
            smallest = margins[j]
    if smallest == np.inf:
        smallest = 0.0
    total = 0.0
    for j in range(margins.size):
        out[j] = valencies[j] * math.exp(smallest - margins[j]) if valencies[j] > 0.0 else 0.0
        total += out[j]
    if smallest > 0.0:
        return -smallest - math.log(base + total * math.exp(-smallest))
    return -math.log(base * math.exp(smallest) + total)


def full_residual(logits: np.ndarray) -> tuple[np.ndarray, float]:
    """Scaled residual G = I - softmax(Z) of the cross-entropy on a full logit matrix, column c belonging to class c.

    Parameters
    ----------
    logits : (K, K) array

    Returns
    -------
    G : (K, K) array
        G divided by its largest entry off the diagonal, ``exp(log_scale)``. Off the diagonal it is -P_jk; on the
        diagonal the sum of the column's off-diagonal P_jk, never 1 - P_kk.
    log_scale : float
    """
    P = np.diagonal(logits) - logits  # margins; the diagonal takes no part
    np.fill_diagonal(P, np.inf)
    smallest = P.min(axis=0)
    np.subtract(smallest, P, out=P)
    np.exp(P, out=P)
    # P_jk = exp(smallest - margin) * weight, weight = 1 / (exp(smallest) + total), column by column
    log_weight = -np.logaddexp(smallest, np.log(P.sum(axis=0)))
    log_scale = float(log_weight.max())
    P *= np.exp(np.maximum(log_weight - log_scale, -745.0))
    np.negative(P, out=P)
    np.fill_diagonal(P, -P.sum(axis=0))
    return P, log_scale
