"""Imbalanced classes: closed forms, optima and laws against full matrices, certificates of convexity and runs."""

import math

import mpmath as mp
import numpy as np
import pytest
import scipy
from hypothesis import given, settings
from hypothesis import strategies as st

import ceflow as cf

imbalance = cf.theory.imbalance
STEP = ((5, 5), (100, 1))
THREE = ((4, 3, 2), (20, 5, 1))

groups = st.lists(st.tuples(st.integers(1, 6), st.integers(1, 1000)), min_size=1, max_size=5).filter(
    lambda found: sum(K for K, _ in found) > 1
)


def full(classes, values):
    """One number for each class."""
    return np.repeat(np.broadcast_to(np.array(values, float), len(classes)), classes)


def weights_of(classes, samples, weights=1.0, reduction="mean"):
    n = full(classes, samples)
    return full(classes, weights) / (n.sum() if reduction == "mean" else 1.0)


# -- SELI --------------------------------------------------------------------------------------------------------------


@settings(max_examples=60, deadline=None)
@given(groups)
def test_seli_against_a_singular_value_decomposition(found):
    classes, samples = zip(*found, strict=True)
    K, root = sum(classes), np.sqrt(full(classes, samples))
    left, s, right = np.linalg.svd((np.eye(K) - 1.0 / K) * root)
    W, H = (left * s) @ left.T, ((right.T * s) @ right) / root / root[:, None]
    seli = imbalance.seli(classes, samples)
    mine = np.repeat(seli.singular_values, seli.multiplicities)
    np.testing.assert_allclose(mine, s[:-1], rtol=0, atol=1e-12 * s[0])
    np.testing.assert_allclose(seli.layers.classifier_gram, W, rtol=0, atol=1e-12 * s[0])
    np.testing.assert_allclose(seli.layers.feature_gram, H, rtol=0, atol=1e-12)
    check_geometry(seli.geometry, classes, samples, W, H, np.eye(K) - 1.0 / K)


def check_geometry(geometry, classes, samples, W, H, Z, rtol=1e-9):
    """Lengths and angles by group against those of Gram matrices W, H, with logits Z."""
    K, group = len(W), np.repeat(np.arange(len(classes)), classes)
    mean = full(classes, samples) / full(classes, samples).sum()
    centred = (np.eye(K) - mean[:, None]).T @ H @ (np.eye(K) - mean[:, None])
    towards = Z @ (np.eye(K) - mean[:, None])
    with np.errstate(invalid="ignore"):  # vectors that are zero
        _check_geometry(geometry, group, W, H, Z, centred, towards, rtol)


def _check_geometry(geometry, group, W, H, Z, centred, towards, rtol):
    K = len(W)
    several = [i for i in range(K) if i < 2 or group[i] != group[i - 2]]  # the first two of each group
    for i in several:
        g = group[i]
        pairs = [
            (geometry.classifier_squares[g], W[i, i]),
            (geometry.feature_squares[g], H[i, i]),
            (np.cos(geometry.angles[g]), Z[i, i] / math.sqrt(W[i, i] * H[i, i])),
            (np.cos(geometry.centred_angles[g]), towards[i, i] / math.sqrt(W[i, i] * centred[i, i])),
        ]
        for j in several:
            if i != j:
                h, d = group[j], np.zeros(K)
                d[i], d[j] = 1.0, -1.0
                pairs += [
                    (geometry.classifier_cosines[g, h], W[i, j] / math.sqrt(W[i, i] * W[j, j])),
                    (geometry.feature_cosines[g, h], H[i, j] / math.sqrt(H[i, i] * H[j, j])),
                    (np.cos(geometry.pair_angles[g, h]), d @ Z @ d / math.sqrt((d @ W @ d) * (d @ H @ d))),
                ]
        np.testing.assert_allclose(*zip(*pairs, strict=True), rtol=rtol, atol=rtol)


def test_seli_of_two_groups_in_closed_form():
    """The formulas of step imbalance, to rounding at a ratio of 1e12 as well."""
    cases = ((5, 5, 10, 1), (5, 5, 100, 1), (3, 7, 1000, 10), (1, 6, 50, 1), (8, 2, 1e12, 1), (2, 8, 1e12, 1))
    for A, B, n, m in cases:
        K, root = A + B, math.sqrt((B * n + A * m) / (A + B))
        seli = imbalance.seli((A, B), (n, m))
        g = seli.geometry
        rn, rm = math.sqrt(n), math.sqrt(m)
        expected = [(1 - 1 / A) * rn + B * root / (K * A), (1 - 1 / B) * rm + A * root / (K * B)]
        np.testing.assert_allclose(g.classifier_squares, expected, rtol=1e-14)
        features = [(1 - 1 / A) / rn + B / (K * A * root), (1 - 1 / B) / rm + A / (K * B * root)]
        np.testing.assert_allclose(g.feature_squares, features, rtol=1e-14)
        np.testing.assert_allclose(
            g.classifier_cosines[0, 1], -root / K / math.sqrt(expected[0] * expected[1]), rtol=1e-13
        )
        np.testing.assert_allclose(g.classifier_cosines[1, 1], (-rm / B + A * root / (K * B)) / expected[1], rtol=1e-13)
        cosine = (1 - 1 / K) / math.sqrt(expected[1] * features[1])
        np.testing.assert_allclose(np.cos(g.angles[1]), cosine, rtol=1e-12)
        across = rn * (1 - 1 / A) + rm * (1 - 1 / B) + root * K / (A * B)
        below = (1 - 1 / A) / rn + (1 - 1 / B) / rm + K / (A * B * root)
        np.testing.assert_allclose(np.cos(g.pair_angles[0, 1]) ** 2, 4 / (across * below), rtol=1e-12)
        values = {rn: A - 1, root: 1, rm: B - 1}
        expected = {value: count for value, count in values.items() if count}
        np.testing.assert_allclose(seli.singular_values, sorted(expected, reverse=True), rtol=1e-15)
        assert seli.multiplicities.sum() == K - 1


def test_seli_keeps_its_digits_at_extreme_ratios():
    """Three groups over 24 decades of samples, against 60 digits."""
    classes, samples = (3, 4, 5), (1e12, 1.0, 1e-12)
    with mp.workdps(60):
        K, k = mp.mpf(12), [mp.sqrt(size) for size in classes]
        root = [mp.sqrt(mp.mpf(n)) for n in samples]
        C = mp.matrix(3, 3)
        for i in range(3):
            for j in range(3):
                C[i, j] = ((i == j) - k[i] * k[j] / K) * root[j]
        squares, U = mp.eigsy(C * C.T)
        sigma = [mp.sqrt(squares[i]) for i in (2, 1)]
        W = [float(sum(sigma[i] * U[g, 2 - i] ** 2 for i in range(2)) / classes[g]) for g in range(3)]
        across = [float(sum(sigma[i] * U[g, 2 - i] * U[0, 2 - i] for i in range(2)) / k[g] / k[0]) for g in range(3)]
        sigma = [float(value) for value in sigma]
    seli = imbalance.seli(classes, samples)
    np.testing.assert_allclose((seli.layers.X**2).sum(axis=0), sigma, rtol=1e-14)
    rows = seli.layers.X / np.sqrt(classes)[:, None]
    np.testing.assert_allclose((rows**2).sum(axis=1), W, rtol=1e-13)
    np.testing.assert_allclose(rows @ rows[0], across, rtol=1e-13)


def test_groups_of_equal_samples_are_one():
    apart, whole = imbalance.seli((2, 3, 4), (7, 7, 2)), imbalance.seli((5, 4), (7, 2))
    np.testing.assert_allclose(apart.singular_values, whole.singular_values, rtol=1e-15)
    np.testing.assert_array_equal(apart.multiplicities, whole.multiplicities)
    np.testing.assert_allclose(apart.layers.classifier_gram, whole.layers.classifier_gram, atol=1e-14)
    balanced = imbalance.seli((2, 3, 4), 5)
    np.testing.assert_allclose(balanced.geometry.angles, 0.0, atol=1e-15)
    np.testing.assert_allclose(balanced.geometry.classifier_cosines, -1 / 8, rtol=1e-13)


@pytest.mark.parametrize("ratio", [10, 100])
def test_the_flow_goes_to_seli(ratio):
    """To four digits, at margins of 1e5."""
    classes, samples = (5, 5), (ratio, 1)
    flow = cf.SpectralFlow(cf.direct_sum(*classes), samples=samples)
    run = cf.integrate(flow, flow.collapsed_start(1e-3), log_t_end=1e5, rtol=1e-8)
    assert run.success
    seli = imbalance.seli(classes, samples)
    W, H = run.classifier_cosines[-1], run.feature_cosines[-1]
    for g, h, i, j in ((0, 0, 0, 1), (0, 1, 0, 5), (1, 1, 5, 6)):
        np.testing.assert_allclose(W[i, j], seli.geometry.classifier_cosines[g, h], atol=5e-5)
        np.testing.assert_allclose(H[i, j], seli.geometry.feature_cosines[g, h], atol=5e-5)


# -- the law of the approach -------------------------------------------------------------------------------------------

LAWS = {
    "10 to 1": ((5, 5), (10, 1), {}),
    "100 to 1": ((5, 5), (100, 1), {}),
    "three groups": ((4, 3, 1), (20, 5, 1), {}),
    "weights": ((5, 5), (10, 1), {"weights": (0.1, 1.0)}),
    "logit adjustment": ((5, 5), (4, 1), {"logit_adjustment": (math.log(4.0), 0.0)}),
    "sum": ((3, 6), (10, 1), {"reduction": "sum"}),
}


@pytest.mark.parametrize("name", LAWS)
def test_the_approach_to_seli(name):
    """Margins differ from the law by O(1/rho), cosines by O(1/rho^2), and without the law by O(1/rho)."""
    classes, samples, options = LAWS[name]
    log_t = np.array([1e3, 3e3, 1e4])
    flow = cf.SpectralFlow(cf.direct_sum(*classes), samples=samples, **options)
    run = cf.integrate(flow, flow.collapsed_start(1e-3), log_t_end=1e4, rtol=1e-9).at(log_t=log_t)
    law = imbalance.approach(classes, samples, log_t, **options)
    rho, first = law.log_scale, np.cumsum([0, *classes])[:-1]
    inside = [i for i in range(len(classes)) if classes[i] > 1]
    cosines = run.classifier_cosines
    off = np.array([cosines[:, first[i], first[i] + 1] - law.geometry.classifier_cosines[:, i, i] for i in inside])
    margins = np.array([run.logits[:, first[i], first[i]] - run.logits[:, first[i] + 1, first[i]] for i in inside])
    margins -= rho + np.diag(law.offsets)[inside][:, None]
    assert np.abs(margins * rho).max() < 20.0 and np.abs(off * rho**2).max() < 20.0
    for errors in (margins * rho, off * rho**2):  # tend to constants
        np.testing.assert_allclose(errors[:, 0], errors[:, 2], rtol=0.12, atol=0.05)
    seli = imbalance.seli(classes, samples).geometry.classifier_cosines
    assert np.all(np.abs(cosines[:, first[inside[-1]], first[inside[-1]] + 1] - seli[inside[-1], inside[-1]])[2] > 1e-6)


def test_optima_of_small_decay_obey_the_same_law():
    for classes, samples, options in LAWS.values():
        decay = 1e-200
        rho, law = -math.log(decay), imbalance.approach(classes, samples, 1e3, **options)
        rest = imbalance.equilibrium(classes, samples, decay, **options)
        np.testing.assert_allclose(rest.margins - rho, law.offsets, atol=30.0 / rho)


def test_residuals_are_the_features_gram_matrix():
    """Late probabilities of wrong classes, ``-h . h / o`` but for a factor."""
    classes, samples = THREE
    flow = cf.SpectralFlow(cf.direct_sum(*classes), samples=samples)
    run = cf.integrate(flow, flow.collapsed_start(1e-3), log_t_end=1e4, rtol=1e-9)
    Z = run.logits[-1]
    margins = np.diag(Z) - Z
    wrong = ~np.eye(9, dtype=bool)
    gram = imbalance.seli(classes, samples).layers.feature_gram
    offset = (margins + np.log(-np.where(wrong, gram, -1.0)))[wrong]
    assert np.ptp(offset) < 2e-3


# -- thresholds --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("loss", ["cross_entropy", "squared_error"])
@pytest.mark.parametrize(
    ("classes", "samples", "group"), [((3, 3), (10, 1), 1), ((3, 3), (10, 1), 0), ((3, 2, 2), (8, 3, 1), 1)]
)
def test_dead_and_alive_around_the_threshold(loss, classes, samples, group):
    """The zero-sum mode of a group, 1 % above and below, reduced and full."""
    threshold = imbalance.minority_threshold(classes, samples, reduction="sum").groups[group]
    assert threshold == samples[group]
    first = sum(classes[:group])
    for factor, alive in ((1.01, False), (0.99, True)):
        decay = factor * math.sqrt(threshold)
        options = {"loss": loss, "reduction": "sum", "weight_decay": decay}
        options |= {"targets": "one-hot"} if loss == "squared_error" else {}
        flow = cf.SpectralFlow(cf.direct_sum(*classes), samples=samples, **options)
        start, t_end = flow.random_start(0.3, rng=1), 400.0 / math.sqrt(threshold)
        reduced = cf.integrate(flow, start, t_end=t_end, rtol=1e-8)
        matrices = cf.integrate(flow.full(), flow.lift(start, rng=2), t_eval=[t_end], rtol=1e-8)
        for run in (reduced, matrices):
            assert run.success
            Z = run.logits[-1]
            margin = Z[first, first] - Z[first + 1, first]
            assert abs(margin) > 5e-3 if alive else abs(margin) < 2e-4  # 0.1 exp(-8)


def test_threshold_of_two_decays_and_of_weights():
    options = {"weights": (0.2, 3.0)}
    threshold = imbalance.minority_threshold(*STEP, **options).groups[1]
    np.testing.assert_allclose(threshold, (3.0 / 505) ** 2, rtol=1e-14)
    for factor, alive in ((0.98, True), (1.02, False)):
        lW = 1e-3
        margins = imbalance.equilibrium(*STEP, (lW, factor * threshold / lW), **options).margins
        assert (margins[1, 1] > 0.0) == alive
    assert np.isnan(imbalance.minority_threshold((1, 3), (5, 1)).groups[0])


@pytest.mark.parametrize(
    ("classes", "samples", "options"),
    [(*STEP, {}), ((1, 5), (100, 1), {}), ((1, 1, 1), (9, 3, 1), {}), (*STEP, {"logit_adjustment": (2.0, 0.0)})],
)
def test_everything_dies(classes, samples, options):
    """The largest group of two classes last; single classes at the block's largest force."""
    everything = imbalance.minority_threshold(classes, samples, **options).everything
    decay = math.sqrt(everything)
    above, below = (imbalance.equilibrium(classes, samples, decay * x, **options) for x in (1.0001, 0.9999))
    assert np.nanmax(np.abs(above.margins)) < 1e-12 and np.nanmax(below.margins) > 1e-5
    K, n, o = sum(classes), full(classes, samples), weights_of(classes, samples)
    p = scipy.special.softmax(full(classes, options.get("logit_adjustment", 0.0)))
    force = (np.eye(K) - p[:, None]) * o * np.sqrt(n)
    np.testing.assert_allclose(everything, np.linalg.norm(force, 2) ** 2, rtol=1e-12)


# -- equilibrium -------------------------------------------------------------------------------------------------------


def check_optimal(rest, classes, samples, mu, weights=1.0, logit_adjustment=0.0, reduction="mean", rtol=5e-11):
    """Optimality in the convex problem of all K^2 logits, on full matrices: the force R on ``M = Z N^(1/2)`` has no
    singular value above mu, and ``<R, M> = mu |M|_*``. Both are sufficient, for any solver."""
    K, group = sum(classes), np.repeat(np.arange(len(classes)), classes)
    n, o = full(classes, samples), weights_of(classes, samples, weights, reduction)
    delta = full(classes, logit_adjustment)
    margins = rest.margins[np.ix_(group, group)].T  # row: the other class
    margins[np.diag_indices(K)] = 0.0
    Z = -margins + (margins.sum(axis=0) / K)
    exponents = -margins + delta[:, None] - delta
    wrong = np.where(np.eye(K, dtype=bool), -np.inf, exponents)
    G = -scipy.special.softmax(exponents, axis=0)
    G[np.diag_indices(K)] = np.exp(scipy.special.logsumexp(wrong, axis=0) - scipy.special.logsumexp(exponents, axis=0))
    R, M = G * o * np.sqrt(n), Z * np.sqrt(n)
    values = np.linalg.svd(M, compute_uv=False)
    assert np.linalg.norm(R, 2) <= mu * (1.0 + rtol)
    np.testing.assert_allclose((R * M).sum(), mu * values.sum(), rtol=rtol, atol=rtol * mu)
    loss = (n * o * np.logaddexp(0.0, scipy.special.logsumexp(wrong, axis=0))).sum()
    np.testing.assert_allclose(rest.loss, loss, rtol=1e-11)
    np.testing.assert_allclose(rest.objective, loss + mu * values.sum(), rtol=1e-11)
    np.testing.assert_allclose(np.matmul(rest.layers.X, rest.layers.Y).sum(), block_sum(Z, classes), atol=1e-10)
    return Z


def block_sum(Z, classes):
    group = np.repeat(np.arange(len(classes)), classes)
    constants = (group[:, None] == np.arange(len(classes))) / np.sqrt(classes)
    return (constants.T @ Z @ constants).sum()


@settings(max_examples=40, deadline=None)
@given(groups, st.floats(-9.0, 0.5), st.integers(0, 1000))
def test_equilibrium_is_the_optimum(found, log_decay, seed):
    """Random groups, weights, adjustments and decays, up to where everything is dead."""
    classes, samples = zip(*found, strict=True)
    rng = np.random.default_rng(seed)
    options = {
        "weights": rng.uniform(0.3, 3.0, len(classes)),
        "logit_adjustment": rng.uniform(-2.0, 2.0, len(classes)) * rng.integers(0, 2),
        "reduction": rng.choice(["mean", "sum"]).item(),
    }
    mu = math.sqrt(imbalance.minority_threshold(classes, samples, **options).everything) * 10**log_decay
    rest = imbalance.equilibrium(classes, samples, mu, **options)
    check_optimal(rest, classes, samples, mu, **options, rtol=1e-9)


def test_equilibrium_of_two_groups_by_the_scalar_equations():
    """lambda_A and lambda_B known, (g_A, g_B) on an ellipse: one equation for the angle."""
    for decay in (1e-3, 1e-4, 1e-8):
        rest = imbalance.equilibrium(*STEP, decay)
        margins, lam = two_groups(decay)
        np.testing.assert_allclose(rest.margins, margins, rtol=1e-10)
        np.testing.assert_allclose(rest.forces, lam, rtol=1e-14)


def two_groups(decay):
    (A, B), (n, m) = STEP
    K, o = A + B, 1 / 505
    lam = np.minimum(1.0, decay / (np.sqrt([n, m]) * o))

    def column(g, lam, own, other):
        p_x = g / math.sqrt(K * other)
        p_o = (lam - other * p_x) / own
        s = math.log1p((1.0 - lam) / p_o)
        return s, own * math.sqrt(other / K) * (math.log(p_o / p_x) + s / own), math.log((p_o + 1 - lam) / p_x)

    def both(angle):
        g = decay * np.array([math.cos(angle), math.sin(angle)]) / (np.sqrt([n, m]) * o)
        return column(g[0], lam[0], A, B), column(g[1], lam[1], B, A), g

    def difference(angle):
        one, two, g = both(angle)
        return one[1] * g[1] - two[1] * g[0]

    ends = [math.acos(min(1.0, lam[0] * math.sqrt(K / B) * math.sqrt(n) * o / decay)) + 1e-9]
    ends.append(math.asin(min(1.0, lam[1] * math.sqrt(K / A) * math.sqrt(m) * o / decay)) - 1e-9)
    angle = scipy.optimize.brentq(difference, *ends, xtol=1e-15)
    one, two, _ = both(angle)
    return [[one[0], one[2]], [two[2], two[0]]], lam


@pytest.mark.parametrize("decays", [(1e-4, 1e-4), (2e-3, 5e-4), (1e-3, 9e-3)])
@pytest.mark.parametrize(("classes", "samples"), [STEP, ((3, 1, 2), (40, 9, 2))])
def test_the_flow_rests_at_the_equilibrium(classes, samples, decays):
    """From a random start to 1e-10, and from the equilibrium itself, whose layers fit the decays."""
    options = {"samples": samples, "weight_decay": decays, "logit_adjustment": tuple(0.3 * np.log(samples))}
    flow = cf.SpectralFlow(cf.direct_sum(*classes), **options)
    rest = imbalance.equilibrium(classes, samples, decays, logit_adjustment=options["logit_adjustment"])
    t_end = 40.0 / imbalance.rates(classes, samples, decays, logit_adjustment=options["logit_adjustment"]).rates[0]
    for start, rtol in ((flow.random_start(0.3, rng=3), 1e-11), (flow.layers(rest.layers.blocks), 1e-11)):
        run = cf.integrate(flow, start, t_end=t_end, rtol=rtol)
        np.testing.assert_allclose(run.objective[-1], rest.objective, rtol=1e-11)
        first = np.cumsum([0, *classes])[:-1]
        Z = run.logits[-1]
        for i, a in enumerate(first):
            for j, b in enumerate(first):
                other = b + (i == j)
                if i != j or classes[i] > 1:
                    np.testing.assert_allclose(Z[a, a] - Z[other, a], rest.margins[i, j], rtol=1e-9, atol=1e-10)
    W, H = flow.lift(rest.layers.blocks)
    np.testing.assert_allclose(W @ W.T, rest.layers.classifier_gram, atol=1e-12)
    np.testing.assert_allclose(H.T @ H, rest.layers.feature_gram, atol=1e-12)
    check_geometry(rest.geometry, classes, samples, W @ W.T, H.T @ H, W @ H)
    np.testing.assert_allclose(decays[0] * np.trace(W @ W.T), decays[1] * (H**2 @ full(classes, samples)).sum())


def test_equilibrium_near_thresholds_and_at_extremes():
    for factor in (1 - 1e-6, 1 - 1e-9, 1 + 1e-9):
        decay = factor / 505
        rest = imbalance.equilibrium(*STEP, decay)
        check_optimal(rest, *STEP, decay)
        # the force 1 - p_d + p_o falls from 1 with the slope p of the probability of a class of the group
        p = (1.0 - 5 * float(wrong_across(rest))) / 5
        expected = max(0.0, (1.0 - factor) / p)
        np.testing.assert_allclose(rest.singular_values[1], expected, rtol=1e-5, atol=1e-11)
    for samples, decay in (((1e6, 1), 1e-6), ((1000, 1), 1e-100)):
        check_optimal(imbalance.equilibrium((5, 5), samples, decay), (5, 5), samples, decay, rtol=1e-9)


def test_a_mode_that_a_step_sets_to_zero_comes_back():
    """Newton's method passes close to a saddle here."""
    classes, samples = (2, 4, 3, 5, 2), (1.031273943864256, 6712.242655504695, 3538.4145172747844, 87.42710188711419,
                                         865.3607638911167)  # fmt: skip
    options = {
        "weights": (4.69091467, 0.43095914, 0.92328677, 0.23290607, 2.5759714),
        "logit_adjustment": (-4.22015875, -3.43178196, -1.42725269, -0.11001905, 1.05656347),
        "reduction": "sum",
    }
    rest = imbalance.equilibrium(classes, samples, 4.040559341973706, **options)
    check_optimal(rest, classes, samples, 4.040559341973706, **options, rtol=1e-9)


def wrong_across(rest):
    """Probability of one majority class in a sample of the minority."""
    return 1.0 / (math.exp(rest.margins[1, 0]) + 4.0 * math.exp(rest.margins[1, 0] - rest.margins[1, 1]) + 5.0)


def test_one_group_is_known():
    rest = imbalance.equilibrium([8], 3, 1e-3)
    np.testing.assert_allclose(rest.margins[0, 0], math.log(1 / (math.sqrt(3) * 1e-3) - 7), rtol=1e-12)
    rest = imbalance.equilibrium([8], 1, 1e-3, reduction="sum")
    expected = cf.theory.equilibrium(8, weight_decay=1e-3, reduction="sum")
    np.testing.assert_allclose(rest.margins[0, 0], expected, rtol=1e-12)


def test_logit_adjustment_moves_margins_by_twice_its_size():
    """In the limit: margin(B over A) - margin(A over B) = 2 tau log R, at the same geometry."""
    for tau in (1.0, 2.0):
        law = imbalance.approach(*STEP, 1e6, logit_adjustment=(tau * math.log(100), 0.0))
        np.testing.assert_allclose(law.offsets[1, 0] - law.offsets[0, 1], 2 * tau * math.log(100), rtol=1e-12)
        np.testing.assert_allclose(law.geometry.angles[0], imbalance.seli(*STEP).geometry.angles, atol=1e-4)


# -- the path, and rates -----------------------------------------------------------------------------------------------


def test_path_of_two_groups():
    """States are equilibria; the means' threshold solves one scalar equation; order of appearance."""
    decays = np.geomspace(1e-6, 2.5e-2, 7)
    path = imbalance.path(*STEP, decays)
    for i, decay in enumerate(decays):
        one = imbalance.equilibrium(*STEP, decay)
        np.testing.assert_array_equal(path.states.margins[i], one.margins)
        np.testing.assert_array_equal(path.states.geometry.angles[i], one.geometry.angles)
        check_optimal(one, *STEP, decay)
    for (A, B), (n, m) in (STEP, ((3, 6), (10, 1)), ((2, 2), (3, 2))):
        found = imbalance.path((A, B), (n, m), 1e-3)
        K, unit = A + B, 1.0 / (A * n + B * m)

        def below(y, A=A, B=B):  # sum of the exponentials of a majority column, y = e^(-s/A)
            return y ** (1 - A) + (A - 1) * y + B

        def equation(y, A=A, B=B, n=n, m=m, K=K, below=below):
            return m * A / (K * n) * below(y) ** 2 - (A * y + B) ** 2 + K * B

        y = scipy.optimize.brentq(equation, (math.sqrt(K * B) - B) / A * 0.9, 1 - 1e-9, xtol=1e-15)
        expected = math.sqrt(n) * unit * (A * y + B) / below(y)
        np.testing.assert_allclose(found.block_thresholds, [expected], rtol=1e-10)
        majority, minority = found.group_thresholds
        assert minority < expected < majority
        for factor, alive in ((0.999, True), (1.001, False)):
            rest = imbalance.equilibrium((A, B), (n, m), expected * factor)
            assert (rest.block_singular_values[0] > 0.0) == alive


def test_path_of_many_groups():
    classes, samples = (1, 2, 1, 3), (40, 12, 5, 1)
    path = imbalance.path(classes, samples, [1e-4, 1e-3])
    assert np.all(np.diff(path.block_thresholds) < 0)
    for k, decay in enumerate(path.block_thresholds):
        above, below = (imbalance.equilibrium(classes, samples, decay * x) for x in (1.0003, 0.9997))
        assert (above.block_singular_values > 0).sum() == k and (below.block_singular_values > 0).sum() == k + 1
        check_optimal(below, classes, samples, decay * 0.9997, rtol=1e-9)


@pytest.mark.parametrize("decays", [(1e-3, 1e-3), (4e-2, 1e-3), (0.2, 0.05)])
def test_rates_are_eigenvalues_of_the_full_flow(decays):
    """Of its Jacobian at rest, by central differences of all entries of W and H, with modes alive and dead."""
    classes, samples = (2, 2), (6, 1)
    o, n = 1.0 / 14, full(classes, samples)
    rest, rates = imbalance.equilibrium(classes, samples, decays), imbalance.rates(classes, samples, decays)
    flow = cf.SpectralFlow(cf.direct_sum(*classes), samples=samples, weight_decay=decays)
    W, H = flow.lift(rest.layers.blocks)

    def velocity(x):
        W, H = x[:16].reshape(4, 4), x[16:].reshape(4, 4)
        G = np.eye(4) - scipy.special.softmax(W @ H, axis=0)
        return np.concatenate([((G * n * o) @ H.T - decays[0] * W).ravel(), (o * W.T @ G - decays[1] * H).ravel()])

    x, h = np.concatenate([W.ravel(), H.ravel()]), 1e-5
    assert np.abs(velocity(x)).max() < 1e-14
    jacobian = np.array([(velocity(x + h * e) - velocity(x - h * e)) / (2 * h) for e in np.eye(32)]).T
    eigenvalues = np.linalg.eigvals(jacobian)
    for rate in rates.rates:
        assert np.abs(eigenvalues + rate).min() < 1e-8
    np.testing.assert_allclose(rates.shares.sum(axis=1), 1.0, rtol=1e-12)
    dead = rest.singular_values == 0.0
    for g in np.flatnonzero(dead):
        lW, lH = decays
        pair = (lW + lH) / 2 + np.array([-1, 1]) * math.sqrt((lW - lH) ** 2 / 4 + samples[g] * o**2)
        alone = rates.rates[rates.shares[:, g] > 1 - 1e-9]
        np.testing.assert_allclose(alone, pair, rtol=1e-9)


def test_a_run_ends_at_the_slowest_rate():
    decay = 5e-4
    rates = imbalance.rates(*STEP, decay).rates
    flow = cf.SpectralFlow(cf.direct_sum(5, 5), samples=(100, 1), weight_decay=decay)
    times = np.array([8.0, 12.0]) / rates[0]
    run = cf.integrate(flow, flow.collapsed_start(0.1), t_eval=times, rtol=1e-12)
    gap = run.objective[1:] - imbalance.equilibrium(*STEP, decay).objective
    np.testing.assert_allclose(-np.diff(np.log(gap)) / np.diff(times), 2 * rates[0], rtol=0.02)


def test_rates_of_several_groups_leave_out_turns():
    rates = imbalance.rates(*THREE, 1e-4).rates
    assert rates.size == 2 * 3 + 2 * 3 * 2 - 1 and rates.min() > 1e-6
    assert np.abs(rates - 2e-4).min() < 1e-15


# -- a long tail -------------------------------------------------------------------------------------------------------


def test_a_long_tail_of_a_hundred_classes():
    """Ten groups of ten classes, 500 to 10 samples: 210 numbers in place of two (100, 100) matrices."""
    sizes = (10,) * 10
    samples = tuple(round(500 * (1 / 50) ** (i / 9)) for i in range(10))
    flow = cf.SpectralFlow(cf.direct_sum(*sizes), samples=samples)
    start, times = flow.random_start(0.1, rng=0), [10.0, 1e3, 1e5]
    reduced = cf.integrate(flow, start, t_end=times[-1], rtol=1e-10)
    matrices = cf.integrate(flow.full(), flow.lift(start), t_eval=times, rtol=1e-10)
    Z, mine = matrices.logits, reduced.at(log_t=matrices.log_t).logits
    assert reduced.y.shape[1] == 210
    assert (np.linalg.norm(mine - Z, axis=(1, 2)) / np.linalg.norm(Z, axis=(1, 2))).max() < 1e-9
    rest = imbalance.equilibrium(sizes, samples, 1e-4)
    check_optimal(rest, sizes, samples, 1e-4)


# -- bad input ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: imbalance.seli(5, 1), TypeError, "classes must be a list"),
        (lambda: imbalance.seli([], 1), TypeError, "classes must be a list"),
        (lambda: imbalance.seli([1], 1), ValueError, "must sum to at least 2"),
        (lambda: imbalance.seli((2.5, 3), 1), TypeError, "classes must be an integer"),
        (lambda: imbalance.seli((0, 3), 1), ValueError, "classes must be at least|classes must be from"),
        (lambda: imbalance.seli((5, 5), (1, 2, 3)), ValueError, "one for each of 2 groups"),
        (lambda: imbalance.seli((5, 5), (0, 1)), ValueError, "samples must be from"),
        (lambda: imbalance.seli((5, 5), (math.nan, 1)), ValueError, "samples must be from"),
        (lambda: imbalance.equilibrium((5, 5), 1, 0.0), ValueError, "weight_decay must be from"),
        (lambda: imbalance.equilibrium((5, 5), 1, (1, 2, 3)), ValueError, "pair"),
        (lambda: imbalance.equilibrium((5, 5), 1, 1e-3, reduction="median"), ValueError, "reduction"),
        (lambda: imbalance.equilibrium((5, 5), 1, 1e-3, weights=(1, -1)), ValueError, "weights must be from"),
        (lambda: imbalance.minority_threshold((5, 5), 1, logit_adjustment=math.inf), ValueError, "logit_adjustment"),
        (lambda: imbalance.path((5, 5), 1, [[1e-3]]), ValueError, "a list of numbers"),
        (lambda: imbalance.path((5, 5), 1, []), ValueError, "a list of numbers"),
        (lambda: imbalance.rates((5, 5), 1, -1.0), ValueError, "weight_decay must be from"),
        (lambda: imbalance.approach(*STEP, 5.0), ValueError, "log_t must be from"),
        (lambda: imbalance.approach(*STEP, 20.0, logit_adjustment=(100.0, 0.0)), ValueError, "must be larger"),
        (lambda: imbalance.seli((2**20, 2**20), (3, 1)).layers.classifier_gram, ValueError, "Gram matrix"),
    ],
)  # fmt: skip
def test_bad_input(call, error, message):
    with pytest.raises(error, match=message):
        call()


def test_millions_of_classes_are_two_groups():
    seli = imbalance.seli((10**6, 10**6), (100, 1))
    np.testing.assert_allclose(np.cos(seli.geometry.pair_angles[0, 1]) ** 2, 4 * 10 / 11**2, rtol=1e-5)
    rest = imbalance.equilibrium((10**6, 10**6), (100, 1), 1e-10)
    assert rest.margins.min() > 0.0
