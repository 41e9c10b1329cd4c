"""Adapted basis of a coherent configuration, by random elements of the algebra."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

ACCURACY = 1e-12  # largest error of the basis divided by the number of points
_ATTEMPTS = 5


class AdaptedBlock(NamedTuple):
    """A block: orthonormal vectors (n, n_i, m_i) grouped by fibre, their number per fibre (F,), and its structure (1
    real, 2 complex, 4 quaternionic type)."""

    vectors: NDArray[np.float64]
    sizes: NDArray[np.int64]
    structure: int


class _TryAgain(Exception):
    """Raised if random elements do not separate all eigenspaces."""


def adapted_basis(labels: NDArray[np.int64], fibre_of: NDArray[np.int64]) -> list[AdaptedBlock]:
    """Blocks of the configuration with these relations (n, n); the first one is that of the constants.

    A random symmetric element without entries between fibres has one eigenspace for each copy of each irreducible in
    each fibre. Other random elements determine which copies are isomorphic, and match their bases.
    """
    for attempt in range(_ATTEMPTS):
        try:
            return _attempt(labels, fibre_of, np.random.default_rng(attempt))
        except _TryAgain:
            continue
    raise ValueError("no adapted basis was found to rounding: the configuration may be too large")


def _attempt(labels, fibre_of, rng) -> list[AdaptedBlock]:
    count = int(labels.max()) + 1

    def element() -> NDArray[np.float64]:
        return rng.standard_normal(count)[labels]

    spaces, owners = [], []
    for f in range(int(fibre_of.max()) + 1):
        own = np.flatnonzero(fibre_of == f)
        x = element()[np.ix_(own, own)]
        for space in _eigenspaces(x + x.T):
            whole = np.zeros((len(labels), space.shape[1]))
            whole[own] = space
            spaces.append(whole)
            owners.append(f)
    link, other = element(), element()
    blocks, left = [], list(range(len(spaces)))
    while left:
        first = left[0]
        reference = _with_structure(spaces[first], [element() for _ in range(3)])
        structure = reference.shape[1]
        flat = reference.reshape(len(labels), -1)
        copies, members = [reference], [first]
        for b in left[1:]:
            if spaces[b].shape[1] != flat.shape[1]:
                continue
            overlap = spaces[b].T @ (link @ flat)
            size = np.linalg.norm(overlap) / np.sqrt(flat.shape[1])
            if size > 1e-7 * np.linalg.norm(link, 2):
                left_vectors, _, right = np.linalg.svd(overlap)
                copies.append((spaces[b] @ (left_vectors @ right)).reshape(reference.shape))
                members.append(b)
        left = [b for b in left if b not in members]
        order = np.argsort([owners[b] for b in members], kind="stable")
        vectors = np.concatenate([copies[k] for k in order], axis=1)
        sizes = np.bincount([owners[b] for b in members], minlength=int(fibre_of.max()) + 1) * structure
        _verify(vectors, other)
        blocks.append(AdaptedBlock(vectors, sizes, structure))
    return _constants_first(blocks, fibre_of)


def _eigenspaces(matrix) -> list[NDArray[np.float64]]:
    values, vectors = np.linalg.eigh(matrix)
    scale = max(np.abs(values).max(), 1e-300)
    cuts = np.flatnonzero(np.diff(values) > 1e-9 * scale) + 1
    if np.any((np.diff(values) > 1e-12 * scale) & (np.diff(values) < 1e-7 * scale)):
        raise _TryAgain
    return np.split(vectors, cuts, axis=1)


def _with_structure(space, elements) -> NDArray[np.float64]:
    """Vectors (n, d, m) of one copy; d is 1 for real, 2 for complex, 4 for quaternionic type.

    On the eigenspace, elements act as numbers of this type, whose imaginary parts are antisymmetric.
    """
    size = space.shape[1]
    found: list[NDArray[np.float64]] = []
    for x in elements:
        part = space.T @ x @ space
        part = (part - part.T) / 2.0
        norm = np.linalg.norm(part)
        for unit in found:
            part = part - unit * np.sum(unit * part) / size
        if np.linalg.norm(part) > 1e-8 * max(norm, np.linalg.norm(x, 2)):
            found.append(part * np.sqrt(size) / np.linalg.norm(part))  # an imaginary unit: its square is -1
    if not found:
        return space[:, None, :]
    units = [np.eye(size), found[0]]
    if len(found) > 1:
        units += [found[1], found[0] @ found[1]]
    vectors, rest = [], np.eye(size)
    while rest.shape[1]:
        own = np.stack([unit @ rest[:, 0] for unit in units], axis=1)
        vectors.append(space @ own)
        rest = rest @ np.linalg.svd(rest.T @ own)[0][:, len(units) :]
    return np.stack(vectors, axis=2)


def _verify(vectors, element) -> None:
    """Check that an element acts in the same way on all copies."""
    n, size, m = vectors.shape
    flat = vectors.reshape(n, -1)
    if np.abs(flat.T @ flat - np.eye(size * m)).max() > ACCURACY * n:
        raise _TryAgain
    image = np.einsum("xam,xbl->ambl", vectors, np.einsum("xy,ybl->xbl", element, vectors))
    block = np.einsum("ambm->ab", image) / m
    wrong = np.abs(image - block[:, None, :, None] * np.eye(m)[None, :, None, :]).max()
    if wrong > ACCURACY * n * max(1.0, np.linalg.norm(element, 2)):
        raise _TryAgain


def _constants_first(blocks, fibre_of) -> list[AdaptedBlock]:
    count = int(fibre_of.max()) + 1
    constants = (fibre_of[:, None] == np.arange(count)) / np.sqrt(np.bincount(fibre_of))
    for i, block in enumerate(blocks):
        if block.vectors.shape[2] == 1 and np.all(block.sizes == 1):
            weights = np.abs(np.einsum("xf,xf->f", constants, block.vectors[:, :, 0]))
            if np.all(weights > 1.0 - 1e-6):
                first = AdaptedBlock(constants[:, :, None], block.sizes, 1)
                return [first, *blocks[:i], *blocks[i + 1 :]]
    raise _TryAgain
