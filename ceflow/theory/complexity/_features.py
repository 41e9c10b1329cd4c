"""Geometric complexity of features along the flow, and their class-distance normalized variance."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..._checks import LIMIT, checked_array, checked_number
from ...losses import Loss
from ...symmetry import Scheme
from .._arguments import checked_classes
from .._equilibria import equilibrium

LARGEST = 1e75  # entries of layers: fourth powers do not overflow


def feature_complexity(scheme: Scheme, features: ArrayLike, constant: ArrayLike = 0.0) -> NDArray[np.float64]:
    """Geometric complexity on the trained inputs, ``sum_i m_i b_i^2 + b_0^2`` [ceflow].

    Parameters
    ----------
    scheme : Scheme
    features : (..., D) array
        Singular values b_i of the features, one per mode: ``run.layers[:, -1]`` for two layers; for deeper networks the
        product of all layers except the classifier.
    constant : array
        Singular value b_0 of the constant vector.

    Returns
    -------
    (...) array

    Examples
    --------
    >>> f"{cf.theory.complexity.feature_complexity(cf.hadamard(4), [1.0, 1.0, 2.0]):.4f}"
    '6.0000'
    """
    b = checked_features(scheme, features)
    return (b**2 @ scheme.multiplicities[1:] + checked_array("constant", constant, -LARGEST, LARGEST) ** 2)[()]


def class_distances(scheme: Scheme, features: ArrayLike) -> NDArray[np.float64]:
    """Squared distances between features of classes, ``d_j^2 = (2/K) sum_i m_i b_i^2 (1 - P_ij / k_j)`` [ceflow].

    For balanced layers these are twice the margins, because the logits are the Gram matrix of the features.

    Parameters
    ----------
    scheme, features
        As in `feature_complexity`.

    Returns
    -------
    (..., D) array
        One distance for each relation j = 1..D.

    Examples
    --------
    >>> cf.theory.complexity.class_distances(cf.hadamard(4), [1.0, 1.0, 2.0])
    array([5., 5., 2.])
    """
    return 2.0 * scheme.margins(checked_features(scheme, features) ** 2)


def noise_complexity(
    t: ArrayLike, initial: ArrayLike, weight_decay: float = 0.0, *, step_size: float | None = None
) -> NDArray[np.float64]:
    """Geometric complexity on untrained input directions, ``exp(-2 lH t) |A_n(0)|^2`` [ceflow].

    Parameters
    ----------
    t : array
        Time t >= 0.
    initial : array
        Nonnegative ``|A_n(0)|^2``.
    weight_decay : float
        Decay lH of the feature layer, in the time unit of the run.
    step_size : float, optional
        Step size of gradient descent, which multiplies the complexity by ``(1 - step_size lH)^2`` per step.

    Returns
    -------
    array

    Examples
    --------
    >>> cf.theory.complexity.noise_complexity([0.0, 100.0], 0.5, weight_decay=0.01).round(4)
    array([0.5   , 0.0677])
    """
    t, initial = checked_array("t", t, 0.0, np.inf), checked_array("initial", initial, 0.0, LIMIT)
    rate = checked_number("weight_decay", weight_decay, 0.0, LIMIT)
    if rate == 0.0:
        return np.broadcast_to(initial, np.broadcast_shapes(t.shape, initial.shape)).copy()[()]
    if step_size is not None:
        share = checked_number("step_size", step_size, 0.0, 1e100) * rate
        if not 0.0 < share < 1.0:
            raise ValueError(f"step_size must be between 0 and 1 / weight_decay = {1 / rate:g}, got {step_size!r}")
        rate *= -math.log1p(-share) / share
    with np.errstate(over="ignore", under="ignore"):
        return (initial * np.exp(-2.0 * rate * t))[()]


def balanced_square(s: ArrayLike, imbalance: ArrayLike) -> NDArray[np.float64]:
    """b^2 for two layers with a b = s and imbalance ``c = a^2 - b^2``: ``(sqrt(4 s^2 + c^2) - c) / 2``.

    The flow conserves c. A step of gradient descent multiplies it by ``1 - (step_size lambda)^2``. So at equal s larger
    steps give lower complexity if the features are the larger layer (c < 0), and higher complexity otherwise.

    Parameters
    ----------
    s, imbalance : arrays

    Returns
    -------
    array
        Accurate to rounding, also for b much smaller than a.

    Examples
    --------
    >>> f"{cf.theory.complexity.balanced_square(1.0, 0.0):.4f}, {cf.theory.complexity.balanced_square(1.0, 3.0):.4f}"
    '1.0000, 0.3028'
    """
    s, D = checked_array("s", s, -1e150, 1e150), checked_array("imbalance", imbalance, -1e150, 1e150)
    root = np.hypot(2.0 * s, D)
    with np.errstate(invalid="ignore", divide="ignore"):
        small = np.where(s == 0.0, 0.0, 2.0 * s * (s / (root + D)))
    return np.where(D > 0.0, small, 0.5 * (root - D))[()]


def equilibrium_complexity(
    classes: int,
    weight_decay: float | Sequence[float],
    *,
    loss: str | Loss = "cross_entropy",
    reduction: str = "mean",
) -> float:
    """Geometric complexity at the collapsed equilibrium under weight decay, ``(K - 1) s sqrt(lW / lH)`` [ceflow].

    For two layers. s is the `equilibrium` at the decay ``sqrt(lW lH)``, on which alone the logits depend; A_n is 0.
    Decay of the features is an explicit penalty ``(lH / 2) |A|^2`` on complexity. The ratio of the decays can make the
    complexity arbitrarily small, while the CDNV stays at `cdnv_floor`.

    Parameters
    ----------
    classes : int
        K >= 2.
    weight_decay : float or pair of floats
        Positive decay of both layers, or (lW, lH).
    loss, reduction
        As in `ceflow.SpectralFlow`.

    Returns
    -------
    float
        0 if the decay is above `decay_threshold`.

    Examples
    --------
    >>> f"{cf.theory.complexity.equilibrium_complexity(10, 1e-3):.4f}"
    '62.0884'
    >>> f"{cf.theory.complexity.equilibrium_complexity(10, (1e-4, 1e-2)):.4f}"  # the same logits, of smaller features
    '6.2088'
    """
    decays = np.atleast_1d(checked_array("weight_decay", weight_decay, 0.0, LIMIT))
    if decays.shape not in ((1,), (2,)) or not np.all(decays > 0.0):
        raise ValueError(f"weight_decay must be one positive number or two, got {weight_decay!r}")
    lW, lH = (float(decays[0]), float(decays[-1]))
    s = equilibrium(classes, loss=loss, weight_decay=math.sqrt(lW) * math.sqrt(lH), reduction=reduction)
    return (classes - 1) * s * math.sqrt(lW / lH)


def cdnv(
    complexity: ArrayLike, distances: ArrayLike, valencies: ArrayLike | None = None, *, tau: float = 1.0
) -> NDArray[np.float64]:
    """Mean class-distance normalized variance: ``tau^2 complexity`` times the mean inverse squared distance [ceflow].

    Parameters
    ----------
    complexity : (...) array
        Nonnegative ``|A|_F^2``.
    distances : (..., D) array
        Positive squared distances of relations, or of pairs of classes.
    valencies : (D,) array, optional
        Weights of the relations, ``scheme.valencies[1:]``; default equal.
    tau : float
        Standard deviation of the noise in each direction of the inputs.

    Returns
    -------
    (...) array
        inf if two classes have equal features.

    Examples
    --------
    >>> f"{cf.theory.complexity.cdnv(3.0, [2.0, 2.0, 2.0], tau=0.1):.4f}"
    '0.0150'
    """
    tau = checked_number("tau", tau, 0.0, 1e100)
    complexity, distances = checked_array("complexity", complexity, 0.0), checked_array("distances", distances, 0.0)
    if distances.ndim == 0:
        raise ValueError("distances must have shape (..., D), got a number")
    weights = np.ones(distances.shape[-1]) if valencies is None else checked_array("valencies", valencies, 0.0)
    if weights.shape != distances.shape[-1:] or not weights.sum() > 0.0:
        raise ValueError(f"valencies must have shape {distances.shape[-1:]} and not all be 0, got {weights.shape}")
    weights = weights / weights.sum()
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        found = tau**2 * ((complexity[..., None] / distances) @ weights)
    return np.where(np.isnan(found), np.inf, found)[()]


def cdnv_floor(classes: int, tau: float = 1.0) -> float:
    """Smallest CDNV of any features of K classes in this model, ``tau^2 (K - 1) / 2`` [ceflow].

    By Jensen's inequality, with equality if and only if all distances are equal, the mean of the features is 0, and A_n
    = 0. So neural collapse attains it, at any scale of the features.

    Examples
    --------
    >>> f"{cf.theory.complexity.cdnv_floor(4, tau=0.1):.4f}"
    '0.0150'
    """
    return 0.5 * checked_number("tau", tau, 0.0, 1e100) ** 2 * (checked_classes(classes) - 1.0)


class Complexity(NamedTuple):
    """Geometric complexity and CDNV along a run; see `along`.

    Attributes
    ----------
    t : (n,) array
    total : (n,) array
        ``|A|_F^2``.
    signal : (n,) array
        Part on the training inputs, ``|H|_F^2``.
    noise : (n,) array
        Part on untrained directions, ``|A_n|_F^2``.
    distances : array
        Squared distances between classes: (n, D) of the relations of a scheme, else (n, K, K).
    cdnv : (n,) array
        Mean over pairs of classes.
    floor : float
        Smallest possible CDNV, see `cdnv_floor`.

    Examples
    --------
    >>> run = cf.integrate(cf.SpectralFlow(cf.complete(4)), [0.1], 1e4)
    >>> found = cf.theory.complexity.along(run, noise=0.5)
    >>> f"{found.total[-1]:.4f} = {found.signal[-1]:.4f} + {found.noise[-1]:.4f}"
    '37.4567 = 36.9567 + 0.5000'
    """

    t: NDArray[np.float64]
    total: NDArray[np.float64]
    signal: NDArray[np.float64]
    noise: NDArray[np.float64]
    distances: NDArray[np.float64]
    cdnv: NDArray[np.float64]
    floor: float


def along(run: Any, *, tau: float = 1.0, noise: float = 0.0) -> Complexity:
    """Geometric complexity, distances and CDNV along a run of any flow with linear layers, under any symmetry [ceflow].

    Parameters
    ----------
    run : Trajectory
        Run of `integrate` or `descend` with one sample per class, not a batch.
    tau : float
        Standard deviation of the input noise.
    noise : float
        ``|A_n|_F^2`` at t = 0. It decays with the weight decay of the feature layer. Nonzero values need two layers:
        for deeper networks this number does not determine the noise.

    Returns
    -------
    Complexity

    Raises
    ------
    TypeError, ValueError
        If an argument is invalid, or the run has no such features.

    Examples
    --------
    >>> run = cf.integrate(cf.SpectralFlow(cf.complete(4), weight_decay=1e-2), [0.1], 1e3)
    >>> found = cf.theory.complexity.along(run, noise=0.5)
    >>> f"{found.total[-1]:.4f}, {cf.theory.complexity.equilibrium_complexity(4, 1e-2):.4f}"
    '13.7241, 13.7241'
    """
    if not hasattr(run, "geometric_complexity"):
        raise TypeError(f"run must be a Trajectory, got {type(run).__name__}")
    objective, noise = run.flow.objective, checked_number("noise", noise, 0.0, LIMIT)
    tau = checked_number("tau", tau, 0.0, 1e100)
    if any(getattr(objective, name) is not None for name in ("samples", "labels", "kernel")):
        raise ValueError("the run must have one sample per class; for several samples use ceflow.collapse.cdnv")
    if noise > 0.0 and run.flow.depth != 2:
        raise ValueError(f"noise > 0 needs two layers, got depth {run.flow.depth}")
    signal, distances = run.geometric_complexity, run.class_distances
    if signal.ndim != 1:
        raise ValueError("the run must be a single one, not a batch")
    decay = objective.decays[-1] if noise > 0.0 else 0.0
    lost = noise_complexity(run.t, noise, decay, step_size=run.step_size)
    if distances.ndim == 2:
        pairs, valencies = distances, run.flow.scheme.valencies[1:]
    else:
        pairs, valencies = distances[:, *np.triu_indices(run.classes, 1)], None
    return Complexity(
        run.t, signal + lost, signal, lost, distances, cdnv(signal + lost, pairs, valencies, tau=tau),
        cdnv_floor(run.classes, tau),
    )  # fmt: skip


def checked_features(scheme: Scheme, features: ArrayLike) -> NDArray[np.float64]:
    if not isinstance(scheme, Scheme):
        raise TypeError(f"scheme must be an association scheme such as ceflow.hadamard(8), got {type(scheme).__name__}")
    b = checked_array("features", features, -LARGEST, LARGEST)
    if b.ndim == 0 or b.shape[-1] != scheme.modes:
        raise ValueError(f"features must have shape (..., {scheme.modes}) for {scheme.name}, got {b.shape}")
    return b
