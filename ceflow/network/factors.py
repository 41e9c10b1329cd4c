"""Layers as matrices: factors W (K, d), ..., H (d, K) with the product Z."""

from __future__ import annotations

import functools
import operator
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from .._checks import checked_array
from .activation import Activation


def product(factors: Sequence[np.ndarray]) -> np.ndarray:
    """Product of the factors, from the left."""
    return functools.reduce(operator.matmul, factors)


def pull_back(G: np.ndarray, factors: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Gradients in the factors of a function that has the gradient G in their product.

    Parameters
    ----------
    G : (..., K, K) array
    factors : sequence of arrays
        From the left; their leading axes are those of G.

    Returns
    -------
    list of arrays
        ``(product of the factors before)^T G (product of the factors after)^T``, one for each factor, of its shape.
    """
    after = [np.eye(factors[-1].shape[-1])]
    for factor in factors[:0:-1]:
        after.insert(0, factor @ after[0])
    pulled = []
    for factor, rest in zip(factors, after, strict=True):
        pulled.append(G @ rest.swapaxes(-1, -2))
        G = factor.swapaxes(-1, -2) @ G
    return pulled


def check_whole_depth(depth: float) -> int:
    """Check that the depth is an integer, as separate layers require."""
    if not isinstance(depth, int):
        raise ValueError(f"depth must be an integer for separate layers, got {depth!r}")
    return depth


def inputs(factors: Sequence[Any], acts: Sequence[Activation], xp: Any = np, out: Any = None) -> tuple[list, list, Any]:
    """Inputs of the layers from the right, with activations s: ``W s(X s(... s(H)))``.

    Parameters
    ----------
    factors : sequence of (..., n, m) arrays
        Factors of the library xp, from the left.
    acts : sequence of Activation
        Activations between neighbouring factors, from the left.
    out : array, optional
        Array for the output.

    Returns
    -------
    after : list of arrays
        Input of each factor except the last.
    before : list of arrays
        The inputs before the activation; the same arrays for linear activations.
    output : (..., K, N) array
    """
    after, before, x = [], [], factors[-1]
    for i in range(len(factors) - 2, -1, -1):
        before.append(x)
        x = x if acts[i].linear else acts[i].value(x, xp)
        after.append(x)
        x = xp.matmul(factors[i], x, out=None if i else out)
    return after[::-1], before[::-1], x


def check_sizes(factors: Sequence[np.ndarray], smallest: float) -> None:
    """Raise a ValueError if, for a member of a batch, all factors are nonzero but smaller than `smallest`."""
    largest = np.max([np.abs(factor).max(axis=(-2, -1)) for factor in factors], axis=0)
    tiny = (largest > 0.0) & (largest < smallest)
    if tiny.any():
        which = "" if tiny.ndim == 0 else f" of member {np.flatnonzero(tiny)[0]} of the batch"
        raise ValueError(
            f"the factors{which} must be 0 or have an entry of at least {smallest:g}, got {largest[tiny].min():g}: "
            "squares of smaller ones underflow. The reduced flow accepts singular values down to 1e-300"
        )


def check_factors(
    factors: Any, depth: int, classes: int | None = None, columns: Callable[[int], int] | None = None, least: int = 2
) -> list[np.ndarray]:
    """Check factors W (K, d), ..., H (d, N) and convert them to float64. Leading axes are those of a batch. N is K, or
    the function `columns` of it, and K is at least `least`."""
    if len(factors) != depth:
        raise ValueError(f"the start must have {depth} factors, one for each layer, got {len(factors)}")
    names = ["W", *(f"factor {i}" for i in range(2, depth)), "H"]
    limit = 10.0 ** (300 // depth)
    factors = [checked_array(name, factor, -limit, limit) for name, factor in zip(names, factors, strict=True)]
    shapes = [factor.shape for factor in factors]
    fit = all(len(shape) >= 2 and shape[:-2] == shapes[0][:-2] and min(shape) >= 1 for shape in shapes)
    fit = fit and all(left[-1] == right[-2] for left, right in pairwise(shapes)) and shapes[0][-2] >= least
    wanted = columns(shapes[0][-2]) if fit and columns is not None else shapes[0][-2] if fit else 0
    if not fit or shapes[-1][-1] != wanted:
        width = "K" if columns is None or not fit else wanted
        raise ValueError(
            f"W must be (K, d) and H (d, {width}) with K >= {least} and d >= 1, and factors between them must fit, got "
            f"{' and '.join(map(str, shapes))}"
        )
    if classes is not None and shapes[0][-2] != classes:
        raise ValueError(f"W must have K = {classes} rows, got {shapes[0][-2]}")
    return factors
