"""How errors move on: what the defects of a run add up to.

The error e = w - w* of a run obeys, to first order, ``e(t) = e(t_0) + d(t) + integral of J e dt``, with d the defect
since t_0 and J the derivative of the velocity. On an interval that is a linear system in the values of e at the nodes,
by the quadrature that makes the defect. So errors grow and are forgotten as the flow has it, and stiff parts of it need
no special care. [ceflow]
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ._quadrature import damped, derivative

MOST = 24  # coordinates, up to which the system is solved: it has sixteen times as many
FASTEST = 1e8  # rate times time, beyond which it counts as that: all is forgotten at once
LEAST = 1e-30  # size over the largest in an interval, below which it counts as that


class Response(NamedTuple):
    """How n states react to errors in m coordinates of theirs."""

    values: NDArray  # (n, m) coordinates
    velocity: NDArray  # (n, m), times exp(log_scale) of the states
    slopes: NDArray  # (n, m, m) of the velocities in the coordinates
    size: NDArray  # (n, m) what errors are relative to


class Propagator(NamedTuple):
    """An interval, at some nodes (k,), as far as errors are concerned. They are in units of `size`."""

    log_t: NDArray
    size: NDArray  # (k, m)
    values: NDArray  # (k, m) less that at the first node
    speed: NDArray  # (k, m) by the equations, times the length of the interval
    slopes: NDArray  # (k, m, m) times the length of the interval
    pace: NDArray  # (k, m) relative change of the coordinates in one of log t

    def carry(self, error: NDArray) -> NDArray:
        """(k, m) errors at the nodes, in units of the size, of those (m,) at the first one as they stand."""
        nodes, modes = self.size.shape
        defect = (self.values - damped(nodes) @ self.speed) / self.size
        slopes = self.slopes.swapaxes(0, 1) * self.size  # (m, k, m)
        system = -damped(nodes)[:, None, :, None] * (slopes / self.size[:, :, None, None])
        system = system.reshape(nodes * modes, nodes * modes) + np.eye(nodes * modes)
        return np.linalg.solve(system, (error / self.size + defect).ravel()).reshape(nodes, modes)


def propagator(response: Response, log_t: NDArray, log_scale: NDArray, low: float, high: float) -> Propagator:
    """Of an interval from log time `low` to `high`, of which `log_scale` has the logarithm of the length too."""
    values, size = response.values, np.maximum(response.size, LEAST * response.size.max(axis=0))
    fastest = np.abs(response.slopes * (size[:, None, :] / size[:, :, None])).max(axis=2)
    weight = np.exp(np.minimum(log_scale[:, None], np.log(FASTEST / np.maximum(fastest, 1e-290))))
    slopes = response.slopes * weight[:, :, None]
    units = np.exp(log_t - high) if low == -np.inf else 1.0 / (high - low)
    pace = np.abs(derivative(values)) * np.reshape(units, (-1, 1)) / size
    return Propagator(log_t, size, values - values[:1], response.velocity * weight, slopes, pace)


def relative(one: Propagator, errors: NDArray, joint: bool) -> NDArray:
    """(k,) the largest of errors (k, m) at the nodes of an interval, or if `joint` that of all together; over the
    coordinates, and how far these move while time changes by its own size."""
    size, pace = np.abs(errors), one.pace
    if joint:
        size, pace = (np.linalg.norm(x, axis=1, keepdims=True) for x in (errors, pace))
    return (size / (1.0 + pace)).max(axis=1)


def doubt(one: Propagator, joint: bool) -> float:
    """By how much the errors that come up on an interval differ from those by every second node."""
    half = slice(None, None, 2)
    coarse = one._replace(
        log_t=one.log_t[half], size=one.size[half], slopes=one.slopes[half], pace=one.pace[half],
        speed=one.speed[half], values=one.values[half],
    )  # fmt: skip
    before = one.carry(np.zeros(one.size.shape[1]))[-1] * one.size[-1]  # where errors come to rest they are so before
    return float(np.max(relative(coarse, one.carry(before)[half] - coarse.carry(before), joint)))


class Errors(NamedTuple):
    """What errors come to, at most, relative; and where."""

    largest: float
    log_t: float


def carried(propagators: list[Propagator], joint: bool) -> Errors:
    """The largest error along intervals that follow each other, of a coordinate or, if `joint`, of all together."""
    error, found = np.zeros(propagators[0].size.shape[1]), Errors(0.0, -np.inf)
    for one in propagators:
        errors = one.carry(error)
        sizes = relative(one, errors, joint)
        sizes[0] = 0.0  # judged as the last of the interval before, which resolves how it got there
        worst = int(np.argmax(np.where(np.isnan(sizes), np.inf, sizes)))
        if not sizes[worst] <= found.largest:
            found = Errors(float(sizes[worst]), float(one.log_t[worst]))
            if not np.isfinite(found.largest):
                break
        error = errors[-1] * one.size[-1]
    return found
