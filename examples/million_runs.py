"""A sweep of many runs: seconds, how many succeeded, and the largest memory of the process.

    python examples/million_runs.py [--runs 1000000] [--store million.zarr] [--executor processes]

Without --runs there are ten thousand. A store that is left from an interrupted call is gone on with.
"""

import argparse
import resource
import tempfile
import time
from pathlib import Path

import ceflow as cf


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--runs", type=int, default=10_000, help="how many (default: %(default)s)")
    parser.add_argument("--chunk", type=int, default=2000, help="runs that are stored together (default: %(default)s)")
    parser.add_argument("--scheme", default="hadamard:4")
    parser.add_argument("--t-end", type=float, default=10.0)
    parser.add_argument("--store", type=Path, help="where the results stay; a folder that is removed when left out")
    parser.add_argument("--executor", choices=["threads", "processes", "dask", "mpi"])
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        store, begin = options.store or Path(folder, "runs.zarr"), time.perf_counter()
        results = cf.sweep(
            {"scheme": options.scheme, "scale": 1e-2}, "random", options.t_end, members=options.runs,
            chunk=options.chunk, store=store, executor=options.executor,
        )  # fmt: skip
        seconds, succeeded = time.perf_counter() - begin, int(results.success.sum())
        print(f"{options.runs} runs in {seconds:.1f} s, {succeeded} of them succeeded")
        print(f"mean of the loss {float(results.loss.mean()):.4g}")
        print(f"largest memory of this process {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MiB")


if __name__ == "__main__":
    main()
