"""Figures of runs and comparisons. Times and small quantities are drawn as powers of ten, for they leave float64.

Every function draws on the Axes it is given, or on a new figure, and changes no global setting. The horizontal axis
is log10 t: ``ax.axvline(6)`` marks t = 1e6, and the row t = 0 has no place on it. Dense output gives smooth curves.
Colours are those of Okabe and Ito and of the colour map cividis: readable without colour vision, and in grey.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.ticker import FuncFormatter, MaxNLocator

from .lyapunov import log_dissipation
from .theory import loss_log_bound
from .trajectory import MatrixTrajectory, SpectralTrajectory, Trajectory

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.figure import Figure

    from .compare import Comparison

__all__ = ["comparison", "dashboard", "loss", "lyapunov", "normalized_singular_values", "singular_values"]

BLUE, ORANGE, GREEN, GREY = "#0072B2", "#D55E00", "#009E73", "0.45"
SAMPLES, MOST_NUMBERS = 500, 2**24  # of a curve; of all states sampled for a figure
LN10 = math.log(10.0)
DISSIPATION = r"dissipation $-\mathrm{d}V/\mathrm{d}\log t$"
LEGEND = {"fontsize": "small", "edgecolor": "none", "framealpha": 0.85}


def singular_values(traj: Trajectory, ax: Axes | None = None, *, scale: str = "linear", max_modes: int = 64) -> Axes:
    """Singular values of the logits over time.

    Parameters
    ----------
    traj : Trajectory
    ax : Axes, optional
    scale : {"linear", "log"}
        Of the vertical axis.
    max_modes : int
        Up to so many modes are drawn as lines, dark to bright in the order in which they start; more as bands of
        quantiles.

    Returns
    -------
    Axes

    Raises
    ------
    TypeError, ValueError
        If traj is no Trajectory, has no row after t = 0, or scale is not known.
    """
    if scale not in ("linear", "log"):
        raise ValueError(f'scale must be "linear" or "log", got {scale!r}')
    dense = _sampled(traj)
    values, weights = _modes(dense)
    ax = _axes(ax)
    _draw_modes(ax, dense, values, max_modes)
    ax.plot(_log10_t(dense), values @ weights, color="k", lw=1.6, ls="--", label=r"mean $\bar s$")
    ax.set_yscale(scale)
    return _finish(ax, dense, "singular values $s_i$ of the logits")


def normalized_singular_values(traj: Trajectory, ax: Axes | None = None, *, max_modes: int = 64) -> Axes:
    """Singular values over their mean: 1 for all is neural collapse. Arguments as for `singular_values`."""
    dense = _sampled(traj)
    values, weights = _modes(dense)
    mean = values @ weights
    ax = _axes(ax)
    ax.axhline(1.0, color="k", lw=1.2, ls="--", label="neural collapse", zorder=3)
    _draw_modes(ax, dense, values / np.where(mean != 0.0, mean, np.nan)[:, None], max_modes)
    return _finish(ax, dense, r"$s_i\,/\,\bar s$")


def loss(traj: Trajectory, ax: Axes | None = None) -> Axes:
    """Loss and accuracy gap 1 - p_0 over time and, for a balanced reduced run, the upper bound of `ceflow.theory`.

    Parameters
    ----------
    traj : Trajectory
    ax : Axes, optional

    Returns
    -------
    Axes
        Both axes are log10.

    Raises
    ------
    TypeError, ValueError
        If traj is no Trajectory, or has no row after t = 0.
    """
    dense = _sampled(traj)
    ax, x = _axes(ax), _log10_t(dense)
    loss_of = dense.log_loss / LN10
    if isinstance(dense, SpectralTrajectory) and dense.start.ndim == 1 and dense.start.min() > 0.0:
        bound = loss_log_bound(dense.flow.scheme, dense.start, log_t=dense.log_t, reduction=dense.flow.reduction) / LN10
        useful = np.where(bound <= loss_of[0] + 0.5, bound, np.nan)  # before, it says nothing
        ax.plot(x, useful, color=GREY, lw=1.4, ls=":", label="upper bound of the loss")
    ax.plot(x, loss_of, color=BLUE, lw=2.0, label="loss")
    ax.plot(x, dense.log_accuracy_gap / LN10, color=ORANGE, lw=1.6, ls="--", label="accuracy gap $1 - p_0$")
    _powers(ax.yaxis)
    return _finish(ax, dense, f"loss ({dense.flow.reduction} over classes)")


def lyapunov(traj: Trajectory, ax: Axes | None = None) -> Axes:
    """Lyapunov function V of neural collapse over time and, for a balanced reduced run, its exact dissipation.

    The dissipation is drawn as ``-dV/d(log t) = -t dV/dt``: what V loses while time grows by a factor of e.

    Parameters
    ----------
    traj : Trajectory
    ax : Axes, optional

    Returns
    -------
    Axes
        Both axes are log10.

    Raises
    ------
    TypeError, ValueError
        If traj is no Trajectory, or has no row after t = 0.
    """
    dense = _sampled(traj)
    ax, x = _axes(ax), _log10_t(dense)
    with np.errstate(divide="ignore", invalid="ignore"):
        ax.plot(x, _finite(np.log10(dense.lyapunov)), color=BLUE, lw=2.0, label="$V$")
        if isinstance(dense, SpectralTrajectory) and dense.start.ndim == 1:
            rate = log_dissipation(dense.flow.scheme, dense.singular_values, dense.flow.reduction)
            ax.plot(x, _finite((rate + dense.log_t) / LN10), color=ORANGE, lw=1.6, ls="--", label=DISSIPATION)
    _powers(ax.yaxis)
    return _finish(ax, dense, r"$V = \log\,$(arithmetic / geometric mean)")


def comparison(comparison: Comparison, ax: Axes | None = None) -> Axes:
    """Errors of a reduced against a full run over time, with the tolerances of both runs.

    Parameters
    ----------
    comparison : Comparison
        From `ceflow.compare`.
    ax : Axes, optional

    Returns
    -------
    Axes
        Both axes are log10; an error of 0 is not drawn.

    Raises
    ------
    ValueError
        If there is no time after t = 0.
    """
    later = np.isfinite(comparison.log_t)
    if not later.any():
        raise ValueError("the comparison has no time after t = 0")
    ax = _axes(ax)
    x = comparison.log_t[later] / LN10
    curves = (
        (comparison.error, r"$\|Z_\mathrm{reduced} - Z_\mathrm{full}\|\,/\,\|Z_\mathrm{full}\|$", BLUE, "o-", 2.0),
        (comparison.off_diagonal, "full run: distance from the scheme", ORANGE, "s--", 1.4),
        (comparison.loss_error, "relative difference of the losses", GREEN, "^-.", 1.4),
    )
    for values, label, color, style, width in curves:
        with np.errstate(divide="ignore"):
            y = _finite(np.log10(values[later]))
        ax.plot(x, y, style, color=color, lw=width, ms=4, label=label)
    tolerances = {run.rtol for run in (comparison.reduced, comparison.full) if run.rtol > 0.0}
    for rtol in sorted(tolerances):
        ax.axhline(math.log10(rtol), color=GREY, lw=1.2, ls=":", label=f"rtol = {_short(rtol)}")
    _powers(ax.yaxis)
    return _finish(ax, comparison.full, "relative error")


def dashboard(traj: Trajectory, figure: Figure | None = None) -> Figure:
    """A run on one page: singular values, their approach to collapse, loss, and the Lyapunov function.

    Parameters
    ----------
    traj : Trajectory
    figure : Figure, optional
        An empty figure to draw on.

    Returns
    -------
    Figure
        With four Axes.

    Raises
    ------
    TypeError, ValueError
        If traj is no Trajectory, or has no row after t = 0.
    """
    dense = _sampled(traj)
    if figure is None:
        import matplotlib.pyplot as plt

        figure = plt.figure(figsize=(11, 7.5), layout="constrained")
    axes = figure.subplots(2, 2)
    for draw, ax, title in zip(
        (singular_values, normalized_singular_values, loss, lyapunov),
        axes.flat,
        ("Singular values", "Approach to neural collapse", "Loss", "Lyapunov function"),
        strict=True,
    ):
        draw(dense, ax)
        ax.set_title(title, loc="left", fontsize="medium", fontweight="bold")
    collapse = axes[0, 1]  # its modes are those of the panel on its left
    collapse.legend(handles=collapse.lines[:1], **LEGEND)
    end = _power(round(float(dense.log_t[-1]) / LN10, 6))
    figure.suptitle(f"{_name(dense)} to $t = {end}$, rtol = {_short(traj.rtol)}")
    return figure


# -- what the figures share -------------------------------------------------------------------------------------------


def _sampled(traj: Trajectory) -> Trajectory:
    """The run at times that resolve it, t = 0 left out: spread evenly between its rows, and evenly in log t."""
    if not isinstance(traj, Trajectory):
        raise TypeError(f"a figure is drawn of a Trajectory, got {type(traj).__name__}")
    rows = traj.log_t[np.isfinite(traj.log_t)]
    if not len(rows):
        raise ValueError("the trajectory has no row after t = 0")
    count = int(np.clip(MOST_NUMBERS // traj.y.shape[1], 20, SAMPLES))
    if traj._path is None or len(rows) >= count:
        return traj[np.isfinite(traj.log_t)]
    knots = rows if len(rows) == len(traj) else np.append(rows[0] - LN10, rows)  # from t = 0: a decade before the first
    between = np.interp(np.linspace(0.0, len(knots) - 1.0, count), np.arange(len(knots)), knots)
    return traj.at(log_t=np.unique(np.concatenate([rows, between, np.linspace(knots[0], knots[-1], count)])))


def _axes(ax: Axes | None) -> Axes:
    if ax is not None:
        return ax
    import matplotlib.pyplot as plt

    return plt.subplots(figsize=(6.4, 4.2), layout="constrained")[1]


def _modes(traj: Trajectory) -> tuple[np.ndarray, np.ndarray]:
    """Singular values (n, modes) and the weight of each in their mean."""
    values = traj.singular_values
    if isinstance(traj, SpectralTrajectory):
        weights = traj.flow.scheme.multiplicities[1:]
    else:
        values = values[:, :-1]  # the last belongs to the constant vector
        weights = np.ones(values.shape[1])
    return values, weights / weights.sum()


def _draw_modes(ax: Axes, traj: Trajectory, values: np.ndarray, max_modes: int) -> None:
    import matplotlib

    x, modes = _log10_t(traj), values.shape[1]
    if modes > max_modes:
        low, lower, middle, upper, high = np.quantile(values, [0.0, 0.25, 0.5, 0.75, 1.0], axis=1)
        ax.fill_between(x, low, high, color=BLUE, alpha=0.18, lw=0, label=f"all {modes} modes")
        ax.fill_between(x, lower, upper, color=BLUE, alpha=0.40, lw=0, label="middle half")
        ax.plot(x, middle, color=BLUE, lw=1.6, label="median")
    else:
        colors = matplotlib.colormaps["cividis"](np.linspace(0.0, 0.88, modes))
        for rank, mode in enumerate(np.argsort(values[0], kind="stable")):
            ax.plot(x, values[:, mode], color=colors[rank], lw=1.5, label=_label(traj, rank, int(mode), modes))


def _label(traj: Trajectory, rank: int, mode: int, modes: int) -> str | None:
    """Few modes are named each; of many only those that start at the ends."""
    if modes > 5:
        return {0: "smallest at the start", modes - 1: "largest at the start"}.get(rank)
    if isinstance(traj, MatrixTrajectory):
        return f"$s_{{{mode + 1}}}$"
    multiplicity = int(traj.flow.scheme.multiplicities[mode + 1])
    return f"$s_{{{mode + 1}}}$" + (f"  ({multiplicity} times)" if multiplicity > 1 else "")


def _finish(ax: Axes, traj: Trajectory, label: str) -> Axes:
    if ax.get_legend_handles_labels()[0]:
        ax.legend(**LEGEND)
    ax.set_xlabel(f"time $t$ ({traj.flow.reduction} reduction)")
    ax.set_ylabel(label)
    _powers(ax.xaxis)
    ax.margins(x=0.0)
    ax.grid(True, color="0.9", lw=0.8)
    ax.set_axisbelow(True)
    ax.spines[["top", "right"]].set_visible(False)
    return ax


def _powers(axis: Axis) -> None:
    """Labels of an axis that carries log10 of what is shown."""
    axis.set_major_locator(MaxNLocator(nbins=7, steps=[1, 2, 5, 10], integer=True, min_n_ticks=1))
    axis.set_major_formatter(FuncFormatter(lambda x, _: f"${_power(x)}$"))


def _power(exponent: float) -> str:
    return f"10^{{{exponent:.6g}}}"


def _short(number: float) -> str:
    return f"{number:g}".replace("e-0", "e-")


def _log10_t(traj: Trajectory) -> np.ndarray:
    return traj.log_t / LN10


def _finite(values: np.ndarray) -> np.ndarray:
    return np.where(np.isfinite(values), values, np.nan)


def _name(traj: Trajectory) -> str:
    if isinstance(traj, SpectralTrajectory):
        return f"Reduced flow, {traj.flow.scheme.name}"
    return f"Full flow, K = {traj.classes}, d = {traj.W.shape[-1]}"
