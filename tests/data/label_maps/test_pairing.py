"""Which label map belongs to which image."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from mscsa.data.label_maps.folders import MapPlaces
from mscsa.data.label_maps.pairing import Pairing, pair_files
from mscsa.errors import UserError


def paired(root: Path, images: str, labels: str) -> Pairing:
    """Pair empty files, named one after the other; folders are i and l."""
    for folder, names in (("i", images), ("l", labels)):
        for name in names.split():
            path = root / folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(b"")
    return pair_files(MapPlaces("", root / "i", root / "l"))


def names(found: Pairing) -> dict[str, tuple[str, str]]:
    return {name: (image.name, labels.name) for name, (image, labels) in found.pairs.items()}


def test_equal_names_are_paired(tmp_path: Path) -> None:
    found = paired(tmp_path, "a.jpg b.png x/a.jpg .c.png n.txt", "a.png b.png x/a.tif notes.txt")
    assert names(found) == {"a": ("a.jpg", "a.png"), "b": ("b.png", "b.png"), "x/a": ("a.jpg", "a.tif")}
    assert found.alone == found.doubles == () and found.suffix == ""


def test_files_without_a_partner_are_named(tmp_path: Path) -> None:
    found = paired(tmp_path, "a.jpg b.jpg", "b.png c.png")
    assert [path.name for path in found.alone] == ["a.jpg", "c.png"]


def test_two_files_of_one_name_are_named(tmp_path: Path) -> None:
    """One of them would be trained on, the other would vanish."""
    found = paired(tmp_path, "a.jpg a.png", "a.png a.tif")
    assert [(one.name, other.name) for one, other in found.doubles] == [
        ("a.jpg", "a.png"),
        ("a.png", "a.tif"),
    ]


def test_pictures_of_label_maps_are_left_out(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A GIF beside each; where there is nothing else, it is the label map."""
    with caplog.at_level(logging.INFO):
        found = paired(tmp_path, "a.jpg b.jpg", "a.gif a.png b.gif")
    assert "GIF files beside label maps of the same names are left out, 1 of them" in caplog.text
    assert names(found) == {"a": ("a.jpg", "a.png"), "b": ("b.jpg", "b.gif")} and found.doubles == ()


@pytest.mark.parametrize(
    ("images", "labels", "suffix"),
    [
        ("a.jpg b_1.jpg", "a_mask.png b_1_mask.png", "_mask"),
        ("a_sat.jpg b_sat.jpg", "a_mask.png b_mask.png", "_mask"),
        ("a_leftImg8bit.png", "a_gtFine_labelIds.png a_gtFine_color.png", "_gtFine_labelIds"),
        ("a_leftImg8bit.png", "a_gtFine_labelIds.png a_gtFine_labelTrainIds.png", "_gtFine_labelTrainIds"),
        ("a.jpg b.jpg", "a-seg-v2.png b-seg-v2.png", "-seg-v2"),
    ],
)
def test_a_suffix_is_found(tmp_path: Path, images: str, labels: str, suffix: str) -> None:
    found = paired(tmp_path, images, labels)
    assert found.suffix == suffix and len(found.pairs) == len(images.split()) and found.alone == ()
    assert all(path.stem.endswith(suffix) for _, path in found.pairs.values())


def test_a_label_map_of_no_image_is_not_lost_behind_a_suffix(tmp_path: Path) -> None:
    found = paired(tmp_path, "a.jpg b.jpg c.jpg", "a_mask.png b_mask.png d_mask.png e.png")
    assert [path.name for path in found.alone] == ["c.jpg", "d_mask.png", "e.png"]


def test_several_maps_of_an_image_are_not_chosen_from_by_chance(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="holds several files for each image, _fine, _rough: leave those"):
        paired(tmp_path, "a.jpg b.jpg", "a_fine.png a_rough.png b_fine.png b_rough.png")


def test_one_folder_of_both(tmp_path: Path) -> None:
    for name in ("a.jpg", "a_mask.png", "b.png", "b_mask.png", "c.jpg", "my_mask.jpg"):
        (tmp_path / name).write_bytes(b"")
    found = pair_files(MapPlaces("", tmp_path, tmp_path))
    assert names(found) == {"a": ("a.jpg", "a_mask.png"), "b": ("b.png", "b_mask.png")}
    assert [path.name for path in found.alone] == ["c.jpg", "my_mask.jpg"]
