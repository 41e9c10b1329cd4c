"""Figures: what they show, and that they leave everything else alone."""

import math

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure

import ceflow as cf

LN10 = math.log(10.0)
DRAW = ("singular_values", "normalized_singular_values", "loss", "lyapunov")


def reduced(scheme, **options):
    flow = cf.SpectralFlow(scheme, reduction=options.pop("reduction", "mean"))
    s0 = 1e-3 * np.random.default_rng(0).uniform(0.1, 1.0, scheme.modes)
    return cf.integrate(flow, s0, **options)


@pytest.fixture(scope="module")
def run():
    return reduced(cf.hadamard(8), t_end=1e12)


@pytest.fixture(scope="module")
def full():
    return cf.integrate(cf.MatrixFlow(), cf.random_init(classes=5, width=7), t_end=1e4)


@pytest.fixture(autouse=True)
def figures():
    """No function may leave a figure behind that it was not asked for, or change a setting."""
    before = dict(matplotlib.rcParams)
    yield
    plt.close("all")
    assert dict(matplotlib.rcParams) == before


def curves(ax):
    return {line.get_label(): line.get_xydata() for line in ax.lines}


@pytest.mark.parametrize("name", DRAW)
@pytest.mark.parametrize("kind", ["run", "full"])
def test_draws_on_given_axes_with_labels(name, kind, request):
    ax = Figure().subplots()
    assert getattr(cf.plot, name)(request.getfixturevalue(kind), ax) is ax
    assert ax.get_xlabel() == "time $t$ (mean reduction)"
    assert ax.get_ylabel() and ax.get_legend() is not None and ax.lines
    assert plt.get_fignums() == []


@pytest.mark.parametrize("name", DRAW)
def test_makes_one_figure_without_axes(name, run):
    assert isinstance(getattr(cf.plot, name)(run), Axes)
    assert len(plt.get_fignums()) == 1


def test_dashboard(run, full):
    figure = Figure(layout="constrained")
    assert cf.plot.dashboard(run, figure) is figure and plt.get_fignums() == []
    assert len(figure.axes) == 4 and "hadamard(8)" in figure.get_suptitle() and "10^{12}" in figure.get_suptitle()
    figure.canvas.draw()
    assert isinstance(cf.plot.dashboard(full), Figure) and len(plt.get_fignums()) == 1


def test_comparison(run):
    full = cf.integrate(cf.MatrixFlow(), run.flow.lift(run.start), t_end=1e4)
    found = cf.compare(run, full)
    ax = Figure().subplots()
    assert found.plot(ax) is ax
    assert "rtol = 1e-9" in curves(ax)
    drawn = ax.lines[0].get_ydata()
    np.testing.assert_allclose(10.0**drawn, found.error[1:], rtol=1e-12)
    with pytest.raises(ValueError, match="after t = 0"):
        cf.plot.comparison(cf.compare(run, full[:1]))


def test_curves_are_smooth_and_pass_through_the_run(run):
    x, y = curves(cf.plot.loss(run))["loss"].T
    assert len(x) > 10 * len(run)
    rows = run.log_t[1:] / LN10
    np.testing.assert_allclose(np.interp(rows, x, y), np.log10(run.loss[1:]), atol=1e-9)


def test_loss_bound_lies_above_the_loss(run):
    drawn = curves(cf.plot.loss(run))
    bound, loss = drawn["upper bound of the loss"][:, 1], drawn["loss"][:, 1]
    shown = np.isfinite(bound)
    assert shown.any() and np.all(bound[shown] >= loss[shown])


def test_dissipation_is_the_slope_of_v(run):
    (x, v), (_, rate) = (curves(cf.plot.lyapunov(run))[name].T for name in ("$V$", cf.plot.DISSIPATION))
    slope = -np.gradient(10.0**v, x * LN10)
    middle = slice(len(x) // 10, -len(x) // 10)
    np.testing.assert_allclose(10.0 ** rate[middle], slope[middle], rtol=0.02)


def test_beyond_float64():
    run = reduced(cf.hadamard(8), log_t_end=2000 * LN10)
    drawn = curves(cf.plot.loss(run))
    for name in ("loss", "accuracy gap $1 - p_0$"):
        x, y = drawn[name].T
        assert np.all(np.isfinite(y)) and np.all(np.diff(y) <= 1e-12)
        assert x[-1] == pytest.approx(2000) and -2010 < y[-1] < -1990
    figure = cf.plot.dashboard(run)
    figure.canvas.draw()
    assert "$10^{2000}$" in [label.get_text() for label in figure.axes[0].get_xticklabels()]


def test_unbalanced_runs_have_neither_bound_nor_dissipation():
    flow = cf.SpectralFlow(cf.hadamard(4))
    run = cf.integrate(flow, np.array([[0.1, 0.2, 0.3], [0.3, 0.1, 0.2]]), t_end=1e3)
    assert set(curves(cf.plot.loss(run))) == {"loss", "accuracy gap $1 - p_0$"}
    assert set(curves(cf.plot.lyapunov(run))) == {"$V$"}


def test_reduction_shifts_the_loss_only():
    run = reduced(cf.complete(10), log_t_end=900 * LN10, reduction="sum")
    ax = cf.plot.loss(run)
    difference = curves(ax)["loss"][-1, 1] - curves(ax)["accuracy gap $1 - p_0$"][-1, 1]
    assert difference == pytest.approx(1.0) and "sum" in ax.get_xlabel()


def test_few_modes_are_named_and_many_become_bands(run):
    few = curves(cf.plot.singular_values(reduced(cf.hamming(3, 4), t_end=1e3)))
    assert {"$s_{1}$  (9 times)", "$s_{2}$  (27 times)", "$s_{3}$  (27 times)"} <= set(few)
    bands = cf.plot.singular_values(run, max_modes=6)
    assert len(bands.collections) == 2 and len(bands.lines) == 2
    assert len(cf.plot.singular_values(run, max_modes=7, scale="log").lines) == 8


def test_runs_without_dense_output_show_their_rows():
    run = reduced(cf.hadamard(4), t_eval=[1.0, 10.0, 100.0], dense_output=False)
    np.testing.assert_allclose(curves(cf.plot.loss(run))["loss"][:, 0], [0.0, 1.0, 2.0], atol=1e-15)


def test_bad_input(run):
    with pytest.raises(ValueError, match='"linear" or "log"'):
        cf.plot.singular_values(run, scale="square")
    with pytest.raises(ValueError, match="after t = 0"):
        cf.plot.loss(run[:1])
    with pytest.raises(TypeError, match="Trajectory"):
        cf.plot.dashboard(np.zeros(3))
    assert plt.get_fignums() == []
