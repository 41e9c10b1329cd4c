"""Intervals of a run: defect of the layers, and other measurements."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ._lyapunov import Lyapunov, Seen
from ._propagation import Projected, Propagator, Response, doubt, propagator
from ._quadrature import NODES, POINTS, derivative, integral, turnovers
from ._view import States, View

SAMPLES, FEWEST = 500 * NODES, 4 * NODES  # number of evaluated states; fewer if they are large
VOLUME = 2**23  # numbers in all evaluated states; an eighth of it at a time
KNOTS = 400  # largest number of rows as ends of intervals
RESOLVED = 0.1  # quadrature error, in tolerances, below which an interval is not halved
NARROW = 1e-11  # relative length in log t below which an interval is not halved


class Interval(NamedTuple):
    """Measurements between two times; from t = 0 if the first is -inf."""

    low: float
    high: float
    log_t: NDArray  # (NODES,)
    defect: NDArray  # (NODES,) in tolerances
    doubt: float  # error of the quadrature, in tolerances
    drift: NDArray  # (NODES,) drift of the conserved quantities
    log_objective: NDArray  # (NODES,); this and the following as in States
    largest: NDArray
    reach: NDArray
    least_force: NDArray
    fall: float  # largest relative decrease of a singular value between nodes
    v: Seen
    propagator: Propagator | Projected


class Looker:
    """Evaluates a run with dense output.

    Attributes
    ----------
    samples : int
        Number of states evaluated so far.
    total : int
        Number of intervals of the run before halving.
    """

    def __init__(self, run, view: View, v: Lyapunov, tolerance: float, atol: float) -> None:
        self.run, self.view, self.v, self.tolerance, self.atol = run, view, v, tolerance, atol
        self.samples = self.total = 0

    def intervals(self) -> list[Interval]:
        """Intervals on which the quadrature resolves the run, up to the limit of states."""
        pairs = self.pairs()
        self.total = len(pairs)
        budget = most_states(self.view) // NODES
        found, queue = [], [pairs[i] for i in some(len(pairs), budget)]
        while queue:
            seen, batch = [], max(1, VOLUME // 8 // (NODES * self.view.numbers))
            for i in range(0, len(queue), batch):
                seen += self.look(queue[i : i + batch])
            room = max((2 * budget - self.samples // NODES) // 2, 0)
            again = sorted(filter(unresolved, seen), key=lambda interval: -interval.doubt)
            found += [interval for interval in seen if not unresolved(interval)] + again[room:]
            middles = [(interval.low, middle(interval), interval.high) for interval in again[:room]]
            queue = [pair for ends in middles for pair in pairwise(ends)]
        return sorted(found, key=lambda interval: interval.high)

    def pairs(self) -> list[tuple[float, float]]:
        """Initial intervals: from 0 to the first motion, and between selected rows with limited length."""
        run, end = self.run, self.run.log_t_end
        first = self.view.states(run.at(log_t=-np.inf))
        fastest = float(first.rate.max(initial=0.0))
        begin = min(end, math.log(0.1 / fastest) - float(first.log_scale[0])) if fastest > 0.0 else end
        rows = run.log_t[(run.log_t > begin) & (run.log_t < end)]
        fine = [-np.inf, begin]
        for low, high in pairwise([begin, *rows[some(len(rows), KNOTS)], end]):
            while low < high:
                rest, width = high - low, 2.0 + 0.25 * (low - begin)
                low = high if rest <= width else low + min(width, 0.5 * rest)
                fine.append(low)
        return list(pairwise(fine))

    def look(self, pairs: list[tuple[float, float]]) -> list[Interval]:
        """Measurements on several intervals."""
        nodes, log_weights = [], []
        for low, high in pairs:
            if low == -np.inf:  # integrate over t
                nodes.append(high + np.log(POINTS))
                log_weights.append(np.full(NODES, high))
            else:
                log_t = low + (high - low) * POINTS
                log_t[-1] = high
                nodes.append(log_t)
                log_weights.append(log_t + math.log(high - low))
        self.samples += NODES * len(pairs)
        states = self.view.states(self.run.at(log_t=np.concatenate(nodes)))
        response = self.view.response(states)
        response = response._replace(size=response.size + self.atol / self.tolerance)
        parts = [slice(NODES * i, NODES * (i + 1)) for i in range(len(pairs))]
        return [
            self.judge(low, high, states.rows(part), response.rows(part), log_weight)
            for (low, high), part, log_weight in zip(pairs, parts, log_weights, strict=True)
        ]

    def judge(self, low: float, high: float, states: States, response: Response, log_weight: NDArray) -> Interval:
        """Measurements on one interval."""
        view, size = self.view, states.size
        scale = np.exp(np.minimum(states.log_scale + log_weight, 700.0)).reshape((NODES,) + (1,) * (states.w.ndim - 1))
        speed = states.velocity * scale
        moved, turnover = integral(speed), turnovers(states.rate * scale)
        pace = view.pace(derivative(states.w)) / ((high - low) if low > -np.inf else 1.0)
        size = size + (pace if low > -np.inf else pace * POINTS.reshape((NODES,) + (1,) * (pace.ndim - 1)))
        # effect of rounding: of margins, which are as large as singular values, and of log t
        reach = states.largest.max() + abs(high) + (abs(low) if low > -np.inf else 0.0)
        allowed = self.tolerance + 8.0 * view.eps * (1.0 + reach)
        forgets = 1.0 + turnover
        coarse = integral(speed[::2])[-1:] - moved[-1:]
        s = states.singular_values
        # every second node is enough for V
        half, turnover_of_all = slice(None, None, 2), max(float(np.max(turnover)), 0.0)
        one = propagator(response, states.log_t, states.log_scale + log_weight, low, high)
        if isinstance(one, Propagator):
            blur = doubt(one, view.joint) / allowed
        else:
            blur = view.error(coarse, size[-1:], forgets[-1:], allowed, self.atol)[0]
        return Interval(
            low=low,
            high=high,
            log_t=states.log_t,
            defect=view.error(states.w - states.w[:1] - moved, size, forgets, allowed, self.atol),
            doubt=float(blur),
            drift=view.drift(states.log_t, states.w),
            log_objective=states.log_objective,
            largest=states.largest,
            reach=states.reach,
            least_force=states.least_force,
            fall=float(np.max(-np.diff(s, axis=0) / np.abs(s[:-1]))),
            v=self.v.look(states.rows(half), log_weight[half], allowed, turnover_of_all),
            propagator=one,
        )


def unresolved(interval: Interval) -> bool:
    """Whether to halve the interval."""
    return interval.doubt > RESOLVED and interval.high - interval.low >= NARROW * max(1.0, abs(interval.high))


def middle(interval: Interval) -> float:
    """Point at which an interval is halved."""
    return 0.5 * (interval.low + interval.high) if interval.low > -np.inf else interval.high - math.log(2.0)


def most_states(view: View) -> int:
    """Approximate limit of the number of evaluated states."""
    return max(FEWEST, min(SAMPLES, VOLUME // view.numbers))


def some(n: int, most: int) -> NDArray:
    """Evenly spaced indices including both ends."""
    return np.arange(n) if n <= most else np.unique(np.linspace(0, n - 1, most).round().astype(int))
