"""Kernels as plain Python, for `coverage`, which does not see into compiled code: used where NUMBA_DISABLE_JIT is set.

Numba then leaves functions as they are, but for what stands for another function only when it is compiled: that is
supplied here.
"""

import numpy as np

from ceflow import walsh
from ceflow.integrate import stepper


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


def combine(system, y, h, w, k, n, out):
    own = getattr(system, "combine", None)
    if own is not None:
        own(y, h, w, k, n, out)
    else:
        stepper._combine_arrays(y, h, w, k, n, out)


def supply():
    """Puts all of it in place; overflow is silent, as it is in compiled code."""
    walsh._butterflies = butterflies
    stepper.combine = combine
    stepper.copy = stepper._copy_array
    for name in ("rates", "norm", "rests", "watch"):
        setattr(stepper, name, lambda system, *arguments, name=name: getattr(type(system), name)(system, *arguments))
    np.seterr(all="ignore")
