"""A single class."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ._scheme import Scheme, frozen
from ._symmetry import KINDS


@dataclass(frozen=True, eq=False, repr=False)
class _Point(Scheme):
    @property
    def name(self) -> str:
        return "1"

    def _eigenvalues(self) -> NDArray[np.float64]:
        return np.ones((1, 1))

    def _relations(self) -> NDArray[Any]:
        return np.zeros((1, 1), np.int64)

    def _eigenvectors(self) -> NDArray[np.float64]:
        return np.ones((1, 1))


def point() -> Scheme:
    """Scheme of a single class, without modes, for direct sums."""
    return _Point("point", (), 1, frozen([1.0]), frozen([1.0]))


KINDS["point"] = point
