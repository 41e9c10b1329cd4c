"""A solver at work on one field: it takes steps, and gives any moment within a step (dense output)."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from .._arrays import as_like, host
from .._field import CompiledField, combine
from ..kernels import KERNEL, njit
from .clock import fit, place_of, places
from .loops import advance, advance_compiled, evaluate, evaluate_compiled
from .method import DEFAULT, ROWS, START, method, work_for
from .outcome import Outcome
from .stability import DENSE, LARGEST, SETTLED, Response


@njit(**KERNEL)
def weights_at(x, method, weights):
    """Writes the weights of the stages in the dense output at x in [0, 1]."""
    for j in range(method.stages):
        weights[j] = 0.0
    bubble = 1.0
    for m in range(len(method.interpolant)):
        bubble *= x if m % 2 == 0 else 1.0 - x
        for j in range(method.stages):
            weights[j] += bubble * method.interpolant[m, j]


@njit(**KERNEL)
def _weights_at_times(targets, log_t, log_t_new, method, phi, series, scratch, weights):
    """Writes the weights (m, n) of the stages in the dense output at times (m,) in a step, all places of which are
    known."""
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
def _sample_compiled(f, method, work, h, log_t, log_t_new, targets, known, weights, out):
    evaluate_compiled(f, method, work, h, known, len(method.weights))
    n = method.stages
    _weights_at_times(targets, log_t, log_t_new, method, work.phi, work.series, work.scratch[n:], weights)
    for row in range(targets.size):
        combine(work.states[n + START], h, weights[row], work.states, n, out[row])


def _sample(field, method, work, h, log_t, log_t_new, targets, known, weights, out):
    evaluate(field, method, work, h, known, len(method.weights))
    n = method.stages
    phi = host(work.phi)
    _weights_at_times(targets, log_t, log_t_new, method, phi, work.series, work.scratch[n:], weights)
    for row in range(len(targets)):
        field.combine(work.states[n + START], h, weights[row], work.states, n, out[row])


class Batch(NamedTuple):
    """n accepted steps: the n + 1 states y between them (an array where the field lives) and log times, n sizes; and
    what they cost."""

    y: np.ndarray
    h: np.ndarray
    log_t: np.ndarray
    outcome: Outcome
    evaluations: int
    rejected: int


class Stepper:
    """A solver with its workspace, for one field.

    Parameters
    ----------
    field : vector field, see `ceflow._field`
    name : str
        Of a tableau in `tableaus.TABLEAUS`.
    """

    def __init__(self, field, name: str = DEFAULT) -> None:
        self.field, self.method = field, method(name)
        self.work = work_for(field, self.method)
        self.compiled = isinstance(field, CompiledField)
        self.wary = False  # whether a velocity that is small does not mean rest
        self._slow = math.inf, math.inf  # velocities between which there is no need to look at that again
        self._known = 0  # places of the last step that are still in the workspace

    @property
    def y(self):
        """The state at the start of the step, where the field lives."""
        return self.work.states[self.method.stages + START]

    def begin(self, y: np.ndarray) -> None:
        """Puts the state from which to go on."""
        self.y[:] = as_like(y, self.y)

    def advance(self, state: np.ndarray, capacity: int, rtol: float, atol: float, log_t_end: float, most: int) -> Batch:
        """Takes at most so many steps, see `loops`; `state` is updated."""
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
        """Whether implicit steps are to take over, since the next one would be limited by stability."""
        return self._may_be_implicit(state) and Response(self.field, host(self.y)).is_stiff(state[3])

    def _may_be_implicit(self, state: np.ndarray) -> bool:
        """Whether there are implicit steps from here: of small states, and of larger ones in float64 on the host."""
        large = isinstance(self.y, np.ndarray) and self.y.dtype == np.float64
        return self.field.size <= (LARGEST if large else min(LARGEST, DENSE)) and state[0] > -math.inf

    def judged(self, outcome: Outcome, state: np.ndarray, rtol: float, atol: float) -> Outcome:
        """What the outcome of a batch of steps means for the run: where the state moves slowly, whether it is at rest.

        A small state that is not is left to implicit steps; a large one, which takes a hundred evaluations, is looked
        at again when its velocity has fallen as far as it has to, or has risen.
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

    def sample(self, y: np.ndarray, h: float, log_t: float, log_t_new: float, targets: np.ndarray) -> np.ndarray:
        """States (m, N), on the host, at the times `targets` within the step of size h from y at log_t to log_t_new."""
        self.begin(y)
        return self._sample(h, log_t, log_t_new, targets, 0)

    def sample_last(self, h: float, log_t: float, log_t_new: float, target: float) -> np.ndarray:
        """The state (N,) at a time within the step that reached the end, which need not be taken again."""
        return self._sample(h, log_t, log_t_new, np.array([target]), self._known)[0]

    def _sample(self, h, log_t, log_t_new, targets, known) -> np.ndarray:
        out = self.field.allocate(len(targets), self.field.size)
        # not as a float64 of NumPy, which would not let short floats be multiplied as such
        weights = np.empty((len(targets), self.method.stages))
        arguments = self.method, self.work, float(h), log_t, log_t_new, targets, known, weights, out
        if self.compiled:
            _sample_compiled.direct(self.field.compiled)(self.field.functions, *arguments)
            self.field.count(len(self.method.weights) - known + len(targets))
        else:
            _sample(self.field, *arguments)
        return host(out)

    @staticmethod
    def arrays(name: str = DEFAULT) -> int:
        """How many arrays like a state a stepper works in."""
        return method(name).stages + ROWS
