"""Independent references: the same flows written in other variables, integrated by scipy at tight tolerance."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy.integrate import solve_ivp
from scipy.optimize import brentq


def reduced_flow(
    gaps: np.ndarray, multiplicities: np.ndarray, valencies: np.ndarray, s0: np.ndarray, largest: float
) -> Callable:
    """Balanced reduced flow ("sum" time) as a function log t -> singular values.

    Integrated over the mean singular value sigma, in log s_i and F = t exp(-sigma), by scipy's DOP853 near rounding.

    Parameters
    ----------
    gaps : (D, D) array of 1 - P_ij / k_j
    multiplicities, valencies : (D,) arrays
    s0 : (D,) array
    largest : float
        Largest mean singular value.
    """
    classes = 1.0 + multiplicities.sum()
    share = multiplicities / multiplicities.sum()

    def velocity(sigma: float, u: np.ndarray) -> np.ndarray:
        s = np.exp(u[:-1])
        margins = (multiplicities * s / classes) @ gaps
        least = margins.min()
        e = valencies * np.exp(least - margins)
        force = gaps @ e  # times exp(-least) / (1 + sum exp(-margins))
        mean_rate = 2.0 * share @ (s * force)
        dt = np.exp(least - sigma) * (1.0 + e.sum() * np.exp(-least)) / mean_rate
        return np.append(2.0 * force / mean_rate, dt - u[-1])

    return _over_log_time(velocity, s0, float(share @ s0), largest)


def balanced_flow(gaps: np.ndarray, s0: np.ndarray, depth: float, largest: float) -> Callable:
    """`reduced_flow` of any depth, on a scheme all of whose multiplicities and valencies are 1."""
    classes = 1.0 + s0.size

    def velocity(sigma: float, u: np.ndarray) -> np.ndarray:
        s = np.exp(u[:-1])
        margins = (s / classes) @ gaps
        least = margins.min()
        e = np.exp(least - margins)
        rates = depth * s ** (1.0 - 2.0 / depth) * (gaps @ e)
        mean_rate = (s * rates).mean()
        dt = np.exp(least - sigma) * (1.0 + e.sum() * np.exp(-least)) / mean_rate
        return np.append(rates / mean_rate, dt - u[-1])

    return _over_log_time(velocity, s0, float(s0.mean()), largest, max_step=0.2)


def _over_log_time(velocity: Callable, s0: np.ndarray, first: float, largest: float, max_step: float = 1.0) -> Callable:
    """Singular values as a function of log t, of a flow in log s and F = t exp(-sigma) over the mean sigma."""
    start = np.append(np.log(s0), 0.0)
    options = {"method": "DOP853", "rtol": 3e-14, "atol": 1e-15, "dense_output": True, "max_step": max_step}
    path = solve_ivp(velocity, (first, largest), start, **options)
    assert path.success

    def at(log_t: float) -> np.ndarray:
        sigma = brentq(
            lambda x: x + np.log(max(path.sol(x)[-1], 1e-300)) - log_t,
            first * (1 + 1e-14),
            largest,
            xtol=1e-14,
            rtol=1e-15,
        )
        return np.exp(path.sol(sigma)[:-1])

    return at


def layers_flow(
    gaps: np.ndarray, multiplicities: np.ndarray, valencies: np.ndarray, layers: np.ndarray, t: np.ndarray
) -> np.ndarray:
    """Layers (n, 2, D) of the reduced flow ("sum" time) at times t, straight from da/dt = b lambda, db/dt = a
    lambda."""
    classes = 1.0 + multiplicities.sum()

    def velocity(_: float, u: np.ndarray) -> np.ndarray:
        a, b = u.reshape(2, -1)
        e = valencies * np.exp(-(multiplicities * a * b / classes) @ gaps)
        force = gaps @ e / (1.0 + e.sum())
        return np.concatenate([b * force, a * force])

    solution = solve_ivp(velocity, (0.0, t[-1]), layers.ravel(), method="DOP853", rtol=1e-13, atol=1e-18, t_eval=t)
    return solution.y.T.reshape(len(t), 2, -1)
