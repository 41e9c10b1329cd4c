"""Many curves over time, one for each mode or margin, or bands of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ..trajectory import MatrixTrajectory, SpectralTrajectory, Trajectory
from ._runs import log10_t, modes_of, sampled
from ._style import axes_or_new, check_scale, colors_of, finish, log10, powers

if TYPE_CHECKING:
    from matplotlib.axes import Axes


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
    check_scale(scale)
    dense = sampled(traj, "singular_values")
    values, weights = modes_of(dense)
    ax = axes_or_new(ax)
    _draw_modes(ax, dense, values, max_modes)
    ax.plot(log10_t(dense), values @ weights, color=colors_of(ax).ink, lw=1.6, ls="--", label=r"mean $\bar s$")
    ax.set_yscale(scale)
    return finish(ax, dense, "singular values $s_i$ of the logits")


def normalized_singular_values(
    traj: Trajectory, ax: Axes | None = None, *, scale: str = "linear", max_modes: int = 64
) -> Axes:
    """Singular values over their mean: 1 for all is neural collapse.

    Parameters
    ----------
    traj : Trajectory
    ax : Axes, optional
    scale : {"linear", "log"}
        With "log" the distance to collapse, ``|s_i / s_bar - 1|``, as a power of ten.
    max_modes : int
        As for `singular_values`.

    Returns
    -------
    Axes

    Raises
    ------
    TypeError, ValueError
        As for `singular_values`.
    """
    check_scale(scale)
    dense = sampled(traj, "singular_values")
    values, weights = modes_of(dense)
    mean = values @ weights
    relative = values / np.where(mean != 0.0, mean, np.nan)[:, None]
    ax = axes_or_new(ax)
    if scale == "log":
        _draw_modes(ax, dense, log10(np.abs(relative - 1.0)), max_modes)
        powers(ax.yaxis)
        return finish(ax, dense, r"$|s_i\,/\,\bar s - 1|$")
    ax.axhline(1.0, color=colors_of(ax).ink, lw=1.2, ls="--", label="neural collapse", zorder=3)
    _draw_modes(ax, dense, relative, max_modes)
    return finish(ax, dense, r"$s_i\,/\,\bar s$")


def margins(traj: Trajectory, ax: Axes | None = None, *, max_margins: int = 64) -> Axes:
    """Logit margins over time: how far the right class stands above each wrong one. They grow like log t.

    Parameters
    ----------
    traj : Trajectory
    ax : Axes, optional
    max_margins : int
        Up to so many are drawn as lines, one for each relation of a scheme or each entry off the diagonal; more as
        bands of quantiles.

    Returns
    -------
    Axes

    Raises
    ------
    TypeError, ValueError
        If traj is no Trajectory, or has no row after t = 0.
    """
    dense = sampled(traj, "margins")
    ax = axes_or_new(ax)
    x, colors = log10_t(dense), colors_of(ax)
    if isinstance(dense, SpectralTrajectory):
        values, names = dense.margins, "relations"
    else:
        values, names = dense.margins.reshape(len(dense), -1), "pairs of classes"
    if values.shape[1] > max_margins:
        _draw_bands(ax, x, values, names)
    else:
        for rank, line in enumerate(np.argsort(values[0], kind="stable")):
            shade = colors.shades(rank / max(1, values.shape[1] - 1))
            ax.plot(x, values[:, line], color=shade, lw=1.2)
    ax.plot(x, dense.margin, color=colors.ink, lw=1.8, ls="--", label="smallest margin")
    late = x > 0.0
    if late.any():
        ax.plot(x[late], dense.log_t[late], color=colors.grey, lw=1.4, ls=":", label=r"$\log t$")
    return finish(ax, dense, "margins: right logit less wrong logit")


def _draw_modes(ax: Axes, traj: Trajectory, values: np.ndarray, max_modes: int) -> None:
    x, modes = log10_t(traj), values.shape[1]
    if modes > max_modes:
        _draw_bands(ax, x, values, "modes")
    else:
        shades = colors_of(ax).shades(np.linspace(0.0, 1.0, modes))
        for rank, mode in enumerate(np.argsort(modes_of(traj)[0][0], kind="stable")):
            ax.plot(x, values[:, mode], color=shades[rank], lw=1.5, label=_label(traj, rank, int(mode), modes))


def _draw_bands(ax: Axes, x: np.ndarray, values: np.ndarray, names: str) -> None:
    blue = colors_of(ax).blue
    low, lower, middle, upper, high = np.quantile(values, [0.0, 0.25, 0.5, 0.75, 1.0], axis=1)
    ax.fill_between(x, low, high, color=blue, alpha=0.18, lw=0, label=f"all {values.shape[1]} {names}")
    ax.fill_between(x, lower, upper, color=blue, alpha=0.40, lw=0, label="middle half")
    ax.plot(x, middle, color=blue, lw=1.6, label="median")


def _label(traj: Trajectory, rank: int, mode: int, modes: int) -> str | None:
    """Few modes are named each; of many only those that start at the ends."""
    if modes > 5:
        return {0: "smallest at the start", modes - 1: "largest at the start"}.get(rank)
    if isinstance(traj, MatrixTrajectory):
        return f"$s_{{{mode + 1}}}$"
    multiplicity = int(traj.flow.scheme.multiplicities[mode + 1])
    return f"$s_{{{mode + 1}}}$" + (f"  ({multiplicity} times)" if multiplicity > 1 else "")
