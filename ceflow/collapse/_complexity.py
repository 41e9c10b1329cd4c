"""Geometric complexity of features, distances between classes, and the variance normalized by them, on plain arrays."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .._checks import checked_array
from ._state import LIMIT, checked_labels, class_means, scaled, transposed

_STEP = float(np.finfo(float).eps) ** 0.2  # of differences of fourth order, in units of the inputs


def geometric_complexity(
    features: ArrayLike | Callable[[NDArray[np.float64]], ArrayLike], inputs: ArrayLike | None = None
) -> NDArray[np.float64]:
    """Geometric complexity of a feature map, ``E_x |J(x)|_F^2``: the mean over inputs of its squared Jacobian.

    Parameters
    ----------
    features : (..., d, D) array, or callable
        The matrix A of linear features ``A x``; or a function of inputs (D, n) that returns features (d, n), column by
        column.
    inputs : (D, n) array, optional
        What a function is averaged over.

    Returns
    -------
    (...) array
        ``|A|_F^2`` of a matrix. Of a function its Jacobian is found by differences of fourth order, to about 1e-11
        where it is smooth on the scale of 1e-3.

    Raises
    ------
    TypeError, ValueError
        If an argument is not as described.

    Notes
    -----
    arXiv:2405.15706, of which the abstract was read. Poincare's inequality bounds the variance of a Gaussian class by
    its largest variance in any direction of the inputs times this; linear features attain it where all of these agree.

    Examples
    --------
    >>> f"{cf.collapse.geometric_complexity(np.diag([1.0, 2.0])):.4f}"  # |A|^2 of linear features
    '5.0000'
    >>> x = np.random.default_rng(0).standard_normal((2, 1000))
    >>> f"{cf.collapse.geometric_complexity(np.tanh, x):.4f}"
    '0.9218'
    """
    if not callable(features):
        A = checked_array("features", features, -LIMIT, LIMIT)
        if A.ndim < 2 or inputs is not None:
            raise ValueError(f"features must be (..., d, D) without inputs, or a function of them, got shape {A.shape}")
        A, scale = scaled(A)
        return ((A**2).sum(axis=(-2, -1)) * scale * scale)[()]
    if inputs is None:
        raise ValueError("inputs must be given where features are a function: it is averaged over them")
    x = checked_array("inputs", inputs, -LIMIT, LIMIT)
    if x.ndim != 2 or 0 in x.shape:
        raise ValueError(f"inputs must have shape (D, n), got {x.shape}")

    def change(direction: int, step: float) -> NDArray[np.float64]:
        shift = np.zeros((len(x), 1))
        shift[direction] = step
        ahead, back = (checked_array("features(x)", features(x + sign * shift)) for sign in (1.0, -1.0))
        if ahead.ndim != 2 or ahead.shape[1] != x.shape[1]:
            raise ValueError(f"features must return (d, {x.shape[1]}) for inputs {x.shape}, got {ahead.shape}")
        return ahead - back

    total = 0.0
    for direction in range(len(x)):
        slope = (8.0 * change(direction, _STEP) - change(direction, 2.0 * _STEP)) / (12.0 * _STEP)
        total += (slope**2).sum()
    return np.asarray(total / x.shape[1])[()]


def class_distances(H: ArrayLike, labels: ArrayLike | None = None) -> NDArray[np.float64]:
    """Squared distances between the means of classes.

    Parameters
    ----------
    H : (..., d, n) array
        Features, a column for each sample.
    labels : (n,) array of integers, optional
        The class 0..K-1 of each column; left out, each column is a class.

    Returns
    -------
    (..., K, K) array

    Examples
    --------
    >>> cf.collapse.class_distances(cf.collapse.simplex_etf(3).T).round(4)
    array([[0., 3., 3.],
           [3., 0., 3.],
           [3., 3., 0.]])
    """
    H, labels = _checked(H, labels)
    H, scale = scaled(H)
    means, _ = means_and_spread(H, labels)
    difference = means[..., :, None] - means[..., None, :]
    return (difference**2).sum(axis=-3) * (scale * scale)[..., None, None]


def cdnv(H: ArrayLike, labels: ArrayLike | None = None, *, variance: ArrayLike = 0.0) -> NDArray[np.float64]:
    """Class-distance normalized variance: mean over pairs of classes of ``(v_c + v_d) / (2 |mu_c - mu_d|^2)``.

    Parameters
    ----------
    H : (..., d, n) array
        Features, a column for each sample.
    labels : (n,) array of integers, optional
        The class 0..K-1 of each column; left out, each column is a class.
    variance : number or (..., K) array
        Of the features of each class, added to the mean squared distance of its samples from their mean: that of noise
        that H does not show. Of noise of deviation tau in each direction of the inputs, and a linear feature map A, it
        is ``tau**2 * geometric_complexity(A)``.

    Returns
    -------
    (...) array
        inf where two means agree, unless nothing varies.

    Raises
    ------
    TypeError, ValueError
        If an argument is not as described.

    Notes
    -----
    Galanti, Gyorgy & Hutter, arXiv:2112.15121. Without `variance` it is the field of `measures`.

    Examples
    --------
    >>> H = [[-1.0, -0.8, 1.0, 0.8], [0.0, 0.0, 0.0, 0.0]]
    >>> f"{cf.collapse.cdnv(H, [0, 0, 1, 1]):.6f}"
    '0.003086'
    """
    H, labels = _checked(H, labels)
    H, scale = scaled(H)
    means, spread = means_and_spread(H, labels)
    variance = checked_array("variance", variance, 0.0)
    try:
        variance = np.broadcast_to(variance, spread.shape)
    except ValueError:
        raise ValueError(f"variance must be a number or of shape {spread.shape}, got {variance.shape}") from None
    return normalized_variance(means, spread + variance / (scale * scale)[..., None])[()]


def means_and_spread(
    H: NDArray[np.float64], labels: NDArray[np.int64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Means of the classes (..., d, K), and the mean squared distances of their samples from them (..., K)."""
    classes = int(labels.max()) + 1
    means = transposed(class_means(H, labels, classes))
    squares = ((H - means[..., labels]) ** 2).sum(axis=-2, keepdims=True)
    return means, class_means(squares, labels, classes)[..., 0]


def normalized_variance(means: NDArray[np.float64], spread: NDArray[np.float64]) -> NDArray[np.float64]:
    """Mean over pairs of classes of their mean variance over the squared distance of their means."""
    first, second = np.triu_indices(means.shape[-1], 1)
    distances = ((means[..., first] - means[..., second]) ** 2).sum(axis=-2)
    with np.errstate(invalid="ignore", divide="ignore"):  # class means that agree
        return ((spread[..., first] + spread[..., second]) / (2 * distances)).mean(axis=-1)


def _checked(H: ArrayLike, labels: ArrayLike | None) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    H = checked_array("H", H, -LIMIT, LIMIT)
    if H.ndim < 2 or 0 in H.shape:
        raise ValueError(f"H must be (..., d, n), got {H.shape}")
    classes = H.shape[-1] if labels is None else int(np.max(labels, initial=0)) + 1
    if classes < 2:
        raise ValueError("there must be at least 2 classes")
    return H, checked_labels(labels, classes, H.shape[-1])
