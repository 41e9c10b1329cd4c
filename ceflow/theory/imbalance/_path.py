"""Regularization path: the optimum as a function of weight decay, from SELI to zero."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import scipy
from numpy.typing import ArrayLike

from ..._checks import checked_array
from ._equilibrium import LEAST, Equilibrium, everything_dies_at, rest, solved
from ._groups import Array, Groups, checked_groups
from ._seli import stacked


class Path(NamedTuple):
    """Optima for several weight decays.

    Attributes
    ----------
    weight_decay : (n,) array
        As given.
    states : Equilibrium
        With a leading axis n.
    group_thresholds : (G,) array
        Weight decay ``sqrt(n) o`` below which the zero-sum modes of a group are nonzero; NaN for one class.
    block_thresholds : (G-1,) array
        Weight decays below which one more singular value on the constants is nonzero, descending.

    Examples
    --------
    >>> found = cf.theory.imbalance.path((2, 2), (10, 1), [0.01, 0.1])
    >>> found.group_thresholds.round(4), found.block_thresholds.round(4)
    (array([0.1437, 0.0455]), array([0.0959]))
    """

    weight_decay: Array
    states: Equilibrium
    group_thresholds: Array
    block_thresholds: Array


def path(
    classes: Sequence[int],
    samples: ArrayLike,
    weight_decay: ArrayLike,
    *,
    weights: ArrayLike = 1.0,
    logit_adjustment: ArrayLike = 0.0,
    reduction: str = "mean",
) -> Path:
    """Optima of cross-entropy for several weight decays, and the thresholds of the modes [ceflow].

    As decay decreases, modes become nonzero in the order of their thresholds. Without adjustment and with two groups
    these are first the modes of the majority, then the means of the groups, then the modes of the minority. As decay
    goes to 0 the direction tends to `seli`, and margins follow the law of `approach` with ``rho = -log(weight_decay)``.

    Parameters
    ----------
    classes, samples, weights, logit_adjustment, reduction
        As in `equilibrium`.
    weight_decay : (n,) array
        Positive ``sqrt(lW lH)``; unequal decays give the same logits.

    Returns
    -------
    Path

    Raises
    ------
    TypeError, ValueError
        If an argument is invalid.

    Notes
    -----
    Each state is one `equilibrium`, and each threshold of the constants takes about ten.

    "How Cross-Entropy Learns Data Modes" (HiLD workshop at ICML 2026) is said to have closed forms of this path for
    step imbalance; we have not seen its text. Here thresholds of the constants are roots of a scalar function.

    Examples
    --------
    >>> found = cf.theory.imbalance.path((2, 2), (10, 1), [0.1, 0.04, 0.01])
    >>> found.states.singular_values.round(4)  # of both groups, as decay falls
    array([[1.257 , 0.    ],
           [2.7527, 0.3234],
           [4.3463, 2.3851]])
    """
    groups = checked_groups(classes, samples, weights, logit_adjustment, reduction)
    decays = np.atleast_1d(checked_array("weight_decay", weight_decay, LEAST, 1.0 / LEAST))
    if decays.ndim != 1 or not decays.size:
        raise ValueError(f"weight_decay must be a number or a list of numbers, got shape {decays.shape}")
    alone = groups.classes == 1
    return Path(
        decays,
        stacked([rest(groups, decay, decay) for decay in decays.tolist()]),
        np.where(alone, np.nan, np.sqrt(groups.strengths)),
        block_thresholds(groups),
    )


def block_thresholds(groups: Groups) -> Array:
    """(G-1,) decays below which one more singular value of the block is nonzero: there the force on the remaining modes
    is 1 at the optimum with a block of rank k."""
    high, found = 0.5 * np.log(everything_dies_at(groups)), []
    for rank in range(groups.classes.size - 1):

        def excess(log_mu: float, rank: int = rank) -> float:
            problem, x = solved(groups, log_mu, rank)
            _, _, X, Y = problem.parts(x)
            forces = np.linalg.svd(X @ Y + problem.residual(x), compute_uv=False)
            return float(np.log(forces[rank]))

        step = 0.5
        while excess(high - step) <= 0.0:
            step *= 2.0
        start = high + 1e-9  # the threshold may be that of all modes
        high = scipy.optimize.brentq(excess, high - step, start, xtol=1e-12, rtol=1e-13)
        found.append(np.exp(high))
    return np.array(found)
