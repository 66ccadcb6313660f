"""Layouts of label maps: files are paired by name, classes are named in the order of their labels."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from mscsa.data.label_maps.layouts import label_pairs, segmentation_classes
from mscsa.errors import UserError
from tests.data.label_maps.label_map_folder import NAMES, write_label_maps


def test_images_and_label_maps_are_paired_by_name(masks: Path) -> None:
    image = masks / "images/train/im1.png"
    Image.open(image).save(image.with_suffix(".jpg"))
    image.unlink()
    (masks / "images/train/.hidden.png").write_bytes(b"")
    (masks / "labels/train/notes.txt").write_text("")
    pairs, alone, doubles = label_pairs(masks, "train", "masks")
    suffixes = (".png", ".jpg", ".png", ".png")
    assert pairs == [
        (masks / f"images/train/im{i}{suffix}", masks / f"labels/train/im{i}.png")
        for i, suffix in enumerate(suffixes)
    ]
    assert alone == [] and doubles == []


def test_files_without_a_partner_are_named(masks: Path) -> None:
    (masks / "images/val/im0.png").unlink()
    (masks / "labels/val/im2.png").unlink()
    pairs, alone, _ = label_pairs(masks, "val", "masks")
    assert [image.stem for image, _ in pairs] == ["im1", "im3"]
    assert alone == [masks / "images/val/im2.png", masks / "labels/val/im0.png"]


def test_subfolders_are_read(masks: Path) -> None:
    for part in ("images", "labels"):
        (masks / part / "train/street/1").mkdir(parents=True)
        (masks / part / "train/im1.png").rename(masks / part / "train/street/1/im0.png")
    pairs, alone, doubles = label_pairs(masks, "train", "masks")
    assert len(pairs) == 4 and alone == doubles == []
    assert (masks / "images/train/street/1/im0.png", masks / "labels/train/street/1/im0.png") in pairs


def test_two_files_of_one_name_are_named(masks: Path) -> None:
    """One of them would be trained on, the other would vanish."""
    image = masks / "images/train/im1.png"
    Image.open(image).save(image.with_suffix(".jpg"))
    _, _, doubles = label_pairs(masks, "train", "masks")
    assert doubles == [(image.with_suffix(".jpg"), image)]


def test_ade20k_has_folders_of_its_own_names(tmp_path: Path) -> None:
    root = write_label_maps(tmp_path, "ade20k", count=1)
    pairs, _, _ = label_pairs(root, "val", "ade20k")
    assert pairs == [(root / "images/validation/im0.png", root / "annotations/validation/im0.png")]


def test_a_folder_without_pairs_is_one_line(masks: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="is not there: give the folder that holds it as data.root"):
        label_pairs(tmp_path / "nowhere", "train", "masks")
    for path in (masks / "labels/val").iterdir():
        path.unlink()
    with pytest.raises(UserError, match="no image in .* has a label map of its name") as caught:
        label_pairs(masks, "val", "masks")
    assert "\n" not in str(caught.value)


def test_classes_stand_in_a_file(masks: Path) -> None:
    for encoding in ("utf-8", "utf-8-sig"):  # Windows' editor writes a mark before the text
        (masks / "classes.txt").write_text(" sky \n\nroad\ncar", encoding=encoding)
        assert segmentation_classes(masks, "masks") == list(NAMES)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "classes.txt cannot be read: write the names of the classes into it"),
        (b"\xff\xfe\x00", "classes.txt cannot be read"),
        (b"\n \n", "names 0 classes: 1 to 255 are possible"),
        ("\n".join(map(str, range(256))).encode(), "names 256 classes: 1 to 255 are possible"),
        (b"sky\nsky\ncar\n", "names 'sky' twice: give each class a name of its own"),
    ],
)
def test_a_list_of_classes_that_is_none_is_one_line(masks: Path, content: bytes | None, message: str) -> None:
    path = masks / "classes.txt"
    path.unlink()
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UserError, match=message) as caught:
        segmentation_classes(masks, "masks")
    assert "\n" not in str(caught.value)


def test_ade20ks_classes_are_numbered_or_named(tmp_path: Path) -> None:
    assert segmentation_classes(tmp_path, "ade20k") == [f"class {i}" for i in range(1, 151)]
    rows = [
        f"{i}\t0.1\t1\t1\tscreen, crt" if i > 148 else f"{i}\t0.1\t1\t1\tthing{i}, x" for i in range(1, 151)
    ]
    header = "Idx\tRatio\tTrain\tVal\tName"
    (tmp_path / "objectInfo150.txt").write_text("\n".join([header, *rows]) + "\n")
    names = segmentation_classes(tmp_path, "ade20k")
    assert names[0] == "thing1" and names[148:] == ["screen (149)", "screen (150)"]
    (tmp_path / "objectInfo150.txt").write_text("\n".join([header, *rows[:9]]))
    assert segmentation_classes(tmp_path, "ade20k")[0] == "class 1"
