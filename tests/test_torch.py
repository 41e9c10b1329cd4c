"""The torch backend: the same flow on another array library. Skipped, visibly, where PyTorch is not installed."""

import numpy as np
import pytest

import ceflow as cf
from ceflow.flow.matrix_field import MatrixField
from ceflow.losses import LOSSES, as_loss, full_residual

torch = pytest.importorskip("torch", reason="the torch backend needs PyTorch")
torch.set_num_threads(1)  # small matrices, and tests run side by side

T9 = np.geomspace(1e-2, 1e9, 23)


def both(start, *args, **options):
    own = {name: options.pop(name) for name in ("loss", "depth", "weight_decay", "dtype") if name in options}
    flows = cf.MatrixFlow(**own), cf.MatrixFlow(backend="torch", **own)
    return tuple(cf.integrate(flow, start, *args, **options) for flow in flows)


@pytest.mark.parametrize("width", [5, 8, 20])
def test_torch_against_numpy_from_random_starts(width):
    start = cf.random_init(classes=8, width=width, scale=1e-2, rng=width)
    ours, theirs = both(start, t_eval=T9, rtol=1e-10)
    top = min(width, 7)
    np.testing.assert_allclose(theirs.singular_values[:, :top], ours.singular_values[:, :top], rtol=1e-9)
    np.testing.assert_allclose(theirs.loss, ours.loss, rtol=1e-9)
    assert ours.success and theirs.success


@pytest.mark.parametrize("width", [7, 8, 30])
def test_torch_against_numpy_and_the_reduced_flow_from_hadamard_starts(width):
    flow = cf.SpectralFlow(cf.hadamard(8))
    s0 = 1e-3 * np.random.default_rng(0).uniform(0.1, 1.0, 7)
    ours, theirs = both(flow.lift(s0, width=width), t_eval=T9, rtol=1e-10)
    np.testing.assert_allclose(theirs.singular_values[:, :7], ours.singular_values[:, :7], rtol=1e-9)
    comparison = cf.compare(cf.integrate(flow, s0, 1e9, rtol=1e-10), theirs)
    assert comparison.max_error < 1e-7 and comparison.singular_value_error.max() < 1e-7
    assert comparison.off_diagonal.max() < 1e-9 and comparison.lyapunov_error.max() < 1e-7


@pytest.mark.parametrize("decay", [0.0, 0.02])
@pytest.mark.parametrize("depth", [2, 3])
@pytest.mark.parametrize("loss", LOSSES)
def test_every_relative(loss, depth, decay):
    start = cf.random_init(classes=4, width=5, depth=depth, scale=0.8, rng=1)
    ours, theirs = both(start, t_eval=[1.0, 10.0, 100.0], rtol=1e-9, loss=loss, depth=depth, weight_decay=decay)
    for mine, other in zip(ours.factors, theirs.factors, strict=True):
        np.testing.assert_allclose(other, mine, rtol=0, atol=1e-8)


@pytest.mark.parametrize("loss", LOSSES)
def test_residuals_are_the_same_code(loss):
    Z = 3.0 * np.random.default_rng(0).standard_normal((3, 5, 5)) + 4.0 * np.eye(5)
    mine, other = Z.copy(), torch.from_numpy(Z.copy())
    log_scale, a = full_residual(as_loss(loss), mine, np.arange(5))
    other_scale, other_a = full_residual(as_loss(loss), other, torch.arange(5), torch)
    np.testing.assert_allclose(other.numpy(), mine, rtol=1e-12, atol=1e-15)
    np.testing.assert_allclose(other_scale, log_scale, rtol=1e-14)
    np.testing.assert_allclose(other_a, a, rtol=1e-13)


@pytest.mark.parametrize("backend", ["numpy", "torch"])
def test_batches_are_the_single_runs(backend):
    start = cf.random_init(classes=6, width=7, scale=1e-2, rng=0, batch=3)
    flow = cf.MatrixFlow(backend=backend)
    t = np.geomspace(0.1, 1e4, 9)
    together = cf.integrate(flow, start, t_eval=t, rtol=1e-9)
    assert together.W.shape == (9, 3, 6, 7) and together.H.shape == (9, 3, 7, 6)
    assert together.loss.shape == together.lyapunov.shape == together.margin.shape == (9, 3)
    assert together.collapse.nc2.shape == (9, 3) and together.conserved.shape == (9, 3, 7, 7)
    for i in range(3):
        alone = cf.integrate(flow, tuple(factor[i] for factor in start), t_eval=t, rtol=1e-9)
        np.testing.assert_allclose(together.W[:, i], alone.W, rtol=0, atol=1e-7)
        np.testing.assert_allclose(together.singular_values[:, i, :5], alone.singular_values[:, :5], rtol=1e-8)
        np.testing.assert_allclose(together.loss[:, i], alone.loss, rtol=1e-8)


def test_float32_reaches_what_it_says():
    start = cf.random_init(classes=8, width=12, scale=1e-2, rng=1)
    exact = cf.integrate(cf.MatrixFlow(), start, t_eval=T9[4:], rtol=1e-10)
    for run in both(start, t_eval=T9[4:], rtol=1e-5, dtype="float32"):
        assert run.success
        error = np.abs(run.singular_values / exact.singular_values - 1.0)[:, :7].max()
        assert 1e-8 < error < 1e-4
    with pytest.raises(ValueError, match="rtol must be at least 1e-5 in float32"):
        both(start, 1.0, rtol=1e-6, dtype="float32")


def test_reduced_precision_products_are_refused():
    before = torch.get_float32_matmul_precision()
    start = cf.random_init(classes=4, width=4, rng=0)
    try:
        torch.set_float32_matmul_precision("high")
        with pytest.raises(ValueError, match="TF32"):
            cf.integrate(cf.MatrixFlow(backend="torch", dtype="float32"), start, 1.0, rtol=1e-4)
        assert cf.integrate(cf.MatrixFlow(backend="torch"), start, 1.0).success
    finally:
        torch.set_float32_matmul_precision(before)


def test_states_stay_on_the_device_until_they_are_sampled(monkeypatch):
    import sys

    modules = [sys.modules[name] for name in ("ceflow._run", "ceflow.solve.stepping", "ceflow.solve.path")]
    fetched, original = [], modules[1].host

    def host(array):
        fetched.append(tuple(array.shape))
        return original(array)

    for module in modules:
        monkeypatch.setattr(module, "host", host)
    start = cf.random_init(classes=4, width=4, rng=0)
    run = cf.integrate(cf.MatrixFlow(backend="torch"), start, 1e6, dense_output=False)
    assert run.nsteps > 20 and len(run) == 2 and len(fetched) <= 6
    fetched.clear()
    run = cf.integrate(cf.MatrixFlow(backend="torch"), start, t_eval=[1.0, 1e3], dense_output=False)
    assert run.nsteps > 20 and len(run) == 2 and len(fetched) <= 8


def test_a_criterion_without_dense_output():
    """It looks at the steps themselves, which are on the device."""
    start = cf.random_init(classes=4, width=4, scale=0.1, rng=0)
    ours, theirs = both(start, until=lambda rows: rows.loss - 0.1, dense_output=False)
    assert theirs.log_t_end == pytest.approx(ours.log_t_end, rel=1e-8) and theirs.message.startswith("stopped by")
    np.testing.assert_allclose(theirs.loss[-1], 0.1, rtol=1e-9)
    np.testing.assert_allclose(theirs.logits, ours.logits, rtol=0, atol=1e-7)


def test_parameters_and_short_floats_are_starts():
    W, H = cf.random_init(classes=4, width=5, scale=0.1, rng=0)
    layer = torch.nn.Linear(5, 4, bias=False, dtype=torch.float64)
    layer.weight = torch.nn.Parameter(torch.from_numpy(W))
    exact = cf.integrate(cf.MatrixFlow(), (W, H), 10.0)
    for start in ((layer.weight, torch.from_numpy(H)), [layer.weight, H]):
        np.testing.assert_array_equal(cf.integrate(cf.MatrixFlow(), start, 10.0).y, exact.y)
    for dtype in (torch.bfloat16, torch.float16, torch.float32):
        short = layer.weight.to(dtype), torch.from_numpy(H).to(dtype)
        run = cf.integrate(cf.MatrixFlow(backend="torch"), short, 10.0)
        np.testing.assert_array_equal(run.W[0], short[0].detach().double().numpy())
    flow = cf.SpectralFlow(cf.hadamard(4))
    s0 = torch.tensor([0.5, 0.25, 0.125], dtype=torch.bfloat16, requires_grad=True)
    np.testing.assert_array_equal(cf.integrate(flow, s0, 1.0).singular_values[0], [0.5, 0.25, 0.125])
    assert cf.integrate(flow, [s0, 2 * s0], 1.0).layers[0, 1, 0] == 1.0
    assert cf.collapse.measures(layer.weight, H, bias=torch.zeros(4, dtype=torch.bfloat16)).nc4 >= 0.0
    with pytest.raises(TypeError, match="s0 must be real"):
        cf.integrate(flow, torch.ones(3, dtype=torch.complex64), 1.0)


def test_saved_and_sampled_like_any_run(tmp_path):
    start = cf.random_init(classes=4, width=5, scale=0.1, rng=0)
    run = cf.integrate(cf.MatrixFlow(backend="torch"), start, 1e6)
    run.save(tmp_path / "run.npz")
    again = cf.load(tmp_path / "run.npz")
    assert repr(again.flow) == repr(run.flow)
    np.testing.assert_array_equal(again.y, run.y)
    np.testing.assert_array_equal(again.at(12.3).y, run.at(12.3).y)


def test_missing_devices_and_memory_are_told(monkeypatch):
    if not torch.cuda.is_available():
        with pytest.raises(ValueError, match="finds no CUDA GPU"):
            cf.MatrixFlow(backend="torch", device="cuda")
    for device in ("gpu", "meta", 3):
        with pytest.raises(ValueError, match="device"):
            cf.MatrixFlow(backend="torch", device=device)

    def rates(self, y, dy):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(MatrixField, "rates", rates)
    with pytest.raises(MemoryError, match=r"out of memory: a state of 32 numbers .* dense_output=False"):
        cf.integrate(cf.MatrixFlow(backend="torch"), cf.random_init(classes=4, width=4, rng=0), 1.0)


def test_torch_is_imported_only_when_asked_for():
    import subprocess
    import sys

    code = "import sys, ceflow as cf; cf.integrate(cf.MatrixFlow(), cf.random_init(classes=3, width=2, rng=0), 1.0); "
    code += "assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
