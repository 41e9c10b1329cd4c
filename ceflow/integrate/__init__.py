"""`integrate`: from a flow and a start to a Trajectory."""

from __future__ import annotations

import contextlib
import functools
import math
import os
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
import scipy

from .._checks import checked_array, checked_number
from ..matrix import MatrixFlow, as_like, host
from ..spectral import Ray, Rest, SpectralFlow, SpectralSystem
from ..trajectory import Resume, Trajectory, trajectory_type
from .dense import Path, Steps
from .files import load
from .stepper import (
    AT_REST,
    FIRST_STEP,
    REACHED,
    RUNNING,
    STAGES,
    STEP_TOO_SMALL,
    STEPS_SPENT,
    WATCH,
    Workspace,
    advance,
    advance_compiled,
)

if TYPE_CHECKING:
    from tqdm import tqdm

__all__ = ["Collapsed", "collapsed", "integrate", "load", "resume"]

_LEAST_V = 1e-28  # below, V is the rounding of the singular values, and says nothing about time
_CHUNK_BYTES = 2**25  # of states that are collected before Python looks at them


class Collapsed:
    """Stopping criterion: the Lyapunov function has fallen to `threshold`. Made by `collapsed`."""

    def __init__(self, threshold: float) -> None:
        if not (isinstance(threshold, (int, float, np.floating)) and _LEAST_V <= threshold <= 1e300):
            raise ValueError(f"threshold must be finite and at least {_LEAST_V:g}, got {threshold!r}")
        self.threshold = float(threshold)

    def __call__(self, trajectory: Trajectory) -> np.ndarray:
        return trajectory.lyapunov - self.threshold

    def __repr__(self) -> str:
        return f"collapsed({self.threshold:g})"


def collapsed(threshold: float) -> Collapsed:
    """Stop when V <= threshold (at least 1e-28), V the Lyapunov function of neural collapse (see `ceflow.lyapunov`)."""
    return Collapsed(threshold)


def integrate(
    flow: SpectralFlow | MatrixFlow,
    start,
    t_end: float | None = None,
    *,
    log_t_end: float | None = None,
    t_eval=None,
    log_t_eval=None,
    until: Callable[[Trajectory], np.ndarray] | None = None,
    rtol: float = 1e-9,
    atol: float = 0.0,
    max_steps: int = 1_000_000,
    dense_output: bool = True,
    closed_form: bool = True,
    progress: bool = False,
    checkpoint: str | os.PathLike | None = None,
    checkpoint_every: float = 60.0,
) -> Trajectory:
    """Integrate a flow from t = 0. An interrupt (Ctrl-C) ends the run early, and what was computed is returned.

    Parameters
    ----------
    flow : SpectralFlow or MatrixFlow
    start : array or tuple of arrays
        For a SpectralFlow the singular values (D,), made of balanced layers, or the layers (depth, D) themselves. For a
        MatrixFlow the pair (W, H) of shapes (K, d) and (d, K), or all factors of a deeper network; with a leading axis,
        the same for all, a batch of starts. A batch shares its steps.
    t_end, log_t_end : float, optional
        Last time, or its natural logarithm where the time leaves float64. Without either the run lasts until the last
        time of `t_eval`, or until `until` is met.
    t_eval, log_t_eval : (n,) array, optional
        Increasing times (or their logarithms) of the rows wanted. Otherwise the rows are t = 0, the solver's own steps
        and the last time.
    until : callable, optional
        Stops the run where ``until(trajectory)``, an array of one value a row, first reaches 0 from above, e.g.
        ``ceflow.collapsed(1e-6)``. The place is found to rounding.
    rtol : float
        Relative tolerance, 1e-13 to 0.1, of the singular values at a given time (reduced flow; each one by itself) or
        of the logits (full flow; in the Frobenius norm).
    atol : float
        Absolute tolerance, of each singular value (reduced) or of (W, H) in the Frobenius norm (full).
    max_steps : int
        Attempted steps after which the run gives up.
    dense_output : bool
        Whether to keep the state between all steps, 8 N bytes each, so that ``trajectory.at`` works. With False only
        the rows are kept: those of `t_eval`, or else the first and the last.
    closed_form : bool
        Whether to follow the exact collapsed solution once all modes have merged. Stepping on gives the same within the
        tolerance, but the merged modes are stiff.
    progress : bool
        Show a progress bar.
    checkpoint : path, optional
        File to which the run is saved now and then, and at its end, for ``resume(load(checkpoint), ...)``.
    checkpoint_every : float
        Seconds between checkpoints.

    Returns
    -------
    Trajectory
        With ``success`` False and the reason in ``message`` if the run ended early; what was computed is there.

    Raises
    ------
    ValueError, TypeError
        If an argument is not acceptable; the message names it.
    MemoryError
        If the machine, or the device, cannot hold the work; the message says what fits.
    """
    if not isinstance(flow, (SpectralFlow, MatrixFlow)):
        raise TypeError(f"flow must be a SpectralFlow or a MatrixFlow, got {type(flow).__name__}")
    start = flow.start(start)
    options = {
        "rtol": checked_number("rtol", rtol, 1e-13, 0.1),
        "atol": checked_number("atol", atol, 0.0, 1e300),
        "closed_form": bool(closed_form),
        "dense_output": bool(dense_output),
    }
    span = _span(t_end, log_t_end, t_eval, log_t_eval, until, max_steps)
    return _run(_Run(flow, start, **options, **span), progress, checkpoint, checkpoint_every)


def resume(
    trajectory: Trajectory,
    t_end: float | None = None,
    *,
    log_t_end: float | None = None,
    t_eval=None,
    log_t_eval=None,
    until: Callable[[Trajectory], np.ndarray] | None = None,
    max_steps: int = 1_000_000,
    progress: bool = False,
    checkpoint: str | os.PathLike | None = None,
    checkpoint_every: float = 60.0,
) -> Trajectory:
    """Go on with a run where it ended, or was interrupted, as if it had never stopped: with the same steps, to the bit.

    Parameters
    ----------
    trajectory : Trajectory
        As `integrate` returned it, or `load`.
    t_end, log_t_end, t_eval, log_t_eval, until, max_steps, progress, checkpoint, checkpoint_every
        As for `integrate`; times are later than the end of the run, and max_steps counts its steps too. All other
        options are those of the run.

    Returns
    -------
    Trajectory
        With the rows of the run first, unless `t_eval` is given.

    Raises
    ------
    ValueError, TypeError
        If an argument is not acceptable, or the trajectory was made from another, by `at` or an index.
    """
    if not isinstance(trajectory, Trajectory):
        raise TypeError(f"resume takes a Trajectory, got {type(trajectory).__name__}")
    if trajectory._resume is None:
        raise ValueError("only a whole run, as integrate or load returned it, can be resumed")
    span = _span(t_end, log_t_end, t_eval, log_t_eval, until, max_steps)
    first = span["log_end"] if span["rows"] is None else span["rows"][0]
    if first <= trajectory.log_t_end:
        raise ValueError(f"times must be after the end of the run, log t = {trajectory.log_t_end:.6g}, got {first:.6g}")
    run = _Run(trajectory.flow, trajectory.start, **trajectory._resume.options, **span, before=trajectory)
    return _run(run, progress, checkpoint, checkpoint_every)


def _span(t_end, log_t_end, t_eval, log_t_eval, until, max_steps) -> dict:
    """How far to go, checked."""
    if isinstance(max_steps, bool) or not isinstance(max_steps, (int, np.integer)) or max_steps < 1:
        raise ValueError(f"max_steps must be a positive integer, got {max_steps!r}")
    if until is not None and not callable(until):
        raise TypeError(f"until must be callable, such as ceflow.collapsed(1e-6), got {type(until).__name__}")
    rows = _times("t_eval", t_eval, log_t_eval)
    return {
        "log_end": _end(t_end, log_t_end, rows, until),
        "until": until,
        "max_steps": min(int(max_steps), 2**62),
        "rows": rows,
    }


def _run(run: _Run, progress: bool, checkpoint: str | os.PathLike | None, every: float) -> Trajectory:
    if checkpoint is not None:
        run.checkpoint, run.every = os.fspath(checkpoint), checked_number("checkpoint_every", every, 0.0, 1e9)
    with _bar() if progress else contextlib.nullcontext() as bar:
        try:
            run.go(bar)
        except (MemoryError, RuntimeError) as error:
            if isinstance(error, RuntimeError) and type(error).__name__ != "OutOfMemoryError":
                raise
            raise MemoryError(_memory_message(run)) from error
        except KeyboardInterrupt:
            run.interrupt()
    trajectory = run.trajectory()
    if checkpoint is not None:
        trajectory.save(checkpoint)
    return trajectory


def _bar() -> tqdm:
    from tqdm.auto import tqdm  # which is slow to import

    return tqdm(total=100, unit="%", bar_format="{l_bar}{bar}| {postfix} [{elapsed}]")


def _memory_message(run: _Run) -> str:
    size, item = run.kept[0][1].shape[1], 4 if getattr(run.flow, "dtype", "float64") == "float32" else 8
    needed = item * size * (STAGES + 8) / 2**30
    where = getattr(run.flow, "device", None) or "this machine"
    advice = " and keep less with dense_output=False" if run.keep else ""
    return (
        f"out of memory: a state of {size} numbers takes {needed:.3g} GiB of working space on {where}, besides what is "
        f"kept; {1 / (item * (STAGES + 8) / 2**30):.3g} numbers fit in each GiB. Use fewer classes or features{advice}."
    )


class _Run:
    """One run in the making: the loop over stretches, and what it collects."""

    def __init__(
        self, flow, start, rtol, atol, closed_form, dense_output, log_end, until, max_steps, rows, before=None
    ) -> None:
        self.flow, self.start, self.rtol, self.atol = flow, start, rtol, atol
        self.until, self.max_steps, self.closed_form = until, max_steps, closed_form
        self.log_end, self.rows, self.keep = log_end, rows, dense_output
        self.checkpoint, self.every, self.saved = None, math.inf, time.monotonic()
        self.success, self.message = True, "reached the end of the time span"
        self.stretches: list = []  # that are finished
        self.open = None  # that is not: (mover, [(states, step sizes, log times) of the start and of each chunk])
        self.begun = -math.inf  # rows up to here are known
        y = flow.origin(start)
        self.kept = [(np.array([-math.inf]), y[None])]  # rows that are final: (log_t, y)
        self.nfev = self.nsteps = self.nrejected = 0
        self.at = Resume(np.array([-math.inf, 0.0, 0.0, FIRST_STEP, 1.0]), y, None, {})
        if before is not None:
            self.at, self.begun = before._resume, before.log_t_end
            self.nfev, self.nsteps, self.nrejected = before.nfev, before.nsteps, before.nrejected
            if before._path is not None:
                self.stretches = [stretch for stretch in before._path.stretches if stretch.kind == Steps.kind]
            if rows is None:
                self.kept = [(before.log_t, before.y)]

    def go(self, bar: tqdm | None) -> None:
        y, state = self.at.y, self.at.state.copy()
        if self.at.tail is not None:
            tail = Steps(lambda: self.mover(y, float(state[0])), *self.at.tail)
            if self.collect_rows(tail.log_t, tail) or tail.log_t[-1] >= self.log_end:
                return
        elif self.begun == -math.inf and self.stopped(state[:1], y[None]):
            return
        while True:
            mover = self.mover(y, float(state[0]))
            if isinstance(mover, (Rest, Ray)):
                self.close(mover)
                return
            state[1] = math.nan
            status, y = self.step(mover, y, state, bar)
            if status == AT_REST:
                self.close(self.flow.rest(y, float(state[0])))
            if status != WATCH or state[0] >= self.log_end:  # the last step may end beyond the end, and collapsed
                return

    def mover(self, y: np.ndarray, log_t: float):
        return self.flow.mover(self.start, y, log_t, self.rtol, self.closed_form)

    def step(self, system, y: np.ndarray, state: np.ndarray, bar: tqdm | None) -> tuple[int, np.ndarray]:
        """Integrates from y until the end, the criterion, or a change of what moves the state. Returns the stepper's
        status, and the state that was reached."""
        compiled = isinstance(system, SpectralSystem)
        call = advance_compiled if compiled else advance
        work = Workspace.of(system, y.size)
        work.y[:] = as_like(y, work.y)
        # of a flow that takes its time, no more than a step is lost by an interrupt
        most = max(1, min(256, _CHUNK_BYTES // (8 * y.size))) if compiled else 1
        size = min(most, 32)
        mover = functools.partial(self.mover, y, float(state[0]))
        self.open = mover, [(y[None], np.empty(0), state[:1].copy())]
        last, before = y, state[:1].copy()  # the last knot, where the flow lives
        while True:
            block, h, log_t = system.allocate(size, y.size), np.empty(size), np.empty(size)
            n, status, evaluations, rejected = call(
                system, work, state, block, h, log_t, self.rtol, self.atol, self.log_end,
                self.max_steps - self.nsteps - self.nrejected,
            )  # fmt: skip
            self.nfev, self.nsteps, self.nrejected = self.nfev + evaluations, self.nsteps + n, self.nrejected + rejected
            block, h, log_t = host(block[:n]) if self.keep else block[:n], h[:n], log_t[:n]
            states = np.concatenate([last[None], block]) if isinstance(block, np.ndarray) else [last, *block]
            stretch = Steps(lambda: system, states, h, np.concatenate([before, log_t]))
            if n and log_t[-1] >= self.log_end:
                stretch.end = self.log_end, host(work.end)
            stopped = n > 0 and self.collect_rows(stretch.log_t, stretch)
            if n:
                last, before = states[-1], log_t[-1:]
                if self.keep:
                    self.open[1].append((block, h, log_t))
                if not stopped:  # else the run goes on from before the place where it stopped
                    self.at = Resume(state.copy(), last, (states[-2:], h[-1:], stretch.log_t[-2:]), {})
            self.show(bar, state[0])
            if time.monotonic() - self.saved > self.every:
                self.trajectory(unfinished=True).save(self.checkpoint)
                self.saved = time.monotonic()
            if stopped or status != RUNNING:
                break
            size = min(most, 2 * size)
        self.stretches += self.unfinished()
        self.open = None
        if status == STEPS_SPENT and not stopped:
            self.fail(state[0], f"gave up after max_steps = {self.max_steps} attempted steps")
        if status == STEP_TOO_SMALL and not stopped:
            self.fail(state[0], f"the step size fell to rounding, rtol = {self.rtol:g} cannot be met")
        return REACHED if stopped else status, host(work.y)

    def unfinished(self) -> list[Steps]:
        """The stretch that is being integrated, as far as it is known."""
        if self.open is None or len(self.open[1]) == 1:
            return []
        mover, parts = self.open
        return [Steps(mover, *(np.concatenate(columns) for columns in zip(*parts, strict=True)))]

    def interrupt(self) -> None:
        """Ends the run at the last step that is known to be whole."""
        self.fail(self.at.state[0], "interrupted")
        self.kept = [(log_t[log_t <= self.log_end], y[log_t <= self.log_end]) for log_t, y in self.kept]

    def close(self, mover: Rest | Ray) -> None:
        """Follows a closed form to the end."""
        stretch = Path([mover])
        grid = mover.grid(self.log_end)
        if math.isfinite(self.log_end):
            grid = np.append(grid, self.log_end)
        grid = grid[grid > self.begun]
        self.stretches.append(mover)
        self.at = Resume(np.array([mover.log_t, 0.0, 0.0, FIRST_STEP, 1.0]), mover.y, None, {})
        if len(grid) and not self.collect_rows(np.append(mover.log_t, grid), stretch) and math.isfinite(self.log_end):
            self.message += f" ({mover.message})"
        elif not math.isfinite(self.log_end) and self.success and not self.message.startswith("stopped"):
            self.fail(float(grid[-1]) if len(grid) else mover.log_t, "the criterion of `until` was not met")

    def collect_rows(self, log_t: np.ndarray, stretch) -> bool:
        """Takes the rows after ``log_t[0]`` out of a new stretch. Returns whether the criterion has been met."""
        if self.until is None and self.rows is None and not self.keep:  # only the last row is asked for
            if log_t[-1] >= self.log_end:
                self.kept[1:] = [(np.array([self.log_end]), stretch.sample(np.array([self.log_end])))]
            return False
        begin, inside = max(log_t[0], self.begun), log_t[1:]
        inside = inside[(inside > begin) & (inside < self.log_end)]
        if log_t[-1] >= self.log_end:
            inside = np.concatenate([inside, [self.log_end]])
        if not len(inside):
            return False
        y = stretch.sample(inside) if self.until is not None or self.rows is None else None
        stop = self.stopped(inside, y, begin, stretch) if self.until is not None else False
        if stop:
            inside = np.append(inside[inside < self.log_end], self.log_end)
            y = stretch.sample(inside)
        if self.rows is None:
            if self.keep:
                self.kept.append((inside, y))
            else:
                self.kept[1:] = [(inside[-1:], y[-1:])]
        else:
            wanted = self.rows[(self.rows > begin) & (self.rows <= inside[-1])]
            if len(wanted):
                self.kept.append((wanted, stretch.sample(wanted)))
        return stop

    def stopped(self, log_t: np.ndarray, y: np.ndarray, begin: float = -math.inf, stretch=None) -> bool:
        """Whether `until` is met at one of the rows; if so the run ends exactly there."""
        if self.until is None:
            return False

        def value(log_t: np.ndarray, y: np.ndarray) -> np.ndarray:
            return np.asarray(self.until(trajectory_type(self.flow)(self.flow, self.start, log_t, y)), float)

        values = value(log_t, y)
        if values.shape != log_t.shape:
            raise ValueError(f"until must return one number for each of {len(log_t)} rows, got shape {values.shape}")
        met = np.flatnonzero(values <= 0.0)
        if not len(met):
            return False
        first = met[0]
        high = log_t[first]
        low = log_t[first - 1] if first else begin
        if stretch is not None and values[first] < 0.0:
            low = max(low, high - 100.0)  # from t = 0 the logarithm has no lower end
            at = functools.cache(lambda x: float(value(np.array([x]), stretch.sample(np.array([x])))[0]))
            high = scipy.optimize.brentq(at, low, high, xtol=1e-14, rtol=1e-15) if at(low) > 0.0 else low
        self.log_end = high
        self.message = f"stopped by {self.until!r}"
        return True

    def fail(self, log_t: float, reason: str) -> None:
        self.success = False
        self.message = f"{reason}; stopped at log t = {log_t:.6g}"
        self.log_end = float(log_t)
        if self.rows is None and not self.keep and self.at.state[0] > self.begun:
            self.kept[1:] = [(self.at.state[:1].copy(), host(self.at.y)[None])]

    def show(self, bar: tqdm | None, log_t: float) -> None:
        if bar is None:
            return
        if math.isfinite(self.log_end):
            share = np.logaddexp(0.0, min(log_t, self.log_end)) / np.logaddexp(0.0, self.log_end)
            bar.n = round(100 * float(share), 1)
        bar.set_postfix_str(f"log10 t = {log_t / math.log(10):.4g}, {self.nsteps} steps")

    def trajectory(self, unfinished: bool = False) -> Trajectory:
        kept = self.kept
        if self.rows is not None:
            first = self.rows[0] == -math.inf
            kept = kept if first else kept[1:]
            if not kept:
                kept = [(np.empty(0), np.empty((0, self.kept[0][1].shape[1])))]
        stretches = self.stretches + self.unfinished()
        end, success, message = self.log_end, self.success, self.message
        if unfinished:
            end, success = float(self.at.state[0]), False
            message = f"not finished; got to log t = {end:.6g}"
        options = {"rtol": self.rtol, "atol": self.atol, "closed_form": self.closed_form, "dense_output": self.keep}
        found = trajectory_type(self.flow)(
            self.flow,
            self.start,
            np.concatenate([log_t for log_t, _ in kept]),
            np.concatenate([y for _, y in kept]),
            path=Path(stretches) if self.keep and stretches else None,
            log_t_end=end,
            rtol=self.rtol,
            atol=self.atol,
            success=success,
            message=message,
            nfev=self.nfev,
            nsteps=self.nsteps,
            nrejected=self.nrejected,
        )
        tail = self.at.tail
        if tail is not None and not isinstance(tail[0], np.ndarray):
            tail = (np.stack([host(y) for y in tail[0]]), *tail[1:])
        found._resume = Resume(self.at.state, host(self.at.y), tail, options)
        return found


def _times(name: str, t, log_t) -> np.ndarray | None:
    """Log times from times or from their logarithms, checked."""
    if t is None and log_t is None:
        return None
    if t is not None and log_t is not None:
        raise ValueError(f"give {name} or log_{name}, not both")
    given = np.atleast_1d(checked_array(name, t if log_t is None else log_t, -math.inf, math.inf))
    if (
        given.ndim != 1
        or not len(given)
        or np.any(np.isnan(given))
        or np.any(np.diff(given) <= 0)
        or np.any(given == np.inf)
    ):
        raise ValueError(f"{name} must be one-dimensional, finite and strictly increasing")
    if t is None:
        return given
    if given[0] < 0.0:
        raise ValueError(f"{name} must not be negative, got {given[0]:g}")
    with np.errstate(divide="ignore"):
        return np.log(given)


def _end(t_end, log_t_end, rows, until) -> float:
    if t_end is not None and log_t_end is not None:
        raise ValueError("give t_end or log_t_end, not both")
    if t_end is not None:
        t_end = checked_number("t_end", t_end, -math.inf, math.inf)
        if not 0.0 < t_end < math.inf:
            raise ValueError(f"t_end must be positive and finite, got {t_end!r}; use log_t_end for times beyond 1e308")
        end = math.log(t_end)
    elif log_t_end is not None:
        end = checked_number("log_t_end", log_t_end, -700.0, 1e7)
    elif rows is not None:
        return float(rows[-1])
    elif until is not None:
        return math.inf
    else:
        raise ValueError("give t_end, log_t_end, t_eval or until: the run must know where to end")
    if rows is not None and rows[-1] > end:
        raise ValueError(f"t_eval must not go beyond the end of the run, log t = {end:.6g}; got log t = {rows[-1]:.6g}")
    return end
