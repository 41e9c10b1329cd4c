"""Symmetries: association schemes (diagonal softmax) and coherent configurations (block-diagonal softmax).

A scheme on K points partitions all pairs of points into relations j = 0..D (0 is the diagonal) such that the 0/1
matrices of the relations span an algebra, the Bose-Mesner algebra. So matrices that are constant on every relation are
closed under entrywise functions *and* under products. If the logits are such a matrix, so is their softmax, and both
have the same constant eigenspaces i = 0..D [ceflow]. ``hadamard(K)`` is the scheme behind Hadamard initialization
(Garrod, Keating & Thrampoulidis, arXiv:2512.04006). Notation as in Bannai & Ito, *Algebraic Combinatorics I:
Association Schemes*:

=========  =========================================================================
``k_j``    valencies: number of points in relation j to a given point
``m_i``    multiplicities: dimension of eigenspace i
``P_ij``   eigenmatrix: eigenvalue of relation j on eigenspace i
=========  =========================================================================

If there are several kinds of classes or hidden units, a *coherent configuration* replaces the scheme: points are
grouped in fibres, relations are between fibres, and eigenvalues become blocks (see `Symmetry`). `direct_sum`,
`subsets`, `orbitals`, `coherent` and `symmetry_of` return them [ceflow].

The dynamics depend on P only through the *gaps* ``1 - P_ij / k_j``. They are nonnegative, and computed without
cancellation.

A new scheme is a module of this package with a factory decorated by `register`. Its name is then in this module, in
`ceflow`, in `from_spec`, in `parse` and on the command line.

Examples
--------
>>> scheme = cf.hamming(2, 3)
>>> scheme.modes, scheme.eigenmatrix.tolist()
(2, [[1.0, 4.0, 4.0], [1.0, 1.0, -2.0], [1.0, -2.0, 1.0]])
>>> cf.symmetry.parse("hamming:2,3") == scheme
True
"""

import importlib
import pkgutil

from ._closure import symmetry_of
from ._coherent import Coherent, coherent
from ._cyclic import cyclic
from ._direct_sum import DirectSum, direct_sum
from ._hadamard import hadamard
from ._hamming import complete, hamming
from ._johnson import johnson
from ._linear_map import LINEAR_MAP, LinearMap, dense_map
from ._orbitals import orbitals, subsets, trivial
from ._parse import CLASSES, forms, parse
from ._registry import SCHEMES, register
from ._relations import from_relations
from ._scheme import MAX_CLASSES, Scheme
from ._symmetry import LogitMaps, Symmetry, from_spec
from ._transform import TRANSFORM, Transform, Transforms

__all__ = [
    "CLASSES",
    "LINEAR_MAP",
    "MAX_CLASSES",
    "SCHEMES",
    "TRANSFORM",
    "Coherent",
    "DirectSum",
    "LinearMap",
    "LogitMaps",
    "Scheme",
    "Symmetry",
    "Transform",
    "Transforms",
    "coherent",
    "complete",
    "cyclic",
    "dense_map",
    "direct_sum",
    "forms",
    "from_relations",
    "from_spec",
    "hadamard",
    "hamming",
    "johnson",
    "orbitals",
    "parse",
    "register",
    "subsets",
    "symmetry_of",
    "trivial",
]

# the names above are for editors; further modules add theirs here
for _found in pkgutil.iter_modules(__path__):
    importlib.import_module(f".{_found.name}", __name__)
globals().update({name: entry.factory for name, entry in SCHEMES.items()})
__all__ += sorted(SCHEMES.keys() - set(__all__))
