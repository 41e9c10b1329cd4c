"""`integrate`: from a flow and a start to a Trajectory."""

from __future__ import annotations

import contextlib
import functools
import json
import math
import os
import zipfile
from collections.abc import Callable

import numpy as np
from scipy.optimize import brentq
from tqdm.auto import tqdm

from .._checks import checked_number
from ..losses import from_spec as loss_from_spec
from ..matrix import MatrixFlow, as_like, host
from ..schemes import from_spec
from ..spectral import Ray, Rest, SpectralFlow, SpectralSystem
from ..trajectory import FORMAT, VERSION, Trajectory, trajectory_type
from .dense import Path, Steps, Workspace
from .stepper import (
    FIRST_STEP,
    INTERRUPTED,
    REACHED,
    STAGES,
    STEP_TOO_SMALL,
    STEPS_SPENT,
    WATCH,
    advance,
    advance_compiled,
)

__all__ = ["Collapsed", "collapsed", "integrate", "load"]

_LEAST_V = 1e-28  # below, V is the rounding of the singular values, and says nothing about time
_CHUNK_BYTES = 2**25  # of states that are collected before Python looks at them


class Collapsed:
    """Stopping criterion: the Lyapunov function has fallen to `threshold`. Made by `collapsed`."""

    def __init__(self, threshold: float) -> None:
        if not (isinstance(threshold, (int, float, np.floating)) and _LEAST_V <= threshold < math.inf):
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
) -> Trajectory:
    """Integrate a flow from t = 0.

    Parameters
    ----------
    flow : SpectralFlow or MatrixFlow
    start : array or pair of arrays
        For a SpectralFlow the singular values (D,), made of balanced layers, or the layers (2, D) themselves. For a
        MatrixFlow the pair (W, H) of shapes (K, d) and (d, K).
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

    Returns
    -------
    Trajectory
        With ``success`` False and the reason in ``message`` if the run ended early; what was computed is there.

    Raises
    ------
    ValueError, TypeError
        If an argument is not acceptable; the message names it.
    """
    if not isinstance(flow, (SpectralFlow, MatrixFlow)):
        raise TypeError(f"flow must be a SpectralFlow or a MatrixFlow, got {type(flow).__name__}")
    start = flow.start(start)
    rtol = checked_number("rtol", rtol, 1e-13, 0.1)
    atol = checked_number("atol", atol, 0.0, 1e300)
    if isinstance(max_steps, bool) or not isinstance(max_steps, (int, np.integer)) or max_steps < 1:
        raise ValueError(f"max_steps must be a positive integer, got {max_steps!r}")
    if until is not None and not callable(until):
        raise TypeError(f"until must be callable, such as ceflow.collapsed(1e-6), got {type(until).__name__}")
    rows = _times("t_eval", t_eval, log_t_eval)
    log_end = _end(t_end, log_t_end, rows, until)

    run = _Run(flow, start, rtol, atol, log_end, until, int(max_steps), dense_output, closed_form, rows)
    with _bar() if progress else contextlib.nullcontext() as bar:
        try:
            run.go(bar)
        except (MemoryError, RuntimeError) as error:
            if isinstance(error, RuntimeError) and type(error).__name__ != "OutOfMemoryError":
                raise
            raise MemoryError(_memory_message(flow, run.kept[0][1].size, dense_output)) from error
    return run.trajectory()


def _bar() -> tqdm:
    return tqdm(total=100, unit="%", bar_format="{l_bar}{bar}| {postfix} [{elapsed}]")


def _memory_message(flow: SpectralFlow | MatrixFlow, size: int, dense_output: bool) -> str:
    item = 4 if getattr(flow, "dtype", "float64") == "float32" else 8
    needed = item * size * (STAGES + 8) / 2**30
    where = getattr(flow, "device", None) or "this machine"
    advice = " and keep less with dense_output=False" if dense_output else ""
    return (
        f"out of memory: a state of {size} numbers takes {needed:.3g} GiB of working space on {where}, besides what is "
        f"kept; {1 / (item * (STAGES + 8) / 2**30):.3g} numbers fit in each GiB. Use fewer classes or features{advice}."
    )


class _Run:
    """One run in the making: the loop over stretches, and what it collects."""

    def __init__(self, flow, start, rtol, atol, log_end, until, max_steps, dense_output, closed_form, rows) -> None:
        self.flow, self.start, self.rtol, self.atol = flow, start, rtol, atol
        self.until, self.max_steps, self.closed_form = until, max_steps, closed_form
        self.log_end, self.rows, self.keep = log_end, rows, dense_output
        self.stretches: list = []
        self.kept = [(np.array([-math.inf]), flow.origin(start)[None])]  # rows that are final: (log_t, y)
        self.nfev = self.nsteps = self.nrejected = 0
        self.success, self.message = True, "reached the end of the time span"

    def go(self, bar: tqdm | None) -> None:
        y, log_t = self.flow.origin(self.start), -math.inf
        state = np.array([log_t, 0.0, FIRST_STEP, 1.0])
        if self.stopped(np.array([log_t]), y[None]):
            return
        while True:
            mover = self.mover(y, log_t)
            if not isinstance(mover, (Rest, Ray)):
                work = Workspace(mover, y.size)
                work.y[:] = as_like(y, work.y)
                state[1] = float(type(mover).rates(mover, work.y, work.k[0]))
                self.nfev += 1
                if state[1] == math.inf or type(mover).rests(mover, work.y, work.k[0], self.rtol):
                    mover = Rest(y, log_t)
            if isinstance(mover, (Rest, Ray)):
                self.close(mover)
                return
            status = self.step(mover, work, y, state, bar)
            y, log_t = host(work.y).copy(), float(state[0])
            if status != WATCH:
                return

    def mover(self, y: np.ndarray, log_t: float):
        return self.flow.mover(self.start, y, log_t, self.rtol, self.closed_form)

    def step(self, system, work: Workspace, y: np.ndarray, state: np.ndarray, bar: tqdm | None) -> int:
        """Integrates until the end, the criterion, or a change of what moves the state. Returns the stepper's
        status."""
        compiled = isinstance(system, SpectralSystem)
        size = int(max(1, min(256, _CHUNK_BYTES // (8 * y.size))))
        if not compiled and bar is not None:
            size = 1
        mover = functools.partial(self.mover, y, float(state[0]))
        knots = [y[None]], [], [np.array([state[0]])]
        last = y  # the last knot, where the flow lives
        while True:
            block, h, log_t = system.allocate(size, y.size), np.empty(size), np.empty(size)
            try:
                n, status, evaluations, rejected = (advance_compiled if compiled else advance)(
                    system, work.y, work.k, work.new, work.probe, work.scratch, work.zero, state, block, h, log_t,
                    self.rtol, self.atol, self.log_end, self.max_steps - self.nsteps - self.nrejected,
                )  # fmt: skip
            except KeyboardInterrupt:
                self.fail(knots[2][-1][-1], "interrupted")
                stopped, status = False, INTERRUPTED
                break
            self.nfev, self.nsteps, self.nrejected = self.nfev + evaluations, self.nsteps + n, self.nrejected + rejected
            block = host(block[:n]) if self.keep else block[:n]
            h, log_t, before = h[:n], log_t[:n], knots[2][-1][-1:]
            states = np.concatenate([last[None], block]) if isinstance(block, np.ndarray) else [last, *block]
            stretch = Steps(lambda: system, states, h, np.append(before, log_t))
            stopped = self.collect_rows(stretch.log_t, stretch)
            last = states[-1]
            for known, new in zip(knots, (block, h, log_t), strict=True):
                if self.keep and n:
                    known.append(new)
                elif n:
                    known[:] = [new]
            self.show(bar, state[0])
            if stopped or status in (REACHED, WATCH, STEPS_SPENT, STEP_TOO_SMALL):
                break
        if self.keep and sum(map(len, knots[1])):
            self.stretches.append(Steps(mover, *(np.concatenate(parts) for parts in knots)))
        if status == STEPS_SPENT and not stopped:
            self.fail(state[0], f"gave up after max_steps = {self.max_steps} attempted steps")
        if status == STEP_TOO_SMALL and not stopped:
            self.fail(state[0], f"the step size fell to rounding, rtol = {self.rtol:g} cannot be met")
        return REACHED if stopped else status

    def close(self, mover: Rest | Ray) -> None:
        """Follows a closed form to the end."""
        stretch = Path([mover])
        grid = mover.grid(self.log_end)
        if math.isfinite(self.log_end):
            grid = np.append(grid, self.log_end)
        self.stretches.append(mover)
        if len(grid) and not self.collect_rows(np.append(mover.log_t, grid), stretch) and math.isfinite(self.log_end):
            self.message += f" ({mover.message})"
        elif not math.isfinite(self.log_end) and self.success and not self.message.startswith("stopped"):
            self.fail(float(grid[-1]) if len(grid) else mover.log_t, "the criterion of `until` was not met")

    def collect_rows(self, log_t: np.ndarray, stretch) -> bool:
        """Takes the rows after ``log_t[0]`` out of a new stretch. Returns whether the criterion has been met."""
        begin, inside = log_t[0], log_t[1:]
        inside = inside[inside < self.log_end]
        if log_t[-1] >= self.log_end:
            inside = np.append(inside, self.log_end)
        if not len(inside):
            return False
        if self.until is None and self.rows is None and not self.keep:
            inside = inside[-1:]  # what nobody asks for stays where it is
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
        met = np.flatnonzero(values <= 0.0)
        if not len(met):
            return False
        first = met[0]
        high = log_t[first]
        low = log_t[first - 1] if first else begin
        if stretch is not None and values[first] < 0.0:
            low = max(low, high - 100.0)  # from t = 0 the logarithm has no lower end
            at = functools.cache(lambda x: float(value(np.array([x]), stretch.sample(np.array([x])))[0]))
            high = brentq(at, low, high, xtol=1e-14, rtol=1e-15) if at(low) > 0.0 else low
        self.log_end = high
        self.message = f"stopped by {self.until!r}"
        return True

    def fail(self, log_t: float, reason: str) -> None:
        self.success = False
        self.message = f"{reason}; stopped at log t = {log_t:.6g}"
        self.log_end = float(log_t)

    def show(self, bar: tqdm | None, log_t: float) -> None:
        if bar is None:
            return
        if math.isfinite(self.log_end):
            share = np.logaddexp(0.0, min(log_t, self.log_end)) / np.logaddexp(0.0, self.log_end)
            bar.n = round(100 * float(share), 1)
        bar.set_postfix_str(f"log10 t = {log_t / math.log(10):.4g}, {self.nsteps} steps")

    def trajectory(self) -> Trajectory:
        kept = self.kept
        if self.rows is not None:
            first = self.rows[0] == -math.inf
            kept = kept if first else kept[1:]
            if not kept:
                kept = [(np.empty(0), np.empty((0, self.kept[0][1].shape[1])))]
        return trajectory_type(self.flow)(
            self.flow,
            self.start,
            np.concatenate([log_t for log_t, _ in kept]),
            np.concatenate([y for _, y in kept]),
            path=Path(self.stretches) if self.keep and self.stretches else None,
            log_t_end=self.log_end,
            rtol=self.rtol,
            success=self.success,
            message=self.message,
            nfev=self.nfev,
            nsteps=self.nsteps,
            nrejected=self.nrejected,
        )


def load(path: str | os.PathLike) -> Trajectory:
    """Load a run that `Trajectory.save` wrote, dense output included.

    Parameters
    ----------
    path : str or path-like

    Returns
    -------
    Trajectory

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If the file is not a run of ceflow, is cut short, or has a version that is not known.
    """
    if not os.path.exists(path):
        raise FileNotFoundError(f"no such file: {os.fspath(path)!r}")
    try:
        with open(path, "rb") as handle, np.load(handle, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
        meta = json.loads(str(arrays["meta"]))
        if meta["format"] != FORMAT:
            raise ValueError(f"its format is {meta['format']!r}")
        if meta["version"] != VERSION:
            raise ValueError(f"its version is {meta['version']!r}, known is {VERSION}")
        spec = dict(meta["flow"])
        spec["loss"] = loss_from_spec(spec["loss"])
        if spec.pop("flow") == "spectral":
            flow = SpectralFlow(from_spec(spec.pop("scheme")), **spec)
            start = flow.start(arrays["start0"])
        else:
            flow = MatrixFlow(**spec)
            start = flow.start([arrays[f"start{i}"] for i in range(flow.depth)])
        stretches = [_stretch(flow, start, kind, i, arrays, meta["rtol"]) for i, kind in enumerate(meta["stretches"])]
        options = meta["options"]
        options["log_t_end"] = float(options["log_t_end"])
        return trajectory_type(flow)(
            flow,
            start,
            arrays["log_t"],
            arrays["y"],
            path=Path(stretches) if stretches else None,
            rtol=meta["rtol"],
            **options,
        )
    except (ValueError, KeyError, TypeError, AttributeError, OSError, EOFError, zipfile.BadZipFile) as error:
        raise ValueError(f"{os.fspath(path)!r} is not a whole file of a ceflow run: {error}") from None


def _stretch(flow, start: np.ndarray, kind: str, i: int, arrays: dict[str, np.ndarray], rtol: float):
    y, log_t = arrays[f"path{i}_y"], arrays[f"path{i}_log_t"]
    if kind == Steps.kind:
        first, log_first = y[0], float(log_t[0])
        return Steps(lambda: flow.mover(start, first, log_first, rtol, False), y, arrays[f"path{i}_h"], log_t)
    return Rest(y, float(log_t)) if kind == Rest.kind else Ray(flow, start, y, float(log_t))


def _times(name: str, t, log_t) -> np.ndarray | None:
    """Log times from times or from their logarithms, checked."""
    if t is None and log_t is None:
        return None
    if t is not None and log_t is not None:
        raise ValueError(f"give {name} or log_{name}, not both")
    given = np.atleast_1d(np.asarray(t if log_t is None else log_t, float))
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
        checked_number("t_end", t_end, -math.inf, math.inf)
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
