"""Records of a store as a data set."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import pad

from mscsa.data.batches import MappedSample, collate_maps
from mscsa.data.contract import IGNORED, Batch, TaskDataset, augmented_by, sample_index
from mscsa.data.sampler import SampleKey
from mscsa.data.transforms.segmentation import choose_crop
from mscsa.frozen.reading import address
from mscsa.frozen.store import MapStore


@dataclass(frozen=True, kw_only=True)
class Crop:
    """How training samples are cut out of a record."""

    side: int
    """Side of the square in px."""
    step: int
    """Crops begin at multiples of it in px, where the maps of all levels have a value of their own."""
    max_class_share: float
    """A crop in which one class has this share of the known pixels or more is drawn again."""


class FrozenSegmentation:
    """A `TaskDataset` for segmentation whose images are replaced by addresses of kept maps."""

    def __init__(
        self,
        dataset: TaskDataset,
        store: MapStore,
        *,
        first: int,
        sizes: Sequence[tuple[int, int]],
        crop: Crop | None = None,
        seed: int = 0,
    ) -> None:
        """Stand for `dataset`.

        Args:
            dataset: The images themselves.
            store: Their maps.
            first: Record of the first image; one variant of all images lies after the other.
            sizes: (H, W) in px of each record's image, from `first` on.
            crop: For training: a variant of the image and a crop of it are drawn. None gives the first
                variant whole, for evaluation.
            seed: Seed of what is drawn.
        """
        self.class_names = dataset.class_names
        self.store = store
        self._dataset = dataset
        self._first = first
        self._sizes = sizes
        self._crop = crop
        self._seed = seed

    def __len__(self) -> int:
        return len(self._dataset)

    def describe(self, index: int) -> str:
        """Name the image."""
        return self._dataset.describe(index)

    def __getitem__(self, key: SampleKey | int) -> MappedSample:
        """Return (address (3, h, w) float, labels (H, W), index)."""
        index = sample_index(key)
        if self._crop is None:
            labels = torch.from_numpy(self.store.labels_of(self._first + index).astype("int64"))
            return address(self._first + index, 0, 0, self._sizes[index]), labels, index
        with augmented_by(self._seed, key):
            return (*self._draw(index, self._crop), index)

    def _draw(self, index: int, crop: Crop) -> tuple[Tensor, Tensor]:
        """Draw a variant of an image and a crop of it."""
        variant = random.randrange(len(self._sizes) // len(self))
        record = self._first + variant * len(self) + index
        labels = self.store.labels_of(record)
        left, top, right, bottom = choose_crop(labels, crop.side, crop.max_class_share, step=crop.step)
        classes = torch.from_numpy(labels[top:bottom, left:right].astype("int64"))
        missing = (0, crop.side - classes.shape[1], 0, crop.side - classes.shape[0])
        return address(record, top, left, (crop.side, crop.side)), pad(classes, missing, value=IGNORED)

    def collate(self, samples: Sequence[MappedSample]) -> Batch:
        """Stack training samples; keep those of evaluation apart, whose sizes differ."""
        return collate_maps(samples, "val" if self._crop is None else "train")
