"""The files of a run's folder are named in one place."""

from __future__ import annotations

import ast

from mscsa import run_files
from tests.test_import_layers import module_name, source_files

NAMES = {name: text for name, text in vars(run_files).items() if name.isupper()}

OTHERS = {"mscsa.data.coco.splits"}
"""Write such a name for a file of other programs."""


def test_each_file_has_a_name_of_its_own() -> None:
    assert len(NAMES) >= 9 and len(set(NAMES.values())) == len(NAMES)


def test_nobody_else_spells_them() -> None:
    found = [
        f"{path}:{node.lineno}: {node.value}"
        for path in source_files()
        if module_name(path) not in {"mscsa.run_files", *OTHERS}
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Constant) and node.value in NAMES.values()
    ]
    assert not found
