"""An exported model is found, opened, asked, and refuses what it was not made for."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from mscsa_runtime import Artifact, ArtifactError, find_artifact
from mscsa_runtime.metadata import Sizes
from tests.runtime.small_files import write_means

IMAGES = np.random.default_rng(0).random((2, 3, 8, 8), np.float32)


def test_a_folder_stands_for_its_first_file(tmp_path: Path) -> None:
    assert find_artifact(tmp_path) is None and find_artifact("runs/first/best.safetensors") is None
    path = write_means(tmp_path / "model.onnx")
    assert find_artifact(tmp_path) == find_artifact(path) == path
    found = Artifact(tmp_path).run(IMAGES)
    np.testing.assert_allclose(found["logits"], IMAGES.mean(axis=(2, 3)), atol=1e-6)
    (tmp_path / "model.xml").touch()
    with pytest.raises(ArtifactError, match="several models: give one of its files, model.onnx, model.xml"):
        find_artifact(tmp_path)


def test_one_size_alone_is_taken_where_there_is_one(tmp_path: Path) -> None:
    artifact = Artifact(write_means(tmp_path / "model.onnx"))
    with pytest.raises(ArtifactError, match=r"was made for 8x8, 8x16 given: resize or pad them"):
        artifact.run(np.zeros((1, 3, 8, 16), np.float32))
    for shape in ((1, 1, 8, 8), (0, 3, 8, 8), (3, 8, 8)):
        with pytest.raises(ArtifactError, match=r"give \(B, 3, H, W\)"):
            artifact.run(np.zeros(shape, np.float32))


def test_floats_of_any_width_are_taken_and_nothing_else(tmp_path: Path) -> None:
    artifact = Artifact(write_means(tmp_path / "model.onnx"))
    expected = artifact.run(IMAGES)["logits"]
    for given in (IMAGES.astype(np.float64), IMAGES.astype(np.float16), IMAGES.tolist()):
        np.testing.assert_allclose(artifact.run(given)["logits"], expected, atol=1e-3)
    with pytest.raises(ArtifactError, match="images of uint8 given: give floats, normalised as"):
        artifact.run(np.zeros((1, 3, 8, 8), np.uint8))


def test_of_any_size_those_are_taken_that_it_was_made_for(tmp_path: Path) -> None:
    sizes = Sizes(height=64, width=64, is_dynamic=True, least=64, step=32)
    artifact = Artifact(write_means(tmp_path / "model.onnx", sizes=sizes))
    assert artifact.run(np.zeros((3, 3, 96, 64), np.float32))["logits"].shape == (3, 3)
    for height, width in ((32, 64), (64, 80)):
        with pytest.raises(ArtifactError, match="sides of 64 px and more, in multiples of 32"):
            artifact.run(np.zeros((1, 3, height, width), np.float32))


def test_files_of_two_exports_are_refused(tmp_path: Path) -> None:
    path = write_means(tmp_path / "model.onnx", parts=("model.onnx", "boxes.onnx"))
    with pytest.raises(ArtifactError, match="boxes.onnx: no such file"):
        Artifact(path)
    write_means(tmp_path / "boxes.onnx", identity="another")
    with pytest.raises(ArtifactError, match="is of another export than"):
        Artifact(path)
    with pytest.raises(ArtifactError, match="holds no exported model"):
        Artifact(tmp_path / "elsewhere")
