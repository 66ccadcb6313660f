"""Batches: stacked where sizes agree, kept apart where they may not."""

from __future__ import annotations

import pytest
import torch

from mscsa.data.batches import collate_labels, collate_maps, collate_objects

IMAGES = (torch.full((3, 4, 4), 1.0), torch.full((3, 4, 4), 2.0))
MAPS = (torch.zeros(4, 4, dtype=torch.long), torch.ones(4, 4, dtype=torch.long))


def test_labels_are_stacked() -> None:
    images, labels, indices = collate_labels([(IMAGES[0], 7, 3), (IMAGES[1], 2, 0)])
    assert torch.equal(images, torch.stack(IMAGES))
    assert (labels.tolist(), indices.tolist()) == ([7, 2], [3, 0])
    assert labels.dtype == torch.int64


def test_maps_are_stacked_in_training_alone() -> None:
    samples = [(IMAGES[0], MAPS[0], 3), (IMAGES[1], MAPS[1], 0)]
    images, labels, indices = collate_maps(samples, "train")
    assert torch.equal(images, torch.stack(IMAGES)) and torch.equal(labels, torch.stack(MAPS))
    assert indices.tolist() == [3, 0]
    other = (torch.zeros(3, 2, 5), torch.zeros(9, 9, dtype=torch.long), 1)
    images, labels, indices = collate_maps([samples[0], other], "val")
    assert [each.shape for each in images] == [(3, 4, 4), (3, 2, 5)]
    assert [each.shape for each in labels] == [(4, 4), (9, 9)]
    assert indices.tolist() == [3, 1]
    with pytest.raises(RuntimeError):
        collate_maps([samples[0], other], "train")


def test_objects_are_kept_apart() -> None:
    targets = [{"boxes": torch.zeros(2, 4)}, {"boxes": torch.zeros(0, 4)}]
    samples = [(IMAGES[0], targets[0], 5), (torch.zeros(3, 2, 5), targets[1], 6)]
    images, found, indices = collate_objects(samples)
    assert images[0] is IMAGES[0] and images[1].shape == (3, 2, 5)
    assert found[0] is targets[0] and found[1] is targets[1]
    assert indices.tolist() == [5, 6]
