"""Gradient descent on the objective of a flow, and the sharpness along a run."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ._arrays import as_like, host
from ._checks import checked_integer, checked_number
from .flow import Flow, MatrixFlow, RunT, in_layers
from .solve import Outcome
from .trajectory import MatrixTrajectory, ReducedTrajectory, Trajectory, trajectory_type

MOST_ROWS = 1000  # default number of rows
MOST = 1e3  # largest norm of the layers for curvature by differences
LARGEST = 150  # log10 of the largest product of layers: the square of a larger one may overflow
_RTOL = 1e-5  # argument of the vector field, without effect on gradient descent


def descend(
    flow: Flow[RunT],
    start: Any,
    *,
    step_size: float,
    steps: int | None = None,
    steps_eval: Sequence[int] | None = None,
) -> RunT:
    """Run full-batch gradient descent on the objective of a flow, ``w <- w - step_size * gradient``.

    All layers are updated together. This is Euler's method for the flow: at time t = step x step_size the difference is
    proportional to the step size. An interrupt (Ctrl-C) ends the run and returns the computed rows.

    Parameters
    ----------
    flow : SpectralFlow, MatrixFlow, RegressionFlow or ETFFlow
        Flow with any options; under a symmetry the depth must be an integer, and the activation must not be "relu". A
        symmetric start stays symmetric: the steps are exactly those of the full matrices.
    start : array or tuple of arrays
        As in `ceflow.integrate`.
    step_size : float
        Positive learning rate, in units of time. The gradient is that of the objective, with the `reduction` of the
        flow.
    steps : int
        Number of steps. Rows are all steps, or about 1000 of them evenly spaced in the logarithm.
    steps_eval : (n,) increasing integers
        In place of `steps`: the steps that become rows, 0 for the start. The last one ends the run.

    Returns
    -------
    Trajectory
        Rows at ``t = step x step_size``, with ``step_size`` and all observables of the flow. There is no interpolation:
        `Trajectory.at` accepts times of rows only. If the steps diverge, ``success`` is False and the rows before are
        kept.

    Raises
    ------
    TypeError, ValueError
        If an argument is invalid; the message names it.

    Notes
    -----
    Steps violate the conservation law of the flow: without decay a step multiplies ``a^2 - b^2`` of two layers by
    exactly ``1 - (step_size lambda)^2``, where lambda is the force on the mode, for every symmetry and loss [ceflow].

    Examples
    --------
    >>> flow = cf.SpectralFlow(cf.complete(10))
    >>> for step_size in (1.0, 0.1):
    ...     run = cf.descend(flow, [0.1], step_size=step_size, steps=round(20 / step_size))
    ...     print(f"{run.singular_values[-1, 0]:.4f}")
    2.6763
    2.7592
    >>> f"{cf.integrate(flow, [0.1], 20.0).singular_values[-1, 0]:.4f}"
    '2.7677'
    """
    if not isinstance(flow, Flow):
        raise TypeError(f"flow must be a SpectralFlow or a MatrixFlow, got {type(flow).__name__}")
    if not checked_number("step_size", step_size, 0.0, 1e100) > 0.0:
        raise ValueError(f"step_size must be positive, got {step_size!r}")
    rows = _rows(steps, steps_eval)
    flow = in_layers(flow)
    start = flow.start(start)
    taken, states, outcome = _descended(flow, start, float(step_size), rows)
    t = taken * float(step_size)
    with np.errstate(divide="ignore"):
        log_t = np.log(t)
    text = {
        Outcome.REACHED: f"took {rows[-1]} steps of gradient descent",
        Outcome.DIVERGED: f"diverged: step_size = {step_size:g} is too large",
        Outcome.INTERRUPTED: "interrupted",
    }
    return trajectory_type(flow)(
        flow,
        start,
        log_t,
        np.reshape(states, (len(taken), -1)),
        t=t,
        log_t_end=None if len(t) else -math.inf,
        outcome=outcome,
        message=text[outcome],
        nfev=int(taken[-1]) if len(taken) else 0,
        nsteps=int(taken[-1]) if len(taken) else 0,
        step_size=float(step_size),
    )


def _rows(steps: int | None, steps_eval: Sequence[int] | None) -> np.ndarray:
    """Checked steps that become rows."""
    if (steps is None) == (steps_eval is None):
        raise ValueError(f"give either steps or steps_eval, got {'none' if steps is None else 'both'}")
    if steps_eval is None:
        last = checked_integer("steps", steps, 1, 2**53)
        if last <= MOST_ROWS:
            return np.arange(last + 1)
        return np.unique(np.append(0, np.geomspace(1, last, MOST_ROWS).round().astype(np.int64)))
    rows = np.asarray(steps_eval)
    if rows.dtype.kind not in "iu":
        raise TypeError(f"steps_eval must be integers, got dtype {rows.dtype}")
    if rows.ndim != 1 or not rows.size or np.any(np.diff(rows) <= 0) or rows[0] < 0 or rows[-1] > 2**53:
        raise ValueError("steps_eval must be one-dimensional, nonnegative and strictly increasing")
    return rows.astype(np.int64)


def _descended(
    flow: Flow, start: Any, step_size: float, rows: np.ndarray
) -> tuple[np.ndarray, list[np.ndarray], Outcome]:
    """Rows reached, their states, and the outcome."""
    origin, states = flow.origin(start), list[np.ndarray]()
    field = flow.motion(start, origin, -math.inf, _RTOL)
    if not hasattr(field, "rates"):  # the state is constant
        return rows, [origin] * len(rows), Outcome.REACHED
    y, velocity = field.allocate(2, field.size)
    y[:] = as_like(origin, y)
    limit, exp = 10.0 ** (LARGEST // int(flow.depth)), getattr(field, "xp", np).exp
    try:
        with np.errstate(all="ignore"):  # divergence is detected below
            for before, row in itertools.pairwise([0, *rows.tolist()]):
                for _ in range(row - before):
                    phi, _ = field.rates(y, velocity)
                    velocity *= step_size * exp(-phi)
                    y += velocity
                state = host(y).copy()
                if not np.all(np.abs(state) <= limit):
                    return rows[: len(states)], states, Outcome.DIVERGED
                states.append(state)
    except KeyboardInterrupt:
        return rows[: len(states)], states, Outcome.INTERRUPTED
    return rows, states, Outcome.REACHED


def sharpness(run: Trajectory, *, width: int | None = None) -> np.ndarray:
    """Largest eigenvalue of the Hessian of the objective in all layers, at each row of a run.

    Gradient descent is unstable if it exceeds ``2 / step_size``; at the edge of stability it stays close to this value
    (Cohen, Kaur, Li, Kolter & Talwalkar, arXiv:2103.00065).

    Parameters
    ----------
    run : Trajectory
        Run of any flow, integrated or descended; not a batch. Each row needs some hundred gradients, so pass few rows,
        such as ``run[::10]``. For a reduced run the Hessian is that of the full problem, including directions off the
        symmetry.
    width : int, optional
        Width of the full matrices of a reduced run; default K, so that one feature direction is unused by the modes.

    Returns
    -------
    (n,) array
        Eigenvalues in inverse time units, by Lanczos' method. Products with the Hessian are fourth-order differences of
        the gradient; the error is about ``1e-12 max(1, |layers|^2)`` times the eigenvalue of largest absolute value.

    Raises
    ------
    TypeError, ValueError
        If an argument is invalid, or the norm of the layers exceeds 1000, as for diverging steps.

    Notes
    -----
    The Hessian is in the parameters of all samples, even if a column of H stands for several samples or a kernel
    couples them. Frozen layers are not parameters.

    Examples
    --------
    >>> run = cf.descend(cf.SpectralFlow(cf.complete(3)), [0.5], step_size=0.5, steps=100)
    >>> cf.sharpness(run[[0, 10, 100]]).round(4)  # stable where it is below 2 / 0.5
    array([0.3654, 0.2291, 0.0238])
    """
    if not isinstance(run, Trajectory):
        raise TypeError(f"sharpness takes a Trajectory, got {type(run).__name__}")
    if isinstance(run, ReducedTrajectory):
        run = run.lifted(width=width)
    elif width is not None:
        raise ValueError("width is for reduced runs only: full matrices have a width")
    if not isinstance(run, MatrixTrajectory) or not isinstance(run.flow, MatrixFlow):
        raise TypeError(f"sharpness takes a run of a SpectralFlow or a MatrixFlow, got a run of {run.flow!r}")
    if run.start[0].ndim != 2:
        raise ValueError("sharpness takes one run, not a batch")
    found, v = np.zeros(len(run)), np.asarray(np.random.default_rng(0).standard_normal(run.y.shape[1]))
    for row, y in enumerate(run.y):
        if not (size := float(np.linalg.norm(y))) <= MOST:
            raise ValueError(f"layers must have a norm of at most {MOST:g}, row {row} has {size:g}: use earlier rows")
        hessian = _Hessian(run, y)
        if not np.any(hessian(v)):
            continue
        from scipy.sparse.linalg import LinearOperator, eigsh  # slow to import

        operator = LinearOperator((y.size, y.size), matvec=hessian, dtype=float)
        value, vector = eigsh(operator, k=1, which="LA", v0=hessian.moving * v, tol=1e-11)
        found[row], v = value[0], vector[:, 0] + 1e-3 * v / np.linalg.norm(v)
    return found


class _Hessian:
    """Product of the Hessian at a state with a vector, in the layers of all samples."""

    def __init__(self, run: MatrixTrajectory, y: np.ndarray) -> None:
        flow, shapes = run.flow, [part.shape for part in run.start]
        assert isinstance(flow, MatrixFlow)
        objective = flow.objective
        self.field, self.y = flow._field(run.start), y
        self.place = self.field.allocate(2, self.field.size)
        ends = np.cumsum([math.prod(shape) for shape in shapes])
        last = int(objective.depth) - 1
        self.features, self.shape = slice(ends[last] - math.prod(shapes[last]), ends[last]), shapes[last]
        if objective.kernel is None:
            root = run.terms.samples**-0.5
            self.from_samples, self.to_samples = (lambda H: H * root), (lambda H: H / root)
        else:  # H = F root with independent F
            values, vectors = np.linalg.eigh(objective.kernel)
            kept = values > 1e-12 * values[-1]
            vectors, size = vectors[:, kept], np.sqrt(values[kept])
            root, inverse = (vectors * size) @ vectors.T, (vectors / size) @ vectors.T
            self.from_samples, self.to_samples = (lambda H: H @ root), (lambda H: H @ inverse)
        self.moving = np.ones(y.size)
        for frozen in objective.frozen:
            part = len(shapes) - 1 if frozen == "b" else int(frozen)
            self.moving[ends[part] - math.prod(shapes[part]) : ends[part]] = 0.0
        precision = float(np.finfo(run.flow.dtype).eps) ** 0.2
        self.step = precision / max(1.0, float(np.linalg.norm(y)))

    def __call__(self, v: np.ndarray) -> np.ndarray:
        v = self._mapped(v * self.moving, self.from_samples)
        h = self.step
        near, far = (self._velocity(i * h * v) - self._velocity(-i * h * v) for i in (1, 2))
        return -self._mapped((8.0 * near - far) / (12.0 * h), self.to_samples) * self.moving

    def _mapped(self, v: np.ndarray, function: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
        out = v.copy()
        out[self.features] = function(v[self.features].reshape(self.shape)).ravel()
        return out

    def _velocity(self, displacement: np.ndarray) -> np.ndarray:
        y, velocity = self.place
        y[:] = as_like(self.y + displacement, y)
        phi, _ = self.field.rates(y, velocity)
        return host(velocity) * math.exp(-float(phi))
