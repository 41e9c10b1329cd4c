"""Derivations: the theorems as small SymPy modules with line-by-line proofs.

Each module states its theorem in the docstring. `derivation()` yields the steps of the proof, and `check()` returns the
residuals of all steps, which must be exactly 0. `WRONG` lists false variants of the claims, as keyword arguments of
both; `check` must reject them. Steps name their premises (steps of other derivations) and quoted theorems (`_quoted`).
`python -m derivations` proves all; `python -m derivations NAME` prints one proof and proves its premises. Only SymPy is
needed.
"""

from __future__ import annotations

from importlib import import_module
from types import ModuleType

NAMES = (
    "closure",
    "reduction",
    "conservation",
    "positivity",
    "mirror",
    "lyapunov",
    "common_imbalance",
    "geometric_mean",
    "loss_bound",
    "ray",
    "time_bounds",
    "convergence",
    "linearization",
    "critical_points",
    "alignment",
    "depth",
    "squared_loss",
    "coherent",
    "equivariance",
    "groups",
    "balance_laws",
    "samples",
    "contraction",
    "decay_equilibrium",
    "regression",
    "error_exponents",
    "centres",
    "seli",
    "minority_collapse",
    "descent",
    "complexity",
    "landscape",
    "repulsion",
    "low_rank",
    "replay",
    "codes",
    "nearest_etf",
)


def load(name: str) -> ModuleType:
    """Return the module of one derivation.

    Raises
    ------
    ValueError
        If there is no derivation of this name.
    """
    if name not in NAMES:
        raise ValueError(f"no derivation is called {name!r}; choose from {', '.join(NAMES)}")
    return import_module(f"{__name__}.{name}")
