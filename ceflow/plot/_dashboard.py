"""A run on one page."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ._modes import normalized_singular_values, singular_values
from ._runs import LN10, name_of, sampled
from ._scalars import loss, lyapunov, v_is_lyapunov
from ._style import LEGEND, power, short

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from ..trajectory import Trajectory


def dashboard(traj: Trajectory, figure: Figure | None = None) -> Figure:
    """A run on one page: singular values, how far they are from their mean, loss, and V, a Lyapunov function of
    two balanced layers under cross-entropy.

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
    dense = sampled(traj)
    if figure is None:
        import matplotlib.pyplot as plt

        figure = plt.figure(figsize=(11, 7.5), layout="constrained")
    axes = figure.subplots(2, 2)
    v = "Lyapunov function" if v_is_lyapunov(dense) else "Distance from equal singular values"
    for draw, ax, title in zip(
        (singular_values, normalized_singular_values, loss, lyapunov),
        axes.flat,
        ("Singular values", "Singular values over their mean", "Loss", v),
        strict=True,
    ):
        draw(dense, ax)
        ax.set_title(title, loc="left", fontsize="medium", fontweight="bold")
    collapse = axes[0, 1]  # its modes are those of the panel on its left
    collapse.legend(handles=collapse.lines[:1], **LEGEND)
    end = power(round(float(dense.log_t[-1]) / LN10, 6))
    precision = f"rtol = {short(traj.rtol)}" if traj.step_size is None else f"step size {short(traj.step_size)}"
    figure.suptitle(f"{name_of(traj)} to $t = {end}$, {precision}")
    return figure
