"""Observables of runs: a table from which trajectories get their properties and datasets their variables.

An observable is one entry in the module of its runs: `_common` (all runs), `_reduced`, `_blocks`, `_regression`,
`_replay`, `_etf` or `_full`.
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
