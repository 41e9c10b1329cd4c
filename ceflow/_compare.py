"""Reduced against full: how far apart two runs of the same start are, over time."""

from __future__ import annotations

import math

import numpy as np

from .network.factors import product
from .trajectory import MatrixTrajectory, SpectralTrajectory


class Comparison:
    """The difference of a reduced and a full run at common times.

    Attributes
    ----------
    log_t : (n,) array
    error : (n,) array
        ``|Z_reduced - Z_full|_F / |Z_full|_F``.
    off_diagonal : (n,) array
        How far the full run is from the scheme, ``flow.project(W, H)[1]``.
    singular_value_error : (n,) array
        Largest difference of the sorted singular values of Z, relative to the largest one.
    loss_error : (n,) array
        Relative difference of the losses.
    lyapunov_error : (n,) array
        Difference of the Lyapunov functions V; NaN where one is not defined.
    reduced, full : Trajectory
        Both runs at these times.
    """

    def __init__(self, reduced: SpectralTrajectory, full: MatrixTrajectory) -> None:
        self.reduced, self.full = reduced, full
        self.log_t = full.log_t
        scheme, project = reduced.flow.scheme, reduced.flow.project
        basis, columns = scheme.basis()[:, 1:], scheme.columns[1:] - 1
        values = reduced.singular_values[:, columns]
        self.error, self.off_diagonal = np.empty((2, len(full)))
        for row, factors in enumerate(zip(*full.factors, strict=True)):
            Z = product(factors)
            size = np.linalg.norm(Z)
            self.error[row] = np.linalg.norm((basis * values[row]) @ basis.T - Z) / (size if size > 0.0 else 1.0)
            self.off_diagonal[row] = project(*factors)[1]
        ordered = np.sort(np.abs(np.pad(values, ((0, 0), (0, 1)))), axis=1)[:, ::-1]
        top = full.singular_values[:, :1]
        self.singular_value_error = np.max(
            np.abs(ordered - full.singular_values) / np.where(top > 0.0, top, 1.0), axis=1
        )
        self.loss_error = np.abs(np.expm1(reduced.log_loss - full.log_loss))
        self.lyapunov_error = np.abs(reduced.lyapunov - full.lyapunov)

    @property
    def t(self) -> np.ndarray:
        """(n,) times; inf where they leave float64."""
        return self.full.t

    @property
    def max_error(self) -> float:
        """The largest `error`."""
        return float(self.error.max())

    def __repr__(self) -> str:
        return (
            f"<Comparison of {self.reduced.flow.scheme.name} with the full flow at {len(self.log_t)} times to "
            f"t = 1e{self.log_t[-1] / math.log(10):.4g}: max_error = {self.max_error:.2e}>"
        )


def compare(reduced: SpectralTrajectory, full: MatrixTrajectory) -> Comparison:
    """Compare a reduced run with a full-matrix run of the same start.

    The times are the rows of the full run that the reduced run reaches too; there the reduced run is sampled by its
    dense output.

    Parameters
    ----------
    reduced : Trajectory of a SpectralFlow
    full : Trajectory of a MatrixFlow

    Raises
    ------
    TypeError
        If a trajectory is of the wrong kind.
    ValueError
        If classes or units of time differ, the reduced run has no dense output, or no time is common.
    """
    if not isinstance(reduced, SpectralTrajectory) or not isinstance(full, MatrixTrajectory):
        raise TypeError(
            "compare takes a trajectory of a SpectralFlow and one of a MatrixFlow, got "
            f"{type(reduced).__name__} and {type(full).__name__}"
        )
    if reduced.flow.scheme.classes != full.classes:
        raise ValueError(f"the runs have {reduced.flow.scheme.classes} and {full.classes} classes")
    mine, other = reduced.flow.objective, full.flow.objective
    for name in ("reduction", "loss", "depth", "weight_decay"):
        values = " and ".join(repr(getattr(objective, name)) for objective in (mine, other))
        if getattr(mine, name) != getattr(other, name):
            raise ValueError(f"the runs have {name} {values}: they are not of the same flow")
    if mine != other:
        raise ValueError(f"the runs are not of the same flow: they descend {mine!r} and {other!r}")
    if full.start[0].ndim != 2:
        raise ValueError("compare takes one full run, not a batch")
    common = full[np.flatnonzero(full.log_t <= reduced.log_t_end)]
    if not len(common):
        raise ValueError("the runs have no time in common")
    return Comparison(reduced.at(log_t=common.log_t), common)
