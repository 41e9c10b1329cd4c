"""The fast Walsh-Hadamard transform against other implementations, on this machine."""

from __future__ import annotations

import importlib
import time
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version

import numba
import numpy as np
from numba import njit
from scipy.linalg import hadamard

from ceflow.kernels.machine import LANES
from ceflow.kernels.threads import transform_in_threads
from ceflow.kernels.walsh import empty, transform

LARGEST_MATRIX = 2**12  # 128 MiB
SECONDS = 0.1  # spent on each implementation and size, at least, in each round
ROUNDS = 4  # far apart, as some stretches of time are busy with other work; waiting threads suffer most from that

# column: distribution, module, and the function that transforms a float64 array in place on one thread
PEERS: dict[str, tuple[str, str, Callable]] = {
    "FFHT": ("FFHT-unofficial", "ffht", lambda ffht: ffht.fht_),  # the code of FALCONN-LIB/FFHT, which is on no index
    "fht-cpu": ("fht-cpu", "fht_cpu", lambda fht_cpu: lambda x: fht_cpu.fht(x, num_threads=1)),
}


@njit
def plain_loop(x):
    """What one writes down first."""
    h = 1
    while h < x.size:
        for k in range(0, x.size, 2 * h):
            for i in range(k, k + h):
                x[i], x[i + h] = x[i] + x[i + h], x[i] - x[i + h]
        h *= 2


def peers() -> tuple[dict[str, Callable], list[str]]:
    """Those that are installed, and a line on each."""
    found, lines = {}, []
    for name, (distribution, module, function) in PEERS.items():
        try:
            found[name] = function(importlib.import_module(module))
        except ImportError as error:
            lines.append(f"{name}: not installed, not compared (pip install {distribution}): {error}")
            continue
        try:
            lines.append(f"{name}: {distribution} {version(distribution)}")
        except PackageNotFoundError:
            lines.append(f"{name}: module {module} of unknown version")
    return found, lines


def implementations(n: int, others: dict[str, Callable]) -> dict[str, Callable]:
    """Everything that transforms n numbers, by column of the table."""
    y = empty(n)
    result = {
        "ceflow": transform,
        "copy": lambda x: np.copyto(y, x),
        "2 threads": lambda x: transform_in_threads(x, n, 2),
        **others,
        "plain loop": plain_loop,
    }
    if n <= LARGEST_MATRIX:
        H = hadamard(n, dtype=np.float64)
        result["matrix"] = lambda x: np.matmul(H, x, out=y)  # last: the threads of a BLAS stay busy for a while
    return result


def fastest(function: Callable, n: int) -> float:
    """Seconds per call, the least of many repetitions."""
    x = empty(n)
    x[:] = 0.0  # an addition takes the same time whatever the numbers, and 0 does not grow
    function(x)  # compiles, and wakes threads
    best, calls, end = np.inf, 1, time.perf_counter() + SECONDS
    while time.perf_counter() < end:
        start = time.perf_counter()
        for _ in range(calls):
            function(x)
        best = min(best, (time.perf_counter() - start) / calls)
        calls = max(1, int(1e-4 / best))
    return best


def check(others: dict[str, Callable]) -> None:
    """Raise an AssertionError if a peer computes something else."""
    for name, function in others.items():
        x = empty(2**10)
        x[:] = np.random.default_rng(0).integers(-9, 9, x.size)
        expected = hadamard(x.size) @ x
        function(x)
        np.testing.assert_array_equal(x, expected, err_msg=name)


def main(log_sizes: range = range(6, 25)) -> None:
    """Print a table of 10^9 additions per second.

    Parameters
    ----------
    log_sizes : range
        Base 2 logarithms of the sizes n.
    """
    others, lines = peers()
    check(others)
    print("Walsh-Hadamard transform of n float64, in place, called from Python: n log2(n) / seconds / 10^9")
    print(f"numba {numba.__version__}, vectors of {LANES}, {numba.config.NUMBA_NUM_THREADS} threads at most")
    print("'matrix' is a product with scipy.linalg.hadamard(n); 'copies' is the time of ceflow over that of a copy")
    print(*lines, sep="\n")
    columns = ["ceflow", "2 threads", "plain loop", "matrix", *PEERS]
    print(f"{'n':>5}", *(f"{name:>10}" for name in columns), f"{'copies':>10}")
    for log_n in log_sizes:
        n = 2**log_n
        functions = implementations(n, others)
        rounds = [{name: fastest(function, n) for name, function in functions.items()} for _ in range(ROUNDS)]
        seconds = {name: min(best[name] for best in rounds) for name in functions}
        rates = (f"{n * log_n / seconds[name] / 1e9:10.2f}" if name in seconds else f"{'-':>10}" for name in columns)
        print(f" 2^{log_n:<2}", *rates, f"{seconds['ceflow'] / seconds['copy']:10.1f}", flush=True)


if __name__ == "__main__":
    main()
