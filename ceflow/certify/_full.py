"""View of a run of the full flow."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .._arrays import svd
from ..reference import NetworkDefinition
from ._factors import flat
from ._lyapunov import Lyapunov, OfLogits, Unknown
from ._propagation import Response
from ._view import States, View

DIFFERENCE = 1e-6  # step of differences of velocities, relative to the norm of all layers


class FullView(View):
    """View of a run of the full flow, with states (n, N) of all factors."""

    joint = True
    why_no_signs = why_some_fall = "proved for the reduced flow only"

    def __init__(self, run: Any) -> None:
        super().__init__(run, run.classes)
        self.objective = run.flow.objective
        self.start, self.network = self._moving(run.start), self._definition(run)
        self.terms = run.terms if self.objective.terms else None
        self.unit = -math.log(float(self.network.average))
        self.decay = float(max(self.network.decays))
        self.fading = float(self.network.decays[0])
        self.eps = float(np.finfo(self.flow.dtype).eps)
        self.numbers = sum(part.size for part in self.start)
        self.floor = max(1e-100 * float(np.linalg.norm(self.start_layers())), 1e-300)
        self.decays = np.repeat(self.network.decays, [part.size for part in self.start])
        self.why_no_law = self._why_no_law()
        if not self.objective.plain:
            self.why_not_cross_entropy = "proved for cross-entropy without further options only"

    def _definition(self, run: Any) -> NetworkDefinition:
        return NetworkDefinition(self.objective, self.classes)

    def _moving(self, parts: Any) -> tuple[NDArray, ...]:
        """Integrated parts of a start."""
        return parts

    def _why_no_law(self) -> str:
        if self.terms is not None:
            return "terms are not functions of the logits"
        if set(self.network.activations) != {"linear"}:
            return "there is an activation between layers"
        if not all(self.network.moves[: self.depth]):
            return "a layer is frozen"
        return "" if len(set(self.network.decays[: self.depth])) == 1 else "decays differ"

    @property
    def law(self) -> str | None:
        if self.why_no_law:
            return None
        if self.depth > 2:
            return "W'W - VV' of neighbours"
        if self.objective.kernel is not None:
            return "W'W - H T^+ H'"
        return "W'W - HNH'" if np.any(self.network.samples != 1.0) else "W'W - HH'"

    @property
    def cross_entropy(self) -> bool:
        return super().cross_entropy and self.objective.plain

    def layers(self, rows: Any) -> NDArray:
        return flat([*rows.factors, rows.bias] if self.objective.bias else rows.factors, len(rows))

    def start_layers(self) -> NDArray:
        return flat(self.start, 1)

    def lyapunov(self) -> Lyapunov:
        return OfLogits(self) if self.objective.plain else Unknown("its rate is implemented without options only")

    def factors(self, w: NDArray) -> list[NDArray]:
        """Factors (n, ...) and bias from flat states."""
        ends = np.cumsum([part.size for part in self.start])
        return [
            w[:, end - part.size : end].reshape(len(w), *part.shape) for end, part in zip(ends, self.start, strict=True)
        ]

    def states(self, rows: Any) -> States:
        w, n = self.layers(rows), len(rows)
        parts, size = self.factors(w), self.size(w)
        pull = self.network.pull(parts, self._others)
        decay = np.exp(-pull.log_scale)[:, None] if self.decay else 0.0
        s = self.product(w)
        seen = float(np.max(self.objective.logit_scale)) * s[:, 0]
        heaviest = float((self.network.samples * self.network.weights).max())
        return States(
            log_t=rows.log_t,
            w=w,
            velocity=flat(pull.velocities, n) - self.decays * decay * w,
            rate=np.linalg.norm(flat(pull.gross, n), axis=1)[:, None] / size
            + self.decay * decay
            + (self._reaction(parts) * np.exp(-pull.log_scale)[:, None] if self.terms is not None else 0.0),
            log_scale=pull.log_scale,
            size=size,
            singular_values=s,
            largest=seen,
            reach=np.sqrt((s**2).sum(axis=1) * heaviest * np.exp(self.unit)),
            log_objective=np.logaddexp(pull.log_loss, np.log(self.network.penalty(parts) + self._value(parts))),
            log_loss=pull.log_loss,
            least_force=np.full(n, np.nan),
            log_odds=np.full(n, np.nan),
        )

    states_as_reported = states

    # -- terms, without independent definition -------------------------------------------------------------------------

    @property
    def _others(self) -> Callable[[NDArray, NDArray], list[NDArray]] | None:
        return None if self.terms is None else self._push

    def _push(self, W: NDArray, X: NDArray) -> list[NDArray]:
        return [-part for part in self.terms.gradients_of_others(W, X)]

    def _value(self, parts: list[NDArray]) -> NDArray | float:
        return 0.0 if self.terms is None else self.terms.values_of_others(parts[0], self.network.features(parts))

    def _directions(self, parts: list[NDArray], size: float) -> tuple[list[NDArray], list[NDArray]]:
        """W and its features (n, ...), and changes of them in a fixed direction with a relative size."""
        here, rng = [parts[0], self.network.features(parts)], np.random.default_rng(0)
        ways = [rng.standard_normal(part.shape[1:]) for part in here]
        unit = [size / np.sqrt(np.prod(way.shape)) * np.linalg.norm(part, axis=(1, 2))[:, None, None] * way
                for part, way in zip(here, ways, strict=True)]  # fmt: skip
        return here, unit

    def _reaction(self, parts: list[NDArray]) -> NDArray:
        """(n, 1) rate of change of the gradient of terms under relative changes of the layers."""
        here, way = self._directions(parts, 1e-6)
        there = [part + step for part, step in zip(here, way, strict=True)]
        change = [b - a for a, b in zip(self._push(*here), self._push(*there), strict=True)]
        size = sum((part**2).sum(axis=(1, 2)) for part in here)
        return np.sqrt(sum((part**2).sum(axis=(1, 2)) for part in change) / size)[:, None] * 1e6

    def slope_error(self, rows: Any) -> NDArray:
        """(n,) relative difference of the slopes of terms and their gradients."""
        here, way = self._directions(self.factors(self.layers(rows)), 1e-5)
        ahead, behind = (
            self.terms.values_of_others(*(part + sign * step for part, step in zip(here, way, strict=True)))
            for sign in (1.0, -1.0)
        )
        gradient = self.terms.gradients_of_others(*here)
        slope, gross = (
            sum(function(part * step).sum(axis=(1, 2)) for part, step in zip(gradient, way, strict=True))
            for function in (np.asarray, np.abs)
        )
        return np.abs(0.5 * (ahead - behind) - slope) / (gross + 1e-5 * np.abs(ahead))

    def product(self, w: NDArray) -> NDArray:
        """(n, K) singular values of the logits, padded with 0."""
        s = svd(self.network.logits(self.factors(w)), compute_uv=False)
        return np.pad(s, ((0, 0), (0, self.classes - s.shape[1])))

    def size_of_product(self, w: NDArray) -> NDArray:
        *factors, last = self.factors(w)[: self.depth]
        size = np.prod([np.linalg.norm(factor, axis=(1, 2)) for factor in [*factors, last]], axis=0)[:, None]
        return size if self.objective.plain else size + self.product(w)[:, :1]

    def spread(self, s: NDArray) -> tuple[NDArray, NDArray]:
        if self.objective.regression or s.shape[1] < 2:
            return np.full(len(s), np.nan), np.zeros(len(s))
        condition = self.classes * self.eps * s[:, 0] / s[:, -2]
        return OfLogits(self).values(s), 8.0 * condition

    def size(self, w: NDArray) -> NDArray:
        """(n, 1) Frobenius norm."""
        return np.maximum(np.linalg.norm(w, axis=1), self.floor)[:, None]

    def pace(self, velocity: NDArray) -> NDArray:
        return np.linalg.norm(velocity, axis=1)[:, None]

    def error(self, difference: NDArray, size: NDArray, factor: NDArray, tolerance: float, atol: float) -> NDArray:
        """(n,) error of the Frobenius norm."""
        norm, size = np.linalg.norm(difference.reshape(len(difference), -1), axis=1), size.reshape(-1)
        return norm / (factor.reshape(-1) * (size * tolerance + atol))

    def response(self, states: States) -> Response:
        """Response of all numbers, by differences."""
        decay = self.decays * np.exp(-states.log_scale)[:, None] if self.decay else np.zeros((len(states.w), 1))

        def products(directions: NDArray, places: NDArray) -> NDArray:
            w, here = states.w[places, None], states.velocity[places, None]
            step = (DIFFERENCE * states.size[places] / np.linalg.norm(directions, axis=1))[:, :, None]  # (n, r, 1)
            moved = w + step * directions
            found, log_scale = self.network.velocities(self.factors(moved.reshape(-1, w.shape[2])), self._others)
            scale = np.exp(log_scale.reshape(step.shape) - states.log_scale[places, None, None])
            velocities = flat(found, moved[..., 0].size).reshape(moved.shape) * scale
            if self.decay:
                velocities -= decay[places, None] * moved
            return (velocities - here) / step

        return Response(states.w, states.velocity, products, states.rate[:, 0], states.size)

    def imbalance(self, w: NDArray) -> NDArray:
        if self.why_no_law:
            return np.empty((len(w), 0))
        *others, H = self.factors(w)[: self.depth]
        behind = [X @ X.swapaxes(-1, -2) for X in others[1:]] + [self.network.outer(H)]
        pairs = zip(others, behind, strict=True)
        return flat([W.swapaxes(-1, -2) @ W - gram for W, gram in pairs], len(w))

    def imbalance_size(self, w: NDArray) -> NDArray:
        outer = np.trace(self.network.outer(self.factors(w)[self.depth - 1]), axis1=1, axis2=2)
        return np.maximum((w**2).sum(axis=1), np.maximum(outer, 1e-300))[:, None]

    def mean_singular_value(self, states: States) -> NDArray:
        return states.singular_values.sum(axis=1) / (self.classes - 1)
