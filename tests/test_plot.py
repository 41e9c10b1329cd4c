"""Figures: what they show, and that they leave everything else alone."""

import math

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

import ceflow as cf
from ceflow.plot._style import luminance, power

LN10 = math.log(10.0)
DRAW = ("singular_values", "normalized_singular_values", "margins", "loss", "lyapunov", "conserved")
LEAST = "least loss at this nuclear norm"


def reduced(scheme, **options):
    flow = cf.SpectralFlow(scheme, reduction=options.pop("reduction", "mean"))
    s0 = 1e-3 * np.random.default_rng(0).uniform(0.1, 1.0, scheme.modes)
    return cf.integrate(flow, s0, **options)


@pytest.fixture(scope="module")
def run():
    return reduced(cf.hadamard(8), t_end=1e12)


@pytest.fixture(scope="module")
def full():
    return cf.integrate(cf.MatrixFlow(), cf.random_init(classes=5, width=7, rng=0), t_end=1e4)


@pytest.fixture(autouse=True)
def figures():
    """No function may leave a figure behind that it was not asked for, or change a setting."""
    plt.close("all")  # those of other tests
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
    assert ax.get_xlabel() == "time $t$"
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
    np.testing.assert_allclose(drawn, found.error[1:], rtol=1e-12)
    with pytest.raises(ValueError, match="after t = 0"):
        cf.plot.comparison(cf.compare(run, full[:1]))


def test_comparison_where_v_is_not_defined():
    flow, start = cf.SpectralFlow(cf.hadamard(4)), np.array([0.1, 0.0, 0.2])
    found = cf.compare(cf.integrate(flow, start, 10.0), cf.integrate(cf.MatrixFlow(), flow.lift(start), 10.0))
    assert np.isnan(found.lyapunov_error).all()
    drawn = curves(found.plot())
    assert "difference of $V$" not in drawn and cf.plot.ERROR in drawn


def test_curves_are_smooth_and_pass_through_the_run(run):
    x, y = curves(cf.plot.loss(run))["loss"].T
    assert len(x) > 10 * len(run)
    np.testing.assert_allclose(np.interp(run.t[1:], x, y), run.loss[1:], rtol=1e-9)


def test_loss_bound_lies_above_the_loss(run):
    drawn = curves(cf.plot.loss(run))
    bound, loss = drawn["upper bound of the loss"][:, 1], drawn["loss"][:, 1]
    shown = np.isfinite(bound)
    assert shown.any() and np.all(bound[shown] >= loss[shown])


def test_dissipation_is_the_slope_of_v(run):
    (x, v), (_, rate) = (curves(cf.plot.lyapunov(run))[name].T for name in ("$V$", cf.plot.DISSIPATION))
    slope = -np.gradient(v, np.log(x))
    middle = slice(len(x) // 10, -len(x) // 10)
    np.testing.assert_allclose(rate[middle], slope[middle], rtol=0.02)


def test_beyond_float64():
    run = reduced(cf.hadamard(8), log_t_end=2000 * LN10)
    drawn = curves(cf.plot.loss(run))
    for name in ("loss", "error probability $1 - p_0$"):
        x, y = drawn[name].T
        assert np.all(np.isfinite(y)) and np.all(np.diff(y) <= 1e-12)
        assert x[-1] == pytest.approx(2000) and -2010 < y[-1] < -1990
    figure = cf.plot.dashboard(run)
    figure.canvas.draw()
    assert "$10^{2000}$" in [label.get_text() for label in figure.axes[0].get_xticklabels()]


def test_times_with_a_tower_of_exponents():
    figure = cf.plot.dashboard(reduced(cf.hadamard(4), log_t_end=4e6 * LN10))
    figure.canvas.draw()
    assert "$10^{2 \\cdot 10^{6}}$" in [label.get_text() for label in figure.axes[0].get_xticklabels()]
    assert power(2.5e7) == "10^{2.5 \\cdot 10^{7}}"


def test_least_loss_lies_below_the_loss_and_meets_it_at_collapse():
    drawn = curves(cf.plot.loss(reduced(cf.hadamard(4), t_end=1e200, reduction="sum")))
    least, loss = drawn[LEAST][:, 1], drawn["loss"][:, 1]
    assert np.all(least <= loss * (1.0 + 1e-9)) and least[-1] == pytest.approx(loss[-1], rel=1e-6)


def test_unbalanced_runs_have_neither_upper_bound_nor_dissipation():
    flow = cf.SpectralFlow(cf.hadamard(4))
    run = cf.integrate(flow, np.array([[0.1, 0.2, 0.3], [0.3, 0.1, 0.2]]), t_end=1e3)
    assert set(curves(cf.plot.loss(run))) == {"loss", "error probability $1 - p_0$", LEAST}
    assert set(curves(cf.plot.lyapunov(run))) == {"$V$"}


def test_reduction_shifts_the_loss_only():
    run = reduced(cf.complete(10), log_t_end=900 * LN10, reduction="sum")
    ax = cf.plot.loss(run)
    difference = curves(ax)["loss"][-1, 1] - curves(ax)["error probability $1 - p_0$"][-1, 1]
    assert difference == pytest.approx(1.0) and "sum" in ax.get_ylabel()


def test_several_runs_on_the_same_axes_differ_by_colour_and_are_named(run, full):
    """And own curves go on top, in t."""
    for name in DRAW:
        draw, ax = getattr(cf.plot, name), Figure().subplots()
        for label, traj in (("first", run), ("second", full), (None, run)):
            draw(traj, ax, label=label)
        draw(full, ax, label="mine", color="#123456")
        main = {line.get_label(): to_hex(line.get_color()) for line in ax.lines if line.get_gid() == "run"}
        assert list(main)[:2] == ["first", "second"] and main["mine"] == "#123456" and len(set(main.values())) == 4
        assert ax.get_xscale() == "log" and ax.get_xlim()[1] == pytest.approx(1e12)
    far = reduced(cf.hadamard(8), log_t_end=400 * LN10)
    with pytest.raises(ValueError, match="cannot hold 1e400"):
        cf.plot.loss(far, cf.plot.loss(run))
    ax = cf.plot.loss(run, cf.plot.loss(far))  # log10 t for both
    assert ax.get_xlim()[1] == pytest.approx(400.0)


def test_what_is_only_rounding_is_not_drawn():
    run = reduced(cf.hadamard(4), log_t_end=700 * LN10)
    v = curves(cf.plot.lyapunov(run))["$V$"][:, 1]
    v = v[np.isfinite(v)]
    assert np.all(np.diff(v) < 0.0) and v[-1] < 1e-26 and run.lyapunov[-1] < v[-1]
    ax = cf.plot.normalized_singular_values(run, scale="log")
    assert all(np.nanmin(line.get_ydata()) > 1e-15 for line in ax.lines)


def test_panels_are_named_for_what_they_show():
    runs = {depth: reduced_at_depth(depth) for depth in (2, 3)}
    titles = {depth: cf.plot.dashboard(run).axes[3].get_title(loc="left") for depth, run in runs.items()}
    assert titles == {2: "Lyapunov function", 3: "Distance from equal singular values"}
    label = cf.plot.softmax(runs[2]).images[0].colorbar.ax.get_ylabel()
    assert label == "probability $p_{jc}$"  # P is the eigenmatrix


@pytest.mark.parametrize(
    "start, title, names",
    [
        ([0.1, 0.2, 0.0], "Distance from equal singular values", ["no $V$: not all $s_i$ are positive"]),
        ([0.1, 0.1, 0.1], "Lyapunov function", ["$V = 0$, up to rounding"]),
    ],
)
def test_where_v_is_not_drawn_the_legend_says_why(start, title, names):
    ax = cf.plot.dashboard(cf.integrate(cf.SpectralFlow(cf.hadamard(4)), start, 1e3)).axes[3]
    assert ax.get_title(loc="left") == title and [line.get_label() for line in ax.lines] == names


def test_shares_of_a_mean_that_passes_through_zero():
    start = [[0.1, 0.2, 0.3], [0.1, 0.2, -0.3]]
    run = cf.integrate(cf.SpectralFlow(cf.hadamard(4)), start, 1e3)
    shown = np.concatenate([line.get_ydata() for line in cf.plot.normalized_singular_values(run).lines[1:]])
    assert np.isnan(shown).any() and np.nanmax(np.abs(shown)) <= 3.0 + 1e-12


def test_text_on_small_pages_and_in_cells_is_small():
    run = reduced_at_depth(2)
    sizes = [cf.plot.dashboard(run, Figure(figsize=(width, 4.0))).axes[0].xaxis.label.get_size() for width in (11, 5.5)]
    assert sizes[1] == sizes[0] / 2
    entries = [cf.plot.softmax(run, Figure(figsize=(width, 4.0)).subplots()).texts[0].get_size() for width in (5, 2)]
    assert entries[1] < entries[0] <= 9.0


def reduced_at_depth(depth):
    return cf.integrate(cf.SpectralFlow(cf.hadamard(4), depth=depth), [0.1, 0.2, 0.3], t_end=1e3)


def test_many_classes_keep_their_diagonal():
    shown = image(cf.plot.logits(reduced(cf.hadamard(1024), t_end=1e6, rtol=1e-6)))
    assert shown.shape == (256, 256) and np.diag(shown).min() > np.abs(shown - np.diag(np.diag(shown))).max()


def test_few_modes_are_named_and_many_become_bands(run):
    few = curves(cf.plot.singular_values(reduced(cf.hamming(3, 4), t_end=1e3)))
    assert {"$s_{1}$  (9 times)", "$s_{2}$  (27 times)", "$s_{3}$  (27 times)"} <= set(few)
    bands = cf.plot.singular_values(run, max_modes=6)
    assert len(bands.collections) == 2 and len(bands.lines) == 2
    assert len(cf.plot.singular_values(run, max_modes=7, scale="log").lines) == 8
    bands = cf.plot.margins(run, max_margins=6)
    assert len(bands.collections) == 2 and {"smallest margin", r"$\log t$"} <= set(curves(bands))


def test_runs_without_dense_output_show_their_rows():
    run = reduced(cf.hadamard(4), t_eval=[1.0, 10.0, 100.0], dense_output=False)
    np.testing.assert_allclose(curves(cf.plot.loss(run))["loss"][:, 0], [1.0, 10.0, 100.0], rtol=1e-15)
    assert all(line.get_marker() == "o" for line in cf.plot.singular_values(run[:1]).lines)  # which no line shows


def test_distance_to_collapse_on_a_log_axis(run):
    ax = cf.plot.normalized_singular_values(run, scale="log")
    s = run.singular_values[-1]
    ends = sorted(line.get_ydata()[-1] for line in ax.lines)
    np.testing.assert_allclose(ends, np.sort(np.abs(s / s.mean() - 1.0)), rtol=1e-9)


def test_margins_of_a_reduced_run_are_those_of_its_matrix(run):
    lines = [line.get_ydata()[-1] for line in cf.plot.margins(run).lines[:7]]
    Z = run.flow.lift(run.singular_values[-1])
    Z = Z[0] @ Z[1]
    np.testing.assert_allclose(np.sort(lines), np.sort(Z[0, 0] - Z[1:, 0]), rtol=1e-9)


def test_margins_before_their_asymptote(run):
    """The line log t, from which margins differ by log log t, begins where it is positive."""
    x = curves(cf.plot.margins(run))[r"$\log t$"][:, 0]
    assert 1.0 < x[0] < 1.3
    assert r"$\log t$" not in curves(cf.plot.margins(reduced(cf.hadamard(4), t_end=0.5)))


def test_drift_without_a_tolerance_has_no_line_for_it(full):
    assert "rtol = 1e-9" in curves(cf.plot.conserved(full))
    unknown = type(full)(full.flow, full.start, full.log_t, full.y)
    assert set(curves(cf.plot.conserved(unknown))) == {"drift", "rounding"}


def test_drift_of_a_full_run_and_none_of_a_balanced_one(full, run):
    drift = curves(cf.plot.conserved(full))["drift"][:, 1]
    assert 0.0 < drift.max() < full.rtol
    assert "no drift: conserved to the last bit" in curves(cf.plot.conserved(run))


def test_collapse_measures(full, run):
    ax = cf.plot.collapse(full)
    assert ax.lines[0].get_ydata()[-1] == pytest.approx(full.collapse.nc2[-1])
    with pytest.raises(TypeError, match="MatrixFlow"):
        cf.plot.collapse(run)


def image(ax):
    return np.asarray(ax.images[0].get_array())


def test_matrices_of_reduced_and_full_runs_agree(run):
    full = cf.integrate(cf.MatrixFlow(), run.flow.lift(run.start), t_end=1e4)
    for draw in (cf.plot.logits, cf.plot.softmax):
        for options in ({"t": 0.0}, {"t": 10.0}, {"log_t": 4.0}):
            np.testing.assert_allclose(image(draw(run, **options)), image(draw(full, **options)), rtol=0, atol=1e-7)
    P = image(cf.plot.softmax(run))
    np.testing.assert_allclose(P.sum(axis=0), 1.0, rtol=1e-12)
    shown = image(cf.plot.softmax(run, scale="log"))
    np.testing.assert_allclose(10.0**shown, P, rtol=1e-9)


def test_matrices_at_several_times(run):
    figure = cf.plot.logits(run, log_t=[1.0, 2.0, 3.0])
    assert isinstance(figure, Figure) and sum(bool(ax.images) for ax in figure.axes) == 3
    figure = cf.plot.softmax(run, t=[1.0, 1e12])
    panels = [ax for ax in figure.axes if ax.images]
    assert [ax.get_title() for ax in panels] == ["$t = 1$", "$t = 10^{12}$"]
    assert len(figure.axes) == 3, "one colour bar is enough"
    axes = Figure().subplots(1, 2)
    assert cf.plot.softmax(run, axes, t=[1.0, 2.0]) is axes[0].figure
    ax = Figure().subplots()
    assert cf.plot.logits(run, ax) is ax and len(ax.texts) == 64
    assert not cf.plot.logits(reduced(cf.cyclic(9), t_end=1e3)).texts


def test_ternary():
    flow = cf.SpectralFlow(cf.hadamard(4))
    runs = [cf.integrate(flow, np.roll([1e-3, 1e-2, 1e-1], n), t_end=1e200) for n in range(3)]
    for options in ({}, {"color": "C0", "arrows": False, "contours": False}):
        ax = Figure().subplots()
        assert cf.plot.ternary(runs, ax, **options) is ax and plt.get_fignums() == []
        ax.figure.canvas.draw()
    ends = [line.get_xydata()[-1] for line in ax.lines if line.get_color() == "C0" and len(line.get_xdata()) > 1]
    np.testing.assert_allclose(ends, [[0.5, math.sqrt(0.75) / 3]] * 3, rtol=0, atol=1e-3)
    dead = cf.integrate(flow, [0.0, 0.1, 0.1], t_end=1e3)  # at a standstill in the triangle
    assert isinstance(cf.plot.ternary(dead), Axes)
    for start, point in (([0.1, 0.1, 0.1], (0.5, math.sqrt(0.75) / 3)), (np.zeros(3), (np.nan, np.nan))):
        still = cf.plot.ternary(cf.integrate(flow, start, t_end=1e3), color="C0")  # in the centre, or nowhere
        path = still.lines[1].get_xydata()
        np.testing.assert_allclose(path, np.broadcast_to(point, path.shape), rtol=0, atol=1e-12)
    # from where the mean is negative: there are no shares, and no arrow that comes from there
    late = cf.integrate(flow, np.array([[0.1, 0.2, 1.0], [0.1, 0.2, -0.999]]), t_end=1e12)
    cf.plot.ternary(late, Figure().subplots()).figure.canvas.draw()
    with pytest.raises(ValueError, match="3 modes"):
        cf.plot.ternary(reduced(cf.hadamard(8), t_end=1.0))
    with pytest.raises(ValueError, match="at least one"):
        cf.plot.ternary([])
    with pytest.raises(TypeError, match="SpectralFlow"):
        cf.plot.ternary([1])


@pytest.mark.parametrize("suffix", ["gif", "html"])
def test_animation(suffix, run, full, tmp_path):
    path = tmp_path / f"run.{suffix}"
    cf.plot.animate(run, path, frames=3, dpi=30)
    assert path.stat().st_size > 1000 and [p.name for p in tmp_path.iterdir()] == [path.name]
    if suffix == "gif":
        from PIL import Image

        with Image.open(path) as film:
            assert film.n_frames == 3
        cf.plot.animate(full, path, frames=2, dpi=30)
    assert plt.get_fignums() == []


@pytest.mark.parametrize(
    "options", [{"depth": 3}, {"loss": "squared_error"}, {"weight_decay": 0.01}, {"loss": "focal", "depth": 2.5}]
)
def test_other_flows(options):
    """No bound or dissipation is drawn where it is not proved."""
    flow = cf.SpectralFlow(cf.hadamard(4), **options)
    run = cf.integrate(flow, [0.1, 0.2, 0.3], t_end=1e4)
    assert "upper bound of the loss" not in curves(cf.plot.loss(run))
    assert cf.plot.DISSIPATION not in curves(cf.plot.lyapunov(run))
    assert ("error probability $1 - p_0$" in curves(cf.plot.loss(run))) == (options.get("loss") != "squared_error")
    cf.plot.dashboard(run).canvas.draw()
    cf.plot.ternary(run)
    if options.get("depth") != 2.5:
        full = cf.integrate(cf.MatrixFlow(**options), flow.lift(run.start), t_end=1e2)
        for traj in (run, full):
            drawn = curves(cf.plot.conserved(traj))
            assert ("drift" in drawn) != ("no drift: conserved to the last bit" in drawn)
            assert "drift" not in drawn or np.all(drawn["drift"][:, 1] < 1e-8)
        for draw in (*(getattr(cf.plot, name) for name in DRAW), cf.plot.collapse, cf.plot.dashboard, cf.plot.softmax):
            draw(full)


def test_batches_are_refused():
    pairs = [cf.random_init(classes=3, width=4, rng=n) for n in range(2)]
    batch = cf.integrate(cf.MatrixFlow(), tuple(np.stack(parts) for parts in zip(*pairs, strict=True)), t_end=1.0)
    for draw in (cf.plot.dashboard, cf.plot.logits):
        with pytest.raises(ValueError, match="batch of 2"):
            draw(batch)


def test_animation_for_a_notebook_and_bad_input(run, tmp_path):
    assert "<img" in cf.plot.animate(run, frames=2, dpi=30).to_jshtml()
    for options, message in (
        ({"path": tmp_path / "run.mov"}, "gif or .html"),
        ({"frames": 1}, "frames"),
        ({"fps": 0.0}, "fps"),
        ({"dpi": -1.0}, "dpi"),
    ):
        with pytest.raises(ValueError, match=message):
            cf.plot.animate(run, **options)
    with pytest.raises(FileNotFoundError):
        cf.plot.animate(run, tmp_path / "none" / "run.gif", frames=2)
    (tmp_path / "run.gif").mkdir()
    with pytest.raises(OSError, match=r"run\.gif"):
        cf.plot.animate(run, tmp_path / "run.gif", frames=2, dpi=30)
    assert [path.name for path in tmp_path.iterdir()] == ["run.gif"], "nothing half done stays"


@pytest.mark.parametrize("style", ["default", "dark_background", "grayscale"])
def test_text_and_lines_stand_out_from_the_page(style, run, full):
    """In every style: what is drawn by name or in ink must differ from it by its brightness."""
    with plt.style.context(style):
        axes = [getattr(cf.plot, name)(traj) for name in DRAW for traj in (run, full)]
        axes.append(cf.plot.collapse(full))
        axes.append(cf.plot.ternary(reduced(cf.hadamard(4), t_end=1e3)))
    for ax in axes:
        page = luminance(ax.get_facecolor())
        for line in ax.lines:
            assert abs(luminance(line.get_color()) - page) > 0.2, line


def test_bad_input(run):
    for draw in (cf.plot.normalized_singular_values, cf.plot.softmax):
        with pytest.raises(ValueError, match='"linear" or "log"'):
            draw(run, scale="square")
    with pytest.raises(ValueError, match="one Axes for each time"):
        cf.plot.logits(run, Figure().subplots(), t=[1.0, 2.0])
    with pytest.raises(TypeError, match="Trajectory"):
        cf.plot.logits(np.eye(3))
    with pytest.raises(ValueError, match="at most 4096"):
        cf.plot.softmax(reduced(cf.hadamard(8192), t_end=1.0))
    with pytest.raises(ValueError, match='"linear" or "log"'):
        cf.plot.singular_values(run, scale="square")
    with pytest.raises(ValueError, match="after t = 0"):
        cf.plot.loss(run[:1])
    with pytest.raises(TypeError, match="Trajectory"):
        cf.plot.dashboard(np.zeros(3))
    assert plt.get_fignums() == []
