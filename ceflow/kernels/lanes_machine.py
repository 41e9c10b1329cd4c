"""Numba type of the vectors of `lanes`, with operators and intrinsic functions (see `machine`)."""

from __future__ import annotations

import operator

from llvmlite import ir
from numba import types
from numba.core.cgutils import get_or_insert_function
from numba.core.typing.templates import ConcreteTemplate, signature
from numba.core.typing.templates import infer_global as typed
from numba.extending import intrinsic, lower_builtin, models, register_model

from .lane_count import LANES

_VECTOR, _INTEGERS = ir.VectorType(ir.DoubleType(), LANES), ir.VectorType(ir.IntType(64), LANES)
_CONTRACT = ("contract",)


class Vector(types.Type):
    """Type of a vector."""

    def __init__(self) -> None:
        super().__init__(name="ceflow.Vector")


vector = Vector()


@register_model(Vector)
class _VectorModel(models.PrimitiveModel):
    def __init__(self, manager, kind) -> None:
        super().__init__(manager, kind, _VECTOR)


def _splat(builder, value):
    if value.type == _VECTOR:
        return value
    zero = ir.Constant(ir.IntType(32), 0)
    first = builder.insert_element(ir.Constant(_VECTOR, ir.Undefined), value, zero)
    return builder.shuffle_vector(first, first, ir.Constant(ir.VectorType(ir.IntType(32), LANES), [0] * LANES))


def _operation(symbol, name: str) -> None:
    """Define an arithmetic operation of vectors by its LLVM instruction."""
    pairs = [(vector, vector), (vector, types.float64), (types.float64, vector)]

    class Cases(ConcreteTemplate):
        cases = [signature(vector, *pair) for pair in pairs]  # noqa: RUF012

    typed(symbol)(Cases)

    def instructions(context, builder, signature, arguments):
        return getattr(builder, name)(*(_splat(builder, value) for value in arguments), flags=_CONTRACT)

    for pair in pairs:
        lower_builtin(symbol, *pair)(instructions)


_operation(operator.add, "fadd")
_operation(operator.sub, "fsub")
_operation(operator.mul, "fmul")
_operation(operator.truediv, "fdiv")


def _address(context, builder, kind, array, index):
    data = context.make_array(kind)(context, builder, array).data
    return builder.bitcast(builder.gep(data, [index]), _VECTOR.as_pointer())


@intrinsic
def load(typing_context, x, i):
    def instructions(context, builder, signature, arguments):
        return builder.load(_address(context, builder, x, *arguments), align=8)

    return vector(x, types.intp), instructions


@intrinsic
def store(typing_context, x, i, value):
    def instructions(context, builder, signature, arguments):
        builder.store(arguments[2], _address(context, builder, x, *arguments[:2]), align=8)
        return context.get_dummy_value()

    return types.void(x, types.intp, vector), instructions


@intrinsic
def splat(typing_context, value):
    def instructions(context, builder, signature, arguments):
        return _splat(builder, arguments[0])

    return vector(types.float64), instructions


@intrinsic
def where_less(typing_context, x, y, this, that):
    def instructions(context, builder, signature, arguments):
        return builder.select(builder.fcmp_ordered("<", *arguments[:2]), *arguments[2:])

    return vector(vector, vector, vector, vector), instructions


def _unary(name: str):
    @intrinsic
    def function(typing_context, x):
        def instructions(context, builder, signature, arguments):
            kind = ir.FunctionType(_VECTOR, [_VECTOR])
            callee = get_or_insert_function(builder.module, kind, f"{name}.v{LANES}f64")
            return builder.call(callee, arguments)

        return vector(vector), instructions

    return function


square_root, absolute = _unary("llvm.sqrt"), _unary("llvm.fabs")


def _digits(change):
    """Operation on the bits of a vector."""

    @intrinsic
    def function(typing_context, x):
        def instructions(context, builder, signature, arguments):
            digits = builder.bitcast(arguments[0], _INTEGERS)
            return builder.bitcast(change(builder, digits), _VECTOR)

        return vector(vector), instructions

    return function


def _constant(digits: int):
    return ir.Constant(_INTEGERS, [digits] * LANES)


_two_to = _digits(lambda builder, x: builder.shl(builder.add(x, _constant(1023)), _constant(52)))
_exponent = _digits(lambda builder, x: builder.or_(builder.lshr(x, _constant(52)), _constant(0x4330000000000000)))
_mantissa = _digits(
    lambda builder, x: builder.or_(builder.and_(x, _constant(0x000FFFFFFFFFFFFF)), _constant(0x3FF0000000000000))
)
