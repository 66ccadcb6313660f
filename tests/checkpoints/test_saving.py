"""Weights are written exactly, and say what they were given to say."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard

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
    one_line_error(
        lambda: save_weights({"a": torch.zeros(2)}, tmp_path / "file" / "w.safetensors"), "cannot write"
    )


def test_the_name_says_what_it_is(tmp_path: Path) -> None:
    for name in ("w.pth", "w"):
        message = f"{name} given for weights, which are written as safetensors: end it in .safetensors"
        one_line_error(lambda name=name: save_weights({"a": torch.zeros(2)}, tmp_path / name), message)  # type: ignore[misc]
    assert not os.listdir(tmp_path)


def test_a_part_that_is_compiled_is_written_under_its_own_names(tmp_path: Path) -> None:
    model = mscsa.create_model("resnet10t", num_classes=3, num_heads=2, head_dim=8, squeeze_ratio=0.25)
    own, path = model.state_dict(), tmp_path / "w.safetensors"
    model.backbone = torch.compile(model.backbone)
    mscsa.save_weights(model, path)
    assert load_file(path).keys() == own.keys()
    message = (
        r"the model's part backbone is compiled by itself: load the weights first, or .*backbone.compile"
    )
    one_line_error(lambda: mscsa.load_weights(model, path), message)


@pytest.fixture
def one_process_group(tmp_path: Path) -> Iterator[None]:
    store = tmp_path / "store"
    torch.distributed.init_process_group("gloo", init_method=f"file://{store}", rank=0, world_size=1)
    yield
    torch.distributed.destroy_process_group()


@pytest.mark.usefixtures("one_process_group")
def test_a_model_that_processes_share_is_written_whole(tmp_path: Path) -> None:
    """But not filled, nor made an add-on of: that would need the values of all."""
    model = mscsa.create_model("resnet10t", num_classes=3, num_heads=2, head_dim=8, squeeze_ratio=0.25)
    own, path = {key: value.clone() for key, value in model.state_dict().items()}, tmp_path / "w.safetensors"
    fully_shard(model, mesh=init_device_mesh("cpu", (1,)))
    mscsa.save_weights(model, path)
    written = load_file(path)
    assert written.keys() == own.keys() and all(torch.equal(written[key], own[key]) for key in own)
    shared = r"the model's \S+ is cut up among processes \(FSDP, fully_shard\): "
    one_line_error(lambda: mscsa.load_weights(model, path), f"{shared}load its weights before fully_shard")
    one_line_error(lambda: mscsa.load_addon(model, path), f"{shared}load its weights before fully_shard")
    one_line_error(
        lambda: mscsa.save_addon(model, tmp_path / "a.safetensors"), f"{shared}write it with save_weights"
    )


def test_a_pruned_classifier_is_written_and_read(tmp_path: Path) -> None:
    model = mscsa.create_model("resnet10t", num_classes=3, num_heads=2, head_dim=8, squeeze_ratio=0.25)
    whole = {key: value.clone() for key, value in model.state_dict().items()}
    model.prune_intermediate_layers([1, 2])
    mscsa.save_weights(model, tmp_path / "w.safetensors")
    mscsa.load_weights(model, tmp_path / "w.safetensors", policy="exact")
    assert mscsa.load_weights(model, whole).filled["backbone"] == len(model.backbone.state_dict())
