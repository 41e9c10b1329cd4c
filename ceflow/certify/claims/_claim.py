"""Base class of claims."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from .._certificate import FAILED, PASSED, SKIPPED, Check
from .._examination import Examination

NO_DENSE_OUTPUT = "there is no dense output"


class Found(NamedTuple):
    """Measurement of a claim; see Check."""

    holds: bool
    value: float | None = None
    limit: float | None = None
    log_t: float | None = None
    note: str = ""


class Claim(ABC):
    """Statement about runs that can be checked.

    Attributes
    ----------
    name : str
    vital : bool
        Whether a failure ends the checks.
    """

    name = ""
    vital = False

    def title(self, exam: Examination) -> str:
        """Name for this run; empty if the claim is not listed."""
        return self.name

    def why_not(self, exam: Examination) -> str:
        """Reason why the claim does not apply to this run; empty if it does."""
        return ""

    @abstractmethod
    def measure(self, exam: Examination) -> Found:
        """Measured value for this run, and its limit."""

    def check(self, exam: Examination) -> Check:
        """Result of the check."""
        reason = self.why_not(exam)
        if reason:
            return Check(self.title(exam), SKIPPED, note=reason)
        holds, value, limit, log_t, note = self.measure(exam)
        return Check(self.title(exam), PASSED if holds else FAILED, value, limit, log_t, note)


def found(value: float, limit: float, log_t: float | None, note: str = "") -> Found:
    """Measurement that passes if the value is at most its limit; NaN fails."""
    value, limit = max(float(value), 0.0), float(limit)
    return Found(value <= limit, value, limit, log_t, note)


def worst(values: ArrayLike, limits: ArrayLike, log_t: ArrayLike, note: str = "", by: ArrayLike | None = None) -> Found:
    """Measurement of the largest of n values (or of that with the largest `by`) relative to its limit; NaN is
    largest."""
    values, limits = np.broadcast_arrays(values, limits)
    by = values if by is None else by
    i = int(np.argmax(np.where(np.isnan(by), np.inf, by)))
    return found(values[i], limits[i], float(np.asarray(log_t)[i]), note)
