"""What a run verifiably satisfies: claims of the theory, and an estimate of its error, checked after the fact.

A certificate looks at a finished trajectory from outside. Of the solver it uses only what anyone could ask for, states
at given times (`Trajectory.at`); the equations and the losses are written down here once more. The estimate of the
error rests on the defect: between two times the layers must have changed by the integral of their own velocity,

    w(t_1) - w(t_0) = integral of (prod_{k != l} w_k) lambda(s) - mu w_l  dt,

which is computed by Clenshaw-Curtis quadrature in log t, on intervals that are halved until the quadrature is better
than the tolerance. Solver, clock and dense output have no part in it, so that an error of any of them shows.

A flow that contracts forgets: where it is fast against the interval, and pulls errors back at the rate rho, a defect d
is the trace of an error of d / (1 + integral of rho dt), and is counted as that.

Not every claim holds for every flow. What is not proved for a run is listed as such, with the reason, and is neither
passed nor failed.
"""

from __future__ import annotations

import functools
import math
import textwrap
from collections.abc import Callable, Iterable, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from . import lyapunov, networks, theory
from .losses import Loss
from .trajectory import MatrixTrajectory, SpectralTrajectory, Trajectory

PASSED, FAILED, SKIPPED = "passed", "failed", "not applicable"
ROUNDING = 1e-12  # a relative change that counts as none
SLACK = 100.0  # how many tolerances the errors of all steps may add up to
COARSEST = 0.5  # and no more than this, whatever the tolerance
NODES = 17  # of an interval; a power of two plus one, so that every second one is a rule of its own
SAMPLES, FEWEST = 500 * NODES, 4 * NODES  # states that are looked at; fewer if they are large
VOLUME = 2**23  # numbers in all those states
DENSE = 512  # modes, up to which forces are free of cancellation
UNRESOLVED = 0.1  # error of the least singular value, relative, from which on V of a full flow says nothing
EPS = np.finfo(float).eps


class Check(NamedTuple):
    """A claim about a run, and what became of it.

    Attributes
    ----------
    claim : str
    status : {"passed", "failed", "not applicable"}
    value, limit : float or None
        What was measured, and what it may be at most.
    log_t : float or None
        Where the measured value is worst.
    note : str
        What the value is, or why the claim does not apply.
    """

    claim: str
    status: str
    value: float | None = None
    limit: float | None = None
    log_t: float | None = None
    note: str = ""

    @property
    def passed(self) -> bool:
        """Whether the claim did not fail."""
        return self.status != FAILED


class Certificate:
    """The checks of one run.

    Attributes
    ----------
    run : str
        The trajectory in words.
    checks : list of Check
    error_estimate : float
        Of the run, relative, from its defects: the largest one and their sum. Not a bound; against exact
        solutions it was between a third and twenty times the largest error. NaN if there is no dense output.
    samples : int
        States that were looked at.
    """

    def __init__(self, run: str, checks: list[Check], error_estimate: float, samples: int) -> None:
        self.run, self.checks, self.error_estimate, self.samples = run, checks, error_estimate, samples

    @property
    def passed(self) -> bool:
        """Whether no check failed."""
        return all(check.passed for check in self.checks)

    def __bool__(self) -> bool:
        return self.passed

    def __getitem__(self, claim: str) -> Check:
        """The check of that name."""
        for check in self.checks:
            if check.claim == claim:
                return check
        raise KeyError(claim)

    def to_dict(self) -> dict[str, Any]:
        """All of it in terms of JSON; what is not finite becomes None."""

        def plain(value):
            return float(value) if value is not None and math.isfinite(value) else None

        return {
            "run": self.run,
            "passed": self.passed,
            "error_estimate": plain(self.error_estimate),
            "samples": self.samples,
            "checks": [
                check._asdict() | {name: plain(getattr(check, name)) for name in ("value", "limit", "log_t")}
                for check in self.checks
            ],
        }

    def __repr__(self) -> str:
        failed = sum(not check.passed for check in self.checks)
        return f"<Certificate: {len(self.checks)} checks, {failed} failed, error estimate {self.error_estimate:.1e}>"

    def __str__(self) -> str:
        return "\n".join([textwrap.fill(f"Certificate of {self.run}", 80, subsequent_indent="  "), *self.lines])

    @property
    def lines(self) -> list[str]:
        """The checks and the verdict as text, at most 80 columns wide."""
        lines = []
        skipped = [check for check in self.checks if check.status == SKIPPED]
        for check in self.checks:
            if check.status != SKIPPED:
                lines.append(_line(check))
        for check in skipped:
            lines.append(textwrap.fill(f"  n/a   {check.claim}: {check.note}", 80, subsequent_indent=" " * 8))
        failed = sum(not check.passed for check in self.checks)
        verdict = "All checks passed." if self.passed else f"{failed} of {len(self.checks)} checks FAILED."
        lines.append(f"{verdict} Error estimate {self.error_estimate:.1e}, from {self.samples} states.")
        return "\n".join(lines).split("\n")


def _line(check: Check) -> str:
    state = "PASS" if check.passed else "FAIL"
    line = f"  {state}  {check.claim:<36}"
    if check.value is not None and check.limit is not None:
        relation = "<=" if check.value <= check.limit else "> "
        line += f" {check.value:8.1e} {relation} {check.limit:.0e}"
    if check.log_t is not None and check.value:
        line += f"  at t = {time_text(check.log_t)}"
    line = line.rstrip()
    if not check.passed and check.note:
        line += "\n" + textwrap.fill(check.note, 80, initial_indent=" " * 8, subsequent_indent=" " * 8)
    return line


def time_text(log_t: float) -> str:
    """A time as a number, however large."""
    if log_t == -math.inf:
        return "0"
    exponent = math.floor(log_t / math.log(10.0) + 1e-9)
    mantissa = round(10.0 ** (log_t / math.log(10.0) - exponent), 2 if abs(exponent) < 1000 else 0)
    if mantissa >= 10.0:
        mantissa, exponent = 1.0, exponent + 1
    return f"{mantissa:g}e{exponent}" if exponent else f"{mantissa:g}"


def certify(trajectory: Trajectory) -> Certificate:
    """Check what a run verifiably satisfies. Also `Trajectory.certificate`.

    Parameters
    ----------
    trajectory : Trajectory
        Of either flow, not a batch. With dense output it is looked at between its steps too.

    Returns
    -------
    Certificate

    Raises
    ------
    TypeError
        If it is no trajectory.
    ValueError
        If it is a batch of runs.

    Notes
    -----
    Cost is bounded: where states are large fewer are looked at, evenly over the run.
    """
    if not isinstance(trajectory, (SpectralTrajectory, MatrixTrajectory)):
        raise TypeError(f"certify takes a trajectory, got {type(trajectory).__name__}")
    if isinstance(trajectory, MatrixTrajectory) and trajectory.start[0].ndim != 2:
        shape = trajectory.start[0].shape
        raise ValueError(f"certify takes one run, not a batch; got a start of shape {shape}: certify each by itself")
    with np.errstate(all="ignore"):  # a corrupt run may hold anything; what comes of it is judged, not raised
        return _Examiner(trajectory).certificate()


# -- the equations once more -------------------------------------------------------------------------------------------


class _Margins:
    """A loss on margins, by its definition.

    Its residuals ``r_j`` on the relations (or wrong classes) come as ``exp(log_scale)`` times numbers of size 1, with
    the sum of the sizes of the terms that make them: times the margins it tells how they react to a relative change.
    """

    def __init__(self, loss: Loss) -> None:
        self.smoothing, self.focusing = loss.smoothing, loss.focusing

    def residuals(
        self, margins: NDArray, valencies: NDArray, classes: int, reached: NDArray | bool = True
    ) -> tuple[NDArray, NDArray, NDArray]:
        """Residuals (..., D), sizes (..., D) and log_scale (...) of margins (..., D).

        Relations that no living mode reaches push nobody: they count for the probabilities, and not for the scale.
        """
        log_odds = np.log(valencies) - margins
        total = _log_sum(log_odds)[..., None]
        log_right = -np.logaddexp(0.0, total)
        log_r = log_odds + log_right
        if self.smoothing:
            p, target = np.exp(log_r), valencies * self.smoothing / classes
            return p - target, p + target, np.zeros(margins.shape[:-1])
        if self.focusing:
            log_wrong = total + log_right
            bracket = np.logaddexp(log_wrong, math.log(self.focusing) + log_right + _log_of_log1p_exp(total))
            log_r = log_r + (self.focusing - 1.0) * log_wrong + bracket
        if reached is not True:
            log_r = np.where(reached, log_r, -np.inf)
        log_scale = np.maximum(log_r.max(axis=-1, keepdims=True), -1e300)
        r = np.exp(log_r - log_scale)
        return r, r, log_scale[..., 0]

    def log_value(self, margins: NDArray, valencies: NDArray, classes: int) -> NDArray:
        """Logarithm of the loss of a sample with such margins, (...)."""
        total = _log_sum(np.log(valencies) - margins)
        value = _log_of_log1p_exp(total)
        if self.focusing:
            return value + self.focusing * (total - np.logaddexp(0.0, total))
        if self.smoothing:
            return np.log(np.exp(value) + self.smoothing / classes * (margins @ valencies))
        return value


def _log_sum(x: NDArray) -> NDArray:
    """``log(sum(exp(x)))`` over the last axis."""
    top = x.max(axis=-1)
    return top + np.log(np.exp(x - top[..., None]).sum(axis=-1))


def _log_of_log1p_exp(x: NDArray) -> NDArray:
    """``log(log(1 + e^x))``."""
    return np.where(x < -40.0, x, np.log(np.logaddexp(0.0, np.maximum(x, -40.0))))


class _States(NamedTuple):
    """States at n times: N numbers each, and what the equations say of them."""

    log_t: NDArray  # (n,)
    w: NDArray  # (n, ...) layers
    velocity: NDArray  # (n, ...), dw/dt = exp(log_scale) * velocity
    rate: NDArray  # (n, ...) how fast the velocity reacts to a relative change of the state, with the same scale
    log_scale: NDArray  # (n,)
    size: NDArray  # (n, ...) by which errors are measured
    largest: NDArray  # (n,) largest singular value in size
    reach: NDArray  # (n,) what an error of the singular values is to the root of a squared error
    log_objective: NDArray  # (n,) of loss plus decay
    log_loss: NDArray  # (n,)
    least_force: NDArray  # (n,) over the largest one
    singular_values: NDArray  # (n, D)
    log_odds: NDArray  # (n,) of error


class _Spectral:
    """How to look at a run of the reduced flow."""

    def __init__(self, trajectory: SpectralTrajectory) -> None:
        self.flow, self.start, self.loss = trajectory.flow, trajectory.start, trajectory.flow.loss
        self.scheme, self.depth, self.decay = self.flow.scheme, self.flow.depth, self.flow.weight_decay
        self.eps = EPS
        self.unit = -math.log(self.scheme.classes) if self.flow.reduction == "mean" else 0.0
        self.numbers = self.scheme.modes * max(2, math.ceil(self.depth))
        first = self.layers(trajectory[:0]._with(np.array([-np.inf]), self.flow.origin(self.start)[None]))
        # below, a mode that has faded counts as at rest; so does one that was never alive
        self.floor = np.maximum(10.0 ** (-200.0 / self.depth) * np.abs(first).max(axis=1), 1e-300)

    def layers(self, rows: SpectralTrajectory) -> NDArray:
        """(n, L, D), or for a depth between the integers (n, 1, D), the size of each of the equal layers."""
        if isinstance(self.depth, int):
            return rows.layers
        return np.abs(rows.singular_values)[:, None, :] ** (1.0 / self.depth)

    def forces(self, r: NDArray) -> NDArray:
        """(n, D) forces of residuals (n, D): by the matrix of gaps, as the fast transform of many modes subtracts."""
        return r @ self.scheme.gaps.T if self.scheme.modes <= DENSE else self.scheme.forces(r)

    def states(self, rows: SpectralTrajectory) -> _States:
        scheme, s, w = self.scheme, rows.singular_values, self.layers(rows)
        valencies, multiplicities, classes = scheme.valencies[1:], scheme.multiplicities[1:], scheme.classes
        margins = scheme.margins(s)
        if self.loss.squared:
            force, gross, log_scale = 1.0 - s, 1.0 + np.abs(s), np.zeros(len(s))
            log_loss = np.log(0.5 * ((s - 1.0) ** 2 @ multiplicities) / classes)
        else:
            alive = np.abs(w).max(axis=1) > self.floor
            reached = True if alive.all() else scheme.margins(alive.astype(float)) * classes > 1e-9 / classes
            loss = _Margins(self.loss)
            r, sizes, log_scale = loss.residuals(margins, valencies, classes, reached)
            force = self.forces(r)
            gross = self.forces(sizes * (1.0 + np.abs(margins)))
            log_loss = loss.log_value(margins, valencies, classes)
        if w.shape[1] == 1:
            others = np.sign(s)[:, None, :] * w ** (self.depth - 1.0)
        else:
            before, after = np.ones_like(w), np.ones_like(w)
            np.cumprod(w[:, :-1], axis=1, out=before[:, 1:])
            np.cumprod(w[:, :0:-1], axis=1, out=after[:, -2::-1])
            others = before * after
        log_scale = log_scale + self.unit
        size = np.maximum(np.abs(w).max(axis=1, keepdims=True), self.floor[:, None, :])
        decay = self.decay * np.exp(-log_scale)[:, None, None] if self.decay else 0.0
        velocity = others * force[:, None, :] - decay * w
        rate = (np.abs(others) * np.abs(gross)[:, None, :]).max(axis=1, keepdims=True) / size + decay
        log_loss = log_loss + (math.log(classes) if self.unit == 0.0 else 0.0)
        squares = (w**2).sum(axis=1) * (self.depth / w.shape[1]) @ multiplicities
        log_objective = _add_decay(log_loss, self.decay, squares)
        return _States(
            rows.log_t, w, velocity, rate, log_scale, size, np.abs(s).max(axis=1),
            np.sqrt((s**2 @ multiplicities) * np.exp(self.unit)), log_objective, log_loss,
            force.min(axis=1) / np.abs(force).max(axis=1), s, _log_sum(np.log(valencies) - margins),
        )  # fmt: skip

    def error(self, difference: NDArray, size: NDArray, factor: NDArray, tolerance: float, atol: float) -> NDArray:
        """Largest of all numbers over what is allowed, (n,)."""
        allowed = tolerance + (atol / size**self.depth if atol else 0.0)
        resting = size[-1:] <= self.floor[:, None, :]
        return np.where(resting, 0.0, np.abs(difference) / (size * factor * allowed)).max(axis=(1, 2))

    def imbalance(self, w: NDArray) -> NDArray | None:
        """(n, ...) what is conserved."""
        return (w[:, :-1] - w[:, 1:]) * (w[:, :-1] + w[:, 1:]) if w.shape[1] > 1 else None

    def imbalance_size(self, w: NDArray) -> NDArray:
        return np.maximum((w**2).sum(axis=1, keepdims=True), np.maximum(self.floor[:, None, :] ** 2, 1e-300))


class _Matrix:
    """How to look at a run of the full flow."""

    def __init__(self, trajectory: MatrixTrajectory) -> None:
        self.flow, self.start, self.loss = trajectory.flow, trajectory.start, trajectory.flow.loss
        self.depth, self.decay, self.classes = self.flow.depth, self.flow.weight_decay, trajectory.classes
        self.eps = float(np.finfo(self.flow.dtype).eps)
        self.unit = -math.log(self.classes) if self.flow.reduction == "mean" else 0.0
        self.numbers = sum(factor.size for factor in self.start)
        self.floor = max(1e-100 * float(np.linalg.norm(_flat(self.start, ()))), 1e-300)

    def layers(self, rows: MatrixTrajectory) -> NDArray:
        """(n, N), all factors one after another."""
        return _flat(rows.factors, (len(rows),))

    def factors(self, w: NDArray) -> list[NDArray]:
        """The factors (n, ...) again."""
        ends = np.cumsum([factor.size for factor in self.start])
        return [
            w[:, end - factor.size : end].reshape(len(w), *factor.shape)
            for end, factor in zip(ends, self.start, strict=True)
        ]

    def states(self, rows: MatrixTrajectory) -> _States:
        w, K, n = self.layers(rows), self.classes, len(rows)
        factors = self.factors(w)
        Z = _product(factors)
        off = ~np.eye(K, dtype=bool)
        columns = Z.swapaxes(-1, -2)  # [sample, class]
        margins = (np.diagonal(Z, axis1=-2, axis2=-1)[..., None] - columns)[:, off].reshape(-1, K, K - 1)
        if self.loss.squared:
            target = np.eye(K) - 1.0 / K
            G, gross, log_scale = target - Z, np.abs(target) + np.abs(Z), np.zeros(n)
            log_loss = np.log(0.5 * (G**2).sum(axis=(-2, -1)) / K)
        else:
            loss = _Margins(self.loss)
            r, sizes, scales = loss.residuals(margins, np.ones(K - 1), K)
            log_scale = scales.max(axis=-1)
            sizes = sizes * (1.0 + np.abs(margins))
            r, sizes = (x * np.exp(scales - log_scale[:, None])[..., None] for x in (r, sizes))
            G, gross = np.zeros_like(Z), np.zeros_like(Z)
            for matrix, values, sign in ((G, r, -1.0), (gross, sizes, 1.0)):
                turned = np.zeros_like(Z)
                turned[:, off] = sign * values.reshape(n, -1)
                turned[:, np.arange(K), np.arange(K)] = values.sum(axis=-1)
                matrix[:] = turned.swapaxes(-1, -2)
            log_loss = _log_sum(loss.log_value(margins, np.ones(K - 1), K)) - math.log(K)
        log_scale = log_scale + self.unit
        size = np.maximum(np.linalg.norm(w, axis=1), self.floor)[:, None]
        decay = self.decay * np.exp(-log_scale)[:, None] if self.decay else 0.0
        velocity = _flat(_pulled(G, factors), (n,)) - decay * w
        terms = _flat(_pulled(gross, [np.abs(factor) for factor in factors]), (n,))
        rate = np.linalg.norm(terms, axis=1)[:, None] / size + decay
        log_loss = log_loss + (math.log(K) if self.unit == 0.0 else 0.0)
        s = np.linalg.svd(Z, compute_uv=False)
        return _States(
            rows.log_t, w, velocity, rate, log_scale, size, s[:, 0],
            np.sqrt((s**2).sum(axis=1) * np.exp(self.unit)), _add_decay(log_loss, self.decay, (w**2).sum(axis=1)),
            log_loss, np.full(n, np.nan), s, np.full(n, np.nan),
        )  # fmt: skip

    def slope_of_v(self, states: _States) -> tuple[NDArray, NDArray, NDArray]:
        """dV/dt, (n,), with the scale of the velocities; and what a relative change of the state is to V, (n,), and,
        at most, to the least of the K - 1 singular values, (n,)."""
        factors = self.factors(states.w)
        sizes = np.stack([np.linalg.norm(factor, axis=(1, 2)) for factor in factors], axis=1)
        others = np.stack([np.delete(sizes, k, axis=1).prod(axis=1) for k in range(len(factors))], axis=1)
        size = np.linalg.norm(states.w, axis=1)
        slope = _flat(_pulled(lyapunov.gradient_of_logits(_product(factors)), factors), (len(states.w),))
        reach = size * np.linalg.norm(others, axis=1) / states.singular_values[:, -2]
        return (slope * states.velocity).sum(axis=1), size * np.linalg.norm(slope, axis=1), reach

    def error(self, difference: NDArray, size: NDArray, factor: NDArray, tolerance: float, atol: float) -> NDArray:
        """Frobenius norm over what is allowed, (n,)."""
        norm, size = np.linalg.norm(difference.reshape(len(difference), -1), axis=1), size.reshape(-1)
        return norm / (factor.reshape(-1) * (size * tolerance + atol))

    def imbalance(self, w: NDArray) -> NDArray | None:
        factors = self.factors(w)
        return _flat([W.swapaxes(-1, -2) @ W - H @ H.swapaxes(-1, -2) for W, H in pairwise(factors)], (len(w),))

    def imbalance_size(self, w: NDArray) -> NDArray:
        return np.maximum((w**2).sum(axis=1), 1e-300)[:, None]


def _flat(arrays: Iterable[NDArray], lead: tuple[int, ...]) -> NDArray:
    """All numbers of some arrays that share their leading axes, one after another."""
    return np.concatenate([array.reshape(*lead, -1) for array in arrays], axis=-1)


def _product(factors: Sequence[NDArray]) -> NDArray:
    return functools.reduce(np.matmul, factors)


def _pulled(G: NDArray, factors: Sequence[NDArray]) -> list[NDArray]:
    """For each factor (product of those before it)' G (product of those after it)'."""
    out = []
    for k in range(len(factors)):
        before, after = factors[:k], factors[k + 1 :]
        pull = _product(before).swapaxes(-1, -2) @ G if before else G
        out.append(pull @ _product(after).swapaxes(-1, -2) if after else pull)
    return out


def _add_decay(log_loss: NDArray, decay: float, squares: NDArray) -> NDArray:
    return np.logaddexp(log_loss, np.log(0.5 * decay * squares)) if decay else log_loss


# -- quadrature --------------------------------------------------------------------------------------------------------


def _integration(n: int) -> tuple[NDArray, NDArray]:
    """Chebyshev-Lobatto points on [0, 1], and the matrix that integrates from 0 to each of them."""
    points = 0.5 * (1.0 - np.cos(np.pi * np.arange(n) / (n - 1)))
    chebyshev = np.polynomial.chebyshev
    to_series = np.linalg.inv(chebyshev.chebvander(2.0 * points - 1.0, n - 1))
    integrals = np.stack([chebyshev.chebint(c, lbnd=-1.0) for c in to_series.T], axis=1)
    return points, 0.5 * chebyshev.chebvander(2.0 * points - 1.0, n) @ integrals


_POINTS, _INTEGRATE = _integration(NODES)
_INTEGRATE_COARSE = _integration(NODES // 2 + 1)[1]
_INTEGRATE_COARSEST = _integration(NODES // 4 + 1)[1]


def _integrated(rates: NDArray) -> tuple[NDArray, float]:
    """Integral from the first to each of every second node, and how far it is in doubt."""
    integral = _INTEGRATE_COARSE @ rates
    return integral, float(np.max(np.abs(_INTEGRATE_COARSEST @ rates[::2] - integral[::2])))


class _Interval(NamedTuple):
    """What was found between two times; from t = 0 if the first is -inf."""

    low: float
    high: float
    log_t: NDArray  # (NODES,)
    defect: NDArray  # (NODES,) in tolerances
    drift: NDArray  # (NODES,) of what is conserved
    doubt: float  # error of the quadrature, in tolerances
    log_objective: NDArray  # (NODES,)
    log_loss: NDArray
    largest: NDArray
    reach: NDArray
    least_force: NDArray
    fall: float  # largest relative fall of a singular value from one node to the next
    v: NDArray | None  # Lyapunov function at every second node
    v_error: float  # of its change, in tolerances; NaN where V of a full flow is not resolved
    growth_error: float  # of the change of the geometric mean, in tolerances


# -- the checks --------------------------------------------------------------------------------------------------------


class _Examiner:
    def __init__(self, trajectory: Trajectory) -> None:
        self.trajectory, self.rtol = trajectory, trajectory.rtol
        self.tolerance = trajectory.rtol if trajectory.rtol > 0.0 else math.nan
        self.atol = trajectory.atol
        self.spectral = isinstance(trajectory, SpectralTrajectory)
        self.view = (_Spectral if self.spectral else _Matrix)(trajectory)
        self.checks: list[Check] = []
        self.samples = 0
        self.v: Callable | None = None
        self.v_name = "V"
        self.no_v = self._why_no_v()

    def certificate(self) -> Certificate:
        self.ends()
        estimate = math.nan
        if self.rows():
            dense = self.trajectory._path is not None
            intervals = self.intervals() if dense else []
            if not dense:
                for claim in ("layers follow the equations", "errors of all steps together"):
                    self.skip(claim, "there is no dense output")
            else:
                estimate = self.defects(intervals)
            self.scalars(intervals)
        return Certificate(repr(self.trajectory), self.checks, estimate, self.samples)

    # -- helpers --

    def claim(self, claim: str, value, limit: float, log_t=None, note: str = "") -> bool:
        value = float(value)
        holds = value <= limit  # not so for NaN
        self.checks.append(Check(claim, PASSED if holds else FAILED, value, float(limit), log_t, note))
        return holds

    def skip(self, claim: str, reason: str) -> None:
        self.checks.append(Check(claim, SKIPPED, note=reason))

    def _why_no_v(self) -> str:
        """Why V is not proved to fall; empty if it is, and then `v` is set."""
        view, flow = self.view, self.trajectory.flow
        if not self.spectral:
            return "proved for starts with the symmetry of a scheme, which the reduced flow has"
        if view.loss != Loss():
            return "proved for the cross-entropy only"
        if view.depth != 2:
            return "proved for two layers only"
        if view.decay:
            return "proved without weight decay only"
        scheme, start = flow.scheme, self.trajectory.start
        a, b = networks.layers_of(start)
        c = np.abs((a - b) * (a + b))
        common = float(c.max())
        if common <= EPS * float((a * a + b * b).max()) or start.ndim == 1:
            if not np.all(a * b > 0.0):
                return "proved for positive singular values only"
            self.v = lambda s: lyapunov.lyapunov(scheme, s)
            self.v_decay = lambda s: lyapunov.log_dissipation(scheme, s, flow.reduction)
            return ""
        if np.all(np.abs(c - common) <= 1e-12 * common):
            self.v_name = "V_c"
            self.v = lambda s: lyapunov.common_imbalance(scheme, s, common)
            self.v_decay = lambda s: np.log(-lyapunov.common_imbalance_dissipation(scheme, s, common, flow.reduction))
            return ""
        return "false in general for imbalances that differ between modes"

    # -- rows --

    def ends(self) -> None:
        run = self.trajectory
        note = "" if run.success else run.message
        self.checks.append(Check("reached the end of the time span", PASSED if run.success else FAILED, note=note))

    def rows(self) -> bool:
        """Whether the rows are what they claim to be. Only then does it make sense to go on."""
        run, view = self.trajectory, self.view
        log_t, y = run.log_t, run.y
        good = len(log_t) > 0 and np.isfinite(y).all() and not np.isnan(log_t).any() and np.all(np.diff(log_t) > 0.0)
        good = bool(good and log_t[-1] <= run.log_t_end + 1e-12 * abs(run.log_t_end) and math.isfinite(run.log_t_end))
        good = good and 0.0 < run.rtol < 1.0
        note = "times must increase up to the end, states be finite, and the tolerance be known"
        self.checks.append(Check("rows are in order", PASSED if good else FAILED, note=note))
        if not good:
            return False
        if run._path is not None or log_t[0] == -np.inf:
            first = view.layers(run.at(log_t=-np.inf) if run._path is not None else run[0])[0]
            true = self._start_layers()
            size = np.abs(true).max(axis=0) if self.spectral else np.linalg.norm(true)
            off = np.abs(first - true) / np.where(size > 0.0, size, 1.0)
            good = self.claim("begins at its start", off.max(), ROUNDING, -np.inf)
        else:
            self.skip("begins at its start", "no row is at t = 0, and there is no dense output")
        if run._path is None:
            self.skip("rows agree with the dense output", "there is no dense output")
            return good
        rows = self._some(len(run), max(20, SAMPLES * 4 // max(1, view.numbers // 64)))
        kept, dense = view.layers(run[rows]), view.layers(run.at(log_t=log_t[rows]))
        axes = tuple(range(1, kept.ndim))
        if self.spectral:
            size = np.maximum(np.abs(kept).max(axis=1, keepdims=True), view.floor[:, None, :])
        else:
            size = np.linalg.norm(kept, axis=1)[:, None] + view.floor
        off = (np.abs(kept - dense) / np.where(size > 0.0, size, 1.0)).max(axis=axes)
        worst = int(np.argmax(np.where(np.isnan(off), np.inf, off)))
        limit = ROUNDING + 8.0 * EPS * np.abs(log_t[rows][np.isfinite(log_t[rows])]).max(initial=0.0)
        return self.claim("rows agree with the dense output", off[worst], limit, log_t[rows][worst]) and good

    def _start_layers(self) -> NDArray:
        run = self.trajectory
        if not self.spectral:
            return _flat(run.start, ())
        if run.start.ndim == 2:
            return run.start
        root = np.abs(run.start) ** (1.0 / self.view.depth)
        if not isinstance(self.view.depth, int):
            return root[None]
        layers = np.tile(root, (self.view.depth, 1))
        layers[-1] = np.copysign(root, run.start)
        return layers

    def _some(self, n: int, most: int) -> NDArray:
        """Evenly spread indices, both ends included."""
        return np.arange(n) if n <= most else np.unique(np.linspace(0, n - 1, most).round().astype(int))

    # -- between the rows --

    def intervals(self) -> list[_Interval]:
        """The run in pieces on which the quadrature resolves it, or as many of them as there is time for."""
        run, end = self.trajectory, self.trajectory.log_t_end
        first = self.view.states(run.at(log_t=-np.inf))
        fastest = float(first.rate.max()) if first.rate.size else 0.0
        begin = end
        if fastest > 0.0:
            begin = min(end, math.log(0.1 / fastest) - float(first.log_scale[0]))
        knots = run.log_t[(run.log_t > begin) & (run.log_t < end)]
        knots = knots[self._some(len(knots), 400)] if len(knots) else knots
        knots = np.concatenate([[begin], knots, [end]]) if end > begin else np.array([end])
        fine = [-np.inf, begin] if end > begin else [-np.inf, end]
        for low, high in pairwise(knots):
            while low < high:
                rest, width = high - low, 2.0 + 0.25 * (low - begin)
                low = high if rest <= width else low + min(width, 0.5 * rest)
                fine.append(low)
        pairs = list(pairwise(fine))
        self.total = len(pairs)
        budget = max(FEWEST, min(SAMPLES, VOLUME // self.view.numbers)) // NODES
        pairs = [pairs[i] for i in self._some(len(pairs), budget)]
        found, queue = [], pairs
        while queue:
            batch = max(1, 2**20 // (NODES * self.view.numbers))
            again = []
            for i in range(0, len(queue), batch):
                for interval in self.look(queue[i : i + batch]):
                    narrow = interval.high - interval.low < 1e-3
                    if interval.doubt > 0.1 and not narrow and interval.low > -np.inf:
                        again.append(interval)
                    else:
                        found.append(interval)
            room = (2 * budget - self.samples // NODES) // 2
            again.sort(key=lambda interval: -interval.doubt)
            found.extend(again[max(room, 0) :])
            queue = []
            for interval in again[: max(room, 0)]:
                middle = 0.5 * (interval.low + interval.high)
                queue += [(interval.low, middle), (middle, interval.high)]
        return sorted(found, key=lambda interval: interval.high)

    def look(self, pairs: list[tuple[float, float]]) -> list[_Interval]:
        run, view = self.trajectory, self.view
        nodes, weights = [], []
        for low, high in pairs:
            if low == -np.inf:  # over t itself
                nodes.append(high + np.log(_POINTS))
                weights.append(np.full(NODES, high))
            else:
                log_t = low + (high - low) * _POINTS
                log_t[-1] = high
                nodes.append(log_t)
                weights.append(log_t + math.log(high - low))
        self.samples += NODES * len(pairs)
        every = view.states(run.at(log_t=np.concatenate(nodes)))
        out = []
        for i, (low, high) in enumerate(pairs):
            piece = slice(NODES * i, NODES * (i + 1))
            out.append(self.judge(low, high, _States(*(values[piece] for values in every)), weights[i]))
        return out

    def judge(self, low: float, high: float, states: _States, log_weight: NDArray) -> _Interval:
        """All that is measured on one interval."""
        view = self.view
        shape = (NODES,) + (1,) * (states.w.ndim - 1)
        scale = np.exp(np.minimum(states.log_scale + log_weight, 700.0)).reshape(shape)
        speed, rate = states.velocity * scale, states.rate * scale

        def integral(values: NDArray) -> NDArray:
            return np.tensordot(_INTEGRATE, values, axes=1)

        moved = integral(speed)
        off = states.w - states.w[:1] - moved
        size = states.size
        turnover = integral(rate)
        # what rounding alone does: of margins, which are as large as singular values, and of the logarithm of time
        reach = states.largest.max() + abs(high) + (abs(low) if low > -np.inf else 0.0)
        noise = 8.0 * view.eps * (1.0 + reach)
        allowed = self.tolerance + noise
        defect = view.error(off, size, 1.0 + np.maximum(turnover, 0.0), allowed, self.atol)
        coarse = np.tensordot(_INTEGRATE_COARSE[-1], speed[::2], axes=1) - moved[-1]
        doubt = view.error(coarse[None], size[-1:], 1.0 + np.maximum(turnover[-1:], 0.0), allowed, self.atol)[0]
        imbalance = view.imbalance(states.w)
        drift = np.zeros(NODES)
        if imbalance is not None:
            kept = self.imbalance_of_start * np.exp(
                -2.0 * view.decay * np.exp(np.minimum(states.log_t, 700.0))
            ).reshape(shape)
            change = np.abs(imbalance - kept) / view.imbalance_size(states.w)
            drift = change.reshape(NODES, -1).max(axis=1)
        s = states.singular_values
        step = np.diff(s, axis=0) / np.abs(s[:-1])
        fall = float(np.max(-step)) if self.spectral else 0.0
        # every second node is enough for V, where no other quantity depends on it
        every = _States(*(values[::2] for values in states))
        v, v_error, growth_error = None, math.nan, 0.0
        if self.v is not None:
            v, v_error, growth_error = self.v_of_modes(every, log_weight[::2], allowed)
        elif not self.spectral:
            v_error = self.v_of_logits(every, log_weight[::2], allowed * (1.0 + max(float(np.max(turnover)), 0.0)))
        return _Interval(
            low, high, states.log_t, defect, drift, float(doubt), states.log_objective, states.log_loss, states.largest,
            states.reach, states.least_force, fall, v, v_error, growth_error,
        )  # fmt: skip

    def v_of_modes(self, states: _States, log_weight: NDArray, allowed: float) -> tuple[NDArray, float, float]:
        """V, and by how much its change is not its dissipation, and that of the geometric mean not the identity."""
        s, scheme = states.singular_values, self.trajectory.flow.scheme
        v = self.v(s)
        change, blur = _integrated(np.exp(self.v_decay(s) + log_weight))
        depth = np.sqrt(np.max(v)) + 10.0 * allowed
        v_error = float(np.max(np.abs(v - v[0] + change)) / (allowed * depth + blur + 4.0 * EPS * np.max(v)))
        if self.v_name == "V_c" and not (np.isfinite(v).all() and np.isfinite(change).all()):
            v_error = 0.0  # not defined yet, or beyond the times that floats hold
        growth_error = 0.0
        if self.v_name == "V":
            log_mean = np.log(s) @ (scheme.multiplicities[1:] / (scheme.classes - 1))
            gap = states.log_odds - np.logaddexp(0.0, states.log_odds)
            gains = 2.0 / (scheme.classes - 1) * np.exp(gap + log_weight)
            grown, blur = _integrated(gains * (1.0 if self.view.unit else scheme.classes))
            off = np.max(np.abs(log_mean - log_mean[0] - grown))
            growth_error = float(off / (allowed * (1.0 + grown[-1]) + blur))
        return v, v_error, growth_error

    def v_of_logits(self, states: _States, log_weight: NDArray, allowed: float) -> float:
        """By how much the change of V is not the integral of dV/dt; NaN where V is beyond what the tolerance resolves.

        The singular values are right to the tolerance times the largest, and V is as sensitive to them as it is.
        """
        slope, reach, reach_of_least = self.view.slope_of_v(states)
        if not allowed * np.max(reach_of_least) < UNRESOLVED:  # also where there is no V
            return math.nan
        v = lyapunov.of_logits(states.singular_values)
        change, blur = _integrated(slope * np.exp(np.minimum(states.log_scale + log_weight, 700.0)))
        known = allowed * np.max(reach) + (allowed * np.max(reach_of_least)) ** 2 + 4.0 * EPS * np.max(v)
        error = float(np.max(np.abs(v - v[0] - change)) / (known + blur))
        return math.inf if math.isnan(error) else error

    @property
    def imbalance_of_start(self) -> NDArray:
        return self.view.imbalance(self._start_layers()[None])

    # -- verdicts --

    def limit(self, times: float = SLACK) -> float:
        return min(times * self.rtol, COARSEST)

    def defects(self, intervals: list[_Interval]) -> float:
        """Judges the defects; returns the estimate of the error."""
        ends = np.array([interval.defect[-1] for interval in intervals])
        worst = [float(np.max(interval.defect)) for interval in intervals]
        i = int(np.argmax(np.where(np.isnan(worst), np.inf, worst)))
        place = intervals[i].log_t[int(np.argmax(intervals[i].defect))]
        part = "" if len(intervals) >= self.total else f", on {len(intervals)} of {self.total} intervals"
        unresolved = sum(not interval.doubt <= 1.0 for interval in intervals)
        blur = f", {unresolved} of them not resolved" if unresolved else ""
        note = f"largest relative defect of an interval{part}{blur}"
        self.claim("layers follow the equations", worst[i] * self.tolerance, self.limit(), place, note)
        total = float(ends.sum() * self.tolerance)
        worst_end = intervals[int(np.argmax(ends))].high
        self.claim(
            "errors of all steps together", total, self.limit(), worst_end, "sum of the defects of all intervals"
        )
        return total

    def scalars(self, intervals: list[_Interval]) -> None:
        """Checks of numbers that each state has, at the rows or, with dense output, between them too."""
        run, view = self.trajectory, self.view
        if intervals:

            def join(name: str) -> NDArray:
                return np.concatenate([getattr(interval, name) for interval in intervals])

            log_t, log_objective, log_loss = join("log_t"), join("log_objective"), join("log_loss")
            largest, reach, drift, least = (join(name) for name in ("largest", "reach", "drift", "least_force"))
        else:
            rows = run[self._some(len(run), max(FEWEST, min(SAMPLES, VOLUME // view.numbers)))]
            states = view.states(rows)
            self.samples += len(rows)
            log_t, log_objective, log_loss = rows.log_t, states.log_objective, states.log_loss
            largest, reach, least, drift = states.largest, states.reach, states.least_force, np.zeros(len(rows))
            imbalance = view.imbalance(states.w)
            if imbalance is not None:
                shape = (len(rows),) + (1,) * (imbalance.ndim - 1)
                kept = self.imbalance_of_start * np.exp(-2.0 * view.decay * rows.t).reshape(shape)
                drift = (np.abs(imbalance - kept) / view.imbalance_size(states.w)).reshape(len(rows), -1).max(axis=1)
        self.objective(log_t, log_objective, largest, reach)
        self.reported()
        if isinstance(view.depth, int):
            worst = int(np.argmax(drift))
            names = ("a^2 - b^2", "w_k^2 - w_l^2") if self.spectral else ("W'W - HH'", "W'W - VV' of neighbours")
            name = names[view.depth > 2]
            law = "conserved" if not view.decay else "decays by its law"
            limit = self.limit(10.0) + ROUNDING
            self.claim(f"{name} {law}", drift[worst], limit, log_t[worst])
        else:
            self.skip("imbalance conserved", "layers of a depth between the integers are equal by definition")
        self.forces(intervals, log_t, least)
        self.lyapunov(intervals)
        self.bounds(intervals, log_t, log_loss)

    def objective(self, log_t: NDArray, log_objective: NDArray, largest: NDArray, reach: NDArray) -> None:
        order = np.argsort(log_t, kind="stable")
        log_t, values = log_t[order], log_objective[order]
        noise = 8.0 * self.view.eps * np.abs(log_t, where=np.isfinite(log_t), out=np.zeros(len(values)))
        if self.view.loss.squared:  # it may fall to 0, where its logarithm says nothing
            values = np.exp(0.5 * values)
            blur, note = ROUNDING + noise + self.rtol * (reach[order] + values), "rise of its root"
        else:  # the logarithm of the loss is as sensitive as the margins are large
            blur, note = ROUNDING + noise + self.rtol * largest[order], "rise of its logarithm"
        rise = np.diff(values, prepend=values[:1])
        worst = int(np.argmax(np.where(np.isnan(rise), np.inf, rise - blur)))
        name = "loss + decay never rises" if self.view.decay else "loss never rises"
        self.claim(name, max(rise[worst], 0.0), blur[worst], log_t[worst], note)

    def reported(self) -> None:
        """The loss that the trajectory gives, against the definition here."""
        run = self.trajectory
        rows = run[self._some(len(run), 200 if self.view.numbers < 2**16 else 5)]
        own = self.view.states(rows)
        if self.view.loss.squared:
            off, size = np.abs(np.exp(0.5 * rows.log_loss) - np.exp(0.5 * own.log_loss)), 1.0 + own.reach
            note = "difference of the roots"
        else:
            off, size, note = np.abs(rows.log_loss - own.log_loss), own.largest, "difference of the logarithms"
        worst = int(np.argmax(np.where(np.isnan(off), np.inf, off)))
        self.claim("loss is as reported", off[worst], ROUNDING + 32.0 * EPS * size[worst], rows.log_t[worst], note)

    def forces(self, intervals: list[_Interval], log_t: NDArray, least: NDArray) -> None:
        view = self.view
        claims = "forces are positive", "singular values never fall"
        if not self.spectral:
            for claim in claims:
                self.skip(claim, "proved for the reduced flow only")
            return
        if view.loss.pull:
            for claim in claims:
                self.skip(claim, f"with the loss {view.loss} a force may have any sign")
            return
        worst = int(np.argmin(np.where(np.isnan(least), -np.inf, least)))
        # the fast transform subtracts: forces are right relative to the largest
        self.claim(claims[0], max(0.0, -least[worst]), 1e-13, log_t[worst], "least over largest force")
        if view.decay:
            self.skip(claims[1], "decay takes from all of them")
        elif view.depth != 2 and self.trajectory.start.ndim == 2:
            self.skip(claims[1], "proved for two layers, or for balanced ones")
        else:
            s = self.trajectory[self._some(len(self.trajectory), 400)].singular_values
            step = -np.diff(s, axis=0) / np.maximum(np.abs(s[:-1]), 1e-300)
            fall = max(float(np.max(step, initial=0.0)), max((interval.fall for interval in intervals), default=0.0))
            self.claim(claims[1], max(fall, 0.0), self.limit() + ROUNDING, None, "relative fall")

    def lyapunov(self, intervals: list[_Interval]) -> None:
        falls, integral = f"{self.v_name} never rises", f"{self.v_name} falls by its dissipation"
        if self.v is None:
            self.skip(falls, self.no_v)
            if self.spectral:
                self.skip(integral, self.no_v)
            else:
                self.change_of_v(intervals)
            return
        if intervals:
            log_t = np.concatenate([interval.log_t[::2] for interval in intervals])
            v = np.concatenate([interval.v for interval in intervals])
        else:
            rows = self.trajectory[self._some(len(self.trajectory), 400)]
            log_t, v = rows.log_t, self.v(rows.singular_values)
        order = np.argsort(log_t, kind="stable")
        log_t, v = log_t[order], v[order]
        defined = ~np.isnan(v) if self.v_name == "V_c" else np.ones(len(v), bool)
        log_t, root = log_t[defined], np.sqrt(v[defined])
        if not len(root):
            self.skip(falls, "the mean singular value is not positive yet")
            self.skip(integral, "the mean singular value is not positive yet")
            return
        rise = np.diff(root, prepend=root[:1])
        worst = int(np.argmax(np.where(np.isnan(rise), np.inf, rise)))
        # V is quadratic in relative deviations of the singular values, and these are known to rtol
        limit = ROUNDING + self.limit() * (1.0 if self.v_name == "V" else math.sqrt(self.view.scheme.classes))
        self.claim(falls, max(rise[worst], 0.0), limit, log_t[worst], f"rise of sqrt({self.v_name})")
        if not intervals:
            self.skip(integral, "there is no dense output")
            return
        errors = np.array([interval.v_error for interval in intervals])
        worst = int(np.argmax(np.where(np.isnan(errors), np.inf, errors)))
        self.claim(integral, errors.sum(), SLACK * (1 if self.v_name == "V" else self.view.scheme.classes),
                   intervals[worst].high, "in tolerances of V")  # fmt: skip
        if self.v_name == "V":
            errors = np.array([interval.growth_error for interval in intervals])
            worst = int(np.argmax(np.where(np.isnan(errors), np.inf, errors)))
            self.claim("geometric mean grows by its identity", errors.sum() * self.tolerance, self.limit(),
                       intervals[worst].high, "d log GM/dt = 2 K/(K-1) (1 - p_0)")  # fmt: skip

    def change_of_v(self, intervals: list[_Interval]) -> None:
        """Of a full flow, where V may rise, but only as its derivative says."""
        claim = "V changes by its dissipation"
        resolved = [interval for interval in intervals if not math.isnan(interval.v_error)]
        if not intervals:
            self.skip(claim, "there is no dense output")
        elif not resolved:
            self.skip(claim, "one of the K - 1 singular values is 0, or too small for the tolerance")
        else:
            errors = np.array([interval.v_error for interval in resolved])
            self.claim(claim, errors.sum(), SLACK, resolved[int(np.argmax(errors))].high, "in tolerances of V")

    def bounds(self, intervals: list[_Interval], log_t: NDArray, log_loss: NDArray) -> None:
        view, run = self.view, self.trajectory
        claims = ("geometric mean above its bound", "loss below its bound", "loss above that of collapse")
        if view.loss != Loss():
            for claim in claims:
                self.skip(claim, "proved for the cross-entropy only")
            return
        if self.spectral and self.v_name == "V" and self.v is not None:
            scheme, start = run.flow.scheme, networks.layers_of(run.start).prod(axis=0)
            rows = run[np.flatnonzero(np.isfinite(run.log_t))]
            if len(rows):
                rows = rows[self._some(len(rows), max(5, min(100, 2**22 // scheme.modes)))]
                s = rows.singular_values
                share = scheme.multiplicities[1:] / (scheme.classes - 1)
                bound = theory.geometric_mean_bound(scheme, start, log_t=rows.log_t, reduction=run.flow.reduction)
                below = np.log(bound) - np.log(s) @ share
                worst = int(np.argmax(np.where(np.isnan(below), np.inf, below)))
                self.claim(claims[0], max(below[worst], 0.0), self.limit() + ROUNDING, rows.log_t[worst])
                bound = theory.loss_log_bound(scheme, start, log_t=rows.log_t, reduction=run.flow.reduction)
                above = (view.states(rows).log_loss - bound) / (1.0 + s.max(axis=1))
                worst = int(np.argmax(np.where(np.isnan(above), np.inf, above)))
                self.claim(claims[1], max(above[worst], 0.0), self.limit() + ROUNDING, rows.log_t[worst])
            else:
                for claim in claims[:2]:
                    self.skip(claim, "there is no row after t = 0")
        else:
            for claim in claims[:2]:
                self.skip(claim, self.no_v or "proved for balanced layers only")
        rows = run[self._some(len(run), max(5, min(200, 2**22 // view.numbers)))]
        states = view.states(rows)
        if self.spectral:
            classes = view.scheme.classes
            mean = states.singular_values @ (view.scheme.multiplicities[1:] / (classes - 1))
        else:
            classes = view.classes
            mean = states.singular_values.sum(axis=1) / (classes - 1)
        least = _log_of_log1p_exp(math.log(classes - 1) - mean) + (math.log(classes) if view.unit == 0.0 else 0.0)
        below = (least - states.log_loss) / (1.0 + states.largest)
        worst = int(np.argmax(np.where(np.isnan(below), np.inf, below)))
        self.claim(claims[2], max(below[worst], 0.0), ROUNDING, rows.log_t[worst], "Jensen's bound at the mean")
