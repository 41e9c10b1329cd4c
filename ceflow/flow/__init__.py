"""The flows. Each gives a vector field, or a closed form when one is exact."""

from ._flow import Flow, RunT
from .blocks import BlockFlow
from .etf import ETFFlow, ReducedETFFlow
from .layer_flows import BlockLayersFlow, LayersFlow, in_layers
from .matrix import MatrixFlow, random_init
from .objective import Objective
from .ray import Ray
from .regression import RegressionFlow
from .replay import ReplayFlow, ReplayState
from .rest import Rest
from .spectral import SpectralFlow

__all__ = [
    "BlockFlow",
    "BlockLayersFlow",
    "ETFFlow",
    "Flow",
    "LayersFlow",
    "MatrixFlow",
    "Objective",
    "Ray",
    "ReducedETFFlow",
    "RegressionFlow",
    "ReplayFlow",
    "ReplayState",
    "Rest",
    "RunT",
    "SpectralFlow",
    "in_layers",
    "random_init",
]
