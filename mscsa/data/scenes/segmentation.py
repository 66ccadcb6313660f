"""Embedded scenes with a class for each pixel."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset

from mscsa.data.batches import MappedSample, collate_maps
from mscsa.data.contract import Batch, augmented_by, sample_index
from mscsa.data.sampler import SampleKey
from mscsa.data.scenes.collection import SceneCollection
from mscsa.data.scenes.scene import CLASS_NAMES
from mscsa.data.transforms.segmentation import JointTransform

SEGMENTATION_CLASSES = ("background", *CLASS_NAMES)


class SceneSegmentation(Dataset[MappedSample]):
    """Scenes of some digits each as a `TaskDataset`; class 0 is the background, n + 1 the digit n.

    Args:
        scenes: The scenes.
        transform: What makes tensors of image and labels.
        seed: Seed of the augmentation.
    """

    def __init__(self, scenes: SceneCollection, transform: JointTransform, *, seed: int) -> None:
        self.class_names = list(SEGMENTATION_CLASSES)
        self.scenes = scenes
        self.transform = transform
        self.seed = seed

    def __len__(self) -> int:
        return len(self.scenes)

    def describe(self, index: int) -> str:
        """Name a scene by what it takes to render it again."""
        return self.scenes.describe(index)

    def files(self, index: int) -> tuple[Path, ...]:
        """Give the files that a scene is read from: none."""
        return ()

    def __getitem__(self, key: SampleKey | int) -> tuple[Tensor, Tensor, int]:
        """Return (image (3, h, w) float, labels (H, W), index)."""
        index = sample_index(key)
        scene = self.scenes.render(index)
        image = Image.fromarray(scene.image)
        with augmented_by(self.seed, key):
            pixels, classes = self.transform(image, Image.fromarray(scene.semantic))
        return pixels, classes, index

    def collate(self, samples: Sequence[MappedSample]) -> Batch:
        """Stack training samples; keep those of evaluation apart, as for images of any size."""
        return collate_maps(samples, self.scenes.split)
