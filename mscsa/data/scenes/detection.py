"""Embedded scenes for detection: the visible part of each digit is an object, its box tight around it."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from mscsa.data.batches import ObjectSample, collate_objects
from mscsa.data.coco.masks import encode_masks
from mscsa.data.contract import Batch, augmented_by, sample_index
from mscsa.data.sampler import SampleKey
from mscsa.data.scenes.collection import SceneCollection
from mscsa.data.scenes.dataset import SceneDataset
from mscsa.data.scenes.scene import CLASS_NAMES
from mscsa.data.transforms.copy_paste import draw_with_pasted
from mscsa.data.transforms.detection import Objects, ObjectTransform, TrainObjects


class SceneDetection(SceneDataset[ObjectSample]):
    """Scenes of some digits each as an `ObjectDataset`; label n + 1 is the digit n.

    Args:
        scenes: The scenes.
        transform: What makes tensors of image and objects.
        seed: Seed of the augmentation.
        with_masks: Whether training samples have masks.
    """

    def __init__(
        self, scenes: SceneCollection, transform: ObjectTransform, *, seed: int, with_masks: bool = False
    ) -> None:
        super().__init__(scenes, CLASS_NAMES, seed=seed)
        self.category_ids = list(range(1, len(CLASS_NAMES) + 1))
        self.transform = transform
        self.with_masks = with_masks
        self.split = scenes.split
        self.side = scenes.size

    def __getitem__(self, key: SampleKey | int) -> tuple[Tensor, dict[str, Any], int]:
        """Return (image (3, h, w) float in 0..1, target, index); targets as those of `CocoDetection`."""
        index = sample_index(key)
        if self.split == "val":
            pixels, _ = self.transform(Image.fromarray(self.scenes.render(index).image), {})
            return pixels, {"image_id": index, "size": (self.side, self.side)}, index
        probability = self.transform.copy_paste if isinstance(self.transform, TrainObjects) else 0.0
        with augmented_by(self.seed, key):
            if not probability:
                return (*self._drawn(index, self.with_masks), index)
            draw = partial(self._drawn, with_masks=True)
            pixels, objects = draw_with_pasted(draw, index, len(self), probability)
        if not self.with_masks:
            del objects["masks"]
        return pixels, objects, index

    def _drawn(self, index: int, with_masks: bool) -> tuple[Tensor, Objects]:
        """Draw a training sample of a scene."""
        scene = self.scenes.render(index)
        objects: Objects = {
            "boxes": torch.from_numpy(scene.boxes),
            "labels": torch.from_numpy(scene.labels) + 1,
        }
        if with_masks:
            objects["masks"] = torch.from_numpy(scene.masks.astype(np.uint8))
        return self.transform(Image.fromarray(scene.image), objects)

    def collate(self, samples: Sequence[ObjectSample]) -> Batch:
        """Keep images and targets apart, as for images of any size."""
        return collate_objects(samples)

    def ground_truth(self) -> dict[str, Any]:
        """Give the scenes as a COCO file describes them, with the number of a scene as its image id."""
        annotations: list[dict[str, Any]] = []
        for index in range(len(self)):
            scene = self.scenes.render(index)
            masks = encode_masks(scene.masks)
            for label, box, mask, pixels in zip(scene.labels, scene.boxes, masks, scene.masks, strict=True):
                left, top, right, bottom = box.tolist()
                annotations.append(
                    {
                        "id": len(annotations) + 1,
                        "image_id": index,
                        "category_id": int(label) + 1,
                        "bbox": [left, top, right - left, bottom - top],
                        "area": int(pixels.sum()),
                        "iscrowd": 0,
                        "segmentation": mask,
                    }
                )
        side = self.side
        return {
            "images": [
                {"id": i, "file_name": f"{i}.png", "height": side, "width": side} for i in range(len(self))
            ],
            "annotations": annotations,
            "categories": [
                {"id": category_id, "name": name}
                for category_id, name in zip(self.category_ids, self.class_names, strict=True)
            ],
        }
