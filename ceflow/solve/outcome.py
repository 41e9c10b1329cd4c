"""How a run ended, or a part of it."""

from __future__ import annotations

import enum


class Outcome(enum.IntEnum):
    """Why the stepper stopped; of a run, why it ended."""

    RUNNING = 0  # not ended: more steps can be taken
    REACHED = 1  # the end of the time span
    CHANGED = 2  # what moves the state has to be looked at again
    AT_REST = 3  # nothing moves any more
    CLOSED_FORM = 4  # a closed form holds to the end
    STOPPED = 5  # the criterion of `until` was met
    UNMET = 6  # the criterion of `until` is never met
    STEPS_SPENT = 7
    STEP_TOO_SMALL = 8
    INTERRUPTED = 9
    STIFF = 10  # of explicit steps: implicit ones are to take over
    DIVERGED = 11  # of gradient descent: its step is too large

    @property
    def success(self) -> bool:
        """Whether a run that ended so did what it was asked for."""
        return self in (Outcome.REACHED, Outcome.AT_REST, Outcome.CLOSED_FORM, Outcome.STOPPED)
