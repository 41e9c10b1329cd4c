"""Base class of association schemes."""

from __future__ import annotations

import math
from abc import abstractmethod
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .._html import few
from ..kernels import cached_in_each_life
from ._parts import maps_of_parts
from ._symmetry import LogitMaps, Symmetry, frozen, require_room
from ._transform import Transform, Transforms

MAX_CLASSES = 2**1000  # valencies and multiplicities are float64


def require_float64(kind: str, classes: int) -> None:
    if classes >= MAX_CLASSES:
        raise ValueError(f"{kind} must have fewer than 2**1000 classes, got about 2**{classes.bit_length() - 1}")


@dataclass(frozen=True, eq=False, repr=False)
class Scheme(Symmetry):
    """Symmetric association scheme; immutable, returned by the factory functions of this package.

    Schemes are equal if they have the same factory and arguments. Arrays are read-only. Dense arrays are computed at
    first access; more than 2**28 entries raise a ValueError.

    Attributes
    ----------
    kind, args : str, tuple
        Factory and its arguments.
    classes : int
        Number K of points, the classes.
    modes : int
        Number D of eigenspaces without that of the constant vector, and of relations without the diagonal.
    valencies, multiplicities : (D + 1,) arrays
        ``k_j`` and ``m_i``; both start with 1, for the diagonal and for the constant vector.

    Examples
    --------
    >>> scheme = cf.hamming(2, 3)
    >>> scheme.classes, scheme.modes, scheme.multiplicities
    (9, 2, array([1., 4., 4.]))
    >>> scheme == cf.hamming(2, 3), scheme
    (True, hamming(2, 3))
    """

    kind: str
    args: tuple[Any, ...]
    classes: int
    valencies: NDArray[np.float64]
    multiplicities: NDArray[np.float64]

    @property
    def modes(self) -> int:
        return self.valencies.size - 1

    def _facts(self) -> list[tuple[str, object]]:
        facts = [("classes K", self.classes), ("modes D", self.modes)]
        return [*facts, ("valencies", few(self.valencies)), ("multiplicities", few(self.multiplicities))]

    # as a coherent configuration: one fibre, and blocks of size 1

    @property
    def fibres(self) -> tuple[int, ...]:
        return (self.classes,)

    @property
    def row_fibre(self) -> NDArray[np.int64]:
        return np.zeros(self.modes + 1, np.int64)

    column_fibre = row_fibre

    @property
    def transposed(self) -> NDArray[np.int64]:
        return np.arange(self.modes + 1)

    @property
    def diagonals(self) -> NDArray[np.int64]:
        return np.zeros(1, np.int64)

    @property
    def block_sizes(self) -> NDArray[np.int64]:
        return np.ones((self.modes + 1, 1), np.int64)

    def vectors(self, i: int) -> NDArray[np.float64]:
        return self.basis()[:, None, self.columns == i]

    def _images(self) -> NDArray[np.float64]:
        return self.eigenmatrix

    @cached_in_each_life
    def logit_maps(self) -> LogitMaps:
        """Maps to margins and forces, including the block of the constants."""
        return LogitMaps(**maps_of_parts((self,), self.row_fibre, self.column_fibre))

    @cached_property
    def eigenmatrix(self) -> NDArray[np.float64]:
        """(D + 1, D + 1) eigenmatrix ``P_ij``, eigenvalue of relation j on eigenspace i; row 0 has the valencies."""
        require_room(f"the eigenmatrix of {self.name}", self.modes + 1, self.modes + 1)
        return frozen(self._eigenvalues())

    @cached_property
    def gaps(self) -> NDArray[np.float64]:
        """(D, D) array ``1 - P_ij / k_j`` for i, j = 1..D; nonnegative, with full relative accuracy."""
        require_room(f"the gap matrix of {self.name}", self.modes + 1, self.modes + 1)
        return frozen(self._gaps()[1:, 1:])

    @cached_property
    def transforms(self) -> Transforms:
        """Transforms to margins and forces, interpreted and compiled."""
        return Transforms.dense(self.gaps)

    @property
    def columns(self) -> NDArray[np.int64]:
        """(K,) eigenspace (0..D) of each column of `basis`."""
        require_room(f"the basis columns of {self.name}", self.classes)
        return np.repeat(np.arange(self.modes + 1), self.multiplicities.astype(np.int64))

    def relations(self) -> NDArray[np.int64]:
        """(K, K) relation (0..D) of each pair of points.

        Examples
        --------
        >>> cf.cyclic(4).relations()
        array([[0, 1, 2, 1],
               [1, 0, 1, 2],
               [2, 1, 0, 1],
               [1, 2, 1, 0]])
        """
        return self._labels

    def basis(self) -> NDArray[np.float64]:
        """Orthonormal common eigenvectors of all relations.

        Returns
        -------
        (K, K) array
            Column 0 is constant, the others are grouped by eigenspace in the order of the modes (see `columns`). If the
            factory defines no basis, the vectors within an eigenspace are computed by LAPACK: they are reproducible on
            one machine, and may differ between machines.

        Examples
        --------
        >>> 2 * cf.hadamard(4).basis()
        array([[ 1.,  1.,  1.,  1.],
               [ 1., -1.,  1., -1.],
               [ 1.,  1., -1., -1.],
               [ 1., -1., -1.,  1.]])
        """
        return self._basis

    def margins(self, s: ArrayLike) -> NDArray[np.float64]:
        """Logit margins from singular values.

        Parameters
        ----------
        s : (..., D) array
            Singular values (eigenvalues) of the logits, one per mode.

        Returns
        -------
        (..., D) array
            ``z_0 - z_j = (1/K) sum_i m_i s_i (1 - P_ij / k_j)`` for the relations j = 1..D.

        Raises
        ------
        TypeError, ValueError
            If s is not an array of finite real numbers of this shape.

        Examples
        --------
        >>> cf.hadamard(4).margins([1.0, 2.0, 3.0])
        array([2. , 2.5, 1.5])
        """
        shares = self.multiplicities[1:] / float(self.classes)
        return self._transform(self.transforms.margins, shares * self._checked("s", s))

    def forces(self, r: ArrayLike) -> NDArray[np.float64]:
        """Forces on the modes from off-diagonal probabilities.

        Parameters
        ----------
        r : (..., D) array
            ``k_j p_j``, total probability of the classes in relation j = 1..D to the true class.

        Returns
        -------
        (..., D) array
            ``lambda_i = sum_j (1 - P_ij / k_j) r_j`` for the modes i = 1..D: 1 minus the eigenvalue of the softmax on
            eigenspace i.

        Raises
        ------
        TypeError, ValueError
            If r is not an array of finite real numbers of this shape.

        Examples
        --------
        >>> cf.hadamard(4).forces([0.1, 0.2, 0.1]).round(4)
        array([0.4, 0.6, 0.6])
        """
        return self._transform(self.transforms.forces, self._checked("r", r))

    def _checked(self, name: str, values: ArrayLike) -> NDArray[np.float64]:
        array = np.asarray(values)
        if array.dtype.kind not in "iuf":
            raise TypeError(f"{name} must be an array of real numbers, got dtype {array.dtype}")
        if array.ndim == 0 or array.shape[-1] != self.modes:
            raise ValueError(f"{name} must have shape (..., {self.modes}) for {self.name}, got {array.shape}")
        if not np.isfinite(array).all():
            raise ValueError(f"{name} must be finite, got {array[~np.isfinite(array)][0]}")
        return array.astype(np.float64, order="C")

    def _transform(self, transform: Transform, x: NDArray[np.float64]) -> NDArray[np.float64]:
        return transform.rows(x.reshape(-1, self.modes)).reshape(x.shape)

    @cached_property
    def _labels(self) -> NDArray[np.int64]:
        require_room(f"the relation labels of {self.name}", self.classes, self.classes)
        return frozen(self._relations(), np.int64)

    @cached_property
    def _basis(self) -> NDArray[np.float64]:
        require_room(f"the basis of {self.name}", self.classes, self.classes)
        vectors = self._eigenvectors()
        vectors[:, 0] = 1 / math.sqrt(self.classes)
        return frozen(vectors)

    @abstractmethod
    def _eigenvalues(self) -> NDArray[Any]:
        """P as floats, or as Python integers (dtype object) so that the gaps are rounded only once."""

    @abstractmethod
    def _relations(self) -> NDArray[Any]:
        """Relations (K, K) of any dtype."""

    def _gaps(self) -> NDArray[Any]:
        """Gaps with the zero row and column of index 0."""
        eigenvalues = self._eigenvalues()
        return (eigenvalues[0] - eigenvalues) / eigenvalues[0]

    def _eigenvectors(self) -> NDArray[np.float64]:
        """Eigenvectors of ``sum_i i E_i`` with the projectors E_i; eigenvalues are sorted and evenly spaced."""
        levels = np.arange(self.modes + 1) * self.multiplicities / self.classes
        entries = levels @ (self.eigenmatrix / self.valencies)
        return np.linalg.eigh(entries[self.relations()])[1]
