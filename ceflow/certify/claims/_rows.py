"""Claims on the rows of a run."""

from __future__ import annotations

import math

import numpy as np

from .._examination import Examination
from .._intervals import SAMPLES
from .._limits import EPS, ROUNDING
from ._claim import NO_DENSE_OUTPUT, Claim, Found, worst


class ReachesItsEnd(Claim):
    name = "reached the end of the time span"

    def measure(self, exam: Examination) -> Found:
        return Found(exam.run.success, note="" if exam.run.success else exam.run.message)


class RowsAreInOrder(Claim):
    name, vital = "rows are in order", True

    def measure(self, exam: Examination) -> Found:
        run = exam.run
        log_t, end = run.log_t, run.log_t_end
        in_order = len(log_t) > 0 and not np.isnan(log_t).any() and bool(np.all(np.diff(log_t) > 0.0))
        known = math.isfinite(end) or (end == -math.inf and len(log_t) == 1)  # a run that ends at its start has one row
        good = in_order and known and log_t[-1] <= end + (1e-12 * abs(end) if math.isfinite(end) else 0.0)
        good = bool(good and np.isfinite(run.y).all() and 0.0 < run.rtol < 1.0)
        return Found(good, note="times must increase up to the end, states must be finite, and the tolerance known")


class BeginsAtItsStart(Claim):
    name, vital = "starts at its start", True

    def why_not(self, exam: Examination) -> str:
        begins = exam.dense or exam.run.log_t[0] == -np.inf
        return "" if begins else "no row is at t = 0, and there is no dense output"

    def measure(self, exam: Examination) -> Found:
        run, view = exam.run, exam.view
        first, true = view.layers(run.at(log_t=-np.inf) if exam.dense else run[0]), view.start_layers()
        off = np.abs(first - true) / view.size(true)
        return worst([off.max()], ROUNDING, [-np.inf])


class RowsAgreeWithDenseOutput(Claim):
    name, vital = "rows agree with the dense output", True

    def why_not(self, exam: Examination) -> str:
        return "" if exam.dense else NO_DENSE_OUTPUT

    def measure(self, exam: Examination) -> Found:
        view, rows = exam.view, exam.some_rows(max(20, SAMPLES * 4 // max(1, exam.view.numbers // 64)))
        kept, dense = view.layers(rows), view.layers(exam.run.at(log_t=rows.log_t))
        off = (np.abs(kept - dense) / view.size(kept)).reshape(len(rows), -1).max(axis=1)
        latest = np.abs(rows.log_t[np.isfinite(rows.log_t)]).max(initial=0.0)
        return worst(off, ROUNDING + 8.0 * EPS * latest, rows.log_t)


ORDER = ReachesItsEnd(), RowsAreInOrder()
ROWS = BeginsAtItsStart(), RowsAgreeWithDenseOutput()
