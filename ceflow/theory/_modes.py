"""One mode of a regression on two linear layers: exact solutions, and rates of convergence."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .._checks import checked_array, checked_number
from ._arguments import SMALLEST
from ._bessel import advance

LARGEST = 1e100  # limit of numbers that are squared ...
HIGHEST = 1e60  # ... and squared twice


class Mode(NamedTuple):
    """The two layers of one mode, with the broadcast shape (...) of the arguments.

    Attributes
    ----------
    a, b : arrays
        Singular values of the classifier and of the features F.

    Examples
    --------
    >>> layers = cf.theory.regression.mode(3.0, sigma=1.0, a=0.5, b=0.1)
    >>> f"{layers.a:.6f} * {layers.b:.6f}"
    '1.050925 * 0.929754'
    """

    a: NDArray[np.float64]
    b: NDArray[np.float64]

    @property
    def singular_value(self) -> NDArray[np.float64]:
        """Singular value s = a b of W F."""
        return self.a * self.b


def mode(t: ArrayLike, *, sigma: ArrayLike, a: ArrayLike, b: ArrayLike, weight_decay: float = 0.0) -> Mode:
    """Exact solution of one mode, ``da/dt = (sigma - a b) b - l a``, ``db/dt = (sigma - a b) a - l b``.

    Without imbalance it is the logistic curve of Saxe et al. With imbalance ``c = a^2 - b^2 = c_0 exp(-2 l t)``, ``(a +
    b)^2`` satisfies a Riccati equation. Its solution is elementary for l = 0, and has modified Bessel functions of
    order (sigma - l)/(2 l) for l > 0.

    Parameters
    ----------
    t : array
        Canonical time t >= 0 (see `ceflow.RegressionFlow`).
    sigma : array
        Positive singular value of the targets.
    a, b : arrays
        Layers at t = 0, of any sign, up to 1e60 in absolute value; sums below 1e-150 count as 0.
    weight_decay : float
        Decay l >= 0 of both layers; no closed form is known for two different decays.

    Returns
    -------
    Mode

    Raises
    ------
    TypeError, ValueError
        If an argument is invalid.

    Notes
    -----
    Errors of a and b are rounding of the larger one; the error of s is rounding of a^2 + b^2, and of s for a close to
    b. Nothing overflows: large orders use uniform expansions, which become the elementary solution for l = 0. Saxe,
    McClelland & Ganguli, arXiv:1312.6120, for a = b and l = 0; with decay and imbalance [ceflow].

    Examples
    --------
    >>> layers = cf.theory.regression.mode([0.0, 3.0, 100.0], sigma=1.0, a=0.1, b=0.1, weight_decay=0.2)
    >>> (layers.a * layers.b).round(4)  # to sigma - l
    array([0.01  , 0.4848, 0.8   ])
    """
    t, sigma = checked_array("t", t, 0.0), checked_array("sigma", sigma, SMALLEST, LARGEST)
    a, b = (checked_array(name, value, -HIGHEST, HIGHEST) for name, value in (("a", a), ("b", b)))
    decay = checked_number("weight_decay", weight_decay, 0.0, LARGEST)
    t, sigma, a, b = np.broadcast_arrays(t, sigma, a, b)
    shape = t.shape
    t, sigma, a, b = (np.array(value, float).ravel() for value in (t, sigma, a, b))
    p, m = a + b, a - b
    with np.errstate(over="ignore", under="ignore"):  # exponents, to inf and 0
        faded = p * m * np.exp(-2.0 * decay * t)
        swap = p == 0.0  # a = -b: only the other sum is nonzero, at all times
        P = np.where(swap, m, p) ** 2
        P = advance(P, np.where(swap, 0.0, p * m), np.where(swap, -sigma, sigma) - decay, decay, t)
        root = np.sqrt(P)
        total = np.where(swap, 0.0, np.copysign(root, p))
        other = np.divide(faded, total, out=np.copysign(root, m) * swap, where=total != 0.0)
        return Mode(*(0.5 * part.reshape(shape)[()] for part in (total + other, total - other)))


def rates(sigma: ArrayLike, weight_decay: float | tuple[float, float]) -> NDArray[np.float64]:
    """Rates (..., 2) of convergence of the two layers of one mode to the minimum; the slow one last.

    Above the threshold, ``sigma^2 > c = lW lH``, they are the roots of ``mu^2 - sigma (lW + lH)/sqrt(c) mu + 4 sqrt(c)
    (sigma - sqrt(c))``: 2 (sigma - l) and 2 l for equal decay. Below the threshold the mode decays to 0 with the rates
    ``(lW + lH)/2 +- sqrt(sigma^2 + (lW - lH)^2/4)``.

    Parameters
    ----------
    sigma : (...) array
        Positive singular values of the targets.
    weight_decay : float or (lW, lH)
        Decays of W and F; both positive, or both 0.

    Raises
    ------
    TypeError, ValueError
        If an argument is invalid.

    Notes
    -----
    In canonical time. [ceflow]

    Examples
    --------
    >>> cf.theory.regression.rates([1.5, 0.5], 0.1).round(4)
    array([[2.8, 0.2],
           [0.8, 0.2]])
    """
    sigma = checked_array("sigma", sigma, SMALLEST, LARGEST)
    lW, lH = checked_decays(weight_decay)
    root = math.sqrt(lW) * math.sqrt(lH)
    half = 0.5 * sigma * (2.0 if root == 0.0 else math.sqrt(lW / lH) + math.sqrt(lH / lW))
    above = half + np.sqrt(np.maximum(half**2 - 4.0 * root * (sigma - root), 0.0))
    below = 0.5 * (lW + lH) + np.hypot(sigma, 0.5 * (lW - lH))
    fast = np.where(sigma > root, above, below)
    product = np.where(sigma > root, 4.0 * root * (sigma - root), (root - sigma) * (root + sigma))
    return np.stack([fast, product / fast], axis=-1)


def checked_decays(weight_decay: float | tuple[float, float]) -> tuple[float, float]:
    """Checked decays lW and lH, both positive or both 0."""
    decays = checked_array("weight_decay", weight_decay, 0.0, LARGEST)
    if decays.shape not in ((), (2,)) or (decays > 0.0).sum() == 1 < decays.size:
        raise ValueError(f"weight_decay must be a number or (lW, lH), both positive or both 0, got {weight_decay!r}")
    return tuple(np.broadcast_to(decays, 2).tolist())
