"""What a run returns: states at increasing times, everything that follows from them, and the way back to any moment."""

from __future__ import annotations

import json
import math
import os
import uuid
from functools import cached_property
from typing import TYPE_CHECKING, Protocol

import numpy as np
import scipy

from . import collapse, losses, networks
from .lyapunov import dissipation, excess, lyapunov
from .matrix import MatrixFlow
from .spectral import SpectralFlow

if TYPE_CHECKING:
    import xarray

FORMAT, VERSION = "ceflow trajectory", 1


class DenseOutput(Protocol):
    """The path behind a trajectory."""

    stretches: list

    def sample(self, log_t: np.ndarray) -> np.ndarray: ...


class Trajectory:
    """A run of a flow, as n rows at increasing times.

    Attributes
    ----------
    flow : SpectralFlow or MatrixFlow
    start : array
        Where the run started.
    log_t : (n,) array
        Natural logarithm of the time, -inf for t = 0. Time is in the units of the flow's `reduction`.
    y : (n, N) array
        States in the flow's own coordinates.
    rtol : float
        Tolerance of the run.
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
        success: bool = True,
        message: str = "",
        nfev: int = 0,
        nsteps: int = 0,
        nrejected: int = 0,
    ) -> None:
        self.flow, self.start, self.log_t, self.y = flow, start, log_t, y
        self._path, self.rtol = path, rtol
        self.log_t_end = log_t_end if log_t_end is not None else float(log_t[-1])
        self.success, self.message = success, message
        self.nfev, self.nsteps, self.nrejected = nfev, nsteps, nrejected

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
            t = np.atleast_1d(np.asarray(t, float))
            if np.any(t < 0.0):
                raise ValueError(f"t must not be negative, got {t.min():g}")
            with np.errstate(divide="ignore"):
                log_t = np.log(t)
        log_t = np.atleast_1d(np.asarray(log_t, float))
        if log_t.ndim != 1 or np.any(np.isnan(log_t)):
            raise ValueError("times must be a number or one-dimensional, without NaN")
        if np.any(log_t > self.log_t_end + 1e-12 * abs(self.log_t_end)):
            raise ValueError(f"the run ends at log t = {self.log_t_end:.6g}, got log t = {log_t.max():.6g}")
        log_t = np.minimum(log_t, self.log_t_end)
        if self._path is None:
            raise ValueError("this trajectory has no dense output: integrate with dense_output=True")
        return self._with(log_t, self._path.sample(log_t))

    def __getitem__(self, rows) -> Trajectory:
        """Some of the rows, by an index, a slice or an array, as a trajectory."""
        rows = slice(rows, rows + 1 or None) if isinstance(rows, (int, np.integer)) else rows
        return self._with(self.log_t[rows], self.y[rows])

    def _with(self, log_t: np.ndarray, y: np.ndarray) -> Trajectory:
        return type(self)(self.flow, self.start, log_t, y, path=self._path, rtol=self.rtol, **self._options())

    def _options(self) -> dict:
        names = ("log_t_end", "success", "message", "nfev", "nsteps", "nrejected")
        return {name: getattr(self, name) for name in names}

    def save(self, path: str | os.PathLike) -> None:
        """Write the run to an ``.npz`` file, dense output included, for `ceflow.load`. The file appears whole or not
        at all."""
        stretches = self._path.stretches if self._path is not None else []
        arrays = {"log_t": self.log_t, "y": self.y, "start": self.start}
        for i, stretch in enumerate(stretches):
            for name in ("y", "h", "log_t"):
                if hasattr(stretch, name):
                    arrays[f"path{i}_{name}"] = np.asarray(getattr(stretch, name))
        options = {name: _plain(value) for name, value in self._options().items()}
        meta = {
            "format": FORMAT,
            "version": VERSION,
            "flow": self.flow.spec,
            "rtol": float(self.rtol),
            "options": options | {"log_t_end": repr(float(self.log_t_end))},
            "stretches": [stretch.kind for stretch in stretches],
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

    # -- what follows from the logits; subclasses give their margins --------------------------------------------------

    @cached_property
    def _log_odds(self) -> np.ndarray:
        raise NotImplementedError

    @property
    def _samples(self) -> int:
        raise NotImplementedError

    @property
    def log_loss(self) -> np.ndarray:
        """(n,) natural logarithm of the loss, also where that leaves float64 (at times beyond 1e308)."""
        mean = self._log_mean(losses.log_cross_entropy(self._log_odds))
        return mean if self.flow.reduction == "mean" else math.log(self._samples) + mean

    @property
    def loss(self) -> np.ndarray:
        """(n,) cross-entropy, a mean or a sum over classes as the flow's `reduction` says; accurate however small."""
        with np.errstate(under="ignore"):
            return np.exp(self.log_loss)

    @property
    def log_accuracy_gap(self) -> np.ndarray:
        """(n,) natural logarithm of the accuracy gap."""
        return self._log_mean(losses.log_accuracy_gap(self._log_odds))

    @property
    def accuracy_gap(self) -> np.ndarray:
        """(n,) 1 - p_0, the probability given to the wrong classes (mean over classes); accurate however small."""
        with np.errstate(under="ignore"):
            return np.exp(self.log_accuracy_gap)

    def _log_mean(self, logarithms: np.ndarray) -> np.ndarray:
        """Log of the mean over classes; with an association scheme all classes are alike, and there is one a row."""
        if logarithms.ndim == 1:
            return logarithms
        return scipy.special.logsumexp(logarithms, axis=-1) - math.log(self._samples)


class SpectralTrajectory(Trajectory):
    """A run of the reduced flow on D modes."""

    @cached_property
    def singular_values(self) -> np.ndarray:
        """(n, D) singular values of the logits Z, one for each eigenspace (not repeated); negative ones keep their
        sign."""
        constants = networks.constants(self.start)
        out = np.empty_like(self.y)
        for row, y in zip(out, self.y, strict=True):
            networks.singular_values(constants, y, row)
        return out

    @property
    def layers(self) -> np.ndarray:
        """(n, depth, D) singular values of the layers."""
        return networks.layers_at(self.start, self.y)

    @property
    def conserved(self) -> np.ndarray:
        """(n, D) imbalance a^2 - b^2, computed from the layers."""
        return networks.conserved(self.layers)

    @cached_property
    def margins(self) -> np.ndarray:
        """(n, D) margins z_0 - z_j, one for each relation."""
        return self.flow.scheme.margins(self.singular_values)

    @property
    def margin(self) -> np.ndarray:
        """(n,) smallest margin."""
        return self.margins.min(axis=-1)

    @cached_property
    def _log_odds(self) -> np.ndarray:
        return losses.log_odds_of_error(self.margins, self.flow.scheme.valencies[1:])

    @property
    def _samples(self) -> int:
        return self.flow.scheme.classes

    @cached_property
    def lyapunov(self) -> np.ndarray:
        """(n,) Lyapunov function V, log of arithmetic over geometric mean; NaN where a singular value is not
        positive."""
        return lyapunov(self.flow.scheme, self.singular_values)

    @cached_property
    def dissipation(self) -> np.ndarray:
        """(n,) dV/dt of the balanced flow at these singular values; NaN where V is."""
        return dissipation(self.flow.scheme, self.singular_values, reduction=self.flow.reduction)

    def to_xarray(self) -> xarray.Dataset:
        """The rows as an xarray Dataset (needs the extra ``xarray``)."""
        return _dataset(
            self,
            singular_values=(("row", "mode"), self.singular_values),
            layers=(("row", "layer", "mode"), self.layers),
        ).assign_coords(mode=np.arange(1, self.flow.scheme.modes + 1))


class MatrixTrajectory(Trajectory):
    """A run of the full flow on W (K, d) and H (d, K)."""

    @property
    def W(self) -> np.ndarray:
        """(n, K, d) classifiers."""
        return self.y.reshape(len(self), *self.start.shape)[:, 0]

    @property
    def H(self) -> np.ndarray:
        """(n, d, K) features."""
        return self.y.reshape(len(self), *self.start.shape)[:, 1].swapaxes(-1, -2)

    @property
    def logits(self) -> np.ndarray:
        """(n, K, K) logits Z = W H; column c belongs to class c."""
        return self.W @ self.H

    @cached_property
    def singular_values(self) -> np.ndarray:
        """(n, K) singular values of Z, descending; right to rounding of the largest one."""
        return np.linalg.svd(self.logits, compute_uv=False)

    @property
    def conserved(self) -> np.ndarray:
        """(n, d, d) conserved W^T W - H H^T."""
        W, H = self.W, self.H
        return W.swapaxes(-1, -2) @ W - H @ H.swapaxes(-1, -2)

    @cached_property
    def _margins(self) -> np.ndarray:
        Z = self.logits
        margins = np.diagonal(Z, axis1=-2, axis2=-1)[:, None, :] - Z
        margins[:, np.arange(Z.shape[-1]), np.arange(Z.shape[-1])] = np.inf
        return margins.swapaxes(-1, -2)

    @property
    def margin(self) -> np.ndarray:
        """(n,) smallest margin over classes."""
        return self._margins.min(axis=(-1, -2))

    @cached_property
    def _log_odds(self) -> np.ndarray:
        return losses.log_odds_of_error(self._margins)

    @property
    def _samples(self) -> int:
        return self.start.shape[1]

    @cached_property
    def lyapunov(self) -> np.ndarray:
        """(n,) V of the top K - 1 singular values of Z; NaN where one of them is 0."""
        top = self.singular_values[:, :-1]
        positive = top[:, -1] > 0.0
        top = np.where(positive[:, None], top, 1.0)
        deviation = np.log(top / top.mean(axis=-1, keepdims=True))
        return np.where(positive, excess(-deviation).mean(axis=-1), np.nan)

    @property
    def collapse(self) -> collapse.Measures:
        """Neural-collapse measures, each of shape (n,)."""
        return collapse.measures(self.W, self.H)

    def to_xarray(self) -> xarray.Dataset:
        """The rows as an xarray Dataset (needs the extra ``xarray``)."""
        return _dataset(
            self,
            W=(("row", "class", "feature"), self.W),
            H=(("row", "feature", "class"), self.H),
            singular_values=(("row", "mode"), self.singular_values),
        )


def trajectory_type(flow: SpectralFlow | MatrixFlow) -> type[SpectralTrajectory] | type[MatrixTrajectory]:
    """Which Trajectory belongs to a flow."""
    return SpectralTrajectory if isinstance(flow, SpectralFlow) else MatrixTrajectory


def _dataset(trajectory: Trajectory, **variables) -> xarray.Dataset:
    import xarray

    scalars = {name: ("row", getattr(trajectory, name)) for name in ("loss", "margin", "accuracy_gap", "lyapunov")}
    coordinates = {"log_t": ("row", trajectory.log_t), "t": ("row", trajectory.t)}
    attributes = {name: _plain(value) for name, value in trajectory._options().items() if name != "success"}
    attributes |= {"flow": repr(trajectory.flow), "rtol": trajectory.rtol, "success": int(trajectory.success)}
    return xarray.Dataset(scalars | variables, coords=coordinates, attrs=attributes)


def _plain(value):
    return value.item() if isinstance(value, np.generic) else value
