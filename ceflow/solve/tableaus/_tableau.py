"""Tableaus of explicit Runge-Kutta methods."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np


class Tableau(NamedTuple):
    """Explicit Runge-Kutta pair whose last regular stage is the solution (first same as last).

    Attributes
    ----------
    name : str
    order : int
        Order of the solution that is propagated.
    error_order : int
        The error estimate behaves like ``h ** error_order``.
    last : int
        Index of the stage that equals the solution at the end of the step; later stages are for the interpolant only.
    coefficients : (n, n) array
        Lower triangular; row ``last`` holds the weights of the solution.
    estimates : (1 or 2, n) array
        Embedded error estimates, ``errors = h * estimates @ k``; of two, the one of higher order first, and the error
        is taken as in DOP853.
    interpolant : (m, n) array
        ``y(x) = y + h * (bubble(x) @ interpolant) @ k`` for x in [0, 1], see `interpolation_weights`.
    samples : (s,) array
        Points in the step (0 start, 1 end) for samples of the clock, if needed.
    """

    name: str
    order: int
    error_order: int
    last: int
    coefficients: np.ndarray
    estimates: np.ndarray
    interpolant: np.ndarray
    samples: np.ndarray


def dense(rows: dict[int, dict[int, float]], shape: tuple[int, int]) -> np.ndarray:
    """Matrix from sparse rows ``{column: entry}``."""
    matrix = np.zeros(shape)
    for i, row in rows.items():
        matrix[i, list(row)] = list(row.values())
    return matrix


def interpolation_weights(tableau: Tableau, x: np.ndarray) -> np.ndarray:
    """Weights b(x) of the stages in the dense output, ``y(x) = y + h * b(x) @ k``.

    Parameters
    ----------
    x : (m,) array
        Points in the step, 0 start and 1 end.

    Returns
    -------
    (m, n) array
    """
    x = np.asarray(x, float)[:, None]
    factors = np.where(np.arange(len(tableau.interpolant)) % 2 == 0, x, 1.0 - x)
    return np.cumprod(factors, axis=1) @ tableau.interpolant


def interpolation_slopes(tableau: Tableau, x: float) -> np.ndarray:
    """Weights (n,) of the stages in the velocity of the dense output, ``y'(x) = b'(x) @ k``."""
    value, slope, slopes = 1.0, 0.0, []
    for m in range(len(tableau.interpolant)):
        factor, turn = (x, 1.0) if m % 2 == 0 else (1.0 - x, -1.0)
        value, slope = value * factor, slope * factor + value * turn
        slopes.append(slope)
    return np.array(slopes) @ tableau.interpolant
