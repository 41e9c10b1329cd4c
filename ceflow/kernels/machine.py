"""Code that needs Numba; imported when a kernel is first compiled or loaded from the cache."""

from __future__ import annotations

import gc
from typing import Any

import numba
from llvmlite import ir
from numba import types
from numba.core.codegen import JITCodeLibrary
from numba.core.compiler import Compiler
from numba.core.compiler_lock import global_compiler_lock
from numba.core.errors import TypingError
from numba.core.registry import cpu_target
from numba.extending import intrinsic
from numba.np.arrayobj import populate_array

from . import lanes_machine

KINDS: dict[str, Any] = {"floats": types.CPointer(types.float64), "integers": types.CPointer(types.int64)}
KINDS |= {"float": types.float64, "integer": types.int64}
# Compiled code is cached per processor, with the features that Numba compiles for as the key; they are in this tuple.
LANES = 8 if "+avx512f" in cpu_target.target_context.codegen().magic_tuple()[2] else 4  # numbers in one vector


def load() -> None:
    """Let Numba load its supported functions (half a second, once per process)."""
    with global_compiler_lock:
        cpu_target.typing_context.refresh()


class _Ingredient(JITCodeLibrary):
    """Code of a function that is inlined in others: it is neither optimized nor compiled separately."""

    def _optimize_functions(self, module: ir.Module) -> None:
        pass

    def _optimize_final_module(self) -> None:
        pass

    def _finalize_final_module(self) -> None:
        self._finalized = True

    def get_pointer_to_function(self, name: str) -> int:
        self._ensure_finalized()
        return 0  # Python cannot call it

    @property
    def codegen(self) -> _Ingredient:
        return self

    def set_env(self, name: str, env: object) -> None:
        """Python constants; kernels have none."""


class Recipe(Compiler):
    """Compiler without garbage collection, which takes a tenth of the time and frees little."""

    def compile_extra(self, function: Any) -> Any:
        collects = gc.isenabled()
        gc.disable()
        try:
            return super().compile_extra(function)
        finally:
            if collects:
                gc.enable()


class Ingredients(Recipe):
    """Compiler for functions that only compiled code calls; takes half the time."""

    def __init__(self, typingctx, targetctx, library, *others) -> None:
        super().__init__(typingctx, targetctx, library or _Ingredient(targetctx.codegen(), "kernel"), *others)


def type_of(room: str, name: str) -> Any:
    """Type of an intrinsic function, from a module of `kernels`."""
    functions = vars(lanes_machine) if room == f"{__package__}.lanes" else globals()
    return cpu_target.typing_context.resolve_value_type(functions[name])


def compiled_function(function: Any, signature: tuple[str, ...]) -> Any:
    """C function with arguments in `KINDS` that returns a float."""
    kinds = types.float64(*(KINDS[kind] for kind in signature))
    options: dict[str, Any] = {"nopython": True, "error_model": "numpy", "_nrt": False, "pipeline_class": Recipe}
    return numba.cfunc(kinds, cache=True, **options)(function)


@intrinsic
def call(typing_context, address, arguments):
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
    def instructions(context, builder, signature, values):
        return builder.inttoptr(values[0], ir.DoubleType().as_pointer())

    return KINDS["floats"](types.int64), instructions


def _array(context, builder, kind, data, size):
    made, itemsize = context.make_array(kind)(context, builder), context.get_abi_sizeof(data.type.pointee)
    itemsize = context.get_constant(types.intp, itemsize)
    populate_array(made, data, [size], [itemsize], itemsize, None)
    return made._getvalue()


@intrinsic
def vector(typing_context, data, size):  # `numba.carray` needs reference counts
    kind = types.Array(data.dtype, 1, "C")

    def instructions(context, builder, signature, values):
        return _array(context, builder, kind, *values)

    return kind(data, types.intp), instructions


@intrinsic
def part(typing_context, data, first, size):
    kind = types.Array(data.dtype, 1, "C")

    def instructions(context, builder, signature, values):
        return _array(context, builder, kind, builder.gep(values[0], [values[1]]), values[2])

    return kind(data, types.intp, types.intp), instructions


@intrinsic
def lanes(typing_context):
    return types.intp(), lambda context, builder, signature, values: context.get_constant(types.intp, LANES)


@intrinsic(prefer_literal=True)
def _butterflies(typing_context, x, start, stride, count, inside):
    if not (x.layout == "C" and x.dtype == types.float64 and x.mutable):
        raise TypingError(f"the transform needs a contiguous, writable array of float64, got {x}")
    n = count.literal_value

    def instructions(context, builder, signature, arguments):
        vector, indices = ir.VectorType(ir.DoubleType(), LANES), ir.VectorType(ir.IntType(32), LANES)
        data = context.make_array(x)(context, builder, arguments[0]).data
        starts = [builder.add(arguments[1], builder.mul(arguments[2], arguments[2].type(k))) for k in range(n)]
        pointers = [builder.bitcast(builder.gep(data, [i]), vector.as_pointer()) for i in starts]
        v = [builder.load(pointer, align=8) for pointer in pointers]  # alignment of float64, not of a vector
        for h in (1, 2, 4):
            if inside.literal_value and h < LANES:  # fused into one rounding, and a product with ±1 is exact anyway
                swap = ir.Constant(indices, [k ^ h for k in range(LANES)])
                signs = ir.Constant(vector, [-1.0 if k & h else 1.0 for k in range(LANES)])
                for k in range(n):
                    signed = builder.fmul(v[k], signs, flags=("contract",))
                    v[k] = builder.fadd(builder.shuffle_vector(v[k], v[k], swap), signed, flags=("contract",))
        for h in (1, 2, 4):
            for k in range(n):
                if h < n and not k & h:
                    v[k], v[k + h] = builder.fadd(v[k], v[k + h]), builder.fsub(v[k], v[k + h])
        for k in range(n):
            builder.store(v[k], pointers[k], align=8)
        return context.get_dummy_value()

    return types.void(x, types.intp, types.intp, count, inside), instructions
