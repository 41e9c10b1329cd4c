"""Cross-entropy on imbalanced classes, two linear layers: limits and rates with and without weight decay.

Classes form groups with equal numbers of samples, for example step imbalance: ``classes=(5, 5), samples=(100, 1)``.
`seli` is the limit geometry without decay, and `approach` is the asymptotic law of convergence to it. `equilibrium` is
the optimum with decay, and `path` the optima for several decays. `minority_threshold` is the decay at which groups
collapse to a point, and `rates` are the rates of convergence. All are for gradient flow of unconstrained features
(`ceflow.SpectralFlow` of `ceflow.direct_sum`), whose objective is convex in the logits. Results are named tuples of
arrays with one entry per group.

Examples
--------
>>> best = cf.theory.imbalance.equilibrium((5, 5), (100, 1), 1e-3)  # majority and minority
>>> best.singular_values.round(4)
array([5.6434, 2.0054])
>>> dead = cf.theory.imbalance.minority_threshold((5, 5), (100, 1)).groups  # lW lH
>>> np.sqrt(dead).round(5)
array([0.0198 , 0.00198])
"""

from ._equilibrium import Equilibrium, Rates, Thresholds, equilibrium, minority_threshold, rates
from ._groups import Geometry, GroupLayers
from ._path import Path, path
from ._seli import Approach, Seli, approach, seli

__all__ = [
    "Approach",
    "Equilibrium",
    "Geometry",
    "GroupLayers",
    "Path",
    "Rates",
    "Seli",
    "Thresholds",
    "approach",
    "equilibrium",
    "minority_threshold",
    "path",
    "rates",
    "seli",
]
