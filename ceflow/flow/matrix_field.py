"""Vector field of the full flow, on arrays of any library."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from .._field import Event
from .._tolerances import REST_ROUNDING, REST_SPEED, STEP_SHARE
from ..network.factors import inputs
from .terms import Terms

if TYPE_CHECKING:
    from .etf import ETFFlow, ReducedETFFlow
    from .matrix import MatrixFlow


class MatrixField:
    """Vector field of the full flow; all factors, and the bias as a factor (K, 1), are one flat array y.

    The clock is based on the relative speed |dy| / |y|.

    Members of a batch share clock and time. The clock uses the root mean square of their relative speeds; the tolerance
    holds for each member.
    """

    flow: MatrixFlow | ETFFlow | ReducedETFFlow
    arrays: Any

    def __init__(self, flow: MatrixFlow | ETFFlow | ReducedETFFlow, shapes: tuple[tuple[int, ...], ...]) -> None:
        self.flow, self.shapes = flow, shapes
        self.arrays = flow.arrays
        self.xp = self.arrays.xp
        self.classes, objective = shapes[0][-2], flow.objective
        self.depth, self.frozen = int(objective.depth), objective.frozen
        self.acts = objective.acts
        self.terms = Terms(objective, self.classes, self.arrays)
        self.log_unit = objective.log_unit(self.classes)
        decays = (*objective.decays, objective.decay_of_bias)[: len(shapes)]
        self.decays = tuple(decay * math.exp(self.log_unit) for decay in decays)
        self.decay, self.counterforce = max(self.decays), self.terms.counterforce
        self.has_equilibria = self.counterforce > 0.0 or self.decay > 0.0 or any(term.rests for term in objective.terms)
        self.samples: Any = None
        self.kernel: Any = None
        if np.any(self.terms.samples != 1.0):
            self.samples = self.arrays.asarray(self.terms.samples)
        if objective.kernel is not None:
            self.kernel = self.arrays.asarray(objective.kernel)
        self.size = sum(math.prod(shape) for shape in shapes)
        self.ends = np.cumsum([math.prod(shape) for shape in shapes])
        self.batch = batch = shapes[0][:-2]
        widths = [min(shape[-2:]) for shape in shapes[: self.depth]]
        self.rank = min(max(self.classes - 1, 1), *widths)
        self.tiny = 1e-300 if flow.dtype == "float64" else 1e-36
        self.logits = self.arrays.zeros(*batch, self.classes, shapes[self.depth - 1][-1])

    def allocate(self, *shape: int):
        """Array of zeros to store states in."""
        return self.arrays.zeros(*shape)

    def parts(self, y) -> list:
        """Views of the factors, and of the bias if there is one, in a flat state."""
        begins = [0, *self.ends[:-1]]
        return [y[begin:end].reshape(shape) for begin, end, shape in zip(begins, self.ends, self.shapes, strict=True)]

    def squares(self, y):
        """Squared Frobenius norm of a flat state, one for each member of the batch."""
        return self.xp.dot(y, y) if not self.batch else sum(map(self.square, self.parts(y)))

    def square(self, matrix):
        """Squared Frobenius norm of a matrix, one for each member of the batch."""
        return self.xp.einsum("...ij,...ij->...", matrix, matrix)

    def rates(self, y, dy):
        xp, parts = self.xp, self.parts(y)
        log_scale, a, rate = self.pull_back(parts, self.parts(dy))
        if self.batch:
            log_scale, a, rate = self._shared(log_scale, a, rate, self.parts(dy))
        size = self.squares(y)
        inverse = 1.0 / xp.clip(size, self.tiny, None)
        decay: Any = 0.0
        if self.decay > 0.0:
            high = xp.clip(log_scale, math.log(self.decay), None)
            lower = xp.exp(log_scale - high)
            dy *= lower[..., None]
            rate, decay, log_scale = rate * lower, self.decay * xp.exp(-high), high
        activity = xp.sqrt(self.squares(dy) * inverse) + decay + rate
        if self.counterforce > 0.0:
            # rate from the constant part of the residual
            activity = activity + self.counterforce * self._gain(size) * xp.exp(-log_scale)
        if self.decay > 0.0:
            for share, part, velocity in zip(self.decays, parts, self.parts(dy), strict=True):
                if share > 0.0:
                    velocity -= (share / self.decay * decay)[..., None, None] * part
        if self.batch:
            activity = xp.sqrt((activity**2).mean())
        speed = xp.clip(activity, self.tiny, None)
        dy /= speed[..., None]
        return self.log_unit - log_scale - xp.log(speed), a

    def _shared(self, log_scale, a, rate, velocities: list):
        """Rescale the velocities of a batch to one common log scale, in place; return it, a, and the scaled rates.
        """
        xp, largest = self.xp, log_scale.max()
        lower = xp.exp(log_scale - largest)
        for velocity in velocities:
            velocity *= lower[..., None, None]
        return largest, a if isinstance(a, float) else a.mean(), rate * lower

    def _gain(self, size):
        """Relative velocity of layers of this squared norm per unit of force, from their mean squared singular
        value."""
        return (size / (self.depth * self.rank)) ** (self.depth / 2 - 1)

    def share_that_moves(self, y) -> float:
        xp, dy = self.xp, self.allocate(self.size)
        self.pull_back(self.parts(y), self.parts(dy))
        size = xp.clip(self.squares(y), self.tiny, None)
        forces = xp.sqrt(self.square(self.logits) / self.rank) * self._gain(size)
        return float((xp.sqrt(self.squares(dy) / size) / xp.clip(forces, self.tiny, None)).max())

    def pull_back(self, parts: list, velocities: list):
        """Write the velocities without decay, divided by exp(log_scale); see `Terms.residual`.

        Return log_scale, a, and the relaxation rate of terms or constraints, divided by the same factor."""
        xp, factors, last = self.xp, parts[: self.depth], velocities[self.depth - 1]
        after, before, _ = inputs(factors, self.acts, xp, self.logits)
        if len(parts) > self.depth:
            self.logits += parts[-1]
        log_scale, a = self.terms.residual(self.logits)
        back, rate, push = self.logits, 0.0, None  # (product of the first factors)' G
        if self.terms.others:
            log_scale, push = self._push(factors[0], after[0], log_scale)
            rate = self.terms.rate_of_others(factors[0], after[0]) * xp.exp(self.log_unit - log_scale)
        if len(parts) > self.depth:
            velocities[-1][...] = back.sum(-1)[..., None]
        for i, rest in enumerate(after):
            xp.matmul(back, rest.swapaxes(-1, -2), out=velocities[i])
            back = xp.matmul(factors[i].swapaxes(-1, -2), back, out=last if i + 2 == self.depth else None)
            if i == 0 and push is not None:
                velocities[0] += push[0]
                back += push[1]
            if not self.acts[i].linear:
                back *= self.acts[i].slope(before[i], xp)
        if self.samples is not None:  # a column of H moves like one of its samples
            last /= self.samples
        if self.kernel is not None:
            last[...] = xp.matmul(last, self.kernel)
        for frozen in self.frozen:
            velocities[-1 if frozen == "b" else int(frozen)][...] = 0.0
        return log_scale, a, rate

    def _push(self, W, X, log_scale):
        """Minus the gradients of the terms in the classifier and its features, divided by exp(log_scale).

        Return log_scale first. The residual is rescaled to the same log_scale, so that neither overflows."""
        xp, found = self.xp, self.terms.gradients_of_others(W, X)
        largest = sum(map(self.square, found))
        high = xp.maximum(log_scale, self.log_unit + 0.5 * xp.log(xp.clip(largest, self.tiny, None)))
        self.logits *= xp.exp(log_scale - high)[..., None, None]
        unit = -xp.exp(self.log_unit - high)[..., None, None]
        return high, [unit * part for part in found]

    def combine(self, y, h: Any, w: np.ndarray, k, n: int, out) -> None:
        self.xp.matmul(k[:n].T, self.arrays.constant(w[:n]), out=out)
        out *= h
        out += y

    def norm(self, error, y, dy, rtol: float, atol: float) -> Any:
        return float(self._sizes(error, y, rtol, atol).max())

    def _sizes(self, error, y, rtol: float, atol: float):
        """Error norm of each member in units of the tolerance."""
        # the Frobenius norm is independent of the basis, which is arbitrary for features
        level = STEP_SHARE * rtol
        allowed = self.xp.clip(level * self.xp.sqrt(self.squares(y)) + atol, self.tiny, None)  # a member may be zero
        return self.xp.sqrt(self.squares(error)) / allowed

    def velocity(self, y, dy):
        """Relative speed of each member, per unit of the clock."""
        return self.xp.sqrt(self.squares(dy) / self.xp.clip(self.squares(y), self.tiny, None))

    def rests(self, velocity, rtol: float):
        """Whether a state with this speed counts as an equilibrium."""
        return (velocity == 0.0) | (self.has_equilibria & (velocity <= max(REST_SPEED * rtol, REST_ROUNDING)))

    def event(self, y, dy, rtol: float) -> Event:
        return Event.REST if self.rests(float(self.velocity(y, dy).max()), rtol) else Event.NONE
