"""Files of folders within folders are found, each once."""

from __future__ import annotations

from pathlib import Path

from mscsa.data.walking import files_within, visible_entries
from tests.refusals import one_line_error


def test_files_in_all_folders_below_are_listed_hidden_ones_are_not(tmp_path: Path) -> None:
    for name in ("a.png", "more/b.png", "more/deep/c.png", ".hidden/d.png", "more/.e.png"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    assert sorted(entry.name for entry in files_within(tmp_path)) == ["a.png", "b.png", "c.png"]
    assert sorted(entry.name for entry in visible_entries(tmp_path)) == ["a.png", "more"]


def test_links_are_followed_and_a_folder_that_holds_itself_is_read_once(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "b.png").touch()
    (tmp_path / "a" / "again").symlink_to(tmp_path / "a")
    (tmp_path / "a" / "up").symlink_to(tmp_path)
    assert [entry.name for entry in files_within(tmp_path / "a")] == ["b.png"]


def test_a_folder_that_is_not_there_is_one_line(tmp_path: Path) -> None:
    one_line_error(
        lambda: list(files_within(tmp_path / "gone")), "gone: no such file or directory; check the path"
    )
