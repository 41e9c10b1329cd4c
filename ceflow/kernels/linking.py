"""Functions that are linked by address at run time.

A loop that calls its right-hand side by address is compiled once for all right-hand sides. So is a right-hand side that
calls its loss and its symmetry by address. Only called functions are compiled, all are cached on disk, and a new loss
needs no other function to be recompiled. A linked function is a C function of doubles, integers and arrays (as
pointers). In interpreted mode its address is its index in a list, and a pointer is the array itself.
"""

from __future__ import annotations

import ctypes
import functools
from collections.abc import Callable
from functools import cached_property, update_wrapper
from typing import Any, cast

import numpy as np

from .compilation import compiled
from .kernel import Intrinsic, interpreted
from .loading import load_compiler

FLOATS, INTEGERS, FLOAT, INTEGER = "floats", "integers", "float", "integer"
_ALL: list[Linked] = []


class Linked:
    """Function that other code calls by its `address`; it is compiled or loaded at the first access to the address."""

    def __init__(self, function: Callable, signature: tuple[str, ...]) -> None:
        self.function, self.signature, self._place = function, signature, len(_ALL)
        _ALL.append(self)
        update_wrapper(cast(Any, self), function)

    @cached_property
    def _compiled(self) -> Any:
        load_compiler()
        from . import machine

        return machine.compiled_function(self.function, self.signature)

    @cached_property
    def interpreted(self) -> Callable:
        return interpreted(self.function)

    @property
    def address(self) -> int:
        """Address of the compiled function, or in interpreted mode its index for `call`."""
        return self._compiled.address if compiled() else self._place

    @property
    def entry(self) -> Any:
        """Address, or the interpreted function itself, for calls from Python, so that the modes cannot be confused."""
        return self._compiled.address if compiled() else self.interpreted


def linked(*arguments: str) -> Callable[[Callable], Linked]:
    """Decorator of a function with these arguments (`FLOATS`, `INTEGERS`, `FLOAT`, `INTEGER`) that returns a float."""
    return lambda function: Linked(function, arguments)


@Intrinsic
def call(address, arguments):
    """Call the linked function at an address, ``call(address, (x, y, ..))``; arrays are passed as pointers."""
    return (address if callable(address) else _ALL[address].interpreted)(*arguments)


@Intrinsic
def pointer(address):
    """Pointer to float64 numbers at an integer address."""
    return _numbers_from(int(address))


@functools.lru_cache(maxsize=256)
def _numbers_from(address: int) -> np.ndarray:
    """Array of all numbers at an address."""
    return np.ctypeslib.as_array((ctypes.c_double * 2**40).from_address(address))


@Intrinsic
def vector(data, size):
    """Array of n numbers at a pointer: ``vector(pointer, n)``."""
    return data[:size] if data.ndim == 1 else data.reshape(-1)[:size]


@Intrinsic
def part(data, first, size):
    """Array of n numbers at a pointer from index `first` on: ``part(pointer, first, n)``."""
    if first < 0:  # before the start of the array
        return _numbers_from(data.ctypes.data + first * data.itemsize)[:size]
    return data[first : first + size]
