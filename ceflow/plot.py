"""Figures of runs and comparisons. Times and small quantities are drawn as powers of ten, for they leave float64.

Every function draws on the Axes it is given, or on a new figure, and changes no global setting. The horizontal axis
is log10 t: ``ax.axvline(6)`` marks t = 1e6, and the row t = 0 has no place on it. Dense output gives smooth curves.
Colours are those of Okabe and Ito and of the colour map cividis, readable without colour vision and in grey; text,
lines and grid follow the style in force, light or dark.
"""

from __future__ import annotations

import math
import os
import uuid
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from matplotlib.collections import LineCollection
from matplotlib.colors import ListedColormap, Normalize, to_rgb
from matplotlib.patheffects import withStroke
from matplotlib.ticker import FuncFormatter, MaxNLocator
from scipy.special import log_softmax

from . import lyapunov as functions
from .losses import log_cross_entropy
from .theory import loss_log_bound
from .trajectory import MatrixTrajectory, SpectralTrajectory, Trajectory

if TYPE_CHECKING:
    from matplotlib.animation import FuncAnimation
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.figure import Figure
    from matplotlib.image import AxesImage

    from .compare import Comparison
    from .schemes import Scheme

__all__ = [
    "animate",
    "collapse",
    "comparison",
    "conserved",
    "dashboard",
    "logits",
    "loss",
    "lyapunov",
    "margins",
    "normalized_singular_values",
    "singular_values",
    "softmax",
    "ternary",
]

SAMPLES, MOST_NUMBERS = 500, 2**21  # of a curve; of all states sampled for a figure
MOST_CLASSES, CLASSES_WITH_NUMBERS = 4096, 8  # of a matrix drawn as an image; of one whose entries are written on it
LN10 = math.log(10.0)
SMALLEST = 1e-300  # of what has a logarithm worth drawing
DISSIPATION = r"dissipation $-\mathrm{d}V/\mathrm{d}\log t$"
ERROR = r"$\|Z_\mathrm{reduced} - Z_\mathrm{full}\|\,/\,\|Z_\mathrm{full}\|$"
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
    ax.plot(_log10_t(dense), values @ weights, color=_colors(ax).ink, lw=1.6, ls="--", label=r"mean $\bar s$")
    ax.set_yscale(scale)
    return _finish(ax, dense, "singular values $s_i$ of the logits")


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
    if scale not in ("linear", "log"):
        raise ValueError(f'scale must be "linear" or "log", got {scale!r}')
    dense = _sampled(traj)
    values, weights = _modes(dense)
    mean = values @ weights
    relative = values / np.where(mean != 0.0, mean, np.nan)[:, None]
    ax = _axes(ax)
    if scale == "log":
        _draw_modes(ax, dense, _log10(np.abs(relative - 1.0)), max_modes)
        _powers(ax.yaxis)
        return _finish(ax, dense, r"$|s_i\,/\,\bar s - 1|$")
    ax.axhline(1.0, color=_colors(ax).ink, lw=1.2, ls="--", label="neural collapse", zorder=3)
    _draw_modes(ax, dense, relative, max_modes)
    return _finish(ax, dense, r"$s_i\,/\,\bar s$")


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
    dense = _sampled(traj)
    ax = _axes(ax)
    x, colors = _log10_t(dense), _colors(ax)
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
    return _finish(ax, dense, "margins: right logit less wrong logit")


def loss(traj: Trajectory, ax: Axes | None = None) -> Axes:
    """Loss and accuracy gap 1 - p_0 over time, between the bounds of `ceflow.theory` where they hold.

    A reduced run of cross-entropy has a lower bound, the least loss that any logits of this nuclear norm can have,
    which is that of collapsed ones. With two balanced layers it also has an upper bound at each time, given by the
    start alone. The squared error has no accuracy gap. Weight decay is not part of the loss.

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
    colors = _colors(ax)
    loss_of = dense.log_loss / LN10
    if isinstance(dense, SpectralTrajectory) and dense.flow.loss.name == "cross_entropy":
        scheme, reduction = dense.flow.scheme, dense.flow.reduction
        if _is_plain(dense) and dense.start.ndim == 1 and dense.start.min() >= SMALLEST:
            bound = loss_log_bound(scheme, dense.start, log_t=dense.log_t, reduction=reduction) / LN10
            useful = np.where(bound <= loss_of[0] + 0.5, bound, np.nan)  # before, it says nothing
            ax.plot(x, useful, color=colors.grey, lw=1.4, ls=":", label="upper bound of the loss")
        values, weights = _modes(dense)
        least = log_cross_entropy(math.log(scheme.classes - 1) - values @ weights)  # theory.collapsed_loss, any size
        least += math.log(scheme.classes) if reduction == "sum" else 0.0
        ax.plot(x, least / LN10, color=colors.grey, lw=1.4, ls="-.", label="least loss at this nuclear norm")
    ax.plot(x, loss_of, color=colors.blue, lw=2.0, label="loss")
    if not dense.flow.loss.squared:
        ax.plot(x, dense.log_accuracy_gap / LN10, color=colors.orange, lw=1.6, ls="--", label="accuracy gap $1 - p_0$")
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
    colors = _colors(ax)
    ax.plot(x, _log10(dense.lyapunov), color=colors.blue, lw=2.0, label="$V$")
    if _is_plain(dense) and dense.start.ndim == 1:
        rate = functions.log_dissipation(dense.flow.scheme, dense.singular_values, dense.flow.reduction)
        ax.plot(x, _finite((rate + dense.log_t) / LN10), color=colors.orange, lw=1.6, ls="--", label=DISSIPATION)
    _powers(ax.yaxis)
    return _finish(ax, dense, r"$V = \log\,$(arithmetic / geometric mean)")


def conserved(traj: Trajectory, ax: Axes | None = None) -> Axes:
    """Drift of the conserved quantities over time, relative to the size of the layers, against the tolerance.

    Drawn is the largest change of ``a_i^2 - b_i^2`` over ``a_i^2 + b_i^2``, or, for a full run, that of
    ``W^T W - H H^T`` over ``|W|^2 + |H|^2`` in the Frobenius norm (of deeper networks the largest of all neighbours).
    The exact flow has no drift. With weight decay these quantities fade, and the distance from that is drawn.

    Parameters
    ----------
    traj : Trajectory
    ax : Axes, optional

    Returns
    -------
    Axes
        Both axes are log10. Reduced runs conserve by construction: what they show is rounding, or nothing at all.

    Raises
    ------
    TypeError, ValueError
        If traj is no Trajectory, or has no row after t = 0.
    """
    dense = _sampled(traj)
    ax = _axes(ax)
    colors, drift = _colors(ax), _drift(dense)
    shown = drift > 0.0
    label = "drift" if shown.any() else "no drift: conserved to the last bit"
    ax.plot(_log10_t(dense)[shown], np.log10(drift[shown]), color=colors.blue, lw=1.6, label=label)
    ax.axhline(math.log10(2.0**-52), color=colors.grey, lw=1.2, ls=":", label="rounding")
    if traj.rtol > 0.0:
        ax.axhline(math.log10(traj.rtol), color=colors.grey, lw=1.2, ls="--", label=f"rtol = {_short(traj.rtol)}")
    ax.set_xlim(_log10_t(dense)[[0, -1]])
    _powers(ax.yaxis)
    return _finish(ax, dense, "relative drift of the conserved quantities")


def collapse(traj: MatrixTrajectory, ax: Axes | None = None) -> Axes:
    """Neural-collapse measures of a full run over time; see `ceflow.collapse.measures`.

    Parameters
    ----------
    traj : Trajectory of a MatrixFlow
    ax : Axes, optional

    Returns
    -------
    Axes
        Both axes are log10; a measure of 0 is not drawn.

    Raises
    ------
    TypeError, ValueError
        If traj is no run of a MatrixFlow, or has no row after t = 0.
    """
    if not isinstance(traj, MatrixTrajectory):
        raise TypeError(f"collapse measures are drawn of a run of a MatrixFlow, got {type(traj).__name__}")
    dense = _sampled(traj)
    ax = _axes(ax)
    found, colors = dense.collapse, _colors(ax)
    for values, label, color, style in (
        (found.nc2, "NC2: features to the simplex ETF", colors.blue, "-"),
        (found.nc3, "NC3: classifier to features", colors.orange, "--"),
        (found.etf_distance, "logits to the simplex ETF", colors.green, "-."),
        (found.nc4, "NC4: decisions unlike the nearest mean", colors.grey, ":"),
    ):
        ax.plot(_log10_t(dense), _log10(values), color=color, ls=style, lw=1.8, label=label)
    _powers(ax.yaxis)
    return _finish(ax, dense, "distance from neural collapse")


def logits(
    traj: Trajectory,
    ax: Axes | Sequence[Axes] | None = None,
    *,
    t: float | Sequence[float] | None = None,
    log_t: float | Sequence[float] | None = None,
) -> Axes | Figure:
    """The logit matrix Z as an image, at one time or several; column c holds the logits of a sample of class c.

    Parameters
    ----------
    traj : Trajectory
        A full run, or a reduced one, of which Z is put together from the relations of the scheme.
    ax : Axes, or one for each time, optional
    t, log_t : float or (m,) array, optional
        Times, or their natural logarithms; the last row of the trajectory if both are left out.

    Returns
    -------
    Axes or Figure
        Axes for one time, Figure for several. Up to 8 classes, 4 in several panels, the entries are written on it.

    Raises
    ------
    TypeError, ValueError
        If traj is no Trajectory, a time is outside the run, there are more than 4096 classes, or `ax` has not one Axes
        for each time.
    """
    panels, several = _panels(traj, ax, t, log_t)
    write = "{:.2g}".format if _has_room(traj, several) else None
    for panel, row in panels:
        label = "logit $Z_{jc}$" if panel is panels[-1][0] else ""
        _draw_matrix(panel, _logit_matrix(row), label, write)
        panel.set_title(_moment(row))
        if several:
            panel.label_outer()
    return panel.figure if several else panel


def softmax(
    traj: Trajectory,
    ax: Axes | Sequence[Axes] | None = None,
    *,
    t: float | Sequence[float] | None = None,
    log_t: float | Sequence[float] | None = None,
    scale: str = "linear",
) -> Axes | Figure:
    """The softmax P of the logits as an image, at one time or several; the columns sum to 1.

    Parameters
    ----------
    traj, ax, t, log_t
        As for `logits`.
    scale : {"linear", "log"}
        With "log" the colours are log10 of P, and show what at late times is far too small to see: the probabilities of
        the wrong classes, about 1/t.

    Returns
    -------
    Axes or Figure
        As for `logits`.

    Raises
    ------
    TypeError, ValueError
        As for `logits`, and if scale is not known.
    """
    if scale not in ("linear", "log"):
        raise ValueError(f'scale must be "linear" or "log", got {scale!r}')
    panels, several = _panels(traj, ax, t, log_t)
    write = ("{:.3g}" if scale == "log" else "{:.2g}").format if _has_room(traj, several) else None
    for panel, row in panels:
        log_p, last = log_softmax(_logit_matrix(row), axis=0), panel is panels[-1][0]
        if scale == "log":
            _draw_matrix(panel, log_p / LN10, r"$\log_{10} P_{jc}$" if last else "", write)
        else:  # one colour bar is enough for all
            _draw_matrix(panel, _exp(log_p), "probability $P_{jc}$", write, Normalize(0.0, 1.0), last)
        panel.set_title(_moment(row))
        if several:
            panel.label_outer()
    return panel.figure if several else panel


def ternary(
    trajs: Trajectory | Iterable[Trajectory],
    ax: Axes | None = None,
    *,
    color: str = "time",
    arrows: bool = True,
    contours: bool = True,
) -> Axes:
    """Portrait of reduced flows of three modes, such as ``hadamard(4)``: the shares ``s_i / sum_j s_j`` in a triangle.

    The centre is neural collapse; in a corner one mode holds everything, on an edge one mode is dead. Circles mark the
    starts. Negative singular values lie outside the triangle.

    Parameters
    ----------
    trajs : Trajectory, or several
        All of one scheme with three modes.
    ax : Axes, optional
    color : str
        "time" colours the paths by log10 t; anything else is the colour of all of them.
    arrows : bool
        Whether to mark the direction halfway along each path.
    contours : bool
        Whether to draw contours of the Lyapunov function V, which depends on the shares only.

    Returns
    -------
    Axes

    Raises
    ------
    TypeError, ValueError
        If there is no run, or one is not a reduced run of three modes, or the schemes differ.
    """
    runs = [trajs] if isinstance(trajs, Trajectory) else list(trajs)
    if not runs:
        raise ValueError("trajs must hold at least one trajectory")
    for run in runs:
        if not isinstance(run, SpectralTrajectory):
            raise TypeError(f"a ternary portrait is drawn of runs of a SpectralFlow, got {type(run).__name__}")
    scheme = runs[0].flow.scheme
    if scheme.modes != 3 or any(run.flow.scheme != scheme for run in runs):
        raise ValueError(f"a ternary portrait needs runs of one scheme with 3 modes, got {scheme.name} first")
    if ax is None:
        import matplotlib.pyplot as plt

        ax = plt.subplots(figsize=(6.4, 5.2), layout="constrained")[1]
    colors = _colors(ax)
    if contours:
        _draw_contours(ax, scheme)
    ax.plot(*_CORNERS[[0, 1, 2, 0]].T, color=colors.ink, lw=1.2, zorder=2)
    dense = [_sampled(run) for run in runs]
    times = [_log10_t(run) for run in dense]
    paths = [_shares(run.singular_values) @ _CORNERS for run in dense]
    norm = Normalize(*_busy(times, paths))
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
            _draw_arrow(ax, path, lambda i, x=x, middle=middle: middle(norm(x[i])))
    ax.plot(*_CORNERS.mean(axis=0), "*", ms=15, mfc=colors.orange, mec=colors.paper, zorder=6, label="neural collapse")
    for corner, (dx, dy), name in zip(_CORNERS, ((-1, -1), (1, -1), (0, 1)), ("1", "2", "3"), strict=True):
        place = {"ha": ("center", "left", "right")[dx], "va": ("center", "bottom", "top")[dy]}
        ax.annotate(f"only $s_{name}$", corner, (6 * dx, 6 * dy), textcoords="offset points", **place)
    ax.legend(loc="upper left", **LEGEND)
    ax.set_aspect("equal")
    ax.margins(0.08)
    ax.set_axis_off()
    if color == "time":
        from matplotlib.cm import ScalarMappable

        bar = ax.figure.colorbar(ScalarMappable(norm, colors.shades), ax=ax, shrink=0.7, pad=0.02, extend="both")
        bar.set_label(f"time $t$ ({runs[0].flow.reduction} reduction)")
        _powers(bar.ax.yaxis)
    return ax


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
    x, colors = comparison.log_t[later] / LN10, _colors(ax)
    curves = (
        (comparison.error, ERROR, colors.blue, "o-", 2.0),
        (comparison.off_diagonal, "full run: distance from the scheme", colors.orange, "s--", 1.4),
        (comparison.singular_value_error, "singular values, over the largest", colors.ink, "v:", 1.2),
        (comparison.loss_error, "relative difference of the losses", colors.green, "^-.", 1.4),
        (comparison.lyapunov_error, "difference of $V$", colors.purple, "d--", 1.2),
    )
    for values, label, color, style, width in curves:
        if np.isfinite(values[later]).any():  # V is not defined for all runs
            ax.plot(x, _log10(values[later]), style, color=color, lw=width, ms=4, label=label)
    tolerances = {run.rtol for run in (comparison.reduced, comparison.full) if run.rtol > 0.0}
    for rtol in sorted(tolerances):
        ax.axhline(math.log10(rtol), color=colors.grey, lw=1.2, ls=":", label=f"rtol = {_short(rtol)}")
    _powers(ax.yaxis)
    _finish(ax, comparison.full, "relative error")
    ax.legend(**LEGEND, ncols=2, loc="lower center", bbox_to_anchor=(0.5, 1.0))  # curves lie anywhere inside
    return ax


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


def animate(
    traj: Trajectory,
    path: str | os.PathLike | None = None,
    *,
    frames: int = 60,
    fps: float = 12.0,
    dpi: float = 80.0,
) -> FuncAnimation:
    """A run as a film: the softmax as an image, the singular values over their mean, and the loss.

    Parameters
    ----------
    traj : Trajectory
        With dense output.
    path : path, optional
        Where to write it: ``.gif``, or ``.html`` for a page with controls. The file appears whole or not at all.
    frames : int
        At least 2, spread like the curves of the figures: along the steps of the run, and evenly in log t.
    fps, dpi : float
        Frames a second; dots an inch, of a figure of 11 x 3.6 inches.

    Returns
    -------
    matplotlib.animation.FuncAnimation
        In a notebook, ``IPython.display.HTML(animation.to_jshtml())`` shows it.

    Raises
    ------
    TypeError, ValueError
        If traj is no Trajectory, has no row after t = 0 or more than 4096 classes, frames is not an integer of at least
        2, fps or dpi is not positive, or the name does not end in .gif or .html.
    """
    from matplotlib.animation import FuncAnimation, HTMLWriter, PillowWriter
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    if isinstance(frames, bool) or not isinstance(frames, (int, np.integer)) or frames < 2:
        raise ValueError(f"frames must be an integer of at least 2, got {frames!r}")
    for name, value in (("fps", fps), ("dpi", dpi)):
        if not 0.0 < value < math.inf:
            raise ValueError(f"{name} must be positive, got {value!r}")
    suffix = os.path.splitext(os.fspath(path))[1].lower() if path is not None else None
    if suffix not in (None, ".gif", ".html"):
        raise ValueError(f"path must end in .gif or .html, got {os.fspath(path)!r}")

    dense = _sampled(traj)
    film = dense[np.linspace(0, len(dense) - 1, int(frames)).round().astype(int)]
    figure = Figure(figsize=(11.0, 3.6), dpi=dpi, layout="constrained")
    FigureCanvasAgg(figure)
    left, middle, right = figure.subplots(1, 3)
    image = _draw_matrix(left, _softmax_matrix(film[0]), "probability $P_{jc}$", None, Normalize(0.0, 1.0))
    colors, (values, weights) = _colors(middle), _modes(film)
    with np.errstate(divide="ignore", invalid="ignore"):
        relative = values / (values @ weights)[:, None]
    modes = np.arange(1, relative.shape[1] + 1)
    (stems,) = middle.plot(modes, relative[0], "o" if len(modes) <= 64 else ",", color=colors.blue, ms=5)
    middle.axhline(1.0, color=colors.ink, lw=1.2, ls="--", label="neural collapse")
    low, high = np.nanmin(relative, initial=0.0), np.nanmax(relative, initial=1.0)
    room = 0.08 * (high - low)
    middle.set(xlabel="mode $i$", ylabel=r"$s_i\,/\,\bar s$", ylim=(low - room, high + room))
    middle.xaxis.set_major_locator(MaxNLocator(integer=True))
    _tidy(middle)
    loss(dense, right).legend(loc="lower left", **LEGEND)  # what decreases leaves that corner free
    (moment,) = right.plot([], [], "o", color=colors.ink, ms=6, zorder=6)
    heights = film.log_loss / LN10

    def draw(frame: int) -> tuple:
        row = film[int(frame)]
        image.set_data(_softmax_matrix(row))
        stems.set_ydata(relative[frame])
        moment.set_data([row.log_t[0] / LN10], [heights[frame]])
        left.set_title(_moment(row))
        return image, stems, moment

    figure.suptitle(_name(dense))
    draw(0)
    figure.canvas.draw()
    figure.set_layout_engine("none")  # nothing may jump from frame to frame
    animation = FuncAnimation(figure, draw, frames=int(frames), interval=1000.0 / fps)
    if path is None:
        return animation
    temporary = f"{os.path.splitext(os.fspath(path))[0]}.{uuid.uuid4().hex}.tmp{suffix}"
    writer = PillowWriter(fps=fps) if suffix == ".gif" else HTMLWriter(fps=fps, embed_frames=True, embed_limit=256)
    try:
        animation.save(temporary, writer=writer, dpi=dpi)
        os.replace(temporary, path)
    finally:
        if os.path.exists(temporary):
            os.unlink(temporary)
    return animation


# -- what the figures share -------------------------------------------------------------------------------------------


def _sampled(traj: Trajectory) -> Trajectory:
    """The run at times that resolve it, t = 0 left out: spread evenly between its rows, and evenly in log t."""
    if not isinstance(traj, Trajectory):
        raise TypeError(f"a figure is drawn of a Trajectory, got {type(traj).__name__}")
    _check_single(traj)
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


class _Colors(NamedTuple):
    """Colours that suit the style of an Axes."""

    ink: str  # of text and lines
    paper: tuple
    blue: str
    orange: str
    green: str
    purple: str
    grey: str
    shades: ListedColormap


def _colors(ax: Axes) -> _Colors:
    from matplotlib import colormaps

    ink = ax.xaxis.label.get_color()
    dark = _luminance(ink) > 0.5
    paper = next((c for c in (ax.get_facecolor(), ax.figure.get_facecolor()) if c[3] > 0.0), (*[1.0 - dark] * 3, 1.0))
    shades = ListedColormap(colormaps["cividis"](np.linspace(0.3, 1.0, 256) if dark else np.linspace(0.0, 0.88, 256)))
    if dark:
        return _Colors(ink, paper, "#56B4E9", "#E69F00", "#29C79B", "#E7A3C8", "0.65", shades)
    return _Colors(ink, paper, "#0072B2", "#D55E00", "#009E73", "#A8558A", "0.45", shades)


def _luminance(color) -> float:
    return float(np.dot(to_rgb(color), (0.299, 0.587, 0.114)))


def _check_single(traj: Trajectory) -> None:
    if isinstance(traj, MatrixTrajectory) and traj.start[0].ndim > 2:
        raise ValueError(f"figures are drawn of single runs, this is a batch of {len(traj.start[0])}")


def _is_plain(traj: Trajectory) -> bool:
    """Whether it is a reduced run of the flow that the theorems are about: two layers, cross-entropy, nothing else."""
    return isinstance(traj, SpectralTrajectory) and traj.flow.plain


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
    x, modes = _log10_t(traj), values.shape[1]
    if modes > max_modes:
        _draw_bands(ax, x, values, "modes")
    else:
        shades = _colors(ax).shades(np.linspace(0.0, 1.0, modes))
        for rank, mode in enumerate(np.argsort(_modes(traj)[0][0], kind="stable")):
            ax.plot(x, values[:, mode], color=shades[rank], lw=1.5, label=_label(traj, rank, int(mode), modes))


def _draw_bands(ax: Axes, x: np.ndarray, values: np.ndarray, names: str) -> None:
    blue = _colors(ax).blue
    low, lower, middle, upper, high = np.quantile(values, [0.0, 0.25, 0.5, 0.75, 1.0], axis=1)
    ax.fill_between(x, low, high, color=blue, alpha=0.18, lw=0, label=f"all {values.shape[1]} {names}")
    ax.fill_between(x, lower, upper, color=blue, alpha=0.40, lw=0, label="middle half")
    ax.plot(x, middle, color=blue, lw=1.6, label="median")


def _drift(traj: Trajectory) -> np.ndarray:
    """Distance of the conserved quantities from where they should be, relative to the size of the layers."""
    first = traj._with(np.array([-math.inf]), np.asarray(traj.flow.origin(traj.start))[None])
    with np.errstate(under="ignore"):
        fade = np.exp(-2.0 * traj.flow.weight_decay * traj.t) if traj.flow.weight_decay else np.ones(len(traj))
    if isinstance(traj, SpectralTrajectory):
        modes, layers = traj.flow.scheme.modes, traj.layers
        found = traj.conserved.reshape(len(traj), -1, modes)  # of deep layers one for each pair of neighbours
        change = np.abs(found - fade[:, None, None] * first.conserved.reshape(1, -1, modes)).max(axis=1)
        size = (layers**2).sum(axis=1)
        return np.max(change / np.where(size > 0.0, size, 1.0), axis=1)
    pairs = [np.asarray(X) for X in traj.conserved] if isinstance(traj.conserved, tuple) else [traj.conserved]
    starts = first.conserved if isinstance(first.conserved, tuple) else [first.conserved]
    change = [
        np.linalg.norm(X - fade[:, None, None] * start, axis=(1, 2)) for X, start in zip(pairs, starts, strict=True)
    ]
    size = (traj.y**2).sum(axis=1)
    return np.max(change, axis=0) / np.where(size > 0.0, size, 1.0)


def _logit_matrix(row: Trajectory) -> np.ndarray:
    """Z of the one row of a trajectory."""
    if isinstance(row, MatrixTrajectory):
        return row.logits[0]
    scheme = row.flow.scheme
    diagonal = scheme.multiplicities[1:] @ row.singular_values[0] / scheme.classes
    return np.append(diagonal, diagonal - row.margins[0])[scheme.relations()]


def _softmax_matrix(row: Trajectory) -> np.ndarray:
    return _exp(log_softmax(_logit_matrix(row), axis=0))


def _exp(x: np.ndarray) -> np.ndarray:
    with np.errstate(under="ignore"):
        return np.exp(x)


def _panels(
    traj: Trajectory, ax: Axes | Sequence[Axes] | None, t: object, log_t: object
) -> tuple[list[tuple[Axes, Trajectory]], bool]:
    """An Axes and a trajectory of one row for each time, and whether several were asked for."""
    if not isinstance(traj, Trajectory):
        raise TypeError(f"a figure is drawn of a Trajectory, got {type(traj).__name__}")
    _check_single(traj)
    classes = traj.classes
    if classes > MOST_CLASSES:
        raise ValueError(f"a matrix of at most {MOST_CLASSES} classes can be drawn, got {classes}")
    rows = traj[-1] if t is None and log_t is None else traj.at(t, log_t=log_t)
    several = np.ndim(log_t if t is None else t) > 0
    if ax is None:
        import matplotlib.pyplot as plt

        count = len(rows)
        size = (3.1 * count + 0.4, 3.2) if several else (5.0, 4.2)
        axes = list(plt.figure(figsize=size, layout="constrained").subplots(1, count, squeeze=False)[0])
    else:
        axes = list(np.ravel(np.asarray(ax, dtype=object)))
    if len(axes) != len(rows):
        raise ValueError(f"ax must hold one Axes for each time, got {len(axes)} for {len(rows)} times")
    return [(panel, rows[i]) for i, panel in enumerate(axes)], several


def _has_room(traj: Trajectory, several: bool) -> bool:
    """Whether the entries of a matrix can be written on its image."""
    return traj.classes <= (CLASSES_WITH_NUMBERS // 2 if several else CLASSES_WITH_NUMBERS)


def _draw_matrix(
    ax: Axes, matrix: np.ndarray, label: str, write: Callable | None, norm: Normalize | None = None, bar: bool = True
) -> AxesImage:
    """The matrix as an image with a colour bar, the entries written on it if `write` is given."""
    classes = len(matrix)
    image = ax.imshow(matrix, cmap="cividis", norm=norm, interpolation="nearest")
    if bar:
        ax.figure.colorbar(image, ax=ax, shrink=0.8, label=label)
    ax.set(xlabel="class $c$ of the sample", ylabel="class $j$")
    for axis in (ax.xaxis, ax.yaxis):
        axis.set_major_locator(MaxNLocator(nbins=min(classes, 8), integer=True))
    if write is not None:
        shades = image.cmap(image.norm(matrix))
        for (j, c), value in np.ndenumerate(matrix):
            color = "black" if _luminance(shades[j, c, :3]) > 0.45 else "white"  # on the image, not on the page
            ax.text(c, j, write(value), ha="center", va="center", color=color, fontsize=9 if classes <= 4 else 6)
    return image


_CORNERS = np.array([[0.0, 0.0], [1.0, 0.0], [0.5, math.sqrt(0.75)]])


def _shares(values: np.ndarray) -> np.ndarray:
    total = values.sum(axis=-1, keepdims=True)
    return values / np.where(total > 0.0, total, np.nan)


def _busy(times: list[np.ndarray], paths: list[np.ndarray]) -> tuple[float, float]:
    """The span of times in which all but a few hundredths of the motion happens; colours are for that."""
    moved = np.concatenate([np.nan_to_num(np.linalg.norm(np.diff(path, axis=0), axis=1)) for path in paths])
    when = np.concatenate([0.5 * (x[1:] + x[:-1]) for x in times])
    order = np.argsort(when)
    share = np.cumsum(moved[order])
    if not share[-1:].sum() > 0.0:
        return min(x[0] for x in times), max(x[-1] for x in times)
    first, last = np.searchsorted(share, np.array([0.02, 0.98]) * share[-1])
    return math.floor(when[order][first]), math.ceil(when[order][min(last, len(when) - 1)])


def _draw_contours(ax: Axes, scheme: Scheme) -> None:
    first, second = np.meshgrid(np.linspace(0.0, 1.0, 201), np.linspace(0.0, 1.0, 201))
    shares = np.stack([first, second, 1.0 - first - second], axis=-1)
    shares = shares[shares.min(axis=-1) > 1e-9]
    colors, levels = _colors(ax), np.array([0.01, 0.05, 0.2, 0.5, 1.0])
    V = functions.lyapunov(scheme, shares)
    lines = ax.tricontour(*(shares @ _CORNERS).T, V, levels, colors=[colors.grey], linewidths=0.7, alpha=0.7, zorder=1)
    down = np.linspace(0.999, 0.001, 500)[:, None] * np.array([-1.0, -1.0, 2.0]) / 6.0 + np.array([0.5, 0.5, 0.0])
    at = np.interp(levels, functions.lyapunov(scheme, down), np.arange(500)).astype(int)
    for text in ax.clabel(lines, fmt="$V=%g$", fontsize=7, manual=list(down[at] @ _CORNERS)):
        text.set_path_effects([withStroke(linewidth=2, foreground=colors.paper)])
        text.set_rotation(0)


def _draw_arrow(ax: Axes, path: np.ndarray, shade) -> None:
    lengths = np.append(0.0, np.cumsum(np.nan_to_num(np.linalg.norm(np.diff(path, axis=0), axis=1))))
    if lengths[-1] < 0.03:
        return
    i = int(np.clip(np.searchsorted(lengths, 0.5 * lengths[-1]), 1, len(path) - 1))
    back = max(int(np.searchsorted(lengths, lengths[i] - 0.01)) - 1, 0)
    if np.isfinite(path[[back, i]]).all():
        arrow = {"arrowstyle": "-|>", "color": shade(i), "mutation_scale": 11, "lw": 0, "shrinkA": 0, "shrinkB": 0}
        ax.annotate("", xy=path[i], xytext=path[back], arrowprops=arrow, zorder=5)


def _moment(row: Trajectory) -> str:
    log_t = float(row.log_t[0])
    if -7.0 < log_t < 7.0:  # a thousandth to a thousand
        return f"$t = {math.exp(log_t):.3g}$"
    return "$t = 0$" if log_t == -math.inf else f"$t = {_power(round(log_t / LN10, 2))}$"


def _label(traj: Trajectory, rank: int, mode: int, modes: int) -> str | None:
    """Few modes are named each; of many only those that start at the ends."""
    if modes > 5:
        return {0: "smallest at the start", modes - 1: "largest at the start"}.get(rank)
    if isinstance(traj, MatrixTrajectory):
        return f"$s_{{{mode + 1}}}$"
    multiplicity = int(traj.flow.scheme.multiplicities[mode + 1])
    return f"$s_{{{mode + 1}}}$" + (f"  ({multiplicity} times)" if multiplicity > 1 else "")


def _finish(ax: Axes, traj: Trajectory, label: str) -> Axes:
    ax.legend(**LEGEND)
    ax.set_xlabel(f"time $t$ ({traj.flow.reduction} reduction)")
    ax.set_ylabel(label)
    _powers(ax.xaxis)
    ax.margins(x=0.0)
    return _tidy(ax)


def _tidy(ax: Axes) -> Axes:
    ax.grid(True, color=_colors(ax).ink, alpha=0.12, lw=0.8)
    ax.set_axisbelow(True)
    ax.spines[["top", "right"]].set_visible(False)
    return ax


def _powers(axis: Axis) -> None:
    """Labels of an axis that carries log10 of what is shown."""
    axis.set_major_locator(MaxNLocator(nbins=7, steps=[1, 2, 5, 10], integer=True, min_n_ticks=1))
    axis.set_major_formatter(FuncFormatter(lambda x, _: f"${_power(x)}$"))


def _power(exponent: float) -> str:
    if abs(exponent) < 1e6:
        return f"10^{{{exponent:.6g}}}"
    digits, tower = f"{exponent:.3e}".split("e")
    factor = "-"[: float(digits) < 0] if abs(float(digits)) == 1.0 else f"{float(digits):g} \\cdot "
    return f"10^{{{factor}10^{{{int(tower)}}}}}"


def _short(number: float) -> str:
    return f"{number:g}".replace("e-0", "e-")


def _log10_t(traj: Trajectory) -> np.ndarray:
    return traj.log_t / LN10


def _finite(values: np.ndarray) -> np.ndarray:
    return np.where(np.isfinite(values), values, np.nan)


def _log10(values: np.ndarray) -> np.ndarray:
    """Without what has no logarithm."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return _finite(np.log10(values))


def _name(traj: Trajectory) -> str:
    flow = traj.flow
    if isinstance(traj, SpectralTrajectory):
        parts = ["Reduced flow", flow.scheme.name]
    else:
        parts = ["Full flow", f"K = {traj.classes}", f"d = {traj.W.shape[-1]}"]
    parts += [f"depth {flow.depth:g}"] if flow.depth != 2 else []
    parts += [str(flow.loss).replace("_", " ")] if flow.loss.name != "cross_entropy" else []
    parts += [f"weight decay {flow.weight_decay:g}"] if flow.weight_decay else []
    return ", ".join(parts)
