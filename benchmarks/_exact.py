"""Exact solutions for the grid of true errors, which share nothing with ceflow's solvers: 19 digits, other coordinates.

The equations stand here as they stand on paper, over ``x = log(1 + t)``, in extended precision (NumPy's longdouble):

- balanced layers as the logarithm of the size that they share,
- two layers a, b as the logarithms of ``a + b`` and ``a - b``,
- any other layers as they are,
- matrices as they are.

The first three are solved by collocation at Radau points (twelve, where ceflow has seven and other clocks); matrices,
of which only short runs are asked for, by extrapolation (Gragg, Bulirsch & Stoer). Of a scheme its
relations are read, of a loss its formula. `tests/test_benchmarks.py` holds them against `ceflow.reference`.
"""

from __future__ import annotations

import functools
from typing import Any

import mpmath
import numpy as np

from ceflow.reference._derivation import forces
from ceflow.reference._formula import interpret, names
from ceflow.reference._precision import context
from ceflow.reference._relations import exact_algebra

Real = np.longdouble
STAGES = 12
TOLERANCE = 1e-16  # of dense output in a step, relative to what is measured
GONE = 300.0  # logarithm of layers, below which a mode counts as 0, as its square would be below 1e-260
BESIDE = 60.0  # the same for one of ``a + b`` and ``a - b`` beside the other, under decay
MOST_STEPS = 3000


class Number:
    """An array with the methods that `interpret` asks for."""

    def __init__(self, value: Any) -> None:
        self.value = value

    def __add__(self, other: Any) -> Number:
        return Number(self.value + value_of(other))

    def __mul__(self, other: Any) -> Number:
        return Number(self.value * value_of(other))

    def __pow__(self, other: Any) -> Number:
        return Number(self.value ** value_of(other))

    __radd__, __rmul__ = __add__, __mul__

    def exp(self) -> Number:
        return Number(np.exp(self.value))

    def log(self) -> Number:
        return Number(np.log(self.value))

    def log1p(self) -> Number:
        return Number(np.log1p(self.value))


def value_of(x: Any) -> Any:
    return x.value if isinstance(x, Number) else x


def real(x: Any) -> np.ndarray:
    """Numbers of mpmath, or floats, in extended precision."""
    if isinstance(x, (list, tuple)):
        return np.array([real(value) for value in x])
    return Real(mpmath.nstr(x, 25)) if isinstance(x, mpmath.ctx_mp_python._mpf) or hasattr(x, "_mpf_") else Real(x)


class Modes:
    """The reduced flow of a scheme: rates ``dy/dt`` of coordinates y (n, N), and what they make.

    Parameters
    ----------
    flow : SpectralFlow
    start : (D,) or (L, D) array
    """

    def __init__(self, flow: Any, start: np.ndarray) -> None:
        self.depth, self.decay = Real(flow.depth), Real(flow.weight_decay)
        algebra = exact_algebra(flow.scheme, context(30))
        self.gaps = real([list(row) for row in algebra.gaps])
        self.valencies = algebra.valencies.astype(Real)
        self.multiplicities = algebra.multiplicities.astype(Real)
        self.classes = Real(flow.scheme.classes)
        self.unit = 1 / self.classes if flow.reduction == "mean" else Real(1)
        self.formula = forces(flow.loss.formula, tuple(flow.loss.parameters))
        self.parameters = {name: Number(Real(value)) for name, value in flow.loss.parameters.items()}
        start = start.astype(Real)
        self.modes = start.shape[-1]
        if start.ndim == 1:
            self.kind, self.signs, alive = "balanced", np.sign(start), start != 0
            self.which = np.flatnonzero(alive)
            self.y = np.log(np.abs(start[alive])) / self.depth
        elif len(start) == 2:
            both = np.concatenate([start[0] + start[1], start[0] - start[1]])
            self.kind, self.which = "pairs", np.flatnonzero(both)
            self.y = np.log(np.abs(both[self.which]))
        else:
            self.kind, self.y, self.which = "layers", start.ravel(), np.arange(start.size)
        self.gone = np.zeros(self.y.size, bool)

    # -- what coordinates make ----------------------------------------------------------------------------------------

    def _spread(self, y: np.ndarray, rows: int) -> np.ndarray:
        """(n, rows, D) of the coordinates, 0 for those that are gone, or were never there."""
        out = np.zeros((len(y), rows * self.modes), Real)
        out[:, self.which] = y if self.kind == "layers" else np.where(self.gone, 0, np.exp(y))
        return out.reshape(len(y), rows, self.modes)

    def layers(self, y: np.ndarray) -> np.ndarray:
        """(n, L, D) layers, or (n, 1, D) the size of balanced ones."""
        if self.kind == "balanced":
            return self._spread(y, 1)
        if self.kind == "pairs":
            p, q = np.moveaxis(self._spread(y, 2), 1, 0)
            return np.stack([p, q], axis=1)
        return self._spread(y, int(self.depth))

    def singular_values(self, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(n, D), and the size that an error is relative to: with the two smallest layers a, b of a mode ``(a^2 + b^2)
        / 2`` times the product of the others, which is the size of the singular value of balanced layers."""
        w = self.layers(y)
        if self.kind == "balanced":
            size = w[:, 0] ** self.depth
            return self.signs * size, size
        if self.kind == "pairs":
            p, q = w[:, 0], w[:, 1]
            return (p - q) * (p + q) / 4, (p * p + q * q) / 4
        ordered = np.sort(np.abs(w), axis=1)
        mean = (ordered[:, 0] ** 2 + ordered[:, 1] ** 2) / 2
        return w.prod(axis=1), mean * ordered[:, 2:].prod(axis=1)

    def forces(self, s: np.ndarray) -> np.ndarray:
        """lambda (n, D), as the formula of the loss says."""
        symbols = names(self.formula)
        weighted = self.multiplicities * s
        M = weighted.sum(axis=1, keepdims=True)
        values = self.parameters | {"N": Number(self.classes - 1), "M": Number(M)}
        if "Q" in symbols:
            values["Q"] = Number((M * M + (weighted * s).sum(axis=1, keepdims=True)) / self.classes)
        odds = self.valencies * np.exp(-(weighted / self.classes) @ self.gaps)
        values["S"] = Number(odds.sum(axis=1, keepdims=True))

        def at(expression: str) -> Any:
            return value_of(interpret(expression, values, lambda integer: Number(Real(integer))))

        out = at(self.formula.common) - at(self.formula.slope) * s
        if self.formula.by_odds != "0":
            out = out + (odds * at(self.formula.by_odds)) @ self.gaps.T
        return self.unit * out

    def rates(self, y: np.ndarray) -> np.ndarray:
        """(n, N) dy/dt."""
        s, _ = self.singular_values(y)
        force = self.forces(s)
        if self.kind == "balanced":
            size = np.where(self.gone, 0, np.exp((self.depth - 2) * y))
            out = (self.signs * force)[:, self.which] * size - self.decay
        elif self.kind == "pairs":
            out = np.concatenate([force, -force], axis=1)[:, self.which] - self.decay
        else:
            w = self.layers(y)
            others = np.stack([np.delete(w, k, axis=1).prod(axis=1) for k in range(w.shape[1])], axis=1)
            out = (others * force[:, None] - self.decay * w).reshape(len(y), -1)
        return np.where(self.gone, 0, out)

    def slopes(self, y: np.ndarray, v: np.ndarray) -> np.ndarray:
        """(n, D) ds/dx where coordinates move by v = dy/dx."""
        s, _ = self.singular_values(y)
        if self.kind == "layers":
            w, v = self.layers(y), v.reshape(len(y), -1, self.modes)
            others = np.stack([np.delete(w, k, axis=1).prod(axis=1) for k in range(w.shape[1])], axis=1)
            return (others * v).sum(axis=1)
        full = np.zeros((len(y), (1 if self.kind == "balanced" else 2) * self.modes), Real)
        full[:, self.which] = v
        if self.kind == "balanced":
            return self.depth * s * full
        p, q = np.moveaxis(self.layers(y), 1, 0)
        return (p * p * full[:, : self.modes] - q * q * full[:, self.modes :]) / 2

    # -- what a solver asks for ---------------------------------------------------------------------------------------

    def scale(self, y: np.ndarray) -> np.ndarray:
        """(N,) what errors of the coordinates are relative to."""
        if self.kind != "layers":
            return np.maximum(1, np.abs(y) / 100)
        return np.tile(np.abs(y.reshape(-1, self.modes)).max(axis=0), int(self.depth)) + Real(1e-300)

    def retire(self, y: np.ndarray) -> None:
        """Puts coordinates that are too small to matter aside."""
        if self.kind == "balanced":
            self.gone |= self.depth * y < -2 * GONE
        elif self.kind == "pairs":
            sizes = np.full(2 * self.modes, -np.inf)
            sizes[self.which] = np.where(self.gone, -np.inf, y)
            high = np.tile(np.maximum(*sizes.reshape(2, -1)), 2)
            faded = (sizes < high - BESIDE) & (self.decay > 0)  # one of the two, which decay takes to 0 exponentially
            self.gone |= ((high < -GONE) | faded)[self.which]


@functools.cache
def radau() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Nodes (n,) on (0, 1], the matrix (n, n) that integrates to them, and that (n + 1, n + 1) which makes a Chebyshev
    series of values at 0 and the nodes."""
    n = STAGES
    with mpmath.workdps(60):
        legendre = [[mpmath.mpf(1)], [mpmath.mpf(0), mpmath.mpf(1)]]
        for k in range(1, n):
            one, two = [mpmath.mpf(0), *legendre[k]], legendre[k - 1] + [mpmath.mpf(0)] * 2
            legendre.append([((2 * k + 1) * a - k * b) / (k + 1) for a, b in zip(one, two, strict=True)])
        difference = [a - b for a, b in zip(legendre[n], legendre[n - 1] + [mpmath.mpf(0)], strict=True)]
        roots = mpmath.polyroots(difference[::-1], maxsteps=500, extraprec=400)
        nodes = sorted((mpmath.re(root) + 1) / 2 for root in roots)
        nodes[-1] = mpmath.mpf(1)
        powers = mpmath.matrix(n, n)
        integrals = mpmath.matrix(n, n)
        for i in range(n):
            for j in range(n):
                powers[i, j], integrals[i, j] = nodes[i] ** j, nodes[i] ** (j + 1) / (j + 1)
        coefficients = integrals * powers**-1
        places = [mpmath.mpf(0), *nodes]
        values = mpmath.matrix(n + 1, n + 1)
        for i, place in enumerate(places):
            for j in range(n + 1):
                values[i, j] = mpmath.chebyt(j, 2 * place - 1)
        series = values**-1
        return real(nodes), real(coefficients.tolist()), real(series.tolist())


def chebyshev(series: np.ndarray, place: np.ndarray) -> np.ndarray:
    """(m, N) of a Chebyshev series (n, N) on [0, 1], at m places."""
    u, first, second = (4 * place - 2)[:, None], 0, 0
    for c in series[:0:-1]:
        first, second = c + u * first - second, first
    return series[0] + u / 2 * first - second


class Solution:
    """A solved run: states at any log times up to the end.

    Parameters
    ----------
    system : Modes
    log_t_end : float
    """

    def __init__(self, system: Modes, log_t_end: float) -> None:
        self.system = system
        self.x, self.h, self.pieces, self.gone = [], [], [], []
        end = np.logaddexp(Real(0), Real(log_t_end))
        nodes, coefficients, to_series = radau()
        x, y, h, before = Real(0), system.y, Real(1e-2), None
        identity = np.eye(STAGES * y.size)
        attempts = 0
        while x < end and y.size:
            system.retire(y)
            now, scale = np.exp(x), system.scale(y)
            f = system.rates(y[None])[0] * now
            J = self._jacobian(y, scale)
            if self._rests(J, f / now / scale, now):
                break
            h = min(h, end - x)
            solved = None
            while solved is None:
                attempts += 1
                if attempts > MOST_STEPS:
                    raise RuntimeError(f"gave up at log(1 + t) = {float(x):.6g}")
                matrix = identity - np.kron(float(h) * coefficients.astype(float), float(min(now, 1e280)) * J)
                solved = self._newton(y, x, h, scale, matrix, before, coefficients, nodes)
                if solved is None:
                    h = h / 4
                    before = None
                    continue
                series = to_series @ np.concatenate([y[None], solved])
                tail = np.abs(series[-2:]) / scale
                error = float(max(tail[1].max(), Real(0.1) * tail[0].max())) / TOLERANCE
                if not error <= 1.0:
                    h, solved, before = h * max(0.2, 0.9 * error ** (-1 / (STAGES + 1))), None, None
            self.x.append(x), self.h.append(h), self.pieces.append(series), self.gone.append(system.gone.copy())
            before = series, h
            x, y = x + h, solved[-1]
            h = h * min(3.0, 0.9 * max(error, 1e-12) ** (-1 / (STAGES + 1)))
        self.x_end, self.last, self.gone_last = x, y, system.gone.copy()
        self.x = np.array(self.x, Real)

    def _jacobian(self, y: np.ndarray, scale: np.ndarray) -> np.ndarray:
        """d(dy/dt)/dy in units of the scales."""
        step = Real(1e-9) * scale
        moved = self.system.rates(np.concatenate([y[None] + np.diag(step), y[None] - np.diag(step)]))
        return ((moved[: y.size] - moved[y.size :]) / (2 * step[:, None]) * scale[:, None] / scale).T.astype(float)

    def _rests(self, J: np.ndarray, f: np.ndarray, t: Any) -> bool:
        """Whether the way to an equilibrium is below all digits that count, and nothing leads away from it."""
        moves = np.abs(J).max(axis=1) > 0
        if not moves.any():
            return not f.any()
        own, largest = J[np.ix_(moves, moves)], np.abs(J).max()
        # what fades under decay does so at least at its rate; differences do not tell that of much slower things from 0
        known = self.system.decay == 0 or self.system.decay > 1e-7 * largest
        if np.abs(f).max() > 1e-9 * largest or not (known or np.abs(f * t).max() < 1e-15):
            return False
        slack = -1e-13 if self.system.kind == "balanced" else 1e-9  # layers may be displaced along what is conserved
        if np.linalg.eigvals(own).real.max() > slack * largest:
            return False
        row = np.abs(own).max(axis=1, keepdims=True)
        way = np.linalg.lstsq(own / row, (f[moves] / row[:, 0]).astype(float), rcond=1e-9)[0]
        return bool(np.abs(way).max() < (1e-15 if known else 1e-18))

    def _newton(self, y, x, h, scale, matrix, before, coefficients, nodes) -> np.ndarray | None:
        """States at the nodes of a step, or None."""
        if not np.isfinite(matrix).all():
            return None
        inverse = np.linalg.inv(matrix)
        if before is None:
            stages = np.tile(y, (STAGES, 1))
        else:
            stages = chebyshev(before[0], 1 + nodes * h / before[1])
            if not np.abs((stages - y) / scale).max() < 10:
                stages = np.tile(y, (STAGES, 1))
        growth, last = np.exp(x + nodes * h)[:, None], np.inf
        for _ in range(60):
            off = y + h * (coefficients @ (growth * self.system.rates(stages))) - stages
            if not np.isfinite(off).all():
                return None
            change = (inverse @ (off / scale).astype(float).ravel()).reshape(off.shape)
            stages = stages + change * scale
            size = np.abs(change).max()
            if size < 3e-18 or (size < 1e-16 and size > 0.5 * last):
                return stages
            if (size > 2 * last and size > 1e-14) or size > 1e3:
                return None
            last = size
        return None

    def at(self, log_t: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Singular values (n, D) at log times, what their errors are relative to, and ds/dlog t."""
        log_t = np.asarray(log_t, Real)
        x = np.minimum(np.logaddexp(Real(0), log_t), self.x_end)
        which = np.maximum(np.searchsorted(self.x, x, side="right") - 1, 0) if self.x.size else np.full(x.size, -1)
        found = np.zeros((3, x.size, self.system.modes), Real)
        for i in np.unique(which):
            rows = which == i
            y, v = np.tile(self.last, (int(rows.sum()), 1)), np.zeros((int(rows.sum()), self.last.size), Real)
            self.system.gone = self.gone_last
            if i >= 0:
                place = (x[rows] - self.x[i]) / self.h[i]
                y, v = chebyshev(self.pieces[i], place), chebyshev(_slopes(self.pieces[i]), place) / self.h[i]
                self.system.gone = self.gone[i]
            found[0, rows], found[1, rows] = self.system.singular_values(y)
            found[2, rows] = self.system.slopes(y, v)
        resting = np.logaddexp(Real(0), log_t) > self.x_end
        found[2] *= np.where(resting, 0, np.exp(log_t - x))[:, None]  # dx/dlog t
        return tuple(found)


def _slopes(series: np.ndarray) -> np.ndarray:
    """Of a Chebyshev series on [0, 1]."""
    out = np.zeros_like(series)
    for k in range(len(series) - 1, 0, -1):
        out[k - 1] = (out[k + 1] if k + 1 < len(series) else 0) + 4 * k * series[k]
    out[0] /= 2
    return out
