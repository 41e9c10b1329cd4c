"""Figures of runs and comparisons. Times and small quantities are drawn as powers of ten, for they leave float64.

Every function draws on the Axes it is given, or on a new figure, and changes no global setting. The horizontal axis
is log10 t: ``ax.axvline(6)`` marks t = 1e6, and the row t = 0 has no place on it. Dense output gives smooth curves.
Colours are those of Okabe and Ito and of the colour map cividis, readable without colour vision and in grey; text,
lines and grid follow the style in force, light or dark.
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

__all__ = [
    "DISSIPATION",
    "ERROR",
    "animate",
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
    "singular_values",
    "softmax",
    "task_margins",
    "ternary",
]
