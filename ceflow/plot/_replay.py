"""Plot of runs of tasks with replay."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..trajectory import ReplayTrajectory
from ._runs import log10_t, sampled
from ._style import axes_or_new, colors_of, finish, on_log_axis

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def task_margins(traj: ReplayTrajectory, ax: Axes | None = None) -> Axes:
    """Plot the smallest margin of each task over time, for trained and for unseen samples.

    Parameters
    ----------
    traj : Trajectory of a ReplayFlow
    ax : Axes, optional

    Returns
    -------
    Axes

    Raises
    ------
    TypeError, ValueError
        If traj is not a run of a ReplayFlow, or has no row after t = 0.

    Examples
    --------
    >>> flow = cf.ReplayFlow((2, 2), (5, 100), (0.0, 0.5), weight_decay=1e-3)
    >>> run = cf.integrate(flow, 0.1, t_eval=np.geomspace(1.0, 1e3, 20), rtol=1e-6, dense_output=False)
    >>> [line.get_label() for line in cf.plot.task_margins(run).get_lines()[:4]]
    ['task 1, trained', 'task 1, unseen', 'task 2, trained', 'task 2, unseen']
    """
    if not isinstance(traj, ReplayTrajectory):
        raise TypeError(f"task_margins needs a run of a ReplayFlow, got {type(traj).__name__}")
    dense = sampled(traj)
    ax = axes_or_new(ax)
    (x,) = on_log_axis(ax, "x", log10_t(dense))
    shades, tasks = colors_of(ax).shades, traj.flow.tasks
    for task in range(tasks):
        color = shades(task / max(1, tasks - 1))
        for seen, style, name in ((0, "-", "trained"), (1, "--", "unseen")):
            if seen == 1 or traj.flow.samples[task] > 0.0:
                values = dense.task_margin[:, seen, task]
                ax.plot(x, values, color=color, ls=style, lw=1.8, label=f"task {task + 1}, {name}")
    ax.axhline(0.0, color=colors_of(ax).ink, lw=0.8)
    return finish(ax, dense, "smallest margin of a task")
