"""An objective on so many classes: what its loss and its gradient are made of, on arrays of any library."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import scipy

from .._arrays import Arrays
from ..losses import NO_ODDS, SquaredError, full_residual
from .objective import Objective

HOST = Arrays("numpy", None, "float64")


class Terms:
    """The loss of all columns of the logits.

    Attributes
    ----------
    labels : (N,) ints
        Classes of the columns.
    samples, weights : (N,) arrays
        How many samples a column stands for, and the weight of each, before the reduction.
    targets : (n, N) or (B, n, N) array, or None
        What the columns of the output shall be, where they are not those of the plain loss.
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
        """A number for each row of the logits, as (K, 1); None where it is as usual."""
        if np.all(np.equal(value, usual)):
            return None
        return arrays.asarray(np.broadcast_to(np.array(value, float), self.classes)[:, None])

    @property
    def counterforce(self) -> float:
        """Size of the constant part of the forces, that of one sample of every class for 1."""
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
        """Logits as the loss sees them, in place."""
        if self._scale is not None:
            Z *= self._scale
        if self._shift is not None:
            Z += self._shift
        return Z

    def residual(self, Z: Any) -> tuple[Any, Any]:
        """Turns logits (..., K, N) into minus the gradient of the loss of all columns in them, in place, over the
        exponential of what is returned first, (...); beside it a, as of `ceflow.losses.full_residual`. In the units
        of "sum"."""
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

    # -- what depends on the layers --------------------------------------------------------------------------------

    def check_start(self, W: Any, X: Any) -> None:
        """A ValueError where a term has no gradient."""
        for term, constants in self.others:
            term.check_start(W, X, *constants)

    def values_of_others(self, W: Any, X: Any) -> Any:
        """(...) the sum of all terms, of the classifier and the features that it sees."""
        return sum(term.value(W, X, *constants, xp=self.xp) for term, constants in self.others)

    def gradients_of_others(self, W: Any, X: Any) -> tuple[Any, Any]:
        """Its gradient in both."""
        found = [term.gradient(W, X, *constants, xp=self.xp) for term, constants in self.others]
        in_W, in_X = map(sum, zip(*found, strict=True))
        return in_W, in_X

    def rate_of_others(self, W: Any, X: Any) -> Any:
        """(...) about how fast they come to rest, where they do."""
        return sum(term.rate(W, X, *constants, xp=self.xp) for term, constants in self.others)

    # -- of logits on the host -----------------------------------------------------------------------------------------

    def margins(self, Z: np.ndarray) -> np.ndarray:
        """Margins (..., N, K - 1) of logits (..., K, N), sample by sample, over the other classes in their order."""
        Z = Z.swapaxes(-1, -2)
        wrong = self.labels[:, None] != np.arange(self.classes)
        right = Z[..., np.arange(len(self.labels)), self.labels]
        return (right[..., None] - Z)[..., wrong].reshape(*Z.shape[:-1], self.classes - 1)

    @property
    def trained(self) -> np.ndarray:
        """(N,) how many trained samples a column stands for; all of them where only terms train."""
        return np.where(self.weights > 0.0, self.samples, 0.0) if np.any(self.weights) else self.samples

    def log_mean(self, logarithms: np.ndarray) -> np.ndarray:
        """(...) logarithm of the mean of exponentials (..., N) over the trained samples."""
        counts = None if self.plain else self.trained
        return log_sum(logarithms, counts) - math.log(self.classes if counts is None else counts.sum())

    def log_loss(self, Z: np.ndarray) -> np.ndarray:
        """(...) logarithm of the loss of all columns, in the units of "sum"."""
        if self.targets is not None:
            with np.errstate(divide="ignore"):
                values = np.log(0.5 * ((Z - self.targets) ** 2).sum(axis=-2))
        else:
            Z = Z if self.plain else self.adjusted(Z.copy())
            values = self.objective.loss.log_value(self.margins(Z), mean=Z.mean(axis=-2))
        return log_sum(values, None if self.plain else self.samples * self.weights)


def log_sum(logarithms: np.ndarray, weights: np.ndarray | None = None) -> np.ndarray:
    """``log(sum(weights exp(x)))`` over the last axis."""
    return scipy.special.logsumexp(logarithms, axis=-1, b=weights)
