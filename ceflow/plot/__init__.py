"""Figures of runs, comparisons, ensembles and sweeps.

Functions plot on the given Axes or on a new figure, and do not change global settings. The horizontal axis is t on a
logarithmic scale: ``ax.axvline(1e6)`` marks t = 1e6, and the row t = 0 is omitted. If values are outside of 1e-300 to
1e300 an axis shows log10 instead: ``ax.axvline(700)`` marks t = 1e700. Runs on the same Axes differ by colour;
``label=`` and ``color=`` identify them. Dense output gives smooth curves. Colours are the palette of Okabe and Ito and
the colour map cividis, which are safe for colour-blind readers and in grey. Text, lines and grid follow the current
style, light or dark.

Examples
--------
>>> run = cf.integrate(cf.SpectralFlow(cf.complete(4)), [1e-3], 1e6)
>>> ax = cf.plot.loss(run)
>>> _ = ax.axvline(1e3)  # own curves go on top
>>> ax.get_xscale(), ax.get_xlabel()
('log', 'time $t$')
"""

from ._classifiers import classifiers
from ._comparison import ERROR, comparison
from ._dashboard import dashboard
from ._film import animate
from ._matrices import logits, softmax
from ._modes import margins, normalized_singular_values, singular_values
from ._portrait import ternary
from ._replay import task_margins
from ._scalars import DISSIPATION, collapse, conserved, loss, lyapunov
from ._sweeps import basins, phase_diagram, quantiles

__all__ = [
    "DISSIPATION",
    "ERROR",
    "animate",
    "basins",
    "classifiers",
    "collapse",
    "comparison",
    "conserved",
    "dashboard",
    "logits",
    "loss",
    "lyapunov",
    "margins",
    "normalized_singular_values",
    "phase_diagram",
    "quantiles",
    "singular_values",
    "softmax",
    "task_margins",
    "ternary",
]
