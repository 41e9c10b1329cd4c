"""The figure of the README: ``python docs/portrait.py`` writes docs/_static/portrait.png."""

from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np

import ceflow as cf

LN10 = np.log(10)


def portrait() -> plt.Figure:
    """Trajectories of four classes in the simplex of singular values, and sixteen classes to t = 1e700."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(11.5, 4.6), width_ratios=(1.15, 1), layout="constrained")
    rng = np.random.default_rng(7)
    four = cf.SpectralFlow(cf.hadamard(4))
    runs = [cf.integrate(four, np.exp(rng.uniform(-13.0, -2.0, 3)), t_end=1e15) for _ in range(60)]
    cf.plot.ternary(runs, left)
    left.set_title("Four classes: shares of the singular values", fontsize=11)
    sixteen = cf.SpectralFlow(cf.hadamard(16))
    start = 1e-3 * np.random.default_rng(5).uniform(0.1, 1.0, 15)
    cf.plot.normalized_singular_values(cf.integrate(sixteen, start, log_t_end=700 * LN10), right)
    right.set_title("Sixteen classes: singular values over their mean", fontsize=11)
    return figure


if __name__ == "__main__":
    path = Path(__file__).parent / "_static" / "portrait.png"
    portrait().savefig(path, dpi=110, pil_kwargs={"optimize": True})
