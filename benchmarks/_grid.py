"""Random problems, and the true errors of runs of them; see `accuracy`."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

import ceflow as cf

from ._exact import Modes, Solution
from ._exact_matrices import Matrices, solve

RTOLS = (1e-3, 1e-4, 1e-6, 1e-8, 1e-10, 1e-11, 1e-12, 1e-13)
TOLERANCES = 4  # at which each problem is run
KNOTS = 24  # of a run that are looked at, and as many places between
SHIFTS = 2.0 ** np.arange(5, -5, -1)  # of log t, over rtol, by which a value is right at another time
AWAY = 0.01  # of rtol, distance of an exact solution from the symmetry, from which on it says nothing of a run under it
GONE = 1e-200  # size of a singular value, over that of its start, below which it counts as 0


class Problem(NamedTuple):
    """A flow with a start, and what kind of problem it is."""

    kind: str
    flow: cf.SpectralFlow | cf.MatrixFlow
    start: Any
    log_t_end: float

    @property
    def text(self) -> str:
        """In words, to be run again."""
        start = self.start.tolist() if isinstance(self.start, np.ndarray) else "a random start"
        return f"{self.flow!r} from {start} to log t = {self.log_t_end:.17g}"


class Row(NamedTuple):
    """What became of a run. Errors are over rtol."""

    kind: str
    text: str
    rtol: float
    at_knots: float
    between: float
    plain: float  # the largest error of the two, without regard to how fast singular values move
    estimate: float  # of the certificate
    failed: tuple[str, ...]  # claims

    @property
    def error(self) -> float:
        return max(self.at_knots, self.between)

    @property
    def limit(self) -> float:
        """What the tolerance promises."""
        return 30.0 if self.rtol <= 1e-12 else 10.0


KINDS = ("balanced", "equal", "wide", "zero", "negative", "unbalanced", "nearly opposite", "symmetry", "full")
WEIGHTS = (0.27, 0.05, 0.08, 0.08, 0.15, 0.19, 0.12, 0.04, 0.02)


def problem(seed: int) -> Problem:
    """The random problem of a seed."""
    rng = np.random.default_rng(seed)
    kind = str(rng.choice(KINDS, p=WEIGHTS))
    loss = _loss(rng)
    reduction = str(rng.choice(["mean", "sum"], p=[0.8, 0.2]))
    if kind in ("symmetry", "full"):
        return _of_matrices(rng, kind, loss, reduction)
    scheme = _schemes()[rng.integers(8)]
    depth = float(rng.uniform(2.0, 6.0)) if rng.uniform() < 0.15 else int(rng.choice([2, 2, 2, 3, 4, 5, 6]))
    if kind in ("unbalanced", "nearly opposite"):
        depth = 2 if kind == "nearly opposite" or scheme.modes > 3 else min(int(depth), 4)
    unit = 1.0 if reduction == "sum" else 1.0 / scheme.classes
    decay = 0.0
    if rng.uniform() < 0.45:  # the threshold of two layers is the unit
        decay = unit * 10.0 ** rng.uniform(-11.0, 0.5)
    modes, scale = scheme.modes, 10.0 ** rng.uniform(-6.0 if depth == 2 else -1.0 * depth, 0.7)
    start = scale * rng.uniform(0.1, 1.0, modes)
    if kind == "equal":
        start = scale * (1.0 + 10.0 ** rng.uniform(-9.0, -2.0) * rng.uniform(-1.0, 1.0, modes))
    elif kind == "wide":
        start = 10.0 ** rng.uniform(-14.0, 1.0, modes)
    elif kind == "zero":
        start[rng.integers(modes)] = 0.0
    elif kind == "negative":
        start[rng.permutation(modes)[: rng.integers(1, modes + 1)]] *= -1.0
    elif kind == "unbalanced":
        start = scale ** (1.0 / depth) * rng.uniform(-1.0 if rng.uniform() < 0.6 else 0.05, 1.0, (depth, modes))
    elif kind == "nearly opposite":
        first = math.sqrt(scale) * rng.uniform(0.3, 1.0, modes)
        start = np.stack([first, -first * (1.0 - 10.0 ** rng.uniform(-9.0, -2.0, modes))])
    flow = cf.SpectralFlow(scheme, loss=loss, depth=depth, reduction=reduction, weight_decay=decay)
    return Problem(kind, flow, start, _end(rng))


def _loss(rng: np.random.Generator) -> Any:
    name = str(rng.choice(cf.losses.LOSSES, p=None))
    if name == "label_smoothing" and rng.uniform() < 0.5:
        return cf.losses.label_smoothing(10.0 ** rng.uniform(-6.0, -0.5))
    if name == "focal" and rng.uniform() < 0.5:
        return cf.losses.focal(rng.uniform(0.0, 4.0))
    return name


def _schemes() -> list[cf.Scheme]:
    """One of every kind."""
    petersen = cf.johnson(5, 2).relations()
    return [
        cf.hadamard(4),
        cf.hadamard(8),
        cf.cyclic(5),
        cf.cyclic(9),
        cf.johnson(5, 2),
        cf.hamming(2, 3),
        cf.complete(7),
        cf.from_relations(petersen),
    ]


def _end(rng: np.random.Generator) -> float:
    which = rng.uniform()
    if which < 0.55:
        return float(rng.uniform(0.0, 30.0))
    return float(rng.uniform(30.0, 700.0)) if which < 0.85 else float(10.0 ** rng.uniform(2.8, 4.0))


def _of_matrices(rng: np.random.Generator, kind: str, loss: Any, reduction: str) -> Problem:
    """Under direct sums and a coherent configuration, or without any symmetry; short, as extrapolation is explicit."""
    depth, decay = int(rng.choice([2, 3])), 0.0 if rng.uniform() < 0.5 else 10.0 ** rng.uniform(-8.0, -2.0)
    options = {"loss": loss, "depth": depth, "reduction": reduction, "weight_decay": decay}
    scale, log_t_end = 10.0 ** rng.uniform(-1.5, 0.0), float(rng.uniform(0.0, 5.0))
    if kind == "full":
        start = cf.random_init(classes=3, width=3, scale=scale, depth=depth, rng=int(rng.integers(10**6)))
        return Problem(kind, cf.MatrixFlow(**options), start, log_t_end)
    which = rng.integers(3)
    if which == 0:
        flow = cf.SpectralFlow(cf.subsets(4, (1, 2)), class_fibres=0, **options)
    else:
        parts = (cf.complete(3), cf.complete(2)) if which == 1 else (cf.cyclic(4), 1)
        flow = cf.SpectralFlow(cf.direct_sum(*parts), **options)
    return Problem(kind, flow, flow.random_start(scale, rng=int(rng.integers(10**6))), log_t_end)


def rows(seed: int, tolerances: int = TOLERANCES) -> list[Row]:
    """The runs of the problem of a seed, at some tolerances; none if its exact solution could not be found."""
    given = problem(seed)
    rng = np.random.default_rng([seed, 1])
    rtols = sorted(rng.choice(RTOLS, tolerances, replace=False), reverse=True)
    runs = [cf.integrate(given.flow, given.start, log_t_end=given.log_t_end, rtol=rtol) for rtol in rtols]
    places = [_places(run, rng) for run in runs]
    errors = _errors_of_modes if isinstance(given.flow, cf.SpectralFlow) else _errors_of_matrices
    try:
        exact = errors(given, runs, places)
    except RuntimeError:
        return []
    out = []
    for run, (_, knots), (error, plain) in zip(runs, places, exact, strict=True):
        certificate = run.certificate()
        out.append(
            Row(
                given.kind, given.text, run.rtol,
                float(error[knots].max(initial=0.0) / run.rtol), float(error[~knots].max(initial=0.0) / run.rtol),
                float(plain.max() / run.rtol), certificate.error_estimate / run.rtol,
                tuple(check.claim for check in certificate.checks if not check.passed),
            )
        )  # fmt: skip
    return out


def _places(run: Any, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Log times at some knots of a run, and between them; and which are knots."""
    knots = run.log_t[1:]
    ends = np.append(knots[0] - 3.0, knots)
    steps = rng.permutation(len(knots))[:KNOTS]
    between = ends[steps] + (ends[steps + 1] - ends[steps]) * rng.uniform(0.05, 0.95, steps.size)
    chosen = np.append(rng.permutation(knots)[: KNOTS - 1], knots[-1])
    log_t = np.unique(np.concatenate([chosen, between]))
    return log_t, np.isin(log_t, knots)


def _errors_of_modes(given: Problem, runs: list, places: list) -> list[tuple[np.ndarray, np.ndarray]]:
    """Of the worst mode at each place: ``|s - s*| / (size + |ds*/dlog t|)``, and without the second term."""
    solution, out = Solution(Modes(given.flow, given.start), given.log_t_end), []
    _, first, _ = solution.at(np.array([-np.inf]))
    for run, (log_t, _) in zip(runs, places, strict=True):
        s, size, speed = solution.at(log_t)
        found = run.at(log_t=log_t).singular_values
        off = np.abs(found - s)
        off = np.where(size > GONE * first, off, 0.0)
        size = np.maximum(size, np.finfo(float).tiny)
        error, plain = off / (size + np.abs(speed)), off / size
        for shift in run.rtol * SHIFTS:
            rows = (error > shift).any(axis=1)
            passes = _passes(solution, log_t[rows], found[rows], shift)
            error[rows] = np.where(passes, np.minimum(error[rows], shift), error[rows])
        out.append((error.max(axis=1), plain.max(axis=1)))
    return out


def _passes(solution: Solution, log_t: np.ndarray, s: np.ndarray, shift: float) -> np.ndarray:
    """(n, D) whether a mode has the value s (n, D) at a time that differs from log t (n,) by no more than `shift`: as
    a plateau ends, the exact one may take all values in so short a time that a derivative tells nothing."""
    before, after = (solution.at(log_t + sign * shift)[0] for sign in (-1.0, 1.0))
    return (s >= np.minimum(before, after)) & (s <= np.maximum(before, after))


def _errors_of_matrices(given: Problem, runs: list, places: list) -> list[tuple[np.ndarray, np.ndarray]]:
    """The same of all layers together, in the Frobenius norm."""
    full = given.flow if given.kind == "full" else given.flow.full()
    factors = given.start if given.kind == "full" else given.flow.lift(given.start)
    every = np.unique(np.concatenate([log_t for log_t, _ in places]))
    system = Matrices(full, tuple(map(np.asarray, factors)))
    states, speeds = solve(system, every)
    away = np.zeros(len(every))  # from the symmetry: where that is a saddle, the rounding of its start grows
    if given.kind == "symmetry":
        away = np.array([given.flow.project(*system.factors(y.astype(float)))[1] for y in states])
    size, speed = (np.sqrt((x * x).sum(axis=1)) for x in (states, speeds))
    out = []
    for run, (log_t, _) in zip(runs, places, strict=True):
        which = np.searchsorted(every, log_t)
        run = run if given.kind == "full" else run.lifted()
        off = np.sqrt(((run.at(log_t=log_t).y - states[which]) ** 2).sum(axis=1))
        off = np.where(away[which] <= AWAY * run.rtol, off, 0.0)
        out.append((off / (size + speed)[which], off / size[which]))
    return out
