"""Vectors of `LANES` float64 numbers as values of compiled code, for what is done to several runs side by side.

Compilers turn plain loops over so few numbers into vector instructions only now and then. Here `+ - * /` of vectors,
and of vectors and floats, are these instructions; a product and a sum may be rounded once. What is in one lane
never depends on the others.
"""

from __future__ import annotations

import operator

from llvmlite import ir
from numba import njit, types
from numba.core.cgutils import get_or_insert_function
from numba.core.typing.templates import ConcreteTemplate, signature
from numba.core.typing.templates import infer_global as typed
from numba.extending import intrinsic, lower_builtin, models, register_model

from . import KERNEL
from .exponential import LOG_2, PER_LOG_2, REST, ROUND, C

LANES = 8  # two instructions of AVX2 for each operation, so that one need not wait for the other; more would not fit
_VECTOR, _INTEGERS = ir.VectorType(ir.DoubleType(), LANES), ir.VectorType(ir.IntType(64), LANES)
_CONTRACT = ("contract",)


class Lanes(types.Type):
    """The type of a vector."""

    def __init__(self) -> None:
        super().__init__(name="ceflow.Lanes")


lanes = Lanes()


@register_model(Lanes)
class _LanesModel(models.PrimitiveModel):
    def __init__(self, manager, kind) -> None:
        super().__init__(manager, kind, _VECTOR)


def _splat(builder, value):
    if value.type == _VECTOR:
        return value
    zero = ir.Constant(ir.IntType(32), 0)
    first = builder.insert_element(ir.Constant(_VECTOR, ir.Undefined), value, zero)
    return builder.shuffle_vector(first, first, ir.Constant(ir.VectorType(ir.IntType(32), LANES), [0] * LANES))


def _operation(symbol, name: str) -> None:
    """Gives vectors an arithmetic operation, the one of this name in LLVM."""
    pairs = [(lanes, lanes), (lanes, types.float64), (types.float64, lanes)]

    class Cases(ConcreteTemplate):
        cases = [signature(lanes, *pair) for pair in pairs]  # noqa: RUF012

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
    """The numbers ``x[i : i + LANES]`` of a contiguous one-dimensional array."""

    def instructions(context, builder, signature, arguments):
        return builder.load(_address(context, builder, x, *arguments), align=8)

    return lanes(x, types.intp), instructions


@intrinsic
def store(typing_context, x, i, value):
    """``x[i : i + LANES] = value``."""

    def instructions(context, builder, signature, arguments):
        builder.store(arguments[2], _address(context, builder, x, *arguments[:2]), align=8)
        return context.get_dummy_value()

    return types.void(x, types.intp, lanes), instructions


@intrinsic
def splat(typing_context, value):
    """The number in every lane."""

    def instructions(context, builder, signature, arguments):
        return _splat(builder, arguments[0])

    return lanes(types.float64), instructions


@intrinsic
def where_less(typing_context, x, y, this, that):
    """In each lane `this` where x < y, and `that` elsewhere, also where one of them is NaN."""

    def instructions(context, builder, signature, arguments):
        return builder.select(builder.fcmp_ordered("<", *arguments[:2]), *arguments[2:])

    return lanes(lanes, lanes, lanes, lanes), instructions


def _unary(name: str, doc: str):
    @intrinsic
    def function(typing_context, x):
        def instructions(context, builder, signature, arguments):
            kind = ir.FunctionType(_VECTOR, [_VECTOR])
            callee = get_or_insert_function(builder.module, kind, f"{name}.v{LANES}f64")
            return builder.call(callee, arguments)

        return lanes(lanes), instructions

    function.__doc__ = doc
    return function


square_root = _unary("llvm.sqrt", "The square root.")
absolute = _unary("llvm.fabs", "The size.")


@intrinsic
def _two_to(typing_context, rounded):
    """2**n of integers n that come as the sum n + ROUND."""

    def instructions(context, builder, signature, arguments):
        digits = builder.bitcast(arguments[0], _INTEGERS)
        biased = builder.add(digits, ir.Constant(_INTEGERS, [1023] * LANES))
        return builder.bitcast(builder.shl(biased, ir.Constant(_INTEGERS, [52] * LANES)), _VECTOR)

    return lanes(lanes), instructions


def _digits(change, doc: str):
    @intrinsic
    def function(typing_context, x):
        def instructions(context, builder, signature, arguments):
            digits = builder.bitcast(arguments[0], _INTEGERS)
            return builder.bitcast(change(builder, digits), _VECTOR)

        return lanes(lanes), instructions

    function.__doc__ = doc
    return function


def _constant(digits: int):
    return ir.Constant(_INTEGERS, [digits] * LANES)


# the exponent of a positive number, as the last digits of 2**52; and the number over that power of two, in [1, 2)
_exponent = _digits(
    lambda builder, x: builder.or_(builder.lshr(x, _constant(52)), _constant(0x4330000000000000)), "2**52 + exponent."
)
_mantissa = _digits(
    lambda builder, x: builder.or_(builder.and_(x, _constant(0x000FFFFFFFFFFFFF)), _constant(0x3FF0000000000000)),
    "The digits alone.",
)


@njit(**KERNEL)
def larger(x, y):
    """The larger one of two numbers; y where one is NaN."""
    return where_less(y, x, x, y)


@njit(**KERNEL)
def smaller(x, y):
    """The smaller one of two numbers; y where one is NaN."""
    return where_less(x, y, x, y)


@njit(**KERNEL)
def exp_lanes(x):
    """``exp(x)``, as `exponential.exp`; but of what is below -708 that of -708, and above 709 that of 709."""
    x = smaller(larger(x, splat(-708.0)), splat(709.0))
    rounded = x * PER_LOG_2 + ROUND
    n = rounded - ROUND
    r = (x - n * LOG_2) - n * REST
    r2 = r * r
    low = (r * C[1] + C[0]) + r2 * (r * C[3] + C[2])
    high = (r * C[5] + C[4]) + r2 * (r * C[7] + C[6]) + r2 * r2 * (r * C[9] + C[8])
    return ((r + r2 * (low + r2 * r2 * high)) + 1.0) * _two_to(rounded)


# 2 (1/3, 1/5, ..), rounded so that the series may end with the seventh
L = (
    0.6666666666666735130,
    0.3999999999940941908,
    0.2857142874366239149,
    0.2222219843214978396,
    0.1818357216161805012,
    0.1531383769920937332,
    0.1479819860511658591,
)


@njit(**KERNEL)
def log_lanes(x):
    """``log(x)`` of positive normal numbers, to two units in the last place (the series of fdlibm).

    ``x = 2**n (1 + f)`` with 1 + f between the roots of 1/2 and 2; ``log(1 + f)`` is a series in ``f / (2 + f)``.
    """
    n, m = _exponent(x) - (2.0**52 + 1023.0), _mantissa(x)
    top = splat(1.4142135623730951)
    n, m = where_less(top, m, n + 1.0, n), where_less(top, m, m * 0.5, m)
    f = m - 1.0
    s = f / (f + 2.0)
    z = s * s
    w = z * z
    odd = w * (w * (w * L[5] + L[3]) + L[1])
    even = z * (w * (w * (w * L[6] + L[4]) + L[2]) + L[0])
    half = f * f * 0.5
    return n * LOG_2 + (f - (half - (s * (half + odd + even) + n * REST)))
