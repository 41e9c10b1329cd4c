"""Measures of features that come in batches: as of all samples at once, without cancellation, and as published."""

import mpmath
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ceflow import collapse


def features(rng, n, d, K, spread=0.5, offset=0.0):
    """(n, d) features about random class means, and labels that all occur."""
    labels = rng.permutation(np.arange(n) % K)
    return offset + rng.standard_normal((K, d))[labels] + spread * rng.standard_normal((n, d)), labels


def accumulated(K, batches):
    seen = collapse.Accumulator(K)
    for batch in batches:
        seen.add(*batch)
    return seen


def split(X, labels, cuts):
    return list(zip(np.split(X, cuts), np.split(labels, cuts), strict=True))


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(2, 5), st.integers(1, 9), st.sampled_from(["class-means", "samples"]))
def test_batches_in_any_order_are_all_samples_at_once(seed, K, d, centring):
    rng = np.random.default_rng(seed)
    n = int(rng.integers(K, 60))
    X, labels = features(rng, n, d, K, offset=rng.normal())
    labels = np.where(np.arange(n) < K, np.arange(K)[np.arange(n) % K], np.minimum(labels, labels[::-1]))  # unequal
    W, bias = rng.standard_normal((K, d)), rng.standard_normal(K)
    batches = split(X, labels, np.unique(rng.integers(1, n, 4)))
    seen = accumulated(K, batches[::-1])
    whole = collapse.measures(W, X.T, labels, bias=bias, centring=centring)
    for name, one, other in zip(
        whole._fields, seen.measures(W, bias, batches=batches, centring=centring), whole, strict=True
    ):
        np.testing.assert_allclose(one, other, rtol=1e-7 if name == "nc1" else 1e-10, atol=1e-11, err_msg=name)
    np.testing.assert_array_equal(seen.class_counts, np.bincount(labels))
    first, second = (accumulated(K, batches[i::2]) for i in (0, 1))
    first.merge(second)
    np.testing.assert_allclose(first.means, seen.means, rtol=1e-12, atol=1e-13)
    np.testing.assert_allclose(first.within, seen.within, rtol=1e-10, atol=1e-12)


def by_definition(W, X, labels, centring):
    """Straight from the definitions, on all samples. Scripts in use after Papyan, Han & Donoho take the mean of classes
    for the centre and K - 1 eigenvectors for the pseudo-inverse, do not divide NC1 by K, take the unbiased deviation of
    norms, and square the distance of self-duality; each of these is undone here."""
    K, ddof = len(W), 1
    means = np.array([X[labels == c].mean(axis=0) for c in range(K)])
    M = means - (means if centring == "class-means" else X).mean(axis=0)
    S_W = np.cov((X - means[labels]).T, bias=True)
    values, vectors = np.linalg.eigh(M.T @ M / K)
    kept = np.arange(len(values)) > len(values) - K  # K - 1, about either centre
    norms = np.sqrt((M**2).sum(axis=1))
    cosines = [M[c] @ M[e] / (norms[c] * norms[e]) for c in range(K) for e in range(K) if c != e]
    squared = ((W / np.sqrt((W**2).sum()) - M / np.sqrt((M**2).sum())) ** 2).sum()
    nearest = [min(range(K), key=lambda c: ((x - means[c]) ** 2).sum()) for x in X]
    return {
        "nc1": sum(v @ S_W @ v / value for value, v in zip(values[kept], vectors.T[kept], strict=True)) / K,
        "equinorm": norms.std(ddof=ddof) / norms.mean() * np.sqrt((K - ddof) / K),
        "maximal_angle": np.mean([abs(cosine + 1 / (K - 1)) for cosine in cosines]),
        "nc3": np.sqrt(squared),
        "nc4": np.mean(np.argmax(X @ W.T, axis=1) != nearest),
    }


@pytest.mark.parametrize("centring", ["class-means", "samples"])
@pytest.mark.parametrize("sizes", [(40, 40, 40, 40), (90, 30, 10, 5)])
def test_measures_are_those_of_published_scripts(sizes, centring):
    rng = np.random.default_rng(1)
    labels = rng.permutation(np.repeat(np.arange(4), sizes))
    X = np.maximum(rng.standard_normal((4, 12))[labels] + 0.4 * rng.standard_normal((len(labels), 12)), 0.0)
    W = rng.standard_normal((4, 12))
    batches = split(X, labels, [50, 90])
    found = accumulated(4, batches).measures(W, batches=batches, centring=centring)
    for name, value in by_definition(W, X, labels, centring).items():
        assert getattr(found, name) == pytest.approx(value, rel=1e-10), name


def test_nothing_cancels():
    """A large common offset, float32 batches, and variability of 1e-6 in some directions beside 1 in others."""
    rng = np.random.default_rng(2)
    labels = np.arange(300) % 3
    size = np.where(np.arange(6) < 2, 1e-6, 1.0)  # the class means lie where the features hardly vary
    X = np.array([[1, 0], [-1, 1], [0, -1]])[labels] @ np.eye(2, 6) + size * rng.standard_normal((300, 6))
    W = rng.standard_normal((3, 6))

    def exact(X):  # in 50 digits
        with mpmath.workdps(50):
            rows = [mpmath.matrix(row.tolist()) for row in X]
            means = [sum((rows[i] for i in range(c, 300, 3)), mpmath.zeros(6, 1)) / 100 for c in range(3)]
            centre = (means[0] + means[1] + means[2]) / 3
            A = mpmath.matrix(6, 2)
            for c in range(2):
                A[:, c] = means[c] - centre
            # M M^T = A C A^T, as the last centred mean is minus the sum of the others
            C = mpmath.matrix([[2, 1], [1, 2]])
            left = (A.T * A) ** -1 * A.T
            total = sum(
                ((left * (rows[i] - means[i % 3])).T * C**-1 * (left * (rows[i] - means[i % 3])))[0] for i in range(300)
            )
            return float(total / 300)  # tr(S_W S_B^+) / K with S_B = M M^T / K

    for offset, tolerance in ((0.0, 1e-9), (1e3, 1e-6)):
        shifted = X + offset
        seen = accumulated(3, split(shifted, labels, range(7, 300, 7)))
        assert seen.measures(W).nc1 == pytest.approx(exact(shifted), rel=tolerance)
        assert collapse.measures(W, shifted.T, labels).nc1 == pytest.approx(exact(shifted), rel=tolerance)
    # a sum of squares less the square of a sum has nothing left here
    naive = (shifted.T @ shifted - sum(100 * np.outer(m, m) for m in seen.means.T))[0, 0] / 300
    assert abs(naive / seen.within[0, 0] - 1) > 1.0
    single = shifted.astype(np.float32)
    assert accumulated(3, [(single, labels)]).within[2, 2] == pytest.approx(seen.within[2, 2], rel=1e-4)


def test_tensors_and_a_network(tmp_path):
    torch = pytest.importorskip("torch", reason="networks of PyTorch need PyTorch")
    torch.manual_seed(0)
    body, head = torch.nn.Linear(5, 4), torch.nn.Linear(4, 3)
    inputs, labels = torch.randn(60, 5), torch.arange(60) % 3
    batches = [(body(inputs[i::4]), labels[i::4]) for i in range(4)]
    found = accumulated(3, batches).measures(head.weight, head.bias, batches=batches)
    whole = collapse.measures(head.weight, body(inputs).T, labels, bias=head.bias)
    np.testing.assert_allclose(found, whole, rtol=1e-6)
    assert repr(accumulated(3, batches)) == "<Accumulator of 60 samples of 3 classes, width 4>"


def test_what_one_pass_does_not_know():
    X, labels = features(np.random.default_rng(0), 20, 4, 2)
    found = accumulated(2, [(X, labels)]).measures(np.eye(2, 4))
    assert np.isnan([found.nc4, found.margin, found.normalized_margin]).all()
    assert np.isfinite(found.nc1) and np.isfinite(found.cdnv)


X, LABELS = np.ones((4, 3)), np.array([0, 1, 0, 1])


@pytest.mark.parametrize(
    ("call", "error", "match"),
    [
        (lambda seen: collapse.Accumulator(1), ValueError, "classes must be at least 2"),
        (lambda seen: seen.add(X[0], LABELS), ValueError, r"features must be \(n, d\)"),
        (lambda seen: seen.add(X[:0], LABELS[:0]), ValueError, r"features must be \(n, d\)"),
        (lambda seen: seen.add(X[:, :2], LABELS), ValueError, "width 3 of earlier batches, got 2"),
        (lambda seen: seen.add(X * np.nan, LABELS), ValueError, "features must be from"),
        (lambda seen: seen.add(X, LABELS + 0.0), TypeError, "labels must be integers"),
        (lambda seen: seen.add(X, LABELS[:3]), ValueError, "labels must be 4 integers from 0 to 1"),
        (lambda seen: seen.add(X, LABELS + 1), ValueError, "labels must be 4 integers from 0 to 1"),
        (lambda seen: seen.merge(X), TypeError, "merge takes an Accumulator"),
        (lambda seen: seen.merge(collapse.Accumulator(3)), ValueError, "must have 2 classes, got 3"),
        (lambda seen: seen.merge(accumulated(2, [(X[:, :2], LABELS)])), ValueError, "width 3"),
        (lambda seen: seen.measures(X[:2].T), ValueError, r"W must have shape \(2, 3\)"),
        (lambda seen: seen.measures(X[:2], [1.0]), ValueError, "bias must have shape"),
        (lambda seen: seen.measures(X[:2], centring="mean"), ValueError, "centring must be one of"),
        (lambda seen: seen.measures(X[:2], batches=[(X, LABELS)] * 2), ValueError, "batches must be the added"),
        (lambda seen: seen.measures(X[:2], batches=iter(())), ValueError, "batches must be the added"),
        (lambda seen: accumulated(2, [(X, 0 * LABELS)]).measures(X[:2]), ValueError, r"none of \[1\]"),
        (lambda seen: collapse.Accumulator(2).measures(X[:2]), ValueError, r"none of \[0, 1\]"),
    ],
)
def test_errors(call, error, match):
    seen = accumulated(2, [(X, LABELS)])
    with pytest.raises(error, match=match):
        call(seen)
    assert seen.class_counts.tolist() == [2, 2] and seen.merge(collapse.Accumulator(2)) is None
