"""Neural-collapse measures of features that arrive in batches, in one pass.

Class means are updated as by Chan, Golub & LeVeque (*Algorithms for computing the sample variance*, The American
Statistician 37, 1983): the scatter of a batch is computed about its own mean, and merging two parts with means m, m'
and n, n' samples adds ``n n' / (n + n') (m - m')(m - m')^T``. The scatter is stored as a triangular factor R with ``R^T
R``, updated by QR [ceflow]. So directions of small variability keep their digits, as NC1 needs, which depends on the
directions of the class means only.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import scipy
from numpy.typing import ArrayLike, NDArray

from .._checks import checked_array, checked_choice, checked_integer, on_host
from ._measures import Measures, decisions, from_means
from ._state import LIMIT, checked_bias, scaled, scales_of_logits

LARGEST = 1e140  # entries of features: sums of squares over all samples do not overflow


class Accumulator:
    """Class means and within-class scatter of features in batches, for `measures` of a whole data set.

    Parameters
    ----------
    classes : int
        K >= 2.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> batches = [(rng.standard_normal((50, 8)), rng.integers(0, 3, 50)) for _ in range(20)]
    >>> seen = cf.collapse.Accumulator(3)
    >>> for features, labels in batches:  # of PyTorch: model.features(x), y
    ...     seen.add(features, labels)
    >>> int(seen.class_counts.sum())
    1000
    >>> W = rng.standard_normal((3, 8))
    >>> found = seen.measures(W, batches=batches)
    >>> whole = cf.collapse.measures(W, *(np.concatenate(part).T for part in zip(*batches)))
    >>> bool(abs(found.nc1 / whole.nc1 - 1) < 1e-12)
    True
    """

    def __init__(self, classes: int) -> None:
        self.classes = checked_integer("classes", classes, 2)
        self._counts = np.zeros(self.classes, np.int64)
        self._means = np.zeros((0, self.classes))
        self._squares = np.zeros(self.classes)
        self._rows: list[NDArray] = []  # the scatter is the sum of row^T row over these rows

    def __repr__(self) -> str:
        return f"<Accumulator of {self._counts.sum()} samples of {self.classes} classes, width {len(self._means)}>"

    @property
    def class_counts(self) -> NDArray[np.int64]:
        """(K,) number of samples of each class so far."""
        return self._counts.copy()

    @property
    def means(self) -> NDArray[np.float64]:
        """(d, K) class means; 0 for a class without samples."""
        return self._means.copy()

    @property
    def within(self) -> NDArray[np.float64]:
        """(d, d) within-class covariance S_W, averaged over all samples."""
        R = self._factor()
        return R.T @ R / max(self._counts.sum(), 1)

    def add(self, features: ArrayLike, labels: ArrayLike) -> None:
        """Add a batch.

        Parameters
        ----------
        features : (n, d) array
            Features, one row per sample as in PyTorch (`measures` has columns), with entries up to 1e140. Any floating
            type; sums are in float64.
        labels : (n,) array of integers
            Classes from 0 to K - 1; a class may be missing.

        Raises
        ------
        TypeError, ValueError
            If an argument is invalid, or the width differs from the batches before. The batch is then not added.
        """
        X, labels = self._checked(features, labels)
        one_hot = labels[:, None] == np.arange(self.classes)
        counts = one_hot.sum(axis=0)
        means = X.T @ (one_hot / np.maximum(counts, 1))
        noise = X - means.T[labels]
        self._fold(counts, means, (noise**2).sum(axis=1) @ one_hot, noise)

    def merge(self, other: Accumulator) -> None:
        """Add all samples of another `Accumulator`, for example from another process.

        Raises
        ------
        TypeError, ValueError
            If `other` is not an Accumulator, or has another number of classes or width.
        """
        if not isinstance(other, Accumulator):
            raise TypeError(f"merge takes an Accumulator, got {type(other).__name__}")
        if other.classes != self.classes:
            raise ValueError(f"the other Accumulator must have {self.classes} classes, got {other.classes}")
        if other._counts.any():
            self._check_width(len(other._means))
            self._fold(other._counts, other._means, other._squares, other._factor())

    def measures(
        self,
        W: ArrayLike,
        bias: ArrayLike | None = None,
        *,
        batches: Iterable[tuple[ArrayLike, ArrayLike]] | None = None,
        centring: str = "class-means",
    ) -> Measures:
        """Compute the measures of `ceflow.collapse.measures` for all samples so far.

        Parameters
        ----------
        W : (K, d) array
            Classifier: weight matrix of the last layer.
        bias : (K,) array, optional
        batches : iterable of pairs, optional
            The same batches again, in any order. `nc4`, `margin` and `normalized_margin` compare each sample with the
            final class means, so they need a second pass; without it they are NaN.
        centring : {"class-means", "samples"}

        Raises
        ------
        TypeError, ValueError
            If an argument is invalid, a class has no samples, or `batches` have other numbers of samples per class.
        """
        W = checked_array("W", W, -LIMIT, LIMIT)
        if not self._counts.all():
            raise ValueError(f"every class must have samples, got none of {np.flatnonzero(self._counts == 0).tolist()}")
        if W.shape != (expected := self._means.shape[::-1]):
            raise ValueError(f"W must have shape {expected}, got {W.shape}")
        bias = None if bias is None else checked_bias(bias, W.shape[:1])
        checked_choice("centring", centring, ("class-means", "samples"))
        W, scale_W = scaled(W)
        stack, size = scaled(np.vstack([self._means.T, self._factor()]))
        means, noise = stack[: self.classes].T, stack[self.classes :].T
        weights = np.ones(self.classes) if centring == "class-means" else self._counts
        centre = np.average(means, axis=1, weights=weights)[:, None]
        logits, samples = scales_of_logits(scale_W * size, bias), int(self._counts.sum())
        nc4, margin = np.nan, np.nan
        if batches is not None:
            disagree, counts, margin = 0, np.zeros(self.classes, np.int64), np.inf
            for features, labels in batches:
                X, labels = self._checked(features, labels)
                differ, margins = decisions(W, X.T / size, labels, logits, means, centre)
                disagree, margin = disagree + differ.sum(), np.minimum(margin, margins.min())
                counts += np.bincount(labels, minlength=self.classes)
            if np.any(counts != self._counts):
                raise ValueError(f"batches must be the added ones, {self._counts} samples of each class, got {counts}")
            nc4 = disagree / samples
        spread = self._squares / self._counts / size**2
        return from_means(W, means, spread, centre, noise, samples, logits, np.float64(nc4), np.float64(margin))

    def _checked(self, features: ArrayLike, labels: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        X, labels = checked_array("features", features, -LARGEST, LARGEST), np.asarray(on_host(labels))
        if X.ndim != 2 or 0 in X.shape:
            raise ValueError(f"features must be (n, d), one row per sample, got shape {X.shape}")
        self._check_width(X.shape[1])
        if labels.dtype.kind not in "iu":
            raise TypeError(f"labels must be integers, got dtype {labels.dtype}")
        if labels.shape != (len(X),) or labels.min() < 0 or labels.max() >= self.classes:
            raise ValueError(f"labels must be {len(X)} integers from 0 to {self.classes - 1}, got {labels}")
        return X, labels.astype(np.int64)

    def _check_width(self, width: int) -> None:
        if len(self._means) not in (0, width):
            raise ValueError(f"features must have the width {len(self._means)} of earlier batches, got {width}")

    def _fold(self, counts: NDArray, means: NDArray, squares: NDArray, rows: NDArray) -> None:
        """Merge samples with these means, and with the scatter rows^T rows about them."""
        if not len(self._means):
            self._means = np.zeros_like(means)
        total = np.maximum(self._counts + counts, 1)
        apart = means - self._means
        between = apart * np.sqrt(self._counts * (counts / total))
        both = (self._counts > 0) & (counts > 0)
        self._means = np.where(counts == total, means, self._means + apart * (counts / total))
        self._counts += counts
        self._squares += squares + (between**2).sum(axis=0)
        self._rows += [rows, between.T[both]]
        if sum(map(len, self._rows)) > 2 * len(self._means) + len(rows):
            self._factor()

    def _factor(self) -> NDArray[np.float64]:
        """Triangular R with scatter R^T R; it then replaces all rows."""
        if not self._rows:
            return np.zeros((0, len(self._means)))
        if len(self._rows) > 1:
            self._rows = [scipy.linalg.qr(np.vstack(self._rows), mode="r", check_finite=False)[0][: len(self._means)]]
        return self._rows[0]
