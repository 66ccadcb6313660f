"""Tar shards: which bytes are which image, what its class is, and what is damaged."""

from __future__ import annotations

import contextlib
import gzip
import shutil
from pathlib import Path

import pytest

from mscsa.data.packed.shards import read_shards
from mscsa.errors import UserError
from tests.data.packed.packed_files import json_of, png, write_tar

CAT = [("1.png", png(1)), ("1.cls", b"2\n")]


@pytest.mark.parametrize(
    ("beside", "label"),
    [
        ([("1.cls", b"2\n")], "2"),
        ([("1.json", json_of(label=2, caption="x"))], "2"),
        ([("1.json", json_of(label=2, class_name="tiger cat"))], "tiger cat"),
        ([("1.cls", b"2"), ("1.json", json_of(class_name="tiger cat"))], "tiger cat"),
        ([("1.cls", b"2"), ("1.json", json_of(label=7)), ("1.txt", b"a photo")], "2"),
        ([("1.json", b"3")], "3"),
        ([("1.json", json_of(label=0))], "0"),
        ([("1.txt", b"dog")], "dog"),
    ],
)
def test_the_class_stands_beside_the_image(
    tmp_path: Path, beside: list[tuple[str, bytes]], label: str
) -> None:
    other = [("2.jpg", png(2)), ("2.cls", b"5")]
    found = read_shards([write_tar(tmp_path / "a.tar", [*beside, ("1.png", png(1)), *other])])
    assert found.labels == [label, "5"]
    assert [found.content(i) for i in (1, 0)] == [png(2), png(1)]
    assert found.describe(0) == f"{tmp_path / 'a.tar'}:1.png"


def test_folders_long_names_and_hidden_files_in_shards(tmp_path: Path) -> None:
    """Names beyond 100 characters have headers of their own; two folders may have images of one name."""
    name = f"{'n' * 120}/{'long' * 30}.v2"
    members = [(f"{name}.jpg", png(1)), (f"{name}.cls", b"1"), ("a/1.png", png(2)), ("a/1.cls", b"0")]
    members += [("b/1.png", png(3)), ("b/1.cls", b"1"), ("._1.png", b"x"), ("__MACOSX/1.png", b"x")]
    found = read_shards([write_tar(tmp_path / "a.tar", members)])
    assert found.labels == ["1", "0", "1"] and found.content(2) == png(3)
    assert found.content(0) == png(1)


def test_names_for_numbers(tmp_path: Path) -> None:
    path = write_tar(tmp_path / "a.tar", CAT)
    assert read_shards([path], ["ant", "bee", "cat"]).labels == ["cat"]
    with pytest.raises(UserError, match="a class '2', but classes.txt names 2, 0 to 1"):
        read_shards([path], ["ant", "bee"])


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ([("1.png", b"x")], "1.png has no class: add 1.cls, or a .json with label"),
        ([("1.png", b"x"), ("1.json", json_of(caption="a cat"))], "has no class"),
        ([("1.png", b"x"), ("2.cls", b"1")], "1.png has no class"),
        ([("1.png", b"x"), ("1.json", b"{")], "is not JSON"),
        ([("1.png", b"x"), ("1.jpg", b"x"), ("1.cls", b"1")], "1.png and 1.jpg are one sample of two images"),
        ([*CAT, *CAT], "1.png is there twice"),
        ([("readme.md", b"x")], "no image in 1 tar files"),
    ],
)
def test_what_is_no_sample_is_one_line(
    tmp_path: Path, members: list[tuple[str, bytes]], message: str
) -> None:
    with pytest.raises(UserError, match=message) as caught:
        read_shards([write_tar(tmp_path / "a.tar", members)])
    assert "\n" not in str(caught.value) and str(tmp_path) in str(caught.value)


def test_damage_is_seen_wherever_it_is(tmp_path: Path) -> None:
    """`tarfile` by itself takes a damaged header for the end, and a set would lose images without a word."""
    members = [(f"{i}.{end}", content) for i in range(4) for end, content in (("png", png(i)), ("cls", b"1"))]
    whole = write_tar(tmp_path / "a.tar", members).read_bytes()
    path = tmp_path / "b.tar"
    for broken, message in (
        (b"", "is empty"),
        (b"no archive" * 100, "damaged, or compressed"),
        (gzip.compress(whole), "damaged, or compressed"),
        (whole[:700], "cut off|damaged"),
        (whole[:2600], "cut off|damaged"),
        (whole[:3072] + b"\xff" * 512 + whole[3584:], "damaged"),
    ):
        path.write_bytes(broken)
        with pytest.raises(UserError, match=message) as caught:
            read_shards([path])
        assert "b.tar" in str(caught.value) and "\n" not in str(caught.value)
    for end in range(1024, len(whole) - 10240, 512):
        path.write_bytes(whole[:end])
        with contextlib.suppress(UserError):  # refused, or whole samples alone
            assert len(read_shards([path]).labels) == end // 2048


def test_what_vanishes_later_is_one_line(tmp_path: Path) -> None:
    path = write_tar(tmp_path / "a.tar", CAT)
    found = read_shards([path])
    path.write_bytes(path.read_bytes()[:600])
    with pytest.raises(UserError, match=r"a.tar:1.png: the shard ends before it"):
        found.content(0)
    shutil.rmtree(tmp_path)
    with pytest.raises(UserError, match="no such file"):
        found.content(0)
