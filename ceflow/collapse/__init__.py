"""Neural-collapse measures of a state, and KKT points of the margin problem, on plain arrays."""

from ._complexity import cdnv, class_distances, geometric_complexity
from ._margin_kkt import MarginKKT, margin_kkt
from ._measures import Measures, measures

__all__ = ["MarginKKT", "Measures", "cdnv", "class_distances", "geometric_complexity", "margin_kkt", "measures"]
