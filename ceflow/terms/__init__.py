"""Terms of an objective that depend on the layers, and not on the logits alone.

A term is a function of the classifier W and of the features X that it sees. It is added to the loss as it stands: no
reduction, no weight of a sample touches it. Each is one file of this package (see `Term`), and goes into a flow by
``MatrixFlow(terms=(...,))``.
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
