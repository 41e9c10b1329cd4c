"""Terms of an objective that are functions of the layers, not of the logits alone.

A term is a function of the classifier W and its input features X. It is added to the loss without reduction and without
sample weights. Each term is one file of this package (see `Term`); use it by ``MatrixFlow(terms=(...,))``.

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

for _module in pkgutil.iter_modules(__path__):  # the other terms, by file name
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
