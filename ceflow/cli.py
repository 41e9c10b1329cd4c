"""The command ``ceflow``: solve, check and draw from a shell.

``ceflow run`` integrates the reduced flow and certifies what it found; ``ceflow compare`` measures it against the full
flow. Both exit with 0 only if every claim has passed, with 1 if one failed, and with 2 on bad arguments.
"""

from __future__ import annotations

import argparse
import math
import os
import sys
import textwrap
import time
from collections.abc import Callable, Sequence
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import NamedTuple

import numpy as np

LN10 = math.log(10.0)
FULL_UNTIL, FULL_CLASSES = 6.0 * LN10, 128  # `run` checks against the full flow to t = 1e6, for at most so many classes
SLACK, COARSEST = 1000.0, 0.01  # two runs may differ by so many times rtol, for errors of steps add up; and by so much
ROUNDING = 1e-12  # a change that counts as none
ROWS = 40  # of the full run that `compare` looks at, besides those that it prints
LARGEST_FILE = 2**28  # bytes of states of the full run, above which `compare` does not save them
SAMPLES = 2000  # of a run, on which certificates rest; fewer if it has very many modes

EXAMPLES = {
    "run": """examples:
  ceflow run                                   16 classes to t = 1e30
  ceflow run -K 64 --t-end 1e1000              time may leave floating point
  ceflow run --scheme cyclic -K 10 --seed 3    any number of classes
  ceflow run --scheme hamming:3,4              64 classes, 3 modes""",
    "compare": """examples:
  ceflow compare                               16 classes to t = 1e6
  ceflow compare --scheme johnson:5,2          triangular graph on 10 classes
  ceflow compare -K 8 --width 100 --rtol 1e-12
  ceflow compare -K 1024 --backend torch --device cuda""",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command.

    Parameters
    ----------
    argv : sequence of str, optional
        Arguments; those of the process when left out.

    Returns
    -------
    int
        Exit code. Bad arguments and ``--help`` leave by SystemExit, as argparse does.
    """
    parser = _parser()
    options = parser.parse_args(argv)
    if options.command is None:
        parser.print_help()
        return 2
    try:
        return options.action(options)
    except (ValueError, TypeError, OSError, ImportError, MemoryError) as error:
        print(f"ceflow {options.command}: error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(f"ceflow {options.command}: interrupted", file=sys.stderr)
        return 130


# -- arguments --------------------------------------------------------------------------------------------------------


def _parser() -> argparse.ArgumentParser:
    from . import __version__

    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(
        prog="ceflow",
        description="Cross-entropy gradient flow on unconstrained features models, exactly where symmetry allows it.",
        epilog="'ceflow run --help' and 'ceflow compare --help' give options and examples.",
    )
    parser.add_argument("--version", action="version", version=f"ceflow {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="{run,compare}")

    run = commands.add_parser(
        "run",
        help="integrate the reduced flow, certify it, save data and a figure",
        description="Integrate the flow of the singular values from a small random start, check it\n"
        "against the full matrix flow and against what theory proves, print a summary,\n"
        "and write data and a figure. Exit code 0 only if the run reached its end and\n"
        "every check passed.",
        epilog=EXAMPLES["run"],
        formatter_class=raw,
    )
    compare = commands.add_parser(
        "compare",
        help="measure the reduced against the full flow",
        description="Integrate the same start as singular values and as full matrices, and print\n"
        "how far apart they are. Exit code 0 only if both runs reached their end and\n"
        f"the error is at most {SLACK:g} rtol (and {COARSEST:g}, however coarse rtol is).",
        epilog=EXAMPLES["compare"],
        formatter_class=raw,
    )
    for command, action, t_end, rtol in ((run, _run, "1e30", 1e-9), (compare, _compare, "1e6", 1e-10)):
        add = command.add_argument
        add("-K", "--classes", type=int, metavar="K", help="number of classes (default: 16)")
        add(
            "--scheme",
            default="hadamard",
            metavar="NAME",
            help="hadamard (K a power of 2), cyclic or complete (any K), hamming:M,Q (K = Q^M) or johnson:N,K"
            " (K = N choose K); default: %(default)s",
        )
        add(
            "--t-end",
            type=_log_time,
            default=t_end,
            metavar="T",
            help="last time, loss averaged over classes; may exceed 1e308 (default: %(default)s)",
        )
        add("--rtol", type=float, default=rtol, help="relative tolerance (default: %(default)s)")
        add("--seed", type=int, default=0, help="of the random start (default: %(default)s)")
        add(
            "--scale",
            type=float,
            default=1e-3,
            metavar="S",
            help="singular values start uniform in S * [0.1, 1], layers balanced (default: %(default)s)",
        )
        out = Path(f"ceflow-{command.prog.split()[-1]}")
        add("--out", type=Path, default=out, metavar="DIR", help="where to write (default: %(default)s)")
        add("--plot", action=argparse.BooleanOptionalAction, default=True, help="draw the figure (default: yes)")
        add("--quiet", action="store_true", help="no progress bars, which only a terminal shows")
        command.set_defaults(action=action)
    add = compare.add_argument
    add("--width", type=int, metavar="D", help="number of features of the full model (default: K)")
    add("--backend", default="numpy", choices=("numpy", "torch"), help="of the full flow (default: %(default)s)")
    add("--device", metavar="DEV", help="cpu, cuda or cuda:1, with --backend torch (default: cpu)")
    add("--dtype", default="float64", choices=("float64", "float32"), help="of the full flow (default: %(default)s)")
    return parser


def _log_time(text: str) -> float:
    """log t of a time that may be too large for a float."""
    try:
        value = Decimal(text)
        if value.is_finite() and value > 0:
            return float(value.ln())
    except InvalidOperation:
        pass
    raise argparse.ArgumentTypeError(f"must be a positive number such as 1e30 or 1e1000, got {text!r}")


def _scheme(text: str, classes: int | None):
    """The scheme called `text`, for example "cyclic" or "hamming:3,4"."""
    from . import schemes

    kind, _, arguments = text.partition(":")
    if kind in ("hadamard", "cyclic", "complete") and not arguments:
        return getattr(schemes, kind)(16 if classes is None else classes)
    if kind in ("hamming", "johnson"):
        try:
            first, second = map(int, arguments.split(","))
        except ValueError:
            raise ValueError(f"--scheme {kind} takes two integers, such as {kind}:5,2; got {text!r}") from None
        scheme = getattr(schemes, kind)(first, second)
        if classes not in (None, scheme.classes):
            raise ValueError(f"--scheme {text} has {scheme.classes} classes, got --classes {classes}")
        return scheme
    raise ValueError(f"--scheme must be hadamard, cyclic, complete, hamming:M,Q or johnson:N,K; got {text!r}")


def _start(options: argparse.Namespace):
    """Flow and start that the options ask for."""
    from .spectral import SpectralFlow

    if not 1e-290 <= options.scale <= 1e290:
        raise ValueError(f"--scale must be between 1e-290 and 1e290, got {options.scale:g}")
    if options.seed < 0:
        raise ValueError(f"--seed must not be negative, got {options.seed}")
    flow = SpectralFlow(_scheme(options.scheme, options.classes))
    return flow, options.scale * np.random.default_rng(options.seed).uniform(0.1, 1.0, flow.scheme.modes)


# -- the two commands -------------------------------------------------------------------------------------------------


def _run(options: argparse.Namespace) -> int:
    from . import compare, integrate

    flow, start = _start(options)
    options.out.mkdir(parents=True, exist_ok=True)
    page = _Page(options)
    page.problem(flow, start)
    compiling = page.timed(lambda: integrate(flow, start, t_end=1e-3).at(1e-3))[1]
    traj, seconds = page.timed(
        lambda: integrate(flow, start, log_t_end=options.t_end, rtol=options.rtol, progress=page.progress)
    )
    at = traj.at(log_t=_decades(traj, traj.log_t_end))
    s, weights = at.singular_values, flow.scheme.multiplicities[1:]
    mean = s @ weights / weights.sum()
    columns = np.stack([s.min(axis=1), mean, s.max(axis=1), at.loss, at.lyapunov, at.accuracy_gap], axis=1)
    page.table(("t", "min s", "mean s", "max s", "loss", "V", "1 - p_0"), at.log_t, columns)

    checks = [Check("reached the end of the time span", traj.success, None if traj.success else traj.message)]
    checks += _certificates(traj)
    full_end = min(traj.log_t_end, FULL_UNTIL)
    if flow.scheme.classes <= FULL_CLASSES:
        full = page.timed(lambda: _full(flow, start, None, full_end, options.rtol, page.progress))[0]
        found = compare(traj, full)
        size = _limit(options.rtol)
        agrees = full.success and found.max_error <= size
        measure = f"error {found.max_error:.1e} <= {size:.0e}"
        checks.append(Check(f"agrees with the full flow to t = {_time(full_end)}", agrees, measure))
        drift = _drift(full)
        checks.append(Check("full flow: W'W - HH' conserved", drift <= size, f"drift {drift:.1e} <= {size:.0e}"))
    else:
        page.say(f"  Not compared with the full flow: more than {FULL_CLASSES} classes.")
    passed = page.checks(checks)
    page.say(f"{traj.nsteps} steps ({traj.nrejected} rejected), {traj.nfev} evaluations in {seconds:.3g} s")
    page.say(f"{compiling:.2g} s before that to compile, or to load what was compiled")
    traj.save(options.out / "run.npz")
    page.written(options.out / "run.npz")
    if options.plot:
        _save_figure(options.out / "run.png", lambda figure: _plot().dashboard(traj, figure), (11, 7.5))
        page.written(options.out / "run.png")
    return page.verdict(passed)


def _compare(options: argparse.Namespace) -> int:
    from . import MatrixFlow, compare, integrate

    flow, start = _start(options)
    # bad widths and devices are reported before the work
    full_start = flow.lift(start, width=options.width)
    full_flow = MatrixFlow(backend=options.backend, device=options.device, dtype=options.dtype)
    options.out.mkdir(parents=True, exist_ok=True)
    page = _Page(options)
    page.problem(flow, start, width=full_start[0].shape[1])
    page.timed(lambda: integrate(flow, start, t_end=1e-3).at(1e-3))
    reduced, reduced_seconds = page.timed(
        lambda: integrate(flow, start, log_t_end=options.t_end, rtol=options.rtol, progress=page.progress)
    )
    decades = _decades(reduced, reduced.log_t_end)
    rows = np.union1d(np.linspace(decades[1], decades[-1], ROWS), decades)
    full, full_seconds = page.timed(
        lambda: integrate(
            full_flow,
            full_start,
            log_t_eval=rows,
            rtol=options.rtol,
            dense_output=False,
            progress=page.progress,
        )
    )
    found = compare(reduced, full)
    at = np.isin(found.log_t, decades)
    errors = (found.error, found.off_diagonal, found.singular_value_error, found.loss_error, found.lyapunov_error)
    page.table(("t", "Z", "off-diagonal", "s", "loss", "V"), found.log_t[at], np.stack(errors, axis=1)[at])
    page.say("  Z             |Z_reduced - Z_full| / |Z_full|, Frobenius norm")
    page.say("  off-diagonal  how far the full matrices have left the scheme's basis")
    page.say("  s             largest difference of singular values, over the largest one")
    page.say("  loss, V       relative difference of the losses, difference of V\n")
    size = _limit(options.rtol)
    passed = page.checks(
        [
            Check("reduced flow reached the end", reduced.success, None if reduced.success else reduced.message),
            Check("full flow reached the end", full.success, None if full.success else full.message),
            Check(f"error at most {SLACK:g} rtol", found.max_error <= size, f"{found.max_error:.1e} <= {size:.0e}"),
        ]
    )
    page.say(f"reduced: {reduced.nsteps} steps, {reduced.nfev} evaluations in {reduced_seconds:.3g} s")
    page.say(f"full:    {full.nsteps} steps, {full.nfev} evaluations in {full_seconds:.3g} s")
    for name, traj in (("reduced.npz", reduced), ("full.npz", full)):
        if traj.y.nbytes > LARGEST_FILE:
            page.say(f"{name} is not written: {traj.y.nbytes / 2**30:.2g} GiB")
            continue
        traj.save(options.out / name)
        page.written(options.out / name)
    if options.plot:
        figure = options.out / "compare.png"
        _save_figure(figure, lambda figure: _plot().comparison(found, figure.subplots()), (7, 4.6))
        page.written(figure)
    return page.verdict(passed)


def _full(flow, start: np.ndarray, width: int | None, log_t_end: float, rtol: float, progress: bool):
    from . import MatrixFlow, integrate

    full = MatrixFlow(reduction=flow.reduction)
    return integrate(full, flow.lift(start, width=width), log_t_end=log_t_end, rtol=rtol, progress=progress)


def _plot():
    from . import plot

    return plot


def _save_figure(path: Path, draw: Callable, size: tuple[float, float]) -> None:
    from matplotlib.figure import Figure  # without pyplot: no window, no display

    figure = Figure(figsize=size, layout="constrained")
    draw(figure)
    figure.savefig(path, dpi=150)


# -- certificates -----------------------------------------------------------------------------------------------------


class Check(NamedTuple):
    """A claim, whether it holds, and by what measure."""

    claim: str
    passed: bool
    measure: str | None = None


def _certificates(traj) -> list[Check]:
    """What theory proves of a balanced run, tested between its steps too."""
    rows = traj.log_t[np.isfinite(traj.log_t)]
    count = max(200, min(SAMPLES, 2**27 // traj.y.shape[1]))
    log_t = np.union1d(rows, np.linspace(rows[0] - LN10, rows[-1], count))
    loss, lyapunov = _sampled(traj, log_t, "loss", "lyapunov")
    loss = loss[loss > 1e-300]
    rise = float(np.max(np.diff(loss) / loss[:-1], initial=0.0))
    checks = [Check("loss never rises", rise <= ROUNDING, f"rise {rise:.1e} <= {ROUNDING:.0e}")]
    # V is quadratic in relative deviations of the singular values, and these are known to rtol
    rise, size = float(np.max(np.diff(np.sqrt(np.maximum(lyapunov, 0.0))), initial=0.0)), ROUNDING + 10.0 * traj.rtol
    checks.append(Check("V never rises", rise <= size, f"rise of sqrt(V) {rise:.1e} <= {size:.0e}"))
    drift = float(np.max(np.abs(traj.conserved - traj.conserved[0]) / (traj.layers**2).sum(axis=1)))
    checks.append(Check("a^2 - b^2 conserved", drift <= ROUNDING, f"drift {drift:.1e} <= {ROUNDING:.0e}"))
    rows = rows[rows < 690.0]  # the last check needs times inside float64
    if len(rows):
        error, size = _geometric_mean_error(traj, rows), _limit(traj.rtol)
        checks.append(Check("geometric mean grows by its identity", error <= size, f"error {error:.1e} <= {size:.0e}"))
    return checks


def _geometric_mean_error(traj, rows: np.ndarray) -> float:
    """How far the run is from d log GM / dt = 2/(K-1) (1 - p_0), exact for balanced layers, integrated over its rows.

    An independent test of singular values and times: the solver uses neither this identity nor this quadrature.
    """
    scheme = traj.flow.scheme
    gap = traj.at(0.0).accuracy_gap[0]
    first = min(rows[0], -math.log(gap)) - 30.0  # log t; nothing has moved before
    early = np.linspace(first, rows[0], math.ceil((rows[0] - first) / 4.0), endpoint=False)
    knots = np.append(early, np.interp(np.arange(0.0, len(rows) - 0.75, 0.5), np.arange(len(rows)), rows))
    nodes, weights = np.polynomial.legendre.leggauss(16)
    log_t = knots[:-1, None] + 0.5 * (nodes + 1.0) * np.diff(knots)[:, None]
    (gaps,) = _sampled(traj, log_t.ravel(), "accuracy_gap")
    growth = gap * math.exp(first) + np.sum(gaps.reshape(log_t.shape) * np.exp(log_t) @ weights * np.diff(knots)) / 2.0
    ends = np.log(traj.at(log_t=np.array([-np.inf, rows[-1]])).singular_values)
    share = scheme.multiplicities[1:] / (scheme.classes - 1)
    return float(abs((ends[1] - ends[0]) @ share - 2.0 / (scheme.classes - 1) * growth))


def _sampled(traj, log_t: np.ndarray, *names: str) -> list[np.ndarray]:
    """Some numbers of a run at many times, a piece after another to save memory."""
    pieces = np.array_split(log_t, math.ceil(len(log_t) * traj.y.shape[1] / 2**22))
    values = [[getattr(row, name) for name in names] for row in (traj.at(log_t=piece) for piece in pieces)]
    return [np.concatenate(parts) for parts in zip(*values, strict=True)]


def _limit(rtol: float) -> float:
    return min(SLACK * rtol, COARSEST)


def _drift(full) -> float:
    """Largest change of the conserved matrix relative to the layers."""
    change = np.linalg.norm(full.conserved - full.conserved[0], axis=(1, 2))
    return float(np.max(change / (full.y**2).sum(axis=1)))


# -- what is printed --------------------------------------------------------------------------------------------------


def _decades(traj, log_t_end: float, most: int = 12) -> np.ndarray:
    """log t at t = 0, at some powers of ten, and at the end."""
    first = math.floor(traj.log_t[np.isfinite(traj.log_t)][0] / LN10)
    last = log_t_end / LN10
    apart = max(1, math.ceil((last - first) / most))
    powers = np.arange(math.ceil(first / apart) * apart, last - 1e-9, apart) * LN10
    return np.concatenate([[-np.inf], powers, [log_t_end]])


def _time(log_t: float) -> str:
    """A time as a number, however large."""
    if log_t == -math.inf:
        return "0"
    exponent = math.floor(log_t / LN10 + 1e-9)
    mantissa = round(10.0 ** (log_t / LN10 - exponent), 2)
    if mantissa >= 10.0:
        mantissa, exponent = 1.0, exponent + 1
    return f"{mantissa:g}e{exponent}" if exponent else f"{mantissa:g}"


class _Page:
    """What a command prints, at most 80 columns wide; coloured and with bars on a terminal only."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        self.progress = not options.quiet and sys.stderr.isatty()
        self.color = sys.stdout.isatty() and not os.environ.get("NO_COLOR")

    def say(self, text: str = "") -> None:
        print(text)

    def timed(self, work: Callable):
        sys.stdout.flush()
        begin = time.perf_counter()
        return work(), time.perf_counter() - begin

    def paint(self, text: str, code: str) -> str:
        return f"\033[{code}m{text}\033[0m" if self.color else text

    def problem(self, flow, start: np.ndarray, width: int | None = None) -> None:
        scheme, options = flow.scheme, self.options
        full = "" if width is None else f", d = {width} features"
        self.say(self.paint("Cross-entropy gradient flow on unconstrained features, two layers, Z = W H", "1"))
        self.say("  equation  dW/dt = G H' / K,  dH/dt = W' G / K,  G = I - softmax(Z)   [full]")
        self.say("            ds_i/dt = 2 s_i lambda_i(s) / K,  lambda = modes of G   [reduced]")
        self.say(f"  scheme    {scheme.name}: K = {scheme.classes} classes, D = {scheme.modes} modes{full}")
        self.say(f"  start     balanced, s = {options.scale:g} * U(0.1, 1), seed {options.seed}: "
                 f"{start.min():.3g} to {start.max():.3g}")  # fmt: skip
        self.say(f"  until     t = {_time(options.t_end)}, rtol = {options.rtol:g}, time of the averaged loss\n")

    def table(self, head: tuple[str, ...], log_t: np.ndarray, cells: np.ndarray) -> None:
        widths = [max(11, len(name) + 2) for name in head[1:]]
        cut = f"{head[0]:>10}" + "".join(f"{name:>{width}}" for name, width in zip(head[1:], widths, strict=True))
        self.say(self.paint(cut, "1"))
        for time_of_row, row in zip(log_t, cells, strict=True):
            line = "".join(f"{value:>{width}.3e}" for value, width in zip(row, widths, strict=True))
            self.say(f"{_time(time_of_row):>10}{line}")
        self.say()

    def checks(self, checks: list[Check]) -> bool:
        for check in checks:
            state = self.paint("PASS", "32") if check.passed else self.paint("FAIL", "31;1")
            measure = textwrap.fill(check.measure or "", 64, subsequent_indent=" " * 8)
            measure = measure if len(measure) <= 33 else "\n        " + measure
            self.say(f"  {state}  {check.claim:<38}{measure}".rstrip())
        self.say()
        return all(check.passed for check in checks)

    def written(self, path: Path) -> None:
        self.say(f"wrote {path}")

    def verdict(self, passed: bool) -> int:
        self.say(self.paint("All checks passed.", "32") if passed else self.paint("Some checks FAILED.", "31;1"))
        return 0 if passed else 1
