"""`lowest`: search of minima of an objective by runs from several starts."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from ._integrate import integrate
from .flow import Flow, RunT


def lowest(flow: Flow[RunT], starts: Iterable[Any], *, t_end: float = 1e5, rtol: float = 1e-7) -> list[RunT]:
    """Integrate a flow from several starts to a late time, and sort the runs by final objective.

    This searches minima of nonsmooth objectives: reduced flows with "relu" slide along kinks and converge. A limit is
    not certified to be a minimum, and lower minima may exist.

    Parameters
    ----------
    flow : SpectralFlow or MatrixFlow
    starts : iterable of starts
        As in `ceflow.integrate`; such as ``(flow.random_start(1.0, rng=seed) for seed in range(40))``.
    t_end, rtol : float
        As in `ceflow.integrate`.

    Returns
    -------
    list of Trajectory
        Lowest final objective first; equal ones in the order of their starts. Failed runs are omitted.

    Raises
    ------
    TypeError, ValueError
        If an argument is invalid.
    RuntimeError
        If every run fails, or there is no start.

    Examples
    --------
    >>> flow = cf.SpectralFlow(cf.complete(4), depth=3, weight_decay=0.05)
    >>> for run in cf.lowest(flow, [[0.001], [1.0]]):
    ...     print(f"objective {run.objective[-1]:.4f}, s = {run.singular_values[-1, 0]:.4f}")
    objective 0.6037, s = 3.2859
    objective 1.3863, s = 0.0000
    """
    runs, last = [], "there is no start"
    for start in starts:
        try:
            run = integrate(flow, start, t_end=t_end, rtol=rtol)
        except RuntimeError as error:
            last = str(error)
            continue
        if run.success:
            runs.append(run)
        else:
            last = run.message
    if not runs:
        raise RuntimeError(f"no run reached its end: {last}")
    return [runs[i] for i in np.argsort([run.objective[-1] for run in runs], kind="stable")]
