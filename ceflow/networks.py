"""How layers make singular values: coordinates in which the conservation law holds by construction.

Two layers of singular values a_i and b_i move by da/dt = b lambda, db/dt = a lambda, so a_i^2 - b_i^2 is conserved. One
coordinate per mode is enough, Lambda_i = integral of lambda_i dt, and

    s_i = a_i b_i = ((a0 + b0)^2 exp(2 Lambda_i) - (a0 - b0)^2 exp(-2 Lambda_i)) / 4.

Early exponential growth is a straight line in Lambda, and an absolute error in Lambda is a relative error in the
layers. Balanced layers (a = b) follow Saxe, McClelland & Ganguli (arXiv:1312.6120); the unbalanced coordinate is
[ceflow].
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

# A decaying mode (a0 = -b0) has s = s0 exp(-2 Lambda). Beyond this Lambda it is below 1e-260 of its start: it is at
# rest.
FADED = 300.0


def layers_of(start: np.ndarray) -> np.ndarray:
    """Layers (2, D) of a start given as singular values (D,), balanced, or as the layers (2, D) themselves.

    A negative singular value is made of balanced layers of opposite signs, a = -b.
    """
    if start.ndim == 2:
        return start
    root = np.sqrt(np.abs(start))
    return np.stack([root, np.copysign(root, start)])


def constants(start: np.ndarray) -> np.ndarray:
    """What stays fixed along a run: rows s0 = a0 b0, growing = ((a0+b0)/2)^2, fading = ((a0-b0)/2)^2, shape (3, D).

    A mode can grow if and only if growing > 0, fades if only fading > 0, and is dead if both vanish.
    """
    if start.ndim == 1:
        return np.stack([start, np.maximum(start, 0.0), np.maximum(-start, 0.0)])
    a, b = start
    return np.stack([a * b, ((a + b) / 2) ** 2, ((a - b) / 2) ** 2])


@njit(cache=True)
def singular_values(constants: np.ndarray, y: np.ndarray, out: np.ndarray) -> None:
    """Singular values of Z = W H at the coordinates y = Lambda (kernel).

    Balanced modes grow or fade exponentially. The others are ``s0 exp(-2y) + growing * 2 sinh(2y)``: no cancellation
    while a0 and b0 have the same sign, and only the true zero crossing where the signs differ.
    """
    for i in range(y.size):
        if constants[2, i] == 0.0:
            out[i] = constants[0, i] * math.exp(2.0 * y[i])
        elif constants[1, i] == 0.0:
            out[i] = constants[0, i] * math.exp(-2.0 * y[i])
        else:
            rise = math.expm1(2.0 * y[i])
            out[i] = constants[0, i] / (1.0 + rise) + constants[1, i] * (rise + rise / (1.0 + rise))


@njit(cache=True)
def singular_value_slope(constants: np.ndarray, y: float, i: int) -> float:
    """ds_i/dy = a_i^2 + b_i^2 (kernel)."""
    rise = math.exp(2.0 * y)
    return 2.0 * (constants[1, i] * rise + constants[2, i] / rise)


def layers_at(start: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Layers a_i, b_i at the coordinates y = Lambda.

    Parameters
    ----------
    start : (D,) or (2, D) array
        Where the run started, as in `layers_of`.
    y : (..., D) array

    Returns
    -------
    (..., 2, D) array
    """
    a, b = layers_of(start)
    decay, growth = np.exp(-y), (a + b) * np.sinh(y)
    return np.stack([a * decay + growth, b * decay + growth], axis=-2)


def conserved(layers: np.ndarray) -> np.ndarray:
    """The conserved imbalance a_i^2 - b_i^2 of layers (..., 2, D), computed from the layers; shape (..., D)."""
    a, b = layers[..., 0, :], layers[..., 1, :]
    return (a - b) * (a + b)
