"""Output of the commands: text, JSON, figure."""

from __future__ import annotations

import json
import math
import os
import sys
import textwrap
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import numpy as np

from .._compare import Comparison
from ..certify import Certificate, time_text
from ..trajectory import Trajectory

LN10 = math.log(10.0)


class Page:
    """Text of at most 80 columns (colours and progress bars on a terminal only), or JSON."""

    def __init__(self, quiet: bool, as_json: bool = False) -> None:
        self.progress = not quiet and sys.stderr.isatty()
        self.color = sys.stdout.isatty() and not os.environ.get("NO_COLOR")
        self.as_json = as_json
        self.data: dict[str, Any] = {"files": [], "checks": {}}  # for JSON

    def say(self, text: str = "") -> None:
        if not self.as_json:
            print(text)

    def timed(self, work: Callable[[], Any]) -> tuple[Any, float]:
        """Result of `work` and its time in seconds; earlier output is flushed first."""
        sys.stdout.flush()
        begin = time.perf_counter()
        return work(), time.perf_counter() - begin

    def paint(self, text: str, code: str) -> str:
        return f"\033[{code}m{text}\033[0m" if self.color else text

    def heading(self, text: str) -> None:
        self.say(self.paint(text, "1"))

    def problem(self, lines: list[str]) -> None:
        """Print the description of the problem, with the first line as a heading."""
        self.heading(lines[0])
        self.say("\n".join(lines[1:]) + "\n")

    def report(self, certificate: Certificate) -> None:
        """Print a certificate without its first line."""
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

    def check(self, claim: str, passed: bool, measure: str = "") -> bool:
        """Print the result of a check, with a measured value."""
        self.data["checks"][claim] = bool(passed)
        state = self.paint("PASS", "32") if passed else self.paint("FAIL", "31;1")
        measure = textwrap.fill(measure, 64, subsequent_indent=" " * 8)
        measure = measure if len(measure) <= 33 else "\n        " + measure
        self.say(f"  {state}  {claim:<37}{measure}".rstrip())
        return passed

    def agreement(self, claim: str, found: Comparison) -> bool:
        """Print whether two runs agree, up to the time until which they can be compared."""
        passed = found.max_error <= found.tolerance
        self.check(claim, passed, f"{found.max_error:8.1e} <= {found.tolerance:.0e}")
        if not found.trusted.all():
            self.say(f"        compared until t = {time_text(found.trusted_until)}: the symmetric run is unstable,")
            self.say(f"        and rounding errors have grown to {found.error.max():.1e}")
        return passed

    def written(self, path: Path) -> None:
        self.data["files"].append(str(path))
        self.say(f"wrote {path}")

    def verdict(self, passed: bool) -> int:
        """Print the result and return the exit code."""
        if self.as_json:
            print(json.dumps(self.data | {"passed": passed}, indent=2))
        self.say(self.paint("All checks passed.", "32") if passed else self.paint("Some checks FAILED.", "31;1"))
        return 0 if passed else 1


def decades(log_t: np.ndarray, log_t_end: float, most: int = 12) -> np.ndarray:
    """log t at t = 0, at some powers of ten within a run, and at its end."""
    finite = log_t[np.isfinite(log_t)]
    if not len(finite) or not math.isfinite(log_t_end):  # no step was possible
        return np.array([-np.inf])
    first = math.floor(finite[0] / LN10)
    last = log_t_end / LN10
    apart = max(1, math.ceil((last - first) / most))
    powers = np.arange(math.ceil(first / apart) * apart, last - 0.3, apart) * LN10
    return np.concatenate([[-np.inf], powers, [log_t_end]])


def save_figure(path: Path, draw: Callable, size: tuple[float, float]) -> None:
    """Draw a figure of this size with `draw`, and save it."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure  # without pyplot: no window, no display
    from matplotlib.layout_engine import TightLayoutEngine

    layout = TightLayoutEngine(rect=cast(Any, None))  # a rectangle costs a second pass
    figure = Figure(figsize=size, dpi=150, layout=layout)
    draw(figure)
    # `Figure.savefig` draws again to compute the layout; a constrained layout is computed twice
    FigureCanvasAgg(figure).print_png(path, pil_kwargs={"compress_level": 1})  # fast, for a file 6 % larger


def summary(traj: Trajectory) -> dict[str, Any]:
    """Summary of a run as data: last time, cost, final values."""
    last = traj[-1]
    return {
        "outcome": traj.outcome.name,
        "message": traj.message,
        "log_t": float(last.log_t[0]),
        "steps": traj.nsteps,
        "evaluations": traj.nfev,
        "log_loss": log_loss if math.isfinite(log_loss := float(last.log_loss[0])) else None,  # None for a loss of 0
        "singular_values": np.ravel(cast(Any, last).singular_values).tolist(),
    }
