"""Events that stop a run."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any, Literal, cast

import numpy as np
import scipy

from ._checks import checked_choice, checked_integer, checked_number
from .trajectory import Trajectory, trajectory_type

DIRECTIONS = {"down": 1.0, "up": -1.0, "either": 0.0}  # signs of the function before the event
_LEAST_V = 1e-28  # smaller V is rounding of the singular values
_FIRST = 100.0  # range of log t searched before the first step; the state is constant before
_MOST_LOOKS = 1000

Values = Callable[[np.ndarray], np.ndarray]
Direction = Literal["down", "up", "either"]


class Event:
    """Event that stops a run: a zero of a function of the trajectory. Returned by `event` and `collapsed`.

    Attributes
    ----------
    function : callable
    direction : {"down", "up", "either"}
    name : str
    looks : int

    Examples
    --------
    >>> late, low = cf.event(lambda run: run.log_t - 20, "up"), cf.event(lambda run: run.loss - 0.25, "down")
    >>> run = cf.integrate(cf.SpectralFlow(cf.complete(3)), [0.1], until=[late, low])
    >>> run.event  # the loss was first
    1
    """

    def __init__(self, function: Callable[[Any], Any], direction: Direction, name: str, looks: int) -> None:
        self.function, self.direction, self.name, self.looks = function, direction, name, looks

    def __call__(self, trajectory: Trajectory) -> np.ndarray:
        """Evaluate the function, one number per row; raise a ValueError for other shapes."""
        values = np.asarray(self.function(trajectory), float)
        if values.shape != (len(trajectory),):
            rows = len(trajectory)
            raise ValueError(f"until must return one number for each of {rows} rows, got shape {values.shape}")
        return values

    def __repr__(self) -> str:
        return self.name


def event(
    function: Callable[[Any], Any], direction: Direction = "either", *, name: str | None = None, looks: int = 1
) -> Event:
    """Make an event that stops a run, for ``until`` of `integrate`.

    Parameters
    ----------
    function : callable
        ``function(trajectory)`` returns one number per row, such as ``lambda run: run.margin - 5``. NaN is ignored.
    direction : {"down", "up", "either"}
        "down" stops at ``function <= 0``, "up" at ``function >= 0``, including at the start. "either" stops at the
        first change of sign.
    name : str, optional
        Name in messages; default the name of the function.
    looks : int
        Number of evaluations of the function per step, 1 to 1000, evenly spaced in log t (in t for the first step). The
        time of a crossing is accurate to rounding, but two crossings between evaluations are missed. In a step of the
        solver singular values change by about a factor of two or, at large margins, log t by some percent.

    Raises
    ------
    TypeError, ValueError
        If an argument is invalid.

    Examples
    --------
    >>> sure = cf.event(lambda run: run.accuracy_gap - 0.01, "down", name="99% sure")
    >>> run = cf.integrate(cf.SpectralFlow(cf.complete(4)), [0.1], until=sure)
    >>> f"{run.message} at t = {run.t[-1]:.4f}"
    'stopped by 99% sure at t = 40.7779'
    """
    if not callable(function):
        raise TypeError(f"function must be callable, such as lambda run: run.margin - 5, got {type(function).__name__}")
    checked_choice("direction", direction, DIRECTIONS)
    if name is not None and not isinstance(name, str):
        raise TypeError(f"name must be a string, got {type(name).__name__}")
    own: str = getattr(function, "__name__", type(function).__name__)
    return Event(function, direction, name or own, checked_integer("looks", looks, 1, _MOST_LOOKS))


def collapsed(threshold: float, *, looks: int = 1) -> Event:
    """Make an event that stops when the Lyapunov function V of neural collapse reaches a threshold from above.

    Parameters
    ----------
    threshold : float
        At least 1e-28; V is defined in `ceflow.lyapunov`.
    looks : int
        As in `event`.

    Raises
    ------
    TypeError, ValueError
        If the threshold is invalid; `integrate` raises it if the trajectory has no V.

    Examples
    --------
    >>> run = cf.integrate(cf.SpectralFlow(cf.hadamard(4)), [1e-3, 2e-3, 3e-3], until=cf.collapsed(1e-3))
    >>> f"V = {run.lyapunov[-1]:.6f} at t = {run.t[-1]:.2f}"
    'V = 0.001000 at t = 2026.26'
    """
    threshold = checked_number("threshold", threshold, -math.inf, 1e300)
    if not threshold >= _LEAST_V:
        raise ValueError(f"threshold must be finite and at least {_LEAST_V:g}, got {threshold!r}")
    excess = functools.partial(_excess, threshold)
    return event(excess, "down", name=f"collapsed({threshold:g})", looks=looks)


def _excess(threshold: float, run: Trajectory) -> np.ndarray:
    """V minus a threshold; a module-level function, because events are pickled."""
    if "lyapunov" not in run.observables:
        raise TypeError(
            f"collapsed needs V, which a run of a {type(run.flow).__name__} does not have: use another observable, "
            "such as ceflow.event(lambda run: run.margin - 5)"
        )
    return cast(Any, run).lyapunov - threshold


def checked_events(until: Callable | Sequence[Callable] | None) -> tuple[Event, ...]:
    """Checked events of an argument `until`: none, one, or a list of events or functions."""
    listed: Any = until if isinstance(until, (list, tuple)) else [] if until is None else [until]
    if not all(callable(one) for one in listed):
        wrong = next(type(one).__name__ for one in listed if not callable(one))
        raise TypeError(f"until must be callable, such as ceflow.collapsed(1e-6), or a list of callables, got {wrong}")
    return tuple(one if isinstance(one, Event) else event(one) for one in listed)


class _Watch:
    """One event along a run; it occurs at ``sign * function <= 0``."""

    def __init__(self, event: Event) -> None:
        self.event = event
        self.sign = DIRECTIONS[event.direction]  # 0 until the first nonzero value of the function
        self.last = math.nan  # last value of the function

    def begin(self, value: float) -> bool:
        """Set the first value; return whether the event occurs at it."""
        met = self.sign != 0.0 and self.sign * value <= 0.0
        self._learn(value)
        self.last = value
        return met

    def _learn(self, value: float) -> None:
        if self.sign == 0.0 and not math.isnan(value):
            self.sign = float(np.sign(value))

    def look(self, values: np.ndarray, log_t: np.ndarray, at: Callable[[float], float]) -> float | None:
        """First log time in log_t at which the event occurs, or None.

        log_t[0] is the last evaluated time. `values` are those after it; ``at(log_t)`` computes others."""
        values = np.append(self.last, values)
        self.last = values[-1]
        if self.sign == 0.0:
            seen = np.flatnonzero(~np.isnan(values) & (values != 0.0))
            if not len(seen):
                return None
            first = seen[0]
            if first > 0 and math.isnan(values[first - 1]):  # undefined until now: it may have crossed within the step
                begins = _switch(lambda x: not math.isnan(at(x)), log_t[first - 1], log_t[first])
                self._learn(at(begins))
            self._learn(values[first])
            values[:first] = math.nan
        met = np.flatnonzero(self.sign * values[1:] <= 0.0)
        if not len(met):
            return None
        low, high = log_t[met[0]], log_t[met[0] + 1]
        return self._place(low, high, values[met[0]], lambda x: self.sign * at(x))

    def _place(self, low: float, high: float, before: float, function: Callable[[float], float]) -> float:
        """Smallest root in (low, high] of a function that is <= 0 at high."""
        low = bounded(low, high)
        if low == high or not function(high) < 0.0:
            return high
        try:
            if math.isnan(before) or not function(low) > 0.0:
                raise ArithmeticError
            x = scipy.optimize.brentq(lambda x: _number(function(x)), low, high, xtol=1e-14, rtol=1e-15)
        except ArithmeticError:  # the function is not defined everywhere; the event may be at the edge of its domain
            return _switch(lambda x: function(x) <= 0.0, low, high)
        apart = max(np.spacing(abs(x)), 1e-16)
        while not function(x) <= 0.0:  # beyond the root, so that the condition holds in the last row
            x, apart = min(x + apart, high), 2.0 * apart
        return x


def bounded(low: Any, high: Any) -> Any:
    """Begin of the search for an event in a step: in the first one, which begins at -inf, after a constant part."""
    return np.where(low == -math.inf, high - _FIRST, low)[()]


def _number(value: float) -> float:
    if math.isnan(value):
        raise ArithmeticError
    return value


def _switch(holds: Callable[[float], bool], low: float, high: float) -> float:
    """Point, accurate to rounding, at which a condition that is false at low and true at high becomes true."""
    low = bounded(low, high)
    while not high - low <= 1e-15 * max(1.0, abs(high)):
        middle = 0.5 * (low + high)
        low, high = (low, middle) if holds(middle) else (middle, high)
    return high


class Watches:
    """All events of one run.

    Parameters
    ----------
    events : tuple of Event
    flow, start
        Flow and start of the run.
    """

    def __init__(self, events: tuple[Event, ...], flow, start) -> None:
        self.flow, self.start, self.watches = flow, start, [_Watch(one) for one in events]
        self.looks = max((one.looks for one in events), default=1)
        self.begun = False

    def _rows(self, log_t: np.ndarray, y: np.ndarray) -> Trajectory:
        return trajectory_type(self.flow)(self.flow, self.start, log_t, y)

    def begin(self, log_t: float, y: np.ndarray) -> int | None:
        """First event that occurs at the initial state y, or None."""
        self.begun, row = True, self._rows(np.array([log_t]), y[None])
        met = [watch.begin(float(watch.event(row)[0])) for watch in self.watches]
        return met.index(True) if any(met) else None

    def look(self, first: float, log_t: np.ndarray, y: np.ndarray, sample: Values) -> tuple[float, int] | None:
        """First log time after `first` and up to the end of log_t at which an event occurs, and the event.

        Parameters
        ----------
        first : float
            Last evaluated log time.
        log_t, y : (n,) and (n, N) arrays
            Ends of the steps since then.
        sample : callable
            Computes states at log times in between.
        """
        if self.looks > 1:
            log_t = between(np.append(first, log_t), self.looks)
            y = sample(log_t)
        rows, log_t, found = self._rows(log_t, y), np.append(first, log_t), []
        for which, watch in enumerate(self.watches):

            def at(x: float, watch: _Watch = watch) -> float:
                x = np.array([x])
                return float(watch.event(self._rows(x, sample(x)))[0])

            place = watch.look(watch.event(rows), log_t, functools.cache(at))
            if place is not None:
                found.append((float(place), which))
        return min(found, default=None)

    def may_meet(self, origin: np.ndarray, first: float, log_t: float, y: np.ndarray) -> bool:
        """Whether an event may occur after `first`, the last time checked, up to log_t, the end of a step.

        The state there is y, and at the start of the run origin. States within the step are unknown.
        """
        if not self.begun and self.begin(first, origin) is not None:
            return True

        def unknown(log_t: np.ndarray) -> np.ndarray:
            raise RuntimeError

        try:
            return self.look(first, np.array([log_t]), y[None], unknown) is not None
        except RuntimeError:  # an event needs states within the step, so one is possible
            return True


def between(log_t: np.ndarray, parts: int) -> np.ndarray:
    """Subdivide each interval between times (..., n + 1) into `parts`; the first time may be -inf. (..., n * parts)."""
    shares = np.arange(1, parts + 1) / parts
    begins, ends = log_t[..., :-1, None], log_t[..., 1:, None]
    with np.errstate(invalid="ignore"):
        places = np.where(begins == -np.inf, ends + np.log(shares), begins + (ends - begins) * shares)
    places[..., -1] = log_t[..., 1:]
    return places.reshape(*log_t.shape[:-1], -1)
