"""Runge-Kutta tableaus as data, one file each; every `Tableau` in a module of this package is registered."""

from __future__ import annotations

import importlib
import pkgutil

from ._tableau import Tableau, interpolation_slopes, interpolation_weights

__all__ = ["TABLEAUS", "Tableau", "interpolation_slopes", "interpolation_weights"]


def _found() -> dict[str, Tableau]:
    modules = sorted(module.name for module in pkgutil.iter_modules(__path__) if module.name[0] != "_")
    values = (value for name in modules for value in vars(importlib.import_module(f".{name}", __name__)).values())
    return {value.name: value for value in values if isinstance(value, Tableau)}


TABLEAUS = _found()
