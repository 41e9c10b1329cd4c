"""Geometric complexity, class distances and class-distance normalized variance, on plain arrays."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .._checks import checked_array
from ._state import LIMIT, checked_labels, class_means, scaled, transposed

_STEP = float(np.finfo(float).eps) ** 0.2  # step of differences of inputs


def geometric_complexity(
    features: ArrayLike | Callable[[NDArray[np.float64]], ArrayLike], inputs: ArrayLike | None = None
) -> NDArray[np.float64]:
    """Geometric complexity ``E_x |J(x)|_F^2`` of a feature map: mean squared norm of its Jacobian.

    Parameters
    ----------
    features : (..., d, m) array, or callable
        Matrix A of linear features ``A x``; or a function that maps inputs (m, n) to features (d, n), column by column.
    inputs : (m, n) array, optional
        Inputs of the average; needed for a function.

    Returns
    -------
    (...) array
        ``|A|_F^2`` for a matrix. The Jacobian of a function is computed by fourth-order differences, with an error of
        about 1e-11 if the function is smooth on the scale 1e-3.

    Raises
    ------
    TypeError, ValueError
        If an argument is invalid.

    Notes
    -----
    arXiv:2405.15706, of which we read the abstract. By Poincare's inequality the variance of a Gaussian class is at
    most the geometric complexity times its largest input variance in any direction. Equality holds for linear features
    and isotropic inputs.

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
            raise ValueError(f"features must be (..., d, m) without inputs, or a function, got shape {A.shape}")
        A, scale = scaled(A)
        return ((A**2).sum(axis=(-2, -1)) * scale * scale)[()]
    if inputs is None:
        raise ValueError("inputs must be given if features is a function: its Jacobian is averaged over them")
    x = checked_array("inputs", inputs, -LIMIT, LIMIT)
    if x.ndim != 2 or 0 in x.shape:
        raise ValueError(f"inputs must have shape (m, n), got {x.shape}")

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
    """Squared distances between the class means.

    Parameters
    ----------
    H : (..., d, n) array
        Features, one column per sample.
    labels : (n,) array of integers, optional
        Class 0..K-1 of each column; by default each column is a class.

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
        Features, one column per sample.
    labels : (n,) array of integers, optional
        Class 0..K-1 of each column; by default each column is a class.
    variance : number or (..., K) array
        Extra variance of the features of each class from noise that is not in H, added to the variance of its samples.
        For input noise of deviation tau in each direction and a linear feature map A it is ``tau**2 *
        geometric_complexity(A)``.

    Returns
    -------
    (...) array
        inf if two class means agree, unless all variances are 0.

    Raises
    ------
    TypeError, ValueError
        If an argument is invalid.

    Notes
    -----
    Galanti, Gyorgy & Hutter, arXiv:2112.15121. Without `variance` it is the field `cdnv` of `measures`.

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
    """Class means (..., d, K), and mean squared distances (..., K) of the samples from their class mean."""
    classes = int(labels.max()) + 1
    means = transposed(class_means(H, labels, classes))
    squares = ((H - means[..., labels]) ** 2).sum(axis=-2, keepdims=True)
    return means, class_means(squares, labels, classes)[..., 0]


def normalized_variance(means: NDArray[np.float64], spread: NDArray[np.float64]) -> NDArray[np.float64]:
    """Mean over pairs of classes of the mean variance divided by the squared distance of the class means."""
    first, second = np.triu_indices(means.shape[-1], 1)
    distances = ((means[..., first] - means[..., second]) ** 2).sum(axis=-2)
    with np.errstate(invalid="ignore", divide="ignore"):  # equal class means
        return ((spread[..., first] + spread[..., second]) / (2 * distances)).mean(axis=-1)


def _checked(H: ArrayLike, labels: ArrayLike | None) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    H = checked_array("H", H, -LIMIT, LIMIT)
    if H.ndim < 2 or 0 in H.shape:
        raise ValueError(f"H must be (..., d, n), got {H.shape}")
    classes = H.shape[-1] if labels is None else int(np.max(labels, initial=0)) + 1
    if classes < 2:
        raise ValueError("there must be at least 2 classes")
    return H, checked_labels(labels, classes, H.shape[-1])
