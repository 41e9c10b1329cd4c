"""Functions that are linked when they run, by their address.

A loop that calls its right-hand side by address is compiled once, whatever the right-hand side; so is a right-hand
side that calls its loss and its symmetry so. Nothing is compiled that is not called, all of it is cached on disk, and
a new loss needs no other function to be compiled again. A linked function is a C function of doubles, integers and
arrays, which arrive as pointers. Where it is interpreted, its address is its place in a list, and an array is a pointer
to itself.
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
    """A function that other code calls by its `address`; it is compiled, or loaded, when that is first asked for."""

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
        """Of the compiled function, or, if none is to be compiled now, what `call` knows the interpreted one by."""
        return self._compiled.address if compiled() else self._place

    @property
    def entry(self) -> Any:
        """The same for what is called from Python: its address, or the interpreted function itself, so that none is
        taken for the other."""
        return self._compiled.address if compiled() else self.interpreted


def linked(*arguments: str) -> Callable[[Callable], Linked]:
    """Decorator: a function of these arguments (`FLOATS`, `INTEGERS`, `FLOAT`, `INTEGER`) that returns a float."""
    return lambda function: Linked(function, arguments)


@Intrinsic
def call(address, arguments):
    """``call(address, (x, y, ..))`` calls the linked function at the address; arrays are passed by their data."""
    return (address if callable(address) else _ALL[address].interpreted)(*arguments)


@Intrinsic
def pointer(address):
    """The pointer to float64 numbers at an address that came as an integer."""
    return _numbers_from(int(address))


@functools.lru_cache(maxsize=256)
def _numbers_from(address: int) -> np.ndarray:
    """All that may lie there."""
    return np.ctypeslib.as_array((ctypes.c_double * 2**40).from_address(address))


@Intrinsic
def vector(data, size):
    """``vector(pointer, n)``: the array of n numbers at the pointer."""
    return data[:size] if data.ndim == 1 else data.reshape(-1)[:size]


@Intrinsic
def part(data, first, size):
    """``part(pointer, first, n)``: the array of n numbers from the first-th on at the pointer."""
    if first < 0:  # in front of what is seen of an array
        return _numbers_from(data.ctypes.data + first * data.itemsize)[:size]
    return data[first : first + size]
