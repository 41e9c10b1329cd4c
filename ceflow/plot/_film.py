"""Animation of a run."""

from __future__ import annotations

import math
import os
import uuid
from typing import TYPE_CHECKING, cast

import numpy as np
from matplotlib.colors import Normalize
from matplotlib.ticker import MaxNLocator

from .._checks import checked_integer
from ._matrices import draw_matrix, pooled, softmax_matrix
from ._runs import LN10, modes_of, moment_of, name_of, sampled
from ._scalars import loss
from ._style import LEGEND, colors_of, on_log_axis, tidy

if TYPE_CHECKING:
    from matplotlib.animation import FuncAnimation

    from ..trajectory import Trajectory


def animate(
    traj: Trajectory,
    path: str | os.PathLike | None = None,
    *,
    frames: int = 60,
    fps: float = 12.0,
    dpi: float = 80.0,
) -> FuncAnimation:
    """Animate a run: softmax as an image, singular values over their mean, and loss.

    Parameters
    ----------
    traj : Trajectory
        Run with dense output.
    path : path, optional
        Output file, ``.gif``, or ``.html`` for a page with controls; written atomically.
    frames : int
        Number of frames >= 2, distributed over the steps of the run and evenly in log t.
    fps, dpi : float
        Frames per second; dots per inch of a figure of 11 x 3.6 inches.

    Returns
    -------
    matplotlib.animation.FuncAnimation
        To show it in a notebook use ``IPython.display.HTML(animation.to_jshtml())``.

    Raises
    ------
    TypeError, ValueError
        If traj is not a Trajectory, has no row after t = 0 or more than 4096 classes, frames is not an integer >= 2,
        fps or dpi is not positive, or the path does not end in .gif or .html.

    Examples
    --------
    >>> import os
    >>> run = cf.integrate(cf.SpectralFlow(cf.complete(4)), [1e-3], 1e3)
    >>> film = cf.plot.animate(run, "run.gif", frames=2, dpi=20)
    >>> os.path.exists("run.gif")
    True
    """
    from matplotlib.animation import FuncAnimation, HTMLWriter, PillowWriter
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    frames = checked_integer("frames", frames, 2)
    for name, value in (("fps", fps), ("dpi", dpi)):
        if not 0.0 < value < math.inf:
            raise ValueError(f"{name} must be positive, got {value!r}")
    suffix = os.path.splitext(os.fspath(path))[1].lower() if path is not None else None
    if path is not None and suffix not in (".gif", ".html"):
        raise ValueError(f"path must end in .gif or .html, got {os.fspath(path)!r}")

    dense = sampled(traj, "singular_values")
    film = dense[np.linspace(0, len(dense) - 1, frames).round().astype(int)]
    figure = Figure(figsize=(11.0, 3.6), dpi=dpi, layout="constrained")
    FigureCanvasAgg(figure)
    left, middle, right = figure.subplots(1, 3)
    image = draw_matrix(left, softmax_matrix(film[0]), "probability $p_{jc}$", None, Normalize(0.0, 1.0))
    colors, (values, weights) = colors_of(middle), modes_of(film)
    with np.errstate(divide="ignore", invalid="ignore"):
        relative = values / (values @ weights)[:, None]
    modes = np.arange(1, relative.shape[1] + 1)
    (stems,) = middle.plot(modes, relative[0], "o" if len(modes) <= 64 else ",", color=colors.blue, ms=5)
    middle.axhline(1.0, color=colors.ink, lw=1.2, ls="--", label="neural collapse")
    low, high = np.nanmin(relative, initial=0.0), np.nanmax(relative, initial=1.0)
    room = 0.08 * (high - low)
    middle.set(xlabel="mode $i$", ylabel=r"$s_i\,/\,\bar s$", ylim=(low - room, high + room))
    middle.set_xlim(1.0 - 0.05 * len(modes), 1.05 * len(modes))
    middle.xaxis.set_major_locator(MaxNLocator(integer=True))
    tidy(middle)
    loss(dense, right).legend(loc="lower left", **LEGEND)  # decreasing curves leave this corner free
    (moments,) = on_log_axis(right, "x", film.log_t / LN10)
    (heights,) = on_log_axis(right, "y", film.log_loss / LN10)
    (moment,) = right.plot([], [], "o", color=colors.ink, ms=6, zorder=6)

    def draw(frame: int) -> tuple:
        row = film[int(frame)]
        image.set_data(pooled(softmax_matrix(row)))
        stems.set_ydata(relative[frame])
        moment.set_data([moments[frame]], [heights[frame]])
        left.set_title(moment_of(row))
        return image, stems, moment

    figure.suptitle(name_of(traj))
    draw(0)
    figure.canvas.draw()
    figure.set_layout_engine("none")  # a fixed layout for all frames
    animation = FuncAnimation(figure, draw, frames=frames, interval=1000.0 / fps)
    if path is None:
        return animation
    temporary = f"{os.path.splitext(os.fspath(path))[0]}.{uuid.uuid4().hex}.tmp{suffix}"
    rate = cast(int, fps)  # may be fractional
    writer = PillowWriter(fps=rate) if suffix == ".gif" else HTMLWriter(fps=rate, embed_frames=True, embed_limit=256)
    try:
        animation.save(temporary, writer=writer, dpi=dpi)
        os.replace(temporary, path)
    finally:
        if os.path.exists(temporary):
            os.unlink(temporary)
    return animation
