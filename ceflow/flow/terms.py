"""Loss and gradient of an objective for a given number of classes, on arrays of any library."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from .._arrays import Arrays, log_sum
from ..losses import NO_ODDS, SquaredError, full_residual
from .objective import Objective

HOST = Arrays("numpy", None, "float64")


class Terms:
    """Loss of all columns of the logits.

    Attributes
    ----------
    labels : (N,) ints
        Class of each column.
    samples, weights : (N,) arrays
        Number of samples that a column stands for, and weight of a sample before the reduction.
    targets : (n, N) or (B, n, N) array, or None
        Targets of the columns of the output, if they are not the default of the loss.
    """

    def __init__(self, objective: Objective, classes: int, arrays: Arrays = HOST) -> None:
        self.objective, self.classes, self.xp = objective, classes, arrays.xp
        columns = objective.columns(classes)
        self.labels = objective.labels_of(classes) if not objective.regression else np.zeros(columns, int)
        self.samples, self.weights = objective.samples_of(classes), objective.weights_of(classes)
        self.targets = self._targets()
        self.plain = objective.plain
        self.others = [
            (term, tuple(map(arrays.asarray, term.constants(classes, self.labels, self.samples))))
            for term in objective.terms
        ]

        self._columns = arrays.indices(columns)
        self._labels = self._columns if self.plain else arrays.asarray(self.labels)
        self._log_weights: Any = None
        self._scale = self._shift = self._targets_there = self._log_weights
        self._weights: Any = None
        if not self.plain:
            total = self.samples * self.weights
            with np.errstate(divide="ignore"):
                self._log_weights = arrays.asarray(np.log(total))
            self._weights = arrays.asarray(total)
            self._scale = self._rows(objective.logit_scale, 1.0, arrays)
            self._shift = self._rows(objective.logit_adjustment, 0.0, arrays)
            self._targets_there = None if self.targets is None else arrays.asarray(self.targets)

    def _targets(self) -> np.ndarray | None:
        objective = self.objective
        if objective.regression:
            return objective.targets
        if not isinstance(objective.loss, SquaredError) or objective.plain:
            return None
        one_hot = np.equal.outer(np.arange(self.classes), self.labels).astype(float)
        return one_hot - (1.0 / self.classes if objective.targets == "centred" else 0.0)

    def _rows(self, value: Any, usual: float, arrays: Arrays) -> Any:
        """One number per row of the logits, as (K, 1); None if all are the default."""
        if np.all(np.equal(value, usual)):
            return None
        return arrays.asarray(np.broadcast_to(np.array(value, float), self.classes)[:, None])

    @property
    def counterforce(self) -> float:
        """Size of the constant part of the forces, relative to one sample per class."""
        size = self.objective.loss.counterforce
        if size == 0.0 or self.plain:
            return size
        targets = self.targets
        if targets is None:
            targets = np.equal.outer(np.arange(self.classes), self.labels) - 1.0 / self.classes
        forces = np.linalg.norm(targets * (np.sqrt(self.samples) * self.weights), 2, axis=(-2, -1))
        size *= forces.max() * np.max(self.objective.logit_scale)
        kernel = self.objective.kernel
        return float(size if kernel is None else size * math.sqrt(np.linalg.norm(kernel, 2)))

    def adjusted(self, Z: Any) -> Any:
        """Scale and shift the logits as given by the options, in place."""
        if self._scale is not None:
            Z *= self._scale
        if self._shift is not None:
            Z += self._shift
        return Z

    def residual(self, Z: Any) -> tuple[Any, Any]:
        """Replace logits (..., K, N) by minus the gradient of the loss, divided by exp(log_scale), in place.

        Return log_scale (...), and a as in `ceflow.losses.full_residual`. Units are those of reduction "sum"."""
        if self.plain:
            return full_residual(self.objective.loss, Z, self._labels, self.xp)
        if self._targets_there is not None:
            Z -= self._targets_there
            Z *= -self._weights
            return 0.0 * Z[..., 0, 0], NO_ODDS
        found = full_residual(
            self.objective.loss, self.adjusted(Z), self._labels, self.xp, self._columns, self._log_weights
        )
        if self._scale is not None:
            Z *= self._scale
        return found

    # -- terms of the layers ---------------------------------------------------------------------------------------

    def check_start(self, W: Any, X: Any) -> None:
        """Raise a ValueError if a term has no gradient at the start."""
        for term, constants in self.others:
            term.check_start(W, X, *constants)

    def values_of_others(self, W: Any, X: Any) -> Any:
        """(...) sum of all terms at a classifier and its features."""
        return sum(term.value(W, X, *constants, xp=self.xp) for term, constants in self.others)

    def gradients_of_others(self, W: Any, X: Any) -> tuple[Any, Any]:
        """Gradients of the sum of all terms in both arguments."""
        found = [term.gradient(W, X, *constants, xp=self.xp) for term, constants in self.others]
        in_W, in_X = map(sum, zip(*found, strict=True))
        return in_W, in_X

    def rate_of_others(self, W: Any, X: Any) -> Any:
        """(...) approximate relaxation rate of the terms, if they have one."""
        return sum(term.rate(W, X, *constants, xp=self.xp) for term, constants in self.others)

    # -- functions of logits on the host -------------------------------------------------------------------------------

    def margins(self, Z: np.ndarray) -> np.ndarray:
        """Margins (..., N, K - 1) of logits (..., K, N), for each sample over the other classes in order."""
        Z = Z.swapaxes(-1, -2)
        wrong = self.labels[:, None] != np.arange(self.classes)
        right = Z[..., np.arange(len(self.labels)), self.labels]
        return (right[..., None] - Z)[..., wrong].reshape(*Z.shape[:-1], self.classes - 1)

    @property
    def trained(self) -> np.ndarray:
        """(N,) number of trained samples of each column; all samples if only terms are trained."""
        return np.where(self.weights > 0.0, self.samples, 0.0) if np.any(self.weights) else self.samples

    def log_mean(self, logarithms: np.ndarray) -> np.ndarray:
        """(...) logarithm of the mean over the trained samples of the exponentials of (..., N)."""
        counts = None if self.plain else self.trained
        return log_sum(logarithms, counts) - math.log(self.classes if counts is None else counts.sum())

    def log_loss(self, Z: np.ndarray) -> np.ndarray:
        """(...) logarithm of the loss of all columns, with reduction "sum"."""
        if self.targets is not None:
            with np.errstate(divide="ignore"):
                values = np.log(0.5 * ((Z - self.targets) ** 2).sum(axis=-2))
        else:
            Z = Z if self.plain else self.adjusted(Z.copy())
            values = self.objective.loss.log_value(self.margins(Z), mean=Z.mean(axis=-2))
        return log_sum(values, None if self.plain else self.samples * self.weights)
