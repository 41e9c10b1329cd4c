"""Terms of an objective that depend on the layers, and not on the logits alone.

A term is a function of the classifier W and of the features X that it sees. It is added to the loss as it stands: no
reduction, no weight of a sample touches it. Each is one file of this package (see `Term`), and goes into a flow by
``MatrixFlow(terms=(...,))``.

Examples
--------
>>> flow = cf.MatrixFlow(terms=(cf.terms.Alignment(0.1),), weight_decay=0.01)
>>> run = cf.integrate(flow, cf.random_init(classes=3, width=3, scale=1.0, rng=0), 10.0, rtol=1e-6)
>>> f"penalty {run.penalty[0]:.4f}, then {run.penalty[-1]:.4f}"
'penalty 0.1509, then 0.0728'
"""

import importlib
import pkgutil

# isort: off
# in the order in which they are listed
from ._alignment import Alignment
from ._centres import CentreCosine, CentreSquaredCosine, CentreSquaredError, CentreTerm
# isort: on
from ._term import REGISTRY, Term, as_term

for _module in pkgutil.iter_modules(__path__):  # those that follow, by the names of their files
    importlib.import_module(f"{__name__}.{_module.name}")

TERMS = tuple(REGISTRY)

__all__ = [
    "TERMS",
    "Alignment",
    "CentreCosine",
    "CentreSquaredCosine",
    "CentreSquaredError",
    "CentreTerm",
    "Term",
    "as_term",
]
