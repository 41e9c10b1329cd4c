"""ceflow: cross-entropy gradient flow on unconstrained features models, exactly where symmetry allows it."""

from . import collapse, losses, lyapunov, theory
from .certificate import Certificate
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


def __getattr__(name: str):
    if name == "plot":  # matplotlib is slow to import and not every run draws
        import importlib

        return importlib.import_module(".plot", __name__)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
