"""Tableau prepared for stepping, and work arrays of steps."""

from __future__ import annotations

import functools
from typing import Final, NamedTuple

import numpy as np

from . import clock
from .tableaus import TABLEAUS, interpolation_slopes, interpolation_weights

DEFAULT: Final = "dop853"


class Method(NamedTuple):
    """Points of a step at which rates are evaluated, and the linear maps applied to them.

    The points are the regular stages, the stages for dense output, and further samples of the clock, by dense output.
    """

    weights: np.ndarray  # (P, n) weights of the stages for each point
    estimates: np.ndarray  # (2, n)
    interpolant: np.ndarray  # (m, n)
    samples: np.ndarray  # (s,) point of each sample of the clock
    to_chebyshev: np.ndarray  # (s, s) from samples to the Chebyshev series
    slope: np.ndarray  # (n,) weights of the stages for the velocity of dense output at the last point
    stages: int  # n
    last: int  # the point at the end of the step
    order: int  # of the error estimate


class Work(NamedTuple):
    """Work arrays of a solver; the first two are on the device of the field."""

    states: np.ndarray  # (n + 5, N): the stages' velocities, then the rows below
    phi: np.ndarray  # (2, P) phi and a at all points of a step
    series: np.ndarray  # (2, s) Chebyshev series of the clock
    scratch: np.ndarray  # (n + clock.SCRATCH,) weights, and work space of the clock


START, NEW, PROBE, ERROR, ZERO = range(5)  # rows of `states` after the stages: start and end of the step, others
ROWS = 5


@functools.cache
def method(name: str = DEFAULT) -> Method:
    """Method with a name in `tableaus.TABLEAUS`."""
    tableau = TABLEAUS[name]
    nodes, n = tableau.coefficients.sum(axis=1), len(tableau.coefficients)
    # stages as accurate as the solution: the first, the last and those for dense output
    known = {0: 0} | {i: i for i in range(tableau.last, n)}
    stage_of = [next((i for i in known if abs(nodes[i] - x) < 1e-12), -1) for x in tableau.samples]
    samples = np.array(stage_of)
    own = np.flatnonzero(samples < 0)
    own = own[np.argsort(-np.abs(tableau.samples[own] - 0.5), kind="stable")]  # the last one is in the middle
    samples[own] = n + np.arange(own.size)
    weights = np.vstack([tableau.coefficients, interpolation_weights(tableau, tableau.samples[own])])
    estimates = np.array(np.broadcast_to(tableau.estimates, (2, n)), order="C")
    arrays = np.ascontiguousarray(weights), estimates, np.ascontiguousarray(tableau.interpolant), samples
    slope = interpolation_slopes(tableau, tableau.samples[own[-1]])
    return Method(*arrays, clock.to_chebyshev(tableau.samples), slope, n, tableau.last, tableau.error_order)


def work_for(field, used: Method) -> Work:
    """Work arrays for steps of a field."""
    states = field.allocate(used.stages + ROWS, field.size)
    states[used.stages + ZERO][:] = 0.0
    phi = field.allocate(2, len(used.weights))
    return Work(states, phi, np.empty((2, used.samples.size)), np.empty(used.stages + clock.SCRATCH))
