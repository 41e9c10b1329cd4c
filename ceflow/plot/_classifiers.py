"""Plot of free, fixed and nearest classifiers."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from .._classifiers import ClassifierComparison
from ._style import LEGEND, colors_of, log10, on_log_axis, tidy

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_TITLES = {
    "loss": "Loss per sample",
    "nc1": "NC1: within-class variability",
    "nc2": "NC2: class means, distance to simplex ETF",
    "nc3": "NC3: classifier, distance to class means",
}


def classifiers(comparison: ClassifierComparison, figure: Figure | None = None) -> Figure:
    """Plot loss, NC1, NC2 and NC3 over time for the free, fixed and nearest-ETF classifiers.

    Parameters
    ----------
    comparison : ClassifierComparison
        From `ceflow.compare_classifiers`.
    figure : Figure, optional
        Empty figure.

    Returns
    -------
    Figure
        One Axes per quantity; NC1 only if classes have several samples. All axes are logarithmic. For features on
        spheres the minimal loss is subtracted.

    Raises
    ------
    TypeError
        If comparison is not a ClassifierComparison.

    Examples
    --------
    >>> W, H = cf.random_init(classes=3, width=3, scale=0.1, rng=0)
    >>> figure = cf.plot.classifiers(cf.compare_classifiers(W, H, 2.0, losses=(0.5,), rtol=1e-3))
    >>> [ax.get_title() for ax in figure.axes]
    ['Loss per sample', 'NC2: class means, distance to simplex ETF', 'NC3: classifier, distance to class means']
    """
    if not isinstance(comparison, ClassifierComparison):
        raise TypeError(f"comparison must be a result of ceflow.compare_classifiers, got {type(comparison).__name__}")
    shown = list(dict.fromkeys(name for name, _ in comparison.levels))
    if figure is None:
        import matplotlib.pyplot as plt

        figure = plt.figure(figsize=(3.6 * len(shown), 3.6), layout="constrained")
    axes = np.atleast_1d(figure.subplots(1, len(shown)))
    for ax, quantity in zip(axes, shown, strict=True):
        colors = colors_of(ax)
        styles = ((colors.grey, "-"), (colors.orange, "--"), (colors.blue, "-"), (colors.ink, ":"))
        for (name, (t, values)), (color, style) in zip(comparison.curves.items(), styles, strict=True):
            curve = values[quantity] - (comparison.optimum if quantity == "loss" else 0.0)
            (x,), (y,) = on_log_axis(ax, "x", log10(t)), on_log_axis(ax, "y", log10(curve))
            ax.plot(x, y, color=color, ls=style, lw=2.0, label=name)
        ax.set_title(_TITLES[quantity], fontsize="medium")
        ax.set_xlabel("time $t$")
        tidy(ax)
    if comparison.optimum > 0.0:
        axes[0].set_title("Loss per sample minus optimum", fontsize="medium")
    axes[0].legend(**LEGEND)
    return figure
