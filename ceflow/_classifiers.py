"""Comparison of free, fixed and nearest classifiers on the same features."""

from __future__ import annotations

import functools
import math
from typing import Any, Literal

import numpy as np
import scipy
from numpy.typing import ArrayLike, NDArray

from ._checks import checked_array
from ._integrate import integrate
from .collapse import simplex_etf
from .flow import ETFFlow
from .theory import etf_sphere
from .trajectory import ETFTrajectory

VARIANTS: dict[str, dict[str, Any]] = {
    "free": {"classifier": "free"},
    "fixed": {"classifier": "fixed"},
    "nearest": {"classifier": "nearest"},
    "nearest, argmin gradient": {"classifier": "nearest", "argmin_gradient": True},
}
LOSSES, NEAR_OPTIMUM = (1.0, 0.1, 0.01, 0.001), (2.0, 1.05, 1.001)  # the latter times the minimal loss on spheres
MEASURES = {"nc1": (0.01,), "nc2": (0.1, 0.01), "nc3": (0.1, 0.01)}
SAMPLES = 200  # samples per run, evenly spaced in log t, in addition to its rows
CLOSER = 9  # refinement points in the interval in which a level is reached
SMALLEST = 1e-300


class ClassifierComparison:
    """Runs from the same features with a free, a fixed and the nearest-ETF classifier.

    Attributes
    ----------
    runs : dict of str to Trajectory
        Runs by classifier: "free", "fixed", "nearest", "nearest, argmin gradient".
    levels : tuple of (str, float)
        Columns of the table: a quantity ("loss" per sample, "nc1" as quotient of traces, "nc2" or "nc3") and its level.
    times : (4, len(levels)) array
        First times at which the levels are reached, to about 1e-6; inf if never.
    optimum : float
        Minimal loss per sample on the spheres with a simplex ETF; 0 without spheres.

    Examples
    --------
    >>> W, H = cf.random_init(classes=3, width=3, scale=0.1, rng=0)
    >>> found = cf.compare_classifiers(W, H, 20.0, losses=(0.5,), rtol=1e-4)
    >>> found.levels  # of the columns of print(found)
    (('loss', 0.5), ('nc2', 0.1), ('nc2', 0.01), ('nc3', 0.1), ('nc3', 0.01))
    >>> [f"{run.collapse.nc3[-1]:.3f}" for run in found.runs.values()]
    ['0.022', '0.017', '0.002', '0.002']
    """

    def __init__(self, runs: dict[str, ETFTrajectory], losses: tuple[float, ...], optimum: float) -> None:
        self.runs, self.optimum = runs, optimum
        single = next(iter(runs.values())).flow.objective.labels is None  # no within-class variability
        measures = {name: levels for name, levels in MEASURES.items() if not (single and name == "nc1")}
        self.levels = tuple((name, level) for name, levels in ({"loss": losses} | measures).items() for level in levels)

    @functools.cached_property
    def curves(self) -> dict[str, tuple[NDArray[np.float64], dict[str, NDArray[np.float64]]]]:
        """Times (n,) of each run from 0, and the quantities at these times."""
        found = {}
        for name, run in self.runs.items():
            end = math.exp(run.log_t_end)
            t = np.unique(np.concatenate([run.t, np.geomspace(1e-7 * end, end, SAMPLES)[:-1]]))
            found[name] = t, _quantities(run.at(t), "loss", *MEASURES)
        return found

    @functools.cached_property
    def times(self) -> NDArray[np.float64]:
        return np.array([[self._first(name, *column) for column in self.levels] for name in self.runs])

    def _first(self, name: str, quantity: str, level: float) -> float:
        t, values = self.curves[name][0], self.curves[name][1][quantity]
        below = np.flatnonzero(values < level)
        if not len(below):
            return math.inf
        if below[0] == 0:
            return 0.0

        fine = np.linspace(t[below[0] - 1], t[below[0]], CLOSER)
        there = _quantities(self.runs[name].at(fine), quantity)[quantity]
        height = scipy.interpolate.CubicSpline(fine, np.log(np.maximum(there, SMALLEST) / level))
        return scipy.optimize.brentq(height, fine[0], fine[-1], rtol=1e-12)

    @property
    def table(self) -> str:
        """Table of the times as text, one row per classifier."""
        heads = [f"{name} < {level:.3g}" for name, level in self.levels]
        width = max(map(len, self.runs))
        lines = ["  ".join([" " * width, *heads])]
        for name, row in zip(self.runs, self.times, strict=True):
            cells = ["-" if math.isinf(time) else f"{time:.3g}" for time in row]
            lines.append("  ".join([name.ljust(width), *(c.rjust(len(h)) for c, h in zip(cells, heads, strict=True))]))
        return "\n".join(lines)

    def __repr__(self) -> str:
        reduction = next(iter(self.runs.values())).flow.reduction
        return f"Times to reach levels ({reduction} reduction)\n{self.table}"


def compare_classifiers(
    W: ArrayLike,
    H: ArrayLike,
    t_end: float,
    *,
    fixed: ArrayLike | None = None,
    radius: float | None = None,
    labels: ArrayLike | None = None,
    losses: tuple[float, ...] | None = None,
    reduction: Literal["mean", "sum"] = "mean",
    rtol: float = 1e-8,
) -> ClassifierComparison:
    """Run the flow from the same features with a free classifier, a fixed simplex ETF, and the nearest ETF.

    The loss is cross-entropy. The nearest ETF runs without and with the gradient through the argmin.

    Parameters
    ----------
    W : (K, d) array
        Start of the free classifier.
    H : (d, N) array
        Features.
    t_end : float
        Last time.
    fixed : (K, d) array, optional
        Fixed classifier; default ``collapse.simplex_etf(K, d, rng=0)``.
    radius, labels, reduction
        As in `ceflow.ETFFlow`.
    losses : tuple of floats, optional
        Levels of the loss per sample; default 1, .1, .01 and .001, or with a radius 1 and 2, 1.05 and 1.001 times the
        minimal loss with a simplex ETF.
    rtol : float

    Returns
    -------
    ClassifierComparison
        Prints as a table; `ceflow.plot.classifiers` plots it.

    Raises
    ------
    ValueError, TypeError
        If an argument is invalid.

    Notes
    -----
    In this model the nearest ETF is faster than a free classifier at early times, and in NC2 and NC3. It is not faster
    in the loss of the terminal phase. Without spheres the norm of a free classifier grows, which shortens its time by
    the factor ``2 s / c^2``. With spheres NC1 dominates the loss, and decays at the same rate for all classifiers.

    Examples
    --------
    >>> W, H = cf.random_init(classes=3, width=3, scale=0.1, rng=0)
    >>> found = cf.compare_classifiers(W, H, 20.0, rtol=1e-4)
    >>> for name, run in found.runs.items():
    ...     print(f"{name:25} loss {run.loss[-1]:.3f}")
    free                      loss 0.043
    fixed                     loss 0.078
    nearest                   loss 0.077
    nearest, argmin gradient  loss 0.077
    """
    W = checked_array("W", W, -1e6, 1e6)
    if W.ndim != 2 or len(W) < 2:
        raise ValueError(f"W must be (K, d) with K >= 2, got shape {W.shape}")
    etf = simplex_etf(len(W), W.shape[1], rng=0) if fixed is None else fixed
    options: Any = {"radius": radius, "labels": labels, "reduction": reduction}
    runs = {}
    for name, variant in VARIANTS.items():
        flow = ETFFlow(**variant, **options)
        runs[name] = integrate(flow, (etf if name == "fixed" else W, H), t_end, rtol=rtol)
    optimum = 0.0 if radius is None else etf_sphere(radius, len(W)).loss
    usual = LOSSES if radius is None else (1.0, *(factor * optimum for factor in NEAR_OPTIMUM))
    chosen = usual if losses is None else tuple(checked_array("losses", losses, SMALLEST, 1e6).ravel().tolist())
    return ClassifierComparison(runs, chosen, optimum)


def _quantities(rows: ETFTrajectory, *names: str) -> dict[str, NDArray[np.float64]]:
    """(n,) loss per sample and collapse measures, by name."""
    found = {}
    if "loss" in names:
        samples = rows.flow.objective.number(rows.classes) if rows.flow.reduction == "sum" else 1.0
        found["loss"] = rows.loss / samples
    if set(names) - {"loss"}:
        measures = rows.collapse
        found |= {"nc1": measures.nc1_quotient, "nc2": measures.nc2, "nc3": measures.nc3}
    return found
