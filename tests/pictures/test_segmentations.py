"""Segmentations as files."""

from __future__ import annotations

import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from mscsa.errors import UserError
from mscsa.evaluation import Segmentation
from mscsa.pictures.output import OutputFolder
from mscsa.pictures.palette import palette
from mscsa.pictures.segmentations import class_shares, write_label_map, write_overlay, write_segmentations

LABELS = np.repeat(np.array([[0, 1, 1, 2]], np.uint8), 3, axis=0)  # (3, 4)
NAMES = ("ground", "cat", "dog", "none of it")


def segmentation(path: str, **parts: Any) -> Segmentation:
    parts = {"image": Image.new("RGB", (4, 3), "white"), "labels": LABELS, "class_names": NAMES, **parts}
    return Segmentation(path=path, **parts)


def test_a_label_map_holds_the_indices_and_shows_the_palette(tmp_path: Path) -> None:
    write_label_map(tmp_path / "new" / "map.png", LABELS)
    with Image.open(tmp_path / "new" / "map.png") as image:
        assert image.mode == "P"
        assert np.array_equal(np.array(image), LABELS)
        assert np.array_equal(np.array(image.getpalette()[:9]).reshape(3, 3), palette(3))


def test_names_with_signs_of_formulas_are_names(tmp_path: Path) -> None:
    names = ("cost$_1_$", "$\\frac$", "dog", "$")
    write_overlay(tmp_path / "cost$_1_$.png", Image.new("RGB", (4, 3)), LABELS, names)
    assert (tmp_path / "cost$_1_$.png").exists()


def test_every_index_is_kept(tmp_path: Path) -> None:
    labels = np.arange(256, dtype=np.uint8).reshape(8, 32)[:, ::-1]
    write_label_map(tmp_path / "map.png", labels)
    with Image.open(tmp_path / "map.png") as image:
        assert image.size == (32, 8)
        assert np.array_equal(np.array(image), labels)


def test_shares_of_the_classes_the_largest_first() -> None:
    assert class_shares(LABELS, NAMES) == [("cat", 0.5), ("ground", 0.25), ("dog", 0.25)]


def test_files_of_each_image_and_the_error_of_an_unreadable_one(tmp_path: Path) -> None:
    images = ["a/1.jpg", "bad.png", "b/1.jpg"]
    unreadable = segmentation(images[1], image=None, labels=None, error="bad.png: no image")
    results = [segmentation(images[0]), unreadable, segmentation(images[2])]
    written = list(write_segmentations(results, OutputFolder(tmp_path, images)))
    assert [each.error for each in written] == [None, "bad.png: no image", None]
    assert {path.name for path in tmp_path.iterdir()} == {
        *("1.png", "1_overlay.png", "1_.png", "1__overlay.png")
    }
    assert written[0].classes[0] == ("cat", 0.5)


def test_many_classes_leave_room_in_the_legend(tmp_path: Path) -> None:
    labels = np.arange(120, dtype=np.uint8).reshape(10, 12)
    image = Image.new("RGB", (12, 10), "white")
    write_overlay(tmp_path / "many.png", image, labels, [f"class {i}" for i in range(120)])
    write_overlay(tmp_path / "few.png", image, labels % 3, NAMES)
    sizes = []
    for name in ("many", "few"):
        with Image.open(tmp_path / f"{name}.png") as picture:
            sizes.append(picture.size)
    assert sizes[0] == sizes[1]


def test_a_folder_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    folder = OutputFolder(tmp_path / "file", ["a.jpg"])
    with pytest.raises(UserError, match=r"cannot write .*a\.png"):
        list(write_segmentations([segmentation("a.jpg")], folder))


def test_the_overlay_of_a_photograph_takes_little_memory(tmp_path: Path) -> None:
    """Drawn at full size, a photograph of 12 megapixels would take half a gigabyte."""
    width, height = 4000, 3000
    image = Image.new("RGB", (width, height), "red")
    labels = np.zeros((height, width), np.uint8)
    labels[:, : width // 4] = 1
    write_overlay(tmp_path / "small.png", image.resize((40, 30)), labels[::100, ::100], NAMES)
    tracemalloc.start()
    write_overlay(tmp_path / "a.png", image, labels, NAMES)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 16 * width * height
    with Image.open(tmp_path / "a.png") as large, Image.open(tmp_path / "small.png") as small:
        assert large.size == small.size
        difference = np.asarray(large, np.float32) - np.asarray(small, np.float32)
        assert np.abs(difference).mean() < 2  # the same picture, its legend too
