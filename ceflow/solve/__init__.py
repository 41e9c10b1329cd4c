"""The solver: it integrates vector fields in a clock of their own, and knows no flow."""

from .outcome import Outcome
from .path import Path, Steps
from .stepping import DEFAULT, Stepper
from .tableaus import TABLEAUS, Tableau

__all__ = ["DEFAULT", "TABLEAUS", "Outcome", "Path", "Stepper", "Steps", "Tableau"]
