"""A user's program in full annotation, for the type checker: `mypy` reads it, strictly, and nothing runs it.

`assert_type` says what a checker, and so an editor, has to know of each result.
"""

from __future__ import annotations

from typing import Any, assert_type

import numpy as np
import xarray
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

import ceflow as cf
from ceflow.collapse import Measures
from ceflow.flow import BlockFlow
from ceflow.trajectory import (
    BlockTrajectory,
    ETFTrajectory,
    MatrixTrajectory,
    ReducedETFTrajectory,
    RegressionTrajectory,
    ReplayTrajectory,
    SpectralTrajectory,
)

Reals = NDArray[np.float64]


def reduced() -> SpectralTrajectory:
    """A scheme: modes."""
    scheme = cf.hadamard(16)
    assert_type(scheme, cf.Scheme)
    flow = cf.SpectralFlow(scheme, loss="cross_entropy", depth=2, reduction="mean")
    assert_type(flow, cf.SpectralFlow)
    start = 1e-3 * np.random.default_rng(0).uniform(0.1, 1.0, flow.scheme.modes)
    run = cf.integrate(flow, start, t_end=1e30, rtol=1e-9, method="dop853", until=cf.collapsed(1e-6))
    assert_type(run, SpectralTrajectory)
    assert_type(run.singular_values, Reals)
    assert_type(run.loss, Reals)
    assert_type(run.lyapunov[-1:], Reals)
    assert_type(run.at(1e7), SpectralTrajectory)
    assert_type(run.at(log_t=[1.0, 2.0]).margin, Reals)
    assert_type(run[::2], SpectralTrajectory)
    for row in run:
        assert_type(row, SpectralTrajectory)
    assert_type(run.flow, cf.SpectralFlow)
    assert_type(run.outcome, cf.Outcome)
    assert_type(run.success, bool)
    assert_type(run.t, Reals)
    assert_type(cf.resume(run, log_t_end=1e3), SpectralTrajectory)
    assert_type(cf.sequence([(flow, 1.0), (flow, 2.0)], start), tuple[SpectralTrajectory, ...])
    assert_type(cf.lowest(flow, [start]), list[SpectralTrajectory])
    assert_type(cf.descend(flow, start, step_size=0.1, steps=10), SpectralTrajectory)
    assert_type(cf.sharpness(run[::10]), np.ndarray)
    return run


def blocks() -> BlockTrajectory:
    """Any other symmetry, or an option that a scheme alone does not have: blocks."""
    groups = cf.SpectralFlow(cf.direct_sum(5, 5), samples=(100, 1), bias=True)
    assert_type(groups, BlockFlow)
    assert_type(cf.SpectralFlow(cf.hadamard(4), bias=True), BlockFlow)
    run = cf.integrate(groups, groups.random_start(1e-3, rng=0), log_t_end=100.0)
    assert_type(run, BlockTrajectory)
    assert_type(run.logits, Reals)
    assert_type(run.collapse, Measures)
    assert_type(run.lifted(), MatrixTrajectory)
    return run


def full(reduced: SpectralTrajectory) -> MatrixTrajectory:
    """Matrices, recorded training, and what the two have in common."""
    flow = cf.MatrixFlow(backend="numpy", dtype="float64", weight_decay=(1e-3, 1e-3), labels=[0, 0, 1, 2])
    W, H = cf.random_init(classes=3, width=4, scale=0.1)
    assert_type(W, np.ndarray)
    run = cf.integrate(flow, (W, H), 10.0)
    assert_type(run, MatrixTrajectory)
    assert_type(run.W, Reals)
    assert_type(run.factors, tuple[Reals, ...])
    assert_type(run.collapse.nc1, Reals)
    assert_type(run.classes, int)
    assert_type(cf.record(flow, [0.0, 1.0], [W, W], [H, H]).logits, Reals)
    comparison = cf.compare(reduced, reduced.lifted())
    assert_type(comparison, cf.Comparison)
    assert_type(comparison.max_error, float)
    assert_type(comparison.plot(), Axes)
    assert_type(cf.symmetry_of(W, H), cf.Symmetry)
    return run


def others() -> None:
    """The other flows."""
    nearest = cf.integrate(cf.ETFFlow("nearest", radius=1.0), np.eye(3), 1.0)
    assert_type(nearest, ETFTrajectory)
    assert_type(nearest.squared_distance, Reals)
    assert_type(nearest.W, Reals)
    small = cf.integrate(cf.ReducedETFFlow(), np.eye(2), 1.0)
    assert_type(small, ReducedETFTrajectory)
    assert_type(small.classes, int)
    regression = cf.integrate(cf.RegressionFlow(np.eye(3), weight_decay=(0.1, 0.2)), np.ones(3), 1.0)
    assert_type(regression, RegressionTrajectory)
    assert_type(regression.imbalance, Reals)
    replay = cf.integrate(cf.ReplayFlow([2, 2], [5, 1], [0.1, 0.1]), 0.01, 1.0)
    assert_type(replay, ReplayTrajectory)
    assert_type(replay.task_margin, Reals)


def many(flow: cf.SpectralFlow) -> None:
    """Many runs, and sweeps."""
    runs = cf.integrate_many(flow, np.full((100, flow.scheme.modes), 0.1), log_t_eval=[0.0, 1.0], observables=["loss"])
    assert_type(runs, cf.Ensemble)
    assert_type(runs.success, np.ndarray)
    assert_type(runs[3], cf.Ensemble)
    assert_type(runs.to_xarray(), xarray.Dataset)
    results = cf.sweep({"K": [4, 8], "depth": [2, 3]}, members=10, t_end=1e6, store="sweep.zarr", executor="threads")
    assert_type(results, xarray.Dataset)
    assert_type(cf.plot.phase_diagram(results.loss), Axes)
    assert_type(cf.plot.quantiles(runs, "loss"), Axes)
    assert_type(cf.event(lambda run: run.margin - 5.0, "up"), cf.Event)


def checked(run: SpectralTrajectory, matrices: MatrixTrajectory) -> None:
    """Certificates, theory, figures, files."""
    certificate = run.certificate()
    assert_type(certificate, cf.Certificate)
    assert_type(certificate.passed, bool)
    assert_type(certificate.error_estimate, float)
    assert_type(cf.certify.certify(run), cf.Certificate)
    assert_type(cf.theory.loss_bound(run.flow.scheme, run.start, t=1.0), Reals)
    assert_type(cf.lyapunov.lyapunov(run.flow.scheme, run.singular_values), Reals)
    assert_type(cf.collapse.measures(matrices.W[-1], matrices.H[-1]), Measures)
    assert_type(cf.plot.dashboard(run), Figure)
    assert_type(cf.plot.loss(run, color="red"), Axes)
    assert_type(cf.plot.ternary([run]), Axes)
    assert_type(cf.plot.logits(run), Axes | Figure)
    assert_type(run.to_xarray(), xarray.Dataset)
    run.save("run.npz")
    loaded = cf.load("run.npz")
    assert_type(loaded, cf.Trajectory | cf.Ensemble)
    if isinstance(loaded, cf.Trajectory):
        assert_type(loaded.loss, Reals)
    if isinstance(loaded, SpectralTrajectory):
        assert_type(loaded.margins, Reals)


def refused(run: SpectralTrajectory, loaded: cf.Trajectory, flow: cf.SpectralFlow, options: dict[str, Any]) -> None:
    """What a checker must find: each of these lines is an error, and would not pass without one."""
    run.loss = np.zeros(3)  # type: ignore[assignment]
    loaded.margins_of_nothing  # type: ignore[attr-defined]  # noqa: B018
    run.W  # type: ignore[attr-defined]  # noqa: B018
    cf.MatrixFlow(reduction="average")  # type: ignore[arg-type]
    cf.SpectralFlow(cf.hadamard(4), samplse=3)  # type: ignore[call-overload]
    cf.integrate(flow, [0.1], 1.0, method="euler")  # type: ignore[arg-type]
    cf.integrate(cf.hadamard(4), [0.1], 1.0)  # type: ignore[arg-type]
