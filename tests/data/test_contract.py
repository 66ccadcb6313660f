"""Every data set keeps the contract by which training and evaluation read it."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from mscsa.data.contract import SPLITS, Split, TaskDataset, augmented_by, sample_index
from mscsa.data.datasets import build_dataset
from mscsa.data.sampler import SampleKey
from mscsa.recipes.spec import (
    AugmentSpec,
    ClassificationAugment,
    ClassificationData,
    DataSpec,
    DetectionAugment,
    DetectionData,
    SegmentationAugment,
    SegmentationData,
)
from tests.data.coco.coco_folder import write_coco
from tests.data.label_maps.label_map_folder import spec, write_label_maps

KINDS = ("folder", "masks", "ade20k", "coco", "class-scenes", "pixel-scenes", "object-scenes")


def description(kind: str, root: Path, folder: Path) -> tuple[DataSpec, AugmentSpec]:
    """A small data set of a kind, with an augmentation that changes each image."""
    objects = DetectionAugment(crop_sides=(20, 40), crop_short_sides=(40, 50), short_sides=(32, 48))
    few = {"kind": "scenes", "num_train": 3, "num_val": 2}
    if kind == "folder":
        return ClassificationData(kind="folder", root=str(folder), image_size=32), ClassificationAugment()
    if kind == "masks" or kind == "ade20k":
        return spec(write_label_maps(root, kind), kind=kind), SegmentationAugment()
    if kind == "coco":
        return DetectionData(kind="coco", root=str(write_coco(root / "coco")), short_side=48), objects
    if kind == "class-scenes":
        return ClassificationData(image_size=32, **few), ClassificationAugment()
    if kind == "pixel-scenes":
        return SegmentationData(image_size=32, short_side=48, **few), SegmentationAugment()
    return DetectionData(short_side=48, **few), objects


@pytest.fixture(params=KINDS)
def described(request: pytest.FixtureRequest, tmp_path: Path, folder: Path) -> tuple[DataSpec, AugmentSpec]:
    return description(request.param, tmp_path, folder)


def built(described: tuple[DataSpec, AugmentSpec], split: Split, seed: int = 0) -> TaskDataset:
    return build_dataset(split, *described, {}, seed, with_masks=True)


@pytest.mark.parametrize("split", SPLITS)
def test_samples_and_batches(described: tuple[DataSpec, AugmentSpec], split: Split) -> None:
    dataset = built(described, split)
    assert len(set(dataset.class_names)) == len(dataset.class_names) > 1
    assert len(dataset) > 1
    names = {dataset.describe(index) for index in range(len(dataset))}
    assert len(names) == len(dataset) and all("\n" not in name for name in names)
    samples = [dataset[SampleKey(0, position, position)] for position in range(2)]
    for position, (image, _, index) in enumerate(samples):
        assert isinstance(image, Tensor) and image.dtype == torch.float32
        assert image.ndim == 3 and image.shape[0] == 3
        assert index == position
    images, targets, indices = dataset.collate(samples)
    assert len(images) == len(targets) == 2
    assert indices.tolist() == [0, 1]


def test_a_training_image_is_a_function_of_seed_and_key(described: tuple[DataSpec, AugmentSpec]) -> None:
    first, again, other = built(described, "train"), built(described, "train"), built(described, "train", 1)
    keys = [SampleKey(0, position, 0) for position in range(6)]
    images = [first[key][0] for key in keys]
    random.seed(9), np.random.seed(9), torch.manual_seed(9)
    assert all(torch.equal(again[key][0], image) for key, image in zip(keys, images, strict=True))
    assert any(not torch.equal(images[0], image) for image in images[1:])
    assert any(not torch.equal(other[key][0], image) for key, image in zip(keys, images, strict=True))


def test_an_evaluated_image_is_the_same_for_any_seed_and_key(
    described: tuple[DataSpec, AugmentSpec],
) -> None:
    first, other = built(described, "val"), built(described, "val", 1)
    for key in (1, SampleKey(0, 0, 1), SampleKey(3, 5, 1)):
        assert torch.equal(first[1][0], other[key][0])


def test_keys_name_a_sample_and_a_draw() -> None:
    assert sample_index(7) == 7 and sample_index(SampleKey(1, 2, 3)) == 3
    keys = (SampleKey(0, 1, 5), SampleKey(1, 1, 5), SampleKey(0, 2, 5), 5)
    drawn = []
    for seed in (0, 1):
        for key in keys:
            with augmented_by(seed, key):
                drawn.append((random.random(), float(torch.rand(()))))
    assert len(set(drawn)) == len(drawn)
    with augmented_by(0, SampleKey(0, 1, 99)):  # whichever image it is
        assert (random.random(), float(torch.rand(()))) == drawn[0]
