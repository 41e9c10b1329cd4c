"""Further observables of features with a nearest, fixed or free classifier."""

from __future__ import annotations

import numpy as np

from .. import collapse as neural_collapse
from ._table import Run, Table

ETF = Table()


@ETF.add("row", exported=True)
def squared_distance(run: Run) -> np.ndarray:
    """(n,) squared distance of the normalized class means from the nearest simplex ETF, see `collapse.nearest_etf`."""
    return neural_collapse.nearest_etf(run.H, run.terms.labels).squared_distance
