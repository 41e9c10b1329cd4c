"""The nearest simplex ETF: a polar decomposition against optimizers, its gradient against differences and PyTorch."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize

from ceflow import collapse


def objective(P, F, previous=None, delta=0.0):
    """What the paper minimizes, of class means (d, K)."""
    K = F.shape[1]
    J = np.eye(K) - 1.0 / K
    centred = F @ J / np.linalg.norm(F @ J)
    near = 0.0 if previous is None else 0.5 * delta * ((P - previous) ** 2).sum()
    return ((centred - P @ J / np.sqrt(K - 1.0)) ** 2).sum() + near


def orthonormal(d, K, rng):
    return np.linalg.qr(rng.standard_normal((d, K)))[0]


@settings(max_examples=30, deadline=None)
@given(st.integers(2, 7), st.integers(0, 4), st.booleans(), st.integers(0, 10**6))
def test_no_orthonormal_matrix_is_nearer(K, more, proximal, seed):
    rng = np.random.default_rng(seed)
    F, previous = rng.standard_normal((K + more, K)), orthonormal(K + more, K, rng)
    options = {"previous": previous, "delta": 0.3} if proximal else {}
    found = collapse.nearest_etf(F, **options)
    np.testing.assert_allclose(found.P.T @ found.P, np.eye(K), atol=1e-12)
    np.testing.assert_allclose((found.W**2).sum(axis=1), 1.0, rtol=1e-12)
    best = objective(found.P, F, **options)
    for size in (1e-3, 0.1, 10.0):
        other = np.linalg.qr(found.P + size * rng.standard_normal(found.P.shape))
        other = other[0] * np.sign(np.diag(other[1]))
        assert objective(other, F, **options) >= best - 1e-12
    if not proximal:
        assert found.squared_distance == pytest.approx(best, abs=1e-12)
        nuclear = np.linalg.norm(F - F.mean(axis=1, keepdims=True), "nuc")
        nuclear /= np.linalg.norm(F - F.mean(axis=1, keepdims=True))
        assert found.squared_distance == pytest.approx(2.0 * (1.0 - nuclear / np.sqrt(K - 1.0)), abs=1e-12)


def test_an_optimizer_on_the_manifold_finds_the_same():
    """Descent over all frames, by the Cayley transform of a skew matrix."""
    rng = np.random.default_rng(3)
    F, previous = rng.standard_normal((6, 4)), orthonormal(6, 4, rng)
    options = {"previous": previous, "delta": 0.5}
    first, upper = orthonormal(6, 6, rng), np.triu_indices(6, 1)

    def frame(x):
        skew = np.zeros((6, 6))
        skew[upper] = x
        skew -= skew.T
        return np.linalg.solve(np.eye(6) + skew, np.eye(6) - skew) @ first[:, :4]

    starts = 0.3 * rng.standard_normal((6, 15))
    values = [minimize(lambda x: objective(frame(x), F, **options), start).fun for start in starts]
    found = objective(collapse.nearest_etf(F, **options).P, F, **options)
    assert min(values) >= found - 1e-12 and min(values) == pytest.approx(found, abs=1e-7)


def test_an_etf_is_its_own_nearest_one():
    W = collapse.simplex_etf(5, 7, rng=0)
    found = collapse.nearest_etf(3.0 * W.T)
    np.testing.assert_allclose(found.W, W, atol=1e-12)
    np.testing.assert_allclose(W @ W.T, (5 * np.eye(5) - 1.0) / 4.0, atol=1e-12)
    assert found.squared_distance < 1e-24 and found.unique


def test_repeated_proximal_steps_end_in_the_solution_without_the_term():
    rng = np.random.default_rng(0)
    F, P = rng.standard_normal((5, 4)), orthonormal(5, 4, rng)
    for _ in range(60):
        P = collapse.nearest_etf(F, previous=P, delta=0.05).P
    right = collapse.nearest_etf(F).W.T / np.sqrt(4.0 / 3.0)
    np.testing.assert_allclose(P - P.mean(axis=1, keepdims=True), right, atol=1e-9)


def cross_entropy(W, H, labels):
    Z = W @ H
    return float((np.log(np.exp(Z).sum(axis=0)) - Z[labels, np.arange(len(labels))]).sum())


@pytest.mark.parametrize("delta", [0.0, 0.2])
def test_the_gradient_through_the_argmin(delta):
    rng = np.random.default_rng(1)
    labels = np.array([0, 1, 2, 2, 1, 0, 2])
    H, previous = rng.standard_normal((4, 7)), orthonormal(4, 3, rng)
    options = {"previous": previous, "delta": delta} if delta else {}
    W = collapse.nearest_etf(H, labels, **options).W
    G = np.exp(W @ H) / np.exp(W @ H).sum(axis=0) - np.equal.outer(np.arange(3), labels)
    through, direct = collapse.nearest_etf_gradient(H, G @ H.T, labels, **options), W.T @ G
    numeric = np.empty_like(H)
    for i in np.ndindex(H.shape):
        near = []
        for step in (1e-6, -1e-6):
            moved = H.copy()
            moved[i] += step
            near.append(cross_entropy(collapse.nearest_etf(moved, labels, **options).W, moved, labels))
        numeric[i] = (near[0] - near[1]) / 2e-6
    np.testing.assert_allclose(through + direct, numeric, atol=1e-7)
    assert np.linalg.norm(through) > 0.05 * np.linalg.norm(direct)  # it does not vanish for cross-entropy


def test_the_gradient_vanishes_for_the_inner_objective():
    """The envelope theorem: |F / |F| - W^T / |W||^2 as a function of W alone, at its minimum."""
    F = np.random.default_rng(2).standard_normal((5, 4))
    F -= F.mean(axis=1, keepdims=True)
    slope = -2.0 * (F / np.linalg.norm(F)).T
    assert np.abs(collapse.nearest_etf_gradient(F, slope)).max() < 1e-13


@pytest.mark.parametrize("proximal", [False, True])
def test_it_is_a_layer_of_networks(proximal):
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(4)
    labels = np.array([0, 1, 2, 1, 0])
    H = torch.tensor(rng.standard_normal((4, 5)), requires_grad=True)
    options = {"previous": torch.tensor(orthonormal(4, 3, rng)), "delta": 0.1} if proximal else {}
    here = {"previous": options["previous"].numpy(), "delta": 0.1} if proximal else {}
    W, P = collapse.torch_nearest_etf(H, torch.tensor(labels), **options)
    expected = collapse.nearest_etf(H.detach().numpy(), labels, **here)
    np.testing.assert_allclose(W.detach().numpy(), expected.W, atol=1e-12)
    assert not P.requires_grad
    assert torch.autograd.gradcheck(lambda x: collapse.torch_nearest_etf(x, torch.tensor(labels), **options)[0], H)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((np.ones((3, 4)),), "same"),
        ((np.eye(2, 4),), "rows"),
        ((np.eye(4), [0, 1, 3, 3]), "labels"),
        ((np.eye(4), None, None, 0.1), "previous"),
        ((np.full((3, 3), np.nan),), "H"),
    ],
)
def test_bad_input(arguments, words):
    with pytest.raises((ValueError, TypeError), match=words):
        collapse.nearest_etf(*arguments)
