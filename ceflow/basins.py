"""Escape from saddles, and the basin of attraction of neural collapse.

Examples
--------
>>> zero = cf.theory.landscape.Landscape(3, 3, 0.1).mode_points(cf.complete(3))[-1]  # a saddle
>>> escape = cf.basins.escape(zero, 80.0, rtol=1e-6)
>>> f"{escape.rate:.4f}, {escape.measured:.4f}"
'0.2333, 0.2333'
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ._checks import checked_integer, checked_number
from ._integrate import integrate
from ._many import integrate_many
from .flow import MatrixFlow, SpectralFlow
from .symmetry import Scheme
from .theory.landscape import CriticalPoint
from .trajectory import MatrixTrajectory

LATE = 1e4  # log t at the end of a run; the largest singular values are then of this order
DEAD, ALIVE = 0.05, 0.3  # thresholds at the end, relative to the largest mode


class Escape(NamedTuple):
    """Escape of a run from a saddle.

    Attributes
    ----------
    run : MatrixTrajectory
    distance : (n,) array
        Distance from the saddle at the rows of the run.
    rate : float
        `CriticalPoint.rate`: minus the smallest eigenvalue of the Hessian.
    measured : float
        Measured growth rate of the distance, between 3 times its start and 1e-4 of the size of the saddle.

    Examples
    --------
    >>> zero = cf.theory.landscape.Landscape(3, 3, 0.1).mode_points(cf.complete(3))[-1]
    >>> found = cf.basins.escape(zero, 80.0, rtol=1e-6)
    >>> f"{found.rate:.4f}, {found.measured:.4f}"
    '0.2333, 0.2333'
    """

    run: MatrixTrajectory
    distance: NDArray[np.float64]
    rate: float
    measured: float


def escape(point: CriticalPoint, t_end: float, *, size: float = 1e-6, rtol: float = 1e-12) -> Escape:
    """Integrate from a saddle along its direction of negative curvature [ceflow].

    The run starts at ``layers + size * direction``, and the distance grows with the rate `CriticalPoint.rate` (``|g|_2
    - lambda`` for equal decays). If the direction is orthogonal to the rows of W, the next term is of third order in
    the distance.

    Parameters
    ----------
    point : CriticalPoint
        Saddle.
    t_end : float
        Last time, for reduction "mean". The escape takes about log(1/size)/rate.
    size : float
        Initial distance relative to the size of the layers (absolute at zero), from 1e-9 to 1e-5.
    rtol : float
        As in `ceflow.integrate`.

    Returns
    -------
    Escape

    Raises
    ------
    TypeError, ValueError
        If an argument is invalid, or the run is too short to measure a rate.

    Examples
    --------
    >>> zero = cf.theory.landscape.Landscape(3, 3, 0.1).mode_points(cf.complete(3))[-1]
    >>> found = cf.basins.escape(zero, 80.0, rtol=1e-6)
    >>> f"{found.run.objective[0]:.4f}, then {found.run.objective[-1]:.4f}"
    '1.0986, then 0.8245'
    """
    if not isinstance(point, CriticalPoint):
        raise TypeError(f"point must be a CriticalPoint of ceflow.theory.landscape, got {type(point).__name__}")
    if point.index == 0:
        raise ValueError(f"point must have negative curvature, got index 0 at the objective {point.objective:g}")
    size = checked_number("size", size, 1e-9, 1e-5)
    extent = math.sqrt(sum((layer**2).sum() for layer in point.layers)) or 1.0
    start = tuple(layer + size * extent * d for layer, d in zip(point.layers, point.direction, strict=True))
    run = integrate(flow_of(point), start, t_end, rtol=rtol)
    layers = [*run.factors, *([run.bias] if point.landscape.bias_decay is not None else [])]
    apart = [(at - layer).reshape(len(run), -1) for at, layer in zip(layers, point.layers, strict=True)]
    distance = np.linalg.norm(np.concatenate(apart, axis=1), axis=1)
    linear = np.flatnonzero((distance > 3.0 * size * extent) & (distance < 1e-4 * extent))
    if linear.size < 2:
        raise ValueError(f"t_end must be longer to measure a rate of {point.rate:g}, got {t_end}")
    first, last = linear[[0, -1]]
    t = np.exp(run.log_t[[first, last]])
    measured = math.log(distance[last] / distance[first]) / (t[1] - t[0])
    return Escape(run, distance, point.rate, float(measured))


def flow_of(point: CriticalPoint) -> MatrixFlow:
    """Return the flow that has this critical point.

    Examples
    --------
    >>> best = cf.theory.landscape.Landscape(3, 3, 0.1, samples=2).minimizer()
    >>> flow = cf.basins.flow_of(best)
    >>> flow.objective.labels, flow.weight_decay
    ((0, 0, 1, 1, 2, 2), 0.1)
    """
    problem = point.landscape
    bias: dict[str, Any] = {} if problem.bias_decay is None else {"bias": True, "bias_decay": problem.bias_decay}
    labels = np.repeat(np.arange(problem.classes), problem.samples)
    return MatrixFlow(labels=labels, weight_decay=problem.weight_decay, **bias)


class Basin(NamedTuple):
    """Estimated probability of collapse.

    Attributes
    ----------
    probability : float
        Share of collapsed runs among the decided runs.
    standard_error : float
        ``sqrt(p (1 - p) / n)`` with p = (k + 1)/(n + 2), which is positive for k = 0 and k = n.
    ranks : (starts,) array of ints
        Final rank of the logits; -1 for undecided runs.

    Examples
    --------
    >>> basin = cf.basins.collapse_probability(cf.complete(4), depth=2, starts=3)  # whose only mode is collapse
    >>> basin.ranks, basin.probability
    (array([3., 3., 3.]), 1.0)
    """

    probability: float
    standard_error: float
    ranks: NDArray[np.int64]


def collapse_probability(
    scheme: Scheme, depth: float = 2, *, starts: int = 100, size: float = 0.01, seed: int = 0,
    threads: int | None = None,
) -> Basin:  # fmt: skip
    """Estimate the volume of the basin of collapse: the share of random starts that collapse [ceflow].

    The flow is cross-entropy flow of balanced layers. Initial singular values are uniform on the simplex ``sum_i s_i =
    D size``. With two layers every start collapses; the basin shrinks with depth. This is our model of that claim of
    arXiv:2605.23087, of which we read the abstract.

    Parameters
    ----------
    scheme : Scheme
    depth : float
        L >= 2.
    starts : int
        From 1 to 100000.
    size : float
        Mean singular value at the start, from 1e-6 to 100.
    seed : int
        Seed >= 0. The same seed gives the same starts at all depths.
    threads : int, optional
        As in `ceflow.integrate_many`.

    Returns
    -------
    Basin

    Raises
    ------
    TypeError, ValueError
        If an argument is invalid.

    Notes
    -----
    Runs end at log t = 1e4. Modes below 0.05 of the largest then count as 0, and modes above 0.3 as nonzero. A run with
    a mode in between is undecided and not counted. Starts near the boundary of a basin are undecided for long times,
    and ratios converge only like powers of log t.

    Examples
    --------
    >>> basin = cf.basins.collapse_probability(cf.cyclic(4), depth=2, starts=2)
    >>> f"{basin.probability:.2f}"  # with two layers all starts collapse, with more layers some
    '1.00'
    """
    starts, seed = checked_integer("starts", starts, 1, 100_000), checked_integer("seed", seed, 0)
    size = checked_number("size", size, 1e-6, 100.0)
    if not isinstance(scheme, Scheme):
        raise TypeError(f"scheme must be an association scheme, got {type(scheme).__name__}")
    flow = SpectralFlow(scheme, depth=depth)
    s0 = size * scheme.modes * np.random.default_rng(seed).dirichlet(np.ones(scheme.modes), starts)
    runs = integrate_many(flow, s0, log_t_end=LATE, rtol=1e-6, observables=("singular_values",), threads=threads)
    share = runs.singular_values[:, 0]
    share = share / share.max(axis=1, keepdims=True)
    decided = np.all((share < DEAD) | (share > ALIVE), axis=1)
    ranks = np.where(decided, (share > ALIVE) @ scheme.multiplicities[1:], -1)
    count, known = int((ranks == scheme.classes - 1).sum()), int((ranks >= 0).sum())
    p = (count + 1.0) / (known + 2.0)
    return Basin(count / known if known else math.nan, math.sqrt(p * (1.0 - p) / max(known, 1)), ranks)
