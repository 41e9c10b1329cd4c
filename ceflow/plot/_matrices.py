"""Images of logits and softmax."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import scipy
from matplotlib.colors import Normalize
from matplotlib.ticker import MaxNLocator

from ..trajectory import MatrixTrajectory, SpectralTrajectory, Trajectory
from ._runs import LN10, drawn, moment_of
from ._style import check_scale, luminance

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.image import AxesImage

MOST_CLASSES, CLASSES_WITH_NUMBERS = 4096, 8  # largest matrix as an image; largest matrix with printed entries
Drawn = SpectralTrajectory | MatrixTrajectory
MOST_PIXELS = 256  # pixels per side; for more classes a pixel represents several entries


def logits(
    traj: Trajectory,
    ax: Axes | Sequence[Axes] | None = None,
    *,
    t: float | Sequence[float] | None = None,
    log_t: float | Sequence[float] | None = None,
) -> Axes | Figure:
    """Plot the logit matrix Z as an image, at one time or several; column c has the logits of class c.

    Parameters
    ----------
    traj : Trajectory
        Full run, or reduced run, whose Z is built from the relations of the scheme.
    ax : Axes, or one for each time, optional
    t, log_t : float or (m,) array, optional
        Times, or their natural logarithms; default the last row.

    Returns
    -------
    Axes or Figure
        Axes for one time, Figure for several. Entries are printed for up to 8 classes (4 in several panels). For more
        than 256 classes each pixel shows its entry farthest from the median.

    Raises
    ------
    TypeError, ValueError
        If traj is not a Trajectory, a time is outside the run, there are more than 4096 classes, or `ax` does not have
        one Axes per time.

    Examples
    --------
    >>> run = cf.integrate(cf.SpectralFlow(cf.hadamard(4)), [1e-3, 2e-3, 3e-3], 1e6)
    >>> figure = cf.plot.logits(run, t=[1e1, 1e6])
    >>> [ax.get_title() for ax in figure.axes[:2]]
    ['$t = 10$', '$t = 10^{6}$']
    """
    panels, several = _panels(traj, ax, t, log_t)
    write = _short if _has_room(traj, several) else None
    for panel, row in panels:
        label = "logit $Z_{jc}$" if panel is panels[-1][0] else ""
        draw_matrix(panel, _logit_matrix(row), label, write)
        panel.set_title(moment_of(row))
        if several:
            panel.label_outer()
    return cast("Figure", panel.figure) if several else panel


def softmax(
    traj: Trajectory,
    ax: Axes | Sequence[Axes] | None = None,
    *,
    t: float | Sequence[float] | None = None,
    log_t: float | Sequence[float] | None = None,
    scale: str = "linear",
) -> Axes | Figure:
    """Plot the softmax p of the logits as an image, at one time or several; columns sum to 1.

    Parameters
    ----------
    traj, ax, t, log_t
        As in `logits`.
    scale : {"linear", "log"}
        With "log" the colours are log10 of p, which shows the probabilities of wrong classes (about 1/t) at late times.

    Returns
    -------
    Axes or Figure
        As in `logits`.

    Raises
    ------
    TypeError, ValueError
        As in `logits`, and if scale is invalid.

    Examples
    --------
    >>> run = cf.integrate(cf.SpectralFlow(cf.hadamard(4)), [1e-3, 2e-3, 3e-3], 1e6)
    >>> ax = cf.plot.softmax(run, t=20.0)
    >>> np.asarray(ax.images[0].get_array()).round(3)[0]
    array([0.893, 0.037, 0.021, 0.048])
    """
    check_scale(scale)
    panels, several = _panels(traj, ax, t, log_t)
    write = _short if _has_room(traj, several) else None
    for panel, row in panels:
        log_p, last = scipy.special.log_softmax(_logit_matrix(row), axis=0), panel is panels[-1][0]
        if scale == "log":
            draw_matrix(panel, log_p / LN10, r"$\log_{10} p_{jc}$" if last else "", write)
        else:  # one colour bar for all panels
            draw_matrix(panel, _exp(log_p), "probability $p_{jc}$", write, Normalize(0.0, 1.0), last)
        panel.set_title(moment_of(row))
        if several:
            panel.label_outer()
    return cast("Figure", panel.figure) if several else panel


def _panels(
    traj: Trajectory, ax: Axes | Sequence[Axes] | None, t: Any, log_t: Any
) -> tuple[list[tuple[Axes, Drawn]], bool]:
    """Axes and trajectory of one row for each time, and whether several times were given."""
    run = drawn(traj, "margins")
    classes = run.classes
    if classes > MOST_CLASSES:
        raise ValueError(f"a matrix of at most {MOST_CLASSES} classes can be plotted, got {classes}")
    rows = run[-1] if t is None and log_t is None else run.at(t, log_t=log_t)
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
    """Whether entries can be printed on the image."""
    return traj.classes <= (CLASSES_WITH_NUMBERS // 2 if several else CLASSES_WITH_NUMBERS)


def _logit_matrix(row: Drawn) -> np.ndarray:
    """Z of a trajectory of one row."""
    if isinstance(row, MatrixTrajectory):
        return row.logits[0]
    scheme = row.flow.scheme
    diagonal = scheme.multiplicities[1:] @ row.singular_values[0] / scheme.classes
    return np.append(diagonal, diagonal - row.margins[0])[scheme.relations()]


def softmax_matrix(row: Drawn) -> np.ndarray:
    return _exp(scipy.special.log_softmax(_logit_matrix(row), axis=0))


def _short(value: float) -> str:
    """Format a number with two digits."""
    text = f"{float(f'{value:.2g}'):g}"
    text = text if len(text) <= 5 else f"{value:.0e}"
    return text.replace("e-0", "e-").replace("e+0", "e")


def pooled(matrix: np.ndarray) -> np.ndarray:
    """Reduce a matrix for plotting: of each square keep the entry farthest from the median, such as the diagonal."""
    side = -(-len(matrix) // MOST_PIXELS)
    if side == 1:
        return matrix
    count, middle = -(-len(matrix) // side), np.median(matrix)
    squares = np.full((count * side, count * side), middle)
    squares[: len(matrix), : len(matrix)] = matrix
    squares = squares.reshape(count, side, count, side).swapaxes(1, 2).reshape(count, count, -1)
    return np.take_along_axis(squares, np.abs(squares - middle).argmax(axis=2)[..., None], axis=2)[..., 0]


def _exp(x: np.ndarray) -> np.ndarray:
    with np.errstate(under="ignore"):
        return np.exp(x)


def draw_matrix(
    ax: Axes, matrix: np.ndarray, label: str, write: Callable | None, norm: Normalize | None = None, bar: bool = True
) -> AxesImage:
    """Plot a matrix as an image with a colour bar; `write` formats printed entries."""
    classes = len(matrix)
    edges: Any = (-0.5, classes - 0.5, classes - 0.5, -0.5)
    image = ax.imshow(pooled(matrix), cmap="cividis", norm=norm, interpolation="nearest", extent=edges)
    if bar:
        ax.figure.colorbar(image, ax=ax, shrink=0.8, label=label)
    ax.set(xlabel="class $c$ of the sample", ylabel="class $j$")
    for axis in (ax.xaxis, ax.yaxis):
        axis.set_major_locator(MaxNLocator(nbins=min(classes, 8), integer=True))
    if write is not None:
        shades = np.asarray(image.cmap(image.norm(matrix)))
        texts = {place: write(value) for place, value in np.ndenumerate(matrix)}
        cell = 72.0 * 0.7 * ax.bbox.width / ax.figure.dpi / classes  # points, beside a colour bar
        size = min(9.0, cell / (0.65 * max(map(len, texts.values()))))
        for (j, c), text in texts.items():
            color = "black" if luminance(shades[j, c, :3]) > 0.45 else "white"  # contrast to the image, not to the page
            ax.text(c, j, text, ha="center", va="center", color=color, fontsize=size)
    return image
