"""The layering of the package: which room may import which. ``python tests/test_layering.py`` draws the house.

A room is a module or a package directly inside of `ceflow`. Imports are read from the source, those inside of functions
too; only the blocks ``if TYPE_CHECKING``, which never run, are left out.
"""

import ast
import functools
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

# From the bottom to the top. A room imports rooms of the lines above its own in this list, and rooms of its own line as
# long as there is no cycle.
LAYERS = [
    ("_checks", "_tolerances", "_arrays", "_html", "kernels"),
    ("_field",),
    ("symmetry",),
    ("losses", "terms"),
    ("network",),
    ("lyapunov", "theory"),
    ("collapse",),
    ("flow",),
    ("solve",),
    ("trajectory", "observables", "io", "_ensemble", "_ensemble_files", "_rows"),
    ("_events", "_run", "_integrate"),
    ("_descent", "_lowest", "_many", "_many_events", "_training"),
    ("_sweep",),
    ("_stability",),
    ("_compare", "basins", "_classifiers"),
    ("certify",),
    ("plot",),
    ("_methods",),  # methods of lower objects that need higher rooms
    ("__init__",),  # the public face
    ("cli",),
    ("__main__",),
]
# These stand beside, and share nothing with what they judge. Those who may ask them: from the line of `certify` on.
BESIDE = ("reference", "rigor")
BESIDE_MAY_IMPORT = {"_checks", "symmetry", *BESIDE}
FIRST_WHO_ASKS_BESIDE = "certify"
# Of a scheme they may read its relations and other integers, but none of what is computed for the flow.
JUDGED = {"gaps", "eigenmatrix", "margins", "forces", "transforms", "basis"}
JUDGED_OPENLY = {("ceflow.reference._relations", "eigenmatrix")}  # compared there, and refused where it differs
# Rooms that know a vector field, and no flow by its name.
KNOW_NO_FLOW = {"_field", "solve", "_run", "_integrate"}
FLOW_CLASS = re.compile(r"_?[A-Z]\w*Flow|_?(Spectral|Matrix)\w*(Field|System)")
LONGEST = 400  # lines of a file

LEVEL = {room: level for level, layer in enumerate(LAYERS) for room in layer}


# -- reading -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Source:
    """A file: its dotted name, whether it is a package's ``__init__``, its lines and its syntax tree."""

    path: Path
    name: str
    is_package: bool
    lines: int
    tree: ast.Module

    @property
    def room(self) -> str:
        parts = self.name.split(".")
        return parts[1] if len(parts) > 1 else "__init__"


@dataclass(frozen=True)
class Arrow:
    """An import of one room by another, and where it stands."""

    tail: str
    head: str
    place: str

    def __str__(self) -> str:
        return f"{self.tail} -> {self.head} ({self.place})"


@functools.cache
def read(root: Path, package: str = "ceflow") -> tuple[Source, ...]:
    """All files of a package."""
    sources = []
    for path in sorted((root / package).rglob("*.py")):
        parts = path.relative_to(root).with_suffix("").parts
        is_package = parts[-1] == "__init__"
        text = path.read_text(encoding="utf-8")
        name = ".".join(parts[:-1] if is_package else parts)
        sources.append(Source(path.relative_to(root), name, is_package, text.count("\n"), ast.parse(text)))
    return tuple(sources)


def running(node: ast.AST) -> Iterator[ast.AST]:
    """All nodes below this one but for what stands under ``if TYPE_CHECKING``."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If) and last_name(child.test) == "TYPE_CHECKING":
            for other in child.orelse:
                yield other
                yield from running(other)
            continue
        yield child
        yield from running(child)


def imported(source: Source, modules: set[str]) -> Iterator[tuple[str, int]]:
    """Dotted names of the modules that a file imports, as far as a reader can tell, and the lines."""
    for node in running(source.tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name, node.lineno
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                up = node.level - source.is_package
                start = source.name.split(".")
                base = ".".join([*start[: len(start) - up], *([node.module] if node.module else [])])
            for alias in node.names:
                name = f"{base}.{alias.name}"
                yield (name if name in modules else base), node.lineno
        elif isinstance(node, ast.Call) and is_dynamic(node):
            if node.args and isinstance(node.args[0], ast.Constant) and not str(node.args[0].value).startswith("."):
                yield node.args[0].value, node.lineno


def is_dynamic(node: ast.AST) -> bool:
    return isinstance(node, ast.Call) and last_name(node.func) in ("import_module", "__import__")


def last_name(node: ast.AST) -> str | None:
    return node.id if isinstance(node, ast.Name) else node.attr if isinstance(node, ast.Attribute) else None


@functools.cache
def arrows(root: Path) -> tuple[Arrow, ...]:
    """Imports of one room by another."""
    sources = read(root)
    modules, found = {source.name for source in sources}, {}
    for source in sources:
        for name, line in imported(source, modules):
            package, *parts = name.split(".")
            head = parts[0] if parts else "__init__"
            if package == "ceflow" and head != source.room:
                found[Arrow(source.room, head, f"{source.path.as_posix()}:{line}")] = None  # a dict keeps the order
    return tuple(found)


def cycles(pairs: set[tuple[str, str]]) -> list[list[str]]:
    """Rooms that reach each other, in groups."""
    reached = {}
    for room in {room for pair in pairs for room in pair}:
        seen, rest = set(), [room]
        while rest:
            here = rest.pop()
            new = {head for tail, head in pairs if tail == here} - seen
            seen |= new
            rest += new
        reached[room] = seen
    groups = {frozenset(b for b in reached[a] if a in reached[b]) for a in reached if a in reached[a]}
    return sorted(sorted(group) for group in groups)


# -- rules: each returns what breaks it, in words ----------------------------------------------------------------------


def rooms_out_of_place(root: Path) -> list[str]:
    """Rooms that LAYERS does not know, or that are not there."""
    rooms, known = {source.room for source in read(root)}, {*LEVEL, *BESIDE}
    return [f"{room} has no layer" for room in sorted(rooms - known)] + [
        f"{room} is missing" for room in sorted(known - rooms)
    ]


def arrows_that_run_up(root: Path) -> list[str]:
    lowest = LEVEL[FIRST_WHO_ASKS_BESIDE]
    up = []
    for arrow in arrows(root):
        if arrow.tail in BESIDE or arrow.tail not in LEVEL:
            continue
        if arrow.head in BESIDE:
            wrong = LEVEL[arrow.tail] < lowest
        else:
            wrong = arrow.head not in LEVEL or LEVEL[arrow.tail] < LEVEL[arrow.head]
        if wrong:
            up.append(str(arrow))
    return up


def cycles_among_rooms(root: Path) -> list[str]:
    return [" <-> ".join(group) for group in cycles({(arrow.tail, arrow.head) for arrow in arrows(root)})]


def cycles_among_files(root: Path) -> list[str]:
    """Files that import each other, in groups; also within a room, and inside of functions."""
    sources = read(root)
    modules = {source.name for source in sources}
    pairs = {(source.name, name) for source in sources for name, _ in imported(source, modules) if name in modules}
    return [" <-> ".join(group) for group in cycles(pairs)]


def imports_that_nobody_can_read(root: Path) -> list[str]:
    """Names put together while running may lead into the own package only, as in a registry of its files."""
    found = []
    for source in read(root):
        for node in running(source.tree):
            if not is_dynamic(node) or (node.args and isinstance(node.args[0], ast.Constant)):
                continue
            text = ast.unparse(node)
            inside = source.is_package or source.name.count(".") > 1
            own = "__name__" in text if source.is_package else "__package__" in text
            if not (inside and own and ".." not in text):
                found.append(f"{source.path.as_posix()}:{node.lineno}: {text}")
    return found


def files_too_long(root: Path) -> list[str]:
    return [f"{source.path.as_posix()} has {source.lines} lines" for source in read(root) if source.lines > LONGEST]


def judges_who_know_the_accused(root: Path) -> list[str]:
    found = [str(arrow) for arrow in arrows(root) if arrow.tail in BESIDE and arrow.head not in BESIDE_MAY_IMPORT]
    for source in read(root):
        for node in ast.walk(source.tree) if source.room in BESIDE else ():
            if isinstance(node, ast.Attribute) and node.attr in JUDGED and last_name(node.value) == "scheme":
                if (source.name, node.attr) not in JUDGED_OPENLY:
                    found.append(f"{source.path.as_posix()}:{node.lineno} reads {ast.unparse(node)}")
    return found


def derivations_that_know_ceflow(root: Path) -> list[str]:
    sources = read(root, "derivations")
    modules = {source.name for source in sources}
    return [
        f"{source.path.as_posix()}:{line} imports {name}"
        for source in sources
        for name, line in imported(source, modules)
        if name.split(".")[0] == "ceflow"
    ]


def flows_named_by_those_who_integrate(root: Path) -> list[str]:
    """As a name, an attribute, an import or a string that is nothing else; what users read may name them."""
    found = []
    for source in read(root):
        for node in ast.walk(source.tree) if source.room in KNOW_NO_FLOW else ():
            names = {
                ast.Name: lambda node: [node.id],
                ast.Attribute: lambda node: [node.attr],
                ast.alias: lambda node: [*node.name.split("."), node.asname or ""],
                ast.Constant: lambda node: [str(node.value)],
            }.get(type(node), lambda node: [])(node)
            found += [
                f"{source.path.as_posix()}:{node.lineno} names {name}" for name in names if FLOW_CLASS.fullmatch(name)
            ]
    return found


def names_of_two_things(root: Path) -> list[str]:
    """A public name is a room, or something out of a room, never both."""
    sources = read(root)
    rooms = {source.room for source in sources}
    (face,) = (source for source in sources if source.name == "ceflow")
    return [
        f"{alias.asname or alias.name} is a room, and is imported from {node.module}"
        for node in running(face.tree)
        if isinstance(node, ast.ImportFrom) and node.module
        for alias in node.names
        if (alias.asname or alias.name) in rooms
    ]


RULES = [
    rooms_out_of_place,
    arrows_that_run_up,
    cycles_among_rooms,
    cycles_among_files,
    imports_that_nobody_can_read,
    files_too_long,
    judges_who_know_the_accused,
    derivations_that_know_ceflow,
    flows_named_by_those_who_integrate,
    names_of_two_things,
]


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_the_house_is_in_order(rule):
    broken = rule(ROOT)
    assert not broken, "\n".join(broken)


# -- the rules themselves: a house in order, and one seed of disorder at a time ----------------------------------------


def build(root: Path) -> None:
    """Every room, empty: those that are packages hold one file."""
    for room in (*LEVEL, *BESIDE):
        path = root / "ceflow" / f"{room}.py"
        path.parent.mkdir(exist_ok=True)
        if room in ("kernels", "symmetry", "losses", "network", "theory", "flow", "solve", "certify", "plot", "cli"):
            path = root / "ceflow" / room / "__init__.py"
            path.parent.mkdir()
            (path.parent / "inside.py").write_text("")
        path.write_text("")
    (root / "derivations").mkdir()
    (root / "derivations" / "__init__.py").write_text("import sympy\n")


SEEDS = {
    "up": ("ceflow/flow/inside.py", "from ..solve import loop", arrows_that_run_up),
    "up, absolute": ("ceflow/losses/inside.py", "import ceflow.network.inside as n", arrows_that_run_up),
    "up, lazy": ("ceflow/trajectory.py", "def f():\n    from .certify import certify", arrows_that_run_up),
    "up, in a class, in a try": (
        "ceflow/flow/inside.py",
        "class A:\n    try:\n        from ..solve.inside import loop\n    except ImportError:\n        pass",
        arrows_that_run_up,
    ),
    "up, a module of the package": ("ceflow/lyapunov.py", "from . import flow", arrows_that_run_up),
    "up, from a package's face": ("ceflow/kernels/__init__.py", "from .. import symmetry", arrows_that_run_up),
    "up, where types are not checked": (
        "ceflow/lyapunov.py",
        "if TYPE_CHECKING:\n    pass\nelse:\n    from .flow import inside",
        arrows_that_run_up,
    ),
    "up, called": ("ceflow/lyapunov.py", "importlib.import_module('ceflow.flow')", arrows_that_run_up),
    "up, the public face": ("ceflow/plot/inside.py", "from .. import __version__", arrows_that_run_up),
    "up, the public face by name": ("ceflow/io.py", "import ceflow as cf", arrows_that_run_up),
    "the accused asks the judge": ("ceflow/flow/inside.py", "from .. import rigor", arrows_that_run_up),
    "a cycle": ("ceflow/io.py", "from . import trajectory", cycles_among_rooms),
    "a name put together": ("ceflow/io.py", "import_module('.' + x, __package__)", imports_that_nobody_can_read),
    "a new room": ("ceflow/attic.py", "", rooms_out_of_place),
    "a long file": ("ceflow/solve/inside.py", "\n" * LONGEST, files_too_long),
    **{
        f"{judge} knows {room}": (
            f"ceflow/{judge}.py", f"def f():\n    from .{room} import x", judges_who_know_the_accused
        )
        for judge in BESIDE
        for room in ("losses", "flow", "solve", "network", "theory", "lyapunov")
    },
    "the judge reads gaps": ("ceflow/rigor.py", "def f(scheme):\n    return scheme.gaps", judges_who_know_the_accused),
    "a derivation": ("derivations/ray.py", "def f():\n    from ceflow import theory", derivations_that_know_ceflow),
    "a flow": ("ceflow/solve/inside.py", "from ..flow import SpectralFlow", flows_named_by_those_who_integrate),
    "a flow's field": ("ceflow/_integrate.py", "flow.MatrixSystem", flows_named_by_those_who_integrate),
    "a flow in quotes": ("ceflow/_integrate.py", "f.__name__ == 'MatrixFlow'", flows_named_by_those_who_integrate),
    "two things": ("ceflow/__init__.py", "from ._compare import compare as collapse", names_of_two_things),
}  # fmt: skip


def test_a_house_in_order_breaks_no_rule(tmp_path):
    build(tmp_path)
    for path, text in (
        ("ceflow/trajectory.py", "from . import flow, observables\nif TYPE_CHECKING:\n    from .certify import c"),
        ("ceflow/io.py", "from .trajectory import Trajectory"),
        ("ceflow/reference.py", "from ._checks import checked_array\nfrom .symmetry import Scheme"),
        ("ceflow/certify/inside.py", "from ..reference import solve\nfrom . import Claim"),
        ("ceflow/losses/__init__.py", "import importlib\nimportlib.import_module(f'.{file}', __name__)"),
        ("ceflow/solve/inside.py", '"""Any VectorField, of a SpectralFlow for one."""\nfrom ..flow import VectorField'),
        ("ceflow/cli/inside.py", "from .. import __version__, integrate"),
    ):
        (tmp_path / path).write_text(text)
    assert {rule.__name__: rule(tmp_path) for rule in RULES} == {rule.__name__: [] for rule in RULES}


@pytest.mark.parametrize("seed", SEEDS)
def test_a_seed_of_disorder_is_found(seed, tmp_path):
    build(tmp_path)
    path, text, rule = SEEDS[seed]
    (tmp_path / "ceflow/trajectory.py").write_text("from . import io\n")
    (tmp_path / path).write_text(text + "\n")
    assert len(rule(tmp_path)) == 1
    others = {other.__name__ for other in RULES if other(tmp_path)} - {rule.__name__}
    # what runs up may close a cycle as well, and so may a flow that is imported
    assert others <= {"cycles_among_rooms", "cycles_among_files"}


def test_a_circle_of_files_within_a_room_is_found(tmp_path):
    build(tmp_path)
    (tmp_path / "ceflow/solve/inside.py").write_text("from .other import x\n")
    (tmp_path / "ceflow/solve/other.py").write_text("def f():\n    from . import inside\n")
    assert {rule.__name__: rule(tmp_path) for rule in RULES if rule(tmp_path)} == {
        "cycles_among_files": ["ceflow.solve.inside <-> ceflow.solve.other"]
    }


def test_cycles_are_found_whole():
    assert cycles({tuple(pair) for pair in ("ab", "bc", "ca", "cd", "ef", "fe")}) == [["a", "b", "c"], ["e", "f"]]
    assert cycles({tuple(pair) for pair in ("ab", "bc", "ac")}) == []


# -- the drawing -------------------------------------------------------------------------------------------------------


def draw(root: Path = ROOT) -> str:
    """Rooms from the bottom to the top, with lines, longest file and arrows; then what is out of order."""
    sources = read(root)
    pairs = {(arrow.tail, arrow.head) for arrow in arrows(root)}
    rooms: dict[str, list[Source]] = {}
    for source in sources:
        rooms.setdefault(source.room, []).append(source)

    def depth(room: str, seen: tuple = ()) -> int:
        """Length of the longest way down, each room once."""
        heads = [head for tail, head in pairs if tail == room and head not in seen]
        return 1 + max((depth(head, (*seen, room)) for head in heads), default=-1)

    rules = RULES
    if set(rooms) == {*LEVEL, *BESIDE}:
        level = {room: LEVEL.get(room, -1) for room in rooms}
    else:  # another house than that of LAYERS: nobody knows which way is up
        level = {room: depth(room) for room in rooms}
        rules = [rule for rule in RULES if rule not in (rooms_out_of_place, arrows_that_run_up)]
    rows = [f"{'room':<16}{'files':>6}{'lines':>7}{'longest':>9}  imports"]
    for room in sorted(rooms, key=lambda room: (room in BESIDE, level[room], room)):
        lines = [source.lines for source in rooms[room]]
        heads = sorted((head for tail, head in pairs if tail == room), key=lambda head: (level[head], head))
        rows.append(f"{room:<16}{len(lines):>6}{sum(lines):>7}{max(lines):>9}  {' '.join(heads)}".rstrip())
    total = sum(source.lines for source in sources)
    rows += ["", f"{len(rooms)} rooms, {len(sources)} files, {total} lines, {len(pairs)} arrows"]
    for rule in rules:
        broken = rule(root)
        rows += ["", f"{rule.__name__.replace('_', ' ')}: {len(broken) or 'none'}", *(f"  {line}" for line in broken)]
    return "\n".join(rows)


def test_the_drawing_shows_every_room():
    text = draw()
    assert all(re.search(rf"^{re.escape(source.room)} ", text, re.MULTILINE) for source in read(ROOT))


if __name__ == "__main__":
    print(draw(Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT))
