"""Plots of many runs: basins of attraction, phase diagrams, quantiles."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from matplotlib.colors import LogNorm, Normalize

from .._checks import checked_array, checked_choice
from .._ensemble import Ensemble
from ..basins import ALIVE
from ._portrait import CORNERS, name_corners, shares
from ._runs import LN10
from ._style import ABOVE, LEGEND, axes_or_new, check_scale, colors_of, on_log_axis, tidy

if TYPE_CHECKING:
    import xarray
    from matplotlib.axes import Axes

BANDS = (0.05, 0.25, 0.5, 0.75, 0.95)


def quantiles(
    results: Ensemble | xarray.Dataset,
    name: str = "loss",
    *,
    by: str | None = None,
    levels: Sequence[float] = BANDS,
    scale: str = "log",
    ax: Axes | None = None,
) -> Axes:
    """Plot quantiles of an observable over the members against time: median as a line, others as bands.

    Parameters
    ----------
    results : Ensemble or Dataset
        From `ceflow.integrate_many` or `ceflow.sweep`, with common times of rows, such as ``log_t_eval``. For a sweep,
        select one value on each axis of the grid except `by`.
    name : str
        Observable with one number per row.
    by : str, optional
        Axis of the grid whose values are shown in different colours.
    levels : tuple of floats
        Odd number of ascending levels from 0 to 1: the middle one is the line, the others are the limits of the bands.
    scale : {"log", "linear"}
        Scale of the vertical axis.
    ax : Axes, optional

    Returns
    -------
    Axes
        The horizontal axis is as in all plots over time. Failed members are omitted.

    Raises
    ------
    TypeError, ValueError
        If an argument is invalid.

    Examples
    --------
    >>> starts = np.random.default_rng(0).uniform(1e-3, 1e-2, (4, 1))
    >>> runs = cf.integrate_many(cf.SpectralFlow(cf.complete(3)), starts, t_eval=np.geomspace(1.0, 1e3, 10))
    >>> ax = cf.plot.quantiles(runs, "loss")
    >>> len(ax.collections), ax.get_ylabel()  # bands around the median
    (2, 'loss')
    """
    check_scale(scale)
    levels = checked_array("levels", levels, 0.0, 1.0)
    if levels.ndim != 1 or levels.size % 2 == 0 or np.any(np.diff(levels) <= 0.0):
        raise ValueError(f"levels must be an odd number of ascending numbers, got {levels}")
    dataset = _dataset(results)
    values = _observable(dataset, name)
    dims = {"member", "row", *([by] if by else [])}
    if set(values.dims) != dims or "log_t" not in dataset:
        raise ValueError(f"{name} must have the axes {', '.join(sorted(dims))} and common times, got {values.dims}; "
                         "select one of the others")  # fmt: skip
    values = values.where(dataset.success)
    ax = axes_or_new(ax)
    log_t = dataset.log_t.values / LN10
    cuts = [("", values)] if by is None else [(f"{by} = {_text(v)}", values.sel({by: v})) for v in values[by].values]
    colors = colors_of(ax)
    shades = [colors.blue] if by is None else colors.shades(np.linspace(0.0, 1.0, len(cuts)))
    shown = np.isfinite(log_t)
    (x,) = on_log_axis(ax, "x", log_t[shown])
    for (label, cut), color in zip(cuts, shades, strict=True):
        at = _nan_quantiles(cut.transpose("member", "row").values[:, shown], levels)
        if scale == "log":
            at = np.where(at > 0.0, at, np.nan)
        half = levels.size // 2
        for low, high in zip(at[:half], at[: half : -1], strict=True):
            ax.fill_between(x, low, high, color=color, alpha=0.2, lw=0)
        ax.plot(x, at[half], color=color, lw=1.8, label=label or _level(levels[half]))
    ax.set_yscale(scale)
    ax.set_xlabel("time $t$")
    ax.set_ylabel(name.replace("_", " "))
    ax.margins(x=0.0)
    pairs = ", ".join(f"{low:g} to {high:g}" for low, high in zip(levels, levels[:half:-1], strict=False))
    ax.legend(**LEGEND, title=f"bands: {pairs}" if half else None, title_fontsize="small")
    return tidy(ax)


def phase_diagram(
    values: xarray.DataArray,
    x: str | None = None,
    y: str | None = None,
    *,
    label: str | None = None,
    scale: str = "linear",
    ax: Axes | None = None,
) -> Axes:
    """Plot a number over two axes of a grid, as colours.

    Parameters
    ----------
    values : DataArray
        Array of a dataset of `ceflow.sweep`, such as ``results.loss`` or ``results.success``, or computed from it. The
        last row and the mean over members without NaN are plotted; cells without values are blank. Two axes must
        remain.
    x, y : str, optional
        Names of these axes.
    label : str, optional
        Label of the colour bar; default the name of the values.
    scale : {"linear", "log"}
        Scale of the colours.
    ax : Axes, optional

    Returns
    -------
    Axes
        Axes of positive numbers with equally spaced logarithms are logarithmic. Other axes without equal spacing, and
        axes of strings, have cells of equal size.

    Raises
    ------
    TypeError, ValueError
        If an argument is invalid.

    Examples
    --------
    >>> import xarray
    >>> axes = {"depth": [2, 3], "scale": [0.1, 0.2, 0.3]}
    >>> values = xarray.DataArray([[3, 3, 3], [2, 2, 3]], axes, ("depth", "scale"))
    >>> ax = cf.plot.phase_diagram(values, x="scale", y="depth", label="rank")
    >>> ax.get_xlabel(), ax.get_ylabel()
    ('scale', 'depth')
    """
    check_scale(scale)
    if not isinstance(getattr(values, "dims", None), tuple):
        raise TypeError(f"values must be a DataArray, such as results.loss, got {type(values).__name__}")
    if "row" in values.dims:
        values = values.isel(row=-1)
    if "member" in values.dims:
        values = values.mean("member")
    if len(values.dims) != 2:
        raise ValueError(f"values must have two axes beside member and row, got {values.dims}: select or reduce others")
    first, second = map(str, values.dims)
    x = checked_choice("x", x, (first, second)) if x else (first if y != first else second)
    y = checked_choice("y", y, (first, second)) if y else (second if x == first else first)
    if x == y:
        raise ValueError(f"x and y must be different axes, got {x!r} twice")
    ax = axes_or_new(ax)
    edges = [_edges(ax, which, values[name].values) for which, name in (("x", x), ("y", y))]
    cells = np.ma.masked_invalid(values.transpose(y, x).values.astype(float))
    if scale == "log":
        cells = np.ma.masked_less_equal(cells, 0.0)
    low, high = (float(cells.min()), float(cells.max())) if cells.count() else (1.0, 10.0)
    norm = (LogNorm if scale == "log" else Normalize)(low, high)
    mesh = ax.pcolormesh(*edges, cells, cmap=colors_of(ax).shades, norm=norm, lw=0, rasterized=True)
    bar = ax.figure.colorbar(mesh, ax=ax, pad=0.02)
    bar.set_label(label or str(values.name or "").replace("_", " "))
    ax.set_xlabel(x.replace("_", " "))
    ax.set_ylabel(y.replace("_", " "))
    return ax


def basins(results: Ensemble | xarray.Dataset, ax: Axes | None = None, *, size: float | None = None) -> Axes:
    """Plot basins of attraction: each start is a point whose colour shows the final nonzero modes.

    Parameters
    ----------
    results : Ensemble or Dataset
        Results for a scheme with two or three modes, with `singular_values` at t = 0 and at a late time, as with
        ``log_t_eval=[-inf, 1e4]``. For a sweep, select one point of the grid.
    ax : Axes, optional
    size : float, optional
        Area of a point, in points squared.

    Returns
    -------
    Axes
        The plane of the singular values for two modes, the triangle of their shares for three. Modes above 0.3 of the
        largest count as nonzero. Failed members are omitted.

    Raises
    ------
    TypeError, ValueError
        If an argument is invalid.

    Examples
    --------
    >>> starts = np.random.default_rng(0).uniform(0.01, 0.1, (4, 3))
    >>> flow = cf.SpectralFlow(cf.hadamard(4), depth=3)
    >>> runs = cf.integrate_many(flow, starts, t_eval=[0.0, 1e3], rtol=1e-3)
    >>> [text.get_text() for text in cf.plot.basins(runs).get_legend().get_texts()]
    ['collapse (25.0%)', 'alive: $s_1$, $s_2$ (50.0%)', 'alive: $s_2$, $s_3$ (25.0%)']
    """
    dataset = _dataset(results)
    values = _observable(dataset, "singular_values")
    if set(values.dims) != {"member", "row", "mode"} or values.sizes["mode"] not in (2, 3) or values.sizes["row"] < 2:
        raise ValueError(f"singular_values must have members, rows at t = 0 and later, and 2 or 3 modes, got "
                         f"{dict(values.sizes)}")  # fmt: skip
    if "log_t" not in dataset or dataset.log_t.values[0] != -np.inf:
        raise ValueError("the first row must be t = 0: give log_t_eval=[-inf, ...]")
    values = values.transpose("member", "row", "mode").values[dataset.success.values]
    start, end = values[:, 0], np.abs(values[:, -1])
    alive = end > ALIVE * end.max(axis=1, keepdims=True)
    if ax is None:
        import matplotlib.pyplot as plt

        ax = plt.subplots(figsize=(6.4, 5.2), layout="constrained")[1]
    place = _in_triangle(ax, start) if start.shape[1] == 3 else _in_plane(ax, start)
    colors = colors_of(ax)
    palette = (colors.blue, colors.orange, colors.green, colors.purple, colors.grey, "#F0E442", colors.ink)
    size = size if size is not None else float(np.clip(20_000.0 / max(len(start), 1), 2.0, 30.0))
    for which, color in zip(_subsets(start.shape[1]), palette, strict=False):
        chosen = (alive == which).all(axis=1)
        names = ", ".join(f"$s_{i + 1}$" for i in np.flatnonzero(which))
        label = f"{'collapse' if which.all() else f'alive: {names}'} ({chosen.mean():.1%})"
        if chosen.any():
            ax.scatter(place[chosen, 0], place[chosen, 1], s=size, color=color, lw=0, label=label, rasterized=True)
    for handle in cast(Any, ax.legend(**ABOVE).legend_handles):
        handle.set_sizes([30.0])
    return ax


def _in_triangle(ax: Axes, start: np.ndarray) -> np.ndarray:
    """Plot the triangle of shares; return the positions of the starts."""
    ax.plot(*CORNERS[[0, 1, 2, 0]].T, color=colors_of(ax).ink, lw=1.2, zorder=2)
    name_corners(ax)
    ax.set_aspect("equal")
    ax.margins(0.08)
    ax.set_axis_off()
    return shares(start) @ CORNERS


def _in_plane(ax: Axes, start: np.ndarray) -> np.ndarray:
    ax.set_xlabel("$s_1$ at the start")
    ax.set_ylabel("$s_2$ at the start")
    tidy(ax)
    return start


def _subsets(modes: int) -> list[np.ndarray]:
    """Masks of modes: all, then smaller subsets."""
    return [
        np.isin(np.arange(modes), which)
        for count in range(modes, 0, -1)
        for which in itertools.combinations(range(modes), count)
    ]


def _dataset(results: Any) -> xarray.Dataset:
    if isinstance(results, Ensemble):
        return results.to_xarray()
    if not hasattr(results, "data_vars") or "success" not in results:
        raise TypeError(f"results must be an Ensemble or a result of ceflow.sweep, got {type(results).__name__}")
    return results


def _observable(dataset: xarray.Dataset, name: str) -> xarray.DataArray:
    if name not in dataset.data_vars:
        raise ValueError(f"{name!r} must be one of the stored observables: {', '.join(map(str, dataset.data_vars))}")
    return dataset[name]


def _nan_quantiles(values: np.ndarray, levels: np.ndarray) -> np.ndarray:
    """(levels, rows) quantiles without NaN; NaN if there are no values."""
    found = np.full((levels.size, values.shape[1]), np.nan)
    some = np.isfinite(values).any(axis=0)
    found[:, some] = np.nanquantile(values[:, some], levels, axis=0)
    return found


def _level(level: float) -> str:
    return "median" if level == 0.5 else f"quantile {level:g}"


def _text(value: Any) -> str:
    return str(value) if isinstance(value, str) else f"{value:g}"


def _edges(ax: Axes, which: str, values: np.ndarray) -> np.ndarray:
    """Edges of the cells along an axis; also sets its ticks."""
    axis = getattr(ax, f"{which}axis")
    number = values.dtype.kind in "iuf" and len(values) > 1
    if number and values.min() > 0.0 and len(values) > 2 and _even(np.log(values)) and not _even(values):
        axis._set_axes_scale("log")
        return np.exp(_around(np.log(values)))
    if number and _even(values):
        if values.dtype.kind in "iu":
            axis.set_ticks(values)
        return _around(values)
    axis.set_ticks(np.arange(len(values)), [_text(value) for value in values])
    return np.arange(len(values) + 1) - 0.5


def _even(values: np.ndarray) -> bool:
    steps = np.diff(values.astype(float))
    return bool(np.all(np.abs(steps - steps.mean()) <= 1e-6 * np.abs(steps.mean())))


def _around(values: np.ndarray) -> np.ndarray:
    middle = 0.5 * (values[1:] + values[:-1])
    return np.concatenate([[1.5 * values[0] - 0.5 * values[1]], middle, [1.5 * values[-1] - 0.5 * values[-2]]])
