"""The reduced flow: scheme + loss + network = one compiled right-hand side on the D singular values of the logits."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numba import njit

from . import networks, theory
from ._checks import checked_array, log_time_unit
from .losses import LOSSES, residual
from .networks import FADED, singular_value_slope, singular_values
from .schemes import Scheme, gap_transform


@njit(cache=True)
def _margins(system, y):
    singular_values(system.constants, y, system.s)
    for i in range(y.size):
        system.scratch[i] = system.weights[i] * system.s[i]
    gap_transform(system.to_margins, system.scratch, system.work, system.margins)


@njit(cache=True)
def _rates(system, y, dy):
    _margins(system, y)
    log_scale = residual(system.base, system.valencies, system.margins, system.scratch)
    gap_transform(system.to_forces, system.scratch, system.work, dy)
    total = 0.0
    for i in range(y.size):
        dy[i] *= system.active[i]
        total += dy[i] * dy[i]
    if total == 0.0:
        return np.inf
    # the root mean square of the rates of all modes that can move: it is smooth, and positive whatever the start
    speed = math.sqrt(total * system.inverse_count)
    for i in range(y.size):
        dy[i] /= speed
    return system.log_unit - log_scale - math.log(speed)


@njit(cache=True)
def _norm(system, error, y, rtol, atol):
    largest = 0.0
    for i in range(y.size):
        tolerance = 0.1 * rtol
        if atol > 0.0:
            tolerance += atol / max(singular_value_slope(system.constants, y[i], i), 1e-300)
        size = abs(error[i]) / tolerance
        if not (size <= largest):  # also lets a NaN through
            largest = size
    return largest


@njit(cache=True)
def _watch(system, y, rtol):
    for i in range(y.size):
        if system.active[i] > 0.0 and system.constants[1, i] == 0.0 and y[i] > FADED:
            return True
    return system.closes and is_collapsed(system.constants, system.weights, y, system.s, rtol)


@njit(cache=True)
def is_collapsed(constants, weights, y, s, rtol):
    """Whether the modes have merged so far that the linearized tail on the exact ray meets the tolerance.

    With d = max |s_i / s_bar - 1| the tail errs by max(s_bar, 1) d^2, and unequal imbalances push the modes apart by
    2 K p q / s_bar^3 relative, p q = (a^2 - b^2)^2 / 16.
    """
    singular_values(constants, y, s)
    mean, share = 0.0, 0.0
    for i in range(y.size):
        mean += weights[i] * s[i]
        share += weights[i]
    mean /= share
    spread, imbalance = 0.0, 0.0
    for i in range(y.size):
        spread = max(spread, abs(s[i] / mean - 1.0))
        imbalance = max(imbalance, constants[1, i] * constants[2, i])
    classes = 1.0 / (1.0 - share)
    merged = max(mean, 1.0) * spread**2 <= 0.01 * rtol
    return mean > 0.0 and merged and 2.0 * classes * imbalance <= 0.1 * rtol * mean**3


class SpectralSystem(NamedTuple):
    """What the compiled stepper integrates: arrays, scratch space, and the kernels for them."""

    constants: np.ndarray  # (3, D), see networks.constants
    weights: np.ndarray  # (D,) multiplicities / K
    valencies: np.ndarray  # (D,) of the relations that the active modes reach, else 0
    base: float  # 1 + the valencies of the others, whose margin is 0 for ever
    active: np.ndarray  # (D,) 1 for a mode that can move, 0 for one at rest
    inverse_count: float  # 1 / number of active modes
    to_margins: np.ndarray
    to_forces: np.ndarray
    log_unit: float  # log of time over "sum" time
    closes: bool  # whether a closed form may take over
    s: np.ndarray
    margins: np.ndarray
    scratch: np.ndarray
    work: np.ndarray

    rates = staticmethod(_rates)
    norm = staticmethod(_norm)
    watch = staticmethod(_watch)

    @staticmethod
    def allocate(*shape: int) -> np.ndarray:
        """Zeros to keep states in."""
        return np.zeros(shape)


class Rest:
    """A state that does not move any more: every mode is at a critical point. It lasts for all times."""

    kind = "rest"
    message = "at rest: no mode can move any more"

    def __init__(self, y: np.ndarray, log_t: float) -> None:
        self.y, self.log_t = y, log_t

    def grid(self, log_t_end: float) -> np.ndarray:
        """Times at which a row is worth keeping."""
        return np.empty(0)

    def sample(self, log_t: np.ndarray) -> np.ndarray:
        return np.broadcast_to(self.y, (len(log_t), *self.y.shape)).copy()


class Ray:
    """The exact collapsed solution with its linearized tail, from a state on which all modes have merged.

    The mean follows the ray s(t) of `theory`; deviations decay as ``s_i = s (1 + d_i exp(-(s - s1) / K))`` [ceflow].
    """

    kind = "ray"
    message = "followed the exact collapsed solution to the end"

    def __init__(self, flow: SpectralFlow, start: np.ndarray, y: np.ndarray, log_t: float) -> None:
        self.flow, self.y, self.log_t = flow, y, log_t
        self.s = np.empty_like(y)
        singular_values(networks.constants(start), y, self.s)
        weights = flow.scheme.multiplicities[1:]
        self.mean = float(weights @ self.s / weights.sum())
        self.deviations = self.s / self.mean - 1.0

    def grid(self, log_t_end: float) -> np.ndarray:
        """Times at which a row is worth keeping: the mean grows by a quarter between them."""
        growth = np.arange(1, 200) * math.log(1.25)
        means = self.mean * np.exp(growth[growth < 60.0])
        means = means[means <= 1e15]
        log_t = np.logaddexp(
            self.log_t, theory.ray_log_time(means, self.mean, self.flow.scheme.classes, reduction=self.flow.reduction)
        )
        return log_t[log_t < log_t_end]

    def sample(self, log_t: np.ndarray) -> np.ndarray:
        log_t = np.asarray(log_t, float)
        y = np.tile(self.y, (len(log_t), 1))
        later = log_t > self.log_t
        if later.any():
            elapsed = log_t[later] + np.log1p(-np.exp(self.log_t - log_t[later]))
            mean = theory.ray_singular_value(
                s0=self.mean, classes=self.flow.scheme.classes, log_t=elapsed, reduction=self.flow.reduction
            )[:, None]
            mean = np.maximum(mean, self.mean)  # a rounding below it would be a time before the start
            decay = theory.deviation_decay(mean, self.mean, self.flow.scheme.classes)
            s = mean * (1.0 + self.deviations * decay)
            y[later] += 0.5 * np.log(s / self.s)
        return y


class SpectralFlow:
    """Cross-entropy gradient flow reduced to the singular values of the logits, one for each mode of a scheme.

    Parameters
    ----------
    scheme : Scheme
        The association scheme whose basis diagonalizes weights and softmax, e.g. ``ceflow.hadamard(16)``.
    loss : {"cross_entropy"}
    depth : {2}
        Number of linear layers.
    reduction : {"mean", "sum"}
        Whether the loss is averaged over the K classes, as PyTorch does, or summed. With "mean" time runs K times
        slower.

    Notes
    -----
    Garrod, Keating & Thrampoulidis, arXiv:2512.04006, for Hadamard schemes; all other schemes and unbalanced layers
    are [ceflow].
    """

    def __init__(self, scheme: Scheme, *, loss: str = "cross_entropy", depth: int = 2, reduction: str = "mean") -> None:
        if not isinstance(scheme, Scheme):
            raise TypeError(
                f"scheme must be an association scheme such as ceflow.hadamard(16), got {type(scheme).__name__}"
            )
        check_options(loss, reduction)
        if isinstance(depth, bool) or depth != 2:
            raise ValueError(f"depth must be 2, got {depth!r}: networks of other depths are not available yet")
        self.scheme, self.loss, self.depth, self.reduction = scheme, loss, 2, reduction

    def __repr__(self) -> str:
        return f"SpectralFlow({self.scheme.name}, loss={self.loss!r}, depth={self.depth}, reduction={self.reduction!r})"

    @property
    def spec(self) -> dict:
        """All that makes this flow again, in terms of JSON."""
        return {
            "flow": "spectral",
            "scheme": self.scheme.spec,
            "loss": self.loss,
            "depth": 2,
            "reduction": self.reduction,
        }

    # -- what a run needs ---------------------------------------------------------------------------------------------

    def start(self, start: np.ndarray) -> np.ndarray:
        """Checks where a run starts: singular values (D,), balanced, or layers (2, D)."""
        values = np.ascontiguousarray(checked_array("s0", start))
        modes = self.scheme.modes
        if values.shape not in ((modes,), (2, modes)):
            raise ValueError(
                f"s0 must have shape ({modes},), singular values, or (2, {modes}), layers, for {self.scheme.name}; "
                f"got {values.shape}"
            )
        size = np.abs(values)
        limits = (1e-150, 1e150) if values.ndim == 2 else (1e-300, 1e300)
        if np.any((size > 0) & ((size < limits[0]) | (size > limits[1]))):
            raise ValueError(f"s0 must be 0 or between {limits[0]:g} and {limits[1]:g} in size")
        return values

    def origin(self, start: np.ndarray) -> np.ndarray:
        """Coordinates of the start."""
        return np.zeros(self.scheme.modes)

    def mover(self, start: np.ndarray, y: np.ndarray, log_t: float, rtol: float, closed_form: bool = True):
        """What carries the state on from y: a system for the stepper, or a closed form that holds for all later
        times."""
        constants = networks.constants(start)
        growing, fading = constants[1] > 0.0, constants[2] > 0.0
        active = growing | (fading & (y <= FADED))
        if not active.any():
            return Rest(y, log_t)
        weights = self.scheme.multiplicities[1:] / self.scheme.classes
        closes = bool(closed_form and growing.all())
        if closes and is_collapsed(constants, weights, y, np.empty_like(y), rtol):
            return Ray(self, start, y, log_t)
        to_margins, to_forces = self.scheme.transforms
        valencies = self.scheme.valencies[1:].astype(float)
        reached = self.scheme.margins(active.astype(float)) * self.scheme.classes > 1e-9 / self.scheme.classes
        modes = self.scheme.modes
        return SpectralSystem(
            constants=constants,
            weights=weights,
            valencies=np.where(reached, valencies, 0.0),
            base=1.0 + float(valencies[~reached].sum()),
            active=active.astype(float),
            inverse_count=1.0 / int(active.sum()),
            to_margins=to_margins,
            to_forces=to_forces,
            log_unit=log_time_unit(self.scheme.classes, self.reduction),
            closes=closes,
            s=np.empty(modes),
            margins=np.empty(modes),
            scratch=np.empty(modes),
            work=np.empty(self.scheme.classes if to_margins.size == 0 else 0),
        )

    # -- between modes and matrices -----------------------------------------------------------------------------------

    def lift(
        self, start: np.ndarray, *, width: int | None = None, rng: np.random.Generator | int | None = 0
    ) -> tuple[np.ndarray, np.ndarray]:
        """Full matrices with exactly these singular values in the scheme's basis.

        ``W = Q diag(a) R^T, H = R diag(b) Q^T`` with Q the basis of the scheme and R a random matrix of orthonormal
        columns.

        Parameters
        ----------
        start : (D,) or (2, D) array
            Singular values, balanced, or the layers' own.
        width : int, optional
            d >= K - 1, the number of features; K when left out.
        rng : int or numpy Generator
            Makes R.

        Returns
        -------
        W : (K, d) array
        H : (d, K) array
        """
        classes = self.scheme.classes
        width = classes if width is None else width
        if isinstance(width, bool) or not isinstance(width, (int, np.integer)):
            raise TypeError(f"width must be an integer, got {width!r}")
        if width < classes - 1:
            raise ValueError(f"width must be at least K - 1 = {classes - 1} to hold every mode, got {width}")
        layers = networks.layers_of(self.start(start))
        columns = self.scheme.columns[1:]
        basis = self.scheme.basis()[:, 1:]
        frame = np.linalg.qr(np.random.default_rng(rng).standard_normal((int(width), classes - 1)))[0]
        return (basis * layers[0, columns - 1]) @ frame.T, (frame * layers[1, columns - 1]) @ basis.T

    def project(self, W: np.ndarray, H: np.ndarray) -> tuple[np.ndarray, float]:
        """Back to modes: the layers that come nearest to (W, H), and how far from the scheme the matrices are.

        Returns
        -------
        layers : (2, D) array
            a_i >= 0, the root mean square of the rows of ``Q_i^T W`` on each eigenspace, and b_i likewise, with the
            sign that gives s_i = a_i b_i the sign of ``tr(E_i W H)``.
        off_diagonal : float
            The largest of ``|X - sum_i x_i E_i|_F / |X|_F`` for X = W H, W W^T and H^T H, x_i the mean of X on
            eigenspace i, and the relative misalignment of the layers, ``|s_i - a_i b_i|`` weighted alike.
        """
        W, H = check_matrices(W, H, self.scheme.classes)
        basis, columns = self.scheme.basis(), self.scheme.columns
        multiplicities = self.scheme.multiplicities.astype(float)

        def mean(x: np.ndarray) -> np.ndarray:
            return np.bincount(columns, x, minlength=len(multiplicities)) / multiplicities

        left, right = basis.T @ W, H @ basis
        a = np.sqrt(mean((left**2).sum(1)))
        b = np.sqrt(mean((right**2).sum(0)))
        s = mean((left * right.T).sum(1))
        far = [0.0]
        for gram in (left @ right, left @ left.T, right.T @ right):
            size = np.linalg.norm(gram)
            if size > 0.0:
                far.append(float(np.linalg.norm(gram - np.diag(mean(np.diag(gram))[columns])) / size))
        total = math.sqrt(multiplicities @ (a * b) ** 2)
        if total > 0.0:
            far.append(float(math.sqrt(multiplicities @ (np.abs(s) - a * b) ** 2) / total))
        return np.stack([a, np.copysign(b, s)])[:, 1:], max(far)


def check_options(loss: str, reduction: str) -> None:
    """The options that every flow has."""
    if loss not in LOSSES:
        raise ValueError(f"loss must be one of {', '.join(LOSSES)}, got {loss!r}")
    log_time_unit(2, reduction)


def check_matrices(W: np.ndarray, H: np.ndarray, classes: int | None = None) -> tuple[np.ndarray, np.ndarray]:
    """A classifier W (K, d) and features H (d, K) that fit together, as float64."""
    W, H = checked_array("W", W, -1e150, 1e150), checked_array("H", H, -1e150, 1e150)
    if W.ndim != 2 or H.ndim != 2 or W.shape != H.shape[::-1] or W.shape[0] < 2 or W.shape[1] < 1:
        raise ValueError(f"W must be (K, d) and H (d, K) with K >= 2 and d >= 1, got {W.shape} and {H.shape}")
    if classes is not None and W.shape[0] != classes:
        raise ValueError(f"W must have K = {classes} rows, got {W.shape[0]}")
    return W, H
