"""Losses on unconstrained features, their residuals, and functions of margins.

All are functions of the margins ``z_0 - z_j``, one for each relation j = 1..D of an association scheme. In a plain
column of K logits every wrong class is a relation of valency 1.

Each loss is one file of this package (see `Loss`).

Examples
--------
>>> run = cf.integrate(cf.SpectralFlow(cf.complete(10), loss=cf.losses.focal(3.0)), [0.1], 1e3)
>>> f"{run.flow.loss}: {run.loss[-1]:.6f}"
'focal(3): 0.000089'
"""

import importlib
import pkgutil

# isort: off
# in the order in which they are listed
from ._cross_entropy import CrossEntropy
from ._squared_error import SquaredError
from ._label_smoothing import LabelSmoothing, label_smoothing
from ._focal import Focal, focal
# isort: on
from ._loss import REGISTRY, Loss, as_loss, forms, from_spec, full_residual, parse, residual
from ._margins import (
    NO_ODDS,
    accuracy_gap,
    cross_entropy,
    log_accuracy_gap,
    log_cross_entropy,
    log_odds_of_error,
)

for _module in pkgutil.iter_modules(__path__):  # the other losses, by file name
    importlib.import_module(f"{__name__}.{_module.name}")

LOSSES = tuple(REGISTRY)

__all__ = [
    "LOSSES",
    "NO_ODDS",
    "CrossEntropy",
    "Focal",
    "LabelSmoothing",
    "Loss",
    "SquaredError",
    "accuracy_gap",
    "as_loss",
    "cross_entropy",
    "focal",
    "forms",
    "from_spec",
    "full_residual",
    "label_smoothing",
    "log_accuracy_gap",
    "log_cross_entropy",
    "log_odds_of_error",
    "parse",
    "residual",
]
