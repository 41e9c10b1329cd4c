"""Features under a classifier that is computed: the nearest simplex ETF, beside a fixed and a free one."""

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
from .terms import HOST

if TYPE_CHECKING:
    from ..trajectory import ETFTrajectory, ReducedETFTrajectory  # noqa: F401  # in quotes
    from ._options import Reduction

CLASSIFIERS = ("nearest", "fixed", "free")
LARGEST = 1e6  # of entries of a start
_NAMED = ("flow", "classifier")  # what a repr says otherwise
SYMMETRIC = 1e-12  # relative, of what counts as symmetric, or as an ETF


class _ComputedFlow(Flow[RunT]):
    """What the flows of this file share."""

    dtype, arrays = "float64", HOST

    def __init__(self, classifier: str, argmin_gradient: bool, objective: Objective) -> None:
        self.classifier = classifier
        if not isinstance(argmin_gradient, (bool, np.bool_)):
            raise TypeError(f"argmin_gradient must be True or False, got {argmin_gradient!r}")
        self.argmin_gradient = bool(argmin_gradient)
        if self.argmin_gradient and classifier != "nearest":
            raise ValueError(f'argmin_gradient is of the classifier "nearest", got {classifier!r}')
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
        """The closed form of the kind "rest", which holds from the state y on."""
        if kind != Rest.kind:
            raise ValueError(f"this flow has no closed form {kind!r}")
        return Rest(y, log_t)


class ETFFlow(_ComputedFlow["ETFTrajectory"]):
    """Gradient flow of features H (d, N) under the simplex ETF that is nearest to them at every moment.

    Or under a classifier that is fixed, or free; with or without features on spheres.

    Parameters
    ----------
    classifier : {"nearest", "fixed", "free"}
        "nearest": ``W = sqrt(K/(K-1)) J P^T`` of `ceflow.collapse.nearest_etf`. "fixed": the W of the start. Both have
        the bias ``-W mu``, mu the mean of the class means. "free": W moves too, without a bias.
    argmin_gradient : bool
        Whether features also move by the gradient through the nearest ETF, which makes it the gradient flow of the
        loss as a function of H. Without it W is taken as a constant at every moment.
    radius : float, optional
        Keeps all features at this norm, and the rows of a free W at norm 1: the flow is projected to the spheres.
    loss, reduction, labels
        See `Objective`.

    Raises
    ------
    ValueError, TypeError
        If an argument is not acceptable.

    Notes
    -----
    It starts from (W, H), or from H alone: then a fixed W is ``collapse.simplex_etf(K, d)``. A free W must be given,
    and the W given beside the nearest ETF does not count. With a radius all is brought to its norm first.

    Markou, Ajanthan & Gould, arXiv:2411.01248, for the nearest ETF, features on spheres and the bias. There mu and the
    class means are moving averages over batches, here they are those of all samples; there steps are of accelerated
    gradient descent, here there is a flow, in which the proximal term of the paper vanishes. Without a radius, with one
    column a class, `ReducedETFFlow` is the same on (K-1) x (K-1) matrices.

    Where the class means become linearly dependent the nearest ETF jumps, and a run gives up.

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
        """Checks where a run starts: a pair (W, H), or H alone; see the notes of the class."""
        pair = isinstance(start, (tuple, list)) and len(start) == 2 and np.ndim(start[1]) == 2
        W, H = start if pair else (None, start)
        H = checked_array("H", H, -LARGEST, LARGEST)
        if H.ndim != 2 or not np.any(H):
            raise ValueError(f"a start is (W, H), or H (d, N) with an entry that is not 0; got H of shape {H.shape}")
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
        """The classifier of a start."""
        if self.classifier == "nearest":
            found = nearest_etf(H, self.objective.labels)
            if not found.unique:
                raise ValueError("the nearest ETF of H must be unique: its class means are linearly dependent")
            return found.W
        if W is not None:
            return checked_array("W", W, -LARGEST, LARGEST)
        if self.classifier == "free":
            raise TypeError('with the classifier "free" a flow starts from a pair (W, H), got H alone')
        labels = self.objective.labels
        return simplex_etf(H.shape[1] if labels is None else max(labels) + 1, len(H))

    def origin(self, start: tuple[NDArray, NDArray]) -> NDArray[np.float64]:
        """Coordinates of the start: of what moves."""
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


class ReducedETFFlow(_ComputedFlow["ReducedETFTrajectory"]):
    """`ETFFlow` on the matrix X (K-1, K-1) of ``Z = c B X B^T``, from any start: no symmetry is needed. [ceflow]

    ``c = sqrt(K/(K-1))``, and B is Helmert's basis (K, K-1) of what has mean 0.

    With the nearest ETF ``B X B^T = (J H^T H J)^(1/2)`` is symmetric: width and orientation drop out. With a fixed ETF
    X is any matrix, and ``dZ/dt = c^2 J G J``: the flow of a convex loss on the logits themselves.

    Parameters
    ----------
    classifier : {"nearest", "fixed"}
    argmin_gradient : bool
        See `ETFFlow`. In an eigenbasis of X with eigenvalues s_i it multiplies the symmetric part of the force by ``2
        (s_i^2 + s_j^2)/(s_i + s_j)^2``, between 1 and 2 off the diagonal, and leaves out the other part: eigenvectors
        turn otherwise, eigenvalues move as without it.
    loss, reduction
        See `Objective`.

    Raises
    ------
    ValueError, TypeError
        If an argument is not acceptable.

    Notes
    -----
    It starts from X, for the nearest ETF symmetric and positive definite; `project` makes it of (W, H), `lift` makes
    matrices of it. A run has the logits of the full one, and with the nearest ETF all that does not depend on how
    features are turned, NC2 and NC3 for instance. A fixed ETF does not see features outside of its span, which stay
    where they are: they are not part of X. Proved in the derivation `nearest_etf`.

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
        """B (K, K-1), orthonormal columns of mean 0."""
        return simplex_etf(classes) * math.sqrt(1.0 - 1.0 / classes)

    def start(self, start: ArrayLike) -> NDArray[np.float64]:
        """Checks where a run starts: X (K-1, K-1)."""
        X = checked_array("X", start, -LARGEST, LARGEST)
        if X.ndim != 2 or X.shape[0] != X.shape[1] or not np.any(X):
            raise ValueError(f"X must be (K-1, K-1), not 0; see project for a start (W, H); got shape {X.shape}")
        if self.classifier == "nearest":
            if np.abs(X - X.T).max() > SYMMETRIC * np.abs(X).max():
                raise ValueError("X must be symmetric with the nearest ETF")
            X = 0.5 * (X + X.T)
            values = np.linalg.eigvalsh(X)
            if values[0] <= SYMMETRIC * values[-1]:
                raise ValueError(f"X must be positive definite with the nearest ETF, it has eigenvalues {values}")
        return X

    def origin(self, start: NDArray) -> NDArray[np.float64]:
        """Coordinates of the start."""
        return start.ravel()

    def state(self, start: NDArray, y: NDArray) -> NDArray[np.float64]:
        """X at the coordinates y."""
        X = y.reshape(start.shape)
        return 0.5 * (X + X.T) if self.classifier == "nearest" else X

    def layers_at(self, start: NDArray, y: NDArray) -> NDArray[np.float64]:
        """X (n, K-1, K-1) at coordinates (n, N): also what `lift` takes as rows."""
        return y.reshape(len(y), *start.shape)

    def parts(self, start: NDArray, y: NDArray) -> tuple[NDArray[np.float64], ...]:
        """c B (n, K, K-1), X B^T (n, K-1, K) and the bias, which is 0."""
        basis, X = self.basis(len(start) + 1), self.layers_at(start, y)
        W = basis * math.sqrt(len(basis) / (len(basis) - 1.0))
        return np.broadcast_to(W, (len(y), *W.shape)), X @ basis.T, np.zeros((len(y), len(W)))

    def motion(self, start, y, log_t, rtol, atol=0.0, closed_form=True) -> ReducedETFField:
        """The vector field."""
        return ReducedETFField(self, start)

    # -- between X and matrices ----------------------------------------------------------------------------------------

    def full(self) -> ETFFlow:
        """The flow of features that this one reduces."""
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
        """Full matrices ``W = c B O^T`` (K, d) and ``H = O X B^T`` (d, K), O random with orthonormal columns.

        Parameters
        ----------
        start : (K-1, K-1) array
        width : int, optional
            d >= K - 1; K when left out.
        rng : int or numpy Generator
            Makes O.
        rows : (n, K-1, K-1) array, optional
            In place of the start, all with the same O; the matrices then have a leading axis.

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
        """X of full matrices, and how far these are from what the reduction assumes.

        Parameters
        ----------
        W : (K, d) array, optional
            Left out, it is the nearest ETF.
        H : (d, K) array
            A column for each class.
        bias : (K,) array, optional
            Does not count: the mean of all features is taken off.

        Returns
        -------
        X : (K-1, K-1) array
        off : float
            Relative distance of W from the nearest ETF, or for a fixed W of ``W W^T`` from that of an ETF.
        """
        H = checked_array("H", H, -LARGEST, LARGEST)
        if H.ndim != 2 or H.shape[1] < 2:
            raise ValueError(f"H must be (d, K), a column for each class, K >= 2, got {H.shape}")
        classes, basis = H.shape[1], self.basis(H.shape[1])
        if W is None and self.classifier == "fixed":
            raise TypeError("W must be given: which fixed ETF is it?")
        if W is not None:
            W = checked_array("W", W, -LARGEST, LARGEST)
            if W.shape != H.T.shape:
                raise ValueError(f"W must be {H.T.shape}, as H is {H.shape}, got {W.shape}")
        if self.classifier == "nearest":
            expected = nearest_etf(H).W
            _, s, right = np.linalg.svd(H @ basis, full_matrices=False)
            off = 0.0 if W is None else float(np.linalg.norm(W - expected) / np.linalg.norm(expected))
            return self.start((right.T * s) @ right), off
        square = classes / (classes - 1.0)
        assert W is not None  # of a fixed one
        off = np.linalg.norm(W @ W.T - square * basis @ basis.T) / (square * math.sqrt(classes - 1.0))
        return self.start(basis.T @ W @ H @ basis / math.sqrt(square)), float(off)


def _unit(name: str, vector: str, vectors: NDArray, axis: int) -> NDArray[np.float64]:
    norms = np.linalg.norm(vectors, axis=axis, keepdims=True)
    if not norms.all():
        raise ValueError(f"{name} must have no {vector} of zeros, which has no direction on the sphere")
    return vectors / norms
