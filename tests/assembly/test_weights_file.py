"""A file of weights says all about itself; what cannot be used is one line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

import mscsa
from mscsa.assembly.weights_file import load_trained
from mscsa.checkpoints import read_state_dict, save_weights
from mscsa.errors import UserError
from tests.evaluation.untrained import CLASSES, CLASSIFIER, save_untrained


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An untrained classifier of scenes."""
    return save_untrained(tmp_path_factory.mktemp("weights") / "best.safetensors", CLASSIFIER, CLASSES)


def test_the_file_says_all_about_itself(checkpoint: Path) -> None:
    model, info = load_trained(checkpoint)
    assert not model.training
    assert info.class_names == tuple("0123456789")
    assert info.provenance == {"recipe": {"name": "test"}}
    assert info.model.budget is None
    weights, _ = read_state_dict(checkpoint)
    assert all(torch.equal(value, weights[key]) for key, value in model.state_dict().items())


def rewritten(checkpoint: Path, path: Path, change: Any) -> Path:
    weights, metadata = read_state_dict(checkpoint)
    change(weights, metadata)
    save_weights(weights, path, metadata)
    return path


def test_files_that_cannot_be_used_are_one_line(checkpoint: Path, tmp_path: Path) -> None:
    path = tmp_path / "other.safetensors"
    save_weights(mscsa.create_model("test_resnet", num_classes=3, budget=0.5, pool_stride=8), path, {})
    cases = [(path, "does not say how it was made")]
    cases.append((tmp_path / "none.safetensors", "is not there"))

    def shorten(weights: dict[str, torch.Tensor], metadata: dict[str, str]) -> None:
        del weights["head.weight"]

    def widen(weights: dict[str, torch.Tensor], metadata: dict[str, str]) -> None:
        metadata["class_names"] = json.dumps(list("0123456789a"))

    def from_the_future(weights: dict[str, torch.Tensor], metadata: dict[str, str]) -> None:
        metadata["model"] = json.dumps({"name": "test_resnet", "flavour": 1})

    def garble(weights: dict[str, torch.Tensor], metadata: dict[str, str]) -> None:
        metadata["data"] = "{"

    for i, (change, message) in enumerate(
        [
            (shorten, "does not fit the model it describes"),
            (widen, "does not fit the model it describes"),
            (from_the_future, "flavour.*later version"),
            (garble, "its metadata cannot be read"),
        ]
    ):
        cases.append((rewritten(checkpoint, tmp_path / f"{i}.safetensors", change), message))
    for path, message in cases:
        with pytest.raises(UserError, match=message) as caught:
            load_trained(path)
        assert "\n" not in str(caught.value)
