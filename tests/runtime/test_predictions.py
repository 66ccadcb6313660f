"""What an exported model says about images."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mscsa_runtime import Artifact, ArtifactError, class_probabilities, classify, detect, segment
from mscsa_runtime.predictions import Objects
from tests.runtime.small_files import write_means


@pytest.fixture
def artifact(tmp_path: Path) -> Artifact:
    return Artifact(write_means(tmp_path / "model.onnx"))


def test_classes_are_named_the_likeliest_first(artifact: Artifact, tmp_path: Path) -> None:
    for name, colour in (("a", "lime"), ("c", "blue")):
        Image.new("RGB", (20, 10), colour).save(tmp_path / f"{name}.png")
    (tmp_path / "b.png").write_bytes(b"no image")
    paths = [tmp_path / f"{name}.png" for name in "abc"]
    green, bad, blue = classify(artifact, paths, top_k=2, batch_size=2)
    assert [name for name, _ in green.classes] == ["green", "red"] and blue.classes[0][0] == "blue"
    assert green.classes[0][1] == pytest.approx(np.e / (np.e + 2), abs=1e-6)
    assert bad.classes == () and bad.error is not None and bad.error.startswith(f"{paths[1]}: not an image")
    chances = class_probabilities(artifact, [Image.new("RGB", (9, 9), "red")])
    assert chances.sum() == pytest.approx(1, abs=1e-6) and chances.argmax() == 0


def test_a_model_of_another_task_is_refused(artifact: Artifact) -> None:
    with pytest.raises(ArtifactError, match="holds a model for classification: give one for segmentation"):
        segment(artifact, Image.new("RGB", (8, 8)))
    with pytest.raises(ArtifactError, match="give one for detection or instance_segmentation"):
        detect(artifact, Image.new("RGB", (8, 8)))
    with pytest.raises(ArtifactError, match="no images given: give one or more"):
        class_probabilities(artifact, [])
    with pytest.raises(ArtifactError, match="give 1 or more"):
        list(classify(artifact, [], top_k=0))


def test_masks_are_drawn_one_by_one() -> None:
    boxes, labels, scores = np.float32([[2, 1, 6, 5]]), np.int64([1]), np.float32([0.9])
    found = Objects(boxes, labels, scores, np.ones((1, 28, 28), np.float32), (8, 9))
    assert found.mask(0).shape == (8, 9) and found.mask(0).sum() == 16 and found.mask(0)[1:5, 2:6].all()
    with pytest.raises(ArtifactError, match="boxes alone"):
        Objects(boxes, labels, scores, None, (8, 9)).mask(0)
