"""The options of an objective on the full flow, held against losses and simulations that are written down here."""

import copy
import itertools
import math

import numpy as np
import pytest
from scipy.integrate import solve_ivp

import ceflow as cf
from ceflow.flow import Objective
from ceflow.losses import focal, label_smoothing
from ceflow.trajectory import trajectory_type

K, D = 3, 4
LABELS = (0, 1, 1, 2, 0, 0)
RNG = np.random.default_rng(11)
ROOT = RNG.standard_normal((6, 6))
THETA = ROOT @ ROOT.T / 6.0
Y = RNG.standard_normal((2, 5))

CASES = {
    "samples": dict(samples=(100, 10, 1)),
    "samples, sum": dict(samples=7, reduction="sum", weights=(0.5, 0.0, 2.0)),
    "labels": dict(labels=LABELS, weights=(1.0, 0.5, 0.0, 2.0, 1.0, 1.0)),
    "adjusted": dict(samples=(9, 2, 1), logit_adjustment=(1.0, 0.0, -2.0), logit_scale=(1.0, 0.7, 1.6)),
    "decay of each layer": dict(weight_decay=(0.03, 0.2), samples=(3, 1, 1), reduction="sum"),
    "bias": dict(bias=True, bias_decay=0.3, weight_decay=0.1, samples=(3, 1, 2)),
    "smoothing": dict(loss=label_smoothing(0.2), labels=LABELS, bias=True),
    "focal": dict(loss=focal(1.5), labels=LABELS, weights=(1.0, 3.0, 0.0, 1.0, 1.0, 1.0)),
    "squared": dict(loss="squared_error", samples=(2, 1, 4)),
    "one-hot": dict(loss="squared_error", targets="one-hot", labels=LABELS, bias=True),
    "regression": dict(loss="squared_error", targets=Y, weight_decay=(0.1, 0.2), bias=True),
    "kernel": dict(labels=LABELS, kernel=THETA, weight_decay=(0.02, 0.05)),
    "frozen W": dict(frozen=("W",), weight_decay=0.1, bias=True),
    "frozen H, b": dict(frozen=("H", "b"), bias=True, samples=(2, 1, 1)),
    "softplus": dict(activation="softplus:3", samples=(5, 1, 1), bias=True),
    "relu": dict(activation="relu", labels=LABELS),
    "deep": dict(depth=3, samples=(5, 1, 2), weight_decay=(0.1, 0.0, 0.2), bias=True, frozen=(1,)),
    "deep softplus": dict(depth=4, activation="softplus:5", labels=LABELS, kernel=THETA, weight_decay=0.05),
    "linear features": dict(depth=4, activation=["softplus:5", "softplus:5", "linear"], labels=LABELS, bias=True),
    "softplus once": dict(depth=4, activation=("linear", "softplus:5", "linear"), samples=(5, 1, 2)),
    "linear, relu": dict(depth=3, activation=("linear", "relu"), labels=LABELS, bias=True),
    "deep relu, regression": dict(depth=3, activation="relu", loss="squared_error", targets=Y, samples=(1, 2, 1, 3, 1)),
}


def names_of(options):
    """The activation of each place between layers, from W to H."""
    given = options.get("activation", "linear")
    return (given,) * (options.get("depth", 2) - 1) if isinstance(given, str) else given


def start_of(options, scale=0.7, rng=5, batch=()):
    rng = np.random.default_rng(rng)
    rows, columns = K, len(options.get("labels", range(K)))
    if not isinstance(options.get("targets", ""), str):
        rows, columns = options["targets"].shape
    widths = [rows, *range(D, D + options.get("depth", 2) - 1), columns]
    start = [scale * rng.standard_normal((*batch, *pair)) for pair in itertools.pairwise(widths)]
    return (*start, scale * rng.standard_normal((*batch, rows))) if options.get("bias") else tuple(start)


def by_autograd(options, start):
    """Loss, objective and velocities of one start, sample by sample, by automatic differentiation."""
    torch = pytest.importorskip("torch")
    depth, kernel = options.get("depth", 2), options.get("kernel")
    parts = [torch.tensor(part, requires_grad=True) for part in start]
    n = torch.tensor(np.broadcast_to(options.get("samples", 1), start[depth - 1].shape[-1]).copy())
    weights = torch.tensor(np.broadcast_to(options.get("weights", 1.0), len(n)).copy()).repeat_interleave(n)
    weights = weights / float(n.sum()) if options.get("reduction", "mean") == "mean" else weights
    H = parts[depth - 1].detach().repeat_interleave(n, dim=1).requires_grad_()  # every sample by itself
    x = H
    for factor, name in zip(parts[depth - 2 :: -1], names_of(options)[::-1], strict=True):
        if name != "linear":
            x = torch.relu(x) if name == "relu" else torch.nn.functional.softplus(x, float(name[9:]), threshold=300)
        x = factor @ x
    x = x + parts[depth][:, None] if options.get("bias") else x
    labels = torch.tensor(options.get("labels", range(len(n)))).repeat_interleave(n)
    loss, targets = options.get("loss", "cross_entropy"), options.get("targets", "centred")
    if loss == "squared_error":
        if isinstance(targets, str):
            wanted = torch.eye(len(x), dtype=x.dtype)[:, labels] - (1.0 / len(x) if targets == "centred" else 0.0)
        else:
            wanted = torch.tensor(targets).repeat_interleave(n, dim=1)
        each = 0.5 * ((x - wanted) ** 2).sum(0)
    else:
        scale, shift = (
            torch.tensor(np.broadcast_to(options.get(key, usual), len(x)).copy())[:, None]
            for key, usual in (("logit_scale", 1.0), ("logit_adjustment", 0.0))
        )
        smoothing = getattr(loss, "smoothing", 0.0)
        each = torch.nn.functional.cross_entropy(
            (scale * x + shift).T, labels, reduction="none", label_smoothing=smoothing
        )
        each = (1.0 - torch.exp(-each)) ** loss.focusing * each if hasattr(loss, "focusing") else each
    fit = (weights * each).sum()
    fit.backward()
    decays = [*np.broadcast_to(options.get("weight_decay", 0.0), depth), options.get("bias_decay", 0.0)]
    gradients = [part.grad for part in parts]
    gradients[depth - 1] = torch.stack([g.mean(dim=1) for g in H.grad.split(n.tolist(), dim=1)], dim=1)
    frozen = {{"W": 0, "H": depth - 1, "b": depth}.get(item, item) for item in options.get("frozen", ())}
    velocities, penalty = [], 0.0
    for i, (part, gradient, decay) in enumerate(zip(start, gradients, decays, strict=False)):
        push = -gradient.numpy()
        push = push @ kernel if kernel is not None and i == depth - 1 else push
        velocities.append(0.0 * part if i in frozen else push - decay * part)
        square = (part**2 * n.numpy()).sum() if i == depth - 1 else (part**2).sum()
        if kernel is not None and i == depth - 1:
            square = np.trace(part @ np.linalg.inv(kernel) @ part.T)
        penalty += 0.0 if i in frozen else 0.5 * decay * square
    fit = fit.item()
    return fit, fit + penalty, velocities


def velocity(flow, start):
    """dy/dt of the flow's own field, in its parts."""
    checked = flow.start(start)
    field = flow._field(checked)
    y, dy = (flow.arrays.asarray(values) for values in (flow.origin(checked), np.zeros(field.size)))
    phi, _ = field.rates(y, dy)
    dy = np.asarray(dy) * math.exp(-float(phi))
    return [part.reshape(other.shape) for part, other in zip(np.split(dy, field.ends[:-1]), checked, strict=True)]


@pytest.mark.parametrize("name", CASES)
def test_velocity_and_objective_are_those_of_autograd(name):
    options = CASES[name]
    start, flow = start_of(options), cf.MatrixFlow(**options)
    fit, objective, exact = by_autograd(options, start)
    size = max(np.abs(part).max() for part in exact)
    for mine, other in zip(velocity(flow, start), exact, strict=True):
        np.testing.assert_allclose(mine, other, rtol=1e-12, atol=1e-13 * size)
    run = cf.integrate(flow, start, 1e-3)
    assert run.loss[0] == pytest.approx(fit, rel=1e-12) and run.objective[0] == pytest.approx(objective, rel=1e-12)


@pytest.mark.parametrize("name", [name for name in CASES if "relu" not in name])
def test_runs_are_those_of_scipy(name):
    options = CASES[name]
    start, flow = start_of(options), cf.MatrixFlow(**options)
    shapes, ends = [part.shape for part in start], np.cumsum([part.size for part in start])

    def rhs(_, y):
        parts = [part.reshape(shape) for part, shape in zip(np.split(y, ends[:-1]), shapes, strict=True)]
        return np.concatenate([part.ravel() for part in plain_velocity(options, parts)])

    y0 = np.concatenate([part.ravel() for part in start])
    t = np.array([0.5, 10.0])
    exact = solve_ivp(rhs, (0, t[-1]), y0, method="DOP853", rtol=1e-11, atol=1e-12, t_eval=t).y.T
    run = cf.integrate(flow, start, t_eval=t, rtol=1e-10)
    assert run.success
    assert np.linalg.norm(run.y - exact, axis=1).max() < 1e-8 * np.linalg.norm(exact, axis=1).max()
    whole = cf.integrate(flow, start, 10.0)
    assert np.diff(whole.objective).max() <= 1e-12


def plain_velocity(options, parts):
    """The equations as they stand on paper, in plain NumPy."""
    depth, kernel = options.get("depth", 2), options.get("kernel")
    factors = parts[:depth]
    inputs, slopes, x = [], [], factors[-1]
    for factor, name in zip(factors[-2::-1], names_of(options)[::-1], strict=True):
        beta = float(name[9:]) if name != "linear" else 1.0
        slopes.insert(0, 1.0 if name == "linear" else 1.0 / (1.0 + np.exp(-beta * x)))
        x = x if name == "linear" else np.logaddexp(0.0, beta * x) / beta
        inputs.insert(0, x)
        x = factor @ x
    x = x + parts[depth][:, None] if options.get("bias") else x
    n = np.broadcast_to(options.get("samples", 1), x.shape[1]).astype(float)
    o = np.broadcast_to(options.get("weights", 1.0), x.shape[1])
    o = o / n.sum() if options.get("reduction", "mean") == "mean" else o
    labels, loss = np.array(options.get("labels", range(x.shape[1]))), options.get("loss", "cross_entropy")
    targets = options.get("targets", "centred")
    if isinstance(targets, str):
        targets = np.eye(len(x))[:, labels] - (1.0 / len(x) if targets == "centred" else 0.0)
    scale, shift = (
        np.broadcast_to(options.get(key, usual), len(x))[:, None]
        for key, usual in (("logit_scale", 1.0), ("logit_adjustment", 0.0))
    )
    if loss == "squared_error":
        G = targets - x
    else:
        P = np.exp(scale * x + shift)
        P /= P.sum(axis=0)
        one_hot, e = np.eye(len(x))[:, labels], getattr(loss, "smoothing", 0.0)
        G = scale * ((1.0 - e) * one_hot + e / len(x) - P)
        if hasattr(loss, "focusing"):
            f, p = loss.focusing, P[labels, np.arange(len(labels))]
            G = G * ((1.0 - p) ** f - f * (1.0 - p) ** (f - 1.0) * p * np.log(p))
    velocities, back = [], G * o
    for factor, seen, slope in zip(factors, inputs, slopes, strict=False):
        velocities.append((back * n) @ seen.T)
        back = slope * (factor.T @ back)
    velocities.append(back if kernel is None else back @ kernel)
    decays = [*np.broadcast_to(options.get("weight_decay", 0.0), depth), options.get("bias_decay", 0.0)]
    velocities += [(G * o * n).sum(axis=1)] if options.get("bias") else []
    frozen = {{"W": 0, "H": depth - 1, "b": depth}.get(item, item) for item in options.get("frozen", ())}
    return [
        0.0 * part if i in frozen else push - decay * part
        for i, (part, push, decay) in enumerate(zip(parts, velocities, decays, strict=False))
    ]


@pytest.mark.parametrize("name", [name for name in CASES if "frozen" not in CASES[name]])
def test_velocity_is_the_slope_of_the_reported_objective(name):
    options = CASES[name]
    start, flow = start_of(options), cf.MatrixFlow(**options)
    parts, y = velocity(flow, start), np.concatenate([part.ravel() for part in start])
    place = flow.depth - 1
    parts[place] = parts[place] * np.broadcast_to(options.get("samples", 1), start[place].shape[-1])
    parts[place] = parts[place] @ np.linalg.inv(options["kernel"]) if "kernel" in options else parts[place]
    direction = np.random.default_rng(3).standard_normal(len(y))
    step = 1e-5 * np.array([[-2.0], [-1.0], [1.0], [2.0]])
    values = trajectory_type(flow)(flow, flow.start(start), np.arange(4.0), y + step * direction).objective
    slope = (values[0] - 8.0 * values[1] + 8.0 * values[2] - values[3]) / 12e-5
    assert slope == pytest.approx(-np.concatenate([part.ravel() for part in parts]) @ direction, rel=1e-8)


@pytest.mark.parametrize("samples", [(100, 1), (10, 1)])
@pytest.mark.parametrize(
    "options", [{}, {"reduction": "sum", "weight_decay": (2e-3, 1e-2)}], ids=["mean", "sum, decay"]
)
def test_imbalance_against_every_sample_by_itself(samples, options):
    big, small = samples
    counts, labels = (big, big, small, small), np.repeat(np.arange(4), (big, big, small, small))
    W, H = cf.random_init(classes=4, width=3, scale=0.3, rng=1)
    t = np.array([1.0, 30.0]) / (big if options else 1)
    run = cf.integrate(cf.MatrixFlow(samples=counts, **options), (W, H), t_eval=t, rtol=1e-10)
    single = cf.integrate(cf.MatrixFlow(labels=labels, **options), (W, H[:, labels]), t_eval=t, rtol=1e-10)
    decays, average = options.get("weight_decay", (0.0, 0.0)), 1.0 if options else float(len(labels))

    def rhs(_, y):
        W, H = y[:12].reshape(4, 3), y[12:].reshape(3, -1)
        P = np.exp(W @ H)
        G = (np.eye(4)[:, labels] - P / P.sum(axis=0)) / average
        return np.concatenate([(G @ H.T - decays[0] * W).ravel(), (W.T @ G - decays[1] * H).ravel()])

    y0 = np.concatenate([W.ravel(), H[:, labels].ravel()])
    exact = solve_ivp(rhs, (0, t[-1]), y0, method="DOP853", rtol=1e-12, atol=1e-13, t_eval=t).y.T
    for W, H in ((run.W, run.H[:, :, labels]), (single.W, single.H)):
        np.testing.assert_allclose(W.reshape(2, -1), exact[:, :12], rtol=0.0, atol=1e-8)
        np.testing.assert_allclose(H.reshape(2, -1), exact[:, 12:], rtol=0.0, atol=1e-8)
    np.testing.assert_allclose(run.loss, single.loss, rtol=1e-8)
    np.testing.assert_allclose(run.objective, single.objective, rtol=1e-8)
    if not options:
        np.testing.assert_allclose(run.conserved, single.conserved, rtol=0.0, atol=1e-7)
        assert np.abs(run.conserved - run.conserved[0]).max() < 1e-9
    np.testing.assert_allclose(run.accuracy_gap, single.accuracy_gap, rtol=1e-7)
    np.testing.assert_allclose(run.accuracy, single.accuracy)
    np.testing.assert_allclose(run.margins[:, labels], single.margins, rtol=0.0, atol=1e-7)


def test_equal_samples_are_the_rescaled_flow():
    n, t = 16, np.array([0.5, 5.0, 500.0])
    W, H = cf.random_init(classes=3, width=3, scale=0.4, rng=0)
    run = cf.integrate(cf.MatrixFlow(samples=n, reduction="sum"), (W, H), t_eval=t, rtol=1e-11)
    scaled = cf.MatrixFlow(reduction="sum")
    other = cf.integrate(scaled, (W * n**-0.25, H * n**0.25), t_eval=t * math.sqrt(n), rtol=1e-11)
    np.testing.assert_allclose(run.W, other.W * n**0.25, rtol=0.0, atol=1e-9)
    np.testing.assert_allclose(run.H, other.H * n**-0.25, rtol=0.0, atol=1e-9)
    np.testing.assert_allclose(run.loss, n * other.loss, rtol=1e-9)


def test_samples_of_a_class_come_together():
    labels, decay = (0, 0, 1, 1, 2, 2), 0.1
    W, H = start_of({"labels": labels})
    run = cf.integrate(cf.MatrixFlow(labels=labels, weight_decay=(0.01, decay)), (W, H), 40.0)
    apart = ((run.H[:, :, ::2] - run.H[:, :, 1::2]) ** 2).sum(axis=1)
    rates = np.diff(np.log(apart), axis=0) / np.diff(run.t)[:, None]
    assert rates.max() < -2.0 * decay  # convexity of the loss only adds to it
    assert run.collapse.nc1[-1] < 1e-3 * run.collapse.nc1[0]


def test_an_unseen_sample_fades():
    labels, weights = (0, 1, 2, 1), (1.0, 1.0, 1.0, 0.0)
    W, H = start_of({"labels": labels})
    run = cf.integrate(cf.MatrixFlow(labels=labels, weights=weights, weight_decay=0.01), (W, H), 100.0)
    np.testing.assert_allclose(run.H[-1, :, 3], H[:, 3] * math.exp(-1.0), rtol=0.0, atol=1e-8)
    late = cf.integrate(cf.MatrixFlow(labels=labels, weights=weights), (W, H), log_t_end=1000.0, rtol=1e-7)
    assert late.success and late.margin[-1] > 500.0, "what is not trained does not hold up the clock"
    np.testing.assert_array_equal(late.H[-1, :, 3], H[:, 3])


def test_equilibrium_of_cross_entropy_with_decay_of_all():
    K, n, decay = 4, 2, 0.01
    start = (*cf.random_init(classes=K, width=5, scale=1.0, rng=2), np.full(K, 0.3))
    options = dict(samples=n, bias=True, bias_decay=decay, weight_decay=decay)
    run = cf.integrate(cf.MatrixFlow(**options), start, 1e6, rtol=1e-10)
    c = decay * math.sqrt(n)
    assert run.margins[-1] == pytest.approx(math.log(1.0 / c - K + 1.0), abs=1e-8)
    assert run.margin[-1] == pytest.approx(4.21524389, abs=1e-8)
    assert run.objective[-1] == pytest.approx(0.22219035374535792, abs=1e-12)
    assert np.abs(run.bias[-1]).max() < 1e-8 and run.success
    run = cf.integrate(cf.MatrixFlow(reduction="sum", **options), start, 1e6, rtol=1e-10)
    assert run.margins[-1] == pytest.approx(math.log(K * n / c - K + 1.0), abs=1e-8)


@pytest.mark.parametrize("name", CASES)
def test_files_resume_xarray_torch_and_batches(name, tmp_path):
    options = CASES[name]
    start, flow = start_of(options), cf.MatrixFlow(**options)
    end = 0.01 if "relu" in name else 1.0
    run, whole = cf.integrate(flow, start, 0.4 * end), cf.integrate(flow, start, end)
    run.save(tmp_path / "run.npz")
    loaded = cf.load(tmp_path / "run.npz")
    assert loaded.flow.objective == flow.objective and repr(loaded.flow) == repr(flow)
    np.testing.assert_array_equal(cf.resume(loaded, end).y[-1], whole.y[-1])
    np.testing.assert_array_equal(loaded.objective, run.objective)
    pytest.importorskip("xarray")
    data = run.to_xarray()
    assert ("bias" in data) == flow.objective.bias and data["loss"].shape == (len(run),)
    pytest.importorskip("torch")
    batch = start_of(options, batch=(2,), rng=8)
    t = [0.4 * end, end]
    both = cf.integrate(cf.MatrixFlow(**options, backend="torch"), batch, t_eval=t, rtol=1e-10)
    for i in range(2):
        alone = cf.integrate(flow, tuple(part[i] for part in batch), t_eval=t, rtol=1e-10)
        for part, other in zip(both.factors, alone.factors, strict=True):
            np.testing.assert_allclose(part[:, i], other, rtol=0.0, atol=1e-8)
        np.testing.assert_allclose(both.objective[:, i], alone.objective, rtol=1e-7)


FLOWS = cf.SpectralFlow(cf.hadamard(4)), cf.SpectralFlow(cf.direct_sum(2, 3)), cf.MatrixFlow()


@pytest.mark.parametrize("flow", FLOWS, ids=lambda flow: flow.kind)
def test_flows_do_not_change(flow):
    before, name = repr(flow), "scheme" if hasattr(flow, "scheme") else "objective"
    with pytest.raises(AttributeError, match=f"its {name} cannot be replaced"):
        setattr(flow, name, getattr(cf.MatrixFlow(weight_decay=1.0), name, None))
    with pytest.raises(AttributeError):
        flow.loss = "focal"
    assert repr(copy.deepcopy(flow)) == repr(copy.copy(flow)) == repr(flow) == before



def test_tasks_in_sequence():
    """New classes come, old ones are replayed or not."""
    labels = (0, 0, 1, 1, 2, 2, 3, 3)
    first = cf.MatrixFlow(labels=labels, weights=(1, 1, 1, 1, 0, 0, 0, 0), weight_decay=0.01)
    W, H = cf.random_init(classes=4, width=6, scale=0.5, rng=0)
    H = np.repeat(H, 2, axis=1)
    before = cf.integrate(first, (W, H), 200.0)
    second = cf.MatrixFlow(labels=labels, weights=(1, 0, 1, 0, 1, 1, 1, 1), weight_decay=0.01, bias=True)
    after = cf.resume(before, 50.0, flow=second)
    for part, other in zip(after.start[:2], before.factors, strict=True):
        np.testing.assert_array_equal(part, other[-1])
    np.testing.assert_array_equal(after.bias[0], np.zeros(4))
    direct = cf.integrate(second, (before.W[-1], before.H[-1]), 50.0)
    np.testing.assert_array_equal(after.y, direct.y)
    np.testing.assert_allclose(after.H[-1, :, 1], before.H[-1, :, 1] * math.exp(-0.5), rtol=0.0, atol=1e-7)
    with pytest.raises(ValueError, match="no bias"):
        cf.resume(after, 1.0, flow=first)
    with pytest.raises(ValueError, match="kind and depth"):
        cf.resume(before, 1.0, flow=cf.MatrixFlow(depth=3))


@pytest.mark.parametrize("name", [name for name in CASES if "relu" not in name])
def test_certificates(name):
    options = CASES[name]
    run = cf.integrate(cf.MatrixFlow(**options), start_of(options), 20.0)
    certificate = run.certificate()
    assert certificate.passed, str(certificate)
    assert certificate["layers follow the equations"].status == "passed"


FALSE = {
    "samples": dict(samples=(100, 10, 2)),
    "samples, sum": dict(samples=7, reduction="sum", weights=(0.5, 1e-3, 2.0)),
    "labels": dict(labels=(0, 1, 1, 2, 0, 1), weights=(1.0, 0.5, 0.0, 2.0, 1.0, 1.0)),
    "adjusted": dict(samples=(9, 2, 1), logit_adjustment=(1.0, 0.0, -2.0), logit_scale=(1.0, 0.7, 1.61)),
    "decay of each layer": dict(weight_decay=(0.03, 0.201), samples=(3, 1, 1), reduction="sum"),
    "bias": dict(bias=True, bias_decay=0.301, weight_decay=0.1, samples=(3, 1, 2)),
    "one-hot": dict(loss="squared_error", targets="centred", labels=LABELS, bias=True),
    "regression": dict(loss="squared_error", targets=1.001 * Y, weight_decay=(0.1, 0.2), bias=True),
    "kernel": dict(labels=LABELS, kernel=THETA + 1e-3 * np.eye(6), weight_decay=(0.02, 0.05)),
    "frozen W": dict(frozen=("W", "b"), weight_decay=0.1, bias=True),
    "softplus": dict(activation="softplus:3.01", samples=(5, 1, 1), bias=True),
    "linear features": dict(depth=4, activation="softplus:5", labels=LABELS, bias=True),
}


@pytest.mark.parametrize("name", FALSE)
def test_certificates_tell_one_objective_from_another(name):
    run = cf.integrate(cf.MatrixFlow(**CASES[name]), start_of(CASES[name]), 20.0)
    run.flow = cf.MatrixFlow(**FALSE[name])
    assert not run.certificate()["layers follow the equations"].passed


REFUSED = [
    (dict(samples=2.5), TypeError, "samples must be an integer"),
    (dict(samples=(3, 0, 1)), ValueError, "samples must be from 1"),
    (dict(samples=(3, 1)), ValueError, "samples must be a number or one for each of 3 classes, got 2"),
    (dict(samples=2, labels=(0, 1, 2)), ValueError, "labels or samples"),
    (dict(labels=(0, 1, 3)), ValueError, "labels must be 0 to 2"),
    (dict(labels=(0.0, 1.0, 2.0)), TypeError, "labels must be an integer"),
    (dict(samples=[[1], [1, 2]]), TypeError, "samples must be an integer"),
    (dict(weights=[[1], [1, 2]]), ValueError, "weights must be an array"),
    (dict(labels=(0, 1, 2, 2)), ValueError, "H \\(d, 4\\)"),
    (dict(weights=0.0), ValueError, "weights must not all be 0"),
    (dict(weights=(1, 1, -1)), ValueError, "weights must be from 0"),
    (dict(weights=(1, 1), labels=(0, 1, 2)), ValueError, "one for each of 3 samples"),
    (dict(logit_adjustment=(1.0, 2.0)), ValueError, "logit_adjustment must be a number or one for each of 3 classes"),
    (dict(logit_scale=0.0), ValueError, "logit_scale"),
    (dict(loss="squared_error", logit_adjustment=1.0), ValueError, "give targets instead"),
    (dict(weight_decay=(1.0, 1.0, 1.0)), ValueError, "one for each of 2 layers"),
    (dict(bias=1), TypeError, "bias must be True or False"),
    (dict(bias_decay=0.1), ValueError, "bias_decay needs bias=True"),
    (dict(frozen="W"), TypeError, "frozen must be a tuple"),
    (dict(frozen=("W", "H")), ValueError, "nothing would move"),
    (dict(frozen=("b",)), ValueError, "bias is False"),
    (dict(frozen=(2,)), ValueError, "frozen must be from 0 to 1"),
    (dict(targets="one-hot"), ValueError, "option of the squared error"),
    (dict(loss="squared_error", targets=np.zeros((2, 3))), ValueError, "targets must have 3 rows"),
    (dict(loss="squared_error", targets=np.zeros((3, 3)), labels=(0, 1, 2)), ValueError, "has no classes"),
    (dict(kernel=np.eye(3), samples=2), ValueError, "one column per sample"),
    (dict(kernel=np.eye(2)), ValueError, "kernel must be square of 3"),
    (dict(kernel=np.diag([1.0, 1.0, -1.0])), ValueError, "positive semi-definite"),
    (dict(kernel=np.arange(9.0).reshape(3, 3)), ValueError, "symmetric"),
    (dict(kernel=np.ones((3, 3))), ValueError, "range of the kernel"),
    (dict(activation="tanh"), ValueError, "activation must be"),
    (dict(activation="softplus:0"), ValueError, "activation must be"),
    (dict(activation=3), TypeError, "activation must be"),
    (dict(activation=("relu", "relu")), ValueError, "one for each of 2 - 1 places, got 2"),
    (dict(activation=(3,)), TypeError, "activation must be"),
]


@pytest.mark.parametrize(("options", "error", "text"), REFUSED)
def test_what_does_not_go_together_says_why(options, error, text):
    with pytest.raises(error, match=text):
        cf.integrate(cf.MatrixFlow(**options), start_of({}), 1.0)


def test_a_fractional_depth_has_no_layers_of_its_own():
    for options in (dict(frozen=("W",)), dict(weight_decay=(0.1, 0.2)), dict(activation="relu")):
        with pytest.raises(ValueError, match=r"depth|layers"):
            Objective(depth=2.5, **options)
    assert Objective(depth=2.5, weight_decay=0.1).plain


def test_activations_of_places_are_one_if_they_agree():
    assert Objective(depth=3, activation=("relu", "relu")) == Objective(depth=3, activation="relu")
    assert Objective(depth=4, activation=["linear"] * 3).plain
    placed = Objective(depth=3, activation=["relu", "linear"])
    assert placed.activation == ("relu", "linear") and Objective.from_spec(placed.spec) == placed
    with pytest.raises(ValueError, match="of one kind"):
        Objective(depth=3, activation=("relu", "softplus:5"))
    with pytest.raises(ValueError, match="places"):
        Objective(depth=2.5, activation=("relu", "linear"))


def test_zeros_rest_or_are_refused():
    zeros = np.zeros((3, 2)), np.zeros((2, 3))
    assert cf.integrate(cf.MatrixFlow(bias=True), zeros, 1.0).outcome == cf.Outcome.AT_REST
    with pytest.raises(ValueError, match="no relative speed"):
        cf.integrate(cf.MatrixFlow(bias=True, samples=(5, 1, 1)), zeros, 1.0)
    run = cf.integrate(cf.MatrixFlow(bias=True, samples=(5, 1, 1)), (*zeros, np.full(3, 1e-6)), 10.0)
    assert run.success and run.bias[-1, 0] > 1.0, "the frequencies of classes are learnt"


def test_a_reduced_run_goes_on_in_another_flow():
    scheme = cf.hadamard(4)
    before = cf.integrate(cf.SpectralFlow(scheme), np.array([0.1, 0.2, 0.3]), 10.0)
    after = cf.resume(before, 10.0, flow=cf.SpectralFlow(scheme, weight_decay=0.1))
    np.testing.assert_array_equal(after.start, before.layers[-1])
    assert after.objective[0] > before.objective[-1] == before.loss[-1]


def test_what_a_run_does_not_have_says_why():
    regression = cf.integrate(cf.MatrixFlow(**CASES["regression"]), start_of(CASES["regression"]), 1.0)
    softplus = cf.integrate(cf.MatrixFlow(**CASES["softplus"]), start_of(CASES["softplus"]), 1.0)
    for run, name, reason in (
        (regression, "margins", "no classes"),
        (regression, "accuracy_gap", "no classes"),
        (regression, "collapse", "no classes"),
        (regression, "conserved", "equal decays"),
        (softplus, "conserved", "linear"),
        (softplus, "dissipation", "one decay only"),
    ):
        with pytest.raises(ValueError, match=reason):
            getattr(run, name)
    np.testing.assert_allclose(softplus.features, np.logaddexp(0.0, 3.0 * softplus.H) / 3.0, rtol=1e-14)
    np.testing.assert_allclose(softplus.W @ softplus.features + softplus.bias[:, :, None], softplus.logits, rtol=1e-12)
    with pytest.raises(ValueError, match="without bias=True"):
        _ = cf.integrate(cf.MatrixFlow(), start_of({}), 1.0).bias


def test_collapse_sees_the_bias():
    """Decisions with a bias are unlike those without: one class gets all samples."""
    W, H = np.array([[1.0], [-1.0]]), np.array([[3.0, 1.0]])
    run = cf.integrate(cf.MatrixFlow(bias=True), (W, H, np.array([-2.0, 2.0])), t_end=1e-6)
    means, logits = H - H.mean(), W @ H + np.array([[-2.0], [2.0]])
    assert np.array_equal(logits.argmax(axis=0), [0, 1]) and (W @ H).argmax(axis=0).tolist() == [0, 0]
    assert means.argmax() == 0 and run.collapse.nc4[0] == 0.0
    assert cf.collapse.measures(W, H).nc4 == 0.5
