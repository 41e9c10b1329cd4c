"""Neural-collapse measures of a state, and KKT points of the margin problem, on plain arrays.

Examples
--------
>>> W, H = cf.random_init(classes=4, width=4, scale=0.1, rng=0)
>>> run = cf.integrate(cf.MatrixFlow(), (W, H), 1e4, rtol=1e-6)
>>> run.collapse.nc3[[0, -1]].round(3)
array([1.241, 0.015])
"""

from . import forgetting
from ._accumulator import Accumulator
from ._accuracy import GaussianAccuracy, gaussian_accuracy
from ._alignment import Alignment, alignment, project, slerp
from ._complexity import cdnv, class_distances, geometric_complexity
from ._exponents import ErrorExponents, error_exponents
from ._margin_kkt import MarginKKT, margin_kkt
from ._measures import Measures, measures
from ._nearest_etf import NearestETF, nearest_etf, nearest_etf_gradient, simplex_etf, torch_nearest_etf
from ._ranks import LayerRanks, layer_ranks
from ._regression import RegressionMeasures, regression
from ._softmax_code import SoftmaxCode, softmax_code

__all__ = ["MarginKKT", "Measures", "margin_kkt", "measures"]
__all__ += ["Alignment", "ErrorExponents", "GaussianAccuracy", "alignment", "error_exponents", "gaussian_accuracy"]
__all__ += ["project", "slerp"]
__all__ += ["RegressionMeasures", "regression"]
__all__ += ["cdnv", "class_distances", "geometric_complexity"]
__all__ += ["LayerRanks", "layer_ranks"]
__all__ += ["SoftmaxCode", "softmax_code"]
__all__ += ["forgetting"]
__all__ += ["NearestETF", "nearest_etf", "nearest_etf_gradient", "simplex_etf", "torch_nearest_etf"]
__all__ += ["Accumulator"]
