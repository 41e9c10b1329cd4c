"""The clock: a rescaled time for integration, from which log t is computed.

The flow is autonomous, so it is integrated in a clock tau in which the state moves at unit speed. Time is ``t =
integral of exp(phi) dtau`` with ``phi = log(dt/dtau)``. [ceflow] Within a step phi may increase by hundreds, but it is
a smooth function of tau. It is interpolated by polynomials, whose exponential is integrated to full precision in the
log domain, without overflow. The only error is that of the interpolation; the decay of the Chebyshev coefficients
estimates it.

When cross-entropy begins to be fitted, phi changes from a constant to an increasing function within a small part of a
step, like ``log(1 + exp(a))`` with the log odds a of the true class. This function has poles near the real axis, and a
has none. So phi is split into ``log(1 + exp(a)) + b``, and a and b are interpolated, which halves the number of steps.
"""

from __future__ import annotations

import math

import numpy as np

from .._tolerances import CLOCK_SHARE
from ..kernels import KERNEL, njit
from ..kernels.exponential import exp, softplus
from .controller import combined

_GAUSS_X, _GAUSS_W = np.polynomial.legendre.leggauss(10)
# nodes of a panel on [0, 1] with its ends (weight 0), where the maximum may be; 12 nodes fill 3 or 2 vectors
_NODES = np.concatenate([[0.0], 0.5 * (_GAUSS_X + 1.0), [1.0]])
WEIGHTS = np.concatenate([[0.0], 0.5 * _GAUSS_W, [0.0]])
_COUNT = 12
_PANEL_RANGE = 3.0  # range for which ten Gauss points integrate an exponential to rounding
_MOST_PANELS = 1000
_NEGLIGIBLE = 45.0  # exp(-45) is below rounding
_DEPTH = 64
SCRATCH = 2 * _DEPTH + 4 * _COUNT  # size of the work space of `log_integral`
_SMALL_RISE = 1.0  # increase of phi within a step up to which the stages alone give time


def to_chebyshev(samples: np.ndarray) -> np.ndarray:
    """Matrix from values at given points to the coefficients of a Chebyshev series on [0, 1]."""
    return np.linalg.inv(np.polynomial.chebyshev.chebvander(2.0 * samples - 1.0, samples.size - 1))


@njit(**KERNEL)
def chebyshev_value(c: np.ndarray, x: float) -> float:
    """Evaluate a Chebyshev series c at x in [0, 1] (Clenshaw)."""
    u = 4.0 * x - 2.0
    b1 = b2 = 0.0
    for k in range(c.size - 1, 0, -1):
        b1, b2 = c[k] + u * b1 - b2, b1
    return c[0] + 0.5 * u * b1 - b2


@njit(**KERNEL)
def phi_value(series: np.ndarray, x: float) -> float:
    """phi at x in [0, 1], from the Chebyshev series of a and b."""
    return softplus(chebyshev_value(series[0], x)) + chebyshev_value(series[1], x)


@njit(**KERNEL)
def panel_values(c, left, width, u, before, values):
    """Evaluate the series at the nodes of a panel (Clenshaw, vectorized over nodes)."""
    for i in range(_COUNT):
        u[i] = 4.0 * (left + width * _NODES[i]) - 2.0
        values[i] = before[i] = 0.0
    for k in range(c.size - 1, 0, -1):
        for i in range(_COUNT):
            values[i], before[i] = c[k] + u[i] * values[i] - before[i], values[i]
    for i in range(_COUNT):
        values[i] = c[0] + 0.5 * u[i] * values[i] - before[i]


@panel_values.vectorized
def _values_at_nodes(c, left, width, u, before, values):
    values[:] = np.polynomial.chebyshev.chebval(2.0 * (left + width * _NODES) - 1.0, c)


@njit(**KERNEL)
def log_integral(series: np.ndarray, end: float, scratch: np.ndarray) -> float:
    """``log integral_0^end exp(phi(x)) dx`` to rounding, for phi from the Chebyshev series (2, n) of a and b on [0, 1].

    Panels are halved until phi varies little on them; negligible panels are dropped. The right panel comes first,
    because it has the largest values.
    """
    lefts, rights, left_over = scratch[:_DEPTH], scratch[_DEPTH : 2 * _DEPTH], scratch[2 * _DEPTH :]
    u, before = left_over[:_COUNT], left_over[_COUNT : 2 * _COUNT]
    a, values = left_over[2 * _COUNT : 3 * _COUNT], left_over[3 * _COUNT : 4 * _COUNT]
    lefts[0], rights[0] = 0.0, end
    depth = 1
    top = -np.inf
    total = 0.0
    panels = 0
    while depth > 0:
        depth -= 1
        panels += 1
        left, right = lefts[depth], rights[depth]
        panel_values(series[0], left, right - left, u, before, a)
        panel_values(series[1], left, right - left, u, before, values)
        for i in range(_COUNT):
            values[i] += max(a[i], 0.0)  # phi up to log 2; the missing factor is added below
        low, high = values[0], values[0]
        for i in range(1, _COUNT):
            low, high = min(low, values[i]), max(high, values[i])
        if not (high - low < np.inf) or panels > _MOST_PANELS:
            return np.nan  # floating point does not resolve phi
        if high > top:
            total *= math.exp(top - high)
            top = high
        elif high < top - _NEGLIGIBLE:
            continue
        if high - low > _PANEL_RANGE and depth < _DEPTH - 2:
            middle = 0.5 * (left + right)
            lefts[depth], rights[depth] = left, middle
            lefts[depth + 1], rights[depth + 1] = middle, right
            depth += 2
            continue
        for i in range(_COUNT):
            values[i] = exp(values[i] - top) * (1.0 + exp(-abs(a[i])))
        for i in range(_COUNT):
            total += (right - left) * WEIGHTS[i] * values[i]
    return top + math.log(total) if total > 0.0 else np.nan


@njit(**KERNEL)
def log_sum(x: float, y: float) -> float:
    """``log(exp(x) + exp(y))``."""
    high, low = max(x, y), min(x, y)
    return high if low == -np.inf else high + math.log1p(math.exp(low - high))


@njit(**KERNEL)
def interpolation_error(c: np.ndarray, rounding: float) -> float:
    """Estimated error of an interpolated function: the last coefficients, times the rate at which they decay.

    Infinite if the series does not converge yet; then derived quantities are unreliable. Coefficients below the
    rounding of the function are noise.
    """
    last = max(abs(c[-1]), 0.1 * abs(c[-2]))
    error = last * min(1.0, max(0.03, last / (abs(c[-3]) + 1e-300)))
    return max(error - rounding, 0.0) if error <= 1e-3 * (1.0 + abs(c[1])) else np.inf


@njit(**KERNEL)
def phi_error(series: np.ndarray, phi: float) -> float:
    """Estimated error of the interpolated phi; `phi` is its largest absolute value in the step."""
    rounding = 5e-16 * max(1.0, phi)
    top = series[0, 0]
    for i in range(1, series.shape[1]):
        top += abs(series[0, i])
    error = interpolation_error(series[1], rounding)
    if top > -_NEGLIGIBLE:  # else a is negligible
        error += interpolation_error(series[0], rounding) * math.exp(min(top, 0.0))
    return error


@njit(**KERNEL)
def locate(series: np.ndarray, log_start: float, log_step: float, target: float, scratch: np.ndarray) -> float:
    """Position x in [0, 1] in a step at which the time is ``exp(target)``, by Newton's method within a bracket.

    ``t(x) = exp(log_start) + exp(log_step) * integral_0^x exp(phi)``.
    """
    low, high, x = 0.0, 1.0, 1.0
    for _ in range(200):
        log_t = log_sum(log_start, log_step + log_integral(series, x, scratch))
        if abs(log_t - target) <= 2e-16 * max(1.0, abs(target)):
            return x
        if log_t > target:
            high = x
        else:
            low = x
        slope = math.exp(min(log_step + phi_value(series, x) - log_t, 700.0))
        new = x - (log_t - target) / slope if slope > 0.0 else low
        if not (low < new < high) and slope * x > 0.0:  # target many e-folds below: step in log x
            new = x * math.exp(max(min((target - log_t) / (slope * x), 1.0), -700.0))
        if not (low < new < high):
            new = 0.5 * (low + high) if low > 0.0 else max(0.5 * high, 0.0) if high > 1e-3 else high * 1e-3
        if abs(new - x) <= 2e-16 * x or high - low <= 2e-16 * high:
            return new
        x = new
    return x


@njit(**KERNEL)
def stage_quadrature(phi, h, solution, estimates, last):
    """Duration of a step of size h and its estimated error, divided by dt/dtau at its start, from the stages alone.

    Time is treated as another component of the state, which suffices if phi changes little.
    """
    time = high = low = 0.0
    for i in range(last + 1):
        speed = math.exp(min(phi[i] - phi[0], 700.0))
        time += solution[i] * speed
        high += estimates[0, i] * speed
        low += estimates[1, i] * speed
    return h * time, h * combined(abs(high), abs(low))


@njit(**KERNEL)
def time_by_stages(phi, h, log_t, method, has_equilibria):
    """log t at the end of a step, and its error as a displacement along the path; infinite if samples are needed."""
    start, end = phi[0, 0], phi[0, method.last]
    # near an equilibrium steps are limited by stability, and only samples within the step detect instability
    if has_equilibria or not abs(end - start) < _SMALL_RISE:
        return log_t, np.inf
    passed, error = stage_quadrature(phi[0], h, method.weights[method.last], method.estimates, method.last)
    # An error of t is a displacement along the path by dtau/dt times it. At the start of a long step, where dense
    # output must be accurate too, this is more than at its end.
    return log_sum(log_t, start + math.log(passed)), error * max(1.0, math.exp(min(start - end, 1.0)))


@njit(**KERNEL)
def fit(phi, method, series):
    """Chebyshev series of a and b from phi and a at all points of a step; ``log(1 + exp(a)) + b`` is phi minus its
    value at the end."""
    for i in range(series.shape[1]):
        series[0, i] = series[1, i] = 0.0
    for m in range(series.shape[1]):
        place = method.samples[m]
        a = phi[1, place]
        b = phi[0, place] - phi[0, method.last] - softplus(a)
        for i in range(series.shape[1]):
            series[0, i] += method.to_chebyshev[i, m] * a
            series[1, i] += method.to_chebyshev[i, m] * b


@njit(**KERNEL)
def time_by_samples(phi, h, log_t, method, has_equilibria, series, scratch, rtol):
    """log t at the end of a step with all points evaluated, and its error in units of the tolerance."""
    fit(phi, method, series)
    log_t_new, error = time_by_series(phi[0, 0], phi[0, method.last], h, log_t, series, scratch, rtol)
    # an error of phi is a relative error of the duration of the step, which may be short relative to t
    return log_t_new, error * -math.expm1(log_t - log_t_new) if has_equilibria else error


@njit(**KERNEL)
def time_by_series(start, end, h, log_t, series, scratch, rtol):
    """log t at the end of a step from the series and phi at its ends, and its error."""
    log_t_new = log_sum(log_t, end + math.log(h) + log_integral(series, 1.0, scratch))
    # an error of phi is an error of log t, and a displacement along the path by t dtau/dt times it
    drift = math.exp(max(min(max(log_t_new - end, log_t - start), 700.0), -700.0))
    return log_t_new, CLOCK_SHARE * drift * phi_error(series, max(abs(start), abs(end))) / rtol


@njit(**KERNEL)
def place_of(target, log_t, log_t_new, series, scratch):
    """Position x in [0, 1] of the time `target` in a step from log_t to log_t_new."""
    log_step = log_t_new + math.log(-math.expm1(log_t - log_t_new)) - log_integral(series, 1.0, scratch)
    return locate(series, log_t, log_step, target, scratch)


# -- the same where it is interpreted: all panels, and all times, side by side ----------------------------------------


def _phi(series: np.ndarray, x: np.ndarray) -> np.ndarray:
    a, b = np.polynomial.chebyshev.chebval(2.0 * x - 1.0, series.T)
    return np.logaddexp(0.0, a) + b


def _log_integrals(series: np.ndarray, lefts: np.ndarray, widths: np.ndarray) -> tuple[np.ndarray, ...]:
    """Log of the integral of exp(phi) over panels, and minimum and maximum of phi on each."""
    values = _phi(series, lefts[:, None] + widths[:, None] * _NODES)
    low, high = values.min(axis=1), values.max(axis=1)
    return high + np.log(widths * (np.exp(values - high[:, None]) @ WEIGHTS)), low, high


def _panels(series: np.ndarray, end: float, negligible: float = np.inf) -> tuple[np.ndarray, np.ndarray]:
    """Edges of panels on which phi varies little, or is below its maximum by `negligible`; and the log of the integral
    over each. NaN if there are no such panels."""
    edges = np.array([0.0, end])
    while True:
        widths = np.diff(edges)
        found, low, high = _log_integrals(series, edges[:-1], widths)
        ranges = high - low
        wide = ~(ranges <= _PANEL_RANGE) & ~(high < high.max() - negligible)
        if not wide.any():
            return edges, found
        if len(edges) > _MOST_PANELS or not (ranges < np.inf).all():
            return edges, np.full(len(widths), np.nan)
        edges = np.sort(np.concatenate([edges, (edges[:-1] + 0.5 * widths)[wide]]))


@log_integral.vectorized
def _whole_log_integral(series, end, scratch):
    return float(np.logaddexp.reduce(_panels(series, end, _NEGLIGIBLE)[1]))


def places(targets: np.ndarray, log_t: float, log_t_new: float, series: np.ndarray) -> np.ndarray:
    """`place_of` for several times: find the panel, then use Newton's method in the log of the integral within it."""
    edges, found = _panels(series, 1.0)
    if np.isnan(found[0]):  # phi varies by thousands: treat the times one by one
        scratch = np.empty(SCRATCH)
        log_step = log_t_new + math.log(-math.expm1(log_t - log_t_new)) - log_integral.interpreted(series, 1.0, scratch)
        return np.array([locate.interpreted(series, log_t, log_step, target, scratch) for target in targets])
    log_step = log_t_new + np.log(-np.expm1(log_t - log_t_new)) - np.logaddexp.reduce(found)
    times = np.logaddexp.accumulate(np.append(log_t, log_step + found))
    panel = np.clip(np.searchsorted(times, targets, "right") - 1, 0, len(found) - 1)
    begin, most = edges[panel], np.diff(edges)[panel]
    goal = targets + np.log(-np.expm1(np.minimum(times[panel] - targets, 0.0))) - log_step
    passed = most * np.exp(np.minimum(goal - found[panel], 0.0))
    low, high = np.zeros(len(targets)), most
    for _ in range(60):
        log_passed, _, _ = _log_integrals(series, begin, passed)
        off = np.where(passed > 0.0, log_passed - goal, 0.0)
        low, high = np.where(off < 0.0, passed, low), np.where(off > 0.0, passed, high)
        slope = np.exp(_phi(series, begin + passed) - log_passed) * passed
        new = np.where(off == 0.0, passed, passed * np.exp(-off / slope))
        passed = np.where((new >= low) & (new <= high), new, 0.5 * (low + high))
        if not (np.abs(off) > 1e-9).any():  # the last Newton step squares the error
            break
    return np.minimum(begin + passed, 1.0)


@place_of.vectorized
def _place_of_one(target, log_t, log_t_new, series, scratch):
    return float(places(np.array([target]), log_t, log_t_new, series)[0])
