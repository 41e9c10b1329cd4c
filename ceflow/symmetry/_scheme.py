"""What all schemes share: arrays on demand, margins and forces, the description from which they are made again."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from ._registry import SCHEMES
from ._transform import Transform, Transforms

MAX_ENTRIES = 2**28  # of one array: 2 GiB
MAX_CLASSES = 2**1000  # valencies and multiplicities are float64


def frozen(array: ArrayLike, dtype: DTypeLike = np.float64) -> NDArray[Any]:
    array = np.ascontiguousarray(array, dtype)
    array.setflags(write=False)
    return array


def require_room(what: str, *shape: int) -> None:
    if math.prod(shape) > MAX_ENTRIES:
        raise ValueError(f"{what} would have shape {shape}, and at most {MAX_ENTRIES} entries are accepted")


def require_float64(kind: str, classes: int) -> None:
    if classes >= MAX_CLASSES:
        raise ValueError(f"{kind} must have fewer than 2**1000 classes, got about 2**{classes.bit_length() - 1}")


@dataclass(frozen=True, eq=False, repr=False)
class Scheme(ABC):
    """A symmetric association scheme; immutable, made by one of the factory functions of this package.

    Two schemes are equal if they come from the same factory with the same arguments. Arrays are read-only. Dense ones
    are built when first asked for; asking for more than 2**28 entries is a ValueError.

    Attributes
    ----------
    kind, args : str, tuple
        The factory and its arguments.
    classes : int
        Number K of points, which are the classes of the classifier.
    modes : int
        Number D of eigenspaces other than that of the constant vector, and of relations other than the diagonal.
    valencies, multiplicities : (D + 1,) arrays
        ``k_j`` and ``m_i``; both start with 1, for the diagonal and for the constant vector.
    """

    kind: str
    args: tuple[Any, ...]
    classes: int
    valencies: NDArray[np.float64]
    multiplicities: NDArray[np.float64]

    @property
    def modes(self) -> int:
        return self.valencies.size - 1

    @property
    def name(self) -> str:
        """How to write the scheme, for example ``hamming(3, 4)``."""
        return f"{self.kind}({', '.join(map(str, self.args))})"

    @property
    def spec(self) -> dict[str, Any]:
        """All that `from_spec` needs to make the scheme again, in terms of JSON."""
        return {"kind": self.kind, "args": [np.asarray(arg).tolist() for arg in self.args]}

    @cached_property
    def eigenmatrix(self) -> NDArray[np.float64]:
        """(D + 1, D + 1) array ``P_ij``, the eigenvalue of relation j on eigenspace i; row 0 is the valencies."""
        require_room(f"the eigenmatrix of {self.name}", self.modes + 1, self.modes + 1)
        return frozen(self._eigenvalues())

    @cached_property
    def gaps(self) -> NDArray[np.float64]:
        """(D, D) array ``1 - P_ij / k_j`` for i, j = 1..D; non-negative, and accurate even where it is tiny."""
        require_room(f"the gap matrix of {self.name}", self.modes + 1, self.modes + 1)
        return frozen(self._gaps()[1:, 1:])

    @cached_property
    def transforms(self) -> Transforms:
        """How margins and forces are computed, for compiled code too."""
        return Transforms.dense(self.gaps)

    @property
    def columns(self) -> NDArray[np.int64]:
        """(K,) array, the eigenspace (0..D) that each column of `basis` belongs to."""
        require_room(f"the basis columns of {self.name}", self.classes)
        return np.repeat(np.arange(self.modes + 1), self.multiplicities.astype(np.int64))

    def relations(self) -> NDArray[np.int64]:
        """(K, K) array, the relation (0..D) that each pair of points is in."""
        return self._labels

    def basis(self) -> NDArray[np.float64]:
        """Orthonormal eigenvectors common to all relations.

        Returns
        -------
        (K, K) array
            Column 0 is constant, the others are grouped by eigenspace in the order of the modes (see `columns`). Where
            a factory names no basis, the vectors inside an eigenspace are as LAPACK finds them: the same on every call,
            but not on every machine.
        """
        return self._basis

    def margins(self, s: ArrayLike) -> NDArray[np.float64]:
        """Logit margins of given singular values.

        Parameters
        ----------
        s : (..., D) array
            Singular values (eigenvalues) of the logit matrix, one per mode.

        Returns
        -------
        (..., D) array
            ``z_0 - z_j = (1/K) sum_i m_i s_i (1 - P_ij / k_j)`` for the relations j = 1..D.

        Raises
        ------
        TypeError, ValueError
            If s is not an array of finite real numbers of that shape.
        """
        shares = self.multiplicities[1:] / float(self.classes)
        return self._transform(self.transforms.margins, shares * self._checked("s", s))

    def forces(self, r: ArrayLike) -> NDArray[np.float64]:
        """Mode forces of given off-diagonal probabilities.

        Parameters
        ----------
        r : (..., D) array
            ``k_j p_j``, the total probability of the classes in relation j = 1..D to the right one.

        Returns
        -------
        (..., D) array
            ``lambda_i = sum_j (1 - P_ij / k_j) r_j`` for the modes i = 1..D: one minus the eigenvalue of the softmax on
            eigenspace i.

        Raises
        ------
        TypeError, ValueError
            If r is not an array of finite real numbers of that shape.
        """
        return self._transform(self.transforms.forces, self._checked("r", r))

    def __repr__(self) -> str:
        return self.name

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Scheme):
            return NotImplemented
        return self.kind == other.kind and all(map(np.array_equal, self.args, other.args))

    def __hash__(self) -> int:
        return hash((self.kind, self.classes, self.modes))

    def __reduce__(self) -> tuple[Any, ...]:
        return from_spec, ({"kind": self.kind, "args": self.args},)

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
        """P as floats, or as Python integers (dtype object) to have the gaps rounded only once."""

    @abstractmethod
    def _relations(self) -> NDArray[Any]:
        """What `relations` returns, of any dtype."""

    def _gaps(self) -> NDArray[Any]:
        """The gaps, with the row and column of zeros that belong to the index 0."""
        eigenvalues = self._eigenvalues()
        return (eigenvalues[0] - eigenvalues) / eigenvalues[0]

    def _eigenvectors(self) -> NDArray[np.float64]:
        """Eigenvectors of ``sum_i i E_i``, whose eigenvalues are in order and evenly spaced (E_i: the projectors)."""
        levels = np.arange(self.modes + 1) * self.multiplicities / self.classes
        entries = levels @ (self.eigenmatrix / self.valencies)
        return np.linalg.eigh(entries[self.relations()])[1]


def from_spec(spec: Mapping[str, Any]) -> Scheme:
    """The scheme that has the given `Scheme.spec`.

    Parameters
    ----------
    spec : mapping
        ``{"kind": name of a factory, "args": its arguments}``.

    Raises
    ------
    TypeError, ValueError
        If spec is anything else, or the factory refuses the arguments.
    """
    if not isinstance(spec, Mapping):
        raise TypeError(f"spec must be a mapping, got {type(spec).__name__}")
    if spec.keys() != {"kind", "args"} or spec["kind"] not in SCHEMES:
        raise ValueError(
            f'spec must be {{"kind": ..., "args": ...}}, kind one of {", ".join(sorted(SCHEMES))}, '
            f"got keys {', '.join(map(str, spec))} and kind {spec.get('kind')!r}"
        )
    return SCHEMES[spec["kind"]].factory(*spec["args"])
