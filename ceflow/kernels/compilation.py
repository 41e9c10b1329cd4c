"""When kernels are compiled: settings, and the rule.

A process interprets kernels until it has done `SOON` of work in them. Then it takes compiled code where there is some
on disk. If there is none it goes on, until it has done `LATE`, and compiles. These are what loading and compiling cost:
whatever is yet to come, waiting takes about twice the time of the better choice at most. Work is the CPU time that
evaluations of a field are reckoned at (`CompiledField.work`), not what they took, so that the same calls change over at
the same place.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any, Generic, ParamSpec, TypeVar

SOON, LATE = 2e6, 1e7  # microseconds
P = ParamSpec("P")
T = TypeVar("T")


class Settings:
    """Settings that hold for all of a process, ``ceflow.settings``.

    Attributes
    ----------
    compiled : bool or None
        Whether kernels are compiled: True, always; False, never; None (at first), when that pays.

    Examples
    --------
    >>> cf.settings.compiled = False  # of the process; integrate(..., compiled=False) is of one run
    >>> cf.integrate(cf.SpectralFlow(cf.hadamard(4)), [1e-3, 2e-3, 3e-3], 1.0).compiled
    False
    """

    def __init__(self) -> None:
        self._compiled: bool | None = None

    @property
    def compiled(self) -> bool | None:
        return self._compiled

    @compiled.setter
    def compiled(self, value: bool | None) -> None:
        self._compiled = checked(value)


class _Process:
    """How much a process has done in interpreted kernels, and whether it compiles from now on."""

    work, enough, compiles = 0.0, SOON, False
    on_disk: Callable[[], bool] = staticmethod(lambda: False)  # whether compiled code is there


settings, process = Settings(), _Process()
_choice: ContextVar[bool | None] = ContextVar("compiled", default=None)


def checked(value: bool | None) -> bool | None:
    """True, False or None; anything else is a TypeError."""
    if value is not None and not isinstance(value, bool):
        raise TypeError(f"compiled must be True, False or None, got {value!r}")
    return value


def compiled() -> bool:
    """Whether the kernels that are called next are compiled ones."""
    chosen = _choice.get()
    if chosen is None:
        chosen = settings._compiled
    if chosen is None:
        return process.compiles or (process.work >= process.enough and _pays())
    return chosen


def _pays() -> bool:
    process.compiles = process.enough == LATE or process.on_disk()
    process.enough = LATE
    return process.compiles


class compiling:
    """Context in which kernels are compiled, or interpreted, or with None as it was before."""

    def __init__(self, choice: bool | None) -> None:
        self._chosen = choice

    def __enter__(self) -> None:
        self._token = None if self._chosen is None else _choice.set(self._chosen)

    def __exit__(self, *error: object) -> None:
        if self._token is not None:
            _choice.reset(self._token)


def in_one_life(make: Callable[P, T]) -> Callable[P, T]:
    """Decorator of what makes something of kernels that belong together: all are compiled, or none."""

    @functools.wraps(make)
    def made(*arguments: P.args, **options: P.kwargs) -> T:
        if _choice.get() is not None:
            return make(*arguments, **options)
        with compiling(compiled()):
            return make(*arguments, **options)

    return made


class cached_in_each_life(Generic[T]):
    """As `functools.cached_property`, for what holds addresses: one for compiled code, and one for interpreted code. An
    instance keeps them in its attribute `_in_each_life`."""

    def __init__(self, function: Callable[[Any], T]) -> None:
        self.function, self.__doc__ = function, function.__doc__

    def __get__(self, instance: Any, owner: type) -> T:
        if instance is None:
            return self  # type: ignore[return-value]
        life = compiled()
        with compiling(life):
            kept, key = instance.__dict__.setdefault("_in_each_life", {}), (self.function.__name__, life)
            if key not in kept:
                kept[key] = self.function(instance)
            return kept[key]
