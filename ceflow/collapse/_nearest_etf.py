"""The simplex ETF nearest to features, and its derivative, by one polar decomposition.

Markou, Ajanthan & Gould, *Guiding Neural Collapse: Optimising Towards the Nearest Simplex Equiangular Tight Frame*
(NeurIPS 2024, arXiv:2411.01248) compute it by Riemannian optimisation and differentiate implicitly. The closed forms
are [ceflow], tested in `tests/test_nearest_etf.py`.
"""

from __future__ import annotations

import functools
import math
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .._arrays import svd
from .._checks import checked_array, checked_integer, checked_number
from ._state import LIMIT, checked_labels, scaled, transposed

RANK = 1e-13  # relative singular value that counts as 0


class NearestETF(NamedTuple):
    """Simplex ETF nearest to the class means; see `nearest_etf`.

    Attributes
    ----------
    W : (..., K, d) array
        Classifier ``sqrt(K/(K-1)) J P^T`` with unit rows, ``J = I - 11^T/K``.
    P : (..., d, K) array
        Orientation, with orthonormal columns; for d = K - 1 instead ``P^T P = J``.
    squared_distance : (...) array
        ``|F/|F| - P J / sqrt(K-1)|^2``, with the centred class means F. It is 0 at an ETF. Without the proximal term it
        is at most ``2 (1 - 1/sqrt(K-1))``, for class means on a line.
    unique : (...) array of bools
        Whether W is unique. Without the proximal term: whether F has rank K - 1.

    Examples
    --------
    >>> found = cf.collapse.nearest_etf([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 2.0]])
    >>> f"{found.squared_distance:.4f}", bool(found.unique)
    ('0.0681', True)
    """

    W: NDArray[np.float64]
    P: NDArray[np.float64]
    squared_distance: NDArray[np.float64]
    unique: NDArray[np.bool_]


def nearest_etf(
    H: ArrayLike, labels: ArrayLike | None = None, previous: ArrayLike | None = None, delta: float = 0.0
) -> NearestETF:
    """Compute the simplex ETF nearest to the class means of features.

    It minimizes ``|F/|F| - P J / sqrt(K-1)|^2 + (delta/2) |P - previous|^2`` over ``P^T P = I``.

    Parameters
    ----------
    H : (..., d, n) array
        Features, one column per sample; d >= K - 1, and d >= K with a proximal term.
    labels : (n,) array of integers, optional
        Class 0..K-1 of each column; every class must occur. By default column c has class c.
    previous : (..., d, K) array, optional
        P of the previous step, for the proximal term.
    delta : float
        Weight of the proximal term; 1e-3 in the paper.

    Returns
    -------
    NearestETF

    Raises
    ------
    TypeError, ValueError
        If an argument is invalid, or all class means are equal.

    Notes
    -----
    For orthonormal columns both terms are linear in P up to constants. So P is the polar factor of ``A = (2/sqrt(K-1))
    F/|F| + delta previous``. Repeated on the same features, the steps converge to the solution without the proximal
    term.

    Examples
    --------
    >>> H = np.random.default_rng(0).standard_normal((8, 3))
    >>> found = cf.collapse.nearest_etf(H)
    >>> (found.W @ found.W.T).round(4)
    array([[ 1. , -0.5, -0.5],
           [-0.5,  1. , -0.5],
           [-0.5, -0.5,  1. ]])
    """
    means, _, previous, delta = _checked(H, labels, previous, delta)
    means, _ = scaled(means)
    if not np.ptp(means, axis=-1).any(axis=-1).all():
        raise ValueError("the class means of H must not all be equal: every ETF has the same distance")
    polar = Polar(means, previous, delta, np, svd)
    classes = means.shape[-1]
    gap = polar.unit - (polar.P - polar.P.mean(axis=-1, keepdims=True)) / math.sqrt(classes - 1.0)
    return NearestETF(polar.W, polar.P, (gap**2).sum(axis=(-2, -1)), polar.smallest > RANK)


def nearest_etf_gradient(
    H: ArrayLike,
    slope: ArrayLike,
    labels: ArrayLike | None = None,
    previous: ArrayLike | None = None,
    delta: float = 0.0,
) -> NDArray[np.float64]:
    """Gradient in the features of a function of the nearest ETF, from its gradient in W.

    Parameters
    ----------
    H, labels, previous, delta
        As in `nearest_etf`.
    slope : (..., K, d) array
        Gradient of the function in W.

    Returns
    -------
    (..., d, n) array
        Gradient through W only; a loss that depends on H directly has another part. It is 0 if the function is the
        minimized objective (envelope theorem), and for cross-entropy only at symmetric states.

    Raises
    ------
    TypeError, ValueError
        If an argument is invalid, or the nearest ETF is not unique.

    Examples
    --------
    >>> H = np.random.default_rng(0).standard_normal((8, 3))
    >>> W = cf.collapse.nearest_etf(H).W
    >>> gradient = cf.collapse.nearest_etf_gradient(H, W)  # of |W|^2 / 2, which is the same for every ETF
    >>> float(abs(gradient).max()) < 1e-12
    True
    """
    means, labels, previous, delta = _checked(H, labels, previous, delta)
    slope = checked_array("slope", slope, -LIMIT, LIMIT)
    if slope.shape != (shape := (*means.shape[:-2], means.shape[-1], means.shape[-2])):
        raise ValueError(f"slope must have the shape of W, {shape}, got {slope.shape}")
    means, scale = scaled(means)
    polar = Polar(means, previous, delta, np, svd)
    if not (polar.smallest > RANK).all():
        raise ValueError("the nearest ETF must be unique to have a gradient: class means are linearly dependent")
    return (polar.pull_back(slope) / scale[..., None, None])[..., labels] / np.bincount(labels)[labels]


def torch_nearest_etf(H: Any, labels: Any = None, previous: Any = None, delta: float = 0.0) -> tuple[Any, Any]:
    """`nearest_etf` in PyTorch, differentiable with respect to H.

    Parameters
    ----------
    H : (d, n) tensor
        Features, one column per sample; any device, float32 or float64.
    labels : (n,) tensor of integers, optional
    previous : (d, K) tensor, optional
        Treated as a constant.
    delta : float

    Returns
    -------
    W : (K, d) tensor
        Detach it to treat it as a constant, as some publications do.
    P : (d, K) tensor
        Detached; the `previous` of the next step.

    Raises
    ------
    ImportError
        If PyTorch is not installed.
    TypeError, ValueError
        If the shapes do not fit.

    Examples
    --------
    >>> import torch
    >>> H = torch.randn(8, 3, generator=torch.Generator().manual_seed(0), requires_grad=True)
    >>> W, P = cf.collapse.torch_nearest_etf(H)
    >>> torch.nn.functional.cross_entropy((W @ H).T, torch.arange(3)).backward()  # through the argmin
    >>> tuple(H.grad.shape)
    (8, 3)
    """
    try:
        import torch
    except ImportError:
        raise ImportError("torch_nearest_etf needs PyTorch: pip install torch") from None
    if not isinstance(H, torch.Tensor) or not H.is_floating_point():
        raise TypeError(f"H must be a tensor of floats, got {type(H).__name__}")
    if H.ndim != 2:
        raise ValueError(f"H must be (d, n), got {tuple(H.shape)}")
    labels = np.arange(H.shape[1]) if labels is None else np.asarray(torch.as_tensor(labels).cpu())
    classes = int(labels.max()) + 1 if labels.size and labels.dtype.kind in "iu" else 0
    labels = checked_labels(labels, classes, H.shape[1])
    delta = _checked_delta(previous, delta)
    _check_width(H.shape[0], classes, delta, None if previous is None else tuple(previous.shape))
    weights = mean_of_classes(labels, classes)
    means = H @ torch.as_tensor(weights, dtype=H.dtype, device=H.device)
    return _torch_function().apply(means, None if previous is None else previous.detach().to(H), delta)


@functools.cache
def _torch_function() -> Any:
    """The autograd function of PyTorch, created at first use."""
    import torch

    class Function(torch.autograd.Function):
        @staticmethod
        def forward(context: Any, means: Any, previous: Any, delta: float) -> tuple[Any, Any]:
            polar = context.polar = Polar(means, previous, delta, torch, torch.linalg.svd)
            context.mark_non_differentiable(polar.P)
            return polar.W, polar.P

        @staticmethod
        @torch.autograd.function.once_differentiable
        def backward(context: Any, slope: Any, _: Any) -> tuple[Any, None, None]:
            return context.polar.pull_back(slope), None, None

    return Function


def simplex_etf(
    classes: int, width: int | None = None, rng: np.random.Generator | int | None = None
) -> NDArray[np.float64]:
    """Simplex equiangular tight frame with unit rows and inner products -1/(K-1).

    Parameters
    ----------
    classes : int
        K >= 2.
    width : int, optional
        d >= K - 1; default K - 1.
    rng : int or numpy Generator, optional
        Applies a random rotation; by default Helmert's matrix, padded with zeros.

    Returns
    -------
    (K, d) array

    Examples
    --------
    >>> W = cf.collapse.simplex_etf(4)
    >>> (W @ W.T).round(4)
    array([[ 1.    , -0.3333, -0.3333, -0.3333],
           [-0.3333,  1.    , -0.3333, -0.3333],
           [-0.3333, -0.3333,  1.    , -0.3333],
           [-0.3333, -0.3333, -0.3333,  1.    ]])
    """
    classes = checked_integer("classes", classes, 2)
    width = classes - 1 if width is None else checked_integer("width", width, classes - 1)
    k = np.arange(1, classes)
    rows = np.triu(np.ones((classes, classes - 1))) - np.vstack([np.zeros(classes - 1), np.diag(k)])
    rows = rows / np.sqrt(k * (k + 1.0)) * math.sqrt(classes / (classes - 1.0))
    if rng is None:
        return np.pad(rows, ((0, 0), (0, width - classes + 1)))
    return rows @ np.linalg.qr(np.random.default_rng(rng).standard_normal((width, classes - 1)))[0].T


class Polar:
    """Nearest ETF of class means (..., d, K) and its derivative, for NumPy or PyTorch arrays."""

    def __init__(self, means: Any, previous: Any, delta: float, xp: Any, svd: Any) -> None:
        classes = means.shape[-1]
        self.strength, self.scale = 2.0 / math.sqrt(classes - 1.0), math.sqrt(classes / (classes - 1.0))
        centred = _centred(means)
        self.size = xp.sqrt((centred**2).sum((-2, -1)))[..., None, None]
        self.unit = centred / self.size
        A = self.strength * self.unit
        if delta > 0.0:
            A = A + delta * previous
        left, values, right = svd(A, full_matrices=False)
        self.P = left @ right
        self.W = self.scale * transposed(_centred(self.P))
        # without the proximal term A 1 = 0, and P 1 is arbitrary
        rank = classes if delta > 0.0 else classes - 1
        self.left, self.values, self.right = left[..., :rank], values[..., :rank], right[..., :rank, :]
        self.smallest = self.values[..., -1] / self.values[..., 0]

    def pull_back(self, slope: Any) -> Any:
        """Gradient in the class means from the gradient in W; the derivative of polar(A) solves a Lyapunov equation."""
        slope = self.scale * transposed(slope - slope.mean(-2)[..., None, :]) @ transposed(self.right)
        inner = transposed(self.left) @ slope
        turn = (inner - transposed(inner)) / (self.values[..., :, None] + self.values[..., None, :])
        out = (slope - self.left @ inner) / self.values[..., None, :]
        found = self.strength * _centred((self.left @ turn + out) @ self.right)
        along = (found * self.unit).sum((-2, -1))[..., None, None]
        return (found - along * self.unit) / self.size


def _centred(matrix: Any) -> Any:
    """Columns minus their mean."""
    return matrix - matrix.mean(-1)[..., None]


def mean_of_classes(labels: NDArray[np.int64], classes: int) -> NDArray[np.float64]:
    one_hot = labels[:, None] == np.arange(classes)
    return one_hot / one_hot.sum(axis=0)


def _checked(H: ArrayLike, labels: ArrayLike | None, previous: ArrayLike | None, delta: float) -> tuple:
    """Checked class means (..., d, K), labels, and proximal term."""
    H, delta = checked_array("H", H, -LIMIT, LIMIT), _checked_delta(previous, delta)
    if H.ndim < 2 or 0 in H.shape:
        raise ValueError(f"H must be (..., d, n), got {H.shape}")
    kind = np.asarray(labels).dtype.kind
    classes = H.shape[-1] if labels is None else int(np.max(labels)) + 1 if kind in "iu" and np.size(labels) else 0
    labels = checked_labels(labels, classes, H.shape[-1])
    previous = None if previous is None else checked_array("previous", previous, -1e6, 1e6)
    _check_width(H.shape[-2], classes, delta, None if previous is None else previous.shape[-2:])
    return H @ mean_of_classes(labels, classes), labels, previous, delta


def _checked_delta(previous: Any, delta: float) -> float:
    delta = checked_number("delta", delta, 0.0, 1e6)
    if delta > 0.0 and previous is None:
        raise ValueError("delta > 0 needs previous, the P of the step before")
    return delta


def _check_width(width: int, classes: int, delta: float, previous: tuple[int, ...] | None) -> None:
    least = classes if delta > 0.0 else classes - 1
    if classes < 2 or width < least:
        raise ValueError(
            f"H must have K >= 2 classes and at least {least} rows to hold an ETF of {classes} classes"
            f"{' and a proximal term' if delta > 0.0 else ''}, got {width}"
        )
    if previous is not None and tuple(previous) != (width, classes):
        raise ValueError(f"previous must be (..., {width}, {classes}), as P is, got {tuple(previous)}")
