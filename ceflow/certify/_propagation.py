"""How errors move on: what the defects of a run add up to.

The error e = w - w* of a run obeys, to first order, ``e(t) = e(t_0) + d(t) + integral of J e dt``, with d the defect
since t_0 and J the derivative of the velocity. On an interval that is a linear system in the values of e at the nodes,
by the quadrature that makes the defect. So errors grow and are forgotten as the flow has it, and stiff parts of it need
no special care. Where there are many coordinates the system is one in the few directions that errors take: those of
errors and defects, and what J makes of them (Krylov's subspaces, by Galerkin's method). What is left in other
directions stays as it is. [ceflow]
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from .._arrays import svd
from ._quadrature import damped, derivative

MOST = 24  # directions of errors: the system has sixteen times as many numbers
TELLING = 1e-2  # of the largest error: what is smaller has no direction of its own
PLACES = [1, 8, 16]  # of the nodes, at which J is asked what it makes of a direction
FASTEST = 1e8  # rate times time, beyond which it counts as that: all is forgotten at once
LEAST = 1e-30  # size over the largest in an interval, below which it counts as that
VOLUME = 2**20  # numbers of states that are looked at in one go

Products = Callable[[NDArray, "slice | list[int]"], NDArray]


class Response(NamedTuple):
    """How n states react to errors in m coordinates of theirs."""

    values: NDArray  # (n, m) coordinates
    velocity: NDArray  # (n, m), times exp(log_scale) of the states
    products: Products  # of J at some of the states with directions (r, m), (n, r, m), over the same
    rate: NDArray  # (n,) about how large these can be
    size: NDArray  # (n, m) or (n, 1) what errors are relative to


class Propagator(NamedTuple):
    """An interval, at some nodes (k,), as far as errors are concerned. They are in units of `size`."""

    log_t: NDArray
    size: NDArray  # (k, m) or (k, 1)
    values: NDArray  # (k, m) less that at the first node
    speed: NDArray  # (k, m) by the equations, times the length of the interval
    slopes: NDArray  # (k, m, m) times the length of the interval
    pace: NDArray  # (k, m) relative change of the coordinates in one of log t

    def carry(self, error: NDArray) -> NDArray:
        """(k, m) errors at the nodes, in units of the size, of those (m,) at the first one as they stand."""
        defect = (self.values - damped(len(self.size)) @ self.speed) / self.size
        return _solved(self.slopes, error / self.size + defect, self.size)


def _solved(slopes: NDArray, right: NDArray, size: NDArray) -> NDArray:
    """(k, m) errors at the nodes from what comes in (k, m), both in units of a size (k, m) or (k, 1)."""
    nodes, modes = right.shape
    slopes = slopes.swapaxes(0, 1) * size  # (m, k, m)
    system = -damped(nodes)[:, None, :, None] * (slopes / size[:, :, None, None])
    system = system.reshape(nodes * modes, nodes * modes) + np.eye(nodes * modes)
    return np.linalg.solve(system, right.ravel()).reshape(nodes, modes)


class Projected(NamedTuple):
    """The same of an interval with many coordinates: errors are carried in a few directions of them."""

    log_t: NDArray
    size: NDArray  # (k, m) or (k, 1)
    values: NDArray  # (k, m)
    velocity: NDArray  # (k, m)
    weight: NDArray  # (k, 1) length of the interval in the time of velocities and products
    units: NDArray  # (k, 1) or (1, 1) of a change over the whole interval, in one of log t
    products: Products

    @property
    def pace(self) -> NDArray:
        """As in `Propagator`."""
        return np.abs(derivative(self.values)) * self.units / self.size

    def carry(self, error: NDArray) -> NDArray:
        """As `Propagator.carry`."""
        unit = self.size[-1]
        moved = damped(len(self.size)) @ (self.velocity * self.weight)
        right = (error + self.values - self.values[:1] - moved) / unit

        def images(directions: NDArray, places: slice | list[int]) -> NDArray:
            return self.products(directions * unit, places) * self.weight[places, :, None] / unit

        basis = _directions(right, lambda some: images(some, PLACES))
        few = max(1, VOLUME // right.size)
        parts = [images(basis[i : i + few], slice(None)) @ basis.T for i in range(0, len(basis), few)]
        inside = right @ basis.T
        slopes = np.concatenate(parts, axis=1).swapaxes(1, 2)
        change = _solved(slopes, inside, np.ones((len(right), 1))) - inside
        return (right + change @ basis) * unit / self.size


def _directions(right: NDArray, images: Callable[[NDArray], NDArray]) -> NDArray:
    """(r, m) orthonormal directions of errors (k, m), and of what J makes of them."""
    basis = np.empty((0, right.shape[1]))
    found, order = _principal(right, basis, MOST // 3), 0
    while len(found) and len(basis) < MOST:
        basis, order = np.concatenate([basis, found / np.linalg.norm(found, axis=1, keepdims=True)]), order + 1
        new = images(found / np.linalg.norm(found[0])).reshape(-1, right.shape[1]) / order
        new /= max(1.0, float(np.linalg.norm(new, axis=1).max()))
        found = _principal(new, basis, min(MOST // 3, MOST - len(basis)), 1.0)
    return basis


def _principal(rows: NDArray, basis: NDArray, most: int, size: float = 0.0) -> NDArray:
    """(r, m) the principal directions of rows (n, m) outside of a basis, as long as rows are in them; those which tell,
    beside the longest of them or a size."""
    if not np.isfinite(rows).all():
        return rows[:0]
    for _ in range(2):
        rows = rows - (rows @ basis.T) @ basis
    _, values, vectors = svd(rows, full_matrices=False)
    telling = values > TELLING * max(values[0], size)
    return (values[:, None] * vectors)[telling][:most]


def propagator(
    response: Response, log_t: NDArray, log_scale: NDArray, low: float, high: float
) -> Propagator | Projected:
    """Of an interval from log time `low` to `high`, of which `log_scale` has the logarithm of the length too."""
    values, size = response.values, np.maximum(response.size, LEAST * response.size.max(axis=0))
    units = np.reshape(np.exp(log_t - high) if low == -np.inf else 1.0 / (high - low), (-1, 1))

    def weight(fastest: NDArray) -> NDArray:
        return np.exp(np.minimum(log_scale[:, None], np.log(FASTEST / np.maximum(fastest, 1e-290))))

    if values.shape[1] > MOST:
        lengths = weight(response.rate[:, None])
        return Projected(log_t, size, values, response.velocity, lengths, units, response.products)
    slopes = response.products(np.eye(values.shape[1]), slice(None)).swapaxes(1, 2)
    lengths = weight(np.abs(slopes * (size[:, None, :] / size[:, :, None])).max(axis=2))
    pace, speed = np.abs(derivative(values)) * units / size, response.velocity * lengths
    return Propagator(log_t, size, values - values[:1], speed, slopes * lengths[:, :, None], pace)


def relative(one: Propagator | Projected, errors: NDArray, joint: bool) -> NDArray:
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
    before = one.carry(np.zeros(one.values.shape[1]))[-1] * one.size[-1]  # where errors come to rest they are so before
    return float(np.max(relative(coarse, one.carry(before)[half] - coarse.carry(before), joint)))


class Errors(NamedTuple):
    """What errors come to, at most, relative; and where."""

    largest: float
    log_t: float


def carried(propagators: list[Propagator | Projected], joint: bool) -> Errors:
    """The largest error along intervals that follow each other, of a coordinate or, if `joint`, of all together."""
    error, found = np.zeros(propagators[0].values.shape[1]), Errors(0.0, -np.inf)
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
