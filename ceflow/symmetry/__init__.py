"""Symmetries: association schemes, which keep the softmax diagonal, and coherent configurations, which keep blocks.

A scheme on K points sorts all pairs of points into relations j = 0..D (0 is the diagonal) such that the 0/1 matrices of
the relations span an algebra, the Bose-Mesner algebra. Matrices that are constant on every relation are therefore
closed under entrywise functions *and* under products. If the logits are such a matrix then so is their softmax, and
both have the same eigenspaces i = 0..D for ever [ceflow]. ``hadamard(K)`` is the scheme behind Hadamard initialization
(Garrod, Keating & Thrampoulidis, arXiv:2512.04006). The notation is that of Bannai & Ito, *Algebraic Combinatorics I:
Association Schemes*:

=========  =========================================================================
``k_j``    valencies: how many points are in relation j to any given point
``m_i``    multiplicities: the dimension of eigenspace i
``P_ij``   eigenmatrix: the eigenvalue of relation j on eigenspace i
=========  =========================================================================

Where classes, or hidden units, are of several kinds, a *coherent configuration* takes the place of a scheme: points are
in fibres, relations lie between fibres, and eigenvalues become blocks, see `Symmetry`. `direct_sum`, `subsets`,
`orbitals`, `coherent` and `symmetry_of` make them [ceflow].

The dynamics need P only through the *gaps* ``1 - P_ij / k_j``. They are never negative, and are computed here without
the cancellation in that formula.

A module of this package that marks its factory with `register` is all that a scheme needs: its name is then here, in
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

# editors know the names above; those of further modules join them here
for _found in pkgutil.iter_modules(__path__):
    importlib.import_module(f".{_found.name}", __name__)
globals().update({name: entry.factory for name, entry in SCHEMES.items()})
__all__ += sorted(SCHEMES.keys() - set(__all__))
