"""A tableau prepared for stepping, and the arrays that steps are made in."""

from __future__ import annotations

import functools
from typing import Final, NamedTuple

import numpy as np

from . import clock
from .tableaus import TABLEAUS, interpolation_slopes, interpolation_weights

DEFAULT: Final = "dop853"


class Method(NamedTuple):
    """All places in a step at which rates are evaluated, and what is made of them.

    The places are the regular stages, those for dense output, and, by dense output, where else the clock is sampled.
    """

    weights: np.ndarray  # (P, n) of the stages, for each place
    estimates: np.ndarray  # (2, n)
    interpolant: np.ndarray  # (m, n)
    samples: np.ndarray  # (s,) the place of each sample of the clock
    to_chebyshev: np.ndarray  # (s, s) from samples to the Chebyshev series
    slope: np.ndarray  # (n,) of the stages, for the velocity that dense output has at the last place
    stages: int  # n
    last: int  # the place at the end of the step
    order: int  # of the error estimate


class Work(NamedTuple):
    """Arrays that a solver works in; the first two live where the field does."""

    states: np.ndarray  # (n + 5, N): the stages' velocities, then the rows below
    phi: np.ndarray  # (2, P) phi and a at all places of a step
    series: np.ndarray  # (2, s) Chebyshev series of the clock
    scratch: np.ndarray  # (n + clock.SCRATCH,) weights, and what the clock works in


START, NEW, PROBE, ERROR, ZERO = range(5)  # rows of `states` after the stages: start and end of the step, others
ROWS = 5


@functools.cache
def method(name: str = DEFAULT) -> Method:
    """The method of a name in `tableaus.TABLEAUS`."""
    tableau = TABLEAUS[name]
    nodes, n = tableau.coefficients.sum(axis=1), len(tableau.coefficients)
    # stages that are as good as the solution: the first one, the last one and those for dense output
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
    """Arrays for steps of a field."""
    states = field.allocate(used.stages + ROWS, field.size)
    states[used.stages + ZERO][:] = 0.0
    phi = field.allocate(2, len(used.weights))
    return Work(states, phi, np.empty((2, used.samples.size)), np.empty(used.stages + clock.SCRATCH))
