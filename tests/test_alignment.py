"""Alignment, error exponents, accuracy under noise, and the three strategies, against brute force and exact numbers."""

import math

import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.stats import norm

import ceflow as cf
from ceflow.collapse import alignment, error_exponents, gaussian_accuracy, project, slerp


def etf(K, d, seed=0, radius=1.0):
    """Class means (d, K) of a simplex."""
    frame = np.linalg.qr(np.random.default_rng(seed).standard_normal((d, K)))[0]
    return radius * math.sqrt(K / (K - 1)) * frame @ (np.eye(K) - 1 / K)


def seli(sizes):
    """Directions of balanced layers with equal margins, from their definition."""
    K, root = len(sizes), np.sqrt(np.array(sizes, float))
    V, s, U = np.linalg.svd((np.eye(K) - 1 / K) * root)
    s[-1] = 0.0
    return V * np.sqrt(s), np.sqrt(s)[:, None] * U / root


# -- angles ------------------------------------------------------------------------------------------------------------


def test_angles_are_those_of_a_turn():
    M = etf(4, 8)
    N = np.linalg.qr(np.hstack([M[:, :3], np.eye(8)]))[0][:, 3:6] @ np.random.default_rng(1).standard_normal((3, 4))
    for theta in (0.3, 1e-9, 1.4):
        W = (math.cos(theta) * M + math.sin(theta) * N / np.linalg.norm(N, axis=0)).T
        found = alignment(W, M)
        np.testing.assert_allclose(found.angle, theta, rtol=1e-6)
        np.testing.assert_allclose(found.cosine, math.cos(theta), rtol=1e-13)
        np.testing.assert_allclose(found.centred_angle, found.angle, atol=1e-14)  # the means have none of their own
        assert np.isnan(np.diagonal(found.pair_cosine)).all()


def test_centring_and_labels_and_batches():
    rng = np.random.default_rng(0)
    labels = np.array([0, 1, 1, 2, 2, 2])
    W, H = rng.standard_normal((2, 3, 4)), rng.standard_normal((2, 4, 6))
    for centring in ("class-means", "samples"):
        found = alignment(W, H, labels, centring=centring)
        for b in range(2):
            means = [H[b][:, labels == c].mean(axis=1) for c in range(3)]
            centre = np.mean(means, axis=0) if centring == "class-means" else H[b].mean(axis=1)
            for k in range(3):
                for name, vector in (("cosine", means[k]), ("centred_cosine", means[k] - centre)):
                    exact = W[b, k] @ vector / np.linalg.norm(W[b, k]) / np.linalg.norm(vector)
                    assert getattr(found, name)[b, k] == pytest.approx(exact)
                for j in set(range(3)) - {k}:
                    u, D = W[b, k] - W[b, j], means[k] - means[j]
                    exact = u @ D / np.linalg.norm(u) / np.linalg.norm(D)
                    assert math.cos(found.pair_angle[b, k, j]) == pytest.approx(exact)
    assert np.isnan(alignment(np.zeros((2, 3)), np.ones((3, 2))).angle).all()


# -- exponents ---------------------------------------------------------------------------------------------------------


def brute_exponent(w, b, mu, k, j, noise):
    """The least half of a squared Mahalanobis distance at which class j wins over k."""
    inverse = np.linalg.inv(noise)
    found = minimize(
        lambda x: 0.5 * (x - mu) @ inverse @ (x - mu),
        mu,
        jac=lambda x: inverse @ (x - mu),
        constraints={
            "type": "ineq",
            "fun": lambda x: (w[j] - w[k]) @ x + b[j] - b[k],
            "jac": lambda x: w[j] - w[k],
        },
        method="SLSQP",
        options={"ftol": 1e-14},
    )
    return found.fun


def test_exponents_are_least_distances():
    rng = np.random.default_rng(0)
    W, H, b = rng.standard_normal((4, 3)), rng.standard_normal((3, 4)), rng.standard_normal(4)
    A = rng.standard_normal((3, 3))
    for noise in (1.0, 0.3, A @ A.T + 0.1 * np.eye(3)):
        found = error_exponents(W, H, b, noise)
        covariance = noise * np.eye(3) if np.ndim(noise) == 0 else noise
        for k in range(4):
            for j in set(range(4)) - {k}:
                exact = brute_exponent(W, b, H[:, k], k, j, covariance)
                assert found.pairs[k, j] == pytest.approx(exact, rel=1e-6, abs=1e-10)
        assert found.worst == found.classes.min() == found.pairs.min()
        D = H.T[:, None] - H.T
        exact = np.einsum("kji,il,kjl->kj", D, np.linalg.inv(covariance), D) / 8
        np.testing.assert_allclose(found.optimum[~np.eye(4, dtype=bool)], exact[~np.eye(4, dtype=bool)], rtol=1e-10)


def test_the_bound_is_never_violated_and_reached_by_equidistant_boundaries():
    rng = np.random.default_rng(1)
    for d in (1, 2, 5):
        A = rng.standard_normal((d, d))
        noise = A @ A.T + 0.01 * np.eye(d)
        W, H = rng.standard_normal((10_000, 2, d)), rng.standard_normal((10_000, d, 2))
        for b in (rng.standard_normal((10_000, 2)), None):
            found = error_exponents(W, H, b, noise)
            least = np.minimum(found.pairs[:, 0, 1], found.pairs[:, 1, 0])
            assert np.all(least <= found.bound[:, 0, 1] * (1 + 1e-9) + 1e-14)
        u, middle = W[:, 0] - W[:, 1], H.mean(axis=-1)
        b = np.stack([-(u * middle).sum(axis=-1), np.zeros(10_000)], axis=-1)  # half-way between the means
        found = error_exponents(W, H, b, noise)
        least = np.minimum(found.pairs[:, 0, 1], found.pairs[:, 1, 0])
        np.testing.assert_allclose(least, found.bound[:, 0, 1], rtol=1e-7, atol=1e-12)


def test_the_nearest_class_mean_reaches_every_optimum():
    rng = np.random.default_rng(2)
    A, H = rng.standard_normal((5, 5)), rng.standard_normal((5, 6))
    noise = A @ A.T + 0.1 * np.eye(5)
    W = np.linalg.solve(noise, H).T
    found = error_exponents(W, H, -0.5 * (W * H.T).sum(axis=1), noise)
    np.testing.assert_allclose(found.pairs, found.optimum, rtol=1e-9)
    np.testing.assert_allclose(found.cosine_squared, 1.0, rtol=1e-9)


@pytest.mark.parametrize("K", [3, 10])
def test_turned_simplices(K):
    rho = 1.7
    frame = np.linalg.qr(np.random.default_rng(0).standard_normal((2 * K, 2 * K)))[0]
    simplex = math.sqrt(K / (K - 1)) * (np.eye(K) - 1 / K)
    M, N = rho * frame[:, :K] @ simplex, frame[:, K:] @ simplex
    best = rho**2 * K / (4 * (K - 1))
    assert error_exponents(M.T, M).worst == pytest.approx(best)
    for theta in (0.2, 0.7, 1.2):
        found = error_exponents((math.cos(theta) * M / rho + math.sin(theta) * N).T, M)
        assert found.worst == pytest.approx(math.cos(theta) ** 2 * best)
        np.testing.assert_allclose(found.bound, found.pairs)  # equidistant
    if K == 3:
        M = np.array([[math.cos(2 * math.pi * k / 3), math.sin(2 * math.pi * k / 3)] for k in range(3)]).T
        for theta in (0.1, 0.4, 0.8, 1.2):
            turn = np.array([[math.cos(theta), -math.sin(theta)], [math.sin(theta), math.cos(theta)]])
            exact = 0.5 * max(math.cos(math.pi / 6 + theta), 0.0) ** 2
            assert error_exponents((turn @ M).T, M).worst == pytest.approx(exact, abs=1e-15)


@pytest.mark.parametrize(
    ("ratio", "minority", "majority", "share"),
    [(10, 15.4, 5.4, 0.7660), (100, 35.7, 6.2, 0.3669), (1000, 54.8, 6.2, 0.1354)],
)
def test_imbalance_misaligns_the_limit_of_cross_entropy(ratio, minority, majority, share):
    W, H = seli([ratio] * 5 + [1] * 5)
    angles, found = np.degrees(alignment(W, H).angle), error_exponents(W, H)
    assert angles[7] == pytest.approx(minority, abs=0.05) and angles[2] == pytest.approx(majority, abs=0.05)
    efficiency = found.efficiency
    assert efficiency[0, 7] == pytest.approx(share, abs=1e-4) and efficiency[7, 0] == pytest.approx(share, abs=1e-4)
    assert efficiency[0, 7] == pytest.approx(found.cosine_squared[0, 7])
    np.testing.assert_allclose([efficiency[0, 1], efficiency[7, 8]], 1.0)  # no harm within a group
    many = cf.collapse.error_exponents(*seli([ratio] * 60 + [1] * 60)).cosine_squared[0, -1]
    assert many == pytest.approx(4 * math.sqrt(ratio) / (1 + math.sqrt(ratio)) ** 2, rel=0.1)


def test_aligned_rows_are_not_enough():
    """Zero angles class by class leave pairs misaligned unless norms are proportional."""
    M = etf(4, 4)
    W = M.T * np.array([[1.0], [1.0], [3.0], [3.0]])
    found = error_exponents(W, M)
    np.testing.assert_allclose(alignment(W, M).angle, 0.0, atol=1e-7)
    assert found.cosine_squared[0, 2] < 0.9 and found.worst < 0.5 * found.optimum[0, 2]


def test_equal_rows_have_no_boundary():
    found = error_exponents(np.array([[1.0, 0.0], [1.0, 0.0]]), np.eye(2), [1.0, 0.0])
    assert found.pairs[0, 1] == np.inf and found.pairs[1, 0] == 0.0 and found.bound[0, 1] == 0.0


# -- accuracy ----------------------------------------------------------------------------------------------------------


def plane_error(W, mu, k, sigma):
    """Error of class k in the plane: the tail of the radius, a mean over directions."""
    phi = np.linspace(0, 2 * math.pi, 400_000, endpoint=False)
    directions = np.stack([np.cos(phi), np.sin(phi)])
    others = [j for j in range(len(W)) if j != k]
    fall, lead = -(W[k] - W[others]) @ directions, (W[k] - W[others]) @ mu
    radius = np.where(fall > 0.0, lead[:, None] / np.where(fall > 0.0, fall, 1.0), np.inf).min(axis=0)
    return np.exp(-0.5 * (radius / sigma) ** 2).mean()


def test_rare_errors_agree_with_the_integral():
    """Probabilities down to 1e-8 and below, within 3 percent and four standard errors."""
    rng = np.random.default_rng(3)
    H = np.array([[math.cos(2 * math.pi * k / 3), math.sin(2 * math.pi * k / 3)] for k in range(3)]).T
    W = H.T + 0.15 * rng.standard_normal((3, 2))
    for sigma in (0.5, 0.2, 0.12):
        found = gaussian_accuracy(W, H, sigma**2)
        for k in range(3):
            exact = plane_error(W, H[:, k], k, sigma)
            assert abs(found.errors[k] - exact) <= 4 * found.standard_errors[k] + 1e-4 * exact
            assert found.errors[k] == pytest.approx(exact, rel=0.03)
    assert 1e-12 < found.errors.min() < 1e-8


def test_rare_errors_agree_with_importance_sampling_and_exponents():
    """A sampler of its own: a mixture of the noise moved to the nearest points of all boundaries."""
    rng = np.random.default_rng(0)
    K, d, sigma = 4, 6, 0.12
    H = etf(K, d)
    W = H.T + 0.2 * rng.standard_normal((K, d))
    exponents, found = error_exponents(W, H), gaussian_accuracy(W, H, sigma**2)
    for k in range(K):
        others = [j for j in range(K) if j != k]
        points = []
        for j in others:
            v = W[k] - W[j]
            points.append(H[:, k] - v * max(v @ H[:, k], 0.0) / (v @ v))
        X = np.array(points)[rng.integers(K - 1, size=200_000)] + sigma * rng.standard_normal((200_000, d))
        log_q = [-((X - p) ** 2).sum(axis=1) / 2 / sigma**2 for p in points]
        log_q = np.logaddexp.reduce(log_q, axis=0) - math.log(K - 1)
        ratio = np.exp(-((X - H[:, k]) ** 2).sum(axis=1) / 2 / sigma**2 - log_q) * ((W @ X.T).argmax(axis=0) != k)
        assert found.errors[k] == pytest.approx(ratio.mean(), rel=0.03)
        pairs = norm.sf(np.sqrt(2 * exponents.pairs[k, others]) / sigma)
        assert pairs.max() * 0.97 <= found.errors[k] <= pairs.sum() * 1.0001
    assert found.errors.min() < 1e-7
    small = gaussian_accuracy(W, H, 0.03**2).errors
    assert np.all(np.abs(-(0.03**2) * np.log(small) / exponents.classes - 1) < 0.15)


def test_two_classes_are_exact_and_many_agree_with_counting():
    W, H = np.array([[1.0, 0.5], [-1.0, 0.0]]), np.array([[1.0, -0.7], [0.2, 0.1]])
    for sigma, b in ((0.3, [0.1, -0.2]), (0.05, [0.0, 0.0])):
        found = gaussian_accuracy(W, H, sigma**2, bias=b)
        exact = norm.sf(np.sqrt(2 * error_exponents(W, H, b).pairs[[0, 1], [1, 0]]) / sigma)
        np.testing.assert_allclose(found.errors, exact, rtol=1e-12)
        assert found.standard_error == 0.0 and found.balanced == 1.0 - found.error
    rng = np.random.default_rng(0)
    A = rng.standard_normal((5, 5)) / 3
    W, H, b = rng.standard_normal((6, 5)), rng.standard_normal((5, 6)), rng.standard_normal(6)
    for noise in (0.3, np.array([0.1, 0.2, 0.3, 0.1, 0.2, 0.5]), A @ A.T + 0.05 * np.eye(5)):
        found = gaussian_accuracy(W, H, noise, bias=b)
        for k in range(6):
            root = (
                np.linalg.cholesky(noise)
                if np.ndim(noise) == 2
                else math.sqrt(np.broadcast_to(noise, 6)[k]) * np.eye(5)
            )
            X = H[:, [k]] + root @ rng.standard_normal((5, 40_000))
            counted = ((W @ X + b[:, None]).argmax(axis=0) != k).mean()
            off = math.hypot(found.standard_errors[k], math.sqrt(counted * (1 - counted) / 40_000) + 1e-5)
            assert abs(found.errors[k] - counted) < 4.5 * off
    assert gaussian_accuracy(W, H, 0.3).errors.tolist() == gaussian_accuracy(W, H, 0.3).errors.tolist()


def test_equal_rows_are_told_apart_by_biases_and_order():
    same = np.ones((3, 2))
    assert gaussian_accuracy(same, np.ones((2, 3)), 1.0).errors.tolist() == [0.0, 1.0, 1.0]
    assert gaussian_accuracy(same, np.ones((2, 3)), 1.0, bias=[0.0, 0.0, 1.0]).errors.tolist() == [1.0, 1.0, 0.0]


# -- strategies --------------------------------------------------------------------------------------------------------


def test_slerp_and_project_turn_by_their_laws():
    rng = np.random.default_rng(0)
    W, H = rng.standard_normal((2, 4, 6)), rng.standard_normal((2, 6, 4))
    angle = alignment(W, H).angle
    for share in (0.0, 0.25, 1.0):
        turned, projected = slerp(W, H, share), project(W, H, share)
        np.testing.assert_allclose(alignment(turned, H).angle, (1 - share) * angle, atol=1e-12)
        np.testing.assert_allclose(np.linalg.norm(turned, axis=-1), np.linalg.norm(W, axis=-1))
        np.testing.assert_allclose(np.tan(alignment(projected, H).angle), (1 - share) * np.tan(angle), atol=1e-12)
    aligned = np.swapaxes(H, -1, -2)
    np.testing.assert_allclose(slerp(aligned, H, 0.5), aligned)
    np.testing.assert_allclose(slerp(W, np.repeat(H, 2, axis=-1), 0.5, np.repeat(range(4), 2)), slerp(W, H, 0.5))


def equilibrium(strength, decay, sizes, width=10):
    """Minimum of the objective by an optimizer and formulas of the test's own."""
    n, K = np.array(sizes, float), len(sizes)

    def objective(y):
        W, H = y[: K * width].reshape(K, width), y[K * width :].reshape(width, K)
        Z = W @ H
        P = np.exp(Z - Z.max(axis=0))
        P /= P.sum(axis=0)
        G = (np.eye(K) - P) * n / n.sum()
        value = -(n * np.log(np.diag(P))).sum() / n.sum() + decay / 2 * ((W**2).sum() + (n * H**2).sum())
        in_W, in_H = decay * W - G @ H.T, decay * n * H - W.T @ G
        w, h = np.linalg.norm(W, axis=1), np.linalg.norm(H, axis=0)
        c = np.diag(Z) / w / h
        value += strength * (1 - c).mean()
        in_W -= strength / K * (H.T / (w * h)[:, None] - W * (c / w**2)[:, None])
        in_H -= strength / K * (W.T / (w * h) - H * (c / h**2))
        return value, np.concatenate([in_W.ravel(), in_H.ravel()])

    start = 0.3 * np.random.default_rng(0).standard_normal(2 * K * width)
    found = minimize(
        objective,
        start,
        jac=True,
        method="L-BFGS-B",
        options={"maxiter": 20_000, "maxfun": 40_000, "ftol": 1e-15, "gtol": 1e-9},
    )
    return found.x[: K * width].reshape(K, width), found.x[K * width :].reshape(width, K), found.fun


SIZES = [100] * 5 + [1] * 5
ROUNDED = [0.06, 0.06, 6e-4, 6e-4, 6e-4, 6e-4]  # of angles in degrees, and of exponents


def table(W, H):
    """Angles of head and tail, efficiencies between them, and the worst exponents of both."""
    angles, found = np.degrees(alignment(W, H).angle), error_exponents(W, H)
    share = found.efficiency
    groups = slice(0, 5), slice(5, 10)
    return [
        *(angles[group].mean() for group in groups),
        share[0, 5],
        share[5, 0],
        *(found.classes[group].min() for group in groups),
    ]


@pytest.fixture(scope="module")
def plain():
    return equilibrium(0.0, 1e-4, SIZES)


def test_strategies_at_the_optimum(plain):
    """Head and tail of 5 classes each, 100 : 1, decay 1e-4: alignment costs the head nothing and helps the tail."""
    W, H, _ = plain
    for state, expected in (
        ((W, H), [4.3, 23.0, 0.496, 0.361, 0.201, 0.239]),
        ((slerp(W, H, 0.5), H), [2.1, 11.5, 0.489, 0.428, 0.201, 0.284]),
        ((slerp(W, H), H), [0.0, 0.0, 0.483, 0.477, 0.201, 0.316]),
        ((project(W, H), H), [0.0, 0.0, 0.489, 0.429, 0.201, 0.284]),
    ):
        assert np.all(np.abs(np.subtract(table(*state), expected)) < ROUNDED)
    best = error_exponents(H.T, H, -0.5 * (H**2).sum(axis=0))
    np.testing.assert_allclose(best.pairs, best.optimum, rtol=1e-9)


@pytest.mark.parametrize(
    ("strength", "expected"),
    [(0.01, [2.8, 6.3, 0.503, 0.414, 0.205, 0.271]), (0.1, [1.0, 0.7, 0.501, 0.417, 0.208, 0.273])],
)
def test_the_regularizer_at_its_optimum_where_the_flow_rests(strength, expected):
    W, H, value = equilibrium(strength, 1e-4, SIZES)
    assert np.all(np.abs(np.subtract(table(W, H), expected)) < ROUNDED)
    flow = cf.MatrixFlow(terms=(cf.terms.Alignment(strength),), samples=SIZES, weight_decay=1e-4)
    run = cf.integrate(flow, (W, H), 1.0)
    np.testing.assert_allclose(run.objective, value, rtol=1e-10)
    assert np.abs(run.W[-1] - W).max() < 1e-5 and np.abs(run.H[-1] - H).max() < 1e-5
    away = cf.integrate(flow, (W, H * (1.0 + 0.1 * np.random.default_rng(1).standard_normal(H.shape))), 30.0)
    assert np.all(np.diff(away.objective) < 0.0) and away.objective[-1] > value


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda W, H: slerp(W, H, 1.5), "share must be between 0 and 1"),
        (lambda W, H: slerp(-H.T, H), "opposite"),
        (lambda W, H: project(0 * W, H), "row of W is 0"),
        (lambda W, H: error_exponents(W, H, noise=np.eye(3)), "noise must be a variance"),
        (lambda W, H: error_exponents(W, H, noise=0.0), "noise must be positive"),
        (lambda W, H: error_exponents(W, H, noise=np.triu(np.ones((4, 4)))), "symmetric"),
        (lambda W, H: gaussian_accuracy(W, H, [1.0, 2.0]), "one variance for each of 3"),
        (lambda W, H: gaussian_accuracy(W, H, samples=1), "samples must be at least 2"),
        (lambda W, H: gaussian_accuracy(W[None], H[None]), "one classifier"),
        (lambda W, H: alignment(W, H, centring="none"), "centring must be one of"),
        (lambda W, H: alignment(W, H[:, :2]), "labels must be given"),
    ],
)
def test_bad_input_is_refused(call, message):
    rng = np.random.default_rng(0)
    with pytest.raises((ValueError, TypeError), match=message):
        call(rng.standard_normal((3, 4)), rng.standard_normal((4, 3)))
