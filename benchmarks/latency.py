"""Import, first call and `ceflow run` in fresh processes, and where the import time goes.

Cold: an empty cache directory, so that everything is compiled. Warm: the same directory again. Packages are counted by
`python -X importtime`: the time of a module without that of the modules it imports, summed over each package. CPU
seconds are what to compare on a machine that has other things to do. By the rule a first call is interpreted.
"""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path

from ._report import Table, report

ROOT = Path(__file__).resolve().parents[1]
SOLVE = (
    "import sys, time; clock = time.process_time; t0 = clock(); import ceflow as cf; import numpy as np; t1 = clock();"
    "cf.settings.compiled = {'rule': None, 'compiled': True, 'interpreted': False}[sys.argv[1]];"
    "flow = cf.SpectralFlow(cf.hadamard(16)); s0 = np.full(15, 1e-3) * np.arange(1, 16);"
    "t2 = clock(); cf.integrate(flow, s0, 1e12); t3 = clock();"
    "cf.integrate(flow, s0, 1e12); t4 = clock(); print(t1 - t0, t3 - t2, t4 - t3)"
)

COMMAND = (
    "import sys, time; clock = time.process_time; from ceflow.cli import main; t0 = clock();"
    "main(['run', '--quiet', '--out', sys.argv[1]]); print(clock() - t0, file=sys.stderr)"
)


def python(code: str, cache: str, *options: str, argument: str = "rule") -> tuple[float, str, str]:
    """(CPU seconds of the whole process, its output, its standard error)."""
    before = _children()
    environment = os.environ | {"NUMBA_CACHE_DIR": cache}
    command = [sys.executable, *options, "-c", code, argument]
    process = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env=environment, check=True)
    return _children() - before, process.stdout, process.stderr


def _children() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def fastest(runs: list[list[float]]) -> list[float]:
    return [min(column) for column in zip(*runs, strict=True)]


def by_package(cache: str, code: str = "import ceflow") -> Counter:
    """Milliseconds of import by top-level package, each module without what it imports."""
    times: Counter = Counter()
    for line in python(code, cache, "-X", "importtime")[2].splitlines():
        parts = line.removeprefix("import time:").split("|")
        if line.startswith("import time:") and parts[0].strip().isdigit():
            name = parts[2].strip().split(".")[0]
            times[name if name not in sys.stdlib_module_names else "standard library"] += int(parts[0]) / 1e3
    return times


def main(out: Path | None = None, quick: bool = False, peers: bool = True) -> list[Table]:
    columns = ["cache", "life", "whole process", "import ceflow", "first call", "second call"]
    table = Table("CPU seconds in a fresh process", columns)
    with tempfile.TemporaryDirectory() as cache:
        for name, repeats in (("cold", 1), ("warm", 2 if quick else 7)):
            for life in ("rule", "compiled") if name == "cold" else ("rule", "interpreted", "compiled"):
                runs = []
                for _ in range(repeats):
                    whole, output, _ = python(SOLVE, cache, argument=life)
                    runs.append([whole, *map(float, output.split())])
                table.rows.append([name, life, *fastest(runs)])
            if name == "warm":  # Matplotlib makes a list of fonts in its first process
                command = [float(python(COMMAND, cache, argument=cache)[2].splitlines()[-1]) for _ in range(repeats)]
        alone = {
            module: min(python(f"import {module}", cache)[0] for _ in range(1 if quick else 5))
            for module in ("sys", "numpy", "scipy.special", "scipy.integrate", "numba", "matplotlib.figure", "ceflow")
        }
        counted: dict[str, float] = {}
        for _ in range(1 if quick else 5):
            for package, ms in by_package(cache).items():
                counted[package] = min(ms, counted.get(package, ms))
    page = Table("CPU seconds of `ceflow run` after the import", ["seconds"], [[min(command)]])
    title = "CPU seconds of a whole process that only imports one thing"
    modules = Table(title, ["import", "seconds", "above an empty process"])
    modules.rows = [[name, seconds, seconds - alone["sys"]] for name, seconds in alone.items()]
    packages = Table("import ceflow by package (-X importtime, which slows all of it)", ["package", "ms", "share"])
    total = sum(counted.values())
    most = sorted(counted.items(), key=lambda item: -item[1])[:10]
    packages.rows = [[package, ms, ms / total] for package, ms in [*most, ("all", total)]]
    tables = [table, page, modules, packages]
    report("latency", tables, out, quick=quick)
    return tables
