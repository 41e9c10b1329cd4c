"""Exact solutions on full matrices, of short runs: extrapolation in extended precision, see `_exact`."""

from __future__ import annotations

from typing import Any

import numpy as np

from ceflow.reference._derivation import parse
from ceflow.reference._formula import interpret

from ._exact import Number, Real, value_of

COLUMNS = 10  # of the extrapolation: order 20
TOLERANCE = 1e-15  # of a step, relative to the norm of all layers
MOST_STEPS = 2000


class Matrices:
    """The full flow of plain objectives, one sample a class: rates ``dy/dt`` of all factors (W, ..., H), flat.

    Parameters
    ----------
    flow : MatrixFlow
    factors : tuple of arrays
    """

    def __init__(self, flow: Any, factors: tuple[np.ndarray, ...]) -> None:
        self.decay, self.shapes = Real(flow.weight_decay), [factor.shape for factor in factors]
        self.ends = np.cumsum([factor.size for factor in factors])
        self.y = np.concatenate([factor.ravel() for factor in factors]).astype(Real)
        self.classes = len(factors[0])
        self.unit = Real(1) / self.classes if flow.reduction == "mean" else Real(1)
        self.squared = not flow.loss.margins_only
        self.formula = parse(flow.loss.formula, tuple(flow.loss.parameters))
        self.parameters = {name: Number(Real(value)) for name, value in flow.loss.parameters.items()}
        self.wrong = ~np.eye(self.classes, dtype=bool)

    def factors(self, y: np.ndarray) -> list[np.ndarray]:
        return [part.reshape(shape) for part, shape in zip(np.split(y, self.ends[:-1]), self.shapes, strict=True)]

    def pull(self, Z: np.ndarray) -> np.ndarray:
        """Minus the gradient of the loss in the logits."""
        if self.squared:
            return self.unit * (np.eye(self.classes, dtype=Real) - Real(1) / self.classes - Z)
        margins = np.diag(Z) - Z  # [wrong, own]
        odds = np.where(self.wrong, np.exp(-margins), 0)
        values = self.parameters | {"N": Number(Real(self.classes - 1)), "S": Number(odds.sum(axis=0))}
        values |= {"M": Number(margins.sum(axis=0)), "Q": Number((margins**2).sum(axis=0))}

        def at(expression: str) -> Any:
            return value_of(interpret(expression, values, lambda integer: Number(Real(integer))))

        push = odds * at(self.formula.by_odds) - at(self.formula.by_sum) - 2 * margins * at(self.formula.by_squares)
        push = np.where(self.wrong, push, 0)
        return self.unit * (np.diag(push.sum(axis=0)) - push)

    def rates(self, y: np.ndarray) -> np.ndarray:
        parts = self.factors(y)
        after = [parts[-1]]
        for part in parts[-2::-1]:
            after.insert(0, part @ after[0])
        back, out = self.pull(after[0]), []
        for part, rest in zip(parts[:-1], after[1:], strict=True):
            out.append(back @ rest.T)
            back = part.T @ back
        return np.concatenate([part.ravel() for part in [*out, back]]) - self.decay * y


def solve(system: Matrices, log_t: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """States (n, N) at increasing log times, and ``dy/dlog t`` there."""
    x, y, h, found, speeds = Real(0), system.y, Real(0.01), [], []
    counts = 2 * np.arange(1, COLUMNS + 1)
    attempts = 0
    for target in np.logaddexp(Real(0), np.asarray(log_t, Real)):
        while x < target:
            attempts += 1
            if attempts > MOST_STEPS:
                raise RuntimeError(f"gave up at log(1 + t) = {float(x):.6g}")
            step = min(h, target - x)
            table = _extrapolated(system, x, y, step, counts)
            error = float(np.abs(table[-1] - table[-2]).max() / np.sqrt((y * y).sum()))
            if np.isfinite(error) and error <= TOLERANCE:
                x, y = (target if step == target - x else x + step), table[-1]
                h = max(h, step * min(2.0, 0.9 * max(error / TOLERANCE, 1e-9) ** (-1 / (2 * COLUMNS - 1))))
            else:
                factor = 0.9 * (error / TOLERANCE) ** (-1 / (2 * COLUMNS - 1)) if np.isfinite(error) else 0.2
                h = step * max(0.2, min(factor, 0.9))
        found.append(y)
        speeds.append(system.rates(y) * np.expm1(x))
    return np.array(found), np.array(speeds)


def _extrapolated(system: Matrices, x: Any, y: np.ndarray, step: Any, counts: np.ndarray) -> list[np.ndarray]:
    """The last row of the table of Aitken and Neville, of the midpoint rule with these numbers of steps."""
    first, rows = np.exp(x) * system.rates(y), []
    for k, count in enumerate(counts):
        h, before, now = step / count, y, y + step / count * first
        for i in range(1, count):
            before, now = now, before + 2 * h * np.exp(x + i * h) * system.rates(now)
        new = [(before + now + h * np.exp(x + step) * system.rates(now)) / 2]
        for j in range(1, k + 1):
            ratio = (Real(int(count)) / Real(int(counts[k - j]))) ** 2
            new.append(new[-1] + (new[-1] - rows[-1][j - 1]) / (ratio - 1))
        rows.append(new)
    return rows[-1]
