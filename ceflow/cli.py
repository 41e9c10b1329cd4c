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

from .certificate import time_text

LN10 = math.log(10.0)
FULL_UNTIL, FULL_CLASSES = 6.0 * LN10, 128  # `run` checks against the full flow to t = 1e6, for at most so many classes
LEAST_LOG_TIME = -690.0  # of a run that there is something to compare of
SLACK, COARSEST = 1000.0, 0.01  # two runs may differ by so many times rtol, for errors of steps add up; and by so much
ROWS = 40  # of the full run that `compare` looks at, besides those that it prints
LARGEST_FILE = 2**28  # bytes of states of the full run, above which `compare` does not save them

EXAMPLES = {
    "run": """examples:
  ceflow run                                   16 classes to t = 1e30
  ceflow run -K 64 --t-end 1e1000              time may leave floating point
  ceflow run --scheme cyclic -K 10 --seed 3    any number of classes
  ceflow run --scheme hamming:3,4              64 classes, 3 modes
  ceflow run --depth 3 --weight-decay 1e-3     deeper, until it comes to rest
  ceflow run --loss label_smoothing:0.2        another loss""",
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
        with np.errstate(over="ignore", under="ignore"):  # where everything decays, singular values become subnormal
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
        description="Integrate the flow of the singular values from a small random start, certify it\n"
        "(equations, conservation laws, what theory proves), check it against the full\n"
        "matrix flow, print a summary, and write data and a figure. Exit code 0 only if\n"
        "the run reached its end and every check passed.",
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
            "--loss",
            default="cross_entropy",
            metavar="NAME",
            help="cross_entropy, squared_error, label_smoothing[:E] or focal[:F], with E = 0.1 and F = 2 when left out;"
            " default: %(default)s",
        )
        add("--depth", type=float, default=2, metavar="L", help="number of layers (default: %(default)s)")
        add(
            "--weight-decay",
            type=float,
            default=0.0,
            metavar="MU",
            help="adds (MU / 2) sum |W_l|^2 to the loss (default: %(default)g)",
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


def _loss(text: str):
    """The loss called `text`, for example "focal" or "focal:3"."""
    from . import losses

    name, _, parameter = text.partition(":")
    if not parameter:
        return losses.as_loss(name)
    if name not in ("label_smoothing", "focal"):
        raise ValueError(f"--loss must be cross_entropy, squared_error, label_smoothing[:E] or focal[:F]; got {text!r}")
    try:
        return getattr(losses, name)(float(parameter))
    except ValueError as error:
        raise ValueError(f"--loss {text}: {error}") from None


def _start(options: argparse.Namespace):
    """Flow and start that the options ask for."""
    from .spectral import SpectralFlow

    if not 1e-290 <= options.scale <= 1e290:
        raise ValueError(f"--scale must be between 1e-290 and 1e290, got {options.scale:g}")
    if options.seed < 0:
        raise ValueError(f"--seed must not be negative, got {options.seed}")
    flow = SpectralFlow(
        _scheme(options.scheme, options.classes),
        loss=_loss(options.loss),
        depth=options.depth,
        weight_decay=options.weight_decay,
    )
    return flow, options.scale * np.random.default_rng(options.seed).uniform(0.1, 1.0, flow.scheme.modes)


# -- the two commands -------------------------------------------------------------------------------------------------


def _run(options: argparse.Namespace) -> int:
    from . import integrate

    flow, start = _start(options)
    options.out.mkdir(parents=True, exist_ok=True)
    page = _Page(options)
    page.problem(flow, start)
    compiling = page.timed(lambda: integrate(flow, start, t_end=1e-3).at(1e-3))[1]
    traj, seconds = page.timed(
        lambda: integrate(flow, start, log_t_end=options.t_end, rtol=options.rtol, progress=page.progress)
    )
    rests = _rest(traj)
    at = traj.at(log_t=_decades(traj, traj.log_t_end if rests is None else rests))
    s, weights = at.singular_values, flow.scheme.multiplicities[1:]
    mean = s @ weights / weights.sum()
    columns = np.stack([s.min(axis=1), mean, s.max(axis=1), at.loss, at.lyapunov, at.accuracy_gap], axis=1)
    page.table(("t", "min s", "mean s", "max s", "loss", "V", "1 - p_0"), at.log_t, columns)
    if rests is not None:
        page.say(f"At rest from t = {time_text(rests)} on: nothing moves any more.")
    page.say(f"{traj.nsteps} steps ({traj.nrejected} rejected), {traj.nfev} evaluations in {seconds:.3g} s")
    page.say(f"{compiling:.2g} s before that to compile, or to load what was compiled\n")

    certificate, seconds = page.timed(traj.certificate)
    page.heading(f"Certificate, in {seconds:.2g} s")
    page.report(certificate)
    agrees = _check_against_full(page, flow, start, traj)
    traj.save(options.out / "run.npz")
    page.written(options.out / "run.npz")
    if options.plot:
        _save_figure(options.out / "run.png", lambda figure: _plot().dashboard(traj, figure), (11, 7.5))
        page.written(options.out / "run.png")
    return page.verdict(certificate.passed and agrees)


def _check_against_full(page: _Page, flow, start: np.ndarray, traj) -> bool:
    """The same start as full matrices: whether that run is sound, and agrees."""
    from . import MatrixFlow, compare, integrate

    why_not = None
    if flow.scheme.classes > FULL_CLASSES:
        why_not = f"more than {FULL_CLASSES} classes"
    elif not isinstance(flow.depth, int):
        why_not = "no network has such a depth"
    elif traj.log_t_end < LEAST_LOG_TIME:
        why_not = "the run got nowhere"
    if why_not is not None:
        page.say(f"Not compared with the full flow: {why_not}.\n")
        return True
    full_flow = MatrixFlow(loss=flow.loss, depth=flow.depth, reduction=flow.reduction, weight_decay=flow.weight_decay)
    rests = _rest(traj)  # after which there is nothing to compare
    end, rtol = min(traj.log_t_end if rests is None else rests, FULL_UNTIL), page.options.rtol
    full, seconds = page.timed(
        lambda: integrate(full_flow, flow.lift(start), log_t_end=end, rtol=rtol, progress=page.progress)
    )
    found, certificate, size = compare(traj, full), full.certificate(), _limit(rtol)
    page.heading(f"Full flow from the same start to t = {time_text(end)}, in {seconds:.2g} s")
    failed = [check for check in certificate.checks if not check.passed]
    own = "; ".join(check.claim for check in failed)
    return page.checks(
        [
            Check("reduced flow agrees with it", found.max_error <= size, f"{found.max_error:8.1e} <= {size:.0e}"),
            Check("its own certificate", not failed, f"failed: {own}" if failed else f" {_number(certificate)} checks"),
        ]
    )


def _number(certificate) -> int:
    """How many checks applied."""
    return sum(check.status != "not applicable" for check in certificate.checks)


def _compare(options: argparse.Namespace) -> int:
    from . import MatrixFlow, compare, integrate

    flow, start = _start(options)
    # bad widths and devices are reported before the work
    full_start = flow.lift(start, width=options.width)
    full_flow = MatrixFlow(
        backend=options.backend,
        device=options.device,
        dtype=options.dtype,
        loss=flow.loss,
        depth=flow.depth,
        weight_decay=flow.weight_decay,
    )
    options.out.mkdir(parents=True, exist_ok=True)
    page = _Page(options)
    page.problem(flow, start, width=full_start[0].shape[1])
    page.timed(lambda: integrate(flow, start, t_end=1e-3).at(1e-3))
    reduced, reduced_seconds = page.timed(
        lambda: integrate(flow, start, log_t_end=options.t_end, rtol=options.rtol, progress=page.progress)
    )
    decades = _decades(reduced, reduced.log_t_end)
    if len(decades) < 2:
        page.checks([Check("reduced flow reached the end", False, reduced.message)])
        return page.verdict(False)
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


def _plot():
    from . import plot

    return plot


def _save_figure(path: Path, draw: Callable, size: tuple[float, float]) -> None:
    from matplotlib.figure import Figure  # without pyplot: no window, no display

    figure = Figure(figsize=size, layout="constrained")
    draw(figure)
    figure.savefig(path, dpi=150)


# -- what is printed --------------------------------------------------------------------------------------------------


class Check(NamedTuple):
    """A claim, whether it holds, and by what measure."""

    claim: str
    passed: bool
    measure: str | None = None


def _limit(rtol: float) -> float:
    return min(SLACK * rtol, COARSEST)


def _rest(traj) -> float | None:
    """log t from which on nothing moves; None if something moves to the end."""
    last = traj._path.stretches[-1] if traj._path is not None else None
    if getattr(last, "kind", "") != "rest" or not traj.success:
        return None
    return last.log_t if -math.inf < last.log_t < traj.log_t_end else None


def _decades(traj, log_t_end: float, most: int = 12) -> np.ndarray:
    """log t at t = 0, at some powers of ten, and at the end."""
    finite = traj.log_t[np.isfinite(traj.log_t)]
    if not len(finite) or not math.isfinite(log_t_end):  # it could not even begin
        return np.array([-np.inf])
    first = math.floor(finite[0] / LN10)
    last = log_t_end / LN10
    apart = max(1, math.ceil((last - first) / most))
    powers = np.arange(math.ceil(first / apart) * apart, last - 0.3, apart) * LN10
    return np.concatenate([[-np.inf], powers, [log_t_end]])


def _network(depth: float) -> str:
    if depth == 2:
        return "two layers, Z = W H"
    if not isinstance(depth, int):
        return f"depth {depth:g}"
    return f"{depth} layers, Z = W_1 W_2 W_3" if depth == 3 else f"{depth} layers, Z = W_1 ... W_{depth}"


def _residual(loss) -> tuple[str, str]:
    """The loss in words, and its residual G, minus its gradient in Z."""
    if loss.squared:
        return "squared error", "I - 11'/K - Z"
    if loss.smoothing:
        return f"cross-entropy, label smoothing e = {loss.smoothing:g}", "(1 - e) I + e 11'/K - P,  P = softmax(Z)"
    if loss.focusing:
        words = f"focal, (1 - p)^f (-log p), f = {loss.focusing:g}"
        return words, "(I - P) diag(q^f - f q^(f-1) p log p),  p = diag P = 1 - q"
    return "cross-entropy", "I - P,  P = softmax(Z)"


def _equations(depth: float, decays: bool) -> list[str]:
    """The full flow, if there is one, and the reduced one."""
    lines = []
    if depth == 2:
        terms = (" - mu W", " - mu H") if decays else ("", "")
        lines.append(f"  full      dW/dt = G H' / K{terms[0]},  dH/dt = W' G / K{terms[1]}")
    elif isinstance(depth, int):
        term = " - mu W_l" if decays else ""
        lines.append(f"  full      dW_l/dt = (W_1 ... W_(l-1))' G (W_(l+1) ... W_{depth})' / K{term}")
    power = "s_i" if depth == 2 else f"s_i^(2 - 2/{depth:g})"
    term = f" - {depth:g} mu s_i" if decays else ""
    lines.append(f"  reduced   ds_i/dt = {depth:g} {power} lambda_i(s) / K{term}")
    meaning = "lambda = modes of G"
    if len(lines[-1]) + len(meaning) + 3 <= 80:
        lines[-1] += f",  {meaning}"
    else:
        lines.append(f"            {meaning}")
    return lines


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
        self.heading(f"Gradient flow on unconstrained features, {_network(flow.depth)}")
        loss, residual = _residual(flow.loss)
        self.say(f"  loss      {loss}, averaged over the classes")
        if flow.weight_decay:
            self.say(f"            and (mu / 2) sum |W_l|^2, weight decay mu = {flow.weight_decay:g}")
        self.say(f"  residual  G = {residual}")
        for line in _equations(flow.depth, bool(flow.weight_decay)):
            self.say(line)
        self.say(f"  scheme    {scheme.name}: K = {scheme.classes} classes, D = {scheme.modes} modes{full}")
        self.say(f"  start     balanced, s = {options.scale:g} * U(0.1, 1), seed {options.seed}: "
                 f"{start.min():.3g} to {start.max():.3g}")  # fmt: skip
        self.say(f"  until     t = {time_text(options.t_end)}, rtol = {options.rtol:g}\n")

    def heading(self, text: str) -> None:
        self.say(self.paint(text, "1"))

    def report(self, certificate) -> None:
        """A certificate without its first line, for which there is a heading."""
        for line in certificate.lines:
            for word, code in (("PASS", "32"), ("FAIL", "31;1")):
                if line.startswith(f"  {word}  "):
                    line = f"  {self.paint(word, code)}  {line[8:]}"
            self.say(line)
        self.say()

    def table(self, head: tuple[str, ...], log_t: np.ndarray, cells: np.ndarray) -> None:
        widths = [max(11, len(name) + 2) for name in head[1:]]
        cut = f"{head[0]:>10}" + "".join(f"{name:>{width}}" for name, width in zip(head[1:], widths, strict=True))
        self.say(self.paint(cut, "1"))
        for time_of_row, row in zip(log_t, cells, strict=True):
            line = "".join(f"{value:>{width}.3e}" for value, width in zip(row, widths, strict=True))
            self.say(f"{time_text(time_of_row):>10}{line}")
        self.say()

    def checks(self, checks: list[Check]) -> bool:
        for check in checks:
            state = self.paint("PASS", "32") if check.passed else self.paint("FAIL", "31;1")
            measure = textwrap.fill(check.measure or "", 64, subsequent_indent=" " * 8)
            measure = measure if len(measure) <= 33 else "\n        " + measure
            self.say(f"  {state}  {check.claim:<37}{measure}".rstrip())
        self.say()
        return all(check.passed for check in checks)

    def written(self, path: Path) -> None:
        self.say(f"wrote {path}")

    def verdict(self, passed: bool) -> int:
        self.say(self.paint("All checks passed.", "32") if passed else self.paint("Some checks FAILED.", "31;1"))
        return 0 if passed else 1
