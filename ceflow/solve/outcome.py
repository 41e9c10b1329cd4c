"""How a run ended, or a part of it."""

from __future__ import annotations

import enum
import math


class Outcome(enum.IntEnum):
    """Why the stepper stopped; of a run, why it ended.

    Examples
    --------
    >>> run = cf.integrate(cf.SpectralFlow(cf.hadamard(4)), [1e-3, 2e-3, 3e-3], 1e3, max_steps=5)
    >>> run.outcome.name, run.success
    ('STEPS_SPENT', False)
    """

    RUNNING = 0  # not ended: more steps can be taken
    REACHED = 1  # the end of the time span
    CHANGED = 2  # what moves the state has to be looked at again
    AT_REST = 3  # an equilibrium, within the tolerance
    CLOSED_FORM = 4  # a closed form holds to the end
    STOPPED = 5  # the criterion of `until` was met
    UNMET = 6  # the criterion of `until` is never met
    STEPS_SPENT = 7
    STEP_TOO_SMALL = 8
    INTERRUPTED = 9
    STIFF = 10  # of explicit steps: implicit ones are to take over
    DIVERGED = 11  # of gradient descent: its step is too large
    RECORDED = 12  # states that others made: no run of a flow
    FAILED = 13  # of a member of an ensemble: `integrate` would raise an error

    @property
    def success(self) -> bool:
        """Whether a run that ended so did what it was asked for."""
        return self in (Outcome.REACHED, Outcome.AT_REST, Outcome.CLOSED_FORM, Outcome.STOPPED, Outcome.RECORDED)

    def explained(self, log_t_end: float, event: object = None, max_steps: int = 0, rtol: float = math.nan) -> str:
        """The same in words, of a run that got to that time."""
        text = _TEXTS[self].format(end=log_t_end, event=event, max_steps=max_steps, rtol=rtol)
        early = not self.success and self != Outcome.RUNNING
        return text + (f"; stopped at log t = {log_t_end:.6g}" if early else "")


_TEXTS = {
    Outcome.RUNNING: "not finished; got to log t = {end:.6g}",
    Outcome.REACHED: "reached the end of the time span",
    Outcome.AT_REST: "reached the end of the time span (at rest: nothing can move any more)",
    Outcome.CLOSED_FORM: "reached the end of the time span (followed the exact collapsed solution to the end)",
    Outcome.STOPPED: "stopped by {event}",
    Outcome.UNMET: "the criterion of `until` was not met",
    Outcome.STEPS_SPENT: "gave up after max_steps = {max_steps} attempted steps",
    Outcome.STEP_TOO_SMALL: "the step size fell to rounding, rtol = {rtol:g} cannot be met",
    Outcome.INTERRUPTED: "interrupted",
    Outcome.FAILED: "the flow cannot tell how to go on: integrate this start by itself for the reason",
}
