"""Style of the plots: colours, axes for log10 of values, labels."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from matplotlib.colors import ListedColormap, to_rgb, to_rgba
from matplotlib.ticker import FuncFormatter, MaxNLocator

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis

    from ..trajectory import Trajectory

LARGEST_POWER = 300.0  # largest power of ten on a logarithmic axis
LEGEND: dict[str, Any] = {"fontsize": "small", "edgecolor": "none", "framealpha": 0.85}
# where curves lie anywhere inside
ABOVE: dict[str, Any] = LEGEND | {"ncols": 2, "loc": "lower center", "bbox_to_anchor": (0.5, 1.0)}


def check_scale(scale: str) -> None:
    if scale not in ("linear", "log"):
        raise ValueError(f'scale must be "linear" or "log", got {scale!r}')


class Colors(NamedTuple):
    """Colours that match the style of an Axes."""

    ink: Any  # of text and lines
    paper: Any
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
    behind = (to_rgba(ax.get_facecolor()), to_rgba(ax.figure.get_facecolor()))
    paper = next((c for c in behind if c[3] > 0.0), (*[1.0 - dark] * 3, 1.0))
    shades = ListedColormap(colormaps["cividis"](np.linspace(0.4, 1.0, 256) if dark else np.linspace(0.0, 0.88, 256)))
    if dark:
        return Colors(ink, paper, "#56B4E9", "#E69F00", "#29C79B", "#E7A3C8", "0.65", shades)
    return Colors(ink, paper, "#0072B2", "#D55E00", "#009E73", "#A8558A", "0.45", shades)


def luminance(color: Any) -> float:
    return float(np.dot(to_rgb(color), (0.299, 0.587, 0.114)))


def axes_or_new(ax: Axes | None) -> Axes:
    if ax is not None:
        return ax
    import matplotlib.pyplot as plt

    return plt.subplots(figsize=(6.4, 4.2), layout="constrained")[1]


def finish(ax: Axes, traj: Trajectory, label: str) -> Axes:
    for line in ax.lines:
        if np.size(line.get_xdata()) == 1:  # a line through one point is invisible
            line.set(marker="o", clip_on=False)
    ax.legend(**LEGEND)
    ax.set_xlabel("time $t$")
    ax.set_ylabel(label)
    (x,) = on_log_axis(ax, "x", traj.log_t[np.isfinite(traj.log_t)] / np.log(10.0))
    ax.update_datalim([(x.min(), 1.0), (x.max(), 1.0)], updatey=False)  # also if nothing is plotted
    ax.margins(x=0.0)
    ax.autoscale_view()
    return tidy(ax)


def tidy(ax: Axes) -> Axes:
    ax.grid(True, color=colors_of(ax).ink, alpha=0.12, lw=0.8)
    ax.set_axisbelow(True)
    ax.spines[["top", "right"]].set_visible(False)
    return ax


class _Powers(FuncFormatter):
    """Tick labels of an axis that shows log10 of values."""

    def __init__(self) -> None:
        super().__init__(lambda x, _: f"${power(x)}$")


def powers(axis: Axis) -> None:
    """Let an axis show log10 of values."""
    axis.set_major_locator(MaxNLocator(nbins=7, steps=[1, 2, 5, 10], integer=True, min_n_ticks=1))
    axis.set_major_formatter(_Powers())


def on_log_axis(ax: Axes, which: str, *curves: np.ndarray) -> list[np.ndarray]:
    """Convert curves given as log10 for the axis "x" or "y": to values on a logarithmic axis, or to log10 if values
    overflow. The first curves on the Axes determine the type of the axis."""
    axis = {"x": ax.xaxis, "y": ax.yaxis}[which]
    largest = max((np.abs(curve[np.isfinite(curve)]).max(initial=0.0) for curve in curves), default=0.0)
    if axis.get_scale() != "log" and not isinstance(axis.get_major_formatter(), _Powers):
        if largest > LARGEST_POWER:
            powers(axis)
        else:
            {"x": ax.set_xscale, "y": ax.set_yscale}[which]("log")
    if axis.get_scale() != "log":
        return list(curves)
    if largest > LARGEST_POWER:
        raise ValueError(f"these Axes cannot hold 1e{largest:g}: plot the run with the largest range first")
    return [10.0**curve for curve in curves]


class Look(NamedTuple):
    """Appearance of one of several runs on the same Axes."""

    first: bool  # whether it is the first run on these Axes
    color: str | None  # colour of all its curves; None for a single run
    label: str | None  # label of its main curve

    @property
    def alpha(self) -> float:
        """Opacity of the curves of a run with one colour."""
        return 1.0 if self.color is None else 0.6

    def of(self, color: str) -> str:
        """Colour of a curve; `color` if the run is alone."""
        return self.color or color

    def named(self, name: str) -> str:
        """Label of the main curve."""
        return self.label or name

    def beside(self, name: str) -> str:
        """Label of another curve, common to all runs."""
        return name if self.first else "_nolegend_"


MAIN = "run"  # gid of the main curve of each run


def look_of(ax: Axes, label: str | None, color: str | None) -> Look:
    """Appearance of the next run on these Axes; by default with a new colour."""
    before, colors = sum(line.get_gid() == MAIN for line in ax.lines), colors_of(ax)
    if color is None and before:
        # those of the first run's other curves come last
        color = (colors.blue, colors.green, colors.purple, colors.ink, colors.orange, colors.grey)[before % 6]
    return Look(not before, color, label if label is not None or not before else f"run {before + 1}")


def power(exponent: float) -> str:
    if abs(exponent) < 1e6:
        return f"10^{{{exponent:.6g}}}"
    digits, tower = f"{exponent:.3e}".split("e")
    factor = "-"[: float(digits) < 0] if abs(float(digits)) == 1.0 else f"{float(digits):g} \\cdot "
    return f"10^{{{factor}10^{{{int(tower)}}}}}"


def short(number: float) -> str:
    return f"{number:g}".replace("e-0", "e-")


def log10(values: np.ndarray) -> np.ndarray:
    """log10 of the positive values, NaN elsewhere."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return finite(np.log10(values))


def finite(values: np.ndarray) -> np.ndarray:
    return np.where(np.isfinite(values), values, np.nan)
