"""Scenes with objects: targets and ground truth are what is drawn."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from mscsa.data.coco.masks import decode_segmentation
from mscsa.data.contract import Split
from mscsa.data.scenes.collection import SceneCollection
from mscsa.data.scenes.detection import SceneDetection
from mscsa.data.scenes.scene import render_scene
from mscsa.data.transforms.detection import Objects


def to_tensors(image: Image.Image, objects: Objects) -> tuple[Tensor, Objects]:
    return torch.from_numpy(np.array(image)).permute(2, 0, 1).float(), objects


def dataset(split: Split = "train", *, with_masks: bool = True) -> SceneDetection:
    scenes = SceneCollection(split=split, num_scenes=4, size=64, max_digits=3)
    return SceneDetection(scenes, to_tensors, seed=0, with_masks=with_masks)


def test_targets_are_what_is_drawn() -> None:
    image, target, index = dataset()[2]
    scene = render_scene(2, seed=0, split="train", size=64, max_digits=3)
    assert index == 2
    assert np.array_equal(image.permute(1, 2, 0), scene.image)
    assert np.array_equal(target["masks"], scene.masks)
    assert np.array_equal(target["boxes"], scene.boxes)
    assert np.array_equal(target["labels"], scene.labels + 1)
    assert target["masks"].dtype == torch.uint8
    assert dataset(with_masks=False)[2][1].keys() == {"boxes", "labels"}
    assert dataset().files(2) == ()
    with pytest.raises(IndexError):
        dataset()[4]


def test_evaluation_says_which_image_it_is() -> None:
    val = dataset("val")
    _, target, _ = val[3]
    assert target == {"image_id": 3, "size": (64, 64)}
    images, targets, indices = val.collate([val[0], val[3]])
    assert len(images) == 2 and targets[1] == target and indices.tolist() == [0, 3]


def test_ground_truth_is_what_is_drawn() -> None:
    found = dataset("val")
    truth = found.ground_truth()
    assert [each["id"] for each in truth["images"]] == list(range(4))
    assert [each["id"] for each in truth["categories"]] == found.category_ids == list(range(1, 11))
    assert len({each["id"] for each in truth["annotations"]}) == len(truth["annotations"])
    for index in range(4):
        scene = render_scene(index, seed=0, split="val", size=64, max_digits=3)
        own = [each for each in truth["annotations"] if each["image_id"] == index]
        assert [each["category_id"] for each in own] == (scene.labels + 1).tolist()
        for each, box, mask in zip(own, scene.boxes, scene.masks, strict=True):
            x, y, width, height = each["bbox"]
            assert [x, y, x + width, y + height] == box.tolist()
            assert each["area"] == mask.sum() and each["iscrowd"] == 0
            assert np.array_equal(decode_segmentation(each["segmentation"], (64, 64)), mask)
