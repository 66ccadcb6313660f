"""Doors on the left and on the right, told apart by their place alone, and models that do so exactly."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from mscsa.assembly.weights_file import WeightsInfo
from mscsa.recipes.spec import DataSpec, DetectionData, ModelSpec, SegmentationData

MAP_CLASSES = ("wall", "left_door", "right_door")
OBJECT_CLASSES = MAP_CLASSES[1:]
DOORS = (("left_door", "right_door"),)
SIZE = (60, 40)
"""Width and height of an image in pixels."""
BOXES = ((4, 6, 20, 30), (38, 10, 52, 34))
"""Of the left door and of the right one."""


def scene(doors: tuple[int, ...] = (0, 1)) -> Image.Image:
    """Red doors on black."""
    pixels = np.zeros((SIZE[1], SIZE[0], 3), np.uint8)
    for door in doors:
        left, top, right, bottom = BOXES[door]
        pixels[top:bottom, left:right, 0] = 255
    return Image.fromarray(pixels)


class SidePainter(nn.Module):
    """A "segmenter" of `MAP_CLASSES`, which is right about whole images."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(20.0))

    def forward(self, images: Tensor) -> Tensor:
        is_door = images[:, 0] > 0.5
        is_left = torch.arange(images.shape[-1]).expand_as(is_door) < images.shape[-1] / 2
        return self.scale * torch.stack([~is_door, is_door & is_left, is_door & ~is_left], dim=1)


class SideFinder(nn.Module):
    """A "detector" of `OBJECT_CLASSES`, which is right about whole images."""

    detections_per_img = 100

    def __init__(self) -> None:
        super().__init__()
        self.score = nn.Parameter(torch.tensor(0.9))

    def forward(self, images: list[Tensor]) -> list[dict[str, Tensor]]:
        return [self._found(image[0] > 0.5) for image in images]

    def _found(self, is_door: Tensor) -> dict[str, Tensor]:
        middle = is_door.shape[-1] // 2
        boxes, labels = [], []
        for label, start in ((1, 0), (2, middle)):
            ys, xs = torch.where(is_door[:, start : start + middle])
            if len(xs):
                boxes.append([start + xs.min(), ys.min(), start + xs.max() + 1, ys.max() + 1])
                labels.append(label)
        return {
            "boxes": torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4),
            "labels": torch.tensor(labels, dtype=torch.int64),
            "scores": self.score.detach().expand(len(labels)),
        }


def write_maps(root: Path, flips: dict[str, str] | None = None) -> SegmentationData:
    """Write both splits as label maps, with `flip_to` of the classes in the table."""
    for split in ("train", "val"):
        for name, doors in (("both", (0, 1)), ("left", (0,)), ("right", (1,))):
            labels = np.zeros((SIZE[1], SIZE[0]), np.uint8)
            for door in doors:
                left, top, right, bottom = BOXES[door]
                labels[top:bottom, left:right] = 1 + door
            _save(root / "images" / split / f"{name}.png", scene(doors))
            _save(root / "labels" / split / f"{name}.png", Image.fromarray(labels))
    rows = [f"{i},{name},{(flips or {}).get(name, '')}" for i, name in enumerate(MAP_CLASSES)]
    (root / "classes.csv").write_text("\n".join(["value,name,flip_to", *rows]) + "\n")
    sizes: dict[str, Any] = {"image_size": 40, "short_side": 40, "long_side": 60}
    return SegmentationData(kind="masks", root=str(root), workers=0, **sizes)


def write_objects(root: Path, flips: dict[str, str] | None = None) -> DetectionData:
    """Write both splits in COCO's format, with `flip_to` of the categories."""
    categories = [{"id": i + 1, "name": name} for i, name in enumerate(OBJECT_CLASSES)]
    for each in categories:
        each |= {"flip_to": flips[str(each["name"])]} if flips else {}
    images, annotations = [], []
    for i, doors in enumerate(((0, 1), (0,), (1,))):
        images.append({"id": i, "file_name": f"{i}.png", "width": SIZE[0], "height": SIZE[1]})
        for door in doors:
            left, top, right, bottom = BOXES[door]
            box = [left, top, right - left, bottom - top]
            annotations.append(
                {"id": 1 + len(annotations), "image_id": i, "category_id": 1 + door, "bbox": box}
                | {"area": box[2] * box[3], "iscrowd": 0}
            )
        for split in ("train", "val"):
            _save(root / split / f"{i}.png", scene(doors))
    content = {"images": images, "annotations": annotations, "categories": categories}
    (root / "annotations").mkdir()
    for split in ("train", "val"):
        (root / "annotations" / f"instances_{split}.json").write_text(json.dumps(content))
    return DetectionData(kind="coco", root=str(root), short_side=40, long_side=60, workers=0)


def info_of(data: DataSpec, flip_pairs: tuple[tuple[str, str], ...] = ()) -> WeightsInfo:
    """Say of a model of these classes what its file would."""
    info = WeightsInfo(
        model=ModelSpec(name="test_resnet", head="semantic_fpn"),
        data=data,
        class_names=MAP_CLASSES,
        flip_pairs=flip_pairs,
        input={"mean": (0.0, 0.0, 0.0), "std": (1.0, 1.0, 1.0)},
        provenance={},
    )
    if isinstance(data, SegmentationData):
        return info
    model = ModelSpec(name="test_resnet", head="retinanet")
    return replace(info, model=model, class_names=OBJECT_CLASSES, category_ids=(1, 2))


def _save(path: Path, image: Image.Image) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path)
