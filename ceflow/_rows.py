"""Rows of many runs of one flow as trajectories: their observables, and functions of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import numpy as np

from .flow import BlockFlow, Flow, SpectralFlow
from .flow.block_starts import joined
from .trajectory import Trajectory, trajectory_type


class Rows:
    """Rows of runs with these starts.

    Parameters
    ----------
    flow : Flow
    starts : array or list
        Checked starts.
    names : tuple of str
        Observables.
    """

    def __init__(self, flow: Flow[Any], starts: Any, names: tuple[str, ...]) -> None:
        self.flow, self.starts, self.names = flow, starts, names
        balanced = flow.kind == "spectral" and isinstance(starts, np.ndarray) and starts.ndim == 2
        self._layers = joined(flow, starts) if isinstance(flow, BlockFlow) else None
        # whether rows of several runs can be one trajectory
        self._joins = balanced or hasattr(flow, "stacked") or self._layers is not None
        self._apart: set[Any] = set()  # functions for which they cannot

    def trajectory(self, i: int, log_t: np.ndarray, y: np.ndarray) -> Trajectory:
        """Rows (n, N) of run i."""
        return trajectory_type(self.flow)(self.flow, self.starts[i], log_t, y)

    def _joined(self, which: np.ndarray, log_t: np.ndarray, y: np.ndarray) -> Trajectory:
        """Rows of several runs as one trajectory. It has no start, unless only the shapes of starts matter, or a start
        can have rows."""
        run = self.trajectory(which[0], log_t, y)
        if self._layers is not None:
            run.start = self._layers._replace(flat=self._layers.flat[which], bias=self._layers.bias[which])
        elif not hasattr(self.flow, "stacked"):
            s = cast(SpectralFlow, self.flow).singular_values_of(self.starts[which], y[:, None])[:, 0]
            vars(run)["singular_values"] = s
            del run.start
        return run

    def values(
        self, function: Callable[[Any], Any], which: np.ndarray, log_t: np.ndarray, y: np.ndarray
    ) -> list[tuple[Any, Any]]:
        """Values of a function of a trajectory, on all rows at once if possible, else on those of each run.

        Parameters
        ----------
        function : callable
        which : (n,) array
            Sorted indices of the runs. With a field `stacked`, their starts have equal shapes.
        log_t, y : (n,) and (n, N) arrays

        Returns
        -------
        list of (indices of rows, value)
        """
        if not len(which):
            return []
        if self._joins and function not in self._apart:
            run = self._joined(which, log_t, y)
            try:
                return [(slice(None), function(run))]
            except AttributeError as error:  # the function needs the start, of which there are several
                if error.obj is not run or error.name != "start":
                    raise
                self._apart.add(function)
        runs = np.split(np.arange(len(which)), np.flatnonzero(np.diff(which)) + 1)
        return [(some, function(self.trajectory(which[some[0]], log_t[some], y[some]))) for some in runs]

    def numbers(
        self, members: np.ndarray, function: Callable[[Any], Any], which: np.ndarray, log_t: np.ndarray, y: np.ndarray
    ) -> np.ndarray:
        """(n,) `values` that are one number per row, of the runs ``members[which]``."""
        found = np.empty(len(which))
        for some, value in self.values(function, members[which], log_t, y):
            found[some] = value
        return found

    def observables(self, run: Trajectory) -> list[tuple[str, np.ndarray]]:
        """Observables of a trajectory by name; observables with several parts are split."""
        found: list[tuple[str, np.ndarray]] = []
        for name in self.names:
            observable, value = run.observables[name], getattr(run, name)
            dims = observable.dims(self.flow) if callable(observable.dims) else observable.dims
            found += zip(dims, value, strict=True) if isinstance(dims, dict) else [(name, value)]
        return found
