"""Cross-entropy on imbalanced classes: where two linear layers go, with weight decay and without, and how fast.

Classes fall into groups of equal numbers of samples, ``classes=(5, 5), samples=(100, 1)`` for example: step imbalance.
`seli` is the geometry that is approached without decay, and `approach` the law by which it is; `equilibrium` is the
optimum with decay, `path` many of them, `minority_threshold` where parts of it die, and `rates` how fast it is reached.
All of it is about gradient flow of unconstrained features (`ceflow.SpectralFlow` of `ceflow.direct_sum`), which is
convex in the logits. Results are named tuples of arrays with one entry for each group.

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
