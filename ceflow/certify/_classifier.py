"""View of a run of features with a nearest, fixed or free classifier."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..reference import ClassifierDefinition
from ._factors import flat
from ._full import FullView


class ClassifierView(FullView):
    """View of a run of an ETFFlow, with states (n, N) of the moving factors H, or W and H."""

    def __init__(self, run: Any) -> None:
        super().__init__(run)
        if self.flow.classifier == "nearest" and not self.flow.argmin_gradient:
            self.why_loss_may_rise = "the classifier follows the features, not the gradient of the loss"

    def _definition(self, run: Any) -> ClassifierDefinition:
        return ClassifierDefinition(run.flow, run.start[0])

    def _moving(self, parts: Any) -> tuple[NDArray[np.float64], ...]:
        return tuple(parts)[-2 if self.flow.classifier == "free" else -1 :]

    def _why_no_law(self) -> str:
        return "not claimed for a computed classifier or features on spheres"

    def layers(self, rows: Any) -> NDArray:
        return flat(self._moving((rows.W, rows.H)), len(rows))
