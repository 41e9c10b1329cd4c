"""Entrywise activations between layers."""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import numpy as np

from .._checks import checked_number

_FORMS = 'activation must be "linear", "relu" or "softplus:BETA" such as "softplus:20"'


class Activation(NamedTuple):
    """Entrywise function ``x``, ``max(x, 0)``, or its smooth approximation ``log(1 + exp(beta x)) / beta``.

    Attributes
    ----------
    name : {"linear", "relu", "softplus"}
    beta : float
        Parameter of "softplus", 1e-6 to 1e6.
    """

    name: str = "linear"
    beta: float = 1.0

    @property
    def linear(self) -> bool:
        return self.name == "linear"

    def value(self, x: Any, xp: Any = np) -> Any:
        """Apply the function to an array of the library xp; "linear" returns x itself."""
        if self.name == "relu":
            return xp.clip(x, 0.0, None)
        if self.name == "softplus":
            x = self.beta * x
            return xp.logaddexp(x, 0.0 * x) / self.beta
        return x

    def slope(self, x: Any, xp: Any = np) -> Any:
        """Derivative, to full relative precision; 0 at 0 for "relu"."""
        if self.name == "relu":
            return 1.0 * (x > 0.0)
        if self.name == "softplus":
            x = -self.beta * x
            return xp.exp(-xp.logaddexp(x, 0.0 * x))
        return 1.0 + 0.0 * x


@functools.lru_cache(maxsize=64)
def parse(text: str) -> Activation:
    """Parse an activation; raise a ValueError if it is invalid."""
    if not isinstance(text, str):
        raise TypeError(f"{_FORMS}, got {type(text).__name__}")
    name, _, beta = text.partition(":")
    if name in ("linear", "relu") and text == name:
        return Activation(name)
    try:
        if name == "softplus":
            return Activation(name, checked_number("beta", float(beta), 1e-6, 1e6))
    except ValueError:
        pass
    raise ValueError(f"{_FORMS} with BETA from 1e-6 to 1e6, got {text!r}")
