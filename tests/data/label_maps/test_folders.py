"""Folders of images and label maps: what they are called, and what is none of them."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from mscsa.data.label_maps.folders import find_places, has_suffixed, map_files


def write(root: Path, *files: str) -> Path:
    for file in files:
        path = root / file
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (4, 4)).save(path) if path.suffix in (".png", ".jpg") else path.write_text("")
    return root


@pytest.mark.parametrize(
    ("files", "images", "labels"),
    [
        (("Images/Train/a.jpg", "Masks/Train/a.png"), "Images/Train", "Masks/Train"),
        (("training/imgs/a.jpg", "training/mask/a.png"), "training/imgs", "training/mask"),
        (("train/a.jpg", "train_masks/a.png"), "train", "train_masks"),
        (("train_images/a.jpg", "train_masks/a.png"), "train_images", "train_masks"),
        (("images/a.jpg", "labels/a.png"), "images", "labels"),
        (("images/x/a.jpg", "labels/x/a.png"), "images", "labels"),
        (("train/a.jpg", "train/a_mask.png"), "train", "train"),
        (("a.jpg", "a-label.png"), ".", "."),
    ],
)
def test_folders_are_found(tmp_path: Path, files: tuple[str, ...], images: str, labels: str) -> None:
    found = find_places(write(tmp_path, *files), "train")
    assert found is not None and (found.images, found.labels) == (tmp_path / images, tmp_path / labels)


@pytest.mark.parametrize(
    "files",
    [
        ("train/cat/a.jpg", "train/dog/a.png"),  # class folders
        ("images/train/a.jpg", "labels/train/a.txt"),  # YOLO
        ("images/train/a.jpg", "annotations/instances_train.json"),  # COCO
        ("JPEGImages/a.jpg", "Annotations/a.xml"),  # Pascal VOC
        ("a.jpg", "b.png", "mask.png"),
    ],
)
def test_what_holds_no_label_maps_is_none(tmp_path: Path, files: tuple[str, ...]) -> None:
    assert find_places(write(tmp_path, *files), "train") is None


def test_both_splits_are_of_one_form(tmp_path: Path) -> None:
    """What val should be called follows from train."""
    write(tmp_path, "images/training/a.jpg", "masks/training/a.png", "images/b.jpg", "masks/b.png")
    found = find_places(tmp_path, "val")
    assert found is not None
    assert (found.images, found.labels) == (tmp_path / "images/val", tmp_path / "masks/val")
    write(tmp_path, "images/valid/b.jpg", "masks/valid/b.png")
    assert find_places(tmp_path, "val").images == tmp_path / "images/valid"  # type: ignore[union-attr]


def test_a_suffix_must_be_that_of_a_label_map(tmp_path: Path) -> None:
    assert not has_suffixed(write(tmp_path, "a.jpg", "a_2.png", "b_mask.png", "c.png", "c_mask.jpg"))
    assert has_suffixed(write(tmp_path, "b.webp", "a.jpg", "a_mask.tif"))


def test_folders_that_links_lead_to_are_read(tmp_path: Path) -> None:
    write(tmp_path / "disk", "images/a.jpg", "masks/a.png")
    for kind in ("images", "masks"):
        (tmp_path / "set" / kind / "train").mkdir(parents=True)
        (tmp_path / "set" / kind / "train" / "day").symlink_to(tmp_path / "disk" / kind)
    found = find_places(tmp_path / "set", "train")
    assert found is not None and found.labels == tmp_path / "set/masks/train"
    assert map_files(found.images, (".jpg",)) == {"day/a": [tmp_path / "set/images/train/day/a.jpg"]}
