"""Geometric complexity and transfer: formulas against full matrices and Monte Carlo, and claims that do not hold."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import ndtr

import ceflow as cf

theory = cf.theory.complexity
TAU = 0.3
SCHEMES = [cf.hadamard(8), cf.cyclic(7), cf.johnson(5, 2), cf.hamming(2, 3)]


def features_of(scheme, b, constant=0.0, width=None, rng=0):
    """Features (d, K) with singular values b, and one on the constants."""
    K = scheme.classes
    R = np.linalg.qr(np.random.default_rng(rng).standard_normal((width or K + 2, K)))[0]
    return (R * np.append(constant, np.asarray(b)[scheme.columns[1:] - 1])) @ scheme.basis().T


def brute_cdnv(H, variance):
    K = H.shape[1]
    return np.mean([variance / ((H[:, i] - H[:, j]) ** 2).sum() for i in range(K) for j in range(K) if i != j])


# -- formulas against full matrices ------------------------------------------------------------------------------------


@pytest.mark.parametrize("scheme", SCHEMES, ids=lambda scheme: scheme.name)
def test_formulas_on_a_scheme_are_those_of_the_matrices(scheme):
    b = np.random.default_rng(1).uniform(0.1, 2.0, scheme.modes)
    H = features_of(scheme, b, constant=0.7)
    complexity = theory.feature_complexity(scheme, b, 0.7)
    assert complexity == pytest.approx((H**2).sum(), rel=1e-12)
    distances = theory.class_distances(scheme, b)
    full, relations = cf.collapse.class_distances(H), scheme.relations()
    for j in range(1, scheme.modes + 1):
        np.testing.assert_allclose(full[relations == j], distances[j - 1], rtol=1e-12)
    gaps = (2.0 / scheme.classes) * (scheme.multiplicities[1:] * b**2) @ scheme.gaps
    np.testing.assert_allclose(distances, gaps, rtol=1e-12)
    mean = theory.cdnv(complexity, distances, scheme.valencies[1:], tau=TAU)
    assert mean == pytest.approx(brute_cdnv(H, TAU**2 * (H**2).sum()), rel=1e-12)
    assert mean == pytest.approx(cf.collapse.cdnv(H, variance=TAU**2 * (H**2).sum()), rel=1e-12)
    errors = theory.pair_errors(features_of(scheme, b), TAU * features_of(scheme, b))
    on_modes = theory.pair_error_on_modes(scheme, b, tau=TAU)
    for j in range(1, scheme.modes + 1):
        np.testing.assert_allclose(errors[relations == j], on_modes[j - 1], rtol=1e-10)


RUNS = {
    "two layers": lambda: (cf.SpectralFlow(cf.hadamard(8)), np.random.default_rng(0).uniform(0.1, 0.5, (2, 7))),
    "balanced": lambda: (cf.SpectralFlow(cf.cyclic(7)), [0.1, 0.3, 0.2]),
    "deep": lambda: (cf.SpectralFlow(cf.hadamard(4), depth=3), np.random.default_rng(0).uniform(0.2, 0.9, (3, 3))),
}


@pytest.mark.parametrize("kind", RUNS)
@pytest.mark.parametrize("descent", [False, True])
def test_reduced_and_full_runs_agree(kind, descent):
    flow, start = RUNS[kind]()
    full, factors = flow.full(), flow.lift(start)
    if descent:
        runs = [cf.descend(f, s, step_size=0.5, steps=60) for f, s in ((flow, start), (full, factors))]
    else:
        runs = [
            cf.integrate(f, s, t_eval=[0.0, 1.0, 10.0, 50.0], rtol=1e-12) for f, s in ((flow, start), (full, factors))
        ]
    mine, other = (theory.along(run, tau=TAU) for run in runs)
    np.testing.assert_allclose(mine.total, other.total, rtol=1e-9)
    np.testing.assert_allclose(mine.cdnv, other.cdnv, rtol=1e-9)
    H = runs[1].features[-1]
    assert other.total[-1] == pytest.approx((H**2).sum(), rel=1e-12)
    assert other.cdnv[-1] == pytest.approx(brute_cdnv(H, TAU**2 * (H**2).sum()), rel=1e-12)


def test_a_fractional_depth_lies_between():
    runs = [cf.integrate(cf.SpectralFlow(cf.hadamard(4), depth=L), [0.1, 0.2, 0.3], 1.0) for L in (2, 2.5, 3)]
    first = [theory.along(run).total[0] for run in runs]
    assert first == pytest.approx([np.sum(np.array([0.1, 0.2, 0.3]) ** (2 - 2 / L)) for L in (2, 2.5, 3)], rel=1e-12)


def test_blocks_are_as_their_matrices():
    flow = cf.SpectralFlow(cf.direct_sum(3, 2), weight_decay=(0.01, 0.02), bias=True)
    run = cf.integrate(flow, flow.random_start(0.3), 100.0)
    mine, other = theory.along(run, tau=TAU, noise=2.0), theory.along(run.lifted(), tau=TAU, noise=2.0)
    for name in ("total", "noise", "distances", "cdnv"):
        np.testing.assert_allclose(getattr(mine, name), getattr(other, name), rtol=1e-11, atol=1e-13)
    np.testing.assert_allclose(mine.noise, 2.0 * np.exp(-2 * 0.02 * run.t), rtol=1e-12)


def test_samples_count_in_complexity():
    labels = (0, 0, 1, 1, 2)
    H = np.random.default_rng(0).standard_normal((4, 5))
    run = cf.descend(cf.MatrixFlow(labels=labels), (np.ones((3, 4)), H), step_size=0.1, steps_eval=[0])
    assert run.geometric_complexity[0] == pytest.approx((H**2).sum(), rel=1e-12)
    means = np.stack([H[:, :2].mean(1), H[:, 2:4].mean(1), H[:, 4]], axis=1)
    np.testing.assert_allclose(run.class_distances[0], cf.collapse.class_distances(means), rtol=1e-12)
    once = cf.descend(cf.MatrixFlow(samples=(3, 1, 1)), (np.ones((3, 4)), H[:, :3]), step_size=0.1, steps_eval=[0])
    assert once.geometric_complexity[0] == pytest.approx((H[:, :3] ** 2).sum() + 2 * (H[:, 0] ** 2).sum(), rel=1e-12)


# -- the model ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("decay", [(0.0, 0.0), (0.05, 0.02)])
def test_training_a_linear_map_on_the_class_inputs_is_the_unconstrained_features_model(decay):
    rng, K, d, D, h = np.random.default_rng(0), 4, 6, 10, 0.2
    X = np.linalg.qr(rng.standard_normal((D, D)))[0]
    S, rest = X[:, :K], X[:, K:]
    W, A = 0.3 * rng.standard_normal((K, d)), 0.3 * rng.standard_normal((d, D))
    run = cf.descend(cf.MatrixFlow(weight_decay=decay), (W, A @ S), step_size=h, steps=200)
    noise = ((A @ rest) ** 2).sum()
    found = theory.along(run, tau=TAU, noise=noise)
    for row in range(201):
        if row % 50 == 0:
            np.testing.assert_allclose(A @ S, run.H[row], rtol=1e-9, atol=1e-12)
            assert cf.collapse.geometric_complexity(A) == pytest.approx(found.total[row], rel=1e-11)
            assert ((A @ rest) ** 2).sum() == pytest.approx(found.noise[row], rel=1e-11)
            assert cf.collapse.cdnv(A @ S, variance=TAU**2 * (A**2).sum()) == pytest.approx(found.cdnv[row], rel=1e-9)
        P = np.exp(W @ A @ S)
        G = (np.eye(K) - P / P.sum(0)) / K
        W, A = W + h * (G @ (A @ S).T - decay[0] * W), A + h * (W.T @ G @ S.T - decay[1] * A)


def test_variance_is_poincares_inequality_with_equality():
    rng = np.random.default_rng(0)
    A, x = rng.standard_normal((5, 8)), TAU * rng.standard_normal((8, 200_000))
    assert (A @ x).var(axis=1).sum() == pytest.approx(TAU**2 * cf.collapse.geometric_complexity(A), rel=0.01)
    for phi in (np.tanh, lambda u: np.logaddexp(0.0, 3.0 * u) / 3.0):
        variance = phi(A @ x).var(axis=1).sum()
        bound = TAU**2 * cf.collapse.geometric_complexity(lambda y, phi=phi: phi(A @ y), x[:, :4000])
        assert variance < bound < 1.6 * variance  # not attained, and not far


def test_complexity_of_a_function_is_that_of_its_jacobian():
    rng = np.random.default_rng(0)
    A, x = rng.standard_normal((5, 3)), rng.standard_normal((3, 50))
    slopes = 1.0 / np.cosh(A @ x) ** 2
    exact = ((slopes**2).T @ (A**2).sum(axis=1)).mean()
    assert cf.collapse.geometric_complexity(lambda y: np.tanh(A @ y), x) == pytest.approx(exact, rel=1e-10)
    assert cf.collapse.geometric_complexity(lambda y: A @ y, x) == pytest.approx((A**2).sum(), rel=1e-11)
    assert cf.collapse.geometric_complexity(1e140 * np.ones((1, 2, 2)))[0] == pytest.approx(4e280)


# -- the floor ---------------------------------------------------------------------------------------------------------


@given(st.integers(0, 2**32 - 1), st.integers(2, 6), st.floats(0.0, 3.0))
def test_no_features_are_below_the_floor(seed, classes, noise):
    H = np.random.default_rng(seed).standard_normal((classes + 1, classes))
    found = cf.collapse.cdnv(H, variance=TAU**2 * ((H**2).sum() + noise))
    assert found >= theory.cdnv_floor(classes, TAU) * (1.0 - 1e-12)


@pytest.mark.parametrize("scheme", SCHEMES, ids=lambda scheme: scheme.name)
def test_the_floor_is_reached_exactly_at_collapse_and_only_there(scheme):
    floor, one = theory.cdnv_floor(scheme.classes, TAU), np.full(scheme.modes, 3.7)
    weights = scheme.valencies[1:]

    def mean(b, constant=0.0, noise=0.0):
        complexity = theory.feature_complexity(scheme, b, constant) + noise
        return theory.cdnv(complexity, theory.class_distances(scheme, b), weights, tau=TAU)

    assert mean(one) == pytest.approx(floor, rel=1e-14)
    assert mean(one, constant=0.1) > floor * (1 + 1e-6) and mean(one, noise=0.1) > floor * (1 + 1e-6)
    other = one.copy()
    other[0] += 0.1
    assert mean(other) > floor * (1 + 1e-6)


def test_the_flow_reaches_the_floor_and_complexity_grows_meanwhile():
    run = cf.integrate(cf.SpectralFlow(cf.hadamard(8)), np.random.default_rng(0).uniform(0.01, 0.1, 7), log_t_end=800.0)
    found = theory.along(run, tau=0.25)
    assert found.cdnv[-1] == pytest.approx(found.floor, rel=1e-6) and found.floor == 0.21875
    assert np.all(np.diff(found.total) > 0.0)


def test_cdnv_is_not_monotone():
    s0 = [357.6, 20.6, 650.2, 437.1, 327.1, 5.28, 12.6]
    run = cf.integrate(cf.SpectralFlow(cf.hadamard(8)), s0, log_t_end=2000.0, rtol=1e-10)
    found = theory.along(run)
    assert found.cdnv[0] == pytest.approx(3.8664, abs=5e-5) and found.cdnv.max() == pytest.approx(3.8716, abs=5e-5)
    assert found.cdnv[-1] < found.cdnv[0]
    assert np.all(np.diff(run.lyapunov) <= 1e-14)


def test_complexity_by_itself_does_not_drive_transfer():
    complexities = {}
    for lW, lH in ((0.005, 0.08), (0.08, 0.005)):
        flow = cf.MatrixFlow(weight_decay=(lW, lH), reduction="sum")
        start = cf.random_init(classes=8, width=9, scale=0.3, rng=1)
        run = cf.integrate(flow, start, t_eval=[2000.0], rtol=1e-7)
        found = theory.along(run, tau=0.25, noise=3.0)
        expected = theory.equilibrium_complexity(8, (lW, lH), reduction="sum")
        assert found.total[0] == pytest.approx(expected, rel=1e-6)
        assert found.cdnv[0] == pytest.approx(0.21875, rel=1e-6)
        new = np.random.default_rng(2).standard_normal((8, 5))
        new -= new.mean(axis=0)
        features = run.H[0] @ new
        complexities[round(expected, 1)] = cf.collapse.cdnv(features, variance=0.25**2 * expected)
    assert list(complexities) == [10.5, 167.3]
    assert np.ptp(list(complexities.values())) < 1e-6  # that of new classes in the span is the same too


@pytest.mark.parametrize("loss", ["cross_entropy", "squared_error", "label_smoothing"])
def test_equilibrium_complexity_is_where_the_flow_comes_to_rest(loss):
    flow = cf.MatrixFlow(loss=loss, weight_decay=(0.02, 0.05))
    run = cf.integrate(flow, cf.random_init(classes=4, width=5, scale=0.5, rng=0), t_eval=[1e4])
    expected = theory.equilibrium_complexity(4, (0.02, 0.05), loss=loss)
    assert run.geometric_complexity[0] == pytest.approx(expected, rel=1e-6)


# -- nearest means -----------------------------------------------------------------------------------------------------


def gaussians(seed=0, classes=4, width=6, inputs=9):
    rng = np.random.default_rng(seed)
    A = rng.standard_normal((width, inputs))
    return A, A @ np.linalg.qr(rng.standard_normal((inputs, classes)))[0]


def test_pair_errors_are_those_of_nearest_mean_classification():
    A, means = gaussians()
    errors = theory.pair_errors(means, 0.7 * A)
    xi = np.random.default_rng(1).standard_normal((A.shape[1], 400_000))
    for i, j in ((0, 1), (2, 3), (3, 0)):
        h = means[:, [i]] + 0.7 * A @ xi
        wrong = ((h - means[:, [j]]) ** 2).sum(0) < ((h - means[:, [i]]) ** 2).sum(0)
        assert errors[i, j] == pytest.approx(wrong.mean(), rel=0.02)
    np.testing.assert_allclose(errors, errors.T)
    assert np.all(errors[~np.eye(4, dtype=bool)] >= ndtr(-1.0 / (np.sqrt(2.0) * 0.7)))  # Bayes' error of the inputs


def test_the_error_at_collapse_is_bayes_error_of_the_inputs():
    for scheme in SCHEMES:
        found = theory.pair_error_on_modes(scheme, np.full(scheme.modes, 2.2), tau=TAU)
        np.testing.assert_allclose(found, ndtr(-1.0 / (np.sqrt(2.0) * TAU)), rtol=1e-12)
        random = theory.pair_error_on_modes(scheme, np.random.default_rng(0).uniform(0.1, 2, scheme.modes), tau=TAU)
        assert np.all(random >= found * (1 - 1e-12))


def test_the_union_bound_holds():
    A, means = gaussians(3)
    h = means[:, :, None] + (0.7 * A @ np.random.default_rng(1).standard_normal((A.shape[1], 4 * 50_000))).reshape(
        6, 4, -1
    )
    nearest = ((h[:, :, None] - means[:, None, :, None]) ** 2).sum(0).argmin(1)
    error = (nearest != np.arange(4)[:, None]).mean()
    bound = theory.union_bound(theory.pair_errors(means, 0.7 * A))
    assert error < bound < 2.0 * error


@pytest.mark.parametrize("shots", [1, 5, 50])
@pytest.mark.parametrize("tau", [0.2, 0.7])
def test_few_shot_moments_and_bounds(shots, tau):
    A, means = gaussians(1, classes=2)
    found, rng, trials = theory.few_shot(means, tau * A, shots), np.random.default_rng(2), 200_000

    def noise(scale):
        return tau * scale * A @ rng.standard_normal((A.shape[1], trials))

    h, own, other = means[:, [0]] + noise(1.0), means[:, [0]] + noise(shots**-0.5), means[:, [1]] + noise(shots**-0.5)
    margin = ((h - other) ** 2).sum(0) - ((h - own) ** 2).sum(0)
    spread = margin.std() / np.sqrt(trials)
    assert abs(margin.mean() - found.mean[0, 1]) < 5 * spread
    assert margin.var() == pytest.approx(found.variance[0, 1], rel=0.03)
    error = (margin < 0).mean()
    assert error <= found.bound[0, 1] <= found.complexity_bound[0, 1]
    V = tau**2 * (A**2).sum() / found.mean[0, 1]
    assert V == pytest.approx(cf.collapse.cdnv(means, variance=tau**2 * (A**2).sum()), rel=1e-12)
    v = (4 + 4 / shots) * V + (8 / shots + 4 / shots**2) * V**2
    assert found.complexity_bound[0, 1] == pytest.approx(v / (1 + v), rel=1e-12)


@given(st.integers(0, 2**32 - 1), st.integers(1, 20), st.floats(0.05, 2.0))
def test_the_few_shot_bound_is_never_violated(seed, shots, tau):
    A, means = gaussians(seed, classes=2)
    found, rng, trials = theory.few_shot(means, tau * A, shots), np.random.default_rng(seed), 2000
    u, own, other = (tau * A @ rng.standard_normal((A.shape[1], trials)) for _ in range(3))
    h = means[:, [0]] + u
    own, other = means[:, [0]] + own / np.sqrt(shots), means[:, [1]] + other / np.sqrt(shots)
    error = (((h - other) ** 2).sum(0) < ((h - own) ** 2).sum(0)).mean()
    bound = found.bound[0, 1]
    assert error <= bound + 5.0 * np.sqrt(bound * (1 - bound) / trials)
    assert bound <= found.complexity_bound[0, 1] * (1 + 1e-12)


# -- new classes -------------------------------------------------------------------------------------------------------


def test_transfer_needs_new_classes_in_the_trained_span():
    rng, K, d, D, tau = np.random.default_rng(5), 8, 16, 40, 0.25
    X = np.linalg.qr(rng.standard_normal((D, D)))[0]
    A0 = 0.3 * rng.standard_normal((d, D)) / np.sqrt(d)
    inside, outside = rng.standard_normal((K, 5)), rng.standard_normal((D - K, 5))
    inside -= inside.mean(axis=0)
    inside, outside = (x / np.linalg.norm(x, axis=0) for x in (inside, outside))
    start, A_n = (0.05 * rng.standard_normal((K, d)), A0 @ X[:, :K]), A0 @ X[:, K:]
    run = cf.integrate(cf.MatrixFlow(reduction="sum"), start, t_eval=[0.0, 2.0, 20.0, 400.0])
    found = theory.along(run, tau=tau, noise=(A_n**2).sum())
    source, new, far = found.cdnv, [], []
    for H, total in zip(run.H, found.total, strict=True):
        A = np.concatenate([H, A_n], axis=1) @ X.T
        assert cf.collapse.geometric_complexity(A) == pytest.approx(total, rel=1e-12)
        new.append(cf.collapse.cdnv(A @ X[:, :K] @ inside, variance=tau**2 * total))
        far.append(cf.collapse.cdnv(A @ X[:, K:] @ outside, variance=tau**2 * total))
    assert source[-1] < 0.3 * source[0] and new[-1] < 0.3 * new[0] and far[-1] > 5.0 * far[0]
    # at collapse it is tau^2 ((K-1) b^2 + noise) / (b^2 |alpha|^2), alpha the differences of the new inputs
    b, noise, pairs = 1.7, 0.6, cf.collapse.class_distances(inside)[np.triu_indices(5, 1)]
    features = features_of(cf.complete(K), [b]) @ inside
    expected = np.mean(tau**2 * ((K - 1) * b**2 + noise) / (b**2 * pairs))
    assert cf.collapse.cdnv(features, variance=tau**2 * ((K - 1) * b**2 + noise)) == pytest.approx(expected, rel=1e-12)


def test_balanced_square_is_accurate():
    s, D = np.array([0.0, 1e-9, 2.0, 2.0, -3.0]), np.array([1.0, 1.0, 3.0, -3.0, 0.0])
    b = theory.balanced_square(s, D)
    np.testing.assert_allclose(b * (b + D), s**2, rtol=1e-14)
    assert b[0] == 0.0 and b[1] == pytest.approx(1e-18, rel=1e-14) and theory.balanced_square(0.0, -2.0) == 2.0


# -- at the door -------------------------------------------------------------------------------------------------------


H = np.eye(3)


@pytest.mark.parametrize(
    ("call", "error", "match"),
    [
        (lambda: theory.feature_complexity(3, [1.0]), TypeError, "scheme must be"),
        (lambda: theory.class_distances(cf.hadamard(4), [1.0]), ValueError, r"features must have shape \(..., 3\)"),
        (lambda: theory.class_distances(cf.hadamard(4), [np.nan] * 3), ValueError, "features must be from"),
        (lambda: theory.cdnv(-1.0, [1.0]), ValueError, "complexity must be"),
        (lambda: theory.cdnv(1.0, 1.0), ValueError, "distances must have shape"),
        (lambda: theory.cdnv(1.0, [1.0], [1.0, 2.0]), ValueError, "valencies must have shape"),
        (lambda: theory.cdnv_floor(1), ValueError, "classes must be"),
        (lambda: theory.noise_complexity(-1.0, 1.0), ValueError, "t must be"),
        (lambda: theory.noise_complexity(1.0, 1.0, 0.5, step_size=2.0), ValueError, "step_size must be between"),
        (lambda: theory.equilibrium_complexity(4, 0.0), ValueError, "weight_decay must be one positive"),
        (lambda: theory.equilibrium_complexity(4, (1.0, 1.0, 1.0)), ValueError, "weight_decay must be one positive"),
        (lambda: theory.pair_errors(H, H[:2]), ValueError, "means must be"),
        (lambda: theory.few_shot(H, H, 0), ValueError, "shots must be"),
        (lambda: theory.union_bound([0.1]), ValueError, "errors must have shape"),
        (lambda: theory.along(H), TypeError, "run must be a Trajectory"),
        (lambda: cf.collapse.cdnv(H, variance=[1.0, 2.0]), ValueError, "variance must be"),
        (lambda: cf.collapse.cdnv(H[:, :1]), ValueError, "at least 2 classes"),
        (lambda: cf.collapse.cdnv(H, [0, 0, 2]), ValueError, "labels must be"),
        (lambda: cf.collapse.class_distances(1.0), ValueError, "H must be"),
        (lambda: cf.collapse.geometric_complexity(np.tanh), ValueError, "inputs must be given"),
        (lambda: cf.collapse.geometric_complexity(H[0]), ValueError, "features must be"),
        (lambda: cf.collapse.geometric_complexity(lambda x: x.sum(), H), ValueError, "features must return"),
    ],
)
def test_bad_arguments_are_refused(call, error, match):
    with pytest.raises(error, match=match):
        call()


def test_runs_outside_the_model_are_refused():
    def run(start=(H, H), **options):
        return cf.descend(cf.MatrixFlow(**options), start, step_size=0.1, steps=1)

    with pytest.raises(ValueError, match="one sample per class"):
        theory.along(run(samples=2))
    with pytest.raises(ValueError, match="needs two layers"):
        theory.along(run((H, H, H), depth=3), noise=1.0)
    with pytest.raises(ValueError, match="geometric complexity is for linear layers"):
        theory.along(run(activation="softplus:5"))
    with pytest.raises(ValueError, match="single one, not a batch"):
        theory.along(run((H[None], H[None])))


def test_what_agrees_is_infinitely_variable():
    assert theory.cdnv(1.0, [0.0, 1.0]) == np.inf
    assert theory.pair_errors(np.ones((2, 2)), np.eye(2))[0, 1] == 0.5
    assert theory.few_shot(np.ones((2, 2)), np.eye(2), 1).bound[0, 1] == 1.0
