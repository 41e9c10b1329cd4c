"""Between the blocks of a reduced flow and full matrices."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ..network.layers import Layers, packed, sides, unpacked

if TYPE_CHECKING:
    from .blocks import BlockFlow

RANK = 1e-12  # singular value, over the largest, below which a hidden direction of a block is rounding


def class_vectors(flow: BlockFlow) -> list[np.ndarray]:
    """(K, n_i, m_i) adapted vectors of each block on the classes."""
    return [_on(flow, i, flow.class_fibres) for i in flow.kept]


def _on(flow: BlockFlow, i: int, fibres: tuple[int, ...]) -> np.ndarray:
    """The vectors (points, n, m) of a block of the symmetry on the points of some fibres."""
    inside = np.isin(flow.symmetry.fibre_of, fibres)
    columns = np.repeat(np.isin(np.arange(len(flow.symmetry.fibres)), fibres), flow.symmetry.block_sizes[i])
    return flow.symmetry.vectors(i)[inside][:, columns]


def lift(flow: BlockFlow, start: Layers, width: int | None, rng: np.random.Generator) -> tuple[np.ndarray, ...]:
    """Factors W (K, d), ..., H (d, K) with these blocks, in random frames of hidden units, and the bias (K,)."""
    blocks = unpacked(start.flat, sides(flow.outer, start.widths))
    outer, counts = class_vectors(flow), flow.multiplicities.astype(int)
    if flow.hidden_fibres:
        inner = [_on(flow, i, flow.hidden_fibres) for i in flow.kept]
        levels = [outer, *[inner] * (flow.depth - 1), outer]
    else:
        needed = int((start.widths.max(axis=1, initial=0) * counts).sum())
        width = max(needed, flow.classes) if width is None else width
        if width < needed:
            raise ValueError(f"width must be at least {needed} to hold every block, got {width}")
        levels = [outer]
        for level in range(flow.depth - 1):
            frame, begin, found = np.linalg.qr(rng.standard_normal((width, needed)))[0], 0, []
            for size, m in zip(start.widths[:, level], counts, strict=True):
                found.append(frame[:, begin : begin + size * m].reshape(width, size, m))
                begin += size * m
            levels.append(found)
        levels.append(outer)
    factors = []
    for level in range(flow.depth):
        factor = sum(
            np.tensordot(_times(left, layers[level]), right, axes=((1, 2), (1, 2)))
            for left, layers, right in zip(levels[level], blocks, levels[level + 1], strict=True)
        )
        factors.append(factor)
    bias = (start.bias[np.searchsorted(flow.class_fibres, flow.class_fibre)],) if start.bias.size else ()
    return (*factors, *bias)


def _times(vectors: np.ndarray, block: np.ndarray) -> np.ndarray:
    """(points, w, m) of vectors (points, n, m) and a block (n, w)."""
    return np.einsum("xnm,nw->xwm", vectors, block)


def project(flow: BlockFlow, factors: list[np.ndarray], bias: np.ndarray | None) -> tuple[Layers, float]:
    """The layers that come nearest to the factors, and how far from the symmetry they are."""
    outer = class_vectors(flow)
    if flow.hidden_fibres:
        inner = [_on(flow, i, flow.hidden_fibres) for i in flow.kept]
        levels = [outer, *[inner] * (flow.depth - 1), outer]
    else:
        levels = _frames(flow, factors, outer)
    found = []
    for i, m in enumerate(flow.multiplicities):
        layers = []
        for level, factor in enumerate(factors):
            left, right = levels[level][i], levels[level + 1][i]
            layers.append(np.tensordot(left, np.tensordot(factor, right, axes=(1, 0)), axes=((0, 2), (0, 2))) / m)
        found.append(layers)
    far = []
    for level, factor in enumerate(factors):
        on = sum(
            np.tensordot(_times(left, layers[level]), right, axes=((1, 2), (1, 2)))
            for left, layers, right in zip(levels[level], found, levels[level + 1], strict=True)
        )
        size = np.linalg.norm(factor)
        far.append(float(np.linalg.norm(factor - on) / size) if size > 0.0 else 0.0)
    biases = np.empty(0)
    if flow.objective.bias:
        given, fibre = np.zeros(flow.classes) if bias is None else bias, flow.class_fibre
        biases = np.array([given[fibre == f].mean() for f in flow.class_fibres])
        off = np.linalg.norm(given - biases[np.searchsorted(flow.class_fibres, fibre)])
        far.append(float(off / max(np.linalg.norm(given), 1e-300)))
    widths = np.array([[layer.shape[1] for layer in layers[:-1]] for layers in found], np.int64)
    return flow.start(Layers(packed(found), widths.reshape(len(found), -1), biases)), max(far)


def _frames(flow: BlockFlow, factors: list[np.ndarray], outer: list[np.ndarray]) -> list[list[np.ndarray]]:
    """Vectors (d, w, m) of the hidden units that belong to each block, level by level: what the layers on either side
    make of the vectors of the classes. Their scalar products are the same for all m copies, in the mean."""
    levels, before = [outer], outer
    after: list[list[np.ndarray]] = [outer]
    for factor in factors[:0:-1]:
        after.insert(0, [np.tensordot(factor, vectors, axes=(1, 0)) for vectors in after[0]])
    for level, factor in enumerate(factors[:-1]):
        before = [np.tensordot(factor, vectors, axes=(0, 0)) for vectors in before]
        both = zip(before, after[level], strict=True)
        levels.append(_isometries([np.concatenate([_unit(left), _unit(right)], axis=1) for left, right in both]))
    return [*levels, outer]


def _isometries(images: list[np.ndarray]) -> list[np.ndarray]:
    """Orthonormal vectors (d, w, m) that the images (d, 2 n, m) of the blocks are made of."""
    found, sizes = [], []
    for both in images:
        stacked = np.transpose(both, (0, 2, 1)).reshape(-1, both.shape[1]) / np.sqrt(both.shape[2])
        _, values, vectors = np.linalg.svd(stacked, full_matrices=False)
        found.append(np.einsum("dam,aw->dwm", both, vectors.T / np.where(values > 0.0, values, 1.0)))
        sizes.append(values / max(values[0], 1e-300))
    least, width = RANK, len(images[0])  # where the symmetry is broken, not all directions need fit
    shares = np.sort(np.concatenate([np.repeat(size, one.shape[2]) for size, one in zip(sizes, found, strict=True)]))
    if len(shares) > width:
        least = max(least, shares[-width - 1])
    found = [one[:, size > least] for size, one in zip(sizes, found, strict=True)]
    whole = np.concatenate([one.reshape(width, -1) for one in found], axis=1)
    left, _, right = np.linalg.svd(whole, full_matrices=False)
    cuts = np.cumsum([one[0].size for one in found])[:-1]
    return [new.reshape(one.shape) for new, one in zip(np.split(left @ right, cuts, axis=1), found, strict=True)]


def _unit(vectors: np.ndarray) -> np.ndarray:
    """Scaled so that layers of very different size count alike."""
    size = np.linalg.norm(vectors)
    return vectors / size if size > 0.0 else vectors
