"""Corrections of what Sphinx makes of docstrings: shared descriptions, sentences with a colon, fields of tuples."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from docutils import nodes

WORD_JOINER = "\u2060"  # which nobody sees, and which is no space
JOINED = f",{WORD_JOINER}"  # stands for ", ", which a name of Sphinx must not contain
BODY = r"(?:.|\n(?!:))*"  # of a field: up to the next one
TWINS = re.compile(
    rf"^:param ([^:\n]+):({BODY})\n(:type )?(?(3)\1:({BODY})\n):param ([^:\n]+):\2(?(3)\n:type \5:\4)$", re.M
)


def corrected(what: str, lines: list[str]) -> list[str]:
    """The fields of a docstring as napoleon leaves them, with those corrected that it misreads.

    Attributes that share a description, such as "nfev, nsteps", are one name to Sphinx only without spaces. Parameters
    that share one are taken apart by napoleon, and joined here. The first line of a property is a sentence, of which
    napoleon takes what is before a colon for a type.
    """
    text = re.sub(
        r"^:(ivar|vartype) [^:]+:", lambda found: re.sub(r",\s+", JOINED, found[0]), "\n".join(lines), flags=re.M
    )
    text = re.sub(rf"^(:param [^:\n]+: )({BODY})", _indented, text, flags=re.M)
    found = 1
    while found:
        text, found = TWINS.subn(_one_entry, text)
    if what == "property" and (kind := re.search(rf"\n*^:type: ({BODY})", text, re.M)):
        text = f"{kind[1]}: {text[: kind.start()]}{text[kind.end() :]}"
    return text.split("\n")


def _indented(found: re.Match[str]) -> str:
    """A description with an indentation that does not depend on the length of the name."""
    return found[1] + found[2].replace("\n" + len(found[1]) * " ", "\n    ")


def _one_entry(found: re.Match[str]) -> str:
    name, body, typed, kind, other = found.groups()
    entry = f":param {name}{JOINED}{other}:{body}"
    return f"{entry}\n:type {name}{JOINED}{other}:{kind}" if typed else entry


def is_left_out(name: str, obj: object) -> bool:
    """Whether it has no place among members: attributes that are in a list of their own, and checks of arguments."""
    return type(obj).__name__ in ("_tuplegetter", "Linked") or name.startswith("checked_")


def with_spaces(doctree: nodes.document) -> None:
    """The spaces that `corrected` took."""
    from docutils import nodes

    for text in doctree.findall(nodes.Text):
        if WORD_JOINER in text:
            text.parent.replace(text, nodes.Text(text.replace(WORD_JOINER, " ")))
