"""Neural-collapse measures of a state, and KKT points of the margin problem, on plain arrays."""

from ._margin_kkt import MarginKKT, margin_kkt
from ._measures import Measures, measures

__all__ = ["MarginKKT", "Measures", "margin_kkt", "measures"]
