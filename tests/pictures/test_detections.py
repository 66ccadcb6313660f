"""Detections as pictures."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from mscsa.data.coco.masks import encode_masks
from mscsa.errors import UserError
from mscsa.evaluation import DetectedObjects
from mscsa.evaluation.detections import Detections
from mscsa.pictures.detections import draw_objects, write_detections
from mscsa.pictures.output import OutputFolder
from mscsa.pictures.palette import palette

NAMES = ("cat", "dog")
SIDE = 600
"""So large that the picture is not enlarged."""


def detections(*, with_masks: bool = False) -> Detections:
    """A cat at the left and a dog at the right, surest first."""
    boxes = np.array([[50.0, 200.0, 150.0, 400.0], [400.0, 200.0, 550.0, 400.0]], np.float32)
    masks = None
    if with_masks:
        filled = np.zeros((2, SIDE, SIDE), bool)
        for mask, (x1, y1, x2, y2) in zip(filled, boxes.astype(int), strict=True):
            mask[y1:y2, x1:x2] = True
        masks = tuple(encode_masks(filled))
    return Detections(
        boxes=boxes, scores=np.array([0.9, 0.4], np.float32), labels=np.array([1, 2]), masks=masks
    )


def detected(path: str, **parts: Any) -> DetectedObjects:
    image = Image.new("RGB", (SIDE, SIDE), "white")
    parts = {"image": image, "detections": detections(), "class_names": NAMES, **parts}
    return DetectedObjects(path=path, category_ids=(7, 9), **parts)


def drawn(found: Detections, threshold: float) -> np.ndarray:
    return np.asarray(draw_objects(Image.new("RGB", (SIDE, SIDE), "white"), found, NAMES, threshold))


def test_objects_below_the_threshold_are_not_drawn() -> None:
    pixels = drawn(detections(), 0.5)
    assert (pixels[:, :300] != 255).any()
    assert (pixels[:, 300:] == 255).all()
    assert (drawn(detections(), 0.3)[:, 300:] != 255).any()
    assert (drawn(detections(), 0.95) == 255).all()


def test_a_mask_is_filled_with_the_colour_of_its_class() -> None:
    pixels = drawn(detections(with_masks=True), 0.3)
    for x, colour in ((100, palette(2)[0]), (480, palette(2)[1])):
        expected = 255 + 0.45 * (colour.astype(float) - 255)
        assert np.abs(pixels[300, x] - expected).max() <= 1.5
    assert (pixels[100, 100] == 255).all()


def test_a_small_image_is_enlarged() -> None:
    small = Detections(
        boxes=np.array([[5.0, 5, 20, 20]], np.float32),
        scores=np.array([0.9], np.float32),
        labels=np.array([1]),
        masks=None,
    )
    picture = draw_objects(Image.new("RGB", (100, 60), "white"), small, NAMES, 0.5)
    assert picture.size == (600, 360)


def test_what_was_drawn_is_told(tmp_path: Path) -> None:
    images = ["a.jpg", "bad.png"]
    results = [detected("a.jpg"), detected("bad.png", detections=None, image=None, error="bad.png: no image")]
    written = list(write_detections(results, OutputFolder(tmp_path, images), threshold=0.5))
    assert (written[0].picture, written[0].num_drawn) == (str(tmp_path / "a.png"), 1)
    assert written[0].counts == (("cat", 1),)
    assert [(each["category_id"], each["class"]) for each in written[0].objects] == [(7, "cat"), (9, "dog")]
    assert written[1].error == "bad.png: no image"
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]


def test_bad_input_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="threshold=1.5 given: give a score in 0..1"):
        list(write_detections([], OutputFolder(tmp_path, []), threshold=1.5))
    with pytest.raises(UserError, match=r"cannot write .*a\.png"):
        list(write_detections([detected("a.jpg")], OutputFolder(tmp_path / "file", ["a.jpg"])))
