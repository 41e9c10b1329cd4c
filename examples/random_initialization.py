"""Small random initialization against the spectral flow.

Started small, W + H' grows like e^t and the difference W - H' fades relative to it like e^(-2t), the class means taken
off, which do not move; the logits Z become symmetric like e^(-t). Then the full flow looks like the spectral flow of a
scheme, started from the matched values ``s_i = (singular values of (W + H')/2, the class mean taken off)^2``. This
script measures how much alike.

    python examples/random_initialization.py [--out random-initialization.png]
"""

import argparse

import matplotlib.pyplot as plt
import numpy as np
from tqdm import tqdm

import ceflow as cf

BLUE, ORANGE, GREEN, GREY = "#0072B2", "#D55E00", "#009E73", "0.45"


def study(classes: int, width: int, scale: float, seed: int, t: np.ndarray, rtol: float = 1e-8) -> dict:
    """One random start: both runs at the times t (of the summed loss) and what sets them apart."""
    W, H = cf.random_init(classes=classes, width=width, scale=scale, rng=seed)
    full = cf.integrate(cf.MatrixFlow(reduction="sum"), (W, H), t_eval=t, rtol=rtol)
    middle = (W + H.T) / 2
    matched = np.linalg.svd(middle - middle.mean(axis=0), compute_uv=False)[: classes - 1] ** 2
    flow = cf.SpectralFlow(cf.hadamard(classes), reduction="sum")
    spectral = cf.integrate(flow, matched, t_eval=t, rtol=rtol)
    assert full.success and spectral.success
    centred = full.W - full.W.mean(axis=1, keepdims=True), full.H - full.H.mean(axis=2, keepdims=True)
    plus, minus = centred[0] + centred[1].swapaxes(1, 2), centred[0] - centred[1].swapaxes(1, 2)
    Z, norm = full.logits, lambda X: np.linalg.norm(X, axis=(1, 2))
    mine, theirs = full.singular_values[:, :-1], np.sort(spectral.singular_values, axis=1)[:, ::-1]
    return {
        "full": full,
        "spectral": spectral,
        "misalignment": norm(minus) / norm(plus),
        "asymmetry": norm(Z - Z.swapaxes(1, 2)) / norm(Z),
        "negative": np.array([np.clip(-np.linalg.eigvalsh((z + z.T) / 2), 0, None).max() for z in Z]) / norm(Z),
        "difference": np.abs(np.log(mine / theirs)),
    }


def table() -> None:
    """Sizes, widths and scales: the state when the logits reach order 1, and at the end."""
    t = np.union1d(np.arange(0.05, 40.0, 0.05), np.geomspace(40.0, 1e6, 60))
    print("Full flow from small random starts, against the spectral flow (times of the summed loss)")
    print("When mean s = 1: misalignment |W-H'|/|W+H'| (centred), asymmetry |Z-Z'|/|Z|, most negative eigenvalue of")
    print("(Z+Z')/2 over |Z|. Does V fall at all times from then on?")
    print("difference: median and largest |log(s_full / s_spectral)| of the top K-1, when mean s = 1 and at t = 1e6")
    names = ("misalign", "asymm", "negative", "V falls")
    print(
        f"{'K':>4} {'d':>5} {'scale':>8} "
        + " ".join(f"{name:>9}" for name in names)
        + f"{'at s = 1':>18}{'at 1e6':>18}"
    )
    cases = [(K, d, scale) for K in (8, 16, 64) for d in (K, 2 * K, 4 * K) for scale in (1e-1, 1e-3, 1e-6)]
    for K, d, scale in tqdm(cases, leave=False):
        found = study(K, d, scale, seed=0, t=t)
        full, difference = found["full"], found["difference"]
        one = np.argmax(full.singular_values[:, :-1].mean(axis=1) >= 1.0)
        falls = np.diff(full.lyapunov[one:]).max() <= 1e-8
        numbers = [np.median(difference[one]), difference[one].max(), np.median(difference[-1]), difference[-1].max()]
        print(
            f"{K:4d} {d:5d} {scale:8.0e} {found['misalignment'][one]:9.1e} {found['asymmetry'][one]:9.1e} "
            f"{found['negative'][one]:9.1e} "
            f"{'yes' if falls else 'no':>9} " + " ".join(f"{x:8.1e}" for x in numbers)
        )


def figure(path: str, classes: int = 16, width: int = 32, scale: float = 1e-4) -> None:
    """Alignment, symmetry, V and the singular values of one start."""
    t = np.geomspace(0.1, 1e6, 300)
    found = study(classes, width, scale, seed=0, t=t)
    full, spectral = found["full"], found["spectral"]
    fig, axes = plt.subplots(2, 2, figsize=(10, 7), layout="constrained")
    early = t < 20
    left, right, below, last = axes.flat
    left.plot(t[early], found["misalignment"][early], color=BLUE, lw=2, label="$|W - H^T| / |W + H^T|$, centred")
    left.plot(t[early], found["asymmetry"][early], color=ORANGE, lw=2, ls="--", label="$|Z - Z^T| / |Z|$")
    start = found["misalignment"][0], found["asymmetry"][0]
    left.plot(t[early], start[0] * np.exp(-2 * t[early]), color=GREY, lw=1, ls=":", label="$e^{-2t}$ and $e^{-t}$")
    left.plot(t[early], start[1] * np.exp(-t[early]), color=GREY, lw=1, ls=":")
    left.set(yscale="log", ylim=(1e-9, 3), ylabel="relative size", xlabel="time $t$")
    left.set_title("The layers align, the logits become symmetric")
    right.plot(t, full.lyapunov, color=BLUE, lw=2, label="full flow, top $K-1$")
    right.plot(t, spectral.lyapunov, color=ORANGE, lw=2, ls="--", label="spectral flow")
    right.set(xscale="log", ylabel="Lyapunov function $V$", xlabel="time $t$", title="$V$ falls in both")
    for ax, scale_name in ((below, "log"), (last, "linear")):
        mine, theirs = full.singular_values[:, :-1], np.sort(spectral.singular_values, axis=1)[:, ::-1]
        lines = ax.plot(t, mine, color=BLUE, lw=1.2), ax.plot(t, theirs, color=ORANGE, lw=1.2, ls="--")
        ax.set(xscale="log", yscale=scale_name, ylabel="singular values of $Z$", xlabel="time $t$")
        ax.legend([lines[0][0], lines[1][0]], ["full flow", "spectral flow, matched start"], frameon=False)
    below.set_ylim(1e-2 * full.singular_values[0, -2], None)
    below.set_title("Singular values, logarithmic")
    last.set_title("and linear")
    left.legend(frameon=False, loc="lower right")
    right.legend(frameon=False)
    for ax in axes.flat:
        ax.spines[["top", "right"]].set_visible(False)
        ax.grid(color="0.9", lw=0.8)
    fig.suptitle(f"Small random initialization: K = {classes}, d = {width}, scale {scale:g}")
    fig.savefig(path, dpi=130)
    print(f"wrote {path}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", default="random-initialization.png", help="figure to write (default: %(default)s)")
    options = parser.parse_args()
    table()
    figure(options.out)
