"""View of a run of the reduced flow."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ._definitions import definition_of_loss, definition_of_scheme
from ._lyapunov import Lyapunov, OfBalancedModes, of_modes
from ._propagation import Response
from ._view import States, View, log_sum, with_decay

DIFFERENCE = 1e-5  # step of differences of forces, in margins


class ReducedView(View):
    """View of a run of the reduced flow: layers (n, L, D); for fractional depth (n, 1, D), the common size of the
    layers."""

    def __init__(self, run: Any) -> None:
        self.scheme = run.flow.scheme
        super().__init__(run, self.scheme.classes)
        self.definition = definition_of_scheme(self.scheme)
        self.valencies, self.multiplicities = self.definition.valencies, self.definition.multiplicities
        self.margins, self.forces = self.definition.margins, self.definition.forces
        if not isinstance(self.depth, int):
            self.why_no_law = "layers of fractional depth are equal by definition"
            self.why_no_product = "layers of fractional depth are computed from them"
        self.shares = self.multiplicities / (self.classes - 1)
        self.numbers = self.scheme.modes * max(2, math.ceil(self.depth))
        # (1, 1, D) size of layers below which a decayed or zero mode counts as at rest; and (1, D) reference size of
        # the errors of a singular value that has nearly decayed
        largest = np.abs(self.start_layers()).max(axis=1, keepdims=True)
        self.floor = np.maximum(10.0 ** (-100.0 / self.depth) * largest, 1e-300)
        self.least = np.maximum(1e20 * self.floor[0] ** self.depth, 1e-290)

    @property
    def law(self) -> str | None:
        if not isinstance(self.depth, int):
            return None
        return "a^2 - b^2" if self.depth == 2 else "w_k^2 - w_l^2"

    def layers(self, rows: Any) -> NDArray:
        if isinstance(self.depth, int):
            return rows.layers
        return np.abs(rows.singular_values)[:, None, :] ** (1.0 / self.depth)

    def start_layers(self) -> NDArray:
        if self.start.ndim == 2:
            return self.start[None]
        root = np.abs(self.start) ** (1.0 / self.depth)
        if not isinstance(self.depth, int):
            return root[None, None]
        layers = np.tile(root, (1, self.depth, 1))
        layers[0, -1] = np.copysign(root, self.start)
        return layers

    def lyapunov(self) -> Lyapunov:
        return of_modes(self)

    def states(self, rows: Any) -> States:
        return self._states(rows, self.product(self.layers(rows)) if self.law else rows.singular_values)

    def states_as_reported(self, rows: Any) -> States:
        return self._states(rows, rows.singular_values)

    def product(self, w: NDArray) -> NDArray:
        """(n, D) singular values from the layers, if defined."""
        return w.prod(axis=1)

    def size_of_product(self, w: NDArray) -> NDArray:
        return np.abs(w).max(axis=1) ** self.depth

    def spread(self, s: NDArray) -> tuple[NDArray, NDArray]:
        positive = (s > 0.0).all(axis=1)
        # subnormal floats have fewer digits
        known = np.finfo(float).smallest_subnormal / np.where(positive, s.min(axis=1), 1.0)
        return np.where(positive, OfBalancedModes(self).values(s), np.nan), known

    def _states(self, rows: Any, s: NDArray) -> States:
        w = self.layers(rows)
        valencies, multiplicities, classes = self.valencies, self.multiplicities, self.classes
        margins = self.margins(s)
        if not self.loss.margins_only:
            force, gross, log_scale = 1.0 - s, 1.0 + np.abs(s), np.zeros(len(s))
            log_loss = np.log(0.5 * ((s - 1.0) ** 2 @ multiplicities) / classes)
        else:
            loss = definition_of_loss(self.loss)
            r, sizes, log_scale = loss.residuals(margins, valencies, self.reached(w))
            force = self.forces(r)
            gross = self.forces(sizes * (1.0 + np.abs(margins)))
            log_loss = loss.log_value(margins, valencies)
        others = self.others(w, s)
        strongest = np.abs(force).max(axis=1)
        # if no mode is left that a force could move
        least = math.log(self.decay) if self.decay else np.where(self.alive(w).any(axis=1), -np.inf, 0.0)
        scale, log_scale = log_scale + self.unit, np.maximum(log_scale + self.unit, least)
        force, gross = (x * np.exp(scale - log_scale)[:, None] for x in (force, gross))
        own, size = np.maximum(np.abs(w).max(axis=1, keepdims=True), 1e-300), self.size(w)
        decay = self.decay * np.exp(-log_scale)[:, None, None] if self.decay else 0.0
        log_loss = log_loss + self.log_total
        squares = (w**2).sum(axis=1) * (self.depth / w.shape[1]) @ multiplicities
        return States(
            log_t=rows.log_t,
            w=w,
            velocity=others * force[:, None, :] - decay * w,
            rate=(np.abs(others) * np.abs(gross)[:, None, :]).max(axis=1, keepdims=True) / own + decay,
            log_scale=log_scale,
            size=size,
            singular_values=s,
            largest=np.abs(s).max(axis=1),
            reach=np.sqrt((s**2 @ multiplicities) * np.exp(self.unit)),
            log_objective=with_decay(log_loss, self.decay, squares),
            log_loss=log_loss,
            least_force=force.min(axis=1) / np.where(strongest > 0.0, strongest, 1.0),
            log_odds=log_sum(np.log(valencies) - margins),
        )

    def response(self, states: States) -> Response:
        """Response of singular values, along layers with the imbalance of the state.

        With the product T_l of all layers except w_l, and G = sum_l T_l^2, ``ds/dt = G lambda(s) - L mu s``; a change
        of s changes the layers by ``T_l / G``. Errors of a singular value are relative to that of balanced layers with
        the mean square of the two smallest layers.
        """
        w, s = states.w, states.singular_values
        T, depth = self.others(w, s), float(self.depth)
        if w.shape[1] == 1:
            size = np.abs(s)
            gain = depth * size ** (2.0 - 2.0 / depth)
            growth = (2.0 * depth - 2.0) * np.sign(s) * size ** (1.0 - 2.0 / depth)
        else:
            ordered = np.sort(np.abs(w), axis=1)
            size = 0.5 * (ordered[:, 0] ** 2 + ordered[:, 1] ** 2) * ordered[:, 2:].prod(axis=1)
            gain, twice = (T**2).sum(axis=1), np.zeros_like(s)
            for k in range(1, w.shape[1]):
                for j in range(k):
                    twice += 2.0 * T[:, k] * T[:, j] * np.delete(w, (k, j), axis=1).prod(axis=1)
            growth = 2.0 * twice / np.where(gain > 0.0, gain, 1.0)
        reached, log_scale = self.reached(w), states.log_scale
        force = self.force(s[:, None], reached, log_scale)[:, 0]
        decay = depth * self.decay * np.exp(-log_scale)[:, None] if self.decay else np.zeros((len(s), 1))

        def products(directions: NDArray, places: NDArray) -> NDArray:
            here, own = s[places, None], growth[places] * force[places] - decay[places]
            largest = np.abs(self.margins(np.abs(directions))).max(axis=1)
            step = (DIFFERENCE / np.maximum(largest, 1e-290))[:, None]
            there = self.force(here + step * directions, reached[places], log_scale[places])
            slopes = (there - force[places, None]) / step
            return gain[places, None] * slopes + own[:, None] * directions

        rate = states.rate.reshape(len(s), -1).max(axis=1)
        return Response(s, gain * force - decay * s, products, rate, np.maximum(size, self.least))

    def force(self, s: NDArray, reached: NDArray, log_scale: NDArray) -> NDArray:
        """(n, r, D) forces at singular values (n, r, D), divided by exp(log_scale) (n,)."""
        n, r, modes = s.shape
        if not self.loss.margins_only:
            return np.exp(self.unit - log_scale)[:, None, None] * (1.0 - s)
        margins = self.margins(s.reshape(-1, modes))
        push, _, scale = definition_of_loss(self.loss).residuals(margins, self.valencies, np.repeat(reached, r, axis=0))
        scale = scale + self.unit - np.repeat(log_scale, r)
        return (self.forces(push) * np.exp(scale)[:, None]).reshape(n, r, modes)

    def alive(self, w: NDArray) -> NDArray:
        """(n, D) whether a mode has not decayed to 0."""
        return np.abs(w).max(axis=1) > self.floor[:, 0]

    def reached(self, w: NDArray) -> NDArray:
        """(n, D) whether a relation acts on a mode that has not decayed."""
        return self.margins(self.alive(w).astype(float)) * self.classes > 1e-9 / self.classes

    def others(self, w: NDArray, s: NDArray) -> NDArray:
        """(n, L, D) product of all other layers, for each layer."""
        if w.shape[1] == 1:
            return np.sign(s)[:, None, :] * w ** (self.depth - 1.0)
        before, after = np.ones_like(w), np.ones_like(w)
        np.cumprod(w[:, :-1], axis=1, out=before[:, 1:])
        np.cumprod(w[:, :0:-1], axis=1, out=after[:, -2::-1])
        return before * after

    def size(self, w: NDArray) -> NDArray:
        """(n, 1, D) largest layer of a mode; inf for decayed modes, whose errors do not count."""
        size = np.abs(w).max(axis=1, keepdims=True)
        return np.where(size > self.floor, size, np.inf)

    def pace(self, velocity: NDArray) -> NDArray:
        return np.abs(velocity).max(axis=1, keepdims=True)

    def error(self, difference: NDArray, size: NDArray, factor: NDArray, tolerance: float, atol: float) -> NDArray:
        """(n,) error of the worst layer."""
        allowed = tolerance + (atol / size**self.depth if atol else 0.0)
        lasts = size[-1:] < np.inf  # whether the mode lasts to the end of the interval
        return np.where(lasts, np.abs(difference) / (size * factor * allowed), 0.0).max(axis=(1, 2))

    def imbalance(self, w: NDArray) -> NDArray:
        return (w[:, :-1] - w[:, 1:]) * (w[:, :-1] + w[:, 1:])

    def imbalance_size(self, w: NDArray) -> NDArray:
        return np.maximum((w**2).sum(axis=1, keepdims=True), np.maximum(self.floor**2, 1e-300))

    def mean_singular_value(self, states: States) -> NDArray:
        return states.singular_values @ self.shares

    @property
    def why_no_signs(self) -> str:
        return f"with the loss {self.loss} a force may have any sign" if self.loss.counterforce else ""

    @property
    def why_some_fall(self) -> str:
        if self.why_no_signs:
            return self.why_no_signs
        if self.decay:
            return "weight decay decreases all of them"
        unbalanced = self.depth != 2 and self.start.ndim == 2
        return "proved for two layers, or for balanced ones" if unbalanced else ""
