"""Command line: `python -m derivations` proves everything as a table, `python -m derivations NAME` prints one proof."""

from __future__ import annotations

import argparse
import os
import sys
import textwrap
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass

import sympy as sp

from . import NAMES, load
from ._proof import Step

WIDTH = 100
_INDENT = 18
_HOW = 28


@dataclass(frozen=True)
class Result:
    """What came of one derivation: scopes of its steps by the way they were proved, failed steps, and the time."""

    name: str
    title: str
    scopes: dict[str, list[str]]
    failed: list[str]
    residuals: int
    seconds: float

    @property
    def proved(self) -> bool:
        """Whether there was something to prove and every step holds."""
        return not self.failed and self.residuals > 0


def prove(name: str) -> Result:
    """Run one derivation to its end; an exception counts as a failed step."""
    module = load(name)
    start = time.perf_counter()
    scopes: dict[str, list[str]] = {}
    failed, residuals = [], 0
    try:
        for step in module.derivation():
            residuals += len(step.residuals)
            known = scopes.setdefault(step.how, [])
            if step.scope not in known:
                known.append(step.scope)
            if not step.holds:
                failed.append(step.says)
    except Exception as error:  # a broken proof must appear in the table, not hide the others
        failed.append(f"{type(error).__name__}: {error}")
    return Result(name, _title(module.__doc__), scopes, failed, residuals, time.perf_counter() - start)


def prove_all(names: Sequence[str], jobs: int) -> Iterator[Result]:
    """Yield the results in order, using up to `jobs` processes."""
    if jobs == 1 or len(names) == 1:
        yield from map(prove, names)
        return
    with ProcessPoolExecutor(max_workers=min(jobs, len(names))) as pool:
        yield from pool.map(prove, names)


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


def print_proof(name: str, wrong: str | None, latex: bool) -> int:
    """Print one derivation step by step and return the exit code."""
    module = load(name)
    print(f"{(module.__doc__ or '').strip()}\n")
    claim = module.WRONG[wrong] if wrong else {}
    if wrong:
        print(f"With a false claim: {wrong}.\n")
    holds = True
    for number, step in enumerate(module.derivation(**claim), start=1):
        holds = holds and step.holds
        print("\n".join(_wrap(step.says, f"{number:>3}. ")))
        if step.shows is not None:
            print(textwrap.indent(_formula(step, latex), " " * 5))
        print(f"     [{_verdict(step)}; {step.how}; {step.scope}]\n")
    print("Proved." if holds else "NOT proved.")
    return 0 if holds else 1


def _formula(step: Step, latex: bool) -> str:
    """Return the formula; an equation too wide for one line is broken at its equality sign."""
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


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m derivations",
        description="Prove the theorems behind ceflow by exact computer algebra. Without NAME: all, as a table; "
        "exit code 1 if any fails. With NAME: that proof, line by line.",
        epilog="example: python -m derivations lyapunov",
    )
    parser.add_argument("name", nargs="?", metavar="NAME", help="derivation to print (see --list)")
    parser.add_argument(
        "--list", action="store_true", help="list the derivations and their false variants, prove nothing"
    )
    parser.add_argument("--latex", action="store_true", help="with NAME: print the formulas in LaTeX")
    parser.add_argument("--wrong", metavar="VARIANT", help="with NAME: run the proof on a false variant; it must fail")
    parser.add_argument(
        "-j", "--jobs", type=int, default=os.cpu_count() or 1, help="processes for the table (default: all cores)"
    )
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit code: 0 proved, 1 not proved, 2 wrong usage."""
    parser = _parser()
    args = parser.parse_args(argv)
    if args.jobs < 1:
        parser.error(f"argument -j/--jobs: {args.jobs} is not a positive number of processes")
    if args.list:
        for name in NAMES:
            print("\n".join(_wrap(_title(load(name).__doc__), f"{name:<{_INDENT}}")))
            for variant in load(name).WRONG:
                print(" " * _INDENT + f"false: {variant}")
        return 0
    if args.name is None:
        if args.latex or args.wrong:
            parser.error("--latex and --wrong need the NAME of a derivation")
        return print_table(NAMES, args.jobs)
    if args.name not in NAMES:
        parser.error(f"no derivation is called {args.name!r}; choose from {', '.join(NAMES)}")
    if args.wrong and args.wrong not in load(args.name).WRONG:
        parser.error(
            f"{args.name} has no variant {args.wrong!r}; choose from {', '.join(map(repr, load(args.name).WRONG))}"
        )
    return print_proof(args.name, args.wrong, args.latex)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except BrokenPipeError:  # the reader of a pipe has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
