"""Tasks with replay on clustered inputs: equilibria, thresholds and time scales of forgetting.

The input kernel is r0 between classes, r0 + r within a class, and 1 for a sample with itself; v = 1 - r0 - r is the
private part. Each class of task f has n_f trained samples of weight o_f; for an old task n_f is the buffer size B. Time
has the unit of reduction "sum". [ceflow], our model of arXiv:2512.07400, of which we read public notes; the exact
statements are proved in the derivation `replay`.

Examples
--------
>>> f"{cf.theory.replay.mixture(5, 0.5, 0.5):.4f} of a trained margin is seen in unseen samples"
'0.8333 of a trained margin is seen in unseen samples'
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import scipy
from numpy.typing import ArrayLike, NDArray

from .._checks import checked_array, checked_choice, checked_number

__all__ = [
    "ReplayRest", "deep_index", "deep_threshold", "features_without_replay", "half_life", "inflation", "mixture",
    "replay_rest", "rest_force", "shallow_threshold",
]  # fmt: skip

_LOW, _HIGH = 1e-6, 1e15  # limits of numbers of samples


def mixture(buffer: ArrayLike, r: float, v: float) -> NDArray[np.float64]:
    """Ratio ``pi = r B / (r B + v)`` of unseen to trained features at equilibrium, for differences within a task.

    It depends on neither weights, decay nor r0. ``pi / (1 - pi) = r B / v`` is linear in B.

    Parameters
    ----------
    buffer : array
        Number B >= 0 of trained samples per class.
    r, v : float
        Kernel increment within a class, r > 0, and private part.

    Examples
    --------
    >>> cf.theory.replay.mixture([0, 1, 5, 100], 0.5, 0.5).round(4)
    array([0.    , 0.5   , 0.8333, 0.9901])
    """
    buffer, r, v = _checked(buffer, r, v)
    return (r * buffer / (r * buffer + v))[()]


def inflation(buffer: ArrayLike, r: float, v: float) -> NDArray[np.float64]:
    """Ratio ``1 + v / (r B)`` of differences between class means in the buffer and in the population; inf for B = 0.

    Arguments are as in `mixture`.

    Examples
    --------
    >>> cf.theory.replay.inflation([1, 5, 100], 0.5, 0.5)
    array([2.  , 1.2 , 1.01])
    """
    buffer, r, v = _checked(buffer, r, v)
    with np.errstate(divide="ignore"):
        return (1.0 + v / (r * buffer))[()]


def deep_index(
    buffer: ArrayLike, weight: ArrayLike, r: float, v: float, weight_decay: float | tuple[float, float]
) -> NDArray[np.float64]:
    """Index ``B o^2 (r B + v) / (lW lH)``: classes of a task stay distinct at equilibrium if and only if it exceeds 1.

    Parameters
    ----------
    buffer, r, v
        As in `mixture`.
    weight : array
        Weight o of each sample.
    weight_decay : float or (float, float)
        Positive; one number for lW = lH, or both.

    Examples
    --------
    >>> f"{cf.theory.replay.deep_index(5, 1 / 210, 0.5, 0.5, 1e-2):.4f}"  # above 1: differences survive
    '3.4014'
    """
    buffer, r, v = _checked(buffer, r, v)
    weight, (lW, lH) = checked_array("weight", weight, 0.0, 1e15), _decays(weight_decay)
    return (buffer * weight**2 * (r * buffer + v) / (lW * lH))[()]


def rest_force(index: ArrayLike) -> NDArray[np.float64]:
    """Force on differences between classes of a task at equilibrium, ``min(1, 1/sqrt(index))`` with `deep_index`.

    Examples
    --------
    >>> cf.theory.replay.rest_force([0.5, 4.0])
    array([1. , 0.5])
    """
    return (1.0 / np.sqrt(np.maximum(checked_array("index", index, 0.0), 1.0)))[()]


def half_life(weight_decay: float) -> float:
    """Half-life ``ln 2 / lH`` of differences between features of a task without replay, when only decay acts.

    Examples
    --------
    >>> f"{cf.theory.replay.half_life(1e-3):.2f}"
    '693.15'
    """
    return math.log(2.0) / checked_number("weight_decay", weight_decay, 1e-300, 1e300)


def features_without_replay(
    t: ArrayLike, a0: ArrayLike, b0: ArrayLike, weight_decay: float | tuple[float, float]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Classifier ``a0 exp(-lW t)`` and features ``b0 exp(-lH t)`` on differences between classes of a task without
    replay.

    t is the time since the switch of tasks.

    Examples
    --------
    >>> a, b = cf.theory.replay.features_without_replay(100.0, 1.0, 1.0, 1e-3)
    >>> f"{a:.4f}, {b:.4f}"
    '0.9048, 0.9048'
    """
    t, (lW, lH) = checked_array("t", t, 0.0), _decays(weight_decay, least=0.0)
    a0, b0 = checked_array("a0", a0), checked_array("b0", b0)
    return (a0 * np.exp(-lW * t))[()], (b0 * np.exp(-lH * t))[()]


class ReplayRest(NamedTuple):
    """Equilibrium of two tasks under weight decay.

    Attributes
    ----------
    within : (2, 2) array
        Margins between classes of one task: rows for trained and unseen samples, columns for tasks.
    between : (2, 2) array
        Margins over classes of the other task.
    mixture : (2,) array
        `mixture` pi of each task.
    index : (2,) array
        `deep_index` of each task.

    Examples
    --------
    >>> rest = cf.theory.replay.replay_rest((2, 2), (5, 100), (1 / 210, 1 / 210), (0.0, 0.5), 1e-3)
    >>> rest.within.round(3)  # of trained samples and of unseen ones, for each task
    array([[4.072, 7.398],
           [3.393, 7.324]])
    """

    within: NDArray[np.float64]
    between: NDArray[np.float64]
    mixture: NDArray[np.float64]
    index: NDArray[np.float64]  # type: ignore[assignment]  # hides a method of tuples


def replay_rest(
    classes: tuple[int, int],
    samples: tuple[float, float],
    weights: tuple[float, float],
    kernel: tuple[float, float],
    weight_decay: float | tuple[float, float],
) -> ReplayRest:
    """Minimum of the objective of two trained tasks.

    It minimizes a convex function of the trained logits Z: the loss plus ``sqrt(lW lH)`` times the nuclear norm of ``Z
    Theta^(-1/2)``. Symmetric logits have four numbers. The mode within a task is 0 if and only if its `deep_index` is
    at most 1.

    Parameters
    ----------
    classes, samples, weights, kernel, weight_decay
        As in `ceflow.ReplayFlow`, with two weights; all positive except r0.

    Returns
    -------
    ReplayRest

    Raises
    ------
    ValueError, TypeError
        If an argument is invalid.

    Examples
    --------
    >>> rest = cf.theory.replay.replay_rest((2, 2), (5, 100), (1 / 210, 1 / 210), (0.0, 0.5), 1e-3)
    >>> flow = cf.ReplayFlow((2, 2), (5, 100), (0.0, 0.5), weight_decay=1e-3)
    >>> run = cf.integrate(flow, 0.1, 1e5, rtol=1e-6)
    >>> rest.within.round(2), run.margins_within[-1].round(2)
    (array([[4.07, 7.4 ],
           [3.39, 7.32]]), array([[4.07, 7.4 ],
           [3.39, 7.32]]))
    """
    (r0, r), (lW, lH) = checked_array("kernel", kernel, 0.0, 1.0), _decays(weight_decay)
    K, n, o = (
        _pair(name, values, low)
        for name, values, low in (("classes", classes, 2.0), ("samples", samples, _LOW), ("weights", weights, 1e-150))
    )
    v = 1.0 - r0 - r
    _checked(n, r, v)
    load, own = n * o, r + v / n
    theta = np.diag(own) + r0 * np.sqrt(np.outer(K, K))
    index = deep_index(n, o, r, v, (lW, lH))
    alive = index > 1.0
    direction = np.array([math.sqrt(K[1]), -math.sqrt(K[0])]) / math.sqrt(K.sum())  # rows of the common block
    apart = (direction / np.sqrt(K) - (direction / np.sqrt(K))[::-1]) / np.sqrt(K)
    root = np.linalg.cholesky(theta)
    cost, scale = math.sqrt(lW * lH), np.sqrt(own)

    # s = x[:2] of nonzero modes, and the row t = L x[2:] of the common block with Theta = L L^T and norm |x[2:]|
    def margins(s: NDArray, t: NDArray) -> tuple[NDArray, NDArray]:
        return s, apart * t + s * (1.0 - 1.0 / K)

    def residual(s: NDArray, t: NDArray) -> tuple[NDArray, NDArray]:
        """Forces on s for one sample, and minus the gradient of the loss in t."""
        within, between = margins(s, t)
        logs = np.stack([-within, -between])
        p = np.exp(logs - np.logaddexp(0.0, scipy.special.logsumexp(logs, axis=0, b=np.stack([K - 1.0, K[::-1]]))))
        leak = K[::-1] * p[1]
        return K * p[0] + leak, load * K * leak * apart

    block = np.linalg.norm(root.T @ residual(np.zeros(2), np.zeros(2))[1]) > cost or np.any(alive)

    def slope(x: NDArray) -> NDArray:
        s, y = np.where(alive, x[:2], 0.0), x[2:]
        force, g = residual(s, root @ y)
        of_modes = np.where(alive, np.log(force * load * scale / cost), x[:2])
        return np.concatenate([of_modes, root.T @ g / cost - y / max(np.linalg.norm(y), 1e-300)])

    s, t = np.zeros(2), np.zeros(2)
    if block:
        s, t = _solved(slope, alive, root, apart)
    w_squared = math.sqrt(lH / lW) * np.linalg.norm(np.linalg.solve(root, t))
    pull = residual(s, t)[1] * w_squared / lH  # t of trained samples is theta times this; for unseen, without v
    unseen = (theta - np.diag(v / n)) @ pull
    pi = r / own
    pairs = [margins(s, t), margins(pi * s, unseen)]
    return ReplayRest(np.stack([p[0] for p in pairs]), np.stack([p[1] for p in pairs]), pi, index)


def _solved(slope, alive: NDArray, root: NDArray, apart: NDArray) -> tuple[NDArray, NDArray]:
    """s and t at which the slopes are 0."""
    for size in (3.0, 1.0, 6.0, 0.3, 12.0, 0.1):
        guess = np.concatenate([np.where(alive, size, 0.0), np.linalg.solve(root, size / apart)])
        with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
            found = scipy.optimize.root(slope, guess, method="hybr", tol=1e-13)
            x = found.x
            if np.abs(slope(x)).max() < 1e-9:
                return np.where(alive, x[:2], 0.0), root @ x[2:]
    raise ValueError("no equilibrium was found: the arguments are too extreme")


def deep_threshold(
    classes: tuple[int, int],
    samples: float,
    kernel: tuple[float, float],
    weight_decay: float | tuple[float, float],
    *,
    weights: str = "uniform",
) -> float:
    """Buffer size per old class (a real number) above which old classes stay distinct at equilibrium.

    0 if every buffer suffices, inf if no buffer up to `samples` does.

    Parameters
    ----------
    classes : (int, int)
        Classes of the old and of the new task.
    samples : float
        Samples per new class.
    kernel : (r0, r)
    weight_decay : float or (float, float)
    weights : {"uniform", "balanced"}
        As in `ceflow.ReplayFlow`.

    Examples
    --------
    >>> f"{cf.theory.replay.deep_threshold((2, 2), 100, (0.0, 0.5), 1e-2):.4f}"
    '2.4403'
    """
    v = 1.0 - sum(kernel)

    def growth(B: float) -> float:
        weight = _weights(weights, classes, B, samples)[0]
        return math.log(deep_index(B, weight, kernel[1], v, weight_decay))

    return _smallest_buffer(growth, samples)


def shallow_threshold(
    classes: tuple[int, int],
    samples: float,
    kernel: tuple[float, float],
    weight_decay: float | tuple[float, float],
    *,
    weights: str = "uniform",
) -> float:
    """Buffer size per old class above which unseen old samples have positive margins at equilibrium.

    Margins are over the new classes. Arguments and result are as in `deep_threshold`.

    Examples
    --------
    >>> f"{cf.theory.replay.shallow_threshold((2, 2), 100, (0.0, 0.5), 3e-2):.4f}"
    '0.0000'
    """

    def margin(B: float) -> float:
        each = _weights(weights, classes, B, samples)
        return float(replay_rest(classes, (B, samples), each, kernel, weight_decay).between[1, 0])

    return _smallest_buffer(margin, samples)


def _smallest_buffer(function, samples: float) -> float:
    """Buffer size between 1e-3 and `samples` above which a function of it is positive."""
    samples = checked_number("samples", samples, 1.0, _HIGH)
    low, high = math.log(1e-3), math.log(samples)
    if function(math.exp(low)) > 0.0:
        return 0.0
    if function(samples) <= 0.0:
        return math.inf
    return math.exp(scipy.optimize.brentq(lambda x: function(math.exp(x)), low, high, xtol=1e-10))


def _weights(name: str, classes: tuple[int, int], buffer: float, samples: float) -> tuple[float, float]:
    if checked_choice("weights", name, ("uniform", "balanced")) == "uniform":
        weight = 1.0 / (classes[0] * buffer + classes[1] * samples)
        return weight, weight
    return 0.5 / (classes[0] * buffer), 0.5 / (classes[1] * samples)


def _checked(buffer: ArrayLike, r: float, v: float) -> tuple[NDArray[np.float64], float, float]:
    buffer = checked_array("buffer", buffer, 0.0, _HIGH)
    return buffer, checked_number("r", r, 1e-15, 1.0), checked_number("v", v, 1e-15, 1.0)


def _decays(weight_decay: float | tuple[float, float], least: float = 1e-100) -> tuple[float, float]:
    decays = checked_array("weight_decay", weight_decay, least, 1e100)
    if decays.shape not in ((), (2,)):
        raise ValueError(f"weight_decay must be a number or (lW, lH), got shape {decays.shape}")
    lW, lH = np.broadcast_to(decays, 2).tolist()
    return lW, lH


def _pair(name: str, values: ArrayLike, low: float) -> NDArray[np.float64]:
    array = checked_array(name, values, low, _HIGH)
    if array.shape != (2,):
        raise ValueError(f"{name} must have two numbers, one for each task, got shape {array.shape}")
    return array
