"""The vector field of the full flow, on arrays of any library."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from .._checks import log_time_unit
from .._field import Event
from .._tolerances import REST_ROUNDING, REST_SPEED, STEP_SHARE
from ..losses import full_residual

if TYPE_CHECKING:
    from .matrix import MatrixFlow


class MatrixField:
    """The vector field of the full flow: all factors in one flat array y, in the clock of relative speed |dy| / |y|.

    Factors of a batch share the clock and the time: the clock is the root mean square of their relative speeds, and the
    tolerance holds for each by itself.
    """

    def __init__(self, flow: MatrixFlow, shapes: tuple[tuple[int, ...], ...]) -> None:
        self.flow, self.shapes = flow, shapes
        self.arrays = flow.arrays
        self.xp = self.arrays.xp
        self.classes = shapes[0][-2]
        self.log_unit = log_time_unit(self.classes, flow.reduction)
        self.decay = flow.weight_decay * math.exp(self.log_unit)
        self.has_equilibria = flow.loss.counterforce > 0.0 or self.decay > 0.0
        self.size = sum(math.prod(shape) for shape in shapes)
        self.ends = np.cumsum([math.prod(shape) for shape in shapes])
        batch = shapes[0][:-2]
        self.rank = len(shapes) * min(self.classes - 1, *(min(shape[-2:]) for shape in shapes))
        self.tiny = 1e-300 if flow.dtype == "float64" else 1e-36
        self.diagonal = self.arrays.indices(self.classes)
        self.logits = self.arrays.zeros(*batch, self.classes, self.classes)

    def allocate(self, *shape: int):
        """Zeros to keep states in."""
        return self.arrays.zeros(*shape)

    def factors(self, y) -> list:
        """The factors as views of a flat state."""
        begins = [0, *self.ends[:-1]]
        return [y[begin:end].reshape(shape) for begin, end, shape in zip(begins, self.ends, self.shapes, strict=True)]

    def squares(self, y):
        """Squared Frobenius norm of a flat state, one for each member of the batch."""
        if len(self.shapes[0]) == 2:
            return self.xp.dot(y, y)
        return sum(self.xp.einsum("...ij,...ij->...", factor, factor) for factor in self.factors(y))

    def rates(self, y, dy):
        xp, factors, velocities = self.xp, self.factors(y), self.factors(dy)
        after = [factors[-1]]  # products of the last factors
        for factor in factors[-2:0:-1]:
            after.insert(0, xp.matmul(factor, after[0]))
        xp.matmul(factors[0], after[0], out=self.logits)
        log_scale, a = full_residual(self.flow.loss, self.logits, self.diagonal, xp)
        back = self.logits  # (product of the first factors)' G
        for i, velocity in enumerate(velocities):
            if i + 1 < len(velocities):
                xp.matmul(back, after[i].swapaxes(-1, -2), out=velocity)
                back = xp.matmul(
                    factors[i].swapaxes(-1, -2), back, out=velocities[-1] if i + 2 == len(factors) else None
                )
        size = self.squares(y)
        inverse = 1.0 / xp.clip(size, self.tiny, None)
        decay = 0.0
        if self.decay > 0.0:
            high = xp.clip(log_scale, math.log(self.decay), None)
            dy *= xp.exp(log_scale - high)
            decay, log_scale = self.decay * xp.exp(-high), high
        activity = xp.sqrt(self.squares(dy) * inverse) + decay
        if self.flow.loss.counterforce > 0.0:
            # what the constant part of the residual would do, from the mean square of the layers' singular values
            gain = (size / self.rank) ** (len(factors) / 2 - 1)
            activity = activity + self.flow.loss.counterforce * gain * xp.exp(-log_scale)
        if self.decay > 0.0:
            dy -= decay * y
        speed = xp.clip(xp.sqrt((activity**2).mean()), self.tiny, None)
        dy /= speed
        return self.log_unit - log_scale - xp.log(speed), a

    def combine(self, y, h: float, w: np.ndarray, k, n: int, out) -> None:
        self.xp.matmul(k[:n].T, self.arrays.constant(w[:n]), out=out)
        out *= h
        out += y

    def norm(self, error, y, dy, rtol: float, atol: float) -> float:
        # the Frobenius norm: it does not depend on the basis, which for features is arbitrary
        level = STEP_SHARE * rtol
        return float((self.xp.sqrt(self.squares(error)) / (level * self.xp.sqrt(self.squares(y)) + atol)).max())

    def velocity(self, y, dy) -> float:
        """Largest relative speed in the clock."""
        return float(self.xp.sqrt((self.squares(dy) / self.xp.clip(self.squares(y), self.tiny, None)).max()))

    def event(self, y, dy, rtol: float) -> Event:
        velocity = self.velocity(y, dy)
        if velocity == 0.0 or (self.has_equilibria and velocity <= max(REST_SPEED * rtol, REST_ROUNDING)):
            return Event.REST
        return Event.NONE
