"""The solver: integrates vector fields in a rescaled time (clock), independent of the flows."""

from .collocation import NAME as IMPLICIT
from .implicit import ImplicitStepper, first_step, stepper
from .lanes import Lanes
from .members import Found, Knots, Members
from .outcome import Outcome
from .path import Path, Steps
from .stacked import advance_stacked
from .stepping import DEFAULT, Stepper
from .tableaus import TABLEAUS, Tableau

__all__ = [
    "DEFAULT",
    "IMPLICIT",
    "TABLEAUS",
    "Found",
    "ImplicitStepper",
    "Knots",
    "Lanes",
    "Members",
    "Outcome",
    "Path",
    "Stepper",
    "Steps",
    "Tableau",
    "advance_stacked",
    "first_step",
    "stepper",
]
