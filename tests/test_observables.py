"""The table of what follows from a run: it says what is there, and everything that reads it finds the same."""

import inspect
import math

import numpy as np
import pytest

import ceflow as cf
from ceflow.observables import COMMON, FULL, REDUCED, Table
from ceflow.trajectory import MatrixTrajectory, SpectralTrajectory, trajectory_type

S0 = np.array([1e-3, 2e-3, 5e-4])


def full(batch=None, **options):
    start = cf.random_init(classes=3, width=2, scale=0.5, batch=batch, depth=options.get("depth", 2), rng=0)
    return cf.integrate(cf.MatrixFlow(**options), start, 10.0)


RUNS = {
    "reduced": cf.integrate(cf.SpectralFlow(cf.hadamard(4)), S0, 1e3),
    "reduced, depth 3": cf.integrate(cf.SpectralFlow(cf.hadamard(4), depth=3), S0, 1e3),
    "reduced, depth 2.5": cf.integrate(cf.SpectralFlow(cf.hadamard(4), depth=2.5), S0, 1e3),
    "reduced, unequal, decay": cf.integrate(
        cf.SpectralFlow(cf.cyclic(5), weight_decay=0.1, loss="focal"), np.array([[0.3, 0.2], [0.1, 0.4]]), 10.0
    ),
    "full": full(),
    "full, depth 4, decay": full(depth=4, weight_decay=1e-2, reduction="sum"),
    "full, batch": full(batch=2),
    "full, batch, depth 3": full(batch=2, depth=3),
}


@pytest.mark.parametrize("name", RUNS)
def test_every_observable_is_what_the_table_says(name):
    run = RUNS[name]
    lengths = {"row": len(run), "batch": 2, "class": run.classes, "logit": run.classes}
    for key, observable in run.observables.items():
        assert observable.name == key and observable.units in ("1", "time", "1/time")
        assert observable.doc and "\n" not in observable.doc
        assert inspect.getdoc(getattr(type(run), key)).split() == observable.function.__doc__.split(), "help shows it"
        if observable.why_not(run.flow):
            with pytest.raises(ValueError) as error:
                getattr(run, key)
            assert str(error.value) == observable.why_not(run.flow)
            continue
        for dims, array, attributes in observable.variables(run).values():
            assert dims[0] == "row" and array.ndim == len(dims) and len(set(dims)) == len(dims)
            assert attributes == {"units": observable.units}
            for dim, length in zip(dims, array.shape, strict=True):
                assert lengths.setdefault(dim, length) == length, (key, dim)
            if "batch" in name and key != "t":
                assert dims[1] == "batch"
        again = getattr(run, key) is getattr(run, key)
        assert again or not observable.cached


def test_what_does_not_apply_says_why():
    deep, between = RUNS["reduced, depth 3"], RUNS["reduced, depth 2.5"]
    for key, run, reason in (
        ("dissipation", deep, "two layers and plain cross-entropy only"),
        ("layers", between, "depth must be an integer for separate layers, got 2.5"),
        ("conserved", between, "depth must be an integer for separate layers, got 2.5"),
    ):
        assert reason in run.observables[key].why_not(run.flow)
        with pytest.raises(ValueError, match=reason):
            getattr(run, key)
    assert deep.observables["layers"].why_not(deep.flow) == ""


@pytest.mark.parametrize("name", RUNS)
def test_a_dataset_is_read_from_the_table(name):
    pytest.importorskip("xarray")
    run = RUNS[name]
    data = run.to_xarray()
    expected = {"loss", "margin", "accuracy_gap", "lyapunov", "singular_values"}
    expected |= {"accuracy"} if isinstance(run, MatrixTrajectory) else set()
    if isinstance(run, SpectralTrajectory):
        expected |= {"layers"} if run.flow.depth != 2.5 else set()
        assert list(data["mode"].values) == list(range(1, run.flow.scheme.modes + 1))
    else:
        expected |= {"W", "H", *(f"factor{i}" for i in range(2, run.flow.depth))}
        factors = [data["W"], *(data[f"factor{i}"] for i in range(2, run.flow.depth)), data["H"]]
        for found, factor in zip(factors, run.factors, strict=True):
            np.testing.assert_array_equal(found.values, factor)
        product = factors[0].rename({"class": "logit"})
        for factor in factors[1:]:
            product = product.dot(factor, dim=next(dim for dim in factor.dims[1:] if dim in product.dims[-1:]))
        np.testing.assert_allclose(product.values, run.logits, rtol=1e-12, atol=1e-14)
    assert set(data.data_vars) == expected and {"t", "log_t"} <= set(data.coords)
    for key in expected & set(run.observables):
        np.testing.assert_array_equal(data[key].values, getattr(run, key))
        assert data[key].attrs["units"] == run.observables[key].units
    assert data["t"].attrs == {"units": "time"} and data["log_t"].attrs == {"units": "log(time)"}
    statistics = ("log_t_end", "message", "nfev", "nsteps", "nrejected", "rtol", "atol", "compiled")
    described = {"flow": repr(run.flow), "success": 1, "outcome": run.outcome.name}
    assert data.attrs == {name: getattr(run, name) for name in statistics} | described


def test_one_entry_makes_an_observable():
    pytest.importorskip("xarray")
    table, calls = Table(), []

    @table.add("row", units="1/time", cached=True, exported=True)
    def loss_rate(run):
        """(n,) slope of the loss."""
        calls.append(len(run))
        return np.gradient(run.loss, run.t)

    @table.attach
    class Mine(SpectralTrajectory):
        pass

    run = RUNS["reduced"]
    mine = Mine(run.flow, run.start, run.log_t, run.y, t=run.t)
    assert mine.to_xarray()["loss_rate"].attrs == {"units": "1/time"}
    np.testing.assert_array_equal(mine.loss_rate, loss_rate(run))
    assert calls == [len(run)] * 2, "once for both readings of the property"
    assert Mine.loss_rate.__doc__ == "(n,) slope of the loss." and "loss_rate" in dir(mine)
    assert set(Mine.observables) == {*SpectralTrajectory.observables, "loss_rate"}
    assert not hasattr(run, "loss_rate") and trajectory_type(run.flow) is SpectralTrajectory


def test_which_trajectory_belongs_to_a_flow():
    assert trajectory_type(cf.SpectralFlow(cf.hadamard(2))) is SpectralTrajectory
    assert trajectory_type(cf.MatrixFlow()) is MatrixTrajectory
    assert cf.Trajectory.observables == COMMON
    assert SpectralTrajectory.observables == COMMON | REDUCED and MatrixTrajectory.observables == COMMON | FULL


def test_observables_cannot_be_overwritten():
    for name in ("t", "loss", "objective", "accuracy_gap", "layers", "conserved", "margin"):
        with pytest.raises(AttributeError):
            setattr(RUNS["reduced"], name, 0.0)


def test_squared_norm_is_that_of_the_layers():
    reduced, matrices = RUNS["reduced, unequal, decay"], RUNS["full, depth 4, decay"]
    W, H = reduced.flow.lift(reduced.start)
    assert reduced.squared_norm[0] == pytest.approx((W**2).sum() + (H**2).sum(), rel=1e-13)
    sizes = [(factor**2).sum(axis=(1, 2)) for factor in matrices.factors]
    np.testing.assert_allclose(matrices.squared_norm, sum(sizes), rtol=1e-14)
    for run in (reduced, matrices):
        decayed = run.loss + run.flow.weight_decay / 2 * run.squared_norm
        np.testing.assert_allclose(run.objective, decayed, rtol=1e-14)
    between = RUNS["reduced, depth 2.5"]
    multiplicities = between.flow.scheme.multiplicities[1:]
    expected = 2.5 * np.exp(np.log(between.singular_values) * 2 / 2.5) @ multiplicities
    np.testing.assert_allclose(between.squared_norm, expected, rtol=1e-13)
    assert math.isfinite(between.squared_norm[-1])
