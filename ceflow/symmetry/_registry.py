"""The schemes that there are: every factory in a module of this package that carries the mark `register`."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

Factory = TypeVar("Factory", bound=Callable[..., Any])


@dataclass(frozen=True)
class Entry:
    """A factory of schemes, the names of its arguments, and what they say about K (None: it takes no numbers)."""

    factory: Callable[..., Any]
    arguments: tuple[str, ...]
    hint: str | None

    @property
    def written(self) -> str:
        """How a command line names such a scheme, for example ``hamming:M,Q``; K alone has an option of its own."""
        numbers = "" if self.arguments == ("K",) else ":" + ",".join(self.arguments).upper()
        return self.factory.__name__ + numbers


SCHEMES: dict[str, Entry] = {}


def register(hint: str | None = None) -> Callable[[Factory], Factory]:
    """Marks a factory of schemes, a function of integers; without a hint, of something that a command line cannot hold.

    Parameters
    ----------
    hint : str, optional
        The number K of classes in a few words, for example ``K = Q^M``.
    """

    def mark(factory: Factory) -> Factory:
        if factory.__name__ in SCHEMES:
            raise ValueError(f"there is already a scheme {factory.__name__}")
        SCHEMES[factory.__name__] = Entry(factory, tuple(inspect.signature(factory).parameters), hint)
        return factory

    return mark
