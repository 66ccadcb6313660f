"""Samples of each task, and batches of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import default_collate

from mscsa.data.contract import Batch, Split

LabelledSample = tuple[Tensor, int, int]
"""Image (3, H, W), its label, index."""

MappedSample = tuple[Tensor, Tensor, int]
"""Image (3, h, w), the label of each pixel (H, W), index."""

ObjectSample = tuple[Tensor, dict[str, Any], int]
"""Image (3, h, w) in 0..1; its objects in training, else `image_id` and `size`, (H, W) in px; index."""


def collate_labels(samples: Sequence[LabelledSample]) -> Batch:
    """Stack samples: (B, 3, H, W), (B,), (B,)."""
    return _stacked(samples)


def collate_maps(samples: Sequence[MappedSample], split: Split) -> Batch:
    """Make a batch: (B, 3, S, S), (B, S, S), (B,) in training; two lists and (B,) in evaluation."""
    return _stacked(samples) if split == "train" else _apart(samples)


def collate_objects(samples: Sequence[ObjectSample]) -> Batch:
    """Make a batch of images and targets of any sizes: two lists and indices (B,)."""
    return _apart(samples)


def _stacked(samples: Sequence[tuple[Tensor, Any, int]]) -> Batch:
    images, targets, indices = default_collate(list(samples))  # in a worker, straight into shared memory
    return images, targets, indices


def _apart(samples: Sequence[tuple[Tensor, Any, int]]) -> Batch:
    images, targets, indices = zip(*samples, strict=True)
    return list(images), list(targets), torch.tensor(indices)
