"""Compiled functions that are linked when they run, by their address.

A loop that calls its right-hand side by address is compiled once, whatever the right-hand side; so is a right-hand
side that calls its loss and its symmetry so. Nothing is compiled that is not called, all of it is cached on disk, and
a new loss needs no other function to be compiled again. A linked function is a C function of doubles, integers and
arrays, which arrive as pointers.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property, update_wrapper

from llvmlite import ir
from numba import cfunc, types
from numba.core.errors import TypingError
from numba.extending import intrinsic
from numba.np.arrayobj import populate_array

FLOATS, INTEGERS = types.CPointer(types.float64), types.CPointer(types.int64)
FLOAT, INTEGER = types.float64, types.int64


class Linked:
    """A function that compiled code calls by its `address`; it is compiled, or loaded, when that is first asked for."""

    def __init__(self, function: Callable, signature) -> None:
        self.function, self.signature = function, signature
        update_wrapper(self, function)

    @cached_property
    def _compiled(self):
        return cfunc(self.signature, cache=True, nopython=True, error_model="numpy", _nrt=False)(self.function)

    @cached_property
    def address(self) -> int:
        return self._compiled.address


def linked(*arguments) -> Callable[[Callable], Linked]:
    """Decorator: a function of these arguments (`FLOATS`, `INTEGERS`, `FLOAT`, `INTEGER`) that returns a float."""
    return lambda function: Linked(function, FLOAT(*arguments))


@intrinsic
def call(typing_context, address, arguments):
    """``call(address, (x, y, ..))`` calls the linked function at the address; arrays are passed by their data."""

    def passed(kind):
        if isinstance(kind, types.Array) and kind.layout == "C":
            return types.CPointer(kind.dtype)
        if kind in (types.float64, types.int64) or isinstance(kind, types.CPointer):
            return kind
        if isinstance(kind, types.Integer):
            return types.int64
        raise TypingError(f"a linked function takes contiguous arrays, float64 and int64, not {kind}")

    kinds = [passed(kind) for kind in arguments.types]

    def instructions(context, builder, signature, values):
        given = []
        for i, (kind, target) in enumerate(zip(arguments.types, kinds, strict=True)):
            value = builder.extract_value(values[1], i)
            if isinstance(kind, types.Array):
                value = context.make_array(kind)(context, builder, value).data
            given.append(value if isinstance(kind, types.Array) else context.cast(builder, value, kind, target))
        function = ir.FunctionType(ir.DoubleType(), [value.type for value in given])
        return builder.call(builder.inttoptr(values[0], function.as_pointer()), given)

    return types.float64(types.int64, arguments), instructions


@intrinsic
def pointer(typing_context, address):
    """The pointer to float64 numbers at an address that came as an integer."""

    def instructions(context, builder, signature, values):
        return builder.inttoptr(values[0], ir.DoubleType().as_pointer())

    return FLOATS(types.int64), instructions


def _array(context, builder, kind, data, size):
    made, itemsize = context.make_array(kind)(context, builder), context.get_abi_sizeof(data.type.pointee)
    itemsize = context.get_constant(types.intp, itemsize)
    populate_array(made, data, [size], [itemsize], itemsize, None)
    return made._getvalue()


@intrinsic
def vector(typing_context, data, size):
    """``vector(pointer, n)``: the array of n numbers at the pointer. (`numba.carray` needs reference counts.)"""
    kind = types.Array(data.dtype, 1, "C")

    def instructions(context, builder, signature, values):
        return _array(context, builder, kind, *values)

    return kind(data, types.intp), instructions


@intrinsic
def part(typing_context, data, first, size):
    """``part(pointer, first, n)``: the array of n numbers from the first-th on at the pointer."""
    kind = types.Array(data.dtype, 1, "C")

    def instructions(context, builder, signature, values):
        return _array(context, builder, kind, builder.gep(values[0], [values[1]]), values[2])

    return kind(data, types.intp, types.intp), instructions
