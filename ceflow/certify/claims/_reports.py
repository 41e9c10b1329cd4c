"""Claims that reported observables follow from the layers, by independent definitions."""

from __future__ import annotations

import math

import numpy as np

from .._examination import Examination
from .._limits import EPS, ROUNDING
from ._claim import Claim, Found, worst


class AsReported(Claim):
    """Comparison at some rows of the run."""

    def rows(self, exam: Examination):
        return exam.some_rows(200 if exam.view.numbers < 2**16 else 5)


class LossIsAsReported(AsReported):
    name = "loss is as reported"

    def measure(self, exam: Examination) -> Found:
        rows = self.rows(exam)
        own, reported = exam.view.states_as_reported(rows), rows.log_loss
        if exam.view.loss_may_vanish:
            off, size = np.abs(np.exp(0.5 * reported) - np.exp(0.5 * own.log_loss)), 1.0 + own.reach
            note = "difference of the roots"
        else:
            off, size, note = np.abs(reported - own.log_loss), own.largest, "difference of the logarithms"
        return worst(off, ROUNDING + 32.0 * EPS * size, rows.log_t, note)


class SingularValuesAreAsReported(AsReported):
    name = "singular values are as reported"

    def why_not(self, exam: Examination) -> str:
        return exam.view.why_no_product

    def measure(self, exam: Examination) -> Found:
        view, rows = exam.view, self.rows(exam)
        w = view.layers(rows)
        size = np.maximum(view.size_of_product(w), np.finfo(float).tiny)  # below which floats have fewer digits
        off = np.abs(view.product(w) - rows.singular_values) / size
        return worst(off.max(axis=1), ROUNDING, rows.log_t, "difference from the product of the layers")


class LyapunovFunctionIsAsReported(AsReported):
    name = "V is as reported"

    def title(self, exam: Examination) -> str:
        return self.name if np.isfinite(self.own(exam)[1]).any() else ""

    def own(self, exam: Examination):
        """Some rows, V there, and the error of its root."""
        rows = self.rows(exam)
        return rows, *exam.view.spread(rows.singular_values)

    def measure(self, exam: Examination) -> Found:
        rows, v, known = self.own(exam)
        defined = np.isfinite(v)
        off = np.abs(np.sqrt(rows.lyapunov) - np.sqrt(v))[defined]
        return worst(off, ROUNDING + known[defined], rows.log_t[defined], "difference of the roots")


class DissipationIsAsReported(AsReported):
    name = "dissipation is as reported"

    def title(self, exam: Examination) -> str:
        return self.name if exam.v.has_geometric_mean else ""

    def measure(self, exam: Examination) -> Found:
        rows = self.rows(exam)
        s = rows.singular_values
        log_fall = exam.v.log_fall(exam.view.states_as_reported(rows))
        v = exam.v.values(s)
        floats = (np.abs(log_fall) < 600.0) & (v > 1e-30)  # neither underflow nor rounding
        off = np.abs(np.log(-rows.dissipation) - log_fall)
        # both are quadratic in the deviations from the mean, which rounding limits near collapse
        size = s.max(axis=1) / np.sqrt(np.maximum(v, 1e-30))
        return worst(np.where(floats, off, 0.0), 1e-11 + 32.0 * EPS * size, rows.log_t, "difference of the logarithms")


class SchemeAgreesWithItsDefinition(AsReported):
    """Claim on the scheme of the reduced flow."""

    name = "scheme agrees with its definition"

    def title(self, exam: Examination) -> str:
        return self.name if exam.view.definition else ""

    def why_not(self, exam: Examination) -> str:
        return exam.view.definition.borrowed

    def measure(self, exam: Examination) -> Found:
        definition, scheme = exam.view.definition, exam.view.scheme
        x = np.concatenate([np.ones((1, scheme.modes)), np.random.default_rng(0).uniform(size=(2, scheme.modes))])
        off = [0.0]
        for own, other in (
            (definition.valencies, scheme.valencies[1:]),
            (definition.multiplicities, scheme.multiplicities[1:]),
            (definition.margins(x), scheme.margins(x)),
            (definition.forces(x), scheme.forces(x)),
        ):
            off.append(np.max(np.abs(own - other)) / np.max(np.abs(own)))
        return worst(off, ROUNDING, [-math.inf] * len(off), "relative difference of sizes, margins and forces")


REPORTS = (
    SchemeAgreesWithItsDefinition(),
    SingularValuesAreAsReported(),
    LossIsAsReported(),
    LyapunovFunctionIsAsReported(),
    DissipationIsAsReported(),
)
