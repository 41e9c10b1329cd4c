"""How to look at a run of the full flow."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .._arrays import svd
from ._definitions import definition_of_loss
from ._factors import flat, product, pulled
from ._lyapunov import Lyapunov, OfLogits
from ._view import States, View, log_sum, with_decay


class FullView(View):
    """A run of the full flow: (n, N), all factors one after another."""

    why_no_signs = why_some_fall = "proved for the reduced flow only"

    def __init__(self, run: Any) -> None:
        super().__init__(run, run.classes)
        self.eps = float(np.finfo(self.flow.dtype).eps)
        self.numbers = sum(factor.size for factor in self.start)
        self.floor = max(1e-100 * float(np.linalg.norm(self.start_layers())), 1e-300)

    @property
    def law(self) -> str:
        return "W'W - HH'" if self.depth == 2 else "W'W - VV' of neighbours"

    def layers(self, rows: Any) -> NDArray:
        return flat(rows.factors, len(rows))

    def start_layers(self) -> NDArray:
        return flat(self.start, 1)

    def lyapunov(self) -> Lyapunov:
        return OfLogits(self)

    def factors(self, w: NDArray) -> list[NDArray]:
        """The factors (n, ...) again."""
        ends = np.cumsum([factor.size for factor in self.start])
        return [
            w[:, end - factor.size : end].reshape(len(w), *factor.shape)
            for end, factor in zip(ends, self.start, strict=True)
        ]

    def states(self, rows: Any) -> States:
        w, n = self.layers(rows), len(rows)
        factors = self.factors(w)
        Z = product(factors)
        G, gross, log_scale, log_loss = self.residual(Z)
        log_scale = log_scale + self.unit
        size = self.size(w)
        decay = self.decay * np.exp(-log_scale)[:, None] if self.decay else 0.0
        terms = flat(pulled(gross, [np.abs(factor) for factor in factors]), n)
        log_loss = log_loss + self.log_total
        s = svd(Z, compute_uv=False)
        return States(
            log_t=rows.log_t,
            w=w,
            velocity=flat(pulled(G, factors), n) - decay * w,
            rate=np.linalg.norm(terms, axis=1)[:, None] / size + decay,
            log_scale=log_scale,
            size=size,
            singular_values=s,
            largest=s[:, 0],
            reach=np.sqrt((s**2).sum(axis=1) * np.exp(self.unit)),
            log_objective=with_decay(log_loss, self.decay, (w**2).sum(axis=1)),
            log_loss=log_loss,
            least_force=np.full(n, np.nan),
            log_odds=np.full(n, np.nan),
        )

    states_as_reported = states

    def product(self, w: NDArray) -> NDArray:
        """(n, K) singular values of the product of the factors."""
        return svd(product(self.factors(w)), compute_uv=False)

    def size_of_product(self, w: NDArray) -> NDArray:
        return np.prod([np.linalg.norm(factor, axis=(1, 2)) for factor in self.factors(w)], axis=0)[:, None]

    def spread(self, s: NDArray) -> tuple[NDArray, NDArray]:
        condition = self.classes * self.eps * s[:, 0] / s[:, -2]
        return OfLogits(self).values(s), 8.0 * condition

    def residual(self, Z: NDArray) -> tuple[NDArray, NDArray, NDArray, NDArray]:
        """Minus the gradient of the loss in logits (n, K, K), the sizes of the terms that make it, logarithm of the
        scale of both, and logarithm of the mean loss."""
        K, n = self.classes, len(Z)
        if not self.loss.margins_only:
            target = np.eye(K) - 1.0 / K
            G, gross = target - Z, np.abs(target) + np.abs(Z)
            return G, gross, np.zeros(n), np.log(0.5 * (G**2).sum(axis=(-2, -1)) / K)
        off = ~np.eye(K, dtype=bool)
        columns = Z.swapaxes(-1, -2)  # [sample, class]
        margins = (np.diagonal(Z, axis1=-2, axis2=-1)[..., None] - columns)[:, off].reshape(-1, K, K - 1)
        loss = definition_of_loss(self.loss)
        r, sizes, scales = loss.residuals(margins, np.ones(K - 1))
        log_scale = scales.max(axis=-1)
        sizes = sizes * (1.0 + np.abs(margins))
        r, sizes = (x * np.exp(scales - log_scale[:, None])[..., None] for x in (r, sizes))
        G, gross = np.zeros_like(Z), np.zeros_like(Z)
        for matrix, values, sign in ((G, r, -1.0), (gross, sizes, 1.0)):
            turned = np.zeros_like(Z)
            turned[:, off] = sign * values.reshape(n, -1)
            turned[:, np.arange(K), np.arange(K)] = values.sum(axis=-1)
            matrix[:] = turned.swapaxes(-1, -2)
        log_loss = log_sum(loss.log_value(margins, np.ones(K - 1))) - math.log(K)
        return G, gross, log_scale, log_loss

    def size(self, w: NDArray) -> NDArray:
        """(n, 1) the Frobenius norm."""
        return np.maximum(np.linalg.norm(w, axis=1), self.floor)[:, None]

    def error(self, difference: NDArray, size: NDArray, factor: NDArray, tolerance: float, atol: float) -> NDArray:
        """Of the Frobenius norm."""
        norm, size = np.linalg.norm(difference.reshape(len(difference), -1), axis=1), size.reshape(-1)
        return norm / (factor.reshape(-1) * (size * tolerance + atol))

    def imbalance(self, w: NDArray) -> NDArray:
        factors = self.factors(w)
        return flat([W.swapaxes(-1, -2) @ W - H @ H.swapaxes(-1, -2) for W, H in pairwise(factors)], len(w))

    def imbalance_size(self, w: NDArray) -> NDArray:
        return np.maximum((w**2).sum(axis=1), 1e-300)[:, None]

    def mean_singular_value(self, states: States) -> NDArray:
        return states.singular_values.sum(axis=1) / (self.classes - 1)
