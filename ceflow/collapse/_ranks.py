"""Ranks of the features at each layer of a network."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .._arrays import svd
from .._checks import checked_number
from ..network.activation import parse
from ..network.factors import check_factors, inputs


class LayerRanks(NamedTuple):
    """Ranks at the ``depth - 1`` places between layers, from W to H.

    Attributes
    ----------
    before, after : (..., depth - 1) ints
        Rank before and after the activation.
    output : (...,) ints
        Rank of the logits without the bias.

    Examples
    --------
    >>> ranks = cf.collapse.layer_ranks([np.ones((2, 3)), np.eye(3)])
    >>> ranks.before, int(ranks.output)
    (array([3]), 1)
    """

    before: NDArray[np.int64]
    after: NDArray[np.int64]
    output: NDArray[np.int64]


def layer_ranks(
    factors: Sequence[ArrayLike], *, activation: str | Sequence[str] = "linear", tolerance: float = 1e-2
) -> LayerRanks:
    """Ranks of the output of every layer, before and after its activation.

    Parameters
    ----------
    factors : sequence of (..., n, m) arrays
        W, ..., H; at least two.
    activation : str or sequence of str
        One activation for all places between layers, or one for each, as in `ceflow.flow.Objective`.
    tolerance : float
        Singular values above `tolerance` times the largest count.

    Raises
    ------
    TypeError, ValueError
        If an argument is invalid.

    Notes
    -----
    arXiv:2405.14468 finds low rank before the last activation in deep relu networks.

    Examples
    --------
    >>> line = np.array([[1.0, -1.0]])  # two samples on a line
    >>> ranks = cf.collapse.layer_ranks([np.eye(2), np.array([[1.0], [-1.0]]) @ line], activation="relu")
    >>> ranks.before, ranks.after
    (array([1]), array([2]))
    """
    places = len(factors) - 1
    if places < 1:
        raise ValueError(f"factors must be at least two, got {len(factors)}")
    factors = check_factors(factors, places + 1, columns=lambda _: np.shape(factors[-1])[-1], least=1)
    names = (activation,) * places if isinstance(activation, str) else tuple(activation)
    if len(names) != places:
        raise ValueError(f"activation must be one for all or one for each of {places} places, got {len(names)}")
    tolerance = checked_number("tolerance", tolerance, 1e-15, 1.0)
    after, before, output = inputs(factors, [parse(name) for name in names])
    first, last = (np.stack([_rank(x, tolerance) for x in side], axis=-1) for side in (before, after))
    return LayerRanks(first, last, _rank(output, tolerance))


def _rank(x: NDArray, tolerance: float) -> NDArray[np.int64]:
    s = svd(x, compute_uv=False)
    return (s > tolerance * s[..., :1]).sum(axis=-1)
