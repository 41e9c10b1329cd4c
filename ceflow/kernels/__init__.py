"""Kernels: functions that are interpreted first, and compiled when this saves time.

``@njit(**KERNEL)`` makes one. A compiled kernel allocates nothing.
"""

from .compilation import cached_in_each_life, checked, compiled, compiling, in_one_life, settings
from .kernel import KERNEL, Intrinsic, Kernel, interpreted, njit

__all__ = [
    "KERNEL",
    "Intrinsic",
    "Kernel",
    "cached_in_each_life",
    "checked",
    "compiled",
    "compiling",
    "in_one_life",
    "interpreted",
    "njit",
    "settings",
]
