"""Gradient flow on unconstrained features models; exact reduction to singular values for symmetric starts.

Examples
--------
>>> run = cf.integrate(cf.SpectralFlow(cf.hadamard(4)), [1e-3, 2e-3, 3e-3], t_end=1e30)
>>> print(run.singular_values[-1].round(2), f"{run.loss[-1]:.1e}")
[74.06 74.06 74.06] 2.1e-32
"""

from typing import TYPE_CHECKING

from . import _methods as _methods  # certificate() of trajectories, plot() of comparisons
from . import basins, collapse, losses, lyapunov, symmetry, terms, theory
from ._classifiers import ClassifierComparison, compare_classifiers
from ._compare import Comparison, compare
from ._descent import descend, sharpness
from ._ensemble import Ensemble
from ._events import Event, collapsed, event
from ._integrate import integrate, resume, sequence
from ._lowest import lowest
from ._many import integrate_many
from ._sweep import sweep
from ._training import from_torch, record
from .flow import MatrixFlow, Objective, RegressionFlow, ReplayFlow, SpectralFlow, random_init
from .flow.centres import Centres
from .flow.etf import ETFFlow, ReducedETFFlow
from .io import load
from .kernels import settings
from .solve import Outcome
from .symmetry import (
    SCHEMES,
    Scheme,
    Symmetry,
    coherent,
    complete,
    cyclic,
    direct_sum,
    from_relations,
    hadamard,
    hamming,
    johnson,
    orbitals,
    subsets,
    symmetry_of,
    trivial,
)
from .trajectory import Trajectory

if TYPE_CHECKING:  # imported at first access
    from . import certify, plot, reference, rigor
    from .certify import Certificate

__version__ = "0.1.0"

__all__ = [
    "Centres",
    "Certificate",
    "ClassifierComparison",
    "Comparison",
    "ETFFlow",
    "Ensemble",
    "Event",
    "MatrixFlow",
    "Objective",
    "Outcome",
    "ReducedETFFlow",
    "RegressionFlow",
    "ReplayFlow",
    "Scheme",
    "SpectralFlow",
    "Symmetry",
    "Trajectory",
    "basins",
    "certify",
    "coherent",
    "collapse",
    "collapsed",
    "compare",
    "compare_classifiers",
    "complete",
    "cyclic",
    "descend",
    "direct_sum",
    "event",
    "from_relations",
    "from_torch",
    "hadamard",
    "hamming",
    "integrate",
    "integrate_many",
    "johnson",
    "load",
    "losses",
    "lowest",
    "lyapunov",
    "orbitals",
    "plot",
    "random_init",
    "record",
    "reference",
    "resume",
    "rigor",
    "sequence",
    "settings",
    "sharpness",
    "subsets",
    "sweep",
    "symmetry",
    "symmetry_of",
    "terms",
    "theory",
    "trivial",
]

globals().update({name: entry.factory for name, entry in SCHEMES.items()})  # the names above are for editors
__all__ += sorted(SCHEMES.keys() - set(__all__))

_LATER = {  # slow to import and rarely needed: imported at first access
    "Certificate": "certify",
    "certify": "certify",
    "plot": "plot",
    "reference": "reference",
    "rigor": "rigor",
}


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


if not TYPE_CHECKING:  # a type checker would accept any attribute

    def __getattr__(name: str):
        if name not in _LATER:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        import importlib

        module = importlib.import_module(f".{_LATER[name]}", __name__)
        return module if name == _LATER[name] else getattr(module, name)
