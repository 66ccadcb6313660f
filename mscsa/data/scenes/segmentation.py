"""Embedded scenes with a class for each pixel."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from PIL import Image
from torch import Tensor

from mscsa.data.batches import MappedSample, collate_maps
from mscsa.data.contract import Batch, Split
from mscsa.data.sampler import SampleKey
from mscsa.data.scenes.dataset import SceneDataset, Scenes
from mscsa.data.transforms.segmentation import JointTransform


class SemanticScenes(Scenes, Protocol):
    """Rendered images with a class for each pixel: `semantic`, uint8 (S, S), of what is rendered."""

    @property
    def split(self) -> Split:
        """Whose images they are."""

    @property
    def class_names(self) -> Sequence[str]:
        """Name of each class."""


class SceneSegmentation(SceneDataset[MappedSample]):
    """Rendered images as a `TaskDataset`.

    Args:
        scenes: The images: digits on texture (class 0 is the background, n + 1 the digit n) or collages.
        transform: What makes tensors of image and labels.
        seed: Seed of the augmentation.
    """

    def __init__(self, scenes: SemanticScenes, transform: JointTransform, *, seed: int) -> None:
        super().__init__(scenes, scenes.class_names, seed=seed)
        self.transform = transform
        self.split = scenes.split

    def __getitem__(self, key: SampleKey | int) -> tuple[Tensor, Tensor, int]:
        """Return (image (3, h, w) float, labels (H, W), index)."""
        with self.drawn(key) as (index, scene):
            pixels, classes = self.transform(Image.fromarray(scene.image), Image.fromarray(scene.semantic))
        return pixels, classes, index

    def collate(self, samples: Sequence[MappedSample]) -> Batch:
        """Stack training samples; keep those of evaluation apart, as for images of any size."""
        return collate_maps(samples, self.split)
