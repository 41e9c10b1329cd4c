"""Reference solutions in arbitrary precision, and independent definitions of schemes and losses.

The code is slow, simple, and independent of the rest of ceflow: it uses only checks of arguments, the integer matrix of
relations of a scheme, and the formula of a loss.

Examples
--------
>>> exact = cf.reference.solve(cf.SpectralFlow(cf.complete(3)), [0.1], [0.0])
>>> f"{float(exact.singular_values[0, 0]):.12f}, {cf.theory.ray_singular_value(1.0, s0=0.1, classes=3):.12f}"
'0.188676646105, 0.188676646105'
"""

from ._classifier import ClassifierDefinition
from ._network import NetworkDefinition
from ._relations import exact_gaps
from ._solution import Solution, solve
from .definitions import LossDefinition, relation_gaps, scheme_definition

__all__ = [
    "ClassifierDefinition",
    "LossDefinition",
    "NetworkDefinition",
    "Solution",
    "exact_gaps",
    "relation_gaps",
    "scheme_definition",
    "solve",
]
