"""Names of pictures: no other's, and no image's that is looked at."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from mscsa.errors import UserError
from mscsa.pictures.output import OutputFolder


def names(images: list[str], *endings: str) -> list[list[str]]:
    folder = OutputFolder(Path("out"), images)
    return [[path.name for path in folder.paths(image, *endings)] for image in images]


def test_images_of_one_name_get_pictures_of_their_own() -> None:
    found = names(["a/1.jpg", "b/1.jpg", "b/1.png"], ".png", ".json")
    assert found == [["1.png", "1.json"], ["1_.png", "1_.json"], ["1__.png", "1__.json"]]


def test_a_picture_is_never_written_over_another_kind_of_picture() -> None:
    """The overlay of a.jpg is called as the label map of a_overlay.jpg would be."""
    found = names(["a.jpg", "a_overlay.jpg"], ".png", "_overlay.png")
    assert found == [["a.png", "a_overlay.png"], ["a_overlay_.png", "a_overlay__overlay.png"]]


@pytest.mark.parametrize("folder", [".", "../images", "{absolute}"])
@pytest.mark.parametrize("image", ["a.png", "a.jpg"])
def test_no_image_is_written_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, image: str, folder: str
) -> None:
    """Neither itself nor one that comes after it, however the folder is spelt."""
    (tmp_path / "images").mkdir()
    monkeypatch.chdir(tmp_path / "images")
    output = OutputFolder(Path(folder.format(absolute=tmp_path / "images")), ["a.jpg", "a.png"])
    with pytest.raises(UserError, match=r"a\.png is a file that this command reads or writes itself"):
        output.paths(image, ".png")


def test_a_link_to_the_images_is_seen_through(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    (tmp_path / "images/a.png").write_bytes(b"")
    os.symlink(tmp_path / "images", tmp_path / "out")
    with pytest.raises(UserError, match="not overwritten"):
        OutputFolder(tmp_path / "out", [str(tmp_path / "images/a.png")]).paths("a.png", ".png")


@pytest.mark.parametrize("is_link", [False, True])
def test_no_file_that_is_there_is_written_over(tmp_path: Path, is_link: bool) -> None:
    """A label map beside its image, of which the command knows nothing; a link to nowhere."""
    path = tmp_path / "a_overlay.png"
    if is_link:
        path.symlink_to(tmp_path / "gone")
    else:
        path.write_bytes(b"mine")
    with pytest.raises(UserError, match=r"a_overlay.png is there already and is not overwritten"):
        OutputFolder(tmp_path, ["a.jpg"]).paths("a.jpg", ".png", "_overlay.png")


@pytest.mark.parametrize(
    ("place", "message"),
    [
        ("file", "file is no folder"),
        ("file/out", "file is no folder"),
        ("full", "full/a.png is there already"),
        ("new/out", None),
    ],
)
def test_places_are_looked_at_before_the_pictures_are_made(
    tmp_path: Path, place: str, message: str | None
) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "full").mkdir()
    (tmp_path / "full/a.png").write_text("")
    folder = OutputFolder(tmp_path / place, [])
    if message is None:
        folder.check(["a.png"])
        assert folder.paths("a.jpg", ".png") == (tmp_path / place / "a.png",)
        return
    with pytest.raises(UserError, match=message):
        folder.check(["a.png"])


def test_names_that_differ_in_case_alone_are_one() -> None:
    assert names(["x/A.jpg", "y/a.jpg"], ".png") == [["A.png"], ["a_.png"]]
