"""One short adapter per solver: from a `Problem` to a function of the tolerance.

An adapter takes the problem and returns ``run(rtol) -> (log s at the end, evaluations)``; compilation happens in the
adapter or in the first run, never in a timed one. Solvers that are compiled get the compiled right-hand side, those
written in JAX or with symbols get it in those terms. Absolute tolerances (of log s) equal the relative ones.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

import ceflow as cf

from ._problem import Problem

Run = Callable[[float], tuple[np.ndarray, int | None]]


@dataclass(frozen=True)
class Solver:
    """A competitor.

    Attributes
    ----------
    name : str
        As shown in tables.
    make : callable
        The adapter. Raises ImportError when something is not installed.
    form : str
        In which form it is given the problem.
    finest : callable, optional
        The adapter for the tuned run, where the best form is slow to compile.
    """

    name: str
    make: Callable[[Problem], Run]
    form: str
    finest: Callable[[Problem], Run] | None = None


TOLERANCES = [float(10.0**-x) for x in np.arange(3.0, 13.001, 0.5)]


def _ceflow(problem: Problem) -> Run:
    def run(rtol: float):
        run = cf.integrate(problem.flow, problem.s0, problem.t_end, rtol=rtol, dense_output=False)
        return np.log(run.singular_values[-1]), run.nfev

    return run


def numba_call(problem: Problem, order: str):
    """The right-hand side as a C function of pointers, with its scratch space and a count of calls behind `data`."""
    import numba as nb
    from numba import types

    kernel, n, classes = problem.rates, problem.classes - 1, problem.classes
    pointer = types.CPointer(types.double)

    if order == "x u out":

        @nb.cfunc(types.void(types.double, pointer, pointer, pointer))
        def call(x, u, out, data):
            work = nb.carray(data, (classes + 1,))
            work[classes] += 1.0
            kernel(x, nb.carray(u, (n,)), nb.carray(out, (n,)), work[:classes])

    else:

        @nb.cfunc(types.void(pointer, types.double, pointer, pointer))
        def call(out, x, u, data):
            work = nb.carray(data, (classes + 1,))
            work[classes] += 1.0
            dy = nb.carray(out, (n + 1,))
            dy[n] = work[classes]  # an output beside the derivatives: the number of calls
            kernel(x, nb.carray(u, (n,)), dy[:n], work[:classes])

    return call


def _numbalsoda(method: str):
    def make(problem: Problem) -> Run:
        import numbalsoda

        call, solve = numba_call(problem, "x u out"), getattr(numbalsoda, method)
        times, data = np.array([0.0, problem.x_end]), np.zeros(problem.classes + 1)

        def run(rtol: float):
            data[-1] = 0.0
            u, success = solve(call.address, problem.u0, times, data, rtol, rtol, 100_000)
            return u[-1] if success else np.full_like(problem.u0, np.nan), int(data[-1])

        run.keep = call  # the address dies with the function
        return run

    return make


def _cyrk(method: str):
    def make(problem: Problem) -> Run:
        from CyRK import nbsolve2_ivp

        call, n = numba_call(problem, "out x u"), problem.classes - 1
        span, data = (0.0, problem.x_end), np.zeros(problem.classes + 1)
        ends = np.array([problem.x_end])

        def run(rtol: float):
            data[-1] = 0.0
            found = nbsolve2_ivp(
                call.address, span, problem.u0, method, ends, args=data, rtol=rtol, atol=rtol, num_extra=1
            )
            u = found.y[:, -1].copy() if found.success else np.full(n + 1, np.nan)
            found.free()
            return u[:n], int(u[n]) if u[n] == u[n] else None

        run.keep = call
        return run

    return make


def _scipy(method: str):
    def make(problem: Problem) -> Run:
        from numba import njit
        from scipy.integrate import solve_ivp

        kernel, classes = problem.rates, problem.classes

        @njit
        def rates(x, u):
            out = np.empty(classes - 1)
            kernel(x, u, out, np.empty(classes))
            return out

        def run(rtol: float):
            found = solve_ivp(rates, (0.0, problem.x_end), problem.u0, method, rtol=max(rtol, 3e-14), atol=rtol)
            return found.y[:, -1], found.nfev

        return run

    return make


def _diffrax(method: str, stages: int):
    def make(problem: Problem) -> Run:
        import jax

        jax.config.update("jax_enable_x64", True)
        import diffrax
        import jax.numpy as jnp

        classes = problem.classes
        if classes <= 64:  # one dense product: few operations to launch
            signs = jnp.asarray(cf.hadamard(classes).eigenmatrix[1:, 1:])
            gaps = 1.0 - signs

            def transform(v):
                return gaps @ v

        else:  # H_1024 is the Kronecker square of H_32: two small products
            root = math.isqrt(classes)
            signs = jnp.asarray(cf.hadamard(root).eigenmatrix)

            def transform(v):
                v = signs @ jnp.concatenate([jnp.zeros(1), v]).reshape(root, root) @ signs
                return v[0, 0] - v.ravel()[1:]

        def rates(x, u, args):
            q = jnp.exp(-transform(jnp.exp(u)) / classes)
            return 2.0 * jnp.exp(x) / (1.0 + q.sum()) * transform(q)

        term, solver = diffrax.ODETerm(rates), getattr(diffrax, method)()

        @jax.jit
        def solve(u0, rtol):
            found = diffrax.diffeqsolve(
                term, solver, 0.0, problem.x_end, None, u0, saveat=diffrax.SaveAt(t1=True),
                stepsize_controller=diffrax.PIDController(rtol=rtol, atol=rtol), adjoint=diffrax.ForwardMode(),
                max_steps=100_000, throw=False,
            )  # fmt: skip
            return found.ys[0], found.stats["num_steps"]

        u0 = jnp.asarray(problem.u0)

        def run(rtol: float):
            u, steps = solve(u0, rtol)
            return np.asarray(u), int(steps) * stages

        return run

    return make


def heyoka_system(classes: int) -> list:
    """The equations as symbols, with a fast transform."""
    import heyoka as hy

    def transform(values: list) -> list:
        values, h = [hy.expression(0.0), *values], 1
        while h < classes:
            for k in range(0, classes, 2 * h):
                for i in range(k, k + h):
                    a, b = values[i], values[i + h]
                    values[i], values[i + h] = a + b, a - b
            h *= 2
        return values

    u = [hy.expression(f"u{i}") for i in range(1, classes)]
    z = transform([hy.exp(v) for v in u])
    q = [hy.exp((v - z[0]) / classes) for v in z[1:]]
    scale = 2.0 * hy.exp(hy.time) / (1.0 + hy.sum(q))
    r = transform(q)
    return [(v, scale * (r[0] - w)) for v, w in zip(u, r[1:], strict=True)]


def _heyoka(compact_from: int):
    def make(problem: Problem) -> Run:
        import heyoka as hy

        classes, system = problem.classes, heyoka_system(problem.classes)
        made: dict = {}

        def run(rtol: float):
            if rtol not in made:  # the tolerance decides the order, which is compiled in
                compact = classes >= compact_from
                made[rtol] = hy.taylor_adaptive(system, problem.u0, tol=rtol, compact_mode=compact)
            solver = made[rtol]
            solver.time, solver.state[:] = 0.0, problem.u0
            steps = solver.propagate_until(problem.x_end)[3]
            return solver.state.copy(), steps * (solver.order + 1)

        return run

    return make


CEFLOW = Solver("ceflow", _ceflow, "public call, dense_output=False")
PEERS = [
    Solver("numbalsoda dop853", _numbalsoda("dop853"), "compiled rates as a C function"),
    Solver("numbalsoda lsoda", _numbalsoda("lsoda"), "compiled rates as a C function"),
    Solver("heyoka", _heyoka(64), "symbolic fast transform; counts orders", _heyoka(128)),
    Solver("CyRK DOP853", _cyrk("DOP853"), "nbsolve2_ivp, compiled rates as a C function"),
    Solver("CyRK VERN8", _cyrk("VERN8"), "nbsolve2_ivp, compiled rates as a C function"),
    Solver("diffrax Dopri8", _diffrax("Dopri8", 13), "dense product, or 32 x 32 Kronecker product"),
    Solver("diffrax Tsit5", _diffrax("Tsit5", 6), "dense product, or 32 x 32 Kronecker product"),
    Solver("scipy DOP853", _scipy("DOP853"), "compiled rates, called from Python"),
    Solver("scipy LSODA", _scipy("LSODA"), "compiled rates, called from Python"),
]


def describe(error: Exception) -> str:
    """How a table names a solver that did not run."""
    first = (str(error).splitlines() or [""])[0][:60]
    return f"not installed: {first}" if isinstance(error, ImportError) else f"failed: {type(error).__name__}: {first}"
