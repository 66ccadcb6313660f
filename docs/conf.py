"""How the site is built: `make docs`."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

from mscsa import __version__

# Notebooks run while the site is built: on one thread, and with what is installed alone.
# tqdm asks for a bar of Jupyter's, which a page has not.
os.environ.update(OMP_NUM_THREADS="1", HF_HUB_OFFLINE="1", PYTHONWARNINGS="ignore:IProgress not found")

project = "mscsa"
author = "mscsa contributors"
version = release = __version__
copyright = author

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx_copybutton",
    "sphinx_design",
]
exclude_patterns = ["conf.py", "figures/*.py", "jupyter_execute"]

html_theme = "furo"
html_title = f"mscsa {version}"
html_static_path = ["site"]
html_css_files = ["site.css"]
html_copy_source = False
html_show_sphinx = False
smartquotes = False  # `--resume` is two hyphens, in prose too

myst_enable_extensions = ["colon_fence"]
myst_heading_anchors = 3
suppress_warnings = ["myst.header"]  # README's parts are included below headings of other levels

nb_custom_formats = {".py": ["jupytext.reads", {"fmt": "py:percent"}]}
nb_execution_mode = "force"  # a change of the library must show, so that nothing is taken from a cache
nb_execution_timeout = 900  # seconds for one cell, on a machine that has other work, too
nb_execution_raise_on_error = True
nb_merge_streams = True

autodoc_member_order = "bysource"
autodoc_typehints = "description"
autodoc_typehints_description_target = "documented_params"
default_role = "code"  # docstrings write code between single backticks
napoleon_google_docstring = True
napoleon_numpy_docstring = False

ROOT = Path(__file__).resolve().parents[1]
PAGES = {
    "../CONTRIBUTING.md": "contributing.md",
    "../benchmarks/results/PROTOCOL.md": "protocol.md",
    "../benchmarks/results/timm_sweep.md": "sweep.md",
}
"""Documents outside `docs` that a page here includes."""


def link_within(app: Any, name: str, source: list[str]) -> None:
    """Turn links to what lies outside the site: to the page that includes it, or, of folders, to its name."""

    def target(match: re.Match[str]) -> str:
        text, link = match.groups()
        if link in PAGES:
            return f"[{text}]({PAGES[link]})"
        return f"{text} (`{link.removeprefix('../')}`)" if (ROOT / "docs" / link).is_dir() else match[0]

    source[0] = re.sub(r"\[([^\]]*)\]\((\.\./[^)#]*)\)", target, source[0])


def setup(app: Any) -> None:
    """Called by Sphinx."""
    app.connect("source-read", link_within)
