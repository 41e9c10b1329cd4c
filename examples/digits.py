"""A small network on handwritten digits, beside what the flow predicts from its last layer.

scikit-learn's digits, ten classes, some samples of each (``--sizes`` of a class, ``--minority`` of the last five). A
network 64 -> 64 (relu) -> 16 features -> 10 classes starts small and takes full-batch gradient descent in float64, so
that step n is the time n * learning rate. Its classifier W and features H are recorded, and two flows start from them,
once at initialization and once when all samples are classified right:

- free features: the unconstrained features model, dW = G H^T, dH = W^T G;
- a kernel: dH = W^T G Theta, with the network's own neural tangent kernel of the features at that moment, averaged over
  features and then kept: Theta_ij = tr(J_i J_j^T) / d, J_i the derivative of the features of sample i in the weights.

For W both flows are exact as long as H is right. What differs is how features move: in a network those of similar
samples move together, and the faster the more samples there are.

    python examples/digits.py [--sizes 20] [--minority 4] [--steps 4000] [--figure digits.png]

Needs PyTorch and scikit-learn. It takes about half a minute on one core, for balanced and imbalanced classes together.
"""

import argparse
from typing import NamedTuple

import numpy as np
import torch
from sklearn.datasets import load_digits

import ceflow as cf

FREE, KERNEL = "free features", "kernel of the network"


class Recorded(NamedTuple):
    """What was recorded of a training run: n times, states W (n, K, d) and H (n, d, N), kernels (n, N, N)."""

    t: np.ndarray
    W: np.ndarray
    H: np.ndarray
    kernels: np.ndarray
    labels: np.ndarray


def digits(sizes: tuple[int, ...], seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """So many samples of each class, centred pixels from 0 to 1, and their labels."""
    X, y = load_digits(return_X_y=True)
    rng = np.random.default_rng(seed)
    rows = np.concatenate([rng.permutation(np.flatnonzero(y == c))[:n] for c, n in enumerate(sizes)])
    X = X[rows] / 16
    return torch.tensor(X - X.mean(axis=0)), torch.tensor(y[rows])


def feature_kernel(X: torch.Tensor, hidden: torch.nn.Linear, top: torch.nn.Linear) -> torch.Tensor:
    """(N, N) neural tangent kernel of the features ``top(relu(hidden(X)))``, its mean over features."""
    u = hidden(X)
    active = (u > 0).double()
    through = (active * (top.weight**2).mean(dim=0)) @ active.T * (X @ X.T + 1)
    return torch.relu(u) @ torch.relu(u).T + through


def train(
    X: torch.Tensor, y: torch.Tensor, *, lr: float = 0.2, steps: int = 4000, rows: int = 50, width: int = 64,
    features: int = 16, scale: float = 0.5, seed: int = 0,
) -> Recorded:  # fmt: skip
    """Full-batch gradient descent from PyTorch's own initialization times `scale`."""
    torch.manual_seed(seed)
    hidden = torch.nn.Linear(64, width).double()
    top = torch.nn.Linear(width, features, bias=False).double()
    classifier = torch.nn.Linear(features, int(y.max()) + 1, bias=False).double()
    parameters = [*hidden.parameters(), *top.parameters(), *classifier.parameters()]
    with torch.no_grad():
        for parameter in parameters:
            parameter.mul_(scale)
    optimizer, loss = torch.optim.SGD(parameters, lr=lr), torch.nn.CrossEntropyLoss()
    kept = set(np.geomspace(1, steps, rows).round().astype(int).tolist()) | {0}
    found = []
    for step in range(steps + 1):
        h = top(torch.relu(hidden(X)))
        if step in kept:
            with torch.no_grad():
                kernel = feature_kernel(X, hidden, top)
                found.append((step * lr, classifier.weight.clone(), h.T.clone(), (kernel + kernel.T) / 2))
        optimizer.zero_grad()
        loss(classifier(h), y).backward()
        optimizer.step()
    return Recorded(*(np.array(part) for part in zip(*found, strict=True)), y.numpy())


def observed(run: Recorded) -> cf.Trajectory:
    """The training run, with all that follows from its states."""
    return cf.record(cf.MatrixFlow(labels=run.labels), run.t, run.W, run.H)


def terminal(run: cf.Trajectory) -> int:
    """The first row from which on all samples are classified right."""
    return int(np.flatnonzero(run.collapse.margin <= 0)[-1]) + 1


def predictions(run: Recorded, row: int, rtol: float = 1e-6) -> dict[str, cf.Trajectory]:
    """What both flows make of that row, at the times of the later ones, counted from it."""
    flows = {
        FREE: cf.MatrixFlow(labels=run.labels),
        KERNEL: cf.MatrixFlow(labels=run.labels, kernel=run.kernels[row]),
    }
    t = run.t[row:] - run.t[row]
    return {
        name: cf.integrate(flow, (run.W[row], run.H[row]), t_eval=t, rtol=rtol) for name, flow in flows.items()
    }


def logit_errors(run: cf.Trajectory, row: int, prediction: cf.Trajectory) -> np.ndarray:
    """``|Z_flow - Z_network| / |Z_network|`` at each row."""
    Z = run.logits[row:]
    return np.linalg.norm(prediction.logits - Z, axis=(1, 2)) / np.linalg.norm(Z, axis=(1, 2))


def table(run: Recorded) -> str:
    """Measures of the network, and of both flows, at a few times."""
    network = observed(run)
    start = terminal(network)
    lines = [f"all right from t = {run.t[start]:.3g} on; the kernel's trace there is "
             f"{np.trace(run.kernels[start]) / np.trace(run.kernels[0]):.3g} of that at the start, "
             f"at the end {np.trace(run.kernels[-1]) / np.trace(run.kernels[0]):.3g}"]  # fmt: skip
    for row, name in ((0, "initialization"), (start, "where all is right")):
        rows = np.unique(np.searchsorted(run.t, (0.3, 3.0, 30.0, 100.0, 300.0, run.t[-1])).clip(row))
        lines += [f"from {name}:", f"  {'t':>6}  {'':24}{'loss':>9}{'NC1':>9}{'S_W/S_B':>9}{'NC2':>7}{'NC3':>7}"
                  f"{'|W|':>7}{'|H|':>7}{'logits off by':>15}"]  # fmt: skip
        runs = {"network": network[row:]} | predictions(run, row)
        errors = {key: logit_errors(network, row, one) for key, one in runs.items()}
        for i in rows - row:
            for key, one in runs.items():
                nc, size = one[i].collapse, [np.linalg.norm(part[i]) for part in (one.W, one.H)]
                lines.append(
                    f"  {run.t[row + i] if key == 'network' else '':>6.4}  {key:24}{one.loss[i]:9.2e}{nc.nc1[0]:9.2e}"
                    f"{nc.nc1_quotient[0]:9.2e}{nc.nc2[0]:7.3f}{nc.nc3[0]:7.3f}{size[0]:7.2f}{size[1]:7.1f}"
                    f"{'' if key == 'network' else errors[key][i]:>15.3}"
                )
    return "\n".join(lines)


def figure(run: Recorded):
    """Loss, NC1, NC2 and |H| of the network (points) and of the flows, from both rows (lines)."""
    import matplotlib.pyplot as plt

    network = observed(run)
    start = terminal(network)
    what = (
        ("loss", lambda one: one.loss),
        (r"NC1: tr $S_W$ / tr $S_B$", lambda one: one.collapse.nc1_quotient),
        ("NC2: distance to the simplex ETF", lambda one: one.collapse.nc2),
        ("norm of the features", lambda one: np.linalg.norm(one.H, axis=(1, 2))),
    )
    fig, axes = plt.subplots(1, 4, figsize=(13, 3.4), layout="constrained")
    for ax, (title, _) in zip(axes, what, strict=True):
        scale = "linear" if "NC2" in title else "log"
        ax.set(title=title, xlabel="time: step x learning rate", xscale="log", yscale=scale)
        ax.axvline(run.t[start], color="0.8", lw=1)
    for row, style in ((0, "-"), (start, "--")):
        for (name, one), color in zip(predictions(run, row).items(), ("#0072B2", "#D55E00"), strict=True):
            label = f"{name}, from {'t = 0' if row == 0 else 'the grey line'}"
            for ax, (_, value) in zip(axes, what, strict=True):
                keep = run.t[row:] > 0
                ax.plot(run.t[row:][keep], value(one)[keep], style, color=color, lw=1.6, label=label)
    for ax, (_, value) in zip(axes, what, strict=True):
        ax.plot(run.t[1:], value(network)[1:], "o", color="k", ms=3, label="network")
    fig.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=5, frameon=False, fontsize=9)
    return fig


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--sizes", type=int, default=20, help="samples of each class")
    parser.add_argument("--minority", type=int, default=4, help="samples of each of the last five, in the second run")
    parser.add_argument("--steps", type=int, default=4000)
    parser.add_argument("--figure", help="where to save a figure of the balanced run")
    options = parser.parse_args()
    torch.set_num_threads(1)
    for minority in (options.sizes, options.minority):
        sizes = (options.sizes,) * 5 + (minority,) * 5
        run = train(*digits(sizes), steps=options.steps)
        print(f"samples {sizes}\n{table(run)}", flush=True)
        if options.figure and minority == options.sizes:
            figure(run).savefig(options.figure, dpi=120)


if __name__ == "__main__":
    main()
