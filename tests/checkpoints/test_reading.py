"""Weights are found in what training code writes, and nothing of a file is run."""

from __future__ import annotations

import argparse
import pickle
import random
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from mscsa.checkpoints import read_state_dict
from mscsa.checkpoints.reading import AVERAGED, RAW, weights_in
from tests.refusals import Malicious, one_line_error


@pytest.mark.parametrize("suffix", [".pth", ".ckpt", ".pt", ".bin", ""])
@pytest.mark.parametrize("how", ["torch", "pickle", "nested", "beside a harmless object"])
def test_a_malicious_pickle_is_never_executed(tmp_path: Path, suffix: str, how: str) -> None:
    trace, path = tmp_path / "trace", tmp_path / f"bad{suffix}"
    weight = torch.zeros(2)
    if how == "pickle":
        path.write_bytes(pickle.dumps(Malicious(trace), protocol=2))
    elif how == "nested":
        torch.save({"state_dict": {"weight": weight}, "callbacks": [Malicious(trace)]}, path)
    elif how == "torch":
        torch.save({"weight": weight, "x": Malicious(trace)}, path)
    else:
        torch.save({"args": argparse.Namespace(a=Malicious(trace)), "model": {"weight": weight}}, path)
    message = one_line_error(
        lambda: read_state_dict(path), r"is refused: it holds \w+.mkdir, which could run code"
    )
    assert str(path) in message
    assert not trace.exists()


def test_a_harmless_object_alone_does_not_hinder(tmp_path: Path) -> None:
    """Control of the above: the same file without the malicious object."""
    torch.save({"args": argparse.Namespace(a=1), "model": {"weight": torch.zeros(2)}}, tmp_path / "w.pth")
    assert read_state_dict(tmp_path / "w.pth").state.keys() == {"weight"}


def test_code_named_safetensors_is_refused(tmp_path: Path) -> None:
    trace, path = tmp_path / "trace", tmp_path / "bad.safetensors"
    path.write_bytes(pickle.dumps(Malicious(trace), protocol=2))
    one_line_error(lambda: read_state_dict(path), "cannot be read: .* not safetensors")
    assert not trace.exists()


@pytest.mark.parametrize("form", ["zip", "legacy", "safetensors"])
@pytest.mark.parametrize("kept", [0, 1, 7, 100, 0.5, 0.99])
def test_truncated_files(tmp_path: Path, form: str, kept: float) -> None:
    path = tmp_path / f"weights{'.safetensors' if form == 'safetensors' else '.pth'}"
    state = {"weight": torch.rand(64, 64)}
    if form == "safetensors":
        save_file(state, path)
    else:
        torch.save(state, path, _use_new_zipfile_serialization=form == "zip")
    content = path.read_bytes()
    path.write_bytes(content[: int(kept * len(content)) if isinstance(kept, float) else kept])
    one_line_error(lambda: read_state_dict(path), f"checkpoint .*{path.name} cannot be read")


@pytest.mark.parametrize("content", [b"\0" * 1000, random.Random(0).randbytes(500)])
@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_files_of_something_else(tmp_path: Path, suffix: str, content: bytes) -> None:
    path = tmp_path / f"weights{suffix}"
    path.write_bytes(content)
    one_line_error(lambda: read_state_dict(path), "cannot be read")


def test_missing_files_and_folders(tmp_path: Path) -> None:
    one_line_error(lambda: read_state_dict(tmp_path / "none.pth"), "none.pth is not there: give the path")
    one_line_error(
        lambda: read_state_dict(tmp_path), "is a folder: give a file of it, a .safetensors or .pth"
    )
    save_file({"weight": torch.rand(2)}, tmp_path / "best.safetensors")
    one_line_error(
        lambda: read_state_dict(tmp_path), f"is a folder: give a file of it, as {tmp_path}/best.safetensors"
    )


POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (POINTER, "is a Git LFS pointer, not the file: run git lfs pull"),
        (b"<html>not found</html>", "is a web page, not a file of weights: download it again"),
        (b"\n<!DOCTYPE html>\n<html lang='en'>", "is a web page, not a file of weights"),
    ],
)
@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_what_stands_for_a_file_is_named(tmp_path: Path, suffix: str, content: bytes, message: str) -> None:
    path = tmp_path / f"weights{suffix}"
    path.write_bytes(content)
    one_line_error(lambda: read_state_dict(path), f"checkpoint .*{path.name} {message}")


@pytest.mark.parametrize(
    ("content", "names"),
    [
        ({}, "nothing"),
        ({"epoch": 3, "args": argparse.Namespace()}, "epoch, args"),
        ([1, 2], "type list"),
        (5, "type int"),
        ({"state_dict": {}}, "state_dict"),
        (argparse.Namespace(), "type argparse.Namespace"),
    ],
)
def test_files_without_weights_are_named_by_what_they_hold(tmp_path: Path, content: Any, names: str) -> None:
    torch.save(content, tmp_path / "a.pth")
    one_line_error(
        lambda: read_state_dict(tmp_path / "a.pth"), f"holds no weights but .*{names}: a state dict"
    )


@pytest.mark.parametrize("wrapper", [*AVERAGED, *RAW])
def test_wrappers_of_training_code(tmp_path: Path, wrapper: str) -> None:
    state = {"layer.weight": torch.rand(3)}
    torch.save({"epoch": 1, "optimizer": {"state": {0: torch.rand(9)}}, wrapper: state}, tmp_path / "a.pth")
    read, metadata = read_state_dict(tmp_path / "a.pth")
    assert read.keys() == state.keys() and torch.equal(read["layer.weight"], state["layer.weight"])
    assert metadata == {"taken": wrapper}


def test_a_bare_state_dict(tmp_path: Path) -> None:
    state = {"layer.weight": torch.rand(3)}
    torch.save(state, tmp_path / "a.pth")
    read, metadata = read_state_dict(tmp_path / "a.pth")
    assert read.keys() == state.keys() and metadata == {}


W = {"w": torch.full((2,), 3.0)}
RAW_W = {"w": torch.zeros(2)}

FORMS: dict[str, Any] = {
    "timm's train.py": {
        "epoch": 3,
        "arch": "resnet10t",
        "state_dict": RAW_W,
        "state_dict_ema": OrderedDict(W),
        "optimizer": {"state": {0: {"step": torch.tensor(3.0)}}, "param_groups": [{"lr": 0.1}]},
        "args": argparse.Namespace(lr=0.1),
        "metric": np.float64(71.2),
    },
    "lightning": {
        "epoch": 1,
        "pytorch-lightning_version": "2.6.1",
        "state_dict": W,
        "callbacks": {"ModelCheckpoint": {"best_model_score": torch.tensor(0.3)}},
        "hyper_parameters": {"path": Path("a")},
    },
    "yolo": {"ema": {"module": W}, "model": {"module": RAW_W}},
    "average of averages": {"model": {"state_dict": RAW_W, "ema": W}},
    "dino": {"student": RAW_W, "teacher": W, "epoch": 3},
    "mae": {"model": W, "args": argparse.Namespace(), "scaler": {}},
    "basicsr": {"params": RAW_W, "params_ema": W},
    "mmcv": {"meta": {"hook_msgs": {}, "time": "now", "env": np.array(["a"], dtype=object)}, "state_dict": W},
    "detectron2": {
        "model": {"w": np.full(2, 3, dtype=np.float32)},
        "__author__": "x",
        "matching_heuristics": True,
    },
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("how", ["torch", "pickle"])
def test_the_weights_of_known_training_code_are_found_the_averaged_first(
    tmp_path: Path, form: str, how: str
) -> None:
    content = FORMS[form]
    if how == "torch":
        torch.save(content, tmp_path / "a.pth")
    elif form == "detectron2":
        (tmp_path / "a.pth").write_bytes(pickle.dumps(content))
    read, metadata = (
        read_state_dict(tmp_path / "a.pth") if (tmp_path / "a.pth").exists() else weights_in(content, "x")
    )
    assert read.keys() == {"w"} and torch.equal(read["w"], W["w"])
    assert ("left" in metadata) == (
        form in {"timm's train.py", "yolo", "average of averages", "dino", "basicsr"}
    )
    if form == "timm's train.py":
        assert metadata == {"taken": "state_dict_ema", "left": "state_dict"}


def test_a_whole_pickled_model_is_read(tmp_path: Path) -> None:
    model = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3))
    torch.save({"model": model, "epoch": 1}, tmp_path / "a.pth")
    read, _ = read_state_dict(tmp_path / "a.pth")
    assert read.keys() == model.state_dict().keys()
    assert all(torch.equal(read[key], value) for key, value in model.state_dict().items())


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("module.a.b", "a.b"),
        ("_orig_mod.a.b", "a.b"),
        ("module._orig_mod.a.b", "a.b"),
        ("_orig_mod.module.a.b", "a.b"),
        ("module.module.a.b", "a.b"),
        ("a._orig_mod.b", "a.b"),
        ("_fsdp_wrapped_module.a._checkpoint_wrapped_module.b", "a.b"),
    ],
)
def test_what_wraps_a_model_is_taken_out_of_the_keys(tmp_path: Path, written: str, read: str) -> None:
    state: dict[str, Tensor] = {written: torch.rand(2), written + "2": torch.rand(2)}
    torch.save(state, tmp_path / "a.pth")
    save_file(state, tmp_path / "a.safetensors")
    for name in ("a.pth", "a.safetensors"):
        assert set(read_state_dict(tmp_path / name).state) == {read, read + "2"}


def test_a_module_of_that_name_keeps_it(tmp_path: Path) -> None:
    """Only where all keys have it does it come from data-parallel training."""
    state = {"module.a": torch.rand(2), "head": torch.rand(2)}
    torch.save(state, tmp_path / "a.pth")
    assert read_state_dict(tmp_path / "a.pth").state.keys() == state.keys()


def test_metadata_of_safetensors(tmp_path: Path) -> None:
    save_file({"a": torch.zeros(1)}, tmp_path / "a.safetensors", {"classes": "a,b"})
    assert read_state_dict(tmp_path / "a.safetensors").metadata == {"classes": "a,b"}


def test_safetensors_of_any_name(tmp_path: Path) -> None:
    save_file({"weight": torch.ones(2)}, tmp_path / "w.safetensors")
    (tmp_path / "w.safetensors").rename(tmp_path / "w.pth")
    assert torch.equal(read_state_dict(tmp_path / "w.pth").state["weight"], torch.ones(2))


def test_weights_that_torch_averages(tmp_path: Path) -> None:
    averaged = torch.optim.swa_utils.AveragedModel(torch.nn.Linear(2, 3))
    torch.save(averaged.state_dict(), tmp_path / "w.pth")
    assert read_state_dict(tmp_path / "w.pth").state.keys() == {"weight", "bias"}
