"""The full flow on PyTorch: its right-hand side beside the floor in time and memory, whole runs beside general solvers.

On a CUDA GPU if there is one, else on the CPU at smaller sizes. The floor of the right-hand side is its matrix products
alone, with nothing else, on the same device in the same run: Z = W H, G H' and W' G, 6 K^2 d floating-point operations.
The floor of memory is what the tableau needs: a state for each of its stages, and the logits.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

import ceflow as cf
from ceflow._arrays import host
from ceflow.solve import Stepper

T_END, RTOL = 1e3, 1e-6  # of whole runs, time of the summed loss


def main(out: Path | None = None, quick: bool = False, peers: bool = True, sizes: list[int] | None = None) -> None:
    """Prints the tables.

    Parameters
    ----------
    out : ignored; there is no figure
    quick : bool
        Small sizes.
    peers : bool
        Whether to run torchdiffeq and diffrax, where they are installed.
    sizes : list of int, optional
        Classes K; features d = K.
    """
    try:
        import torch
    except ImportError:
        print("gpu: PyTorch is not installed")
        return
    cuda = torch.cuda.is_available()
    device = "cuda" if cuda else "cpu"
    sizes = sizes or ([32, 64] if quick else [256, 1024, 4096] if cuda else [64, 256, 512])
    where = torch.cuda.get_device_name() if cuda else f"the CPU, {torch.get_num_threads()} threads: no CUDA GPU is here"
    print(f"Full flow in float64 on {where}; PyTorch {torch.__version__}\n")
    _right_hand_side(torch, device, sizes)
    _whole_runs(torch, device, sizes[:-1] if len(sizes) > 1 else sizes, peers)
    _batches(torch, device, min(sizes[0], 64), [1, 4, 16] if quick else [1, 4, 16, 64])


def _right_hand_side(torch, device: str, sizes: list[int]) -> None:
    print("one right-hand side (minimum over repetitions) and memory at its peak, beside their floors")
    names = ("ms", "products", "ratio", "their TFLOP/s", "MiB", "floor", "ratio")
    print(
        f"{'K = d':>7} "
        + " ".join(f"{name:>{width}}" for name, width in zip(names, (9, 9, 6, 14, 8, 8, 6), strict=True))
    )
    for classes in sizes:
        flow = cf.MatrixFlow(backend="torch", device=device, reduction="sum")
        start = flow.start(cf.random_init(classes=classes, width=classes, scale=0.1, rng=0))
        y = flow.origin(start)
        if device == "cuda":
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()
        field = flow.motion(start, y, 0.0, 1e-9)
        stepper = Stepper(field)
        stepper.begin(y)
        velocity = stepper.work.states[0]
        W, H = field.factors(stepper.y)
        V, U = field.factors(velocity)
        G = field.logits

        def products(W=W, H=H, V=V, U=U, G=G):
            torch.matmul(W, H, out=G)
            torch.matmul(G, H.T, out=V)
            torch.matmul(W.T, G, out=U)

        floor = _best(torch, device, products)
        ours = _best(torch, device, lambda field=field, y=stepper.y, dy=velocity: float(field.rates(y, dy)[0]))
        least = 8 * ((stepper.method.stages + 2) * y.size + classes**2) / 2**20  # y and the new y, besides the stages
        used = torch.cuda.max_memory_allocated() / 2**20 if device == "cuda" else None  # nothing counts it on the CPU
        memory = f"{'-':>8} {least:8.0f} {'-':>6}" if used is None else f"{used:8.0f} {least:8.0f} {used / least:6.2f}"
        speed = 6 * classes**3 / floor / 1e12
        print(f"{classes:7d} {1e3 * ours:9.3f} {1e3 * floor:9.3f} {ours / floor:6.2f} {speed:14.3f} {memory}")
    print()


def _best(torch, device: str, call: Callable[[], object], seconds: float = 1.0) -> float:
    best, begin = np.inf, time.perf_counter()
    while time.perf_counter() - begin < seconds:
        if device == "cuda":
            torch.cuda.synchronize()
        start = time.perf_counter()
        call()
        if device == "cuda":
            torch.cuda.synchronize()
        best = min(best, time.perf_counter() - start)
    return best


def _whole_runs(torch, device: str, sizes: list[int], peers: bool) -> None:
    print(f"whole runs from a random start (scale 0.1) to t = {T_END:g} of the summed loss, rtol = {RTOL:g}")
    print("error: of Z at the end, relative, against ceflow at rtol 1e-11; peers integrate in t with the same G")
    print(f"{'K = d':>7} {'solver':<22} {'s':>9} {'ratio':>7} {'evaluations':>12} {'error':>9}")
    for classes in sizes:
        start = cf.random_init(classes=classes, width=classes, scale=0.1, rng=0)
        flow = cf.MatrixFlow(backend="torch", device=device, reduction="sum")
        exact = _end(cf.integrate(flow, start, T_END, rtol=1e-11, dense_output=False))
        begin = time.perf_counter()
        run = cf.integrate(flow, start, T_END, rtol=RTOL, dense_output=False)
        ours = time.perf_counter() - begin
        _line(classes, "ceflow", ours, ours, run.nfev, _end(run), exact)
        for name, solve in (("torchdiffeq dopri8", _torchdiffeq), ("diffrax Dopri8", _diffrax)) if peers else ():
            try:
                seconds, evaluations, Z = solve(torch, device, start)
            except ImportError as error:
                print(f"{classes:7d} {name:<22} not installed: {error}")
            except Exception as error:
                print(f"{classes:7d} {name:<22} failed: {type(error).__name__}: {str(error).splitlines()[0][:60]}")
            else:
                _line(classes, name, seconds, ours, evaluations, Z, exact)
    print()


def _end(run) -> np.ndarray:
    return run[-1].logits[0]


def _line(classes, name, seconds, ours, evaluations, Z, exact) -> None:
    error = np.linalg.norm(Z - exact) / np.linalg.norm(exact)
    print(f"{classes:7d} {name:<22} {seconds:9.3f} {seconds / ours:7.2f} {evaluations:12d} {error:9.1e}")


def _torchdiffeq(torch, device: str, start) -> tuple[float, int, np.ndarray]:
    from torchdiffeq import odeint

    y = tuple(torch.as_tensor(factor, device=device) for factor in start)
    count = 0

    def velocity(_, y):
        nonlocal count
        count += 1
        W, H = y
        P = torch.softmax(W @ H, dim=0)
        P.fill_diagonal_(0.0)
        G = -P
        G.diagonal().copy_(P.sum(0))  # the sum of what is wrong, not 1 - P
        return G @ H.T, W.T @ G

    begin = time.perf_counter()
    times = torch.tensor([0.0, T_END], device=device, dtype=torch.float64)
    W, H = odeint(velocity, y, times, rtol=RTOL, atol=1e-9, method="dopri8")
    Z = host(W[-1] @ H[-1])
    return time.perf_counter() - begin, count, Z


def _diffrax(torch, device: str, start) -> tuple[float, int, np.ndarray]:
    import diffrax
    import jax
    import jax.numpy as jnp

    jax.config.update("jax_enable_x64", True)

    def velocity(_t, y, _args):
        W, H = y
        Z = W @ H
        P = jnp.fill_diagonal(jax.nn.softmax(Z, axis=0), 0.0, inplace=False)
        G = jnp.fill_diagonal(-P, P.sum(0), inplace=False)
        return G @ H.T, W.T @ G

    @jax.jit
    def solve(y):
        return diffrax.diffeqsolve(
            diffrax.ODETerm(velocity),
            diffrax.Dopri8(),
            0.0,
            T_END,
            1e-2,
            y,
            stepsize_controller=diffrax.PIDController(rtol=RTOL, atol=1e-9),
            max_steps=100_000,
        )

    y = tuple(map(jnp.asarray, start))
    jax.block_until_ready(solve(y).ys)  # compiled
    begin = time.perf_counter()
    solution = solve(y)
    W, H = (np.asarray(part[-1]) for part in jax.block_until_ready(solution.ys))
    return time.perf_counter() - begin, 14 * int(solution.stats["num_steps"]), W @ H


def _batches(torch, device: str, classes: int, counts: list[int]) -> None:
    print(f"batches of random starts, K = d = {classes}, to t = 1e6 at rtol 1e-8: with shared steps, or one by one")
    print(f"{'starts':>7} {'steps':>6} {'s':>8} {'one by one':>11} {'ratio':>6}")
    flow = cf.MatrixFlow(backend="torch", device=device, reduction="sum")
    for count in counts:
        start = cf.random_init(classes=classes, width=classes, scale=1e-2, batch=count, rng=0)
        options = {"rtol": 1e-8, "dense_output": False}
        begin = time.perf_counter()
        run = cf.integrate(flow, start, 1e6, **options)
        together = time.perf_counter() - begin
        begin = time.perf_counter()
        for i in range(min(count, 4)):  # four tell how long all would take
            cf.integrate(flow, tuple(factor[i] for factor in start), 1e6, **options)
        alone = (time.perf_counter() - begin) * count / min(count, 4)
        print(f"{count:7d} {run.nsteps:6d} {together:8.2f} {alone:11.2f} {alone / together:6.2f}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--classes", type=int, nargs="*", help="sizes K = d")
    parser.add_argument("--quick", action="store_true")
    options = parser.parse_args()
    main(quick=options.quick, sizes=options.classes)
