"""Embedded scenes with a class for each pixel."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset

from mscsa.data.batches import MappedSample, collate_maps
from mscsa.data.contract import Batch, Split, augmented_by, sample_index
from mscsa.data.sampler import SampleKey
from mscsa.data.transforms.segmentation import JointTransform


class SemanticScenes(Protocol):
    """Rendered images with a class for each pixel, by number."""

    @property
    def split(self) -> Split:
        """Whose images they are."""

    @property
    def class_names(self) -> Sequence[str]:
        """Name of each class."""

    def __len__(self) -> int: ...

    def describe(self, index: int) -> str:
        """Name a scene by what it takes to render it again."""

    def render(self, index: int) -> Any:
        """Give `image`, RGB uint8 (S, S, 3), and `semantic`, the class of each pixel, uint8 (S, S)."""


class SceneSegmentation(Dataset[MappedSample]):
    """Rendered images as a `TaskDataset`.

    Args:
        scenes: The images: digits on texture (class 0 is the background, n + 1 the digit n) or collages.
        transform: What makes tensors of image and labels.
        seed: Seed of the augmentation.
    """

    def __init__(self, scenes: SemanticScenes, transform: JointTransform, *, seed: int) -> None:
        self.class_names = list(scenes.class_names)
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
