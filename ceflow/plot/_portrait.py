"""Phase portrait of three modes in a triangle."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.collections import LineCollection
from matplotlib.colors import Normalize
from matplotlib.patheffects import withStroke

from .. import lyapunov as functions
from ..trajectory import SpectralTrajectory, Trajectory
from ._runs import log10_t, sampled
from ._style import LEGEND, colors_of, powers

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from ..symmetry import Scheme

CORNERS = np.array([[0.0, 0.0], [1.0, 0.0], [0.5, math.sqrt(0.75)]])


def ternary(
    trajs: Trajectory | Iterable[Trajectory],
    ax: Axes | None = None,
    *,
    color: str = "time",
    arrows: bool = True,
    contours: bool = True,
) -> Axes:
    """Plot runs with three modes, such as ``hadamard(4)``, in a triangle by the shares ``s_i / sum_j s_j``.

    The centre is neural collapse. In a corner only one mode is nonzero; on an edge one mode is 0. Circles mark the
    starts. Negative singular values are outside the triangle.

    Parameters
    ----------
    trajs : Trajectory, or several
        Runs of one scheme with three modes.
    ax : Axes, optional
    color : str
        "time" colours the paths by log10 t; any other value is the colour of all paths.
    arrows : bool
        Whether to show the direction at half of each path.
    contours : bool
        Whether to plot contours of the Lyapunov function V, which depends on the shares only.

    Returns
    -------
    Axes

    Raises
    ------
    TypeError, ValueError
        If there is no run, a run does not have three modes of a scheme, or the schemes differ.

    Examples
    --------
    >>> flow = cf.SpectralFlow(cf.hadamard(4))
    >>> runs = [cf.descend(flow, s0, step_size=0.1, steps=100) for s0 in ([0.1, 0.2, 0.3], [0.3, 0.1, 0.1])]
    >>> [text.get_text() for text in cf.plot.ternary(runs, contours=False).texts]
    ['', '', 'only $s_1$', 'only $s_2$', 'only $s_3$']
    """
    runs = [trajs] if isinstance(trajs, Trajectory) else list(trajs)
    if not runs:
        raise ValueError("trajs must have at least one trajectory")
    chosen: list[SpectralTrajectory] = []
    for run in runs:
        if not isinstance(run, SpectralTrajectory):
            raise TypeError(f"a ternary portrait needs runs of a SpectralFlow, got {type(run).__name__}")
        chosen.append(run)
    scheme = chosen[0].flow.scheme
    if scheme.modes != 3 or any(run.flow.scheme != scheme for run in chosen):
        raise ValueError(f"a ternary portrait needs runs of one scheme with 3 modes, got {scheme.name} first")
    if ax is None:
        import matplotlib.pyplot as plt

        ax = plt.subplots(figsize=(6.4, 5.2), layout="constrained")[1]
    colors = colors_of(ax)
    if contours:
        _draw_contours(ax, scheme)
    ax.plot(*CORNERS[[0, 1, 2, 0]].T, color=colors.ink, lw=1.2, zorder=2)
    dense = [sampled(run) for run in chosen]
    times = [log10_t(run) for run in dense]
    paths = [shares(run.singular_values) @ CORNERS for run in dense]
    norm = Normalize(*_busy(times, paths))
    middle: Callable[[Any], Any]
    for x, path in zip(times, paths, strict=True):
        if color == "time":
            segments = np.stack([path[:-1], path[1:]], axis=1)
            shown = np.isfinite(segments).all(axis=(1, 2))
            shades = colors.shades(norm(0.5 * (x[1:] + x[:-1])))[shown]
            ax.add_collection(LineCollection(segments[shown], colors=shades, lw=1.4, capstyle="round", zorder=3))
            first, middle = colors.shades(0.0), colors.shades
        else:
            ax.plot(*path.T, color=color, lw=1.4, zorder=3)
            first, middle = color, lambda _: color
        ax.plot(*path[0], "o", ms=4.5, mfc=colors.paper, mec=first, mew=1.2, zorder=4)
        if arrows:
            _draw_arrow(ax, path, middle, norm(x))
    ax.plot(*CORNERS.mean(axis=0), "*", ms=15, mfc=colors.orange, mec=colors.paper, zorder=6, label="neural collapse")
    name_corners(ax)
    ax.legend(loc="upper left", **LEGEND)
    ax.set_aspect("equal")
    ax.margins(0.08)
    ax.set_axis_off()
    if color == "time":
        from matplotlib.cm import ScalarMappable

        bar = ax.figure.colorbar(ScalarMappable(norm, colors.shades), ax=ax, shrink=0.7, pad=0.02, extend="both")
        bar.set_label("time $t$")
        powers(bar.ax.yaxis)
    return ax


def name_corners(ax: Axes) -> None:
    """Label the corners by their mode."""
    for corner, (dx, dy), name in zip(CORNERS, ((-1, -1), (1, -1), (0, 1)), ("1", "2", "3"), strict=True):
        place: Any = {"ha": ("center", "left", "right")[dx], "va": ("center", "bottom", "top")[dy]}
        ax.annotate(f"only $s_{name}$", corner, (6 * dx, 6 * dy), textcoords="offset points", **place)


def shares(values: np.ndarray) -> np.ndarray:
    """Share of each mode in the sum; NaN if the sum is not positive."""
    total = values.sum(axis=-1, keepdims=True)
    return values / np.where(total > 0.0, total, np.nan)


def _busy(times: list[np.ndarray], paths: list[np.ndarray]) -> tuple[float, float]:
    """Time interval of nine tenths of the motion, for the colour scale."""
    moved = np.concatenate([np.nan_to_num(np.linalg.norm(np.diff(path, axis=0), axis=1)) for path in paths])
    when = np.concatenate([0.5 * (x[1:] + x[:-1]) for x in times])
    order = np.argsort(when)
    share = np.cumsum(moved[order])
    if not share[-1:].sum() > 0.0:
        return min(x[0] for x in times), max(x[-1] for x in times)
    first, last = np.searchsorted(share, np.array([0.02, 0.9]) * share[-1])
    return math.floor(when[order][first]), math.ceil(when[order][min(last, len(when) - 1)])


def _draw_contours(ax: Axes, scheme: Scheme) -> None:
    first, second = np.meshgrid(np.linspace(0.0, 1.0, 201), np.linspace(0.0, 1.0, 201))
    shares = np.stack([first, second, 1.0 - first - second], axis=-1)
    shares = shares[shares.min(axis=-1) > 1e-9]
    colors, levels = colors_of(ax), np.array([0.01, 0.05, 0.2, 0.5, 1.0])
    V = functions.lyapunov(scheme, shares)
    across, up = (shares @ CORNERS).T
    lines = ax.tricontour(across, up, V, levels, colors=[colors.grey], linewidths=0.7, alpha=0.7, zorder=1)
    # along a line to the edge that few paths cross
    named = levels[:-1]  # the last is where paths crowd
    away = np.linspace(0.001, 0.999, 500)[:, None] * (np.array([0.72, 0.28, 0.0]) - 1.0 / 3.0) + 1.0 / 3.0
    at = np.interp(named, functions.lyapunov(scheme, away), np.arange(500)).astype(int)
    for text in ax.clabel(lines, named, fmt="$V=%g$", fontsize=7, manual=list(away[at] @ CORNERS), zorder=5.5):
        text.set(rotation=0, color=colors.ink, alpha=1.0)
        text.set_path_effects([withStroke(linewidth=3, foreground=colors.paper)])


def _draw_arrow(ax: Axes, path: np.ndarray, shade: Callable[[Any], Any], at: np.ndarray) -> None:
    lengths = np.append(0.0, np.cumsum(np.nan_to_num(np.linalg.norm(np.diff(path, axis=0), axis=1))))
    if lengths[-1] < 0.03:
        return
    i = int(np.clip(np.searchsorted(lengths, 0.5 * lengths[-1]), 1, len(path) - 1))
    back = max(int(np.searchsorted(lengths, lengths[i] - 0.01)) - 1, 0)
    if np.isfinite(path[[back, i]]).all():
        arrow = {"arrowstyle": "-|>", "color": shade(at[i]), "mutation_scale": 11, "lw": 0, "shrinkA": 0, "shrinkB": 0}
        ax.annotate("", xy=path[i], xytext=path[back], arrowprops=arrow, zorder=5)
