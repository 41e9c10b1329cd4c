"""Sphinx configuration: ``python -m sphinx -W docs docs/_build/html``."""

import shutil
import sys
from pathlib import Path

from sphinx.domains.python import PyObject

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent), str(HERE)]

import docstrings  # noqa: E402
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
autodoc_preserve_defaults = True  # as they are written
napoleon_google_docstring = False
napoleon_use_ivar = True
napoleon_use_rtype = False
napoleon_preprocess_types = False

html_theme = "furo"
html_title = "ceflow"
html_static_path = ["_static"]
html_css_files = ["style.css"]
html_theme_options = {"navigation_with_keys": True}


def setup(app):
    for field in PyObject.doc_field_types:
        field.label = {"variable": "Attributes"}.get(field.name, field.label)
    app.connect("autodoc-skip-member", lambda app, what, name, obj, *_: docstrings.is_left_out(name, obj) or None)
    app.connect("autodoc-process-docstring", process, priority=900)  # after napoleon
    app.connect("doctree-read", lambda app, doctree: docstrings.with_spaces(doctree))


def process(app, what, name, obj, options, lines):
    lines[:] = docstrings.corrected(what, lines)
