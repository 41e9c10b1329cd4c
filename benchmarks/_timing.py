"""Timing on a machine that has other things to do: the minimum over many repetitions, taken in turns."""

from __future__ import annotations

import time
from collections.abc import Callable


def best(
    call: Callable[[], object], *, seconds: float = 0.5, least: int = 3, most: int = 5000,
    clock: Callable[[], float] = time.perf_counter,
) -> float:  # fmt: skip
    """Smallest time in seconds of one call, over `least` to `most` repetitions within about `seconds`, by a clock."""
    shortest, begin, count = float("inf"), time.perf_counter(), 0
    while count < least or (count < most and time.perf_counter() - begin < seconds):
        start = clock()
        call()
        shortest = min(shortest, clock() - start)
        count += 1
    return shortest


def in_turns(
    calls: dict, *, rounds: int = 5, seconds: float = 0.2, clock: Callable[[], float] = time.perf_counter
) -> dict:
    """Smallest time of each call, all of them measured again in every round: a busy moment does not hit only one."""
    shortest = dict.fromkeys(calls, float("inf"))
    for _ in range(rounds):
        for name, call in calls.items():
            shortest[name] = min(shortest[name], best(call, seconds=seconds, least=1, clock=clock))
    return shortest
