"""Certificates as data and text."""

from __future__ import annotations

import math
import textwrap
from typing import Any, NamedTuple

from .._html import FAIL, PASS, card, table

PASSED, FAILED, SKIPPED = "passed", "failed", "not applicable"


class Check(NamedTuple):
    """Result of one check of a run.

    Attributes
    ----------
    claim : str
    status : {"passed", "failed", "not applicable"}
    value, limit : float or None
        Measured value, and its upper limit.
    log_t : float or None
        Time of the worst value.
    note : str
        Meaning of the value, or the reason why the claim does not apply.

    Examples
    --------
    >>> run = cf.integrate(cf.SpectralFlow(cf.complete(3)), [0.1], 1e3)
    >>> check = run.certificate()["layers follow the equations"]
    >>> check.status, check.value < check.limit
    ('passed', True)
    """

    claim: str
    status: str
    value: float | None = None
    limit: float | None = None
    log_t: float | None = None
    note: str = ""

    @property
    def passed(self) -> bool:
        """Whether the claim did not fail."""
        return self.status != FAILED

    @property
    def text(self) -> str:
        """The check as one line, with an explanation below if it failed; at most 80 columns wide."""
        if self.status == SKIPPED:
            return textwrap.fill(f"  n/a   {self.claim}: {self.note}", 80, subsequent_indent=" " * 8)
        line = f"  {'PASS' if self.passed else 'FAIL'}  {self.claim:<36}"
        if self.value is not None and self.limit is not None:
            relation = "<=" if self.value <= self.limit else "> "
            line += f" {self.value:8.1e} {relation} {self.limit:.0e}"
        if self.log_t is not None and self.value:
            line += f"  at t = {time_text(self.log_t)}"
        line = line.rstrip()
        if not self.passed and self.note:
            line += "\n" + textwrap.fill(self.note, 80, initial_indent=" " * 8, subsequent_indent=" " * 8)
        return line


class Certificate:
    """Results of all checks of one run.

    Attributes
    ----------
    run : str
        Description of the trajectory.
    checks : list of Check
    error_estimate : float
        Relative error of the run, estimated as twice the largest propagated defect. It is not a bound; `python -m
        benchmarks accuracy` compares it with true errors. NaN without dense output.
    samples : int
        Number of evaluated states.

    Examples
    --------
    >>> run = cf.integrate(cf.SpectralFlow(cf.complete(3)), [0.1], 1e3)
    >>> certificate = run.certificate()  # print(certificate) lists all checks
    >>> bool(certificate), len([check for check in certificate.checks if check.status == "failed"])
    (True, 0)
    >>> certificate["loss below its bound"].passed
    True
    """

    def __init__(self, run: str, checks: list[Check], error_estimate: float, samples: int) -> None:
        self.run, self.checks, self.error_estimate, self.samples = run, checks, error_estimate, samples

    @property
    def passed(self) -> bool:
        """Whether no check failed."""
        return all(check.passed for check in self.checks)

    def __bool__(self) -> bool:
        return self.passed

    def __getitem__(self, claim: str) -> Check:
        """Check with a given name."""
        for check in self.checks:
            if check.claim == claim:
                return check
        raise KeyError(claim)

    def to_dict(self) -> dict[str, Any]:
        """Convert to JSON data; non-finite numbers become None."""

        def finite(value):
            return float(value) if value is not None and math.isfinite(value) else None

        return {
            "run": self.run,
            "passed": self.passed,
            "error_estimate": finite(self.error_estimate),
            "samples": self.samples,
            "checks": [
                check._asdict() | {name: finite(getattr(check, name)) for name in ("value", "limit", "log_t")}
                for check in self.checks
            ],
        }

    def __repr__(self) -> str:
        failed = sum(not check.passed for check in self.checks)
        return f"<Certificate: {len(self.checks)} checks, {failed} failed, error estimate {self.error_estimate:.1e}>"

    def __str__(self) -> str:
        return "\n".join([textwrap.fill(f"Certificate of {self.run}", 80, subsequent_indent="  "), *self.lines])

    def _repr_html_(self) -> str:
        words = {PASSED: "pass", FAILED: "FAIL", SKIPPED: "n/a"}
        rows, styles = [], []
        for check in sorted(self.checks, key=lambda check: check.status == SKIPPED):
            value = "" if check.value is None else f"{check.value:.1e}" if check.value else "0"
            limit = "" if check.limit is None else f"{check.limit:.0e}"
            at = time_text(check.log_t) if check.log_t is not None and check.value else ""
            rows.append((words[check.status], check.claim, value, limit, at, "" if check.passed else check.note))
            styles.append({PASSED: PASS, FAILED: FAIL, SKIPPED: ""}[check.status])
        facts = [("run", self.run), ("error estimate", f"{self.error_estimate:.1e}, from {self.samples} states")]
        verdict = "all checks passed" if self.passed else "some checks FAILED"
        return card(f"Certificate: {verdict}", facts, table(("", "claim", "found", "limit", "at t", ""), rows, styles))

    @property
    def lines(self) -> list[str]:
        """Checks and summary as text, at most 80 columns wide."""
        last = sorted(self.checks, key=lambda check: check.status == SKIPPED)
        failed = sum(not check.passed for check in self.checks)
        verdict = "All checks passed." if self.passed else f"{failed} of {len(self.checks)} checks FAILED."
        verdict += f" Error estimate {self.error_estimate:.1e}, from {self.samples} states."
        return "\n".join([*(check.text for check in last), verdict]).split("\n")


def time_text(log_t: float) -> str:
    """Format a time given by log t, of any size.

    Examples
    --------
    >>> cf.certify.time_text(1e4), cf.certify.time_text(np.log(20.0))
    ('9e4342', '2e1')
    """
    if log_t == -math.inf:
        return "0"
    exponent = math.floor(log_t / math.log(10.0) + 1e-9)
    mantissa = round(10.0 ** (log_t / math.log(10.0) - exponent), 2 if abs(exponent) < 1000 else 0)
    if mantissa >= 10.0:
        mantissa, exponent = 1.0, exponent + 1
    return f"{mantissa:g}e{exponent}" if exponent else f"{mantissa:g}"
