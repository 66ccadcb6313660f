"""Texts of any editor: what is read, and what is refused."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from mscsa.data.texts import composed, csv_rows, decoded, read_text
from mscsa.errors import UserError
from mscsa_runtime.errors import Unusable

_TEXT = "Bär\r\nBör\r\n"


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_what_editors_write_is_read(tmp_path: Path, encoding: str) -> None:
    (tmp_path / "classes.txt").write_bytes(_TEXT.encode(encoding))
    assert read_text(tmp_path / "classes.txt") == _TEXT


def test_utf_16_of_the_other_byte_order_is_read() -> None:
    assert decoded("\ufeffa\n".encode("utf-16-be")) == "a\n"


def test_another_encoding_is_refused_by_its_line(tmp_path: Path) -> None:
    path = tmp_path / "classes.txt"
    path.write_bytes(b"fox\n" + _TEXT.encode("cp1252"))
    with pytest.raises(
        UserError, match=r"classes\.txt cannot be read: line 2 is not in UTF-8; save it as UTF-8"
    ):
        read_text(path)


def test_damaged_utf_16_is_refused() -> None:
    with pytest.raises(Unusable, match="begins as UTF-16 does"):
        decoded(b"\xff\xfe\x00")


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot be read"):
        read_text(tmp_path / "none.txt")


def test_names_are_compared_with_composed_letters() -> None:
    assert composed("cafe\u0301") == composed("caf\u00e9") == "caf\u00e9"


@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_cells_of_a_table(separator: str) -> None:
    text = separator.join(["a", " b "]) + "\n\n" + separator.join(['"x\ny"', "z"]) + "\n"
    assert csv_rows(text) == [(1, ["a", "b"]), (4, ["xy", "z"])]


def test_a_cell_may_be_long() -> None:
    limit = csv.field_size_limit()
    assert csv_rows("a,b\n1," + "x" * 200_000)[1] == (2, ["1", "x" * 200_000])
    assert csv.field_size_limit() == limit
    assert csv_rows("") == []
