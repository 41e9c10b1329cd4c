"""Gradient descent is Euler's method for the flow, on every network; and what it does that the flow does not."""

import itertools

import numpy as np
import pytest
import scipy

import ceflow as cf
from ceflow.losses import LOSSES
from ceflow.solve import Outcome
from ceflow.terms import Alignment

CLASSES, WIDTH = 4, 5
rng = np.random.default_rng(0)
PAIR = (0.5 * rng.standard_normal((CLASSES, WIDTH)), 0.5 * rng.standard_normal((WIDTH, CLASSES)))
SAMPLES = (PAIR[0], 0.5 * rng.standard_normal((WIDTH, 6)))
LABELS = (0, 1, 2, 3, 0, 1)
GRAM = np.eye(CLASSES) + 0.3
FLOW = cf.SpectralFlow(cf.hadamard(4))


def softmax(Z):
    P = np.exp(Z - Z.max(axis=0))
    return P / P.sum(axis=0)


# -- the steps ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("backend", ["numpy", "torch"])
def test_steps_are_those_of_plain_gradient_descent(backend):
    if backend == "torch":
        pytest.importorskip("torch")
    lW, lH, h = 0.01, 0.03, 0.7
    run = cf.descend(cf.MatrixFlow(weight_decay=(lW, lH), backend=backend), PAIR, step_size=h, steps=40)
    W, H = PAIR
    for row in range(41):
        np.testing.assert_allclose(run.W[row], W, rtol=1e-12, atol=1e-14)
        np.testing.assert_allclose(run.H[row], H, rtol=1e-12, atol=1e-14)
        G = (np.eye(CLASSES) - softmax(W @ H)) / CLASSES
        W, H = W + h * (G @ H.T - lW * W), H + h * (W.T @ G - lH * H)
    np.testing.assert_array_equal(run.t, h * np.arange(41))
    assert run.success and run.nsteps == 40 and run.step_size == h


def test_steps_are_those_of_an_optimizer():
    torch = pytest.importorskip("torch")
    W, H = (torch.tensor(part, requires_grad=True) for part in SAMPLES)
    b = torch.zeros(CLASSES, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.SGD([W, H, b], lr=0.5)
    for _ in range(20):
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy((W @ H + b[:, None]).T, torch.tensor(LABELS)).backward()
        optimizer.step()
    run = cf.descend(cf.MatrixFlow(labels=LABELS, bias=True), SAMPLES, step_size=0.5, steps_eval=[20])
    for mine, other in ((run.W, W), (run.H, H), (run.bias, b)):
        np.testing.assert_allclose(mine[0], other.detach().numpy(), rtol=1e-11)


@pytest.mark.parametrize(
    "options",
    [
        {"terms": (Alignment(0.2),), "weight_decay": 0.01},
        {"loss": "label_smoothing", "weights": (1.0, 2.0, 1.0, 0.5), "logit_adjustment": (0.1, 0.0, 0.2, 0.0)},
        {"loss": "focal", "activation": "softplus:5"},
    ],
    ids=str,
)
def test_steps_are_minus_the_gradient_of_the_objective(options):
    flow, h = cf.MatrixFlow(**options), 0.3
    run = cf.descend(flow, PAIR, step_size=h, steps=1)
    near = run.y[0] + 1e-3 * np.concatenate([s * np.eye(run.y.shape[1]) for s in (1, -1, 2, -2)])
    value = run._with(np.zeros(len(near)), near).objective.reshape(4, -1)
    gradient = (8.0 * (value[0] - value[1]) - (value[2] - value[3])) / 12e-3
    np.testing.assert_allclose(run.y[1] - run.y[0], -h * gradient, atol=1e-11)


STARTS = {
    "balanced": lambda flow: rng.uniform(0.1, 0.6, 7),
    "unbalanced": lambda flow: rng.uniform(-0.2, 0.9, (int(flow.depth), 7)),
}


@pytest.mark.parametrize("kind", STARTS)
@pytest.mark.parametrize("depth", [2, 3])
@pytest.mark.parametrize("loss", LOSSES)
def test_reduced_steps_are_those_of_the_full_matrices(loss, depth, kind):
    flow = cf.SpectralFlow(cf.hadamard(8), loss=loss, depth=depth, weight_decay=0.003)
    start = STARTS[kind](flow)
    reduced = cf.descend(flow, start, step_size=0.3, steps=30)
    full = cf.descend(flow.full(), flow.lift(start, width=9), step_size=0.3, steps=30)
    assert cf.compare(reduced, full).max_error < 1e-13
    assert cf.compare(reduced, reduced).max_error < 1e-13
    np.testing.assert_allclose(reduced.loss, full.loss, rtol=1e-11)
    assert reduced.layers.shape == (31, depth, 7)


@pytest.mark.parametrize(
    ("symmetry", "options"),
    [
        (cf.direct_sum(3, 2), {"samples": (3, 1), "bias": True, "weight_decay": (0.01, 0.02)}),
        (cf.direct_sum(3, 2), {"loss": "squared_error", "weights": (1.0, 4.0), "depth": 3}),
        (cf.complete(4), {"logit_adjustment": 0.1, "frozen": ("W",)}),
        (cf.subsets(4, (1, 2)), {"activation": "softplus:5", "class_fibres": 0}),
    ],
)
def test_steps_under_any_symmetry_are_those_of_the_full_matrices(symmetry, options):
    flow = cf.SpectralFlow(symmetry, **options)
    start = flow.random_start(0.4, rng=1)
    reduced = cf.descend(flow, start, step_size=0.5, steps=40)
    full = cf.descend(flow.full(), flow.lift(start), step_size=0.5, steps=40)
    assert cf.compare(reduced, full).max_error < 1e-12


def test_a_batch_descends_as_its_members_do():
    starts = cf.random_init(classes=3, width=4, scale=0.5, batch=3, rng=0)
    batch = cf.descend(cf.MatrixFlow(), starts, step_size=1.0, steps=20)
    for member in range(3):
        alone = cf.descend(cf.MatrixFlow(), tuple(part[member] for part in starts), step_size=1.0, steps=20)
        np.testing.assert_allclose(batch.W[:, member], alone.W, rtol=1e-12, atol=1e-14)


def test_relu_steps_on_full_matrices_only():
    flow = cf.MatrixFlow(activation="relu")
    run = cf.descend(flow, PAIR, step_size=0.5, steps=1)
    W, H = PAIR
    G = (np.eye(CLASSES) - softmax(W @ np.maximum(H, 0.0))) / CLASSES
    np.testing.assert_allclose(run.H[1], H + 0.5 * (W.T @ G) * (H > 0.0), rtol=1e-12)
    reduced = cf.SpectralFlow(cf.subsets(4, (1, 2)), activation="relu", class_fibres=0)
    with pytest.raises(ValueError, match="relu needs a MatrixFlow"):
        cf.descend(reduced, reduced.random_start(0.1), step_size=0.1, steps=1)


# -- beside the flow ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("kind", ["reduced", "full"])
def test_the_error_is_of_first_order(loss, kind):
    reduced = cf.SpectralFlow(cf.hadamard(4), loss=loss, reduction="sum")
    flow, start = reduced, np.array([[0.3, 0.5, 0.7], [0.6, 0.2, 0.4]])
    if kind == "full":
        flow, start = cf.MatrixFlow(loss=loss, reduction="sum"), PAIR
    exact = cf.integrate(flow, start, t_eval=[2.0], rtol=1e-12).y[0]
    if kind == "reduced":
        exact = cf.integrate(flow, start, t_eval=[2.0], rtol=1e-12).layers[0].T.ravel()
    errors = [
        np.abs(cf.descend(flow, start, step_size=2.0 / n, steps_eval=[n]).y[0] - exact).max() for n in (400, 800, 1600)
    ]
    for coarse, fine in itertools.pairwise(errors):
        assert coarse / fine == pytest.approx(2.0, abs=0.05)


def test_a_descent_is_compared_with_the_flow():
    flow = cf.SpectralFlow(cf.hadamard(4))
    run = cf.integrate(flow, [0.1, 0.2, 0.4], 10.0)
    errors = [cf.compare(run, cf.descend(flow, [0.1, 0.2, 0.4], step_size=h, steps=round(10 / h))) for h in (0.1, 0.05)]
    assert errors[0].max_error / errors[1].max_error == pytest.approx(2.0, abs=0.05)
    full = cf.descend(flow.full(), flow.lift([0.1, 0.2, 0.4]), step_size=0.05, steps=200)
    assert cf.compare(run, full).max_error == pytest.approx(errors[1].max_error, rel=1e-9)


def test_without_decay_the_imbalance_shrinks_by_exactly_what_is_stated():
    scheme, h = cf.hadamard(8), 1.5
    for loss in LOSSES:
        flow = cf.SpectralFlow(scheme, loss=loss, reduction="sum")
        run = cf.descend(flow, rng.uniform(0.2, 0.5, (2, 7)), step_size=h / 8, steps=10)
        Z = [flow.full().start(flow.lift(layers)) for layers in run.layers]
        basis = scheme.basis()
        for row, (W, H) in enumerate(Z[:-1]):
            G = W @ H
            log_scale, _ = cf.losses.full_residual(flow.loss, G, np.arange(8))
            force = np.diag(basis.T @ (G * np.exp(log_scale)) @ basis)[1:]
            before, after = run.conserved[row], run.conserved[row + 1]
            expected = before * (1.0 - (h / 8 * force) ** 2)
            np.testing.assert_allclose(after, expected, atol=1e-14 * (run.layers[row] ** 2).max())


def test_what_a_step_does_to_the_full_matrices():
    h, decay = 0.8, 0.05
    run = cf.descend(cf.MatrixFlow(weight_decay=decay, reduction="sum"), PAIR, step_size=h, steps=5)
    for row in range(5):
        W, H = run.W[row], run.H[row]
        G = np.eye(CLASSES) - softmax(W @ H)
        change = h**2 * (H @ G.T @ G @ H.T - W.T @ G @ G.T @ W)
        expected = (1.0 - h * decay) ** 2 * run.conserved[row] + change
        np.testing.assert_allclose(run.conserved[row + 1], expected, atol=1e-14)


def test_larger_steps_leave_less_complexity_only_where_the_features_are_the_larger_layer():
    flow = cf.SpectralFlow(cf.hadamard(4), reduction="sum")
    for layers, falls in ((np.full((2, 3), [[0.2], [2.0]]), True), (np.full((2, 3), [[2.0], [0.2]]), False)):
        squares = []
        for h in (0.01, 0.1, 0.5, 0.9):
            run = cf.descend(flow, layers, step_size=h, steps_eval=[round(200 / h)])
            a, b = run.layers[0, :, 0]
            squares.append(b**2)
            s, D = a * b, a**2 - b**2
            assert b**2 == pytest.approx((np.hypot(2 * s, D) - D) / 2, rel=1e-12)
        assert np.all(np.diff(squares) < 0.0 if falls else np.diff(squares) > 0.0)


# -- sharpness ---------------------------------------------------------------------------------------------------------


def dense_hessian(flow, start):
    """By automatic differentiation of the objective, samples and inputs written out."""
    torch = pytest.importorskip("torch")
    objective = flow.objective
    samples = objective.samples_of(CLASSES).astype(int)
    labels = torch.tensor(np.repeat(objective.labels_of(CLASSES), samples))
    weights = torch.tensor(np.repeat(objective.weights_of(CLASSES), samples))
    parts = [torch.tensor(part) for part in start]
    if objective.kernel is None:
        parts[flow.depth - 1] = torch.repeat_interleave(parts[flow.depth - 1], torch.tensor(samples), dim=1)
        X = None
    else:
        X = torch.tensor(scipy.linalg.sqrtm(objective.kernel).real)
        parts[flow.depth - 1] = torch.linalg.solve(X, parts[flow.depth - 1], left=False)
    moving = [i for i in range(len(parts)) if i not in objective.frozen]
    decays = (*objective.decays, objective.decay_of_bias)

    def value(*moved):
        now = [moved[moving.index(i)] if i in moving else part for i, part in enumerate(parts)]
        x = now[flow.depth - 1] if X is None else now[flow.depth - 1] @ X
        for factor in now[flow.depth - 2 :: -1] if flow.depth > 2 else now[:1]:
            x = factor @ (torch.nn.functional.softplus(x, beta=5) if not objective.act.linear else x)
        x = x + now[-1][:, None] if objective.bias else x
        if flow.loss.name == "squared_error":
            hot = torch.nn.functional.one_hot(labels, CLASSES).T - 1.0 / CLASSES
            each = 0.5 * ((x - hot) ** 2).sum(0)
        else:
            each = torch.nn.functional.cross_entropy(x.T, labels, reduction="none")
        total = (weights * each).sum() / (len(labels) if flow.reduction == "mean" else 1.0)
        return total + sum(0.5 * decay * (part**2).sum() for decay, part in zip(decays, now, strict=False))

    inputs = tuple(parts[i] for i in moving)
    blocks = torch.autograd.functional.hessian(value, inputs)
    sizes = [part.numel() for part in inputs]
    flat = [[block.flatten(part.ndim) for block in row] for part, row in zip(inputs, blocks, strict=True)]
    flat = [torch.cat(row, -1).flatten(0, -2) for row in flat]
    assert torch.cat(flat).shape == (sum(sizes), sum(sizes))
    return torch.cat(flat).numpy()


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"loss": "squared_error", "weight_decay": (0.1, 0.2)},
        {"depth": 3, "reduction": "sum"},
        {"samples": (3, 1, 1, 2), "bias": True, "bias_decay": 0.1},
        {"kernel": GRAM, "weights": (1.0, 2.0, 1.0, 0.5)},
        {"labels": LABELS, "frozen": ("W",)},
        {"activation": "softplus:5"},
    ],
    ids=str,
)
def test_sharpness_is_the_largest_eigenvalue_of_the_dense_hessian(options):
    flow = cf.MatrixFlow(**options)
    start = SAMPLES if "labels" in options else PAIR
    start = (start[0], np.eye(WIDTH) + 0.1, start[1]) if flow.depth == 3 else start
    run = cf.descend(flow, start, step_size=0.3, steps_eval=[0, 7])
    for row, value in enumerate(cf.sharpness(run)):
        dense = dense_hessian(flow, flow.state(run.start, run.y[row]))
        assert value == pytest.approx(np.linalg.eigvalsh(dense)[-1], rel=1e-8)


def test_sharpness_of_a_reduced_run_is_that_of_the_full_problem():
    flow = cf.SpectralFlow(cf.hadamard(4), reduction="sum")
    run = cf.integrate(flow, [0.3, 0.5, 0.7], t_eval=[0.0, 1.0, 5.0])
    W, H = flow.lift(run.start)
    full = cf.integrate(flow.full(), (W, H), t_eval=[0.0, 1.0, 5.0])
    np.testing.assert_allclose(cf.sharpness(run), cf.sharpness(full), rtol=1e-7)
    block = cf.SpectralFlow(cf.direct_sum(2, 2), reduction="sum")
    run = cf.descend(block, block.random_start(0.3), step_size=0.1, steps=3)
    np.testing.assert_allclose(cf.sharpness(run), cf.sharpness(run.lifted()), rtol=1e-9)


def test_the_collapsed_minimum_under_decay_is_stable_up_to_two_over_its_sharpness():
    flow = cf.SpectralFlow(cf.hadamard(4), weight_decay=0.05, reduction="sum")
    s = cf.theory.equilibrium(4, weight_decay=0.05, reduction="sum")
    rest = flow.lift(np.full(3, s), width=4)
    top = cf.sharpness(cf.descend(flow.full(), rest, step_size=1.0, steps_eval=[0]))[0]
    near = tuple(part + 1e-3 * np.random.default_rng(1).standard_normal(part.shape) for part in rest)
    for factor, stays in ((0.98, True), (1.02, False)):
        run = cf.descend(flow.full(), near, step_size=2.0 * factor / top, steps=1500)
        assert (run.objective[-1] < flow_minimum(s, 0.05) + 1e-9) == stays


def flow_minimum(s, decay):
    """Loss and decay at collapse of four classes."""
    return 4.0 * np.log1p(3.0 * np.exp(-s)) + decay * 3.0 * s


# -- as a trajectory, and at the door ----------------------------------------------------------------------------------


def test_files_rows_and_figures(tmp_path):
    block = cf.SpectralFlow(cf.direct_sum(2, 2))
    for flow, start in (
        (FLOW, [0.1, 0.2, 0.3]),
        (block, block.random_start(0.3)),
        (cf.MatrixFlow(), PAIR),
    ):
        run = cf.descend(flow, start, step_size=1.0, steps=20)
        run.save(tmp_path / "run.npz")
        again = cf.load(tmp_path / "run.npz")
        np.testing.assert_array_equal(again.y, run.y)
        assert again.step_size == 1.0 and type(again) is type(run) and type(again.flow) is type(run.flow)
        np.testing.assert_array_equal(again.loss, run.loss)
        np.testing.assert_array_equal(run.at([3.0, 1.0]).y, run.y[[3, 1]])
        with pytest.raises(ValueError, match="gradient descent has steps only"):
            run.at(2.5)
        with pytest.raises(ValueError, match="only a whole run"):
            cf.resume(run, 30.0)
        with pytest.raises(ValueError, match="gradient descent is none"):
            run.certificate()
        assert run[5:].step_size == 1.0
        assert len(cf.plot.loss(run).lines)
        title = cf.plot.dashboard(run).get_suptitle()
        assert "descent" in title and title.endswith("step size 1")


def test_rows_are_those_asked_for():
    flow, start = cf.SpectralFlow(cf.hadamard(4)), [0.1, 0.2, 0.3]
    every = cf.descend(flow, start, step_size=0.5, steps=100)
    some = cf.descend(flow, start, step_size=0.5, steps_eval=[0, 7, 100])
    np.testing.assert_array_equal(some.y, every.y[[0, 7, 100]])
    many = cf.descend(flow, start, step_size=0.5, steps=5000)
    assert many.t[0] == 0.0 and many.t[-1] == 2500.0 and 500 < len(many) <= 1001
    np.testing.assert_array_equal(many.y[many.t == 50.0], every.y[-1:])


def test_divergence_is_said_and_no_nan_is_returned():
    run = cf.descend(cf.MatrixFlow(loss="squared_error", reduction="sum"), PAIR, step_size=5.0, steps=100)
    assert run.outcome is Outcome.DIVERGED and not run.success and "step_size = 5 is too large" in run.message
    assert 1 <= len(run) < 100 and np.isfinite(run.y).all() and np.isfinite(run.loss).all()


def test_what_rests_stays():
    run = cf.descend(cf.MatrixFlow(), (np.zeros((3, 2)), np.zeros((2, 3))), step_size=1.0, steps=3)
    assert run.success and len(run) == 4 and not run.y.any()
    dead = cf.descend(cf.SpectralFlow(cf.hadamard(4)), [0.0, 0.1, 0.2], step_size=1.0, steps=50)
    assert not dead.singular_values[:, 0].any()


@pytest.mark.parametrize(
    ("options", "error", "match"),
    [
        ({"step_size": 0.0, "steps": 1}, ValueError, "step_size must be positive"),
        ({"step_size": np.nan, "steps": 1}, ValueError, "step_size must be between"),
        ({"step_size": "1", "steps": 1}, TypeError, "step_size must be a number"),
        ({"step_size": 1.0}, ValueError, "either steps or steps_eval, got none"),
        ({"step_size": 1.0, "steps": 1, "steps_eval": [1]}, ValueError, "got both"),
        ({"step_size": 1.0, "steps": 0}, ValueError, "steps must be at least 1|steps must be from 1"),
        ({"step_size": 1.0, "steps_eval": [1.0]}, TypeError, "steps_eval must be integers"),
        ({"step_size": 1.0, "steps_eval": [2, 1]}, ValueError, "strictly increasing"),
        ({"step_size": 1.0, "steps_eval": [-1]}, ValueError, "nonnegative and strictly increasing"),
    ],
)
def test_bad_options_are_refused(options, error, match):
    with pytest.raises(error, match=match):
        cf.descend(FLOW, [0.1, 0.2, 0.3], **options)


def test_bad_flows_and_runs_are_refused():
    with pytest.raises(TypeError, match="flow must be"):
        cf.descend("flow", [0.1], step_size=1.0, steps=1)
    with pytest.raises(ValueError, match="depth must be an integer"):
        cf.descend(cf.SpectralFlow(cf.hadamard(4), depth=2.5), [0.1, 0.2, 0.3], step_size=1.0, steps=1)
    with pytest.raises(TypeError, match="sharpness takes a Trajectory"):
        cf.sharpness(PAIR)
    batch = cf.descend(cf.MatrixFlow(), cf.random_init(classes=3, width=4, batch=2, rng=0), step_size=1.0, steps=1)
    with pytest.raises(ValueError, match="not a batch"):
        cf.sharpness(batch)
    far = cf.descend(cf.MatrixFlow(), [1e4 * part for part in PAIR], step_size=1.0, steps_eval=[0])
    with pytest.raises(ValueError, match="layers must have a norm of at most 1000, row 0"):
        cf.sharpness(far)
    with pytest.raises(ValueError, match="width is for reduced runs"):
        cf.sharpness(cf.descend(cf.MatrixFlow(), PAIR, step_size=1.0, steps=1), width=7)
