"""Each promise has tests that are there, mutations that can be made, and one wording everywhere."""

from __future__ import annotations

import ast

import pytest

from tests.guarantees import GUARANTEES, PAGE, README, ROOT, Guarantee, page, with_list

each_guarantee = pytest.mark.parametrize("guarantee", GUARANTEES, ids=lambda each: each.name)


def names_in(path: str) -> set[str]:
    tree = ast.parse((ROOT / path).read_text(encoding="utf-8"))
    return {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}


def is_long(node: str) -> bool:
    """Whether a test is marked `long`, by itself or with its whole file."""
    path, _, name = node.partition("::")
    tree = ast.parse((ROOT / path).read_text(encoding="utf-8"))
    marks = [
        ast.unparse(each.value)
        for each in tree.body
        if isinstance(each, ast.Assign) and ast.unparse(each.targets[0]) == "pytestmark"
    ]
    for each in ast.walk(tree):
        if isinstance(each, ast.FunctionDef) and each.name == name:
            marks += map(ast.unparse, each.decorator_list)
    return "pytest.mark.long" in marks


@each_guarantee
def test_the_tests_are_there(guarantee: Guarantee) -> None:
    for node in (*guarantee.tests, *(each.test for each in guarantee.mutations)):
        path, _, name = node.partition("::")
        assert name in names_in(path), node


@each_guarantee
def test_the_mutations_can_be_made(guarantee: Guarantee) -> None:
    for each in guarantee.mutations:
        assert (ROOT / each.path).read_text(encoding="utf-8").count(each.old) == 1, (each.path, each.old)
        assert each.old != each.new


def test_each_has_a_short_name_of_its_own() -> None:
    names = [each.name for each in GUARANTEES]
    assert len(set(names)) == len(names) and all(3 < len(name) <= 32 for name in names)


def test_numbers_are_in_order() -> None:
    assert [each.number for each in GUARANTEES] == list(range(1, len(GUARANTEES) + 1))
    assert len(GUARANTEES) > 31


def test_another_count_in_the_readme_is_seen() -> None:
    readme = README.read_text(encoding="utf-8")
    count = f"all {len(GUARANTEES)}, with"
    assert readme.count(count) == 1
    wrong = readme.replace(count, f"all {len(GUARANTEES) - 1}, with")
    assert with_list(wrong) != wrong and with_list(wrong) == readme


@each_guarantee
def test_what_runs_by_make_test_long_alone_is_said_so(guarantee: Guarantee) -> None:
    """Where a test is long the size names it, and where the size does there is one."""
    named = "`make test-long`" in guarantee.figure
    assert named or not any(map(is_long, guarantee.tests))
    files = {(ROOT / node.partition("::")[0]).read_text(encoding="utf-8") for node in guarantee.tests}
    assert not named or any("pytest.mark.long" in text for text in files)


def test_the_page_and_the_readme_say_the_same() -> None:
    again = "write them again: python -m tests.guarantees"
    assert PAGE.read_text(encoding="utf-8") == page(), again
    readme = README.read_text(encoding="utf-8")
    assert with_list(readme) == readme, again
