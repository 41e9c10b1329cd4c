"""Conversion between the blocks of a reduced flow and full matrices."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ..network.layers import Layers, packed, sides, unpacked

if TYPE_CHECKING:
    from .blocks import BlockFlow

RANK = 1e-12  # relative singular value below which a hidden direction of a block is rounding


def class_vectors(flow: BlockFlow) -> list[np.ndarray]:
    """Adapted basis vectors (K, n_i, m_i) of each block on the classes."""
    return [_on(flow, i, flow.class_fibres) for i in flow.kept]


def _on(flow: BlockFlow, i: int, fibres: tuple[int, ...]) -> np.ndarray:
    """Basis vectors (points, n, m) of a block of the symmetry on the points of some fibres."""
    inside = np.isin(flow.symmetry.fibre_of, fibres)
    columns = np.repeat(np.isin(np.arange(len(flow.symmetry.fibres)), fibres), flow.symmetry.block_sizes[i])
    return flow.symmetry.vectors(i)[inside][:, columns]


def lift(
    flow: BlockFlow, start: Layers, width: int | None, rng: np.random.Generator, rows: np.ndarray | None = None
) -> tuple[np.ndarray, ...]:
    """Factors W (K, d), ..., H (d, K) and bias (K,) with the blocks of a start, in random frames of hidden units.

    Rows (n, N + F) of flat layers and biases replace those of the start. All use the same frames; n is the leading axis
    of the result.
    """
    flat = start.flat if rows is None else rows[:, : start.flat.size]
    bias = start.bias if rows is None else rows[:, start.flat.size :]
    blocks = unpacked(flat, sides(flow.outer, start.widths))
    outer = class_vectors(flow)
    if flow.hidden_fibres:
        levels = [outer, *[_hidden_vectors(flow)] * (flow.depth - 1), outer]
    else:
        levels = [outer, *_random_frames(flow, start.widths, width, rng), outer]
    factors = [
        sum(
            np.einsum("xnm,...nw,ywm->...xy", left, layers[level], right, optimize=True)
            for left, layers, right in zip(levels[level], blocks, levels[level + 1], strict=True)
        )
        for level in range(flow.depth)
    ]
    place = np.searchsorted(flow.class_fibres, flow.class_fibre)
    return (*factors, *((bias[..., place],) if start.bias.size else ()))


def _random_frames(
    flow: BlockFlow, widths: np.ndarray, width: int | None, rng: np.random.Generator
) -> list[list[np.ndarray]]:
    """Random orthonormal vectors (d, w, m) for each block, level by level."""
    counts = flow.multiplicities.astype(int)
    needed = int((widths.max(axis=1, initial=0) * counts).sum())
    width = max(needed, flow.classes) if width is None else width
    if width < needed:
        raise ValueError(f"width must be at least {needed}, the sum of the block widths, got {width}")
    levels = []
    for level in range(flow.depth - 1):
        frame = np.linalg.qr(rng.standard_normal((width, needed)))[0]
        cuts = np.cumsum(widths[:, level] * counts)
        parts = np.split(frame[:, : cuts[-1]], cuts[:-1], axis=1)
        levels.append([part.reshape(width, -1, m) for part, m in zip(parts, counts, strict=True)])
    return levels


def _hidden_vectors(flow: BlockFlow) -> list[np.ndarray]:
    return [_on(flow, i, flow.hidden_fibres) for i in flow.kept]


def _times(vectors: np.ndarray, block: np.ndarray) -> np.ndarray:
    """Product (points, w, m) of vectors (points, n, m) and a block (n, w)."""
    return np.einsum("xnm,nw->xwm", vectors, block)


def project(flow: BlockFlow, factors: list[np.ndarray], bias: np.ndarray | None) -> tuple[Layers, float]:
    """Layers nearest to the factors, and the distance of the factors from the symmetry."""
    outer = class_vectors(flow)
    if flow.hidden_fibres:
        levels = [outer, *[_hidden_vectors(flow)] * (flow.depth - 1), outer]
    else:
        levels = _frames(flow, factors, outer)
    found = []
    for i, m in enumerate(flow.multiplicities):
        layers = []
        for level, factor in enumerate(factors):
            left, right = levels[level][i], levels[level + 1][i]
            layers.append(np.tensordot(left, np.tensordot(factor, right, axes=(1, 0)), axes=((0, 2), (0, 2))) / m)
        found.append(layers)
    far: list[float] = []
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
        far.append(float(off) / max(float(np.linalg.norm(given)), 1e-300))
    widths = np.array([[layer.shape[1] for layer in layers[:-1]] for layers in found], np.int64)
    return flow.start(Layers(packed(found), widths.reshape(len(found), -1), biases)), max(far)


def _frames(flow: BlockFlow, factors: list[np.ndarray], outer: list[np.ndarray]) -> list[list[np.ndarray]]:
    """Vectors (d, w, m) of the hidden units of each block, level by level. They are the images of the class vectors
    under the layers on either side, orthonormalized with scalar products averaged over the m copies."""
    levels, before = [outer], outer
    after: list[list[np.ndarray]] = [outer]
    for factor in factors[:0:-1]:
        after.insert(0, [np.tensordot(factor, vectors, axes=(1, 0)) for vectors in after[0]])
    for level, factor in enumerate(factors[:-1]):
        before = [np.tensordot(factor, vectors, axes=(0, 0)) for vectors in before]
        sides = zip(_scaled(before), _scaled(after[level]), strict=True)
        levels.append(_isometries([np.concatenate(side, axis=1) for side in sides]))
    return [*levels, outer]


def _scaled(images: list[np.ndarray]) -> list[np.ndarray]:
    """Images divided by their overall size, so that layers of different size have equal weight."""
    size = np.sqrt(sum(np.sum(one**2) for one in images))
    return [one / size for one in images] if size > 0.0 else images


def _isometries(images: list[np.ndarray]) -> list[np.ndarray]:
    """Orthonormal vectors (d, w, m) that span the images (d, 2 n, m) of the blocks.

    Blocks with the largest images come first, so that rounding and symmetry-breaking parts do not rotate them.
    """
    width, found, sizes, owners = len(images[0]), [], [], []
    for i, both in enumerate(images):
        stacked = np.transpose(both, (0, 2, 1)).reshape(-1, both.shape[1]) / np.sqrt(both.shape[2])
        _, values, vectors = np.linalg.svd(stacked, full_matrices=False)
        kept = values > RANK * max(values[0], 1e-300)
        found.append(np.einsum("dam,aw->wdm", both, vectors[kept].T / values[kept]))
        sizes += list(values[kept])
        owners += [i] * int(kept.sum())
    order, taken, columns, counts = np.argsort(sizes)[::-1], [], 0, [len(one) for one in found]
    firsts = np.cumsum(counts) - counts
    for k in order:  # until all d dimensions are used
        m = images[owners[k]].shape[2]
        if columns + m <= width:
            taken.append(k)
            columns += m
    parts = [found[owners[k]][k - firsts[owners[k]]] for k in taken]
    frame = _orthonormal(np.concatenate(parts, axis=1)) if parts else np.zeros((width, 0))
    cuts = dict(zip(taken, np.split(frame, np.cumsum([one.shape[1] for one in parts])[:-1], axis=1), strict=True))
    return [
        np.stack([cuts[k] for k in range(first, first + count) if k in cuts], axis=1)
        if any(k in cuts for k in range(first, first + count))
        else np.zeros((width, 0, both.shape[2]))
        for first, count, both in zip(firsts, counts, images, strict=True)
    ]


def _orthonormal(columns: np.ndarray) -> np.ndarray:
    """Orthonormalize the columns in their order."""
    q, r = np.linalg.qr(columns)
    return q * np.where(np.diagonal(r) < 0.0, -1.0, 1.0)
