"""What training and evaluation expect of a data set, whatever its task and images are."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal, Protocol

from PIL import Image
from torch import Tensor

from mscsa.data.sampler import SampleKey
from mscsa.data.seeding import seeded

Split = Literal["train", "val"]
"""The two halves of a data set."""

Transform = Callable[[Image.Image], Tensor]
"""RGB image to normalised float tensor (3, H, W); draws from the global generators only."""


class TaskDataset(Protocol):
    """Images, each with what a model of the task is to say about it."""

    @property
    def class_names(self) -> list[str]:
        """Name of each class; a classifier's or a segmenter's label is a place in this list."""

    def __len__(self) -> int: ...

    def describe(self, index: int) -> str:
        """Say which image a sample is, for messages: its path, or the scene's number."""

    def __getitem__(self, key: SampleKey | int) -> tuple[Tensor, Any, int]:
        """Return (image (3, H, W) float, target, index).

        With a `SampleKey` the transform's randomness is a function of (seed, epoch, position); with
        a plain index, of (seed, index).
        """

    def collate(self, samples: Sequence[Any]) -> Any:
        """Make a batch (images, targets, indices) of samples."""


def transform_for_key(image: Image.Image, transform: Transform, seed: int, key: SampleKey | int) -> Tensor:
    """Apply a transform whose randomness depends on the data set's seed and the sample's key alone."""
    draw = (key.epoch, key.position) if isinstance(key, SampleKey) else (key,)
    with seeded("augment", seed, *draw):
        return transform(image)


def sample_index(key: SampleKey | int) -> int:
    """Return the sample that a key asks for."""
    return key.index if isinstance(key, SampleKey) else key
