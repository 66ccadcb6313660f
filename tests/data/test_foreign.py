"""A folder of another task, or of no layout that is known, is named with what was seen and what to move."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from mscsa.data.check_dataset import check_dataset
from mscsa.data.datasets import build_dataset
from mscsa.data.foreign import class_folders, refuse_foreign, unknown_layout
from mscsa.errors import UserError
from mscsa.recipes.spec import (
    ClassificationAugment,
    ClassificationData,
    DetectionAugment,
    DetectionData,
    SegmentationAugment,
    SegmentationData,
)

SETS = {
    "YOLO's layout": ("images/train/a.jpg", "labels/train/a.txt", "images/val/b.jpg", "classes.txt"),
    "YOLO's layout, by split": ("train/images/a.jpg", "train/labels/a.txt", "data.yaml"),
    "Pascal VOC's layout": ("JPEGImages/a.jpg", "Annotations/a.xml", "ImageSets/Main/train.txt"),
    "COCO's format": ("annotations/instances_default.json", "images/default/a.jpg"),
    "images/SPLIT and masks/SPLIT": ("images/train/a.jpg", "masks/train/a.png"),
    "SPLIT/images and SPLIT/masks": ("train/images/a.jpg", "train/masks/a.png"),
    "SPLIT/CLASS": ("train/cat/a.jpg", "train/dog/a.jpg", "val/cat/a.jpg"),
    "CLASS": ("cat/a.jpg", "dog/a.jpg"),
}
READERS = {"classification": "small/", "segmentation": "small_semantic_fpn/", "detection": "small_retinanet/"}
FORMS = {
    "classification": (ClassificationData, "folder", ClassificationAugment()),
    "segmentation": (SegmentationData, "masks", SegmentationAugment()),
    "detection": (DetectionData, "coco", DetectionAugment()),
}


def write(root: Path, *files: str) -> Path:
    for file in files:
        path = root / file
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix in (".jpg", ".png"):
            Image.new("L", (8, 8)).save(path)
        else:
            path.write_text("0 0.5 0.5 0.2 0.2\n")
    return root


def task_of(layout: str) -> str:
    if "CLASS" in layout:
        return "classification"
    return "segmentation" if "mask" in layout else "detection"


@pytest.mark.parametrize("layout", SETS)
@pytest.mark.parametrize("task", FORMS)
def test_a_layout_of_another_task_is_named(tmp_path: Path, layout: str, task: str) -> None:
    if task == task_of(layout):
        return
    root = write(tmp_path, *SETS[layout])
    make, kind, augment = FORMS[task]
    with pytest.raises(UserError) as caught:
        build_dataset("train", make(kind=kind, root=str(root)), augment, {}, 0)  # type: ignore[arg-type]
    message = str(caught.value)
    assert f"({layout.partition(',')[0]}) holds" in message and READERS[task_of(layout)] in message
    assert f"not what is needed for {task}: take such a recipe, or give" in message and "\n" not in message


@pytest.mark.parametrize(
    ("files", "task", "seen", "move"),
    [
        (
            ("pics/a.jpg", "pics/b.jpg", "truth/a.png", "truth/b.png"),
            "segmentation",
            "seen: pics (2 .jpg), truth (2 .png)",
            "rename pics to images and truth to labels",
        ),
        (
            ("photos/a.jpg", "labels_my.json"),
            "detection",
            "seen: . (1 .json), photos (1 .jpg)",
            "give it and its images by data.train_annotations and data.train_images",
        ),
        (
            ("photos/a.jpg", "xml/a.xml"),
            "detection",
            "seen: photos (1 .jpg), xml (1 .xml)",
            "move it to Annotations/, the images to JPEGImages/",
        ),
        (
            ("photos/a.jpg", "texts/a.txt"),
            "detection",
            "texts (1 .txt)",
            "move them to labels/train and labels/val",
        ),
        (("a.jpg", "b.jpg"), "classification", "seen: . (2 .jpg)", "move those of each class into a folder"),
        (
            ("images/train/a.png", "images/val/b.png", "labels/train/a.jpg", "labels/val/b.jpg"),
            "segmentation",
            "labels/train (1 .jpg)",
            "labels/train holds JPEG, which changes the values of label maps",
        ),
        (
            ("images/train/a.png", "labels/train/a.npy", "classes.txt"),
            "segmentation",
            "seen: . (1 classes.txt), images/train (1 .png), labels/train (1 .npy)",
            "labels/train holds NumPy arrays, which are not read: write label maps as PNG",
        ),
        (
            ("photos/a.jpg", "classes.txt"),
            "detection",
            ". (1 classes.txt)",
            "Give for detection annotations/",
        ),
        (("a.mp4",), "segmentation", "seen: . (1 .mp4)", "Give for segmentation images/train"),
    ],
)
def test_what_is_not_known_says_what_was_seen_and_what_to_move(
    tmp_path: Path, files: tuple[str, ...], task: str, seen: str, move: str
) -> None:
    root = write(tmp_path, *files)
    refuse_foreign(root, task)  # type: ignore[arg-type]
    make, kind, augment = FORMS[task]
    with pytest.raises(UserError) as caught:
        build_dataset("train", make(kind=kind, root=str(root)), augment, {}, 0)  # type: ignore[arg-type]
    for message in (str(caught.value), str(unknown_layout(root, task))):  # type: ignore[arg-type]
        assert f"no layout for {task} that is known" in message and seen in message and move in message
        assert "\n" not in message
    with pytest.raises(UserError, match="no layout that is known; seen: "):
        check_dataset(root)


@pytest.mark.parametrize("ending", ["jpg", "png"])
def test_two_splits_are_no_images_and_label_maps(tmp_path: Path, ending: str) -> None:
    """Nor are two folders of photographs, whatever their names."""
    names = [f"{folder}/{name}.{ending}" for folder in ("images/train", "images/Val") for name in "ab"]
    root = write(tmp_path / "splits", *names, "classes.txt")
    assert "rename" not in str(unknown_layout(root, "segmentation"))
    root = write(tmp_path / "photographs", "left/a.jpg", "right/a.jpg")
    assert "rename" not in str(unknown_layout(root, "segmentation"))
    write(root, "truth/a.png")
    assert "rename left to images and truth to labels" in str(unknown_layout(root, "segmentation"))


def test_a_folder_that_is_not_there_is_no_layout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert f"gone: no such folder in {tmp_path}" in str(unknown_layout(Path("gone"), "detection"))


def test_class_folders_are_several_with_images(tmp_path: Path) -> None:
    assert class_folders(write(tmp_path, "cat/a.jpg", "notes/a.txt")) is None
    assert class_folders(write(tmp_path, "dog/a.jpg")) == "CLASS"
    assert class_folders(write(tmp_path, "train/dog/a.jpg", "train/cat/a.jpg")) == "SPLIT/CLASS"


def test_classes_of_gif_and_of_jpeg_are_no_images_and_label_maps(tmp_path: Path) -> None:
    """Whose files are numbered; label maps as PNG would be."""
    assert class_folders(write(tmp_path, "cats/1.gif", "dogs/1.jpg")) == "CLASS"
    assert class_folders(write(tmp_path / "maps", "photos/1.jpg", "truth/1.png")) is None


def test_a_data_set_one_folder_below_is_found(tmp_path: Path) -> None:
    root = write(tmp_path, *(f"inner/{file}" for file in SETS["COCO's format"]), "readme.txt")
    with pytest.raises(UserError, match="holds a data set in inner/: give .*/inner as data.root"):
        check_dataset(root)


def test_what_has_to_be_unpacked_is_named(tmp_path: Path) -> None:
    for name in ("cells.zip", "SOURCE.md"):
        (tmp_path / name).touch()
    with pytest.raises(
        UserError, match=r"holds cells\.zip and no images: unpack it, and give the folder in it"
    ):
        raise unknown_layout(tmp_path)
    write(tmp_path, "a.jpg")
    assert "cells.zip" not in str(unknown_layout(tmp_path))
