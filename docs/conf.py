"""Sphinx configuration: ``python -m sphinx -W docs docs/_build/html``."""

import re
import shutil
import sys
from pathlib import Path

from docutils import nodes

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent), str(HERE)]

import proof_graph  # noqa: E402

import ceflow  # noqa: E402  (the clone, not an installed version)

# Sphinx reads only what lies below this folder; the notebooks stay at the top, where people look for them
shutil.copytree(HERE.parent / "notebooks", HERE / "gallery", dirs_exist_ok=True, ignore=lambda _, names: [
    name for name in names if not name.endswith(".ipynb")
])  # fmt: skip

proof_graph.write(HERE / "_generated" / "proofs.md")

project = "ceflow"
author = copyright = "the ceflow authors"
version = release = ceflow.__version__

extensions = [
    "myst_nb", "sphinx.ext.autodoc", "sphinx.ext.autosummary", "sphinx.ext.napoleon", "sphinx.ext.mathjax",
    "sphinx-mathjax-offline", "sphinx.ext.viewcode",
]  # fmt: skip
autosummary_generate = False  # tables only: what is in them has its place on a page
exclude_patterns = ["_build", "_generated"]
default_role = "py:obj"  # in docstrings a name in single backticks is a link where there is something to link to

myst_enable_extensions = ["dollarmath", "amsmath", "deflist"]
myst_heading_anchors = 3
nb_execution_mode = "off"  # they are committed with their outputs, and the tests see to it
nb_merge_streams = True
nb_render_markdown_format = "myst"  # formulas in printed Markdown too

autodoc_member_order = "bysource"
autodoc_typehints = "none"  # the docstrings say more
napoleon_google_docstring = False
napoleon_use_ivar = True
napoleon_use_rtype = False
napoleon_preprocess_types = False

html_theme = "furo"
html_title = "ceflow"
html_static_path = ["_static"]
html_css_files = ["style.css"]
html_theme_options = {"navigation_with_keys": True}


WORD_JOINER = "\u2060"  # which nobody sees, and which is no space


def one_name(app, what, name, obj, options, lines):
    """Attributes that share a description, such as "nfev, nsteps", are one name to Sphinx only without spaces."""
    joined = f",{WORD_JOINER}"
    lines[:] = [re.sub(r"^:(ivar|vartype) [^:]+:", lambda m: re.sub(r",\s+", joined, m[0]), line) for line in lines]


def with_spaces(app, doctree):
    """The spaces that `one_name` took."""
    for text in doctree.findall(nodes.Text):
        if WORD_JOINER in text:
            text.parent.replace(text, nodes.Text(text.replace(WORD_JOINER, " ")))


def setup(app):
    app.connect("autodoc-process-docstring", one_name, priority=900)  # after napoleon
    app.connect("doctree-read", with_spaces)
