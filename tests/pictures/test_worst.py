"""The worst images of a run: how each task judges, and what is drawn."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from mscsa.data.scenes.collection import SEGMENTATION_CLASSES, SceneCollection
from mscsa.data.scenes.scene import CLASS_NAMES
from mscsa.errors import UserError
from mscsa.evaluation.detections import Detections
from mscsa.pictures.worst import count_matches, heading_of, mean_iou, worst_rows
from tests.data.coco.coco_folder import edit, write_coco
from tests.data.packed.packed_files import write_tar
from tests.evaluation.untrained import (
    CLASSES,
    CLASSIFIER,
    DETECTOR,
    OBJECTS,
    PIXELS,
    SEGMENTER,
    save_untrained,
)


def test_mean_iou_is_over_the_classes_that_are_there() -> None:
    labels = np.array([[0, 0, 1, 255]])
    assert mean_iou(labels, np.array([[0, 0, 1, 2]])) == 1.0
    assert mean_iou(labels, np.array([[0, 2, 1, 2]])) == pytest.approx((0.5 + 1 + 0) / 3)
    assert mean_iou(np.full((1, 2), 255), np.zeros((1, 2))) == 1.0


def found(*objects: tuple[int, float, tuple[float, float, float, float]]) -> Detections:
    labels, scores, boxes = zip(*objects, strict=True) if objects else ((), (), ())
    return Detections(
        boxes=np.array(boxes, np.float32).reshape(-1, 4),
        labels=np.array(labels, np.int64),
        scores=np.array(scores, np.float32),
    )


def test_objects_are_matched_once_and_by_class() -> None:
    box, other = (0.0, 0.0, 10.0, 10.0), (20.0, 20.0, 30.0, 30.0)
    truth = found((1, 1.0, box), (2, 1.0, other))
    assert count_matches(truth, truth) == (2, 2)
    assert count_matches(found((1, 0.9, box), (1, 0.8, box)), truth) == (1, 2)  # one of them is invented
    assert count_matches(found((2, 0.9, box), (2, 0.4, other)), truth) == (0, 1)  # another class; not sure
    assert count_matches(found(), truth) == (0, 0) and count_matches(truth, found()) == (0, 2)


def write_scenes(root: Path, task: str) -> Path:
    """Some images as a set of files for a model of scenes."""
    for split in ("train", "val"):
        scenes = SceneCollection(split=split, num_scenes=4, size=32, max_digits=1)  # type: ignore[arg-type]
        for i in range(4):
            scene = scenes.render(i)
            if task == "classification":
                for label in range(10):  # all classes must be there
                    place = root / split / CLASS_NAMES[label]
                    place.mkdir(parents=True, exist_ok=True)
                    Image.fromarray(scene.image).save(place / f"{i}.png")
            else:
                for kind, pixels in (("images", scene.image), ("labels", scene.semantic)):
                    (root / kind / split).mkdir(parents=True, exist_ok=True)
                    Image.fromarray(pixels).save(root / kind / split / f"{i}.png")
    if task == "segmentation":
        (root / "classes.txt").write_text("\n".join(SEGMENTATION_CLASSES))
    return root


def test_a_detector_is_judged_by_what_it_misses_and_invents(tmp_path: Path) -> None:
    checkpoint = save_untrained(tmp_path / "best.safetensors", DETECTOR, OBJECTS)
    root = write_coco(tmp_path / "coco")
    names = {"bar": CLASS_NAMES[0], "disc": CLASS_NAMES[1], "never": CLASS_NAMES[2]}

    def rename(content: dict[str, Any]) -> None:
        for each in content["categories"]:
            each["name"] = names[each["name"]]

    edit(root, rename, "val")
    rows = worst_rows(str(checkpoint), 2, "cpu", str(root))
    assert [truth.title.rpartition(".png")[2] for truth, _ in rows] == [": truth"] * 2
    assert all("right, 2 missed, " in said.title and said.title.endswith("invented") for _, said in rows)


def test_a_classifier_is_worst_where_the_right_class_is_unlikely(tmp_path: Path) -> None:
    checkpoint = save_untrained(tmp_path / "best.safetensors", CLASSIFIER, CLASSES)
    root = write_scenes(tmp_path / "data", "classification")
    rows = worst_rows(str(checkpoint), 3, "cpu", str(root))
    assert len(rows) == 3
    chances = []
    for truth, said in rows:
        name = truth.title.partition(": ")[2]
        first, right = said.title.split(", ")
        assert name in CLASS_NAMES and right.startswith(f"{name} ") and first
        chances.append(int(right.split()[1]))
    assert chances == sorted(chances) and chances[0] <= 10
    assert heading_of(rows, "run").startswith("run: the 3 images of val it is worst at")


def test_an_unreadable_image_is_passed_over_where_the_run_allowed_for_it(tmp_path: Path) -> None:
    root = write_scenes(tmp_path / "data", "classification")
    bad = min((root / "val").rglob("*.png"))
    bad.write_bytes(b"no image")
    checkpoint = save_untrained(tmp_path / "best.safetensors", CLASSIFIER, replace(CLASSES, max_bad=1))
    rows = worst_rows(str(checkpoint), 999, "cpu", str(root))
    assert len(rows) == len(list((root / "val").rglob("*.png"))) - 1
    assert f"{bad.name}: {bad.parent.name}" not in [truth.title for truth, _ in rows]


def test_packed_images_are_judged_as_those_of_folders(tmp_path: Path) -> None:
    root = write_scenes(tmp_path / "data", "classification")
    checkpoint = save_untrained(tmp_path / "best.safetensors", CLASSIFIER, CLASSES)
    members: list[tuple[str, bytes]] = []
    for path in sorted((root / "val").rglob("*.png")):
        label = CLASS_NAMES.index(path.parent.name)
        members += [(path.name, path.read_bytes()), (f"{path.stem}.cls", str(label).encode())]
    for split in ("train", "val"):
        write_tar(tmp_path / "packed" / split / "0.tar", members)
    (tmp_path / "packed" / "classes.txt").write_text("\n".join(CLASS_NAMES))
    wanted = worst_rows(str(checkpoint), 3, "cpu", str(root))
    rows = worst_rows(str(checkpoint), 3, "cpu", str(tmp_path / "packed"))
    assert [said.title for _, said in rows] == [said.title for _, said in wanted]
    assert [np.asarray(said.image).tolist() for _, said in rows] == [
        np.asarray(said.image).tolist() for _, said in wanted
    ]


def test_a_segmenter_is_judged_by_each_images_iou(tmp_path: Path) -> None:
    checkpoint = save_untrained(tmp_path / "best.safetensors", SEGMENTER, PIXELS)
    root = write_scenes(tmp_path / "data", "segmentation")
    rows = worst_rows(str(checkpoint), 9, "cpu", str(root))
    scores = [float(said.title.split()[1]) for _, said in rows]
    assert len(rows) == 4 and scores == sorted(scores)
    assert all(truth.image.size == said.image.size == (32, 32) for truth, said in rows)


def test_rendered_images_are_no_files(tmp_path: Path) -> None:
    checkpoint = save_untrained(tmp_path / "best.safetensors", DETECTOR, OBJECTS)
    with pytest.raises(UserError, match="was trained on scenes, which are no files: give another run"):
        worst_rows(str(checkpoint), 3, "cpu")
