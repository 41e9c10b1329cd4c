"""Events of many runs at once: their functions are evaluated on rows of all runs together."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ._events import DIRECTIONS, Event, between, bounded
from .solve import Found, Knots, Outcome

STEPS, MOST_STEPS = 16, 128  # steps of a run between two evaluations: at first, and at most
KNOT_NUMBERS = 2**20  # numbers of the states at which events are evaluated together
_PLACE = {"xatol": 1e-14, "xrtol": 1e-15}  # tolerances of the log time of an event
_COUNTS = ("nsteps", "nrejected", "nfev")

Values = Callable[[Event, np.ndarray, np.ndarray, np.ndarray], np.ndarray]
Sample = Callable[[np.ndarray, np.ndarray], np.ndarray]  # states (k, N) of runs i (k,) at log times x (k,)
Within = Callable[[np.ndarray], Sample]


class Search:
    """First events of m runs. It knows simple crossings; a run with another case, as NaN beside an event, is left over.

    Parameters
    ----------
    events : tuple of Event
    values : callable
        Function of an event, and of the indices, log times and states of n rows, sorted by runs.
    origins : (m, N) array
        Initial states.

    Attributes
    ----------
    log_t, event, y : (m,), (m,) and (m, N) arrays
        Log times and indices of the events that stopped the runs, and states there; NaN and -1 for other runs.
    """

    def __init__(self, events: tuple[Event, ...], values: Values, origins: np.ndarray) -> None:
        self.events, self.values, self.looks = events, values, max(one.looks for one in events)
        members, self.size = origins.shape
        self.log_t, self.event, self.y = np.full(members, np.nan), np.full(members, -1), np.full(origins.shape, np.nan)
        begin = np.arange(members), np.full(members, -np.inf), origins
        self.last = np.array([values(one, *begin) for one in events])  # (E, m) last values
        signs = np.array([[DIRECTIONS[one.direction]] for one in events])
        with np.errstate(invalid="ignore"):
            self.signs = np.where(signs == 0.0, np.sign(self.last), signs)  # (E, m) before the event

    @property
    def unmet(self) -> np.ndarray:
        """(m,) whether all signs are known, and no event occurs at the last values."""
        return ~(np.isnan(self.signs) | (self.signs * self.last <= 0.0)).any(axis=0)

    def crosses(
        self, which: np.ndarray, log_t: np.ndarray, log_t_new: np.ndarray, y: np.ndarray, within: Within, end: float
    ) -> tuple[np.ndarray, np.ndarray]:
        """Which of n runs an event may stop in their next steps, at an unknown time; and which it stops there.

        Parameters
        ----------
        which : (n,) array
        log_t, log_t_new, y : (n,), (n,) and (n, N) arrays
            Log times of the beginnings of the steps, and log times and states of their ends.
        within : callable
            Function of indices i (k,) of `which`. It returns the states in these steps, as a function of indices of i
            and log times.
        end : float
            Last log time of the runs.
        """
        unmet = self.unmet[which] & (self.looks == 1)
        values = np.array([self.values(one, which, log_t_new, y) for one in self.events])
        self.last[:, which] = values
        crossed = (self.signs[:, which] * values <= 0.0) & unmet
        place = np.flatnonzero(crossed.any(axis=0))
        if place.size:
            self._settle(which[place], crossed[:, place], log_t[place], log_t_new[place], within(place))
        late = self.log_t[which] > end
        self.log_t[which[late]], self.event[which[late]] = np.nan, -1
        stops = ~np.isnan(self.log_t[which])
        return (crossed.any(axis=0) & ~stops & ~late) | ~unmet, stops

    def finish(self, found: Found, wanted: np.ndarray, own: bool) -> None:
        """Mark the runs that an event stopped. Rows after it become NaN; with `own` the last row is the event."""
        over = ~np.isnan(self.log_t)
        found.outcome[over] = Outcome.STOPPED
        found.y[over[:, None] & ~(wanted <= self.log_t[:, None])] = np.nan
        if own:
            found.y[over, -1] = self.y[over]

    def seek(
        self, walk: Any, wanted: np.ndarray, steps: int, most: int, stopped: Callable[[], bool], own: bool
    ) -> Found:
        """Advance runs to their first events or their last wanted times.

        Parameters
        ----------
        walk : Members or Lanes
            The m runs, at their starts.
        wanted : (r,) array
            Log times of the rows. Rows after an event are NaN.
        steps, most : int
            Steps after which a run is left unfinished, and attempts after which it fails.
        stopped : callable
            Whether to stop.
        own : bool
            Whether the last row of a run that an event stops is the event.

        Returns
        -------
        Found
            Runs with the outcomes STOPPED and REACHED are finished.
        """
        members, unmet = len(self.event), self.unmet
        found = Found.room(members, len(wanted), self.size)
        together = max(1, KNOT_NUMBERS // (MOST_STEPS * self.looks * self.size))
        for first in range(0, members, together):
            which, taken = first + np.flatnonzero(unmet[first : first + together]), 0
            while which.size and not stopped():
                left = most - found.nsteps[which] - found.nrejected[which]
                count = min(max(STEPS, taken // 2), MOST_STEPS)  # few are taken in vain; it depends on no other run
                new, knots = walk.advance(which, np.tile(wanted, (len(which), 1)), count, left, keep=True)
                for name in _COUNTS:
                    getattr(found, name)[which] += getattr(new, name)
                found.y[which] = np.where(np.isnan(new.y), found.y[which], new.y)
                met = self._look(walk, which, new, knots, wanted[-1])
                found.outcome[which] = np.where(met, Outcome.RUNNING, new.outcome)
                going = (new.outcome == Outcome.RUNNING) & (new.nsteps == count) & ~met
                which, taken = which[going & (found.nsteps[which] < steps)], taken + count
        self.finish(found, wanted, own)
        return found

    def _look(self, walk: Any, which: np.ndarray, new: Found, knots: Knots, end: float) -> np.ndarray:
        """Find the events of n runs in their last steps; return which runs met one."""
        times = np.where(np.arange(knots.log_t.shape[1]) <= new.nsteps[:, None], knots.log_t, np.nan)
        reached = np.flatnonzero(new.outcome == Outcome.REACHED)
        last = reached, new.nsteps[reached]
        times[last], knots.y[last] = end, new.y[reached, -1]  # no later step begins there
        y = self._states(walk, which, knots, times)
        times = np.column_stack([times[:, 0], between(times, self.looks)])
        values = np.full((len(self.events), *times.shape), np.nan)
        values[:, :, 0] = self.last[:, which]
        place, column = np.nonzero(~np.isnan(times[:, 1:]))
        for e, event in enumerate(self.events):
            values[e, place, column + 1] = self.values(event, which[place], times[place, column + 1], y[place, column])
        self.last[:, which] = values[:, np.arange(len(which)), new.nsteps * self.looks]
        crossed = self.signs[:, which, None] * values[:, :, 1:] <= 0.0
        first = np.where(crossed.any(axis=2), crossed.argmax(axis=2), crossed.shape[2])  # (E, n)
        column = first.min(axis=0)
        met = column < crossed.shape[2]
        at = np.flatnonzero(met)
        if at.size:
            runs, column = which[at], column[at]
            step = column // self.looks

            def sample(i: np.ndarray, x: np.ndarray) -> np.ndarray:
                return walk.sample(runs[i], knots, at[i], step[i], x[:, None])[:, 0]

            self._settle(runs, first[:, at] == column, times[at, column], times[at, column + 1], sample)
        return met

    def _states(self, walk: Any, which: np.ndarray, knots: Knots, times: np.ndarray) -> np.ndarray:
        """(n, k, N) states at the ends of the steps, or `looks` times a step."""
        if self.looks == 1:
            return knots.y[:, 1:]
        place, step = np.nonzero(~np.isnan(times[:, 1:]))
        targets = between(times, self.looks).reshape(*knots.h.shape, self.looks)
        y = np.empty((*targets.shape, self.size))
        y[place, step] = walk.sample(which[place], knots, place, step, targets[place, step])
        return y.reshape(len(which), -1, self.size)

    def _settle(
        self, which: np.ndarray, crossed: np.ndarray, low: np.ndarray, high: np.ndarray, sample: Sample
    ) -> None:
        """Find the first of the events (E, n) that n runs meet between two log times, if all are simple."""
        log_t = np.full(crossed.shape, np.inf)
        for e in range(len(self.events)):
            at = np.flatnonzero(crossed[e])
            if at.size:
                log_t[e, at] = self._roots(e, which, at, bounded(low[at], high[at]), high[at], sample)
        first = log_t.min(axis=0)  # NaN if one is
        self.log_t[which], self.event[which] = first, np.where(np.isnan(first), -1, log_t.argmin(axis=0))
        place = np.flatnonzero(~np.isnan(first))
        self.y[which[place]] = sample(place, first[place])

    def _roots(
        self, e: int, which: np.ndarray, at: np.ndarray, low: np.ndarray, high: np.ndarray, sample: Sample
    ) -> np.ndarray:
        """Log times at which an event occurs in the runs ``which[at]``; NaN if it is not simple."""
        from scipy.optimize import elementwise  # slow to import

        runs, signs = which[at], self.signs[e, which[at]]

        def function(x: np.ndarray, i: np.ndarray) -> np.ndarray:
            return signs[i] * self.values(self.events[e], runs[i], x, sample(at[i], x))

        found = elementwise.find_root(function, (low, high), args=(np.arange(len(at)),), tolerances=_PLACE)
        beyond = np.where(found.f_bracket[0] <= 0.0, *found.bracket)  # so that the condition holds in the last row
        beyond = np.where(found.f_x <= 0.0, found.x, beyond)
        return np.where(low == high, high, np.where(found.success, beyond, np.nan))
