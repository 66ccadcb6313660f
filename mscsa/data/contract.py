"""What training and evaluation expect of a data set, whatever its task and images are."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any, Literal, Protocol

from PIL import Image
from torch import Tensor

from mscsa.data.sampler import SampleKey
from mscsa.data.seeding import seeded

Split = Literal["train", "val"]
"""The two halves of a data set."""

SPLITS: tuple[Split, ...] = ("train", "val")

IGNORED = 255
"""Label of pixels that count nowhere."""

Transform = Callable[[Image.Image], Tensor]
"""RGB image to normalised float tensor (3, H, W); draws from the global generators only."""

Batch = tuple[Any, Any, Tensor]
"""Images (B, 3, H, W) float, or a list where sizes differ or may; their targets; indices (B,)."""


class TaskDataset(Protocol):
    """Images, each with what a model of the task is to say about it."""

    @property
    def class_names(self) -> list[str]:
        """Name of each class; a label is a place in this list, a detector's is one more (0 is no object)."""

    def __len__(self) -> int: ...

    def describe(self, index: int) -> str:
        """Say which image a sample is, for messages: its path, or the scene's number."""

    def __getitem__(self, key: SampleKey | int) -> tuple[Tensor, Any, int]:
        """Return (image (3, H, W) float, target, index).

        With a `SampleKey` the transform's randomness is a function of (seed, epoch, position); with
        a plain index, of (seed, index).
        """

    def collate(self, samples: Sequence[Any]) -> Batch:
        """Make a batch (images, targets, indices) of samples."""


class ObjectDataset(TaskDataset, Protocol):
    """Images with objects, and what detections are scored by."""

    @property
    def category_ids(self) -> list[int]:
        """COCO's id of each class; label i + 1 is the i-th."""

    def ground_truth(self) -> dict[str, Any]:
        """Give images, annotations and categories as COCO's file has them."""


def with_transform(dataset: TaskDataset, transform: Callable[..., Any]) -> TaskDataset:
    """Give a data set's images by another transform; the data set itself stays as it is."""
    other: Any = copy.copy(dataset)
    other.transform = transform
    return other


def augmented_by(seed: int, key: SampleKey | int) -> AbstractContextManager[None]:
    """Let what a transform draws depend on the data set's seed and the sample's key alone."""
    return seeded("augment", seed, *((key.epoch, key.position) if isinstance(key, SampleKey) else (key,)))


def sample_index(key: SampleKey | int) -> int:
    """Return the sample that a key asks for."""
    return key.index if isinstance(key, SampleKey) else key
