"""The reduced flow: scheme + loss + network = one compiled right-hand side on the D singular values of the logits."""

from __future__ import annotations

import functools
import math
from typing import NamedTuple

import numpy as np
from numba import njit

from . import networks, theory
from ._checks import LIMIT, checked_array, checked_integer, checked_number, log_time_unit
from ._kernels import INLINE, KERNEL
from .exponential import exp
from .losses import Loss, as_loss, residual
from .networks import singular_value_slope, singular_values
from .schemes import Scheme, careful_forces, gap_transform
from .walsh import empty

LARGEST = 1e15  # singular value at the start: the logits of others could not be told from rounding
SETTLED = 1e-2  # velocity in the clock, over rtol, at which a state counts as having come to rest


@njit(**KERNEL, fastmath={"nnan", "nsz"})
def _largest(x):
    """The largest size of numbers none of which is NaN."""
    largest = 0.0
    for i in range(x.size):
        largest = max(largest, abs(x[i]))
    return largest


@njit(**KERNEL, fastmath={"reassoc", "contract"})
def _sum_of_squares(x, scale):
    total = 0.0
    for i in range(x.size):
        total += (x[i] * scale) * (x[i] * scale)
    return total


@njit(**KERNEL)
def _weighted_exponentials(weights, double_sign, y, out):
    """``out_i = weights_i exp(±2 y_i)``: one loop, so that it is all vector instructions."""
    for i in range(out.size):
        out[i] = weights[i] * exp(double_sign[i] * y[i])


@njit(**KERNEL)
def _scale(x, factor):
    for i in range(x.size):
        x[i] *= factor


@njit(**INLINE)
def _rates(system, y, dy):
    modes = system.toward.size
    if system.plain:
        _weighted_exponentials(system.start_weights, system.double_sign, y, system.scratch)
    else:
        singular_values(system.constants, system.others, system.paired, y, system.s, system.gain)
        for i in range(modes):
            system.scratch[i] = system.weights[i] * system.s[i]
    gap_transform(system.to_margins, system.work, system.margins)
    log_scale, a = residual(system.loss, system.classes, system.base, system.valencies, system.margins, system.scratch)
    if system.minus.size > 0:  # forces, times exp(-log_scale)
        careful_forces(system.work, system.minus, dy[:modes])
    else:
        gap_transform(system.to_forces, system.work, dy[:modes])
    if system.plain:  # what is below, where all modes move, by nothing but forces
        speed = math.sqrt(_sum_of_squares(dy, 1.0) * system.inverse_count)
        if not speed > 0.0:
            return np.inf, a
        _scale(dy, 1.0 / speed)
        return system.log_unit - log_scale - math.log(speed), a
    decay = 0.0
    if system.decay > 0.0:
        log_decay = math.log(system.decay)
        high = max(log_scale, log_decay)
        weight, decay, log_scale = math.exp(log_scale - high), math.exp(log_decay - high), high
        for i in range(modes):
            dy[i] *= weight
    pull = 0.0
    if system.pull > 0.0:
        pull = system.pull * math.exp(-log_scale)
    # The root mean square, over the modes that can move, of the rates that forces and counterforces would have by
    # themselves. It is smooth, positive whatever the start, and at an equilibrium, where the clock then runs like time.
    for i in range(modes):
        system.scratch[i] = system.active[i] * (system.gain[i] * (abs(dy[i]) + pull) + decay)
        dy[i] = system.active[i] * (system.gain[i] * dy[i] - system.toward[i] * decay)
    peak = _largest(system.scratch)
    if peak == 0.0:
        return np.inf, a
    # scaled, because squares of what is small in deep networks would underflow
    speed = peak * math.sqrt(_sum_of_squares(system.scratch, 1.0 / peak) * system.inverse_count)
    inverse = 1.0 / speed
    for i in range(modes):
        dy[i] *= inverse
    if y.size > modes:
        dy[modes] = decay / speed
    return system.log_unit - log_scale - math.log(speed), a


@njit(**KERNEL)
def _velocity(system, dy):
    return math.sqrt(_sum_of_squares(dy[: system.s.size], 1.0) * system.inverse_count)


@njit(**KERNEL)
def _norm(system, error, y, dy, rtol, atol):
    modes = system.s.size
    level = 0.1 * rtol
    if system.settles:
        level *= min(1.0, max(_velocity(system, dy), 1e-3))
    if atol == 0.0 and y.size == modes:
        return _largest(error) / level if _sum_of_squares(error, 1.0) < np.inf else np.inf
    largest = 0.0
    for i in range(y.size):
        tolerance = level
        if i == modes:
            tolerance *= max(1.0, y[i])
        elif atol > 0.0:
            tolerance += atol / max(singular_value_slope(system.constants, system.others, y, i), 1e-300)
        size = abs(error[i]) / tolerance
        if not (size <= largest):  # also lets a NaN through
            largest = size
    return largest


@njit(**KERNEL)
def _rests(system, y, dy, rtol):
    return system.settles and _velocity(system, dy) <= max(SETTLED * rtol, 1e-14)


@njit(**KERNEL)
def _watch(system, y, dy, rtol):
    for i in range(system.s.size):
        if system.active[i] > 0.0 and -system.toward[i] * y[i] > system.faded:
            return True
    if system.closes and is_collapsed(system.constants, system.weights, system.classes, y, system.s, system.gain, rtol):
        return True
    return _rests(system, y, dy, rtol)


@njit(**KERNEL)
def is_collapsed(constants, weights, classes, y, s, gain, rtol):
    """Whether the modes of two layers have merged so far that the linearized tail on the exact ray meets the tolerance.

    With d = max |s_i / s_bar - 1| the tail errs by max(s_bar, 1) d^2, and unequal imbalances push the modes apart by
    2 K p q / s_bar^3 relative, p q = (a^2 - b^2)^2 / 16.
    """
    first, last = networks.pair(constants, y[0], 0.0, 0)[0], networks.pair(constants, y[-1], 0.0, y.size - 1)[0]
    if not abs(first - last) <= 0.3 * math.sqrt(rtol) * max(first, last):  # as is almost always so
        return False
    singular_values(constants, 0.0, True, y, s, gain)
    mean, share = 0.0, 0.0
    for i in range(y.size):
        mean += weights[i] * s[i]
        share += weights[i]
    mean /= share
    if not mean > 0.0:
        return False
    spread, imbalance = 0.0, 0.0
    for i in range(y.size):
        spread = max(spread, abs(s[i] / mean - 1.0))
        imbalance = max(imbalance, constants[1, i] * constants[2, i])
    merged = max(mean, 1.0) * spread**2 <= 0.01 * rtol
    return mean > 0.0 and merged and 2.0 * classes * imbalance <= 0.1 * rtol * mean**3


@njit(**KERNEL)
def _extent(layers):
    """The smallest size of numbers that are not 0, the largest, and the largest product of a column."""
    smallest, largest, top = np.inf, 0.0, 0.0
    for i in range(layers.shape[1]):
        product = 1.0
        for row in range(layers.shape[0]):
            size = abs(layers[row, i])
            product *= size
            largest = max(largest, size)
            if size > 0.0:
                smallest = min(smallest, size)
        top = max(top, product)
    return smallest, largest, top


class SpectralSystem(NamedTuple):
    """What the compiled stepper integrates: arrays, scratch space, and the kernels for them."""

    plain: bool  # whether all modes move, as exponentials of y, by forces alone: two layers, no constant forces
    start_weights: np.ndarray  # (D,) weights times singular values at y = 0
    double_sign: np.ndarray  # (D,) twice `toward`
    constants: np.ndarray  # (3 + n, D), see networks.constants
    others: float  # see networks.others
    faded: float  # see networks.faded
    paired: bool  # see networks.paired
    weights: np.ndarray  # (D,) multiplicities / K
    loss: Loss
    pull: float
    classes: float
    valencies: np.ndarray  # (D,) of the relations that the active modes reach, else 0
    base: float  # 1 + the valencies of the others, whose margin is 0 for ever
    active: np.ndarray  # (D,) 1 for a mode that can move, 0 for one at rest
    toward: np.ndarray  # (D,) 1 for a mode whose layers grow with y, -1 for one that fades
    inverse_count: float  # 1 / number of active modes
    decay: float  # weight decay in "sum" time
    settles: bool  # whether there are equilibria at finite distance
    to_margins: np.ndarray
    to_forces: np.ndarray
    log_unit: float  # log of time over "sum" time
    closes: bool  # whether a closed form may take over
    s: np.ndarray
    gain: np.ndarray
    margins: np.ndarray
    scratch: np.ndarray  # work without its first entry
    work: np.ndarray
    minus: np.ndarray  # another `work`, or empty, where forces need no such care

    rates = staticmethod(_rates)
    norm = staticmethod(_norm)
    watch = staticmethod(_watch)
    rests = staticmethod(_rests)

    @staticmethod
    def allocate(*shape: int) -> np.ndarray:
        """Room for states."""
        return np.empty(shape)


class Rest:
    """A state that does not move any more: every mode is at a critical point. It lasts for all times.

    Under weight decay the imbalance of the layers goes on fading: theta, where it is part of the state, grows by
    `decay` per unit of time.
    """

    kind = "rest"
    message = "at rest: nothing can move any more"

    def __init__(self, y: np.ndarray, log_t: float, decay: float = 0.0) -> None:
        self.y, self.log_t, self.decay = y, log_t, decay

    def grid(self, log_t_end: float) -> np.ndarray:
        """Times at which a row is worth keeping."""
        return np.empty(0)

    def sample(self, log_t: np.ndarray) -> np.ndarray:
        y = np.broadcast_to(self.y, (len(log_t), *self.y.shape)).copy()
        if self.decay > 0.0:
            elapsed = np.exp(np.minimum(log_t, 700.0)) - math.exp(min(self.log_t, 700.0))
            y[:, -1] += np.minimum(self.decay * elapsed, 1e6)  # by then nothing is left of the imbalance
        return y


class Ray:
    """The exact collapsed solution with its linearized tail, from a state on which all modes have merged.

    The mean follows the ray s(t) of `theory`; deviations decay as ``s_i = s (1 + d_i exp(-(s - s1) / K))`` [ceflow].
    """

    kind = "ray"
    message = "followed the exact collapsed solution to the end"

    def __init__(self, flow: SpectralFlow, start: np.ndarray, y: np.ndarray, log_t: float) -> None:
        self.flow, self.y, self.log_t = flow, y, log_t
        self.s = np.empty_like(y)
        singular_values(networks.constants(start), 0.0, True, y, self.s, np.empty_like(y))
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
    """Gradient flow reduced to the singular values of the logits, one for each mode of a scheme.

    Parameters
    ----------
    scheme : Scheme
        The association scheme whose basis diagonalizes weights and softmax, e.g. ``ceflow.hadamard(16)``.
    loss : str or Loss
        "cross_entropy", "squared_error", "label_smoothing", "focal", or a loss made by `ceflow.losses`, such as
        ``ceflow.losses.label_smoothing(0.2)``.
    depth : float
        Number L >= 2 of linear layers. A number that is no integer interpolates between depths, for balanced layers.
    reduction : {"mean", "sum"}
        Whether the loss is averaged over the K classes, as PyTorch does, or summed. With "mean" time runs K times
        slower.
    weight_decay : float
        Adds ``(weight_decay / 2) sum_l |W_l|^2`` to the loss (after the reduction), as optimizers do.

    Notes
    -----
    Garrod, Keating & Thrampoulidis, arXiv:2512.04006, for Hadamard schemes and two layers; arXiv:2605.23087 for depth.
    All other schemes, unbalanced layers and the other losses are [ceflow].
    """

    def __init__(
        self,
        scheme: Scheme,
        *,
        loss: str | Loss = "cross_entropy",
        depth: float = 2,
        reduction: str = "mean",
        weight_decay: float = 0.0,
    ) -> None:
        if not isinstance(scheme, Scheme):
            raise TypeError(
                f"scheme must be an association scheme such as ceflow.hadamard(16), got {type(scheme).__name__}"
            )
        self.scheme, self.loss = scheme, as_loss(loss)
        self.depth = checked_number("depth", depth, 2, 1000)
        self.depth = int(self.depth) if self.depth == int(self.depth) else self.depth
        self.weight_decay = checked_number("weight_decay", weight_decay, 0.0, LIMIT)
        log_time_unit(2, reduction)
        self.reduction = reduction

    def __repr__(self) -> str:
        return f"SpectralFlow({self.scheme.name}{options_text(self, self.depth)})"

    @property
    def spec(self) -> dict:
        """All that makes this flow again, in terms of JSON."""
        return {"flow": "spectral", "scheme": self.scheme.spec, "depth": self.depth} | options_spec(self)

    @functools.cached_property
    def plain(self) -> bool:
        """Whether this is cross-entropy on two layers without decay, of which Lyapunov functions, bounds and the
        collapsed solution are proved."""
        return self.depth == 2 and self.loss == Loss() and self.weight_decay == 0.0

    # -- what a run needs ---------------------------------------------------------------------------------------------

    def start(self, start: np.ndarray) -> np.ndarray:
        """Checks where a run starts: singular values (D,), balanced, or layers (depth, D)."""
        values = np.ascontiguousarray(checked_array("s0", start))
        modes, depth = self.scheme.modes, self.depth
        if values.shape != (modes,) and (values.shape != (depth, modes)):
            layers = f", or ({depth}, {modes}), layers," if isinstance(depth, int) else ""
            raise ValueError(
                f"s0 must have shape ({modes},), singular values{layers} for {self.scheme.name}; got {values.shape}"
            )
        limit = 300 if values.ndim == 1 else 300 // depth
        smallest, largest, product = _extent(values.reshape(-1, modes))
        if smallest < 10.0**-limit or largest > 10.0**limit:
            raise ValueError(f"s0 must be 0 or between 1e-{limit} and 1e{limit} in size")
        if product > LARGEST:
            raise ValueError(f"singular values must be at most {LARGEST:g}: larger ones would not move within any time")
        return values

    def origin(self, start: np.ndarray) -> np.ndarray:
        """Coordinates of the start."""
        return np.zeros(self.scheme.modes + (self.weight_decay > 0.0 and networks.needs_theta(start)))

    def rest(self, y: np.ndarray, log_t: float) -> Rest:
        """The state y, at rest."""
        return Rest(y, log_t, self.weight_decay if y.size > self.scheme.modes else 0.0)

    def mover(self, start: np.ndarray, y: np.ndarray, log_t: float, rtol: float, closed_form: bool = True):
        """What carries the state on from y: a system for the stepper, or a closed form that holds for all later
        times."""
        constants, modes = networks.constants(start, self.depth), self.scheme.modes
        others = networks.others(start, self.depth)
        faded = networks.faded(constants, others)
        toward, active, s, gain, margins = empty(5, modes)
        count, growing = networks.mobility(constants, faded, y, toward, active)
        if count == 0:
            return self.rest(y, log_t)
        weights, valencies = self._weights
        classes = float(self.scheme.classes)
        closes = bool(closed_form and self.plain and growing == modes)
        if closes and is_collapsed(constants, weights, classes, y, s, gain, rtol):
            return Ray(self, start, y, log_t)
        to_margins, to_forces = self.scheme.transforms
        base = 1.0
        if count < modes:
            reached = self.scheme.margins(active) * self.scheme.classes > 1e-9 / self.scheme.classes
            base += float(valencies[~reached].sum())
            valencies = np.where(reached, valencies, 0.0)
        log_unit, work = log_time_unit(self.scheme.classes, self.reduction), empty(modes + 1)
        paired = networks.paired(constants)
        return SpectralSystem(
            plain=bool(
                count == modes and not paired and self.depth == 2 and not self.loss.pull and not self.weight_decay
            ),
            start_weights=weights * constants[0],
            double_sign=2.0 * toward,
            constants=constants,
            others=others,
            faded=faded,
            paired=paired,
            weights=weights,
            loss=self.loss,
            pull=self.loss.pull,
            classes=classes,
            valencies=valencies,
            base=base,
            active=active,
            toward=toward,
            inverse_count=1.0 / count,
            decay=self.weight_decay * math.exp(log_unit),
            settles=self.loss.pull > 0.0 or self.weight_decay > 0.0,
            to_margins=to_margins,
            to_forces=to_forces,
            log_unit=log_unit,
            closes=closes,
            s=s,
            gain=gain,
            margins=margins,
            scratch=work[1:],
            work=work,
            # In deeper networks some modes lag behind for ages, under forces beside which others are tiny, and count.
            minus=empty(modes + 1 if self.depth > 2 and to_forces.size == 0 else 0),
        )

    @functools.cached_property
    def _weights(self) -> tuple[np.ndarray, np.ndarray]:
        """(D,) multiplicities over K, and valencies."""
        return self.scheme.multiplicities[1:] / self.scheme.classes, self.scheme.valencies[1:].astype(float)

    def evaluate(self, start: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Singular values (n, D) at coordinates (n, N), and the gains of `ceflow.networks`."""
        constants = networks.constants(start, self.depth)
        s, gain = np.empty((2, len(y), self.scheme.modes))
        others, paired = networks.others(start, self.depth), networks.paired(constants)
        networks.singular_values_of_rows(constants, others, paired, np.ascontiguousarray(y), s, gain)
        return s, gain

    # -- between modes and matrices -----------------------------------------------------------------------------------

    def lift(
        self, start: np.ndarray, *, width: int | None = None, rng: np.random.Generator | int | None = 0
    ) -> tuple[np.ndarray, ...]:
        """Full matrices with exactly these singular values in the scheme's basis.

        ``W = Q diag(a) R^T, H = R diag(b) Q^T`` with Q the basis of the scheme and R a random matrix of orthonormal
        columns; deeper networks have factors ``R_l diag(w) R_(l+1)^T`` in between.

        Parameters
        ----------
        start : (D,) or (depth, D) array
            Singular values, balanced, or the layers' own.
        width : int, optional
            d >= K - 1, the number of features; K when left out.
        rng : int or numpy Generator
            Makes R.

        Returns
        -------
        W : (K, d) array
        (d, d) arrays
            depth - 2 of them.
        H : (d, K) array
        """
        classes = self.scheme.classes
        width = checked_integer("width", classes if width is None else width)
        if width < classes - 1:
            raise ValueError(f"width must be at least K - 1 = {classes - 1} to hold every mode, got {width}")
        check_whole_depth(self.depth)
        layers = networks.layers_of(self.start(start), self.depth)[:, self.scheme.columns[1:] - 1]
        basis = self.scheme.basis()[:, 1:]
        rng = np.random.default_rng(rng)
        frames = [np.linalg.qr(rng.standard_normal((width, classes - 1)))[0] for _ in layers[1:]]
        frames = [basis, *frames, basis]
        return tuple((left * w) @ right.T for left, w, right in zip(frames[:-1], layers, frames[1:], strict=True))

    def project(self, *factors: np.ndarray) -> tuple[np.ndarray, float]:
        """Back to modes: the layers that come nearest to (W, H), and how far from the scheme the matrices are.

        Parameters
        ----------
        *factors : arrays
            (W, H), or as many as the network has layers; their product is Z.

        Returns
        -------
        layers : (depth, D) array
            The first a_i >= 0, the root mean square of the rows of ``Q_i^T W`` on each eigenspace; the last b_i
            likewise of ``H Q_i``, with the sign that gives their product the sign of ``tr(E_i Z)``; layers in between
            by the factor that they contribute.
        off_diagonal : float
            The largest of ``|X - sum_i x_i E_i|_F / |X|_F`` for X = Z and the Gram matrices ``W W^T`` and ``H^T H`` of
            the products of the factors from either side, x_i the mean of X on eigenspace i, and the relative
            misalignment of the layers, ``|s_i - product of layers|`` weighted alike.
        """
        factors = check_factors(factors, self.depth, self.scheme.classes)
        basis, columns = self.scheme.basis(), self.scheme.columns
        multiplicities = self.scheme.multiplicities.astype(float)

        def mean(x: np.ndarray) -> np.ndarray:
            return np.bincount(columns, x, minlength=len(multiplicities)) / multiplicities

        far, layers = [0.0], []

        def gram_off_diagonal(gram: np.ndarray) -> np.ndarray:
            size = np.linalg.norm(gram)
            on = mean(np.diag(gram))
            if size > 0.0:
                far.append(float(np.linalg.norm(gram - np.diag(on[columns])) / size))
            return on

        left, before = basis.T, None
        for factor in factors[:-1]:
            left = left @ factor
            size = np.sqrt(gram_off_diagonal(left @ left.T))
            layers.append(size if before is None else size / np.where(before > 0.0, before, np.inf))
            before = size
        right = factors[-1] @ basis
        layers.append(np.sqrt(gram_off_diagonal(right.T @ right)))
        s = gram_off_diagonal(left @ right)
        product = np.prod(layers, axis=0)
        total = math.sqrt(multiplicities @ product**2)
        if total > 0.0:
            far.append(float(math.sqrt(multiplicities @ (np.abs(s) - product) ** 2) / total))
        layers[-1] = np.copysign(layers[-1], s)
        return np.stack(layers)[:, 1:], max(far)


def options_text(flow, depth: float) -> str:
    """The options that every flow has, as its repr shows them."""
    decay = f", weight_decay={flow.weight_decay:g}" if flow.weight_decay else ""
    return f", loss={str(flow.loss)!r}, depth={depth}, reduction={flow.reduction!r}{decay}"


def options_spec(flow) -> dict:
    """The options that every flow has, in terms of JSON."""
    return {"loss": flow.loss._asdict(), "reduction": flow.reduction, "weight_decay": flow.weight_decay}


def check_whole_depth(depth: float) -> None:
    """Layers of their own exist only at an integer depth."""
    if not isinstance(depth, int):
        raise ValueError(f"depth must be an integer where layers are asked for, got {depth!r}")


def check_factors(factors, depth: int, classes: int | None = None) -> list[np.ndarray]:
    """Factors W (K, d), ..., H (d, K) that fit together, as float64. Leading axes are those of a batch."""
    if len(factors) != depth:
        raise ValueError(f"there must be {depth} factors, one for each layer, got {len(factors)}")
    names = ["W", *(f"factor {i}" for i in range(2, depth)), "H"]
    limit = 10.0 ** (300 // depth)
    factors = [checked_array(name, factor, -limit, limit) for name, factor in zip(names, factors, strict=True)]
    shapes = [factor.shape for factor in factors]
    if (
        any(len(shape) < 2 or shape[:-2] != shapes[0][:-2] or min(shape) < 1 for shape in shapes)
        or any(left[-1] != right[-2] for left, right in zip(shapes, shapes[1:] + shapes[:1], strict=True))
        or shapes[0][-2] < 2
    ):
        raise ValueError(
            f"W must be (K, d) and H (d, K) with K >= 2 and d >= 1, and factors between them must fit, got "
            f"{' and '.join(map(str, shapes))}"
        )
    if classes is not None and shapes[0][-2] != classes:
        raise ValueError(f"W must have K = {classes} rows, got {shapes[0][-2]}")
    return factors
