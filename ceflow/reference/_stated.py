"""Formulas of losses about the mean of the margins.

Those that certificates of the losses of ceflow need are stated, because SymPy, which derives the others, is slow to
import; tests/test_definitions.py derives them.
"""

from __future__ import annotations

from ._formula import Centred

STATED = {  # by the formula and the names of its parameters
    ("log1p(S)", ()): Centred("0", "log1p(S)", "1/(S + 1)", "0", "0", ("0",)),
    ("log1p(S) + smoothing / K * M", ("smoothing",)): Centred(
        "0", "N*mean*smoothing/(N + 1) + log1p(S)", "1/(S + 1)", "smoothing/(N + 1)", "0", ("smoothing/(N + 1)",)
    ),
    ("(S / (1 + S))**focusing * log1p(S)", ("focusing",)): Centred(
        "0", "(S/(S + 1))**focusing*log1p(S)",
        "(S/(S + 1))**(focusing - 1)*(S + focusing*log1p(S))/(S + 1)**2", "0", "0", ("0",),
    ),
    ("(Q - M**2 / K) / 2 - M / K + (1 - 1 / K) / 2", ()): Centred(
        "1", "(N*mean**2/2 + N*spread/2 + spread/2)/(N + 1)", "0", "mean/(N + 1)", "1", ("-1/(N + 1)", "mean/(N + 1)")
    ),
}  # fmt: skip


def centred(formula: str, parameters: tuple[str, ...]) -> Centred:
    """The formula of a loss with these parameters about the mean of the margins; a ValueError if it is invalid."""
    if (formula, parameters) in STATED:
        return STATED[formula, parameters]
    from . import _derivation  # slow to import

    return _derivation.centred(formula, parameters)
