"""Registry of the schemes: all factories in this package decorated by `register`."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

Factory = TypeVar("Factory", bound=Callable[..., Any])


@dataclass(frozen=True)
class Entry:
    """Factory of schemes, names of its arguments, and their relation to K (None: arguments are not numbers)."""

    factory: Callable[..., Any]
    arguments: tuple[str, ...]
    hint: str | None

    @property
    def written(self) -> str:
        """Form on the command line, for example ``hamming:M,Q``; K alone has its own option."""
        numbers = "" if self.arguments == ("K",) else ":" + ",".join(self.arguments).upper()
        return self.factory.__name__ + numbers


SCHEMES: dict[str, Entry] = {}


def register(hint: str | None = None) -> Callable[[Factory], Factory]:
    """Decorator that registers a factory of schemes; without a hint it is not available on the command line.

    Parameters
    ----------
    hint : str, optional
        Number K of classes, for example ``K = Q^M``.
    """

    def mark(factory: Factory) -> Factory:
        if factory.__name__ in SCHEMES:
            raise ValueError(f"there is already a scheme {factory.__name__}")
        SCHEMES[factory.__name__] = Entry(factory, tuple(inspect.signature(factory).parameters), hint)
        return factory

    return mark
