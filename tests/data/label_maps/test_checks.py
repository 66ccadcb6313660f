"""Looking through label maps: each seeded defect is found once, and training refuses what it must."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mscsa.data.contract import IGNORED
from mscsa.data.datasets import build_dataset
from mscsa.data.label_maps.checks import check_label_maps
from mscsa.errors import UserError
from tests.data.label_maps.label_map_folder import CFG, NAMES, PLAIN, labels_of, spec, write_label_maps


def spoil_value(root: Path) -> None:
    labels = np.array(Image.open(root / "labels/train/im1.png"))
    labels[7, 5] = 9
    Image.fromarray(labels).save(root / "labels/train/im1.png")


def spoil_size(root: Path) -> None:
    Image.fromarray(labels_of(0)[:30]).save(root / "labels/train/im1.png")


def spoil_colours(root: Path) -> None:
    palette = Image.open(root / "labels/train/im1.png").convert("P")
    palette.putpalette(list(range(0, 256)) * 2 + [7] * 256)
    palette.convert("RGB").save(root / "labels/train/im1.png")


def spoil_bytes(root: Path) -> None:
    path = root / "labels/train/im1.png"
    path.write_bytes(path.read_bytes()[:60])


def spoil_image(root: Path) -> None:
    (root / "images/train/im1.png").write_bytes(b"no image")


def drop_labels(root: Path) -> None:
    (root / "labels/train/im1.png").unlink()


def drop_image(root: Path) -> None:
    (root / "images/train/im1.png").unlink()


def share_image(root: Path) -> None:
    (root / "images/val/im1.png").write_bytes((root / "images/train/im2.png").read_bytes())


def double_image(root: Path) -> None:
    Image.open(root / "images/train/im1.png").save(root / "images/train/im1.webp")


def add_class(root: Path) -> None:
    (root / "classes.txt").write_text("\n".join([*NAMES, "tree"]))


REFUSED: list[tuple[Callable[[Path], None], str, str]] = [
    (spoil_value, "labels/train/im1.png", r"label 9 at pixel x=5, y=7 \(1 such pixels\), of 3"),
    (spoil_size, "labels/train/im1.png", "60x30 px, its image has 60x40"),
    (spoil_colours, "labels/train/im1.png", "colours instead of class indices"),
    (spoil_bytes, "labels/train/im1.png", "damaged or truncated"),
    (spoil_image, "images/train/im1.png", "not an image"),
    (double_image, "images/train/im1.webp", "has the name of .*im1.png"),
    (drop_labels, "images/train/im1.png", "no partner"),
    (drop_image, "labels/train/im1.png", "no partner"),
]
TOLERATED: list[tuple[Callable[[Path], None], str, str]] = [
    (share_image, "images/val/im1.png", "same content"),
    (add_class, "", "class 'tree' has no pixel in train"),
]


def read_all(root: Path) -> None:
    dataset = build_dataset("train", spec(root), PLAIN, CFG, seed=0)
    for i in range(len(dataset)):
        dataset[i]


@pytest.mark.parametrize(("spoil", "path", "what"), REFUSED + TOLERATED)
def test_what_is_wrong_is_found_once(
    masks: Path, spoil: Callable[[Path], None], path: str, what: str
) -> None:
    assert check_label_maps(masks, "masks") == []
    spoil(masks)
    (problem,) = check_label_maps(masks, "masks")
    assert problem.path == str(masks / path)
    assert re.search(what, problem.what) and problem.remedy


def relabel(root: Path, values: dict[int, int]) -> None:
    """Write other labels in both splits."""
    for path in (root / "labels").rglob("*.png"):
        labels = np.array(Image.open(path))
        Image.fromarray(np.vectorize(lambda each: values.get(each, 0))(labels).astype(np.uint8)).save(path)


def test_labels_of_0_and_255_are_refused(masks: Path) -> None:
    """The most common form of two classes: 255 is ignored, and the background alone is right everywhere."""
    (masks / "classes.txt").write_text("background\nobject")
    relabel(masks, {1: 255, 2: 255})
    (problem,) = check_label_maps(masks, "masks")
    assert re.search(r"class 'object' has no pixel.*% of the pixels are 255, which is ignored", problem.what)
    assert "write its place in the list (1)" in problem.remedy
    with pytest.raises(UserError, match=r"one class alone, background \(0\), and 255, which is ignored"):
        build_dataset("train", spec(masks), PLAIN, CFG, seed=0)
    build_dataset("val", spec(masks), PLAIN, CFG, seed=0)
    relabel(masks, {0: 255, 255: 255})
    with pytest.raises(UserError, match="the labels of val have no class, and 255"):
        build_dataset("val", spec(masks), PLAIN, CFG, seed=0)


def test_one_class_is_refused(masks: Path) -> None:
    (masks / "classes.txt").write_text("crack")
    relabel(masks, {1: 255})
    (problem,) = check_label_maps(masks, "masks")
    assert "one class alone, 'crack'" in problem.what
    with pytest.raises(UserError, match="has one class, 'crack': whatever is learnt, it is right everywhere"):
        build_dataset("train", spec(masks), PLAIN, CFG, seed=0)


@pytest.mark.parametrize("spoil", [each[0] for each in REFUSED])
def test_training_refuses_what_it_cannot_use(masks: Path, spoil: Callable[[Path], None]) -> None:
    read_all(masks)
    spoil(masks)
    with pytest.raises(UserError) as caught:
        read_all(masks)
    assert "\n" not in str(caught.value)


def test_ade20ks_layout_is_looked_through_too(tmp_path: Path) -> None:
    root = write_label_maps(tmp_path, "ade20k", count=2)
    assert len(check_label_maps(root, "ade20k")) == 147  # classes without a pixel, of 150
    labels = root / "annotations/validation/im0.png"
    Image.fromarray(np.full((40, 60), 151, np.uint8)).save(labels)
    problem = check_label_maps(root, "ade20k")[0]
    assert problem.path == str(labels) and problem.what.startswith("label 151 at pixel x=0, y=0 (2400 such")


def test_a_val_that_is_ignored_is_found_as_opening_it_does(masks: Path) -> None:
    for path in (masks / "labels/val").iterdir():
        Image.fromarray(np.full((40, 60), IGNORED, np.uint8)).save(path)
    with pytest.raises(
        UserError, match="the labels of val have no class, and 255, which is ignored"
    ) as caught:
        build_dataset("val", spec(masks), PLAIN, CFG, 0)
    (problem,) = check_label_maps(masks, "masks")
    assert str(caught.value) == f"{problem.path}: {problem.what}: {problem.remedy}" and not problem.is_note
    for path in (masks / "labels/val").iterdir():
        path.write_bytes(b"no label map")
    assert len(check_label_maps(masks, "masks")) == 4
