"""Rendered scenes with a class for each pixel."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset

from mscsa.data.contract import Split, augmented_by, sample_index
from mscsa.data.sampler import SampleKey
from mscsa.data.scenes.scene import CLASS_NAMES, digit_instances, render_scene
from mscsa.data.segmentation_folder import collate_segmentation
from mscsa.data.segmentation_transforms import JointTransform

SEGMENTATION_CLASSES = ("background", *CLASS_NAMES)


class SceneSegmentation(Dataset[tuple[Tensor, Tensor, int]]):
    """Scenes of some digits each as a `TaskDataset`; class 0 is the background, n + 1 the digit n.

    Args:
        split: `train` or `val`.
        num_scenes: Number of scenes; scene i is the same in each epoch.
        size: Side of a scene in px.
        max_digits: Most digits in a scene.
        transform: What makes tensors of image and labels.
        seed: Seed of the augmentation.
        scene_seed: Seed of the scenes themselves: kept apart, so that runs with different seeds train
            and evaluate on the same images, as they would on files.
    """

    def __init__(
        self,
        split: Split,
        num_scenes: int,
        size: int,
        max_digits: int,
        transform: JointTransform,
        *,
        seed: int,
        scene_seed: int = 0,
    ) -> None:
        # Loaded here so that a missing package shows at once, and forked workers share the digits.
        digit_instances(split)
        self.class_names = list(SEGMENTATION_CLASSES)
        self.split = split
        self.num_scenes = num_scenes
        self.size = size
        self.max_digits = max_digits
        self.transform = transform
        self.seed = seed
        self.scene_seed = scene_seed

    def __len__(self) -> int:
        return self.num_scenes

    def describe(self, index: int) -> str:
        """Name a scene by what it takes to render it again."""
        return f"scene {index} (seed {self.scene_seed}, {self.split}, up to {self.max_digits} digits)"

    def __getitem__(self, key: SampleKey | int) -> tuple[Tensor, Tensor, int]:
        """Return (image (3, h, w) float, labels (H, W), index)."""
        index = sample_index(key)
        if not 0 <= index < self.num_scenes:
            raise IndexError(f"scene {index} of {self.num_scenes}")
        scene = render_scene(
            index, seed=self.scene_seed, split=self.split, size=self.size, max_digits=self.max_digits
        )
        image = Image.fromarray(scene.image)
        with augmented_by(self.seed, key):
            pixels, classes = self.transform(image, Image.fromarray(scene.semantic))
        return pixels, classes, index

    def collate(self, samples: Sequence[tuple[Tensor, Tensor, int]]) -> Any:
        """Stack training samples; keep those of evaluation apart, as for images of any size."""
        return collate_segmentation(samples, self.split)
