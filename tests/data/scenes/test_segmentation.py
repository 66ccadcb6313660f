"""Scenes with a class for each pixel: the background and ten digits."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from mscsa.data.contract import Split
from mscsa.data.sampler import SampleKey
from mscsa.data.scenes.collection import SceneCollection
from mscsa.data.scenes.scene import render_scene
from mscsa.data.scenes.segmentation import SceneSegmentation


def to_tensors(image: Image.Image, labels: Image.Image) -> tuple[Tensor, Tensor]:
    pixels = torch.from_numpy(np.array(image)).permute(2, 0, 1).float()
    return pixels, torch.from_numpy(np.array(labels, np.int64))


def dataset(split: Split = "train") -> SceneSegmentation:
    scenes = SceneCollection(split=split, num_scenes=3, size=48, max_digits=4)
    return SceneSegmentation(scenes, to_tensors, seed=0)


def test_samples_are_the_scene_and_its_classes() -> None:
    image, labels, index = dataset()[SampleKey(0, 0, 1)]
    scene = render_scene(1, seed=0, split="train", size=48, max_digits=4)
    assert np.array_equal(image.permute(1, 2, 0), scene.image)
    assert np.array_equal(labels, scene.semantic) and 0 in labels and labels.max() > 0
    assert index == 1
    assert dataset().class_names == ["background", *"0123456789"]
    assert (len(dataset()), dataset().describe(2)) == (3, "scene 2 (seed 0, train, up to 4 digits)")
    with pytest.raises(IndexError):
        dataset()[3]


def test_training_samples_are_stacked_and_those_of_evaluation_are_not() -> None:
    samples = [dataset()[0], dataset()[2]]
    images, labels, indices = dataset().collate(samples)
    assert (images.shape, labels.shape, indices.tolist()) == ((2, 3, 48, 48), (2, 48, 48), [0, 2])
    images, labels, indices = dataset("val").collate(samples)
    assert isinstance(images, list) and isinstance(labels, list) and indices.tolist() == [0, 2]
