"""ceflow: cross-entropy gradient flow on unconstrained features models, exactly where symmetry allows it."""

from . import collapse, losses, lyapunov, theory
from .compare import Comparison, compare
from .integrate import collapsed, integrate, load, resume
from .matrix import MatrixFlow, random_init
from .schemes import Scheme, complete, cyclic, from_relations, hadamard, hamming, johnson
from .spectral import SpectralFlow
from .trajectory import Trajectory
from .walsh import walsh_hadamard

__version__ = "0.1.0"

__all__ = [
    "Certificate",
    "Comparison",
    "MatrixFlow",
    "Scheme",
    "SpectralFlow",
    "Trajectory",
    "collapse",
    "collapsed",
    "compare",
    "complete",
    "cyclic",
    "from_relations",
    "hadamard",
    "hamming",
    "integrate",
    "johnson",
    "load",
    "losses",
    "lyapunov",
    "plot",
    "random_init",
    "resume",
    "theory",
    "walsh_hadamard",
]


_LATER = {"plot": "plot", "Certificate": "certificate"}  # what not every run needs, and takes time to import


def __getattr__(name: str):
    if name not in _LATER:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import importlib

    module = importlib.import_module(f".{_LATER[name]}", __name__)
    return module if name == _LATER[name] else getattr(module, name)
