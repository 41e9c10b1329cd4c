"""Fixed classifiers with several rows (centres) for each class."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .._checks import checked_array, checked_choice, checked_integer, checked_number
from ..collapse import GaussianAccuracy, gaussian_accuracy, simplex_etf
from ..terms import CentreCosine, CentreSquaredCosine, CentreSquaredError
from ..theory import checked_counts
from .matrix import MatrixFlow

AXES = ("orthonormal", "simplex")
LOSSES = {"squared_error": CentreSquaredError, "cosine": CentreCosine, "squared_cosine": CentreSquaredCosine}
LINEAR_RULES = ("sum", "mean", "axis", "nearest mean")
RULES = (*LINEAR_RULES, "max")


class Centres:
    """A fixed classifier with f_i centres for class i: unit rows ``w_ij = cos(angle) v_ij + sin(angle) w_i``.

    Parameters
    ----------
    counts : (K,) ints
        Number f_i >= 1 of centres of each class; K >= 2.
    angle : float
        From 0 to pi/2. Centres of a class have the inner product sin^2(angle).
    axes : {"orthonormal", "simplex"}
        "orthonormal": the w_i are orthonormal, so centres of different classes are orthogonal, and `ceflow.theory` has
        exact solutions. "simplex": the w_i are unit rows of a simplex equiangular tight frame, with inner products
        -1/(K-1). All v_ij are orthonormal, and orthogonal to all w_i.
    width : int, optional
        Feature dimension d; default the smallest possible, sum_i f_i + K (K - 1 in place of K for the simplex).
    rng : int or numpy Generator, optional
        Rotates all vectors by a random orthogonal matrix; by default the v_ij are coordinate axes.

    Attributes
    ----------
    counts, angle
        As given.
    W : (n, d) array
        The centres, class by class.
    owners : (n,) ints
        Class of each centre.
    axes : (K, d) array
        The vectors w_i.
    means : (K, d) array
        Unit vectors along the mean of the centres of each class; the features of the class converge to this direction.

    Raises
    ------
    ValueError, TypeError
        If an argument is invalid.

    Notes
    -----
    Our model [ceflow] of *Neural Collapse To Multiple Centers For Imbalanced Data* (NeurIPS 2024), of which we read
    only the abstract. It has angle = 0.2 and f = 20.

    Examples
    --------
    >>> centres = cf.Centres((1, 4), angle=0.5)  # four centres for the rare class
    >>> centres.W.shape, centres.owners
    ((5, 7), array([0, 1, 1, 1, 1]))
    """

    def __init__(
        self,
        counts: ArrayLike,
        angle: float = 0.2,
        *,
        axes: str = "orthonormal",
        width: int | None = None,
        rng: np.random.Generator | int | None = None,
    ) -> None:
        self.counts, self.angle = checked_counts(counts), checked_number("angle", angle, 0.0, math.pi / 2)
        if self.counts.ndim != 1 or len(self.counts) < 2:
            raise ValueError(f"counts must be (K,) with K >= 2, got shape {self.counts.shape}")
        checked_choice("axes", axes, AXES)
        K, n = len(self.counts), int(self.counts.sum())
        common = np.eye(K) if axes == "orthonormal" else simplex_etf(K)
        least = n + common.shape[1]
        width = least if width is None else checked_integer("width", width, least)
        basis = np.eye(width) if rng is None else _orthogonal(width, rng)
        self.owners = np.repeat(np.arange(K), self.counts)
        self.axes = common @ basis[n:least]
        self.W = math.cos(self.angle) * basis[:n] + math.sin(self.angle) * self.axes[self.owners]
        self._sums = np.equal.outer(np.arange(K), self.owners) @ self.W
        self.means = self._sums / np.linalg.norm(self._sums, axis=1, keepdims=True)

    def __repr__(self) -> str:
        return f"<Centres of {len(self.counts)} classes: {self.counts.tolist()} of width {self.W.shape[1]}>"

    def flow(
        self,
        loss: str = "squared_error",
        *,
        beta: float = 1.0,
        weight_decay: float = 0.0,
        labels: ArrayLike | None = None,
        **options: Any,
    ) -> MatrixFlow:
        """Flow of features with these fixed rows; its starts are ``(centres.W, H)``.

        Parameters
        ----------
        loss : {"squared_error", "cosine", "squared_cosine"}
            See `ceflow.terms`; summed over samples.
        beta : float
            Weight of the rows of other classes; not used by "cosine".
        weight_decay : float
            Weight decay of the features.
        labels : (N,) ints, optional
            Class of each column of H; by default column c has class c.
        **options
            Options of `ceflow.MatrixFlow`: backend, device, dtype, samples.

        Returns
        -------
        MatrixFlow
            Time has the unit of reduction "sum". The recorded `loss` is 0; the `objective` is descended.

        Examples
        --------
        >>> centres = cf.Centres((1, 4), angle=0.5)
        >>> run = cf.integrate(centres.flow(weight_decay=0.1), (centres.W, 0.1 * centres.axes.T), 30.0, rtol=1e-6)
        >>> np.linalg.norm(run.factors[-1][-1], axis=0).round(4)
        array([0.9091, 1.4527])
        >>> cf.theory.centre_optimum([1, 4], 0.5, weight_decay=0.1).norm.round(4)
        array([0.9091, 1.4527])
        """
        kind = LOSSES[checked_choice("loss", loss, LOSSES)]
        labels = None if labels is None else tuple(np.asarray(labels).tolist())
        columns = len(self.counts) if labels is None else len(labels)
        others = {} if loss == "cosine" else {"beta": beta}
        term = kind(tuple(self.owners.tolist()), labels, **others)
        return MatrixFlow(
            loss="squared_error", targets=np.zeros((len(self.W), columns)), weights=0.0, reduction="sum",
            frozen=("W",), weight_decay=(0.0, weight_decay), terms=(term,), **options,
        )  # fmt: skip

    # -- decisions -----------------------------------------------------------------------------------------------------

    def classifier(self, rule: str = "sum") -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Rows (K, d) and bias (K,) of the linear classifier of a rule; see `decide`.

        Examples
        --------
        >>> W, b = cf.Centres((1, 4), angle=0.5).classifier("sum")
        >>> np.linalg.norm(W, axis=1).round(4)
        array([1.    , 2.5997])
        """
        checked_choice("rule", rule, LINEAR_RULES)
        bias = np.zeros(len(self.counts))
        if rule == "axis":
            return self.axes, bias
        if rule == "nearest mean":
            return self.means, bias  # means have unit norm
        return (self._sums if rule == "sum" else self._sums / self.counts[:, None]), bias

    def decide(self, X: ArrayLike, rule: str = "sum") -> NDArray[np.int64]:
        """Classify features.

        Parameters
        ----------
        X : (..., d, N) array
            Features, one column per sample.
        rule : {"sum", "mean", "axis", "nearest mean", "max"}
            Decide for the class with the largest sum of logits over its centres, the largest mean of these logits, the
            largest ``w_i.x``, the nearest mean of centres (scaled to norm 1), or the largest logit of a single centre.
            We do not know which rule the paper uses.

        Returns
        -------
        (..., N) ints

        Examples
        --------
        >>> centres = cf.Centres((1, 4), angle=0.5)
        >>> centres.decide(centres.means.T), centres.decide((centres.means[0] + 0.8 * centres.means[1])[:, None])
        (array([0, 1]), array([1]))
        """
        X = checked_array("X", X, -1e150, 1e150)
        if checked_choice("rule", rule, RULES) != "max":
            rows, bias = self.classifier(rule)
            return (rows @ X + bias[:, None]).argmax(axis=-2)
        return self.owners[(self.W @ X).argmax(axis=-2)]

    def accuracy(
        self,
        deviations: ArrayLike,
        rule: str = "sum",
        *,
        features: ArrayLike | None = None,
        samples: int = 10_000,
        rng: np.random.Generator | int = 0,
    ) -> GaussianAccuracy:
        """Accuracy on features with Gaussian noise.

        Parameters
        ----------
        deviations : float or (K,) array
            Standard deviation of the noise of each class, in every direction.
        rule : str
            See `decide`. The rule "max" is not linear: its errors are counted, so small error rates need many samples.
        features : (d, K) array, optional
            Noise-free features of the classes; default `means`.
        samples : int
            Number of samples per class.
        rng : int or numpy Generator

        Returns
        -------
        ceflow.collapse.GaussianAccuracy

        Examples
        --------
        >>> found = cf.Centres((1, 4), angle=0.5).accuracy(0.3)
        >>> found.errors.round(4)  # the class with more centres has fewer
        array([0.1157, 0.0009])
        """
        deviations = checked_array("deviations", deviations, 1e-150, 1e75)
        H = self.means.T if features is None else checked_array("features", features, -1e150, 1e150)
        if checked_choice("rule", rule, RULES) != "max":
            W, bias = self.classifier(rule)
            return gaussian_accuracy(W, H, deviations**2, bias=bias, samples=samples, rng=rng)
        K, rng = len(self.counts), np.random.default_rng(rng)
        samples, sigma = checked_integer("samples", samples, 2), np.broadcast_to(deviations, K)
        errors = np.array(
            [
                (self.decide(H[:, [k]] + sigma[k] * rng.standard_normal((len(H), samples)), rule) != k).mean()
                for k in range(K)
            ]
        )
        each = np.sqrt(errors * (1.0 - errors) / (samples - 1))
        error = float(errors.mean())
        return GaussianAccuracy(1.0 - error, error, float(np.linalg.norm(each)) / K, errors, each)


def _orthogonal(width: int, rng: np.random.Generator | int) -> NDArray[np.float64]:
    """Uniformly random orthogonal matrix (d, d)."""
    q, r = np.linalg.qr(np.random.default_rng(rng).standard_normal((width, width)))
    return q * np.sign(np.diag(r))
