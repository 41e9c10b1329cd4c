"""Plots of singular values and margins over time, as curves or bands."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ..trajectory import MatrixTrajectory, SpectralTrajectory, Trajectory
from ._runs import ROUNDING, log10_t, modes_of, sampled, told_from_rounding
from ._style import MAIN, Look, axes_or_new, check_scale, colors_of, finish, log10, look_of, on_log_axis

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def singular_values(
    traj: Trajectory,
    ax: Axes | None = None,
    *,
    scale: str = "linear",
    max_modes: int = 64,
    label: str | None = None,
    color: str | None = None,
) -> Axes:
    """Plot the singular values of the logits over time.

    Parameters
    ----------
    traj : Trajectory
    ax : Axes, optional
    scale : {"linear", "log"}
        Scale of the vertical axis.
    max_modes : int
        Up to this number, modes are lines, dark to bright in the order of their initial values; more modes are bands of
        quantiles.
    label, color : str, optional
        Label and colour of the run, for several runs on the same Axes.

    Returns
    -------
    Axes

    Raises
    ------
    TypeError, ValueError
        If traj is not a Trajectory, has no row after t = 0, or scale is invalid.

    Examples
    --------
    >>> run = cf.descend(cf.SpectralFlow(cf.hadamard(4)), [0.1, 0.2, 0.3], step_size=0.1, steps=100)
    >>> ax = cf.plot.singular_values(run, scale="log")
    >>> [text.get_text() for text in ax.get_legend().get_texts()]
    ['$s_{1}$', '$s_{2}$', '$s_{3}$', 'mean $\\\\bar s$']
    """
    check_scale(scale)
    dense = sampled(traj, "singular_values")
    values, weights = modes_of(dense)
    ax = axes_or_new(ax)
    look = look_of(ax, label, color)
    (x,) = on_log_axis(ax, "x", log10_t(dense))
    _draw_modes(ax, x, dense, values, max_modes, look)
    mean = look.of(colors_of(ax).ink)
    ax.plot(x, values @ weights, color=mean, lw=1.6, ls="--", label=look.named(r"mean $\bar s$"), gid=MAIN)
    ax.set_yscale(scale)
    return finish(ax, dense, "singular values $s_i$ of the logits")


def normalized_singular_values(
    traj: Trajectory,
    ax: Axes | None = None,
    *,
    scale: str = "linear",
    max_modes: int = 64,
    label: str | None = None,
    color: str | None = None,
) -> Axes:
    """Plot the singular values divided by their mean; all are 1 at neural collapse.

    Of positive singular values none is more than their number times their mean. What exceeds that, where positive and
    negative ones cancel in the mean, is left out.

    Parameters
    ----------
    traj : Trajectory
    ax : Axes, optional
    scale : {"linear", "log"}
        "log" plots the deviation from collapse, ``|s_i / s_bar - 1|``, above rounding.
    max_modes, label, color
        As in `singular_values`.

    Returns
    -------
    Axes

    Raises
    ------
    TypeError, ValueError
        As in `singular_values`.

    Examples
    --------
    >>> run = cf.descend(cf.SpectralFlow(cf.hadamard(4)), [0.1, 0.2, 0.3], step_size=0.1, steps=100)
    >>> ax = cf.plot.normalized_singular_values(run)
    >>> [f"{line.get_ydata()[-1]:.3f}" for line in ax.get_lines()]  # 1, and the modes
    ['1.000', '0.702', '1.064', '1.235']
    """
    check_scale(scale)
    dense = sampled(traj, "singular_values")
    values, weights = modes_of(dense)
    mean = values @ weights
    relative = values / np.where(mean != 0.0, mean, np.nan)[:, None]
    relative = np.where(np.abs(relative) <= 1.0 / weights + ROUNDING, relative, np.nan)
    ax = axes_or_new(ax)
    look = look_of(ax, label, color)
    (x,) = on_log_axis(ax, "x", log10_t(dense))
    if scale == "log":
        distance = np.where(told_from_rounding(dense), log10(np.abs(relative - 1.0)), np.nan)
        _draw_modes(ax, x, dense, on_log_axis(ax, "y", distance)[0], max_modes, look)
        _mark(ax, look)
        return finish(ax, dense, r"$|s_i\,/\,\bar s - 1|$")
    ax.axhline(1.0, color=colors_of(ax).ink, lw=1.2, ls="--", label=look.beside("neural collapse"), zorder=3)
    _draw_modes(ax, x, dense, relative, max_modes, look)
    _mark(ax, look)
    return finish(ax, dense, r"$s_i\,/\,\bar s$")


def margins(
    traj: Trajectory,
    ax: Axes | None = None,
    *,
    max_margins: int = 64,
    label: str | None = None,
    color: str | None = None,
) -> Axes:
    """Plot the logit margins over time (true-class logit minus each wrong logit).

    Parameters
    ----------
    traj : Trajectory
    ax : Axes, optional
    max_margins : int
        Up to this number, margins are lines, one per relation of a scheme or per off-diagonal entry; more are bands of
        quantiles.
    label, color : str, optional
        Label and colour of the run, for several runs on the same Axes.

    Returns
    -------
    Axes

    Raises
    ------
    TypeError, ValueError
        If traj is not a Trajectory, or has no row after t = 0.

    Examples
    --------
    >>> run = cf.descend(cf.SpectralFlow(cf.cyclic(5)), [0.1, 0.2], step_size=0.1, steps=100)
    >>> ax = cf.plot.margins(run)
    >>> [text.get_text() for text in ax.get_legend().get_texts()]
    ['smallest margin', '$\\\\log t$']
    """
    dense = sampled(traj, "margins")
    ax = axes_or_new(ax)
    colors, look = colors_of(ax), look_of(ax, label, color)
    (x,) = on_log_axis(ax, "x", log10_t(dense))
    if isinstance(dense, SpectralTrajectory):
        values, names = dense.margins, "relations"
    else:
        values, names = dense.margins.reshape(len(dense), -1), "pairs of classes"
    if values.shape[1] > max_margins:
        _draw_bands(ax, x, values, names, look)
    else:
        for rank, line in enumerate(np.argsort(values[0], kind="stable")):
            shade = colors.shades(rank / max(1, values.shape[1] - 1))
            ax.plot(x, values[:, line], color=look.of(shade), lw=1.2, alpha=look.alpha)
    ax.plot(
        x, dense.margin, color=look.of(colors.ink), lw=1.8, ls="--", label=look.named("smallest margin"), gid=MAIN
    )
    late = dense.log_t > 0.0
    if late.any():
        ax.plot(x[late], dense.log_t[late], color=colors.grey, lw=1.4, ls=":", label=look.beside(r"$\log t$"))
    return finish(ax, dense, "margins: true-class logit minus wrong logit")


def _draw_modes(
    ax: Axes, x: np.ndarray, traj: SpectralTrajectory | MatrixTrajectory, values: np.ndarray, max_modes: int, look: Look
) -> None:
    modes = values.shape[1]
    if modes > max_modes:
        _draw_bands(ax, x, values, "modes", look)
        return
    shades = colors_of(ax).shades(np.linspace(0.0, 1.0, modes))
    for rank, mode in enumerate(np.argsort(modes_of(traj)[0][0], kind="stable")):
        label = _label(traj, rank, int(mode), modes) if look.color is None else None
        ax.plot(x, values[:, mode], color=look.of(shades[rank]), lw=1.5, alpha=look.alpha, label=label)


def _mark(ax: Axes, look: Look) -> None:
    """Mark the last curve as the main curve of the run."""
    ax.lines[-1].set(gid=MAIN, **({} if look.label is None else {"label": look.label}))


def _draw_bands(ax: Axes, x: np.ndarray, values: np.ndarray, names: str, look: Look) -> None:
    blue = look.of(colors_of(ax).blue)
    low, lower, middle, upper, high = np.quantile(values, [0.0, 0.25, 0.5, 0.75, 1.0], axis=1)
    ax.fill_between(x, low, high, color=blue, alpha=0.18, lw=0, label=look.beside(f"all {values.shape[1]} {names}"))
    ax.fill_between(x, lower, upper, color=blue, alpha=0.40, lw=0, label=look.beside("middle half"))
    ax.plot(x, middle, color=blue, lw=1.6, label=look.beside("median"))


def _label(traj: SpectralTrajectory | MatrixTrajectory, rank: int, mode: int, modes: int) -> str | None:
    """Label of a mode: each of few modes; of many, the smallest and the largest initial one."""
    if modes > 5:
        return {0: "smallest at the start", modes - 1: "largest at the start"}.get(rank)
    if isinstance(traj, MatrixTrajectory):
        return f"$s_{{{mode + 1}}}$"
    multiplicity = int(traj.flow.scheme.multiplicities[mode + 1])
    return f"$s_{{{mode + 1}}}$" + (f"  ({multiplicity} times)" if multiplicity > 1 else "")
