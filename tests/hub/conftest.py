"""Untrained models of each task, as folders of runs."""

from __future__ import annotations

from pathlib import Path

import pytest

from mscsa.assembly.weights_file import WeightsInfo, load_trained
from mscsa.checkpoints import save_weights
from mscsa.hub import push
from tests.evaluation.untrained import (
    CLASSES,
    CLASSIFIER,
    DETECTOR,
    OBJECTS,
    PIXELS,
    SEGMENTER,
    save_untrained,
)

RECIPE = {
    "name": "scenes/mscsa_test_resnet",
    "model": {"name": "test_resnet", "pretrained": False, "checkpoint": "/home/somebody/secret/start.pth"},
    "data": {"root": "/home/somebody/secret/flowers", "train_images": "/home/somebody/secret/flowers/train"},
}
RESULT = {
    "epoch": 2.0,
    "step": 12,
    "weights": "raw",
    "top1": 61.5,
    "top5": 90.0,
    "loss": 1.25,
    "num_samples": 9,
}


def with_provenance(run: Path, **provenance: object) -> Path:
    """Say of the weights of a run where they come from."""
    model, info = load_trained(run)
    values = {**vars(info), "provenance": provenance}
    save_weights(model, run / "best.safetensors", WeightsInfo(**values).to_metadata())
    return run


@pytest.fixture(scope="session")
def classifier_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("classifier")
    save_untrained(run / "best.safetensors", CLASSIFIER, CLASSES)
    return with_provenance(run, recipe=RECIPE, result=RESULT)


@pytest.fixture(scope="session")
def dense_runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    runs = {"segmenter": (SEGMENTER, PIXELS), "detector": (DETECTOR, OBJECTS)}
    folders = {name: tmp_path_factory.mktemp(name) for name in runs}
    for name, (spec, data) in runs.items():
        save_untrained(folders[name] / "best.safetensors", spec, data)
    return folders


@pytest.fixture(scope="session")
def published(classifier_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The classifier, published in a folder; tests that change it copy it."""
    folder = tmp_path_factory.mktemp("published") / "model"
    push(classifier_run, str(folder), license="mit")
    return folder
