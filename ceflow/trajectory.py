"""Trajectories: states of a run at increasing times, and dense output. Their observables are in
`ceflow.observables`."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, Protocol, Self, cast

import numpy as np
from numpy.typing import ArrayLike

from ._checks import checked_array
from .flow.terms import Terms
from .observables import BLOCKS, COMMON, ETF, FULL, REDUCED, REGRESSION, REPLAY, Observable, quantities
from .solve import DEFAULT, Outcome
from .solve.times import Times

if TYPE_CHECKING:
    import xarray

    from . import flow as flows
    from .flow import Flow, RunT
    from .network.layers import Layers

MOST_LIFTED = 2**28  # largest number of entries of lifted matrices
_KINDS: dict[str, type[Trajectory]] = {}  # by the `kind` of the flow


class DenseOutput(Protocol):
    """Dense output of a trajectory."""

    segments: list

    def sample(self, log_t: np.ndarray) -> np.ndarray: ...


class Resume(NamedTuple):
    """State of the solver, to continue a run."""

    state: np.ndarray  # (5,) log t, phi, a, step size, previous error
    y: np.ndarray  # (N,) state at this log t
    tail: tuple[np.ndarray, np.ndarray, np.ndarray] | None  # last step (y, h, log t), possibly beyond the end
    options: dict  # options of the run
    method: str = DEFAULT  # of the next steps, and of the tail
    taken: int = 0  # steps so far


@COMMON.attach
class Trajectory(quantities.OfAll):
    """Run of a flow, as n rows at increasing times. Iteration gives trajectories of one row.

    Attributes
    ----------
    flow : SpectralFlow or MatrixFlow
    start : array or tuple of arrays
        Start of the run: singular values or layers of the reduced flow, factors of the full flow.
    log_t : (n,) array
        Natural logarithm of the time, -inf for t = 0. The time unit is that of the flow's `reduction`. If states at
        different steps have equal log t in float64, only the last one is a row.
    y : (n, N) array
        States in the coordinates of the flow.
    rtol, atol : float
        Tolerances of the run.
    log_t_end : float
        Logarithm of the last time.
    outcome : Outcome
        Reason for the end of the run.
    event : int or None
        Index of the event of `until` that stopped it.
    message : str
        Description of the outcome.
    nfev, nsteps, nrejected : int
        Evaluations of the right-hand side, accepted steps, rejected steps.
    step_size : float or None
        Step size of gradient descent (see `ceflow.descend`), or as recorded; None for integrated flows.
    compiled : bool or None
        Whether the run was compiled when it ended; None if unknown, as for files.
    observables : mapping
        Observables by name, with description, axes and units (see `ceflow.observables`). Each is also a property.

    Examples
    --------
    >>> run = cf.integrate(cf.SpectralFlow(cf.hadamard(4)), [1e-3, 2e-3, 3e-3], 1e6)
    >>> run.success, run.singular_values.shape == (len(run), 3)
    (True, True)
    >>> f"{run.loss[-1]:.2e}, {run.at(1e3).loss[0]:.2e}"  # at the end, and at any time before
    '9.23e-08, 1.77e-04'
    """

    observables: ClassVar[Mapping[str, Observable]]
    def __init_subclass__(cls, kinds: tuple[str, ...] = (), **options: Any) -> None:
        super().__init_subclass__(**options)
        _KINDS.update(dict.fromkeys(kinds, cls))

    def __init__(
        self, flow: Flow[Any], start: Any, log_t: np.ndarray, y: np.ndarray,
        *, t: np.ndarray | Times | None = None, path: DenseOutput | None = None, log_t_end: float | None = None,
        rtol: float = math.nan, atol: float = 0.0, outcome: Outcome = Outcome.REACHED, message: str = "",
        nfev: int = 0, nsteps: int = 0, nrejected: int = 0, event: int | None = None,
        step_size: float | None = None, compiled: bool | None = None,
    ) -> None:  # fmt: skip
        self.flow, self.start, self.log_t, self.y = flow, start, log_t, y
        self._given = t  # times of the rows as given
        self._path, self.rtol, self.atol = path, rtol, atol
        self.log_t_end = log_t_end if log_t_end is not None else float(log_t[-1])
        self.outcome, self.message, self.event = outcome, message, event
        self.nfev, self.nsteps, self.nrejected = int(nfev), int(nsteps), int(nrejected)
        self.step_size, self.compiled = step_size, compiled
        self._resume: Resume | None = None

    @property
    def success(self) -> bool:
        """Whether the run reached its end or an event."""
        return self.outcome.success

    @property
    def times(self) -> Times:
        """Times of the rows."""
        return Times(self.log_t, t.given_of(self.log_t) if isinstance(t := self._given, Times) else t)

    def __len__(self) -> int:
        return len(self.log_t)

    def __repr__(self) -> str:
        state = "" if self.success else ", success=False"
        rows = f"{len(self)} rows to t = 1e{self.log_t_end / math.log(10):.6g}, {self.nsteps} steps{state}"
        return f"<Trajectory of {self.flow!r}: {rows}: {self.message}>"

    def at(self, t: ArrayLike | None = None, *, log_t: ArrayLike | None = None) -> Self:
        """Trajectory at other times, by dense output.

        Parameters
        ----------
        t, log_t : float or (m,) array
            Times, or their natural logarithms, from 0 to the end of the run.

        Returns
        -------
        Trajectory
            Trajectory with m rows (1 for a scalar), accurate to the tolerance of the run.

        Raises
        ------
        ValueError
            If a time is outside the run; without dense output (``dense_output=False``, gradient descent), if it is not
            the time of a row.

        Examples
        --------
        >>> run = cf.integrate(cf.SpectralFlow(cf.complete(3)), [0.1], 1e6)
        >>> run.at([1.0, 10.0]).singular_values.round(4)
        array([[0.1887],
               [3.2094]])
        """
        if (t is None) == (log_t is None):
            raise ValueError("give either t or log_t")
        if t is not None:
            t = np.atleast_1d(checked_array("t", t, -np.inf, np.inf))
            if np.any(t < 0.0):
                raise ValueError(f"t must not be negative, got {t.min():g}")
            log_t = Times.of(t).log_t
        log_t = np.atleast_1d(checked_array("log_t", log_t, -np.inf, np.inf))
        if log_t.ndim != 1 or np.any(np.isnan(log_t)):
            raise ValueError("times must be a number or one-dimensional, without NaN")
        if np.any(log_t > self.log_t_end + 1e-12 * abs(self.log_t_end)):
            raise ValueError(f"the run ends at log t = {self.log_t_end:.6g}, got log t = {log_t.max():.6g}")
        log_t = np.minimum(log_t, self.log_t_end)
        y = self._rows_at(log_t) if self._path is None else self._path.sample(log_t)
        return self._with(log_t, y, t)

    def _rows_at(self, log_t: np.ndarray) -> np.ndarray:
        """States at times of rows; raise a ValueError for other times."""
        place = np.searchsorted(self.log_t, log_t, sorter=(order := np.argsort(self.log_t, kind="stable")))
        rows = order[np.minimum(place, len(order) - 1)] if len(order) else place
        if not len(order) or np.any(self.log_t[rows] != log_t):
            what = "gradient descent has steps only, and so have recorded runs"
            what = what if math.isnan(self.rtol) else "integrate with dense_output=True"
            raise ValueError(f"this trajectory has no dense output between its rows: {what}")
        return self.y[rows]

    def __array__(self, *args: object, **kwargs: object) -> np.ndarray:
        # with __len__ and __getitem__ NumPy would treat it as an infinitely nested sequence
        raise TypeError("a trajectory is not an array; use one of its observables, such as singular_values")

    def __getitem__(self, rows: Any) -> Self:
        """Select rows by an index, a slice or an array; returns a trajectory. IndexError if out of range."""
        if isinstance(rows, (int, np.integer)):
            rows = range(len(self))[rows]  # raises IndexError, which ends iteration
            rows = slice(rows, rows + 1)
        return self._with(self.log_t[rows], self.y[rows], self.times.given[rows])

    def _with(self, log_t: np.ndarray, y: np.ndarray, t: np.ndarray | None = None) -> Self:
        options = self._options() | {"t": t, "path": self._path, "rtol": self.rtol, "atol": self.atol}
        return type(self)(self.flow, self.start, log_t, y, **options)

    def _options(self) -> dict:
        names = ("log_t_end", "outcome", "message", "nfev", "nsteps", "nrejected", "event", "step_size", "compiled")
        return {name: getattr(self, name) for name in names if getattr(self, name) is not None}

    def to_xarray(self) -> xarray.Dataset:
        """Convert to an xarray Dataset (needs the extra ``xarray``), e.g. for ``dataset.sel(t=1000.0)`` or ``log_t``.

        Examples
        --------
        >>> run = cf.integrate(cf.SpectralFlow(cf.complete(3)), [0.1], t_eval=[1.0, 10.0, 100.0])
        >>> f"{float(run.to_xarray().loss.sel(t=10.0)):.4f}"
        '0.0777'
        """
        import xarray

        units = {"log_t": "log(time)", "t": self.observables["t"].units}
        times = {name: ("row", getattr(self, name), {"units": unit}) for name, unit in units.items()}
        variables: dict[str, Any] = {}
        for observable in self.observables.values():
            if observable.exported and not observable.why_not(self.flow):
                variables |= observable.variables(self)
        attributes = self._options() | {"outcome": self.outcome.name, "success": int(self.success)}
        attributes |= {"rtol": self.rtol, "atol": self.atol, "flow": repr(self.flow)}
        attributes |= {} if self.compiled is None else {"compiled": int(self.compiled)}  # files hold no booleans
        return xarray.Dataset(variables, coords=times, attrs=attributes).set_xindex("t").set_xindex("log_t")


class ReducedTrajectory(Trajectory):
    """Run of a reduced flow, which can be lifted to full matrices."""
    flow: flows.SpectralFlow | flows.BlockFlow | flows.RegressionFlow | flows.ReducedETFFlow

    def lifted(self, *, width: int | None = None, rng: int = 0) -> MatrixTrajectory:
        """Convert the run to full matrices, including rows and dense output, as a run of the full flow.

        Parameters
        ----------
        width, rng
            As in the flow's `lift`.

        Examples
        --------
        >>> run = cf.integrate(cf.SpectralFlow(cf.hadamard(4)), [1e-3, 2e-3, 3e-3], t_eval=[1e1, 1e3])
        >>> full = run.lifted(width=8)
        >>> full.factors[0].shape, np.allclose(full.loss, run.loss)
        ((2, 4, 8), True)
        >>> full.collapse.nc2.round(3)
        array([0.366, 0.053])
        """
        flow, start = self.flow, self.flow.lift(self.start, width=width, rng=rng)

        def full(y: np.ndarray) -> np.ndarray:
            parts = flow.lift(self.start, width=width, rng=rng, rows=flow.layers_at(self.start, y))
            return np.concatenate([part.reshape(len(y), -1) for part in parts], axis=1)

        return _on_full_matrices(self, flow.full(), start, full)


@REDUCED.attach
class SpectralTrajectory(quantities.OfModes, ReducedTrajectory, kinds=("spectral", "layers")):
    """Run of the reduced flow on D modes."""
    flow: flows.SpectralFlow
    start: np.ndarray

    @property
    def classes(self) -> int:
        """Number K of classes."""
        return self.flow.scheme.classes

    def to_xarray(self) -> xarray.Dataset:
        """Convert to an xarray Dataset (needs the extra ``xarray``)."""
        return super().to_xarray().assign_coords(mode=np.arange(1, self.flow.scheme.modes + 1))


@BLOCKS.attach
class BlockTrajectory(quantities.OfBlocks, ReducedTrajectory, kinds=("blocks", "block_layers")):
    """Run of the reduced flow under any symmetry, on blocks of layers."""
    flow: flows.BlockFlow
    start: Layers

    @property
    def classes(self) -> int:
        """Number K of classes."""
        return self.flow.classes


@REGRESSION.attach
class RegressionTrajectory(quantities.OfTargets, ReducedTrajectory, kinds=("regression",)):
    """Run of the reduced flow of a regression, on the modes of its targets."""
    flow: flows.RegressionFlow
    start: np.ndarray

    @property
    def classes(self) -> int:
        """Number n of outputs."""
        return self.flow.outputs


class _Lifted:
    """Dense output of a reduced run on full matrices."""

    def __init__(self, path: DenseOutput, full: Callable[[np.ndarray], np.ndarray]) -> None:
        self.segments: list = []
        self._path, self._full = path, full

    def sample(self, log_t: np.ndarray) -> np.ndarray:
        return self._full(self._path.sample(log_t))


@REPLAY.attach
class ReplayTrajectory(quantities.OfTasks, Trajectory, kinds=("replay",)):
    """Run of the reduced flow of tasks with replay."""
    flow: flows.ReplayFlow
    start: flows.ReplayState

    @property
    def classes(self) -> int:
        """Number K of classes of all tasks."""
        return self.flow.classes

    def lifted(self, columns: ArrayLike | None = None, **options: Any) -> MatrixTrajectory:
        """Convert the run to all samples, including rows and dense output, as a run of the full flow.

        Parameters
        ----------
        columns, **options
            As in `ReplayFlow.lift`; by default the trained columns of each class and one more.
        """
        flow = self.flow
        columns = np.ceil(flow.samples).astype(int) + 1 if columns is None else columns
        start = flow.lift(self.start, columns, **options)

        def full(y: np.ndarray) -> np.ndarray:
            rows = [flow.lift(flow.state(self.start, row), columns, **options) for row in y]
            return np.array([np.concatenate([part.ravel() for part in parts]) for parts in rows])

        return _on_full_matrices(self, flow.full(columns), start, full)


@FULL.attach
class MatrixTrajectory(quantities.OfMatrices, Trajectory, kinds=("matrix",)):
    """Run of the full flow on W (K, d) and H (d, N), or on one factor per layer.

    For a batch of B starts every array has an axis B after the axis of the rows.
    """
    flow: flows.MatrixFlow | flows.ETFFlow
    start: tuple[np.ndarray, ...]

    @property
    def classes(self) -> int:
        """Number K of classes."""
        return self.start[0].shape[-2]

    @cached_property
    def terms(self) -> Terms:
        """Loss of all columns of the logits."""
        return Terms(self.flow.objective, self.classes)


@ETF.attach
class ETFTrajectory(quantities.OfClassifiers, MatrixTrajectory, kinds=("etf",)):
    """Run of features with a nearest, fixed or free classifier, on full matrices."""
    flow: flows.ETFFlow


@ETF.attach
@FULL.attach
class ReducedETFTrajectory(quantities.OfClassifiers, quantities.OfMatrices, ReducedTrajectory, kinds=("reduced_etf",)):
    """Reduced run of features with a nearest or fixed ETF, on (K-1) x (K-1) matrices; W and H have width K - 1."""
    flow: flows.ReducedETFFlow
    start: np.ndarray

    @property
    def classes(self) -> int:
        """Number K of classes."""
        return len(self.start) + 1

    terms = cached_property(MatrixTrajectory.terms.func)  # type: ignore[attr-defined]  # mypy sees a property


def _on_full_matrices(run: Trajectory, flow: Flow[RunT], start: tuple, full: Callable[..., np.ndarray]) -> RunT:
    """Convert a reduced run to a run of the full flow; `full` maps reduced states to full ones."""
    if len(run) * sum(part.size for part in start) > MOST_LIFTED:
        raise ValueError(f"the matrices of {len(run)} rows would have more than {MOST_LIFTED} entries")
    path = None if run._path is None else _Lifted(run._path, full)
    options = {"t": run._given, "path": path, "rtol": run.rtol, "atol": run.atol} | run._options()
    return trajectory_type(flow)(flow, start, run.log_t, full(run.y), **options)


def trajectory_type(flow: Flow[RunT]) -> type[RunT]:
    """Trajectory class of a flow."""
    return cast("type[RunT]", _KINDS[flow.kind])
