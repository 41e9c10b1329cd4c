"""Equivalence of critical points under permutations, and a completeness test for lists of them."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ._point import ZERO, CriticalPoint

SAME = 1e-6  # relative difference below which entries of logits are equal


def copies(point: CriticalPoint) -> int:
    """Number of distinct critical points obtained by permuting classes, up to rotations of the features.

    It is K! divided by the number of permutations that fix the logits, counted along a chain of stabilizers.

    Examples
    --------
    >>> points = cf.theory.landscape.Landscape(4, 4, 0.05).mode_points(cf.hadamard(4))
    >>> [cf.theory.landscape.copies(point) for point in points if point.modes in ((1,), (1, 2, 3))]
    [1, 3]
    """
    logits, classes = _logits(point), point.landscape.classes
    found = math.factorial(classes)
    for fixed in range(classes):
        head = list(range(fixed))
        found //= sum(_permuted(logits, logits, [*head, image]) for image in range(fixed, classes))
    return found


def are_copies(one: CriticalPoint, other: CriticalPoint) -> bool:
    """Whether two critical points differ by a permutation of the classes and a rotation of the features.

    Examples
    --------
    >>> points = cf.theory.landscape.Landscape(4, 4, 0.05).mode_points(cf.hadamard(4))
    >>> one, other = [point for point in points if point.modes in ((1,), (2,))]
    >>> cf.theory.landscape.are_copies(one, other)
    True
    """
    return (
        one.rank == other.rank
        and abs(one.objective - other.objective) < SAME
        and _permuted(_logits(one), _logits(other), [])
    )


def _logits(point: CriticalPoint) -> NDArray[np.float64]:
    """(K, K + 1): logits, which determine W and X up to rotations, and the bias."""
    return np.column_stack([point.W @ point.X, point.bias])


def _permuted(A: NDArray, B: NDArray, images: list[int]) -> bool:
    """Whether a permutation of the classes that starts with these images maps A to B, by backtracking."""
    classes, size, tolerance = len(A), len(images), SAME * max(1.0, float(np.abs(A).max()))
    if size:
        row, last = size - 1, images[-1]
        place = [*images, classes]
        apart = np.abs(A[row, [*range(size), classes]] - B[last, place]).max()
        apart = max(apart, np.abs(A[:size, row] - B[images, last]).max())
        if last in images[:-1] or apart > tolerance:
            return False
    return size == classes or any(
        _permuted(A, B, [*images, image]) for image in range(classes) if image not in images
    )


def morse_sums(points: Sequence[CriticalPoint]) -> NDArray[np.int64]:
    """Morse sums of a list of critical points for widths 1 to min(d, K - 1); all are 1 if it is complete [ceflow].

    Another value shows that an orbit of rank up to that width is missing. A single missing orbit is always detected: at
    the width equal to its rank its term is plus or minus `copies`. All ones are no proof, because two missing orbits
    may cancel.

    Parameters
    ----------
    points : sequence of CriticalPoint
        Points of one landscape, one for each orbit under permutations of classes and rotations of features, as returned
        by `Landscape.search`.

    Returns
    -------
    (min(d, K - 1),) array of ints
        ``sum_p copies(p) (-1)^index(p) (1 - chi(q(p), width - rank(p)))`` over the points of rank up to the width.
        `index` is the index of the Hessian restricted to features in the row space of W. q is the number of singular
        values of g above ``sqrt(lW lH)``. ``chi(q, m)`` is the Euler characteristic of the positive semidefinite q x q
        matrices of trace 1 and rank up to m.

    Raises
    ------
    TypeError, ValueError
        If there are no points, they have different landscapes, or one is degenerate beyond rotations of its features.

    Notes
    -----
    The objective is proper on the orbit space of features under rotations, which is contractible, and its strata are
    the ranks. In stratified Morse theory (Goresky & MacPherson 1988) the Euler characteristic 1 is the sum over the
    critical points of the sign of the index along the stratum times that of the normal data: at rank r, `width - r`
    copies of q negative directions, up to rotations of the copies.

    Examples
    --------
    >>> points = cf.theory.landscape.Landscape(3, 2, 0.1).search(starts=12)
    >>> cf.theory.landscape.morse_sums(points)
    array([1, 1])
    """
    points = list(points)
    if not points or not all(isinstance(point, CriticalPoint) for point in points):
        raise TypeError("points must be a non-empty sequence of CriticalPoint")
    problem = points[0].landscape
    if any(point.landscape != problem for point in points):
        raise ValueError("points must be of one landscape")
    widths = np.arange(1, min(problem.width, problem.classes - 1) + 1)
    found = np.zeros(len(widths), np.int64)
    for point in points:
        index, idle = _signature(point)
        for place, width in enumerate(widths):
            if width >= point.rank:
                found[place] += (-1) ** index * copies(point) * (1 - _characteristic(idle, int(width) - point.rank))
    return found


def _signature(point: CriticalPoint) -> tuple[int, int]:
    """Number of negative eigenvalues for features in the row space of W, and of singular values of g above the
    balance."""
    rank, force, balance = point.rank, point._force[1], point.landscape.balance
    values, zero = point._active[0], point._resolution
    rotations = rank * (rank - 1) // 2 + (point.landscape.bias_decay == 0.0)
    at_balance = int((np.abs(force - balance) <= math.sqrt(ZERO) * balance).sum())
    if int((np.abs(values) <= zero).sum()) != rotations or at_balance != rank:
        raise ValueError(f"points must not be degenerate, got a degenerate one with objective {point.objective:g}")
    return int((values < -zero).sum()), int((force > balance * (1.0 + math.sqrt(ZERO))).sum())


def _characteristic(q: int, m: int) -> int:
    """Euler characteristic of the positive semidefinite q x q matrices of trace 1 and rank up to m.

    Matrices of rank k are open cells of dimension k (k+1)/2 - 1 over the Grassmannian of k-spaces of R^q.
    """
    ranks = range(1, min(q, m) + 1)
    return sum((-1) ** (k * (k + 1) // 2 - 1) * _grassmannian(k, q) for k in ranks)


def _grassmannian(k: int, q: int) -> int:
    """Euler characteristic of the real Grassmannian of k-spaces of R^q."""
    return 0 if k * (q - k) % 2 else math.comb(q // 2, k // 2)
