"""The reduced flow in arbitrary precision: slow, simple, and independent of everything else that ceflow computes.

The layers themselves are the variables, and the equations stand here as they stand on paper:

    dw_l/dt = (prod_{k != l} w_k) lambda(s) - mu w_l,   s = prod_l w_l,   for each mode i and layer l

with the loss's force ``lambda_i(s)`` (divided by K for the reduction "mean") and the weight decay mu. They are
integrated by Taylor series of high order in ``x = log(1 + t)``, in which the state moves slowly from t = 0 to times far
beyond 1e300. All coefficients of a series follow from the equations by the rules of automatic differentiation; the step
is so short that the last terms are below the digits asked for. Nothing is shared with `ceflow.integrate`: neither
stepper, clock, dense output and coordinates, nor the closed form of the collapsed tail, nor the residuals of
`ceflow.losses`. Of a scheme only its matrix of relations is used, which consists of integers; its eigenmatrix is
computed again, to all digits.

Needs mpmath (the extra ``reference``). Meant for few modes: to t = 1e300 some hundred steps take about a second for
D = 2 and five for D = 7, at 20 digits; cost grows with the cube of the digits.
"""

from __future__ import annotations

import math
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .schemes import Scheme
from .spectral import SpectralFlow

MAX_CLASSES = 1024
FADED = 1e-155  # below, both layers of a mode that decays for ever count as 0
DEEPEST = 100
NO_GAP = 1e-7  # the least gap of so many classes is 1 - cos(2 pi / 1024), or 2e-5


class Solution(NamedTuple):
    """Exact values of a run; arrays of mpmath numbers, which ``.astype(float)`` rounds.

    Attributes
    ----------
    log_t : (n,) array of floats
    singular_values : (n, D) array
    layers : (n, L, D) array, or (n, 1, D), the one layer that all are equal to, if the depth is not an integer
    steps : int
        Taylor steps taken.
    """

    log_t: NDArray[np.float64]
    singular_values: NDArray[np.object_]
    layers: NDArray[np.object_]
    steps: int


def solve(
    flow: SpectralFlow,
    start: ArrayLike,
    log_t: ArrayLike,
    *,
    digits: int = 30,
    max_steps: int = 5_000,
) -> Solution:
    """Singular values of a run at given times, right to the given number of digits.

    Parameters
    ----------
    flow : SpectralFlow
        Its scheme, loss, depth (at most 100), reduction and weight decay are what is solved.
    start : (D,) or (L, D) array
        Singular values, balanced, or the layers' own. Taken as exact numbers, as are the times.
    log_t : (n,) array
        Increasing natural logarithms of times; -inf for t = 0.
    digits : int
        From 10 to 200: of each singular value, relative. Modes that change sign are right relative to their layers,
        modes that decay to 0 relative to the largest one.
    max_steps : int
        Taylor steps after which to give up.

    Returns
    -------
    Solution

    Raises
    ------
    ImportError
        Without mpmath.
    TypeError, ValueError
        If an argument is not as described.
    RuntimeError
        If `max_steps` do not suffice, as where a mode decays for ever in a network that is otherwise at rest.

    Notes
    -----
    Truncation and rounding are each kept below ``10^-(digits + 5)`` a step, relative to the largest layer of a mode.
    Two runs with different `digits` take different orders and steps: their difference is a check of both.
    """
    if not isinstance(flow, SpectralFlow):
        raise TypeError(f"flow must be a SpectralFlow, got {type(flow).__name__}")
    if isinstance(digits, bool) or not isinstance(digits, (int, np.integer)) or not 10 <= digits <= 200:
        raise ValueError(f"digits must be an integer from 10 to 200, got {digits!r}")
    if flow.depth > DEEPEST:
        raise ValueError(f"the flow must have a depth of at most {DEEPEST}, got {flow.depth:g}")
    times = np.atleast_1d(np.asarray(log_t, float))
    if times.ndim != 1 or np.any(np.isnan(times)) or np.any(np.diff(times) <= 0.0) or np.any(times == np.inf):
        raise ValueError("log_t must be one-dimensional, finite or -inf, and strictly increasing")
    values = np.asarray(start, float)
    modes = flow.scheme.modes
    if values.shape != (modes,) and values.shape != (flow.depth, modes):
        raise ValueError(f"start must have shape ({modes},) or ({flow.depth:g}, {modes}), got {values.shape}")
    if not np.all(np.isfinite(values)):
        raise ValueError("start must be finite")

    ctx = _context(int(digits) + 15 + _lost_digits(values))
    equations = _Equations(ctx, flow, exact_gaps(flow.scheme, ctx), values)
    return _integrate(ctx, equations, times, int(digits), max_steps, flow.depth)


def exact_gaps(scheme: Scheme, ctx=None) -> list[list]:
    """The gaps ``1 - P_ij / k_j`` of a scheme, (D, D), from nothing but its matrix of relations, to all digits.

    The eigenvalues of relation j are those of the (D + 1, D + 1) matrix that counts, from a point in relation h to the
    first point, how many points in relation j to it are in relation l to the first one (Bannai & Ito, II.3). One
    combination of these matrices is diagonalized, and its eigenvectors serve all. Only the order of the modes is taken
    from ``scheme.eigenmatrix``.

    Parameters
    ----------
    scheme : Scheme
        Of at most 1024 classes.
    ctx : mpmath context, optional
        Whose precision to use; mpmath's own when left out.

    Raises
    ------
    ValueError
        If the scheme has more classes.
    """
    if scheme.classes > MAX_CLASSES:
        raise ValueError(f"the scheme must have at most {MAX_CLASSES} classes, got {scheme.classes}")
    ctx = _context(30) if ctx is None else ctx
    labels, relations = scheme.relations(), scheme.modes + 1
    valencies = np.bincount(labels[0], minlength=relations)
    representatives = [int(np.flatnonzero(labels[0] == h)[0]) for h in range(relations)]
    counts = np.zeros((relations, relations, relations), int)  # j, h, l
    for h, point in enumerate(representatives):
        np.add.at(counts, (labels[point], h, labels[0]), 1)
    roots = [ctx.sqrt(int(k)) for k in valencies]
    symmetric = [ctx.matrix(relations, relations) for _ in range(relations)]  # as the relations are
    for j, h, m in np.argwhere(counts):
        symmetric[j][int(h), int(m)] = int(counts[j, h, m]) * roots[h] / roots[m]
    for attempt in range(1, 20):
        combination = ctx.matrix(relations, relations)
        for j in range(relations):
            combination += symmetric[j] * (ctx.cos(attempt + 3 * j) / ctx.sqrt(int(valencies[j])))
        values, vectors = ctx.eigsy(combination)
        ordered = sorted(values)
        if relations < 2 or min(b - a for a, b in pairwise(ordered)) > 1e-4:
            break
    rows = []
    for i in range(relations):
        w = vectors[:, i]
        rows.append([(w.T * (symmetric[j] * w))[0] for j in range(relations)])
    numbers = np.array([[float(value) for value in row] for row in rows])
    order = [int(np.argmin(np.abs(numbers - row).max(axis=1))) for row in scheme.eigenmatrix]
    if sorted(order) != list(range(relations)) or not np.allclose(numbers[order], scheme.eigenmatrix, atol=1e-6):
        raise ValueError(f"{scheme.name} has an eigenmatrix that does not belong to its relations")
    gaps = [[1 - rows[order[i]][j] / int(valencies[j]) for j in range(1, relations)] for i in range(1, relations)]
    # those that vanish do so exactly: a force may be beyond all digits of the residuals that have no part in it
    return [[gap if gap > NO_GAP else ctx.mpf(0) for gap in row] for row in gaps]


def _context(digits: int):
    """A context of mpmath's own, so that nobody else's precision changes."""
    try:
        from mpmath.ctx_mp import MPContext
    except ImportError:
        raise ImportError("ceflow.reference needs mpmath: pip install 'ceflow[reference]'") from None
    ctx = MPContext()
    ctx.dps = digits
    return ctx


def _lost_digits(values: NDArray[np.float64]) -> int:
    """Digits that layers of nearly opposite value lose while their sum takes over."""
    if values.ndim == 1:
        return 0
    size, total = np.abs(values).sum(axis=0), np.abs(values.sum(axis=0))
    close = total > 0.0
    return int(np.ceil(2.0 * np.max(np.log10(size[close] / total[close]), initial=0.0)))


# -- Taylor series ----------------------------------------------------------------------------------------------------


class _Tape:
    """Power series that depend on one another, extended by one coefficient after another.

    Every method returns a list, the coefficients so far of a new series; `extend` appends to all of them, in the order
    in which they were made.
    """

    def __init__(self, ctx) -> None:
        self.ctx = ctx
        self.rules: list[tuple[list, object]] = []

    def series(self, rule) -> list:
        out: list = []
        self.rules.append((out, rule))
        return out

    def extend(self, n: int) -> None:
        for out, rule in self.rules:
            out.append(rule(n))

    def clear(self) -> None:
        for out, _ in self.rules:
            out.clear()

    def convolution(self, a: list, b: list, low: int, high: int, n: int):
        """sum of a_k b_(n-k) for k = low..high."""
        return self.ctx.fdot(a[low : high + 1], [b[n - k] for k in range(low, high + 1)])

    def product(self, a: list, b: list) -> list:
        return self.series(lambda n: self.convolution(a, b, 0, n, n))

    def combination(self, weights: list, terms: list[list], constant=0) -> list:
        def rule(n):
            total = self.ctx.fdot(weights, [term[n] for term in terms])
            return total + constant if n == 0 else total

        return self.series(rule)

    def derivative(self, a: list) -> list:
        """x a', the coefficients n a_n."""
        return self.series(lambda n: n * a[n])

    def exp(self, a: list) -> list:
        """e with x e' = x a' e."""
        slope, out = self.derivative(a), []

        def rule(n):
            return self.ctx.exp(a[0]) if n == 0 else self.convolution(slope, out, 1, n, n) / n

        self.rules.append((out, rule))
        return out

    def reciprocal(self, a: list) -> list:
        """q with q a = 1."""
        out: list = []
        self.rules.append((out, lambda n: 1 / a[0] if n == 0 else -self.convolution(a, out, 1, n, n) / a[0]))
        return out

    def log1p(self, a: list) -> list:
        """l with (1 + a) l' = a'; no digit is lost where a is tiny."""
        slope = self.product(self.derivative(a), self.reciprocal(self.combination([1], [a], 1)))
        return self.series(lambda n: self.ctx.log1p(a[0]) if n == 0 else slope[n] / n)

    def power(self, a: list, exponent) -> list:
        """y = a^f from a y' = f a' y."""
        out: list = []

        def rule(n):
            if n == 0:
                return a[0] ** exponent
            return self.ctx.fdot(
                [(exponent * k - (n - k)) * a[k] for k in range(1, n + 1)], [out[n - k] for k in range(1, n + 1)]
            ) / (n * a[0])

        self.rules.append((out, rule))
        return out


class _Equations:
    """The flow as series in x = log(1 + t): the state is what `values` holds, and `velocities` are d/dx."""

    def __init__(self, ctx, flow: SpectralFlow, gaps: list[list], start: NDArray[np.float64]) -> None:
        self.ctx, self.tape = ctx, _Tape(ctx)
        classes, modes = int(flow.scheme.classes), flow.scheme.modes
        self.modes = modes
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

        # opposite layers have no part that grows, and where the force is positive they decay for ever
        lasting = len(layers) == 2 and decay == 0 and not flow.loss.smoothing
        self.fading = [i for i in range(modes) if lasting and layers[0][i] == -layers[1][i]]
        self.growth = [ctx.mpf(1)]  # e^x = dt/dx, a coefficient after another
        self.values = [[[value] for value in row] for row in layers]  # [layer][mode] -> coefficients of its series
        s = [self._singular_value(i, depth) for i in range(modes)]
        forces = self._forces(flow, gaps, s, classes, modes)
        self.velocities = [[self._velocity(row, i, depth, forces[i], decay) for i in range(modes)]
                           for row in range(len(layers))]  # fmt: skip

    def _singular_value(self, i: int, depth) -> list:
        tape, column = self.tape, [row[i] for row in self.values]
        if self.whole:
            product = column[0]
            for other in column[1:]:
                product = tape.product(product, other)
            return product
        size = tape.power(tape.combination([self.signs[i]], [column[0]]), depth)
        return tape.combination([self.signs[i]], [size])

    def _velocity(self, row: int, i: int, depth, force: list, decay) -> list:
        """(product of the other layers) lambda - mu w, times dt/dx, which is part of the force already."""
        tape, layer = self.tape, self.values[row][i]
        if self.whole:
            velocity = force
            for k, other in enumerate(self.values):
                if k != row:
                    velocity = tape.product(velocity, other[i])
        else:  # all L layers are alike, up to the sign of one
            others = tape.power(tape.combination([self.signs[i]], [layer]), depth - 1)
            velocity = tape.product(force, others)
        if decay == 0:
            return velocity
        return tape.combination([1, -decay], [velocity, tape.product(layer, self.growth)])

    def _forces(self, flow: SpectralFlow, gaps: list[list], s: list[list], classes: int, modes: int) -> list[list]:
        """lambda_i dt/dx, as the definitions of the losses say."""
        ctx, tape, growth = self.ctx, self.tape, self.growth
        unit = ctx.mpf(1) / classes if flow.reduction == "mean" else ctx.mpf(1)
        multiplicities = [int(m) for m in flow.scheme.multiplicities[1:]]
        valencies = [int(k) for k in flow.scheme.valencies[1:]]
        if flow.loss.squared:
            return [tape.product(growth, tape.combination([-unit], [s[i]], unit)) for i in range(modes)]
        odds = []  # k_j p_j / p_0 = k_j exp(-(z_0 - z_j))
        for j in range(modes):
            weights = [-ctx.mpf(multiplicities[i]) / classes * gaps[i][j] for i in range(modes)]
            odds.append(tape.combination([valencies[j]], [tape.exp(tape.combination(weights, s))]))
        wrong = tape.combination([1] * modes, odds)
        right = tape.reciprocal(tape.combination([1], [wrong], 1))  # p_0
        common = right
        if flow.loss.focusing:  # q^(f-1) (q + f p_0 (-log p_0)) p_0, q = 1 - p_0
            f = ctx.mpf(flow.loss.focusing)
            q = tape.product(wrong, right)
            bracket = tape.combination([1, f], [q, tape.product(right, tape.log1p(wrong))])
            common = tape.product(tape.product(tape.power(q, f - 1), bracket), right)
        common = tape.product(common, growth)
        residuals = [tape.product(odds[j], common) for j in range(modes)]
        if flow.loss.smoothing:
            eps = ctx.mpf(flow.loss.smoothing)
            residuals = [
                tape.combination([1, -valencies[j] * eps / classes], [residuals[j], growth]) for j in range(modes)
            ]
        return [tape.combination([unit * gap for gap in gaps[i]], residuals) for i in range(modes)]

    def expand(self, growth, state: list[list], order: int) -> None:
        """Series to the given order around a state."""
        self.tape.clear()
        self.growth[:] = [growth]
        for row, values in zip(self.values, state, strict=True):
            for coefficients, value in zip(row, values, strict=True):
                coefficients[:] = [value]
        for n in range(order):
            self.tape.extend(n)
            self.growth.append(self.growth[n] / (n + 1))
            for row, velocities in zip(self.values, self.velocities, strict=True):
                for coefficients, velocity in zip(row, velocities, strict=True):
                    coefficients.append(velocity[n] / (n + 1))

    def at(self, h) -> list[list]:
        """The state a distance h further, by the series."""
        return [[self.ctx.polyval(series[::-1], h) for series in row] for row in self.values]

    def product(self, state: list[list], depth) -> list:
        """Singular values of a state."""
        out = []
        for i in range(self.modes):
            if self.whole:
                out.append(self.ctx.fprod(row[i] for row in state))
            else:
                out.append(self.signs[i] * abs(state[0][i]) ** depth)
        return out


def _integrate(ctx, equations: _Equations, times: NDArray[np.float64], digits: int, max_steps: int, depth) -> Solution:
    targets = [ctx.mpf(0) if time == -math.inf else ctx.log1p(ctx.exp(ctx.mpf(float(time)))) for time in times]
    state = [[series[0] for series in row] for row in equations.values]
    x, rows, steps, rest = ctx.mpf(0), [], 0, False
    order = 5 + math.ceil(1.15 * (digits + 5))  # about -log(tolerance) / 2: the cheapest (Jorba & Zou 2005)
    log_tolerance = -(digits + 5) * math.log(10.0)
    while len(rows) < len(targets):
        if targets[len(rows)] == x or rest:
            rows.append(state)
            continue
        if steps >= max_steps:
            raise RuntimeError(f"gave up after {max_steps} Taylor steps, at log(1 + t) = {float(x):.6g}")
        equations.expand(ctx.exp(x), state, order)
        steps += 1
        rest = _is_at_rest(ctx, equations, log_tolerance)
        h = min(_step(ctx, equations, state, order, log_tolerance), targets[-1] - x)
        while len(rows) < len(targets) and targets[len(rows)] <= x + h:
            rows.append(equations.at(targets[len(rows)] - x))
        state, x = equations.at(h), x + h
        for i in equations.fading:
            if all(abs(row[i]) < FADED for row in state):
                for row in state:
                    row[i] = ctx.mpf(0)
    layers = np.array(rows, dtype=object).reshape(len(rows), len(equations.values), equations.modes)
    values = np.array([equations.product(row, depth) for row in rows], dtype=object)
    return Solution(times, values.reshape(len(rows), equations.modes), layers, steps)


def _step(ctx, equations: _Equations, state: list[list], order: int, log_tolerance: float):
    """How far the last two terms of every series stay below the tolerance, relative to the largest layer of a mode."""
    least = math.inf
    for i in range(equations.modes):
        size = max(abs(row[i]) for row in state)
        for row in equations.values:
            for n in (order - 1, order):
                if row[i][n] != 0:
                    least = min(least, (log_tolerance - float(ctx.ln(abs(row[i][n]) / size))) / n)
    return ctx.inf if least == math.inf else ctx.exp(least)


def _is_at_rest(ctx, equations: _Equations, log_tolerance: float) -> bool:
    """Whether every layer is so near the end of an exponential decay that the rest of its way is beyond all digits.

    With v = dw/dt and a = d2w/dt2 that way is |v / (a/v)| if a/v < 0. Powers and logarithms of time, as in the tail of
    the cross-entropy, never come near: there it is about as long as the state is large.
    """
    largest = max(abs(series[0]) for row in equations.values for series in row)
    limit, still = largest * ctx.exp(log_tolerance), True
    for row in equations.values:
        for series in row:
            velocity = series[1]
            acceleration = 2 * series[2] - series[1]  # both in units of dx: (d/dx - 1) d/dx
            if velocity != 0:
                still = still and acceleration * velocity < 0 and velocity**2 < limit * abs(acceleration)
    return still
