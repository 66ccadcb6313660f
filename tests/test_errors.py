"""The one text for a name that there is not, and that for a package."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

from mscsa.errors import UserError, needs_extra, unknown_name

HEADS = ("mask_rcnn", "cascade_mask_rcnn", "retinanet")


@pytest.mark.parametrize(
    ("given", "all_names", "expected"),
    [
        ("mask_rcn", "", "no head is called 'mask_rcn': did you mean mask_rcnn or cascade_mask_rcnn?"),
        ("yolo", "", "no head is called 'yolo': give one of mask_rcnn, cascade_mask_rcnn, retinanet"),
        ("yolo", "`mscsa list` shows all", "no head is called 'yolo': `mscsa list` shows all"),
        ("retinanett", "`mscsa list` shows all", "no head is called 'retinanett': did you mean retinanet?"),
    ],
)
def test_an_unknown_name_gets_the_nearest_or_all(given: str, all_names: str, expected: str) -> None:
    error = unknown_name("no head is called", given, HEADS, all_names=all_names)
    assert isinstance(error, UserError)
    assert str(error) == expected


def test_a_name_of_several_lines_gives_one() -> None:
    assert "\n" not in str(unknown_name("no head is called", "a\nb", HEADS))


@pytest.mark.parametrize("given", [None, 3, ["retinanet"]])
def test_what_is_no_name_gets_all(given: object) -> None:
    expected = f"no head is called {given!r}: give one of mask_rcnn, cascade_mask_rcnn, retinanet"
    assert str(unknown_name("no head is called", given, HEADS)) == expected


def test_a_missing_package_names_its_extra_as_every_shell_takes_it() -> None:
    error = needs_extra("videos are read by PyAV, which is not installed", "video")
    assert str(error) == "videos are read by PyAV, which is not installed; run: pip install 'mscsa[video]'"


def test_every_extra_that_an_error_names_is_there() -> None:
    root = Path(__file__).parents[1]
    extras = tomllib.loads((root / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    sources = [path.read_text() for path in (root / "mscsa").rglob("*.py")]
    named = [
        name
        for text in sources
        for name in re.findall(r'needs_extra\([^()]*(?:\([^()]*\))?[^()]*"(\w+)"\)', text)
    ]
    assert len(named) >= 9 and set(named) <= set(extras)
