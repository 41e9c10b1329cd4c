"""Documentation that is true: its code runs, its links lead somewhere, and its notebooks show what they ran."""

import ast
import importlib.util
import json
import re
from pathlib import Path

import matplotlib.pyplot as plt
import pytest

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")), *sorted((ROOT / "docs" / "api").glob("*.md"))]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
BLOCK = re.compile(r"^```python\n(.*?)^```", re.DOTALL | re.MULTILINE)
LINK = re.compile(r"\]\(([^)#:]+)\)|^```\{image\} (\S+)", re.MULTILINE)


def name(path):
    return path.relative_to(ROOT).as_posix()


def code(page):
    """The python blocks of a page, each at its own line, so that a failure points into the page."""
    text = page.read_text(encoding="utf-8")
    for block in BLOCK.finditer(text):
        tree = ast.parse(block[1], name(page))
        yield compile(ast.increment_lineno(tree, text[: block.start(1)].count("\n")), str(page), "exec")


@pytest.mark.parametrize("page", [page for page in PAGES if "```python" in page.read_text(encoding="utf-8")], ids=name)
def test_every_python_block_runs(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    namespace = {"__name__": "page"}
    blocks = list(code(page))
    assert len(blocks) == page.read_text(encoding="utf-8").count("```python")
    try:
        for block in blocks:
            exec(block, namespace)
    finally:
        plt.close("all")


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_links_lead_somewhere(page):
    for match in LINK.finditer(page.read_text(encoding="utf-8")):
        target = match[1] or match[2]
        target = target.replace("gallery/", "../notebooks/") if target.startswith("gallery/") else target
        assert (page.parent / target).exists(), target


def test_readme_names_the_notebooks_and_pages_that_exist():
    assert [int(path.name[:2]) for path in NOTEBOOKS] == list(range(1, len(NOTEBOOKS) + 1))
    assert (ROOT / "docs" / "_static" / "portrait.png").stat().st_size < 300_000


@pytest.mark.parametrize("path", NOTEBOOKS, ids=name)
def test_notebook_is_committed_as_executed(path):
    text = path.read_text(encoding="utf-8")
    assert len(text) < 300_000
    notebook = json.loads(text)
    cells = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    assert [cell["execution_count"] for cell in cells] == list(range(1, len(cells) + 1)), "run from top to bottom"
    outputs = [output for cell in cells for output in cell["outputs"]]
    assert any("image/png" in output.get("data", {}) for output in outputs)
    assert not [output for output in outputs if output["output_type"] == "error" or output.get("name") == "stderr"]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=name)
def test_notebook_has_nothing_of_one_machine_or_moment(path):
    text = path.read_text(encoding="utf-8")
    assert not re.search(r"/(home|root|tmp|Users|usr|opt)/|[A-Z]:\\\\|site-packages", text)
    notebook = json.loads(text)
    assert set(notebook["metadata"]) == {"kernelspec", "language_info"}
    assert set(notebook["metadata"]["language_info"]) == {"name"}
    # the style sheet of the pages leaves figures with this tag as they are
    assert all(cell["metadata"] in ({}, {"tags": ["dark"]}) for cell in notebook["cells"])
    ids = [cell["id"] for cell in notebook["cells"]]
    assert len(set(ids)) == len(ids) and all(identity.startswith(path.name[:2] + "-") for identity in ids)


def of_docs(module):
    spec = importlib.util.spec_from_file_location(module, ROOT / "docs" / f"{module}.py")
    found = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(found)
    return found


def test_graph_of_proofs_has_premises_on_the_left():
    proof_graph = of_docs("proof_graph")
    premises = {"a": [], "b": ["a"], "c": ["a", "b"], "d": ["c", "other.step"]}
    svg = proof_graph.drawing(premises, {"d": "#d"}, "steps")
    left = {name: float(x) for x, name in re.findall(r'<text x="([\d.]+)"[^>]*>([^<]+)</text>', svg)}
    assert left["a"] < left["b"] < left["c"] < left["d"] and left["other.step"] == left["c"]
    assert svg.count("<path d=") - 1 == sum(map(len, premises.values()))  # one more is the head of the arrows
    assert '<a href="#d">' in svg and svg.count('class="other"') == 1


def test_names_that_share_a_description_are_one_entry_of_the_documentation():
    docs = of_docs("docstrings")
    lines = [f":param {name}: Times,\n{' ' * len(name)}         or logs." for name in ("t", "log_t")]
    lines[1:] = [":type t: float", *lines[1:], ":type log_t: float"]
    lines += [":param s: Of s.", ":param W: Alike.", ":param H: Alike.", ":param B: Alike."]
    lines += [":returns: All.", ":ivar a, b: Two."]
    found = "\n".join(docs.corrected("function", "\n".join(lines).split("\n"))).replace(docs.WORD_JOINER, "~")
    assert found.split("\n") == [
        ":param t,~log_t: Times,", "    or logs.", ":type t,~log_t: float", ":param s: Of s.", ":param W,~H,~B: Alike.",
        ":returns: All.", ":ivar a,~b: Two.",
    ]  # fmt: skip
    different = [":param a: Alike.", ":type a: int", ":param b: Alike.", ":type b: str", ":param c: Alike."]
    assert docs.corrected("function", different) == different


def test_first_line_of_a_property_is_a_sentence():
    docs = of_docs("docstrings")
    assert docs.corrected("property", ["constant without decay.", "", ":type: (n,) of modes"]) == [
        "(n,) of modes: constant without decay."
    ]
    assert docs.corrected("property", ["No colon.", "", "More."]) == ["No colon.", "", "More."]
