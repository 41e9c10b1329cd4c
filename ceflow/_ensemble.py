"""Results of many runs of one flow: selected observables, and the outcome of each run."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from .observables import axes_of
from .solve import Outcome
from .trajectory import trajectory_type

if TYPE_CHECKING:
    import os
    from collections.abc import Iterator

    import pandas
    import xarray

    from .flow import Flow


class Ensemble:
    """Results of many runs of a flow. Iteration gives ensembles of one member.

    Attributes
    ----------
    flow : Flow
    starts : (m, ...) array, or list
        Starts, as an array if each start is an array.
    grid : (r,) array or None
        Logarithms of the times of all rows, -inf for t = 0; None if the only row of each run is its end.
    data : dict of arrays (m, r, ...)
        Observables by name; each is also an attribute. NaN in rows that a run did not reach.
    status : (m,) array of int8
        `Outcome` of each run.
    event : (m,) array of int8
        Index of the event of `until` that stopped a run; -1 if none.
    log_t_end : (m,) array
        Logarithm of the last time of each run.
    nsteps, nrejected, nfev : (m,) arrays of int32
        Accepted steps, rejected steps, evaluations of the right-hand side.
    rtol, atol : float
    max_steps : int
    events : tuple of str
        Names of the events of `until`.

    Examples
    --------
    >>> runs = cf.integrate_many(cf.SpectralFlow(cf.complete(3)), [[0.1], [0.2]], t_eval=[10.0, 100.0])
    >>> runs.loss.round(4)
    array([[0.0777, 0.0018],
           [0.0614, 0.0018]])
    >>> runs[1].singular_values.shape, bool(runs.success.all())
    ((1, 2, 1), True)
    """

    if TYPE_CHECKING:  # attached by _methods

        def save(self, path: str | os.PathLike[str]) -> None: ...
        def _repr_html_(self) -> str: ...

    log_t_end: np.ndarray
    status: np.ndarray
    event: np.ndarray
    nsteps: np.ndarray
    nrejected: np.ndarray
    nfev: np.ndarray

    def __init__(
        self, flow: Flow[Any], starts: Any, grid: np.ndarray | None, data: dict[str, np.ndarray],
        members: dict[str, np.ndarray], *, rtol: float, atol: float, max_steps: int, events: tuple = (),
    ) -> None:  # fmt: skip
        self.flow, self.starts, self.grid, self.data, self._members = flow, starts, grid, data, members
        self.rtol, self.atol, self.max_steps, self.events = rtol, atol, max_steps, events

    @staticmethod
    def room(members: int) -> dict[str, np.ndarray]:
        """Empty arrays for the outcomes of `members` runs."""
        return {
            "status": np.zeros(members, np.int8), "event": np.full(members, -1, np.int8),
            "log_t_end": np.full(members, -np.inf), "nsteps": np.zeros(members, np.int32),
            "nrejected": np.zeros(members, np.int32), "nfev": np.zeros(members, np.int32),
        }  # fmt: skip

    def __getattr__(self, name: str) -> np.ndarray:
        for values in (self.__dict__.get("_members", {}), self.__dict__.get("data", {})):
            if name in values:
                return values[name]
        known = ", ".join(self.__dict__.get("data", {}))
        raise AttributeError(f"an ensemble has no {name!r}; its observables are {known or 'none'}")

    if TYPE_CHECKING:

        def __iter__(self) -> Iterator[Ensemble]: ...

    def __dir__(self) -> list[str]:
        return [*super().__dir__(), *self._members, *self.data]

    @property
    def success(self) -> np.ndarray:
        """(m,) whether each run reached its end or event."""
        return np.isin(self.status, [outcome for outcome in Outcome if outcome.success])

    @property
    def log_t(self) -> np.ndarray:
        """Logarithms of the times of the rows: (r,) for all runs, or (m, 1) if each run has its own."""
        return self.log_t_end[:, None] if self.grid is None else self.grid

    @property
    def t(self) -> np.ndarray:
        """Times of the rows, in the unit of the flow's `reduction`; inf on overflow."""
        with np.errstate(over="ignore"):
            return np.exp(self.log_t)

    def messages(self, i: int) -> str:
        """Message on the outcome of member i.

        Examples
        --------
        >>> cf.integrate_many(cf.SpectralFlow(cf.hadamard(4)), [[1e-3, 2e-3, 3e-3]], 1e3, max_steps=5).messages(0)
        'stopped after max_steps = 5 attempted steps; stopped at log t = 2.15349'
        """
        event = int(self.event[i])
        met = self.events[event] if 0 <= event < len(self.events) else None
        outcome, end = Outcome(int(self.status[i])), float(self.log_t_end[i])
        return outcome.explained(end, met, self.max_steps, self.rtol)

    def __len__(self) -> int:
        return len(self.status)

    def __getitem__(self, members: Any) -> Ensemble:
        """Select members by an index, a slice or an array; returns an ensemble. IndexError if out of range."""
        if isinstance(members, (int, np.integer)):
            members = range(len(self))[members]
            members = slice(members, members + 1)
        starts = self.starts
        if isinstance(starts, list):
            starts = [starts[i] for i in np.arange(len(self))[members]]
        else:
            starts = starts[members]
        return Ensemble(
            self.flow, starts, self.grid, {name: values[members] for name, values in self.data.items()},
            {name: values[members] for name, values in self._members.items()}, rtol=self.rtol, atol=self.atol,
            max_steps=self.max_steps, events=self.events,
        )  # fmt: skip

    def concat(self, *others: Ensemble) -> Ensemble:
        """Concatenate ensembles of the same flow, rows and observables.

        Raises
        ------
        TypeError, ValueError
            If they differ; the message names the difference.
        """
        same = ("flow", "grid", "rtol", "atol", "max_steps", "events")
        for other in others:
            if not isinstance(other, Ensemble):
                raise TypeError(f"others must be ensembles, got {type(other).__name__}")
            differing = [name for name in same if not np.array_equal(getattr(self, name), getattr(other, name))]
            if self.data.keys() != other.data.keys():
                differing.append("observables")
            if differing:
                raise ValueError(f"ensembles must be of the same {', '.join(differing)}")
        parts = (self, *others)
        arrays = all(isinstance(part.starts, np.ndarray) for part in parts)
        if arrays and len({part.starts.shape[1:] for part in parts}) == 1:
            starts = np.concatenate([part.starts for part in parts])
        else:
            starts = [start for part in parts for start in part.starts]

        def joined(kind: str) -> dict[str, np.ndarray]:
            return {name: np.concatenate([getattr(part, kind)[name] for part in parts]) for name in getattr(self, kind)}

        options = {name: getattr(self, name) for name in same[2:]}
        return Ensemble(self.flow, starts, self.grid, joined("data"), joined("_members"), **options)

    def __array__(self, *args, **kwargs):
        raise TypeError("an ensemble is not an array; use one of its observables, such as singular_values")

    def __repr__(self) -> str:
        rows = "their ends"
        if self.grid is not None:
            rows = f"{len(self.grid)} rows to t = 1e{self.grid[-1] / math.log(10):.6g}"
        failed = len(self) - int(self.success.sum())
        state = "all succeeded" if not failed else f"{failed} without success"
        return f"<Ensemble of {len(self)} runs of {self.flow!r}: {', '.join(self.data)} at {rows}, {state}>"

    def to_xarray(self) -> xarray.Dataset:
        """Convert to an xarray Dataset with the members as first axis (needs the extra ``xarray``).

        Examples
        --------
        >>> runs = cf.integrate_many(cf.SpectralFlow(cf.complete(3)), [[0.1], [0.2]], t_eval=[1.0, 10.0, 100.0])
        >>> dict(runs.to_xarray().sizes)
        {'member': 2, 'row': 3, 'mode': 1, 'start_0': 1}
        """
        import xarray

        dims = axes_of(trajectory_type(self.flow).observables, self.flow)
        variables: dict[str, Any] = {name: (("member", *dims[name]), values) for name, values in self.data.items()}
        variables |= {name: ("member", values) for name, values in self._members.items()}
        variables["success"] = ("member", self.success)
        if not isinstance(self.starts, list):
            axes = [f"start_{i}" for i in range(self.starts.ndim - 1)]
            variables["start"] = (("member", *axes), self.starts)
        times = {"log_t": (("member", "row") if self.grid is None else ("row",), self.log_t)}
        attributes = {"rtol": self.rtol, "atol": self.atol, "flow": repr(self.flow)}
        return xarray.Dataset(variables, coords=times, attrs=attributes)

    def to_pandas(self) -> pandas.DataFrame:
        """Convert to a pandas DataFrame with the index ``(member, row)`` (needs the extra ``xarray``).

        Columns are the time, scalar observables, singular values, and the outcome of the member. `to_xarray` has the
        other observables."""
        import pandas

        members, rows = len(self), self.log_t.shape[-1]
        columns = {"log_t": np.broadcast_to(self.log_t, (members, rows))}
        for name, values in self.data.items():
            if values.ndim == 2:
                columns[name] = values
            elif name == "singular_values" and values.ndim == 3:
                columns |= {f"s_{i + 1}": values[..., i] for i in range(values.shape[2])}
        known = {name: np.repeat(values, rows) for name, values in (self._members | {"success": self.success}).items()}
        index = pandas.MultiIndex.from_product([range(members), range(rows)], names=["member", "row"])
        return pandas.DataFrame({name: np.ravel(values) for name, values in columns.items()} | known, index=index)
