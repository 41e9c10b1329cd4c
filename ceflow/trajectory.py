"""What a run returns: states at increasing times, everything that follows from them, and the way back to any moment."""

from __future__ import annotations

import functools
import itertools
import json
import math
import os
import uuid
from collections.abc import Callable, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple, Protocol

import numpy as np
import scipy

from . import collapse, losses, networks
from ._checks import checked_array, log_time_unit
from .lyapunov import dissipation, gradient_of_logits, lyapunov, of_logits
from .matrix import MatrixFlow
from .spectral import SpectralFlow, check_whole_depth

if TYPE_CHECKING:
    import xarray

    from .certificate import Certificate

FORMAT, VERSION = "ceflow trajectory", 3


class DenseOutput(Protocol):
    """The path behind a trajectory."""

    stretches: list

    def sample(self, log_t: np.ndarray) -> np.ndarray: ...


class Resume(NamedTuple):
    """What it takes to go on with a run."""

    state: np.ndarray  # (5,) of the stepper: log t, phi, a, step size, previous error
    y: np.ndarray  # (N,) at that log t
    tail: tuple[np.ndarray, np.ndarray, np.ndarray] | None  # the last step, y, h and log t, which may go beyond the end
    options: dict  # of the run


class Trajectory:
    """A run of a flow, as n rows at increasing times.

    Attributes
    ----------
    flow : SpectralFlow or MatrixFlow
    start : array or tuple of arrays
        Where the run started: singular values or layers of the reduced flow, factors of the full flow.
    log_t : (n,) array
        Natural logarithm of the time, -inf for t = 0. Time is in the units of the flow's `reduction`.
    y : (n, N) array
        States in the flow's own coordinates.
    rtol, atol : float
        Tolerances of the run.
    log_t_end : float
        How far the run goes.
    success : bool
    message : str
    nfev, nsteps, nrejected : int
        Evaluations of the right-hand side, accepted steps, rejected steps.
    """

    def __init__(
        self,
        flow: SpectralFlow | MatrixFlow,
        start: np.ndarray,
        log_t: np.ndarray,
        y: np.ndarray,
        *,
        path: DenseOutput | None = None,
        log_t_end: float | None = None,
        rtol: float = math.nan,
        atol: float = 0.0,
        success: bool = True,
        message: str = "",
        nfev: int = 0,
        nsteps: int = 0,
        nrejected: int = 0,
    ) -> None:
        self.flow, self.start, self.log_t, self.y = flow, start, log_t, y
        self._path, self.rtol, self.atol = path, rtol, atol
        self.log_t_end = log_t_end if log_t_end is not None else float(log_t[-1])
        self.success, self.message = success, message
        self.nfev, self.nsteps, self.nrejected = nfev, nsteps, nrejected
        self._resume: Resume | None = None

    def __len__(self) -> int:
        return len(self.log_t)

    def __repr__(self) -> str:
        end = self.log_t_end / math.log(10)
        state = "" if self.success else ", success=False"
        rows = f"{len(self)} rows to t = 1e{end:.6g}, {self.nsteps} steps{state}"
        return f"<Trajectory of {self.flow!r}: {rows}: {self.message}>"

    @property
    def t(self) -> np.ndarray:
        """(n,) times; inf where they leave float64."""
        with np.errstate(over="ignore", under="ignore"):
            return np.exp(self.log_t)

    def at(self, t=None, *, log_t=None) -> Trajectory:
        """The trajectory at other times, by dense output.

        Parameters
        ----------
        t, log_t : float or (m,) array
            Times, or their natural logarithms, from 0 to the end of the run.

        Returns
        -------
        Trajectory
            Of m rows (1 for a scalar); its error is that of the run.

        Raises
        ------
        ValueError
            If a time is outside the run, or the run was made with ``dense_output=False``.
        """
        if (t is None) == (log_t is None):
            raise ValueError("give either t or log_t")
        if t is not None:
            t = np.atleast_1d(checked_array("t", t, -np.inf, np.inf))
            if np.any(t < 0.0):
                raise ValueError(f"t must not be negative, got {t.min():g}")
            with np.errstate(divide="ignore"):
                log_t = np.log(t)
        log_t = np.atleast_1d(checked_array("log_t", log_t, -np.inf, np.inf))
        if log_t.ndim != 1 or np.any(np.isnan(log_t)):
            raise ValueError("times must be a number or one-dimensional, without NaN")
        if np.any(log_t > self.log_t_end + 1e-12 * abs(self.log_t_end)):
            raise ValueError(f"the run ends at log t = {self.log_t_end:.6g}, got log t = {log_t.max():.6g}")
        log_t = np.minimum(log_t, self.log_t_end)
        if self._path is None:
            raise ValueError("this trajectory has no dense output: integrate with dense_output=True")
        return self._with(log_t, self._path.sample(log_t))

    def __array__(self, *args, **kwargs):
        # with __len__ and __getitem__ NumPy would take it for a sequence of sequences without end
        raise TypeError("a trajectory is no array; take one of its quantities, such as singular_values")

    def __getitem__(self, rows) -> Trajectory:
        """Some of the rows, by an index, a slice or an array, as a trajectory."""
        rows = slice(rows, rows + 1 or None) if isinstance(rows, (int, np.integer)) else rows
        return self._with(self.log_t[rows], self.y[rows])

    def _with(self, log_t: np.ndarray, y: np.ndarray) -> Trajectory:
        options = self._options()
        return type(self)(self.flow, self.start, log_t, y, path=self._path, rtol=self.rtol, atol=self.atol, **options)

    def _options(self) -> dict:
        names = ("log_t_end", "success", "message", "nfev", "nsteps", "nrejected")
        return {name: getattr(self, name) for name in names}

    def certificate(self) -> Certificate:
        """Check, after the fact and from outside, what the run verifiably satisfies: that it solves the equations, how
        large its error is, what is conserved, what must fall, and proved bounds.

        Returns
        -------
        ceflow.Certificate
            It prints itself; ``passed`` is the verdict, ``error_estimate`` the relative error. Claims that are not
            proved for this flow are listed as such.

        Raises
        ------
        ValueError
            If it is a batch of runs.
        """
        from .certificate import certify  # which imports this module

        return certify(self)

    def save(self, path: str | os.PathLike) -> None:
        """Write the run to an ``.npz`` file, dense output included, for `ceflow.load`. The file appears whole or not
        at all."""
        stretches = self._path.stretches if self._path is not None else []
        start = self.start if isinstance(self.start, tuple) else (self.start,)
        arrays = {"log_t": self.log_t, "y": self.y} | {f"start{i}": part for i, part in enumerate(start)}
        for i, stretch in enumerate(stretches):
            for name in ("y", "h", "log_t"):
                if hasattr(stretch, name):
                    arrays[f"path{i}_{name}"] = np.asarray(getattr(stretch, name))
        options = {name: _plain(value) for name, value in self._options().items()}
        if self._resume is not None:
            arrays |= {"resume_state": self._resume.state, "resume_y": self._resume.y}
            if self._resume.tail is not None:
                arrays |= dict(zip(("tail_y", "tail_h", "tail_log_t"), self._resume.tail, strict=True))
        meta = {
            "format": FORMAT,
            "version": VERSION,
            "flow": self.flow.spec,
            "rtol": float(self.rtol),
            "atol": float(self.atol),
            "options": options | {"log_t_end": repr(float(self.log_t_end))},
            "stretches": [stretch.kind for stretch in stretches],
            "resume": self._resume and self._resume.options,
        }
        temporary = f"{os.fspath(path)}.{uuid.uuid4().hex}.tmp"
        try:
            with open(temporary, "xb") as file:
                np.savez(file, meta=np.array(json.dumps(meta)), **arrays)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
        except BaseException:
            if os.path.exists(temporary):
                os.unlink(temporary)
            raise

    # -- what follows from the logits; subclasses give its logarithms -------------------------------------------------

    log_loss: np.ndarray
    log_accuracy_gap: np.ndarray

    @property
    def loss(self) -> np.ndarray:
        """(n,) loss, a mean or a sum over classes as the flow's `reduction` says, without weight decay; accurate
        however small."""
        with np.errstate(under="ignore"):
            return np.exp(self.log_loss)

    @property
    def objective(self) -> np.ndarray:
        """(n,) what the flow descends: the loss and ``(weight_decay / 2) sum_l |W_l|^2``."""
        return self.loss + (0.5 * self.flow.weight_decay) * self._squared_norm if self.flow.weight_decay else self.loss

    @property
    def accuracy_gap(self) -> np.ndarray:
        """(n,) 1 - p_0, the probability given to the wrong classes (mean over classes); accurate however small."""
        with np.errstate(under="ignore"):
            return np.exp(self.log_accuracy_gap)


class SpectralTrajectory(Trajectory):
    """A run of the reduced flow on D modes."""

    @property
    def classes(self) -> int:
        """K."""
        return self.flow.scheme.classes

    @cached_property
    def singular_values(self) -> np.ndarray:
        """(n, D) singular values of the logits Z, one for each eigenspace (not repeated); negative ones keep their
        sign."""
        return self.flow.evaluate(self.start, self.y)[0]

    @property
    def layers(self) -> np.ndarray:
        """(n, depth, D) singular values of the layers."""
        check_whole_depth(self.flow.depth)
        return networks.layers_at(self.start, self.y, self.flow.depth)

    @property
    def conserved(self) -> np.ndarray:
        """(n, D) imbalance a^2 - b^2, computed from the layers; (n, depth - 1, D) of neighbours if there are more.

        Weight decay makes it fade like ``exp(-2 weight_decay t)``.
        """
        return networks.conserved(self.layers)

    @property
    def _squared_norm(self) -> np.ndarray:
        if self.start.ndim == 1:
            return self.flow.depth * np.abs(self.singular_values) ** (2.0 / self.flow.depth) @ self._multiplicities
        return (self.layers**2).sum(axis=1) @ self._multiplicities

    @property
    def _multiplicities(self) -> np.ndarray:
        return self.flow.scheme.multiplicities[1:].astype(float)

    @cached_property
    def margins(self) -> np.ndarray:
        """(n, D) margins z_0 - z_j, one for each relation."""
        return self.flow.scheme.margins(self.singular_values)

    @property
    def margin(self) -> np.ndarray:
        """(n,) smallest margin."""
        return self.margins.min(axis=-1)

    @property
    def log_loss(self) -> np.ndarray:
        """(n,) natural logarithm of the loss, also where that leaves float64 (at times beyond 1e308)."""
        value = self.flow.loss.log_value(self.margins, self.flow.scheme.valencies[1:])  # all classes are alike
        return value if self.flow.reduction == "mean" else math.log(self.classes) + value

    @property
    def log_accuracy_gap(self) -> np.ndarray:
        """(n,) natural logarithm of the accuracy gap."""
        return losses.log_accuracy_gap(losses.log_odds_of_error(self.margins, self.flow.scheme.valencies[1:]))

    @cached_property
    def lyapunov(self) -> np.ndarray:
        """(n,) Lyapunov function V, log of arithmetic over geometric mean; NaN where a singular value is not
        positive."""
        return lyapunov(self.flow.scheme, self.singular_values)

    @cached_property
    def dissipation(self) -> np.ndarray:
        """(n,) dV/dt of the balanced flow of two layers and cross-entropy at these singular values; NaN where V is.

        Raises
        ------
        ValueError
            For any other flow, whose V need not decrease.
        """
        if not self.flow.plain:
            raise ValueError(f"dissipation is known for two layers and plain cross-entropy only, not for {self.flow!r}")
        return dissipation(self.flow.scheme, self.singular_values, reduction=self.flow.reduction)

    def to_xarray(self) -> xarray.Dataset:
        """The rows as an xarray Dataset (needs the extra ``xarray``)."""
        layers = {"layers": (("row", "layer", "mode"), self.layers)} if isinstance(self.flow.depth, int) else {}
        return _dataset(self, singular_values=(("row", "mode"), self.singular_values), **layers).assign_coords(
            mode=np.arange(1, self.flow.scheme.modes + 1)
        )


class MatrixTrajectory(Trajectory):
    """A run of the full flow on W (K, d) and H (d, K), or on as many factors as there are layers.

    Of a batch of B starts every array has the axis B after that of the rows.
    """

    @property
    def classes(self) -> int:
        """K."""
        return self.start[0].shape[-2]

    @property
    def factors(self) -> tuple[np.ndarray, ...]:
        """The layers, (n, K, d), ..., (n, d, K); their product is Z."""
        ends = np.cumsum([factor.size for factor in self.start])
        return tuple(
            self.y[:, end - factor.size : end].reshape(len(self), *factor.shape)
            for end, factor in zip(ends, self.start, strict=True)
        )

    @property
    def W(self) -> np.ndarray:
        """(n, K, d) classifiers, the last layer."""
        return self.factors[0]

    @property
    def H(self) -> np.ndarray:
        """(n, d, K) features of two layers; of deeper networks the first layer, (n, d, K)."""
        return self.factors[-1]

    @property
    def logits(self) -> np.ndarray:
        """(n, K, K) logits Z, the product of all factors; column c belongs to class c."""
        return functools.reduce(np.matmul, self.factors)

    def _by_factors(self, function: Callable[..., np.ndarray], *shape: int) -> np.ndarray:
        """A function of all factors, row by row."""
        rows = [function(*factors) for factors in zip(*self.factors, strict=True)]
        return np.stack(rows) if rows else np.empty((0, *self.start[0].shape[:-2], *shape))

    def _by_row(self, function: Callable[[np.ndarray], np.ndarray], *shape: int) -> np.ndarray:
        """A function of the logits, row by row: all logits at once may be more than memory holds."""
        return self._by_factors(lambda *factors: function(functools.reduce(np.matmul, factors)), *shape)

    @cached_property
    def singular_values(self) -> np.ndarray:
        """(n, K) singular values of Z, descending; right to rounding of the largest one."""
        return self._by_row(lambda Z: np.linalg.svd(Z, compute_uv=False), self.classes)

    @property
    def conserved(self) -> np.ndarray | tuple[np.ndarray, ...]:
        """(n, d, d) conserved W^T W - H H^T; of more than two layers a tuple of such differences of neighbours."""
        pairs = itertools.pairwise(self.factors)
        found = tuple(W.swapaxes(-1, -2) @ W - H @ H.swapaxes(-1, -2) for W, H in pairs)
        return found[0] if len(found) == 1 else found

    @property
    def _squared_norm(self) -> np.ndarray:
        return sum((factor**2).sum(axis=(-1, -2)) for factor in self.factors)

    @property
    def margins(self) -> np.ndarray:
        """(n, K, K - 1) margins z_cc - z_jc of each class c over all others j."""
        return self._by_row(_margins, self.classes, self.classes - 1)

    @cached_property
    def margin(self) -> np.ndarray:
        """(n,) smallest margin over classes."""
        return self._by_row(lambda Z: _margins(Z).min(axis=(-1, -2)))

    @cached_property
    def log_loss(self) -> np.ndarray:
        """(n,) natural logarithm of the loss, also where that leaves float64 (at times beyond 1e308)."""
        loss, shift = self.flow.loss, 0.0 if self.flow.reduction == "sum" else -math.log(self.classes)
        return self._by_row(lambda Z: _log_sum(loss.log_value(_margins(Z), mean=Z.mean(axis=-2))) + shift)

    @cached_property
    def log_accuracy_gap(self) -> np.ndarray:
        """(n,) natural logarithm of the accuracy gap, the mean over classes."""
        gap, shift = losses.log_accuracy_gap, math.log(self.classes)
        return self._by_row(lambda Z: _log_sum(gap(losses.log_odds_of_error(_margins(Z)))) - shift)

    @cached_property
    def lyapunov(self) -> np.ndarray:
        """(n,) V of the top K - 1 singular values of Z; NaN where one of them is 0, to rounding of the largest."""
        return of_logits(self.singular_values)

    @cached_property
    def dissipation(self) -> np.ndarray:
        """(n,) dV/dt along the run, NaN where V is.

        That of this very flow, of any depth, loss and decay (which scales Z, and V does not see that). It may be
        positive: V is proved to fall for the reduced flow only. It is a sum of terms of both signs, right to rounding
        of the largest: near collapse ``-log10(V) / 2`` digits are lost, as they are in V itself, and while all logits
        are small as many again as they have zeros. Beyond times of 1e308 it underflows to 0.
        """
        indices, log_unit = np.arange(self.classes), log_time_unit(self.classes, self.flow.reduction)

        def rate(*factors: np.ndarray) -> np.ndarray:
            Z = functools.reduce(np.matmul, factors)
            slopes = _pulled(gradient_of_logits(Z), factors)
            log_scale, _ = losses.full_residual(self.flow.loss, Z, indices)  # of G, which takes the place of Z
            pulls = _pulled(Z, factors)
            rates = sum((slope * pull).sum(axis=(-1, -2)) for slope, pull in zip(slopes, pulls, strict=True))
            return rates * np.exp(log_scale - log_unit)

        with np.errstate(under="ignore"):
            return self._by_factors(rate)

    @property
    def collapse(self) -> collapse.Measures:
        """Neural-collapse measures, each of shape (n,): of the classifier W and the features that it sees."""
        W, *rest = self.factors
        return collapse.measures(W, functools.reduce(np.matmul, rest))

    def to_xarray(self) -> xarray.Dataset:
        """The rows as an xarray Dataset (needs the extra ``xarray``)."""
        batch = ("batch",) * (self.start[0].ndim - 2)
        names = ["W", *(f"factor{i}" for i in range(2, self.flow.depth)), "H"]
        sides = ["class", *(f"feature{i}" if i > 1 else "feature" for i in range(1, self.flow.depth)), "class"]
        variables = {
            name: (("row", *batch, left, right), factor)
            for name, left, right, factor in zip(names, sides[:-1], sides[1:], self.factors, strict=True)
        }
        return _dataset(self, batch, **variables, singular_values=(("row", *batch, "mode"), self.singular_values))


def _pulled(gradient: np.ndarray, factors: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Gradient in each factor of what has this gradient (..., K, K) in their product."""
    after = [np.eye(factors[-1].shape[-1])]
    for factor in factors[:0:-1]:
        after.insert(0, factor @ after[0])
    pulled = []
    for factor, rest in zip(factors, after, strict=True):
        pulled.append(gradient @ rest.swapaxes(-1, -2))
        gradient = factor.swapaxes(-1, -2) @ gradient
    return pulled


def _log_sum(logarithms: np.ndarray) -> np.ndarray:
    return scipy.special.logsumexp(logarithms, axis=-1)


def _margins(Z: np.ndarray) -> np.ndarray:
    """Margins (..., K, K - 1) of logits (..., K, K), class by class."""
    classes, Z = Z.shape[-1], Z.swapaxes(-1, -2)
    margins = np.diagonal(Z, axis1=-2, axis2=-1)[..., None] - Z
    return margins[..., ~np.eye(classes, dtype=bool)].reshape(*Z.shape[:-1], classes - 1)


def trajectory_type(flow: SpectralFlow | MatrixFlow) -> type[SpectralTrajectory] | type[MatrixTrajectory]:
    """Which Trajectory belongs to a flow."""
    return SpectralTrajectory if isinstance(flow, SpectralFlow) else MatrixTrajectory


def _dataset(trajectory: Trajectory, batch: tuple[str, ...] = (), **variables) -> xarray.Dataset:
    import xarray

    names = ("loss", "margin", "accuracy_gap", "lyapunov")
    scalars = {name: (("row", *batch), getattr(trajectory, name)) for name in names}
    coordinates = {"log_t": ("row", trajectory.log_t), "t": ("row", trajectory.t)}
    attributes = {name: _plain(value) for name, value in trajectory._options().items() if name != "success"}
    attributes |= {name: getattr(trajectory, name) for name in ("rtol", "atol")}
    attributes |= {"flow": repr(trajectory.flow), "success": int(trajectory.success)}
    return xarray.Dataset(scalars | variables, coords=coordinates, attrs=attributes)


def _plain(value):
    return value.item() if isinstance(value, np.generic) else value
