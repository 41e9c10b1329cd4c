"""Figures of runs, comparisons, ensembles and sweeps.

Every function draws on the Axes it is given, or on a new figure, and changes no global setting. The horizontal axis
is t on a logarithmic scale: ``ax.axvline(1e6)`` marks t = 1e6, own curves go on top, and the row t = 0 has no place on
it. Only where t, or what is drawn over it, leaves 1e-300 to 1e300 an axis carries log10: ``ax.axvline(700)`` marks
t = 1e700 in a run that goes so far. Several runs on the same Axes differ by colour; ``label=`` and ``color=`` name
them. Dense output gives smooth curves.
Colours are those of Okabe and Ito and of the colour map cividis, readable without colour vision and in grey; text,
lines and grid follow the style in force, light or dark.

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
