"""Shallow forgetting (of the classifier) and deep forgetting (of a linear probe on the features).

Shallow forgetting of a task is the loss of accuracy of the network's classifier. Deep forgetting is the loss of
accuracy of a probe fitted to frozen features (arXiv:2512.07400, of which we read public notes). A probe without noise
is invariant to the scale of the features. So we measure deep forgetting with a noise floor: noise of a fixed absolute
deviation is added to the features [ceflow]. Features are (d, N), one column per sample.

Examples
--------
>>> accuracy = [[0.9, 0.0], [0.6, 0.9]]  # of the classifier after session i on task j
>>> probe = [[0.95, 0.0], [0.9, 0.95]]  # and of a linear probe
>>> found = cf.collapse.forgetting.forgetting(accuracy, probe)
>>> f"shallow {found.shallow[1, 0]:.2f}, deep {found.deep[1, 0]:.2f}"
'shallow 0.30, deep 0.05'
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .._arrays import svd
from .._checks import checked_array, checked_integer, checked_number, on_host
from ._state import LIMIT, checked_labels, class_means, inverse

__all__ = [
    "LDA",
    "SNR",
    "Forgetting",
    "classifier_accuracy",
    "drift",
    "forgetting",
    "inflation",
    "lda",
    "lda_accuracy",
    "probe_accuracy",
    "rank",
    "snr",
]  # fmt: skip

_ROUNDING = 1e-10  # singular values of covariances below this, times the largest, count as 0


def classifier_accuracy(
    W: ArrayLike, H: ArrayLike, labels: ArrayLike, *, heads: ArrayLike | None = None
) -> NDArray[np.float64]:
    """Accuracy (K,) of ``argmax W h`` on each class; NaN for a class without samples.

    Parameters
    ----------
    W : (K, d) array
    H : (d, N) array
    labels : (N,) ints
    heads : (K,) ints, optional
        Task of each class; the decision is then among the classes of the sample's task. By default among all classes.

    Examples
    --------
    >>> H = np.array([[1.0, 0.2, 0.1], [0.0, 1.0, 0.3]])
    >>> cf.collapse.forgetting.classifier_accuracy(np.eye(2), H, [0, 0, 1])
    array([0.5, 1. ])
    """
    W, H = checked_array("W", W, -LIMIT, LIMIT), _features("H", H)
    if W.ndim != 2 or W.shape[1] != len(H):
        raise ValueError(f"W must be (K, d) with d = {len(H)}, got {W.shape}")
    labels, K = _labels(labels, H.shape[1], len(W)), len(W)
    Z = W @ H
    if heads is not None:
        heads = np.asarray(on_host(heads))
        if heads.shape != (K,):
            raise ValueError(f"heads must be ({K},), the task of each class, got shape {heads.shape}")
        Z = np.where(heads[:, None] == heads[labels], Z, -np.inf)
    counts = np.bincount(labels, minlength=K)
    with np.errstate(invalid="ignore"):
        return np.bincount(labels, Z.argmax(axis=0) == labels, minlength=K) / counts


def probe_accuracy(
    H: ArrayLike,
    labels: ArrayLike,
    *,
    noise: float = 0.0,
    ridge: float = 1e-6,
    rng: np.random.Generator | int = 0,
) -> float:
    """Accuracy of a linear probe, fitted to every other sample of each class and tested on the rest.

    Parameters
    ----------
    H : (d, N) array
        At least two samples per class.
    labels : (N,) ints
        From 0 to K - 1; all must occur.
    noise : float
        Noise floor: standard deviation of the Gaussian noise added to every feature. At 0 the probe is invariant to the
        scale of the features, so shrinking is not forgetting.
    ridge : float
        Penalty of the ridge regression on one-hot targets (with bias), relative to the mean square of centred features.
    rng : int or numpy Generator

    Examples
    --------
    >>> labels = np.repeat([0, 1], 200)
    >>> H = 0.1 * np.where(labels, 1.0, -1.0)[None]  # small, but separate
    >>> [round(cf.collapse.forgetting.probe_accuracy(H, labels, noise=noise), 2) for noise in (0.0, 0.1)]
    [1.0, 0.81]
    """
    H, labels, K = _population("H", H, labels)
    noise, ridge = checked_number("noise", noise, 0.0, LIMIT), checked_number("ridge", ridge, 1e-15, 1e6)
    H = H + noise * np.random.default_rng(rng).standard_normal(H.shape)
    place = np.empty(len(labels), int)
    for k in range(K):
        place[labels == k] = np.arange(np.count_nonzero(labels == k))
    fitted = place % 2 == 0
    if place.max() < 1 or np.bincount(labels).min() < 2:
        raise ValueError("labels must have two samples of each class, one for fitting and one for testing")
    H = H - H[:, fitted].mean(axis=1, keepdims=True)
    H = H / max(np.sqrt((H[:, fitted] ** 2).mean()), 1e-300)
    A = np.vstack([H, np.ones(H.shape[1])])
    targets = (labels[:, None] == np.arange(K)).astype(float)
    penalty = ridge * np.diag(np.append(np.ones(len(H)), 0.0))  # no penalty of the bias
    B = np.linalg.solve(A[:, fitted] @ A[:, fitted].T + penalty, A[:, fitted] @ targets[fitted])
    return float(((A[:, ~fitted].T @ B).argmax(axis=1) == labels[~fitted]).mean())


class SNR(NamedTuple):
    """Signal-to-noise ratios of pairs of classes.

    Attributes
    ----------
    trace : (K, K) array
        ``|mu_k - mu_j|^2 / tr(Sigma_k + Sigma_j)``; NaN for j = k.
    mahalanobis : (K, K) array
        ``(mu_k - mu_j)^T Sigma^+ (mu_k - mu_j)`` with the pooled covariance. It is invariant under invertible linear
        maps of the features.

    Examples
    --------
    >>> f"{cf.collapse.forgetting.snr([[1.0, 3.0, -1.0, -3.0]], [0, 0, 1, 1]).trace[0, 1]:.4f}"
    '4.0000'
    """

    trace: NDArray[np.float64]
    mahalanobis: NDArray[np.float64]

    @property
    def means(self) -> tuple[float, float]:
        """Means of both over pairs of classes."""
        return float(np.nanmean(self.trace)), float(np.nanmean(self.mahalanobis))


def snr(H: ArrayLike, labels: ArrayLike) -> SNR:
    """Signal-to-noise ratios of features, from unbiased covariances; arguments as in `probe_accuracy`.

    Perfectly separable classes may have an arbitrarily small trace SNR: the trace includes noise in directions that do
    not separate them.

    Examples
    --------
    >>> H = np.array([[1.0, 3.0, -1.0, -3.0], [0.0, 1.0, 1.0, 0.0]])
    >>> found = cf.collapse.forgetting.snr(H, [0, 0, 1, 1])
    >>> f"{found.trace[0, 1]:.4f}"
    '3.2000'
    """
    H, labels, K = _population("H", H, labels)
    if np.bincount(labels).min() < 2:
        raise ValueError("labels must have two samples of each class, to estimate covariances")
    means, deviations = _centred(H, labels, K)
    counts = np.bincount(labels)
    traces = np.bincount(labels, (deviations**2).sum(axis=0)) / (counts - 1)
    pooled = deviations * np.sqrt((1.0 / (K * (counts - 1)))[labels])
    gaps = means[:, None] - means
    with np.errstate(divide="ignore", invalid="ignore"):
        trace = (gaps**2).sum(axis=-1) / (traces[:, None] + traces)
    distances = np.einsum("kjd,de,kje->kj", gaps, _inverse_covariance(pooled), gaps)
    same = np.eye(K, dtype=bool)
    return SNR(np.where(same, np.nan, trace), np.where(same, np.nan, distances))


def drift(means: ArrayLike, trained: ArrayLike) -> NDArray[np.float64]:
    """Share (K,) ``|proj_S mu| / |mu|`` of each class mean in the span S of the centred means of trained classes.

    Parameters
    ----------
    means : (K, d) array
        Class means minus the global mean. A class with result 0 has left S.
    trained : (M, d) array
        Means of the trained classes; they are centred here.

    Examples
    --------
    >>> cf.collapse.forgetting.drift([[1.0, 1.0, 0.0]], [[1.0, 0.0, 0.0], [-1.0, 0.0, 0.0]]).round(4)
    array([0.7071])
    """
    means, trained = (checked_array(n, x, -LIMIT, LIMIT) for n, x in (("means", means), ("trained", trained)))
    if means.ndim != 2 or trained.ndim != 2 or means.shape[1] != trained.shape[1]:
        raise ValueError(f"means and trained must be (K, d) and (M, d), got {means.shape} and {trained.shape}")
    _, s, basis = svd(trained - trained.mean(axis=0), full_matrices=False)
    inside = means @ basis[s > _ROUNDING * s[0]].T
    with np.errstate(invalid="ignore"):
        return np.linalg.norm(inside, axis=1) / np.linalg.norm(means, axis=1)


def rank(matrix: ArrayLike, tolerance: float = 1e-6) -> int:
    """Number of singular values above `tolerance` times the largest.

    Examples
    --------
    >>> cf.collapse.forgetting.rank(np.diag([1.0, 0.5, 1e-9]))
    2
    """
    matrix = checked_array("matrix", matrix, -LIMIT, LIMIT)
    if matrix.ndim != 2 or not matrix.size:
        raise ValueError(f"matrix must have two axes, got shape {matrix.shape}")
    s = svd(matrix, compute_uv=False)
    return int(np.count_nonzero(s > checked_number("tolerance", tolerance, 0.0, 1.0) * s[0]))


def inflation(
    buffer: ArrayLike, buffer_labels: ArrayLike, population: ArrayLike, labels: ArrayLike
) -> float:
    """Norm of the centred class means of the buffer, divided by the norm for the population of the same classes.

    Examples
    --------
    >>> labels = np.array([0, 0, 1, 1])
    >>> H = np.array([[1.0, 1.0, -1.0, -1.0]])
    >>> f"{cf.collapse.forgetting.inflation(1.5 * H, labels, H, labels):.4f}"
    '1.5000'
    """
    buffer, buffer_labels, population, labels, K = _both(buffer, buffer_labels, population, labels)
    sizes = []
    for H, y in ((buffer, buffer_labels), (population, labels)):
        means = class_means(H, y, K)
        sizes.append(np.linalg.norm(means - means.mean(axis=0)))
    return float(sizes[0] / sizes[1]) if sizes[1] > 0.0 else float("inf")


def lda_accuracy(H: ArrayLike, labels: ArrayLike, means: ArrayLike, deviations: ArrayLike | None = None) -> float:
    """Accuracy of ``argmin_k |h - mu_k|`` in the metric of a pseudo-inverse covariance.

    Parameters
    ----------
    H : (d, N) array
    labels : (N,) ints
    means : (K, d) array
    deviations : (d, M) array, optional
        Columns whose sum of outer products is the covariance up to a factor; default identity covariance.

    Examples
    --------
    >>> H = np.array([[1.0, 0.8, -1.0, 0.3]])
    >>> cf.collapse.forgetting.lda_accuracy(H, [0, 0, 1, 1], [[1.0], [-1.0]])
    0.75
    """
    H, labels, K = _population("H", H, labels)
    means = checked_array("means", means, -LIMIT, LIMIT)
    if means.shape != (K, len(H)):
        raise ValueError(f"means must be ({K}, {len(H)}), got {means.shape}")
    rows = means if deviations is None else means @ _inverse_covariance(_features("deviations", deviations))
    scores = rows @ H - 0.5 * (rows * means).sum(axis=1)[:, None]
    return float((scores.argmax(axis=0) == labels).mean())


class LDA(NamedTuple):
    """Accuracies on the population of linear discriminants with means and covariance from different sources.

    Examples
    --------
    >>> H, labels = np.array([[1.0, 2.0, -1.0, 0.2]]), np.array([0, 0, 1, 1])
    >>> cf.collapse.forgetting.lda(H, labels, H, labels).population
    1.0
    """

    population: float
    identity: float
    buffer_means: float
    buffer: float


def lda(buffer: ArrayLike, buffer_labels: ArrayLike, population: ArrayLike, labels: ArrayLike) -> LDA:
    """Test which statistics of the buffer cause errors, by replacing them with those of the population.

    Parameters
    ----------
    buffer, population : (d, M) and (d, N) arrays
        Features of the buffer, and of samples outside it.
    buffer_labels, labels : (M,) and (N,) ints

    Returns
    -------
    LDA
        ``population``: means and covariance of the population. ``identity``: its means, identity covariance.
        ``buffer_means``: means of the buffer, covariance of the population. ``buffer``: both of the buffer; its
        covariance has rank at most K (B - 1) and is inverted on its range.

    Examples
    --------
    >>> rng, labels = np.random.default_rng(0), np.repeat([0, 1], 500)
    >>> H = rng.standard_normal((10, 1000)) + np.where(labels, 0.3, -0.3)
    >>> buffer = [0, 1, 2, 500, 501, 502]
    >>> found = cf.collapse.forgetting.lda(H[:, buffer], labels[buffer], H, labels)
    >>> f"{found.population:.2f}, {found.buffer_means:.2f}, {found.buffer:.2f}"
    '0.81, 0.68, 0.46'
    """
    buffer, buffer_labels, population, labels, K = _both(buffer, buffer_labels, population, labels)
    of_buffer, of_population = (_centred(*pair, K) for pair in ((buffer, buffer_labels), (population, labels)))
    return LDA(
        lda_accuracy(population, labels, *of_population),
        lda_accuracy(population, labels, of_population[0]),
        lda_accuracy(population, labels, of_buffer[0], of_population[1]),
        lda_accuracy(population, labels, *of_buffer),
    )


class Forgetting(NamedTuple):
    """Forgetting of each task after each session: arrays (T, T) by session and task; NaN before a task is learnt.

    Examples
    --------
    >>> found = cf.collapse.forgetting.forgetting([[0.9, 0.0], [0.6, 0.9]], [[0.95, 0.0], [0.9, 0.95]])
    >>> f"{found.deep[1, 0]:.2f} of the first task after the second session"
    '0.05 of the first task after the second session'
    """

    shallow: NDArray[np.float64]
    deep: NDArray[np.float64]


def forgetting(accuracy: ArrayLike, probe: ArrayLike) -> Forgetting:
    """Forgetting ``A_jj - A_ij`` of the classifier and of the probe.

    Parameters
    ----------
    accuracy, probe : (T, T) arrays
        Accuracy A_ij on task j after session i.

    Examples
    --------
    >>> found = cf.collapse.forgetting.forgetting([[0.9, 0.0], [0.6, 0.9]], [[0.95, 0.0], [0.9, 0.95]])
    >>> found.shallow.round(2)
    array([[0. , nan],
           [0.3, 0. ]])
    """
    found = []
    for name, values in (("accuracy", accuracy), ("probe", probe)):
        A = checked_array(name, values, 0.0, 1.0)
        if A.ndim != 2 or A.shape[0] != A.shape[1]:
            raise ValueError(f"{name} must be (T, T), got {A.shape}")
        learnt = np.tri(len(A), dtype=bool)
        found.append(np.where(learnt, np.diag(A) - A, np.nan))
    return Forgetting(*found)


def _features(name: str, H: ArrayLike) -> NDArray[np.float64]:
    H = checked_array(name, H, -LIMIT, LIMIT)
    if H.ndim != 2 or not H.size:
        raise ValueError(f"{name} must be (d, N), got {H.shape}")
    return H


def _labels(labels: ArrayLike, samples: int, classes: int) -> NDArray[np.int64]:
    labels = np.asarray(on_host(labels))
    if labels.dtype.kind not in "iu" or labels.shape != (samples,):
        raise ValueError(f"labels must be {samples} integers, got {labels.dtype} of shape {labels.shape}")
    if labels.min() < 0 or labels.max() >= classes:
        raise ValueError(f"labels must be from 0 to {classes - 1}, got {labels.min()} to {labels.max()}")
    return labels.astype(np.int64)


def _population(name: str, H: ArrayLike, labels: ArrayLike) -> tuple[NDArray, NDArray, int]:
    """Checked features and labels of K classes; all must occur."""
    H, labels = _features(name, H), np.asarray(on_host(labels))
    if labels.dtype.kind not in "iu" or not labels.size:
        raise TypeError(f"labels must be integers, got dtype {labels.dtype}")
    K = checked_integer("the number of classes", int(labels.max()) + 1, 2)
    return H, checked_labels(labels, K, H.shape[1]), K


def _both(buffer, buffer_labels, population, labels) -> tuple[NDArray, NDArray, NDArray, NDArray, int]:
    population, labels, K = _population("population", population, labels)
    buffer, buffer_labels, kept = _population("buffer", buffer, buffer_labels)
    if kept != K or len(buffer) != len(population):
        raise ValueError(f"buffer and population must have the same classes and width, got {kept} and {K} classes")
    return buffer, buffer_labels, population, labels, K


def _centred(H: NDArray, labels: NDArray, classes: int) -> tuple[NDArray, NDArray]:
    """Class means (K, d) and deviations (d, N) from them."""
    means = class_means(H, labels, classes)
    return means, H - means[labels].T


def _inverse_covariance(deviations: NDArray) -> NDArray[np.float64]:
    """Pseudo-inverse of the scatter of the deviations, from their SVD, so that nothing is squared before truncation."""
    root = inverse(deviations, _ROUNDING)  # (M, d)
    return root.T @ root
