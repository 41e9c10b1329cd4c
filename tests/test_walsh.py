"""The Walsh-Hadamard transform against its definition, its invariants, and a plain loop, bit by bit."""

import os
import subprocess
import sys
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numba.core.errors import TypingError
from scipy.linalg import hadamard

from ceflow.kernels import Kernel, machine
from ceflow.kernels.threads import transform_in_threads
from ceflow.kernels.walsh import LEAF, add_by_sign, empty, transform, walsh_hadamard

vectors = st.tuples(st.integers(0, 14), st.integers(0, 2**32 - 1), st.floats(-200, 200)).map(
    lambda case: 10 ** case[2] * np.random.default_rng(case[1]).standard_normal(2 ** case[0])
)

# compares what it transforms with what it should be; prints how often compiled code was loaded, and the vectors' length
FRESH_PROCESS = """
import sys
import numpy as np
import ceflow
from ceflow.kernels import walsh
ceflow.settings.compiled = True
with np.load(sys.argv[1]) as case:
    for size in case:
        if size[0] == "x":
            x = case[size].copy()
            walsh.transform(x)
            np.testing.assert_array_equal(x, case["H" + size])
from ceflow.kernels import machine
print(sum(walsh.transform.dispatcher.stats.cache_hits.values()), machine.LANES)
"""
deterministic = settings(deadline=None, derandomize=True, max_examples=60)


def level_by_level(x):
    """The plain loop whose order of operations every implementation must keep."""
    h = 1
    while h < x.size:
        a, b = np.moveaxis(x.reshape(-1, 2, h), 1, 0)
        x = np.stack([a + b, a - b], axis=1).reshape(-1)
        h *= 2
    return x


def numbers(n):
    """Numbers of many magnitudes, so that every sum is rounded; among them zeros of both signs."""
    rng = np.random.default_rng(n)
    x = rng.standard_normal(n) * 10.0 ** rng.integers(-20, 20, n)
    return np.where(rng.random(n) < 0.1, np.copysign(0.0, x), x)


def assert_same_bits(x, expected):
    np.testing.assert_array_equal(x.view(np.int64), expected.view(np.int64))


@pytest.mark.parametrize("log_n", [*range(15), 17, 18, 19])
def test_the_result_is_that_of_the_plain_loop_to_the_last_bit(log_n):
    x = numbers(2**log_n)
    expected = level_by_level(x)
    assert_same_bits(walsh_hadamard(x), expected)
    for offset in range(1, 8):  # anywhere in a cache line
        shifted = np.empty(x.size + offset)[offset:]
        shifted[:] = x
        transform(shifted)
        assert_same_bits(shifted, expected)


@pytest.mark.parametrize("lanes", [2, 8])
def test_vectors_of_any_length_give_the_same_bits(monkeypatch, lanes):
    monkeypatch.setattr(machine, "LANES", lanes)
    kernel = Kernel(transform.function, {}).dispatcher
    for log_n in range(15):
        x = numbers(2**log_n)
        expected = level_by_level(x)
        kernel(x)
        assert_same_bits(x, expected)


def test_other_processes_and_processors_get_the_same_bits_from_the_same_cache(tmp_path):
    cases = {f"x{n}": numbers(2**n) for n in range(15)}
    np.savez(tmp_path / "cases.npz", **cases, **{"H" + key: level_by_level(x) for key, x in cases.items()})

    def run(**environment):
        command = [sys.executable, "-c", FRESH_PROCESS, str(tmp_path / "cases.npz")]
        environment = {**os.environ, **environment}
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout.split()

    transform(np.zeros(1))  # so that it is in the cache
    # a processor without fused operations and wide vectors: compiled anew, unless this test did so before
    assert run(NUMBA_CPU_NAME="generic", NUMBA_CPU_FEATURES="")[1] == "4"
    assert run() == ["1", str(machine.LANES)]


@pytest.mark.parametrize(
    ("rows", "n"), [(1, 1), (1, 8), (1, 2**12), (1, 2**16), (1, 2**18), (2, 2**13), (5, 2**14), (64, 32), (3, 2)]
)
def test_threads_give_the_same_bits(rows, n):
    x = numbers(rows * n).reshape(rows, n)
    expected = np.array([level_by_level(row) for row in x])
    for threads in (1, 2, 3, 9):
        assert_same_bits(walsh_hadamard(x, threads=threads), expected)
        flat = x.reshape(-1).copy()
        transform_in_threads(flat, n, threads)
        assert_same_bits(flat.reshape(rows, n), expected)


def test_only_arrays_that_the_kernel_can_write_to_as_a_whole_are_accepted():
    read_only = np.zeros(8)
    read_only.setflags(write=False)
    for x in (np.zeros(16)[::2], read_only, np.zeros(8, np.float32)):
        with pytest.raises(TypingError):
            transform(x)


def test_long_arrays_begin_on_a_cache_line():
    for shape in [(2**9,), (3, 2**10), (2**15 + 1,)]:
        array = empty(*shape)
        assert array.shape == shape and array.dtype == np.float64 and array.flags.c_contiguous
        assert array.ctypes.data % 64 == 0
    assert empty(0).size == 0 and empty(3, 2).shape == (3, 2)


@pytest.mark.parametrize("log_n", range(12))
def test_transform_is_the_sylvester_hadamard_matrix(log_n):
    n = 2**log_n
    x = np.random.default_rng(log_n).integers(-1000, 1000, n).astype(float)
    expected = hadamard(n) @ x
    transform(x)
    np.testing.assert_array_equal(x, expected)  # integers: exact


@pytest.mark.parametrize("n", [8 * LEAF, 16 * LEAF, 128 * LEAF])
def test_transform_of_unit_vectors_beyond_one_leaf(n):
    index = np.arange(n)
    for i in (0, 1, LEAF, n // 2 + 5, n - 1):
        x = (index == i).astype(float)
        transform(x)
        np.testing.assert_array_equal(x, 1.0 - 2.0 * (np.array([j.bit_count() for j in (index & i).tolist()]) % 2))


@deterministic
@given(vectors)
def test_transform_is_an_involution_up_to_n(x):
    twice = walsh_hadamard(walsh_hadamard(x)) / x.size
    np.testing.assert_allclose(twice, x, rtol=0, atol=1e-14 * np.abs(x).sum())


@deterministic
@given(vectors)
def test_parseval(x):
    scaled = x / np.abs(x).max()
    np.testing.assert_allclose(np.sum(walsh_hadamard(scaled) ** 2), x.size * np.sum(scaled**2), rtol=1e-12)


@deterministic
@given(vectors, st.floats(-1e3, 1e3), st.integers(0, 2**32 - 1))
def test_linearity(x, factor, seed):
    x, y = x / np.abs(x).max(), np.random.default_rng(seed).standard_normal(x.size)
    together = walsh_hadamard(x + factor * y)
    size = np.abs(x).sum() + abs(factor) * np.abs(y).sum()
    np.testing.assert_allclose(together, walsh_hadamard(x) + factor * walsh_hadamard(y), rtol=0, atol=1e-14 * size)


@deterministic
@given(vectors, st.integers(0, 2**32 - 1))
def test_xor_convolution_becomes_a_product(x, seed):
    scaled, shift = x / np.abs(x).max(), seed % x.size
    character = walsh_hadamard((np.arange(x.size) == shift).astype(float))
    shifted = scaled[np.arange(x.size) ^ shift]
    np.testing.assert_allclose(walsh_hadamard(shifted), walsh_hadamard(scaled) * character, rtol=0, atol=1e-11)


def test_batches_are_transformed_along_the_last_axis_and_never_in_place():
    x = np.random.default_rng(0).integers(-9, 9, (3, 2, 8))
    before = x.copy()
    np.testing.assert_array_equal(walsh_hadamard(x), x @ hadamard(8))
    np.testing.assert_array_equal(x, before)
    transposed = x.astype(float).transpose(1, 0, 2)[:, ::-1]  # not contiguous
    np.testing.assert_array_equal(walsh_hadamard(transposed), transposed @ hadamard(8))
    assert walsh_hadamard(np.empty((0, 4))).shape == (0, 4)
    assert walsh_hadamard(np.float32([1, 2])).dtype == np.float64


@pytest.mark.parametrize("shape", [(), (0,), (3,), (4, 6), (4, 0)])
def test_lengths_other_than_powers_of_two_are_refused(shape):
    with pytest.raises(ValueError, match=r"the last axis of x must have a power of two as its length, got shape \("):
        walsh_hadamard(np.zeros(shape))


@pytest.mark.parametrize("x", [[1j, 2], [True, False], ["a", "b"], [None, 1.0]])
def test_values_that_are_not_real_numbers_are_refused(x):
    with pytest.raises(TypeError, match="x must be an array of real numbers, got dtype"):
        walsh_hadamard(x)


@pytest.mark.parametrize(("threads", "error"), [(0, ValueError), (-2, ValueError), (1.5, TypeError), (True, TypeError)])
def test_threads_are_counted(threads, error):
    with pytest.raises(error, match=f"threads must be .*, got {threads}"):
        walsh_hadamard(np.zeros(4), threads=threads)


@pytest.mark.parametrize("n", [1, 2, 4, 32, 512])
def test_sums_by_sign_lose_no_accuracy(n):
    """Entries over 60 orders of magnitude, against sums of fractions."""
    x = 10.0 ** np.random.default_rng(n).uniform(-60.0, 0.0, n)
    signs = hadamard(n)
    plus, minus = x.copy(), np.full(n, np.nan)
    add_by_sign(plus, minus)
    for i in range(0, n, max(1, n // 16)):
        for found, sign in ((plus[i], 1), (minus[i], -1)):
            exact = float(sum((Fraction(v) for v in x[signs[i] == sign]), Fraction(0)))
            assert found == pytest.approx(exact, rel=1e-14, abs=0.0)
