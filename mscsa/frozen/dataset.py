"""Records of a store as a data set."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import pad

from mscsa.data.batches import MappedSample, ObjectSample
from mscsa.data.contract import (
    IGNORED,
    Batch,
    ObjectDataset,
    TaskDataset,
    augmented_by,
    sample_index,
    with_transform,
)
from mscsa.data.sampler import SampleKey
from mscsa.data.transforms.detection import ObjectTransform
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


class _Frozen:
    """What all data sets have in common whose images are replaced by addresses of kept maps."""

    def __init__(
        self,
        dataset: Any,
        store: MapStore,
        *,
        first: int,
        sizes: Sequence[tuple[int, int]],
        hflip: float,
        seed: int,
    ) -> None:
        self.class_names: list[str] = dataset.class_names
        self.flip_pairs: tuple[tuple[str, str], ...] = getattr(dataset, "flip_pairs", ())
        self.store = store
        self._dataset = dataset
        self._first = first
        self._sizes = sizes
        self._hflip = hflip
        self._seed = seed

    def __len__(self) -> int:
        return len(self._dataset)

    def describe(self, index: int) -> str:
        """Name the image."""
        name: str = self._dataset.describe(index)
        return name

    def collate(self, samples: Sequence[Any]) -> Batch:
        """Make a batch as the images themselves make one."""
        # An address has no memory of its own, which a loader for a GPU could not pin.
        batch: Batch = self._dataset.collate([(image.contiguous(), *rest) for image, *rest in samples])
        return batch

    def _draw_variant(self) -> int:
        drawn = random.randrange(len(self._sizes) // len(self))
        if self._hflip in (0.0, 0.5):  # as many of the variants are mirrored: this draw has settled it
            return drawn
        return drawn - drawn % 2 + (random.random() < self._hflip)

    def _record(self, index: int, variant: int) -> int:
        return self._first + variant * len(self) + index

    def _whole(self, index: int, variant: int = 0) -> Tensor:
        """Give the address of a whole image."""
        return address(self._record(index, variant), 0, 0, self._sizes[variant * len(self) + index])


class FrozenSegmentation(_Frozen):
    """A `TaskDataset` for segmentation whose images are replaced by addresses of kept maps."""

    def __init__(
        self,
        dataset: TaskDataset,
        store: MapStore,
        *,
        first: int,
        sizes: Sequence[tuple[int, int]],
        crop: Crop | None = None,
        hflip: float = 0.5,
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
            hflip: Probability of a mirror image: the variants are sizes, of each the image as it is and then
                mirrored; at 0 as it is alone.
            seed: Seed of what is drawn.
        """
        super().__init__(dataset, store, first=first, sizes=sizes, hflip=hflip, seed=seed)
        self._crop = crop

    def __getitem__(self, key: SampleKey | int) -> MappedSample:
        """Return (address (3, h, w) float, labels (H, W), index)."""
        index = sample_index(key)
        if self._crop is None:
            labels = torch.from_numpy(self.store.labels_of(self._record(index, 0)).astype("int64"))
            return self._whole(index), labels, index
        with augmented_by(self._seed, key):
            return (*self._draw(index, self._crop), index)

    def _draw(self, index: int, crop: Crop) -> tuple[Tensor, Tensor]:
        """Draw a variant of an image and a crop of it."""
        record = self._record(index, self._draw_variant())
        labels = self.store.labels_of(record)
        left, top, right, bottom = choose_crop(labels, crop.side, crop.max_class_share, step=crop.step)
        classes = torch.from_numpy(labels[top:bottom, left:right].astype("int64"))
        missing = (0, crop.side - classes.shape[1], 0, crop.side - classes.shape[0])
        return address(record, top, left, (crop.side, crop.side)), pad(classes, missing, value=IGNORED)


class FrozenDetection(_Frozen):
    """An `ObjectDataset` whose images are replaced by addresses of kept maps."""

    def __init__(
        self,
        dataset: ObjectDataset,
        store: MapStore,
        *,
        first: int,
        sizes: Sequence[tuple[int, int]],
        variants: Sequence[ObjectTransform] | None = None,
        hflip: float = 0.5,
        seed: int = 0,
    ) -> None:
        """Stand for `dataset`.

        Args:
            dataset: The images themselves, with their objects.
            store: Their maps.
            first: Record of the first image; one variant of all images lies after the other.
            sizes: (H, W) in px of each record's image, from `first` on.
            variants: For training: one is drawn, and makes the objects of its records. None gives the images
                as `dataset` itself does, for evaluation.
            hflip: Probability of a mirror image: the variants are sizes, of each the image as it is and then
                mirrored; at 0 as it is alone.
            seed: Seed of what is drawn.
        """
        super().__init__(dataset, store, first=first, sizes=sizes, hflip=hflip, seed=seed)
        self.category_ids = dataset.category_ids
        self._variants = [with_transform(dataset, each) for each in variants or ()]

    def ground_truth(self) -> dict[str, Any]:
        """Give images, annotations and categories as COCO's file has them."""
        truth: dict[str, Any] = self._dataset.ground_truth()
        return truth

    def __getitem__(self, key: SampleKey | int) -> ObjectSample:
        """Return (address (3, h, w) float, target, index); targets are those of the images themselves."""
        index = sample_index(key)
        if not self._variants:
            return self._whole(index), self._dataset[index][1], index
        with augmented_by(self._seed, key):
            variant = self._draw_variant()
        return self._whole(index, variant), self._variants[variant][index][1], index
