"""Scenes of one digit: image and label are the scene's own."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from mscsa.data.sampler import SampleKey
from mscsa.data.scenes.classification import SceneClassification
from mscsa.data.scenes.collection import SceneCollection
from mscsa.data.scenes.scene import render_scene


def to_tensor(image: Image.Image) -> Tensor:
    return torch.from_numpy(np.asarray(image).copy()).permute(2, 0, 1).float()


def test_samples_are_image_label_and_index() -> None:
    scenes = SceneCollection(split="val", num_scenes=20, size=48)
    dataset = SceneClassification(scenes, to_tensor, seed=5)
    image, label, index = dataset[SampleKey(epoch=2, position=9, index=12)]
    scene = render_scene(12, seed=0, split="val", size=48)
    assert torch.equal(image, torch.from_numpy(scene.image).permute(2, 0, 1).float())
    assert (label, index) == (scene.labels[0], 12)
    assert dataset.describe(12) == "scene 12 (seed 0, val)"
    assert dataset.class_names == [str(digit) for digit in range(10)]
    assert len(dataset) == 20
    with pytest.raises(IndexError):
        dataset[20]


def test_a_batch_is_stacked() -> None:
    dataset = SceneClassification(SceneCollection(split="train", num_scenes=3, size=32), to_tensor, seed=0)
    images, labels, indices = dataset.collate([dataset[2], dataset[0]])
    assert images.shape == (2, 3, 32, 32)
    assert labels.tolist() == [dataset[2][1], dataset[0][1]]
    assert indices.tolist() == [2, 0]


def test_a_label_names_one_digit() -> None:
    scenes = SceneCollection(split="train", num_scenes=3, size=32, max_digits=2)
    with pytest.raises(ValueError, match="up to 2 digits.*max_digits=1"):
        SceneClassification(scenes, to_tensor, seed=0)
