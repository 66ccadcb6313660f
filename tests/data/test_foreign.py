"""Layouts that are known and not read, or not for this task, are named, with what to give instead."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from mscsa.data.check_dataset import check_dataset
from mscsa.data.datasets import build_dataset
from mscsa.data.foreign import refuse_foreign
from mscsa.errors import UserError
from mscsa.recipes.spec import (
    ClassificationAugment,
    ClassificationData,
    DetectionAugment,
    DetectionData,
    SegmentationAugment,
    SegmentationData,
)

FILES = {
    "yolo": (
        "images/train/a.jpg",
        "labels/train/a.txt",
        "images/val/b.jpg",
        "labels/val/b.txt",
        "classes.txt",
    ),
    "yolo by split": ("train/images/a.jpg", "train/labels/a.txt", "data.yaml"),
    "voc": ("JPEGImages/a.jpg", "Annotations/a.xml", "ImageSets/Main/train.txt"),
    "city": ("leftImg8bit/train/x/a.png", "gtFine/train/x/a.png"),
    "cvat": ("annotations/instances_default.json", "images/default/a.jpg"),
    "studio": ("result.json", "images/a.jpg"),
    "masks": ("train/images/a.jpg", "train/masks/a.png"),
}
OBJECTS = ("yolo", "yolo by split", "voc")
"""What is read, though not as label maps or class folders."""
NAMES = {
    "yolo": "YOLO",
    "yolo by split": "YOLO",
    "voc": "Pascal VOC",
    "city": "Cityscapes",
    "cvat": "CVAT",
    "studio": "Label Studio",
    "masks": "images and masks below each split",
}


@pytest.mark.parametrize("name", FILES)
def test_a_known_layout_is_named(tmp_path: Path, name: str) -> None:
    for file in FILES[name]:
        path = tmp_path / file
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix in (".jpg", ".png"):
            Image.new("RGB", (8, 8)).save(path)
        else:
            path.write_text("0 0.5 0.5 0.2 0.2\n")
    root = str(tmp_path)
    asked = [
        lambda: check_dataset(root),
        lambda: build_dataset("train", DetectionData(kind="coco", root=root), DetectionAugment(), {}, 0),
    ]
    asked = [] if name in OBJECTS else asked
    asked.append(
        lambda: build_dataset(
            "train", SegmentationData(kind="masks", root=root), SegmentationAugment(), {}, 0
        ),
    )
    for ask in asked:
        with pytest.raises(UserError, match=f"is .*{NAMES[name]}.* not read here: ") as caught:
            ask()
        assert "\n" not in str(caught.value)
        assert ("small_retinanet" in str(caught.value)) == (name in OBJECTS)
    if not (tmp_path / "train").exists():
        with pytest.raises(UserError, match=NAMES[name]):
            build_dataset(
                "train", ClassificationData(kind="folder", root=root), ClassificationAugment(), {}, 0
            )


def test_what_is_not_known_is_left_to_others(tmp_path: Path) -> None:
    (tmp_path / "labels").mkdir()
    (tmp_path / "labels/notes.txt").write_text("")
    Image.new("L", (8, 8)).save(tmp_path / "labels/a.png")
    refuse_foreign(tmp_path)
