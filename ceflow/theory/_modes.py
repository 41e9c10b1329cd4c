"""One mode of a regression on two linear layers: exact solutions, and rates at the minimum."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .._checks import checked_array, checked_number
from ._arguments import SMALLEST
from ._bessel import advance

LARGEST = 1e100  # of numbers that are squared ...
HIGHEST = 1e60  # ... twice


class Mode(NamedTuple):
    """The two layers of one mode, of the shape (...) of the arguments together; its singular value is their product.

    Attributes
    ----------
    a, b : arrays
        Of the classifier, and of the features F.

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
        """s = a b, of W F."""
        return self.a * self.b


def mode(t: ArrayLike, *, sigma: ArrayLike, a: ArrayLike, b: ArrayLike, weight_decay: float = 0.0) -> Mode:
    """Exact solution of one mode, ``da/dt = (sigma - a b) b - l a``, ``db/dt = (sigma - a b) a - l b``.

    Without imbalance it is the logistic curve of Saxe et al.; with imbalance ``c = a^2 - b^2 = c_0 exp(-2 l t)``,
    and ``(a + b)^2`` obeys a Riccati equation, elementary for l = 0 and solved by modified Bessel functions of order
    (sigma - l)/(2 l) for l > 0.

    Parameters
    ----------
    t : array
        Time, t >= 0, canonical (see `ceflow.RegressionFlow`).
    sigma : array
        Singular value of the targets, positive.
    a, b : arrays
        Layers at t = 0, of any sign and up to 1e60 in size; sums below 1e-150 count as 0.
    weight_decay : float
        l >= 0, of both layers; no closed form is known for two decays.

    Returns
    -------
    Mode

    Raises
    ------
    TypeError, ValueError
        If an argument is not as described.

    Notes
    -----
    Errors of a and b are rounding of the larger one; that of s is rounding of a^2 + b^2, and of s where both are alike.
    No argument overflows: Bessel functions are replaced by expansions for large order, which end, for l = 0, in the
    elementary solution. Saxe, McClelland & Ganguli, arXiv:1312.6120, for a = b and l = 0; with decay and imbalance
    [ceflow].

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
        swap = p == 0.0  # a = -b: the other of the two sums moves, and stays alone
        P = np.where(swap, m, p) ** 2
        P = advance(P, np.where(swap, 0.0, p * m), np.where(swap, -sigma, sigma) - decay, decay, t)
        root = np.sqrt(P)
        total = np.where(swap, 0.0, np.copysign(root, p))
        other = np.divide(faded, total, out=np.copysign(root, m) * swap, where=total != 0.0)
        return Mode(*(0.5 * part.reshape(shape)[()] for part in (total + other, total - other)))


def rates(sigma: ArrayLike, weight_decay: float | tuple[float, float]) -> NDArray[np.float64]:
    """Rates (..., 2) at which the two layers of one mode come to the minimum, positive, the slow one last.

    Above the threshold, ``sigma^2 > c = lW lH``, they are the roots of ``mu^2 - sigma (lW + lH)/sqrt(c) mu + 4 sqrt(c)
    (sigma - sqrt(c))``, so 2 (sigma - l) and 2 l for equal decay; below it the mode goes to 0, at ``(lW + lH)/2 +-
    sqrt(sigma^2 + (lW - lH)^2/4)``. The second of these is negative, the growth of the mode, if sigma^2 > c.

    Parameters
    ----------
    sigma : (...) array
        Singular values of the targets, positive.
    weight_decay : float or (lW, lH)
        Of W and F; both positive, or both 0.

    Raises
    ------
    TypeError, ValueError
        If an argument is not as described.

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
    """lW and lH, both positive or both 0."""
    decays = checked_array("weight_decay", weight_decay, 0.0, LARGEST)
    if decays.shape not in ((), (2,)) or (decays > 0.0).sum() == 1 < decays.size:
        raise ValueError(f"weight_decay must be a number or (lW, lH), both positive or both 0, got {weight_decay!r}")
    return tuple(np.broadcast_to(decays, 2).tolist())
