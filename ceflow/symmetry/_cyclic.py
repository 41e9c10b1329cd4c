"""Symmetric circulants."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .._checks import checked_integer
from ._registry import register
from ._scheme import Scheme, frozen, require_room


@dataclass(frozen=True, eq=False, repr=False)
class _Cyclic(Scheme):
    def _gaps(self) -> NDArray[np.float64]:
        index = np.arange(self.modes + 1)
        turns = np.outer(index, index) % self.classes
        return 2 * np.sin(np.pi * np.minimum(turns, self.classes - turns) / self.classes) ** 2

    def _eigenvalues(self) -> NDArray[np.float64]:
        return self.valencies * (1 - self._gaps())

    def _relations(self) -> NDArray[Any]:
        points = np.arange(self.classes)
        distance = np.abs(np.subtract.outer(points, points))
        return np.minimum(distance, self.classes - distance)

    def _eigenvectors(self) -> NDArray[np.float64]:
        frequency = self.columns
        sine = np.append(False, frequency[1:] == frequency[:-1])  # a sine is a cosine shifted by a quarter period
        quarters = (4 * np.outer(np.arange(self.classes), frequency) - self.classes * sine) % (4 * self.classes)
        return np.sqrt(self.multiplicities[frequency] / self.classes) * np.cos(np.pi / 2 * quarters / self.classes)


@register("any K")
def cyclic(K: int) -> Scheme:
    """Scheme of symmetric circulants on K points: x and y are in relation j if their circular distance is j.

    Mode i = 1..K//2 is the frequency i, with the basis ``cos(2 pi i x / K)``, then ``sin(2 pi i x / K)``, normalized.
    Valencies and multiplicities are 2, or 1 at index K/2.

    Parameters
    ----------
    K : int
        From 2 to 2**15 - 1.

    Raises
    ------
    TypeError, ValueError
        If K is invalid.

    Examples
    --------
    >>> scheme = cf.cyclic(5)
    >>> scheme.modes, scheme.multiplicities
    (2, array([1., 2., 2.]))
    """
    K = checked_integer("K", K, 2)
    require_room(f"the gap matrix of cyclic({K})", K // 2 + 1, K // 2 + 1)
    sizes = np.full(K // 2 + 1, 2.0)
    sizes[0] = 1
    if K % 2 == 0:
        sizes[-1] = 1
    return _Cyclic("cyclic", (K,), K, frozen(sizes), frozen(sizes))
