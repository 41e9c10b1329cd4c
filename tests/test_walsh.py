"""The Walsh-Hadamard transform against its definition and its invariants."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.linalg import hadamard

from ceflow.walsh import BLOCK, transform, walsh_hadamard

vectors = st.tuples(st.integers(0, 14), st.integers(0, 2**32 - 1), st.floats(-200, 200)).map(
    lambda case: 10 ** case[2] * np.random.default_rng(case[1]).standard_normal(2 ** case[0])
)
deterministic = settings(deadline=None, derandomize=True, max_examples=60)


@pytest.mark.parametrize("log_n", range(12))
def test_transform_is_the_sylvester_hadamard_matrix(log_n):
    n = 2**log_n
    x = np.random.default_rng(log_n).integers(-1000, 1000, n).astype(float)
    expected = hadamard(n) @ x
    transform(x)
    np.testing.assert_array_equal(x, expected)  # integers: exact


@pytest.mark.parametrize("n", [2 * BLOCK, 4 * BLOCK, 32 * BLOCK])
def test_transform_of_unit_vectors_beyond_one_block(n):
    index = np.arange(n)
    for i in (0, 1, BLOCK, n // 2 + 5, n - 1):
        x = (index == i).astype(float)
        transform(x)
        np.testing.assert_array_equal(x, 1.0 - 2.0 * (np.bitwise_count(index & i) % 2))


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
