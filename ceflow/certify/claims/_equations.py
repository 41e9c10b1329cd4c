"""Claims on the equations and conservation laws."""

from __future__ import annotations

import numpy as np

from .._examination import Examination
from .._limits import ROUNDING, SLOPES, tolerated
from ._claim import NO_DENSE_OUTPUT, Claim, Found, found, worst


class LayersFollowTheEquations(Claim):
    name = "layers follow the equations"

    def why_not(self, exam: Examination) -> str:
        return "" if exam.dense else NO_DENSE_OUTPUT

    def measure(self, exam: Examination) -> Found:
        intervals, total = exam.intervals, exam.looker.total
        defect, log_t = (np.concatenate([getattr(x, name) for x in intervals]) for name in ("defect", "log_t"))
        part = "" if len(intervals) >= total else f", on {len(intervals)} of {total} intervals"
        unresolved = sum(not interval.doubt <= 1.0 for interval in intervals)
        blur = f", {unresolved} of them not resolved" if unresolved else ""
        own = ", terms by the gradients of the run" if exam.view.terms is not None else ""
        note = f"largest relative defect of an interval{part}{blur}{own}"
        return worst(defect * exam.tolerance, tolerated(exam.tolerance), log_t, note)


class ErrorsOfAllSteps(Claim):
    name = "accumulated error of all steps"

    def why_not(self, exam: Examination) -> str:
        return "" if exam.dense else NO_DENSE_OUTPUT

    def measure(self, exam: Examination) -> Found:
        note = "accumulated from the defects of all intervals"
        return found(exam.errors.largest, tolerated(exam.tolerance), exam.errors.log_t, note)


class LossNeverRises(Claim):
    def title(self, exam: Examination) -> str:
        added = [name for name, there in (("decay", exam.view.decay), ("terms", exam.view.terms)) if there]
        return f"{' + '.join(['loss', *added])} never increases"

    def why_not(self, exam: Examination) -> str:
        return exam.view.why_loss_may_rise

    def measure(self, exam: Examination) -> Found:
        moments, view, rtol = exam.moments, exam.view, exam.tolerance
        order = np.argsort(moments.log_t, kind="stable")
        log_t, values, largest, reach, *_ = (x[order] for x in moments)
        noise = 8.0 * view.eps * np.abs(np.where(np.isfinite(log_t), log_t, 0.0))
        if view.loss_may_vanish:  # its logarithm may be -inf
            values = np.exp(0.5 * values)
            blur, note = ROUNDING + noise + rtol * (reach + values), "increase of its root"
        else:  # errors of the log loss are those of the margins
            blur, note = ROUNDING + noise + rtol * largest, "increase of its logarithm"
        rise = np.diff(values, prepend=values[:1])
        return worst(rise, blur, log_t, note, by=rise - blur)


class TermsDescendTheirValues(Claim):
    """Gradients of terms match their values; both are functions of the run, as terms have no second definition."""

    def title(self, exam: Examination) -> str:
        return "gradients of terms match their values" if exam.view.terms is not None else ""

    def measure(self, exam: Examination) -> Found:
        rows = exam.some_rows(20)
        return worst(exam.view.slope_error(rows), SLOPES, rows.log_t, "relative difference")


class ImbalanceIsConserved(Claim):
    def title(self, exam: Examination) -> str:
        law = "decays as predicted" if exam.view.law and exam.view.fading else "conserved"
        return f"{exam.view.law or 'imbalance'} {law}"

    def why_not(self, exam: Examination) -> str:
        return exam.view.why_no_law

    def measure(self, exam: Examination) -> Found:
        return worst(exam.moments.drift, tolerated(exam.tolerance) + ROUNDING, exam.moments.log_t)


EQUATIONS = (
    LayersFollowTheEquations(),
    ErrorsOfAllSteps(),
    LossNeverRises(),
    TermsDescendTheirValues(),
    ImbalanceIsConserved(),
)
