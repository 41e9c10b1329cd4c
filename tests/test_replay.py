"""Tasks that follow each other: the reduction against all samples, rest and thresholds against runs, forgetting on
random inputs against predictions."""

import math

import numpy as np
import pytest
from scipy.integrate import solve_ivp

import ceflow as cf

replay, forgetting = cf.theory.replay, cf.collapse.forgetting
RTOL = 1e-11


def flows(buffer, classes=(4, 4), samples=50, kernel=(0.4, 0.15), decay=0.01, **options):
    return cf.ReplayFlow.curriculum(classes, samples, kernel, buffer=buffer, weight_decay=decay, **options)


def rest(flow, duration, start=0.5, rtol=1e-9):
    return cf.integrate(flow, start, duration, rtol=rtol, dense_output=False)


# -- the reduction -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("weights", ["uniform", "balanced"])
@pytest.mark.parametrize("classes", [(2, 3), (3, 2, 2)])
def test_few_numbers_are_all_samples(classes, weights):
    columns, seen = (5,) * len(classes), [4] * len(classes)  # the last one of each class is held out
    stages = flows(2, classes, 4, (0.2, 0.5), (0.01, 0.02), weights=weights)
    reduced = cf.sequence([(flow, 20.0) for flow in stages], 0.4, rtol=RTOL)
    start = stages[0].lift(0.4, columns, seen=seen)
    all_samples = cf.sequence([(flow.full(columns), 20.0) for flow in stages], start, rtol=RTOL)
    assert len(reduced) == len(all_samples) == len(classes) and reduced[0].y.shape[1] == {2: 11, 3: 25}[len(classes)]
    place = np.arange(5 * sum(classes)) % 5
    for i, (few, full, flow) in enumerate(zip(reduced, all_samples, stages, strict=True)):
        seen[:i] = [2] * i  # samples that leave the buffer keep what was private to them: see the next test
        kept = (place < np.repeat(np.repeat(seen, classes), 5)) | (place == 4)
        W, H = flow.lift(flow.state(None, few.y[-1]), columns, seen=seen)
        assert np.abs(W - full.W[-1]).max() < 1e-8
        assert np.abs((H - full.H[-1])[:, kept]).max() < 1e-8
        for name in ("loss", "accuracy_gap", "margin"):
            np.testing.assert_allclose(getattr(few, name)[-1], getattr(full, name)[-1], rtol=1e-7)


def test_a_run_is_certified_on_all_samples():
    run = cf.integrate(flows(2, (2, 3), 4, (0.2, 0.5), (0.01, 0.02))[1], 0.4, 30.0)
    certificate = run.certificate()
    assert certificate.passed and certificate.error_estimate < 1e-7
    np.testing.assert_allclose(run.lifted((3, 5)).at(12.0).loss, run.at(12.0).loss, rtol=1e-8)


def test_samples_that_leave_the_buffer_lose_what_was_private_to_them():
    stages, columns = flows(2, (2, 3), 4, (0.2, 0.5), 0.02), (5, 5)
    start = stages[0].lift(0.4, columns, seen=(4, 4))
    run = cf.sequence([(flow.full(columns), 20.0) for flow in stages], start, rtol=RTOL)[-1]
    gap = run.H[:, :, 3] - run.H[:, :, 4]  # one that was trained, one that never was
    np.testing.assert_allclose(gap, np.exp(-0.02 * run.t)[:, None] * gap[0], rtol=0, atol=1e-9)


def test_heads_of_their_own_by_an_independent_solver():
    flow = cf.ReplayFlow((2, 3), (3, 4), (0.3, 0.4), weights=(0.05, 0.04), weight_decay=0.01, heads="task")
    columns, K = (3, 4), 5
    W, H = flow.lift(0.4, columns)
    d, labels = len(H), flow.labels(columns)
    theta = 0.3 + 0.4 * np.equal.outer(labels, labels) + flow.private * np.eye(len(labels))
    heads = np.repeat([0, 1], (2, 3))
    same, Y = heads[:, None] == heads[labels], np.equal.outer(np.arange(K), labels)
    weights = np.array([0.05, 0.04])[heads[labels]]

    def velocity(t, y):
        W, H = y[: K * d].reshape(K, d), y[K * d :].reshape(d, -1)
        Z = np.where(same, W @ H, -np.inf)
        p = np.exp(Z - Z.max(axis=0))
        G = (Y - p / p.sum(axis=0)) * weights
        return np.concatenate([(G @ H.T - 0.01 * W).ravel(), (W.T @ G @ theta - 0.01 * H).ravel()])

    y = solve_ivp(velocity, (0, 40), np.r_[W.ravel(), H.ravel()], method="DOP853", rtol=1e-11, atol=1e-13).y[:, -1]
    run = cf.integrate(flow, 0.4, 40.0, rtol=RTOL)
    found = flow.lift(flow.state(None, run.y[-1]), columns)
    np.testing.assert_allclose(np.concatenate([part.ravel() for part in found]), y, atol=1e-9)
    np.testing.assert_allclose(run.states.classifier[:, 0, 0], 0.4 * np.exp(-0.01 * run.t), rtol=1e-9)  # nothing else
    assert np.isinf(run.margins_between).all()
    with pytest.raises(ValueError, match="heads"):
        flow.full(columns)


@pytest.mark.parametrize(("heads", "rank"), [("shared", 5), ("task", 4)])
def test_heads_of_their_own_leave_tasks_unaligned(heads, rank):
    flow = cf.ReplayFlow((3, 3), (4, 4), (0.0, 0.4), weights=(0.05, 0.05), weight_decay=0.01, heads=heads)
    run = cf.integrate(flow, 0.4, 4000.0)
    W, H = flow.lift(flow.state(None, run.y[-1]), (4, 4), width=10)
    assert forgetting.rank(W) == forgetting.rank(H) == rank  # T K - 1 or T (K - 1)


@pytest.mark.parametrize("kernel", [(0.0, 0.2), (0.5, 0.1)])
def test_replay_without_decay_keeps_all_margins_for_ever(kernel):
    learnt, after = cf.sequence([(flow, 1e12) for flow in flows(1, (3, 3), 20, kernel, 0.0)], 0.3)
    assert learnt.success and after.success
    assert np.all(after.task_margin[-1, 0] > 20.0) and np.all(after.margins_within[-1] > 1.0)
    assert np.all(np.diff(after.log_loss) <= 1e-9)


# -- without replay ----------------------------------------------------------------------------------------------------


def test_without_replay_differences_decay_and_the_classifier_forgets_first():
    lW, lH = 0.003, 0.002
    stages = flows(0, (5, 5), 100, (0.5, 0.2), (lW, lH))
    run = cf.sequence([(stages[0], 5000.0), (stages[1], 1000.0)], 0.1, rtol=1e-12)[-1]
    a, _, b = run.states.modes[:, :, 0].T
    exact = replay.features_without_replay(run.t, a[0], b[0], (lW, lH))
    np.testing.assert_allclose(a, exact[0], rtol=1e-9)
    np.testing.assert_allclose(b, exact[1], rtol=1e-9)
    lost = run.t[np.argmax(run.margins_between[:, 1, 1, 0] < 0.0)]
    assert 0.0 < lost < replay.half_life(lH) / 3.0
    assert b[-1] / b[0] == pytest.approx(math.exp(-lH * 1000.0))


def test_the_time_of_shallow_forgetting_is_an_event():
    stages = flows(0, (5, 5), 100, (0.5, 0.2), 0.003)
    learnt = cf.integrate(stages[0], 0.1, 2e4)
    run = cf.resume(learnt, 1e4, flow=stages[1], until=lambda run: run.margins_between[:, 1, 1, 0])
    assert run.event == 0 and abs(run.margins_between[-1, 1, 1, 0]) < 1e-8
    assert run.t[-1] < replay.half_life(0.003) / 5.0
    # inputs of different classes that share nothing: no new class pulls at them
    alone = flows(0, (5, 5), 100, (0.0, 0.2), 0.003)
    last = cf.sequence([(alone[0], 2e4), (alone[1], 2e3)], 0.1)[-1]
    assert np.all(last.margins_between[:, 1, 1, 0] > 0.0)


# -- rest --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("index", "alive"), [(0.95, False), (1.05, True)])
def test_the_deep_threshold(index, alive):
    B, n, (r0, r) = 3, 50, (0.4, 0.15)
    weight, v = 1.0 / (4 * B + 4 * n), 1.0 - r0 - r
    decay = math.sqrt(B * weight**2 * (r * B + v) / index)
    assert replay.deep_index(B, weight, r, v, decay) == pytest.approx(index)
    flow = flows(B, decay=decay)[1]
    run = rest(flow, 2e5)
    margin = run.margins_within[-1, 0, 0]
    found = replay.replay_rest((4, 4), (B, n), flow.weights, (r0, r), decay)
    assert (margin > 0.05) == alive and (margin < 1e-8) == (not alive)
    np.testing.assert_allclose(run.margins_within[-1], found.within, rtol=1e-6, atol=1e-8)
    np.testing.assert_allclose(run.margins_between[-1, :, [1, 0], [0, 1]].T, found.between, rtol=1e-6)
    p = np.exp(-np.array([run.margins_within[-1, 0, 0], run.margins_between[-1, 0, 1, 0]]))
    force = 4.0 * p.sum() / (1.0 + 3.0 * p[0] + 4.0 * p[1])
    assert force == pytest.approx(replay.rest_force(index), rel=1e-6)


@pytest.mark.parametrize("weights", ["uniform", "balanced"])
@pytest.mark.parametrize(("kernel", "decay"), [((0.0, 0.2), (1e-3, 1e-3)), ((0.5, 0.1), (2e-3, 5e-4))])
def test_mixture_and_rest_are_exact(weights, kernel, decay):
    for B in (2, 10.5, 100):
        flow = flows(B, (5, 3), 100, kernel, decay, weights=weights)[1]
        run = rest(flow, 1e5)
        found = replay.replay_rest((5, 3), flow.samples, flow.weights, kernel, decay)
        v = 1.0 - sum(kernel)
        expected = [replay.mixture(B, kernel[1], v), replay.mixture(100, kernel[1], v)]
        np.testing.assert_allclose(run.mixture[-1], expected, rtol=1e-8)
        np.testing.assert_allclose(run.mixture[-1, 0] * replay.inflation(B, kernel[1], v), 1.0, rtol=1e-8)
        np.testing.assert_allclose(run.margins_within[-1], found.within, rtol=1e-7)
        np.testing.assert_allclose(run.margins_between[-1, :, [1, 0], [0, 1]].T, found.between, rtol=1e-7)


def test_the_shallow_threshold_is_later():
    case = {"classes": (5, 5), "samples": 100, "kernel": (0.5, 0.1), "weight_decay": 1e-3}
    deep, shallow = replay.deep_threshold(**case), replay.shallow_threshold(**case)
    assert deep < 1.0 < shallow
    assert replay.deep_threshold(**case, weights="balanced") == 0.0
    assert 0.5 < replay.shallow_threshold(**case, weights="balanced") < 1.0
    for factor, sign in ((0.97, -1), (1.03, 1)):
        run = rest(flows(factor * shallow, (5, 5), 100, (0.5, 0.1), 1e-3)[1], 1e5)
        assert np.sign(run.margins_between[-1, 1, 1, 0]) == sign


def test_any_replay_is_not_enough_at_fixed_decay():
    # "any non-zero replay keeps separability": one sample of each class, uniform sampling
    assert rest(flows(1, decay=0.01)[1], 2e4).margins_within[-1, 1, 0] < 1e-8
    assert rest(flows(1, decay=0.001)[1], 2e5).margins_within[-1, 1, 0] > 0.1  # it holds as the decay goes to 0
    assert rest(flows(1, decay=0.01, weights="balanced")[1], 2e4).margins_within[-1, 1, 0] > 0.1
    thresholds = [replay.deep_threshold((4, 4), 50, (0.4, 0.15), decay) for decay in (1e-2, 1e-3, 1e-4, 3e-5)]
    assert np.all(np.diff(thresholds) <= 0.0) and thresholds[0] > 2.0 and thresholds[-1] == 0.0


# -- random inputs -----------------------------------------------------------------------------------------------------

CLASSES, N, HELD, D, KERNEL, DECAY = 3, 20, 100, 300, (0.4, 0.15), 0.01
OLD = np.repeat(np.arange(CLASSES), HELD)


def on_samples(buffers, kernel, decay, dimension, durations):
    """For each buffer the classifier, held-out old features and those of the buffer at the end of both sessions, by the
    flow on random inputs; and the reduced runs."""
    columns = (N + HELD, N)
    stages = {B: flows(B, (CLASSES, CLASSES), N, kernel, decay) for B in buffers}
    first = next(iter(stages.values()))[0]
    X, labels = first.inputs(columns, dimension, rng=0), first.labels(columns)
    place = np.concatenate([np.arange(n) for n in np.repeat(columns, CLASSES)])
    used, old = place < N, labels < CLASSES
    rng = np.random.default_rng(1)
    W, W1 = 0.1 * rng.standard_normal((6, 6)), 0.3 * rng.standard_normal((6, dimension)) / math.sqrt(dimension)

    def full(flow):
        samples, weights = (np.repeat(each, CLASSES)[labels] for each in (flow.samples, flow.weights))
        weights = np.where(place < samples, weights, 0.0)
        return cf.MatrixFlow(
            depth=3, frozen=("H",), labels=labels[used].tolist(), weights=weights[used].tolist(), reduction="sum",
            weight_decay=(decay, decay, 0.0),
        )  # fmt: skip

    learnt = cf.integrate(full(first), (W, W1, X[:, used]), durations[0], rtol=1e-5)
    few, found = cf.integrate(first, 0.1, durations[0]), {}
    for B, pair in stages.items():
        runs = [learnt, cf.resume(learnt, durations[1], flow=full(pair[1]))]
        layers = [[factor[-1] for factor in run.factors] for run in runs]
        buffer = old & (place < max(B, 1))
        found[B] = (
            [(W, W1 @ X[:, old & ~used], W1 @ X[:, buffer]) for W, W1, _ in layers],
            [few, cf.resume(few, durations[1], flow=pair[1])],
        )
    return found


@pytest.fixture(scope="module")
def on_random_inputs():
    return on_samples((0, 1, 10), KERNEL, DECAY, D, (400.0, 600.0))


def test_two_samples_of_each_class_mislead_the_classifier_and_not_the_probe():
    ((W, H, buffer),) = on_samples((2,), (0.3, 0.05), 0.005, D, (300.0, 500.0))[2][0][1:]
    labels = np.repeat(np.arange(CLASSES), 2)
    found = forgetting.lda(buffer, labels, H, OLD)
    assert found.population > found.identity > found.buffer + 0.2 and found.buffer_means > found.buffer + 0.2
    shallow, probe = np.nanmean(forgetting.classifier_accuracy(W, H, OLD)), forgetting.probe_accuracy(H, OLD)
    assert shallow < 0.1 and probe > 0.8
    within = [h - np.repeat([h[:, y == k].mean(axis=1) for k in range(CLASSES)], len(y) // CLASSES, axis=0).T
              for h, y in ((buffer, labels), (H, OLD))]  # fmt: skip
    assert [forgetting.rank(part) for part in within] == [CLASSES, 6]  # K (B - 1), and the width


def test_signal_over_noise_and_inflation_on_random_inputs(on_random_inputs):
    found, labels = on_random_inputs, OLD
    v = 1.0 - sum(KERNEL)
    for B, session in ((0, 0), (10, 1)):
        _, H, buffer = found[B][0][session]
        run = found[B][1][session]
        predicted = run.states.modes[-1, 2, 0] ** 2 * D / (v * run.squared_norm_of_classifier[-1])
        # overlaps of inputs by chance are of the order sqrt(N / D) = 0.45 over the number of directions
        assert forgetting.snr(H, labels).means[0] == pytest.approx(predicted, rel=0.2)
        if B:
            inflated = forgetting.inflation(buffer, np.repeat(np.arange(CLASSES), B), H, labels)
            assert inflated == pytest.approx(replay.inflation(B, KERNEL[1], v), rel=0.1)


def test_separability_without_scale_is_not_lost_without_replay(on_random_inputs):
    found, labels = on_random_inputs, OLD
    (W, learnt, _), (W_after, after, _) = found[0][0]
    before, later = forgetting.snr(learnt, labels).means, forgetting.snr(after, labels).means
    assert later[0] < 0.05 * before[0]  # the trace says that all is lost
    assert later[1] > 0.7 * before[1]  # what a linear classifier can use is there
    assert forgetting.probe_accuracy(after, labels) > 0.97
    assert forgetting.probe_accuracy(after, labels, noise=0.05) < 0.6  # it is small, and drowns in a noise floor
    one = found[1][0][1][1]
    assert forgetting.snr(one, labels).means[1] < 0.6 * later[1]  # one sample of each class makes it worse
    assert forgetting.probe_accuracy(one, labels, noise=0.05) > forgetting.probe_accuracy(after, labels, noise=0.05)
    accuracy = [np.nanmean(forgetting.classifier_accuracy(w, h, labels)) for w, h in ((W, learnt), (W_after, after))]
    assert accuracy[0] > 0.99 and accuracy[1] < 0.05


# -- measures ----------------------------------------------------------------------------------------------------------


def gaussians(per_class=4000, seed=0):
    rng = np.random.default_rng(seed)
    means = np.array([[2.0, 0.0, 0.0], [-2.0, 0.0, 0.0], [0.0, 3.0, 0.0]])
    root = np.diag([1.0, 0.5, 4.0])
    labels = np.repeat(np.arange(3), per_class)
    return means, root, means[labels].T + root @ rng.standard_normal((3, len(labels))), labels


def test_signal_over_noise_of_gaussians():
    means, root, H, labels = gaussians()
    found, covariance = forgetting.snr(H, labels), root @ root
    gap = means[0] - means[1]
    assert found.trace[0, 1] == pytest.approx(gap @ gap / (2 * np.trace(covariance)), rel=0.1)
    assert found.mahalanobis[0, 1] == pytest.approx(gap @ np.linalg.solve(covariance, gap), rel=0.1)
    mixed = np.array([[1.0, 0.3, 0.0], [0.0, 2.0, -1.0], [0.5, 0.0, 1.0]])
    np.testing.assert_allclose(forgetting.snr(mixed @ H, labels).mahalanobis, found.mahalanobis, rtol=1e-8)
    assert np.isnan(found.trace.diagonal()).all()


def test_a_probe_needs_a_noise_floor():
    *_, H, labels = gaussians(200)
    assert forgetting.probe_accuracy(1e-9 * H, labels) == pytest.approx(forgetting.probe_accuracy(H, labels))
    assert forgetting.probe_accuracy(1e-9 * H, labels, noise=1e-3) < 0.45


def test_discriminants_against_brute_force():
    *_, H, labels = gaussians(300)
    centred = H - np.array([H[:, labels == k].mean(axis=1) for k in range(3)])[labels].T
    metric = np.linalg.inv(centred @ centred.T)
    own = np.array([H[:, labels == k].mean(axis=1) for k in range(3)])
    distance = np.array([[(h - m) @ metric @ (h - m) for m in own] for h in H.T])
    found = forgetting.lda(H, labels, H, labels)
    assert found.population == found.buffer == found.buffer_means == (distance.argmin(axis=1) == labels).mean()
    assert found.identity < found.population
    few = np.flatnonzero(np.arange(900) % 300 < 2)
    worse = forgetting.lda(H[:, few], labels[few], H, labels)
    assert worse.buffer_means < found.population and worse.population == found.population


def test_accuracy_with_heads():
    W, H, labels = np.eye(4), np.array([[1.0, 0.5, 0.0, 2.0], [0.0, 1.0, 0.0, 0.0]]).T, [0, 1]
    assert forgetting.classifier_accuracy(W, H, labels)[:2].tolist() == [0.0, 1.0]
    assert forgetting.classifier_accuracy(W, H, labels, heads=[0, 0, 1, 1])[:2].tolist() == [1.0, 1.0]
    assert np.isnan(forgetting.classifier_accuracy(W, H, labels)[2:]).all()


def test_drift_rank_and_tables():
    S = np.array([[1.0, 0, 0, 1], [-1, 0, 0, 1], [0, 1, 0, 1]])  # centred: the plane of the first two axes
    mu = np.array([[3.0, 0, 4, 0], [0, 0, 1, 0], [1, 1, 0, 0]])
    np.testing.assert_allclose(forgetting.drift(mu, S), [0.6, 0.0, 1.0], atol=1e-15)
    assert forgetting.rank(np.diag([1.0, 1e-3, 1e-9])) == 2
    found = forgetting.forgetting([[0.9, 0.1], [0.5, 0.8]], [[1.0, 0.3], [0.9, 0.9]])
    assert found.shallow[1, 0] == pytest.approx(0.4) and found.deep[1, 0] == pytest.approx(0.1)
    assert np.isnan(found.shallow[0, 1]) and found.deep[1, 1] == 0.0


# -- at the door -------------------------------------------------------------------------------------------------------


def test_a_run_is_saved_and_resumed(tmp_path):
    run = cf.integrate(flows(2)[0], 0.1, 50.0)
    run.save(tmp_path / "run.npz")
    again = cf.load(tmp_path / "run.npz")
    assert again.flow.spec == run.flow.spec and np.array_equal(again.y, run.y)
    np.testing.assert_array_equal(cf.resume(again, 90.0).y[-1], cf.resume(run, 90.0).y[-1])
    assert set(run.to_xarray().data_vars) >= {"loss", "task_margin"}
    with pytest.raises(ValueError, match="layer behind features"):
        _ = run.objective


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (((2,), (3,), (0.1, 0.2)), "classes must be"),
        (((2, 1), (3, 3), (0.1, 0.2)), "classes must be"),
        (((2, 2), (3,), (0.1, 0.2)), "samples must have one number"),
        (((2, 2), (0, 0), (0.1, 0.2)), "must not all be 0"),
        (((2, 2), (3, 3), (0.5, 0.5)), "kernel must be"),
        (((2, 2), (3, 3), (0.5,)), "kernel must be"),
    ],
)
def test_what_is_no_problem_is_refused(arguments, says):
    with pytest.raises(ValueError, match=says):
        cf.ReplayFlow(*arguments)


def test_bad_starts_columns_and_stages():
    flow = flows(2)[1]
    for start, says in ((0.0, "start must be"), ((1.0, 2.0), "3 parts"), ((np.ones(3),) * 3, "shapes")):
        with pytest.raises(ValueError, match=says):
            cf.integrate(flow, start, 1.0)
    with pytest.raises(ValueError, match="samples must be integers"):
        flow.full((60, 10))
    with pytest.raises(ValueError, match="stages must be"):
        cf.sequence([flow], 0.1)
    with pytest.raises(TypeError, match="classes must be integers"):
        cf.ReplayFlow((2.0, 2.0), (1, 1), (0.1, 0.2))
    with pytest.raises(ValueError, match="weights must be one of"):
        cf.ReplayFlow((2, 2), (1, 1), (0.1, 0.2), weights="half")
    with pytest.raises(ValueError, match="two samples of each class"):
        forgetting.probe_accuracy(np.eye(3), [0, 1, 1])
    short = cf.sequence([(flow, 1e3), (flow, 1e3)], 0.1, max_steps=3)
    assert len(short) == 1 and not short[0].success


# -- what a run of few numbers does not have ---------------------------------------------------------------------------


def test_figures_and_events_work_or_say_what_is_accepted():
    run = cf.integrate(flows(2, (2, 3), 4, (0.2, 0.5))[1], 0.4, 30.0, rtol=1e-7)
    assert [ax.get_title(loc="left") for ax in cf.plot.dashboard(run).axes] == ["Margins of tasks", "Loss"]
    margins = cf.plot.task_margins(run)
    assert len(margins.lines) == 5 and cf.plot.loss(run).lines
    full = run.lifted()
    for draw in (cf.plot.singular_values, cf.plot.lyapunov, cf.plot.margins, cf.plot.logits, cf.plot.conserved):
        with pytest.raises(TypeError, match="ReplayFlow does not have"):
            draw(run)
    assert cf.plot.singular_values(full).lines
    with pytest.raises(TypeError, match=r"ceflow\.event"):
        cf.integrate(run.flow, 0.4, 30.0, until=cf.collapsed(1e-3))
    for pair in ((run, full), (full, run)):
        with pytest.raises(TypeError, match=r"certificate\(\)"):
            cf.compare(*pair)
    with pytest.raises(TypeError, match="gradient descent"):
        cf.descend(run.flow, 0.4, step_size=0.1, steps=2)
    with pytest.raises(TypeError, match="sharpness"):
        cf.sharpness(run)
    with pytest.raises(TypeError, match="ReplayFlow"):
        cf.plot.task_margins(full)
