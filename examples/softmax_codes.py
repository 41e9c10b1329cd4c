"""Rank of deep linear networks after cross-entropy flow from small random starts, against width and depth.

K classes, L layers with hidden width d, no weight decay: Gaussian starts of scale .5 (`ceflow.random_init`), all of a
width at once, to log t = 100. The rank is that of the logits, of singular values above a fifth of the largest. The
defect tells how far classifier and features are from a softmax code of that width (`ceflow.collapse.softmax_code`):
0 is a code. Where no closed form of the code is known there is none.

That depth leads to low rank and width to high rank is a claim of arXiv:2605.23087, of which the abstract was read; the
starts and the thresholds are ours.

    python examples/softmax_codes.py [--runs 24] [--seed 0] [--out softmax-codes.png]
"""

import argparse

import matplotlib.pyplot as plt
import numpy as np

import ceflow as cf

CASES = {4: ((2, 3, 4, 5), (4, 8, 32)), 6: ((2, 3, 4, 5), (6, 24, 96))}  # classes: numbers of layers, widths
LATE, SCALE, TOLERANCE = 100.0, 0.5, 0.2


def ensemble(classes: int, depth: int, width: int, *, runs: int = 24, seed: int = 0) -> cf.collapse.SoftmaxCode:
    """The states of all runs at the end, as codes."""
    starts = cf.random_init(classes=classes, width=width, scale=SCALE, depth=depth, batch=runs, rng=seed)
    run = cf.integrate(cf.MatrixFlow(depth=depth), starts, log_t_end=LATE, rtol=1e-3, dense_output=False)
    if not run.success:
        raise RuntimeError(run.message)
    W, features, *rest = (factor[-1] for factor in run.factors)
    for factor in rest:
        features = features @ factor
    return cf.collapse.softmax_code(W, features, tolerance=TOLERANCE)


def draw(found: dict, path: str) -> None:
    """Shares of the ranks, a panel for each depth, a row for each number of classes."""
    columns = max(len(depths) for depths, _ in CASES.values())
    fig, axes = plt.subplots(len(CASES), columns, figsize=(2.6 * columns, 2.7 * len(CASES)), layout="constrained")
    for row, (classes, (depths, widths)) in zip(axes, CASES.items(), strict=True):
        colors = plt.get_cmap("viridis")(np.linspace(0.05, 0.95, classes - 2))
        for ax, depth in zip(row, depths, strict=True):
            floor = np.zeros(len(widths))
            for rank in range(2, classes):
                share = np.array([np.mean(found[classes, depth, width].rank == rank) for width in widths])
                ax.bar([str(width) for width in widths], share, bottom=floor, color=colors[rank - 2], label=rank)
                floor += share
            ax.set(title=f"K = {classes}, {depth} layers", xlabel="width", ylim=(0, 1))
            ax.spines[["top", "right"]].set_visible(False)
        row[0].set_ylabel("share of runs")
        row[-1].legend(title="rank", frameon=False, loc="upper left", bbox_to_anchor=(1.0, 1.0), reverse=True)
    fig.savefig(path, dpi=130)
    print(f"wrote {path}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--runs", type=int, default=24)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", default="softmax-codes.png", help="figure to write (default: %(default)s)")
    options = parser.parse_args()
    found = {}
    for classes, (depths, widths) in CASES.items():
        print(f"K = {classes}: layers, width, runs of rank 1, ..., {classes - 1}, mean rank, median defect by rank")
        for depth in depths:
            for width in widths:
                state = ensemble(classes, depth, width, runs=options.runs, seed=options.seed)
                found[classes, depth, width] = state
                defects = {int(r): round(float(np.median(state.defect[state.rank == r])), 3) for r in set(state.rank)}
                print(f"{depth:3d} {width:4d} ", np.bincount(state.rank, minlength=classes)[1:],
                      f" {state.rank.mean():.2f} ", defects)  # fmt: skip
    draw(found, options.out)


if __name__ == "__main__":
    main()
