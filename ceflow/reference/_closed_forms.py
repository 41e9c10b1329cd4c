"""Closed formulas for the gaps of the families of schemes, for schemes too large for a matrix of relations.

They are implemented independently: characters of Z_2^n as parities, characters of a cyclic group as squared chords,
Krawtchouk and Eberlein polynomials as coefficients of generating functions in Python integers (Bannai & Ito, III.2).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from ..symmetry import Scheme


class ClosedForm(NamedTuple):
    """Formulas of a scheme; modes i and relations j from 0 to D, in Python integers."""

    source: str
    valency: Callable[[NDArray], NDArray]  # of relations
    multiplicity: Callable[[NDArray], NDArray]  # of modes
    gaps: Callable[[int, NDArray], NDArray]  # of one mode, for relations


def closed_form(scheme: Scheme) -> ClosedForm:
    """Formulas of the family of a scheme; a ValueError if it has none."""
    if scheme.kind not in _FAMILIES:
        known = ", ".join(_FAMILIES)
        raise ValueError(f"there is no closed formula for the gaps of {scheme.name}, only for {known}")
    return _FAMILIES[scheme.kind](*map(int, scheme.args))


def _hadamard(K: int) -> ClosedForm:
    def gaps(i: int, j: NDArray) -> NDArray:
        parity = np.bitwise_and(j, i)
        for shift in (32, 16, 8, 4, 2, 1):
            parity = parity ^ (parity >> shift)
        return 2.0 * (parity & 1)

    return ClosedForm("parities of i & j", np.ones_like, np.ones_like, gaps)


def _cyclic(K: int) -> ClosedForm:
    def gaps(i: int, j: NDArray) -> NDArray:
        steps = i * j % K
        steps = np.minimum(steps, K - steps)
        return np.abs(np.expm1(2j * np.pi * steps / K)) ** 2 / 2.0  # 1 - cos as half of a squared chord

    def size(i: NDArray) -> NDArray:
        return np.where((i == 0) | (2 * i == K), 1, 2)

    return ClosedForm("cosines", size, size, gaps)


def _hamming(m: int, q: int) -> ClosedForm:
    def size(j: NDArray) -> NDArray:
        return np.array([math.comb(m, int(a)) * (q - 1) ** int(a) for a in j], object)

    def gaps(i: int, j: NDArray) -> NDArray:
        polynomial = _product(_binomials(m - i, q - 1), _binomials(i, -1))  # (1 + (q-1) x)^(m-i) (1 - x)^i
        return _ratios(size(j), polynomial[j])

    return ClosedForm("Krawtchouk polynomials", size, size, gaps)


def _johnson(n: int, k: int) -> ClosedForm:
    def valency(j: NDArray) -> NDArray:
        return np.array([math.comb(k, int(a)) * math.comb(n - k, int(a)) for a in j], object)

    def multiplicity(i: NDArray) -> NDArray:
        return np.array([math.comb(n, int(a)) - (math.comb(n, int(a) - 1) if a else 0) for a in i], object)

    def gaps(i: int, j: NDArray) -> NDArray:
        eigenvalues = [
            sum((-1) ** a * math.comb(i, a) * math.comb(k - i, b - a) * math.comb(n - k - i, b - a)
                for a in range(min(i, b) + 1))
            for b in map(int, j)
        ]  # fmt: skip
        return _ratios(valency(j), np.array(eigenvalues, object))

    return ClosedForm("Eberlein polynomials", valency, multiplicity, gaps)


_FAMILIES: dict[str, Callable[..., ClosedForm]] = {
    "hadamard": _hadamard,
    "cyclic": _cyclic,
    "complete": lambda K: _hamming(1, K),
    "hamming": _hamming,
    "johnson": _johnson,
}


def _binomials(power: int, factor: int) -> NDArray:
    """Coefficients of (1 + factor x)^power."""
    return np.array([math.comb(power, a) * factor**a for a in range(power + 1)], object)


def _product(a: NDArray, b: NDArray) -> NDArray:
    """Coefficients of a product of polynomials."""
    out = np.zeros(len(a) + len(b) - 1, object)
    for n, value in enumerate(b):
        out[n : n + len(a)] += value * a
    return out


def _ratios(valencies: NDArray, eigenvalues: NDArray) -> NDArray[np.float64]:
    """``(k - P) / k`` of integers, with one rounding."""
    return np.array([(k - p) / k for k, p in zip(valencies, eigenvalues, strict=True)], float)
