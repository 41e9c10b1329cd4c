"""Figures of many runs show the numbers that they are of."""

import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.colors import same_color
from matplotlib.figure import Figure

import ceflow as cf
from ceflow._ensemble import Ensemble

xarray = pytest.importorskip("xarray")

LOG_T = np.array([-np.inf, 0.0, 10.0, 20.0])
GRID = ("depth", "weight_decay")


@pytest.fixture(autouse=True)
def no_figures():
    yield
    plt.close("all")


def results(members=9, modes=3, failed=()):
    """What a sweep would return, with made-up numbers."""
    rng = np.random.default_rng(0)
    shape = (2, 3, members, len(LOG_T))
    success = np.ones(shape[:-1], bool)
    success[..., list(failed)] = False
    return xarray.Dataset(
        {
            "loss": ((*GRID, "member", "row"), rng.uniform(1e-3, 1.0, shape)),
            "singular_values": ((*GRID, "member", "row", "mode"), rng.uniform(0.1, 1.0, (*shape, modes))),
            "success": ((*GRID, "member"), success),
        },
        coords={"depth": [2, 3], "weight_decay": [1e-4, 1e-3, 1e-2], "log_t": ("row", LOG_T)},
    )


def test_quantiles_are_those_of_the_members_that_succeeded():
    data = results(failed=[4]).sel(weight_decay=1e-3)
    ax = cf.plot.quantiles(data, "loss", by="depth", ax=Figure().subplots())
    assert [line.get_label() for line in ax.lines] == ["depth = 2", "depth = 3"]
    kept = np.delete(data.loss.values[1], 4, axis=0)
    np.testing.assert_allclose(ax.lines[1].get_ydata(), np.median(kept, axis=0)[1:])
    np.testing.assert_allclose(ax.lines[1].get_xdata(), np.exp(LOG_T[1:]), rtol=1e-12)
    heights = ax.collections[0].get_paths()[0].vertices[:, 1]
    low, high = np.quantile(np.delete(data.loss.values[0], 4, axis=0), [0.05, 0.95], axis=0)
    assert heights.min() == pytest.approx(low[1:].min()) and heights.max() == pytest.approx(high[1:].max())
    assert len(ax.collections) == 4


def test_quantiles_of_an_ensemble():
    many = cf.integrate_many(cf.SpectralFlow(cf.hadamard(4)), np.full((3, 3), 0.1), log_t_eval=[0.0, 5.0])
    assert isinstance(many, Ensemble)
    ax = cf.plot.quantiles(many, "loss", levels=(0.5,))
    np.testing.assert_allclose(ax.lines[0].get_ydata(), many.loss[0])
    assert ax.get_yscale() == "log" and not ax.collections


def test_phase_diagram_shows_the_mean_of_the_last_row():
    data = results()
    ax = cf.plot.phase_diagram(data.loss, "weight_decay", "depth", ax=Figure().subplots())
    mesh = ax.collections[0]
    np.testing.assert_allclose(mesh.get_array(), data.loss.values[..., -1].mean(axis=2))
    assert (ax.get_xscale(), ax.get_yscale()) == ("log", "linear")
    np.testing.assert_allclose(mesh.get_coordinates()[0, :, 0], 10.0 ** np.array([-4.5, -3.5, -2.5, -1.5]))
    np.testing.assert_allclose(mesh.get_coordinates()[:, 0, 1], [1.5, 2.5, 3.5])
    turned = cf.plot.phase_diagram(data.loss, ax=Figure().subplots(), scale="log")
    assert (turned.get_xlabel(), turned.get_ylabel()) == ("depth", "weight decay")


def test_phase_diagram_of_names_and_of_what_is_missing():
    values = xarray.DataArray([[1.0, np.nan], [2.0, 3.0]], {"scheme": ["a", "b"], "depth": [2, 7]}, ("scheme", "depth"))
    ax = cf.plot.phase_diagram(values, ax=Figure().subplots())
    assert [text.get_text() for text in ax.get_xticklabels()] == ["a", "b"]
    assert ax.collections[0].get_array().mask.tolist() == [[False, False], [True, False]]


@pytest.mark.parametrize("modes", [2, 3])
def test_basins_colour_starts_by_what_lives(modes):
    data = results(members=4, modes=modes).isel(depth=0, weight_decay=0)
    end = np.ones((4, modes))
    end[1, 0] = end[2, 0] = 0.1  # of four runs two lose the first mode; the last failed
    data.singular_values[:, -1] = end
    data.success[3] = False
    ax = cf.plot.basins(data, Figure().subplots())
    whole, dead = ax.collections
    assert whole.get_label() == "collapse (33.3%)" and "(66.7%)" in dead.get_label() and "$s_1$" not in dead.get_label()
    assert len(whole.get_offsets()) == 1 and len(dead.get_offsets()) == 2
    assert not same_color(whole.get_facecolor()[0], dead.get_facecolor()[0])
    if modes == 2:
        np.testing.assert_array_equal(dead.get_offsets(), data.singular_values.values[1:3, 0])


@pytest.mark.parametrize(
    "draw, message",
    [
        (lambda data: cf.plot.quantiles(data), "must have the axes"),
        (lambda data: cf.plot.quantiles(data.isel(depth=0, weight_decay=0), "margin"), "one of the stored observables"),
        (lambda data: cf.plot.quantiles(data, levels=(0.1, 0.9)), "odd"),
        (lambda data: cf.plot.quantiles(data.loss), "Ensemble"),
        (lambda data: cf.plot.phase_diagram(data.singular_values), "two axes"),
        (lambda data: cf.plot.phase_diagram(data.loss, "depth", "depth"), "different"),
        (lambda data: cf.plot.phase_diagram(data.loss, "time"), "one of"),
        (lambda data: cf.plot.phase_diagram(data), "DataArray"),
        (lambda data: cf.plot.basins(data), "singular_values must have"),
        (lambda data: cf.plot.basins(data.isel(depth=0, weight_decay=0, row=slice(1, 3))), "t = 0"),
    ],
)
def test_what_cannot_be_drawn_is_refused(draw, message):
    with pytest.raises((ValueError, TypeError), match=message):
        draw(results())
    assert plt.get_fignums() == []
