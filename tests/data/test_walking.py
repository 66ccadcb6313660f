"""Files of folders within folders are found, each once."""

from __future__ import annotations

from pathlib import Path

from mscsa.data.walking import files_within, paths_within, visible_entries
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


def test_of_several_ways_to_a_folder_one_is_taken(tmp_path: Path) -> None:
    """The real one, or the first by name: files of two folders are paired by the names on the way."""
    for place in ("set/z", "elsewhere"):
        (tmp_path / place).mkdir(parents=True)
        (tmp_path / place / "a.png").touch()
    (tmp_path / "set" / "b").symlink_to(tmp_path / "set" / "z")
    for name in ("x", "w", "y"):
        (tmp_path / "set" / name).symlink_to(tmp_path / "elsewhere")
    assert sorted(each.path for each in files_within(tmp_path / "set")) == [
        str(tmp_path / "set" / name / "a.png") for name in ("w", "z")
    ]


def test_paths_are_in_order_and_have_one_of_the_endings(tmp_path: Path) -> None:
    names = ("b.PNG", "a/c.jpg", "a-b.jpg", "a/d.txt", "png")
    for name in names:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "folder.png").mkdir()
    expected = [tmp_path / name for name in ("a/c.jpg", "a-b.jpg", "b.PNG")]
    assert paths_within(tmp_path, (".png", ".jpg")) == expected


def test_a_folder_that_is_not_there_is_one_line(tmp_path: Path) -> None:
    one_line_error(
        lambda: list(files_within(tmp_path / "gone")), "gone: no such file or directory; check the path"
    )
