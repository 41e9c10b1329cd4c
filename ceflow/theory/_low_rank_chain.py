"""Layers before W_L of the graph solution: minimum of their norms over the singular values on constants."""

from __future__ import annotations

import math

import numpy as np
import scipy
from numpy.typing import NDArray


def last_ratio(r: int) -> float:
    """Singular value of the last pre-activation on constants, divided by the one on vectors of vertex sum 0."""
    return (r - 1) * (r - 4) / (2.0 * (r - 2))


def log_chain(r: int, ratios: NDArray) -> float:
    """Log of the product of squared norms of all layers but W_L, for ratios t of constants to the rest."""
    k = last_ratio(r)
    if not ratios.size:
        return 2.0 * math.log(r - 1 + k)
    squares = np.append(ratios[1:] / ratios[:-1], k / ratios[-1]) ** 2
    return float(2.0 * np.log(r - 1 + ratios[0]) + np.log(r - 1 + squares).sum())


def ratios(r: int, depth: int) -> NDArray:
    """(depth - 3,) ratios t_2, ..., t_(L-1) >= rho (nonnegative layers) with the smallest product of norms."""
    rho = math.sqrt(2.0 * (r - 1) / (r - 2))
    least = np.full(depth - 3, rho)
    if r <= 6 or not least.size:
        return least
    k = last_ratio(r)

    def slope(x):
        first = np.exp(x[0])
        squares = np.exp(2.0 * np.diff(np.append(x, math.log(k))))
        shares = 2.0 * squares / (r - 1 + squares)
        found = -shares
        found[1:] += shares[:-1]
        found[0] += 2.0 * first / (r - 1 + first)
        return log_chain(r, np.exp(x)), found

    bounds, options = [(math.log(rho), None)] * least.size, {"ftol": 0.0, "gtol": 1e-9, "maxiter": 20000}
    return np.exp(scipy.optimize.minimize(slope, np.log(least), jac=True, bounds=bounds, options=options).x)
