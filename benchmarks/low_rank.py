"""Deep relu layers at decay .004: losses of deep collapse, of graph solutions, and the lowest that flows come to.

K = r (r - 1) / 2 classes, one-hot targets, L weight matrices (depth L + 1 with the features). Flows on the blocks of
``ceflow.subsets(r, (1, 2))`` start near the closed form of low rank, with Gaussian noise, and from random layers.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

import ceflow as cf
from ceflow.theory import low_rank

from ._report import Table, report

DECAY = 0.004
SIZES = ((4, 4), (4, 3), (5, 2), (5, 3), (5, 4), (6, 3), (6, 4))
DEPTHS = (2, 3, 4, 5, 7)


def flow_of(vertices: int, depth: int, name: str = "relu") -> cf.SpectralFlow:
    """Classes the edges of a complete graph, hidden units its vertices and edges."""
    return cf.SpectralFlow(
        cf.subsets(vertices, (1, 2)),
        class_fibres=1,
        depth=depth,
        loss="squared_error",
        targets="one-hot",
        weight_decay=DECAY,
        activation=low_rank.activations(depth, name),
    )


def starts_of(flow: cf.SpectralFlow, vertices: int, near: int, random: int) -> Iterator:
    """The closed form, with noise, then random layers; the seeds are 0, 1, ... of either."""
    closed = low_rank.graph_layers(vertices, depth=flow.depth, scale=0.95)
    start, _ = flow.project(*closed)
    for seed in range(near):
        noise = np.random.default_rng(seed).standard_normal(start.flat.size)
        yield start._replace(flat=start.flat + 0.1 * seed * noise)
    for seed in range(random):
        yield flow.random_start(1.0, rng=seed)


def closed_loss(coefficient: float, depth: int) -> float:
    return low_rank.profile(coefficient, depth=depth, weight_decay=DECAY).loss


def losses(sizes: tuple[tuple[int, int], ...], near: int, random: int) -> Table:
    table = Table(
        f"Losses at decay {DECAY:g}",
        ["K", "L", "collapse", "graph +", "graph -", "lowest flow", "rank before", "rank after", "runs"],
    )
    for r, layers in sizes:
        depth, K = layers + 1, r * (r - 1) // 2
        flow = flow_of(r, depth)
        runs = cf.lowest(flow, starts_of(flow, r, near, random), t_end=3e4, rtol=1e-7)
        ranks = runs[0][-1:].layer_ranks
        costs = [depth * K, *(low_rank.graph_coefficient(r, depth=depth, sign=sign) for sign in "+-")]
        found = [*(closed_loss(cost, depth) for cost in costs), runs[0].objective[-1]]
        digits = [f"{loss:.7f}" for loss in found]
        table.rows.append([K, layers, *digits, int(ranks.before[0, 0]), int(ranks.after[0, 0]), len(runs)])
    return table


def coefficients(vertices: tuple[int, ...]) -> Table:
    table = Table("C of graph solutions over that of deep collapse", ["r", "K", "sign", *(f"L = {L}" for L in DEPTHS)])
    for r in vertices:
        K = r * (r - 1) // 2
        for sign in low_rank.SIGNS:
            ratios = [low_rank.graph_coefficient(r, depth=L + 1, sign=sign) / ((L + 1) * K) for L in DEPTHS]
            table.rows.append([r, K, sign, *ratios])
    return table


def main(out: Path | None = None, quick: bool = False, peers: bool = True) -> list[Table]:
    tables = [coefficients((4, 5) if quick else (4, 5, 6, 7, 10, 20))]
    tables.append(losses(SIZES[4:5] if quick else SIZES, near=3, random=0 if quick else 6))
    report("low_rank", tables, out, quick=quick)
    return tables
