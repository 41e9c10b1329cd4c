"""Reduced flow of a regression: one pair of layers for each mode of the targets."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from .._checks import checked_array, checked_choice, checked_integer
from ..network.factors import check_factors
from ..theory import regression
from ._flow import Flow
from .matrix import MatrixFlow

if TYPE_CHECKING:
    from ..trajectory import RegressionTrajectory  # noqa: F401  # in quotes

LIMIT = 1e150  # entries of layers
RATES = ("canonical", "raw")


class RegressionFlow(Flow["RegressionTrajectory"]):
    """Gradient flow of a regression with two linear layers, reduced to the modes of any targets.

    The objective (arXiv:2409.04180) is ::

        L = |W H + b 1^T - Y|^2 / (2 M) + lH / (2 M) |H|^2 + lW / 2 |W|^2,

    with W (n, d), H (d, M), and b at its optimum, the mean of the targets. Let ``T = (Y - ybar) / sqrt(M) = U
    diag(sigma) V``; sigma_i^2 are the eigenvalues of the covariance of Y. A start ``W = U diag(a) R^T``, ``F = H /
    sqrt(M) = R diag(b) V`` keeps this form, and its modes are independent: ``da/dt = (sigma - a b) b - lW a``, ``db/dt
    = (sigma - a b) a - lH b``.

    Parameters
    ----------
    targets : (n, M) array
        Targets Y.
    weight_decay : float or (lW, lH)
        One number for both layers, or one for each.
    rate : {"canonical", "raw"}
        "canonical": gradient flow in W and F, with the rates above. "raw": gradient flow of L in W and H, in which
        features move M times more slowly: ``da/dt = (sqrt(M) sigma - a b) b / M - lW a``, ``db/dt = ((sqrt(M) sigma - a
        b) a - lH b) / M``, with a, b of W and H. "raw" is "canonical" with t' = t / sqrt(M), lW' = lW sqrt(M), lH' = lH
        / sqrt(M), W = M^(1/4) W', H = M^(1/4) F'.
    bias : bool
        Whether there is a bias b. Without it the modes are those of Y, mean included.

    Attributes
    ----------
    frame, spectrum, directions : (n, r), (r,), (r, M) arrays
        U, sigma and V; r is the rank of T.
    decays : (lW, lH)
        As given. `weight_decay` is the decay of the factors that are integrated, lH / M for H.

    Raises
    ------
    ValueError, TypeError
        If an argument is invalid.

    Notes
    -----
    A start is layers (2, r), or singular values (r,) of balanced layers. The relative error of every mode is rtol. Each
    mode is integrated as a 1x1 `MatrixFlow` in a batch. `ceflow.theory.regression` has exact solutions.

    The decoupling of modes is classical (Saxe, McClelland & Ganguli, arXiv:1312.6120); with two decays and both rates
    it is [ceflow].

    Examples
    --------
    >>> flow = cf.RegressionFlow([[1.0, -1.0, 2.0, -2.0], [0.5, 0.5, -0.5, -0.5]], weight_decay=0.1)
    >>> flow.spectrum.round(4)
    array([1.5811, 0.5   ])
    >>> cf.integrate(flow, [0.01, 0.01], 1e3).singular_values[-1].round(4)
    array([1.4811, 0.4   ])
    """

    kind = "regression"

    def __init__(
        self,
        targets: ArrayLike,
        *,
        weight_decay: float | tuple[float, float] = 0.0,
        rate: str = "canonical",
        bias: bool = True,
    ) -> None:
        self.frame, self.spectrum, self.directions = regression.modes_of(targets, centred=bias)
        if not self.spectrum.size:
            raise ValueError("targets must not be all equal: they would have no modes")
        self.targets = np.array(checked_array("targets", targets))
        self.targets.setflags(write=False)
        self.rate = checked_choice("rate", rate, RATES)
        # the flow of full matrices checks the options; the flow of all modes as a batch gives the velocities
        full = _flow(targets=self.targets, weight_decay=weight_decay, bias=bias)
        self.bias, self.decays = full.objective.bias, full.objective.decays
        scale, weight = (math.sqrt(self.samples), 1.0 / self.samples) if self.rate == "raw" else (1.0, 1.0)
        decay, targets = (self.decays[0], self.decays[1] * weight), scale * self.spectrum[:, None, None]
        self._modes = _flow(targets=targets, weight_decay=decay, reduction="sum", weights=weight)
        super().__init__(self._modes.objective)

    def __repr__(self) -> str:
        bias = "" if self.bias else ", bias=False"
        return f"RegressionFlow({self.outputs} x {self.samples}, weight_decay={self.decays}, rate={self.rate!r}{bias})"

    @property
    def spec(self) -> dict:
        own = {"targets": self.targets.tolist(), "weight_decay": list(self.decays)}
        return {"flow": self.kind, "loss": self.loss.spec} | own | {"rate": self.rate, "bias": self.bias}

    @property
    def outputs(self) -> int:
        """Number n of outputs."""
        return len(self.targets)

    @property
    def samples(self) -> int:
        """Number M of samples."""
        return self.targets.shape[1]

    # -- interface for runs --------------------------------------------------------------------------------------------

    def start(self, start: ArrayLike) -> np.ndarray:
        """Check a start: layers (2, r), or singular values (r,) of balanced layers."""
        values = checked_array("start", start, -LIMIT, LIMIT)
        modes = self.spectrum.size
        if values.shape == (modes,):
            values = np.sqrt(np.abs(values)) * np.array([np.ones(modes), np.sign(values)])
        if values.shape != (2, modes):
            raise ValueError(f"a start must be layers (2, {modes}) or singular values ({modes},), got {values.shape}")
        return np.ascontiguousarray(values)

    def _parts(self, start: np.ndarray) -> tuple[np.ndarray, ...]:
        """Layers of the modes as a batch of starts."""
        return self._modes.start(tuple(start[:, :, None, None]))

    def origin(self, start: np.ndarray) -> np.ndarray:
        """Coordinates of the start: the layers."""
        return start.ravel()

    def layers_at(self, start: np.ndarray, y: np.ndarray) -> np.ndarray:
        """(..., 2, r) layers at coordinates (..., 2 r); `lift` accepts them as `rows`."""
        return y.reshape(*y.shape[:-1], 2, -1)

    def state(self, start: np.ndarray, y: np.ndarray) -> np.ndarray:
        """Layers at the coordinates y."""
        return self.layers_at(start, y)

    def segment(self, kind: str, start: np.ndarray, y: np.ndarray, log_t: float):
        """Closed form "rest" from the state y on."""
        return self._modes.segment(kind, self._parts(start), y, log_t)

    def motion(
        self, start: np.ndarray, y: np.ndarray, log_t: float, rtol: float, atol: float = 0.0, closed_form: bool = True
    ):
        """Vector field at y, or Rest at an equilibrium at 0."""
        return self._modes.motion(self._parts(start), y, log_t, rtol, atol, closed_form)

    # -- between modes and matrices ------------------------------------------------------------------------------------

    def full(self) -> MatrixFlow:
        """Flow on full matrices whose reduction this is.

        For "raw" it is the flow of W, H and the bias with reduction "mean". For "canonical" it is the flow of W and F
        with reduction "sum" on the targets T, whose optimal bias is 0.
        """
        if self.rate == "raw":
            return _flow(targets=self.targets, weight_decay=self.weight_decay, bias=self.bias)
        T = (self.targets - (self.mean[:, None] if self.bias else 0.0)) / math.sqrt(self.samples)
        return _flow(targets=T, weight_decay=self.weight_decay, reduction="sum")

    @property
    def mean(self) -> np.ndarray:
        """(n,) mean of the targets, the optimal bias."""
        return self.targets.mean(axis=1)

    def lift(
        self,
        start: ArrayLike,
        *,
        width: int | None = None,
        rng: np.random.Generator | int | None = 0,
        rows: np.ndarray | None = None,
    ) -> tuple[np.ndarray, ...]:
        """Full matrices with these modes, in a random orthonormal frame of features.

        Parameters
        ----------
        start : (r,) or (2, r) array
            As for `integrate`.
        width : int, optional
            Feature dimension d >= r; default n.
        rng : int or numpy Generator
            Seed or generator of the frame.
        rows : (k, 2, r) array, optional
            Replaces the layers of the start. All k use the same frame, and the matrices get a leading axis k.

        Returns
        -------
        W : (n, d) array
        H : (d, M) array
            F for the rate "canonical".
        b : (n,) array
            Only if `full` has a bias.

        Examples
        --------
        >>> flow = cf.RegressionFlow([[1.0, -1.0, 2.0, -2.0], [0.5, 0.5, -0.5, -0.5]])
        >>> W, F = flow.lift([0.3, 0.1], width=3)
        >>> np.linalg.svd(W @ F)[1].round(4)
        array([0.3, 0.1])
        """
        a, b = np.moveaxis(self.start(start) if rows is None else rows, -2, 0)
        width = checked_integer("width", self.outputs if width is None else width, self.spectrum.size)
        R = np.linalg.qr(np.random.default_rng(rng).standard_normal((width, self.spectrum.size)))[0]
        factors = (self.frame * a[..., None, :]) @ R.T, (R * b[..., None, :]) @ self.directions
        biased = self.rate == "raw" and self.bias
        return (*factors, np.broadcast_to(self.mean, (*a.shape[:-1], self.outputs)).copy()) if biased else factors

    def project(self, W: ArrayLike, H: ArrayLike, b: ArrayLike | None = None) -> tuple[np.ndarray, float]:
        """Project full matrices to layers of modes, and measure their misalignment.

        Parameters
        ----------
        W, H : (n, d) and (d, M) arrays
            F in place of H for the rate "canonical".
        b : (n,) array, optional
            The bias, if `full` has one; default its optimum.

        Returns
        -------
        layers : (2, r) array
            Start for `integrate`; the larger layer of each mode is positive.
        off_modes : float
            Largest ``|X - X'|_F / |X|_F`` over the matrices X, where X' is X rebuilt from the layers.
        """
        W, H = check_factors((W, H), 2, columns=lambda rows: self.samples, least=1)
        left, right = self.frame.T @ W, (H @ self.directions.T).T
        sizes = [max(float(np.linalg.norm(part)), 1e-300) for part in (left, right)]
        # feature direction of each mode, averaged over both layers; largest modes first
        pairs = np.stack([left / sizes[0], right / sizes[1]], axis=1)
        _, strength, vectors = np.linalg.svd(pairs, full_matrices=False)
        order = np.argsort(-strength[:, 0])[: W.shape[1]]
        R = np.zeros((W.shape[1], len(left)))
        R[:, order] = np.linalg.qr((strength[order, :1] * vectors[order, 0]).T)[0]
        layers = np.stack([(left * R.T).sum(axis=1), (right * R.T).sum(axis=1)])
        larger = np.take_along_axis(layers, np.abs(layers).argmax(axis=0)[None], axis=0)[0]
        flip = np.where(larger < 0.0, -1.0, 1.0)
        layers, R = layers * flip, R * flip
        made = (self.frame * layers[0]) @ R.T, (R * layers[1]) @ self.directions
        pairs_of = [(W, made[0]), (H, made[1])]
        if b is not None:
            pairs_of.append((checked_array("b", b), self.mean))
        return layers, max(_apart(given, mine) for given, mine in pairs_of)


def _flow(**options) -> MatrixFlow:
    return MatrixFlow(loss="squared_error", **options)


def _apart(given: np.ndarray, mine: np.ndarray) -> float:
    if given.shape != mine.shape:
        raise ValueError(f"b must have shape {mine.shape}, got {given.shape}")
    size = np.linalg.norm(given)
    return float(np.linalg.norm(given - mine) / size) if size > 0.0 else float(np.linalg.norm(mine) > 0.0)
