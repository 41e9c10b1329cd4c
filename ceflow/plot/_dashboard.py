"""Overview figure of a run."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, cast

from ..solve import Outcome
from ..trajectory import ReplayTrajectory
from ._modes import normalized_singular_values, singular_values
from ._replay import task_margins
from ._runs import moment_of, name_of, sampled
from ._scalars import loss, lyapunov, v_is_lyapunov
from ._style import LEGEND, short

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from ..trajectory import Trajectory


WIDTH, SIZE = 11.0, 10.0  # of a usual page, in inches; of the labels on its axes, in points
_PANELS = (
    (singular_values, "Singular values"),
    (normalized_singular_values, "Singular values / mean"),
    (loss, "Loss"),
    (lyapunov, "Distance from equal singular values"),
)
_REPLAY: tuple[tuple[Callable[..., Axes], str], ...] = ((task_margins, "Margins of tasks"), (loss, "Loss"))


def dashboard(traj: Trajectory, figure: Figure | None = None) -> Figure:
    """Plot an overview of a run: singular values, singular values over their mean, loss, and V.

    V is a Lyapunov function of two balanced layers under cross-entropy. For tasks with replay the figure has the
    margins of the tasks and the loss.

    Parameters
    ----------
    traj : Trajectory
    figure : Figure, optional
        Empty figure.

    Returns
    -------
    Figure
        With four Axes, or two for tasks with replay.

    Raises
    ------
    TypeError, ValueError
        If traj is not a Trajectory, or has no row after t = 0.

    Examples
    --------
    >>> figure = cf.plot.dashboard(cf.integrate(cf.SpectralFlow(cf.complete(4)), [1e-3], 1e6))
    >>> len(figure.axes)  # figure.savefig("run.png") writes it
    4
    """
    replay = isinstance(traj, ReplayTrajectory)
    dense = sampled(traj) if replay else sampled(traj, "singular_values", "lyapunov")
    panels = _REPLAY if replay else _PANELS
    if figure is None:
        import matplotlib.pyplot as plt

        figure = plt.figure(figsize=(WIDTH, 7.5 * len(panels) / 4), layout="constrained")
    axes = figure.subplots(len(panels) // 2, 2).ravel()
    for (draw, title), ax in zip(panels, axes, strict=True):
        draw(dense, ax)
        title = "Lyapunov function" if draw is lyapunov and v_is_lyapunov(dense) else title
        ax.set_title(title, loc="left", fontsize="medium", fontweight="bold")
    if not replay:  # the second panel has the same modes as the first
        axes[1].legend(handles=axes[1].lines[:1], **LEGEND)
    made = f"rtol = {short(traj.rtol)}" if traj.step_size is None else f"step size {short(traj.step_size)}"
    made = traj.message if traj.outcome == Outcome.RECORDED and traj.step_size is None else made
    figure.suptitle(f"{name_of(traj)} to {moment_of(dense[-1])}, {made}")
    _fit_text(figure)
    return figure


def _fit_text(figure: Figure) -> None:
    """On a figure smaller than usual the text is smaller too."""
    from matplotlib.text import Text

    scale = figure.get_figwidth() / WIDTH
    if scale < 1.0:
        for text in cast(list[Text], figure.findobj(Text)):
            text.set_fontsize(scale * float(text.get_fontsize()))
        for ax in figure.axes:
            for axis in (ax.xaxis, ax.yaxis):
                axis.set_tick_params(which="both", labelsize=scale * SIZE)
