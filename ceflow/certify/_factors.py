"""Products of factors."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray


def flat(arrays: Iterable[NDArray], n: int) -> NDArray:
    """Flatten arrays of n states to (n, N)."""
    return np.concatenate([array.reshape(n, -1) for array in arrays], axis=-1)


def product(factors: Sequence[NDArray]) -> NDArray:
    """Product of factors."""
    return functools.reduce(np.matmul, factors)


def pulled(G: NDArray, factors: Sequence[NDArray]) -> list[NDArray]:
    """For each factor: (product of the factors before)' G (product of the factors after)'."""
    out = []
    for k in range(len(factors)):
        before, after = factors[:k], factors[k + 1 :]
        pull = product(before).swapaxes(-1, -2) @ G if before else G
        out.append(pull @ product(after).swapaxes(-1, -2) if after else pull)
    return out
