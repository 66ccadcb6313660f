"""How often classes occur, and how objects fit anchors."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from mscsa.data.class_folders.dataset import ImageFolder
from mscsa.data.coco.dataset import CocoDetection
from mscsa.data.counts import best_ious, count_classes, fit_anchors
from mscsa.data.datasets import build_dataset
from mscsa.data.transforms.detection import EvaluatedObjects
from mscsa.recipes.spec import DetectionAugment, DetectionData
from tests.data.coco.coco_folder import write_coco
from tests.data.label_maps.label_map_folder import CFG, PLAIN, labels_of, spec, write_label_maps


def test_images_of_classes_are_counted(folder: Path) -> None:
    dataset = ImageFolder(folder, "train", lambda image: image, 0)  # type: ignore[arg-type, return-value]
    counts, read = count_classes(dataset)
    assert read == 12 and [(each.name, each.images) for each in counts] == [
        ("ant", 4),
        ("bee", 4),
        ("cat", 4),
    ]


def test_pixels_of_label_maps_are_counted(tmp_path: Path) -> None:
    dataset = build_dataset("train", spec(write_label_maps(tmp_path)), PLAIN, CFG, 0)
    counts, read = count_classes(dataset)
    pixels = np.bincount(np.concatenate([labels_of(i).ravel() for i in range(4)]), minlength=256)
    assert read == 4 and [each.things for each in counts] == pixels[:3].tolist()


def test_objects_are_counted_without_their_images_and_without_crowds(tmp_path: Path) -> None:
    root = write_coco(tmp_path / "coco")
    dataset = CocoDetection(root, "train", EvaluatedObjects(64, 100), 0)
    for path in (root / "train").iterdir():
        path.write_bytes(b"")
    counts, read = count_classes(dataset)
    assert read == 4
    assert [(each.name, each.images, each.things) for each in counts] == [
        ("bar", 3, 3),
        ("disc", 3, 3),
        ("never", 0, 0),
    ]


def test_rendered_images_are_counted() -> None:
    data = DetectionData(kind="scenes", short_side=64, long_side=64, num_train=6, num_val=6, max_digits=3)
    counts, read = count_classes(build_dataset("train", data, DetectionAugment(), {}, 0))
    assert read == 6 and len(counts) == 10 and sum(each.things for each in counts) >= 6


def test_boxes_and_anchors_of_one_centre() -> None:
    anchors = np.array([[10.0, 10.0], [20.0, 40.0]])
    sides = np.array([[10.0, 10.0], [20.0, 20.0], [5.0, 5.0]])
    assert best_ious(sides, anchors) == pytest.approx([1.0, 0.5, 0.25])


def test_objects_fit_anchors_at_the_size_of_training(tmp_path: Path) -> None:
    """Bars are 24x10 px in images whose shorter side is doubled."""
    dataset = CocoDetection(write_coco(tmp_path / "coco"), "train", EvaluatedObjects(64, 100), 0)
    data = DetectionData(kind="coco", short_side=120, long_side=1000)
    bar, disc = fit_anchors(dataset, data, np.array([[48.0, 20.0]]))
    assert (bar.name, disc.name) == ("bar", "disc")
    scales = np.array([120 / side for side in (60, 50, 40)])  # the third image is empty
    lengths = np.sort(np.sqrt(240) * scales)
    assert bar.sides == pytest.approx((lengths[0], lengths[1], lengths[2]), rel=1e-2)
    assert bar.covered == pytest.approx(2 / 3)  # of 3.0 times the size the IoU is 0.44
