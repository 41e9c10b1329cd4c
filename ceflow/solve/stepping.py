"""Solver for one field: steps and dense output."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from .._arrays import as_like, host
from .._field import CompiledField, combine
from ..kernels import KERNEL, njit
from .clock import fit, place_of, places
from .loops import advance, advance_compiled, copy, evaluate, evaluate_compiled
from .method import DEFAULT, ROWS, START, method, work_for
from .outcome import Outcome
from .stability import DENSE, LARGEST, SETTLED, Response


@njit(**KERNEL)
def weights_at(x, method, weights):
    """Write the weights of the stages in the dense output at x in [0, 1]."""
    for j in range(method.stages):
        weights[j] = 0.0
    bubble = 1.0
    for m in range(len(method.interpolant)):
        bubble *= x if m % 2 == 0 else 1.0 - x
        for j in range(method.stages):
            weights[j] += bubble * method.interpolant[m, j]


@njit(**KERNEL)
def _weights_at_times(targets, log_t, log_t_new, method, phi, series, scratch, weights):
    """Write the weights (m, n) of the stages in the dense output at times (m,) in a step with all points evaluated."""
    fit(phi, method, series)
    for row in range(targets.size):
        weights_at(place_of(targets[row], log_t, log_t_new, series, scratch), method, weights[row])


@_weights_at_times.vectorized
def _all_weights_at_times(targets, log_t, log_t_new, method, phi, series, scratch, weights):
    fit.interpreted(phi, method, series)
    x = places(targets, log_t, log_t_new, series)[:, None]
    factors = np.where(np.arange(len(method.interpolant)) % 2 == 0, x, 1.0 - x)
    np.matmul(np.cumprod(factors, axis=1), method.interpolant, out=weights)


@njit(**KERNEL)
def sample_step(f, method, work, h, log_t, log_t_new, targets, known, weights, out):
    """Write the states at times (m,) within the step in the workspace, of which `known` points are evaluated."""
    evaluate_compiled(f, method, work, h, known, len(method.weights))
    n = method.stages
    _weights_at_times(targets, log_t, log_t_new, method, work.phi, work.series, work.scratch[n:], weights)
    for row in range(targets.size):
        combine(work.states[n + START], h, weights[row], work.states, n, out[row])


@njit(**KERNEL)
def sample_compiled(f, method, work, y, h, log_t, targets, known, weights, out):
    """Write the states at increasing `targets` within n steps from the states y (n + 1, N) at log_t.

    `known` points of the last step are already in the workspace. Return the number of evaluations.
    """
    step, first, evaluations = 0, 0, 0
    while first < targets.size:
        while step < h.size and log_t[step + 1] <= targets[first]:
            step += 1
        end = first + 1
        if step == h.size or log_t[step] == targets[first]:
            copy(y[step], out[first])
        else:
            while end < targets.size and targets[end] < log_t[step + 1]:
                end += 1
            known = known if step == h.size - 1 else 0
            copy(y[step], work.states[method.stages + START])
            times, own, rows = targets[first:end], weights[first:end], out[first:end]
            sample_step(f, method, work, h[step], log_t[step], log_t[step + 1], times, known, own, rows)
            evaluations += len(method.weights) - known
        first = end
    return evaluations


def _sample(field, method, work, h, log_t, log_t_new, targets, known, weights, out):
    """`sample_step` on arrays of any library."""
    evaluate(field, method, work, h, known, len(method.weights))
    n = method.stages
    phi = host(work.phi)
    _weights_at_times(targets, log_t, log_t_new, method, phi, work.series, work.scratch[n:], weights)
    for row in range(len(targets)):
        field.combine(work.states[n + START], h, weights[row], work.states, n, out[row])


def each_step(
    sample: Callable[[int, slice, bool], None], y: Any, log_t: np.ndarray, targets: np.ndarray, out: Any
) -> Any:
    """Write the states at increasing `targets` to `out`: call ``sample(step, rows, whether it is the last step)`` for
    each step with targets within it, and copy the states at its ends."""
    step = np.searchsorted(log_t, targets, side="right") - 1
    exact = log_t[step] == targets
    for row in np.flatnonzero(exact):
        out[row] = as_like(y[step[row]], out)
    for i in np.unique(step[~exact]):
        rows = np.flatnonzero((step == i) & ~exact)
        sample(int(i), slice(rows[0], rows[-1] + 1), i == len(log_t) - 2)
    return out


class Batch(NamedTuple):
    """n accepted steps: n + 1 states y (on the device of the field) and log times, n sizes, and their cost."""

    y: np.ndarray
    h: np.ndarray
    log_t: np.ndarray
    outcome: Outcome
    evaluations: int
    rejected: int


class Stepper:
    """Solver with workspace for one field.

    Parameters
    ----------
    field : vector field, see `ceflow._field`
    name : str
        Name of a tableau in `tableaus.TABLEAUS`.
    """

    def __init__(self, field, name: str = DEFAULT) -> None:
        self.field, self.method = field, method(name)
        self.work = work_for(field, self.method)
        self.compiled = isinstance(field, CompiledField)
        self.wary = False  # whether a small velocity does not imply rest
        self._slow = math.inf, math.inf  # velocities between which no new test for rest is needed
        self._known = 0  # points of the last step that are still in the workspace

    @property
    def y(self):
        """State at the start of the step, on the device of the field."""
        return self.work.states[self.method.stages + START]

    def begin(self, y: np.ndarray) -> None:
        """Set the initial state."""
        self.y[:] = as_like(y, self.y)

    def advance(self, state: np.ndarray, capacity: int, rtol: float, atol: float, log_t_end: float, most: int) -> Batch:
        """Take at most `capacity` steps, see `loops`; update `state`."""
        y, log_t, h = self.field.allocate(capacity + 1, self.field.size), np.empty(capacity + 1), np.empty(capacity)
        y[0], log_t[0] = self.y, state[0]
        rest = 0.0 if self.wary else rtol
        arguments = self.method, self.work, state, y[1:], h, log_t[1:], rtol, atol, rest, log_t_end, most
        if self.compiled:
            loop = advance_compiled.direct(self.field.compiled)
            found = loop(self.field.functions, *arguments, self.field.has_equilibria)
            self.field.count(found[2])
        else:
            found = advance(self.field, *arguments)
        done, outcome, evaluations, rejected, known = found
        self._known = known if outcome == Outcome.REACHED and done else 0
        return Batch(y[: done + 1], h[:done], log_t[: done + 1], Outcome(outcome), evaluations, rejected)

    def is_stiff(self, state: np.ndarray) -> bool:
        """Whether to change to implicit steps, because stability would limit the next one."""
        return self._may_be_implicit(state) and Response(self.field, host(self.y)).is_stiff(state[3])

    def _may_be_implicit(self, state: np.ndarray) -> bool:
        """Whether implicit steps are available: for small states, and for larger ones in float64 on the host."""
        large = isinstance(self.y, np.ndarray) and self.y.dtype == np.float64
        return self.field.size <= (LARGEST if large else min(LARGEST, DENSE)) and state[0] > -math.inf

    def judged(self, outcome: Outcome, state: np.ndarray, rtol: float, atol: float) -> Outcome:
        """Outcome of the run after a batch of steps: if the state moves slowly, test whether it is at rest.

        A small state that is not at rest is left to implicit steps. For a large one the test needs a hundred
        evaluations; it is repeated when its velocity has decreased enough, or has increased.
        """
        if outcome != Outcome.AT_REST and not (outcome == Outcome.RUNNING and self.wary):
            return outcome
        here = Response(self.field, host(self.y))
        if not np.any(here.velocity) or here.phi[0, 0] == np.inf:
            return Outcome.AT_REST
        velocity = here.size(here.velocity[None], 1.0, 0.0)
        if self._slow[0] < velocity < self._slow[1]:
            return Outcome.RUNNING
        distance = here.distance(rtol, atol)
        if distance <= SETTLED:
            return Outcome.AT_REST
        self.wary, self._slow = True, (velocity * min(max(SETTLED / distance, 0.1), 0.7), 2.0 * velocity)
        return Outcome.STIFF if self._may_be_implicit(state) else Outcome.RUNNING

    def sample(self, y: Any, h: np.ndarray, log_t: np.ndarray, targets: np.ndarray, known: int = 0) -> np.ndarray:
        """States (m, N), on the host, at increasing `targets` within n steps from the states y (n + 1, N) at log_t.

        `known` points of the last step are already in the workspace."""
        out = self.field.allocate(len(targets), self.field.size)
        weights = np.empty((len(targets), self.method.stages))
        if self.compiled:
            steps = (np.ascontiguousarray(array, float) for array in (y, h, log_t, targets))
            kernel = sample_compiled.direct(self.field.compiled)
            evaluations = kernel(self.field.functions, self.method, self.work, *steps, known, weights, out)
            self.field.count(evaluations + len(targets))
            return out

        def one(step: int, rows: slice, last: bool) -> None:
            self.begin(y[step])
            # not a NumPy float64, which would promote float32 arrays
            here = float(h[step]), log_t[step], log_t[step + 1], targets[rows], known if last else 0
            _sample(self.field, self.method, self.work, *here, weights[rows], out[rows])

        return host(each_step(one, y, log_t, targets, out))

    def sample_last(self, steps: Batch, target: float) -> np.ndarray:
        """State (N,) at a time within the last of these steps, without repeating it."""
        return self.sample(steps.y[-2:], steps.h[-1:], steps.log_t[-2:], np.array([target]), self._known)[0]

    @staticmethod
    def arrays(name: str = DEFAULT) -> int:
        """Number of arrays of the size of a state in a stepper."""
        return method(name).stages + ROWS
