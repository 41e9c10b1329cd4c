"""HTML display of objects in notebooks: name, table of facts, optional figure; for light and dark pages."""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes

LINE = "1px solid rgba(128, 128, 128, 0.35)"
CELL = "padding: 1px 12px 1px 0; text-align: left; vertical-align: top; background: none; font-size: inherit"
PASS, FAIL = "color: #29a37a; font-weight: bold", "color: #e05a3c; font-weight: bold"
GREY = "#808080"  # readable on white and on black


def card(title: str, facts: Iterable[tuple[str, object]], more: str = "") -> str:
    """Title and table of facts as HTML, followed by `more`."""
    name_style = f"{CELL}; opacity: 0.7; font-weight: normal; white-space: nowrap"
    rows = "".join(
        f'<tr style="background: none"><th style="{name_style}">{html.escape(name)}</th>'
        f'<td style="{CELL}; overflow-wrap: anywhere">{_breaking(str(value))}</td></tr>'
        for name, value in facts
    )
    return (
        f'<div style="border: {LINE}; border-radius: 4px; padding: 6px 10px; display: inline-block; '
        f'max-width: 100%; box-sizing: border-box; overflow-x: auto">'
        f'<div style="font-weight: bold; margin-bottom: 2px">{html.escape(title)}</div>'
        f'<table style="border: none; margin: 0; font-size: inherit">{rows}</table>{more}</div>'
    )


def table(head: Sequence[str], rows: Iterable[Sequence[object]], styles: Sequence[str] = ()) -> str:
    """Table as HTML; `styles` has the styles of the first cells of the rows."""
    cells = "".join(f'<th style="{CELL}; border-bottom: {LINE}">{html.escape(name)}</th>' for name in head)
    body = ""
    for index, row in enumerate(rows):
        first = f"; {styles[index]}" if styles else ""
        body += '<tr style="background: none">' + "".join(
            f'<td style="{CELL}{first if column == 0 else ""}{_whole(str(value))}">{html.escape(str(value))}</td>'
            for column, value in enumerate(row)
        )
        body += "</tr>"
    head_row = f'<tr style="background: none">{cells}</tr>'
    return f'<table style="border: none; margin: 4px 0 0 0; font-size: inherit">{head_row}{body}</table>'


def image(draw: Callable[[Axes], object], size: tuple[float, float], text: str, *, legend: bool = False) -> str:
    """Figure of a size in inches as HTML, with grey lines and transparent background."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    names = ("text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color")
    file = io.BytesIO()
    look: dict[Any, Any] = dict.fromkeys(names, GREY) | {"font.size": 8.0, "axes.facecolor": "none"}
    with rc_context(look):
        figure = Figure(figsize=size, layout="constrained")
        ax = figure.subplots()
        draw(ax)
        if not legend and (drawn := ax.get_legend()):
            drawn.remove()
        figure.savefig(file, format="png", dpi=110, transparent=True)
    data = base64.b64encode(file.getvalue()).decode()
    style = "max-width: 100%; background: none"
    return f'<img style="{style}" alt="{html.escape(text)}" src="data:image/png;base64,{data}">'


def _breaking(text: str) -> str:
    """Text that breaks before arguments, on narrow pages."""
    return html.escape(text).replace("(", "(<wbr>").replace("=", "=<wbr>")


def _whole(text: str) -> str:
    """The style of a number, which a hyphen must not break."""
    return "" if " " in text else "; white-space: nowrap"


def few(values: Iterable[object], most: int = 10) -> str:
    """The first values, separated by commas."""
    values = list(values)
    return ", ".join(f"{value:g}" for value in values[:most]) + (f", ... ({len(values)})" if len(values) > most else "")
