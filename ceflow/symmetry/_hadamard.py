"""The scheme of Hadamard initialization."""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .._checks import checked_integer
from ..kernels import KERNEL, njit
from ..kernels.butterflies import add_by_sign, transform
from ..kernels.lanes import LANES, load, splat, store
from ..kernels.linking import linked, vector
from ._registry import register
from ._scheme import Scheme, frozen
from ._symmetry import MAX_ENTRIES
from ._transform import TRANSFORM, Transform, Transforms


@linked(*TRANSFORM)
def _fast(matrix, work, spare, out, modes):
    """Margins or forces, by the fast transform, which has subtractions."""
    work, out = vector(work, modes + 1), vector(out, modes)
    work[0] = 0.0
    transform(work)
    for i in range(modes):
        out[i] = work[0] - work[i + 1]
    return 0.0


@linked(*TRANSFORM)
def _fast_by_lanes(matrix, work, spare, out, modes):
    n = (modes + 1) * LANES
    work, out = vector(work, n), vector(out, modes * LANES)
    store(work, 0, splat(0.0))
    h, top = LANES, splat(0.0)
    while 4 * h < n:  # two levels per pass
        for k in range(0, n, 4 * h):
            for i in range(k, k + h, LANES):
                a, b, c, d = _two_levels(work, i, h)
                store(work, i, a)
                store(work, i + h, b)
                store(work, i + 2 * h, c)
                store(work, i + 3 * h, d)
        h *= 4
    for i in range(0, h, LANES):  # the last two levels, or the last one
        if 4 * h == n:
            a, b, c, d = _two_levels(work, i, h)
        else:
            a, b = load(work, i), load(work, i + h)
            a, b, c, d = a + b, a - b, top, top
        if i == 0:
            top = a
        else:
            store(out, i - LANES, top - a)
        store(out, i + h - LANES, top - b)
        if 4 * h == n:
            store(out, i + 2 * h - LANES, top - c)
            store(out, i + 3 * h - LANES, top - d)
    return 0.0


@njit(**KERNEL)
def _two_levels(x, i, h):
    """Two levels of the transform, of four vectors from number i on, h numbers apart."""
    a, b, c, d = load(x, i), load(x, i + h), load(x, i + 2 * h), load(x, i + 3 * h)
    a, b, c, d = a + b, a - b, c + d, c - d
    return a + c, b + d, a - c, b - d


@linked(*TRANSFORM)
def _by_sign(matrix, work, spare, out, modes):
    """Margins or forces by additions only, in twice the time."""
    work, spare, out = vector(work, modes + 1), vector(spare, modes + 1), vector(out, modes)
    work[0] = 0.0
    add_by_sign(work, spare)
    for i in range(modes):
        out[i] = 2.0 * spare[i + 1]
    return 0.0


NO_MATRIX = frozen(np.empty((0, 0)))
_FAST = Transform(_fast, NO_MATRIX, _fast_by_lanes)
TRANSFORMS = Transforms(_FAST, _FAST, Transform(_by_sign, NO_MATRIX))


@dataclass(frozen=True, eq=False, repr=False)
class _Hadamard(Scheme):
    @property
    def transforms(self) -> Transforms:
        return TRANSFORMS

    def _eigenvalues(self) -> NDArray[np.float64]:
        steps = self.classes.bit_length() - 1
        return functools.reduce(np.kron, [np.array([[1.0, 1.0], [1.0, -1.0]])] * steps)

    def _relations(self) -> NDArray[Any]:
        points = np.arange(self.classes)
        return np.bitwise_xor.outer(points, points)

    def _eigenvectors(self) -> NDArray[np.float64]:
        return self._eigenvalues() / math.sqrt(self.classes)


@register("K a power of 2")
def hadamard(K: int) -> Scheme:
    """Scheme of the group Z_2^n on K = 2^n points: x and y are in relation ``x XOR y``.

    This is the scheme of Hadamard initialization (arXiv:2512.04006). The basis is the Sylvester-Hadamard matrix in
    natural order, divided by sqrt(K). All valencies and multiplicities are 1. Transforms are fast Walsh-Hadamard
    transforms.

    Parameters
    ----------
    K : int
        A power of two from 2 to 2**28.

    Raises
    ------
    TypeError, ValueError
        If K is invalid.

    Examples
    --------
    >>> cf.hadamard(4).relations()
    array([[0, 1, 2, 3],
           [1, 0, 3, 2],
           [2, 3, 0, 1],
           [3, 2, 1, 0]])
    >>> cf.hadamard(4).eigenmatrix
    array([[ 1.,  1.,  1.,  1.],
           [ 1., -1.,  1., -1.],
           [ 1.,  1., -1., -1.],
           [ 1., -1., -1.,  1.]])
    """
    K = checked_integer("K", K, 2)
    if K.bit_count() != 1 or K > MAX_ENTRIES:
        raise ValueError(f"K must be a power of two from 2 to {MAX_ENTRIES}, got {K}")
    ones = frozen(np.ones(K))
    return _Hadamard("hadamard", (K,), K, ones, ones)
