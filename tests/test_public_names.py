"""A name is imported from the module that defines it; what a package lists is for users of the library."""

from __future__ import annotations

import ast
from importlib import import_module
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("mscsa.data", "mscsa.evaluation", "mscsa.training")


def imports_of(path: Path) -> list[tuple[str, str, str]]:
    """(module, name, name here) of each `from module import name`."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    nodes = [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.module]
    return [(str(node.module), alias.name, alias.asname or "") for node in nodes for alias in node.names]


def listed(package: str) -> set[str]:
    """What a package names for its users."""
    init = ROOT.joinpath(*package.split("."), "__init__.py")
    return {name for _, name, here in imports_of(init) if name == here}


@pytest.mark.parametrize("package", PACKAGES)
def test_a_package_lists_what_its_modules_define(package: str) -> None:
    init = ROOT.joinpath(*package.split("."), "__init__.py")
    assert listed(package)
    for module, name, here in imports_of(init):
        if name == here:
            origin = import_module(module)
            assert getattr(origin, name).__module__ == module
            # A module of the same name may be hidden by it, as `evaluate` in `evaluation.evaluate`.
            assert getattr(import_module(package), name) is getattr(origin, name)


@pytest.mark.parametrize("package", PACKAGES)
def test_the_librarys_own_code_goes_to_the_module(package: str) -> None:
    for path in sorted((ROOT / "mscsa").rglob("*.py")):
        wrong = {name for module, name, _ in imports_of(path) if module == package}
        assert not wrong & listed(package), f"{path} imports {sorted(wrong)} from {package}"
