"""How often gradient descent finds less rank than deep collapse, in deep relu layers of different widths and depths.

The setting is that of arXiv:2405.14468: K classes, squared error on one-hot targets, decay in every layer, linear
features under L weight matrices with relu between them. Layers start Gaussian, of variance 1 / (number of inputs), all
runs of a width at once, and take gradient descent of a constant step size, then a tenth of it. The flow itself is
followed under symmetry by ``python -m benchmarks low_rank``: relu makes it slide along kinks, which the flow of full
matrices does not resolve.

The steps are few, and so are the runs: two minutes in all. With more steps losses fall further, and ranks with them.

    python examples/low_rank.py [--runs 6] [--steps 12000] [--seed 0]
"""

import argparse

import numpy as np

import ceflow as cf
from ceflow.theory import low_rank

CASES = (  # classes, L, width
    (10, 4, 30),
    (10, 4, 45),
    (10, 4, 60),
    (10, 3, 30),
    (10, 5, 30),
    (10, 5, 60),
)


def random_layers(classes: int, depth: int, width: int, runs: int, seed: int, scale: float = 1.0) -> tuple:
    """W, ..., H of several runs, entries of deviation scale / sqrt(number of inputs)."""
    rng = np.random.default_rng(seed)
    shapes = [(classes, width), *[(width, width)] * (depth - 2), (width, classes)]
    return tuple(scale / np.sqrt(shape[1]) * rng.standard_normal((runs, *shape)) for shape in shapes)


def ensemble(
    classes: int, depth: int, width: int, *, runs: int, steps: int, seed: int = 0, step_size: float = 0.4,
    decay: float = 0.004, scale: float = 1.0,
) -> tuple[np.ndarray, np.ndarray]:  # fmt: skip
    """Losses of all runs at the end, ascending, and the ranks of their last pre-activations."""
    flow = cf.MatrixFlow(
        loss="squared_error",
        targets="one-hot",
        depth=depth,
        weight_decay=decay,
        activation=low_rank.activations(depth),
    )
    layers = random_layers(classes, depth, width, runs, seed, scale)
    for size, share in ((step_size, 0.85), (0.1 * step_size, 0.15)):
        run = cf.descend(flow, layers, step_size=size, steps_eval=[int(share * steps)])
        if not run.success:
            raise RuntimeError(run.message)
        layers = tuple(factor[-1] for factor in run.factors)
    order = np.argsort(run.objective[-1])
    return run.objective[-1][order], run.layer_ranks.before[-1][order, 0]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--runs", type=int, default=6)
    parser.add_argument("--steps", type=int, default=12000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    for classes, layers, width in CASES:
        losses, ranks = ensemble(classes, layers + 1, width, runs=options.runs, steps=options.steps, seed=options.seed)
        collapse = low_rank.profile((layers + 1) * classes, depth=layers + 1, weight_decay=0.004).loss
        print(f"K = {classes}, L = {layers}, width {width}: {np.sum(losses < collapse)} of {options.runs} below "
              f"deep collapse, {collapse:.5f}")  # fmt: skip
        print("  losses", np.round(losses, 5), "ranks", ranks)


if __name__ == "__main__":
    main()
