"""`integrate`, `resume` and `sequence`: integration of flows."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Sequence
from typing import Any, Literal, TypeVar

import numpy as np
from numpy.typing import ArrayLike

from . import kernels
from ._checks import checked_array, checked_choice, checked_integer, checked_number
from ._events import checked_events
from ._run import Run
from .flow import Flow, RunT
from .solve import DEFAULT, TABLEAUS
from .trajectory import Times, Trajectory

Until = Callable[[Any], Any]  # function of a trajectory of the flow, one number per row
AnyRun = TypeVar("AnyRun", bound=Trajectory)
Method = Literal["dop853", "dopri5"]

_LATEST = 1e7  # largest log t


def integrate(
    flow: Flow[RunT],
    start: Any,
    t_end: float | None = None,
    *,
    log_t_end: float | None = None,
    t_eval: ArrayLike | None = None,
    log_t_eval: ArrayLike | None = None,
    until: Until | Sequence[Until] | None = None,
    rtol: float = 1e-9,
    atol: float = 0.0,
    max_steps: int = 1_000_000,
    dense_output: bool = True,
    closed_form: bool = True,
    method: Method = DEFAULT,
    compiled: bool | None = None,
    progress: bool = False,
    checkpoint: str | os.PathLike[str] | None = None,
    checkpoint_every: float = 60.0,
) -> RunT:
    """Integrate a flow from t = 0. An interrupt (Ctrl-C) ends the run and returns the computed part.

    Parameters
    ----------
    flow : SpectralFlow or MatrixFlow
    start : array or tuple of arrays
        For a SpectralFlow the singular values (D,) of balanced layers, or the layers (depth, D); not a batch. For a
        MatrixFlow the pair (W, H) of shapes (K, d) and (d, K), or all factors of a deeper network. A common leading
        axis makes a batch of starts with common steps. PyTorch tensors are accepted.
    t_end, log_t_end : float, optional
        Last time, or its natural logarithm (for times beyond 1e308). Default: the last time of `t_eval`, or the event
        `until`.
    t_eval, log_t_eval : (n,) array, optional
        Increasing times (or their logarithms) of the rows. By default the rows are t = 0, the solver's steps and the
        last time.
    until : Event, callable, or a list of them, optional
        Stops the run at the first of these events: ``ceflow.collapsed(1e-6)``, an event made by `ceflow.event`, or a
        sign change of a function of the trajectory that returns one number per row. The last row is the event;
        ``trajectory.event`` is its index. Its time is accurate to rounding; two sign changes within one step are missed
        (see `ceflow.event`).
    rtol : float
        Relative tolerance, 1e-13 to 0.1. Reduced flow: of each singular value, or of the time at which it is attained.
        Full flow: of all layers together in the Frobenius norm. See `docs/numerics.md`.
    atol : float
        Absolute tolerance of each singular value (reduced) or of (W, H) in the Frobenius norm (full).
    max_steps : int
        Maximal number of attempted steps.
    dense_output : bool
        Whether to store all steps (8 N bytes each), which ``trajectory.at`` needs. If False only the rows are stored:
        those of `t_eval`, or the first and the last.
    closed_form : bool
        Whether to use the exact collapsed solution once all singular values are nearly equal. Steps give the same
        within the tolerance, but the problem is then stiff.
    method : {"dop853", "dopri5"}
        Runge-Kutta pair of order 8, or of order 5 (faster at loose tolerances only).
    compiled : bool, optional
        Whether to compile the run or interpret it, with the same steps. Default ``ceflow.settings.compiled``; if that
        is None, the faster mode is chosen (see `docs/numerics.md`).
    progress : bool
        Show a progress bar.
    checkpoint : path, optional
        File to which the run is saved regularly and at its end, for ``resume(load(checkpoint), ...)``.
    checkpoint_every : float
        Seconds between checkpoints.

    Returns
    -------
    Trajectory
        If the run ended early, ``success`` is False, ``message`` has the reason, and the computed part is returned.

    Raises
    ------
    ValueError, TypeError
        If an argument is invalid; the message names it.
    MemoryError
        If memory of the machine or the device runs out; the message states the memory needed.

    Examples
    --------
    >>> flow = cf.SpectralFlow(cf.hadamard(4))
    >>> run = cf.integrate(flow, [1e-3, 2e-3, 3e-3], t_eval=[1e2, 1e4, 1e6])
    >>> run.singular_values.round(3)
    array([[ 5.96 ,  7.218,  7.505],
           [11.823, 12.549, 12.643],
           [17.075, 17.396, 17.429]])
    >>> run = cf.integrate(flow, [1e-3, 2e-3, 3e-3], until=lambda run: run.loss - 0.01)
    >>> f"loss {run.loss[-1]:.4f} at t = {run.t[-1]:.4f}"
    'loss 0.0100 at t = 49.4514'
    """
    if not isinstance(flow, Flow):
        raise TypeError(f"flow must be a SpectralFlow or a MatrixFlow, got {type(flow).__name__}")
    start = flow.start(start)
    options = {
        "rtol": checked_number("rtol", rtol, 1e-13, 0.1),
        "atol": checked_number("atol", atol, 0.0, 1e300),
        "closed_form": bool(closed_form),
        "dense_output": bool(dense_output),
        "method": checked_choice("method", method, TABLEAUS),
        "compiled": kernels.checked(compiled),
    }
    span = _span(t_end, log_t_end, t_eval, log_t_eval, until, max_steps)
    return _gone(Run(flow, start, **options, **span), progress, checkpoint, checkpoint_every)


def resume(
    trajectory: AnyRun,
    t_end: float | None = None,
    *,
    flow: Flow[AnyRun] | None = None,
    log_t_end: float | None = None,
    t_eval: ArrayLike | None = None,
    log_t_eval: ArrayLike | None = None,
    until: Until | Sequence[Until] | None = None,
    max_steps: int = 1_000_000,
    progress: bool = False,
    checkpoint: str | os.PathLike[str] | None = None,
    checkpoint_every: float = 60.0,
) -> AnyRun:
    """Continue a run from its end, with the same steps, to the bit, as an uninterrupted run.

    Parameters
    ----------
    trajectory : Trajectory
        As returned by `integrate` or `load`.
    flow : Flow, optional
        Another flow of the same network, which starts from the last state (tasks in sequence). It gives a new run with
        the same options and with times from 0. A new bias starts at 0.
    t_end, log_t_end, t_eval, log_t_eval, until, max_steps, progress, checkpoint, checkpoint_every
        As in `integrate`; times must be later than the end of the run, and max_steps includes its steps. Other options
        are those of the run.

    Returns
    -------
    Trajectory
        Starts with the rows of the run, unless `t_eval` is given.

    Raises
    ------
    ValueError, TypeError
        If an argument is invalid, or the trajectory is a part of another one (`at` or an index).

    Examples
    --------
    >>> half = cf.integrate(cf.SpectralFlow(cf.complete(10)), [1e-3], 1e3)
    >>> f"{cf.resume(half, 1e6).singular_values[-1, 0]:.6f}"
    '17.295060'
    >>> decay = cf.SpectralFlow(cf.complete(10), weight_decay=1e-2)  # from now on
    >>> f"{cf.resume(half, 1e6, flow=decay).singular_values[-1, 0]:.6f}"
    '4.510860'
    """
    if not isinstance(trajectory, Trajectory):
        raise TypeError(f"resume takes a Trajectory, got {type(trajectory).__name__}")
    if trajectory._resume is None:
        raise ValueError("only a whole run, as integrate or load returned it, can be resumed")
    span = _span(t_end, log_t_end, t_eval, log_t_eval, until, max_steps)
    if flow is not None:
        start = _last_state(trajectory, flow)
        return _gone(Run(flow, start, **trajectory._resume.options, **span), progress, checkpoint, checkpoint_every)
    first = span["end"].log_t[0] if span["rows"] is None else span["rows"].log_t[0]
    if first <= trajectory.log_t_end:
        raise ValueError(f"times must be after the end of the run, log t = {trajectory.log_t_end:.6g}, got {first:.6g}")
    run = Run(trajectory.flow, trajectory.start, **trajectory._resume.options, **span, before=trajectory)
    return _gone(run, progress, checkpoint, checkpoint_every)


def sequence(
    stages: Sequence[tuple[Flow[RunT], float]],
    start: Any,
    *,
    rtol: float = 1e-9,
    atol: float = 0.0,
    max_steps: int = 1_000_000,
    dense_output: bool = True,
    closed_form: bool = True,
    method: Method = DEFAULT,
    progress: bool = False,
) -> tuple[RunT, ...]:
    """Integrate flows in sequence, each from the last state of the one before (tasks in sequence).

    Parameters
    ----------
    stages : sequence of (flow, duration)
        Flows of one network, and the duration of each in its own time unit.
    start : array or tuple of arrays
        Start of the first flow.
    rtol, atol, max_steps, dense_output, closed_form, method, progress
        As in `integrate`, for each stage.

    Returns
    -------
    tuple of Trajectory
        One for each stage, with times from the start of the stage. If a stage ends early it is the last one.

    Raises
    ------
    ValueError, TypeError
        If an argument is invalid.

    Examples
    --------
    >>> first, then = cf.MatrixFlow(weights=(1, 1, 0, 0)), cf.MatrixFlow(weights=(0, 0, 1, 1))
    >>> start = cf.random_init(classes=4, width=4, scale=0.1, rng=0)
    >>> runs = cf.sequence([(first, 30.0), (then, 30.0)], start, rtol=1e-6)
    >>> [run.logits[-1].argmax(axis=0).tolist() for run in runs]  # decisions on the four classes after each task
    [[0, 1, 0, 2], [0, 1, 2, 3]]
    """
    pairs: list[Any] = [tuple(stage) if isinstance(stage, (tuple, list)) else () for stage in stages]
    if not pairs or any(len(pair) != 2 for pair in pairs):
        raise ValueError("stages must be a non-empty sequence of pairs (flow, duration)")
    of_run: dict[str, Any] = {
        "rtol": rtol, "atol": atol, "dense_output": dense_output, "closed_form": closed_form, "method": method
    }  # fmt: skip
    each: dict[str, Any] = {"max_steps": max_steps, "progress": progress}
    runs: list[RunT] = []
    for flow, duration in pairs:
        if runs and not runs[-1].success:
            break
        if runs:
            runs.append(resume(runs[-1], duration, flow=flow, **each))
        else:
            runs.append(integrate(flow, start, duration, **of_run, **each))
    return tuple(runs)


def _last_state(trajectory: Trajectory, flow: Flow) -> Any:
    """Last state of a run, as the start of another flow of the same network."""
    if not isinstance(flow, Flow) or flow.kind != trajectory.flow.kind or flow.depth != trajectory.flow.depth:
        raise ValueError(f"flow must be of the kind and depth of the run's {trajectory.flow!r}, got {flow!r}")
    if trajectory.log_t_end > (trajectory.log_t[-1] if len(trajectory) else -math.inf):
        trajectory = trajectory.at(log_t=trajectory.log_t_end)
    return flow.start(trajectory.flow.state(trajectory.start, trajectory.y[-1]))


def _span(t_end: Any, log_t_end: Any, t_eval: Any, log_t_eval: Any, until: Any, max_steps: Any) -> dict[str, Any]:
    """Checked end, rows, events and maximal number of steps."""
    max_steps = checked_integer("max_steps", max_steps, 1)
    events, rows = checked_events(until), _times("t_eval", t_eval, log_t_eval)
    return {
        "end": _end(t_end, log_t_end, rows, events),
        "events": events,
        "max_steps": min(max_steps, 2**62),
        "rows": rows,
    }


def _gone(run: Run, progress: bool, checkpoint: str | os.PathLike[str] | None, every: float) -> Any:
    """Carry out a run and return its trajectory."""
    if checkpoint is not None:
        run.checkpoint, run.every = os.fspath(checkpoint), checked_number("checkpoint_every", every, 0.0, 1e9)
    run.go(progress)
    trajectory = run.trajectory()
    if checkpoint is not None:
        trajectory.save(checkpoint)
    return trajectory


def _times(name: str, t: ArrayLike | None, log_t: ArrayLike | None) -> Times | None:
    """Checked times of rows, or their logarithms."""
    if t is None and log_t is None:
        return None
    if t is not None and log_t is not None:
        raise ValueError(f"give {name} or log_{name}, not both")
    values = t if log_t is None else log_t
    assert values is not None
    given = np.atleast_1d(checked_array(name, values, -math.inf, math.inf))
    if (
        given.ndim != 1
        or not len(given)
        or np.any(np.isnan(given))
        or np.any(np.diff(given) <= 0)
        or np.any(given == np.inf)
    ):
        raise ValueError(f"{name} must be one-dimensional, finite and strictly increasing")
    if t is None:
        if given[-1] > _LATEST:
            raise ValueError(f"log_{name} must be at most {_LATEST:g}, got {given[-1]:g}")
        return Times(given)
    if given[0] < 0.0:
        raise ValueError(f"{name} must not be negative, got {given[0]:g}")
    return Times.of(given)


def _end(t_end: float | None, log_t_end: float | None, rows: Times | None, events: Sequence) -> Times:
    if t_end is not None and log_t_end is not None:
        raise ValueError("give t_end or log_t_end, not both")
    if t_end is not None:
        t_end = checked_number("t_end", t_end, -math.inf, math.inf)
        if not 0.0 < t_end < math.inf:
            raise ValueError(f"t_end must be positive and finite, got {t_end!r}; use log_t_end for times beyond 1e308")
        end = Times.of(np.array([t_end]))
    elif log_t_end is not None:
        end = Times(np.array([checked_number("log_t_end", log_t_end, -700.0, _LATEST)]))
    elif rows is not None:
        return rows[-1:]
    elif events:
        return Times(np.array([math.inf]))
    else:
        raise ValueError("give t_end, log_t_end, t_eval or until: the run needs an end")
    if rows is not None and rows.log_t[-1] > end.log_t[0]:
        last, latest = rows.log_t[-1], end.log_t[0]
        raise ValueError(f"t_eval must not go beyond the end of the run, log t = {latest:.6g}; got log t = {last:.6g}")
    return end
