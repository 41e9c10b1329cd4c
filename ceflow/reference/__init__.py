"""The reduced flow in arbitrary precision, and independent definitions: slow, simple, sharing nothing with the rest.

Of ceflow nothing is imported but checks of arguments. Of a scheme its matrix of relations is used, which consists of
integers, of a loss its formula.

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
