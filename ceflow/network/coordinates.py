"""Coordinates of the layers that satisfy the conservation laws identically.

The singular values w_l of the layers satisfy ``dw_l/dt = (product of the others) * lambda``, so all differences of
their squares are conserved, and one coordinate y per mode suffices. For the two smallest layers a, b of a mode and the
product g of all others:

    dy/dt = g lambda,   s = a b g,   a b = ((a0 + b0)^2 exp(2y) - (a0 - b0)^2 exp(-2y)) / 4,
    w_k^2 = (a^2 + b^2) / 2 + offset_k   for every other layer, with a constant offset_k >= 0.

With two layers g = 1, y is the integral of the force, and linear in t during early exponential growth. An absolute
error in y is a relative error in the layers. All layers except one may be taken positive, since pairs of signs cancel.

Weight decay multiplies all layers by ``exp(-theta)``, theta = decay * t: with ``y = eta + theta`` the same formulas
hold for the layers divided by ``exp(-theta)``, and eta converges at an equilibrium. If the layers of every mode are
equal in absolute value, theta is not needed.

Two balanced layers follow Saxe, McClelland & Ganguli (arXiv:1312.6120), balanced depth Arora, Cohen & Hazan
(arXiv:1802.06509); the coordinate for unbalanced layers is [ceflow].
"""

from __future__ import annotations

import math

import numpy as np

from .._tolerances import VANISHED
from ..kernels import KERNEL, interpreted, njit
from ..kernels.exponential import exp


def layers_of(start: np.ndarray, depth: float = 2) -> np.ndarray:
    """Layers (depth, D) from a start given as singular values (D,) of balanced layers, or as layers.

    A negative singular value has balanced layers with a negative last layer.
    """
    if start.ndim == 2:
        return start
    root = np.abs(start) ** (1.0 / depth) if depth != 2 else np.sqrt(np.abs(start))
    return np.stack([root] * (int(depth) - 1) + [np.copysign(root, start)])


def constants(start: np.ndarray, depth: float = 2) -> np.ndarray:
    """Constants of a run, shape (3 + n, D).

    Rows: a0 b0 of the two smallest layers, with the sign of the singular value; growing = |a0+b0|/2; fading = |a0-b0|/2
    (their squares would underflow); then, for a start given as layers, an offset for each of the n = depth - 2 others.
    A mode can grow if and only if growing > 0, decays if only fading > 0, and stays 0 if both are 0. A start given as
    singular values has n = 0 at any depth; the other layers then equal the first two in absolute value (see
    `equal_pairs`).
    """
    if start.ndim == 1:
        rows = np.empty((3, start.size))
        _balanced_constants(start, 2.0 / depth, rows)
        return rows
    size = np.sort(np.abs(start), axis=0)
    sign = np.prod(np.sign(start), axis=0)
    a, b = size[0] * np.where(sign < 0.0, -1.0, 1.0), size[1]
    offsets = [((w - size[0]) * (w + size[0]) + (w - size[1]) * (w + size[1])) / 2 for w in size[2:]]
    return np.stack([a * b, np.abs(a + b) / 2, np.abs(a - b) / 2, *offsets])


@njit(**KERNEL)
def _balanced_constants(s, power, rows):
    for i in range(s.size):
        size = abs(s[i]) if power == 1.0 else abs(s[i]) ** power
        rows[0, i] = math.copysign(size, s[i])
        root = math.sqrt(size)
        rows[1, i], rows[2, i] = (root, 0.0) if s[i] > 0.0 else (0.0, root)


def equal_pairs(start: np.ndarray, depth: float) -> float:
    """Number of pairs of further layers, equal to the first two in absolute value, of a start given as singular
    values."""
    return 0.5 * (depth - 2) if start.ndim == 1 else 0.0


def needs_theta(start: np.ndarray) -> bool:
    """Whether theta = decay * t is part of the state with weight decay: some mode has unequal layers."""
    return start.ndim == 2 and bool(np.any(np.ptp(np.abs(start), axis=0) > 0.0))


@njit(**KERNEL)
def pair(constants: np.ndarray, y: float, theta: float, i: int) -> tuple[float, float]:
    """Product a b and mean square (a^2 + b^2) / 2 of the two smallest layers of mode i (kernel).

    There is no cancellation if a0 and b0 have the same sign; otherwise only at the zero crossing.
    """
    if constants[2, i] == 0.0:
        product = constants[0, i] * math.exp(2.0 * y)
        return product, abs(product)
    if constants[1, i] == 0.0:
        product = constants[0, i] * math.exp(-2.0 * y)
        return product, abs(product)
    rise, fall = math.exp(y), math.exp(-y - 2.0 * theta)
    growing, fading = constants[1, i] * rise, constants[2, i] * fall
    # from the difference of their squares: if one is much smaller at the start, both keep all digits
    if y + theta >= 0.0:
        product = constants[0, i] * fall * fall - growing * growing * math.expm1(-4.0 * (y + theta))
    else:
        product = constants[0, i] * rise * rise + fading * fading * math.expm1(4.0 * (y + theta))
    return product, growing * growing + fading * fading


@njit(**KERNEL)
def remaining_product(constants: np.ndarray, equal_pairs: float, square: float, shift: float, i: int) -> float:
    """Product g of all layers of mode i except the two smallest, whose mean square is `square` (kernel).

    shift = exp(-2 theta)."""
    gain = square**equal_pairs if equal_pairs != 0.0 else 1.0
    for k in range(3, constants.shape[0]):
        gain *= math.sqrt(square + constants[k, i] * shift)
    return gain


@njit(**KERNEL)
def unbalanced(constants: np.ndarray) -> bool:
    """Whether some mode has unequal smallest layers, so that it is not an exponential of y (kernel)."""
    for i in range(constants.shape[1]):
        if constants[1, i] > 0.0 and constants[2, i] > 0.0:
            return True
    return False


def vanished(constants: np.ndarray, equal_pairs: float) -> float:
    """Largest -y of a decaying mode: its singular value has then decreased by the factor 1e-260, for any depth."""
    return VANISHED / (2.0 + 2.0 * equal_pairs + (len(constants) - 3))


@njit(**KERNEL)
def mobility(
    constants: np.ndarray, vanished: float, y: np.ndarray, direction: np.ndarray, active: np.ndarray
) -> tuple[int, int]:
    """Determine which modes can move at the coordinates y (kernel); return their number, and how many can grow.

    Write 1 into `direction` for a mode whose layers grow with y, -1 for a decaying one; into `active` 1 for a mode that
    can move, 0 for a mode that is 0 or has vanished.
    """
    count = growing = 0
    for i in range(direction.size):
        growing += constants[1, i] > 0.0
        direction[i] = 1.0 if constants[1, i] > 0.0 else -1.0
        moves = (constants[1, i] > 0.0 or constants[2, i] > 0.0) and -direction[i] * y[i] <= vanished
        active[i] = 1.0 if moves else 0.0
        count += moves
    return count, growing


@njit(**KERNEL)
def singular_values(
    constants: np.ndarray, equal_pairs: float, unbalanced: bool, y: np.ndarray, s: np.ndarray, gain: np.ndarray
) -> None:
    """Singular values s of Z and gains g with ``dy/dt = g lambda``, at the coordinates y (kernel).

    ``y`` has D entries, followed by theta if needed.
    """
    theta = y[s.size] if y.size > s.size else 0.0
    if not unbalanced and constants.shape[0] == 3:
        for i in range(s.size):
            s[i] = constants[0, i] * exp(2.0 * y[i] if constants[2, i] == 0.0 else -2.0 * y[i])
        for i in range(s.size):
            gain[i] = 1.0
        if equal_pairs != 0.0:
            for i in range(s.size):
                gain[i] = abs(s[i]) ** equal_pairs
                s[i] *= gain[i]
    else:
        shift = math.exp(-2.0 * theta)
        for i in range(s.size):
            product, square = pair(constants, y[i], theta, i)
            gain[i] = remaining_product(constants, equal_pairs, square, shift, i)
            s[i] = product * gain[i]


_mode_by_mode = interpreted(singular_values.function)


@singular_values.vectorized
def _all_singular_values(constants, equal_pairs, unbalanced, y, s, gain):
    if unbalanced or len(constants) > 3:
        _mode_by_mode(constants, equal_pairs, unbalanced, y, s, gain)
        return
    np.multiply(constants[0], np.exp(np.where(constants[2] == 0.0, 2.0, -2.0) * y[: s.size]), out=s)
    gain[:] = np.abs(s) ** equal_pairs
    s *= gain


@njit(**KERNEL)
def singular_values_of_rows(
    constants: np.ndarray, equal_pairs: float, unbalanced: bool, y: np.ndarray, s: np.ndarray, gain: np.ndarray
) -> None:
    """`singular_values` of n states (n, D), or (n, D + 1), into s and gain (n, D) (kernel)."""
    for row in range(len(y)):
        singular_values(constants, equal_pairs, unbalanced, y[row], s[row], gain[row])


@njit(**KERNEL)
def singular_value_slope(constants: np.ndarray, equal_pairs: float, y: np.ndarray, i: int) -> float:
    """ds_i/dy: the sum of (s / w_l)^2 over the layers, divided by g (kernel)."""
    theta = y[constants.shape[1]] if y.size > constants.shape[1] else 0.0
    shift = math.exp(-2.0 * theta)
    product, square = pair(constants, y[i], theta, i)
    total = 2.0 * square * (1.0 + equal_pairs)
    for k in range(3, constants.shape[0]):
        total += product * product / (square + constants[k, i] * shift)
    return total * remaining_product(constants, equal_pairs, square, shift, i)


def layers_at(start: np.ndarray, y: np.ndarray, depth: float = 2) -> np.ndarray:
    """Layers at the coordinates y.

    Parameters
    ----------
    start : (D,) or (depth, D) array
        Start of the run, as in `layers_of`.
    y : (..., D) or (..., D + 1) array
        Coordinates; with D + 1 entries the last one is theta.
    depth : float
        Integer number of layers.

    Returns
    -------
    (..., depth, D) array
    """
    layers = layers_of(start, depth)
    modes = layers.shape[1]
    theta = y[..., modes:] if y.shape[-1] > modes else np.zeros(1)
    y = y[..., :modes]
    order = np.argsort(np.abs(layers), axis=0, kind="stable")
    sign = np.where(layers < 0.0, -1.0, 1.0)
    a, b = np.take_along_axis(np.abs(layers), order[:2], axis=0)
    odd = np.prod(sign, axis=0)  # a has the common sign
    equal = a == b  # exponential growth or decay, with or without theta
    signed = a * odd
    balanced = np.exp(np.where(equal, odd * y, 0.0))
    fall = np.exp(-y - 2.0 * theta) if theta.any() else np.exp(-y)
    both = np.where(equal, 0.0, y)  # a decaying mode may have y > 710
    growth = (signed + b) * ((np.exp(both) - fall) / 2.0 if theta.any() else np.sinh(both))
    first = np.where(equal, signed * balanced, signed * fall + growth)
    second = np.where(equal, b * balanced, b * fall + growth)
    out = [first * odd, second]
    square = (first**2 + second**2) / 2
    for w in np.take_along_axis(np.abs(layers), order[2:], axis=0):
        offset = ((w - a) * (w + a) + (w - b) * (w + b)) / 2
        out.append(np.sqrt(square + offset * np.exp(-2.0 * theta)))
    out = np.stack(out, axis=-2)
    back = np.argsort(order, axis=0, kind="stable")
    return np.take_along_axis(out, np.broadcast_to(back, out.shape), axis=-2) * sign


def conserved(layers: np.ndarray) -> np.ndarray:
    """Differences of squared layers (..., depth, D), which are conserved without weight decay.

    Returns
    -------
    (..., D) array for two layers, ``a^2 - b^2``; (..., depth - 1, D) for more, ``w_l^2 - w_(l+1)^2``.
    """
    difference = (layers[..., :-1, :] - layers[..., 1:, :]) * (layers[..., :-1, :] + layers[..., 1:, :])
    return difference[..., 0, :] if layers.shape[-2] == 2 else difference


@njit(**KERNEL)
def extent(layers):
    """Smallest nonzero and largest absolute value, and largest product of a column."""
    smallest, largest, top = np.inf, 0.0, 0.0
    for i in range(layers.shape[1]):
        product = 1.0
        for row in range(layers.shape[0]):
            size = abs(layers[row, i])
            product *= size
            largest = max(largest, size)
            if size > 0.0:
                smallest = min(smallest, size)
        top = max(top, product)
    return smallest, largest, top
