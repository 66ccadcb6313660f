"""Embedded scenes for detection: the visible part of each digit is an object, its box tight around it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset

from mscsa.data.coco.dataset import collate_objects
from mscsa.data.coco.masks import encode_masks
from mscsa.data.contract import Split, augmented_by, sample_index
from mscsa.data.detection_transforms import ObjectTransform
from mscsa.data.sampler import SampleKey
from mscsa.data.scenes.scene import CLASS_NAMES, Scene, digit_instances, render_scene


class SceneDetection(Dataset[tuple[Tensor, dict[str, Any], int]]):
    """Scenes of some digits each as a `TaskDataset`; label n + 1 is the digit n.

    Args:
        split: `train` or `val`; says which digits are drawn.
        num_scenes: Number of scenes; scene i is the same in each epoch.
        size: Side of a scene in px.
        max_digits: Most digits in a scene.
        transform: What makes tensors of image and objects.
        seed: Seed of the augmentation.
        with_masks: Whether training samples have masks.
        scene_seed: Seed of the scenes themselves: kept apart, so that runs with different seeds train
            and evaluate on the same images, as they would on files.
    """

    def __init__(
        self,
        split: Split,
        num_scenes: int,
        size: int,
        max_digits: int,
        transform: ObjectTransform,
        *,
        seed: int,
        with_masks: bool = False,
        scene_seed: int = 0,
    ) -> None:
        # Loaded here so that a missing package shows at once, and forked workers share the digits.
        digit_instances(split)
        self.class_names = list(CLASS_NAMES)
        self.category_ids = list(range(1, len(CLASS_NAMES) + 1))
        self.split = split
        self.num_scenes = num_scenes
        self.size = size
        self.max_digits = max_digits
        self.transform = transform
        self.seed = seed
        self.with_masks = with_masks and split == "train"
        self.scene_seed = scene_seed

    def __len__(self) -> int:
        return self.num_scenes

    def describe(self, index: int) -> str:
        """Name a scene by what it takes to render it again."""
        return f"scene {index} (seed {self.scene_seed}, {self.split}, up to {self.max_digits} digits)"

    def __getitem__(self, key: SampleKey | int) -> tuple[Tensor, dict[str, Any], int]:
        """Return (image (3, h, w) float in 0..1, target, index); targets as those of `CocoDetection`."""
        index = sample_index(key)
        scene = self._render(index)
        image = Image.fromarray(scene.image)
        if self.split == "val":
            pixels, _ = self.transform(image, {})
            return pixels, {"image_id": index, "size": (self.size, self.size)}, index
        objects = {"boxes": torch.from_numpy(scene.boxes), "labels": torch.from_numpy(scene.labels) + 1}
        if self.with_masks:
            objects["masks"] = torch.from_numpy(scene.masks.astype(np.uint8))
        with augmented_by(self.seed, key):
            pixels, objects = self.transform(image, objects)
        return pixels, objects, index

    def collate(self, samples: Sequence[tuple[Tensor, dict[str, Any], int]]) -> Any:
        """Keep images and targets apart, as for images of any size."""
        return collate_objects(samples)

    def ground_truth(self) -> dict[str, Any]:
        """Give the scenes as a COCO file describes them, with the number of a scene as its image id."""
        annotations: list[dict[str, Any]] = []
        for index in range(self.num_scenes):
            scene = self._render(index)
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
        return {
            "images": [
                {"id": i, "file_name": f"{i}.png", "height": self.size, "width": self.size}
                for i in range(self.num_scenes)
            ],
            "annotations": annotations,
            "categories": [
                {"id": category_id, "name": name}
                for category_id, name in zip(self.category_ids, self.class_names, strict=True)
            ],
        }

    def _render(self, index: int) -> Scene:
        if not 0 <= index < self.num_scenes:
            raise IndexError(f"scene {index} of {self.num_scenes}")
        return render_scene(
            index, seed=self.scene_seed, split=self.split, size=self.size, max_digits=self.max_digits
        )
