"""Walsh-Hadamard transform in Numba threads."""

from __future__ import annotations

from numba import njit, prange

from .butterflies import _butterflies, lanes, transform


@njit(cache=True, nogil=True)
def _part_of_columns(x, h, first, end):
    LANES = lanes()
    for k in range(0, x.size, 8 * h):
        for i in range(k + first, k + end, LANES):
            _butterflies(x, i, h, 8, False)


@njit(cache=True, parallel=True)
def transform_in_threads(x, n, threads):
    """Apply `transform` to every row of n entries of x in several threads, for many or long rows.

    A kernel like `transform`, with the same result; its first compilation takes about 3 s. Do not call it from several
    threads at once, which not all of Numba's threading layers support.

    Parameters
    ----------
    x : (n * rows,) contiguous float64 array
    n : int
        Length of a row, a power of two.
    threads : int
        Number of parts; at most ``numba.config.NUMBA_NUM_THREADS`` of them run at the same time.
    """
    h, LANES = n, lanes()
    while x.size // h < threads and h >= 2**12:
        h //= 8
    pieces = x.size // h
    for t in prange(threads):
        for i in range(t * pieces // threads, (t + 1) * pieces // threads):
            transform(x[i * h : (i + 1) * h])
    while h < n:
        vectors = h // LANES
        for t in prange(threads):
            _part_of_columns(x, h, t * vectors // threads * LANES, (t + 1) * vectors // threads * LANES)
        h *= 8
