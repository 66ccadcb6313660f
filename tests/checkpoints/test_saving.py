"""Weights are written exactly, and say what they were given to say."""

from __future__ import annotations

import os
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import load_file

import mscsa
from mscsa.checkpoints import save_weights
from tests.refusals import one_line_error


def test_saved_values_are_exact_whatever_their_layout(tmp_path: Path) -> None:
    weight = torch.rand(4, 3, 5, 5).to(memory_format=torch.channels_last)
    state = {"a": weight, "b": weight, "half": torch.rand(3).half(), "count": torch.tensor(7)}
    save_weights(state, tmp_path / "w.safetensors", {})
    read = load_file(tmp_path / "w.safetensors")
    assert read.keys() == state.keys()
    assert all(
        torch.equal(read[key], value) and read[key].dtype == value.dtype for key, value in state.items()
    )


def test_a_model_and_its_metadata_are_written(tmp_path: Path) -> None:
    model = torch.nn.Linear(3, 2)
    path = tmp_path / "new folder" / "w.safetensors"
    mscsa.save_weights(model, path, {"classes": "a,b"})
    with safe_open(path, framework="pt") as file:
        assert file.metadata().items() >= {"classes": "a,b"}.items()
    assert torch.equal(load_file(path)["weight"], model.weight)
    mscsa.save_weights(model, path)
    with safe_open(path, framework="pt") as file:
        assert set(file.metadata()) == {"checked_by", "sha256"}


def test_a_wrapped_model_is_written_under_its_own_names(tmp_path: Path) -> None:
    model = torch.nn.Linear(3, 2)
    save_weights(torch.compile(torch.nn.DataParallel(model)), tmp_path / "w.safetensors")  # type: ignore[arg-type]
    assert load_file(tmp_path / "w.safetensors").keys() == {"weight", "bias"}


def test_what_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    save_weights({"a": torch.zeros(2)}, path)
    one_line_error(
        lambda: save_weights({"a": torch.zeros(2, device="meta")}, path), "a is on the meta device"
    )
    sparse = torch.eye(3).to_sparse()
    one_line_error(lambda: save_weights({"a": sparse}, path), "cannot write .*w.safetensors")
    assert torch.equal(load_file(path)["a"], torch.zeros(2)) and os.listdir(tmp_path) == ["w.safetensors"]
    (tmp_path / "file").touch()
    one_line_error(lambda: save_weights({"a": torch.zeros(2)}, tmp_path / "file" / "w"), "cannot write")
