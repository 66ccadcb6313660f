"""Each promise has tests that are there, mutations that can be made, and one wording everywhere."""

from __future__ import annotations

import ast

import pytest

from tests.guarantees import GUARANTEES, PAGE, README, ROOT, Guarantee, page, with_list

each_guarantee = pytest.mark.parametrize("guarantee", GUARANTEES, ids=lambda each: each.name)


def names_in(path: str) -> set[str]:
    tree = ast.parse((ROOT / path).read_text(encoding="utf-8"))
    return {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}


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


def test_the_page_and_the_readme_say_the_same() -> None:
    again = "write them again: python -m tests.guarantees"
    assert PAGE.read_text(encoding="utf-8") == page(), again
    readme = README.read_text(encoding="utf-8")
    assert with_list(readme) == readme, again
