"""Tasks with replay on clustered inputs: what unseen samples share with the buffer, and when old classes are lost.

Inputs share r0 with all others, r besides with those of their class, and v = 1 - r0 - r is private. Of each class of
task f there are n_f trained samples of weight o_f; of an old task n_f is the buffer B. Time is that of "sum": weights
are all that multiplies the loss. [ceflow], a model of arXiv:2512.07400, of which public notes were available to us;
what is exact in it is proved in the derivation `replay`.

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

_LOW, _HIGH = 1e-6, 1e15  # of numbers of samples


def mixture(buffer: ArrayLike, r: float, v: float) -> NDArray[np.float64]:
    """``pi = r B / (r B + v)``: unseen over trained features, in differences between classes of a task, at rest.

    It grows with the buffer, whatever the weights, the decay and r0. ``pi / (1 - pi) = r B / v`` is linear in B.

    Parameters
    ----------
    buffer : array
        B >= 0, trained samples of each class.
    r, v : float
        What inputs share in their class, and what is private, r > 0.

    Examples
    --------
    >>> cf.theory.replay.mixture([0, 1, 5, 100], 0.5, 0.5).round(4)
    array([0.    , 0.5   , 0.8333, 0.9901])
    """
    buffer, r, v = _checked(buffer, r, v)
    return (r * buffer / (r * buffer + v))[()]


def inflation(buffer: ArrayLike, r: float, v: float) -> NDArray[np.float64]:
    """``1 + v / (r B)``: means of the buffer over those of the population, in differences between classes; inf for
    B = 0. Arguments are those of `mixture`.

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
    """``B o^2 (r B + v) / (lW lH)``: the differences between classes of a task survive if and only if it is above 1.

    Parameters
    ----------
    buffer, r, v
        As for `mixture`.
    weight : array
        o, of each sample.
    weight_decay : float or (float, float)
        lW = lH, or both; positive.

    Examples
    --------
    >>> f"{cf.theory.replay.deep_index(5, 1 / 210, 0.5, 0.5, 1e-2):.4f}"  # above 1: differences survive
    '3.4014'
    """
    buffer, r, v = _checked(buffer, r, v)
    weight, (lW, lH) = checked_array("weight", weight, 0.0, 1e15), _decays(weight_decay)
    return (buffer * weight**2 * (r * buffer + v) / (lW * lH))[()]


def rest_force(index: ArrayLike) -> NDArray[np.float64]:
    """Force on the differences between classes of a task at rest, ``min(1, 1/sqrt(index))`` of `deep_index`.

    Examples
    --------
    >>> cf.theory.replay.rest_force([0.5, 4.0])
    array([1. , 0.5])
    """
    return (1.0 / np.sqrt(np.maximum(checked_array("index", index, 0.0), 1.0)))[()]


def half_life(weight_decay: float) -> float:
    """``ln 2 / lH``: when differences between features of a task have halved without replay: only decay moves them.

    Examples
    --------
    >>> f"{cf.theory.replay.half_life(1e-3):.2f}"
    '693.15'
    """
    return math.log(2.0) / checked_number("weight_decay", weight_decay, 1e-300, 1e300)


def features_without_replay(
    t: ArrayLike, a0: ArrayLike, b0: ArrayLike, weight_decay: float | tuple[float, float]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """``a0 exp(-lW t)`` and ``b0 exp(-lH t)``: classifier and features of differences between classes of a task that
    is not replayed, from the switch on.

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
    """Where two tasks come to rest under decay.

    Attributes
    ----------
    within : (2, 2) array
        Margins between classes of a task, of trained samples and of unseen ones, for each task.
    between : (2, 2) array
        The same over classes of the other task.
    mixture : (2,) array
        pi of each task.
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
    index: NDArray[np.float64]  # type: ignore[assignment]  # hides a method of tuples, which nobody asks of it


def replay_rest(
    classes: tuple[int, int],
    samples: tuple[float, float],
    weights: tuple[float, float],
    kernel: tuple[float, float],
    weight_decay: float | tuple[float, float],
) -> ReplayRest:
    """The minimum of the objective of two tasks, both trained.

    It is the minimum of a convex function of the trained logits: the loss, and ``sqrt(lW lH)`` times the nuclear norm
    of ``Z Theta^(-1/2)``. Four numbers describe symmetric logits, and each mode is 0 if and only if its index says so.

    Parameters
    ----------
    classes, samples, weights, kernel, weight_decay
        As of `ceflow.ReplayFlow`, weights as two numbers; all positive but for r0.

    Returns
    -------
    ReplayRest

    Raises
    ------
    ValueError, TypeError
        If an argument is not as described.

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
    direction = np.array([math.sqrt(K[1]), -math.sqrt(K[0])]) / math.sqrt(K.sum())  # of rows of the common block
    apart = (direction / np.sqrt(K) - (direction / np.sqrt(K))[::-1]) / np.sqrt(K)
    root = np.linalg.cholesky(theta)
    cost, scale = math.sqrt(lW * lH), np.sqrt(own)

    # s = x[:2] of living modes and the row t = L x[2:] of the common block, Theta = L L^T: the norm of that is |x[2:]|
    def margins(s: NDArray, t: NDArray) -> tuple[NDArray, NDArray]:
        return s, apart * t + s * (1.0 - 1.0 / K)

    def residual(s: NDArray, t: NDArray) -> tuple[NDArray, NDArray]:
        """Forces on s, for one sample, and minus the slope of the loss in t."""
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
    pull = residual(s, t)[1] * w_squared / lH  # t of trained samples is theta times that, of unseen ones without v
    unseen = (theta - np.diag(v / n)) @ pull
    pi = r / own
    pairs = [margins(s, t), margins(pi * s, unseen)]
    return ReplayRest(np.stack([p[0] for p in pairs]), np.stack([p[1] for p in pairs]), pi, index)


def _solved(slope, alive: NDArray, root: NDArray, apart: NDArray) -> tuple[NDArray, NDArray]:
    """s and t where the slopes are 0."""
    for size in (3.0, 1.0, 6.0, 0.3, 12.0, 0.1):
        guess = np.concatenate([np.where(alive, size, 0.0), np.linalg.solve(root, size / apart)])
        with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
            found = scipy.optimize.root(slope, guess, method="hybr", tol=1e-13)
            x = found.x
            if np.abs(slope(x)).max() < 1e-9:
                return np.where(alive, x[:2], 0.0), root @ x[2:]
    raise ValueError("no equilibrium was found with these arguments; they are too extreme")


def deep_threshold(
    classes: tuple[int, int],
    samples: float,
    kernel: tuple[float, float],
    weight_decay: float | tuple[float, float],
    *,
    weights: str = "uniform",
) -> float:
    """The buffer of each old class, a real number, from which on differences between old classes survive.

    0 if any buffer does, inf if none up to `samples`.

    Parameters
    ----------
    classes : (int, int)
        Of the old task and of the new one.
    samples : float
        Of each new class.
    kernel : (r0, r)
    weight_decay : float or (float, float)
    weights : {"uniform", "balanced"}
        As of `ceflow.ReplayFlow`.

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
    """The buffer of each old class from which on unseen old samples are told from new classes at rest: their margins
    there are positive. Arguments are those of `deep_threshold`, and so is what is returned.

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
    """Where a function of the buffer becomes positive, between 1e-3 and `samples`."""
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
