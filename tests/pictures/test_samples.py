"""Samples as pictures: the file's own, and what training makes of it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from mscsa.data.datasets import build_dataset
from mscsa.pictures.palette import palette
from mscsa.pictures.samples import picture, sample_rows, unchanged
from mscsa.recipes.spec import ClassificationAugment, ClassificationData, DetectionAugment, DetectionData
from tests.data.coco.coco_folder import SIZES, write_coco
from tests.data.label_maps.label_map_folder import CFG, PLAIN, image_of, labels_of, spec, write_label_maps


def test_label_maps_lie_on_their_images(tmp_path: Path) -> None:
    data = spec(write_label_maps(tmp_path))
    train = build_dataset(
        "train", data, replace(PLAIN, hflip=1.0), {"mean": (0.5,) * 3, "std": (0.2,) * 3}, 0
    )
    pixels, labels, _ = unchanged(train)[1]
    assert np.array_equal(labels, labels_of(1)) and pixels.shape == (3, 40, 60)
    drawn = np.asarray(picture(pixels, labels, train.class_names)).astype(float)
    own = np.asarray(image_of(labels_of(1))).astype(float)
    for label in range(3):
        at = labels_of(1) == label
        assert np.abs(drawn[at] - (0.45 * own[at] + 0.55 * palette(256)[label])).max() < 2
    ignored = labels_of(1) == 255
    assert np.array_equal(drawn[ignored], own[ignored])
    rows = sample_rows(train, {"mean": (0.5,) * 3, "std": (0.2,) * 3}, 3, 0)
    assert [len(row) for row in rows] == [4, 4, 4]
    assert [each.image.size for each in rows[0]] == [(60, 40), (32, 32), (32, 32), (32, 32)]
    # Without its normalisation, a sample is as bright as the file.
    assert np.asarray(rows[0][1].image).mean() > 40


def test_objects_are_drawn_in_both_splits(tmp_path: Path) -> None:
    data = DetectionData(kind="coco", root=str(write_coco(tmp_path / "coco")), short_side=64, long_side=100)
    for split in ("train", "val"):
        dataset = build_dataset(split, data, DetectionAugment(), {}, 0, with_masks=True)  # type: ignore[arg-type]
        pixels, target, _ = unchanged(dataset)[0]
        assert tuple(pixels.shape[1:]) == SIZES[0] and target["labels"].tolist() == [1, 2]
        drawn = picture(pixels, target, dataset.class_names)
        assert not np.array_equal(
            np.asarray(drawn.resize((80, 60))), np.asarray(Image.open(dataset.describe(0)))
        )
    rows = sample_rows(build_dataset("train", data, DetectionAugment(), {}, 0), {}, 1, 0)
    assert rows[0][0].title.endswith("objects")


@pytest.mark.parametrize("with_masks", [False, True])
def test_nothing_is_pasted_into_what_is_as_it_is(tmp_path: Path, with_masks: bool) -> None:
    data = DetectionData(kind="coco", root=str(write_coco(tmp_path / "coco")), short_side=64, long_side=100)
    pasted, plain = (
        build_dataset("train", data, DetectionAugment(copy_paste=share), {}, 0, with_masks=with_masks)
        for share in (1.0, 0.0)
    )
    for index in range(len(plain)):
        (pixels, target, _), (own, expected, _) = (unchanged(each)[index] for each in (pasted, plain))
        assert torch.equal(pixels, own) and target.keys() == expected.keys()
        assert ("masks" in target) == with_masks
        assert target["labels"].tolist() == expected["labels"].tolist()
    assert ("masks" in pasted[0][1]) == with_masks  # and training goes on pasting


def test_the_same_seed_draws_the_same_samples(folder: Path) -> None:
    data = ClassificationData(kind="folder", root=str(folder), image_size=32)
    train = build_dataset("train", data, ClassificationAugment(), CFG, 0)
    first, second = (sample_rows(train, CFG, 2, 5) for _ in range(2))
    assert [each.title for each in first[0]] == [each.title for each in second[0]]
    for one, other in zip(first[0], second[0], strict=True):
        assert np.array_equal(np.asarray(one.image), np.asarray(other.image))
    assert first[0][0].title.partition(": ")[2] in train.class_names
    assert isinstance(unchanged(train)[0][0], torch.Tensor) and train[0][0].shape == (3, 32, 32)
