"""Propagation of errors: the accumulated effect of the defects of a run.

To first order the error e = w - w* of a run satisfies ``e(t) = e(t_0) + d(t) + integral of J e dt``, where d is the
defect since t_0 and J the derivative of the velocity. With the quadrature of the defect this is a linear system in the
values of e at the nodes of an interval. So errors grow and decay as in the flow, also in stiff directions. For many
coordinates the system is projected (Galerkin) on a Krylov space: errors, defects, and their images under J. Components
in other directions are constant. [ceflow]
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .._arrays import svd
from ._quadrature import damped, derivative

MOST = 24  # largest number of directions; the system has 16 times as many unknowns
TELLING = 1e-2  # errors below this share of the largest one add no direction
PLACES = [1, 8, 16]  # nodes at which J is applied to a direction
FASTEST = 1e8  # upper limit of rate times time: errors are damped at once
LEAST = 1e-30  # lower limit of a size relative to the largest one in an interval
VOLUME = 2**20  # numbers of states evaluated at a time

Products = Callable[[NDArray, Any], NDArray]


class Response(NamedTuple):
    """Linear response of n states to errors in m coordinates."""

    values: NDArray  # (n, m) coordinates
    velocity: NDArray  # (n, m), times exp(log_scale) of the states
    products: Products  # products of J at some states with directions (r, m): (n, r, m), in the same scale
    rate: NDArray  # (n,) approximate size of these
    size: NDArray  # (n, m) or (n, 1) reference size of errors

    def rows(self, which: slice) -> Response:
        """Some of the states."""
        places = np.arange(len(self.values))[which]
        values, velocity, rate, size = (x[which] for x in (self.values, self.velocity, self.rate, self.size))
        return Response(values, velocity, lambda x, some: self.products(x, places[some]), rate, size)


@dataclass(frozen=True)
class Propagator:
    """Error propagation on an interval with nodes (k,), in units of `size`."""

    log_t: NDArray
    size: NDArray  # (k, m) or (k, 1)
    values: NDArray  # (k, m) minus the value at the first node
    speed: NDArray  # (k, m) velocity times the length of the interval
    slopes: NDArray  # (k, m, m) times the length of the interval
    pace: NDArray  # (k, m) relative change of the coordinates per unit of log t

    @functools.cached_property
    def parts(self) -> tuple[NDArray, NDArray]:
        """Errors (k, m) that arise in the interval, and (k, m, m) from errors at the first node."""
        defect = (self.values - damped(len(self.size)) @ self.speed) / self.size
        begun = (self.size[:1] / self.size)[:, :, None] * np.eye(self.values.shape[1])
        found = _solved(self.slopes, np.concatenate([defect[:, :, None], begun], axis=2), self.size)
        return found[:, :, 0], found[:, :, 1:]

    def carry(self, error: NDArray) -> NDArray:
        """Errors (k, m) at the nodes in units of the size, from absolute errors (m,) at the first node."""
        own, passed = self.parts
        return own + passed @ (error / self.size[0])

    def coarse(self) -> Propagator:
        """The same by every second node."""
        return Propagator(*(getattr(self, field.name)[::2] for field in fields(self)))


def _solved(slopes: NDArray, right: NDArray, size: NDArray) -> NDArray:
    """Errors (k, m, r) at the nodes from r inhomogeneities (k, m, r), both in units of a size (k, m) or (k, 1)."""
    _, modes, count = right.shape
    integration = damped(len(right))[1:, 1:]  # the errors at the first node are given, and do not act on the others
    inner = (slopes * size[:, None, :])[1:].swapaxes(0, 1)
    system = -integration[:, None, :, None] * inner
    system /= size[1:, :, None, None]
    system = system.reshape(len(integration) * modes, -1)
    system.flat[:: len(system) + 1] += 1.0
    later = np.linalg.solve(system, right[1:].reshape(-1, count))
    return np.concatenate([right[:1], later.reshape(-1, modes, count)])


class Projected(NamedTuple):
    """Error propagation on an interval with many coordinates, projected on a few directions."""

    log_t: NDArray
    size: NDArray  # (k, m) or (k, 1)
    values: NDArray  # (k, m)
    velocity: NDArray  # (k, m)
    weight: NDArray  # (k, 1) length of the interval in the time unit of velocities and products
    units: NDArray  # (k, 1) or (1, 1) factor from changes over the interval to changes per unit of log t
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
        change = _solved(slopes, inside[:, :, None], np.ones((len(right), 1)))[:, :, 0] - inside
        return (right + change @ basis) * unit / self.size


def _directions(right: NDArray, images: Callable[[NDArray], NDArray]) -> NDArray:
    """(r, m) orthonormal directions of errors (k, m) and of their images under J."""
    basis = np.empty((0, right.shape[1]))
    found, order = _principal(right, basis, MOST // 3), 0
    while len(found) and len(basis) < MOST:
        basis, order = np.concatenate([basis, found / np.linalg.norm(found, axis=1, keepdims=True)]), order + 1
        new = images(found / np.linalg.norm(found[0])).reshape(-1, right.shape[1]) / order
        new /= max(1.0, float(np.linalg.norm(new, axis=1).max()))
        found = _principal(new, basis, min(MOST // 3, MOST - len(basis)), 1.0)
    return basis


def _principal(rows: NDArray, basis: NDArray, most: int, size: float = 0.0) -> NDArray:
    """(r, m) principal directions of the components of rows (n, m) orthogonal to a basis.

    Directions that are small relative to the largest one, or to `size`, are omitted."""
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
    """Propagator of an interval from log time `low` to `high`; `log_scale` includes the log of its length."""
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
    """(k,) largest of errors (k, m) at the nodes, or their norm if `joint`, relative to the coordinates plus their
    change per unit of log t."""
    size, pace = np.abs(errors), one.pace
    if joint:
        size, pace = (np.linalg.norm(x, axis=1, keepdims=True) for x in (errors, pace))
    return (size / (1.0 + pace)).max(axis=1)


def doubt(one: Propagator, joint: bool) -> float:
    """Difference of the errors on an interval from those computed with every second node."""
    coarse = one.coarse()
    before = one.carry(np.zeros(one.values.shape[1]))[-1] * one.size[-1]  # errors at rest stay at rest
    return float(np.max(relative(coarse, one.carry(before)[::2] - coarse.carry(before), joint)))


class Errors(NamedTuple):
    """Largest relative error, and its time."""

    largest: float
    log_t: float


def carried(propagators: list[Propagator | Projected], joint: bool) -> Errors:
    """Largest error along consecutive intervals, of a coordinate or, if `joint`, of all together."""
    error, found = np.zeros(propagators[0].values.shape[1]), Errors(0.0, -np.inf)
    for one in propagators:
        errors = one.carry(error)
        sizes = relative(one, errors, joint)
        sizes[0] = 0.0  # counted in the interval before
        worst = int(np.argmax(np.where(np.isnan(sizes), np.inf, sizes)))
        if not sizes[worst] <= found.largest:
            found = Errors(float(sizes[worst]), float(one.log_t[worst]))
            if not np.isfinite(found.largest):
                break
        error = errors[-1] * one.size[-1]
    return found
