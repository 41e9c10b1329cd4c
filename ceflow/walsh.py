"""The fast Walsh-Hadamard transform.

The transform of x is ``H @ x``, where ``H[i, j] = (-1)**popcount(i & j)`` is the Sylvester-Hadamard matrix ("natural"
order). It is unnormalized, its own inverse up to the factor n, and takes ``n log2(n)`` additions.
"""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import ArrayLike, NDArray

BLOCK = 2**12  # entries that stay in the first-level cache (32 KiB) while all passes over them are made


@njit(cache=True)
def _butterfly(x, i, h):
    """Two levels at once (radix 4): transform the entries i, i + h, i + 2h and i + 3h of x in place."""
    a, b = x[i] + x[i + h], x[i] - x[i + h]
    c, d = x[i + 2 * h] + x[i + 3 * h], x[i + 2 * h] - x[i + 3 * h]
    x[i], x[i + h], x[i + 2 * h], x[i + 3 * h] = a + c, b + d, a - c, b - d


@njit(cache=True)
def transform(x):
    """Walsh-Hadamard transform in place: ``x <- H @ x``, in natural (Sylvester) order, unnormalized.

    A kernel, to be called from compiled code: it allocates nothing and checks nothing.

    Parameters
    ----------
    x : (n,) contiguous float64 array, n a power of two
    """
    n = x.size
    h = 1  # length of the consecutive pieces that are transformed already
    if n > BLOCK:
        h = n // 4
        for i in range(4):
            transform(x[i * h : (i + 1) * h])
    elif n >= 16:
        for k in range(0, n, 16):  # both strides known to the compiler, which unrolls and vectorizes these loops
            piece = x[k : k + 16]
            for i in range(0, 16, 4):
                _butterfly(piece, i, 1)
            for i in range(4):
                _butterfly(piece, i, 4)
        h = 16
    while 4 * h <= n:
        for k in range(0, n, 4 * h):
            piece = x[k : k + 4 * h]
            for i in range(h):
                _butterfly(piece, i, h)
        h *= 4
    if h < n:
        for i in range(h):
            x[i], x[i + h] = x[i] + x[i + h], x[i] - x[i + h]


@njit(cache=True)
def _transform_rows(rows):
    for i in range(len(rows)):
        transform(rows[i])


def walsh_hadamard(x: ArrayLike) -> NDArray[np.float64]:
    """Walsh-Hadamard transform along the last axis.

    Parameters
    ----------
    x : (..., n) array of real numbers, n a power of two
        NaN and infinity propagate, as in `numpy.fft`.

    Returns
    -------
    (..., n) new float64 array
        ``x @ H``, with H the symmetric Sylvester-Hadamard matrix ``H[i, j] = (-1)**popcount(i & j)``; unnormalized.

    Raises
    ------
    TypeError
        If x does not hold real numbers.
    ValueError
        If x is a scalar, or the length of its last axis is not a power of two.

    Examples
    --------
    >>> walsh_hadamard([1, 2, 3, 4])
    array([10., -2., -4.,  0.])
    """
    array = np.asarray(x)
    if array.dtype.kind not in "iuf":
        raise TypeError(f"x must be an array of real numbers, got dtype {array.dtype}")
    n = array.shape[-1] if array.ndim else 0
    if n.bit_count() != 1:
        raise ValueError(f"the last axis of x must have a power of two as its length, got shape {array.shape}")
    result = np.array(array, np.float64, order="C")
    _transform_rows(result.reshape(-1, n))
    return result
