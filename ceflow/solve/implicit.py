"""Solver with implicit steps for stiff parts of the path; same interface as `stepping.Stepper`.

A step depends on its start and size only, and can be repeated like an explicit one. It takes some simplified Newton
iterations, with a Jacobian by finite differences: a matrix, or its action on a few directions (see `newton`).
"""

from __future__ import annotations

import math

import numpy as np

from .._arrays import as_like, host
from .._field import CompiledField, Event
from .._tolerances import CROSSING_SHARE, STEP_SHARE
from .clock import SCRATCH, fit, place_of, time_by_samples
from .collocation import NAME, collocation
from .controller import SAFETY, SHRINK, SMALLEST_ERROR, SMALLEST_STEP, ended, narrowed
from .newton import Dense, Projected, jacobian
from .outcome import Outcome
from .stability import SETTLED, Response
from .stepping import Batch, Stepper, each_step, weights_at

GROWTH = 8.0  # largest growth of a step: near equilibrium steps grow like time
LONGEST = 4.0  # step in log t: rates grow by its exponential within it, which the filtered error would not show
_BALANCE = 1e-2  # relative net force below which steps are in log t
_CONVERGED = 1e-2  # Newton residual, relative to the tolerance of a step
_ROUNDS = 14
_FASTEST = 1e-2  # fastest assumed convergence: the first change also corrects the guess
_MOVING = 8.0  # smallest meaningful velocity relative to the one from rounding of the state


class ImplicitStepper:
    """Solver with workspace for one field; see `stepping.Stepper`.

    If there are equilibria, or forces nearly cancel, steps are in log t, in which convergence to rest is short, and
    time is not computed: phi converges, and ``dy/dlog t = t exp(-phi) dy/dtau`` is smooth. Otherwise phi can increase
    by hundreds within a step, and steps are in the clock; this is not possible if forces nearly cancel, because small
    displacements then change the clock rate strongly. The state at the start of a step determines the choice.
    """

    def __init__(self, field) -> None:
        self.field, self.method, self.in_log_time = field, collocation(), True
        self.compiled = isinstance(field, CompiledField)  # fast: many steps per call
        n, size = self.method.stages, field.size
        self.y = np.zeros(size)
        self._velocities = np.zeros((n, size))  # velocities at the nodes
        self._phi = np.empty((2, n + 1))  # phi and a at the start and the nodes
        self._series, self._scratch = np.empty((2, n + 1)), np.empty(SCRATCH)

    def begin(self, y: np.ndarray) -> None:
        """Set the initial state."""
        self.y[:] = host(y)

    def is_stiff(self, state: np.ndarray) -> bool:
        """Whether to change the method: never."""
        return False

    def judged(self, outcome: Outcome, state: np.ndarray, rtol: float, atol: float) -> Outcome:
        """Return the outcome unchanged: every step tests for rest."""
        return outcome

    def _solve(self, here: Response, slopes: Dense | Projected, h: float, size, enough: float) -> int:
        """Compute the velocities of a step of size h by simplified Newton iteration.

        Return the number of iterations, or 0 on failure. `size` is the norm of a change of the states at the nodes, and
        `enough` its limit. With `enough` 0 it iterates until changes stop decreasing, and does not fail.
        """
        method, phi = self.method, np.empty((2, self.method.stages))
        inverse = np.linalg.inv(method.coefficients)
        # In log t velocities have a factor t; it is moved to the other side.
        growth = np.exp(method.nodes[:, None] * h) if self.in_log_time else 1.0
        solve = slopes.inverse(inverse / growth, h)
        # At equilibrium the velocity of a part of the state is rounding times t: do not extrapolate it.
        moves = np.abs(here.velocity) > _MOVING * here.precision * slopes.response(np.abs(self.y))
        rise = h * np.outer(method.nodes, np.where(moves, here.velocity, 0.0))
        velocities, before = np.empty_like(rise), math.inf
        for rounds in range(1, _ROUNDS + 1):
            here.rates(self.y + rise, velocities, phi)
            residual = h * velocities - inverse @ rise / growth
            if not np.isfinite(residual).all():
                return 0
            change = solve(residual)
            rise += change
            new = size(change)
            rate = new / before if rounds > 1 else 1.0
            stuck = rounds > 2 and not rate < 0.95
            left = new * min(1.0, max(rate, _FASTEST) / max(1.0 - rate, 1e-3))  # estimated from the decrease of changes
            if left <= enough or (enough == 0.0 and (stuck or rounds == _ROUNDS)):
                self._velocities[:] = inverse @ rise / h
                if not self.in_log_time:  # time depends on phi, which must belong to the current states
                    here.rates(self.y + rise, velocities, phi)
                self._phi[:, :1], self._phi[:, 1:] = here.phi, phi
                return rounds
            if stuck:
                return 0
            before = new
        return 0

    def _time(self, h: float, log_t: float, rtol: float) -> tuple[float, float]:
        """log t at the end of a solved step, and its error in units of the tolerance."""
        if self.in_log_time:
            return log_t + h, 0.0
        return time_by_samples(self._phi, h, log_t, self.method, True, self._series, self._scratch, rtol)

    def _start(self, log_t: float) -> Response:
        """Field at the start of a step, which determines the variable of the step."""
        here = start_of_step(self.field, self.y, log_t)
        self.in_log_time = here.log_t is not None
        return here

    def advance(self, state: np.ndarray, capacity: int, rtol: float, atol: float, log_t_end: float, most: int) -> Batch:
        """Take at most `capacity` steps, see `loops`; update `state`."""
        method, phi, size = self.method, self._phi, self.y.size
        knots_y, knots_h, knots_log_t = np.empty((capacity + 1, size)), np.empty(capacity), np.empty(capacity + 1)
        log_t, h, most_growth = float(state[0]), float(state[3]), float(state[4])
        knots_y[0], knots_log_t[0] = self.y, log_t
        done, evaluations, rejected, outcome, slopes = 0, 1, 0, Outcome.RUNNING, None
        here = self._start(log_t)
        clear, crossed, usual = 0.0, math.inf, h  # see `loops.advance_compiled`
        while outcome == Outcome.RUNNING and done < capacity:
            outcome = Outcome(ended(log_t, log_t_end, done + rejected, most, h))
            if outcome != Outcome.RUNNING:
                break
            if slopes is None:
                slopes = jacobian(here)
                if self._settled(here, slopes, rtol, atol):
                    outcome = Outcome.AT_REST
                    break
            rounding = here.size(4.0 * here.precision * np.abs(self.y[None]), rtol, atol)
            change = lambda change, here=here: here.size(change, rtol, atol)  # noqa: E731
            rounds = self._solve(here, slopes, h, change, max(_CONVERGED, rounding))
            evaluations += method.stages * ((rounds or _ROUNDS) + (not self.in_log_time))
            error, log_t_new = math.inf, log_t
            if rounds:
                end = self.y + h * (method.coefficients[-1] @ self._velocities)
                there = Response(self.field, end, log_t + h if self.in_log_time else None)
                evaluations, phi[:, -1:] = evaluations + 1, there.phi
                # error of an embedded solution, filtered to be independent of stiffness
                error = h * (method.damping * here.velocity + method.estimate @ self._velocities)
                filtered = h * method.damping * (math.exp(h) if self.in_log_time else 1.0)
                error = there.size(slopes.filtered(filtered, error)[None], rtol, atol)
                if error <= 1.0 and phi[0, -1] < np.inf:
                    log_t_new, time_error = self._time(h, log_t, rtol)
                    error = max(error, time_error)
            if not (error <= 1.0 and log_t_new >= log_t):
                factor = SAFETY * error ** (-1.0 / method.order) if 1.0 < error < math.inf else 0.4
                h, rejected, most_growth = h * max(SHRINK, min(factor, 0.9)), rejected + 1, 1.0
                clear, crossed = 0.0, math.inf
                continue
            like = self.field.allocate(1, size)
            event = self.field.event(as_like(there.y, like), as_like(there.velocity, like), rtol)
            if crossed == math.inf:
                usual = h * min(most_growth, SAFETY * max(error, SMALLEST_ERROR) ** (-1.0 / method.order))
            clear, crossed = (clear, h) if event == Event.CROSSING else (h, crossed)
            speed = STEP_SHARE * there.size(there.velocity[None], 1.0, 0.0)
            bracket = max(CROSSING_SHARE * rtol / max(speed, 1.0), 2.0 * SMALLEST_STEP)
            if crossed < math.inf and not (event == Event.CROSSING and crossed - clear <= bracket):
                h, rejected = narrowed(clear, crossed, bracket), rejected + 1
                continue
            knots_y[done + 1], knots_h[done], knots_log_t[done + 1] = there.y, h, log_t_new
            done, log_t, h, clear, crossed = done + 1, log_t_new, usual, 0.0, math.inf
            evaluations, slopes = evaluations + slopes.products, None
            most_growth = min(2.0 * max(most_growth, 1.0), GROWTH)  # smaller growth after a failure
            h = min(h, LONGEST) if self.in_log_time else h
            here, evaluations = start_of_step(self.field, there.y, log_t), evaluations + 1
            if self.in_log_time != (here.log_t is not None):
                h = converted(h, here, log_t)
            if log_t >= log_t_end:
                outcome = Outcome.REACHED
                break
            changed = event in (Event.CHANGE, Event.CROSSING)
            outcome = Outcome.CHANGED if changed else Outcome.RUNNING
            self.y[:], self.in_log_time = there.y, here.log_t is not None
        evaluations += 0 if slopes is None else slopes.products
        state[:] = log_t, *here.phi[:, 0], h, most_growth
        return Batch(knots_y[: done + 1], knots_h[:done], knots_log_t[: done + 1], outcome, evaluations, rejected)

    def _settled(self, here: Response, slopes: Dense | Projected, rtol: float, atol: float) -> bool:
        return self.field.has_equilibria and here.is_slow() and slopes.distance(here, rtol, atol) <= SETTLED

    # -- dense output --------------------------------------------------------------------------------------------------

    def sample(self, y: np.ndarray, h: np.ndarray, log_t: np.ndarray, targets: np.ndarray) -> np.ndarray:
        """States (m, N) at increasing `targets` within n steps from the states y (n + 1, N) at log_t."""
        out = np.empty((len(targets), self.y.size))

        def one(step: int, rows: slice, last: bool) -> None:
            self.begin(y[step])
            here = self._start(log_t[step])
            self._solve(here, jacobian(here), h[step], lambda change: float(np.abs(change).max()), 0.0)
            self._sample(h[step], log_t[step], log_t[step + 1], targets[rows], out[rows])

        return each_step(one, y, log_t, targets, out)

    def sample_last(self, steps: Batch, target: float) -> np.ndarray:
        """State (N,) at a time within the last of these steps, without repeating it."""
        out = np.empty((1, self.y.size))
        self._sample(steps.h[-1], steps.log_t[-2], steps.log_t[-1], np.array([target]), out)
        return out[0]

    def _sample(self, h, log_t, log_t_new, targets, out) -> None:
        if not self.in_log_time:
            fit(self._phi, self.method, self._series)
        weights = np.empty(self.method.stages)
        for row, target in enumerate(targets):
            if self.in_log_time:
                place = (target - log_t) / h
            else:
                place = place_of(target, log_t, log_t_new, self._series, self._scratch)
            weights_at(place, self.method, weights)
            out[row] = self.y + h * (weights @ self._velocities)


def stepper(field, name: str) -> Stepper | ImplicitStepper:
    """Solver for one field, by the name of a tableau in `tableaus.TABLEAUS` or of the implicit method."""
    return ImplicitStepper(field) if name == NAME else Stepper(field, name)


def first_step(field, y: np.ndarray, state: np.ndarray) -> float:
    """First implicit step size at y, from the state of a `stepping.Stepper`."""
    here = start_of_step(field, y, state[0])
    return float(state[3]) if here.log_t is None else converted(state[3], here, state[0])


def start_of_step(field, y: np.ndarray, log_t: float) -> Response:
    """Field at y, in log t if steps from there are in log t."""
    balanced = field.has_equilibria or (
        hasattr(field, "share_that_moves") and field.share_that_moves(as_like(y, field.allocate(1))) < _BALANCE
    )
    return Response(field, y, log_t if balanced else None)


def converted(h: float, here: Response, log_t: float) -> float:
    """Convert a step size of the clock to log t, or back, depending on the variable of steps here."""
    rise = math.exp(min(max(here.phi[0, 0] - log_t, -700.0), 700.0))
    return min(1.0, h / rise if here.log_t is None else h * rise)
