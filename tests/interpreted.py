"""Kernels as plain Python, for `coverage`, which does not see into compiled code: used where NUMBA_DISABLE_JIT is set.

Every kernel is the function that was written, without what stands for loops where ceflow interprets
them; what is made of instructions only is supplied here.
"""

import functools
from concurrent.futures import ThreadPoolExecutor

import numpy as np

import ceflow
from ceflow import _many
from ceflow.kernels import Kernel, linking
from ceflow.kernels import butterflies as kernels_of_walsh

LANES = 8


def butterflies(x, start, stride, count, inside):
    """What the vector instructions of `kernels.butterflies` do, level by level."""
    places = start + stride * np.arange(count)[:, None] + np.arange(LANES)
    v = x[places]
    h = 1
    while inside and h < LANES:
        pairs = v.reshape(count, -1, 2, h)
        v = np.stack([pairs[:, :, 0] + pairs[:, :, 1], pairs[:, :, 0] - pairs[:, :, 1]], axis=2).reshape(count, -1)
        h *= 2
    h = 1
    while h < count:
        pairs = v.reshape(-1, 2, h, LANES)
        v = np.stack([pairs[:, 0] + pairs[:, 1], pairs[:, 0] - pairs[:, 1]], axis=1).reshape(count, -1)
        h *= 2
    x[places] = v


def supply():
    """Puts all of it in place; overflow is silent, as it is in compiled code."""
    kernels_of_walsh._butterflies.interpreted, kernels_of_walsh.lanes.interpreted = butterflies, lambda: LANES
    Kernel.__call__ = lambda self, *arguments: self.function(*arguments)
    Kernel.of = Kernel.direct = lambda self, compiled: self.function
    linking.Linked.interpreted = property(lambda self: self.function)
    ceflow.settings.compiled = False
    np.seterr(all="ignore")
    # which other threads know nothing of
    _many.ThreadPoolExecutor = functools.partial(ThreadPoolExecutor, initializer=np.seterr, initargs=("ignore",))
