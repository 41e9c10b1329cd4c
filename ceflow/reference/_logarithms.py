"""Numbers represented by their logarithms, without underflow and overflow."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray


class Logarithmic:
    """Arrays of numbers ``sign * exp(size)``, with the arithmetic that formulas of losses need.

    Sums of numbers of one sign, products, powers and functions are accurate to rounding of the logarithm.
    """

    __array_ufunc__ = None  # operators of float arrays defer to this class

    def __init__(self, sign: ArrayLike, size: ArrayLike) -> None:
        self.sign, self.size = np.asarray(sign, float), np.asarray(size, float)

    @classmethod
    def of(cls, value: Logarithmic | ArrayLike) -> Logarithmic:
        """Convert numbers."""
        if isinstance(value, cls):
            return value
        value = np.asarray(value, float)
        with np.errstate(divide="ignore"):
            return cls(np.sign(value), np.log(np.abs(value)))

    def value(self, log_scale: ArrayLike = 0.0) -> NDArray[np.float64]:
        """Numbers divided by ``exp(log_scale)``."""
        return self.sign * np.exp(self.size - log_scale)

    def __getitem__(self, index) -> Logarithmic:
        return Logarithmic(self.sign[index], self.size[index])

    def __abs__(self) -> Logarithmic:
        return Logarithmic(np.abs(self.sign), self.size)

    def __add__(self, other: Logarithmic | ArrayLike) -> Logarithmic:
        other = Logarithmic.of(other)
        top = np.maximum(self.size, other.size)
        top = np.where(top == -np.inf, 0.0, top)
        total = Logarithmic.of(self.value(top) + other.value(top))
        return Logarithmic(total.sign, total.size + top)

    def __mul__(self, other: Logarithmic | ArrayLike) -> Logarithmic:
        other = Logarithmic.of(other)
        sign = self.sign * other.sign
        with np.errstate(invalid="ignore"):  # 0 times infinity
            return Logarithmic(sign, np.where(sign == 0.0, -np.inf, self.size + other.size))

    __radd__, __rmul__ = __add__, __mul__

    def __pow__(self, exponent: float) -> Logarithmic:
        with np.errstate(invalid="ignore"):  # negative base: NaN if the exponent is not an integer
            return Logarithmic(self.sign**exponent, exponent * self.size if exponent else np.zeros_like(self.size))

    def exp(self) -> Logarithmic:
        return Logarithmic(np.ones_like(self.sign), self.value())

    def log1p(self) -> Logarithmic:
        with np.errstate(divide="ignore", invalid="ignore"):
            negative = np.where(self.size <= 0.0, np.log1p(-np.exp(np.minimum(self.size, 0.0))), np.nan)
            size = np.log(np.abs(np.where(self.sign >= 0.0, np.logaddexp(0.0, self.size), negative)))
        return Logarithmic(self.sign, np.where(self.size < -40.0, self.size, size))

    def log(self) -> Logarithmic:
        return Logarithmic.of(np.where(self.sign > 0.0, self.size, np.nan))

