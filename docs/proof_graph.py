"""The graph of all proofs as a page: every step with its premises. ``conf.py`` calls `write` when the docs are built.

The proofs are run (about a minute) if a file of `derivations` has changed since the page was written.
"""

from __future__ import annotations

import hashlib
import html
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import derivations
from derivations import _command, _premises

COLUMN, ROW, HEIGHT = 176, 27, 20  # of the drawing, in pixels
THEOREM = "convergence"


def write(path: Path) -> None:
    """Write the page to `path`, unless it is that of the derivations as they are."""
    sources = sorted(Path(derivations.__file__).parent.glob("*.py"))
    mark = "% " + hashlib.sha256(b"".join(map(Path.read_bytes, [*sources, Path(__file__)]))).hexdigest()
    if path.exists() and path.read_text(encoding="utf-8").startswith(mark):
        return
    results = list(_command.prove_all(derivations.NAMES, os.cpu_count() or 1))
    if not all(result.proved for result in results):
        raise RuntimeError("a derivation is not proved: run python -m derivations")
    path.parent.mkdir(exist_ok=True)
    path.write_text(f"{mark}\n\n{page(results)}", encoding="utf-8")


def page(results: Sequence[_command.Result]) -> str:
    """Return the page as Markdown: two drawings, then each derivation with its steps."""
    edges = {r.name: _premises.modules(r.premises) for r in results}
    used = {head for heads in edges.values() for head in heads}
    drawn = {name: heads for name, heads in edges.items() if heads or name in used}
    alone = [f"[{name}](#{_anchor(name)})" for name in edges if name not in drawn]
    theorem = next(r for r in results if r.name == THEOREM)
    lines = [
        "## Derivations\n",
        f"An arrow leads from a derivation to one that uses it. {sum(len(r.steps) for r in results)} steps in "
        f"{len(results)} derivations are proved.\n",
        drawing(drawn, {name: f"#{_anchor(name)}" for name in drawn}, "derivations and what they use"),
        f"Used by no other derivation, and using none: {', '.join(alone)}.\n" if alone else "",
        "## Steps of the convergence theorem\n",
        f"Steps of [{THEOREM}](#{_anchor(THEOREM)}) by their names. Boxes with a dashed border are other derivations, "
        "or steps of them.\n",
        drawing(*_steps(theorem), "steps of the convergence theorem and their premises"),
    ]
    return "\n".join([*lines, "## All proofs, step by step\n", *map(_section, results)])


def drawing(premises: Mapping[str, Sequence[str]], links: Mapping[str, str], title: str) -> str:
    """Return a layered graph as SVG: every node right of its premises, which come before it. Dashed: only premises."""
    others = {p: () for heads in premises.values() for p in heads if p not in premises}
    nodes = others | dict(premises)
    level: dict[str, int] = {}
    for node, heads in nodes.items():
        level[node] = max((level[p] + 1 for p in heads), default=0)
    for node, heads in nodes.items():  # what has no premises stands next to what uses it
        users = [level[m] for m in premises if node in premises[m]]
        if users and not heads:
            level[node] = min(users) - 1
    columns = [[n for n in nodes if level[n] == k] for k in range(max(level.values()) + 1)]
    row = {node: float(i) for column in columns for i, node in enumerate(column)}
    joined = {n: [*heads, *(m for m in premises if n in premises[m])] for n, heads in nodes.items()}
    tall = max(map(len, columns))
    for column in columns * 8:  # nodes move towards the middle of their neighbours
        column.sort(key=lambda n: sum(row[m] for m in joined[n]) / max(len(joined[n]), 1))
        row |= {node: i + (tall - len(column)) / 2 for i, node in enumerate(column)}
    width = COLUMN - 36
    place = {n: (level[n] * COLUMN + 1, row[n] * ROW + 4) for n in nodes}
    curves, boxes = [], []
    for node, heads in premises.items():
        x, y = place[node]
        for head in heads:
            u, v = place[head][0] + width, place[head][1] + HEIGHT / 2
            w, mid = y + HEIGHT / 2, 24
            curves.append(f'<path d="M{u},{v:.0f} C{u + mid},{v:.0f} {x - mid},{w:.0f} {x - 4},{w:.0f}"/>')
    for node, (x, y) in place.items():
        style = "" if node in premises else ' class="other"'
        box = f'<rect x="{x}" y="{y:.0f}" width="{width}" height="{HEIGHT}" rx="4"{style}/>'
        text = f'<text x="{x + width / 2}" y="{y + 14:.0f}">{html.escape(node)}</text>'
        boxes.append(f'<a href="{links[node]}">{box}{text}</a>' if node in links else box + text)
    wide, high = (len(columns) - 1) * COLUMN + width + 2, tall * ROW + 8
    arrow = '<marker id="arrow" viewBox="0 0 6 6" refX="5" refY="3" markerWidth="6" markerHeight="6" orient="auto">'
    head = f'{arrow}<path d="M0,0 L6,3 L0,6 z"/></marker>'
    svg = f'<svg viewBox="0 0 {wide} {high}" width="{wide}" role="img" aria-label="{title}"><defs>{head}</defs>'
    return f'```{{raw}} html\n<div class="graph">{svg}{"".join(curves)}{"".join(boxes)}</svg></div>\n```\n'


def _steps(result: _command.Result) -> tuple[dict[str, list[str]], dict[str, str]]:
    """The named steps of a derivation with their premises, and where the boxes lead."""
    found = {
        step.name: [premise.removeprefix(".") if premise.startswith(".") else premise for premise in step.premises]
        for step in result.steps
        if step.name
    }
    heads = {p for premises in found.values() for p in premises if p not in found}
    return found, {p: f"#{_anchor(p.partition('.')[0])}" for p in heads}


def _section(result: _command.Result) -> str:
    """A derivation with its steps as a list."""
    number = {step.name: i for i, step in enumerate(result.steps, start=1) if step.name}
    users = f"Prove and print it: `python -m derivations {result.name}`."
    lines = [f"({_anchor(result.name)})=\n", f"### {result.name}\n", f"{_text(result.title)}. {users}\n"]
    for i, step in enumerate(result.steps, start=1):
        lines.append(f"{i}. {'**' + _text(step.name) + '.** ' if step.name else ''}{_text(step.says)}")
        about = [f"*{step.how}; {_text(step.scope)}.*"]
        if step.premises:
            about.append("Uses " + ", ".join(_premise(premise, number) for premise in step.premises) + ".")
        if step.quotes:
            about.append("Quotes, unchecked: " + "; ".join(map(_text, step.quotes)) + ".")
        lines.append(" " * len(f"{i}. ") + " ".join(about) + "\n")
    return "\n".join(lines)


def _premise(premise: str, number: Mapping[str, int]) -> str:
    module, _, part = premise.partition(".")
    if not module:
        return f"step {number[part]} ({_text(part)})"
    return f"[{_text(premise)}](#{_anchor(module)})"


def _anchor(name: str) -> str:
    return f"proof-{name.replace('_', '-')}"


def _text(words: str) -> str:
    """Plain text as Markdown: nothing in it is markup."""
    return re.sub(r"([\\`*_{}\[\]<>()#+!|$~^-])", r"\\\1", words)
