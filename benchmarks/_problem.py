"""The trajectory that all solvers are given: balanced layers on hadamard(K), s0 ~ 1e-3 U(0.1, 1), to t = 1e12.

Solvers that know nothing of the problem get it in the form that serves them best, free of cancellation. Unknowns are
u_i = log s_i, margins are ``z_0 - z_j``, forces are sums over the wrong classes, and the independent variable is
x = log(1 + t / K), in which both the exponential growth (to t of some K) and the logarithmic one go at a steady rate:

    du_i/dx = 2 e^x lambda_i(s).

To t = 1e12 margins stay below 50, so that e^(-margin) needs no scale.
"""

from __future__ import annotations

import math
from functools import cached_property

import numpy as np
from numba import njit

import ceflow as cf
from ceflow.kernels.walsh import transform


class Problem:
    """One trajectory: what there is to solve, and what is right.

    Attributes
    ----------
    classes : int
    t_end, x_end : float
        The last time, and x there.
    s0, u0 : (D,) arrays
        Singular values at the start, and their logarithms.
    """

    def __init__(self, classes: int, t_end: float = 1e12, seed: int = 0) -> None:
        self.classes, self.t_end = classes, t_end
        self.x_end = math.log1p(t_end / classes)
        self.s0 = 1e-3 * np.random.default_rng(seed).uniform(0.1, 1.0, classes - 1)
        self.u0 = np.log(self.s0)
        self.flow = cf.SpectralFlow(cf.hadamard(classes))

    @cached_property
    def reference(self) -> np.ndarray:
        """(D,) log s at the end, by ceflow at its tightest tolerance; see `witness`."""
        run = cf.integrate(self.flow, self.s0, self.t_end, rtol=1e-13, dense_output=False)
        return np.log(run.singular_values[-1])

    def witness(self, quick: bool = True) -> tuple[str, float]:
        """Who else was asked, and how far its log s is from the reference. mpmath, for K = 4, takes a while."""
        if self.classes == 4 and not quick:
            try:
                return "mpmath, 22 digits", self.error(self._by_mpmath())
            except ImportError:
                pass
        from scipy.integrate import solve_ivp

        kernel, work = self.rates, np.empty(self.classes)

        def rates(x: float, u: np.ndarray) -> np.ndarray:
            out = np.empty_like(u)
            kernel(x, u, out, work)
            return out

        run = solve_ivp(rates, (0.0, self.x_end), self.u0, method="DOP853", rtol=3e-14, atol=1e-14)
        return "scipy DOP853, rtol 3e-14", self.error(run.y[:, -1])

    def error(self, u: np.ndarray) -> float:
        """Largest error of log s; infinite when there is no finite answer."""
        error = float(np.max(np.abs(np.asarray(u) - self.reference)))
        return error if math.isfinite(error) else math.inf

    def _by_mpmath(self) -> np.ndarray:
        import mpmath

        def rates(x, u):
            s = [mpmath.exp(v) for v in u]
            q = [mpmath.exp(-(s[i] + s[j]) / 2) for i, j in ((0, 2), (1, 2), (0, 1))]
            scale = 4 * mpmath.exp(x) / (1 + sum(q))
            return [scale * (q[i] + q[j]) for i, j in ((0, 2), (1, 2), (0, 1))]

        with mpmath.workdps(22):
            solution = mpmath.odefun(rates, 0, [mpmath.mpf(float(v)) for v in self.u0], tol=mpmath.mpf(10) ** -16)
            return np.array([float(v) for v in solution(mpmath.log1p(mpmath.mpf(self.t_end) / self.classes))])

    @cached_property
    def rates(self):
        """Compiled right-hand side ``rates(x, u, out, work)``, `work` of length K."""
        return _rates_four if self.classes == 4 else _rates_any

    @cached_property
    def textbook_rates(self):
        """The same with ``1 - softmax`` taken literally, which is wrong at late times."""
        return _textbook_rates


@njit(error_model="numpy")
def _rates_four(x, u, out, work):
    """K = 4 written out: what a careful user would do by hand."""
    a, b, c = math.exp(u[0]), math.exp(u[1]), math.exp(u[2])
    p, q, r = math.exp(-0.5 * (a + c)), math.exp(-0.5 * (b + c)), math.exp(-0.5 * (a + b))
    scale = 4.0 * math.exp(x) / (1.0 + p + q + r)
    out[0], out[1], out[2] = scale * (p + r), scale * (q + r), scale * (p + q)


@njit(error_model="numpy")
def _rates_any(x, u, out, work):
    """Two fast Walsh-Hadamard transforms, ceflow's own."""
    work[0] = 0.0
    for i in range(u.size):
        work[i + 1] = math.exp(u[i])
    transform(work)
    top, scale = work[0], 1.0 / work.size
    work[0] = 0.0
    for i in range(1, work.size):
        work[i] = math.exp((work[i] - top) * scale)
    transform(work)
    top = work[0]
    scale = 2.0 * math.exp(x) / (1.0 + top)
    for i in range(out.size):
        out[i] = scale * (top - work[i + 1])


@njit(error_model="numpy")
def _textbook_rates(x, u, out, work):
    """``lambda_i = 1 - p_hat_i`` with p the softmax of the logits and p_hat its transform."""
    work[0] = 0.0
    for i in range(u.size):
        work[i + 1] = math.exp(u[i])
    transform(work)
    top, total, scale = work[0], 0.0, 1.0 / work.size
    for i in range(work.size):
        work[i] = math.exp((work[i] - top) * scale)
        total += work[i]
    for i in range(work.size):
        work[i] /= total
    transform(work)
    scale = 2.0 * math.exp(x)
    for i in range(out.size):
        out[i] = scale * (1.0 - work[i + 1])
