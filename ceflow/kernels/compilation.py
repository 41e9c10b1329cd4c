"""Settings and rule for the compilation of kernels.

A process interprets kernels until their work exceeds `SOON`. Then it loads compiled code if this is on disk. Otherwise
it compiles when the work exceeds `LATE`. These are the costs of loading and compiling, so the total time is at most
about twice that of the better choice. Work is an estimate of the CPU time of evaluations (`CompiledField.work`), not a
measurement, so that equal calls change to compiled code at the same point.
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
    """Settings of the process, ``ceflow.settings``.

    Attributes
    ----------
    compiled : bool or None
        Whether kernels are compiled: True always, False never, None (default) when this saves time.

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
    """Work of the process in interpreted kernels, and whether it compiles from now on."""

    work, enough, compiles = 0.0, SOON, False
    on_disk: Callable[[], bool] = staticmethod(lambda: False)  # whether compiled code is on disk


settings, process = Settings(), _Process()
_choice: ContextVar[bool | None] = ContextVar("compiled", default=None)


def checked(value: bool | None) -> bool | None:
    """Check a value for True, False or None."""
    if value is not None and not isinstance(value, bool):
        raise TypeError(f"compiled must be True, False or None, got {value!r}")
    return value


def compiled() -> bool:
    """Whether the next kernels are compiled."""
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
    """Context manager in which kernels are compiled (True), interpreted (False), or unchanged (None)."""

    def __init__(self, choice: bool | None) -> None:
        self._chosen = choice

    def __enter__(self) -> None:
        self._token = None if self._chosen is None else _choice.set(self._chosen)

    def __exit__(self, *error: object) -> None:
        if self._token is not None:
            _choice.reset(self._token)


def in_one_life(make: Callable[P, T]) -> Callable[P, T]:
    """Decorator of functions that combine kernels: all of them are compiled, or none."""

    @functools.wraps(make)
    def made(*arguments: P.args, **options: P.kwargs) -> T:
        if _choice.get() is not None:
            return make(*arguments, **options)
        with compiling(compiled()):
            return make(*arguments, **options)

    return made


class cached_in_each_life(Generic[T]):
    """`functools.cached_property` for values with addresses: one for compiled and one for interpreted code, cached in
    the attribute `_in_each_life`."""

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
