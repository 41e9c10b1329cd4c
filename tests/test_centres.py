"""Fixed classifiers of several centres a class: geometry, flows against exact solutions, decisions against counting."""

import math

import numpy as np
import pytest
import scipy
from scipy.stats import norm

import ceflow as cf
from ceflow import theory

COUNTS, ANGLE = (1, 2, 4, 7), 0.4


def random_features(centres, seed=0):
    return np.random.default_rng(seed).standard_normal((centres.W.shape[1], len(centres.counts)))


def angle_between(h, m):
    h, m = h / np.linalg.norm(h, axis=-1, keepdims=True), m / np.linalg.norm(m)
    return 2 * np.arctan2(np.linalg.norm(h - m, axis=-1), np.linalg.norm(h + m, axis=-1))


# -- geometry ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("axes", ["orthonormal", "simplex"])
def test_geometry(axes):
    centres = cf.Centres(COUNTS, ANGLE, axes=axes, width=20, rng=3)
    between = 0.0 if axes == "orthonormal" else -1 / 3
    same, sin2 = np.equal.outer(centres.owners, centres.owners), math.sin(ANGLE) ** 2
    exact = np.where(same, sin2, sin2 * between) + math.cos(ANGLE) ** 2 * np.eye(14)
    np.testing.assert_allclose(centres.W @ centres.W.T, exact, atol=1e-14)
    np.testing.assert_allclose(np.linalg.norm(centres.means, axis=1), 1.0)
    assert centres.W.shape == (14, 20) and centres.owners.tolist() == np.repeat(range(4), COUNTS).tolist()
    least = 14 + (4 if axes == "orthonormal" else 3)
    assert cf.Centres(COUNTS, ANGLE, axes=axes).W.shape == (14, least)
    sums = np.array([centres.W[centres.owners == i].sum(axis=0) for i in range(4)])
    np.testing.assert_allclose(np.linalg.norm(sums, axis=1) ** 2, np.array(COUNTS) * theory.centre_gain(COUNTS, ANGLE))


# -- the squared error: a linear flow ----------------------------------------------------------------------------------


def linear_flow(centres, i, beta, decay):
    """Matrix and optimum of the flow of class i."""
    own = centres.owners == i
    A = centres.W[own].T @ centres.W[own] + beta * centres.W[~own].T @ centres.W[~own]
    A += decay * np.eye(centres.W.shape[1])
    return A, np.linalg.solve(A, centres.W[own].sum(axis=0))


@pytest.mark.parametrize(("axes", "beta"), [("orthonormal", 0.7), ("simplex", 0.7), ("orthonormal", 1.0)])
def test_the_squared_error_is_a_linear_flow(axes, beta):
    centres = cf.Centres(COUNTS, ANGLE, axes=axes, width=20, rng=1)
    H, t = random_features(centres), np.array([0.3, 2.0, 7.0])
    run = cf.integrate(centres.flow(beta=beta, weight_decay=0.3), (centres.W, H), t_eval=t, rtol=1e-11)
    np.testing.assert_array_equal(run.W[-1], centres.W)
    for i in range(4):
        A, optimum = linear_flow(centres, i, beta, 0.3)
        for row, time in enumerate(t):
            exact = optimum + scipy.linalg.expm(-A * time) @ (H[:, i] - optimum)
            np.testing.assert_allclose(run.H[row][:, i], exact, rtol=0, atol=1e-9)
    if beta == 1.0:  # the plain squared error of one-hot targets is the same flow
        targets = np.equal.outer(centres.owners, range(4)).astype(float)
        plain = cf.MatrixFlow(
            loss="squared_error", targets=targets, frozen=("W",), weight_decay=(0, 0.3), reduction="sum"
        )
        other = cf.integrate(plain, (centres.W, H), t_eval=t, rtol=1e-11)
        np.testing.assert_allclose(other.H, run.H, rtol=0, atol=1e-9)
        np.testing.assert_allclose(other.objective, run.objective, rtol=1e-9)


def test_optimum_and_rates_of_orthonormal_axes():
    centres = cf.Centres(COUNTS, ANGLE, width=20, rng=1)
    found = theory.centre_optimum(COUNTS, ANGLE, 0.3)
    run = cf.integrate(centres.flow(beta=0.7, weight_decay=0.3), (centres.W, random_features(centres)), 200.0)
    assert run.objective[-1] == pytest.approx(found.value.sum(), rel=1e-8)
    for i in range(4):
        A, optimum = linear_flow(centres, i, 0.7, 0.3)
        np.testing.assert_allclose(optimum, found.norm[i] * centres.means[i], atol=1e-14)
        np.testing.assert_allclose(run.H[-1][:, i], optimum, atol=1e-7)
        own = centres.owners == i
        np.testing.assert_allclose(centres.W[own] @ optimum, found.logit[i])
        np.testing.assert_allclose(centres.W[own].sum(axis=0) * found.scale[i], optimum, atol=1e-14)
        rates, multiplicities = theory.centre_rates(COUNTS, ANGLE, i, beta=0.7, weight_decay=0.3)
        exact = np.sort([*np.repeat(rates, multiplicities), *[0.3] * 6])
        np.testing.assert_allclose(np.linalg.eigvalsh(A), exact)


def test_axes_of_a_simplex_keep_the_mean_only_if_others_do_not_count():
    centres = cf.Centres(COUNTS, ANGLE, axes="simplex")
    cosines = []
    for beta in (0.0, 0.7):
        optimum = linear_flow(centres, 1, beta, 0.3)[1]
        cosines.append(optimum @ centres.means[1] / np.linalg.norm(optimum))
    assert cosines[0] == pytest.approx(1.0, abs=1e-14) and cosines[1] == pytest.approx(0.988, abs=5e-4)


# -- losses of cosines -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("axes", ["orthonormal", "simplex"])
@pytest.mark.parametrize("decay", [0.0, 0.1])
def test_the_linear_cosine_law(axes, decay):
    centres = cf.Centres(COUNTS, ANGLE, axes=axes, rng=1)
    H, t = random_features(centres), np.array([0.5, 2.0, 6.0])
    run = cf.integrate(centres.flow("cosine", weight_decay=decay), (centres.W, H), t_eval=t, rtol=1e-12)
    for i in range(4):
        h, norm0 = run.H[:, :, i], np.linalg.norm(H[:, i])
        start = angle_between(H[:, i], centres.means[i])
        options = {"count": COUNTS[i], "angle": ANGLE, "norm0": norm0, "weight_decay": decay}
        exact = theory.centre_cosine_angle(t, start, **options)
        np.testing.assert_allclose(angle_between(h, centres.means[i]), exact, rtol=0, atol=1e-10)
        np.testing.assert_allclose(np.linalg.norm(h, axis=1), norm0 * np.exp(-decay * t), rtol=1e-10)


@pytest.mark.parametrize(("count", "angle"), [(2, 0.4), (4, 0.4), (4, 0.05)])
def test_squared_cosines_with_several_centres_collapse_exponentially(count, angle):
    centres = cf.Centres((count, count), angle, width=2 * count + 5, rng=2)
    rates = theory.centre_sphere_rates(count, angle)
    H = centres.means.T + 0.01 * random_features(centres)
    H /= np.linalg.norm(H, axis=0)
    t = np.array([20.0, 25.0]) if rates.unseen < 0.5 else np.array([6.0, 9.0])
    run = cf.integrate(centres.flow("squared_cosine", beta=1.0), (centres.W, H), t_eval=t, rtol=1e-12)
    away = angle_between(run.H[:, :, 0], centres.means[0])
    assert math.log(away[0] / away[1]) / (t[1] - t[0]) == pytest.approx(rates.unseen, rel=2e-3)
    assert run.objective[-1] == pytest.approx(2 * rates.value, rel=1e-4)
    within = H.copy()
    within[:, 0] = centres.means[0] + 0.01 * (centres.W[0] - centres.W[1])
    within[:, 0] /= np.linalg.norm(within[:, 0])
    run = cf.integrate(centres.flow("squared_cosine"), (centres.W, within), t_eval=[0.0, 3.0], rtol=1e-12)
    away = angle_between(run.H[:, :, 0], centres.means[0])
    assert math.log(away[0] / away[1]) / 3.0 == pytest.approx(rates.own, rel=1e-3)


def test_a_single_centre_is_approached_algebraically():
    """Features that no other centre sees: the exact time, and 1 - cos = 1/(2 t) late."""
    centres = cf.Centres((1, 1), ANGLE, width=8, rng=0)
    rng = np.random.default_rng(0)
    H = rng.standard_normal((8, 2))
    for i in range(2):  # orthogonal to the other centre
        other = centres.W[1 - i]
        H[:, i] -= other * (other @ H[:, i])
    H /= np.linalg.norm(H, axis=0)
    t = np.array([1.0, 50.0, 2000.0])
    run = cf.integrate(centres.flow("squared_cosine"), (centres.W, H), t_eval=t, rtol=1e-11)
    for i in range(2):
        gap = 2 * np.sin(angle_between(run.H[:, :, i], centres.W[i]) / 2) ** 2
        start = 2 * np.sin(angle_between(H[:, i], centres.W[i]) / 2) ** 2
        np.testing.assert_allclose(theory.single_centre_time(gap, start), t, rtol=1e-7)
        assert gap[-1] == pytest.approx(1 / (2 * t[-1]), rel=5e-3)


def test_random_starts_end_at_the_means():
    centres = cf.Centres((2, 3, 4), 0.4, rng=1)
    for seed, loss in enumerate(("cosine", "squared_cosine")):
        H = random_features(centres, seed)
        run = cf.integrate(centres.flow(loss, beta=0.7), (centres.W, H / np.linalg.norm(H, axis=0)), 60.0)
        unit = run.H[-1] / np.linalg.norm(run.H[-1], axis=0)
        np.testing.assert_allclose(unit, centres.means.T, atol=1e-4)
    assert run.certificate().passed


def test_labels_and_samples():
    centres = cf.Centres((2, 3), 0.4, rng=1)
    H = random_features(centres)
    labels = [0, 1, 1]
    several = cf.integrate(centres.flow(labels=labels, weight_decay=0.1), (centres.W, H[:, labels]), 3.0)
    one = cf.integrate(centres.flow(weight_decay=0.1), (centres.W, H), 3.0)
    stands = cf.integrate(centres.flow(weight_decay=0.1, samples=(1, 2)), (centres.W, H), 3.0)
    np.testing.assert_allclose(several.H[-1], one.H[-1][:, labels], atol=1e-7)
    np.testing.assert_allclose(stands.H[-1], one.H[-1], atol=1e-7)
    assert stands.objective[0] == pytest.approx(several.objective[0])
    assert several.loss[0] == 0.0 and "no classes" in several.observables["accuracy"].why_not(several.flow)


# -- decisions ---------------------------------------------------------------------------------------------------------


def test_rules_by_their_definitions():
    centres = cf.Centres((1, 2, 4), ANGLE, rng=0)
    X = np.random.default_rng(1).standard_normal((centres.W.shape[1], 500))
    logits = [centres.W[centres.owners == i] @ X for i in range(3)]
    means = [centres.W[centres.owners == i].mean(axis=0) for i in range(3)]
    exact = {
        "sum": [z.sum(axis=0) for z in logits],
        "mean": [z.mean(axis=0) for z in logits],
        "max": [z.max(axis=0) for z in logits],
        "axis": centres.axes @ X,
        "nearest mean": [-np.linalg.norm(X.T - m / np.linalg.norm(m), axis=1) for m in means],
    }
    for rule, scores in exact.items():
        np.testing.assert_array_equal(centres.decide(X, rule), np.argmax(scores, axis=0))


def test_pair_errors_and_margins():
    """Against counting; and the rule is that of one centre of norm sqrt(f g) for each class."""
    counts, angle, sigma = (1, 4), 0.2, (0.2, 0.45)
    centres = cf.Centres(counts, angle)
    errors = theory.centre_pair_errors(counts, angle, sigma)
    rng, n = np.random.default_rng(0), 100_000
    for i in range(2):
        X = centres.means[i][:, None] + sigma[i] * rng.standard_normal((centres.W.shape[1], n))
        counted = (centres.decide(X) != i).mean()
        assert abs(counted - errors[i, 1 - i]) < 4.5 * math.sqrt(errors[i, 1 - i] / n)
    np.testing.assert_allclose(centres.accuracy(sigma).errors, [errors[0, 1], errors[1, 0]], rtol=1e-12)
    f, g = np.array(counts), theory.centre_gain(counts, angle)
    single = cf.collapse.gaussian_accuracy(np.diag(np.sqrt(f * g)), np.eye(2), np.square(sigma))
    np.testing.assert_allclose(single.errors, [errors[0, 1], errors[1, 0]], rtol=1e-12)
    margins = theory.angular_margins(counts, angle)
    assert margins[0, 1] + margins[1, 0] == pytest.approx(math.pi / 2)
    assert math.tan(margins[1, 0]) == pytest.approx(math.sqrt(f[1] * g[1] / (f[0] * g[0])))
    turned = math.cos(margins[1, 0]) * centres.means[1] + math.sin(margins[1, 0]) * centres.means[0]
    scores = centres.classifier()[0] @ turned
    assert scores[0] == pytest.approx(scores[1])  # the boundary
    assert errors[1, 0] == pytest.approx(norm.sf(math.sin(margins[1, 0]) / sigma[1]))


@pytest.mark.parametrize("rule", ["sum", "axis", "max"])
def test_accuracy_against_counting(rule):
    centres, sigma, n = cf.Centres((1, 1, 4, 4), 0.2), np.array([0.2, 0.2, 0.45, 0.45]), 20_000
    found, rng = centres.accuracy(sigma, rule), np.random.default_rng(5)
    for k in range(4):
        X = centres.means[k][:, None] + sigma[k] * rng.standard_normal((centres.W.shape[1], n))
        counted = (centres.decide(X, rule) != k).mean()
        off = math.hypot(found.standard_errors[k], math.sqrt(counted * (1 - counted) / n) + 1e-4)
        assert abs(found.errors[k] - counted) < 4.5 * off


def test_numbers_of_centres_by_noise():
    angle = 0.2
    counts = theory.centre_counts([0.2, 0.45], angle)
    assert counts.tolist() == [1, 4]
    errors = theory.centre_pair_errors(counts, angle, [0.2, 0.45])
    assert 0.5 < errors[0, 1] / errors[1, 0] < 2.0
    for sigma in ([0.1, 0.3, 0.2], [1.0, 7.0]):
        found, wanted = theory.centre_counts(sigma, angle, least=2), np.square(sigma) / np.square(min(sigma))
        f = np.arange(1, 500)
        products = f * theory.centre_gain(f, angle)
        aim = wanted * products[1]
        assert found.tolist() == [int(f[np.abs(products - a).argmin()]) for a in aim]
    assert theory.centre_counts([0.3] * 3, angle, samples=[1000, 10, 1]).tolist() == [1, 1, 2]


def test_a_scaled_simplex_does_better_in_this_model():
    """The table of the documentation: minority noisier (.2 and .45), features of unit mean square."""
    sigma = np.array([0.2] * 5 + [0.45] * 5)
    for counts, balanced in (((1, 1), 0.868), ((1, 2), 0.895), ((1, 3), 0.891), ((5, 20), 0.847)):
        found = cf.Centres([counts[0]] * 5 + [counts[1]] * 5, 0.2).accuracy(sigma)
        assert abs(found.balanced - balanced) < 1.5e-3 and found.standard_error < 5e-4
    simplex = np.eye(10) - 0.1
    H = simplex / math.sqrt(np.mean((simplex**2).sum(axis=0)))
    for scale, balanced in ((1.0, 0.885), (1.6, 0.913), (2.0, 0.912)):
        W = np.repeat([1.0, scale], 5)[:, None] * simplex
        found = cf.collapse.gaussian_accuracy(W, H, sigma**2)
        assert abs(found.balanced - balanced) < 1.5e-3 and found.standard_error < 5e-4


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: cf.Centres((1, 0)), "counts must be from 1"),
        (lambda: cf.Centres((2,)), "K >= 2"),
        (lambda: cf.Centres((1.0, 2.0)), "counts must be integers"),
        (lambda: cf.Centres((1, 2), 2.0), "angle must be between"),
        (lambda: cf.Centres((1, 2), axes="cube"), "axes must be one of"),
        (lambda: cf.Centres((1, 2), width=4), "width must be at least 5"),
        (lambda: cf.Centres((1, 2)).flow("hinge"), "loss must be one of"),
        (lambda: cf.Centres((1, 2)).decide(np.ones((5, 1)), "vote"), "rule must be one of"),
        (lambda: cf.Centres((1, 2)).classifier("max"), "rule must be one of"),
        (lambda: cf.Centres((1, 2)).flow(beta=-1.0), "beta must be between"),
        (lambda: theory.centre_counts([1e-5, 1e5], 0.0), "would need"),
        (lambda: theory.centre_rates((1, 2), 0.2, 2), "own must be from 0 to 1"),
        (lambda: theory.single_centre_time(0.5, 0.2), "gap must be at most gap0"),
        (lambda: theory.centre_pair_errors((1, 2), 0.2, 0.0), "deviations must be from"),
    ],
)
def test_bad_input_is_refused(call, message):
    with pytest.raises((ValueError, TypeError), match=message):
        call()


def test_a_start_without_direction_is_refused():
    centres = cf.Centres((1, 2))
    with pytest.raises(ValueError, match="no gradient"):
        cf.integrate(centres.flow("cosine"), (centres.W, np.zeros((5, 2))), 1.0)
    assert cf.integrate(centres.flow(weight_decay=0.1), (centres.W, np.zeros((5, 2))), 1.0).success
