"""Every public docstring has an example, the index has a line for each, and all examples are true.

Examples take `np` and `cf` as imported, as those of NumPy do. They run interpreted, which is cheap for what is as small
as they are, in an empty folder. Those that need an optional package are tests of their own, skipped where it is not.
"""

import ast
import doctest
import importlib
import inspect
import re
import types
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pytest

import ceflow as cf

ROOT = Path(__file__).resolve().parents[1]
# All public names of these have an example: those of `__all__`, or else functions and classes that are defined there.
# Checks of arguments are for other rooms, not for users.
ROOMS = [
    "ceflow", "ceflow.basins", "ceflow.certify", "ceflow.collapse", "ceflow.collapse.forgetting", "ceflow.losses",
    "ceflow.lyapunov", "ceflow.plot", "ceflow.reference", "ceflow.rigor", "ceflow.terms", "ceflow.theory",
    "ceflow.theory.codes", "ceflow.theory.complexity", "ceflow.theory.imbalance", "ceflow.theory.landscape",
    "ceflow.theory.low_rank", "ceflow.theory.regression", "ceflow.theory.replay",
]  # fmt: skip
# What examples need, by the beginning of their names; those that import a package themselves say so.
NEEDS = {
    "ceflow._ensemble.Ensemble.to_xarray": "xarray",
    "ceflow._methods.to_pandas": "pandas",
    "ceflow._sweep._sweep.sweep": "zarr",
    "ceflow.reference": "mpmath",
    "ceflow.rigor": "flint",
    "ceflow.trajectory.Trajectory.to_xarray": "xarray",
}


def public(room):
    module = importlib.import_module(room)
    names = getattr(module, "__all__", None) or [
        name for name, thing in vars(module).items() if getattr(thing, "__module__", None) == room and name[0] != "_"
    ]
    return {name: getattr(module, name) for name in names if not name.startswith("checked_")}


def is_data(thing):
    """Whether it is a plain value, which has no docstring of its own."""
    return type(thing).__module__ == "builtins" and not callable(thing) and not isinstance(thing, types.ModuleType)


@pytest.mark.parametrize("room", ROOMS)
def test_every_public_name_has_an_example(room):
    things = public(room) | {"the module": importlib.import_module(room)}
    documented = {name: inspect.getdoc(thing) or "" for name, thing in things.items() if not is_data(thing)}
    assert not [name for name, doc in documented.items() if ">>>" not in doc]


@pytest.mark.parametrize("room", ROOMS)
def test_every_public_name_is_in_the_index(room):
    text = (ROOT / "docs" / "api" / "index.md").read_text(encoding="utf-8")
    (section,) = re.findall(rf"^## [^\n]*: `{re.escape(room)}`\n(.*?)(?=^## |\Z)", text, re.DOTALL | re.MULTILINE)
    listed = re.findall(r"^   (?:~\w+\.)?(\w+)$|`([A-Z_]+)`", section, re.MULTILINE)
    assert sorted(map("".join, listed)) == sorted(public(room))


def docstrings(path):
    """Those with examples in a file, as doctests of their dotted names."""
    text = path.read_text(encoding="utf-8")
    tree, module = ast.parse(text), ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")

    def walk(node, name):
        doc = ast.get_docstring(node, clean=False) if isinstance(node, KINDS) else None
        if doc and ">>>" in doc:
            line = node.body[0].lineno - 1
            yield doctest.DocTestParser().get_doctest(inspect.cleandoc(doc) + "\n", {}, name, str(path), line)
        for child in ast.iter_child_nodes(node):
            yield from walk(child, f"{name}.{child.name}" if isinstance(child, KINDS) else name)

    return list(walk(tree, module))


KINDS = (ast.Module, ast.ClassDef, ast.FunctionDef)
EXAMPLES = {path.relative_to(ROOT).as_posix(): docstrings(path) for path in sorted((ROOT / "ceflow").rglob("*.py"))}


def needed(example):
    """Optional package of an example, or None."""
    source = "".join(line.source for line in example.examples)
    imported = [package for package in ("torch", "xarray") if f"import {package}\n" in source]
    stated = [package for name, package in NEEDS.items() if example.name.startswith(name)]
    return next(iter(imported + stated), None)


FREE = {path: kept for path, all_ in EXAMPLES.items() if (kept := [e for e in all_ if not needed(e)])}
BOUND = {e.name: e for all_ in EXAMPLES.values() for e in all_ if needed(e)}


@pytest.fixture
def run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    compiled, cf.settings.compiled = cf.settings.compiled, False

    def check(example):
        report = []
        example.globs.update(np=np, cf=cf)
        doctest.DocTestRunner(verbose=False).run(example, out=report.append)
        assert not report, "".join(report)

    yield check
    cf.settings.compiled = compiled
    plt.close("all")


@pytest.mark.parametrize("path", FREE)
def test_examples_are_true(path, run):
    for example in FREE[path]:
        run(example)


@pytest.mark.parametrize("name", BOUND)
def test_examples_that_need_a_package_are_true(name, run):
    pytest.importorskip(needed(BOUND[name]))
    run(BOUND[name])
