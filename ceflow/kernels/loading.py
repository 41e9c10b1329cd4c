"""What Numba loads once in a process, before it compiles its first function or takes it from the cache."""

from __future__ import annotations

import functools
import threading

from numba.core.compiler_lock import global_compiler_lock
from numba.core.registry import cpu_target


def _load() -> None:
    with global_compiler_lock:
        cpu_target.typing_context.refresh()


@functools.cache
def _loading() -> threading.Thread:
    thread = threading.Thread(target=_load, daemon=True)
    thread.start()
    return thread


def load_compiler() -> None:
    """Waits until Numba knows the functions that it supports, which takes half a second and then never again.

    An exception in the middle of that, as by Ctrl-C or an alarm, would leave it without some of them, and every later
    compilation in this process would fail. In a thread of its own it is not interrupted: exceptions of signals are
    raised where the main thread waits.
    """
    _loading().join()
