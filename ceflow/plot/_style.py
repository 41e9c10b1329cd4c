"""How figures look: colours for any style, axes that carry powers of ten, and labels."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from matplotlib.colors import ListedColormap, to_rgb
from matplotlib.ticker import FuncFormatter, MaxNLocator

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis

    from ..trajectory import Trajectory

LEGEND = {"fontsize": "small", "edgecolor": "none", "framealpha": 0.85}


def check_scale(scale: str) -> None:
    if scale not in ("linear", "log"):
        raise ValueError(f'scale must be "linear" or "log", got {scale!r}')


class Colors(NamedTuple):
    """Colours that suit the style of an Axes."""

    ink: str  # of text and lines
    paper: tuple
    blue: str
    orange: str
    green: str
    purple: str
    grey: str
    shades: ListedColormap


def colors_of(ax: Axes) -> Colors:
    from matplotlib import colormaps

    ink = ax.xaxis.label.get_color()
    dark = luminance(ink) > 0.5
    paper = next((c for c in (ax.get_facecolor(), ax.figure.get_facecolor()) if c[3] > 0.0), (*[1.0 - dark] * 3, 1.0))
    shades = ListedColormap(colormaps["cividis"](np.linspace(0.3, 1.0, 256) if dark else np.linspace(0.0, 0.88, 256)))
    if dark:
        return Colors(ink, paper, "#56B4E9", "#E69F00", "#29C79B", "#E7A3C8", "0.65", shades)
    return Colors(ink, paper, "#0072B2", "#D55E00", "#009E73", "#A8558A", "0.45", shades)


def luminance(color) -> float:
    return float(np.dot(to_rgb(color), (0.299, 0.587, 0.114)))


def axes_or_new(ax: Axes | None) -> Axes:
    if ax is not None:
        return ax
    import matplotlib.pyplot as plt

    return plt.subplots(figsize=(6.4, 4.2), layout="constrained")[1]


def finish(ax: Axes, traj: Trajectory, label: str) -> Axes:
    ax.legend(**LEGEND)
    ax.set_xlabel(f"time $t$ ({traj.flow.reduction} reduction)")
    ax.set_ylabel(label)
    powers(ax.xaxis)
    ax.margins(x=0.0)
    return tidy(ax)


def tidy(ax: Axes) -> Axes:
    ax.grid(True, color=colors_of(ax).ink, alpha=0.12, lw=0.8)
    ax.set_axisbelow(True)
    ax.spines[["top", "right"]].set_visible(False)
    return ax


def powers(axis: Axis) -> None:
    """Labels of an axis that carries log10 of what is shown."""
    axis.set_major_locator(MaxNLocator(nbins=7, steps=[1, 2, 5, 10], integer=True, min_n_ticks=1))
    axis.set_major_formatter(FuncFormatter(lambda x, _: f"${power(x)}$"))


def power(exponent: float) -> str:
    if abs(exponent) < 1e6:
        return f"10^{{{exponent:.6g}}}"
    digits, tower = f"{exponent:.3e}".split("e")
    factor = "-"[: float(digits) < 0] if abs(float(digits)) == 1.0 else f"{float(digits):g} \\cdot "
    return f"10^{{{factor}10^{{{int(tower)}}}}}"


def short(number: float) -> str:
    return f"{number:g}".replace("e-0", "e-")


def log10(values: np.ndarray) -> np.ndarray:
    """Without what has no logarithm."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return finite(np.log10(values))


def finite(values: np.ndarray) -> np.ndarray:
    return np.where(np.isfinite(values), values, np.nan)
