"""What imports Numba, and what it loads before it compiles its first function or takes it from the cache."""

from __future__ import annotations

import functools
import threading


def _load() -> None:
    from .machine import load

    load()


@functools.cache
def _loading() -> threading.Thread:
    thread = threading.Thread(target=_load, daemon=True)
    thread.start()
    return thread


def load_compiler() -> None:
    """Waits until Numba is there and knows the functions that it supports, which takes a second and then never again.

    An exception in the middle of that, as by Ctrl-C or an alarm, would leave it without some of them, and every later
    compilation in this process would fail. In a thread of its own it is not interrupted: exceptions of signals are
    raised where the main thread waits.
    """
    _loading().join()
