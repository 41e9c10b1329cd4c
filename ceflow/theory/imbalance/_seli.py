"""SELI, the limit geometry of imbalanced classes without decay, and the convergence to it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import scipy
from numpy.typing import ArrayLike

from ..._checks import checked_array
from ._groups import Array, Geometry, GroupLayers, Groups, block_of, checked_groups, geometry


class Seli(NamedTuple):
    """Simplex-encoded-labels interpolation: balanced factors ``W H = I - 11^T/K`` of minimal norm.

    Attributes
    ----------
    singular_values : (M,) array
        Distinct nonzero singular values of ``(I - 11^T/K) N^(1/2)`` with the samples N, descending. Their square roots
        are the singular values of W and of ``H N^(1/2)``.
    multiplicities : (M,) array of ints
    layers : GroupLayers
        Layers with all margins 1; for margins m multiply both by sqrt(m).
    geometry : Geometry

    Examples
    --------
    >>> found = cf.theory.imbalance.seli((2, 2), (10, 1))
    >>> found.singular_values.round(4), found.multiplicities
    (array([3.1623, 2.3452, 1.    ]), array([1, 1, 1]))
    """

    singular_values: Array
    multiplicities: Array
    layers: GroupLayers
    geometry: Geometry


def seli(classes: Sequence[int], samples: ArrayLike) -> Seli:
    """SELI: limit direction of gradient flow on imbalanced classes without decay, and of the optimum for small decay.

    The singular values are ``sqrt(n_g)``, K_g - 1 times, and ``sqrt(x)`` for each root x of ``sum_g K_g / (n_g - x) =
    0``, one between any two neighbouring distinct n_g [ceflow]. With two groups that is ``x = (K_A n_B + K_B n_A) /
    K``. Singular vectors follow from the roots, and ``H^T H`` is the pseudo-inverse of ``W W^T``. There is no
    cancellation at any ratio of samples.

    Parameters
    ----------
    classes : sequence of ints
        Number K_g of classes in each of G groups.
    samples : number or (G,) array
        Positive number of samples per class of each group.

    Returns
    -------
    Seli

    Raises
    ------
    TypeError, ValueError
        If an argument is invalid.

    Notes
    -----
    Thrampoulidis, Kini, Vakilian & Behnia, arXiv:2208.05512, name the geometry and give step imbalance.

    Examples
    --------
    >>> geometry = cf.theory.imbalance.seli((2, 2), (10, 1)).geometry
    >>> np.degrees(geometry.angles).round(2)  # between classifier and features, of majority and minority
    array([ 8.05, 22.49])
    """
    groups = checked_groups(classes, samples)
    roots, U = _modes(groups)
    values, place = np.unique(np.sqrt(np.concatenate([groups.samples, roots])), return_inverse=True)
    counts = np.bincount(place, np.concatenate([groups.classes - 1.0, np.ones(roots.size)])).astype(int)
    layers = _layers(groups, roots, U)
    return Seli(values[counts > 0][::-1], counts[counts > 0][::-1], layers, geometry(groups, layers))


def seli_layers(groups: Groups) -> GroupLayers:
    """Layers with margins 1."""
    return _layers(groups, *_modes(groups))


def _layers(groups: Groups, roots: Array, U: Array) -> GroupLayers:
    root = roots**0.25
    alive, fourth = groups.classes > 1, groups.samples**0.25
    return GroupLayers(
        groups.classes, np.where(alive, fourth, 0.0), np.where(alive, 1.0 / fourth, 0.0), U * root, (U / root).T
    )


def _modes(groups: Groups) -> tuple[Array, Array]:
    """(G-1,) eigenvalues of ``N - N k k^T`` on the constants, and (G, G-1) left singular vectors of ``(I - k k^T)
    N^(1/2)``, k_g^2 = K_g / K: ``u_g = k_g / (n_g - x)``, orthogonal to k where ``sum_g k_g^2 / (n_g - x) = 0``."""
    K, n = groups.classes, groups.samples
    different, of = np.unique(n, return_inverse=True)
    total = np.asarray(np.bincount(of, K), float)
    roots, vectors = [], []
    for i in range(different.size - 1):
        distances = _distances(total, different, i)  # n_g - x
        roots.append(different[i] - distances[i])
        vectors.append(np.sqrt(K) / distances[of])
    for j in range(different.size):  # groups with equal samples: x = n, and vectors on them orthogonal to k
        alike = np.flatnonzero(of == j)
        inside = scipy.linalg.null_space(np.sqrt(K[alike])[None]) if alike.size > 1 else np.empty((1, 0))
        for column in inside.T:
            roots.append(different[j])
            vectors.append(np.zeros(K.size))
            vectors[-1][alike] = column
    U = np.array(vectors).reshape(-1, K.size).T
    order = np.argsort(roots)[::-1]
    U = U[:, order]
    return np.array(roots, float)[order], U / np.sqrt((U**2).sum(axis=0))


def _distances(K: Array, n: Array, i: int) -> Array:
    """``n - x`` for the root x of ``sum K / (n - x) = 0`` between n_i and n_(i+1), measured from the nearer of them."""
    half = 0.5 * (n[i + 1] - n[i])
    low = np.sum(K / ((n - n[i]) - half)) >= 0.0  # the sum increases between its poles: the root is in the lower half
    pole = i if low else i + 1
    gaps, sign = n - n[pole], 1.0 if low else -1.0
    others = np.arange(n.size) != pole

    def scaled(t: float) -> float:  # the sum times the distance t from the pole
        return sign * t * np.sum(K[others] / (gaps[others] - sign * t)) - K[pole]

    t = scipy.optimize.brentq(scaled, 0.0, 1.001 * half, xtol=1e-300, rtol=1e-15, maxiter=500)
    return gaps - sign * t


class Approach(NamedTuple):
    """Asymptotic law of convergence to SELI without decay.

    Attributes
    ----------
    log_scale : (n,) array
        Common part rho of all margins.
    offsets : (G, G) array
        Margins minus rho, of a class of the row's group over a class of the column's group.
    geometry : Geometry
        With a leading axis n.

    Examples
    --------
    >>> found = cf.theory.imbalance.approach((2, 2), (10, 1), [1e3])
    >>> found.log_scale.round(2), (found.log_scale[0] + found.offsets).round(2)  # all margins
    (array([1007.61]), array([[1007.48, 1006.76],
           [1006.76, 1005.45]]))
    """

    log_scale: Array
    offsets: Array
    geometry: Geometry


def approach(
    classes: Sequence[int],
    samples: ArrayLike,
    log_t: ArrayLike,
    *,
    weights: ArrayLike = 1.0,
    logit_adjustment: ArrayLike = 0.0,
    reduction: str = "mean",
) -> Approach:
    """Asymptotic law of convergence to SELI of cross-entropy without decay, for all balanced starts [ceflow].

    By the KKT conditions of minimal norm, late residuals are proportional to the Gram matrix of the features at SELI:
    ``p_hc = e^-rho (-h_h . h_c) / o_c`` for a wrong class h in a sample of class c. So margins are ``rho + log(o_c) -
    log(-h_h . h_c) + delta_h - delta_c + O(1/rho)``, and as ``d rho/dt = 2 rho e^-rho``, ``t = Ei(rho) / 2``. Cosines
    and angles differ from those of SELI by O(1/rho) = O(1/log t), and from the returned values by O(1/rho^2). The
    optimum with decay satisfies the same law with ``rho = -log sqrt(lW lH)``: the flow follows the regularization path.

    Parameters
    ----------
    classes, samples, weights, logit_adjustment, reduction
        As in `equilibrium`.
    log_t : (n,) array
        Logarithm of time, at least 10; the law is asymptotic and needs log_t much larger than all offsets.

    Returns
    -------
    Approach

    Raises
    ------
    TypeError, ValueError
        If an argument is invalid, or log_t is so small that a margin would not be positive.

    Notes
    -----
    Derived formally and compared with runs in ``tests/test_imbalance.py``; not proved with error constants. Unbalanced
    starts add another O(1/rho).

    Examples
    --------
    >>> found = cf.theory.imbalance.approach((2, 2), (10, 1), [10.0, 1e3])
    >>> found.log_scale.round(2), np.degrees(found.geometry.angles).round(2)
    (array([  13.2 , 1007.61]), array([[ 7.44, 19.36],
           [ 8.04, 22.46]]))
    """
    groups = checked_groups(classes, samples, weights, logit_adjustment, reduction)
    log_t = np.atleast_1d(checked_array("log_t", log_t, 10.0, 1e15))
    layers, delta = seli_layers(groups), groups.adjustment
    features = layers.Y.T / np.sqrt(groups.classes)[:, None]
    products = features @ features.T  # inner products of different classes
    products[np.diag_indices(delta.size)] -= layers.b**2 / groups.classes
    with np.errstate(invalid="ignore", divide="ignore"):  # groups of one class have no other
        offsets = np.log(groups.weights)[:, None] - np.log(-products) + delta - delta[:, None]
    offsets[np.diag_indices(delta.size)] = np.where(groups.classes > 1, np.diag(offsets), np.nan)
    rho = log_t
    for _ in range(30):  # t = Ei(rho) / 2 ~ e^rho (1 + 1/rho) / (2 rho); contracts by 1/rho
        rho = log_t + np.log(2.0 * rho) - np.log1p(1.0 / rho)
    lowest = rho.min() + np.nanmin(offsets)
    if not lowest > 0.0:
        raise ValueError(f"log_t must be larger: at {log_t.min():g} the law has a margin of {lowest:g}")
    return Approach(rho, offsets, stacked([geometry(groups, _balanced(groups, r + offsets)) for r in rho]))


def _balanced(groups: Groups, margins: Array) -> GroupLayers:
    """Balanced layers with these margins."""
    K, root = groups.classes, np.sqrt(groups.samples)
    s = np.where(K > 1, np.diag(margins), 0.0)
    U, sigma, V = np.linalg.svd(block_of(K, s, margins) * root)
    keep, half = K.size - 1, np.sqrt(sigma[: K.size - 1])
    return GroupLayers(
        K, np.sqrt(s * root), np.sqrt(s / root), U[:, :keep] * half, half[:, None] * V[:keep] / root
    )  # fmt: skip


def stacked(items: list):
    """Stack named tuples of arrays along a new leading axis."""
    if isinstance(items[0], tuple):
        return type(items[0])(*(stacked(list(parts)) for parts in zip(*items, strict=True)))
    return np.stack(items)
