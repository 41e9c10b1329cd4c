"""Symmetries of permutation groups."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from typing import cast

import numpy as np
import scipy
from numpy.typing import ArrayLike

from .._checks import checked_integer
from ._coherent import Coherent
from ._symmetry import KINDS, require_room


def orbitals(generators: ArrayLike) -> Coherent:
    """Make the symmetry of a permutation group: relations are the orbits on pairs of points.

    Parameters
    ----------
    generators : (g, n) integers
        Permutations that generate the group, each as the images of the points 0..n-1.

    Returns
    -------
    Symmetry
        Coherent configuration; it is saved by its relations.

    Raises
    ------
    TypeError, ValueError
        If a generator is not a permutation.

    Examples
    --------
    >>> cf.orbitals([[1, 2, 3, 4, 0]]).relations()[0]  # five classes on a directed circle
    array([0, 1, 2, 3, 4])
    """
    given = np.atleast_2d(np.asarray(generators))
    if given.dtype.kind not in "iu":
        raise TypeError(f"generators must be permutations of 0..n-1, integers; got dtype {given.dtype}")
    if given.ndim != 2 or not given.size:
        raise ValueError(f"generators must be of shape (g, n), got {given.shape}")
    n = given.shape[1]
    require_room("the pairs of points", n, n)
    for row in given:
        if not np.array_equal(np.sort(row), np.arange(n)):
            raise ValueError(f"generators must be permutations of 0..{n - 1}, got {row.tolist()}")
    pairs = np.arange(n * n)
    images = [(row[:, None] * n + row).ravel() for row in given]
    places = np.tile(pairs, len(images)), np.concatenate(images)
    graph = scipy.sparse.coo_array((np.ones(places[0].size, bool), places), shape=(n * n, n * n))
    labels = scipy.sparse.csgraph.connected_components(graph, directed=False)[1].reshape(n, n)
    return Coherent(labels.astype(np.int64))


def trivial(*fibres: int) -> Coherent:
    """Trivial symmetry: every pair of points is a relation, and the only block is the whole matrix.

    Parameters
    ----------
    *fibres : int
        Numbers of points, which are added; every point is a fibre.

    Examples
    --------
    >>> cf.trivial(3).block_sizes, cf.trivial(3).multiplicities
    (array([[1, 1, 1]]), array([1.]))
    """
    n = sum(checked_integer("the number of points", size, 1) for size in fibres)
    require_room("the relations of no symmetry", n, n)
    return Coherent(np.arange(n * n, dtype=np.int64).reshape(n, n), "trivial", (n,))


def subsets(r: int, sizes: Sequence[int] | int) -> Coherent:
    """Symmetry of the subsets of r elements with given sizes; relations are by sizes and number of common elements.

    ``subsets(5, (1, 2))`` are the vertices and the edges of the complete graph on 5 vertices; ``subsets(n, k)`` is the
    scheme `johnson(n, k)`.

    Parameters
    ----------
    r : int
        Number of elements.
    sizes : int or sequence of ints
        Increasing sizes from 1 to r - 1. Each size is a fibre; subsets are in lexicographic order.

    Raises
    ------
    TypeError, ValueError
        If r or sizes are invalid.

    Examples
    --------
    >>> symmetry = cf.subsets(5, (1, 2))
    >>> symmetry.fibres, symmetry.multiplicities, symmetry.block_sizes.tolist()
    ((5, 10), array([1., 4., 5.]), [[1, 1], [1, 1], [0, 1]])
    """
    r = checked_integer("r", r, 2)
    given: list = [sizes] if np.ndim(sizes) == 0 else list(cast("Sequence[int]", sizes))
    found = tuple(checked_integer("sizes", size, 1, r - 1) for size in given)
    if not found or list(found) != sorted(set(found)):
        raise ValueError(f"sizes must increase, got {sizes!r}")
    members = []
    for size in found:
        for subset in combinations(range(r), size):
            row = np.zeros(r)
            row[list(subset)] = 1.0
            members.append(row)
        require_room(f"the relations of subsets({r}, {found})", len(members), len(members))
    member = np.array(members)
    shared, own = (member @ member.T).astype(np.int64), member.sum(axis=1).astype(np.int64)
    code = (own[:, None] * (r + 1) + own) * (r + 1) + own.max() - shared  # the first code of a fibre is its diagonal
    labels = np.unique(code, return_inverse=True)[1].reshape(code.shape)
    return Coherent(labels.astype(np.int64), "subsets", (r, found))


KINDS |= {"trivial": trivial, "subsets": subsets}
