"""Objective and velocities of the full flow, by the defining equations in float64."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .definitions import LossDefinition

Parts = list[NDArray[np.float64]]


class Pull(NamedTuple):
    """Velocities of the layers from the loss at n states."""

    velocities: Parts  # without decay, divided by exp(log_scale)
    gross: Parts  # sums of the absolute values of their terms, or a bound
    log_scale: NDArray[np.float64]  # (n,)
    log_loss: NDArray[np.float64]  # (n,)


class NetworkDefinition:
    """Definition of a full flow from its options: loss, decay and velocities at n states.

    The parts of a state are W (n, K, d), ..., H (n, d, N), and the bias (n, K) if there is one.

    Parameters
    ----------
    objective : Objective
        Only its options are used; the loss by its formula.
    classes : int
        K, the rows of W.

    Attributes
    ----------
    decays : tuple
        Decay of each part; 0 for frozen parts.
    number : float
        Number of samples.

    Examples
    --------
    >>> flow = cf.MatrixFlow(weight_decay=0.1)
    >>> definition = cf.reference.NetworkDefinition(flow.objective, 3)
    >>> W, H = cf.random_init(classes=3, width=3, scale=1.0, rng=0)
    >>> f"{definition.penalty((W[None], H[None]))[0]:.6f}, {0.05 * (W**2).sum() + 0.05 * (H**2).sum():.6f}"
    '0.231577, 0.231577'
    """

    def __init__(self, objective: Any, classes: int) -> None:
        self.objective, self.classes, self.depth = objective, classes, int(objective.depth)
        given = not isinstance(objective.targets, str)
        if given and objective.targets.ndim > 2:
            raise ValueError("targets must be those of one start, not of a batch")
        columns = classes if objective.labels is None else len(objective.labels)
        columns = objective.targets.shape[1] if given else columns
        self.samples = np.zeros(columns) + (1.0 if objective.samples is None else np.asarray(objective.samples, float))
        self.weights = np.zeros(columns) + np.asarray(objective.weights, float)
        self.number = float(self.samples.sum())
        self.average = self.number if objective.reduction == "mean" else 1.0
        self.one_hot = np.zeros((classes, columns))
        if not given:
            labels = range(columns) if objective.labels is None else objective.labels
            self.one_hot[np.array(labels), np.arange(columns)] = 1.0
        every = np.arange(self.one_hot.size).reshape(self.one_hot.shape)  # indices of flat logits: (N,) and (N, K - 1)
        self.right, self.wrong = every.T[self.one_hot.T == 1.0], every.T[self.one_hot.T == 0.0].reshape(columns, -1)
        centre = 1.0 / classes if isinstance(objective.targets, str) and objective.targets == "centred" else 0.0
        self.targets = objective.targets if given else self.one_hot - centre
        self.formula = LossDefinition(objective.loss.formula, objective.loss.parameters)
        decays = np.zeros(self.depth) + np.asarray(objective.weight_decay, float)
        frozen = {self.depth if place == "b" else place for place in objective.frozen}
        every = [*decays, objective.bias_decay] if objective.bias else [*decays]
        self.moves = tuple(place not in frozen for place in range(len(every)))
        self.decays = tuple(decay * moves for decay, moves in zip(every, self.moves, strict=True))
        one = isinstance(objective.activation, str)
        self.activations = [objective.activation] * (self.depth - 1) if one else list(objective.activation)

    def activate(self, x: NDArray, place: int) -> tuple[NDArray, NDArray]:
        """Activation after `place` + 1 layers from the left, and its derivative."""
        name, _, beta = self.activations[place].partition(":")
        if name == "relu":
            return x * (x > 0.0), 1.0 * (x > 0.0)
        if name == "softplus":
            tail = np.exp(-float(beta) * np.abs(x))
            slope = np.where(x > 0.0, 1.0, tail) / (1.0 + tail)
            return x * (x > 0.0) + np.log1p(tail) / float(beta), slope
        return x, np.ones_like(x)

    def logits(self, parts: Parts) -> NDArray:
        """(n, K, N) logits, bias included."""
        x = parts[self.depth - 1]
        for place in range(self.depth - 2, -1, -1):
            x = parts[place] @ self.activate(x, place)[0]
        return x + parts[-1][:, :, None] if self.objective.bias else x

    def features(self, parts: Parts) -> NDArray:
        """(n, d, N) input features of W."""
        x = parts[self.depth - 1]
        for place in range(self.depth - 2, 0, -1):
            x = parts[place] @ self.activate(x, place)[0]
        return self.activate(x, 0)[0]

    def pull(self, parts: Parts, others: Callable[[NDArray, NDArray], Parts] | None = None) -> Pull:
        """Velocities without decay, in the time unit of the reduction, and the loss.

        Parameters
        ----------
        others : function, optional
            Further velocities of W and its input features, as a function of both; not included in `Pull.gross`.
        """
        Z = self.logits(parts)
        velocities, log_scale = self._velocities(Z, parts, others)
        return Pull(velocities, self._back(self._gross(Z, log_scale), parts, True), log_scale, self._log_loss(Z))

    def velocities(
        self, parts: Parts, others: Callable[[NDArray, NDArray], Parts] | None = None
    ) -> tuple[Parts, NDArray]:
        """`Pull.velocities` and `Pull.log_scale` alone."""
        return self._velocities(self.logits(parts), parts, others)

    def penalty(self, parts: Parts) -> NDArray:
        """(n,) weight decay term of the objective."""
        total = np.zeros(len(parts[0]))
        for place, (part, decay) in enumerate(zip(parts, self.decays, strict=True)):
            if decay and place == self.depth - 1:
                total += 0.5 * decay * np.trace(self.outer(part), axis1=1, axis2=2)
            elif decay:
                total += 0.5 * decay * (part**2).reshape(len(part), -1).sum(axis=1)
        return total

    def outer(self, H: NDArray) -> NDArray:
        """(n, d, d) ``sum h h'`` over all samples, or ``W_1 W_1'`` of the layer W_1 with H = W_1 X."""
        kernel = self.objective.kernel
        if kernel is None:
            return (H * self.samples) @ H.swapaxes(1, 2)
        values, vectors = np.linalg.eigh(kernel)
        inside = values > 1e-12 * values[-1]
        first = H @ vectors[:, inside] / np.sqrt(values[inside])
        return first @ first.swapaxes(1, 2)

    def _velocities(
        self, Z: NDArray, parts: Parts, others: Callable[[NDArray, NDArray], Parts] | None = None
    ) -> tuple[Parts, NDArray]:
        G, log_scale = self._residual(Z)
        unit, push = np.log(self.average), None
        if others is not None:
            push = others(parts[0], self.features(parts))
            size = sum((part**2).sum(axis=(1, 2)) for part in push)
            high = np.maximum(log_scale, unit + 0.5 * np.log(size))
            G = G * np.exp(log_scale - high)[:, None, None]
            push, log_scale = [part * np.exp(unit - high)[:, None, None] for part in push], high
        return self._back(G, parts, push=push), log_scale - unit

    def _residual(self, Z: NDArray) -> tuple[NDArray, NDArray]:
        """Minus the gradient of the summed loss in the logits, divided by ``exp(log_scale)``; and log_scale (n,)."""
        if self.objective.loss.name == "squared_error":
            return self.samples * self.weights * (self.targets - Z), np.zeros(len(Z))
        r, _, scales = self.formula.residuals(self._lead(Z), np.ones(self.classes - 1))
        scales = scales + np.log(self.samples * self.weights)
        log_scale = scales.max(axis=-1)
        return self._spread(r * np.exp(scales - log_scale[:, None])[..., None], -1.0), log_scale

    def _gross(self, Z: NDArray, log_scale: NDArray) -> NDArray:
        """(n, K, N) absolute values of the terms of the residual, in the scale of velocities."""
        log_scale = log_scale + np.log(self.average)
        if self.objective.loss.name == "squared_error":
            gross = self.samples * self.weights * (np.abs(self.targets) + np.abs(Z))
            return gross * np.exp(-log_scale)[:, None, None]
        lead = self._lead(Z)
        _, sizes, scales = self.formula.residuals(lead, np.ones(self.classes - 1))
        weights = np.exp(scales + np.log(self.samples * self.weights) - log_scale[:, None])
        return self._spread(sizes * (1.0 + np.abs(lead)) * weights[..., None], 1.0)

    def _log_loss(self, Z: NDArray) -> NDArray:
        """(n,) log of the loss, in the time unit of the reduction."""
        every = self.samples * self.weights
        if self.objective.loss.name == "squared_error":
            total = np.log(0.5 * (every * (self.targets - Z) ** 2).sum(axis=(1, 2)))
        else:
            values = self.formula.log_value(self._lead(Z), np.ones(self.classes - 1)) + np.log(every)
            top = values.max(axis=-1)
            total = top + np.log(np.exp(values - top[:, None]).sum(axis=-1))
        return total - np.log(self.average)

    def _seen(self, Z: NDArray) -> NDArray:
        """Logits, or their gradients, times the scales of the classes."""
        return np.reshape(self.objective.logit_scale, (-1, 1)) * Z

    def _lead(self, Z: NDArray) -> NDArray:
        """(n, N, K - 1) margins to the wrong classes of a sample, in the order of the classes."""
        seen = self._seen(Z) + np.reshape(self.objective.logit_adjustment, (-1, 1))
        seen = seen.reshape(len(Z), -1)
        return seen[:, self.right, None] - seen[:, self.wrong]

    def _spread(self, values: NDArray, sign: float) -> NDArray:
        """(n, K, N) gradient in the logits: signed values (n, N, K - 1) for the wrong classes, their sum for the true
        one."""
        out = np.empty((len(values), self.one_hot.size))
        out[:, self.wrong] = sign * values
        out[:, self.right] = values.sum(axis=-1)
        return self._seen(out.reshape(-1, *self.one_hot.shape))

    def _back(self, G: NDArray, parts: Parts, sizes: bool = False, push: Parts | None = None) -> Parts:
        """Velocities of the parts from velocities of the logits, and of W and its features; with `sizes` an upper
        bound."""
        layers = parts[: self.depth]
        inputs, slopes = list[NDArray](), list[Any]()
        x = layers[-1]
        for place in range(self.depth - 2, -1, -1):
            x, slope = self.activate(x, place)
            inputs.insert(0, np.abs(x) if sizes else x)
            slopes.insert(0, slope)
            x = layers[place] @ x
        out, bias = [], [G.sum(axis=-1)] if self.objective.bias else []
        for layer, seen, slope in zip(layers, inputs, slopes, strict=False):
            out.append(G @ seen.swapaxes(1, 2))
            G = (np.abs(layer) if sizes else layer).swapaxes(1, 2) @ G
            if push is not None and len(out) == 1:
                out[0], G = out[0] + push[0], G + push[1]
            G = slope * G
        kernel = self.objective.kernel
        out += [G / self.samples if kernel is None else G @ (np.abs(kernel) if sizes else kernel), *bias]
        return [push if moves else np.zeros_like(push) for push, moves in zip(out, self.moves, strict=True)]
