"""Saving, loading and the quantities of a trajectory."""

import json

import numpy as np
import pytest

import ceflow as cf

S0 = np.array([1e-3, 2e-3, 5e-4])
QUANTITIES = ("log_t", "t", "y", "singular_values", "loss", "margin", "accuracy_gap", "lyapunov", "conserved")


def runs():
    """One run of every kind."""
    hadamard, labels = cf.hadamard(4), cf.cyclic(5).relations()
    flow = cf.SpectralFlow(hadamard)
    yield cf.integrate(flow, S0, log_t_end=1000.0)  # steps and the closed form
    yield cf.integrate(flow, np.array([0.1, -0.2, 0.0]), log_t_end=600.0)  # a mode fades, another is dead
    yield cf.integrate(flow, np.zeros(3), 1.0)
    yield cf.integrate(
        cf.SpectralFlow(cf.from_relations(labels), reduction="sum"), np.array([[0.1, 0.2], [0.3, -0.1]]), 1e5
    )
    yield cf.integrate(flow, S0, t_eval=[1.0, 2.0], dense_output=False)
    yield cf.integrate(cf.MatrixFlow(), flow.lift(S0, width=3), 1e6)
    yield cf.integrate(flow, S0, 1e9, max_steps=4)


@pytest.mark.parametrize("which", range(7))
def test_save_and_load_bit_for_bit(which, tmp_path):
    run = list(runs())[which]
    path = tmp_path / "run.npz"
    run.save(path)
    back = cf.load(path)
    assert type(back) is type(run) and repr(back) == repr(run) and back.success == run.success
    for name in QUANTITIES:
        np.testing.assert_array_equal(getattr(back, name), getattr(run, name), err_msg=name)
    if run._path is not None:
        log_t = np.linspace(-5.0, run.log_t_end, 37)
        np.testing.assert_array_equal(back.at(log_t=log_t).y, run.at(log_t=log_t).y)
    assert [entry.name for entry in tmp_path.iterdir()] == ["run.npz"]


def test_moments_of_a_run_are_saved_too_but_not_gone_on_with(tmp_path):
    run = cf.integrate(cf.SpectralFlow(cf.hadamard(4)), S0, 1e6)
    moments = run.at([1.0, 1e3])
    moments.save(tmp_path / "moments.npz")
    back = cf.load(tmp_path / "moments.npz")
    np.testing.assert_array_equal(back.y, moments.y)
    np.testing.assert_array_equal(back.at(1e5).y, run.at(1e5).y)
    with pytest.raises(ValueError, match="only a whole run"):
        cf.resume(back, 1e7)


@pytest.mark.parametrize(
    ("depth", "start"),
    [(6, 1e-4 * np.outer(np.ones(6), [1.0, 0.9, 0.8])), (3, 1e-60 * np.outer(np.ones(3), [1.0, 0.9, 0.8]))],
    ids=["depth 6", "depth 3"],
)
def test_steps_of_equal_log_t(depth, start, tmp_path):
    """Deep layers leave their plateau within a time that log t does not resolve."""
    run = cf.integrate(cf.SpectralFlow(cf.hadamard(4), depth=depth), start, log_t_end=300.0)
    steps = run._path.segments[0]
    assert run.success and np.any(np.diff(steps.log_t[1:]) == 0.0) and np.all(np.diff(run.log_t[1:]) > 0.0)
    np.testing.assert_array_equal(run.at(log_t=run.log_t).y, run.y)
    run.save(tmp_path / "run.npz")
    back = cf.load(tmp_path / "run.npz")
    np.testing.assert_array_equal(back.y, run.y)
    log_t = np.sort(np.append(np.linspace(30.0, 300.0, 50), run.log_t[::7]))
    # an implicit step that is taken again is solved to the last digit
    np.testing.assert_allclose(back.at(log_t=log_t).y, run.at(log_t=log_t).y, rtol=1e-14)
    assert np.all(np.diff(run.at(log_t=log_t).singular_values[:, 0]) >= 0.0)
    ends = [cf.resume(some, log_t_end=310.0).y[-1] for some in (run, back)]
    np.testing.assert_array_equal(*ends)


def test_moments_in_any_order_are_saved(tmp_path):
    run = cf.integrate(cf.SpectralFlow(cf.hadamard(4)), S0, 1e6)
    for moments in (run.at([3.0, 1.0, 1.0, 0.0]), run[::-1], run[5:5]):
        moments.save(tmp_path / "moments.npz")
        np.testing.assert_array_equal(cf.load(tmp_path / "moments.npz").y, moments.y)


def test_a_loop_over_the_rows_ends():
    run = cf.integrate(cf.SpectralFlow(cf.hadamard(4)), S0, 1e3)
    rows = list(run)
    assert len(rows) == len(run) > 3 and all(len(row) == 1 for row in rows)
    np.testing.assert_array_equal([row.log_t[0] for row in rows], run.log_t)
    assert run[-len(run)].t[0] == 0.0 and run[np.int64(-1)].log_t[0] == run.log_t[-1]
    for index in (len(run), -len(run) - 1):
        with pytest.raises(IndexError):
            run[index]


def test_load_refuses_what_is_not_a_run(tmp_path):
    with pytest.raises(FileNotFoundError, match="no such file"):
        cf.load(tmp_path / "none.npz")
    path = tmp_path / "run.npz"
    run = cf.integrate(cf.SpectralFlow(cf.hadamard(4)), S0, 10.0)
    run.save(path)
    whole = path.read_bytes()
    for cut in (0, 10, 100, len(whole) // 2, len(whole) - 3):
        path.write_bytes(whole[:cut])
        with pytest.raises(ValueError, match="not a whole file"):
            cf.load(path)
    path.write_text("hello")
    with pytest.raises(ValueError, match="not a whole file"):
        cf.load(path)
    np.savez(path, a=np.ones(3))
    with pytest.raises(ValueError, match="not a whole file"):
        cf.load(path)
    np.savez(path, meta=np.array(json.dumps({"format": "ceflow trajectory", "version": 99})))
    with pytest.raises(ValueError, match="version is 99"):
        cf.load(path)
    np.savez(path, meta=np.array([{"format": 1}], dtype=object))
    with pytest.raises(ValueError, match="not a whole file"):
        cf.load(path)


def test_a_failed_save_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "run.npz"
    run = cf.integrate(cf.SpectralFlow(cf.hadamard(4)), S0, 10.0)
    run.save(path)
    before = path.read_bytes()

    def broken(*args, **kwargs):
        raise OSError("disk full")

    monkeypatch.setattr(np, "savez", broken)
    with pytest.raises(OSError, match="disk full"):
        run.save(path)
    assert path.read_bytes() == before and len(list(tmp_path.iterdir())) == 1


def test_quantities_are_consistent():
    scheme = cf.johnson(5, 2)
    run = cf.integrate(cf.SpectralFlow(scheme), np.array([1e-3, 2e-3]), 1e12)
    Z = np.einsum(
        "ij,nj,kj->nik",
        scheme.basis(),
        np.pad(run.singular_values, ((0, 0), (1, 0)))[:, scheme.columns],
        scheme.basis(),
    )
    margins = np.diagonal(Z, axis1=1, axis2=2)[:, None, :] - Z
    gap = 1.0 - 1.0 / np.exp(-margins).sum(axis=1)[:, 0]
    early = run.t < 1e3
    np.testing.assert_allclose(run.accuracy_gap[early], gap[early], rtol=1e-9)
    np.testing.assert_allclose(run.loss[early], -np.log1p(-gap[early]), rtol=1e-9)
    smallest = np.partition(margins.reshape(len(run), -1), 10, axis=1)[:, 10]  # after the 10 of the diagonal
    np.testing.assert_allclose(run.margin, smallest, rtol=0, atol=1e-9)
    assert np.all(np.diff(run.loss) < 0) and np.all(np.diff(run.lyapunov) < 0) and np.all(run.dissipation < 0)
    assert run.layers.shape == (len(run), 2, 2) and np.all(run.conserved == 0.0)
    assert len(run[3]) == 1 and len(run[-1]) == 1 and len(run[2:5]) == 3 and run[-1].t[0] == run.t[-1]


def test_dissipation_only_where_it_is_known():
    for options in ({"loss": "focal"}, {"depth": 3}, {"weight_decay": 0.1}):
        run = cf.integrate(cf.SpectralFlow(cf.hadamard(4), **options), S0, 1.0)
        with pytest.raises(ValueError, match="two layers and plain cross-entropy only"):
            _ = run.dissipation


def test_dissipation_integrates_to_the_fall_of_v():
    run = cf.integrate(cf.SpectralFlow(cf.hadamard(8)), 1e-2 * np.arange(1, 8), 1e4, rtol=1e-12)
    x, w = np.polynomial.legendre.leggauss(400)
    low, high = np.log(1e-3), np.log(1e4)
    dense = run.at(log_t=0.5 * (high - low) * x + 0.5 * (high + low))
    fall = 0.5 * (high - low) * w @ (dense.dissipation * dense.t)
    ends = run.at([1e-3, 1e4]).lyapunov
    assert fall == pytest.approx(ends[1] - ends[0], rel=1e-9)


def test_times_come_back_as_they_were_given(tmp_path):
    flow, t = cf.SpectralFlow(cf.hadamard(4)), np.linspace(0, 10, 11)
    run = cf.integrate(flow, S0, t_eval=t)
    close = np.nextafter(3.0, [3.0, 4.0])  # one log t
    assert np.log(close)[0] == np.log(close)[1]
    for found, given in (
        (run, t), (cf.integrate(flow, S0, 1e3, t_eval=t, dense_output=False), t), (run[::-2], t[::-2]), (run[3], [3.0]),
        (run.at(t), t), (run.at(t)[run.t > 4.0], t[5:]), (run.at(t[::-1]), t[::-1]), (run.at(7.0), [7.0]),
        (cf.integrate(cf.MatrixFlow(), flow.lift(S0), t_eval=t), t), (cf.resume(run, t_eval=t + 11), t + 11),
        (cf.integrate(flow, S0, t_eval=close), close), (cf.integrate(flow, S0, 1000.0)[-1], [1000.0]),
    ):  # fmt: skip
        np.testing.assert_array_equal(found.t, given)
        found.save(tmp_path / "run.npz")
        np.testing.assert_array_equal(cf.load(tmp_path / "run.npz").t, given)
    longer = cf.resume(cf.integrate(flow, S0, 3.0), 1e3)
    assert {0.0, 3.0, 1e3} <= set(longer.t) and np.all(np.diff(longer.t) > 0.0)
    logs = cf.integrate(flow, S0, log_t_eval=[0.0, 800.0])
    np.testing.assert_array_equal(logs.t, [1.0, np.inf])
    np.testing.assert_array_equal(logs.log_t, [0.0, 800.0])


def test_a_dataset_is_selected_by_time():
    pytest.importorskip("xarray")
    flow = cf.SpectralFlow(cf.hadamard(4))
    data = cf.integrate(flow, S0, t_eval=[0.0, 3.0, 1000.0, 1e6]).to_xarray()
    for t in (0.0, 3.0, 1000.0):
        assert float(data.sel(t=t).loss) == float(data.loss[np.flatnonzero(data.t.values == t)[0]])
    assert float(data.sel(t=900.0, method="nearest").t) == 1000.0
    assert len(data.sel(log_t=slice(0.0, 7.0)).t) == 2


def test_to_xarray():
    pytest.importorskip("xarray")
    run = cf.integrate(cf.SpectralFlow(cf.hadamard(4)), S0, 1e6)
    data = run.to_xarray()
    assert data["singular_values"].shape == (len(run), 3) and list(data["mode"].values) == [1, 2, 3]
    np.testing.assert_array_equal(data["loss"].values, run.loss)
    full = cf.integrate(cf.MatrixFlow(), cf.random_init(classes=3, width=2, rng=0), 1.0).to_xarray()
    assert full["W"].shape[1:] == (3, 2) and full["H"].shape[1:] == (2, 3)
