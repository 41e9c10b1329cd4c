"""The flows: each makes a vector field of its symmetry, network and loss, or a closed form where one holds."""

from ._flow import Flow
from .blocks import BlockFlow
from .matrix import MatrixFlow, random_init
from .objective import Objective
from .ray import Ray
from .replay import ReplayFlow, ReplayState
from .rest import Rest
from .spectral import SpectralFlow

__all__ = ["BlockFlow", "Flow", "MatrixFlow", "Objective", "Ray", "ReplayFlow", "ReplayState", "Rest", "SpectralFlow"]
__all__ += ["random_init"]
