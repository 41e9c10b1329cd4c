"""Softmax codes: distances from convex hulls against linear programs, codes against searches, and states as codes."""

import itertools
import math

import numpy as np
import pytest
import scipy
from hypothesis import given, settings
from hypothesis import strategies as st

import ceflow as cf
from ceflow.theory import codes

CLOSED = [(2, 1), (2, 4), (3, 2), (5, 4), (5, 7), (4, 2), (5, 3), (7, 4), (12, 6), (11, 9), (5, 2), (9, 2), (100, 2)]


def smallest(points):
    return codes.one_vs_rest(points).distances.min()


def unit(points):
    return points / np.linalg.norm(points, axis=-1, keepdims=True)


# -- distances ---------------------------------------------------------------------------------------------------------


@settings(deadline=None, max_examples=40)
@given(st.integers(2, 9), st.integers(1, 5), st.integers(0, 10**6), st.sampled_from([1e-120, 1.0, 1e100]))
def test_distances_by_duality(K, d, seed, size):
    """The margin of the direction bounds the distance from below, a point of the hull from above."""
    points = size * np.random.default_rng(seed).normal(size=(K, d))
    distances, directions = codes.one_vs_rest(points)
    for k in range(K):
        others = np.delete(points, k, axis=0) / size
        margins = (points[k] / size - others) @ directions[k]
        assert margins.min() >= distances[k] / size - 1e-12
        nearest = points[k] / size - distances[k] / size * directions[k]
        found = scipy.optimize.linprog(
            np.zeros(K - 1), A_eq=np.vstack([others.T, np.ones(K - 1)]), b_eq=np.append(nearest, 1.0)
        )
        assert found.success


def test_distances_by_hand():
    square = np.array([[0.0, 0.0], [2.0, 0.0], [0.0, 2.0], [2.0, 2.0], [1.0, 1.0]])
    distances, directions = codes.one_vs_rest(square)
    np.testing.assert_allclose(distances, [math.sqrt(2)] * 4 + [0.0], atol=1e-15)
    np.testing.assert_allclose(directions[0], [-math.sqrt(0.5)] * 2, atol=1e-15)
    assert not directions[4].any()
    np.testing.assert_allclose(codes.one_vs_rest([[1.0], [1.0], [-3.0]]).distances, [0, 0, 4])


# -- codes -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("K", "d"), CLOSED)
def test_closed_codes_have_the_largest_distance(K, d):
    W = codes.code(K, d)
    np.testing.assert_allclose(np.linalg.norm(W, axis=1), 1.0, rtol=1e-15)
    np.testing.assert_allclose(W.sum(axis=0), 0.0, atol=1e-14)
    np.testing.assert_allclose(codes.one_vs_rest(W).distances.min(), codes.largest_distance(K, d), rtol=1e-13)
    assert np.linalg.matrix_rank(W) == min(d, K - 1)


@pytest.mark.parametrize(("K", "d"), [(4, 3), (3, 3), (4, 2), (5, 3), (7, 4), (5, 2), (7, 2)])
def test_searches_find_the_closed_form_and_no_more(K, d):
    assert smallest(codes.search(K, d, starts=3)) == pytest.approx(codes.largest_distance(K, d), abs=1e-11)


def test_known_arrangements_are_found():
    """The icosahedron; the Petersen code of ten points in four dimensions, edges of the complete graph on five."""
    golden = (1 + math.sqrt(5)) / 2
    corners = unit(np.array([np.roll([0, a, b * golden], s) for a in (1, -1) for b in (1, -1) for s in range(3)]))
    assert smallest(corners) == pytest.approx(1 - 1 / math.sqrt(5), abs=1e-14)
    edges = np.array([np.isin(range(5), pair) for pair in itertools.combinations(range(5), 2)], float)
    petersen = unit(edges - edges.mean(axis=0))
    assert smallest(petersen) == pytest.approx(5 / 6, abs=1e-14)
    for (K, d), best in {(12, 3): smallest(corners), (10, 4): smallest(petersen), (9, 3): 2 / 3}.items():
        assert smallest(codes.search(K, d, starts=3)) == pytest.approx(best, abs=1e-11)


def cold(K, d, beta, seed):
    """Classifier and features of norm 1 where the logarithm of cross-entropy at the temperature 1/beta, which is
    ``logsumexp(-beta margins)`` but for terms of its square, is smallest: from colder and colder runs."""
    y, right = np.random.default_rng(seed).normal(size=2 * K * d), np.eye(K, dtype=bool)
    for b in np.geomspace(2.0, beta, 5):

        def loss(y, b=b):
            sizes = np.linalg.norm(y.reshape(2, K, d), axis=2, keepdims=True)
            W, H = y.reshape(2, K, d) / sizes
            excess = b * np.where(right, -np.inf, H @ W.T - np.sum(H * W, axis=1)[:, None])
            P = scipy.special.softmax(excess)
            P -= np.diag(P.sum(axis=1))
            G = np.stack([P.T @ H, P @ W])
            G = (G - (G * [W, H]).sum(axis=2, keepdims=True) * [W, H]) / sizes
            return scipy.special.logsumexp(excess) / b, G.ravel()

        y = scipy.optimize.minimize(loss, y, jac=True, method="L-BFGS-B", options={"maxiter": 1000}).x
    return unit(y.reshape(2, K, d))


@pytest.mark.parametrize(("K", "d"), [(7, 3), (8, 3), (6, 2)])
def test_cross_entropy_at_low_temperature_comes_to_codes(K, d):
    """Its minimum has the margin of the code, up to log(K (K - 1)) / beta."""
    beta, best = 200.0, smallest(codes.search(K, d, starts=3))
    found = [cf.collapse.softmax_code(W, H.T) for W, H in (cold(K, d, beta, seed) for seed in range(3))]
    top = max(found, key=lambda state: state.margin)
    assert best - math.log(K * (K - 1)) / beta <= top.margin <= top.classifier <= best + 1e-12


@settings(deadline=None, max_examples=40)
@given(st.sampled_from(CLOSED[:-1]), st.integers(0, 10**6), st.sampled_from([0.01, 0.3, 10.0]))
def test_no_points_are_further_apart(sizes, seed, noise):
    W = codes.code(*sizes)
    W = unit(W + noise * np.random.default_rng(seed).normal(size=W.shape))
    assert smallest(W) <= codes.largest_distance(*sizes) + 1e-13


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 10**6), st.booleans())
def test_codes_between_are_those_without_acute_angles(seed, acute):
    """d + 2 to 2d points: simplices in orthogonal spaces, of any shape whose inside has 0, have the distance 1."""
    rng = np.random.default_rng(seed)
    W = np.zeros((7, 5))  # a simplex of three, one of two, and a basis of two
    angles = np.cumsum(rng.dirichlet([9.0] * 3)) * 2 * math.pi
    W[:3, :2] = np.column_stack([np.cos(angles), np.sin(angles)])
    W[3, 2], W[4, 2], W[5, 3], W[6, 4] = 1.0, -1.0, 1.0, 1.0
    gram = W @ W.T
    if acute:
        W[5] = unit(W[5] + 0.1 * W[6])
    elif np.max(gram[~np.eye(7, dtype=bool)]) > 0.0:
        return
    W = W @ scipy.stats.ortho_group.rvs(5, random_state=seed)
    assert smallest(W) == pytest.approx(1.0, abs=1e-13) if not acute else smallest(W) < 0.999


# -- what codes cost at depth ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("depth", [2, 3, 7.5])
def test_costs_of_closed_codes(depth):
    for K, d in ((4, 3), (4, 2), (6, 3), (7, 5)):
        W = codes.code(K, d)
        sizes = [len(block) for block in np.array_split(np.arange(K), max(1, K - d))]
        cost = K - 1 if len(sizes) == 1 else sum((k - 1) * (k / (k - 1)) ** (2 / depth) for k in sizes)
        assert codes.depth_cost(5.0 * W @ W.T, depth) == pytest.approx(cost, rel=1e-13)
    W = codes.code(5, 2)
    polygon = 2 * (2.5 / codes.largest_distance(5, 2)) ** (2 / depth)
    assert codes.depth_cost(W @ W.T, depth) == pytest.approx(polygon, rel=1e-13)
    square = cf.collapse.margin_kkt(cf.hadamard(4), [1.0, 1.0, 0.0], depth)
    W = codes.code(4, 2)
    assert codes.depth_cost(W @ W.T, depth) == pytest.approx(square.cost, rel=1e-13)


# -- states ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("K", "r"), [(4, 3), (4, 2), (6, 3), (5, 2)])
def test_states_of_codes(K, r):
    rng, W = np.random.default_rng(0), codes.code(K, r)
    turned = W @ scipy.stats.ortho_group.rvs(9, random_state=1)[:r]
    directions = codes.one_vs_rest(turned).directions
    labels = np.repeat(np.arange(K), 2)
    noise = 0.3 * rng.normal(size=(9, K))
    H = np.stack([directions.T + noise, directions.T - noise], axis=2).reshape(9, 2 * K)
    sizes = rng.uniform(0.5, 2.0, K)
    found = cf.collapse.softmax_code(np.stack([turned, 7.0 * turned]), np.stack([H, 3.0 * H]), labels)
    for value, expected in zip(found, (r, *[codes.largest_distance(K, r)] * 4, 0.0), strict=True):
        np.testing.assert_allclose(value, expected, atol=1e-13)
    tilted = cf.collapse.softmax_code(sizes[:, None] * turned, directions.T)
    assert tilted.rank == r and tilted.defect == pytest.approx(0.0, abs=1e-13)


def test_what_logits_do_not_use_is_taken_off():
    W, idle = np.pad(codes.code(4, 2), ((0, 0), (0, 2))), np.zeros((4, 4))
    idle[:, 2] = [1, 1, -1, -1]
    idle -= W @ np.linalg.pinv(W) @ idle
    found = cf.collapse.softmax_code(W + idle, (W - 1e-3 * idle).T)
    assert found.rank == 2 and found.defect < 1e-6 and found.classifier == pytest.approx(1.0, abs=1e-6)
    assert cf.collapse.softmax_code(W + idle, (W - 1e-3 * idle).T, tolerance=1e-5).rank == 3


def test_states_that_are_no_codes():
    W = np.eye(4)[:, :3]  # one row is 0
    found = cf.collapse.softmax_code(W, W.T)
    assert found.rank == 3 and math.isnan(found.defect) and found.optimum == pytest.approx(4 / 3)
    assert cf.collapse.softmax_code(0.0 * W, W.T).rank == 0
    octagon = unit(np.random.default_rng(0).normal(size=(8, 3)))
    found = cf.collapse.softmax_code(octagon, octagon.T)
    assert found.rank == 3 and math.isnan(found.optimum) and found.features == pytest.approx(smallest(octagon))


@pytest.mark.parametrize(("start", "rank"), [([2.0, 1.9, 0.05], 2), ([2.0, 1.9, 1.8], 3)])
def test_deep_runs_end_at_codes(start, rank):
    """Four classes and layers: a start near the square comes to it, one near collapse to the simplex."""
    layers = cf.SpectralFlow(cf.hadamard(4), depth=4).lift(np.array(start), width=6)
    run = cf.integrate(cf.MatrixFlow(depth=4), layers, log_t_end=200.0, rtol=1e-4, dense_output=False)
    W, *rest = (factor[-1] for factor in run.factors)
    found = cf.collapse.softmax_code(W, np.linalg.multi_dot(rest))
    assert found.rank == rank and abs(found.defect) < 1e-3


@pytest.mark.parametrize(("depth", "width", "least"), [(2, 4, 3.0), (4, 4, 2.0), (4, 32, 2.4)])
def test_rank_of_random_starts_falls_with_depth_and_rises_with_width(depth, width, least):
    """Mean ranks of twelve runs of four classes: 3, 2 and about 2.5."""
    starts = cf.random_init(classes=4, width=width, scale=0.5, depth=depth, batch=12, rng=1)
    run = cf.integrate(cf.MatrixFlow(depth=depth), starts, log_t_end=50.0, rtol=1e-3, dense_output=False)
    s = run.singular_values[-1]
    mean = (s > 0.2 * s[:, :1]).sum(axis=1).mean()
    assert least - 0.1 <= mean <= least + 0.4


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (lambda: codes.one_vs_rest(np.eye(3)[:1]), ValueError, "points must have shape"),
        (lambda: codes.one_vs_rest([[np.nan], [0.0]]), ValueError, "points must be"),
        (lambda: codes.largest_distance(3, 1), ValueError, "width must be at least 2"),
        (lambda: codes.largest_distance(7, 3), ValueError, "width must be 2, or at least 4"),
        (lambda: codes.code(7, 3), ValueError, "no closed form"),
        (lambda: codes.code(1, 3), ValueError, "classes"),
        (lambda: codes.search(4, 2.0), TypeError, "width must be an integer"),
        (lambda: codes.search(4, 2, starts=0), ValueError, "starts"),
        (lambda: codes.search(100, 50), ValueError, "unknowns"),
        (lambda: codes.depth_cost(np.ones((3, 3)), 3), ValueError, "positive margins"),
        (lambda: codes.depth_cost(np.ones((3, 2)), 3), ValueError, "shape"),
        (lambda: codes.depth_cost(np.eye(3), 1), ValueError, "depth"),
        (lambda: cf.collapse.softmax_code(np.eye(3), np.eye(3), tolerance=1.0), ValueError, "tolerance"),
        (lambda: cf.collapse.softmax_code(np.eye(3), np.eye(4)), ValueError, "W must be"),
    ],
)
def test_bad_input_is_named(call, error, text):
    with pytest.raises(error, match=text):
        call()
