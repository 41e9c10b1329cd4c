"""Derivations: every statement of the theory as a small sympy module that can be followed line by line on paper.

Each module states its theorem in the docstring, yields the proof in `derivation()` step by step,
and returns the residuals of all steps in `check()`: they must be exactly 0. `WRONG` lists false
variants of its claims, as keyword arguments of both; `check` must reject them. Steps name the steps
of other derivations that they use, and the theorems that they quote (`_quoted`). `python -m
derivations` runs all, `python -m derivations NAME` prints one and proves what it rests on. Only
sympy is needed.
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
