"""What a claim is."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from .._certificate import FAILED, PASSED, SKIPPED, Check
from .._examination import Examination

NO_DENSE_OUTPUT = "there is no dense output"


class Found(NamedTuple):
    """What was found of a claim; see Check."""

    holds: bool
    value: float | None = None
    limit: float | None = None
    log_t: float | None = None
    note: str = ""


class Claim(ABC):
    """A statement about runs.

    Attributes
    ----------
    name : str
    vital : bool
        Whether it makes no sense to go on with a run that fails it.
    """

    name = ""
    vital = False

    def title(self, exam: Examination) -> str:
        """What it is called for this run; empty where there is nothing to be said."""
        return self.name

    def why_not(self, exam: Examination) -> str:
        """Why it is not claimed of this run; empty if it is."""
        return ""

    @abstractmethod
    def measure(self, exam: Examination) -> Found:
        """What it comes to on this run, and what it may come to."""

    def check(self, exam: Examination) -> Check:
        """The verdict."""
        reason = self.why_not(exam)
        if reason:
            return Check(self.title(exam), SKIPPED, note=reason)
        holds, value, limit, log_t, note = self.measure(exam)
        return Check(self.title(exam), PASSED if holds else FAILED, value, limit, log_t, note)


def found(value: float, limit: float, log_t: float | None, note: str = "") -> Found:
    """A value that may not exceed its limit; NaN does."""
    value, limit = max(float(value), 0.0), float(limit)
    return Found(value <= limit, value, limit, log_t, note)


def worst(values: ArrayLike, limits: ArrayLike, log_t: ArrayLike, note: str = "", by: ArrayLike | None = None) -> Found:
    """The largest of n values (or that of the largest `by`) against its limit. A NaN is larger than anything."""
    values, limits = np.broadcast_arrays(values, limits)
    by = values if by is None else by
    i = int(np.argmax(np.where(np.isnan(by), np.inf, by)))
    return found(values[i], limits[i], float(np.asarray(log_t)[i]), note)
