"""What is a folder and what a repository."""

from __future__ import annotations

from pathlib import Path

import pytest

from mscsa.hub.places import Repository, parse_place
from tests.refusals import one_line_error


@pytest.mark.parametrize("text", ["runs/first", "owner/name", "./x", "/tmp/x"])
def test_all_words_are_folders(text: str) -> None:
    assert parse_place(text) == Path(text)


def test_but_those_of_the_hub() -> None:
    assert parse_place("hf-hub:me/my-net_2.0") == Repository("me/my-net_2.0")
    named = parse_place("hf-hub:me/net@v1.2")
    assert named == Repository("me/net", "v1.2") and str(named) == "hf-hub:me/net@v1.2"


@pytest.mark.parametrize("name", ["", "net", "a/b/c", "me/ne t", "me/..", "-me/net", "@main"])
def test_what_is_no_name_is_refused(name: str) -> None:
    one_line_error(lambda: parse_place(f"hf-hub:{name}"), "names no repository: give hf-hub:OWNER/NAME")
