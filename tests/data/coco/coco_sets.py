"""COCO data sets made on the fly: sound, with all that is unusual but right, and ways to spoil them."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from pycocotools import mask as official

from mscsa.data.check_dataset import check_dataset
from mscsa.data.problems import Problem


@dataclass
class Made:
    """A data set, whose annotations are written when it is looked through."""

    root: Path
    train: dict[str, Any]
    val: dict[str, Any]
    names: tuple[str, str] = ("train", "val")

    def file(self, split: str = "train") -> Path:
        return self.root / "annotations" / f"instances_{self.names[split == 'val']}.json"

    def write(self) -> None:
        for split in ("train", "val"):
            self.file(split).write_text(json.dumps(getattr(self, split)))

    def check(self, **options: Any) -> list[Problem]:
        """What is wrong, without the notes."""
        self.write()
        return [each for each in check_dataset(self.root, **options) if not each.is_note]


def runs(box: tuple[int, int, int, int], size: tuple[int, int], compressed: bool) -> dict[str, Any]:
    """Run lengths of a filled box x, y, w, h in an image of (H, W)."""
    x, y, width, height = box
    mask = np.zeros(size, np.uint8, order="F")
    mask[y : y + height, x : x + width] = 1
    if compressed:
        encoded = official.encode(mask)
        return {"size": list(size), "counts": encoded["counts"].decode()}
    changes = np.flatnonzero(np.diff(mask.ravel(order="F"), prepend=0)).tolist()
    counts = np.diff([0, *changes, mask.size]).tolist()
    return {"size": list(size), "counts": counts}


def rectangle(x: float, y: float, width: float, height: float) -> list[float]:
    return [x, y, x + width, y, x + width, y + height, x, y + height]


def annotation(number: int, image: int, category: int, box: list[float], mask: Any = None) -> dict[str, Any]:
    mask = [rectangle(*box)] if mask is None else mask
    area = box[2] * box[3] * 0.9
    return {"id": number, "image_id": image, "category_id": category, "bbox": box, "area": area} | {
        "iscrowd": 0,
        "segmentation": mask,
    }


def clean_file(split: str) -> dict[str, Any]:
    """Sound annotations with all that is unusual but right.

    Category ids with gaps, an image without annotations, boxes on the border and less than a pixel beyond it,
    objects smaller than a pixel, polygons of several parts, run lengths of objects and of crowds.
    """
    crowd = annotation(23, 11, 4, [0, 0, 40, 20], runs((0, 0, 40, 20), (60, 40), False)) | {"iscrowd": 1}
    return {
        "info": {"year": 2017},
        "images": [
            {"id": number, "file_name": f"{split}{number}.png", "width": width, "height": height}
            for number, (width, height) in ((10, (64, 48)), (11, (40, 60)), (12, (50, 50)))
        ],
        "annotations": [
            annotation(20, 10, 2, [0, 0, 64, 48]),
            annotation(21, 10, 2, [-0.5, 30.25, 20.3, 18.5]),
            annotation(22, 10, 7, [3.1, 4.2, 0.6, 0.9]),
            crowd,
            annotation(24, 11, 4, [5, 6, 7, 8], runs((5, 6, 7, 8), (60, 40), True)),
            annotation(30, 11, 2, [1, 2, 30, 50], [rectangle(1, 2, 5, 5), rectangle(20, 40, 11, 12)]),
            # Box and mask of two pixels, which rounding moves by one.
            annotation(31, 11, 2, [30, 50, 2, 2], runs((31, 51, 1, 1), (60, 40), True)),
        ],
        "categories": [{"id": number, "name": name} for number, name in ((7, "cat"), (2, "ant"), (4, "bee"))],
    }


def write_images(root: Path, content: dict[str, Any], folder: str, seed: int) -> None:
    rng = np.random.default_rng(seed)
    (root / folder).mkdir(parents=True)
    for image in content["images"]:
        pixels = rng.integers(0, 256, (image["height"], image["width"], 3), dtype=np.uint8)
        Image.fromarray(pixels).save(root / folder / image["file_name"])


def make(root: Path, names: tuple[str, str] = ("train", "val")) -> Made:
    made = Made(root, clean_file("train"), clean_file("val"), names)
    (root / "annotations").mkdir(parents=True)
    for seed, (name, content) in enumerate(zip(names, (made.train, made.val), strict=True)):
        write_images(root, content, name, seed)
    return made


TRAIN = "annotations/instances_train.json"

Defect = tuple[Callable[[Made], Any], str, str]
"""What spoils a data set, the path that is to be named, and what is to be said (a pattern)."""


def on_annotation(number: int, **fields: Any) -> Callable[[Made], None]:
    """Change fields of an annotation of train; `...` removes one."""

    def change(made: Made) -> None:
        (each,) = (each for each in made.train["annotations"] if each["id"] == number)
        _update(each, fields)

    return change


def on_image(number: int, **fields: Any) -> Callable[[Made], None]:
    """Change fields of an image of train; `...` removes one."""

    def change(made: Made) -> None:
        (each,) = (each for each in made.train["images"] if each["id"] == number)
        _update(each, fields)

    return change


def _update(each: dict[str, Any], fields: dict[str, Any]) -> None:
    for name, value in fields.items():
        if value is ...:
            del each[name]
        else:
            each[name] = value


def added(part: str, entry: Any) -> Callable[[Made], None]:
    return lambda made: made.train[part].append(entry)


def without(part: str) -> Callable[[Made], None]:
    return lambda made: made.train.pop(part)


def assert_found_once(made: Made, defect: Defect) -> None:
    """A seeded defect is the one problem of a data set, on one line, with a remedy."""
    spoil, path, what = defect
    spoil(made)
    problems = made.check()
    assert len(problems) == 1, problems
    assert problems[0].path == str(made.root / path)
    assert re.search(what, problems[0].what), problems[0].what
    assert problems[0].remedy and "\n" not in problems[0].what
