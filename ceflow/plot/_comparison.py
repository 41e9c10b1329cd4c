"""Plot of a comparison of a reduced and a full run."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ._runs import LN10
from ._style import ABOVE, axes_or_new, colors_of, finish, log10, on_log_axis, short

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from .._compare import Comparison

ERROR = r"$\|Z_\mathrm{reduced} - Z_\mathrm{full}\|\,/\,\|Z_\mathrm{full}\|$"


def comparison(comparison: Comparison, ax: Axes | None = None) -> Axes:
    """Plot the differences of a reduced and a full run over time, with the tolerances of both runs.

    Parameters
    ----------
    comparison : Comparison
        From `ceflow.compare`.
    ax : Axes, optional

    Returns
    -------
    Axes
        Both axes are logarithmic; zeros are omitted.

    Raises
    ------
    ValueError
        If there is no time after t = 0.

    Examples
    --------
    >>> flow, s0 = cf.SpectralFlow(cf.hadamard(4)), [0.1, 0.2, 0.3]
    >>> full = cf.integrate(cf.MatrixFlow(), flow.lift(s0), 1e3, rtol=1e-6)
    >>> ax = cf.plot.comparison(cf.compare(cf.integrate(flow, s0, 1e3), full))
    >>> [line.get_label() for line in ax.get_lines()][1:3]
    ['full run: distance from the scheme', 'singular values, relative to the largest']
    """
    later = np.isfinite(comparison.log_t)
    if not later.any():
        raise ValueError("the comparison has no time after t = 0")
    ax = axes_or_new(ax)
    (x,), colors = on_log_axis(ax, "x", comparison.log_t[later] / LN10), colors_of(ax)
    curves = (
        (comparison.error, ERROR, colors.blue, "o-", 2.0),
        (comparison.off_diagonal, "full run: distance from the scheme", colors.orange, "s--", 1.4),
        (comparison.singular_value_error, "singular values, relative to the largest", colors.ink, "v:", 1.2),
        (comparison.loss_error, "relative difference of the losses", colors.green, "^-.", 1.4),
        (comparison.lyapunov_error, "difference of $V$", colors.purple, "d--", 1.2),
    )
    for values, label, color, style, width in curves:
        if np.isfinite(values[later]).any():  # V is not defined for all runs
            (y,) = on_log_axis(ax, "y", log10(values[later]))
            ax.plot(x, y, style, color=color, lw=width, ms=4, label=label)
    tolerances = {run.rtol for run in (comparison.reduced, comparison.full) if run.rtol > 0.0}
    for rtol in sorted(tolerances):
        ax.axhline(rtol, color=colors.grey, lw=1.2, ls=":", label=f"rtol = {short(rtol)}")
    if not comparison.trusted.all():
        ((until,),) = on_log_axis(ax, "x", np.array([comparison.trusted_until / LN10]))
        ax.axvspan(until, x[-1], color=colors.grey, alpha=0.15, lw=0, label="unstable: rounding errors grow")
    finish(ax, comparison.full, "relative error")
    ax.legend(**ABOVE)
    return ax
