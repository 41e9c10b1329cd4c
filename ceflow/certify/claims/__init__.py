"""All claims, in the order in which they are examined."""

from ._claim import Claim, Found
from ._equations import EQUATIONS
from ._reports import REPORTS
from ._rows import ORDER, ROWS
from ._theory import THEORY

# a run that fails a vital claim of one group is not held against the next
GROUPS: tuple[tuple[Claim, ...], ...] = (ORDER, ROWS, EQUATIONS + REPORTS + THEORY)

__all__ = ["GROUPS", "Claim", "Found"]
