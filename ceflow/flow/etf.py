"""Flows of features whose classifier is the nearest simplex ETF, fixed, or free."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Literal, cast

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .._checks import checked_array, checked_choice, checked_integer, checked_number
from ..collapse import nearest_etf, simplex_etf
from ..losses import Loss, as_loss
from ._flow import Flow, RunT
from .etf_field import ETFField, ReducedETFField
from .objective import Objective
from .rest import Rest
from .stacked_field import StackedETFField, StackedReducedETFField
from .terms import HOST

if TYPE_CHECKING:
    from ..trajectory import ETFTrajectory, ReducedETFTrajectory  # noqa: F401  # in quotes
    from ._options import Reduction

CLASSIFIERS = ("nearest", "fixed", "free")
LARGEST = 1e6  # entries of a start
_NAMED = ("flow", "classifier")  # shown separately in a repr
SYMMETRIC = 1e-12  # relative tolerance of the tests for symmetric matrices and for ETFs


class _ComputedFlow(Flow[RunT]):
    """Base class of the flows of this file."""

    dtype, arrays = "float64", HOST

    def __init__(self, classifier: str, argmin_gradient: bool, objective: Objective) -> None:
        self.classifier = classifier
        if not isinstance(argmin_gradient, (bool, np.bool_)):
            raise TypeError(f"argmin_gradient must be True or False, got {argmin_gradient!r}")
        self.argmin_gradient = bool(argmin_gradient)
        if self.argmin_gradient and classifier != "nearest":
            raise ValueError(f'argmin_gradient needs the classifier "nearest", got {classifier!r}')
        super().__init__(objective)

    def __repr__(self) -> str:
        options = self.spec | {"loss": repr(str(self.loss)), "reduction": repr(self.reduction)}
        if options.get("labels"):
            options["labels"] = f"<{len(options['labels'])} values>"
        text = "".join(f", {name}={value}" for name, value in options.items() if name not in _NAMED and value)
        return f"{type(self).__name__}({self.classifier!r}{text})"

    @property
    def spec(self) -> dict[str, Any]:
        own = {"classifier": self.classifier, "argmin_gradient": self.argmin_gradient}
        return {"flow": self.kind, "loss": self.loss.spec, "reduction": self.reduction} | own

    def segment(self, kind: str, start: Any, y: np.ndarray, log_t: float) -> Rest:
        """Closed form "rest" from the state y on."""
        if kind != Rest.kind:
            raise ValueError(f"this flow has no closed form {kind!r}")
        return Rest(y, log_t)


class ETFFlow(_ComputedFlow["ETFTrajectory"]):
    """Gradient flow of features H (d, N) whose classifier is the simplex ETF nearest to them at each time.

    The classifier may also be fixed, or free. Features may be constrained to a sphere.

    Parameters
    ----------
    classifier : {"nearest", "fixed", "free"}
        "nearest": ``W = sqrt(K/(K-1)) J P^T`` of `ceflow.collapse.nearest_etf`. "fixed": the W of the start. Both have
        the bias ``-W mu``, where mu is the mean of the class means. "free": W is trained too, without a bias.
    argmin_gradient : bool
        Whether to differentiate through the nearest ETF. If so, this is gradient flow of the loss as a function of H;
        else W is treated as a constant in the gradient.
    radius : float, optional
        Norm of all features; rows of a free W have norm 1. The flow is projected to these spheres.
    loss, reduction, labels
        See `Objective`.

    Raises
    ------
    ValueError, TypeError
        If an argument is invalid.

    Notes
    -----
    A start is (W, H), or H alone; then a fixed W is ``collapse.simplex_etf(K, d)``. A free W must be given. With the
    nearest ETF, a given W is ignored. With a radius, vectors are scaled to their norm first.

    Markou, Ajanthan & Gould, arXiv:2411.01248, for the nearest ETF, features on spheres and the bias. In the paper mu
    and the class means are moving averages over batches; here they are over all samples. The paper takes steps of
    accelerated gradient descent; this is a flow, in which the paper's proximal term vanishes. Without a radius and with
    one column per class, `ReducedETFFlow` is the same flow on (K-1) x (K-1) matrices.

    If the class means become linearly dependent, the nearest ETF jumps and the run stops.

    Examples
    --------
    >>> W, H = cf.random_init(classes=3, width=3, scale=0.1, rng=0)
    >>> run = cf.integrate(cf.ETFFlow("nearest"), H, 20.0, rtol=1e-6)
    >>> [f"{nc2:.3f}" for nc2 in run.collapse.nc2[[0, -1]]]
    ['0.541', '0.004']
    """

    kind = "etf"

    def __init__(
        self,
        classifier: Literal["nearest", "fixed", "free"] = "nearest",
        *,
        argmin_gradient: bool = False,
        radius: float | None = None,
        loss: str | Loss = "cross_entropy",
        reduction: Reduction = "mean",
        labels: ArrayLike | None = None,
    ) -> None:
        self.radius = None if radius is None else checked_number("radius", radius, 1e-6, LARGEST)
        frozen = ("b",) if checked_choice("classifier", classifier, CLASSIFIERS) == "free" else ("W", "b")
        objective = Objective(as_loss(loss), reduction=reduction, labels=labels, bias=True, frozen=frozen)
        super().__init__(classifier, argmin_gradient, objective)

    @property
    def spec(self) -> dict[str, Any]:
        labels = self.objective.labels
        return super().spec | {"radius": self.radius, "labels": None if labels is None else list(labels)}

    def start(self, start: Any) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Check a start: (W, H), or H alone; see the notes of the class."""
        pair = isinstance(start, (tuple, list)) and len(start) == 2 and np.ndim(start[1]) == 2
        W, H = start if pair else (None, start)
        H = checked_array("H", H, -LARGEST, LARGEST)
        if H.ndim != 2 or not np.any(H):
            raise ValueError(f"a start is (W, H), or H (d, N) with a nonzero entry; got H of shape {H.shape}")
        if self.radius is not None:
            H = self.radius * _unit("H", "column", H, axis=0)
        W = self._classifier(W, H)
        if W.ndim != 2 or len(W) < 2 or W.shape[1] != len(H):
            raise ValueError(f"W must be (K, {len(H)}) with K >= 2, as H has {len(H)} rows, got {W.shape}")
        self.objective.check_classes(len(W))
        if H.shape[1] != self.objective.columns(len(W)):
            raise ValueError(f"H must have {self.objective.columns(len(W))} columns, got {H.shape[1]}")
        if len(set(self.objective.labels_of(len(W)).tolist())) < len(W):
            raise ValueError("every class must have a column of H")
        if self.radius is not None and self.classifier == "free":
            W = _unit("W", "row", W, axis=1)
        return W, H

    def _classifier(self, W: ArrayLike | None, H: NDArray) -> NDArray[np.float64]:
        """Classifier of a start."""
        if self.classifier == "nearest":
            found = nearest_etf(H, self.objective.labels)
            if not found.unique:
                raise ValueError("the nearest ETF of H must be unique: its class means are linearly dependent")
            return found.W
        if W is not None:
            return checked_array("W", W, -LARGEST, LARGEST)
        if self.classifier == "free":
            raise TypeError('the start of a flow with the classifier "free" must be (W, H), got H alone')
        labels = self.objective.labels
        return simplex_etf(H.shape[1] if labels is None else max(labels) + 1, len(H))

    def origin(self, start: tuple[NDArray, NDArray]) -> NDArray[np.float64]:
        """Coordinates of the start: entries of the factors that move."""
        return np.concatenate([part.ravel() for part in (start if self.classifier == "free" else start[1:])])

    def parts(self, start: tuple[NDArray, NDArray], y: NDArray) -> tuple[NDArray[np.float64], ...]:
        """W (n, K, d), H (n, d, N) and the bias (n, K) at coordinates (n, N)."""
        W, H = (np.broadcast_to(part, (len(y), *part.shape)) for part in start)
        H = y[:, y.shape[1] - start[1].size :].reshape(H.shape)
        if self.classifier == "free":
            return y[:, : start[0].size].reshape(W.shape), H, np.zeros(W.shape[:2])
        if self.classifier == "nearest" and len(y):
            W = nearest_etf(H, self.objective.labels).W
        labels = self.objective.labels_of(W.shape[1])
        mean = H @ (1.0 / (W.shape[1] * np.bincount(labels)[labels]))
        return W, H, -(W @ mean[..., None])[..., 0]

    def state(self, start: tuple[NDArray, NDArray], y: NDArray) -> tuple[NDArray, NDArray]:
        """W and H at the coordinates y."""
        return tuple(part[0] for part in self.parts(start, y[None])[:2])

    def motion(self, start, y, log_t, rtol, atol=0.0, closed_form=True) -> ETFField:
        """The vector field."""
        return ETFField(self, start)

    def stacked(self, start: tuple[NDArray, NDArray], members: int) -> StackedETFField:
        """Field of up to `members` runs from starts that are `alike`, each with its own clock."""
        return StackedETFField(members, self, start)

    def alike(self, start: tuple[NDArray, NDArray]) -> Any:
        """Key of the starts that one stack can hold."""
        W, H = start
        return W.shape, H.shape, W.tobytes() if self.classifier == "fixed" else b""


class ReducedETFFlow(_ComputedFlow["ReducedETFTrajectory"]):
    """`ETFFlow` reduced to the matrix X (K-1, K-1) of ``Z = c B X B^T``; no symmetry is needed. [ceflow]

    ``c = sqrt(K/(K-1))``, and B is Helmert's orthonormal basis (K, K-1) of the vectors of mean 0.

    With the nearest ETF, ``B X B^T = (J H^T H J)^(1/2)`` is symmetric and independent of width and orientation. With a
    fixed ETF, X is any matrix and ``dZ/dt = c^2 J G J``, the flow of a convex loss on the logits.

    Parameters
    ----------
    classifier : {"nearest", "fixed"}
    argmin_gradient : bool
        See `ETFFlow`. In an eigenbasis of X with eigenvalues s_i it multiplies the symmetric part of the force by ``2
        (s_i^2 + s_j^2)/(s_i + s_j)^2`` (between 1 and 2 off the diagonal) and removes the antisymmetric part. This
        changes the rotation of the eigenvectors, and not the velocities of the eigenvalues.
    loss, reduction
        See `Objective`.

    Raises
    ------
    ValueError, TypeError
        If an argument is invalid.

    Notes
    -----
    A start is X, which must be symmetric and positive definite for the nearest ETF; `project` gives X from (W, H), and
    `lift` gives full matrices. The logits are those of the full run. With the nearest ETF so is every
    rotation-invariant measure, such as NC2 and NC3. With a fixed ETF, the components of features outside its span are
    constant; they are not part of X. Proved in the derivation `nearest_etf`.

    Examples
    --------
    >>> run = cf.integrate(cf.ReducedETFFlow(), 0.1 * np.diag([1.0, 2.0]), 10.0, rtol=1e-6)
    >>> run.singular_values[-1].round(4)
    array([2.4763, 2.4359, 0.    ])
    """

    kind = "reduced_etf"

    def __init__(
        self,
        classifier: Literal["nearest", "fixed"] = "nearest",
        *,
        argmin_gradient: bool = False,
        loss: str | Loss = "cross_entropy",
        reduction: Reduction = "mean",
    ) -> None:
        checked_choice("classifier", classifier, CLASSIFIERS[:2])
        objective = Objective(as_loss(loss), reduction=reduction, bias=True, frozen=("W", "b"))
        super().__init__(classifier, argmin_gradient, objective)

    @staticmethod
    def basis(classes: int) -> NDArray[np.float64]:
        """B (K, K-1), with orthonormal columns of mean 0."""
        return simplex_etf(classes) * math.sqrt(1.0 - 1.0 / classes)

    def start(self, start: ArrayLike) -> NDArray[np.float64]:
        """Check a start: X (K-1, K-1)."""
        X = checked_array("X", start, -LARGEST, LARGEST)
        if X.ndim != 2 or X.shape[0] != X.shape[1] or not np.any(X):
            raise ValueError(f"X must be (K-1, K-1) and not 0 (project gives X from (W, H)); got shape {X.shape}")
        if self.classifier == "nearest":
            if np.abs(X - X.T).max() > SYMMETRIC * np.abs(X).max():
                raise ValueError("X must be symmetric with the nearest ETF")
            X = 0.5 * (X + X.T)
            values = np.linalg.eigvalsh(X)
            if values[0] <= SYMMETRIC * values[-1]:
                raise ValueError(f"X must be positive definite with the nearest ETF, got eigenvalues {values}")
        return X

    def origin(self, start: NDArray) -> NDArray[np.float64]:
        """Coordinates of the start."""
        return start.ravel()

    def state(self, start: NDArray, y: NDArray) -> NDArray[np.float64]:
        """X at the coordinates y."""
        X = y.reshape(start.shape)
        return 0.5 * (X + X.T) if self.classifier == "nearest" else X

    def layers_at(self, start: NDArray, y: NDArray) -> NDArray[np.float64]:
        """X (n, K-1, K-1) at coordinates (n, N); `lift` accepts them as `rows`."""
        return y.reshape(len(y), *start.shape)

    def parts(self, start: NDArray, y: NDArray) -> tuple[NDArray[np.float64], ...]:
        """c B (n, K, K-1), X B^T (n, K-1, K) and the bias 0."""
        basis, X = self.basis(len(start) + 1), self.layers_at(start, y)
        W = basis * math.sqrt(len(basis) / (len(basis) - 1.0))
        return np.broadcast_to(W, (len(y), *W.shape)), X @ basis.T, np.zeros((len(y), len(W)))

    def motion(self, start, y, log_t, rtol, atol=0.0, closed_form=True) -> ReducedETFField:
        """The vector field."""
        return ReducedETFField(self, start)

    def stacked(self, start: NDArray, members: int) -> StackedReducedETFField:
        """Field of up to `members` runs from starts of this shape, each with its own clock."""
        return StackedReducedETFField(members, self, start)

    def alike(self, start: NDArray) -> Any:
        """Key of the starts that one stack can hold."""
        return start.shape

    # -- between X and matrices ----------------------------------------------------------------------------------------

    def full(self) -> ETFFlow:
        """Flow of features whose reduction this is."""
        return ETFFlow(
            cast(Any, self.classifier), argmin_gradient=self.argmin_gradient, loss=self.loss, reduction=self.reduction
        )

    def lift(
        self,
        start: ArrayLike,
        *,
        width: int | None = None,
        rng: np.random.Generator | int | None = 0,
        rows: NDArray | None = None,
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Full matrices ``W = c B O^T`` (K, d) and ``H = O X B^T`` (d, K), with orthonormal columns of O.

        Parameters
        ----------
        start : (K-1, K-1) array
        width : int, optional
            Feature dimension d >= K - 1; default K.
        rng : int or numpy Generator
            Seed or generator of O.
        rows : (n, K-1, K-1) array, optional
            Replaces the start. All n use the same O, and the matrices get a leading axis n.

        Examples
        --------
        >>> flow = cf.ReducedETFFlow()
        >>> W, H, *_ = flow.lift(0.1 * np.diag([1.0, 2.0]))
        >>> W.shape, H.shape
        ((3, 3), (3, 3))
        """
        X = self.start(start)
        classes = len(X) + 1
        width = classes if width is None else checked_integer("width", width, classes - 1)
        W = simplex_etf(classes, width, np.random.default_rng(rng))
        rows = X if rows is None else rows
        turned = W.T @ self.basis(classes) * math.sqrt(1.0 - 1.0 / classes)  # O
        H = turned @ rows @ self.basis(classes).T
        return np.broadcast_to(W, (*rows.shape[:-2], *W.shape)), H

    def project(self, W: ArrayLike | None, H: ArrayLike, bias: ArrayLike | None = None) -> tuple[NDArray, float]:
        """Project full matrices to X, and measure their distance from the assumption of the reduction.

        Parameters
        ----------
        W : (K, d) array, optional
            Default the nearest ETF.
        H : (d, K) array
            Features, one column per class.
        bias : (K,) array, optional
            Ignored: the mean of all features is subtracted.

        Returns
        -------
        X : (K-1, K-1) array
        off : float
            Relative distance of W from the nearest ETF; for a fixed W, of ``W W^T`` from the Gram matrix of an ETF.
        """
        H = checked_array("H", H, -LARGEST, LARGEST)
        if H.ndim != 2 or H.shape[1] < 2:
            raise ValueError(f"H must be (d, K), one column per class, K >= 2, got {H.shape}")
        classes, basis = H.shape[1], self.basis(H.shape[1])
        if W is None and self.classifier == "fixed":
            raise TypeError("W must be given for a fixed ETF")
        if W is not None:
            W = checked_array("W", W, -LARGEST, LARGEST)
            if W.shape != H.T.shape:
                raise ValueError(f"W must have shape {H.T.shape}, as H has {H.shape}, got {W.shape}")
        if self.classifier == "nearest":
            expected = nearest_etf(H).W
            _, s, right = np.linalg.svd(H @ basis, full_matrices=False)
            off = 0.0 if W is None else float(np.linalg.norm(W - expected) / np.linalg.norm(expected))
            return self.start((right.T * s) @ right), off
        square = classes / (classes - 1.0)
        assert W is not None  # for a fixed ETF
        off = np.linalg.norm(W @ W.T - square * basis @ basis.T) / (square * math.sqrt(classes - 1.0))
        return self.start(basis.T @ W @ H @ basis / math.sqrt(square)), float(off)


def _unit(name: str, vector: str, vectors: NDArray, axis: int) -> NDArray[np.float64]:
    norms = np.linalg.norm(vectors, axis=axis, keepdims=True)
    if not norms.all():
        raise ValueError(f"{name} must not have a {vector} of zeros: it has no direction on the sphere")
    return vectors / norms
