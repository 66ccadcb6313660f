"""Problems: none hides the others, each is one line, and what two splits share is found."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from mscsa.data.problems import SHOWN, Findings, Problem, contradictions, shared_files, short, some_of
from mscsa_runtime.errors import Unusable


def test_many_alike_are_counted_and_hide_no_others() -> None:
    findings = Findings("file.json")
    described = []

    def describe(place: int) -> str:
        described.append(place)
        return f"area of {place}"

    findings.add_all("areas", range(1000 + SHOWN), describe, "give one")
    findings.add("names", "no name", "name it", path="other.json")
    problems = findings.problems()
    assert [each.what for each in problems[:SHOWN]] == [f"area of {place}" for place in range(SHOWN)]
    assert problems[SHOWN] == Problem(
        "file.json", "... and 1,000 more of this kind: areas", "give one", count=1000
    )
    assert problems[SHOWN + 1 :] == [Problem("other.json", "no name", "name it")]
    assert described == list(range(SHOWN)), "a description of those that are only counted costs time"


def test_nothing_found_is_nothing() -> None:
    findings = Findings("file.json")
    findings.add_all("areas", [], lambda place: "", "give one")
    assert findings.problems() == []


def test_problems_are_one_line_that_can_be_printed() -> None:
    findings = Findings("a\nb\ud800.json")
    findings.add("names", "name 'x\ny\udfff'", "name it")
    (problem,) = findings.problems()
    assert problem.path == r"a b\ud800.json"
    assert problem.what == r"name 'x y\udfff'"


def test_values_are_written_short() -> None:
    assert short([1, "two"]) == "[1, 'two']"
    assert "\n" not in short("a\nb" * 1000) and len(short("a\nb" * 1000)) < 100
    assert len(short(list(range(10_000)))) < 100


@pytest.mark.parametrize(
    ("count", "text"), [(0, ""), (1, "n0"), (5, "n0, n1, n2, n3, n4"), (7, "n0, n1, n2, n3, n4 and 2 more")]
)
def test_the_first_names_are_listed(count: int, text: str) -> None:
    assert some_of([f"n{i}" for i in range(count)]) == text
    assert some_of(["a", "b", "c"], 2) == "a, b and 1 more"


def test_what_cannot_be_used_says_what_and_what_to_do() -> None:
    error = Unusable("empty file", "replace it")
    assert (error.what, error.remedy) == ("empty file", "replace it")


def test_shared_files_are_those_of_equal_content(tmp_path: Path) -> None:
    for name, content in (("a", b"same"), ("b", b"size"), ("c", b"longer than that")):
        (tmp_path / name).write_bytes(content)
    for name, origin in (("x", "a"), ("y", "c")):
        shutil.copy(tmp_path / origin, tmp_path / name)
    (tmp_path / "z").write_bytes(b"SIZE")
    train, val = ([str(tmp_path / name) for name in names] for names in ("abc", "xz"))
    (problem,) = shared_files(train, val)
    assert (problem.path, problem.what) == (str(tmp_path / "x"), f"same content as {tmp_path / 'a'}")
    assert shared_files(train, []) == shared_files([], val) == []


def test_contradictions_are_copies_of_another_class(tmp_path: Path) -> None:
    for name, content in (("a", b"same"), ("b", b"same"), ("c", b"same"), ("d", b"size"), ("e", b"longer")):
        (tmp_path / name).write_bytes(content)
    classes = [(str(tmp_path / name), label) for name, label in zip("abcde", "11222", strict=True)]
    (problem,) = contradictions(classes)
    assert problem.path == str(tmp_path / "c")
    assert problem.what == f"its class is '2'; {tmp_path / 'a'} has the same content and is '1'"
    assert contradictions(classes[:2] + classes[3:]) == []
