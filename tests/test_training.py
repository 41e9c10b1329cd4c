"""Training runs of a user beside the flow: recorded states, networks of PyTorch, tensors at the door."""

import re
import sys
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pytest

import ceflow as cf
from ceflow._checks import checked_array


def trained(start, step_size, steps, every=1):
    """Gradient descent as a user writes it: t, W and H of every so many steps."""
    (W, H), K = start, len(start[0])
    states = []
    for step in range(steps + 1):
        if step % every == 0:
            states.append((step * step_size, W, H))
        P = np.exp(W @ H)
        G = (np.eye(K) - P / P.sum(axis=0)) / K
        W, H = W + step_size * G @ H.T, H + step_size * W.T @ G
    return tuple(map(np.array, zip(*states, strict=True)))


# -- recorded runs -----------------------------------------------------------------------------------------------------


def test_a_recorded_run_is_a_descent():
    flow, start = cf.MatrixFlow(), cf.random_init(classes=4, width=5, scale=0.5)
    run = cf.record(flow, *trained(start, 0.5, 40, every=10), step_size=0.5)
    ours = cf.descend(flow, start, step_size=0.5, steps_eval=[0, 10, 20, 30, 40])
    np.testing.assert_allclose(run.y, ours.y, rtol=1e-13, atol=1e-15)
    np.testing.assert_array_equal(run.t, ours.t)
    np.testing.assert_allclose(run.loss, ours.loss, rtol=1e-13)
    np.testing.assert_allclose(run.collapse.nc2, ours.collapse.nc2, rtol=1e-12)
    assert run.step_size == 0.5 and run.success and run.at(10.0).t == [10.0]


@pytest.mark.parametrize("symmetric", [True, False])
def test_the_difference_from_the_flow_is_of_first_order(symmetric):
    reduced = cf.SpectralFlow(cf.hadamard(4))
    start = reduced.lift([0.5, 0.3, 0.2], width=5)
    flow, own = (reduced, [0.5, 0.3, 0.2]) if symmetric else (reduced.full(), start)
    run = cf.integrate(flow, own, 20.0, rtol=1e-10)
    coarse, fine = (cf.compare(run, trained(start, h, round(20 / h), round(1 / h))) for h in (0.1, 0.05))
    assert 0.0 < coarse.max_error < 0.03
    assert fine.max_error == pytest.approx(coarse.max_error / 2, rel=0.05)
    assert np.isnan(fine.off_diagonal).all() != symmetric and fine.loss_error.max() < 0.03
    assert f"max_error = {fine.max_error:.2e}" in repr(fine)
    fine.plot()
    plt.close("all")


def test_a_full_run_agrees_with_itself_and_a_recorded_one_is_kept(tmp_path):
    flow, start = cf.MatrixFlow(), cf.random_init(classes=4, width=5, scale=0.5)
    run = cf.integrate(flow, start, t_eval=[0.0, 1.0, 3.0])
    again = cf.compare(run, (run.t, run.W, run.H))
    assert again.max_error < 1e-14 and not again.loss_error.any()
    recorded = cf.record(flow, run.t, run.W, run.H)
    recorded.save(tmp_path / "run.npz")
    kept = cf.load(tmp_path / "run.npz")
    np.testing.assert_array_equal(kept.y, run.y)
    np.testing.assert_array_equal(kept.t, run.t)


def test_samples_bias_and_depth_are_those_of_the_flow():
    rng = np.random.default_rng(0)
    flow = cf.MatrixFlow(depth=3, labels=[0, 1, 2, 1, 0], bias=True)
    parts = [rng.standard_normal((2, *shape)) for shape in ((3, 4), (4, 6), (6, 5), (3,))]
    run = cf.record(flow, [0.0, 1.0], *parts)
    Z = parts[0] @ parts[1] @ parts[2] + parts[3][..., None]
    np.testing.assert_allclose(run.logits, Z, rtol=1e-13)
    loss = np.log(np.exp(Z).sum(axis=1)).mean(axis=-1) - Z[:, [0, 1, 2, 1, 0], range(5)].mean(axis=-1)
    np.testing.assert_allclose(run.loss, loss, rtol=1e-12)


W, H = (np.ones((3, *shape)) for shape in ((2, 4), (4, 2)))


@pytest.mark.parametrize(
    ("arguments", "error", "match"),
    [
        (("flow", [0, 1, 2], W, H), TypeError, "flow must be"),
        ((cf.MatrixFlow(), [0, 1], W, H), ValueError, "each state must have 2 rows"),
        ((cf.MatrixFlow(), [0, 2, 1], W, H), ValueError, "strictly increasing"),
        ((cf.MatrixFlow(), [-1, 1, 2], W, H), ValueError, "t must be from 0"),
        ((cf.MatrixFlow(), [0, 1, np.nan], W, H), ValueError, "t must be"),
        ((cf.MatrixFlow(), [], W[:0], H[:0]), ValueError, "t must be"),
        ((cf.MatrixFlow(), [0, 1, 2], W), ValueError, "row 0 is not a state of the flow: the start must have 2"),
        ((cf.MatrixFlow(), [0, 1, 2]), ValueError, "row 0 is not a state of the flow"),
        ((cf.MatrixFlow(), [0, 1, 2], W, H.swapaxes(1, 2)), ValueError, "row 0 is not a state of the flow: W must be"),
        ((cf.MatrixFlow(), [0, 1, 2], W, H, np.ones((3, 2))), ValueError, "no bias"),
        ((cf.MatrixFlow(), [0, 1, 2], W, np.where(np.arange(24).reshape(H.shape) > 20, np.nan, H)), ValueError,
         "state 1 must be from"),
        ((cf.MatrixFlow(), [0, 1, 2], [W[0], W[1], W[2, :1]], H), ValueError, "state 0 must be an array"),
        ((cf.MatrixFlow(), [0], W[None], H[None]), ValueError, "one run, not a batch"),
    ],
)  # fmt: skip
def test_bad_records(arguments, error, match):
    with pytest.raises(error, match=match):
        cf.record(*arguments)


def test_bad_comparisons():
    run = cf.integrate(cf.MatrixFlow(), (W[0], H[0]), 1.0)
    for other in ((W, H), "run", [1.0, W, H]):
        with pytest.raises(TypeError, match=r"or the \(t, W, H\) of a training run"):
            cf.compare(run, other)
    with pytest.raises(ValueError, match="no time in common"):
        cf.compare(run, ([2.0, 3.0, 4.0], W, H))
    with pytest.raises(ValueError, match="reduction 'mean' and 'sum'"):
        cf.compare(run, cf.record(cf.MatrixFlow(reduction="sum"), [0, 1, 2], W, H))


# -- PyTorch -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def torch():
    torch = pytest.importorskip("torch", reason="networks of PyTorch need PyTorch")
    torch.set_num_threads(1)
    torch.manual_seed(0)
    return torch


def states_of(torch, parameters, forward, labels, lr, steps, every, decay=0.0):
    """SGD of PyTorch on the cross-entropy of all samples at once: t and copies of the parameters."""
    optimizer, loss = torch.optim.SGD(parameters, lr=lr, weight_decay=decay), torch.nn.CrossEntropyLoss()
    found = []
    for step in range(steps + 1):
        if step % every == 0:
            found.append((step * lr, *(part.detach().clone() for part in parameters)))
        optimizer.zero_grad()
        loss(forward(), labels).backward()
        optimizer.step()
    t, *parts = zip(*found, strict=True)
    return list(t), [list(part) for part in parts]


def test_free_features_follow_the_flow(torch):
    labels = torch.tensor([0, 1, 2, 0, 1, 2, 0])
    H, linear = torch.nn.Parameter(0.5 * torch.randn(7, 5)), torch.nn.Linear(5, 3)
    flow, start = cf.from_torch(H, linear, labels=labels, weight_decay=0.01, bias_decay=0.01)
    assert flow.objective.bias and start[1].shape == (5, 7) and start[1].dtype == np.float64
    np.testing.assert_array_equal(start[1].T, H.detach().numpy())
    t, (features, weight, bias) = states_of(
        torch, [H, linear.weight, linear.bias], lambda: linear(H), labels, lr=0.05, steps=400, every=40, decay=0.01
    )
    run = cf.record(flow, t, weight, [part.T for part in features], bias)
    exact = cf.descend(flow, start, step_size=0.05, steps_eval=range(0, 401, 40))
    np.testing.assert_allclose(run.y, exact.y, atol=2e-5)  # which PyTorch took in float32
    assert cf.compare(cf.integrate(flow, start, 20.0), run).max_error < 0.01


def test_deep_linear_networks_and_relu_follow_the_flow(torch):
    nn = torch.nn
    inner = nn.Sequential(nn.Linear(6, 5, bias=False), nn.Identity(), nn.ReLU())
    model = nn.Sequential(nn.Linear(4, 6, bias=False), inner, nn.Linear(5, 4)).double()
    model[1][0].weight.requires_grad_(False)
    flow, start = cf.from_torch(model)
    assert flow.depth == 3 and flow.objective.frozen == (1,) and flow.objective.activation == ("relu", "linear")
    t, parts = states_of(torch, list(model.parameters()), lambda: model(torch.eye(4).double()), torch.arange(4),
                         lr=0.1, steps=50, every=10)  # fmt: skip
    run = cf.record(flow, t, parts[2], parts[1], parts[0], parts[3])
    exact = cf.descend(flow, start, step_size=0.1, steps_eval=range(0, 51, 10))
    np.testing.assert_allclose(run.y, exact.y, rtol=0, atol=1e-13)


def test_an_embedding_is_free_features(torch):
    nn = torch.nn
    model = nn.Sequential(nn.Embedding(6, 5), nn.Linear(5, 3, bias=False)).bfloat16()
    flow, (W, H) = cf.from_torch(model, labels=[0, 1, 2, 0, 1, 2], reduction="sum")
    np.testing.assert_array_equal(H.T, model[0].weight.detach().double().numpy())
    np.testing.assert_array_equal(W, model[1].weight.detach().double().numpy())
    assert not flow.objective.bias and flow.reduction == "sum"


def test_models_that_are_no_such_network(torch):
    nn = torch.nn
    tied = nn.Linear(4, 4, bias=False)
    features, linear = torch.ones(4, 4), nn.Linear(4, 4)

    class Own(nn.Module):
        def __init__(self):
            super().__init__()
            self.H, self.linear = nn.Parameter(torch.ones(4, 4)), nn.Linear(4, 4)

    for layers, options, error, match in (
        ((Own(),), {}, TypeError, "got Own: pass the layers"),
        ((features, nn.Tanh(), linear), {}, TypeError, "got Tanh"),
        ((features.numpy(), linear), {}, TypeError, "got ndarray"),
        ((nn.ReLU(), linear, linear), {}, TypeError, "got ReLU"),
        ((linear,), {}, ValueError, "two or more linear layers"),
        ((), {}, ValueError, "two or more linear layers"),
        ((torch.ones(4), linear), {}, ValueError, "free features"),
        ((linear, features), {}, ValueError, "must come first"),
        ((linear, tied), {}, ValueError, "only the last layer may have a bias"),
        ((tied, tied), {}, ValueError, "one weight is in two layers"),
        ((features, linear, nn.ReLU()), {}, ValueError, "the last layer must be linear"),
        ((nn.Embedding(4, 4, max_norm=1.0), linear), {}, ValueError, "neither max_norm nor padding_idx"),
        ((nn.utils.parametrizations.weight_norm(nn.Linear(4, 4, bias=False)), linear), {}, TypeError, "Parametrized"),
        ((torch.ones(8, 4), linear), {}, ValueError, "labels must be given: there are 8 samples"),
        ((torch.ones(4, 5), linear), {}, ValueError, r"W must be \(K, d\)"),
        ((features * torch.nan, linear), {}, ValueError, "H must be from"),
        ((features, linear), {"depth": 2, "bias": True}, TypeError, "bias and depth must not be given"),
    ):
        with pytest.raises(error, match=match):
            cf.from_torch(*layers, **options)


def test_without_torch(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(ImportError, match="pip install torch"):
        cf.from_torch()


@pytest.mark.parametrize("dtype", ["float64", "float32", "float16", "bfloat16", "float8_e4m3fn", "int64"])
def test_tensors_of_any_type_at_the_door(torch, dtype):
    values = torch.tensor([[0.5, -3.0], [2.0, 0.25]]).to(getattr(torch, dtype))
    for tensor in (values, torch.nn.Parameter(values) if values.is_floating_point() else values):
        found = checked_array("W", tensor)
        assert found.dtype == np.float64
        np.testing.assert_array_equal(found, values.double().numpy())
        np.testing.assert_array_equal(checked_array("W", [*tensor]), found)


def test_tensors_in_place_of_arrays(torch):
    start = [torch.nn.Parameter(torch.tensor(part)) for part in cf.random_init(classes=3, width=4, scale=0.3)]
    labels = torch.tensor([0, 1, 2])
    ours = cf.integrate(cf.MatrixFlow(labels=[0, 1, 2]), [part.detach().numpy() for part in start], 1.0)
    theirs = cf.integrate(cf.MatrixFlow(labels=labels), start, torch.tensor([1.0])[0].item())
    np.testing.assert_array_equal(ours.y, theirs.y)
    assert cf.collapse.measures(*start, labels) == cf.collapse.measures(*(part.detach().numpy() for part in start))
    s0 = torch.tensor([0.1, 0.2, 0.3], requires_grad=True)
    assert cf.integrate(cf.SpectralFlow(cf.hadamard(4)), s0, 1.0).success
    with pytest.raises(TypeError, match="W must be an array or a dense tensor"):
        checked_array("W", torch.eye(3).to_sparse())
    with pytest.raises(TypeError, match="W must be an array or a dense tensor"):
        checked_array("W", torch.ones(3, device="meta"))
    with pytest.raises(TypeError, match="W must be real"):
        checked_array("W", torch.ones(3, dtype=torch.complex64))


def test_lost_precision_is_said():
    with pytest.warns(UserWarning, match="W of dtype int64 is rounded to float64"):
        checked_array("W", [2**53 + 1])
    assert checked_array("W", [2**53 - 1]) == [2.0**53 - 1]
    if np.finfo(np.longdouble).nmant > 52:
        with pytest.warns(UserWarning, match="W of dtype .* is rounded to float64"):
            checked_array("W", np.longdouble(1) / 3)
        assert checked_array("W", np.longdouble(0.5)) == 0.5


def test_code_of_the_page_runs(torch):
    page = (Path(__file__).resolve().parents[1] / "docs" / "training-runs.md").read_text(encoding="utf-8")
    start, record, measures = re.findall(r"^```\{code-block\} python\n(.*?)^```", page, re.DOTALL | re.MULTILINE)
    names = {}
    exec(start, names)
    exec(record, names)
    assert 0.0 < names["comparison"].max_error < 0.05
    model = torch.nn.Module()
    model.features, model.classifier = torch.nn.Linear(4, 5), torch.nn.Linear(5, 10)
    names |= {"model": model, "loader": [(torch.randn(30, 4), torch.arange(30) % 10) for _ in range(3)]}
    exec(measures, names)
    assert names["found"].nc1 > 0.0 and 0.0 <= names["found"].nc4 <= 1.0
    plt.close("all")


def test_record_takes_flows_of_matrices_and_those_reduced_from_them_only():
    rng = np.random.default_rng(0)
    W, H = rng.standard_normal((3, 3)), rng.standard_normal((3, 3))
    run = cf.record(cf.ETFFlow(), [0.0, 1.0], [W, W], [H, H])
    np.testing.assert_array_equal(run.loss, cf.integrate(cf.ETFFlow(), (W, H), 1.0).loss[0])
    with pytest.raises(TypeError, match="record takes a flow of matrices, or one reduced from it, got ReplayFlow"):
        cf.record(cf.ReplayFlow([2, 2], [1, 1], [0.1, 0.1]), [0.0, 1.0], [W, W], [H, H])
