"""What all data sets of scenes share: names, no files, and randomness by sample."""

from __future__ import annotations

from typing import Any

import torch

from mscsa.data.sampler import SampleKey
from mscsa.data.scenes.collection import SceneCollection
from mscsa.data.scenes.dataset import SceneDataset


class Drawing(SceneDataset[Any]):
    """Gives the index of a scene and a random number."""

    def __getitem__(self, key: SampleKey | int) -> tuple[int, float]:
        with self.drawn(key) as (index, scene):
            assert scene.image.shape == (32, 32, 3)
            return index, float(torch.rand(()))


def test_randomness_is_a_samples_own() -> None:
    scenes = SceneCollection(split="train", num_scenes=4, size=32)
    dataset, other = Drawing(scenes, "ab", seed=0), Drawing(scenes, "ab", seed=1)
    keys = [SampleKey(epoch=epoch, position=position, index=2) for epoch in (0, 1) for position in (0, 1)]
    drawn = [dataset[key] for key in keys]
    assert {index for index, _ in drawn} == {2} and len({value for _, value in drawn}) == 4
    assert drawn == [dataset[key] for key in keys] and drawn[0] != other[keys[0]]


def test_a_scene_is_named_and_has_no_file() -> None:
    scenes = SceneCollection(split="val", num_scenes=4, size=32)
    dataset = Drawing(scenes, ("a", "b"), seed=0)
    assert len(dataset) == 4 and dataset.class_names == ["a", "b"]
    assert dataset.describe(3) == scenes.describe(3) and dataset.files(3) == ()
