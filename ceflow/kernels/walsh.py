"""The fast Walsh-Hadamard transform.

The transform of x is ``H @ x``, where ``H[i, j] = (-1)**popcount(i & j)`` is the Sylvester-Hadamard matrix ("natural"
order). It is unnormalized, its own inverse up to the factor n, and takes ``n log2(n)`` additions.

Level by level (h = 1, 2, 4, ..) the entries i and i + h of every block of 2h are replaced by their sum and difference.
Everything here does just that, in other orders: the result does not depend on the processor, on threads, or on how the
array lies in memory, not even in the last bit.
"""

from __future__ import annotations

import math

import numpy as np
from llvmlite import ir
from numba import njit, prange, types
from numba.core.errors import TypingError
from numba.core.registry import cpu_target
from numba.extending import intrinsic
from numpy.typing import ArrayLike, NDArray

from .._checks import checked_integer

# Compiled code is cached per processor, with the features that Numba compiles for as the key; they are in this tuple.
LANES = 8 if "+avx512f" in cpu_target.target_context.codegen().magic_tuple()[2] else 4  # numbers in one vector
LEAF = 2**10  # entries, at least, that are transformed level by level; up to 8 times as many, and still in the L1 cache


@intrinsic(prefer_literal=True)
def _butterflies(typing_context, x, start, stride, count, inside):
    """The three levels h = stride, 2 stride, 4 stride of 8 vectors of LANES entries, the k-th at ``start + k stride``.

    With a literal count of 4 or 2 instead of 8, the first two levels or one. If the literal `inside` is True, then the
    levels inside the vectors come first. These instructions are spelled out as compilers find none such in plain loops.
    """
    if not (x.layout == "C" and x.dtype == types.float64 and x.mutable):
        raise TypingError(f"the transform needs a contiguous, writable array of float64, got {x}")
    n = count.literal_value

    def instructions(context, builder, signature, arguments):
        vector, indices = ir.VectorType(ir.DoubleType(), LANES), ir.VectorType(ir.IntType(32), LANES)
        data = context.make_array(x)(context, builder, arguments[0]).data
        starts = [builder.add(arguments[1], builder.mul(arguments[2], arguments[2].type(k))) for k in range(n)]
        pointers = [builder.bitcast(builder.gep(data, [i]), vector.as_pointer()) for i in starts]
        v = [builder.load(pointer, align=8) for pointer in pointers]  # aligned as a float64, not as a vector
        for h in (1, 2, 4):
            if inside.literal_value and h < LANES:  # fused into one rounding, and a product with ±1 is exact anyway
                swap = ir.Constant(indices, [k ^ h for k in range(LANES)])
                signs = ir.Constant(vector, [-1.0 if k & h else 1.0 for k in range(LANES)])
                for k in range(n):
                    signed = builder.fmul(v[k], signs, flags=("contract",))
                    v[k] = builder.fadd(builder.shuffle_vector(v[k], v[k], swap), signed, flags=("contract",))
        for h in (1, 2, 4):
            for k in range(n):
                if h < n and not k & h:
                    v[k], v[k + h] = builder.fadd(v[k], v[k + h]), builder.fsub(v[k], v[k + h])
        for k in range(n):
            builder.store(v[k], pointers[k], align=8)
        return context.get_dummy_value()

    return types.void(x, types.intp, types.intp, count, inside), instructions


@njit(cache=True, nogil=True)
def transform(x):
    """Walsh-Hadamard transform in place: ``x <- H @ x``, in natural (Sylvester) order, unnormalized.

    A kernel, to be called from compiled code: it allocates nothing and checks nothing. It is faster by a tenth to a
    third if x begins on a cache line (see `empty`).

    Parameters
    ----------
    x : (n,) contiguous float64 array, n a power of two
    """
    n = x.size
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
        while h < n and end & (8 * h - 1) == 0:  # the block is complete and, whatever the size of a cache, still in it
            for k in range(min(start, end - 8 * h), end, 8 * h):
                for i in range(k, k + h, LANES):
                    _butterflies(x, i, h, 8, False)
            h *= 8


@njit(cache=True, nogil=True, _nrt=False)
def add_by_sign(plus, minus):
    """Sums over the entries x_j with ``H[i, j] = 1``, into `plus`, and with -1, into `minus`, for all i.

    ``H @ x`` is their difference; they themselves are had by additions alone, so that none of them loses accuracy,
    however different the entries are. It takes twice the time of `transform`.

    A kernel like that. [ceflow]

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
    for i in range(0, n, 4):  # two levels at once
        a, b, c, d = plus[i], plus[i + 1], plus[i + 2], plus[i + 3]
        plus[i], plus[i + 1], plus[i + 2], plus[i + 3] = (a + b) + (c + d), a + c, a + b, a + d
        minus[i], minus[i + 1], minus[i + 2], minus[i + 3] = 0.0, b + d, c + d, b + c
    h = 4
    while h < n:
        for k in range(0, n, 2 * h):
            _add_block(plus[k : k + h], plus[k + h : k + 2 * h], minus[k : k + h], minus[k + h : k + 2 * h])
        h *= 2


@njit(cache=True, nogil=True, _nrt=False)
def _add_block(plus, next_plus, minus, next_minus):
    for i in range(plus.size):
        p, q, m, n = plus[i], next_plus[i], minus[i], next_minus[i]
        plus[i], next_plus[i], minus[i], next_minus[i] = p + q, p + n, m + n, m + q


@njit(cache=True, nogil=True)
def _transform_rows(x, n):
    for i in range(0, x.size, n):
        transform(x[i : i + n])


@njit(cache=True, nogil=True)
def _part_of_columns(x, h, first, end):
    for k in range(0, x.size, 8 * h):
        for i in range(k + first, k + end, LANES):
            _butterflies(x, i, h, 8, False)


@njit(cache=True, parallel=True)
def transform_in_threads(x, n, threads):
    """`transform` of every row of n entries of x, the work shared by threads; for rows that are many, or long.

    A kernel like `transform`, with the same result; it takes some 3 s to compile where it has never been used. Do not
    call it from several threads at once: not all of Numba's threading layers allow that.

    Parameters
    ----------
    x : (n * rows,) contiguous float64 array
    n : int
        Length of a row, a power of two.
    threads : int
        Number of parts; at most ``numba.config.NUMBA_NUM_THREADS`` of them run at the same time.
    """
    h = n
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


def empty(*shape: int) -> NDArray[np.float64]:
    """An uninitialized float64 array for `transform`: if it is long, it begins on a cache line (64 bytes)."""
    size = math.prod(shape)
    if size < 2**6:  # would cost more than it gains
        return np.empty(shape)
    array = np.empty(size + 7)
    first = -array.ctypes.data % 64 // array.itemsize
    return array[first : first + size].reshape(shape)


def walsh_hadamard(x: ArrayLike, threads: int = 1) -> NDArray[np.float64]:
    """Walsh-Hadamard transform along the last axis.

    Parameters
    ----------
    x : (..., n) array of real numbers, n a power of two
        NaN and infinity propagate, as in `numpy.fft`.
    threads : int, optional
        Number of threads to share the work; the result is the same. More than one pays from about 2**16 numbers on, if
        as many cores are idle: a thread that has to wait for its turn on a core keeps the others waiting.

    Returns
    -------
    (..., n) new float64 array
        ``x @ H``, with H the symmetric Sylvester-Hadamard matrix ``H[i, j] = (-1)**popcount(i & j)``; unnormalized.

    Raises
    ------
    TypeError
        If x does not hold real numbers, or threads is not an integer.
    ValueError
        If x is a scalar, the length of its last axis is not a power of two, or threads is less than 1.

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
    threads = checked_integer("threads", threads, 1)
    result = empty(*array.shape)
    result[...] = array
    if threads > 1:
        transform_in_threads(result.reshape(-1), n, threads)
    else:
        _transform_rows(result.reshape(-1), n)
    return result
