"""Comparison of two runs from the same start over time: reduced and full, or integrated and recorded."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from ._arrays import svd
from ._stability import growth_off_symmetry
from ._training import record
from .flow import BlockFlow, MatrixFlow, ReducedETFFlow, RegressionFlow
from .solve import Outcome
from .trajectory import MatrixTrajectory, ReducedTrajectory, ReplayTrajectory, SpectralTrajectory

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Two runs agree if they differ by at most this many times rtol, because errors of all steps add up, and at most this.
AGREEMENT, COARSEST_AGREEMENT = 1000.0, 0.01
_CLASSIFIER = ("classifier", "argmin_gradient", "radius")  # attributes of flows with a computed classifier


class Comparison:
    """Differences of a reduced and a full run at common times.

    If the symmetric path is unstable, rounding errors drive the full run away from it; the difference is then no error
    of either run. `trusted_until` is the time up to which amplified rounding stays below the `tolerance`. Later rows
    are listed but do not count.

    Attributes
    ----------
    log_t : (n,) array
    error : (n,) array
        ``|Z_reduced - Z_full|_F / |Z_full|_F``.
    off_diagonal : (n,) array
        Distance of the full run from the scheme, ``flow.project(W, H)[1]``; NaN if both runs are full.
    singular_value_error : (n,) array
        Largest difference of the sorted singular values of Z, relative to the largest one.
    loss_error : (n,) array
        Relative difference of the losses.
    lyapunov_error : (n,) array
        Difference of the Lyapunov functions V; NaN if one is not defined.
    reduced, full : Trajectory
        Both runs at these times.

    Examples
    --------
    >>> flow, s0 = cf.SpectralFlow(cf.hadamard(4)), [0.1, 0.2, 0.3]
    >>> descent = cf.descend(cf.MatrixFlow(), flow.lift(s0), step_size=0.1, steps=20)
    >>> comparison = cf.compare(cf.integrate(flow, s0, 2.0), descent)
    >>> f"logits differ by {comparison.error[-1]:.4f} of their norm, losses by {comparison.loss_error[-1]:.4f}"
    'logits differ by 0.0071 of their norm, losses by 0.0022'
    """

    if TYPE_CHECKING:  # attached by _methods

        def plot(self, ax: Axes | None = None) -> Axes: ...
        def _repr_html_(self) -> str: ...

    def __init__(self, reduced: ReducedTrajectory | MatrixTrajectory, full: MatrixTrajectory) -> None:
        self.reduced, self.full = reduced, full
        self.log_t = full.log_t
        logits = _logits_of(reduced)
        self.error, self.off_diagonal, self.singular_value_error = np.empty((3, len(full)))
        for row, parts in enumerate(
            zip(*full.factors, *([full.bias] if full.flow.objective.bias else []), strict=True)
        ):
            Z, mine = full[row].logits[0], logits(row)
            size, top = np.linalg.norm(Z), full.singular_values[row, 0]
            self.error[row] = np.linalg.norm(mine - Z) / (size if size > 0.0 else 1.0)
            symmetric = isinstance(reduced, ReducedTrajectory)
            self.off_diagonal[row] = cast(Any, reduced).flow.project(*parts)[1] if symmetric else np.nan
            mine = svd(mine, compute_uv=False)
            apart = np.abs(mine - full.singular_values[row, : len(mine)]).max()
            self.singular_value_error[row] = apart / (top if top > 0.0 else 1.0)
        self.loss_error = np.abs(np.expm1(reduced.log_loss - full.log_loss))
        self.lyapunov_error = np.full(len(full), np.nan)
        if isinstance(reduced, SpectralTrajectory):
            self.lyapunov_error = np.abs(reduced.lyapunov - full.lyapunov)

    @property
    def t(self) -> np.ndarray:
        """(n,) times; inf on overflow."""
        return self.full.t

    @property
    def tolerance(self) -> float:
        """Largest difference of runs that agree: 1000 rtol of the coarser run, at most 0.01. If both runs are descents,
        rtol is rounding."""
        tolerances = [run.rtol for run in (self.reduced, self.full) if run.rtol > 0.0]
        coarser = max(tolerances, default=np.finfo(float).eps)
        return min(AGREEMENT * coarser, COARSEST_AGREEMENT)

    @functools.cached_property
    def trusted_until(self) -> float:
        """log t up to which both runs can be compared: the last row, unless the symmetric path is unstable.

        Rounding errors of the full run grow at most like the exponential of the integral, along the reduced run, of the
        largest eigenvalue of minus the Hessian on deviations off the scheme (by Lanczos' method) [ceflow]. It is
        computed only on schemes, and only if the runs differ by more than the `tolerance`. For other symmetries and for
        gradient descent, `off_diagonal` shows when the full run has left the symmetry.
        """
        last = float(self.log_t[-1])
        agree = self.error.max() <= self.tolerance
        runs = (self.reduced, self.full)
        # steps of gradient descent and of training runs differ by more than rounding
        discrete = any(run.step_size is not None or run.outcome == Outcome.RECORDED for run in runs)
        if agree or not math.isfinite(last) or discrete:
            return last
        if not isinstance(self.reduced, SpectralTrajectory) or self.reduced._path is None:
            return last
        log_t, log_growth = growth_off_symmetry(self.reduced, last, self.full.start[0].shape[-1])
        beyond = np.flatnonzero(log_growth > math.log(self.tolerance / np.finfo(self.full.flow.dtype).eps))
        return last if not len(beyond) else float(log_t[max(beyond[0] - 1, 0)])

    @property
    def trusted(self) -> np.ndarray:
        """(n,) whether a row counts: rows up to `trusted_until`."""
        return self.log_t <= self.trusted_until

    @property
    def max_error(self) -> float:
        """Largest `error` of the rows up to `trusted_until`."""
        return float(self.error[self.trusted].max(initial=0.0))

    def __repr__(self) -> str:
        cut = "" if self.trusted.all() else f" until t = 1e{self.trusted_until / math.log(10):.4g}, as it is unstable"
        return (
            f"<Comparison of {_name_of(self.reduced.flow)} with the full flow at {len(self.log_t)} times to "
            f"t = 1e{self.log_t[-1] / math.log(10):.4g}: max_error = {self.max_error:.2e}{cut}>"
        )


def _name_of(flow: Any) -> str:
    if isinstance(flow, RegressionFlow):
        return "the modes of the targets"
    if isinstance(flow, ReducedETFFlow):
        return f"a matrix ({flow.classifier} ETF)"
    if isinstance(flow, MatrixFlow):
        return "a full run"
    return (flow.symmetry if isinstance(flow, BlockFlow) else flow.scheme).name


def _logits_of(reduced: ReducedTrajectory | MatrixTrajectory) -> Callable[[int], np.ndarray]:
    """Logits (K, N) of each row."""
    if not isinstance(reduced, SpectralTrajectory):
        return lambda row: cast(Any, reduced[row]).logits[0]
    scheme = reduced.flow.scheme
    basis, values = scheme.basis()[:, 1:], reduced.singular_values[:, scheme.columns[1:] - 1]
    return lambda row: (basis * values[row]) @ basis.T


def compare(
    reduced: ReducedTrajectory | MatrixTrajectory, full: MatrixTrajectory | ReducedTrajectory | tuple
) -> Comparison:
    """Compare a reduced run with a full run from the same start, or a run with a recorded training run.

    The times are those rows of the full run that the reduced run reaches; the reduced run is sampled there by its dense
    output. Rows at which amplified rounding errors exceed the tolerance do not count, see `Comparison`.

    Parameters
    ----------
    reduced : Trajectory of a SpectralFlow, under any symmetry, of a RegressionFlow, ReducedETFFlow or MatrixFlow
    full : Trajectory of a MatrixFlow, of an ETFFlow, or of one of these, or a tuple
        It may be a run of gradient descent, of a training loop (see `record`), or under another symmetry of the same
        problem; it is then compared as a run of full matrices. A tuple ``(t, W, H)`` or ``(t, W, ..., H, b)`` is
        recorded for the flow of the other run.

    Raises
    ------
    TypeError
        If a trajectory has the wrong type.
    ValueError
        If classes or time units differ, the reduced run has no dense output, or there is no common time.

    Examples
    --------
    >>> flow, s0 = cf.SpectralFlow(cf.hadamard(4)), [0.1, 0.2, 0.3]
    >>> reduced = cf.integrate(flow, s0, 1e3)
    >>> full = cf.integrate(cf.MatrixFlow(), flow.lift(s0), 1e3)
    >>> cf.compare(reduced, full).max_error < 1e-8
    True
    """
    if isinstance(reduced, ReplayTrajectory) or isinstance(full, ReplayTrajectory):
        raise TypeError(
            "compare does not take a run of a ReplayFlow. Compare its lifted() run on all samples, "
            "or use its certificate(), which checks it on all samples"
        )
    full = full.lifted() if isinstance(full, ReducedTrajectory) else full
    if isinstance(full, tuple) and len(full) > 2 and isinstance(reduced, (ReducedTrajectory, MatrixTrajectory)):
        full = record(reduced.flow, *full)
    if not isinstance(reduced, (ReducedTrajectory, MatrixTrajectory)) or not isinstance(full, MatrixTrajectory):
        raise TypeError(
            "compare takes a trajectory of a SpectralFlow and one of a MatrixFlow, or the (t, W, H) of a training run, "
            f"got {type(reduced).__name__} and {type(full).__name__}"
        )
    if reduced.classes != full.classes:
        raise ValueError(f"the runs have {reduced.classes} and {full.classes} classes")
    mine, other = reduced.flow.objective, full.flow.objective
    if isinstance(reduced, ReducedTrajectory) and not isinstance(reduced, SpectralTrajectory):
        flows = reduced.flow.full(), full.flow
        if any(len({getattr(flow, name, None) for flow in flows}) > 1 for name in ("kind", *_CLASSIFIER)):
            raise ValueError(f"the runs are not of the same flow: {flows[0]!r} and {flows[1]!r}")
        mine, other = (objective.per_class(full.classes) for objective in (reduced.flow.full().objective, other))
    for name in ("reduction", "loss", "depth", "weight_decay"):
        values = " and ".join(repr(getattr(objective, name)) for objective in (mine, other))
        if getattr(mine, name) != getattr(other, name):
            raise ValueError(f"the runs have {name} {values}: they are not of the same flow")
    if mine != other:
        raise ValueError(f"the runs are not of the same flow: objectives are {mine!r} and {other!r}")
    if any(isinstance(run, MatrixTrajectory) and run.start[0].ndim != 2 for run in (reduced, full)):
        raise ValueError("compare takes one full run, not a batch")
    common = full[np.flatnonzero(full.log_t <= reduced.log_t_end)]
    if not len(common):
        raise ValueError("the runs have no time in common")
    return Comparison(reduced.at(log_t=common.log_t), common)
