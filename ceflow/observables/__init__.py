"""What follows from a run: one table of observables, from which trajectories have their properties and datasets their
variables. An observable is added by one entry in the table of its runs: those of all flows, or of one kind of flow.
"""

from ._blocks import BLOCKS
from ._common import COMMON
from ._etf import ETF
from ._full import FULL
from ._reduced import REDUCED
from ._regression import REGRESSION
from ._replay import REPLAY
from ._table import Observable, Table, axes_of

__all__ = ["BLOCKS", "COMMON", "ETF", "FULL", "REDUCED", "REGRESSION", "REPLAY", "Observable", "Table", "axes_of"]
