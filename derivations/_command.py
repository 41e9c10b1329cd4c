"""The command `python -m derivations`, and `ceflow prove`: a table of all proofs, one proof line by line, the graph."""

from __future__ import annotations

import argparse
import os
import textwrap
import time
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from . import NAMES, _premises, load

if TYPE_CHECKING:
    from ._proof import Step

WIDTH = 100
_INDENT = 18
_HOW = 28


@dataclass(frozen=True)
class Result:
    """Result of one derivation: scopes of its steps by method of proof, failed steps, and time."""

    name: str
    title: str
    scopes: dict[str, list[str]]
    failed: list[str]
    residuals: int
    seconds: float
    steps: list[Step] = field(default_factory=list)

    @property
    def named(self) -> dict[str, bool]:
        """Whether each named step holds."""
        return {step.name: step.holds for step in self.steps if step.name}

    @property
    def premises(self) -> list[str]:
        """Premises of all steps, each once."""
        return list(dict.fromkeys(p for step in self.steps for p in step.premises))

    @property
    def quotes(self) -> list[str]:
        """Quoted theorems of all steps, each once."""
        return list(dict.fromkeys(q for step in self.steps for q in step.quotes))

    @property
    def proved(self) -> bool:
        """Whether there are steps and all of them hold."""
        return not self.failed and self.residuals > 0


def prove(name: str) -> Result:
    """Run one derivation; an exception counts as a failed step."""
    import sympy as sp

    module = load(name)
    start = time.perf_counter()
    scopes: dict[str, list[str]] = {}
    failed, residuals, light = [], 0, []
    try:
        for step in module.derivation():
            residuals += len(step.residuals)
            light.append(replace(step, shows=None, residuals=(sp.S.Zero if step.holds else sp.S.One,)))
            known = scopes.setdefault(step.how, [])
            if step.scope not in known:
                known.append(step.scope)
            if not step.holds:
                failed.append(step.says)
    except Exception as error:  # a broken proof must appear in the table without hiding others
        failed.append(f"{type(error).__name__}: {error}")
    return Result(name, _title(module.__doc__), scopes, failed, residuals, time.perf_counter() - start, light)


def _proofs(names: Sequence[str], jobs: int) -> Iterator[Result]:
    """Yield the results in order, using up to `jobs` processes."""
    with ProcessPoolExecutor(max_workers=min(jobs, len(names))) if jobs > 1 < len(names) else nullcontext() as pool:
        yield from pool.map(prove, names) if pool else map(prove, names)


def _judged(results: Iterable[Result]) -> Iterator[Result]:
    """Yield the results in the order of `NAMES`, with invalid premises among the failures."""
    found: dict[str, Result] = {}
    for result in results:
        result.failed.extend(_premises.all_unmet(result.name, result.steps, found, NAMES))
        found[result.name] = result
        yield result


def prove_all(names: Sequence[str], jobs: int) -> Iterator[Result]:
    """Yield the results in order with checked premises, which must be derivations of `names`."""
    return _judged(_proofs(names, jobs))


def prove_premises(heads: Sequence[str], jobs: int) -> list[Result]:
    """Return the results of these derivations and of all direct and indirect premises, with checked premises."""
    found: dict[str, Result] = {}
    while missing := [name for name in NAMES if name in heads and name not in found]:
        found |= {result.name: result for result in _proofs(missing, jobs)}
        heads = _premises.modules(p for result in found.values() for p in result.premises)
    return list(_judged(found[name] for name in NAMES if name in found))


def _title(doc: str | None) -> str:
    return (doc or "").strip().splitlines()[0].split("  ")[0].rstrip(".")


def _wrap(text: str, first: str, width: int = WIDTH) -> list[str]:
    return textwrap.wrap(text, width, initial_indent=first, subsequent_indent=" " * len(first), break_on_hyphens=False)


def table_rows(result: Result) -> list[str]:
    """Return the lines of the table for one derivation."""
    verdict = f"{result.seconds:6.1f} s  {'proved' if result.proved else 'FAILED'}"
    title = _wrap(result.title, f"{result.name:<{_INDENT}}", WIDTH - len(verdict) - 2)
    lines = [f"{title[0]:<{WIDTH - len(verdict)}}{verdict}", *title[1:]]
    for how, scopes in result.scopes.items():
        lines += _wrap("; ".join(scopes), " " * _INDENT + f"{how:<{_HOW}}")
    if heads := _premises.modules(result.premises):
        lines += _wrap(", ".join(heads), " " * _INDENT + f"{'rests on':<{_HOW}}")
    if result.quotes:
        lines += _wrap("; ".join(result.quotes), " " * _INDENT + f"{'quotes, unchecked':<{_HOW}}")
    for says in result.failed:
        lines += _wrap(says, " " * _INDENT + "fails: ")
    return lines


def print_table(names: Sequence[str], jobs: int) -> int:
    """Prove the named derivations, print the table and return the exit code."""
    start = time.perf_counter()
    print(
        f"{'theorem':<{_INDENT}}what was proved: how, and for which K and schemes{'time':>{WIDTH - _INDENT - 59}}  "
        f"verdict"
    )
    print("-" * WIDTH)
    results = []
    for result in prove_all(names, jobs):
        results.append(result)
        print("\n".join(table_rows(result)), flush=True)
    print("-" * WIDTH)
    proved, residuals = sum(r.proved for r in results), sum(r.residuals for r in results)
    print(f"{proved} of {len(results)} proved, {residuals} residuals, {time.perf_counter() - start:.1f} s")
    return 0 if proved == len(results) else 1


def print_proof(name: str, wrong: str | None, latex: bool, only: bool, jobs: int) -> int:
    """Print one derivation step by step, prove its premises unless `only`, and return the exit code."""
    module = load(name)
    print(f"{(module.__doc__ or '').strip()}\n")
    claim = module.WRONG[wrong] if wrong else {}
    if wrong:
        print(f"With a false claim: {wrong}.\n")
    steps = []
    for number, step in enumerate(module.derivation(**claim), start=1):
        steps.append(step)
        print("\n".join(_wrap(step.says, f"{number:>3}. ")))
        if step.shows is not None:
            print(textwrap.indent(_formula(step, latex), " " * 5))
        print("\n".join(_wrap(f"[{_verdict(step)}; {step.how}; {step.scope}]", " " * 5)))
        for word, what in (("rests on", step.premises), ("quotes, unchecked:", step.quotes)):
            if what:
                print("\n".join(_wrap(f"[{word} {'; '.join(what)}]", " " * 5)))
        print()
    holds = all(step.holds for step in steps)
    heads = _premises.modules(p for step in steps for p in step.premises)
    if only or wrong or not heads:
        if heads:
            print("\n".join(_wrap(f"It rests on {', '.join(heads)}: not proved here.", "")))
        print(("Proved, if its premises hold." if heads else "Proved.") if holds else "NOT proved.")
        return 0 if holds else 1
    results = prove_premises(heads, jobs)
    failed = _premises.all_unmet(name, steps, {result.name: result for result in results}, NAMES)
    failed += [f"{result.name}: {says}" for result in results for says in result.failed]
    print(f"It rests on {len(results)} derivation{'s' * (len(results) > 1)}, proved with it:")
    for result in results:
        print(f"  {result.name:<{_INDENT}}{result.seconds:6.1f} s  {'proved' if result.proved else 'FAILED'}")
    for says in failed:
        print("\n".join(_wrap(says, "fails: ")))
    print("Proved, with all that it rests on." if holds and not failed else "NOT proved.")
    return 0 if holds and not failed else 1


def print_graph(names: Sequence[str], jobs: int, dot: bool) -> int:
    """Prove the named derivations, print the graph of premises and return the exit code."""
    results = list(prove_all(names, jobs))
    print(_premises.graph(results, dot))
    for result in results:
        for says in result.failed:
            print(f"{'// ' if dot else ''}{result.name}: {says}")
    return 0 if all(result.proved for result in results) else 1


def _formula(step: Step, latex: bool) -> str:
    """Return the formula; an equation too wide for one line is broken at its equality sign."""
    import sympy as sp  # slow to import, and not needed for --help

    if latex:
        return sp.latex(step.shows)
    width = WIDTH - 5
    whole = sp.pretty(step.shows, use_unicode=True, wrap_line=False)
    if not isinstance(step.shows, sp.Eq) or max(map(len, whole.splitlines())) <= width:
        return sp.pretty(step.shows, use_unicode=True, num_columns=width, wrap_line=True)
    left, right = (sp.pretty(side, use_unicode=True, num_columns=width, wrap_line=True) for side in step.shows.args)
    return f"{left}\n=\n{right}"


def _verdict(step: Step) -> str:
    bad = [r for r in step.residuals if r != 0]
    if not bad:
        return f"{len(step.residuals)} residual{'s' * (len(step.residuals) > 1)}, exactly 0"
    shown = str(bad[0])
    return (
        f"{len(bad)} of {len(step.residuals)} residuals are NOT 0: {shown if len(shown) < 70 else shown[:66] + ' ...'}"
    )


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command to a parser."""
    parser.add_argument("name", nargs="?", metavar="NAME", help="derivation to print (see --list)")
    parser.add_argument(
        "--list", action="store_true", help="list the derivations and their false variants, prove nothing"
    )
    parser.add_argument("--graph", action="store_true", help="prove all, and print the graph of premises")
    parser.add_argument("--dot", action="store_true", help="the graph in Graphviz format")
    parser.add_argument("--only", action="store_true", help="with NAME: do not prove its premises")
    parser.add_argument("--latex", action="store_true", help="with NAME: print the formulas in LaTeX")
    parser.add_argument("--wrong", metavar="VARIANT", help="with NAME: run the proof on a false variant; it must fail")
    parser.add_argument(
        "-j",
        "--jobs",
        type=int,
        default=os.cpu_count() or 1,
        help="processes for all proofs except NAME (default: all cores)",
    )


def run(args: argparse.Namespace) -> int:
    """Do what parsed arguments say and return the exit code: 0 proved, 1 not proved.

    Raises
    ------
    ValueError
        If the arguments are invalid.
    """
    if args.jobs < 1:
        raise ValueError(f"argument -j/--jobs: {args.jobs} is not a positive number of processes")
    if args.list:
        for name in NAMES:
            print("\n".join(_wrap(_title(load(name).__doc__), f"{name:<{_INDENT}}")))
            for variant in load(name).WRONG:
                print(" " * _INDENT + f"false: {variant}")
        return 0
    if args.name is None:
        if args.latex or args.wrong or args.only:
            raise ValueError("--latex, --wrong and --only need the NAME of a derivation")
        return print_graph(NAMES, args.jobs, args.dot) if args.graph or args.dot else print_table(NAMES, args.jobs)
    if args.graph or args.dot:
        raise ValueError("--graph and --dot show all derivations: give no NAME")
    module = load(args.name)
    if args.wrong and args.wrong not in module.WRONG:
        raise ValueError(f"{args.name} has no variant {args.wrong!r}; choose from {', '.join(map(repr, module.WRONG))}")
    return print_proof(args.name, args.wrong, args.latex, args.only, args.jobs)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit code: 0 proved, 1 not proved, 2 wrong usage."""
    parser = argparse.ArgumentParser(
        prog=f"python -m {__package__}",
        description="Prove the theorems behind ceflow by exact computer algebra. Without NAME: all, as a table; "
        "exit code 1 if any fails. With NAME: that proof, line by line, and whether all its premises are proved.",
        epilog=f"example: python -m {__package__} lyapunov",
    )
    add_arguments(parser)
    args = parser.parse_args(argv)
    try:
        return run(args)
    except ValueError as error:
        parser.error(str(error))
