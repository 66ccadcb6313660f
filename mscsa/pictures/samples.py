"""Samples of a data set as pictures: as they are in its files, and as training sees them."""

from __future__ import annotations

import copy
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from timm.data import resolve_data_config
from torch import Tensor
from torchvision.transforms.v2 import functional as TF

from mscsa.data.coco.masks import encode_masks
from mscsa.data.contract import TaskDataset
from mscsa.data.sampler import SampleKey
from mscsa.data.transforms.detection import placed
from mscsa.data.transforms.frame import Frame
from mscsa.evaluation.detections import Detections
from mscsa.pictures.contact_sheet import Tile
from mscsa.pictures.detections import draw_objects
from mscsa.pictures.segmentations import blended

_AFTER = 3
"""Draws of the augmentation beside each image."""


def sample_rows(dataset: TaskDataset, model_cfg: dict[str, Any], count: int, seed: int) -> list[list[Tile]]:
    """Draw some samples of a training set: each as it is in its file, then as training sees it some times.

    Args:
        dataset: With the training transform.
        model_cfg: What that normalises by.
        count: Images, drawn by `seed`.
    """
    chosen = random.Random(seed).sample(range(len(dataset)), min(count, len(dataset)))
    raw = unchanged(dataset)
    rows = []
    for index in sorted(chosen):
        pixels, target, _ = raw[index]
        row = [Tile(picture(pixels, target, dataset.class_names), title_of(dataset, index, target))]
        for epoch in range(_AFTER):
            pixels, target, _ = dataset[SampleKey(epoch, index, index)]
            seen = pixels if isinstance(target, dict) else _without_normalisation(pixels, model_cfg)
            height, width = seen.shape[-2:]
            row.append(Tile(picture(seen, target, dataset.class_names), f"training: {width}x{height}"))
        rows.append(row)
    return rows


def unchanged(dataset: TaskDataset) -> TaskDataset:
    """Give the same data set whose samples are as in the files: RGB in 0..1, and what is known of it."""
    same: Any = copy.copy(dataset)
    same.transform = _as_it_is
    # Those of evaluation have no objects.
    same.split = "train"
    return same


def picture(pixels: Tensor, target: Any, class_names: Sequence[str]) -> Image.Image:
    """Draw a sample: RGB in 0..1, (3, H, W), with its class, the class of each pixel, or its objects."""
    image = TF.to_pil_image(pixels.clamp(0, 1))
    if isinstance(target, dict):
        return draw_objects(image, as_detections(target), class_names, 0.0, with_scores=False)
    if isinstance(target, Tensor) and target.ndim == 2:
        return blended(image, target.numpy().astype(np.uint8))
    return image


def as_detections(objects: dict[str, Any]) -> Detections:
    """Give the objects of a sample as if they were found, with the score 1."""
    masks = objects.get("masks")
    return Detections(
        boxes=objects["boxes"].numpy(),
        labels=objects["labels"].numpy(),
        scores=np.ones(len(objects["labels"]), np.float32),
        masks=None if masks is None else tuple(encode_masks(masks.numpy().astype(bool))),
    )


def title_of(dataset: TaskDataset, index: int, target: Any) -> str:
    """Name an image, and its class or the number of its objects."""
    name = Path(dataset.describe(index)).name
    if isinstance(target, int):
        return f"{name}: {dataset.class_names[target]}"
    return f"{name}: {len(target['labels'])} objects" if isinstance(target, dict) else name


def _as_it_is(image: Image.Image, target: Any = None) -> Any:
    """Transform nothing, in the form of a transform of any task."""
    pixels = TF.to_dtype(TF.pil_to_tensor(image), torch.float32, scale=True)
    if target is None:
        return pixels
    if isinstance(target, dict):
        return pixels, placed(target, Frame.whole((image.height, image.width)))
    return pixels, torch.from_numpy(np.array(target, np.int64))


def _without_normalisation(pixels: Tensor, model_cfg: dict[str, Any]) -> Tensor:
    config = resolve_data_config({}, pretrained_cfg=model_cfg)
    mean, std = (torch.tensor(config[name])[:, None, None] for name in ("mean", "std"))
    return pixels * std + mean
