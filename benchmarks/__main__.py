"""The command ``python -m benchmarks``."""

from __future__ import annotations

import argparse
import importlib
import inspect
import pkgutil
import sys
from pathlib import Path

import benchmarks


def names() -> list[str]:
    """All modules of this package that are benchmarks: those whose names do not begin with an underscore."""
    return sorted(module.name for module in pkgutil.iter_modules(benchmarks.__path__) if module.name[0] != "_")


def run(name: str, **options) -> None:
    """Run one benchmark with those of the options that it knows."""
    main = importlib.import_module(f"benchmarks.{name}").main
    known = inspect.signature(main).parameters
    main(**{option: value for option, value in options.items() if option in known})


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description="Measure ceflow: tables on standard output; figures, and the numbers as JSON and Markdown, in DIR.",
        epilog="Competitors come with pip install -e '.[bench]'; those that are missing are named in the tables.",
    )
    parser.add_argument("names", nargs="*", metavar="name", help="benchmarks to run (all when left out)")
    parser.add_argument("--list", action="store_true", help="list the benchmarks and exit")
    parser.add_argument("--out", type=Path, metavar="DIR", help="write figures and records to DIR")
    parser.add_argument("--quick", action="store_true", help="small sizes and few repetitions: does it work at all?")
    parser.add_argument("--no-peers", dest="peers", action="store_false", help="only ceflow, no competitors")
    parser.add_argument("--runs", type=int, metavar="N", help="runs of a random grid (accuracy)")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="where its random problems begin (default: 0)")
    parser.add_argument("--jobs", type=int, default=2, metavar="N", help="processes that share it (default: 2)")
    options = parser.parse_args(argv)
    available = names()
    if unknown := sorted(set(options.names) - set(available)):
        parser.error(f"unknown benchmarks: {', '.join(unknown)}; there are {', '.join(available)}")
    if options.list:
        for name in available:
            doc = inspect.getdoc(importlib.import_module(f"benchmarks.{name}")) or ""
            print(f"{name:14s}{doc.splitlines()[0] if doc else ''}")
        return 0
    if options.out is not None:
        options.out.mkdir(parents=True, exist_ok=True)
    for name in options.names or available:
        run(name, **{option: value for option, value in vars(options).items() if option not in ("names", "list")})
    return 0


if __name__ == "__main__":
    sys.exit(main())
