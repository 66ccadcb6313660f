"""A name is imported from the module that defines it; what a package lists is for users of the library."""

from __future__ import annotations

import ast
from functools import cache
from importlib import import_module
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[1]


def name_of(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if path.name == "__init__.py" else parts)


@cache
def imports_of(path: Path) -> list[tuple[str, str, str]]:
    """(module, name, name here) of each `from module import name`; modules are told by their full names."""
    package = path.parent.relative_to(ROOT).parts
    found = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else ()
            module = ".".join((*base, node.module) if node.module else base)
            found += [(module, alias.name, alias.asname or alias.name) for alias in node.names]
    return found


def handed_on(init: Path) -> dict[str, tuple[str, str]]:
    """What a package has from its own modules: name -> (module, name there)."""
    return {
        here: (module, name)
        for module, name, here in imports_of(init)
        if module.split(".")[0] == "mscsa"
        and not isinstance(getattr(import_module(module), name), ModuleType)
    }


INITS = {name_of(path): path for path in sorted((ROOT / "mscsa").rglob("__init__.py"))}
PACKAGES = [package for package, init in INITS.items() if handed_on(init)]

each_package = pytest.mark.parametrize("package", PACKAGES)


def test_all_packages_are_looked_at() -> None:
    assert {"mscsa", "mscsa.assembly", "mscsa.attention", "mscsa.frozen", "mscsa.training"} <= set(PACKAGES)
    assert handed_on(INITS["mscsa.attention"])["MSCSA"] == ("mscsa.attention.module", "MSCSA")


@each_package
def test_a_package_lists_what_its_modules_define(package: str) -> None:
    for here, (module, name) in handed_on(INITS[package]).items():
        value = getattr(import_module(module), name)
        # Tables of recipes and other plain values do not say where they were made.
        assert getattr(value, "__module__", module) == module
        # A module of the same name may be hidden by it, as `evaluate` in `evaluation.evaluate`.
        assert getattr(import_module(package), here) is value


@each_package
def test_the_librarys_own_code_goes_to_the_module(package: str) -> None:
    names = handed_on(INITS[package])
    wrong = [
        f"{path.relative_to(ROOT)} imports {name} from {package}"
        for path in sorted((ROOT / "mscsa").rglob("*.py"))
        for module, name, _ in imports_of(path)
        if module == package and name in names
    ]
    assert not wrong
