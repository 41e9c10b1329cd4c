"""Plots of loss, Lyapunov function, conserved quantities and collapse measures over time."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, TypeGuard, cast

import numpy as np

from .. import lyapunov as functions
from ..theory import least_log_loss, loss_log_bound
from ..trajectory import MatrixTrajectory, SpectralTrajectory, Trajectory
from ._runs import LN10, drawn, log10_t, modes_of, sampled, told_from_rounding
from ._style import ABOVE, MAIN, axes_or_new, colors_of, finish, finite, log10, look_of, on_log_axis, short

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SMALLEST = 1e-300  # smallest plotted value
DISSIPATION = r"dissipation $-\mathrm{d}V/\mathrm{d}\log t$"


def loss(
    traj: Trajectory, ax: Axes | None = None, *, label: str | None = None, color: str | None = None
) -> Axes:
    """Plot loss and error probability 1 - p_0 over time, with the bounds of `ceflow.theory`.

    For a reduced run of cross-entropy the lower bound is the minimal loss at this nuclear norm, that of collapsed
    logits. With two balanced layers there is also an upper bound at each time, which depends on the start only. The
    squared error has no error probability. The loss does not include weight decay.

    Parameters
    ----------
    traj : Trajectory
    ax : Axes, optional
    label, color : str, optional
        Label and colour of the run, for several runs on the same Axes.

    Returns
    -------
    Axes
        Both axes are logarithmic (see `ceflow.plot`).

    Raises
    ------
    TypeError, ValueError
        If traj is not a Trajectory, or has no row after t = 0.

    Examples
    --------
    >>> ax = cf.plot.loss(cf.integrate(cf.SpectralFlow(cf.complete(4)), [1e-3], 1e6))
    >>> [line.get_label() for line in ax.get_lines()]
    ['upper bound of the loss', 'least loss at this nuclear norm', 'loss', 'error probability $1 - p_0$']
    """
    dense = sampled(traj)
    ax, x = axes_or_new(ax), log10_t(dense)
    colors, look = colors_of(ax), look_of(ax, label, color)
    loss_of = dense.log_loss / LN10
    curves = []  # values, label, colour, style, and width
    if isinstance(dense, SpectralTrajectory):
        scheme, reduction = dense.flow.scheme, dense.flow.reduction
        if _is_plain(dense) and dense.start.ndim == 1 and dense.start.min() >= SMALLEST:
            bound = loss_log_bound(scheme, dense.start, log_t=dense.log_t, reduction=reduction) / LN10
            useful = np.where(bound <= loss_of[0] + 0.5, bound, np.nan)  # earlier the bound is not useful
            curves.append((useful, "upper bound of the loss", colors.grey, ":", 1.4))
        values, weights = modes_of(dense)
        least = least_log_loss(values @ weights, scheme.classes, loss=dense.flow.loss, reduction=reduction) / LN10
        if np.isfinite(least).any():  # not known for all losses
            curves.append((least, "least loss at this nuclear norm", colors.grey, "-.", 1.4))
    curves.append((loss_of, "loss", colors.blue, "-", 2.0))
    if dense.flow.loss.margins_only:
        error = cast(Any, dense).log_accuracy_gap / LN10
        curves.append((error, "error probability $1 - p_0$", colors.orange, "--", 1.6))
    (x,) = on_log_axis(ax, "x", x)
    heights = on_log_axis(ax, "y", *(finite(curve[0]) for curve in curves))
    for y, (_, name, shade, style, width) in zip(heights, curves, strict=True):
        main = name == "loss"
        (line,) = ax.plot(x, y, color=look.of(shade), lw=width, ls=style)
        line.set(label=look.named(name) if main else look.beside(name), gid=MAIN if main else None)
    return finish(ax, dense, f"loss ({dense.flow.reduction} over classes)")


def lyapunov(
    traj: Trajectory, ax: Axes | None = None, *, label: str | None = None, color: str | None = None
) -> Axes:
    """Plot V, the log of arithmetic over geometric mean of the singular values, over time.

    V is 0 at neural collapse. It is a Lyapunov function of cross-entropy on two balanced layers from symmetric starts;
    for such runs the exact dissipation ``-dV/d(log t) = -t dV/dt`` is plotted too. For other runs V may increase.
    Values at the level of rounding are omitted.

    Parameters
    ----------
    traj : Trajectory
    ax : Axes, optional
    label, color : str, optional
        Label and colour of the run, for several runs on the same Axes.

    Returns
    -------
    Axes
        Both axes are logarithmic (see `ceflow.plot`).

    Raises
    ------
    TypeError, ValueError
        If traj is not a Trajectory, or has no row after t = 0.

    Examples
    --------
    >>> run = cf.descend(cf.SpectralFlow(cf.hadamard(4)), [0.1, 0.2, 0.3], step_size=0.1, steps=100)
    >>> [line.get_label() for line in cf.plot.lyapunov(run).get_lines()]
    ['$V$']
    """
    dense = sampled(traj, "lyapunov")
    ax = axes_or_new(ax)
    colors, look = colors_of(ax), look_of(ax, label, color)
    (x,) = on_log_axis(ax, "x", log10_t(dense))
    log_v = np.where(told_from_rounding(dense).any(axis=1), log10(dense.lyapunov), np.nan)
    (v,) = on_log_axis(ax, "y", log_v)
    ax.plot(x, v, color=look.of(colors.blue), lw=2.0, label=look.named(_name_of_v(dense, log_v)), gid=MAIN)
    if v_is_lyapunov(dense) and np.isfinite(log_v).any():
        rate = functions.log_dissipation(dense.flow.scheme, dense.singular_values, dense.flow.reduction)
        rate = np.where(np.isfinite(log_v), finite((rate + dense.log_t) / LN10), np.nan)
        (y,) = on_log_axis(ax, "y", rate)
        ax.plot(x, y, color=look.of(colors.orange), lw=1.6, ls="--", label=look.beside(DISSIPATION))
    return finish(ax, dense, r"$V = \log\,$(arithmetic / geometric mean)")


def conserved(
    traj: Trajectory, ax: Axes | None = None, *, label: str | None = None, color: str | None = None
) -> Axes:
    """Plot the drift of the conserved quantities over time, relative to the size of the layers, and the tolerance.

    It is the largest change of ``a_i^2 - b_i^2`` relative to ``a_i^2 + b_i^2``; for a full run the change of ``W^T W -
    H H^T`` relative to ``|W|^2 + |H|^2`` in the Frobenius norm (for deeper networks the largest of all neighbours). The
    exact flow has no drift. With weight decay the difference from the exact exponential decay is plotted.

    Parameters
    ----------
    traj : Trajectory
    ax : Axes, optional
    label, color : str, optional
        Label and colour of the run, for several runs on the same Axes.

    Returns
    -------
    Axes
        Both axes are logarithmic. The coordinates of reduced runs are conservative, so their drift is rounding or 0.

    Raises
    ------
    TypeError, ValueError
        If traj is not a Trajectory, or has no row after t = 0.

    Examples
    --------
    >>> run = cf.descend(cf.SpectralFlow(cf.complete(3)), [[0.5], [0.1]], step_size=0.1, steps=100)
    >>> ax = cf.plot.conserved(run)
    >>> f"{ax.get_lines()[0].get_ydata()[-1]:.4f}"  # which steps do not conserve
    '0.0016'
    """
    dense = sampled(traj, "conserved")
    ax = axes_or_new(ax)
    colors, look, drift = colors_of(ax), look_of(ax, label, color), _drift(dense)
    shown = drift > 0.0
    name = look.named("drift" if shown.any() else "no drift: conserved to the last bit")
    (x,), (y,) = on_log_axis(ax, "x", log10_t(dense)), on_log_axis(ax, "y", np.log10(drift[shown]))
    ax.plot(x[shown], y, color=look.of(colors.blue), lw=1.6, label=name, gid=MAIN)
    ax.axhline(2.0**-52, color=colors.grey, lw=1.2, ls=":", label=look.beside("rounding"))
    if traj.rtol > 0.0:
        ax.axhline(traj.rtol, color=colors.grey, lw=1.2, ls="--", label=look.beside(f"rtol = {short(traj.rtol)}"))
    return finish(ax, dense, "relative drift of the conserved quantities")


def collapse(traj: Trajectory, ax: Axes | None = None) -> Axes:
    """Plot neural-collapse measures of a full run over time; see `ceflow.collapse.measures`.

    Parameters
    ----------
    traj : Trajectory of a MatrixFlow
    ax : Axes, optional

    Returns
    -------
    Axes
        Both axes are logarithmic; zeros are omitted.

    Raises
    ------
    TypeError, ValueError
        If traj is not a run of a MatrixFlow, or has no row after t = 0.

    Examples
    --------
    >>> start = cf.random_init(classes=3, width=3, scale=0.1, rng=0)
    >>> ax = cf.plot.collapse(cf.descend(cf.MatrixFlow(), start, step_size=0.1, steps=100))
    >>> [line.get_label() for line in ax.get_lines()][:2]
    ['NC2: features, distance to simplex ETF', 'NC3: classifier, distance to features']
    """
    run = drawn(traj) if isinstance(traj, Trajectory) else traj
    if not isinstance(run, MatrixTrajectory):
        raise TypeError(f"collapse needs a run of a MatrixFlow, got {type(run).__name__}")
    dense = sampled(run)
    ax = axes_or_new(ax)
    found, colors = dense.collapse, colors_of(ax)
    (x,) = on_log_axis(ax, "x", log10_t(dense))
    for values, label, color, style in (
        (found.nc2, "NC2: features, distance to simplex ETF", colors.blue, "-"),
        (found.nc3, "NC3: classifier, distance to features", colors.orange, "--"),
        (found.etf_distance, "logits, distance to simplex ETF", colors.green, "-."),
        (found.nc4, "NC4: decisions unlike nearest mean", colors.grey, ":"),
    ):
        (y,) = on_log_axis(ax, "y", log10(values))
        ax.plot(x, y, color=color, ls=style, lw=1.8, label=label)
    finish(ax, dense, "distance from neural collapse").legend(**ABOVE)
    return ax


def _name_of_v(traj: SpectralTrajectory | MatrixTrajectory, log_v: np.ndarray) -> str:
    """Of the curve; the reason why there is none."""
    if np.isfinite(log_v).any():
        return "$V$"
    return "$V = 0$, up to rounding" if np.isfinite(traj.lyapunov).any() else "no $V$: not all $s_i$ are positive"


def v_is_lyapunov(traj: Trajectory) -> TypeGuard[SpectralTrajectory]:
    """Whether V is proved to decrease: cross-entropy, two balanced layers, a symmetric and positive start."""
    return _is_plain(traj) and traj.start.ndim == 1 and traj.start.min() > 0.0


def _is_plain(traj: Trajectory) -> TypeGuard[SpectralTrajectory]:
    """Whether it is a reduced run with two layers and cross-entropy, without other options."""
    return isinstance(traj, SpectralTrajectory) and traj.flow.plain


def _drift(traj: SpectralTrajectory | MatrixTrajectory) -> np.ndarray:
    """Difference of the conserved quantities from their exact values, relative to the size of the layers."""
    first = traj._with(np.array([-math.inf]), np.asarray(traj.flow.origin(cast(Any, traj.start)))[None])
    with np.errstate(under="ignore"):
        decay = max(traj.flow.objective.decays)
        fade = np.exp(-2.0 * decay * traj.t) if decay else np.ones(len(traj))
    if not isinstance(traj, MatrixTrajectory):
        modes, layers = traj.flow.scheme.modes, traj.layers
        found = traj.conserved.reshape(len(traj), -1, modes)  # one for each pair of neighbouring layers
        start = cast(np.ndarray, first.conserved).reshape(1, -1, modes)
        change = np.abs(found - fade[:, None, None] * start).max(axis=1)
        size = (layers**2).sum(axis=1)
        return np.max(change / np.where(size > 0.0, size, 1.0), axis=1)
    pairs = [np.asarray(X) for X in traj.conserved] if isinstance(traj.conserved, tuple) else [traj.conserved]
    starts = first.conserved if isinstance(first.conserved, tuple) else [first.conserved]
    change = [
        np.linalg.norm(X - fade[:, None, None] * start, axis=(1, 2)) for X, start in zip(pairs, starts, strict=True)
    ]
    size = (traj.y**2).sum(axis=1)
    return np.max(change, axis=0) / np.where(size > 0.0, size, 1.0)
