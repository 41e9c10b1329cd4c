"""All claims, in the order of their checks."""

from ._claim import Claim, Found
from ._equations import EQUATIONS
from ._reports import REPORTS
from ._rows import ORDER, ROWS
from ._theory import THEORY

# if a vital claim of a group fails, the next groups are not checked
GROUPS: tuple[tuple[Claim, ...], ...] = (ORDER, ROWS, EQUATIONS + REPORTS + THEORY)

__all__ = ["GROUPS", "Claim", "Found"]
