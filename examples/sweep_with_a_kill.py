"""A sweep on a dask cluster of two worker processes, one of which is killed in the middle (kill -9).

The same sweep is made on threads, on processes and on the cluster, and the results are compared bit for bit. Printed
are seconds, and the largest memory of the driver and of the workers. Linux only, for the memory.

    python examples/sweep_with_a_kill.py [--members 50000] [--chunk 2000] [--scheme hadamard:4]
"""

import argparse
import os
import signal
import tempfile
import threading
import time
from pathlib import Path

import numpy as np

import ceflow as cf

MIB = 2**20


def memory(pid: int | str = "self") -> int:
    """Largest resident memory that a process had so far, in bytes."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM"):
            return 1024 * int(line.split()[1])
    return 0


def done(store: Path) -> float:
    """Share of the chunks of a store that are done."""
    import zarr

    try:
        status = zarr.open_group(store, mode="r")["status"]
        return status.nchunks_initialized / status.nchunks
    except (FileNotFoundError, KeyError):
        return 0.0


def kill_in_the_middle(store: Path, pids: list[int], killed: list[str]) -> None:
    """Kills the first of some processes when a third of a store is done."""
    while (share := done(store)) < 1 / 3:
        time.sleep(0.02)
    os.kill(pids[0], signal.SIGKILL)
    killed.append(f"worker {pids[0]} killed when {share:.0%} of the chunks were done")


def on_dask(run, store: Path) -> tuple[float, str]:
    """Makes the sweep on a cluster of two processes, kills one, and returns seconds and what happened."""
    from distributed import Client, LocalCluster

    with LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=":0") as cluster, Client(cluster) as client:
        pids, killed = list(client.run(os.getpid).values()), []
        killer = threading.Thread(target=kill_in_the_middle, args=(store, pids, killed))
        killer.start()
        begin = time.perf_counter()
        run(store, executor=client.get_executor())
        seconds = time.perf_counter() - begin
        killer.join()
        largest = max(client.run(memory).values()) / MIB
    return seconds, f"{killed[0]}; largest worker {largest:.0f} MiB"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--members", type=int, default=50_000, help="at each of two depths (default: %(default)s)")
    parser.add_argument("--chunk", type=int, default=2000)
    parser.add_argument("--scheme", default="hadamard:4")
    parser.add_argument("--executors", nargs="+", default=["dask", "threads", "processes"])
    options = parser.parse_args()
    grid = {"depth": [2, 3], "scheme": options.scheme, "scale": 1e-2}

    def run(store: Path, **where):
        return cf.sweep(grid, members=options.members, t_end=1e6, chunk=options.chunk, store=store, workers=2, **where)

    with tempfile.TemporaryDirectory() as folder:
        stores = {name: Path(folder, name) for name in options.executors}
        for name, store in stores.items():
            if name == "dask":
                seconds, text = on_dask(run, store)
            else:
                begin = time.perf_counter()
                run(store, executor=name)
                seconds, text = time.perf_counter() - begin, ""
            print(f"{name:10} {seconds:7.1f} s  driver {memory() / MIB:.0f} MiB  {text}", flush=True)
        found = {name: run(store) for name, store in stores.items()}  # nothing is left to be done
        first = found[options.executors[0]]
        print(f"{first.status.size} runs, {int(first.success.sum())} of them succeeded")
        for name, other in found.items():
            same = all(
                np.array_equal(first[quantity].values, other[quantity].values, equal_nan=True) for quantity in first
            )
            print(f"{name} and {options.executors[0]}: {'the same bits' if same else 'DIFFERENT'}")


if __name__ == "__main__":
    main()
