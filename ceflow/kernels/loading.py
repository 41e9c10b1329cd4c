"""Import of Numba and its registries, before the first function is compiled or loaded from the cache."""

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
    """Wait until Numba has loaded its supported functions (about a second, once per process).

    An exception during loading (Ctrl-C, alarm) would leave Numba incomplete, and later compilations in this process
    would fail. Loading in a separate thread is not interrupted: signals raise exceptions in the waiting main thread.
    """
    _loading().join()
