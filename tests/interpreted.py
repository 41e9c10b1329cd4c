"""Kernels as plain Python, for `coverage`, which does not see into compiled code: used where NUMBA_DISABLE_JIT is set.

Numba then leaves functions as they are, but for what stands for another function only when it is compiled: that is
supplied here.
"""

import ctypes
import functools
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np

import ceflow
from ceflow import _many
from ceflow.kernels import lanes, linking, walsh

LINKED = []  # functions, whose place is their address


def butterflies(x, start, stride, count, inside):
    """What the vector instructions of `walsh._butterflies` do, level by level."""
    places = start + stride * np.arange(count)[:, None] + np.arange(walsh.LANES)
    v = x[places]
    h = 1
    while inside and h < walsh.LANES:
        pairs = v.reshape(count, -1, 2, h)
        v = np.stack([pairs[:, :, 0] + pairs[:, :, 1], pairs[:, :, 0] - pairs[:, :, 1]], axis=2).reshape(count, -1)
        h *= 2
    h = 1
    while h < count:
        pairs = v.reshape(-1, 2, h, walsh.LANES)
        v = np.stack([pairs[:, 0] + pairs[:, 1], pairs[:, 0] - pairs[:, 1]], axis=1).reshape(count, -1)
        h *= 2
    x[places] = v


def address(function):
    """The place of a linked function in `LINKED`."""
    if function not in LINKED:
        LINKED.append(function)
    return LINKED.index(function)


def call(address, arguments):
    return float(LINKED[address].function(*arguments))


def vector(data, size):
    """Of an array, or of a matrix whose address has come as an integer."""
    if isinstance(data, np.ndarray):
        return data.reshape(-1)[:size]
    return np.ctypeslib.as_array((ctypes.c_double * max(size, 1)).from_address(int(data)))[:size]


def part(data, first, size):
    return data[first : first + size]


def pointer(address):
    return address


def load(x, i):
    return np.array(x[i : i + lanes.LANES])


def store(x, i, value):
    x[i : i + lanes.LANES] = value


def splat(value):
    return np.full(lanes.LANES, value)


def where_less(x, y, this, that):
    return np.where(x < y, this, that)


def exp_lanes(x):
    return np.exp(np.clip(x, -708.0, 709.0))


VECTORS = {
    **{function.__name__: function for function in (load, store, splat, where_less, exp_lanes)},
    "log_lanes": np.log, "square_root": np.sqrt, "absolute": np.abs,
}  # fmt: skip


def supply():
    """Puts all of it in place; overflow is silent, as it is in compiled code."""
    walsh._butterflies = butterflies
    linking.Linked.address = property(address)
    supplied = [(linking, function.__name__, function) for function in (call, vector, part, pointer)]
    supplied += [(lanes, name, function) for name, function in VECTORS.items()]
    for room, name, function in supplied:
        original = getattr(room, name)
        for module in [module for module in sys.modules if module.startswith(ceflow.__name__)]:
            if getattr(sys.modules[module], name, None) is original:
                setattr(sys.modules[module], name, function)
    np.seterr(all="ignore")
    # which other threads know nothing of
    _many.ThreadPoolExecutor = functools.partial(ThreadPoolExecutor, initializer=np.seterr, initargs=("ignore",))
