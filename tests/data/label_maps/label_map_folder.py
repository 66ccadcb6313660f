"""Small data sets of images and label maps, whose grey values tell the labels."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from PIL import Image

from mscsa.data.contract import IGNORED
from mscsa.data.label_maps.layouts import LabelLayout
from mscsa.recipes.spec import SegmentationAugment, SegmentationData

NAMES = ("sky", "road", "car")
FOLDERS: dict[LabelLayout, tuple[str, tuple[str, str]]] = {
    "masks": ("labels", ("train", "val")),
    "ade20k": ("annotations", ("training", "validation")),
}
"""Folder of label maps, and what the splits are called."""
CFG = {"mean": (0.0, 0.0, 0.0), "std": (1.0, 1.0, 1.0)}
PLAIN = SegmentationAugment(scale=(1.0, 1.0), max_class_share=1.0, photometric=False, hflip=0.0)


def labels_of(index: int, height: int = 40, width: int = 60) -> np.ndarray:
    """Blocks of 10 px: sky, road, car and ignored pixels."""
    rng = np.random.default_rng(index)
    blocks = rng.choice([0, 1, 2, IGNORED], (height // 10, width // 10), p=[0.4, 0.3, 0.2, 0.1])
    return np.kron(blocks, np.ones((10, 10))).astype(np.uint8)


def image_of(classes: np.ndarray) -> Image.Image:
    """An image whose grey value is 60 times the label, 240 where ignored."""
    grey = np.where(classes == IGNORED, 240, classes.astype(int) * 60).astype(np.uint8)
    return Image.fromarray(np.repeat(grey[..., None], 3, axis=2))


def write_pair(images: Path, labels: Path, name: str, classes: np.ndarray, offset: int = 0) -> None:
    """An image and its label map, with a number added to each label; 255 + 1 wraps to 0."""
    images.mkdir(parents=True, exist_ok=True)
    labels.mkdir(parents=True, exist_ok=True)
    image_of(classes).save(images / f"{name}.png")
    Image.fromarray((classes + np.uint8(offset)).astype(np.uint8)).save(labels / f"{name}.png")


def write_label_maps(root: Path, layout: LabelLayout = "masks", count: int = 4) -> Path:
    """Both splits in a layout: im0, im1, ... with the labels of `labels_of(0 ...)`, in val `(10 ...)`."""
    labels, splits = FOLDERS[layout]
    for start, folder in zip((0, 10), splits, strict=True):
        for i in range(count):
            folders = (root / "images" / folder, root / labels / folder)
            write_pair(*folders, f"im{i}", labels_of(start + i), offset=int(layout == "ade20k"))
    if layout == "masks":
        (root / "classes.txt").write_text("\n".join(NAMES) + "\n")
    return root


def spec(root: Path, **fields: object) -> SegmentationData:
    """A description of such a data set, with crops of 32 px."""
    known = {"kind": "masks", "root": str(root), "image_size": 32, "short_side": 40, "long_side": 80}
    return SegmentationData(**{**known, **fields})  # type: ignore[arg-type]


def assert_aligned(image: torch.Tensor, labels: torch.Tensor) -> None:
    """The grey value tells the label, except beside an edge, where resizing mixes them."""
    grey = (image[0] * 255).round()
    expected = torch.where(labels == IGNORED, 240, labels * 60)
    expected = torch.where((labels == IGNORED) & (grey == 0), 0, expected)  # padding
    assert (grey - expected).abs().le(30).float().mean() > 0.85
