"""Kernels in two modes: compiled and interpreted.

A compiled kernel is a Numba function; Numba is imported only for it. An interpreted kernel is the same code with other
globals: called kernels are interpreted too, and `math` is replaced by NumPy, whose functions return infinity and NaN
like compiled code, where `math` raises exceptions. `Kernel.vectorized` replaces a slow loop by a NumPy function.
"""

from __future__ import annotations

import math
import types
from collections.abc import Callable
from functools import cached_property, update_wrapper
from pathlib import Path
from typing import Any, Generic, ParamSpec, TypeVar, overload

import numpy as np

from .compilation import compiled
from .loading import load_compiler

# Options for functions without allocation. Without reference counts they compile in half the time. Division by zero
# gives infinity, as in NumPy; exceptions would need more code. They release the GIL.
KERNEL: dict[str, Any] = {"cache": True, "_nrt": False, "error_model": "numpy", "nogil": True}
_INNER: dict[str, Any] = {"cache": False, "no_cpython_wrapper": True, "no_cfunc_wrapper": True}


P = ParamSpec("P")
T = TypeVar("T", covariant=True)


class Kernel(Generic[P, T]):
    """Function with a compiled and an interpreted mode.

    From Python `compilation.compiled` determines the mode; within compiled code it is compiled.

    Attributes
    ----------
    function : callable
        The original function.
    """

    def __init__(self, function: Callable[P, T], options: dict[str, Any]) -> None:
        self.function, self._options = function, options
        self._twin: Callable[P, T] | None = None
        self._entry: Callable[..., T] | None = None
        update_wrapper(self, function)

    def __call__(self, *arguments: Any) -> Any:
        return self.dispatcher(*arguments) if compiled() else self.silent(*arguments)

    def of(self, compiled: bool) -> Callable:
        """The kernel, compiled or interpreted."""
        return self.dispatcher if compiled else self.silent

    def direct(self, compiled: bool) -> Callable:
        """The same for callers whose arguments always have the same types and layouts: those of the first call are
        looked at, and no others. Of tuples of arrays that would take as long as a short run."""
        return (self._entry or self._enter) if compiled else self.silent

    def _enter(self, *arguments: Any) -> Any:
        self._entry = self.dispatcher.compile(tuple(map(self.dispatcher.typeof_pyval, arguments)))
        return self._entry(*arguments)

    def silent(self, *arguments: Any) -> Any:
        """Call the interpreted kernel without warnings, like compiled code."""
        with np.errstate(all="ignore"):
            return self.interpreted(*arguments)

    def vectorized(self, twin: Callable[..., Any]) -> Callable[..., Any]:
        """Decorator of a NumPy function that replaces the interpreted kernel, with equal results up to rounding."""
        self._twin = twin
        return twin

    @cached_property
    def interpreted(self) -> Callable:
        return self._twin or interpreted(self.function)

    @cached_property
    def dispatcher(self) -> Any:
        """Numba dispatcher, callable from Python."""
        load_compiler()
        from .machine import Recipe, numba

        return numba.njit(**{"no_cfunc_wrapper": True} | self._options, pipeline_class=Recipe)(self.function)

    @property
    def on_disk(self) -> bool:
        """Whether compiled code of it is in the cache."""
        name = f"*.{self.function.__qualname__}-{self.function.__code__.co_firstlineno}.*.nbi"
        return any(Path(self.dispatcher.stats.cache_path).glob(name))

    @cached_property
    def _inner(self) -> Any:
        """The same for compiled code alone. It becomes part of what calls it, and is in the cache with that."""
        from .machine import Ingredients, numba

        return numba.njit(**self._options | _INNER, pipeline_class=Ingredients)(self.function)

    @property
    def _numba_type_(self) -> Any:
        from .machine import numba

        return numba.types.Dispatcher(self._inner)


class Intrinsic:
    """A function that is made of instructions where it is compiled, by the function of its name in
    `machine`, or in `lanes_machine`."""

    __name__: str

    def __init__(self, function: Callable) -> None:
        self.interpreted = function
        update_wrapper(self, function)

    def __call__(self, *arguments: Any) -> Any:
        return self.interpreted(*arguments)

    @property
    def _numba_type_(self) -> Any:
        from . import machine

        return machine.type_of(self.__module__, self.__name__)


@overload
def njit(function: Callable[P, T], **options: Any) -> Kernel[P, T]: ...
@overload
def njit(function: None = None, **options: Any) -> Callable[[Callable[P, T]], Kernel[P, T]]: ...
def njit(function: Callable | None = None, **options: Any) -> Any:
    """Decorator: makes a `Kernel`, with the options of ``numba.njit``."""
    return Kernel(function, options) if function is not None else lambda function: Kernel(function, options)


def interpreted(function: Callable) -> Callable:
    """The same code, calling interpreted kernels, and NumPy instead of `math`."""
    own = dict(function.__globals__)
    for name in function.__code__.co_names:
        value = own.get(name)
        own[name] = np if value is math else getattr(value, "interpreted", value)
        if name not in function.__globals__:
            del own[name]
    return types.FunctionType(function.__code__, own, function.__name__, function.__defaults__, function.__closure__)
