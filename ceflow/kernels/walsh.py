"""Fast Walsh-Hadamard transform of arrays, with one or several threads; its kernels are in `butterflies`."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .._checks import checked_integer
from .butterflies import LEAF, add_by_sign, empty, transform, transform_rows
from .loading import load_compiler

__all__ = ["LEAF", "add_by_sign", "empty", "transform", "walsh_hadamard"]


def walsh_hadamard(x: ArrayLike, threads: int = 1) -> NDArray[np.float64]:
    """Walsh-Hadamard transform along the last axis.

    Parameters
    ----------
    x : (..., n) array of real numbers, n a power of two
        NaN and infinity propagate, as in `numpy.fft`.
    threads : int, optional
        Number of threads; the result does not depend on it. Several threads are faster from about 2**16 numbers on, if
        as many cores are idle.

    Returns
    -------
    (..., n) new float64 array
        ``x @ H`` with the symmetric Sylvester-Hadamard matrix ``H[i, j] = (-1)**popcount(i & j)``; unnormalized.

    Raises
    ------
    TypeError
        If x is not real, or threads is not an integer.
    ValueError
        If x is a scalar, the length of its last axis is not a power of two, or threads is less than 1.

    Examples
    --------
    >>> from ceflow.kernels.walsh import walsh_hadamard
    >>> walsh_hadamard([1, 2, 3, 4])
    array([10., -2., -4.,  0.])
    """
    array = np.asarray(x)
    if array.dtype.kind not in "iuf":
        raise TypeError(f"x must be an array of real numbers, got dtype {array.dtype}")
    n = array.shape[-1] if array.ndim else 0
    if n.bit_count() != 1:
        raise ValueError(f"the last axis of x must have a power of two as its length, got shape {array.shape}")
    threads = checked_integer("threads", threads, 1)
    result = empty(*array.shape)
    result[...] = array
    if threads > 1:
        load_compiler()
        from .threads import transform_in_threads

        transform_in_threads(result.reshape(-1), n, threads)
    else:
        transform_rows(result.reshape(-1), n)
    return result
