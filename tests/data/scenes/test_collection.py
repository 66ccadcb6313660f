"""Scenes by number: named, rendered alike each time, and refused beyond their number."""

from __future__ import annotations

import pickle
import sys

import numpy as np
import pytest

from mscsa.data.scenes.collection import SceneCollection
from mscsa.data.scenes.scene import digit_instances, render_scene
from mscsa.errors import UserError

SCENES = SceneCollection(split="val", num_scenes=4, size=48, max_digits=3, seed=2)


def test_scenes_are_those_of_their_number_and_seed() -> None:
    assert len(SCENES) == 4
    for index in range(4):
        expected = render_scene(index, seed=2, split="val", size=48, max_digits=3)
        assert np.array_equal(SCENES.render(index).image, expected.image)
    other = SceneCollection(split="val", num_scenes=4, size=48, max_digits=3)
    assert not np.array_equal(other.render(0).image, SCENES.render(0).image)


@pytest.mark.parametrize("index", [-1, 4])
def test_there_are_no_more_than_were_asked_for(index: int) -> None:
    with pytest.raises(IndexError, match=f"scene {index} of 4"):
        SCENES.render(index)


def test_a_scene_is_named_by_what_it_takes_to_render_it_again() -> None:
    assert SCENES.describe(3) == "scene 3 (seed 2, val, up to 3 digits)"
    assert SceneCollection(split="train", num_scenes=9, size=32).describe(7) == "scene 7 (seed 0, train)"


def test_worker_processes_get_it() -> None:
    assert pickle.loads(pickle.dumps(SCENES)) == SCENES


def test_missing_scikit_learn_is_one_line_that_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    """At once, not when the first scene is rendered."""
    digit_instances.cache_clear()
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    with pytest.raises(UserError, match=r"pip install 'mscsa\[train\]'") as caught:
        SceneCollection(split="train", num_scenes=10, size=64)
    assert "\n" not in str(caught.value)
