"""Neural-collapse measures of a state, and KKT points of the margin problem, on plain arrays."""

from ._margin_kkt import MarginKKT, margin_kkt
from ._measures import Measures, measures
from ._regression import RegressionMeasures, regression

__all__ = ["MarginKKT", "Measures", "RegressionMeasures", "margin_kkt", "measures", "regression"]
