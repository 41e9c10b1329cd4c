"""Starts of reduced flows on blocks."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from .._checks import checked_array
from ..losses import SquaredError
from ..network.layers import Layers, packed, sides, unpacked

if TYPE_CHECKING:
    from .blocks import BlockFlow


def layers(flow: BlockFlow, blocks: Sequence, bias: Sequence[float] | None) -> Layers:
    """See `BlockFlow.layers`."""
    count = len(flow.kept)
    if isinstance(blocks, np.ndarray) and blocks.ndim == 2 and len(blocks) == flow.depth:
        blocks = blocks.T  # blocks of size 1
    if len(blocks) not in (count - 1, count):
        raise ValueError(
            f"a start must be Layers or have {count} blocks, or {count - 1} without the constant one, for "
            f"{flow.symmetry.name}; got {len(blocks)}"
        )
    given = [None, *blocks] if len(blocks) == count - 1 else blocks
    found = [_block(flow, i, block) for i, block in enumerate(given)]
    widths = np.array([[layer.shape[1] for layer in one[:-1]] for one in found], np.int64)
    biases = np.zeros(flow.biases) if bias is None else np.asarray(bias, float)
    return Layers(packed(found), widths.reshape(count, flow.depth - 1), biases)


def _block(flow: BlockFlow, i: int, block: Any) -> list[np.ndarray]:
    """Checked layers of one block."""
    n, depth = int(flow.outer[i]), flow.depth
    if block is None:
        return [np.zeros(pair) for pair in _shapes(flow, i)]
    number = isinstance(block, (int, float, np.integer, np.floating))
    if (number and n == 1) or (isinstance(block, np.ndarray) and block.shape == (n, n)):
        return _balanced(flow, i, checked_array(f"block {i}", block).reshape(n, n))
    if not isinstance(block, (Sequence, np.ndarray)):
        raise TypeError(f"block {i} must be {depth} layers, or an array ({n}, {n}), got {type(block).__name__}")
    if len(block) != depth:
        raise ValueError(f"block {i} must have {depth} layers, or be ({n}, {n}), got {len(block)} items")
    found = [np.atleast_2d(checked_array(f"block {i}", layer)) for layer in block]
    shapes = [layer.shape for layer in found]
    fits = all(a[1] == b[0] for a, b in itertools.pairwise(shapes))
    if shapes[0][0] != n or shapes[-1][1] != n or not fits:
        raise ValueError(f"layers of block {i} must fit together, from {n} rows to {n} columns, got {shapes}")
    return found


def _shapes(flow: BlockFlow, i: int) -> list[tuple[int, int]]:
    """Default shapes of the layers of a block."""
    n = int(flow.outer[i])
    width = int(flow.hidden_sizes[i]) if flow.hidden_fibres else n
    return list(itertools.pairwise([n, *[width] * (flow.depth - 1), n]))


def _balanced(flow: BlockFlow, i: int, block: np.ndarray) -> list[np.ndarray]:
    """Balanced layers whose product is a block of logits."""
    if flow.hidden_fibres:
        raise ValueError("balanced layers are made for linear networks; give all layers of the blocks")
    first = flow.first_index[i]
    root = np.sqrt(flow.per_fibre("samples"))[flow.fibre_of_index[first : first + len(block)]]
    left, s, right = np.linalg.svd(block * root)
    share = s ** (1.0 / flow.depth)
    return [left * share, *[np.diag(share)] * (flow.depth - 2), share[:, None] * right / root]


def collapsed(flow: BlockFlow, s: float) -> list[np.ndarray]:
    """Blocks of the logits ``s (I - 11^T / K)``."""
    ones = np.sqrt(flow.fibre_sizes / flow.classes)
    blocks = [s * np.eye(n) for n in flow.outer]
    blocks[0] -= s * np.outer(ones, ones)
    return blocks


def random(flow: BlockFlow, scale: float, rng: np.random.Generator) -> list[list[np.ndarray]]:
    """Gaussian layers; the constant block has no part that adds the same number to all logits of a column."""
    blocks = []
    for i in range(len(flow.kept)):
        found = [scale * rng.standard_normal(pair) for pair in _shapes(flow, i)]
        if flow.structures[i] > 1 and not flow.hidden_fibres:
            found = [commuting(flow, i, layer) for layer in found]
        if i == 0 and not isinstance(flow.loss, SquaredError):
            ones = np.sqrt(flow.fibre_sizes / flow.classes)
            found[0] -= np.outer(ones, ones @ found[0])
        blocks.append(found)
    return blocks


def commuting(flow: BlockFlow, i: int, block: np.ndarray) -> np.ndarray:
    """Part in the algebra of a matrix (n, n) on the class side of a block."""
    to_entries, to_blocks, _ = flow.symmetry.map(flow.class_fibres, flow.class_fibres)
    places = np.cumsum(flow.outer**2) - flow.outer**2
    own = slice(places[i], places[i] + block.size)
    return (to_blocks[own] @ (to_entries[:, own] @ block.ravel())).reshape(block.shape)


def check_structure(flow: BlockFlow, start: Layers) -> None:
    """Raise a ValueError if layers of a block of complex or quaternionic type are not in the algebra."""
    if np.all(flow.structures == 1):
        return
    for i, found in enumerate(unpacked(start.flat, sides(flow.outer, start.widths))):
        if flow.structures[i] == 1:
            continue
        grams = (found[0] @ found[0].T, found[-1].T @ found[-1], np.linalg.multi_dot(found))
        for gram in grams:
            if np.abs(gram - commuting(flow, i, gram)).max() > 1e-12 * max(np.abs(gram).max(), 1e-300):
                raise ValueError(
                    f"layers of block {i} must commute with its imaginary units, as it is of complex or quaternionic "
                    "type; take them from random_start, collapsed_start or project"
                )


def joined(flow: BlockFlow, starts: Sequence[Layers]) -> Layers | None:
    """Starts of m runs as arrays with m rows, for functions of states; None if coordinates differ in their meaning."""
    if any(not np.array_equal(start.widths, starts[0].widths) for start in starts):
        return None
    if flow.common_decay and len({flow.is_mode(start).tobytes() for start in starts}) > 1:
        return None
    flat, bias = np.array([start.flat for start in starts]), np.array([start.bias for start in starts])
    return Layers(flat, starts[0].widths, bias)
