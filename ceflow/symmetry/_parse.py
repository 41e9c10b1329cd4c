"""Schemes as strings, for command lines."""

from __future__ import annotations

from .._checks import checked_integer
from ._registry import SCHEMES
from ._scheme import Scheme

CLASSES = 16  # default


def forms() -> str:
    """Description of the strings that `parse` accepts: schemes in alphabetical order, with their number of classes."""
    entries = (SCHEMES[name] for name in sorted(SCHEMES))
    *others, last = (f"{entry.written} ({entry.hint})" for entry in entries if entry.hint is not None)
    return f"{', '.join(others)} or {last}"


def parse(text: str, classes: int | None = None) -> Scheme:
    """Parse a scheme from its name and arguments.

    Parameters
    ----------
    text : str
        Factory and arguments, for example ``"hamming:3,4"`` or ``"cyclic:10"``; or only a factory whose argument is K,
        ``"cyclic"``.
    classes : int, optional
        Number K of classes; default that of the text, else 16.

    Raises
    ------
    TypeError, ValueError
        If the scheme is unknown or has another number of classes.

    Examples
    --------
    >>> cf.symmetry.parse("hamming:3,4")
    hamming(3, 4)
    >>> cf.symmetry.parse("cyclic", 10)
    cyclic(10)
    """
    if not isinstance(text, str):
        raise TypeError(f"scheme must be a string, got {type(text).__name__}")
    if classes is not None:
        classes = checked_integer("classes", classes)
    name, colon, numbers = text.partition(":")
    entry = SCHEMES.get(name)
    if entry is None or entry.hint is None:
        raise ValueError(f"scheme must be {forms()}; got {text!r}")
    if entry.arguments == ("K",) and not colon:
        return entry.factory(CLASSES if classes is None else classes)
    try:
        arguments = [int(number) for number in numbers.split(",")]
    except ValueError:
        arguments = []
    if len(arguments) != len(entry.arguments):
        example = f"{name}:{','.join(entry.arguments).upper()}"
        raise ValueError(f"scheme must be {example} with integers in place of the letters, got {text!r}")
    scheme = entry.factory(*arguments)
    if classes not in (None, scheme.classes):
        raise ValueError(f"scheme {text} has {scheme.classes} classes, got {classes}")
    return scheme
