"""Power series by the rules of automatic differentiation."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


class Tape:
    """Power series that depend on each other, extended coefficient by coefficient in the order of creation."""

    def __init__(self, ctx) -> None:
        self.ctx = ctx
        self.rules: list[tuple[Series, Callable[[int], Any]]] = []

    def free(self, *terms) -> Series:
        """A series whose coefficients are set from outside."""
        return Series(self, list(terms))

    def series(self, rule: Callable[[int], Any]) -> Series:
        """A new series with the coefficients ``rule(n)``."""
        out = Series(self, [])
        self.rules.append((out, rule))
        return out

    def combination(self, weights: list, series: list[Series], constant=0) -> Series:
        terms = [one.terms for one in series]

        def rule(n: int):
            total = self.ctx.fdot(weights, [term[n] for term in terms])
            return total + constant if n == 0 else total

        return self.series(rule)

    def extend(self, n: int) -> None:
        for out, rule in self.rules:
            out.terms.append(rule(n))

    def clear(self) -> None:
        for out, _ in self.rules:
            out.terms.clear()


class Series:
    """Power series of a tape. Sums, products and powers, also with numbers, are new series.

    Attributes
    ----------
    terms : list
        Coefficients so far.
    """

    def __init__(self, tape: Tape, terms: list) -> None:
        self.tape, self.terms = tape, terms

    def __add__(self, other: Any) -> Series:
        if isinstance(other, Series):
            return self.tape.combination([1, 1], [self, other])
        return self.tape.combination([1], [self], other)

    def __mul__(self, other: Any) -> Series:
        if not isinstance(other, Series):
            return self.tape.combination([other], [self])
        a, b = self.terms, other.terms
        return self.tape.series(lambda n: self._convolution(a, b, 0, n))

    __radd__, __rmul__ = __add__, __mul__

    def __pow__(self, exponent: Any) -> Any:
        if not self.tape.ctx.isint(exponent):
            return self._power(exponent)
        if exponent < 0:
            return self.reciprocal() ** -exponent
        out = 1
        for bit in bin(int(exponent))[2:]:
            out = out * out * self if bit == "1" else out * out
        return out

    def derivative(self) -> Series:
        """x a', with the coefficients n a_n."""
        a = self.terms
        return self.tape.series(lambda n: n * a[n])

    def exp(self) -> Series:
        """e with x e' = x a' e."""
        a, slope, ctx = self.terms, self.derivative().terms, self.tape.ctx
        out = self.tape.series(lambda n: self._convolution(slope, out.terms, 1, n) / n if n else ctx.exp(a[0]))
        return out

    def reciprocal(self) -> Series:
        """q with q a = 1."""
        a = self.terms
        out = self.tape.series(lambda n: -self._convolution(a, out.terms, 1, n) / a[0] if n else 1 / a[0])
        return out

    def log(self) -> Series:
        """l with a l' = a'."""
        slope = (self.derivative() * self.reciprocal()).terms
        return self.tape.series(lambda n: slope[n] / n if n else self.tape.ctx.ln(self.terms[0]))

    def log1p(self) -> Series:
        """l with (1 + a) l' = a'; without loss of digits for small a."""
        slope = (self.derivative() * (self + 1).reciprocal()).terms
        return self.tape.series(lambda n: slope[n] / n if n else self.tape.ctx.log1p(self.terms[0]))

    def _power(self, exponent: Any) -> Series:
        """y = a^f from a y' = f a' y."""
        a = self.terms

        def rule(n: int):
            if n == 0:
                return a[0] ** exponent
            weights = [(exponent * k - (n - k)) * a[k] for k in range(1, n + 1)]
            return self.tape.ctx.fdot(weights, [out.terms[n - k] for k in range(1, n + 1)]) / (n * a[0])

        out = self.tape.series(rule)
        return out

    def _convolution(self, a: list, b: list, low: int, n: int):
        """sum of a_k b_(n-k) for k = low..n."""
        return self.tape.ctx.fdot(a[low : n + 1], [b[n - k] for k in range(low, n + 1)])
