"""Outcomes of runs."""

from __future__ import annotations

import enum
import math


class Outcome(enum.IntEnum):
    """Reason for the end of a run, or of a call of the stepper.

    Examples
    --------
    >>> run = cf.integrate(cf.SpectralFlow(cf.hadamard(4)), [1e-3, 2e-3, 3e-3], 1e3, max_steps=5)
    >>> run.outcome.name, run.success
    ('STEPS_SPENT', False)
    """

    RUNNING = 0  # not ended; steps can continue
    REACHED = 1  # the end of the time span
    CHANGED = 2  # the field must be chosen again
    AT_REST = 3  # an equilibrium, within the tolerance
    CLOSED_FORM = 4  # a closed form holds to the end
    STOPPED = 5  # an event of `until` occurred
    UNMET = 6  # no event of `until` occurs
    STEPS_SPENT = 7
    STEP_TOO_SMALL = 8
    INTERRUPTED = 9
    STIFF = 10  # explicit steps must be replaced by implicit ones
    DIVERGED = 11  # gradient descent with a too large step
    RECORDED = 12  # recorded states, not integrated
    FAILED = 13  # member of an ensemble for which `integrate` would raise an error

    @property
    def success(self) -> bool:
        """Whether a run with this outcome reached its end or an event."""
        return self in (Outcome.REACHED, Outcome.AT_REST, Outcome.CLOSED_FORM, Outcome.STOPPED, Outcome.RECORDED)

    def explained(self, log_t_end: float, event: object = None, max_steps: int = 0, rtol: float = math.nan) -> str:
        """Message for a run that ended at this time."""
        text = _TEXTS[self].format(end=log_t_end, event=event, max_steps=max_steps, rtol=rtol)
        early = not self.success and self != Outcome.RUNNING
        return text + (f"; stopped at log t = {log_t_end:.6g}" if early else "")


_TEXTS = {
    Outcome.RUNNING: "not finished; reached log t = {end:.6g}",
    Outcome.REACHED: "reached the end of the time span",
    Outcome.AT_REST: "reached the end of the time span (at rest: the state is constant)",
    Outcome.CLOSED_FORM: "reached the end of the time span (by the exact collapsed solution)",
    Outcome.STOPPED: "stopped by {event}",
    Outcome.UNMET: "no event of `until` occurred",
    Outcome.STEPS_SPENT: "stopped after max_steps = {max_steps} attempted steps",
    Outcome.STEP_TOO_SMALL: "the step size decreased to rounding: rtol = {rtol:g} cannot be met",
    Outcome.INTERRUPTED: "interrupted",
    Outcome.FAILED: "the flow has no unique continuation: integrate this start separately for the reason",
}
