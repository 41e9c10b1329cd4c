"""Kernels of the fast Walsh-Hadamard transform; the public function is `walsh.walsh_hadamard`.

The transform of x is ``H @ x``, where ``H[i, j] = (-1)**popcount(i & j)`` is the Sylvester-Hadamard matrix ("natural"
order). It is unnormalized, its own inverse up to the factor n, and takes ``n log2(n)`` additions.

Level by level (h = 1, 2, 4, ..) the entries i and i + h of every block of 2h are replaced by their sum and difference.
All functions do this in different orders. The result does not depend on the processor, on threads, or on the memory
layout, not even in the last bit.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from . import Intrinsic, njit

LEAF = 2**10  # smallest block transformed level by level; up to 8 times as many entries fit in the L1 cache


@Intrinsic
def lanes():
    """Number of lanes of a vector of the processor."""
    raise NotImplementedError("vectors exist in compiled code only")


@Intrinsic
def _butterflies(x, start, stride, count, inside):
    """The three levels h = stride, 2 stride, 4 stride of 8 vectors, the k-th at ``start + k stride``.

    With a literal count of 4 or 2 instead of 8, the first two levels or one. If the literal `inside` is True, the
    levels within the vectors come first. Instructions are explicit because compilers do not vectorize plain loops like
    this.
    """
    raise NotImplementedError("vectors exist in compiled code only")


@njit(cache=True, nogil=True)
def transform(x):
    """Walsh-Hadamard transform in place: ``x <- H @ x``, in natural (Sylvester) order, unnormalized.

    Kernel for compiled code, without allocation and checks. It is 10 to 30 percent faster if x starts at a cache line
    (see `empty`).

    Parameters
    ----------
    x : (n,) contiguous float64 array, n a power of two
    """
    n, LANES = x.size, lanes()
    base = n
    while base > 8 * LANES:
        base //= 8
    if base < 2 * LANES:
        h = 1
        while h < n:
            for i in range(n):
                if i & h == 0:
                    x[i], x[i + h] = x[i] + x[i + h], x[i] - x[i + h]
            h *= 2
        return
    leaf = base
    while leaf < min(n, LEAF):
        leaf *= 8
    for start in range(0, n, leaf):
        end = start + leaf
        if base == 2 * LANES:
            for i in range(start, end, 2 * LANES):
                _butterflies(x, i, LANES, 2, True)
        elif base == 4 * LANES:
            for i in range(start, end, 4 * LANES):
                _butterflies(x, i, LANES, 4, True)
        else:
            for i in range(start, end, 8 * LANES):
                _butterflies(x, i, LANES, 8, True)
        h = base
        while h < n and end & (8 * h - 1) == 0:  # the block is complete and still in the cache, of any size
            for k in range(min(start, end - 8 * h), end, 8 * h):
                for i in range(k, k + h, LANES):
                    _butterflies(x, i, h, 8, False)
            h *= 8


@transform.vectorized
def _transform_all(x):
    h, n = 1, x.shape[-1]
    while h < n:
        pairs = x.reshape(-1, 2, h)
        np.subtract(pairs[:, 0], pairs[:, 1], out=(both := pairs.copy())[:, 1])
        np.add(pairs[:, 0], pairs[:, 1], out=both[:, 0])
        pairs[...] = both
        h *= 2


@njit(cache=True, nogil=True, _nrt=False)
def add_by_sign(plus, minus):
    """Sums over the entries x_j with ``H[i, j] = 1``, into `plus`, and with -1, into `minus`, for all i.

    ``H @ x`` is their difference. The sums need additions only, so there is no cancellation. It takes twice the time of
    `transform`. [ceflow]

    Parameters
    ----------
    plus : (n,) contiguous float64 array, n a power of two
        x at first.
    minus : (n,) contiguous float64 array
        Overwritten; must not overlap plus.
    """
    n = plus.size
    if n < 4:
        for i in range(n):
            minus[i] = 0.0
        if n == 2:
            plus[0], plus[1], minus[1] = plus[0] + plus[1], plus[0], plus[1]
        return
    for i in range(0, n, 4):  # two levels per pass
        a, b, c, d = plus[i], plus[i + 1], plus[i + 2], plus[i + 3]
        plus[i], plus[i + 1], plus[i + 2], plus[i + 3] = (a + b) + (c + d), a + c, a + b, a + d
        minus[i], minus[i + 1], minus[i + 2], minus[i + 3] = 0.0, b + d, c + d, b + c
    h = 4
    while h < n:
        for k in range(0, n, 2 * h):
            _add_block(plus[k : k + h], plus[k + h : k + 2 * h], minus[k : k + h], minus[k + h : k + 2 * h])
        h *= 2


@add_by_sign.vectorized
def _add_all(plus, minus):
    h = 1
    minus[:] = 0.0
    while h < plus.size:
        pairs, others = plus.reshape(-1, 2, h), minus.reshape(-1, 2, h)
        p, q, m, n = pairs[:, 0], pairs[:, 1], others[:, 0], others[:, 1]
        p[:], q[:], m[:], n[:] = p + q, p + n, m + n, m + q
        h *= 2


@njit(cache=True, nogil=True, _nrt=False)
def _add_block(plus, next_plus, minus, next_minus):
    for i in range(plus.size):
        p, q, m, n = plus[i], next_plus[i], minus[i], next_minus[i]
        plus[i], next_plus[i], minus[i], next_minus[i] = p + q, p + n, m + n, m + q


@njit(cache=True, nogil=True)
def transform_rows(x, n):
    for i in range(0, x.size, n):
        transform(x[i : i + n])


@transform_rows.vectorized
def _transform_all_rows(x, n):
    _transform_all(x.reshape(-1, n))


def empty(*shape: int) -> NDArray[np.float64]:
    """Uninitialized float64 array for `transform`; long arrays start at a cache line (64 bytes)."""
    size = math.prod(shape)
    if size < 2**6:  # not worth it for short arrays
        return np.empty(shape)
    array = np.empty(size + 7)
    first = -array.ctypes.data % 64 // array.itemsize
    return array[first : first + size].reshape(shape)
