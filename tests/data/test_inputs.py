"""Images named by files, folders and patterns."""

from __future__ import annotations

from pathlib import Path

import pytest

from mscsa.data.inputs import image_files
from mscsa.errors import UserError


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name in ("shots/b.png", "shots/a.JPG", "shots/deep/c.webp", "shots/note.txt", "shots/.hidden.png"):
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).touch()
    Path("x[1].png").touch()
    Path("empty").mkdir()
    return tmp_path


def test_folders_and_patterns_are_all_their_images_in_order(folder: Path) -> None:
    inside = ["shots/a.JPG", "shots/b.png", "shots/deep/c.webp"]
    assert image_files(["shots"]) == inside
    assert image_files(["shots/**/*"]) == inside
    assert image_files(["shots/*.png"]) == ["shots/b.png"]


def test_files_are_taken_as_they_are_and_each_once(folder: Path) -> None:
    """A name with brackets is a file where there is one; one that is not there is told of when it is read."""
    assert image_files(["x[1].png", "gone.png", "shots/note.txt"]) == [
        "x[1].png",
        "gone.png",
        "shots/note.txt",
    ]
    assert image_files(["shots/b.png", "shots"]) == ["shots/b.png", "shots/a.JPG", "shots/deep/c.webp"]


@pytest.mark.parametrize("given", ["empty", "shots/*.tif", "nowhere/*"])
def test_what_has_no_image_is_one_line(folder: Path, given: str) -> None:
    with pytest.raises(UserError, match="no image"):
        image_files([given])


def test_videos_are_taken_by_name_and_pattern_and_not_with_a_folder(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    Path("shots/long.MP4").touch()
    assert image_files(["shots/long.MP4", "shots/*.MP4"]) == ["shots/long.MP4"]
    assert image_files(["shots"]) == ["shots/a.JPG", "shots/b.png", "shots/deep/c.webp"]
    assert "shots: left out are the videos shots/long.MP4; name them, or a pattern" in caplog.text
