"""An untrained model of each task, and images to ask it about."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from mscsa.data.scenes.scene import render_scene
from tests.evaluation.untrained import (
    CLASSES,
    CLASSIFIER,
    DETECTOR,
    OBJECTS,
    PIXELS,
    SEGMENTER,
    save_untrained,
)


@pytest.fixture(scope="package")
def classifier(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_untrained(tmp_path_factory.mktemp("classifier") / "best.safetensors", CLASSIFIER, CLASSES)


@pytest.fixture(scope="package")
def segmenter(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_untrained(tmp_path_factory.mktemp("segmenter") / "best.safetensors", SEGMENTER, PIXELS)


@pytest.fixture(scope="package")
def detector(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_untrained(tmp_path_factory.mktemp("detector") / "best.safetensors", DETECTOR, OBJECTS)


@pytest.fixture(scope="package")
def images(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Five scenes of 32 px as files."""
    folder = tmp_path_factory.mktemp("images")
    paths = []
    for index in range(5):
        scene = render_scene(index, seed=0, split="val", size=32)
        paths.append(folder / f"{index}.png")
        Image.fromarray(scene.image).save(paths[-1])
    return paths
