"""What the documents name is there: objects of the package, files, and where links go."""

from __future__ import annotations

import re
from importlib import import_module
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
DOCUMENTS = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")]
DOCUMENTS += sorted((ROOT / "docs").glob("*.md"))

DOTTED = re.compile(r"(?<![\w./-])mscsa(?:\.\w+)+")
"""Not an option such as `--mscsa.depth`, a recipe's field such as `model.mscsa.depth`, or an address."""

PATH = re.compile(r"`((?:[\w-]+/)*[\w-]+(?:\.py|\.md)|(?:[\w-]+/)+)`")
LINK = re.compile(r"\]\((?!https?:)([^)#]+)")

FORMER = re.compile(r"^### (?:Changed|Removed)\n.*?(?=^##|\Z)", re.MULTILINE | re.DOTALL)
"""Sections of a changelog that name what was."""

each_document = pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)


def is_there(dotted: str) -> bool:
    """Whether a module, or what a module holds, has this full name."""
    found, *names = dotted.split(".")
    value = import_module(found)
    for name in names:
        found = f"{found}.{name}"
        if not hasattr(value, name):
            try:
                import_module(found)
            except ModuleNotFoundError:
                return False
        value = getattr(value, name)
    return True


def is_file(path: str) -> bool:
    """Whether a path is one of the repository, written from its root or from the package."""
    return (ROOT / path).exists() or (ROOT / "mscsa" / path).exists()


@each_document
def test_names_of_the_package_are_there(document: Path) -> None:
    names = set(DOTTED.findall(FORMER.sub("", document.read_text(encoding="utf-8"))))
    assert not [name for name in sorted(names) if not is_there(name)]


@pytest.mark.parametrize("name", ["README.md", "CONTRIBUTING.md"])
def test_files_are_there(name: str) -> None:
    paths = PATH.findall((ROOT / name).read_text(encoding="utf-8"))
    assert paths
    assert not [path for path in paths if not is_file(path)]


@each_document
def test_links_lead_to_files(document: Path) -> None:
    targets = LINK.findall(document.read_text(encoding="utf-8"))
    assert not [target for target in targets if not (document.parent / target).exists()]


def test_a_name_that_is_not_there_is_found() -> None:
    assert is_there("mscsa.models.build_pyramid") and is_there("mscsa.attention.config.MSCSAConfig.depth")
    assert not is_there("mscsa.models.pyramid.build_pyramid") and not is_file("compare/childs.py")
    assert FORMER.sub("", "### Added\na\n### Changed\nb\n\n### Fixed\nc\n") == "### Added\na\n### Fixed\nc\n"
    assert DOTTED.findall("`mscsa.a.b`, --mscsa.depth, model.mscsa.depth, x/mscsa.py") == ["mscsa.a.b"]
