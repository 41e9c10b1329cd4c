"""Tables, records and the look of figures."""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
import sys
from dataclasses import dataclass, field
from pathlib import Path

VERSIONS = ("ceflow", "numpy", "scipy", "numba", "llvmlite", "numbalsoda", "heyoka", "diffrax", "jax", "CyRK", "torch")
# Okabe and Ito's colours, dark to bright so that they differ in grey as well; used with markers and dashes throughout
BLACK, BLUE, RED, GREEN, ORANGE, PINK, SKY = (
    "#000000",
    "#0072B2",
    "#D55E00",
    "#009E73",
    "#E69F00",
    "#CC79A7",
    "#56B4E9",
)


@dataclass
class Table:
    """Rows under a title. Floats are shown with four digits, None as a dash."""

    title: str
    columns: list[str]
    rows: list[list] = field(default_factory=list)

    def cells(self) -> list[list[str]]:
        return [[_text(value) for value in row] for row in self.rows]

    def text(self) -> str:
        cells = self.cells()
        full = [row for row in cells if len(row) == len(self.columns)]
        widths = [max(map(len, column)) for column in zip(self.columns, *full, strict=True)]
        numeric = [all(not isinstance(row[i], str) for row in self.rows if i < len(row)) for i in range(len(widths))]

        def line(row: list[str]) -> str:
            parts = [c.rjust(w) if right else c.ljust(w) for c, w, right in zip(row, widths, numeric, strict=True)]
            return "  ".join(parts).rstrip()

        # a short row is a name and a remark that runs across the columns
        body = [line(row) if len(row) == len(widths) else f"{row[0].ljust(widths[0])}  {row[1]}" for row in cells]
        rule = "-" * max(map(len, [line(self.columns), *body]))
        return "\n".join([self.title, rule, line(self.columns), rule, *body, rule, ""])

    def markdown(self) -> str:
        cells = [row + [""] * (len(self.columns) - len(row)) for row in self.cells()]
        lines = [f"### {self.title}", "", "| " + " | ".join(self.columns) + " |", "|" + "---|" * len(self.columns)]
        return "\n".join(lines + ["| " + " | ".join(row) + " |" for row in cells] + [""])


def _text(value) -> str:
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:.3g}" if not 1000 <= abs(value) < 1e6 else f"{value:.0f}"
    return str(value)


def machine() -> dict:
    """What a reader needs to know about the machine and the versions."""
    versions = {"python": platform.python_version()}
    for name in VERSIONS:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            versions[name] = "not installed"
    return {"cpu": _cpu(), "cores": os.cpu_count(), "system": f"{platform.system()} {platform.machine()}"} | {
        "versions": versions
    }


def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        fields = dict(line.split(":", 1) for line in reversed(lines) if ":" in line)  # the first processor wins
        fields = {key.strip(): value.strip() for key, value in fields.items()}
        return f"{fields['model name']} (family {fields['cpu family']}, model {fields['model']})"
    except (OSError, KeyError):
        return platform.processor() or "unknown"


def report(
    name: str, tables: list[Table], out: Path | None, *, quick: bool, notes: list[str] | None = None, figure=None
) -> None:
    """Print the tables; with `out`, write them as JSON and Markdown, and the figure as PNG, beside each other."""
    for table in tables:
        print(table.text(), flush=True)
    for note in notes or []:
        print(f"  {note}")
    if out is None:
        return
    command = " ".join(["python -m benchmarks", name] + (["--quick"] if quick else []))
    record = {"benchmark": name, "command": command} | machine() | {"notes": notes or []}
    record["tables"] = [{"title": t.title, "columns": t.columns, "rows": t.rows} for t in tables]
    (out / f"{name}.json").write_text(json.dumps(record, indent=1, default=_plain) + "\n")
    lines = [f"# {name}", "", f"`{command}` on {record['cpu']}, {record['cores']} cores, {record['system']}", ""]
    lines += [", ".join(f"{key} {value}" for key, value in record["versions"].items()), ""]
    lines += [table.markdown() for table in tables] + [f"- {note}" for note in notes or []]
    (out / f"{name}.md").write_text("\n".join(lines) + "\n")
    if figure is not None:
        figure.savefig(out / f"{name}.png", dpi=160)
    print(f"  written to {out}: {', '.join(sorted(p.name for p in out.glob(name + '.*')))}\n", file=sys.stderr)


def _plain(value):
    return value.item() if hasattr(value, "item") else str(value)


def new_figure(columns: int = 1, rows: int = 1, *, width: float = 4.2, height: float = 3.4, **options):
    """A figure and its axes (an array when there are several), without touching global settings or a display."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width * columns, height * rows), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(rows, columns, **options)
    for ax in figure.axes:
        ax.spines[["top", "right"]].set_visible(False)
        ax.grid(True, lw=0.4, color="0.88")
        ax.set_axisbelow(True)
    return figure, axes
