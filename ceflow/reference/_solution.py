"""Reduced flow in arbitrary precision; slow, simple, and independent of the rest of ceflow.

The layers are the variables, with the defining equations

    dw_l/dt = (prod_{k != l} w_k) lambda(s) - mu w_l,   s = prod_l w_l,   for each mode i and layer l

with the force ``lambda_i(s)`` of the loss (divided by K for reduction "mean") and weight decay mu. They are integrated
by Taylor series of high order in ``x = log(1 + t)``, in which the state moves slowly from t = 0 to times far beyond
1e300. The coefficients follow from the equations by automatic differentiation; steps are so short that the last terms
are below the required precision. It shares no code with `ceflow.integrate`: no stepper, clock, dense output,
coordinates, closed form of the collapsed tail, or residuals (only formulas of losses are used). Of a scheme only the
integer matrix of relations is used; the eigenmatrix is computed again, to all digits.

Needs mpmath (the extra ``reference``). Meant for few modes: to t = 1e300 some hundred steps take about a second for
D = 2 and five for D = 7, at 20 digits; cost grows with the cube of the digits.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .._checks import checked_integer
from ._precision import context
from ._relations import exact_algebra

if TYPE_CHECKING:
    from ._equations import Equations

FADED = 1e-155  # layers of a decaying mode count as 0 below this
DEEPEST = 100


class Solution(NamedTuple):
    """Exact values of a run; arrays of mpmath numbers, which ``.astype(float)`` rounds.

    Attributes
    ----------
    log_t : (n,) array of floats
    singular_values : (n, D) array
    layers : (n, L, D) array; (n, 1, D), the common layer, for fractional depth
    steps : int
        Number of Taylor steps.

    Examples
    --------
    >>> exact = cf.reference.solve(cf.SpectralFlow(cf.complete(3)), [0.1], [0.0])
    >>> exact.singular_values.astype(float).round(8), exact.layers.shape
    (array([[0.18867665]]), (1, 2, 1))
    """

    log_t: NDArray[np.float64]
    singular_values: NDArray[np.object_]
    layers: NDArray[np.object_]
    steps: int


def solve(
    flow: Any,
    start: ArrayLike,
    log_t: ArrayLike,
    *,
    digits: int = 30,
    max_steps: int = 5_000,
) -> Solution:
    """Compute singular values of a run at given times to a given number of digits.

    Parameters
    ----------
    flow : SpectralFlow
        Flow with depth at most 100; its scheme, loss, depth, reduction and weight decay are used.
    start : (D,) or (L, D) array
        Singular values of balanced layers, or layers. Start and times are exact numbers.
    log_t : (n,) array
        Increasing natural logarithms of times; -inf for t = 0.
    digits : int
        Relative digits of each singular value, from 10 to 200. Modes that change sign are accurate relative to their
        layers, modes that decay to 0 relative to the largest mode.
    max_steps : int
        Maximal number of Taylor steps.

    Returns
    -------
    Solution

    Raises
    ------
    ImportError
        If mpmath is not installed.
    TypeError, ValueError
        If an argument is invalid.
    RuntimeError
        If `max_steps` do not suffice, e.g. if a mode decays in a network that is otherwise at rest.

    Notes
    -----
    Truncation and rounding errors are each below ``10^-(digits + 5)`` per step, relative to the largest layer of a
    mode. Runs with different `digits` have different orders and steps, so their difference checks both.

    Examples
    --------
    >>> flow, s0 = cf.SpectralFlow(cf.hadamard(4)), [0.1, 0.2, 0.3]
    >>> exact = cf.reference.solve(flow, s0, [-np.inf, 0.0], digits=20)
    >>> str(exact.singular_values[-1, 0])[:20]
    '0.161749189433548389'
    >>> f"{cf.integrate(flow, s0, 1.0).singular_values[-1, 0]:.8f}"
    '0.16174919'
    """
    if not all(hasattr(flow, name) for name in ("scheme", "loss", "depth", "reduction", "weight_decay")):
        raise TypeError(f"flow must be a SpectralFlow, got {type(flow).__name__}")
    digits = checked_integer("digits", digits, 10, 200)
    if flow.depth > DEEPEST:
        raise ValueError(f"the flow must have a depth of at most {DEEPEST}, got {flow.depth:g}")
    times = np.atleast_1d(np.asarray(log_t, float))
    if times.ndim != 1 or np.any(np.isnan(times)) or np.any(np.diff(times) <= 0.0) or np.any(times == np.inf):
        raise ValueError("log_t must be one-dimensional, finite or -inf, and strictly increasing")
    values = np.asarray(start, float)
    modes = flow.scheme.modes
    if values.shape != (modes,) and values.shape != (flow.depth, modes):
        raise ValueError(f"start must have shape ({modes},) or ({flow.depth:g}, {modes}), got {values.shape}")
    if not np.all(np.isfinite(values)):
        raise ValueError("start must be finite")

    from ._equations import Equations  # imports SymPy, slowly

    ctx = context(digits + 15 + _lost_digits(values))
    equations = Equations(ctx, flow, exact_algebra(flow.scheme, ctx), values)
    return _integrate(ctx, equations, times, digits, max_steps, flow.depth)


def _lost_digits(values: NDArray[np.float64]) -> int:
    """Digits lost by layers of nearly opposite value until their sum dominates."""
    if values.ndim == 1:
        return 0
    size, total = np.abs(values).sum(axis=0), np.abs(values.sum(axis=0))
    close = total > 0.0
    return int(np.ceil(2.0 * np.max(np.log10(size[close] / total[close]), initial=0.0)))


def _integrate(ctx, equations: Equations, times: NDArray[np.float64], digits: int, max_steps: int, depth) -> Solution:
    targets = [ctx.mpf(0) if time == -math.inf else ctx.log1p(ctx.exp(ctx.mpf(float(time)))) for time in times]
    state = [[series.terms[0] for series in row] for row in equations.values]
    rows: list[list] = []
    x, steps, rest = ctx.mpf(0), 0, False
    order = 5 + math.ceil(1.15 * (digits + 5))  # about -log(tolerance) / 2: the cheapest (Jorba & Zou 2005)
    log_tolerance = -(digits + 5) * math.log(10.0)
    while len(rows) < len(targets):
        if targets[len(rows)] == x or rest:
            rows.append(state)
            continue
        if steps >= max_steps:
            raise RuntimeError(f"stopped after {max_steps} Taylor steps, at log(1 + t) = {float(x):.6g}")
        equations.expand(ctx.exp(x), state, order)
        steps += 1
        rest = _is_at_rest(ctx, equations, log_tolerance)
        h = min(_step(ctx, equations, state, order, log_tolerance), targets[-1] - x)
        while len(rows) < len(targets) and targets[len(rows)] <= x + h:
            rows.append(equations.at(targets[len(rows)] - x))
        state, x = equations.at(h), x + h
        for i in equations.fading:
            if all(abs(row[i]) < FADED for row in state):
                for row in state:
                    row[i] = ctx.mpf(0)
    layers = np.array(rows, dtype=object).reshape(len(rows), len(equations.values), equations.modes)
    values = np.array([equations.product(row, depth) for row in rows], dtype=object)
    return Solution(times, values.reshape(len(rows), equations.modes), layers, steps)


def _step(ctx, equations: Equations, state: list[list], order: int, log_tolerance: float):
    """Step for which the last two terms of every series are below the tolerance, relative to the largest layer."""
    least = math.inf
    for i in range(equations.modes):
        size = max(abs(row[i]) for row in state)
        for row in equations.values:
            for n in (order - 1, order):
                term = row[i].terms[n]
                if term != 0:
                    least = min(least, (log_tolerance - float(ctx.ln(abs(term) / size))) / n)
    return ctx.inf if least == math.inf else ctx.exp(least)


def _is_at_rest(ctx, equations: Equations, log_tolerance: float) -> bool:
    """Whether every layer is at its limit to all digits, at the end of an exponential decay.

    With v = dw/dt and a = d2w/dt2 the distance to the limit is |v / (a/v)| if a/v < 0. For powers and logarithms of
    time, as in the tail of cross-entropy, it is of the order of the state.
    """
    largest = max(abs(series.terms[0]) for row in equations.values for series in row)
    limit, still = largest * ctx.exp(log_tolerance), True
    for row in equations.values:
        for series in row:
            velocity = series.terms[1]
            acceleration = 2 * series.terms[2] - velocity  # both in units of dx: (d/dx - 1) d/dx
            if velocity != 0:
                still = still and acceleration * velocity < 0 and velocity**2 < limit * abs(acceleration)
    return still
