"""Claims that are proved for some flows."""

from __future__ import annotations

import math

import numpy as np

from ... import theory
from .._examination import Examination
from .._intervals import some
from .._limits import COARSEST, LEAST_FORCE, ROUNDING, SLACK_OF_SUMS, tolerated
from .._view import log_of_log1p_exp
from ._claim import NO_DENSE_OUTPUT, Claim, Found, found, worst

NOT_POSITIVE_YET = "the mean singular value is not positive yet"


class ForcesArePositive(Claim):
    name = "forces are positive"

    def why_not(self, exam: Examination) -> str:
        return exam.view.why_no_signs

    def measure(self, exam: Examination) -> Found:
        return worst(-exam.moments.least_force, -LEAST_FORCE, exam.moments.log_t, "least over largest force")


class SingularValuesNeverFall(Claim):
    name = "singular values never decrease"

    def why_not(self, exam: Examination) -> str:
        return exam.view.why_some_fall

    def measure(self, exam: Examination) -> Found:
        s = exam.some_rows(400).singular_values
        step = -np.diff(s, axis=0) / np.maximum(np.abs(s[:-1]), 1e-300)
        fall = max([float(np.max(step, initial=0.0)), *(interval.fall for interval in exam.intervals)])
        return found(fall, tolerated(exam.tolerance) + ROUNDING, None, "relative decrease")


class LyapunovFunctionNeverRises(Claim):
    def title(self, exam: Examination) -> str:
        return f"{exam.v.name} never increases"

    def why_not(self, exam: Examination) -> str:
        return exam.v.why_may_rise or ("" if len(exam.v_values[0]) else NOT_POSITIVE_YET)

    def measure(self, exam: Examination) -> Found:
        log_t, v = exam.v_values
        rise = np.diff(np.sqrt(v), prepend=np.sqrt(v[:1]))
        # V is quadratic in relative deviations of the singular values, whose error is rtol
        limit = ROUNDING + tolerated(exam.tolerance) * math.sqrt(exam.v.terms)
        return worst(rise, limit, log_t, f"increase of sqrt({exam.v.name})")


class LyapunovFunctionFallsByItsDissipation(Claim):
    def title(self, exam: Examination) -> str:
        return f"{exam.v.name} {exam.v.verb} by its dissipation"

    def why_not(self, exam: Examination) -> str:
        reason = exam.v.why_no_rate
        if not reason and not exam.v.why_may_rise and not len(exam.v_values[0]):
            reason = NOT_POSITIVE_YET
        if not reason and not exam.intervals:
            reason = NO_DENSE_OUTPUT
        lost = all(math.isnan(interval.v.error) for interval in exam.intervals)
        return reason or (exam.v.unresolved if lost else "")

    def measure(self, exam: Examination) -> Found:
        resolved = [interval for interval in exam.intervals if not math.isnan(interval.v.error)]
        errors = np.array([interval.v.error for interval in resolved])
        place = resolved[int(np.argmax(errors))].high
        return found(errors.sum(), SLACK_OF_SUMS * exam.v.terms, place, "in tolerances of V")


class GeometricMeanGrowsByItsIdentity(Claim):
    def title(self, exam: Examination) -> str:
        return "geometric mean grows as predicted" if exam.v.has_geometric_mean and exam.intervals else ""

    def measure(self, exam: Examination) -> Found:
        errors = np.array([interval.v.mean_error for interval in exam.intervals])
        place = exam.intervals[int(np.argmax(np.where(np.isnan(errors), np.inf, errors)))].high
        total = errors.sum() * exam.tolerance
        limit = min(SLACK_OF_SUMS * exam.tolerance, COARSEST)
        return found(total, limit, place, "d log GM/dt = 2 K/(K-1) (1 - p_0)")


class OfCrossEntropy(Claim):
    """Claims that are proved for cross-entropy."""

    def why_not(self, exam: Examination) -> str:
        return "" if exam.view.cross_entropy else exam.view.why_not_cross_entropy


class OfBalancedModes(OfCrossEntropy):
    """Bounds of balanced flow from start and time."""

    def why_not(self, exam: Examination) -> str:
        reason = super().why_not(exam) or exam.v.why_may_rise
        if not reason and not exam.v.has_geometric_mean:
            reason = "proved for balanced layers only"
        return reason or ("" if np.isfinite(exam.run.log_t).any() else "there is no row after t = 0")

    def rows(self, exam: Examination):
        """Some rows after t = 0, and the singular values at the start."""
        rows = exam.run[np.flatnonzero(np.isfinite(exam.run.log_t))]
        rows = rows[some(len(rows), max(5, min(100, 2**22 // exam.view.scheme.modes)))]
        return rows, exam.view.start_layers()[0].prod(axis=0)


class GeometricMeanAboveItsBound(OfBalancedModes):
    name = "geometric mean above its bound"

    def measure(self, exam: Examination) -> Found:
        view, (rows, start) = exam.view, self.rows(exam)
        ray = theory.ray_singular_value(
            s0=float(start @ view.shares), classes=view.classes, log_t=rows.log_t, reduction=view.flow.reduction
        )
        below = np.log(ray) - exam.v.values(start[None]) - np.log(view.states(rows).singular_values) @ view.shares
        return worst(below, tolerated(exam.tolerance) + ROUNDING, rows.log_t)


class LossBelowItsBound(OfBalancedModes):
    name = "loss below its bound"

    def measure(self, exam: Examination) -> Found:
        view, (rows, start) = exam.view, self.rows(exam)
        bound = theory.loss_log_bound(view.scheme, start, log_t=rows.log_t, reduction=view.flow.reduction)
        states = view.states(rows)
        above = (states.log_loss - bound) / (1.0 + states.singular_values.max(axis=1))
        return worst(above, tolerated(exam.tolerance) + ROUNDING, rows.log_t)


class LossAboveThatOfCollapse(OfCrossEntropy):
    name = "loss above loss at collapse"

    def measure(self, exam: Examination) -> Found:
        view, rows = exam.view, exam.some_rows(max(5, min(200, 2**22 // exam.view.numbers)))
        states = view.states_as_reported(rows)
        least = log_of_log1p_exp(math.log(view.classes - 1) - view.mean_singular_value(states)) + view.log_total
        below = (least - states.log_loss) / (1.0 + states.largest)
        return worst(below, ROUNDING, rows.log_t, "Jensen's bound at the mean")


THEORY = (
    ForcesArePositive(),
    SingularValuesNeverFall(),
    LyapunovFunctionNeverRises(),
    LyapunovFunctionFallsByItsDissipation(),
    GeometricMeanGrowsByItsIdentity(),
    GeometricMeanAboveItsBound(),
    LossBelowItsBound(),
    LossAboveThatOfCollapse(),
)
