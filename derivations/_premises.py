"""Premises of steps: check that they exist and hold, and their graph.

A derivation may use only earlier derivations in `NAMES`, and earlier steps of its own, so there are no cycles.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ._command import Result
    from ._proof import Step


def unmet(
    name: str, step: Step, own: Mapping[str, bool], results: Mapping[str, Result], order: Sequence[str]
) -> list[str]:
    """Describe the invalid premises of a step.

    Parameters
    ----------
    name : str
        The derivation of the step.
    step : Step
        The step.
    own : mapping of str to bool
        Earlier named steps of the same derivation, and whether they hold.
    results : mapping of str to Result
        Results of derivations that ran before.
    order : sequence of str
        All derivations in order; each may use earlier ones.
    """
    found = []
    for premise in step.premises:
        module, _, part = premise.partition(".")
        if not module:
            holds = own.get(part)
        elif module not in order or order.index(module) >= order.index(name):
            found.append(f"{premise} is no derivation that stands before {name}")
            continue
        else:
            result = results[module]
            holds = result.proved if not part else result.named.get(part)
        if holds is None:
            found.append(f"there is no step {premise} to rest on")
        elif not holds:
            found.append(f"{premise} does not hold")
    return found


def all_unmet(name: str, steps: Iterable[Step], results: Mapping[str, Result], order: Sequence[str]) -> list[str]:
    """Describe the invalid premises of all steps of one derivation; arguments as in `unmet`."""
    found: list[str] = []
    own: dict[str, bool] = {}
    for step in steps:
        found += unmet(name, step, own, results, order)
        own |= {step.name: step.holds} if step.name else {}
    return found


def modules(premises: Iterable[str]) -> list[str]:
    """Return the other derivations among premises, each once, in order."""
    return list(dict.fromkeys(p.partition(".")[0] for p in premises if not p.startswith(".")))


def graph(results: Sequence[Result], dot: bool = False) -> str:
    """Return the graph of premises as plain text, or in Graphviz format."""
    if dot:
        edges = [f'  "{r.name}" -> "{head}";' for r in results for head in modules(r.premises)]
        return "\n".join(["digraph derivations {", "  rankdir=BT;", *(f'  "{r.name}";' for r in results), *edges, "}"])
    lines = []
    for result in results:
        lines.append(f"{result.name}{'' if result.proved else '  (NOT proved)'}")
        heads = modules(result.premises)
        if not heads:
            lines.append("    rests on no other derivation")
        for head in heads:
            parts = [p.partition(".")[2] for p in result.premises if p.partition(".")[0] == head]
            steps = ", ".join(part for part in dict.fromkeys(parts) if part)
            lines.append(f"    rests on {head}{': ' + steps if steps else ''}")
        lines += [f"    quotes {quote}" for quote in result.quotes]
    steps = sum(len(result.steps) for result in results)
    premises = sum(len(step.premises) for result in results for step in result.steps)
    quotes = {quote for result in results for quote in result.quotes}
    lines.append(f"{len(results)} derivations, {steps} steps with {premises} premises, {len(quotes)} quoted facts")
    return "\n".join(lines)
