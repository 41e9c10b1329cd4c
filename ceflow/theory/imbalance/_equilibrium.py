"""Cross-entropy of imbalanced classes under weight decay: thresholds, minimum, and rates of convergence."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import scipy
from numpy.typing import ArrayLike, NDArray

from ..._checks import checked_array
from ._groups import Array, Geometry, GroupLayers, Groups, checked_groups, geometry, margins_of
from ._problem import Problem, log_loss
from ._seli import seli_layers

DEAD = 1e-13  # a singular value of the block counts as 0 if its margins are below this (rounding)
LEAST = 1e-280  # lower limit of sqrt(lW lH) and of a sample weight: quotients do not overflow


class Thresholds(NamedTuple):
    """Products ``lW lH`` of the decays of classifier and features above which modes are 0.

    Attributes
    ----------
    groups : (G,) array
        Above this all classes of a group have equal rows of W and equal features; NaN for a group of one class.
    everything : float
        Above this all logits of a column are equal, except for a logit adjustment.

    Examples
    --------
    >>> found = cf.theory.imbalance.minority_threshold((5, 5), (100, 1))
    >>> np.sqrt(found.groups).round(4), f"{np.sqrt(found.everything):.4f}"
    (array([0.0198, 0.002 ]), '0.0198')
    """

    groups: Array
    everything: float


def minority_threshold(
    classes: Sequence[int],
    samples: ArrayLike,
    *,
    weights: ArrayLike = 1.0,
    logit_adjustment: ArrayLike = 0.0,
    reduction: str = "mean",
) -> Thresholds:
    """Weight decay above which a group of classes collapses to a point [ceflow].

    At the optimum the zero-sum modes of a group are 0 if and only if ``n o^2 <= lW lH``, for n samples per class and
    weight o of a sample; with "mean", ``n <= N^2 lW lH``. This is independent of the other groups and of a logit
    adjustment: the force on a zero mode is 1, because probabilities of a column sum to 1. The squared error with
    centred or one-hot targets has the same threshold.

    All modes are 0 if this holds for every group of at least two classes, and for the means of the groups. The force on
    the latter at zero is the largest singular value of ``(I - softmax(adjustment) 1^T) diag(o sqrt(n))`` on the
    constants. Without adjustment the group of at least two classes with the most samples vanishes last.

    Parameters
    ----------
    classes : sequence of ints
        Number of classes in each of G groups.
    samples : number or (G,) array
        Positive number of samples per class of each group.
    weights, logit_adjustment, reduction
        As in `ceflow.SpectralFlow`; a number, or one for each group.

    Returns
    -------
    Thresholds

    Raises
    ------
    TypeError, ValueError
        If an argument is invalid.

    Notes
    -----
    Minority collapse was found by Fang, He, Long & Su, arXiv:2101.12699. Hong & Ling, arXiv:2309.09725, have thresholds
    for cross-entropy with two clusters; we have not compared them with these.

    Examples
    --------
    >>> found = cf.theory.imbalance.minority_threshold((5, 5), (100, 1))
    >>> best = cf.theory.imbalance.equilibrium((5, 5), (100, 1), 1.01 * np.sqrt(found.groups[1]))
    >>> best.singular_values.round(4)  # the minority is dead
    array([4.8915, 0.    ])
    """
    groups = checked_groups(classes, samples, weights, logit_adjustment, reduction)
    alone = groups.classes == 1
    return Thresholds(np.where(alone, np.nan, groups.strengths), everything_dies_at(groups))


def everything_dies_at(groups: Groups) -> float:
    K = groups.classes
    log_p = groups.adjustment - scipy.special.logsumexp(groups.adjustment, b=K)
    force = np.eye(K.size) - (np.sqrt(K) * np.exp(log_p))[:, None] * np.sqrt(K)
    block = np.linalg.norm(force * (groups.weights * np.sqrt(groups.samples)), 2) ** 2
    return float(np.max(groups.strengths, where=K > 1, initial=block))


class Equilibrium(NamedTuple):
    """Global minimum of cross-entropy with weight decay.

    Attributes
    ----------
    forces : (..., G) array
        Forces on the zero-sum modes, ``lambda_g = min(1, sqrt(lW lH / (n o^2)))``.
    singular_values : (..., G) array
        Singular values of the logits on these modes, equal to the margins within the group; exactly 0 above the
        threshold, NaN for one class.
    block_singular_values : (..., G-1) array
        Singular values of ``Z N^(1/2)`` on the constants of the groups, descending; 0 above the threshold.
    margins : (..., G, G) array
        Margin of a sample of the row's group over a class of the column's group; ``[[AA, AB], [BA, BB]]`` for two
        groups.
    loss, objective : (...) arrays
        Loss without and with decay.
    layers : GroupLayers
    geometry : Geometry

    Examples
    --------
    >>> best = cf.theory.imbalance.equilibrium((2, 2), (10, 1), 1e-3)
    >>> best.margins.round(4)  # [[AA, AB], [BA, BB]]
    array([[6.7241, 6.0761],
           [5.833 , 4.8005]])
    """

    forces: Array
    singular_values: Array
    block_singular_values: Array
    margins: Array
    loss: Array
    objective: Array
    layers: GroupLayers
    geometry: Geometry


def equilibrium(
    classes: Sequence[int],
    samples: ArrayLike,
    weight_decay: float | tuple[float, float],
    *,
    weights: ArrayLike = 1.0,
    logit_adjustment: ArrayLike = 0.0,
    reduction: str = "mean",
) -> Equilibrium:
    """Global minimum of cross-entropy with weight decay on groups of classes [ceflow].

    For two groups it solves four scalar equations: ``lambda_A = min(1, sqrt(lW lH / (n_A o_A^2)))``, the same for B,
    ``n_A o_A^2 g_A^2 + n_B o_B^2 g_B^2 = lW lH`` and ``t_A / t_B = o_A g_A / (o_B g_B)``. For G groups the convex
    objective ``sum n o loss + sqrt(lW lH) |Z N^(1/2)|_*`` is minimized in the 2 G numbers of the modes and the two
    factors of the block on the constants, by Newton's method. The time grows like G^6: milliseconds for few groups, a
    third of a second for ten, seconds for twenty.

    Parameters
    ----------
    classes, samples, weights, logit_adjustment, reduction
        As in `minority_threshold`.
    weight_decay : float or pair of floats
        Positive decay of both layers, or lW of the classifier and lH of the features. Logits depend on the product
        only; layers also on the ratio, ``a / b = sqrt(n lH / lW)``.

    Returns
    -------
    Equilibrium

    Raises
    ------
    TypeError, ValueError
        If an argument is invalid.
    ArithmeticError
        If Newton's method does not converge.

    Examples
    --------
    >>> best = cf.theory.imbalance.equilibrium((2, 2), (10, 1), (1e-3, 1e-3))
    >>> f"{best.objective:.5f}", best.singular_values.round(4)
    ('0.04566', array([6.7241, 4.8005]))
    """
    groups = checked_groups(classes, samples, weights, logit_adjustment, reduction)
    return rest(groups, *checked_decays(weight_decay))


def checked_decays(weight_decay: float | tuple[float, float]) -> tuple[float, float]:
    decays = checked_array("weight_decay", weight_decay, LEAST, 1.0 / LEAST)
    if decays.shape not in ((), (2,)):
        raise ValueError(f"weight_decay must be a number or a pair (lW, lH), got shape {decays.shape}")
    lW, lH = np.broadcast_to(decays, 2).tolist()
    return lW, lH


def rest(groups: Groups, lW: float, lH: float) -> Equilibrium:
    log_mu = 0.5 * (np.log(lW) + np.log(lH))
    problem, x = solved(groups, log_mu, groups.classes.size - 1)
    K, root = groups.classes, np.sqrt(groups.samples)
    a, b, X, Y = problem.parts(x)
    U, sizes, turn = np.linalg.svd(X, full_matrices=False)  # balanced: sizes^2 are the singular values of X Y
    reach = np.abs(U / np.sqrt(K)[:, None]).max(axis=0) * np.abs(turn @ Y / np.sqrt(K) / root).max(axis=1)
    alive = sizes * reach > DEAD
    sizes, turn = sizes * alive, turn * alive[:, None]
    ratio = np.exp(0.25 * (np.log(lH) - np.log(lW)))
    modes = np.zeros((2, K.size))
    modes[:, problem.modes] = np.stack([a, b]) / np.sqrt(K[problem.modes] - 1.0)
    modes *= _alive(groups, log_mu)
    layers = GroupLayers(K, ratio * modes[0], modes[1] / (ratio * root), U * sizes * ratio, turn @ Y / (ratio * root))
    s, log_loss_of = modes[0] * modes[1] / root, log_loss(problem.losses(x)[0])
    with np.errstate(under="ignore"):
        loss = np.exp(problem.log_weights + log_mu + log_loss_of).sum()
        objective = problem.value(x) * np.exp(log_mu)
    return Equilibrium(
        np.exp(np.minimum(0.0, log_mu - 0.5 * np.log(groups.strengths))), np.where(K > 1, s, np.nan), sizes**2,
        margins_of(groups, layers), loss, objective, layers, geometry(groups, layers),
    )  # fmt: skip


def _alive(groups: Groups, log_mu: float) -> NDArray[np.bool_]:
    """(G,) whether the zero-sum modes are nonzero at this decay."""
    return 0.5 * np.log(groups.strengths) > log_mu


def solved(groups: Groups, log_mu: float, rank: int) -> tuple[Problem, Array]:
    """Problem and minimum among blocks of this rank; the iteration starts from SELI with margins log(1 / mu)."""
    problem, limit = Problem(groups, log_mu, rank), seli_layers(groups)
    K, root = groups.classes, np.sqrt(groups.samples)
    norm = (K - 1.0) @ root + (limit.X**2).sum()
    others = K.sum() - 1.0
    log_odds = scipy.special.logsumexp(problem.log_weights) + np.log(others / norm)  # log(e^m + K - 1) here
    size = np.sqrt(max(log_odds + np.log1p(-min(others * np.exp(-log_odds), 0.9)), 0.1))
    modes = (np.sqrt((K - 1.0) * root) * _alive(groups, log_mu) * size)[problem.modes]
    X, Y = size * limit.X[:, :rank], size * (limit.Y * root)[:rank]
    return problem, problem.minimum(np.concatenate([modes, modes, X.ravel(), Y.ravel()]))


class Rates(NamedTuple):
    """Linear rates of convergence of the flow.

    Attributes
    ----------
    rates : (M,) array
        Rates, ascending: deviations decay as ``exp(-rate t)``. A run finally decays with the smallest rate among its
        deviations.
    shares : (M, G + 1) array
        Share of the squared deviation, in W and ``H N^(1/2)``, in the zero-sum modes of each group, and in the block of
        the constants.

    Examples
    --------
    >>> found = cf.theory.imbalance.rates((2, 2), (10, 1), 0.01)
    >>> f"{found.rates[0]:.5f}", found.shares[0].round(2)
    ('0.01000', array([0., 0., 1.]))
    """

    rates: Array
    shares: Array


def rates(
    classes: Sequence[int],
    samples: ArrayLike,
    weight_decay: float | tuple[float, float],
    *,
    weights: ArrayLike = 1.0,
    logit_adjustment: ArrayLike = 0.0,
    reduction: str = "mean",
) -> Rates:
    """Linear rates of convergence of cross-entropy with weight decay to its equilibrium [ceflow].

    In W and ``H N^(1/2)`` the flow is gradient flow of the objective. So the rates are the eigenvalues of its Hessian
    at `equilibrium`, restricted to states symmetric within groups and without rotations of the features. With equal
    decays l, ``a^2 - n b^2`` decays as ``exp(-2 l t)``, so 2 l is always a rate. A zero mode has the rates ``(lW +
    lH)/2 +- sqrt((lW - lH)^2 / 4 + n o^2)``.

    Parameters
    ----------
    classes, samples, weight_decay, weights, logit_adjustment, reduction
        As in `equilibrium`. The time unit is that of the reduction.

    Returns
    -------
    Rates

    Raises
    ------
    TypeError, ValueError
        If an argument is invalid.

    Examples
    --------
    >>> found = cf.theory.imbalance.rates((2, 2), (10, 1), 0.01)
    >>> f"{found.rates[0]:.5f}"  # the last stage: exp(-rate t)
    '0.01000'
    """
    groups = checked_groups(classes, samples, weights, logit_adjustment, reduction)
    lW, lH = checked_decays(weight_decay)
    mu, K, rank = np.sqrt(lW) * np.sqrt(lH), groups.classes, groups.classes.size - 1
    layers = rest(groups, lW, lH).layers
    problem = Problem(groups, float(np.log(mu)), rank, (lW / mu, lH / mu))
    modes, root = problem.modes, np.sqrt(groups.samples)
    many = np.sqrt(K[modes] - 1.0)
    x = np.concatenate(
        [many * layers.a[modes], many * (layers.b * root)[modes], layers.X.ravel(), (layers.Y * root).ravel()]
    )
    turns = []
    for i, j in zip(*np.triu_indices(rank, 1), strict=True):
        turn = np.zeros((rank, rank))
        turn[i, j], turn[j, i] = 1.0, -1.0
        turned = (layers.X @ turn, -turn @ layers.Y * root)
        turns.append(np.concatenate([np.zeros(2 * modes.size), *(part.ravel() for part in turned)]))
    frame = scipy.linalg.null_space(np.array(turns)) if turns else np.eye(x.size)
    found, vectors = np.linalg.eigh(frame.T @ problem.derivatives(x)[1] @ frame)
    squares = (frame @ vectors).T ** 2
    shares = np.zeros((found.size, K.size + 1))
    D = modes.size
    shares[:, modes] = squares[:, :D] + squares[:, D : 2 * D]
    shares[:, -1] = squares[:, 2 * D :].sum(axis=1)
    return Rates(mu * found, shares)
