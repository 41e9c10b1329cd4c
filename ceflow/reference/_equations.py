"""The equations of the reduced flow, as power series in x = log(1 + t)."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ._derivation import forces, is_positive
from ._formula import interpret, names
from ._relations import Algebra
from ._tape import Series, Tape


class Equations:
    """Equations as power series; the state is `values`, and `velocities` are d/dx.

    Parameters
    ----------
    ctx : mpmath context
    flow : SpectralFlow
    algebra : Algebra
        Algebra of the scheme of the flow, to all digits.
    start : (D,) or (L, D) array
        Singular values of balanced layers, or layers.
    """

    def __init__(self, ctx, flow: Any, algebra: Algebra, start: NDArray[np.float64]) -> None:
        self.ctx, self.tape, self.modes = ctx, Tape(ctx), len(algebra.gaps)
        decay = ctx.mpf(flow.weight_decay)
        depth = flow.depth if isinstance(flow.depth, int) else ctx.mpf(flow.depth)
        self.whole = isinstance(depth, int)
        exact = [[ctx.mpf(float(value)) for value in row] for row in np.atleast_2d(start)]
        if start.ndim == 2:
            layers = exact
        else:  # balanced layers of equal size, the last with the sign
            roots = [ctx.root(abs(s), depth) if self.whole else abs(s) ** (1 / depth) for s in exact[0]]
            layers = [list(roots) for _ in range(depth if self.whole else 1)]
            layers[-1] = [root if s >= 0 else -root for root, s in zip(roots, exact[0], strict=True)]
        self.signs = [1 if value >= 0 else -1 for value in layers[-1]]

        # opposite layers have no growing part: with positive force they decay at all times
        formula = forces(flow.loss.formula, tuple(flow.loss.parameters))
        lasting = len(layers) == 2 and decay == 0 and all(is_positive(part, flow.loss.parameters) for part in formula)
        self.fading = [i for i in range(self.modes) if lasting and layers[0][i] == -layers[1][i]]
        self.growth = self.tape.free(ctx.mpf(1))  # e^x = dt/dx
        self.values = [[self.tape.free(value) for value in row] for row in layers]  # [layer][mode]
        s = [self._singular_value(i, depth) for i in range(self.modes)]
        force = self._forces(flow, algebra, s)
        self.velocities = [[self._velocity(row, i, depth, force[i], decay) for i in range(self.modes)]
                           for row in range(len(layers))]  # fmt: skip

    def _singular_value(self, i: int, depth) -> Series:
        first, *others = (row[i] for row in self.values)
        if self.whole:
            for other in others:
                first = first * other
            return first
        return (first * self.signs[i]) ** depth * self.signs[i]

    def _velocity(self, row: int, i: int, depth, force: Series, decay) -> Series:
        """(product of the other layers) lambda - mu w, times dt/dx, which the force already includes."""
        layer, velocity = self.values[row][i], force
        if self.whole:
            for k, other in enumerate(self.values):
                if k != row:
                    velocity = velocity * other[i]
        else:  # all L layers are equal, up to the sign of one
            velocity = velocity * (layer * self.signs[i]) ** (depth - 1)
        if decay == 0:
            return velocity
        return self.tape.combination([1, -decay], [velocity, layer * self.growth])

    def _forces(self, flow: Any, algebra: Algebra, s: list[Series]) -> list[Series]:
        """lambda_i dt/dx from the formula of the loss."""
        ctx, tape, modes, classes = self.ctx, self.tape, range(self.modes), int(flow.scheme.classes)
        unit = ctx.mpf(1) / classes if flow.reduction == "mean" else ctx.mpf(1)
        valencies, multiplicities = [int(k) for k in algebra.valencies], [int(m) for m in algebra.multiplicities]
        formula = forces(flow.loss.formula, tuple(flow.loss.parameters))
        symbols = names(formula)
        values = {name: ctx.mpf(value) for name, value in flow.loss.parameters.items()} | {"N": ctx.mpf(classes - 1)}
        if symbols & {"M", "Q"}:
            values["M"] = tape.combination(multiplicities, s)
        if "Q" in symbols:
            squares = tape.combination(multiplicities, [one * one for one in s])
            values["Q"] = (values["M"] * values["M"] + squares) * (ctx.mpf(1) / classes)
        odds = []  # k_j p_j / p_0 = k_j exp(-(z_0 - z_j))
        if formula.by_odds != "0":
            for j in modes:
                weights = [-ctx.mpf(multiplicities[i]) / classes * algebra.gaps[i][j] for i in modes]
                odds.append(tape.combination(weights, s).exp() * valencies[j])
            values["S"] = tape.combination([1 for _ in modes], odds)

        def at(expression: str) -> Any:
            return interpret(expression, values, ctx.mpf)

        pushes = [one * (self.growth * at(formula.by_odds)) for one in odds]
        common = [self.growth * at(formula.common)] if formula.common != "0" else []
        slope = [self.growth * at(formula.slope)] if formula.slope != "0" else []
        out = []
        for i in modes:
            weights = [unit * gap for gap, _ in zip(algebra.gaps[i], pushes, strict=False)]
            weights += [unit for _ in common] + [-unit for _ in slope]
            out.append(tape.combination(weights, pushes + common + [one * s[i] for one in slope]))
        return out

    def expand(self, growth, state: list[list], order: int) -> None:
        """Expand in series of a given order at a state."""
        self.tape.clear()
        self.growth.terms[:] = [growth]
        for row, values in zip(self.values, state, strict=True):
            for series, value in zip(row, values, strict=True):
                series.terms[:] = [value]
        for n in range(order):
            self.tape.extend(n)
            self.growth.terms.append(self.growth.terms[n] / (n + 1))
            for row, velocities in zip(self.values, self.velocities, strict=True):
                for series, velocity in zip(row, velocities, strict=True):
                    series.terms.append(velocity.terms[n] / (n + 1))

    def at(self, h) -> list[list]:
        """State at distance h, from the series."""
        return [[self.ctx.polyval(series.terms[::-1], h) for series in row] for row in self.values]

    def product(self, state: list[list], depth) -> list:
        """Singular values of a state."""
        out = []
        for i in range(self.modes):
            if self.whole:
                out.append(self.ctx.fprod(row[i] for row in state))
            else:
                out.append(self.signs[i] * abs(state[0][i]) ** depth)
        return out
