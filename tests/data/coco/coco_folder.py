"""A small data set in COCO's format: every form of annotation, drawn in colours that tell objects apart."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from mscsa.data.coco.masks import encode_masks

CATEGORIES = [{"id": 7, "name": "disc"}, {"id": 2, "name": "bar"}, {"id": 90, "name": "never"}]
"""Out of order and with gaps: labels are bar 1, disc 2, never 3."""
SIZES = ((60, 80), (90, 50), (64, 64), (40, 70))
"""Height and width of each image in pixels."""


def write_coco(root: Path, *, names: tuple[str, str] = ("train", "val")) -> Path:
    """Write both splits: a bar as a polygon and a disc as run lengths in each image but the third, which is
    empty; a crowd in the first."""
    for split, name in enumerate(names):
        (root / name).mkdir(parents=True)
        content = _split(root / name, seed=split)
        (root / "annotations").mkdir(exist_ok=True)
        (root / "annotations" / f"instances_{name}.json").write_text(json.dumps(content))
    return root


def _split(folder: Path, seed: int) -> dict[str, Any]:
    rng = np.random.default_rng(seed)
    images, annotations = [], []
    for i, (height, width) in enumerate(SIZES):
        pixels = rng.integers(0, 60, (height, width, 3), dtype=np.uint8)
        image_id = 100 + 3 * i
        images.append({"id": image_id, "file_name": f"{image_id}.png", "height": height, "width": width})
        if i != 2:
            top, left = 5 + i, 8 + i
            pixels[top : top + 10, left : left + 24] = (250, 40, 40)
            corners = [left, top, left + 24, top, left + 24, top + 10, left, top + 10]
            annotations.append(
                {
                    "image_id": image_id,
                    "category_id": 2,
                    "bbox": [left, top, 24, 10],
                    "area": 240,
                    "iscrowd": 0,
                    "segmentation": [[float(each) for each in corners]],
                }
            )
            y, x = np.mgrid[:height, :width]
            disc = (y - height + 15) ** 2 + (x - width + 15) ** 2 <= 100
            pixels[disc] = (40, 40, 250)
            annotations.append(
                {
                    "image_id": image_id,
                    "category_id": 7,
                    "bbox": [width - 25, height - 25, 21, 21],
                    "area": int(disc.sum()),
                    "iscrowd": 0,
                    "segmentation": encode_masks(disc[None])[0],
                }
            )
        if i == 0:
            crowd = np.zeros((height, width), bool)
            crowd[30:50, 10:40] = True
            annotations.append(
                {
                    "image_id": image_id,
                    "category_id": 7,
                    "bbox": [10, 30, 30, 20],
                    "area": 600,
                    "iscrowd": 1,
                    "segmentation": encode_masks(crowd[None])[0],
                }
            )
        Image.fromarray(pixels).save(folder / f"{image_id}.png")
    for i, annotation in enumerate(annotations):
        annotation["id"] = 1000 - i
    return {"images": images, "annotations": annotations, "categories": CATEGORIES}


def edit(root: Path, change: Callable[[dict[str, Any]], object], split: str = "train") -> None:
    """Change a file of annotations."""
    path = root / "annotations" / f"instances_{split}.json"
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))
